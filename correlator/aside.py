"""A touch that fails for ever: found by halving its batch in the queue, and then set aside in the quarantine.

The queue itself keeps the halves, so that each attempt is a step like any other and a restart loses no progress.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from correlator.touches import Relation, Touch, TouchBatch, put, take_one
from milepost.clock import from_us
from milepost.db.tables import events
from milepost.inbox import quarantine
from milepost.inbox.quarantine import Refusal

Done = Literal["split", "dropped", "kept"]


def take_apart(
    connection: sa.Connection, seq: int, error: str, now: datetime, *, drop: bool, quarantined: bool = True
) -> Done:
    """Put a batch back as two halves. What is one touch alone goes to quarantine, or back to the end of the queue.

    Without `quarantined` it goes nowhere: what is only tried loses nothing.
    """
    found = take_one(connection, seq)
    if found is None:
        return "split"
    received_at, batch = found
    parts = halves(batch)
    for part in parts:
        put(connection, part, received_at)
    if parts:
        return "split"
    if not drop:
        put(connection, batch, received_at)
        return "kept"
    if quarantined:
        quarantine.add(connection, [_refusal(connection, batch, error, now)])
    return "dropped"


def halves(batch: TouchBatch) -> list[TouchBatch]:
    """The batch in two; empty for one of a single touch, relation or object."""
    names, relations, touches, again = batch.names, batch.relations, batch.touches, batch.again
    kinds = [kind for kind in (relations, touches, again) if kind]
    if sum(map(len, kinds)) < 2:
        return []
    if len(kinds) > 1:
        rest = TouchBatch(names, [], touches if relations else [], again, batch.quiet)
        return [TouchBatch(names, relations, [] if relations else touches), rest]
    middle = (len(kinds[0]) + 1) // 2
    return [
        TouchBatch(names, relations[part], touches[part], again[part], batch.quiet)
        for part in (slice(None, middle), slice(middle, None))
    ]


def _refusal(connection: sa.Connection, batch: TouchBatch, error: str, now: datetime) -> Refusal:
    """What the quarantine shows: the event behind a touch or a relation, whole."""
    reason = f"recorded, but its journey can't be put together: {error}"
    causes: list[Touch | Relation] = [*batch.touches, *batch.relations]
    if not causes:
        return Refusal(now, "", "failed", f"object {batch.again}: {reason}", None, b"", None, "touch")
    cause = causes[0]
    received_at = from_us(cause.received_us)
    its = (events.c.event_no == cause.event_no) & (events.c.received_at == received_at)
    body = connection.scalar(sa.select(sa.cast(events.c.body, sa.Text)).where(its)) or ""
    return Refusal(received_at, cause.source, "failed", reason, cause.event_id, body.encode(), None, "touch")
