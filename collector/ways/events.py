"""/v1/events: CloudEvents over HTTP, and the plainer formats beside it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.types import Receive

from collector.binding import Splitter, format_of
from collector.ingest import Accepted, Rejection
from collector.intake import Intake
from collector.problems import Answer, from_error, problem
from collector.ways import Call, handshake
from milepost.errors import MilepostError

_ONE: Final = b'{"accepted":1,"rejected":[]}'


class Events:
    """POST takes events; OPTIONS is the handshake of the CloudEvents webhook rules."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._splitter = Splitter(intake.limits.max_batch_events)

    async def answer(self, call: Call, receive: Receive) -> Answer:
        if call.method == "OPTIONS":
            return handshake.answer(call.headers, self._intake.limits.rate_per_key)
        key = await self._intake.sender(call.headers, call.client)
        # everything that a header can tell is told before the body is read
        content_type = call.headers.get(b"content-type", b"").decode("latin-1")
        kind = format_of(content_type, call.all_headers)
        async with self._intake.body(call.headers, receive) as body:
            bodies = self._splitter.split(kind, body, content_type, call.all_headers)
            verdict = await self._intake.take(bodies, key, lenient=kind.lenient, correlation=call.correlation)
        return _answer(verdict)

    def refuse(self, error: MilepostError) -> Answer:
        return from_error(error)


def _answer(verdict: Accepted) -> Answer:
    accepted, rejected = len(verdict.entries), [shown(item) for item in verdict.rejected]
    if accepted == 1 and not rejected:
        return Answer(HTTPStatus.ACCEPTED, _ONE)
    if accepted or not rejected:
        return Answer(HTTPStatus.ACCEPTED, msgspec.json.encode({"accepted": accepted, "rejected": rejected}))
    if verdict.forbidden:
        detail = "the key may not send any of these events"
        return problem(HTTPStatus.FORBIDDEN, detail, accepted=0, rejected=rejected)
    detail = "none of the events was accepted; `rejected` says why"
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, accepted=0, rejected=rejected)


def shown(item: Rejection) -> Mapping[str, int | str | None]:
    """A refused event as its sender is told."""
    return {"index": item.index, "id": item.id, "error": item.error}
