"""OCEL 2.0 as an SQLite database: two tables of names, four of events, objects and relations, and one for each type.

Specification: https://www.ocel-standard.org/specification/formats/sqlite/
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from exports.snapshot import Snapshot
from exports.things import Thing, object_columns, things
from exports.told import Columns, Reader, Teller, Told, event_columns
from milepost import ocel
from milepost.ocel import Kind

_TYPES: Final[Mapping[Kind, str]] = {
    "string": "TEXT",
    "time": "TIMESTAMP",
    "integer": "INTEGER",
    "float": "REAL",
    "boolean": "BOOLEAN",
}
_NOT_WORD: Final = re.compile(r"[^0-9A-Za-z]+")
_TABLES: Final = """
CREATE TABLE event_map_type (ocel_type TEXT PRIMARY KEY, ocel_type_map TEXT NOT NULL UNIQUE);
CREATE TABLE object_map_type (ocel_type TEXT PRIMARY KEY, ocel_type_map TEXT NOT NULL UNIQUE);
CREATE TABLE event (
  ocel_id TEXT PRIMARY KEY, ocel_type TEXT NOT NULL REFERENCES event_map_type (ocel_type));
CREATE TABLE object (
  ocel_id TEXT PRIMARY KEY, ocel_type TEXT NOT NULL REFERENCES object_map_type (ocel_type));
CREATE TABLE event_object (
  ocel_event_id TEXT NOT NULL REFERENCES event (ocel_id), ocel_object_id TEXT NOT NULL REFERENCES object (ocel_id),
  ocel_qualifier TEXT NOT NULL, PRIMARY KEY (ocel_event_id, ocel_object_id, ocel_qualifier));
CREATE TABLE object_object (
  ocel_source_id TEXT NOT NULL REFERENCES object (ocel_id), ocel_target_id TEXT NOT NULL REFERENCES object (ocel_id),
  ocel_qualifier TEXT NOT NULL, PRIMARY KEY (ocel_source_id, ocel_target_id, ocel_qualifier));
"""


def write(path: Path, snapshot: Snapshot, read: Reader) -> None:
    """Write the file, which must not exist."""
    event_types, object_types = event_columns(snapshot), object_columns(snapshot)
    with closing(sqlite3.connect(path)) as file:
        file.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;" + _TABLES)
        objects = _Tables(file, "object", object_types, ocel.OBJECT_FIELDS, ("ocel_time", "ocel_changed_field"))
        events = _Tables(file, "event", event_types, ocel.EVENT_FIELDS, ("ocel_time",))
        for things_ in things(snapshot):
            objects.add_objects(things_)
        for told in Teller(snapshot, read, event_types).pieces():
            events.add_events(told)
        file.commit()


class _Tables:
    """The tables of the event types, or of the object types."""

    def __init__(
        self, file: sqlite3.Connection, what: str, types: Columns, fields: Mapping[str, Kind], first: tuple[str, ...]
    ) -> None:
        self._file = file
        self._what = what
        self._columns = {kind: {**own, **fields} for kind, own in types.items()}
        self._insert: dict[str, str] = {}
        self._width = 1 + len(first)
        for kind, name in _names(types).items():
            file.execute(f"INSERT INTO {what}_map_type VALUES (?, ?)", (kind, name))
            self._create(kind, f"{what}_{name}", first)

    def _create(self, kind: str, table: str, first: tuple[str, ...]) -> None:
        own = [f"{_quoted(name)} {_TYPES[of]}" for name, of in self._columns[kind].items()]
        fixed = ["ocel_time TIMESTAMP", "ocel_changed_field TEXT"][: len(first)]
        key = "ocel_id TEXT PRIMARY KEY" if len(first) == 1 else "ocel_id TEXT NOT NULL"
        parts = [f"{key} REFERENCES {self._what} (ocel_id)", *fixed, *own]
        self._file.execute(f"CREATE TABLE {_quoted(table)} ({', '.join(parts)})")
        places = ", ".join("?" * (self._width + len(own)))
        self._insert[kind] = f"INSERT INTO {_quoted(table)} VALUES ({places})"

    def add_events(self, told: list[Told]) -> None:
        rows: dict[str, list[tuple[Any, ...]]] = {}
        for item in told:
            values = item.attributes | item.fields
            cells = (_cell(values.get(name), of) for name, of in self._columns[item.type].items())
            rows.setdefault(item.type, []).append((item.id, _moment(item.time), *cells))
        self._add("event", ((item.id, item.type) for item in told), rows)
        pairs = ((item.id, other, qualifier) for item in told for other, qualifier in item.related)
        self._file.executemany("INSERT INTO event_object VALUES (?, ?, ?)", pairs)

    def add_objects(self, some: list[Thing]) -> None:
        """The first row of an object has what it is from the beginning; each value said later has a row of its own."""
        rows: dict[str, list[tuple[Any, ...]]] = {}
        for item in some:
            columns = self._columns[item.type]
            fixed = {name: value for name, value, since in item.attributes if since == ocel.ALWAYS}
            mine = rows.setdefault(item.type, [])
            mine.append((item.id, _moment(ocel.ALWAYS), None, *(fixed.get(name) for name in columns)))
            for name, value, since in item.attributes:
                if since != ocel.ALWAYS and name in columns:
                    cells = (_cell(value, of) if name == column else None for column, of in columns.items())
                    mine.append((item.id, _moment(since), name, *cells))
        self._add("object", ((item.id, item.type) for item in some), rows)
        pairs = ((item.id, other, rel) for item in some for other, rel in item.related)
        self._file.executemany("INSERT INTO object_object VALUES (?, ?, ?)", pairs)

    def _add(self, table: str, names: Iterable[tuple[str, str]], rows: Mapping[str, list[tuple[Any, ...]]]) -> None:
        self._file.executemany(f"INSERT INTO {table} VALUES (?, ?)", names)
        for kind, some in rows.items():
            self._file.executemany(self._insert[kind], some)


def _names(types: Iterable[str]) -> dict[str, str]:
    """For each type the name of its table: order.received → OrderReceived. SQLite doesn't tell cases apart."""
    names: dict[str, str] = {}
    taken: set[str] = {"map_type", "object"}  # event_map_type, event_object and object_object are tables already
    for kind in types:
        plain = "".join(part[:1].upper() + part[1:] for part in _NOT_WORD.split(kind)) or "Type"
        name, number = plain, 2
        while name.lower() in taken:
            name, number = f"{plain}{number}", number + 1
        taken.add(name.lower())
        names[kind] = name
    return names


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _moment(text: str) -> str:
    """A time as SQLite's date functions and the standard's examples write it, in UTC."""
    return text.removesuffix("Z").replace("T", " ")


def _cell(value: Any, of: Kind) -> Any:
    if value is None or (not isinstance(value, str) and of != "string"):
        return value
    return _moment(value) if of == "time" else ocel.text_of(value)
