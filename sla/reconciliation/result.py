"""What one run found. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sla.reconciliation.judge import Day
from sla.reconciliation.statement import Window

_SUMMED: Final = ("only_left", "only_right", "differing", "excused")


@dataclass(frozen=True, slots=True)
class Change:
    """A discrepancy that was found, or is gone for the reason `why`. `seen_at`: when the side that lacked it told of
    it."""

    discrepancy_id: int
    kind: str
    object_id: int
    at: datetime
    occurrence: int
    left_amount: Decimal | None
    left_currency: str | None
    right_amount: Decimal | None
    right_currency: str | None
    why: str | None = None
    seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """`days` with why each is over its tolerance. `waits`: whom it waits for, where it did not compare up to the
    present."""

    run_id: int
    window: Window
    days: Sequence[tuple[Day, str | None]]
    opened: Sequence[Change]
    closed: Sequence[Change]
    waits: str | None = None

    @property
    def over(self) -> list[tuple[Day, str]]:
        """The days beyond their tolerance, with why."""
        return [(day, why) for day, why in self.days if why is not None]

    def counted(self, seconds: float) -> dict[str, Any]:
        """The columns of the run's row."""
        days = [day for day, _ in self.days]
        return {
            "left_count": sum(day.left for day in days),
            "right_count": sum(day.right for day in days),
            **{name: sum(getattr(day, name) for day in days) for name in _SUMMED},
            "until": self.window.until,
            "opened": len(self.opened),
            "closed": len(self.closed),
            "over": bool(self.over),
            "seconds": seconds,
            "note": self.waits,
        }
