"""Ids of objects and correlations: allocated once, never reassigned."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from milepost.db.tables import objects


class Ref(NamedTuple):
    """An object by name: its type, its namespace ("" for none) and its normalised key."""

    type: str
    namespace: str
    key: str


CORRELATION: Final = "correlation"
"""The type of a correlation, which lives in a table of its own but shares the ids."""

_WANTED: Final = (
    "unnest(CAST(:types AS text[]), CAST(:namespaces AS text[]), CAST(:keys AS text[])) AS w(type, namespace, key)"
)
_INSERT: Final = sa.text(
    "INSERT INTO input.objects (object_id, type, namespace, key)"
    " SELECT nextval('input.object_ids'), w.type, w.namespace, w.key"
    f" FROM {_WANTED}"
    " ON CONFLICT DO NOTHING RETURNING object_id, type, namespace, key"
)
_SELECT: Final = sa.text(
    "SELECT o.object_id, o.type, o.namespace, o.key FROM input.objects AS o"
    f" JOIN {_WANTED}"
    " ON o.key = w.key AND o.type = w.type AND o.namespace = w.namespace AND o.epoch = 0"
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
    """The id of every ref, made where it is new. Sorted, so that concurrent callers can't deadlock."""
    plain = sorted((ref for ref in refs if ref.type != CORRELATION), key=lambda ref: (ref.key, ref.type, ref.namespace))
    found = _allocate_objects(connection, plain) if plain else {}
    keys = sorted(ref.key for ref in refs if ref.type == CORRELATION)
    return found | _allocate_correlations(connection, keys, now) if keys else found


def _allocate_objects(connection: sa.Connection, refs: list[Ref]) -> dict[Ref, int]:
    found = {Ref(*row[1:]): row[0] for row in connection.execute(_SELECT, _columns(refs))}
    missing = [ref for ref in refs if ref not in found]
    if missing:
        found |= {Ref(*row[1:]): row[0] for row in connection.execute(_INSERT, _columns(missing))}
    lost = [ref for ref in missing if ref not in found]
    if lost:  # somebody else committed them in between
        found |= {Ref(*row[1:]): row[0] for row in connection.execute(_SELECT, _columns(lost))}
    return found


def _columns(refs: list[Ref]) -> dict[str, list[str]]:
    types, namespaces, keys = zip(*refs, strict=True)
    return {"types": list(types), "namespaces": list(namespaces), "keys": list(keys)}


def _allocate_correlations(connection: sa.Connection, keys: list[str], now: datetime) -> dict[Ref, int]:
    made = connection.execute(_INSERT_CORRELATIONS, {"keys": keys, "now": now}).all()
    found = {Ref(CORRELATION, "", key): object_id for object_id, key in made}
    missing = [key for key in keys if Ref(CORRELATION, "", key) not in found]
    if missing:
        rows = connection.execute(_SELECT_CORRELATIONS, {"keys": missing})
        found |= {Ref(CORRELATION, "", key): object_id for object_id, key in rows}
    return found


def refs_of(connection: sa.Connection, ids: Collection[int]) -> dict[int, Ref]:
    """The names behind ids, of objects and of correlations."""
    statement = sa.text(
        "SELECT object_id, type, namespace, key FROM input.objects WHERE object_id = ANY(CAST(:ids AS bigint[]))"
        " UNION ALL SELECT object_id, :correlation, '', key FROM input.correlations"
        " WHERE object_id = ANY(CAST(:ids AS bigint[]))"
    )
    rows = connection.execute(statement, {"ids": sorted(ids), "correlation": CORRELATION})
    return {row[0]: Ref(row[1], row[2], row[3]) for row in rows}


def find(connection: sa.Connection, kind: str, key: str) -> dict[Ref, int]:
    """All objects of a type with a normalised key, over all namespaces."""
    statement = sa.select(objects).where(objects.c.key == key, objects.c.type == kind)
    return {Ref(row.type, row.namespace, row.key): row.object_id for row in connection.execute(statement)}
