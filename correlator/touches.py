"""What the recorder hands to the assembler: one compressed batch a transaction, consumed like the event log.

A batch carries facts that its transaction committed: the names behind new ids, new or improved relations, and for each
event a touch with the objects that it is about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import msgspec
import sqlalchemy as sa
import zstandard
from msgspec import Struct

from correlator.assess import Occurrence
from milepost.db.generation import LIVE
from milepost.db.tables import touches
from milepost.inbox import log


class Relation(Struct, array_like=True, gc=False):
    """Two related objects with the event that proves it. Times in microseconds."""

    first_id: int
    second_id: int
    rel: str
    occurred_us: int
    source: str
    event_id: str
    event_no: int
    received_us: int


class Touch(Occurrence, array_like=True, gc=False):
    """One stored event and the objects it is about: (object id, whether it is a subject), the subjects first.
    `partial`: it has subjects that aren't among them."""

    about: list[tuple[int, bool]]
    partial: bool = False


class TouchBatch(Struct, array_like=True, gc=False):
    """`names` gives (type, namespace, key) of every id in the batch. `again` are objects to look at anew, no more.

    `quiet`: what comes of it is no news to anybody.
    """

    names: dict[int, tuple[str, str, str]]
    relations: list[Relation]
    touches: list[Touch]
    again: list[int] = []
    quiet: bool = False


class Waiting(NamedTuple):
    """A batch that waits: the oldest receive time in it, and how many touches it has."""

    seq: int
    received_at: datetime
    touches: int


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(TouchBatch)
_LOWEST: Final = -(1 << 62)
_FIRST: Final = sa.text(
    "INSERT INTO derived.touches (seq, received_at, touches, payload) OVERRIDING SYSTEM VALUE"
    " SELECT coalesce(min(seq) - 1, nextval(pg_get_serial_sequence('derived.touches', 'seq'))),"
    " :received, :touches, :payload FROM derived.touches"
)
_PEEK: Final = sa.text(
    "SELECT seq, received_at, touches FROM derived.touches WHERE seq >= :low ORDER BY seq LIMIT :batches"
)
_CONSUME: Final = sa.text("DELETE FROM derived.touches WHERE seq BETWEEN :low AND :last RETURNING seq, payload")


def put(connection: sa.Connection, batch: TouchBatch, received_at: datetime, schema: str = LIVE) -> None:
    """Hand over a batch; `received_at` is the oldest receive time in it."""
    count = len(batch.touches) + len(batch.again)
    row = touches.insert().values(received_at=received_at, touches=count, payload=pack(batch))
    connection.execute(row, execution_options={"schema_translate_map": {LIVE: schema}})


def put_first(connection: sa.Connection, batch: TouchBatch, received_at: datetime) -> None:
    """Hand over a batch that is taken before all that wait."""
    values = {"received": received_at, "touches": len(batch.touches) + len(batch.again), "payload": pack(batch)}
    connection.execute(_FIRST, values)


def waiting(connection: sa.Connection) -> Iterator[tuple[int, TouchBatch]]:
    """All that wait, by their sequence."""
    seqs = connection.scalars(sa.select(touches.c.seq).order_by(touches.c.seq)).all()
    for seq in seqs:
        payload = connection.scalars(sa.select(touches.c.payload).where(touches.c.seq == seq)).one()
        yield seq, unpack(payload)


def replace(connection: sa.Connection, seq: int, batch: TouchBatch) -> None:
    """Let this batch wait in the place of another one."""
    count = len(batch.touches) + len(batch.again)
    connection.execute(touches.update().where(touches.c.seq == seq).values(touches=count, payload=pack(batch)))


def peek(connection: sa.Connection, batches: int, low_seq: int) -> Sequence[Waiting]:
    """The first `batches` batches that wait, from a sequence on, without what is in them."""
    rows = connection.execute(_PEEK, {"low": low_seq or _LOWEST, "batches": batches})
    return [Waiting(*row) for row in rows]


def take(connection: sa.Connection, batches: Sequence[Waiting]) -> list[TouchBatch]:
    """These batches, which are all from the first to the last, in their order; deleted in the caller's transaction."""
    rows = connection.execute(_CONSUME, {"low": batches[0].seq, "last": batches[-1].seq}).all()
    return [unpack(payload) for _, payload in sorted(rows)]


def take_one(connection: sa.Connection, seq: int) -> tuple[datetime, TouchBatch] | None:
    """One batch with its receive time, deleted in the caller's transaction; None when it is gone."""
    gone = touches.delete().where(touches.c.seq == seq).returning(touches.c.received_at, touches.c.payload)
    row = connection.execute(gone).one_or_none()
    return None if row is None else (row.received_at, unpack(row.payload))


def pack(batch: TouchBatch) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(_encoder.encode(batch))


def unpack(payload: bytes) -> TouchBatch:
    return _decoder.decode(log.unpack(payload))
