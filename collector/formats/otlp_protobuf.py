"""OTLP in protobuf: export requests to signals. Pure.

https://github.com/open-telemetry/opentelemetry-proto

Only the envelope is taken apart here; each span and log record is read by the official message, one after the other.
An empty span is two bytes of a request and 150 in memory: parsed as one message, 16 MiB would become a gigabyte.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.logs.v1 import logs_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from collector.formats.signals import MAX_DEPTH, MAX_SIGNALS, Attributes, Log, Moment, Origin, Span, SpanLink, Value
from milepost.errors import MalformedBody, TooLarge

# field numbers, the same for traces and logs: Export…Request → Resource… → Scope… → Span or LogRecord
_RESOURCE_GROUPS: Final = 1
_RESOURCE: Final = 1
_SCOPE_GROUPS: Final = 2
_SCOPE: Final = 1
_SIGNALS: Final = 2

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SKIPPED: Final = {_FIXED64: 8, _FIXED32: 4}

_M = TypeVar("_M", bound=Message)
_S = TypeVar("_S", Span, Log)


def spans(body: bytes) -> Iterator[tuple[Origin, Span]]:
    """The spans of an ExportTraceServiceRequest. Raises MalformedBody, TooLarge."""
    return _signals(body, trace_pb2.Span, _span)


def logs(body: bytes) -> Iterator[tuple[Origin, Log]]:
    """The records of an ExportLogsServiceRequest. Raises MalformedBody, TooLarge."""
    return _signals(body, logs_pb2.LogRecord, _log)


def _signals(body: bytes, kind: type[_M], convert: Callable[[_M], _S]) -> Iterator[tuple[Origin, _S]]:
    walk = _Walk()
    for group in walk.fields(memoryview(body), _RESOURCE_GROUPS):
        resource = _merged(resource_pb2.Resource(), walk.fields(group, _RESOURCE))
        attributes = _attributes(resource.attributes)
        for scoped in walk.fields(group, _SCOPE_GROUPS):
            scope = _merged(common_pb2.InstrumentationScope(), walk.fields(scoped, _SCOPE))
            origin = Origin(attributes, scope.name)
            for signal in walk.fields(scoped, _SIGNALS):
                yield origin, convert(_merged(kind(), (signal,)))


class _Walk:
    """Finds submessages, in bounded number."""

    def __init__(self) -> None:
        self._left = 4 * MAX_SIGNALS

    def fields(self, message: memoryview, wanted: int) -> Iterator[memoryview]:
        """The payloads of one field. Raises MalformedBody, TooLarge."""
        at, end = 0, len(message)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise TooLarge(f"more than {MAX_SIGNALS} spans or log records in one request; send several requests")
            tag, at = _varint(message, at)
            wire = tag & 7
            if wire == _VARINT:
                _, at = _varint(message, at)
                continue
            length, at = _varint(message, at) if wire == _BYTES else (_SKIPPED.get(wire, end), at)
            start, at = at, at + length
            if at > end:
                raise MalformedBody(f"the body is not protobuf: field {tag >> 3} is cut off")
            if wire == _BYTES and tag >> 3 == wanted:
                yield message[start:at]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number, and where the next thing begins."""
    value = shift = 0
    for position in range(at, min(at + 10, len(message))):
        byte = message[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position + 1
        shift += 7
    raise MalformedBody("the body is not protobuf: a number is cut off")


def _merged(message: _M, parts: Iterator[memoryview] | Sequence[memoryview]) -> _M:
    """Repeats of a single field are merged, as protobuf wants it."""
    try:
        for part in parts:
            message.MergeFromString(part)  # type: ignore[arg-type]  # the stubs know only bytes
    except DecodeError as error:
        raise MalformedBody(f"the body is not protobuf: {error}") from error
    return message


def _span(span: trace_pb2.Span) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=span.kind,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        moments=[Moment(item.name, item.time_unix_nano, _attributes(item.attributes)) for item in span.events],
        links=[SpanLink(item.trace_id.hex(), item.span_id.hex(), _attributes(item.attributes)) for item in span.links],
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        message=span.status.message,
    )


def _log(record: logs_pb2.LogRecord) -> Log:
    return Log(
        trace_id=record.trace_id.hex(),
        span_id=record.span_id.hex(),
        name=record.event_name,
        at_ns=record.time_unix_nano or record.observed_time_unix_nano,
        severity=record.severity_number,
        severity_text=record.severity_text,
        body=_value(record.body),
        attributes=_attributes(record.attributes),
    )


def _attributes(pairs: Any, depth: int = 0) -> Attributes:
    return {pair.key: _value(pair.value, depth) for pair in pairs}


def _value(value: common_pb2.AnyValue, depth: int = 0) -> Value:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if depth == MAX_DEPTH:
        raise MalformedBody(f"an attribute is nested more than {MAX_DEPTH} levels deep")
    if kind == "array_value":
        return [_value(item, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values, depth + 1)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    plain: Value = getattr(value, kind)
    return plain
