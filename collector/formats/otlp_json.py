"""OTLP in JSON: export requests to signals. Pure.

https://github.com/open-telemetry/opentelemetry-proto/blob/main/docs/specification.md#json-protobuf-encoding: ids are
hex, enums numbers, 64-bit integers text or numbers, names lowerCamelCase; fields that are not known are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from collector.formats.signals import MAX_DEPTH, MAX_SIGNALS, Attributes, Log, Moment, Origin, Span, SpanLink, Value
from milepost.errors import MalformedBody, TooLarge

_MAX_OBJECTS: Final = 1_000_000
"""Objects in one request: what is parsed takes some 150 bytes each."""
_STATUS_ERROR: Final = 2
_TOO_GREAT: Final = 2**64

_whole: Final = re.compile(r"-?[0-9]{1,20}")
_Number = int | str | None


class _Any(Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Number = None
    double_value: float | str | None = None
    array_value: _Array | None = None
    kvlist_value: _Pairs | None = None
    bytes_value: str | None = None


class _Array(Struct):
    values: list[_Any] | None = None


class _Pair(Struct):
    key: str = ""
    value: _Any | None = None


class _Pairs(Struct):
    values: list[_Pair] | None = None


class _Named(Struct):
    """A resource or a scope."""

    name: str | None = None
    attributes: list[_Pair] | None = None


class _Moment(Struct, rename="camel"):
    name: str | None = None
    time_unix_nano: _Number = None
    attributes: list[_Pair] | None = None


class _Link(Struct, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    attributes: list[_Pair] | None = None


class _Status(Struct):
    code: int | None = None
    message: str | None = None


class _Span(Struct, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    name: str | None = None
    kind: int | None = None
    start_time_unix_nano: _Number = None
    end_time_unix_nano: _Number = None
    attributes: list[_Pair] | None = None
    events: list[_Moment] | None = None
    links: list[_Link] | None = None
    status: _Status | None = None


class _Log(Struct, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    event_name: str | None = None
    time_unix_nano: _Number = None
    observed_time_unix_nano: _Number = None
    severity_number: int | None = None
    severity_text: str | None = None
    body: _Any | None = None
    attributes: list[_Pair] | None = None


class _ScopeSpans(Struct):
    scope: _Named | None = None
    spans: list[_Span] | None = None


class _ResourceSpans(Struct, rename="camel"):
    resource: _Named | None = None
    scope_spans: list[_ScopeSpans] | None = None


class _Traces(Struct, rename="camel"):
    resource_spans: list[_ResourceSpans] | None = None


class _ScopeLogs(Struct, rename="camel"):
    scope: _Named | None = None
    log_records: list[_Log] | None = None


class _ResourceLogs(Struct, rename="camel"):
    resource: _Named | None = None
    scope_logs: list[_ScopeLogs] | None = None


class _Logs(Struct, rename="camel"):
    resource_logs: list[_ResourceLogs] | None = None


_T = TypeVar("_T")
_NOBODY: Final = _Named()
_traces: Final = msgspec.json.Decoder(_Traces)
_logs: Final = msgspec.json.Decoder(_Logs)


def spans(body: bytes) -> Iterator[tuple[Origin, Span]]:
    """The spans of an ExportTraceServiceRequest. Raises MalformedBody, TooLarge."""
    count = 0
    for group in _decoded(_traces, body).resource_spans or ():
        resource = _attributes((group.resource or _NOBODY).attributes)
        for scoped in group.scope_spans or ():
            origin = Origin(resource, (scoped.scope or _NOBODY).name or "")
            for span in scoped.spans or ():
                count = _counted(count)
                yield origin, _span(span)


def logs(body: bytes) -> Iterator[tuple[Origin, Log]]:
    """The records of an ExportLogsServiceRequest. Raises MalformedBody, TooLarge."""
    count = 0
    for group in _decoded(_logs, body).resource_logs or ():
        resource = _attributes((group.resource or _NOBODY).attributes)
        for scoped in group.scope_logs or ():
            origin = Origin(resource, (scoped.scope or _NOBODY).name or "")
            for record in scoped.log_records or ():
                count = _counted(count)
                yield origin, _log(record)


def _decoded(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    if body.count(b"{") > _MAX_OBJECTS:
        raise TooLarge(f"more than {_MAX_OBJECTS} objects in one request; send several requests")
    try:
        body.decode()  # fields that are skipped are not looked at by the decoder
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise MalformedBody(f"the body is no OTLP: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedBody(f"the body is not valid JSON: {error}") from error


def _counted(count: int) -> int:
    if count == MAX_SIGNALS:
        raise TooLarge(f"more than {MAX_SIGNALS} spans or log records in one request; send several requests")
    return count + 1


def _span(span: _Span) -> Span:
    status = span.status or _Status()
    return Span(
        trace_id=(span.trace_id or "").lower(),
        span_id=(span.span_id or "").lower(),
        parent_id=(span.parent_span_id or "").lower(),
        name=span.name or "",
        kind=span.kind or 0,
        start_ns=_int(span.start_time_unix_nano),
        end_ns=_int(span.end_time_unix_nano),
        attributes=_attributes(span.attributes),
        moments=[
            Moment(item.name or "", _int(item.time_unix_nano), _attributes(item.attributes))
            for item in span.events or ()
        ],
        links=[
            SpanLink((item.trace_id or "").lower(), (item.span_id or "").lower(), _attributes(item.attributes))
            for item in span.links or ()
        ],
        failed=status.code == _STATUS_ERROR,
        message=status.message or "",
    )


def _log(record: _Log) -> Log:
    return Log(
        trace_id=(record.trace_id or "").lower(),
        span_id=(record.span_id or "").lower(),
        name=record.event_name or "",
        at_ns=_int(record.time_unix_nano) or _int(record.observed_time_unix_nano),
        severity=record.severity_number or 0,
        severity_text=record.severity_text or "",
        body=_value(record.body),
        attributes=_attributes(record.attributes),
    )


def _int(value: int | str | None) -> int:
    if isinstance(value, str):
        value = int(value) if _whole.fullmatch(value) else _TOO_GREAT
    if value is not None and not -(2**63) <= value < _TOO_GREAT:
        raise MalformedBody("the body is no OTLP: a number is not an integer of 64 bits")
    return value or 0


def _attributes(pairs: list[_Pair] | None, depth: int = 0) -> Attributes:
    return {pair.key: _value(pair.value, depth) for pair in pairs or ()}


def _value(value: _Any | None, depth: int = 0) -> Value:
    if value is None:
        return None
    if depth == MAX_DEPTH:
        raise MalformedBody(f"an attribute is nested more than {MAX_DEPTH} levels deep")
    if value.array_value is not None:
        return [_value(item, depth + 1) for item in value.array_value.values or ()]
    if value.kvlist_value is not None:
        return _attributes(value.kvlist_value.values, depth + 1)
    if value.int_value is not None:
        return _int(value.int_value)
    if value.double_value is not None:
        return _double(value.double_value)
    return next((item for item in (value.string_value, value.bool_value, value.bytes_value) if item is not None), None)


def _double(value: float | str) -> float:
    """A number, or what JSON has no number for: "NaN", "Infinity", "-Infinity"."""
    try:
        return float(value)
    except ValueError as error:
        raise MalformedBody("the body is no OTLP: doubleValue is not a number") from error
