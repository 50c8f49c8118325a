"""Token buckets, one a key."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from milepost.clock import EPOCH

_FORGET_ABOVE: Final = 10_000


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

    def _level(self, name: str, at: float) -> float:
        known = self._levels.get(name)
        if known is None:
            return self._burst
        # a clock that was set back must not take tokens away
        return min(self._burst, known[0] + max(0.0, at - known[1]) * self._rate)

    def _forget_full(self, at: float) -> None:
        self._levels = {name: known for name, known in self._levels.items() if self._level(name, at) < self._burst}


def _seconds(now: datetime) -> float:
    return (now - EPOCH).total_seconds()
