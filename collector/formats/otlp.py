"""From OpenTelemetry's spans and log records to events. Pure.

What a signal says of itself in `milepost.…` attributes counts first, then the signal rules that the catalog has for its
source. What has neither a type of its own nor a rule is no event: instrumented middleware sends far more spans than
things happen in the business. But keys without a type are refused, and so told: somebody thought that they count.

A span's event happened when the span ended, because only then is it known how the work came out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from collector.formats.signals import Attributes, Log, Origin, Signal, Span, Value
from collector.ingest import Rejection, Sender
from milepost.catalog.schema import SignalRule, SourceSpec
from milepost.clock import EPOCH

_OWN: Final = "milepost."
_KEY: Final = "milepost.key."
_ATTRIBUTE: Final = "milepost.attribute."
_KINDS: Final = ("", "internal", "server", "client", "producer", "consumer")
_ERROR: Final = 17
"""The least severity number of an error (OpenTelemetry's log data model)."""
_UNNAMED: Final = "unknown_service"
"""What SDKs call a service that was given no name."""
_MAX_CODE, _MAX_REASON = 128, 2000

_trace_id: Final = re.compile(r"(?!0{32})[0-9a-f]{32}")
_span_id: Final = re.compile(r"(?!0{16})[0-9a-f]{16}")


@dataclass(slots=True)
class Reading:
    """What came of a request: structured JSON events, what is refused already, and how many signals are no events."""

    bodies: list[bytes] = field(default_factory=list)
    refused: list[Rejection] = field(default_factory=list)
    ignored: int = 0


def read(signals: Iterable[tuple[Origin, Signal]], sender: Sender, sources: Mapping[str, SourceSpec]) -> Reading:
    """`sources`: the catalog's. Raises what iterating the signals raises."""
    reading = Reading()
    for index, (origin, signal) in enumerate(signals):
        story = _Story(origin, signal, sender, sources)
        if not story.is_event():
            reading.ignored += 1
            continue
        event, error = story.event(), story.error()
        body = msgspec.json.encode(event)
        if error is None:
            reading.bodies.append(body)
        else:
            reading.refused.append(Rejection(index, event.get("id"), error, body, event.get("source")))
    return reading


class _Story:
    """One signal with what the catalog says of it."""

    def __init__(self, origin: Origin, signal: Signal, sender: Sender, sources: Mapping[str, SourceSpec]) -> None:
        self._origin = origin
        self._signal = signal
        self._own = signal.attributes
        self._sender = sender
        self._candidates = _candidates(origin, signal, sender)
        self._rule = next(_matching(self._candidates, sources, signal, origin), None)
        stated = self._own.get("milepost.type")
        self._type = stated if isinstance(stated, str) else self._rule and self._rule.type

    def is_event(self) -> bool:
        """Whether anybody means it to be one."""
        return self._type is not None or (self._rule is None and any(name.startswith(_KEY) for name in self._own))

    def error(self) -> str | None:
        """Why it can't be an event, where the contract can't tell."""
        source = self._source()
        if self._type is None:
            return f"it names keys, but no type: send milepost.type, or give {source} a signal rule in the catalog"
        if not source:
            return "it has neither milepost.source nor service.name, and the key stands for several sources"
        if isinstance(self._signal, Span) and not (_valid(self._signal) or self._own.get("milepost.id")):
            return "trace id or span id: not 16 and 8 bytes, or all zero"
        return None

    def event(self) -> dict[str, Any]:
        """The CloudEvent, as far as there is one."""
        signal = self._signal
        traced = bool(_trace_id.fullmatch(signal.trace_id))
        whole = {
            "specversion": "1.0",
            "id": self._id(),
            "source": self._source(),
            "type": self._type,
            "time": _time(signal, self._rule),
            "correlationid": signal.trace_id if traced else None,
            "causationid": _cause(signal) if traced else None,
        }
        return {name: value for name, value in whole.items() if value is not None} | {"data": self._data()}

    def _id(self) -> str | None:
        stated = self._own.get("milepost.id")
        if stated is not None:
            return _text(stated)
        signal = self._signal
        if isinstance(signal, Log):
            whole = msgspec.json.encode((self._origin, signal), order="sorted")
            return "log-" + blake2b(whole, digest_size=16).hexdigest()
        return f"{signal.trace_id}-{signal.span_id}" if _valid(signal) else None

    def _source(self) -> str | None:
        """Of those that it may be, the first that the key may send."""
        kind = self._type or ""
        allowed = (source for source in self._candidates if self._sender.may_send(source, kind))
        return next(allowed, self._candidates[0] if self._candidates else None)

    def _lookup(self, name: str) -> Value:
        value = self._own.get(name)
        return self._origin.resource.get(name) if value is None else value

    def _data(self) -> dict[str, Any]:
        failed = self._failed()
        outcome = self._own.get("milepost.outcome")
        data = {
            "keys": _keys(self._lookup, self._own, self._rule),
            "outcome": outcome or ((self._rule.on_error if self._rule else "failed") if failed else None),
            "code": _cut(self._own.get("milepost.code") or (_code(self._signal) if failed else None), _MAX_CODE),
            "reason": _cut(
                self._own.get("milepost.reason") or (_reason(self._signal) if failed else None), _MAX_REASON
            ),
            "attributes": _attributes(self._lookup, self._own, self._origin, self._rule),
        }
        told = {name: value for name, value in data.items() if value not in (None, {})}
        return told | _shown(self._origin, self._signal)

    def _failed(self) -> bool:
        return self._signal.failed if isinstance(self._signal, Span) else self._signal.severity >= _ERROR


# --- whose it is, and which rule counts -------------------------------------------------------------------------------


def _candidates(origin: Origin, signal: Signal, sender: Sender) -> list[str]:
    """What the source may be, the likeliest first."""
    stated = signal.attributes.get("milepost.source") or origin.resource.get("milepost.source")
    if isinstance(stated, str) and stated:
        return [stated]
    service = origin.resource.get("service.name")
    named = service if isinstance(service, str) and not service.startswith(_UNNAMED) else ""
    return [source for source in dict.fromkeys((named, sender.default_source or "")) if source]


def _matching(
    candidates: Iterable[str], sources: Mapping[str, SourceSpec], signal: Signal, origin: Origin
) -> Iterator[SignalRule]:
    for source in candidates:
        spec = sources.get(source)
        if spec is not None:
            yield from (rule for rule in spec.signals if _matches(rule, signal, origin))


def _matches(rule: SignalRule, signal: Signal, origin: Origin) -> bool:
    span = isinstance(signal, Span)
    if rule.signal != "any" and (rule.signal == "span") != span:
        return False
    if rule.kind is not None and not (isinstance(signal, Span) and _kind(signal) == rule.kind):
        return False
    return _like(rule.name, signal.name) and all(
        _one_of(patterns, signal.attributes.get(name, origin.resource.get(name)))
        for name, patterns in rule.when.items()
    )


def _one_of(patterns: Iterable[str], value: Value) -> bool:
    return value is not None and any(_like(pattern, _text(value)) for pattern in patterns)


def _like(pattern: str, text: str) -> bool:
    return pattern == "*" or (text == pattern if "*" not in pattern else bool(_compiled(pattern).fullmatch(text)))


@lru_cache(maxsize=1000)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)


