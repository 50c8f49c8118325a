"""/v1/edi/{source}: X12 and EDIFACT interchanges, as many as one body holds."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any, Final

import msgspec
from starlette.types import Receive

from collector.edi.events import Read, Reader, encode
from collector.ingest import Accepted, Rejection
from collector.intake import Intake
from collector.problems import Answer, from_error, problem
from collector.ways import Call
from collector.ways.events import shown
from milepost.auth import ApiKey, matches
from milepost.catalog.edi import Edi
from milepost.errors import MalformedBody, MilepostError, NotAllowed, TooLarge, UnsupportedFormat

PATH: Final = "/v1/edi/{source:path}"
MEDIA: Final = (
    "application/edi-x12",
    "application/edifact",
    "application/edi-consent",
    "application/octet-stream",
    "text/plain",
)
_INLINE_BYTES: Final = 16 * 1024
"""Bodies up to this are read at once, larger ones in a thread, one of them at a time."""


class Interchanges:
    """POST takes interchanges; which standard they are in shows in the first bytes."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._one_at_a_time = asyncio.Lock()

    async def answer(self, call: Call, receive: Receive) -> Answer:
        key = await self._intake.sender(call.headers, call.client)
        _check_type(call.headers.get(b"content-type", b"").decode("latin-1"))
        source, edi = _source(str(call.parameters["source"]), key), (await self._intake.known_catalog()).edi
        async with self._intake.body(call.headers, receive) as body:
            found = await self._read(body, edi, source)
            bodies, most = [event for read in found for event in encode(read.events)], self._intake.limits
            if len(bodies) > most.max_batch_events:
                raise TooLarge(f"{len(bodies)} events, at most {most.max_batch_events} a request are allowed")
            unread = [item for read in found for item in read.refused]
            verdict = await self._intake.take(bodies, key, refused=unread, correlation=call.correlation)
        return _answer(verdict, found, unread)

    def refuse(self, error: MilepostError) -> Answer:
        return from_error(error)

    async def _read(self, body: bytes, edi: Edi, source: str) -> Sequence[Read]:
        if not body.strip():
            raise MalformedBody("the body is empty; send X12 or EDIFACT interchanges")
        if len(body) <= _INLINE_BYTES:
            return self._all(Reader(edi, source), body)
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._all, Reader(edi, source), body)

    def _all(self, reader: Reader, body: bytes) -> Sequence[Read]:
        most = self._intake.limits.max_batch_events
        found = list(islice(reader.read(body), most + 1))
        if len(found) > most:
            raise TooLarge(f"more than {most} interchanges in one request; send several requests")
        return found


def _source(name: str, key: ApiKey) -> str:
    """The source that the address names; a slash that begins its name may be left out. Raises NotAllowed."""
    for source in (name, f"/{name}"):
        if matches(key.sources, source):
            return source
    raise NotAllowed(f'this key may not send as source "{name}"')


def _check_type(content_type: str) -> None:
    media = content_type.partition(";")[0].strip().lower()
    if media not in MEDIA:
        raise UnsupportedFormat(f'Content-Type "{media}" is not understood; send {", ".join(MEDIA)}')


def _answer(verdict: Accepted, found: Sequence[Read], unread: Sequence[Rejection]) -> Answer:
    told = {
        "accepted": len(verdict.entries),
        "rejected": [shown(item) for item in verdict.rejected],
        "documents": [
            {"type": document.type, "control": document.control, "events": len(document.events)}
            for read in found
            for document in read.documents
        ],
    }
    if verdict.entries or not verdict.rejected:
        return Answer(HTTPStatus.ACCEPTED, msgspec.json.encode(told))
    return _refused(told, forbidden=not unread and verdict.forbidden)


def _refused(told: Mapping[str, Any], *, forbidden: bool) -> Answer:
    if forbidden:
        return problem(HTTPStatus.FORBIDDEN, "the key may not send any of these events", **told)
    detail = "nothing was accepted; `rejected` says why, and what came is in quarantine"
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, **told)
