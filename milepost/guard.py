"""Bounds on failed authentications: by client address and over all.

It doesn't lock anybody out. A name (a key's id) that is known to be real passes whatever others at its address do, as
its secret can't be guessed anyway; who is turned away are those that guess names, before it costs a look-up.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from milepost.errors import RateLimited

WINDOW: Final = timedelta(minutes=1)
PER_ADDRESS: Final = 100
"""Failures of one address (of one /64 in IPv6) in a window."""
OVER_ALL: Final = 2_000
"""Failures in a window, all addresses together. It bounds the memory too: what is turned away isn't counted."""


class Guard:
    """One per process; thread-safe. `admit` before authenticating, then `failed` or nothing."""

    def __init__(self, per_address: int = PER_ADDRESS, over_all: int = OVER_ALL, window: timedelta = WINDOW) -> None:
        self._per_address = per_address
        self._over_all = over_all
        self._window = window
        self._ends: datetime | None = None
        self._failures: Counter[str] = Counter()
        self._known: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def know(self, names: Iterable[str]) -> None:
        """The names that are real, all of them."""
        self._known = frozenset(names)

    def knows(self, name: str) -> bool:
        return name in self._known

    def admit(self, address: str | None, name: str, now: datetime) -> None:
        """Raises RateLimited for an unknown name, once its address or all together failed too often."""
        if not self._failures or name in self._known:
            return
        with self._lock:
            wait = self._wait(now)
            over = self._failures.total() >= self._over_all or self._failures[_place(address)] >= self._per_address
        if wait and over:
            raise RateLimited("too many failed authentications from this address", retry_after=wait)

    def failed(self, address: str | None, now: datetime) -> None:
        with self._lock:
            if not self._wait(now):
                self._failures.clear()
                self._ends = now + self._window
            if self._failures.total() < self._over_all:
                self._failures[_place(address)] += 1

    def _wait(self, now: datetime) -> float:
        """Seconds until the window ends; a clock that was set back ends it at once."""
        left = (self._ends - now) if self._ends is not None else timedelta(0)
        return left.total_seconds() if timedelta(0) < left <= self._window else 0.0


def _place(address: str | None) -> str:
    """Who may have an IPv6 address has all of its /64."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return address or ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))