# --- what it says -----------------------------------------------------------------------------------------------------


def _keys(lookup: Any, own: Attributes, rule: SignalRule | None) -> dict[str, list[str | int]]:
    given: dict[str, list[Value]] = {}
    for kind, names in (rule.keys if rule else {}).items():
        given[kind] = [lookup(name) for name in ([names] if isinstance(names, str) else names)]
    given |= {name[len(_KEY) :]: [value] for name, value in own.items() if name.startswith(_KEY)}
    keys = {kind: [key for value in values for key in _flat(value)] for kind, values in given.items()}
    return {kind: some for kind, some in keys.items() if some}


def _flat(value: Value) -> list[str | int]:
    """The keys in an attribute; instrumentation writes "" for what isn't there."""
    values = value if isinstance(value, list) else [value]
    keys = (item if isinstance(item, int) and not isinstance(item, bool) else _text(item) for item in values)
    return [key for key in keys if isinstance(key, int) or key.strip()]


def _attributes(lookup: Any, own: Attributes, origin: Origin, rule: SignalRule | None) -> Attributes:
    found = {name: lookup(attribute) for name, attribute in (rule.attributes if rule else {}).items()}
    for some in (origin.resource, own):
        found |= {name[len(_ATTRIBUTE) :]: value for name, value in some.items() if name.startswith(_ATTRIBUTE)}
    return {
        name: _text(value) if isinstance(value, list | dict) else value
        for name, value in found.items()
        if value is not None
    }


