"""Export requests in OTLP's JSON form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

TRACE: Final = "5b8efff798038103d269b633813fc60c"
SPAN: Final = "eee19b7ec3c1b174"
PARENT: Final = "eee19b7ec3c1b173"
START: Final = "1763720531000000000"  # 2025-11-21T10:22:11Z
END: Final = "1763720531250500000"


def value(item: Any) -> dict[str, Any]:
    """An AnyValue."""
    if isinstance(item, bool):
        return {"boolValue": item}
    if isinstance(item, int):
        return {"intValue": str(item)}
    if isinstance(item, float):
        return {
            "doubleValue": item if math.isfinite(item) else str(item).replace("inf", "Infinity").replace("nan", "NaN")
        }
    if isinstance(item, list):
        return {"arrayValue": {"values": [value(one) for one in item]}}
    if isinstance(item, Mapping):
        return {"kvlistValue": {"values": attributes(item)}}
    return {"stringValue": item}


def attributes(items: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": value(item)} for name, item in items.items()]


def span(name: str = "work", said: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A span whose attributes are `said`."""
    whole = {
        "traceId": TRACE,
        "spanId": SPAN,
        "parentSpanId": PARENT,
        "name": name,
        "kind": 5,
        "startTimeUnixNano": START,
        "endTimeUnixNano": END,
        "attributes": attributes(said or {}),
    }
    return {field: item for field, item in {**whole, **fields}.items() if item is not None}


def record(said: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A log record whose attributes are `said`."""
    whole = {
        "timeUnixNano": START,
        "traceId": TRACE,
        "spanId": SPAN,
        "severityNumber": 9,
        "severityText": "INFO",
        "attributes": attributes(said or {}),
    }
    return {field: item for field, item in {**whole, **fields}.items() if item is not None}


def traces(*spans: dict[str, Any], resource: Mapping[str, Any] | None = None) -> dict[str, Any]:
    scoped = {"scope": {"name": "my.library"}, "spans": list(spans)}
    return {"resourceSpans": [{"resource": {"attributes": attributes(resource or {})}, "scopeSpans": [scoped]}]}


def logs(*records: dict[str, Any], resource: Mapping[str, Any] | None = None) -> dict[str, Any]:
    scoped = {"scope": {"name": "my.library"}, "logRecords": list(records)}
    return {"resourceLogs": [{"resource": {"attributes": attributes(resource or {})}, "scopeLogs": [scoped]}]}


def business(**more: Any) -> dict[str, Any]:
    """A span that says itself that it is an event."""
    return span(said={"milepost.type": "order.received", "milepost.key.order": "S1"}, **more)


def many(count: int) -> Sequence[dict[str, Any]]:
    return [business(spanId=f"{number:016x}") for number in range(1, count + 1)]
