"""The words of an alert. Pure: figures in, plain sentences out; times in UTC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from alerting.explain import Cause, Findings, Totals

_NOUNS: Final = {
    "sla": ("breach", "breaches"),
    "objective": ("burning budget", "burning budgets"),
    "anomaly": ("anomaly", "anomalies"),
    "reconciliation": ("day over tolerance", "days over tolerance"),
    "platform": ("problem", "problems"),
}
_ENDS: Final = {
    "late": "done late",
    "retracted": "taken back by late evidence",
    "cancelled": "cancelled",
    "absorbed": "absorbed by another journey",
    "withdrawn": "withdrawn with the rule",
    "": "cleared",
}
_HEADS: Final = {
    "opened": "",
    "reopened": "Firing again: ",
    "updated": "Update: ",
    "escalated": "Not acknowledged: ",
    "acknowledged": "Acknowledged: ",
    "resolved": "Resolved: ",
    "digest": "",
}


def title(name: str, group: Mapping[str, str]) -> str:
    """The rule's name with the group's values, unless the name says them already."""
    missing = [f"{label} {value}" for label, value in sorted(group.items()) if value not in name]
    return f"{name} ({', '.join(missing)})" if missing else name


def headline(event: str, severity: str, name: str, totals: Totals) -> str:
    """One line for a subject or a chat."""
    count = f" · {totals.items_open} open" if totals.items_open > 1 else ""
    return f"[{severity}] {_HEADS[event]}{name}{count}"


def summary(kind: str, totals: Totals, findings: Findings, *, lasted: timedelta, groups: int = 0) -> str:
    """What is known now: how many, the money, the oldest, what explains them; or how it all ended.

    `groups`: how many were folded into this alert.
    """
    if totals.items_open:
        parts = [f"{_count(kind, totals.items_open)} open{_spread(groups)}.", *_whose(findings)]
        parts += [*_money("At risk", totals), *_oldest(totals)]
    else:
        parts = [_over(kind, totals, lasted), *_money("Was at risk", totals)]
    return " ".join([*parts, *([because(findings.cause, findings.model)] if findings.cause else [])])


def because(cause: Cause, model: str) -> str:
    """What explains the wave: "48 of 50 have warehouse north, as do 18 % of the 212 other open orders."."""
    who = "All" if cause.having == cause.items else f"{cause.having:,} of {cause.items:,}"
    return f"{who} have {named(cause.values)}, {_others(cause, model)}."


def named(values: Mapping[str, str]) -> str:
    """Labels with their values: "warehouse north and carrier dhl"."""
    return " and ".join(f"{label} {value}" for label, value in values.items())


def journeys(number: int, model: str) -> str:
    """So many of a kind of journey: "1 order", "48 purchase orders"."""
    noun = model.replace("_", " ") or "journey"
    return f"{number:,} {noun if number == 1 else noun + 's'}"


def concerns(model: str, number: int, customers: int) -> str:
    """Whom it concerns: "48 orders of 31 customers"."""
    of = f" of {customers:,} customer{'' if customers == 1 else 's'}" if customers else ""
    return journeys(number, model) + of


def money(amounts: Mapping[str, Decimal]) -> str:
    """Amounts by currency, largest first: "12,300.50 EUR, 800.00 USD"."""
    ordered = sorted(amounts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{amount:,.2f} {currency or 'of unknown currency'}" for currency, amount in ordered)


def ending(why: str) -> str:
    """How an item ended, for people: what a clear's `why` means, or its own words."""
    return _ENDS.get(why, why)


def when(at: datetime) -> str:
    """A time for people: "20 Nov 2026 10:02 UTC"."""
    return f"{at.day} {at:%b %Y %H:%M} UTC"


def length(span: timedelta) -> str:
    """A length of time for people, in its two largest units: "2 h 5 min"."""
    seconds = max(0, int(span.total_seconds()))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for unit, size in units:
        amount, seconds = divmod(seconds, size)
        parts.append((amount, unit))
    first = next((index for index, (amount, _) in enumerate(parts) if amount), len(parts) - 1)
    shown = [f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount]
    return " ".join(shown) or "0 s"


def _count(kind: str, number: int) -> str:
    one, many = _NOUNS.get(kind, ("item", "items"))
    return f"{number} {one if number == 1 else many}"


def _money(lead: str, totals: Totals) -> Iterable[str]:
    return [f"{lead}: {money(totals.money)}."] if totals.money else []


def _oldest(totals: Totals) -> Iterable[str]:
    if totals.oldest_at is None:
        return []
    what = f": {totals.oldest.rstrip('.')}" if totals.oldest else ""
    return [f"Oldest since {when(totals.oldest_at)}{what}."]


def _spread(groups: int) -> str:
    return f" in {groups:,} groups" if groups else ""


def _whose(findings: Findings) -> Iterable[str]:
    """Of how many journeys and customers, where that says more than the number of items."""
    if not findings.customers:
        return []
    return [f"{concerns(findings.model, findings.journeys, findings.customers)}."]


def _others(cause: Cause, model: str) -> str:
    others = f"the {journeys(cause.others, f'other open {model}')}"
    if not cause.others_having:
        return f"and none of {others}"
    percent = 100 * cause.others_having / cause.others
    return f"as do {f'{percent:.0f}' if percent >= 1 else 'under 1'} % of {others}"


def _over(kind: str, totals: Totals, lasted: timedelta) -> str:
    lead = f"All {_count(kind, totals.items_total)} are over" if totals.items_total > 1 else "It is over"
    ends = sorted(totals.ended.items(), key=lambda pair: (-pair[1], pair[0]))
    how = [ending(why) if len(ends) == 1 else f"{number} {ending(why)}" for why, number in ends]
    return f"{lead} after {length(lasted)}: {', '.join(how)}."
