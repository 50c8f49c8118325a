"""/v1/epcis: the capture subset of EPCIS 2.0's REST interface.

https://ref.gs1.org/standards/epcis/ (REST bindings). A capture is over when it is answered; its state is kept for those
who ask.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Raw
from starlette.types import Receive

from collector.formats import epcis
from collector.ingest import Accepted
from collector.intake import Intake
from collector.problems import Answer, from_error, problem
from collector.store import Store
from collector.ways import Call
from milepost import contract
from milepost.auth import ApiKey
from milepost.catalog.epcis import EpcisSpec
from milepost.errors import Conflict, MalformedBody, MilepostError, NotAllowed, NotFound, UnsupportedFormat
from milepost.inbox.captures import MAX_ERRORS, Capture

BASE: Final = "/v1/epcis"
CAPTURE: Final = f"{BASE}/capture"
JOB: Final = f"{CAPTURE}/{{capture}}"
EVENTS: Final = f"{BASE}/events"
ROLLBACK, PROCEED = "rollback", "proceed"

_MEDIA: Final = (b"application/json", b"application/ld+json")
_INLINE_BYTES: Final = 64 * 1024
"""Bodies up to this are read at once, larger ones in a thread."""
_acceptable: Final = re.compile(rb"(?i)(?:^|[,\s])(?:\*/\*|application/(?:\*|json|ld\+json|problem\+json))")
_REMEMBERED: Final = 10_000
"""Events that were captured singly and may not be recorded yet."""
_capture_id: Final = re.compile(r"[0-9a-f]{32}")
_VERSION: Final = [(b"gs1-epcis-version", b"2.0"), (b"gs1-cbv-version", b"2.0")]

Headers = list[tuple[bytes, bytes]]


class _NotAcceptable(MilepostError):
    """The sender reads no JSON."""


class Epcis:
    """One of the resources: OPTIONS announces, any other method in `allowed` acts."""

    def __init__(
        self, allowed: Sequence[str], act: Callable[[Call, Receive], Awaitable[Answer]], limits: Headers
    ) -> None:
        self._allowed = allowed
        self._act = act
        self._announced = [*_announcement(allowed), *limits]

    async def answer(self, call: Call, receive: Receive) -> Answer:
        if call.method == "OPTIONS":
            return Answer(HTTPStatus.NO_CONTENT, b"", headers=self._announced)
        if call.method not in self._allowed:
            told = problem(HTTPStatus.METHOD_NOT_ALLOWED, "this is the capture subset of EPCIS", type=_type(405))
            told.headers.append((b"allow", ", ".join(self._allowed).encode()))
            return told
        accepted = call.headers.get(b"accept")
        if accepted is not None and not _acceptable.search(accepted):
            raise _NotAcceptable("answers are JSON: accept application/json")
        answer = await self._act(call, receive)
        answer.headers.extend(_VERSION)
        return answer

    def refuse(self, error: MilepostError) -> Answer:
        known = _refusal(error)
        typed = msgspec.json.decode(known.body) | {"type": _type(known.status)}
        return Answer(known.status, msgspec.json.encode(typed), known.media_type, known.headers)


def resources(intake: Intake, store: Store) -> dict[str, Epcis]:
    """What is served, by path."""
    captures, limits = _Captures(intake, store), intake.limits
    bounds = [
        (b"gs1-epcis-capture-limit", str(limits.max_batch_events).encode()),
        (b"gs1-epcis-capture-file-size-limit", str(limits.max_body_bytes).encode()),
        (b"gs1-capture-error-behaviour", b"all"),
    ]
    return {
        CAPTURE: Epcis(("OPTIONS", "POST"), captures.capture, bounds),
        JOB: Epcis(("OPTIONS", "GET"), captures.state, []),
        EVENTS: Epcis(("OPTIONS", "POST"), captures.create, []),
    }


class _Captures:
    def __init__(self, intake: Intake, store: Store) -> None:
        self._intake = intake
        self._store = store
        self._created: dict[bytes, None] = {}  # in order; the recorder takes a moment to know them

    async def capture(self, call: Call, receive: Receive) -> Answer:
        """Many events: all or none of them, unless the sender says otherwise."""
        key, behaviour, began = await self._sender(call), _behaviour(call), self._intake.clock()
        async with self._intake.body(call.headers, receive) as body:
            limit = self._intake.limits.max_batch_events
            reading = await _aside(body, lambda: _read_document(body, limit, *self._spec(key)))
            verdict = await self._intake.take(
                reading.bodies,
                key,
                refused=reading.refused,
                correlation=call.correlation,
                whole=behaviour == ROLLBACK,
            )
        capture = Capture(
            secrets.token_hex(16), began, self._intake.clock(), key.name, behaviour, _errors(verdict, reading)
        )
        # told only once it is kept: without that, the sender sends again, and what was captured counts once
        await asyncio.to_thread(self._store.add_capture, capture)
        location = f"{CAPTURE}/{capture.capture_id}".encode()
        return Answer(HTTPStatus.ACCEPTED, b"", headers=[(b"location", location)])

    async def state(self, call: Call, _: Receive) -> Answer:
        key = await self._intake.sender(call.headers, call.client)
        wanted = str(call.parameters["capture"])
        found = None
        if _capture_id.fullmatch(wanted):
            found = await asyncio.to_thread(self._store.find_capture, wanted, key.name)
        if found is None:
            raise NotFound(f"there is no capture {wanted[:64]} of this sender")
        return Answer(HTTPStatus.OK, msgspec.json.encode(_shown(found)))

    async def create(self, call: Call, receive: Receive) -> Answer:
        """One event, at once."""
        key = await self._sender(call)
        async with self._intake.body(call.headers, receive) as body:
            raw, (source, spec) = Raw(body), self._spec(key)
            reading = await _aside(body, lambda: epcis.read([_checked(raw)], source, spec))
            if reading.ids and not reading.refused:
                await self._refuse_known(source, reading)
            verdict = await self._intake.take(
                reading.bodies, key, refused=reading.refused, correlation=call.correlation, whole=True
            )
            if verdict.rejected:
                raise (NotAllowed if verdict.forbidden else MalformedBody)(verdict.rejected[0].error)
            self._remember([entry.identity for entry in verdict.entries])
            location = f"{EVENTS}/{quote(reading.ids[0], safe=':')}".encode()
            return Answer(HTTPStatus.CREATED, epcis.with_id(raw, reading.ids[0]), headers=[(b"location", location)])

    async def _refuse_known(self, source: str, reading: epcis.Reading) -> None:
        named = [msgspec.json.decode(body)["id"] for body in reading.bodies]
        identities = [contract.identity_of(source, name) for name in named]
        known = any(identity in self._created for identity in identities)
        if known or await asyncio.to_thread(self._store.any_known, identities):
            raise Conflict(f"the event {reading.ids[0]} was captured before")

    def _remember(self, identities: Sequence[bytes]) -> None:
        self._created.update(dict.fromkeys(identities))
        while len(self._created) > _REMEMBERED:
            del self._created[next(iter(self._created))]

    async def _sender(self, call: Call) -> ApiKey:
        key = await self._intake.sender(call.headers, call.client)
        media = call.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media not in _MEDIA:
            raise UnsupportedFormat(
                f'Content-Type "{media.decode("latin-1")}" is not understood; send application/json'
            )
        version = call.headers.get(b"gs1-epcis-version", b"2.0")
        if not version.startswith(b"2."):
            raise MalformedBody("GS1-EPCIS-Version: 2.0 is supported")
        return key

    def _spec(self, key: ApiKey) -> tuple[str, EpcisSpec]:
        """The source of what this key captures, and how it is read."""
        source = key.default_source
        if source is None:
            raise NotAllowed("the key stands for several sources; EPCIS names none, so use a key for exactly one")
        registered = self._intake.catalog.sources.get(source)
        return source, registered.epcis if registered is not None else EpcisSpec()


async def _aside(body: bytes, read: Callable[[], epcis.Reading]) -> epcis.Reading:
    return read() if len(body) <= _INLINE_BYTES else await asyncio.to_thread(read)


def _read_document(body: bytes, limit: int, source: str, spec: EpcisSpec) -> epcis.Reading:
    return epcis.read(epcis.document(body, limit), source, spec)


def _checked(raw: Raw) -> Raw:
    """Exactly one JSON value. Raises MalformedBody."""
    try:
        bytes(raw).decode()
        return msgspec.json.decode(raw, type=Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(f"not valid JSON: {error}") from error


def _behaviour(call: Call) -> str:
    given = call.headers.get(b"gs1-capture-error-behaviour", ROLLBACK.encode()).decode("latin-1").strip().lower()
    if given not in (ROLLBACK, PROCEED):
        raise MalformedBody(f"GS1-Capture-Error-Behaviour: {ROLLBACK} or {PROCEED}")
    return given


def _errors(verdict: Accepted, reading: epcis.Reading) -> list[Mapping[str, Any]]:
    """What was refused, in EPCIS's shape; the first of an event's reasons counts."""
    early = len(reading.refused)
    by_event: dict[int, Mapping[str, Any]] = {}
    for number, item in enumerate(verdict.rejected):
        index = item.index if number < early else reading.places[item.index]
        status = HTTPStatus.FORBIDDEN if item.forbidden else HTTPStatus.BAD_REQUEST
        about = {"type": _type(status), "title": status.phrase, "status": status.value}
        by_event.setdefault(index, {**about, "detail": f"eventList[{index}]: {item.error}", "instance": item.id})
    return [by_event[index] for index in sorted(by_event)][:MAX_ERRORS]


def _shown(capture: Capture) -> Mapping[str, Any]:
    return {
        "captureID": capture.capture_id,
        "createdAt": capture.created_at,
        "finishedAt": capture.finished_at,
        "running": False,
        "success": not capture.errors,
        "captureErrorBehaviour": capture.behaviour,
        "errors": capture.errors,
    }


def _announcement(allowed: Sequence[str]) -> Headers:
    return [
        (b"allow", ", ".join(allowed).encode()),
        *(
            (b"gs1-%b-%b" % (what, which), b"2.0")
            for what in (b"epcis", b"cbv")
            for which in (b"version", b"min", b"max")
        ),
        (b"gs1-epc-format", b"Never_Translates"),
        (b"gs1-extensions", b""),
        (b"gs1-vendor-version", b"Milepost"),
    ]


# --- errors -----------------------------------------------------------------------------------------------------------

_TYPES: Final = {
    400: "ValidationException",
    401: "SecurityException",
    403: "SecurityException",
    404: "NoSuchResourceException",
    405: "NoSuchResourceException",
    406: "NotAcceptableException",
    409: "ResourceAlreadyExistsException",
    413: "CaptureLimitExceededException",
    415: "UnsupportedMediaTypeException",
}
_OWN: Final = {
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    _NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
}


def _type(status: int) -> str:
    return f"epcisException:{_TYPES.get(status, 'ImplementationException')}"


def _refusal(error: MilepostError) -> Answer:
    status = _OWN.get(type(error))
    return from_error(error) if status is None else problem(status, str(error))
