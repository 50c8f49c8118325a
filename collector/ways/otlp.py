"""/v1/traces and /v1/logs: OTLP over HTTP, in protobuf and JSON, answered in kind.

https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#otlphttp
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from starlette.types import Receive

from collector.formats import otlp, otlp_json, otlp_protobuf
from collector.formats.signals import Origin, Signal
from collector.ingest import Accepted, Rejection
from collector.intake import Intake
from collector.problems import INTERNAL, JSON, Answer, TooSlow, from_error
from collector.ways import Call
from milepost.auth import ApiKey
from milepost.errors import MilepostError, Unavailable, UnsupportedFormat

PROTOBUF: Final = b"application/x-protobuf"
_INLINE_BYTES: Final = 64 * 1024
"""Bodies up to this are read at once, larger ones in a thread."""
_TOLD: Final = 5
"""Refused signals that an answer gives the reasons of."""

_REMEMBERED: Final = 10_000
"""Keys whose first request was looked at."""

_log = logging.getLogger(__name__)

_Read = Callable[[bytes], Iterable[tuple[Origin, Signal]]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One of OTLP's signals. `envelope`: the field of a request in JSON, `rejected`: of the answer, the count."""

    name: str
    path: str
    envelope: str
    protobuf: _Read
    json: _Read
    response: Callable[[], Any]
    rejected: str


TRACES: Final = Kind(
    "span",
    "/v1/traces",
    "resourceSpans",
    otlp_protobuf.spans,
    otlp_json.spans,
    trace_service_pb2.ExportTraceServiceResponse,
    "rejected_spans",
)
LOGS: Final = Kind(
    "log",
    "/v1/logs",
    "resourceLogs",
    otlp_protobuf.logs,
    otlp_json.logs,
    logs_service_pb2.ExportLogsServiceResponse,
    "rejected_log_records",
)
KINDS: Final = (TRACES, LOGS)


class Otlp:
    """POST takes an export request of one kind of signal."""

    def __init__(self, intake: Intake, kind: Kind) -> None:
        self._intake = intake
        self._kind = kind
        self._heard: set[str] = set()

    async def answer(self, call: Call, receive: Receive) -> Answer:
        media = call.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        try:
            if call.method != "POST":
                return _status(HTTPStatus.METHOD_NOT_ALLOWED, "send signals with POST", media, [(b"allow", b"POST")])
            return await self._taken(call, media, receive)
        except MilepostError as error:
            return _refusal(error, media)

    def refuse(self, error: MilepostError) -> Answer:
        return _refusal(error, JSON)

    async def _taken(self, call: Call, media: bytes, receive: Receive) -> Answer:
        key = await self._intake.sender(call.headers, call.client)
        read = {PROTOBUF: self._kind.protobuf, JSON: self._kind.json}.get(media)
        if read is None:
            known = f"{PROTOBUF.decode()} or {JSON.decode()}"
            raise UnsupportedFormat(f'Content-Type "{media.decode("latin-1")}" is not understood; send {known}')
        async with self._intake.body(call.headers, receive) as body:
            reading = await self._read(read, body, key)
            verdicts = await self._keep(reading, key, call.correlation)
        self._intake.metrics.count_ignored(self._kind.name, reading.ignored)
        self._hint(key, reading)
        return self._told(verdicts, reading.ignored, media)

    def _hint(self, key: ApiKey, reading: otlp.Reading) -> None:
        """Say once that a sender's signals are none of our business: it may think that they are."""
        if key.key_id in self._heard or len(self._heard) >= _REMEMBERED:
            return
        self._heard.add(key.key_id)
        if reading.ignored and not (reading.bodies or reading.refused):
            _log.info(
                "the first %d %ss of %s are no events: none says milepost.type, and no signal rule matches",
                reading.ignored, self._kind.name, key.name,
            )  # fmt: skip

    async def _read(self, read: _Read, body: bytes, key: ApiKey) -> otlp.Reading:
        sources = self._intake.catalog.sources
        if len(body) <= _INLINE_BYTES:
            return otlp.read(read(body), key, sources)
        return await asyncio.to_thread(lambda: otlp.read(read(body), key, sources))

    async def _keep(self, reading: otlp.Reading, key: ApiKey, correlation: str | None) -> list[Accepted]:
        """In parts of the size of a batch: an agent may gather more in one request than senders of events may."""
        size = self._intake.limits.max_batch_events
        bodies, refused, verdicts = reading.bodies, reading.refused, []
        for start in range(0, max(len(bodies), 1 if refused else 0), size):
            part = bodies[start : start + size]
            verdicts.append(await self._intake.take(part, key, refused=refused, correlation=correlation))
            refused = []
        return verdicts

    def _told(self, verdicts: Sequence[Accepted], ignored: int, media: bytes) -> Answer:
        rejected = [item for verdict in verdicts for item in verdict.rejected]
        accepted = sum(len(verdict.entries) for verdict in verdicts)
        if rejected and not (accepted or ignored):
            forbidden = all(item.forbidden for item in rejected)
            return _status(HTTPStatus.FORBIDDEN if forbidden else HTTPStatus.BAD_REQUEST, _reasons(rejected), media)
        response = self._kind.response()
        if rejected:
            setattr(response.partial_success, self._kind.rejected, len(rejected))
            response.partial_success.error_message = _reasons(rejected)
        return _message(HTTPStatus.OK, response, media)


def _reasons(rejected: Sequence[Rejection]) -> str:
    told = [f"{item.id or 'without id'}: {item.error}" for item in rejected[:_TOLD]]
    more = [f"and {len(rejected) - _TOLD} more"] if len(rejected) > _TOLD else []
    return f"{len(rejected)} refused, and kept in quarantine: " + "; ".join(told + more)


def _refusal(error: MilepostError, media: bytes) -> Answer:
    if isinstance(error, TooSlow):
        error = Unavailable(str(error), retry_after=1)  # 408 would tell the sender to drop what it has
    known = from_error(error)
    told = INTERNAL if known.status == HTTPStatus.INTERNAL_SERVER_ERROR else str(error)
    return _status(known.status, told, media, known.headers)


_CODES: Final = {
    HTTPStatus.BAD_REQUEST: code_pb2.INVALID_ARGUMENT,
    HTTPStatus.UNAUTHORIZED: code_pb2.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: code_pb2.PERMISSION_DENIED,
    HTTPStatus.METHOD_NOT_ALLOWED: code_pb2.UNIMPLEMENTED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: code_pb2.INVALID_ARGUMENT,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: code_pb2.INVALID_ARGUMENT,
    HTTPStatus.TOO_MANY_REQUESTS: code_pb2.RESOURCE_EXHAUSTED,
    HTTPStatus.SERVICE_UNAVAILABLE: code_pb2.UNAVAILABLE,
}


def _status(status: int, message: str, media: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> Answer:
    code = _CODES.get(HTTPStatus(status), code_pb2.INTERNAL)
    return _message(status, status_pb2.Status(code=code, message=message), media, headers)


def _message(status: int, message: Message, media: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> Answer:
    """In kind; whoever sent what has no kind gets JSON."""
    if media == PROTOBUF:
        return Answer(status, message.SerializeToString(), PROTOBUF, [*headers])
    return Answer(status, json_format.MessageToJson(message, indent=None).encode(), JSON, [*headers])
