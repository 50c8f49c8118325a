"""A load generator that costs little, since it shares the machine with what it measures.

Closed loop over keep-alive connections: each connection sends its next request when the answer to the last one is
complete. Plain sockets and epoll; no HTTP library.
"""

from __future__ import annotations

import multiprocessing
import select
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Final

_LENGTH: Final = b"content-length: "
_END: Final = b"\r\n\r\n"
_spawn: Final = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Load:
    """What one process is to send: `body` with `mark` replaced by a number of the same width, ever another one."""

    port: int
    path: str
    body: bytes
    content_type: str
    key: str
    connections: int
    seconds: float
    mark: bytes = b""
    first: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests answered as expected, in how many seconds, and how long each took (seconds, sorted)."""

    requests: int
    seconds: float
    latencies: Sequence[float]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    def percentile_ms(self, share: float) -> float:
        return round(self.latencies[int(share * (len(self.latencies) - 1))] * 1000, 2)


def run(loads: Sequence[Load]) -> Measured:
    """All loads at once, each in a process of its own. Raises RuntimeError at the first unexpected answer."""
    with _spawn.Pool(len(loads)) as pool:
        parts = pool.map(drive, loads)
    latencies = sorted(latency for part in parts for latency in part.latencies)
    return Measured(len(latencies), max(part.seconds for part in parts), latencies)


def drive(load: Load) -> Measured:
    """One process' loop."""
    requests = requests_of(load)
    poll, sockets = select.epoll(), connect(load)
    buffers = dict.fromkeys(sockets, b"")
    sent: dict[int, float] = {}
    started = perf_counter()
    for number, connection in sockets.items():
        poll.register(number, select.EPOLLIN)
        sent[number] = perf_counter()
        connection.sendall(next(requests))
    latencies = _loop(poll, sockets, buffers, sent, requests, started + load.seconds)
    elapsed = perf_counter() - started
    for connection in sockets.values():
        connection.close()
    return Measured(len(latencies), elapsed, latencies)


def _loop(
    poll: select.epoll,
    sockets: dict[int, socket.socket],
    buffers: dict[int, bytes],
    sent: dict[int, float],
    requests: Iterator[bytes],
    until: float,
) -> list[float]:
    latencies = []
    while (now := perf_counter()) < until:
        for number, _ in poll.poll(1):
            connection = sockets[number]
            answer = buffers[number] + connection.recv(65536)
            if not _complete(answer):
                buffers[number] = answer
                continue
            buffers[number] = b""
            now = perf_counter()
            latencies.append(now - sent[number])
            sent[number] = now
            connection.sendall(next(requests))
    return latencies


def _complete(answer: bytes) -> bool:
    """Whether a whole answer has arrived. Raises RuntimeError when it is not a 202."""
    head = answer.find(_END)
    if head < 0:
        return False
    if not answer.startswith(b"HTTP/1.1 202"):
        raise RuntimeError(f"unexpected answer: {answer[:500]!r}")
    at = answer.index(_LENGTH) + len(_LENGTH)
    return len(answer) >= head + len(_END) + int(answer[at : answer.index(b"\r", at)])


def connect(load: Load) -> dict[int, socket.socket]:
    """The load's connections, open, by file descriptor."""
    made = {}
    for _ in range(load.connections):
        connection = socket.create_connection(("127.0.0.1", load.port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made[connection.fileno()] = connection
    return made


def requests_of(load: Load) -> Iterator[bytes]:
    """The load's requests, each with another number in place of its mark, without an end."""
    head = (
        f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {load.content_type}\r\n"
        f"Authorization: Bearer {load.key}\r\nContent-Length: {len(load.body)}\r\n\r\n"
    ).encode()
    request, number = head + load.body, load.first
    width = len(load.mark)
    while True:
        yield request.replace(load.mark, b"%0*d" % (width, number)) if width else request
        number += 1


def timed(step: Callable[[], int]) -> tuple[int, float]:
    """What a step returns, and the seconds that it took."""
    started = perf_counter()
    done = step()
    return done, perf_counter() - started
