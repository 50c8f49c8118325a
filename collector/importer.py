"""Imports of files: the same validation as over HTTP, straight into the event log, in batches.

An import can be repeated: ids are made from the file's own, so what is there already is a duplicate.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa
import yaml

from collector import ocel_file
from collector.formats import ocel
from collector.formats.mapping import Mapping as EventMapping
from collector.ingest import Accepted, Rejection, validate, without_secrets
from collector.masking import Masks
from milepost.catalog import mapping as mappings
from milepost.clock import Clock, to_us
from milepost.errors import CatalogError, InvalidEvent, MalformedBody, NotFound
from milepost.inbox import log, quarantine

BATCH: Final = 1_000
_event_type: Final = re.compile(r"[^\s.]+\.\S+")
Unit = list[dict[str, Any] | ocel.Past | Rejection]
"""What one row or one event of a file becomes."""
Progress = Callable[[int, int], None]
"""Told (done, of how many), in the unit of the file: rows or events."""


@dataclass(slots=True)
class Report:
    """What came of an import. `units` are rows or log events; `dateless` units gave no event for want of a date.

    `accepted` events went to the event log, which knew some of them perhaps; `conflicts` did not, being in quarantine
    as such. Of those that were `refused` some were `open` in quarantine before. `unlisted`: activities without a type.
    `absent`: those of types that the log lacks.
    """

    units: int = 0
    accepted: int = 0
    conflicts: int = 0
    refused: int = 0
    open: int = 0
    dateless: int = 0
    relations: int = 0
    objects: int = 0
    unlisted: Sequence[str] = ()
    absent: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Importer:
    """Sends as one source, or with `any_source` as those that the events name: who may run the command may write."""

    default_source: str
    any_source: bool = False

    def may_send(self, source: str, event_type: str) -> bool:  # noqa: ARG002
        return self.any_source or source == self.default_source


def import_csv(
    engine: sa.Engine, path: Path, mapping_path: Path, clock: Clock, progress: Progress, masks: Masks | None = None
) -> Report:
    """Import a table. Raises CatalogError (mapping), MalformedBody (file), NotFound."""
    mapping, form = read_mapping(mapping_path)
    lines = _text(path, form.encoding)
    table = csv.DictReader(StringIO(lines), restval="", delimiter=form.delimiter)
    try:
        missing = mapping.columns() - set(table.fieldnames or ())
        if missing:
            raise CatalogError(f"{mapping_path.name}: {path.name} has no column {', '.join(sorted(missing))}")
        rows = list(table)
    except csv.Error as error:
        raise MalformedBody(f"{path.name}: line {table.line_num + 1}: {error}") from error
    report = Report(units=len(rows))
    made = _row_events(mapping, rows, report)
    _send(engine, Importer(mapping.spec.source), made, clock, report, progress, masks)
    return report


def read_mapping(path: Path) -> tuple[EventMapping, mappings.TableForm]:
    """A mapping that can stand alone: it says what the rows of which source are. Raises CatalogError, NotFound."""
    spec = mappings.read(path.name, _text(path, "utf-8"))
    if spec.table is None:
        raise CatalogError(f"{path.name}: table: missing; `table: {{}}` says that the texts are names of columns")
    for name in ("source", "id"):
        if not getattr(spec, name):
            raise CatalogError(f"{path.name}: {name}: missing; an import needs it")
    for index, rule in enumerate(spec.events):
        if rule.time is None:
            raise CatalogError(f"{path.name}: events[{index}].time: missing; the time of an import never stands in")
    return EventMapping(spec), spec.table


def _row_events(mapping: EventMapping, rows: list[dict[str | Any, str | Any]], report: Report) -> Iterator[Unit]:
    for number, row in enumerate(rows, start=2):
        more = row.pop(None, None)  # where csv puts what has no column
        try:
            if more is not None:
                raise InvalidEvent(f"{len(row) + len(more)} fields for {len(row)} columns; a text may lack its quotes")
            events = mapping.events(row, source=mapping.spec.source)
        except InvalidEvent as error:
            body = msgspec.json.encode(row if more is None else {**row, "": more})
            yield [Rejection(number, None, f"line {number}: {error}", body, None)]
            continue
        report.dateless += not events
        yield list(events)


def import_ocel(
    engine: sa.Engine,
    path: Path,
    source: str,
    types: Mapping[str, str],
    clock: Clock,
    progress: Progress,
    masks: Masks | None = None,
) -> Report:
    """Import an OCEL log: 1.0 as JSON, 2.0 as JSON or SQLite. `types` maps activities to event types.

    What Milepost exported keeps its sources and receive times. Raises MalformedBody, NotFound.
    """
    log = ocel_file.read(path)
    found = ocel.survey(log)
    report = Report(
        units=found.events,
        relations=found.relations,
        objects=len(log.objects),
        dateless=ocel.dateless(log, found.first),
        unlisted=sorted(found.activities - types.keys()),
        absent=sorted(types.keys() - found.activities),
    )
    units: Iterator[Unit] = ([event] for event in ocel.wire_events(log, source, types, found.first))
    _send(engine, Importer(source, any_source=True), units, clock, report, progress, masks)
    return report


def read_types(path: Path) -> dict[str, str]:
    """A YAML file {activity: event type}. Raises CatalogError, MalformedBody, NotFound."""
    try:
        types = msgspec.convert(yaml.safe_load(_text(path, "utf-8")), dict[str, str])
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise CatalogError(f"{path.name}: expected a mapping from activity to event type: {error}") from error
    for activity, kind in types.items():
        if not _event_type.fullmatch(kind):
            raise CatalogError(f'{path.name}: {activity}: "{kind}" is no event type; write object.verb: order.received')
    return types


def _text(path: Path, encoding: str) -> str:
    try:
        return path.read_text(encoding)
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}") from error
    except (UnicodeDecodeError, LookupError) as error:
        raise MalformedBody(f"{path.name}: not readable as {encoding}: {error}") from error


def _send(
    engine: sa.Engine,
    sender: Importer,
    units: Iterable[Unit],
    clock: Clock,
    report: Report,
    progress: Progress,
    masks: Masks | None,
) -> None:
    """A unit's events are committed together: half a row would be judged as if the rest were missing."""
    batch: Unit = []
    total = report.units
    known = quarantine.Known()
    for done, unit in enumerate(units, start=1):
        batch += unit
        if len(batch) >= BATCH:
            _commit(engine, sender, batch, clock(), report, masks, known)
            batch = []
            progress(min(done, total), total)
    _commit(engine, sender, batch, clock(), report, masks, known)
    progress(total, total)


