"""Well-behaved senders: each repeats a batch until it is acknowledged, and remembers what was."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter

import httpx
import msgspec

from tests.served import BATCH, SOURCE
from tests.threads import Senders

SENDERS = 4


class Load(Senders):
    """`rate` events a second, in batches of `batch`; a tenth of the batches is sent once more although it was taken."""

    def __init__(self, url: str, key: str, *, rate: int, batch: int = 10, seed: int = 0) -> None:
        super().__init__(SENDERS)
        self._url = url
        self._headers = {"authorization": f"Bearer {key}", "content-type": BATCH}
        self._pause = SENDERS * batch / rate
        self._batch = batch
        self._rng = random.Random(seed)
        self._guard = threading.Lock()
        self.acknowledged: set[str] = set()
        self.sent: set[str] = set()
        self.answers: Counter[str] = Counter()
        self.slowest = 0.0

    def send(self, sender: int) -> None:
        number = 0
        due = time.monotonic()
        with httpx.Client(base_url=self._url, headers=self._headers, timeout=30) as client:
            while not self.stopped.is_set():
                ids = [f"{sender}-{number + offset}" for offset in range(self._batch)]
                number += self._batch
                body = msgspec.json.encode([_event(one) for one in ids])
                with self._guard:
                    self.sent.update(ids)
                while not self._taken(client, body):
                    time.sleep(0.2)
                with self._guard:
                    self.acknowledged.update(ids)
                    again = self._rng.random() < 0.1
                if again:
                    self._taken(client, body)
                due = max(due + self._pause, time.monotonic() - 1.0)
                self.stopped.wait(max(0.0, due - time.monotonic()))

    def _taken(self, client: httpx.Client, body: bytes) -> bool:
        started = time.monotonic()
        try:
            status = client.post("/v1/events", content=body).status_code
        except httpx.TransportError as error:
            self._count(type(error).__name__, started)
            return False
        self._count(str(status), started)
        assert status in (202, 429, 503), status
        return status == 202

    def _count(self, what: str, started: float) -> None:
        with self._guard:
            self.answers[what] += 1
            self.slowest = max(self.slowest, time.monotonic() - started)


def _event(number: str) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": number,
        "source": SOURCE,
        "type": "order.received",
        "data": {"keys": {"order": f"S{number}"}},
    }