def _code(signal: Signal) -> Value:
    return signal.attributes.get("error.type") or _of_exception(signal, "exception.type")


def _reason(signal: Signal) -> Value:
    said = signal.message if isinstance(signal, Span) else None
    body = signal.body if isinstance(signal, Log) else None
    return said or _of_exception(signal, "exception.message") or body


def _of_exception(signal: Signal, name: str) -> Value:
    """Of a span's recorded exceptions the last one, which most often ended it."""
    moments = signal.moments if isinstance(signal, Span) else []
    raised = [item.attributes for item in moments if item.name == "exception"]
    return (raised[-1] if raised else signal.attributes).get(name)


def _time(signal: Signal, rule: SignalRule | None) -> datetime | None:
    if isinstance(signal, Log):
        return _at(signal.at_ns)
    end = signal.end_ns or signal.start_ns
    return _at(signal.start_ns or end if rule is not None and rule.time == "start" else end)


def _cause(signal: Signal) -> str | None:
    """The event of the span above, if that is one."""
    above = signal.parent_id if isinstance(signal, Span) else signal.span_id
    return f"{signal.trace_id}-{above}" if _span_id.fullmatch(above) else None


# --- what is kept beside ----------------------------------------------------------------------------------------------


def _shown(origin: Origin, signal: Signal) -> dict[str, Any]:
    """The signal itself, kept with the event. Not as attributes: those become the order's."""
    name = "span" if isinstance(signal, Span) else "log"
    some = {**_common(origin, signal), **(_of_span(signal) if isinstance(signal, Span) else _of_log(signal))}
    return {name: {field: value for field, value in some.items() if value not in (None, "", [], {})}}


def _common(origin: Origin, signal: Signal) -> dict[str, Any]:
    return {
        "trace_id": signal.trace_id,
        "span_id": signal.span_id,
        "name": signal.name,
        "service": origin.resource.get("service.name"),
        "scope": origin.scope,
        "attributes": {name: value for name, value in signal.attributes.items() if not name.startswith(_OWN)},
    }


def _of_span(span: Span) -> dict[str, Any]:
    timed = span.start_ns and span.end_ns
    return {
        "parent_span_id": span.parent_id,
        "kind": _kind(span),
        "start": _at(span.start_ns),
        "end": _at(span.end_ns),
        "duration_ms": (span.end_ns - span.start_ns) / 1_000_000 if timed else None,
        "links": [msgspec.to_builtins(item) for item in span.links],
        "events": [
            {"name": item.name, "time": _at(item.at_ns), "attributes": item.attributes} for item in span.moments
        ],
    }


def _of_log(log: Log) -> dict[str, Any]:
    return {"severity": log.severity, "severity_text": log.severity_text, "body": log.body}


def _kind(span: Span) -> str:
    return _KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else ""


def _valid(span: Span) -> bool:
    return bool(_trace_id.fullmatch(span.trace_id) and _span_id.fullmatch(span.span_id))


def _at(ns: int) -> datetime | None:
    return EPOCH + timedelta(microseconds=ns // 1000) if ns > 0 else None


def _text(value: Value) -> str:
    """Text as people write it; what has parts, as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def _cut(value: Value, length: int) -> str | None:
    return _text(value)[:length] or None
