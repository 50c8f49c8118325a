"""Interchanges: found in the data, their envelopes checked. Pure.

X12 (ISA GS ST … SE GE IEA) and EDIFACT (UNB [UNG] UNH … UNT [UNE] UNZ) nest alike: every trailer counts what it
closes and repeats the control number of its header. What breaks these rules is told with segment and element, and
given back whole; the next interchange in the same data is read all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from collector.edi import edifact, x12
from collector.edi.header import Header, Party
from collector.edi.syntax import Segment, Syntax, scan
from milepost.errors import MalformedBody

Standard = Literal["x12", "edifact"]
# where an interchange begins; only asked where none is open, or the open one is broken
_BEGIN: Final = re.compile(
    r"(?s)ISA([^A-Za-z0-9 \r\n])..\1|UNA[^A-Za-z0-9 ]{2}...[^A-Za-z0-9 ]\s*UNB|UNB[^A-Za-z0-9 \r\n][A-Z]{4}"
)
_BLANK: Final = "\r\n\t \x00\x1a"
"""What means nothing between interchanges; some systems end a file with Ctrl-Z."""
_ADVICE: Final = re.compile(r"(?s)(?:UNA.{6}\s*)?")


@dataclass(frozen=True, slots=True)
class Document:
    """One transaction set or message, unread: `start` and `end` are byte positions in the data."""

    type: str
    control: str
    group_code: str
    group_control: str
    prepared: datetime | None
    first_segment: int
    start: int
    end: int
    group_header: str


@dataclass(frozen=True, slots=True)
class Interchange:
    """A whole one, its envelope checked. `opening` is its header as it came, UNA included.

    `notes` are the segments between header and groups (TA1).
    """

    standard: Standard
    header: Header
    opening: str
    syntax: Syntax
    start: int
    end: int
    documents: tuple[Document, ...]
    notes: tuple[Segment, ...]

    @property
    def sender(self) -> Party:
        return self.header.sender

    @property
    def receiver(self) -> Party:
        return self.header.receiver

    def segments(self, text: str, document: Document) -> list[Segment]:
        """The segments of a document, header and trailer included."""
        return list(scan(text, self.syntax, document.start, first=document.first_segment, stop=document.end))

    def around(self, document: Document) -> tuple[str, str]:
        """What makes an interchange of one document alone: the headers before it, the trailers after it."""
        levels = LEVELS[self.standard]
        closing = [[levels[0].closes], ["1"], [self.header.control]]
        if not document.group_header:
            return self.opening, self.syntax.join(closing)
        group = self.syntax.join([[levels[1].closes], ["1"], [document.group_control]])
        return self.opening + document.group_header, group + self.syntax.join(closing)


@dataclass(frozen=True, slots=True)
class Broken:
    """What can't be read as an interchange, whole, and why: the segment and the element."""

    start: int
    end: int
    reason: str


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the envelope: the tags that open and close it, and the element that holds its control number."""

    opens: str
    closes: str
    control: int
    counts: str


LEVELS: Final[dict[Standard, tuple[Level, Level, Level]]] = {
    "x12": (
        Level("ISA", "IEA", 13, "groups"),
        Level("GS", "GE", 6, "transaction sets"),
        Level("ST", "SE", 2, "segments"),
    ),
    "edifact": (
        Level("UNB", "UNZ", 5, "messages"),
        Level("UNG", "UNE", 5, "messages"),
        Level("UNH", "UNT", 1, "segments"),
    ),
}


def interchanges(text: str, start: int = 0, *, final: bool = True) -> Iterator[Interchange | Broken]:
    """All that the data holds, in order. `text` is the data as Latin-1.

    With `final` false more data is to come: what is not at its end yet is left out, and begins after the last one
    that was given.
    """
    at = _next_begin(text, start)
    if at is None:
        if final and text[start:].strip(_BLANK):
            yield Broken(start, len(text), "byte 0: neither ISA, UNA nor UNB: no X12 and no EDIFACT interchange")
        return
    if text[start:at].strip(_BLANK):
        yield Broken(start, at, "bytes before the interchange that belong to none")
    while at is not None:
        found = _read(text, at)
        if isinstance(found, Broken) and found.end == len(text) and not final:
            return
        yield found
        at = _next_begin(text, found.end)
        rest = text[found.end : len(text) if at is None else at]
        if rest.strip(_BLANK) and (final or at is not None):
            yield Broken(found.end, found.end + len(rest), "bytes after the interchange that belong to none")


def _next_begin(text: str, start: int) -> int | None:
    match = _BEGIN.search(text, start)
    return match.start() if match else None


def _read(text: str, start: int) -> Interchange | Broken:
    standard: Standard = "x12" if text.startswith("ISA", start) else "edifact"
    reader = _Reader(standard, text, start)
    try:
        return reader.read()
    except MalformedBody as error:
        return Broken(start, reader.end_of_broken(), str(error))


@dataclass(slots=True)
class _Open:
    """A level that is open: its header, what it holds so far."""

    level: Level
    header: Segment
    count: int = 0

    @property
    def control(self) -> str:
        return self.header.get(self.level.control)


@dataclass(slots=True)
class _Reader:
    """Reads one interchange. `opened` is the byte after its header, `end` that after the last segment that was read."""

    standard: Standard
    text: str
    start: int
    end: int = 0
    opened: int = 0
    closed: bool = False
    stack: list[_Open] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    notes: list[Segment] = field(default_factory=list)

    def read(self) -> Interchange:
        module = x12 if self.standard == "x12" else edifact
        syntax, at = module.syntax_at(self.text, self.start)
        header: Header | None = None
        for segment in scan(self.text, syntax, at):
            if header is None:
                header, self.opened = module.header_of(segment), segment.end
            self._take(segment)
            self.end = segment.end
            if self.closed:
                return self._interchange(header, syntax)
        raise MalformedBody(self._unfinished())

    def end_of_broken(self) -> int:
        """Where to go on: where the next interchange begins, or after the trailer, or at the end of the data."""
        advice = _ADVICE.match(self.text, self.start)
        following = _next_begin(self.text, (advice.end() if advice else self.start) + 3)
        read, limit = max(self.end, self.start + 3), len(self.text) if following is None else following
        # no further than the next one, or many broken ones would each search through all the rest
        end = read if self.closed else _after_trailer(self.text, read, limit, LEVELS[self.standard][0].closes)
        return min(limit, end)

    def _take(self, segment: Segment) -> None:
        interchange, group, document = LEVELS[self.standard]
        tag = segment.tag
        if tag == interchange.opens and not self.stack:
            self.stack.append(_Open(interchange, segment))
        elif tag in (interchange.opens, "UNA"):
            raise MalformedBody(f"{segment.place()}: a new interchange begins before {self._missing()}")
        elif tag in (group.opens, document.opens):
            self._open(segment, group if tag == group.opens else document)
        elif tag in (document.closes, group.closes, interchange.closes):
            self._close(segment)
        elif self.stack and self.stack[-1].level is document:
            self.stack[-1].count += 1
        elif len(self.stack) == 1 and tag == "TA1":
            self.notes.append(segment)
        else:
            raise MalformedBody(f"{segment.place()}: outside of a document; {document.opens} is expected before it")

    def _open(self, segment: Segment, level: Level) -> None:
        interchange, group, document = LEVELS[self.standard]
        inside = self.stack[-1].level if self.stack else None
        allowed = {group: (interchange,), document: (group,) if self.standard == "x12" else (group, interchange)}
        if inside not in allowed[level]:
            raise MalformedBody(f"{segment.place()}: {level.opens} stands where {self._missing()} is expected")
        self.stack.append(_Open(level, segment, count=2 if level is document else 0))

    def _close(self, segment: Segment) -> None:
        self.closed = segment.tag == LEVELS[self.standard][0].closes
        self.end = segment.end
        opened = self.stack[-1]
        if segment.tag != opened.level.closes:
            raise MalformedBody(f"{segment.place()}: {opened.level.closes} is missing before it")
        self._check(segment, opened)
        self.stack.pop()
        if opened.level is LEVELS[self.standard][2]:
            self._add(opened, segment)
        elif self.stack:
            self.stack[-1].count += 1

    def _check(self, segment: Segment, opened: _Open) -> None:
        count, level = opened.count, opened.level
        stated = segment.need(1, "the count")
        if not (stated.isascii() and stated.isdigit()) or int(stated[:18]) != count:
            counted = "groups" if self._has_groups(opened) else level.counts
            raise MalformedBody(f"{segment.place(1)}: {stated[:20]} {counted} announced, {count} found")
        if plain(segment.get(2)) != plain(opened.control):
            header = opened.header.place(level.control)
            raise MalformedBody(
                f'{segment.place(2)}: control number "{segment.get(2)}", but "{opened.control}" in {header}'
            )

    def _has_groups(self, opened: _Open) -> bool:
        return opened.level is LEVELS[self.standard][0] and any(item.group_control for item in self.documents)

    def _add(self, opened: _Open, trailer: Segment) -> None:
        module = x12 if self.standard == "x12" else edifact
        parent = self.stack[-1]
        parent.count += 1
        group = parent.header if len(self.stack) > 1 else None
        kind, control = module.document_of(opened.header)
        code, group_control, prepared = module.group_of(group)
        header = opened.header
        around = "" if group is None else self.text[group.start : group.end]
        self.documents.append(
            Document(kind, control, code, group_control, prepared, header.number, header.start, trailer.end, around)
        )

    def _interchange(self, header: Header, syntax: Syntax) -> Interchange:
        documents, notes = tuple(self.documents), tuple(self.notes)
        opening = self.text[self.start : self.opened]
        return Interchange(self.standard, header, opening, syntax, self.start, self.end, documents, notes)

    def _unfinished(self) -> str:
        last = self.stack[-1] if self.stack else None
        opened = f" after {last.header.place()}" if last else ""
        return f"the data ends before {self._missing()}{opened} (byte {self.end})"

    def _missing(self) -> str:
        return self.stack[-1].level.closes if self.stack else LEVELS[self.standard][0].opens


def _after_trailer(text: str, start: int, limit: int, tag: str) -> int:
    """The byte after a trailer, found without delimiters: its tag, a count, a control number, a character."""
    match = re.compile(rf"{tag}[^A-Za-z0-9\s]\d+[^A-Za-z0-9\s]\w+[^A-Za-z0-9]?").search(text, start, limit)
    return match.end() if match else limit


def plain(control: str) -> str:
    """A control number without its leading zeros: 000000017 and 17 are one."""
    return control.lstrip("0") or control[-1:]
