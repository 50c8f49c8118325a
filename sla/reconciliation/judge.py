"""Whether a day is within tolerance, and why not in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final

from milepost.catalog.reconciliation import Reconciliation, Tolerance

_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Day:
    """What both sides have of a day. `units`: how many objects or journeys there are, whichever side has them.

    `amounts` are (left, right) by currency. Not `judged`: totals of a day that isn't over.
    """

    day: date
    left: int = 0
    right: int = 0
    only_left: int = 0
    only_right: int = 0
    differing: int = 0
    excused: int = 0
    units: int = 0
    amounts: Mapping[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    judged: bool = True


def why_over(one: Reconciliation, day: Day) -> str | None:
    """What is beyond the tolerance, in words; None for a day within it."""
    if not day.judged:
        return None
    return "; ".join(_reasons(one, day)) or None


def _reasons(one: Reconciliation, day: Day) -> Iterator[str]:
    if one.by != "day":
        bad = day.only_left + day.only_right + day.differing
        if bad and bad > one.tolerance.share * day.units:
            yield f"{_parts(one, day)} of {day.units} ({_percent(bad, day.units)})"
    elif one.compare == "count":
        difference, most = abs(day.left - day.right), max(day.left, day.right)
        if difference > one.tolerance.share * most:
            yield f"{day.left} and {day.right}, {_percent(difference, most)} apart"
    else:
        for currency, (left, right) in sorted(day.amounts.items()):
            if abs(left - right) > allowed(one.tolerance, currency, left, right):
                yield f"{left:.2f} and {right:.2f} {currency}, {abs(left - right):.2f} apart"


def allowed(tolerance: Tolerance, currency: str, left: Decimal, right: Decimal) -> Decimal:
    """By how much two amounts may differ: the larger of the share and the amount."""
    share = Decimal(str(tolerance.percent)) / 100 * max(abs(left), abs(right))
    return max(share, tolerance.amount.get(currency, _NOTHING))


def _parts(one: Reconciliation, day: Day) -> str:
    parts = [
        f"{day.only_left} missing in {one.name_of('right')}" if day.only_left else "",
        f"{day.only_right} missing in {one.name_of('left')}" if day.only_right else "",
        f"{day.differing} with another amount" if day.differing else "",
    ]
    return ", ".join(part for part in parts if part)


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "0.0%"
