"""Ids of objects and correlations: allocated once, never reassigned."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Final, NamedTuple

import sqlalchemy as sa

from milepost.catalog.schema import CORRELATION
from milepost.clock import to_us
from milepost.db.engine import array_literal, next_numbers
from milepost.db.staging import copy_new, given
from milepost.db.tables import objects


class Ref(NamedTuple):
    """An object by name: its type, its namespace ("" for none) and its normalised key."""

    type: str
    namespace: str
    key: str


class Epoch(NamedTuple):
    """A later object of a key that people split. `key` is the key as it is `shown`."""

    type: str
    namespace: str
    key: str
    object_id: int


Splits = Mapping[Ref, Sequence[tuple[int, Epoch]]]
"""The later objects of each split key, each with its beginning in microseconds, in the order of time."""


_COLUMNS: Final = {"type": "text", "namespace": "text", "key": "text"}
# LIMIT keeps the planner from reading the whole table where it may probe it
_SELECT: Final = (
    "SELECT o.object_id, wanted.type, wanted.namespace, wanted.key FROM {} CROSS JOIN LATERAL"
    " (SELECT object_id FROM input.objects AS i WHERE i.key = wanted.key AND i.type = wanted.type"
    " AND i.namespace = wanted.namespace AND i.epoch = 0 LIMIT 1) AS o"
)
_SPLITS: Final = sa.text(
    "SELECT object_id, type, namespace, key, since FROM input.objects WHERE since IS NOT NULL ORDER BY since"
)
_NEXT_EPOCH: Final = sa.text(
    "INSERT INTO input.objects (object_id, type, namespace, key, epoch, since)"
    " SELECT nextval('input.object_ids'), :type, :namespace, :key, coalesce(max(epoch), 0) + 1, :since"
    " FROM input.objects WHERE key = :key AND type = :type AND namespace = :namespace"
)
_SAME: Final = sa.text(
    "SELECT object_id FROM input.objects WHERE key = :key AND type = :type AND namespace = :namespace"
    " UNION ALL SELECT object_id FROM input.correlations WHERE key = :key AND :type = :correlation"
)
_INSERT_CORRELATIONS: Final = sa.text(
    "INSERT INTO input.correlations (object_id, key, created_at)"
    " SELECT nextval('input.object_ids'), w.key, :now FROM unnest(CAST(:keys AS text[])) AS w(key)"
    " ON CONFLICT DO NOTHING RETURNING object_id, key"
)
_SELECT_CORRELATIONS: Final = sa.text(
    "SELECT object_id, key FROM input.correlations WHERE key = ANY(CAST(:keys AS text[]))"
)


def allocate(connection: sa.Connection, refs: Collection[Ref], now: datetime) -> dict[Ref, int]:
    """The id of every ref, made where it is new. Written in the order of their keys, so that nobody deadlocks."""
    plain = [ref for ref in refs if ref.type != CORRELATION]
    found = _allocate_objects(connection, plain) if plain else {}
    keys = sorted(ref.key for ref in refs if ref.type == CORRELATION)
    return found | _allocate_correlations(connection, keys, now) if keys else found


def _allocate_objects(connection: sa.Connection, refs: list[Ref]) -> dict[Ref, int]:
    """Look up, and make what is missing; again, where somebody else makes the same at this moment."""
    found: dict[Ref, int] = {}
    missing = refs
    while missing:
        source, parameters = given(connection, "wanted", _COLUMNS, missing)
        rows = connection.execute(sa.text(_SELECT.format(source)), parameters)
        found.update((Ref(kind, namespace, key), object_id) for object_id, kind, namespace, key in rows)
        missing = sorted([ref for ref in missing if ref not in found], key=_by_key)
        ids = next_numbers(connection, "input.object_ids", len(missing))
        made = [(number, *ref, 0, None) for number, ref in zip(ids, missing, strict=True)]
        if copy_new(connection, objects, made):
            found.update(zip(missing, ids, strict=True))
            break
    return found


def _by_key(ref: Ref) -> tuple[str, str, str]:
    """The order in which all recorders make objects."""
    return ref.key, ref.type, ref.namespace


def _allocate_correlations(connection: sa.Connection, keys: list[str], now: datetime) -> dict[Ref, int]:
    made = connection.execute(_INSERT_CORRELATIONS, {"keys": keys, "now": now}).all()
    found = {Ref(CORRELATION, "", key): object_id for object_id, key in made}
    missing = [key for key in keys if Ref(CORRELATION, "", key) not in found]
    if missing:
        rows = connection.execute(_SELECT_CORRELATIONS, {"keys": missing})
        found |= {Ref(CORRELATION, "", key): object_id for object_id, key in rows}
    return found


def refs_of(connection: sa.Connection, ids: Collection[int]) -> dict[int, Ref]:
    """The names behind ids, of objects and of correlations, with their keys as they are `shown`."""
    statement = sa.text(
        "SELECT object_id, type, namespace, key, since FROM input.objects WHERE object_id = ANY(CAST(:ids AS bigint[]))"
        " UNION ALL SELECT object_id, :correlation, '', key, NULL FROM input.correlations"
        " WHERE object_id = ANY(CAST(:ids AS bigint[]))"
    )
    rows = connection.execute(statement, {"ids": array_literal(sorted(ids)), "correlation": CORRELATION})
    return {row[0]: Ref(row[1], row[2], shown(row[3], row[4])) for row in rows}


def shown(key: str, since: datetime | None) -> str:
    """A key as people read it: of a later epoch with the day, or the second in UTC, from which it names this object."""
    if since is None:
        return key
    at = since.astimezone(UTC)
    return f"{key} (since {at:%Y-%m-%d})" if at.time() == time() else f"{key} (since {at:%Y-%m-%d %H:%M:%S}Z)"


# --- epochs -----------------------------------------------------------------------------------------------------------


def splits(connection: sa.Connection) -> Splits:
    """The keys that are split now. Whoever holds a lock on the touches may rely on it until the transaction ends."""
    found: dict[Ref, list[tuple[int, Epoch]]] = {}
    for object_id, kind, namespace, key, since in connection.execute(_SPLITS):
        epoch = Epoch(kind, namespace, shown(key, since), object_id)
        found.setdefault(Ref(kind, namespace, key), []).append((to_us(since), epoch))
    return found


def begin_epoch(connection: sa.Connection, ref: Ref, since: datetime) -> None:
    """Make another object of this name, which it names from then on."""
    connection.execute(_NEXT_EPOCH, {**ref._asdict(), "since": since})


def end_epochs(connection: sa.Connection, ids: Collection[int]) -> None:
    """Let these objects be named no more. They keep their ids."""
    connection.execute(
        sa.text("UPDATE input.objects SET since = NULL WHERE object_id = ANY(CAST(:ids AS bigint[]))"),
        {"ids": sorted(ids)},
    )


def ids_of(connection: sa.Connection, ref: Ref) -> set[int]:
    """The objects of a name, of all epochs, those that ended too."""
    return set(connection.scalars(_SAME, {**ref._asdict(), "correlation": CORRELATION}))


def newest(connection: sa.Connection) -> int:
    """The greatest id given so far, by transactions still open too."""
    found: int = connection.scalar(sa.text("SELECT last_value FROM input.object_ids"))
    return found
