"""Rows of a table to events, by a mapping in YAML. Pure.

A mapping names for each kind of event the column that holds its date and the columns that hold keys and attributes. No
date, no event: importers never let the receive time stand in. A date without a time counts as `date_at`, noon unless
the mapping says otherwise, so that it lies within its day in any nearby time zone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import yaml
from msgspec import Meta, Struct, field

from milepost.errors import CatalogError, InvalidEvent

Row = Mapping[str, str]


class EventRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One event of a row. `keys`, `attributes` and `dates` give column names; `dates` are written as YYYY-MM-DD."""

    type: Annotated[str, Meta(min_length=1, max_length=128)]
    time: str
    keys: Annotated[dict[str, str | list[str]], Meta(min_length=1)]
    attributes: dict[str, str] = {}
    dates: dict[str, str] = {}
    values: dict[str, str] = {}
    when: dict[str, list[str]] = {}


class TableMapping(Struct, frozen=True, forbid_unknown_fields=True):
    """How a file is read. `id` is the column that identifies a row; `no_value` are words that mean "nothing here"."""

    source: Annotated[str, Meta(min_length=1, max_length=256)]
    id: str
    events: Annotated[list[EventRule], Meta(min_length=1)]
    encoding: str = "utf-8-sig"
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    zone: str = "UTC"
    date_forms: list[str] = field(default_factory=lambda: ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d %H:%M:%S"])
    date_at: str = "12:00"
    no_value: list[str] = []


def read_mapping(name: str, text: str) -> TableMapping:
    """Parse and check a mapping. Raises CatalogError naming file and path."""
    try:
        mapping = msgspec.convert(yaml.safe_load(text), TableMapping)
        ZoneInfo(mapping.zone)
        time.fromisoformat(mapping.date_at)
    except yaml.YAMLError as error:
        raise CatalogError(f"{name}: not valid YAML: {error}") from error
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        raise CatalogError(f"{name}: {path.rstrip('`').lstrip('.') or 'mapping'}: {message}") from error
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise CatalogError(f"{name}: zone or date_at: {error}") from error
    return mapping


def _names(rules: list[EventRule]) -> list[str]:
    """What tells the events of a row apart: the type, and of several rules of one type the number."""
    seen: Counter[str] = Counter()
    names = []
    for rule in rules:
        seen[rule.type] += 1
        names.append(rule.type if seen[rule.type] == 1 else f"{rule.type}#{seen[rule.type]}")
    return names


_TIME_CODES: Final = ("%H", "%I", "%z")


class RowReader:
    """Makes the events of a row. Built once for a file."""

    def __init__(self, mapping: TableMapping) -> None:
        self._mapping = mapping
        self._zone = ZoneInfo(mapping.zone)
        self._at = time.fromisoformat(mapping.date_at)
        self._names = _names(mapping.events)
        self._nothing = {word.casefold() for word in mapping.no_value} | {""}

    def columns(self) -> set[str]:
        """All columns that the mapping names."""
        found = {self._mapping.id}
        for rule in self._mapping.events:
            found |= {rule.time, *rule.attributes.values(), *rule.dates.values(), *rule.when}
            for names in rule.keys.values():
                found |= {names} if isinstance(names, str) else set(names)
        return found

    def events(self, row: Row) -> list[dict[str, Any]]:
        """The wire events of a row: one for each rule whose date is there.

        Raises InvalidEvent naming the column when the row has no id, or a date is neither of a known form nor one of
        `no_value`.
        """
        row_id = row[self._mapping.id].strip()
        if not row_id:
            raise InvalidEvent(f"{self._mapping.id}: the row has no id")
        rules = zip(self._mapping.events, self._names, strict=True)
        made = (self._event(rule, f"{row_id}/{name}", row) for rule, name in rules if self._applies(rule, row))
        return [event for event in made if event is not None]

    def _applies(self, rule: EventRule, row: Row) -> bool:
        return all(row.get(column, "").strip() in values for column, values in rule.when.items())

    def _event(self, rule: EventRule, event_id: str, row: Row) -> dict[str, Any] | None:
        moment = self._moment(row, rule.time)
        if moment is None:
            return None
        keys = {kind: found for kind, names in rule.keys.items() if (found := self._keys(row, names))}
        attributes: dict[str, Any] = dict(rule.values)
        attributes |= {name: text for name, column in rule.attributes.items() if (text := self._text(row, column))}
        for name, column in rule.dates.items():
            day = self._moment(row, column)
            if day is not None:
                attributes[name] = day.date().isoformat() if isinstance(day, datetime) else day.isoformat()
        return {
            "specversion": "1.0",
            "id": event_id,
            "source": self._mapping.source,
            "type": rule.type,
            "time": self._instant(moment).isoformat(),
            "data": {"keys": keys, "attributes": attributes},
        }

    def _keys(self, row: Row, names: str | list[str]) -> list[str]:
        columns = [names] if isinstance(names, str) else names
        return [text for column in columns if (text := self._text(row, column))]

    def _text(self, row: Row, column: str) -> str | None:
        text = (row.get(column) or "").strip()
        return None if text.casefold() in self._nothing else text

    def _moment(self, row: Row, column: str) -> date | datetime | None:
        text = self._text(row, column)
        if text is None:
            return None
        for form in self._mapping.date_forms:
            try:
                moment = datetime.strptime(text, form)  # noqa: DTZ007 (_instant sets the zone)
            except ValueError:
                continue
            return moment if any(code in form for code in _TIME_CODES) else moment.date()
        raise InvalidEvent(f'{column}: "{text}" is no date of a known form; add its form to date_forms, or to no_value')

    def _instant(self, moment: date | datetime) -> datetime:
        if not isinstance(moment, datetime):
            moment = datetime.combine(moment, self._at)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=self._zone)
