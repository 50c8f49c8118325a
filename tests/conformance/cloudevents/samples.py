"""Requests and what must come of them: exact status, exact errors, and what is in the log and in quarantine."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import zstandard

from tests.served import JSON, SOURCE, STRUCTURED

NO_KEYS = "data.keys: an event needs at least one key or a correlationid"
NUL = "the character U+0000 can't be stored; remove it"


@dataclass(frozen=True)
class Accepted:
    """A request all of whose events are accepted. `stored`: the bodies in the log, as parsed JSON, in order."""

    name: str
    body: bytes
    stored: list[Any]
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    key: str = "north"


@dataclass(frozen=True)
class Refused:
    """A request none of whose events is accepted; `errors` in order of the events, and they are in quarantine."""

    name: str
    body: bytes
    errors: list[str]
    content_type: str = STRUCTURED
    status: int = 422
    headers: dict[str, str] = field(default_factory=dict)
    key: str = "north"


@dataclass(frozen=True)
class Problem:
    """A request that is refused as a whole; nothing is stored."""

    name: str
    status: int
    detail: str
    body: bytes = b"{}"
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    key: str = "north"


def event(**changes: Any) -> dict[str, Any]:
    """A complete event; a value of None takes the attribute away."""
    whole = {
        "specversion": "1.0",
        "id": "1",
        "source": SOURCE,
        "type": "picking.packed",
        "data": {"keys": {"order": "S1"}},
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def lines(*values: Any) -> bytes:
    return b"".join(dump(value) + b"\n" for value in values)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(body)


A, B = event(id="a"), event(id="b")
FULL = event(
    time="2026-11-20T10:02:11.123456Z",
    correlationid="4f2a",
    causationid="4f29",
    subject="anything",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    data={
        "keys": {"order": "S00024", "picking": ["WH/OUT/00047", "WH/OUT/00048"], "invoice": 10},
        "links": [
            {"parent": {"type": "picking", "key": "1"}, "child": {"type": "picking", "key": "2"}, "rel": "backorder"}
        ],
        "outcome": "rejected",
        "code": "E17",
        "reason": "Größe fehlt ☃ 𝄞",
        "attributes": {"amount": "123.40", "weight": 1.5, "express": True, "note": None},
        "anything_else": {"is": ["kept"]},
    },
)
CE = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": SOURCE, "ce-type": "picking.packed"}
DATA = {"keys": {"order": "S1"}}
BINARY = event(datacontenttype=JSON)
MADE_UP = "sha-ae8f25f7db98336e0cbddf715fd0176d"
