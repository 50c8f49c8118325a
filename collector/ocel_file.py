"""OCEL files: which form one has, and what is in it.

An SQLite log has one table for each event and object type beside those of events, objects and relations:
https://www.ocel-standard.org/specification/formats/sqlite/
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from collector.formats.ocel import Log, LogEvent, LogObject, parse, typed
from milepost.errors import MalformedBody, NotFound

_SQLITE: Final = b"SQLite format 3\x00"
_BOM: Final = b"\xef\xbb\xbf"
_KINDS: Final = {
    "TEXT": "string", "TIMESTAMP": "time", "INTEGER": "integer", "REAL": "float", "BOOLEAN": "boolean",
}  # fmt: skip
Related = tuple[tuple[str, str], ...]


def read(path: Path) -> Log:
    """A log, JSON or SQLite. Raises MalformedBody, now or when its events are gone through, and NotFound."""
    try:
        with path.open("rb") as file:
            is_sqlite = file.read(len(_SQLITE)) == _SQLITE
        if is_sqlite:
            return Log(_Events(path), dict(_objects(path)))
        return parse(path.read_bytes().removeprefix(_BOM))
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}") from error
    except MalformedBody as error:
        raise MalformedBody(f"{path.name}: {error}") from error
    except sqlite3.Error as error:
        raise _no_log(path, error) from error


def _no_log(path: Path, error: sqlite3.Error) -> MalformedBody:
    return MalformedBody(f"{path.name}: no OCEL 2.0 log in SQLite: {error}")


def _opened(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True))


@dataclass(frozen=True, slots=True)
class _Events:
    """The events of a file, read as they are asked for."""

    path: Path

    def __iter__(self) -> Iterator[LogEvent]:
        try:
            with _opened(self.path) as file:
                for kind, key, row, related in _rows(file, "event", "event_object", "ocel_event_id", "ocel_object_id"):
                    yield LogEvent(key, kind, str(row[0].get("ocel_time")), related, _said(row[0]))
        except sqlite3.Error as error:
            raise _no_log(self.path, error) from error


def _objects(path: Path) -> Iterator[tuple[str, LogObject]]:
    with _opened(path) as file:
        for kind, key, rows, related in _rows(file, "object", "object_object", "ocel_source_id", "ocel_target_id"):
            values: dict[str, Any] = {}
            for row in sorted(rows, key=lambda row: str(row.get("ocel_time") or "")):  # the last value stands
                values |= _said(row)
            yield key, LogObject(key, kind, values, related)


def _said(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("ocel_")}


def _rows(
    file: sqlite3.Connection, what: str, pairs: str, one: str, other: str
) -> Iterator[tuple[str, str, list[dict[str, Any]], Related]]:
    """(type, id, its rows in the table of its type, what it is related to), an id after the other."""
    types = file.execute(f"SELECT ocel_type, ocel_type_map FROM {what}_map_type ORDER BY rowid").fetchall()
    for kind, suffix in types:
        table = '"' + f"{what}_{suffix}".replace('"', '""') + '"'
        columns = [(row[1], _KINDS.get(str(row[2]).upper(), "")) for row in file.execute(f"PRAGMA table_info({table})")]
        joined = file.execute(
            f"SELECT t.ocel_id, p.{other}, p.ocel_qualifier, t.* FROM {table} AS t LEFT JOIN {pairs} AS p"
            f" ON p.{one} = t.ocel_id ORDER BY t.ocel_id"
        )
        for key, group in groupby(joined, key=lambda row: row[0]):
            mine = list(group)
            related = dict.fromkeys((row[1], row[2] or "related") for row in mine if row[1] is not None)
            rows = dict.fromkeys(row[3:] for row in mine)
            yield kind, key, [_typed(row, columns) for row in rows], tuple(related)


def _typed(row: tuple[Any, ...], columns: list[tuple[str, str]]) -> dict[str, Any]:
    cells = zip(columns, row, strict=True)
    return {name: typed(value, of) for (name, of), value in cells if value is not None}
