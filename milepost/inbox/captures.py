"""What became of EPCIS captures, for their senders to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from milepost.db.tables import captures

KEPT: Final = timedelta(days=30)
MAX_ERRORS: Final = 100
_DROPPED_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Capture:
    """One capture, when it is over. `sender` is the name of the key; without `errors` it succeeded."""

    capture_id: str
    created_at: datetime
    finished_at: datetime
    sender: str
    behaviour: str
    errors: Sequence[Mapping[str, Any]]


def add(connection: sa.Connection, capture: Capture) -> None:
    """Keep it, and drop some of those that are too old. Belongs to the caller's transaction."""
    c = captures.c
    old = sa.select(c.capture_id).where(c.created_at < capture.created_at - KEPT).order_by(c.created_at)
    connection.execute(sa.delete(captures).where(c.capture_id.in_(old.limit(_DROPPED_AT_ONCE))))
    connection.execute(
        sa.insert(captures).values(
            capture_id=capture.capture_id,
            created_at=capture.created_at,
            finished_at=capture.finished_at,
            sender=capture.sender,
            behaviour=capture.behaviour,
            errors=list(capture.errors[:MAX_ERRORS]),
        )
    )


def find(connection: sa.Connection, capture_id: str, sender: str) -> Capture | None:
    """The capture, if it is this sender's."""
    c = captures.c
    found = sa.select(captures).where(c.capture_id == capture_id, c.sender == sender)
    row = connection.execute(found).mappings().one_or_none()
    return None if row is None else Capture(**row)
