"""From the bytes of a file or a request to wire events and refusals. Pure.

Ids are made of the addresses, the control numbers and the place in the document. So what is sent again is a duplicate,
and a control number that is used again for something else is a conflict: each document's own event carries a digest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec

from collector.edi import edifact_documents, ladder, x12_documents
from collector.edi.envelope import Broken, Document, Interchange, interchanges, plain
from collector.edi.facts import Fact, Reading, known
from collector.edi.parties import Parties, Roles
from collector.ingest import Rejection
from milepost.catalog.edi import Edi
from milepost.errors import InvalidEvent, MalformedBody

_READERS: Final = {"x12": x12_documents.READERS, "edifact": edifact_documents.READERS}
MAX_ID: Final = 256
WAY: Final = "edi"
"""How quarantine knows what came this way."""
_NUL: Final = str.maketrans({"\x00": "\u2400"})
"""PostgreSQL's text has no U+0000; its symbol is outside of Latin-1, so it stands for nothing else there."""
Wire = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """One document, and what came of it. `type` is TA1 for what stands outside of documents."""

    type: str
    control: str
    first_segment: int
    events: list[Wire]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """What one interchange gave, or what is no whole one. `start` and `end` are its place in the data, in bytes."""

    start: int
    end: int
    interchange: Interchange | None = None
    roles: Roles | None = None
    documents: list[Told] = field(default_factory=list)
    refused: list[Rejection] = field(default_factory=list)

    @property
    def events(self) -> list[Wire]:
        return [event for document in self.documents for event in document.events]


class Reader:
    """Reads for one source, with the addresses of a catalog."""

    def __init__(self, edi: Edi, source: str) -> None:
        self._parties = Parties(edi)
        self._source = source

    def read(self, data: bytes, *, final: bool = True, first: int = 0) -> Iterator[Read]:
        """The interchanges in the data, each with its events. Never raises.

        With `final` false, what may go on beyond the data is left out. `first`: how many were there before.
        """
        text = data.decode("latin-1")
        for index, found in enumerate(interchanges(text, final=final), start=first):
            if isinstance(found, Broken):
                refused = Rejection(
                    index, None, found.reason, data[found.start : found.end], self._source, "malformed", WAY
                )
                yield Read(found.start, found.end, refused=[refused])
            else:
                yield self._interchange(index, found, text)

    def _interchange(self, index: int, interchange: Interchange, text: str) -> Read:
        roles = self._parties.roles(interchange.header)
        read = Read(interchange.start, interchange.end, interchange, roles)
        writer = _Writer(interchange, roles, self._source)
        if interchange.notes:
            facts = ladder.of_notes(interchange, roles)
            read.documents.append(Told("TA1", "", interchange.notes[0].number, writer.events("TA1", facts)))
        for document in interchange.documents:
            told = self._document(interchange, document, text, roles, writer)
            read.documents.append(told)
            if told.fault is not None:
                event_id = writer.id_of(document)
                read.refused.append(self._unread(index, event_id, told.fault, interchange, document, text))
        return read

    def _document(self, interchange: Interchange, document: Document, text: str, roles: Roles, writer: _Writer) -> Told:
        made = document.prepared or interchange.header.prepared
        reading = Reading(
            document,
            interchange.segments(text, document),
            roles,
            None if made is None else made.replace(tzinfo=roles.zone),
        )
        try:
            facts = _facts(interchange, reading)
        except MalformedBody as error:
            return Told(document.type, document.control, document.first_segment, [], str(error))
        digest = blake2b(text[document.start : document.end].encode("latin-1"), digest_size=8).hexdigest()
        events = writer.events(writer.id_of(document), facts, reading, digest)
        return Told(document.type, document.control, document.first_segment, events)

    def _unread(
        self, index: int, event_id: str, fault: str, interchange: Interchange, document: Document, text: str
    ) -> Rejection:
        """A document that is not understood, with what makes an interchange of it alone."""
        body = text[document.start : document.end].encode("latin-1")
        context = {"around": [part.translate(_NUL) for part in interchange.around(document)]}
        return Rejection(index, event_id, fault, body, self._source, "malformed", WAY, context)


def read_again(edi: Edi, source: str, body: bytes, context: Mapping[str, Any]) -> list[bytes]:
    """The events of what lies in quarantine: all of it, or InvalidEvent."""
    before, after = (part.replace("\u2400", "\x00").encode("latin-1") for part in context.get("around", ("", "")))
    data = before + body + after
    found = list(Reader(edi, source).read(data))
    for read in found:
        if read.refused:
            raise InvalidEvent(read.refused[0].error)
    return encode([event for read in found for event in read.events])


def _facts(interchange: Interchange, reading: Reading) -> list[Fact]:
    """What a document says. Of a type that is not known it is only told that it was sent or received."""
    kind = reading.document.type
    if kind in ladder.ACKNOWLEDGEMENTS:
        return ladder.of_document(interchange, reading)
    reader = _READERS[interchange.standard].get(kind)
    facts = [] if reader is None else reader(reading)
    keys = ladder.document_keys(interchange, reading.document, reading.roles)
    return [ladder.passed_on(reading, keys, facts), *facts, *ladder.replied(reading, facts)]


class _Writer:
    """Makes wire events of the facts of one interchange."""

    def __init__(self, interchange: Interchange, roles: Roles, source: str) -> None:
        self._interchange = interchange
        self._roles = roles
        self._source = source
        header = interchange.header
        self._own_id = f"{header.sender}>{header.receiver}/{plain(header.control)}"
        self._made = None if header.prepared is None else header.prepared.replace(tzinfo=roles.zone)

    def id_of(self, document: Document) -> str:
        """A document's id: within its interchange, its group's and its own control number."""
        group = f"{plain(document.group_control)}/" if document.group_control else ""
        return f"{group}{document.type}/{plain(document.control)}"

    def events(
        self, own: str, facts: Sequence[Fact], reading: Reading | None = None, digest: str | None = None
    ) -> list[Wire]:
        made = self._made if reading is None else reading.made
        return [self._event(f"{own}/{index}", fact, made, reading, digest) for index, fact in enumerate(facts, start=1)]

    def _event(self, own: str, fact: Fact, made: datetime | None, reading: Reading | None, digest: str | None) -> Wire:
        attributes = {"partner": self._roles.partner, **fact.attributes}
        if fact.type in ("document.sent", "document.received") and reading is not None:
            attributes |= {"document_type": reading.document.type, "standard": self._interchange.standard}
            attributes |= {"direction": self._roles.direction, "digest": digest}
            attributes |= known(about=ladder.about(fact))
        if self._interchange.header.test:
            attributes["test"] = True
        data: Wire = {"keys": dict(fact.keys), "outcome": fact.outcome, "attributes": attributes}
        data |= {name: text for name, text in (("code", fact.code), ("reason", fact.reason)) if text}
        event_id = f"{self._own_id}/{own}"
        event: Wire = {
            "specversion": "1.0",
            "id": event_id if len(event_id) <= MAX_ID else _short(event_id),
            "source": self._source,
            "type": fact.type,
        }
        at = fact.at or made
        return event | ({} if at is None else {"time": at.isoformat()}) | {"data": data}


def _short(event_id: str) -> str:
    return event_id[: MAX_ID - 33] + "#" + blake2b(event_id.encode(), digest_size=16).hexdigest()


def encode(events: Sequence[Wire]) -> list[bytes]:
    """Each event as structured JSON."""
    return [msgspec.json.encode(event) for event in events]
