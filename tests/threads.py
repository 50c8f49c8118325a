"""Threads for tests: what several do at once, and senders that work until they are told to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

PATIENCE = 120.0


def at_once(*works: Callable[[], object]) -> None:
    """Do each in a thread of its own, all begun at the same moment. Raises what the first of them raises."""
    start = threading.Barrier(len(works), timeout=PATIENCE)

    def begin(work: Callable[[], object]) -> object:
        start.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(begin, work) for work in works]:
            done.result(PATIENCE)


class Senders:
    """Threads that call `send(their number)`, which returns soon after `stopped` is set: at the end of the block."""

    def __init__(self, number: int) -> None:
        self.stopped = threading.Event()
        self._threads = [threading.Thread(target=self.send, args=(n,), daemon=True) for n in range(number)]

    def send(self, sender: int) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        deadline = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), "a batch was never acknowledged"
