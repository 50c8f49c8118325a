"""The quarantine: events that were refused, contradict what is stored, or can't be recorded, kept whole.

The only writer of input.quarantine. A row is true when the caller's transaction commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import sqlalchemy as sa

from milepost.db.tables import quarantine

Kind = Literal["refused", "conflict", "failed"]
"""refused: by the contract or for want of rights, at the edge. conflict: a known identity with other content.
failed: accepted, but recording it fails for ever."""

_COLUMNS: Final = ("received_at", "source", "kind", "reason", "event_id", "body", "sender")
ADD_SQL: Final = f"INSERT INTO input.quarantine ({', '.join(_COLUMNS)}) VALUES ({', '.join(['%s'] * len(_COLUMNS))})"
"""For the collector's asynchronous path; the parameters are those of `row`."""

MAX_TEXT: Final = 1000
_NUL: Final = "\x00"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One event for the quarantine. `source` and `event_id` are claims; `sender` is the name of the key, if any."""

    received_at: datetime
    source: str
    kind: Kind
    reason: str
    event_id: str | None
    body: bytes
    sender: str | None


def row(refusal: Refusal) -> tuple[datetime, str, str, str, str | None, bytes, str | None]:
    """The columns of a refusal. Text is made storable: what is refused may be refused for its characters."""
    return (
        refusal.received_at,
        _storable(refusal.source),
        refusal.kind,
        _storable(refusal.reason),
        None if refusal.event_id is None else _storable(refusal.event_id),
        refusal.body,
        refusal.sender,
    )


def add(connection: sa.Connection, refusals: Sequence[Refusal]) -> None:
    """Put refusals into the quarantine; nothing for an empty sequence."""
    if refusals:
        connection.execute(
            quarantine.insert(), [dict(zip(_COLUMNS, row(refusal), strict=True)) for refusal in refusals]
        )


def _storable(text: str) -> str:
    """PostgreSQL's text has no U+0000 and no surrogates."""
    return text[:MAX_TEXT].replace(_NUL, "\ufffd").encode(errors="replace").decode()
