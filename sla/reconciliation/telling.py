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
    name: str, one: Reconciliation, result: Result, former: Mapping[date, str | None], now: datetime
) -> Iterator[Entry]:
    """Of a comparison of totals: the days that are over their tolerance now, and those that no longer are."""
    for day, why in result.days:
        if (why is None) == (former.get(day.day) is None):
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
    told = {"amount": value, "currency": currency if value is not None else None}  # what a breach of a promise is worth
    again = {"occurrence": change.occurrence if change.occurrence > 1 else None}
    return events.entry(
        kind, name, about, at, now, code=code, reason=reason, attributes={**attributes, **told, **again}, keys=keys
    )


def _money(amount: Decimal | None, currency: str | None) -> str:
    return f"{amount or 0:,.2f} {currency or ''}".strip()


# --- signals ----------------------------------------------------------------------------------------------------------


def verdicts(
    name: str, one: Reconciliation, result: Result, former: Mapping[date, str | None], alerting: date, now: datetime
) -> list[Signal]:
    """One alert for a reconciliation, with an item for each day over its tolerance: what is new or has changed of it.

    `former`: why days were over before; those that are no longer compared are in it too, and end. Days before
    `alerting` are history.
    """
    why_of = dict.fromkeys(former) | {day.day: why for day, why in result.days}
    days = {day.day: day for day, _ in result.days}
    signals = []
    for day, why in sorted(why_of.items()):
        if why == former.get(day) or (why is not None and day < alerting):
            continue
        left = day < alerting
        signals.append(
            _cleared(name, day, now, "too old to be compared" if left else "within tolerance")
            if why is None
            else _raised(name, one, days[day], why, now)
        )
    return signals


def _raised(name: str, one: Reconciliation, day: Day, why: str, now: datetime) -> Signal:
    amount, currency = _at_stake(day)
    begin, over = (midnight(day.day + timedelta(days=more), ZoneInfo(one.zone)) for more in (0, 1))
    return Signal(
        action="raise",
        kind=KIND,
        rule=name,
        group={},
        item=f"{name}/{day.day}",
        at=begin,
        title=f"Does not reconcile: {one.title or name}",
        summary=f"{day.day}: {why}"[:500],
        severity=one.severity,
        labels={"reconciliation": name},
        amount=amount,
        currency=currency,
        owner=one.owner,
        runbook=one.runbook,
        notify=one.notify and now - over < FRESH + length(one.settle),
    )


def _cleared(name: str, day: date, now: datetime, why: str) -> Signal:
    return Signal("clear", KIND, name, {}, f"{name}/{day}", now, why=why)


def withdrawn(name: str, item: str, now: datetime) -> Signal:
    """The catalog no longer has it."""
    return Signal("clear", KIND, name, {}, item, now, why="withdrawn")


def works_again(name: str, now: datetime) -> Signal:
    return Signal("clear", "platform", FAILED, {}, name, now, why="it can be made again")


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


def _at_stake(day: Day) -> tuple[Decimal | None, str | None]:
    """The largest difference of a currency."""
    apart = {currency: abs(left - right) for currency, (left, right) in day.amounts.items() if currency}
    currency = max(apart, key=lambda name: apart[name], default="")
    return (apart[currency], currency) if apart.get(currency) else (None, None)
