"""What a run has to tell: events for the log, signals for alerting. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from datetime import time as wall
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from alerting.signal import Signal
from milepost.catalog.reconciliation import Direction, Reconciliation
from milepost.catalog.schema import Catalog, Duration
from milepost.contract import Entry
from sla.reconciliation import events
from sla.reconciliation.events import Named
from sla.reconciliation.judge import Day
from sla.reconciliation.result import Change, Result

KIND: Final = "reconciliation"
FAILED: Final = "reconciliation-failed"
FRESH: Final = timedelta(days=2)
"""A day over its tolerance that ended longer ago, beside the time to settle, is told to nobody: it is history."""
_WHY: Final = {
    "matched": "both sides agree",
    "excused": "an event excuses it",
    "absorbed": "another journey contains it",
    "withdrawn": "the reconciliation no longer looks for it",
}


def length(duration: Duration) -> timedelta:
    return timedelta(microseconds=duration.us)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The beginning of a day there."""
    return datetime.combine(day, wall(), zone)


# --- events -----------------------------------------------------------------------------------------------------------


def found(
    catalog: Catalog, name: str, one: Reconciliation, change: Change, named: Named | None, now: datetime
) -> Entry:
    """A discrepancy that is new. It began when it was old enough to count."""
    if change.kind == "amount":
        amounts = [_money(change.left_amount, change.left_currency), _money(change.right_amount, change.right_currency)]
        kind, reason = events.DIFFERS, f"{one.name_of('left')} has {amounts[0]}, {one.name_of('right')} {amounts[1]}"
    else:
        lacking: Direction = "right" if change.kind == "missing_right" else "left"
        kind, reason = events.MISSING, f"missing in {one.name_of(lacking)}"
    return _about_object(catalog, name, change, named, kind, change.at + length(one.settle), now, change.kind, reason)


def gone(catalog: Catalog, name: str, change: Change, named: Named | None, now: datetime) -> Entry:
    """A discrepancy that is no more: since the other side told of it, where it did."""
    kind = events.AGREES if change.kind == "amount" else events.MATCHED
    why = change.why or "matched"
    return _about_object(catalog, name, change, named, kind, change.seen_at or now, now, why, _WHY[why])


def turned(
    name: str, one: Reconciliation, result: Result, former: Mapping[date, bool], now: datetime
) -> Iterator[Entry]:
    """Of a comparison of totals: the days that are over their tolerance now, and those that no longer are."""
    for day, why in result.days:
        if (why is not None) == former.get(day.day, False):
            continue
        over = midnight(day.day + timedelta(days=1), ZoneInfo(one.zone)) + length(one.settle)
        kind = events.DIFFERS if why is not None else events.AGREES
        attributes = {"left_count": day.left, "right_count": day.right}
        yield events.entry(
            kind, name, day.day.isoformat(), over if why is not None else now, now,
            code=one.compare, reason=why or _WHY["matched"], attributes=attributes,
        )  # fmt: skip


def _about_object(
    catalog: Catalog, name: str, change: Change, named: Named | None, kind: str, at: datetime, now: datetime,
    code: str, reason: str,
) -> Entry:  # fmt: skip
    keys, attributes = events.naming(catalog, named)
    about = f"{named.type} {named.key}" if named is not None else str(change.object_id)
    value = change.left_amount if change.left_amount is not None else change.right_amount
    currency = change.left_currency if change.left_amount is not None else change.right_currency
    told = {"discrepancy_amount": value, "discrepancy_currency": currency if value is not None else None}
    again = {"occurrence": change.occurrence if change.occurrence > 1 else None}
    return events.entry(
        kind, name, about, at, now, code=code, reason=reason, attributes={**attributes, **told, **again}, keys=keys
    )


def _money(amount: Decimal | None, currency: str | None) -> str:
    return f"{amount or 0:,.2f} {currency or ''}".strip()


# --- signals ----------------------------------------------------------------------------------------------------------


def verdict(name: str, one: Reconciliation, result: Result, now: datetime) -> Signal:
    """One alert for a reconciliation, as long as a day of its window is over the tolerance."""
    over = result.over
    if not over:
        return cleared(name, now, "within tolerance", KIND)
    worst, why = max(over, key=lambda pair: (_bad(pair[0]), pair[0].day))
    others = f"; {len(over) - 1} more days over tolerance" if len(over) > 1 else ""
    amount, currency = _at_stake([day for day, _ in over])
    last = midnight(max(day.day for day, _ in over) + timedelta(days=1), ZoneInfo(one.zone))
    return Signal(
        action="raise",
        kind=KIND,
        rule=name,
        group={},
        item=name,
        at=midnight(min(day.day for day, _ in over), ZoneInfo(one.zone)),
        title=f"Does not reconcile: {one.title or name}",
        summary=f"{worst.day.isoformat()}: {why}{others}"[:500],
        severity=one.severity,
        labels={"reconciliation": name},
        amount=amount,
        currency=currency,
        owner=one.owner,
        runbook=one.runbook,
        notify=one.notify and now - last < FRESH + length(one.settle),
    )


def cleared(name: str, now: datetime, why: str, rule: str) -> Signal:
    kind, rule = (KIND, name) if rule == KIND else ("platform", rule)
    return Signal("clear", kind, rule, {}, name, now, why=why)  # type: ignore[arg-type]


def failed(name: str, one: Reconciliation, error: str, now: datetime) -> Signal:
    """Milepost can't make the comparison: that is its own problem, not that of the business."""
    return Signal(
        action="raise",
        kind="platform",
        rule=FAILED,
        group={},
        item=name,
        at=now,
        title="A reconciliation can't be made",
        summary=f"{name}: {error}"[:500],
        labels={"reconciliation": name},
        owner=one.owner,
    )


def _bad(day: Day) -> int:
    return day.only_left + day.only_right + day.differing or abs(day.left - day.right)


def _at_stake(days: list[Day]) -> tuple[Decimal | None, str | None]:
    """The largest difference of a currency."""
    totals: dict[str, Decimal] = {}
    for day in days:
        for currency, (left, right) in day.amounts.items():
            totals[currency] = totals.get(currency, Decimal(0)) + abs(left - right)
    currency = max(totals, key=lambda name: totals[name], default="")
    amount = totals.get(currency)
    return (amount, currency) if amount and currency else (None, None)