def _commit(
    engine: sa.Engine,
    sender: Importer,
    batch: Unit,
    now: datetime,
    report: Report,
    masks: Masks | None,
    known: quarantine.Known,
) -> None:
    unreadable = [item for item in batch if isinstance(item, Rejection)]
    sent = [item for item in batch if not isinstance(item, Rejection)]
    source = sender.default_source
    bodies = [msgspec.json.encode(item.wire if isinstance(item, ocel.Past) else item) for item in sent]
    verdict = validate(bodies, received_us=to_us(now), sender=sender, masks=masks)
    _keep_receive_times(verdict, sent, to_us(now))
    unreadable = [without_secrets(item, masks, source) for item in unreadable] if masks else unreadable
    refused = [
        quarantine.Refusal(now, source, item.kind, item.error, item.id, item.body, "import", item.way)
        for item in (*unreadable, *verdict.rejected)
    ]
    with engine.begin() as connection:
        entries = known.consistent(connection, verdict.entries)
        log.append(connection, entries)
        new = known.new(connection, refused)
        quarantine.add(connection, new)
    report.accepted += len(entries)
    report.conflicts += len(verdict.entries) - len(entries)
    report.refused += len(refused)
    report.open += len(refused) - len(new)


def _keep_receive_times(verdict: Accepted, sent: Sequence[dict[str, Any] | ocel.Past], now_us: int) -> None:
    """What was received before was received then."""
    refused = {item.index for item in verdict.rejected}
    accepted = (item for index, item in enumerate(sent) if index not in refused)
    for entry, item in zip(verdict.entries, accepted, strict=True):
        if isinstance(item, ocel.Past):
            entry.received_us = min(item.received_us, now_us)
