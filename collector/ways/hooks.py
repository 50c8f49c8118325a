"""/v1/hooks/{source}: webhooks as their senders make them, by a mapping of the catalog.

An authentic call is answered 202 whatever its payload: what can't be read is in quarantine, where somebody mends it,
and its sender must not try for ever.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.types import Receive

from collector import hooks
from collector.hooks import Hook, Hooks, Reading, Request
from collector.ingest import Accepted, Principal
from collector.intake import Intake
from collector.problems import Answer, from_error, problem
from collector.ways import Call, handshake
from collector.ways.events import shown
from milepost.errors import MilepostError, NotAuthenticated, NotFound
from milepost.guard import Guard

PATH: Final = "/v1/hooks/{source:path}"
_INLINE_BYTES: Final = 64 * 1024
"""Payloads up to this are mapped at once, larger ones in a thread."""
_PING: Final = re.compile(rb"webhook_id=\d{1,20}")
"""What WooCommerce posts, unsigned, when a webhook is saved; it wants a 2xx."""
_FORGED_OVER_ALL: Final = 20_000
"""Forged calls of all addresses in a minute, after which a hook takes none: which are authentic shows too late."""
_PING_DIGITS: Final = 2
"""Digits of the length of such a body."""


class Webhooks:
    """POST takes a payload; OPTIONS is the handshake of the CloudEvents webhook rules."""

    def __init__(self, intake: Intake, environ: Mapping[str, str]) -> None:
        self._intake = intake
        self._hooks = Hooks(environ)
        # by hook: a wrong secret of one must not shut out the others of a sender that calls from the same address
        self._guards: defaultdict[str, Guard] = defaultdict(lambda: Guard(over_all=_FORGED_OVER_ALL))

    async def answer(self, call: Call, receive: Receive) -> Answer:
        hook = self._hooks.find(str(call.parameters["source"]), self._intake.catalog)
        if call.method == "OPTIONS":
            return handshake.answer(call.headers, self._intake.limits.rate_per_key)
        request, now = _request(call), self._intake.clock()
        sender = await self._sender(hook, call, now)
        ping = _may_be_ping(hook, request)
        if not ping:
            self._authenticate(hook, call, now, lambda: hook.lock.early(request))
        async with self._intake.body(call.headers, receive) as body:
            if ping and _PING.fullmatch(body.strip()):
                return Answer(HTTPStatus.OK, b"{}")
            self._authenticate(hook, call, now, lambda: hook.lock.check(request, body, now))
            return await self._take(hook, sender, body, request, call.correlation)

    def refuse(self, error: MilepostError) -> Answer:
        if isinstance(error, NotFound):
            return problem(HTTPStatus.NOT_FOUND, str(error))
        return from_error(error)

    async def _sender(self, hook: Hook, call: Call, now: datetime) -> Principal:
        """Who answers for the call: the hook, or the key that opens it. Raises RateLimited, NotAuthenticated."""
        if hook.spec.scheme == "key":
            return await self._intake.sender(call.headers, call.client)
        self._guards[hook.source].admit(call.client, "", now)
        self._intake.check_rate(hook, now)
        return hook

    def _authenticate(self, hook: Hook, call: Call, now: datetime, check: Callable[[], None]) -> None:
        try:
            check()
        except NotAuthenticated:
            self._guards[hook.source].failed(call.client, now)
            self._intake.metrics.count_hook(hook.source, "unauthentic")
            raise

    async def _take(
        self, hook: Hook, sender: Principal, body: bytes, request: Request, correlation: str | None
    ) -> Answer:
        """Its receive time is that of the whole body: clocks may have passed the time of its head."""
        if len(body) <= _INLINE_BYTES:
            reading = hooks.read(hook, body, request)
        else:
            reading = await asyncio.to_thread(hooks.read, hook, body, request)
        unread = [] if reading.unread is None else [reading.unread]
        verdict = await self._intake.take(reading.bodies, sender, unread=unread, correlation=correlation)
        self._intake.metrics.count_hook(hook.source, _outcome(reading))
        return _answer(verdict, reading)


def _request(call: Call) -> Request:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.headers.items()}
    return Request(headers, call.query.decode("latin-1"))


def _may_be_ping(hook: Hook, request: Request) -> bool:
    if hook.spec.scheme != "woocommerce" or "x-wc-webhook-signature" in request.headers:
        return False
    length = request.headers.get("content-length", "")
    return length.isdigit() and len(length) <= _PING_DIGITS


def _outcome(reading: Reading) -> str:
    if reading.unread is not None:
        return "unread"
    return "ignored" if reading.ignored is not None else "accepted"


def _answer(verdict: Accepted, reading: Reading) -> Answer:
    """202 for whatever was authentic, but for a key that may not send it."""
    refused = verdict.rejected[0 if reading.unread is None else 1 :]  # it comes first
    rejected = [shown(item) for item in refused]
    if not verdict.entries and refused and all(item.forbidden for item in refused):
        detail = "the key may not send any of these events"
        return problem(HTTPStatus.FORBIDDEN, detail, accepted=0, rejected=rejected)
    told: dict[str, Any] = {"accepted": len(verdict.entries), "rejected": rejected}
    if reading.unread is not None:
        told["quarantined"] = reading.unread.error
    if reading.ignored is not None:
        told["ignored"] = reading.ignored
    return Answer(HTTPStatus.ACCEPTED, msgspec.json.encode(told))
