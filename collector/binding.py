"""The CloudEvents HTTP binding, and the plainer formats beside it: from a request body to structured JSON events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from collector.ingest import json_value
from milepost.errors import MalformedBody, TooLarge, UnsupportedFormat

Headers = Sequence[tuple[bytes, bytes]]

_PREFIX: Final = b"ce-"
_attribute_name: Final = re.compile(r"[a-z0-9]{1,64}")
_quoted: Final = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_escaped: Final = re.compile(rb"\\(.)")
_BOM: Final = b"\xef\xbb\xbf"
_CHARSETS: Final = ("utf-8", "utf8", "us-ascii")


class Format(Enum):
    """The ways to send events in one request."""

    STRUCTURED = "application/cloudevents+json"
    BATCH = "application/cloudevents-batch+json"
    BINARY = "binary"
    JSON = "application/json"
    NDJSON = "application/x-ndjson"

    @property
    def lenient(self) -> bool:
        """Whether specversion, id and source may be missing: in plain JSON, never where CloudEvents is claimed."""
        return self in (Format.JSON, Format.NDJSON)


_by_type: Final = {item.value: item for item in Format} | {
    "application/ndjson": Format.NDJSON,
    "application/jsonl": Format.NDJSON,
}


def format_of(content_type: str, headers: Headers) -> Format:
    """Which format a request is in. Raises UnsupportedFormat, naming what is understood."""
    media, _, parameters = content_type.partition(";")
    media = media.strip().lower()
    _check_charset(parameters)
    if not media.startswith("application/cloudevents") and any(name.startswith(_PREFIX) for name, _ in headers):
        return _binary(media)
    found = _by_type.get(media)
    if found is None or found is Format.BINARY:
        known = ", ".join(item.value for item in Format if item is not Format.BINARY)
        raise UnsupportedFormat(f'Content-Type "{media}" is not understood; send one of {known}, or ce-* headers')
    return found


def _binary(media: str) -> Format:
    if media in ("", "application/json", "text/json") or media.endswith("+json"):
        return Format.BINARY
    raise UnsupportedFormat(f'data of Content-Type "{media}" is not understood; send application/json')


def _check_charset(parameters: str) -> None:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in _CHARSETS:
            raise UnsupportedFormat(f"charset {value.strip()} is not understood; send UTF-8")


class Splitter:
    """Cuts a body into its events. `max_events` bounds what a request may carry, and what cutting may cost."""

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self._array = msgspec.json.Decoder(_array_type(max_events + 1))

    def split(self, kind: Format, body: bytes, content_type: str, headers: Headers) -> list[bytes]:
        """The structured JSON events of a body, whatever they are worth. Raises MalformedBody or TooLarge."""
        if body.startswith(_BOM):
            body = body[len(_BOM) :]
        if kind is Format.BINARY:
            return [_from_headers(body, content_type, headers)]
        if kind is Format.NDJSON:
            return self._lines(body)
        _check_text(body)
        opening = body.lstrip(b" \t\r\n")[:1]
        if opening == b"[" and kind is not Format.STRUCTURED:
            return self._elements(body)
        if opening == b"{" and kind is not Format.BATCH:
            return [_only_value(body)]
        raise MalformedBody(f"a body of {kind.value} is {_WANTED[kind]}")

    def _elements(self, body: bytes) -> list[bytes]:
        try:
            values = msgspec.structs.astuple(self._array.decode(body))
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedBody(f"the body is not valid JSON: {error}") from error
        if values[-1] is not UNSET:
            raise self._too_many()
        return [bytes(value) for value in values if value is not UNSET]

    def _lines(self, body: bytes) -> list[bytes]:
        lines = body.split(b"\n", self._max_events)
        if len(lines) > self._max_events and lines.pop().strip():
            raise self._too_many()
        return [line for line in map(bytes.strip, lines) if line]

    def _too_many(self) -> TooLarge:
        return TooLarge(f"more than {self._max_events} events in one request; send several requests")


_WANTED: Final = {
    Format.STRUCTURED: "one JSON object",
    Format.BATCH: "a JSON array of events",
    Format.JSON: "a JSON object or an array of objects",
}


def _array_type(length: int) -> type[Struct]:
    """An array whose elements after `length` are skipped, not made: `[1,1,1,…` must not cost memory."""
    fields: list[tuple[str, Any, Any]] = [(f"e{index}", Raw | UnsetType, UNSET) for index in range(length)]
    return msgspec.defstruct("Array", fields, array_like=True)


def _check_text(body: bytes) -> None:
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error


def _only_value(body: bytes) -> bytes:
    try:
        json_value(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedBody(f"the body is not valid JSON: {error}") from error
    return body.strip()


def _from_headers(body: bytes, content_type: str, headers: Headers) -> bytes:
    """Binary mode: the attributes stand in ce-* headers, the body is the data."""
    fields: dict[str, str | Raw] = _attributes(headers)
    if content_type:
        fields["datacontenttype"] = content_type
    if body.strip():
        _check_text(body)
        fields["data"] = Raw(_only_value(body))
    return msgspec.json.encode(fields)


def _attributes(headers: Headers) -> dict[str, Any]:
    attributes: dict[str, str] = {}
    for header, value in headers:
        if not header.startswith(_PREFIX):
            continue
        name = header[len(_PREFIX) :].decode("latin-1")
        if name == "data" or not _attribute_name.fullmatch(name):
            raise MalformedBody(f"{header.decode('latin-1')}: not the name of a CloudEvents attribute")
        if name in attributes:
            raise MalformedBody(f"ce-{name}: given twice")
        attributes[name] = _header_value(name, value)
    return attributes


def _header_value(name: str, value: bytes) -> str:
    """Undo double quotes, then percent-encoding once (CloudEvents HTTP binding 3.1.3.2)."""
    quoted = _quoted.fullmatch(value)
    if quoted:
        value = _escaped.sub(rb"\1", quoted[1])
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError as error:
        raise MalformedBody(f"ce-{name}: not UTF-8 once percent-decoded") from error
