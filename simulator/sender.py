"""The senders' side of the public API: NDJSON over HTTP, a key for each source, and patience when it is busy."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final

import httpx

from milepost.errors import Permanent, Unavailable

TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)
PATIENCE: Final = 120.0
"""Seconds for which one batch is tried again."""
_PAUSES: Final = (0.2, 5.0)
_BUSY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class Sender:
    """Sends to one Milepost. Safe for several threads."""

    def __init__(self, address: str, keys: Mapping[str, str], stopped: Callable[[], bool]) -> None:
        # a transport of its own: the demo is on this machine, and no proxy of the environment reaches it
        self._client = httpx.Client(base_url=address, timeout=TIMEOUT, transport=httpx.HTTPTransport())
        self._keys = keys
        self._stopped = stopped

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def send(self, source: str, bodies: Sequence[bytes]) -> None:
        """Send the events of one source, and return when all are acknowledged, or when it is asked to stop.

        What comes twice does no harm: so a batch whose answer was lost is sent again. Raises Permanent when an event is
        refused, Unavailable when nobody takes the batch for PATIENCE seconds.
        """
        content = gzip.compress(b"\n".join(bodies), compresslevel=1)
        deadline, pause = time.monotonic() + PATIENCE, _PAUSES[0]
        while not self._stopped():
            wait = self._try(source, content)
            if wait is None:
                return
            if time.monotonic() > deadline:
                raise Unavailable(f"no batch of {source} was taken for {PATIENCE:.0f} seconds")
            time.sleep(max(wait, pause))
            pause = min(pause * 2, _PAUSES[1])

    def _try(self, source: str, content: bytes) -> float | None:
        """None when it was taken; else how many seconds to wait at least."""
        headers = {
            "authorization": f"Bearer {self._keys[source]}",
            "content-type": "application/x-ndjson",
            "content-encoding": "gzip",
        }
        try:
            answer = self._client.post("/v1/events", content=content, headers=headers)
        except httpx.TransportError:
            return 0.0
        if answer.status_code in _BUSY:
            return _retry_after(answer)
        refused = _refused(answer)
        if refused:
            raise Permanent(f"{source}: {refused}")
        return None


def _retry_after(answer: httpx.Response) -> float:
    with suppress(ValueError):
        return min(float(answer.headers.get("retry-after", "1")), 30.0)
    return 1.0


def _refused(answer: httpx.Response) -> str:
    """Why not everything was accepted; empty when it was."""
    if answer.status_code not in (HTTPStatus.ACCEPTED, HTTPStatus.UNPROCESSABLE_ENTITY):
        return f"{answer.status_code} {answer.text[:300]}"
    rejected: list[dict[str, Any]] = answer.json()["rejected"]
    return f"{rejected[0]['id']}: {rejected[0]['error']}" if rejected else ""
