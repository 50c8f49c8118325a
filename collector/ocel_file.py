"""OCEL files: which form one has, and what is in it.

An SQLite log has one table for each event and object type beside those of events, objects and relations:
https://www.ocel-standard.org/specification/formats/sqlite/
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from collector.formats.ocel import Log, LogEvent, LogObject, parse, typed
from milepost.errors import MalformedBody, NotFound

_SQLITE: Final = b"SQLite format 3\x00"
_KINDS: Final = {
    "TEXT": "string", "TIMESTAMP": "time", "INTEGER": "integer", "REAL": "float", "BOOLEAN": "boolean",
}  # fmt: skip
Pairs = dict[str, list[tuple[str, str]]]


def read(path: Path) -> Log:
    """A whole log, JSON or SQLite. Raises MalformedBody, NotFound."""
    try:
        with path.open("rb") as file:
            is_sqlite = file.read(len(_SQLITE)) == _SQLITE
        return _sqlite(path) if is_sqlite else parse(msgspec.json.decode(path.read_text("utf-8-sig")))
    except FileNotFoundError as error:
        raise NotFound(f"{path}: there is no such file") from error
    except UnicodeDecodeError as error:
        raise MalformedBody(f"{path.name}: neither SQLite nor JSON in UTF-8: {error}") from error
    except msgspec.DecodeError as error:
        raise MalformedBody(f"{path.name}: not valid JSON: {error}") from error
    except sqlite3.Error as error:
        raise MalformedBody(f"{path.name}: no OCEL 2.0 log in SQLite: {error}") from error


def _sqlite(path: Path) -> Log:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as file:
        of_events = _pairs(file, "event_object", "ocel_event_id", "ocel_object_id")
        of_objects = _pairs(file, "object_object", "ocel_source_id", "ocel_target_id")
        events = [
            LogEvent(key, kind, str(row.pop("ocel_time")), tuple(of_events.get(key, ())), row)
            for kind, key, row in _rows(file, "event")
        ]
        values: dict[str, dict[str, Any]] = {}
        for _, key, row in _rows(file, "object"):  # in the order of time: the last value stands
            values.setdefault(key, {}).update(_said(row))
        objects = {
            key: LogObject(key, kind, values.get(key, {}), tuple(of_objects.get(key, ())))
            for key, kind in file.execute("SELECT ocel_id, ocel_type FROM object ORDER BY rowid")
        }
    return Log(events, objects)


def _said(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("ocel_")}


def _pairs(file: sqlite3.Connection, table: str, one: str, other: str) -> Pairs:
    found: Pairs = {}
    for key, related, qualifier in file.execute(f"SELECT {one}, {other}, ocel_qualifier FROM {table} ORDER BY rowid"):
        found.setdefault(key, []).append((related, qualifier or "related"))
    return found


def _rows(file: sqlite3.Connection, what: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(type, id, the columns that have a value) of each row in the tables of the types."""
    types = file.execute(f"SELECT ocel_type, ocel_type_map FROM {what}_map_type ORDER BY rowid").fetchall()
    for kind, suffix in types:
        table = '"' + f"{what}_{suffix}".replace('"', '""') + '"'
        columns = [(row[1], _KINDS.get(str(row[2]).upper(), "")) for row in file.execute(f"PRAGMA table_info({table})")]
        for row in file.execute(f"SELECT * FROM {table} ORDER BY ocel_time, rowid"):
            cells = zip(columns, row, strict=True)
            found = {name: typed(value, of) for (name, of), value in cells if value is not None}
            yield kind, found.pop("ocel_id"), found
