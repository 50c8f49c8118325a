"""What every way in shares: who sends, how much may be in memory, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from starlette.types import Receive

from collector import encoding
from collector.catalogs import CurrentCatalog
from collector.commit import Writer
from collector.ingest import Accepted, Limits, Principal, Rejection, validate, without_secrets
from collector.keys import KeyRing
from collector.masking import Masking, no_key
from collector.metrics import Metrics
from collector.problems import TooSlow
from collector.rates import Rates, named
from collector.refusals import Gate
from milepost import auth, settings
from milepost.auth import ApiKey, allows
from milepost.catalog.schema import Catalog
from milepost.clock import Clock, to_us
from milepost.errors import (
    MalformedBody,
    NotAllowed,
    Overloaded,
    TooLarge,
)
from milepost.inbox.quarantine import Tallies

BODY_SECONDS: Final = 30
"""How long a sender may take to hand over one body."""
_HELD_BODIES: Final = 16
"""Bodies of the largest size that may be in memory at once, all requests together."""
_INLINE_BYTES: Final = 64 * 1024
"""Compressed bodies up to this are undone at once, larger ones in a thread."""

Headers = Mapping[bytes, bytes]
"""Header names in lower case; of a repeated header the last value."""


class Disconnected(Exception):
    """The sender left before its request was complete."""


class Intake:
    """Takes events for every way in: authenticated, bounded, validated, and on stable storage when `take` returns."""

    def __init__(
        self,
        limits: settings.Ingest,
        keys: KeyRing,
        writer: Writer,
        catalog: CurrentCatalog,
        clock: Clock,
        metrics: Metrics,
        privacy_key: Callable[[], bytes] = no_key,
    ) -> None:
        self._masking = Masking(privacy_key)
        self.limits = limits
        self.clock = clock
        self.metrics = metrics
        self._event_limits = Limits(event_bytes=limits.max_event_bytes)
        self._rates = Rates(limits.rate_per_key, named(limits.rates_of_keys))
        self._room = Room(_HELD_BODIES * limits.max_body_bytes)
        self._gate = Gate(metrics)
        self._keys = keys
        self._writer = writer
        self._catalog = catalog
        metrics.held_bytes.set_function(lambda: self._room.held)

    @property
    def catalog(self) -> Catalog:
        """The catalog in force, a few seconds old at most while the database answers. Raises Unavailable at first."""
        return self._catalog.current()

    async def known_catalog(self) -> Catalog:
        """`catalog`, read now if it never was. Raises Unavailable."""
        return await self._catalog.known()

    async def sender(self, headers: Headers, client: str | None = None) -> ApiKey:
        """The key of a request from `client`, which may send now.

        Raises NotAuthenticated, NotAllowed, RateLimited, Transient.
        """
        now = self.clock()
        key = await self._keys.authenticate(_presented(headers), now, client)
        if not allows(key.scopes, "send"):
            raise NotAllowed("this key may not send events")
        self.check_rate(key, now)
        return key

    def check_rate(self, key: Principal, now: datetime) -> None:
        """Raises RateLimited while a sender is over its events a second, Transient while nothing can be taken."""
        self._rates.check(key, now)
        self._writer.check_room()

    @asynccontextmanager
    async def body(self, headers: Headers, receive: Receive) -> AsyncIterator[bytes]:
        """The request's whole body, decompressed; its memory is counted until the block ends.

        Raises UnsupportedFormat, TooLarge, TooSlow, Overloaded, MalformedBody, Disconnected.
        """
        coding = encoding.known(headers.get(b"content-encoding", b"").decode("latin-1"))
        body = _Body(self._room, self.limits.max_body_bytes)
        try:
            await body.read(headers, receive)
            if coding is not None:
                await body.decompress(coding)
            yield body.data
        finally:
            body.release()

    async def take(
        self,
        bodies: Sequence[bytes],
        key: Principal,
        *,
        lenient: bool = False,
        now: datetime | None = None,
        unread: Sequence[Rejection] = (),
        refused: Sequence[Rejection] = (),
        correlation: str | None = None,
        whole: bool = False,
    ) -> Accepted:
        """Judge structured JSON events and keep them, accepted and refused ones in one commit.

        Returns when they are on stable storage. `lenient` and `correlation`: see `collector.ingest.validate`.
        `unread`: what came beside them and could not be made into events; as its sender is told that it was taken, it
        is kept, or Overloaded is raised. `refused`: the same, where its sender is told. `whole`: nothing is accepted
        where anything is refused. Raises Transient.
        """
        masks = self._masking.of(await self._catalog.known())  # without any catalog nothing is taken in
        now = now or self.clock()
        if unread:
            self._gate.check(key, now)
        self._rates.take(key, len(bodies) or 1, now)
        verdict = validate(
            bodies,
            received_us=to_us(now),
            sender=key,
            lenient=lenient,
            limits=self._event_limits,
            correlation=correlation,
            masks=masks,
        )
        beside = [*unread, *refused]
        verdict.rejected[:0] = [without_secrets(one, masks, key.default_source) for one in beside] if masks else beside
        if whole and verdict.rejected:
            verdict.entries.clear()
        await self._keep(verdict, key, now, len(unread))
        self._count(verdict)
        return verdict

    async def flush(self, write: Callable[[Tallies], None]) -> None:
        """Have the counts of what was refused and not kept written down; `write` is called in a thread."""
        await self._gate.flush(write)

    async def _keep(self, verdict: Accepted, key: Principal, now: datetime, unread: int) -> None:
        refusals = self._gate.admit(key, verdict.rejected, now, unread=unread)
        if not verdict.entries and not refusals:
            return
        await self._writer.submit(verdict.entries, refusals)
        self._gate.remember(refusals)

    def _count(self, verdict: Accepted) -> None:
        self.metrics.request_events.observe(len(verdict.entries) + len(verdict.rejected))
        self.metrics.accepted.inc(len(verdict.entries))
        if verdict.rejected:
            forbidden = sum(item.forbidden for item in verdict.rejected)
            self.metrics.forbidden.inc(forbidden)
            self.metrics.refused.inc(len(verdict.rejected) - forbidden)


class Room:
    """The memory that request bodies may take, in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def take(self, size: int) -> None:
        """Raises Overloaded when it is full."""
        if self.held and self.held + size > self._limit:
            raise Overloaded("too many large requests at once", retry_after=1)
        self.held += size

    def give(self, size: int) -> None:
        self.held -= size


class _Body:
    """A request body in memory, and its share of the room."""

    def __init__(self, room: Room, limit: int) -> None:
        self._room = room
        self._limit = limit
        self._taken = 0
        self.data = b""

    async def read(self, headers: Headers, receive: Receive) -> None:
        """Raises TooLarge, TooSlow, Overloaded."""
        self._refuse_announced(headers.get(b"content-length", b""))
        try:
            async with asyncio.timeout(BODY_SECONDS):
                self.data = await self._chunks(receive)
        except TimeoutError as error:
            raise TooSlow(f"the body did not arrive within {BODY_SECONDS} seconds") from error

    async def decompress(self, coding: str) -> None:
        if len(self.data) <= _INLINE_BYTES:
            plain = encoding.decompress(self.data, coding, self._limit)
        else:
            plain = await asyncio.to_thread(encoding.decompress, self.data, coding, self._limit)
        self._take(len(plain))
        self.data = plain

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
    given = (headers.get(name) for name in (b"authorization", b"x-api-key"))
    return auth.presented(*(value.decode("latin-1") if value is not None else None for value in given))
