"""Pure validation of a batch of events: which ones enter the log, and why the others don't.

Every way in goes through `validate`: HTTP requests, the Odoo poller, the importers.
"""

from __future__ import annotations

import dataclasses
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import Raw, Struct

from collector import trace
from collector.masking import Masks
from milepost import contract
from milepost.contract import Entry, Event
from milepost.errors import InvalidEvent, NotAllowed, Permanent, TooLarge

if TYPE_CHECKING:
    from milepost.inbox.quarantine import Kind

MAX_DEPTH: Final = 32
"""Nesting of one event; deeper JSON would exhaust the stack of one reader or another."""
MAX_TEXT: Final = 500
"""Characters of an error that are shown: some quote what was sent."""
MAX_ID: Final = 256
CORRELATION: Final = "correlation"
"""Where a refusal's context keeps the trace of its request."""
STRICT: Final = "events"
LENIENT: Final = "json"
"""How the quarantine reads a single event again: as CloudEvents wants it, or with what may be left out completed."""

_STARTS_WITH_VERSION: Final = b'{"specversion"'
_BASE64_FIELD: Final = b'"data_base64"'
_TRACE_FIELD: Final = b'"traceparent"'
# possessive, and an unclosed string ends with the text: linear whatever is sent
_strings: Final = re.compile(rb'(?s)"(?:[^"\\]++|\\.)*+"?')
_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


class Sender(Protocol):
    """Whoever sends: an API key, or a poller of our own. `auth.ApiKey` is one."""

    @property
    def default_source(self) -> str | None: ...

    def may_send(self, source: str, event_type: str) -> bool: ...


class Principal(Sender, Protocol):
    """Whoever sends over HTTP: an API key, or a source that proved itself by a signature."""

    @property
    def key_id(self) -> str: ...

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one event may weigh, in bytes."""

    event_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that does not enter the log. `index` counts from 0 in the request; `body` is whole, as it came.

    `id` and `source` are what the body claims, None where it can't be read. `way` tells how the quarantine reads the
    body again, `context` what that needs beside it (milepost.inbox.quarantine.Refusal).
    """

    index: int
    id: str | None
    error: str
    body: bytes
    source: str | None
    kind: Kind = "malformed"
    way: str = "events"
    context: Mapping[str, Any] | None = None

    @property
    def forbidden(self) -> bool:
        """The sender lacks the right."""
        return self.kind == "forbidden"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The verdict on a batch, in the order of the batch."""

    entries: list[Entry] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)

    @property
    def forbidden(self) -> bool:
        """Nothing was accepted, and only for want of rights."""
        return not self.entries and bool(self.rejected) and all(item.forbidden for item in self.rejected)


class _Stated(Struct):
    """Tells a missing specversion from a given one."""

    specversion: Any = None


class _Traced(Struct):
    """The extension attribute of CloudEvents' distributed tracing."""

    traceparent: Any = None


class _Claims(Struct):
    """What a refused body says of itself, whatever else is wrong with it."""

    id: Any = None
    source: Any = None


_stated: Final = msgspec.json.Decoder(_Stated)
_claims: Final = msgspec.json.Decoder(_Claims)
_traced: Final = msgspec.json.Decoder(_Traced)
_fields: Final = msgspec.json.Decoder(dict[str, Raw])


def validate(
    bodies: Sequence[bytes],
    *,
    received_us: int,
    sender: Sender,
    lenient: bool = False,
    limits: Limits = Limits(),
    correlation: str | None = None,
    masks: Masks | None = None,
) -> Accepted:
    """Judge structured JSON events, each on its own.

    `received_us`: when they were received, microseconds. `lenient` lets specversion, id and source be missing: the id
    becomes a hash of the content, the source the sender's default one, and the stored body is completed with them.
    `correlation`: the correlation id of events that have none, and no `traceparent` either. It is stored with the
    event and marked by `correlationfrom`, for it is no part of the content: who sends again has another trace.
    `masks`: what is not to be kept, of accepted and refused events alike.
    """
    result = Accepted()
    entries, rights = result.entries, _Rights(sender)
    for index, body in enumerate(bodies):
        try:
            event, whole = _read(
                body, sender.default_source if lenient else None, lenient, limits.event_bytes, correlation
            )
            rights.check(event.source, event.type)
        except Permanent as error:
            item = _rejection(index, body, error, LENIENT if lenient else STRICT, correlation)
            result.rejected.append(item if masks is None else without_secrets(item, masks, sender.default_source))
            continue
        content = contract.content_of(event)
        if masks is not None:
            whole = masks.event(event.source, whole)
        entries.append(Entry(contract.identity_of(event.source, event.id), content, received_us, whole))
    return result


def without_secrets(item: Rejection, masks: Masks, default_source: str | None) -> Rejection:
    """What was refused as it may be kept: by the rules of the source that it claims, and of its sender's."""
    sources = (item.source or default_source, default_source)
    return dataclasses.replace(item, body=masks.refused(sources, item.body))


