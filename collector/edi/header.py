"""Who sends an interchange to whom, and when it was made."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Party:
    """An EDI address: its id, and the qualifier that says whose numbering it is."""

    qualifier: str
    id: str

    def __str__(self) -> str:
        return f"{self.qualifier}:{self.id}" if self.qualifier else self.id


@dataclass(frozen=True, slots=True)
class Header:
    """What the interchange header says. `prepared` is wall time at the sender, None when it is no time."""

    sender: Party
    receiver: Party
    control: str
    prepared: datetime | None
    test: bool


def wall_time(date: str, time: str) -> datetime | None:
    """(YY)YYMMDD and HHMM[SS…] as a wall time; None unless both are there and exist."""
    digits = date + time
    if len(date) not in (6, 8) or len(time) < 4 or not (digits.isascii() and digits.isdigit()):
        return None
    full = date if len(date) == 8 else f"20{date}"
    try:
        return datetime.strptime(full + time[:6].ljust(6, "0"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - wall time
    except ValueError:
        return None
