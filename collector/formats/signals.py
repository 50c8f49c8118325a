"""What OTLP brings, the same whichever encoding it came in. Pure."""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec import Struct

Value: TypeAlias = "str | int | float | bool | list[Value] | dict[str, Value] | None"
"""An attribute's value; bytes are base64 text."""
Attributes: TypeAlias = dict[str, Value]

MAX_DEPTH: Final = 32
"""Nesting of one value."""
MAX_SIGNALS: Final = 100_000
"""Spans or log records in one request."""


class Origin(Struct, frozen=True):
    """Who sent a group of signals: the attributes of the resource, and the name of the instrumentation."""

    resource: Attributes
    scope: str


class Moment(Struct, frozen=True):
    """Something that happened during a span; its times are nanoseconds since 1970."""

    name: str
    at_ns: int
    attributes: Attributes


class SpanLink(Struct, frozen=True):
    """Another span, most often in another trace, that this one has to do with."""

    trace_id: str
    span_id: str
    attributes: Attributes


class Span(Struct, frozen=True):
    """Ids are lower-case hex, empty when they are missing. `kind` is the number in the protocol."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    moments: list[Moment]
    links: list[SpanLink]
    failed: bool
    message: str


class Log(Struct, frozen=True):
    """A log record. `name` is its event name; `at_ns` when it happened, or else was observed."""

    trace_id: str
    span_id: str
    name: str
    at_ns: int
    severity: int
    severity_text: str
    body: Value
    attributes: Attributes


Signal: TypeAlias = Span | Log
