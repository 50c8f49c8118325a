"""Token buckets, one a key, and what senders are told of them.

The header fields are those of draft-ietf-httpapi-ratelimit-headers-11: `RateLimit-Policy: "events";q=200000;w=1` and
`RateLimit: "events";r=199990;t=1`. The draft has no unit for what a request carries, so ours is a parameter of our own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from milepost.clock import EPOCH
from milepost.errors import ConfigurationError, RateLimited

_FORGET_ABOVE: Final = 10_000
_SET_BACK: Final = 60.0
"""Seconds that the clock goes back, after which a bucket goes on from there; for less, requests overtake each other."""


class Buckets:
    """`rate` tokens a second each, at most `burst` saved up.

    A bucket may be overdrawn once: what a request costs is known only after it was read. Then nothing passes until the
    debt is paid off.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._levels: dict[str, tuple[float, float]] = {}

    def wait(self, name: str, now: datetime) -> float:
        """Seconds until something may pass, 0 when it may now."""
        level = self._level(name, _seconds(now))
        return 0.0 if level > 0 else (1.0 - level) / self._rate

    def take(self, name: str, amount: float, now: datetime) -> None:
        at = _seconds(now)
        if len(self._levels) > _FORGET_ABOVE:
            self._forget_full(at)
        self._levels[name] = (self._level(name, at) - amount, at)

    def left(self, name: str, now: datetime) -> int:
        """What may be taken at once, 0 for one in debt."""
        return max(0, int(self._level(name, _seconds(now))))

    def _level(self, name: str, at: float) -> float:
        level, since = self._levels.get(name, (self._burst, at))
        if since - at > _SET_BACK:
            self._levels[name] = level, at
        # a clock that was set back must not take tokens away
        return min(self._burst, level + max(0.0, at - since) * self._rate)

    def _forget_full(self, at: float) -> None:
        self._levels = {name: known for name, known in self._levels.items() if self._level(name, at) < self._burst}


def _seconds(now: datetime) -> float:
    return (now - EPOCH).total_seconds()


# --- what a key may send ----------------------------------------------------------------------------------------------


class Limited(Protocol):
    """Whoever has a bucket."""

    @property
    def key_id(self) -> str: ...

    @property
    def name(self) -> str: ...


class _State(NamedTuple):
    rate: int
    left: int
    wait: float


_state: ContextVar[_State | None] = ContextVar("rate limit of the request", default=None)


class Rates:
    """Events a second that each key may send: `usual`, or what `named` says for keys of that name."""

    def __init__(self, usual: int, named: Mapping[str, int]) -> None:
        self._usual = usual
        self._named = named
        self._buckets = {rate: Buckets(rate, rate) for rate in (usual, *named.values())}

    def check(self, key: Limited, now: datetime) -> None:
        """Raises RateLimited while the key is over its rate."""
        rate = self._named.get(key.name, self._usual)
        wait = self._buckets[rate].wait(key.key_id, now)
        _state.set(_State(rate, self._buckets[rate].left(key.key_id, now), wait))
        if wait:
            raise RateLimited(f"over {rate} events a second", retry_after=wait)

    def take(self, key: Limited, amount: int, now: datetime) -> None:
        rate = self._named.get(key.name, self._usual)
        bucket = self._buckets[rate]
        bucket.take(key.key_id, amount, now)
        _state.set(_State(rate, bucket.left(key.key_id, now), bucket.wait(key.key_id, now)))


def told() -> list[tuple[bytes, bytes]]:
    """The header fields for the answer to this request; none where nobody's rate was looked at."""
    state = _state.get()
    if state is None:
        return []
    policy = b'"events";q=%d;w=1;milepost-unit="event"' % state.rate
    window = max(1, math.ceil(state.wait))
    return [(b"ratelimit-policy", policy), (b"ratelimit", b'"events";r=%d;t=%d' % (state.left, window))]


def named(text: str) -> dict[str, int]:
    """Rates by the names of keys, from `wms north=500, shop=50`. Raises ConfigurationError."""
    rates = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, rate = part.rpartition("=")
        if not name.strip() or not rate.strip().isdecimal() or int(rate) < 1:
            raise ConfigurationError(f"MILEPOST_RATES_OF_KEYS: {part!r} is not NAME=EVENTS_A_SECOND")
        rates[name.strip()] = int(rate)
    return rates
