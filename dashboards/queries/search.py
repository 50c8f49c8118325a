"""Search by any key: exact forms first, then what begins with it."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from milepost.catalog.keys import normalise
from milepost.catalog.schema import Catalog
from milepost.db.tables import correlations, members, objects

MAX_OBJECTS: Final = 200
MAX_JOURNEYS: Final = 1000


def forms(catalog: Catalog, text: str) -> list[str]:
    """The text, as typed and in capitals, as a key of each type would be written, without repeats."""
    typed = text.strip()
    kinds = ("", *catalog.keys)
    return sorted({form for kind in kinds for one in (typed, typed.upper()) if (form := normalise(catalog, kind, one))})


def find(connection: sa.Connection, catalog: Catalog, text: str) -> list[int]:
    """Ids of journeys with a member whose key is, or begins with, `text`; at most MAX_JOURNEYS."""
    wanted = forms(catalog, text)
    if not wanted:
        return []
    ids = _objects(connection, wanted)
    statement = (
        sa.select(members.c.journey_id)
        .distinct()
        .where(members.c.object_id.in_(ids))
        .order_by(members.c.journey_id.desc())
        .limit(MAX_JOURNEYS)
    )
    return list(connection.scalars(statement)) if ids else []


def _objects(connection: sa.Connection, wanted: list[str]) -> list[int]:
    """At most MAX_OBJECTS objects and as many correlations."""
    found: list[int] = []
    for table in (objects, correlations):
        exact = connection.scalars(select_exact(table, wanted)).all()
        room = MAX_OBJECTS - len(exact)
        found += exact
        if room > 0:
            found += connection.scalars(select_prefix(table, wanted, room)).all()
    return sorted(set(found))


def select_exact(table: sa.Table, wanted: list[str]) -> sa.Select[Any]:
    return sa.select(table.c.object_id).where(table.c.key.in_(wanted)).limit(MAX_OBJECTS)


def select_prefix(table: sa.Table, wanted: list[str], room: int) -> sa.Select[Any]:
    """The first `room` of each form, in the order of the key, so that an index can stop early."""
    branches = [
        sa.select(table.c.object_id, table.c.key)
        .where(table.c.key.like(_pattern(form)))
        .order_by(table.c.key)
        .limit(room)
        .subquery()
        for form in wanted
    ]
    every = sa.union_all(*(sa.select(branch.c.object_id, branch.c.key) for branch in branches)).subquery()
    return sa.select(every.c.object_id).order_by(every.c.key).limit(room)


def _pattern(text: str) -> str:
    for character in "\\%_":
        text = text.replace(character, "\\" + character)
    return text + "%"
