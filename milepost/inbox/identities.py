"""Which events are known: 16-byte identities in generations.

One hot table takes the inserts; sealed ones are only probed, and pruning drops a whole generation. (One ever-growing
primary key slows down with its size; hot and sealed tables keep the pace.)

A generation counts for as long as it has a row. Its table goes later, when nobody reads it: a dump reads for hours.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Final

import sqlalchemy as sa

from milepost.db.engine import array_literal
from milepost.db.staging import copy_new
from milepost.db.tables import identity_generations as generations
from milepost.db.timescale import PATIENCE

HOT_IDENTITIES: Final = 5_000_000
HOT_AGE: Final = timedelta(days=1)
_LOCK: Final = 7_226_001  # shared by recorders, exclusive while the hot generation changes
_FORGOTTEN: Final = sa.text(
    "SELECT relname FROM pg_class WHERE relnamespace = CAST('input' AS regnamespace) AND relkind = 'r'"
    " AND relname ~ '^identities_[0-9]+$'"
    " AND NOT EXISTS (SELECT FROM input.identity_generations WHERE relname = 'identities_' || generation) LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of the claimed identities: `new` ones are now stored; `stored` has the content of all others."""

    new: frozenset[bytes]
    stored: Mapping[bytes, int]


def claim(connection: sa.Connection, contents: Mapping[bytes, int]) -> Seen:
    """Store the identities that nobody stored yet.

    `contents` maps identity to content hash. Concurrent claims of one identity wait for each other; the first to
    commit stands. Belongs to the caller's transaction.
    """
    if not contents:
        return Seen(frozenset(), {})
    connection.execute(sa.text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": _LOCK})
    hot, sealed = _generations(connection)
    while True:
        stored = _stored(connection, [hot, *sealed], list(contents))
        new = sorted(contents.keys() - stored.keys())
        # each round finds what somebody else committed during the last one
        if copy_new(connection, _generation(hot), [(identity, contents[identity]) for identity in new]):
            return Seen(frozenset(new), stored)


@cache
def _generation(number: int) -> sa.Table:
    columns = (sa.Column("identity", sa.LargeBinary), sa.Column("content", sa.BigInteger))
    return sa.Table(f"identities_{number}", sa.MetaData(), *columns, schema="input")


def look_up(connection: sa.Connection, identities: Collection[bytes]) -> Mapping[bytes, int]:
    """The content of those that are stored. What still lies in the event log is not."""
    if not identities:
        return {}
    connection.execute(sa.text("SELECT pg_advisory_xact_lock_shared(:lock)"), {"lock": _LOCK})
    hot, sealed = _generations(connection)
    return _stored(connection, [hot, *sealed], list(identities))


def _stored(connection: sa.Connection, numbers: list[int], identities: list[bytes]) -> dict[bytes, int]:
    parts = [
        f"SELECT identity, content FROM input.identities_{n} WHERE identity = ANY(CAST(:ids AS uuid[]))"
        for n in numbers
    ]
    rows = connection.execute(
        sa.text(" UNION ALL ".join(parts)), {"ids": array_literal([identity.hex() for identity in identities])}
    )
    return {identity.bytes: content for identity, content in rows}


def _generations(connection: sa.Connection) -> tuple[int, list[int]]:
    """The hot generation and the sealed ones."""
    rows = connection.execute(sa.select(generations.c.generation, generations.c.sealed_at)).all()
    hot = [number for number, sealed_at in rows if sealed_at is None]
    if not hot:
        raise RuntimeError("there is no hot generation of identities; call roll_over first")
    return hot[0], sorted(number for number, sealed_at in rows if sealed_at is not None)


def roll_over(connection: sa.Connection, now: datetime, keep: timedelta) -> None:
    """Seal the hot generation when it is full or old, make the next one, and forget those sealed before `now - keep`.

    Safe to call at any time, from any process. When there is something to do, it waits for the recorders' open
    transactions, and new ones wait for it: commit soon.
    """
    if not _is_due(connection, now):
        return
    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if not _is_due(connection, now):  # somebody else was faster
        return
    number = (connection.scalar(sa.select(sa.func.max(generations.c.generation))) or 0) + 1
    connection.execute(
        sa.text(f"CREATE TABLE input.identities_{number} (identity uuid PRIMARY KEY, content bigint NOT NULL)")
    )
    connection.execute(generations.update().where(generations.c.sealed_at.is_(None)).values(sealed_at=now))
    connection.execute(generations.insert().values(generation=number, created_at=now))
    connection.execute(generations.delete().where(generations.c.sealed_at < now - keep))


def _is_due(connection: sa.Connection, now: datetime) -> bool:
    row = connection.execute(sa.select(generations).where(generations.c.sealed_at.is_(None))).one_or_none()
    return row is None or _is_full(connection, row, now)


def _is_full(connection: sa.Connection, row: sa.Row[tuple[object, ...]], now: datetime) -> bool:
    estimate = connection.scalar(
        sa.text("SELECT n_live_tup FROM pg_stat_user_tables WHERE schemaname = 'input' AND relname = :name"),
        {"name": f"identities_{row.generation}"},
    )
    count = estimate or 0
    return count >= HOT_IDENTITIES or (count > 0 and now - row.created_at >= HOT_AGE)


def drop_forgotten(connection: sa.Connection) -> bool:
    """Drop the table of one generation that no longer counts; whether there was one.

    Belongs in a transaction of its own, without other locks: whoever comes to read the table waits for it, for PATIENCE
    at most. Raises Transient when somebody reads it now; try again later.
    """
    name = connection.scalar(_FORGOTTEN)
    if name is None:
        return False
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{PATIENCE}'"))
    connection.execute(sa.text(f"DROP TABLE IF EXISTS input.{name}"))
    return True
