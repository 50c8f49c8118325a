"""Files in parts: what each part gives, and up to which byte it was read. Memory does not grow with the file.

A part is committed together with its position, and reading goes on there after whatever happened.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import msgspec

from collector.edi.events import Reader, encode
from collector.formats.mapping import Mapping as EventMapping
from collector.ingest import Rejection
from milepost.catalog.edi import Edi
from milepost.catalog.folder import FolderSpec
from milepost.catalog.schema import Catalog
from milepost.errors import CatalogError, InvalidEvent, MalformedBody

UNITS: Final = 500
"""Lines of one part."""
EVENTS: Final = 2_000
"""Events of one part, or a few more."""
MAX_LINE: Final = 256 * 1024
WINDOW: Final = 8 * 1024 * 1024
"""Bytes of an interchange at most."""
ROWS: Final = "rows"
"""How quarantine knows a row or line that a mapping made nothing of; the mapping's name follows."""


@dataclass(slots=True)
class Chunk:
    """A part of a file. `position` and `units` are those of the file after it; `numbers` the line of each body."""

    position: int
    units: int
    bodies: list[bytes] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    refused: list[Rejection] = field(default_factory=list)
    lenient: bool = False

    def add(self, number: int, bodies: Sequence[bytes]) -> None:
        self.bodies += bodies
        self.numbers += [number] * len(bodies)


Chunks = Callable[[BinaryIO, int, int], Iterator[Chunk]]
"""Reads an open file on from (position, units)."""


def reader_of(source: str, spec: FolderSpec, catalog: Catalog) -> tuple[Chunks, str]:
    """What reads the files of a folder, and the source of their events. Raises CatalogError."""
    if spec.format == "edi":
        return _edi(catalog.edi, source), source
    mapping = None if spec.mapping is None else EventMapping(catalog.mappings[spec.mapping])
    if spec.format == "csv":
        if mapping is None or spec.mapping is None:
            raise CatalogError(f"sources.yaml: {source}: folder: a folder of format csv needs mapping")
        return _csv(Rows(mapping, spec.mapping, source)), mapping.spec.source or source
    if mapping is None or spec.mapping is None:
        return _events, source
    return _ndjson(Rows(mapping, spec.mapping, source)), mapping.spec.source or source


@dataclass(frozen=True, slots=True)
class Rows:
    """Payloads of a mapping, one a row or line."""

    mapping: EventMapping
    name: str
    source: str

    def add(self, chunk: Chunk, number: int, payload: Any) -> None:
        """All events of a payload, or a refusal of it."""
        try:
            events = self.mapping.events(payload, source=self.source)
        except InvalidEvent as error:
            chunk.refused.append(self.refused(number, str(error), msgspec.json.encode(payload)))
            return
        chunk.add(number, [msgspec.json.encode(event) for event in events])

    def refused(self, number: int, error: str, body: bytes) -> Rejection:
        source = self.mapping.spec.source or self.source
        return Rejection(number, None, f"line {number}: {error}", body, source, "mapping", f"{ROWS}:{self.name}")


def read_again(catalog: Catalog, mapping: str, source: str, body: bytes) -> list[bytes]:
    """The events of a row from quarantine, by the mapping as it is now. Raises InvalidEvent."""
    spec = catalog.mappings.get(mapping)
    if spec is None:
        raise InvalidEvent(f"there is no mapping {mapping} any more")
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEvent(f"not valid JSON: {error}") from error
    return [msgspec.json.encode(event) for event in EventMapping(spec).events(payload, source=source)]


class Lines:
    """The lines of a file as text. `number` and `position` are those after the last line that was given."""

    def __init__(self, file: BinaryIO, encoding: str, position: int, number: int) -> None:
        self._file = file
        self._encoding = encoding
        self.position = position
        self.number = number
        file.seek(position)

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(MAX_LINE + 1):
            self.position += len(line)
            self.number += 1
            if len(line) > MAX_LINE:
                raise MalformedBody(f"line {self.number}: over {MAX_LINE} bytes")
            # what can't be read stays visible, and is refused with its line
            yield line.decode(self._encoding, "surrogateescape")

    def raw(self, start: int) -> bytes:
        """The bytes from `start` to here."""
        self._file.seek(start)
        return self._file.read(self.position - start)


def _csv(rows: Rows) -> Chunks:
    form = rows.mapping.spec.table
    assert form is not None
    check_encoding(form.encoding)

    def read(file: BinaryIO, position: int, units: int) -> Iterator[Chunk]:
        start = Lines(file, form.encoding, 0, 0)
        header = _header(start, form.delimiter)
        missing = rows.mapping.columns() - set(header)
        if missing:
            raise MalformedBody(f"line 1: no column {', '.join(sorted(missing))}")
        if position < start.position:
            position, units = start.position, start.number
        while True:
            chunk, ended = _rows(Lines(file, form.encoding, position, units), header, form.delimiter, rows)
            yield chunk
            if ended:
                return
            position, units = chunk.position, chunk.units

    return read