class _Rights:
    """`may_send` remembered for one batch: its patterns cost more than a look-up."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._answers: dict[tuple[str, str], bool] = {}

    def check(self, source: str, event_type: str) -> None:
        asked = (source, event_type)
        allowed = self._answers.get(asked)
        if allowed is None:
            allowed = self._answers[asked] = self._sender.may_send(source, event_type)
        if not allowed:
            raise NotAllowed(f'this key may not send "{event_type}" as source "{source}"')


def _read(
    body: bytes, default_source: str | None, lenient: bool, max_bytes: int, correlation: str | None
) -> tuple[Event, bytes]:
    """The event as its sender means it, and its body as it is stored. Raises InvalidEvent or TooLarge."""
    if _BASE64_FIELD in body:
        body = _inline_base64(body)
    _check_shape(body, max_bytes)
    if _TRACE_FIELD in body:
        correlation = _trace_of(body) or correlation
    event = contract.decode(body, correlated=correlation is not None)
    if event.correlationid is not None:
        correlation = None
    if not (event.id and event.source and _states_version(body)):
        if not lenient:
            raise InvalidEvent(_missing(event))
        event, body = _completed(event, body, default_source, correlation)
    return event, body if correlation is None else _correlated(body, correlation)


def _check_shape(body: bytes, max_bytes: int) -> None:
    """What must be known before parsing, or what the parser skips in fields that it doesn't read."""
    if len(body) > max_bytes:
        raise TooLarge(f"event: {len(body)} bytes, at most {max_bytes} are allowed")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise InvalidEvent(f"not valid JSON in UTF-8: {error.reason} at byte {error.start}") from error
    if _too_deep(body):
        raise InvalidEvent(f"event: nested more than {MAX_DEPTH} levels deep")


def _too_deep(body: bytes) -> bool:
    """Count brackets first: what has few can't be deep. Else take the innermost pairs off, level by level."""
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return False
    brackets = _strings.sub(b"", body).translate(_TO_SQUARE, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return b"[" in brackets


def _states_version(body: bytes) -> bool:
    return body.startswith(_STARTS_WITH_VERSION) or _stated.decode(body).specversion is not None


def _missing(event: Event) -> str:
    for name in ("id", "source"):
        if not getattr(event, name):
            return f"{name}: missing or empty, and CloudEvents requires it"
    return 'specversion: missing; send "1.0"'


def _trace_of(body: bytes) -> str | None:
    """The trace that an event says it belongs to."""
    try:
        stated = _traced.decode(body).traceparent
    except (msgspec.MsgspecError, RecursionError):
        return None  # whoever decodes the event says what is wrong with it
    return trace.trace_id_of(stated) if isinstance(stated, str) else None


def _correlated(body: bytes, correlation: str) -> bytes:
    added = {"correlationid": correlation, "correlationfrom": contract.FROM_TRACE}
    return msgspec.json.encode({**_fields.decode(body), **added})


def _completed(event: Event, body: bytes, default_source: str | None, correlation: str | None) -> tuple[Event, bytes]:
    """The event with the id, source and specversion that its sender left out."""
    source = event.source or default_source
    if not source:
        raise InvalidEvent("source: missing, and the key does not stand for exactly one source")
    event_id = event.id or contract.made_up_id(_told_apart(event, correlation))
    first = {"specversion": event.specversion, "id": event_id, "source": source}
    # Raw values go through as they came: numbers keep their digits
    whole = msgspec.json.encode({**first, **_without(_fields.decode(body), first)})
    return msgspec.structs.replace(event, id=event_id, source=source), whole


def _told_apart(event: Event, correlation: str | None) -> Event:
    """What an id is made of: an event that names nothing is told from others of its kind by its correlation alone."""
    if event.data.keys or event.data.links:
        return event
    return msgspec.structs.replace(event, correlationid=correlation or event.correlationid, correlationfrom=None)


def _without(fields: dict[str, Raw], names: dict[str, str]) -> dict[str, Raw]:
    return {name: value for name, value in fields.items() if name not in names}


def _inline_base64(body: bytes) -> bytes:
    """CloudEvents may carry its data as base64; JSON inside is put where everybody reads it."""
    try:
        fields = _fields.decode(body)
        encoded = fields.pop("data_base64", None)
        if encoded is None:
            return body
        if "data" in fields:
            raise InvalidEvent("data_base64: give data or data_base64, not both")
        fields["data"] = json_value(b64decode(msgspec.json.decode(encoded, type=str), validate=True))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"data_base64: not base64 of a JSON value: {error}") from error
    return msgspec.json.encode(fields)


def json_value(text: bytes) -> Raw:
    """Exactly one JSON value, unparsed, so that it can be set into another. Raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=Raw)


def _rejection(index: int, body: bytes, error: Permanent, way: str, correlation: str | None) -> Rejection:
    claims = _claims_of(body)
    return Rejection(
        index=index,
        id=_short(claims.id),
        error=str(error)[:MAX_TEXT],
        body=body,
        source=_short(claims.source),
        kind="forbidden" if isinstance(error, NotAllowed) else "malformed",
        way=way,
        context=None if correlation is None else {CORRELATION: correlation},
    )


def _claims_of(body: bytes) -> _Claims:
    try:
        return _claims.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Claims()


def _short(value: Any) -> str | None:
    return value[:MAX_ID] if isinstance(value, str) and value else None
