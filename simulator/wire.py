"""From what happened to what is sent: when it arrives, how often, by which clock, in which words. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import floor
from random import Random
from typing import Any, Final

import msgspec
from msgspec import Struct

from simulator.journal import Happening
from simulator.script import Script
from simulator.world import CARRIERS, MINUTE, ODOO, WAREHOUSES

_TWICE: Final = 0.03
_LATE: Final = 0.006
_POLL: Final = 10.0
_FEEDS: Final = {carrier.source: carrier.feed_every for carrier in CARRIERS}
_SKEWS: Final = {place.source: place.skew for group in (WAREHOUSES, CARRIERS) for place in group}


class Message(Struct, frozen=True, order=True):
    """One event on its way: when it reaches Milepost, who sends it, its bytes, and when it happened."""

    arrives: float
    source: str
    body: bytes
    at: float


def messages(happening: Happening, script: Script, rng: Random) -> Iterator[Message]:
    """What Milepost gets of it: one message, now and then twice."""
    arrives = _arrival(happening, script, rng)
    body = encode(happening)
    yield Message(arrives, happening.source, body, happening.at)
    if rng.random() < _TWICE:
        yield Message(arrives + rng.uniform(0.2, 90), happening.source, body, happening.at)


def _arrival(happening: Happening, script: Script, rng: Random) -> float:
    source = happening.source
    at = happening.at + rng.uniform(0.2, 3)
    if source in _FEEDS:
        every = _FEEDS[source]
        at = (floor(at / every) + 1) * every + rng.uniform(0, 20)
    elif source == ODOO:
        at += rng.uniform(0, _POLL)
    if rng.random() < _LATE:
        at = script.late(at, rng.uniform(5, 100) * MINUTE)
    return script.arrives(source, at)


def encode(happening: Happening) -> bytes:
    """A structured CloudEvents 1.0 event."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": happening.id,
        "source": happening.source,
        "type": happening.type,
        "time": _time(happening.at + _SKEWS.get(happening.source, 0.0)),
    }
    if happening.correlation:
        event["correlationid"] = happening.correlation
    event["data"] = _data(happening)
    return msgspec.json.encode(event)


def _data(happening: Happening) -> dict[str, Any]:
    data: dict[str, Any] = {"keys": happening.keys}
    if happening.links:
        data["links"] = [
            {"parent": {"type": kind, "key": parent}, "child": {"type": kind, "key": child}, "rel": rel}
            for kind, parent, child, rel in happening.links
        ]
    if happening.outcome != "ok":
        data["outcome"] = happening.outcome
    if happening.code:
        data |= {"code": happening.code, "reason": happening.reason}
    if happening.attributes:
        data["attributes"] = happening.attributes
    return data


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
