"""Open loop: requests at the times of a schedule, whether or not the server keeps up.

A request's latency counts from when it was due, so a server that stops for a second shows in every request that was
due in that second. One whose turn comes while all connections wait for answers waits too, and that counts as well.
"""

from __future__ import annotations

import select
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final

from http_load import Load, connect, requests_of

_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "
_GRACE: Final = 30.0


@dataclass(slots=True)
class Offered:
    """What came of a schedule. `latencies`: seconds of the requests that were taken (202), sorted when it is over.

    `skipped`: never sent, since more than `most_waiting` were due already.
    """

    due: int = 0
    skipped: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def percentile_ms(self, share: float) -> float:
        return round(self.latencies[int(share * (len(self.latencies) - 1))] * 1000, 2) if self.latencies else 0.0


def offer(load: Load, rate: float, most_waiting: int = 1_000_000) -> Offered:
    """`rate` requests a second for the seconds of `load`, evenly spaced, over its connections.

    Raises TimeoutError when answers are still missing half a minute after the last was due.
    """
    return _Offering(load, rate, most_waiting).run()


class _Offering:
    def __init__(self, load: Load, rate: float, most_waiting: int) -> None:
        self._load, self._rate, self._most_waiting = load, rate, most_waiting
        self._sockets = connect(load)
        self._requests: Iterator[bytes] = requests_of(load)
        self._poll = select.epoll()
        for number in self._sockets:
            self._poll.register(number, select.EPOLLIN)
        self._free = list(self._sockets)
        self._buffers: Mapping[int, bytearray] = {number: bytearray() for number in self._sockets}
        self._since: dict[int, float] = {}
        self._waiting: deque[float] = deque()
        self._result = Offered()

    def run(self) -> Offered:
        start, number, total = perf_counter(), 0, int(self._rate * self._load.seconds)
        while number < total or self._since or self._waiting:
            now = perf_counter()
            if now > start + self._load.seconds + _GRACE:
                raise TimeoutError(f"{len(self._since)} answers are missing")
            while number < total and start + number / self._rate <= now:
                self._fall_due(start + number / self._rate)
                number += 1
            self._send()
            pause = start + number / self._rate - perf_counter() if number < total else 1.0
            self._receive(max(pause, 0.0))
        for connection in self._sockets.values():
            connection.close()
        self._result.latencies.sort()
        return self._result

    def _fall_due(self, at: float) -> None:
        self._result.due += 1
        if len(self._waiting) < self._most_waiting:
            self._waiting.append(at)
        else:
            self._result.skipped += 1

    def _send(self) -> None:
        while self._waiting and self._free:
            number = self._free.pop()
            self._since[number] = self._waiting.popleft()
            self._sockets[number].sendall(next(self._requests))

    def _receive(self, patience: float) -> None:
        for number, _ in self._poll.poll(patience):
            answer = self._buffers[number]
            answer += self._sockets[number].recv(65536)
            status = _status(answer)
            if not status:
                continue
            answer.clear()
            since = self._since.pop(number)
            self._free.append(number)
            self._result.answers[status] += 1
            if status == 202:
                self._result.latencies.append(perf_counter() - since)


def _status(answer: bytearray) -> int:
    """The status of an answer that has arrived whole, else 0."""
    head = answer.find(_END)
    if head < 0:
        return 0
    at = answer.index(_LENGTH) + len(_LENGTH)
    whole = len(answer) >= head + len(_END) + int(answer[at : answer.index(b"\r", at)])
    return int(answer[9:12]) if whole else 0
