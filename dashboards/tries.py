"""Failed log-ins: bounded by name at an address, by address, and by name over all addresses.

Names are known and passwords can be guessed, so unlike for API keys a name must wait too. But who guesses at one
address doesn't lock the name out at another one, where it has logged in before.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from milepost.errors import RateLimited
from milepost.guard import Guard

WINDOW: Final = timedelta(minutes=5)
PER_PAIR: Final = 10
PER_ADDRESS: Final = 50
PER_NAME: Final = 100
_OVER_ALL: Final = 10_000
_REMEMBERED: Final = 10_000


class Tries:
    """One per process; thread-safe; bounded."""

    def __init__(self) -> None:
        self._pairs = Guard(PER_PAIR, _OVER_ALL, WINDOW)
        self._addresses = Guard(PER_ADDRESS, _OVER_ALL, WINDOW)
        self._names = Guard(PER_NAME, _OVER_ALL, WINDOW)
        self._passed: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, name: str, address: str | None, now: datetime) -> float:
        """Seconds until this name may try to log in from there; 0 when it may now."""
        pair = _pair(name, address)
        try:
            self._pairs.admit(pair, "", now)
            if pair not in self._passed:
                self._addresses.admit(address, "", now)
                self._names.admit(name, "", now)
        except RateLimited as error:
            return error.retry_after or 1.0
        return 0.0

    def failed(self, name: str, address: str | None, now: datetime) -> None:
        self._pairs.failed(_pair(name, address), now)
        self._addresses.failed(address, now)
        self._names.failed(name, now)

    def passed(self, name: str, address: str | None) -> None:
        with self._lock:
            self._passed[_pair(name, address)] = None
            if len(self._passed) > _REMEMBERED:
                self._passed.popitem(last=False)


def _pair(name: str, address: str | None) -> str:
    return f"{name}\0{address}"
