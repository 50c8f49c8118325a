"""POST /v1/events: from bytes on the wire to an answer. Thin: each step is somebody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from collector import encoding
from collector.binding import Splitter, format_of
from collector.commit import Writer
from collector.ingest import Accepted, Limits, Rejection, validate
from collector.keys import KeyRing
from collector.metrics import Metrics
from collector.problems import Answer, TooSlow, from_error, problem
from collector.rates import Buckets
from collector.refusals import Gate
from milepost import settings
from milepost.auth import ApiKey, allows
from milepost.clock import Clock, to_us
from milepost.errors import (
    MalformedBody,
    MilepostError,
    NotAllowed,
    NotAuthenticated,
    Overloaded,
    RateLimited,
    TooLarge,
    Transient,
)

BODY_SECONDS: Final = 30
"""How long a sender may take to hand over one body."""
_HELD_BODIES: Final = 16
"""Bodies of the largest size that may be in memory at once, all requests together."""
_INLINE_BYTES: Final = 64 * 1024
"""Compressed bodies up to this are undone at once, larger ones in a thread."""
_ONE: Final = b'{"accepted":1,"rejected":[]}'

Headers = Mapping[bytes, bytes]


class Disconnected(Exception):
    """The sender left before its request was complete."""


class Room:
    """The memory that request bodies may take, in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def take(self, size: int) -> None:
        if self.held and self.held + size > self._limit:
            raise Overloaded("too many large requests at once", retry_after=1)
        self.held += size

    def give(self, size: int) -> None:
        self.held -= size