def _header(lines: Lines, delimiter: str) -> list[str]:
    try:
        names = next(csv.reader(lines, delimiter=delimiter), [])
    except csv.Error as error:
        raise MalformedBody(f"line 1: {error}; a name may lack its quotes") from error
    return [name.removeprefix("\ufeff") for name in names]


def check_encoding(encoding: str) -> None:
    """Lines are found before they are decoded, so a line end must be a byte of its own. Raises CatalogError."""
    try:
        plain = "\n".encode(encoding.removesuffix("-sig")) == b"\n"
    except LookupError as error:
        raise CatalogError(f"table: encoding: {encoding} is not known") from error
    if not plain:
        raise CatalogError(f"table: encoding: {encoding} can't be read line by line; convert the files to utf-8")


def _rows(lines: Lines, header: list[str], delimiter: str, rows: Rows) -> tuple[Chunk, bool]:
    """The next part, and whether it is the last. A row whose quotes don't end costs its first line only."""
    chunk = Chunk(lines.position, lines.number)
    table = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    while len(chunk.bodies) < EVENTS and lines.number - chunk.units < UNITS:
        start, number = lines.position, lines.number
        try:
            row = next(table, None)
        except csv.Error as error:
            _skip_line(lines, start, number, str(error), chunk, rows)
            break
        if row is None:
            chunk.position, chunk.units = lines.position, lines.number
            return chunk, True
        if row:
            _row(chunk, number + 1, header, row, rows)
    chunk.position, chunk.units = lines.position, lines.number
    return chunk, False


def _skip_line(lines: Lines, start: int, number: int, error: str, chunk: Chunk, rows: Rows) -> None:
    whole = lines.raw(start)
    first, _, _ = whole.partition(b"\n")
    lines.position, lines.number = start + min(len(first) + 1, len(whole)), number + 1
    chunk.refused.append(rows.refused(number + 1, f"{error}; a text may lack its quotes", first))


def _row(chunk: Chunk, number: int, header: list[str], row: list[str], rows: Rows) -> None:
    payload: dict[str, Any] = dict(zip(header, row + [""] * (len(header) - len(row)), strict=False))
    if len(row) > len(header):
        shown = msgspec.json.encode({**_readable(payload), "": [_clean(text) for text in row[len(header) :]]})
        error = f"{len(row)} fields for {len(header)} columns; a text may lack its quotes"
        chunk.refused.append(rows.refused(number, error, shown))
    elif any(not text.isascii() and _clean(text) != text for text in row):
        error = f"not readable as {rows.mapping.spec.table.encoding if rows.mapping.spec.table else 'text'}"
        chunk.refused.append(rows.refused(number, error, msgspec.json.encode(_readable(payload))))
    else:
        rows.add(chunk, number, payload)


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _readable(payload: Mapping[str, str]) -> dict[str, str]:
    return {_clean(name): _clean(text) for name, text in payload.items()}


def _ndjson(rows: Rows) -> Chunks:
    def add(chunk: Chunk, number: int, line: bytes) -> None:
        try:
            payload = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            chunk.refused.append(rows.refused(number, f"not valid JSON: {error}", line))
            return
        rows.add(chunk, number, payload)

    return lambda file, position, units: _lines(file, position, units, add)


def _events(file: BinaryIO, position: int, units: int) -> Iterator[Chunk]:
    """Each line is an event; `validate` judges it."""
    yield from _lines(file, position, units, lambda chunk, number, line: chunk.add(number, [line]), lenient=True)


def _lines(
    file: BinaryIO, position: int, units: int, add: Callable[[Chunk, int, bytes], None], *, lenient: bool = False
) -> Iterator[Chunk]:
    file.seek(position)
    chunk = Chunk(position, units, lenient=lenient)
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise MalformedBody(f"line {chunk.units + 1}: over {MAX_LINE} bytes")
        chunk.position, chunk.units = chunk.position + len(line), chunk.units + 1
        if line.strip():
            add(chunk, chunk.units, line.strip())
        if len(chunk.bodies) >= EVENTS or len(chunk.bodies) + len(chunk.refused) >= UNITS:
            yield chunk
            chunk = Chunk(chunk.position, chunk.units, lenient=lenient)
    yield chunk


def _edi(edi: Edi, source: str) -> Chunks:
    reader = Reader(edi, source)

    def read(file: BinaryIO, position: int, units: int) -> Iterator[Chunk]:
        while True:
            file.seek(position)
            data = file.read(WINDOW)
            final = len(data) < WINDOW
            before = position
            for found in reader.read(data, final=final, first=units):
                units += 1
                position = before + found.end
                yield Chunk(position, units, encode(found.events), refused=found.refused)
            if final:
                yield Chunk(before + len(data), units)
                return
            if position == before:
                raise MalformedBody(f"an interchange over {WINDOW} bytes begins at byte {before}")

    return read
