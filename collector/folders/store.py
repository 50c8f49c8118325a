"""How far each file was read. Writes input.files and input.folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from collector.folders.listing import Found
from milepost.db.tables import files, folders
from milepost.errors import Conflict

State = Literal["reading", "done", "failed"]
MAX_ERROR: Final = 2000


@dataclass(frozen=True, slots=True)
class Progress:
    """A file that was begun."""

    file_id: int
    found: Found
    state: State
    position: int
    units: int
    accepted: int
    refused: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """Since when a folder fails, None when it doesn't: before it was looked at, and now."""

    before: datetime | None
    now: datetime | None


_FIELDS: Final = ("file_id", "state", "position", "units", "accepted", "refused", "error")
_FOUND: Final = ("name", "size", "modified_ns", "changed_ns")


def known(connection: sa.Connection, source: str, found: Sequence[Found]) -> dict[Found, Progress]:
    """What was begun of these files."""
    columns = [files.c[name] for name in (*_FIELDS, *_FOUND)]
    query = sa.select(*columns).where(files.c.source == source, files.c.name.in_([one.name for one in found]))
    rows = connection.execute(query).mappings()
    made = (
        {field: row[field] for field in _FIELDS} | {"found": Found(*(row[name] for name in _FOUND))} for row in rows
    )
    progress = (Progress(**one) for one in made)
    return {one.found: one for one in progress}


def begin(connection: sa.Connection, source: str, found: Found, now: datetime) -> Progress:
    """A file that is read from its start. Raises Conflict when another process has begun it."""
    values = {
        "source": source, "name": found.name, "size": found.size, "modified_ns": found.modified_ns,
        "changed_ns": found.changed_ns, "state": "reading", "position": 0, "units": 0, "accepted": 0, "refused": 0,
        "begun_at": now,
    }  # fmt: skip
    file_id = connection.scalar(insert(files).values(values).on_conflict_do_nothing().returning(files.c.file_id))
    if file_id is None:
        raise Conflict(f"another process reads {found.name} at the same time")
    return Progress(file_id, found, "reading", 0, 0, 0, 0, None)


def move_on(connection: sa.Connection, before: Progress, after: Progress, now: datetime) -> None:
    """From `before` to `after`, in the caller's transaction. Raises Conflict when another process has moved it."""
    values = {field: getattr(after, field) for field in _FIELDS if field != "file_id"}
    if after.state != "reading":
        values["ended_at"] = now
    same = (files.c.file_id == before.file_id, files.c.position == before.position, files.c.state == before.state)
    if connection.execute(sa.update(files).where(*same).values(values)).rowcount != 1:
        raise Conflict(f"another process reads {before.found.name} at the same time")


def forget(connection: sa.Connection, file_id: int) -> None:
    """Read it from its start when it is found again."""
    connection.execute(sa.delete(files).where(files.c.file_id == file_id))


def looked(connection: sa.Connection, source: str, waiting: int, error: str | None, now: datetime) -> Health:
    """Note that a folder was looked at."""
    before = connection.scalar(sa.select(folders.c.failing_since).where(folders.c.source == source).with_for_update())
    since = None if error is None else before or now
    values = {"looked_at": now, "waiting": waiting, "error": error and error[:MAX_ERROR], "failing_since": since}
    made = insert(folders).values(source=source, **values)
    connection.execute(made.on_conflict_do_update(index_elements=["source"], set_=values))
    return Health(before, since)


def drop_others(connection: sa.Connection, sources: Sequence[str]) -> list[str]:
    """Forget folders that the catalog no longer names; returns their sources."""
    gone = sa.delete(folders).where(folders.c.source.not_in(list(sources))).returning(folders.c.source)
    return list(connection.scalars(gone))