class Events:
    """The ASGI application behind /v1/events."""

    def __init__(self, limits: settings.Ingest, keys: KeyRing, writer: Writer, clock: Clock, metrics: Metrics) -> None:
        self._limits = limits
        self._event_limits = Limits(event_bytes=limits.max_event_bytes)
        self._splitter = Splitter(limits.max_batch_events)
        self._rates = Buckets(limits.rate_per_key, limits.rate_per_key)
        self._room = Room(_HELD_BODIES * limits.max_body_bytes)
        self._gate = Gate(metrics)
        self._keys = keys
        self._writer = writer
        self._clock = clock
        self._metrics = metrics
        metrics.held_bytes.set_function(lambda: self._room.held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "OPTIONS":
            await self._handshake(dict(scope["headers"])).send(send)
            return
        try:
            answer = await self._answer(scope, receive)
        except MilepostError as error:
            answer = from_error(error)
        except Disconnected:
            return
        self._metrics.count_request(answer.status)
        await answer.send(send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        headers: Headers = dict(scope["headers"])
        key = await self._authenticate(headers)
        # everything that a header can tell is told before the body is read
        content_type = headers.get(b"content-type", b"").decode("latin-1")
        kind = format_of(content_type, scope["headers"])
        coding = encoding.known(headers.get(b"content-encoding", b"").decode("latin-1"))
        body = await _Body(self._room, self._limits.max_body_bytes).read(headers, receive)
        try:
            now = self._clock()
            if coding is not None:
                body = await body.decompressed(coding)
            bodies = self._splitter.split(kind, body.data, content_type, scope["headers"])
            self._rates.take(key.key_id, len(bodies) or 1, now)
            verdict = validate(
                bodies, received_us=to_us(now), sender=key, lenient=kind.lenient, limits=self._event_limits
            )
            del bodies
            await self._keep(verdict, key, now)
        finally:
            body.release()
        self._count(verdict)
        return _answer(verdict)

    async def _authenticate(self, headers: Headers) -> ApiKey:
        now = self._clock()
        key = await self._keys.authenticate(_presented(headers), now)
        if not allows(key.scopes, "send"):
            raise NotAllowed("this key may not send events")
        wait = self._rates.wait(key.key_id, now)
        if wait:
            raise RateLimited(f"over {self._limits.rate_per_key} events a second", retry_after=wait)
        return key

    async def _keep(self, verdict: Accepted, key: ApiKey, now: datetime) -> None:
        """Accepted and refused events in one commit. Returns when they are on stable storage."""
        refusals = self._gate.admit(key, verdict.rejected, now)
        if not verdict.entries and not refusals:
            return
        try:
            await self._writer.submit(verdict.entries, refusals)
        except Transient:
            self._gate.forget(refusals, key)
            raise

    def _count(self, verdict: Accepted) -> None:
        self._metrics.request_events.observe(len(verdict.entries) + len(verdict.rejected))
        self._metrics.accepted.inc(len(verdict.entries))
        if verdict.rejected:
            forbidden = sum(item.forbidden for item in verdict.rejected)
            self._metrics.forbidden.inc(forbidden)
            self._metrics.refused.inc(len(verdict.rejected) - forbidden)

    def _handshake(self, headers: Headers) -> Answer:
        """The webhook validation of CloudEvents: whoever has a key may send, so every origin may."""
        origin = headers.get(b"webhook-request-origin")
        allow = [(b"allow", b"POST, OPTIONS")]
        if origin is None:
            return Answer(HTTPStatus.OK, b"", headers=allow)
        rate = str(self._allowed_rate(headers.get(b"webhook-request-rate", b""))).encode()
        granted = [(b"webhook-allowed-origin", origin), (b"webhook-allowed-rate", rate)]
        return Answer(HTTPStatus.OK, b"", headers=[*allow, *granted])

    def _allowed_rate(self, asked: bytes) -> int:
        """Requests a minute: what was asked for, at most what a key may send."""
        most = self._limits.rate_per_key * 60
        return min(int(asked), most) if asked.isdigit() and len(asked) < 16 and int(asked) else most


class _Body:
    """A request body in memory, and its share of the room."""

    def __init__(self, room: Room, limit: int) -> None:
        self._room = room
        self._limit = limit
        self._taken = 0
        self.data = b""

    async def read(self, headers: Headers, receive: Receive) -> _Body:
        """Raises TooLarge, TooSlow, Overloaded; then nothing is held."""
        self._refuse_announced(headers.get(b"content-length", b""))
        try:
            async with asyncio.timeout(BODY_SECONDS):
                self.data = await self._chunks(receive)
        except TimeoutError as error:
            self.release()
            raise TooSlow(f"the body did not arrive within {BODY_SECONDS} seconds") from error
        except BaseException:
            self.release()
            raise
        return self

    async def decompressed(self, coding: str) -> _Body:
        """The body undone, in place."""
        if len(self.data) <= _INLINE_BYTES:
            plain = encoding.decompress(self.data, coding, self._limit)
        else:
            plain = await asyncio.to_thread(encoding.decompress, self.data, coding, self._limit)
        self._take(len(plain))
        self.data = plain
        return self

    def release(self) -> None:
        self._room.give(self._taken)
        self._taken = 0
        self.data = b""

    async def _chunks(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            chunk = message.get("body", b"")
            self._take(len(chunk))
            if self._taken > self._limit:
                raise self._too_large()
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _take(self, size: int) -> None:
        self._room.take(size)
        self._taken += size

    def _refuse_announced(self, length: bytes) -> None:
        if length and not length.isdigit():
            raise MalformedBody("Content-Length is not a number")
        if len(length) > 18 or int(length or 0) > self._limit:
            raise self._too_large()

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body has more than {self._limit} bytes")


def _presented(headers: Headers) -> str:
    """The key that came with a request, as text. Raises NotAuthenticated."""
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return value.decode("latin-1")
    if b"x-api-key" in headers:
        return headers[b"x-api-key"].decode("latin-1")
    raise NotAuthenticated("send the header `Authorization: Bearer mp_…` with a key that may send events")


def _answer(verdict: Accepted) -> Answer:
    accepted, rejected = len(verdict.entries), [_shown(item) for item in verdict.rejected]
    if accepted == 1 and not rejected:
        return Answer(HTTPStatus.ACCEPTED, _ONE)
    if accepted or not rejected:
        return Answer(HTTPStatus.ACCEPTED, msgspec.json.encode({"accepted": accepted, "rejected": rejected}))
    if verdict.forbidden:
        detail = "the key may not send any of these events"
        return problem(HTTPStatus.FORBIDDEN, detail, accepted=0, rejected=rejected)
    detail = "none of the events was accepted; `rejected` says why"
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, accepted=0, rejected=rejected)


def _shown(item: Rejection) -> Mapping[str, int | str | None]:
    return {"index": item.index, "id": item.id, "error": item.error}
