"""The event log: a queue of validated batches in PostgreSQL, one compressed row a commit.

`append` is true when the transaction commits: the batch is then on stable storage. `consume` deletes what it
returns, in the consumer's transaction: at-least-once in, exactly-once effects, and no cursor to lose. Batches come
out roughly in the order of their sequence; several consumers never see the same one (SKIP LOCKED).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa
import zstandard

from milepost.clock import from_us
from milepost.contract import Entry
from milepost.db.tables import event_log
from milepost.errors import TooLarge

APPEND_SQL: Final = "INSERT INTO input.event_log (received_at, events, payload) VALUES (%s, %s, %s)"
"""For the collector's asynchronous path; the parameters are those of `row`."""

_CONSUME: Final = sa.text(
    "WITH free AS (SELECT seq, events FROM input.event_log WHERE seq >= :low ORDER BY seq FOR UPDATE SKIP LOCKED LIMIT"
    # about as many as are taken: others pass over what is locked
    " (SELECT count(*) FROM (SELECT sum(events) OVER (ORDER BY seq) - events AS before FROM"
    " (SELECT seq, events FROM input.event_log WHERE seq >= :low ORDER BY seq LIMIT :batches) AS first) AS counted"
    " WHERE before < :events))"
    " DELETE FROM input.event_log WHERE seq = ANY(ARRAY(SELECT seq FROM"
    " (SELECT seq, sum(events) OVER (ORDER BY seq) - events AS before FROM free) AS counted WHERE before < :events))"
    " RETURNING seq, received_at, payload"
)
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[Entry])
_LEVEL: Final = 1
MAX_BYTES: Final = 1 << 30


UNREADABLE: Final = (zstandard.ZstdError, msgspec.MsgspecError, TooLarge)
"""What decoding a payload may raise."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A payload that can't be decoded, and why."""

    received_at: datetime
    payload: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One appended batch, decoded; or, without entries, what could not be decoded."""

    seq: int
    entries: list[Entry]
    unread: Unread | None = None


def row(entries: Sequence[Entry]) -> tuple[datetime, int, bytes]:
    """The columns (received_at, events, payload) of a batch that is not empty."""
    oldest = from_us(min(entry.received_us for entry in entries))
    return oldest, len(entries), encode_batch(entries)


def encode_batch(entries: Sequence[Entry]) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL).compress(_encoder.encode(entries))


def decode_batch(payload: bytes) -> list[Entry]:
    return _decoder.decode(unpack(payload))


def unpack(payload: bytes) -> bytes:
    """A zstd frame's content. Raises TooLarge over MAX_BYTES, also when the frame says so: zstd would believe it."""
    if zstandard.frame_content_size(payload) > MAX_BYTES:
        raise TooLarge(f"a stored batch claims more than {MAX_BYTES} bytes")
    return zstandard.ZstdDecompressor().decompress(payload, max_output_size=MAX_BYTES)


def append(connection: sa.Connection, entries: Sequence[Entry]) -> None:
    """Append one batch; nothing for an empty one. Durable when the caller's transaction commits."""
    if entries:
        received_at, events, payload = row(entries)
        connection.execute(event_log.insert().values(received_at=received_at, events=events, payload=payload))


def consume(connection: sa.Connection, batches: int, low_seq: int = 0, events: int = sys.maxsize) -> list[Batch]:
    """Take up to `batches` batches out of the log, oldest first, and none after those that have `events` events
    together; empty when there is nothing to do.

    `low_seq` is a hint that rows below it are gone: without it the scan passes all dead rows when an old snapshot is
    open. A sequence number can become visible after a higher one, so callers go back to 0 when they find nothing.
    """
    rows = connection.execute(_CONSUME, {"low": low_seq, "batches": batches, "events": events}).all()
    return sorted(
        (_batch(seq, received_at, payload) for seq, received_at, payload in rows),
        key=lambda batch: batch.seq,
    )


def _batch(seq: int, received_at: datetime, payload: bytes) -> Batch:
    try:
        return Batch(seq, decode_batch(payload))
    except UNREADABLE as error:
        return Batch(seq, [], Unread(received_at, payload, str(error)))


def oldest(connection: sa.Connection) -> datetime | None:
    """The oldest receive time in the log, None when it is empty."""
    found: datetime | None = connection.scalar(sa.select(sa.func.min(event_log.c.received_at)))
    return found
