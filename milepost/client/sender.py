"""The client: a bounded queue in memory, and one thread that empties it."""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

from .event import Unfit, encode
from .posting import Posting
from .spool import Full, Spool
from .transport import MOST_BATCH_BYTES, Answer, Transport

BATCH_EVENTS = 500
QUEUE_BYTES = 32 * 1024 * 1024
LINGER = 0.2
"""Seconds that an event waits for others to travel with."""
FIRST_PAUSE, LONGEST_PAUSE, CLOSED_PAUSE = 0.5, 30.0, 60.0
"""Seconds until a collector that is away is tried again; the last one where something must be set right first."""
_COMPLAIN_EVERY = 60.0
_LOOK_AGAIN = 30.0
"""Seconds until the spool is looked at again: what other processes left behind, or whether there is room again."""

_log = logging.getLogger("milepost.client")
_clients: weakref.WeakSet[Client] = weakref.WeakSet()


@dataclass(frozen=True)
class Stats:
    """Events since the client was made (in this process), and what waits now.

    `sent`: taken by the collector. `refused`: by the collector, for good, or it fails for this one and takes others.
    `dropped`: unfit to be sent, or no room. `spooled`: written to disk meanwhile. `queued`: in memory now.
    `spool_bytes`: on disk now, of all processes.
    """

    sent: int = 0
    refused: int = 0
    dropped: int = 0
    spooled: int = 0
    queued: int = 0
    spool_bytes: int = 0


class Client:
    """Sends events in the background. One for a process is enough; threads and forked processes may share it.

    `key`: an API key with scope send. `source`: who speaks; without it, the key's own source. `spool`: a folder that
    keeps events while the collector is away, `spool_bytes` at most; processes may share it. `queue`: events in memory
    at most. `timeout`: seconds for the collector to answer. `ca_file`: certificates to trust in place of the system's.
    Raises ValueError where url or key can't be right; nothing else ever raises.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        source: str | None = None,
        spool: str | os.PathLike[str] | None = None,
        spool_bytes: int = 100 * 1024 * 1024,
        queue: int = 10_000,
        timeout: float = 10.0,
        ca_file: str | None = None,
    ) -> None:
        self._url = url
        self._source = source
        self._transport = Transport(url, key, timeout=timeout, ca_file=ca_file)
        self._spool = Spool(Path(spool), spool_bytes) if spool is not None else None
        self._most = queue
        self._closed = False
        self._reset()
        _clients.add(self)
        atexit.register(self.close)
        if self._spool_bytes():  # left behind by somebody before us
            with self._changed:
                self._start()

    def __repr__(self) -> str:
        return f"<milepost.client.Client {self._url}>"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- for the caller -----------------------------------------------------------------------------------------------

    def send(
        self,
        type: str,
        keys: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        time: datetime | str | None = None,
        source: str | None = None,
        correlation: str | None = None,
        outcome: str = "ok",
        code: str | None = None,
        reason: str | None = None,
        links: Sequence[Mapping[str, Any]] = (),
    ) -> str | None:
        """Queue an event, in microseconds. Answers its id, or None when it was dropped (and counted, and logged).

        `keys`: the objects that it is about, by type, one or several each; empty ones are left out. `id`: a stable id
        of the fact, where there is one: the same fact sent twice counts once. `time`: when it happened, if not now.
        """
        try:
            event_id, body = encode(
                type, keys, attributes, id=id, time=time, source=source or self._source, correlation=correlation,
                outcome=outcome, code=code, reason=reason, links=links,
            )  # fmt: skip
            return event_id if self._queue_up(body) else None
        except Unfit as error:
            self._drop(1, "unfit", f"an event can't be sent: {error}")
        except Exception as error:  # noqa: BLE001 the caller's business must not end because of ours
            self._drop(1, "bug", f"an event can't be sent: {error!r}")
        return None

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until nothing is left in memory: what was queued is with the collector, or on disk. False if not yet."""
        with self._changed:
            self._hurry += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: not self._waiting() or self._thread is None, timeout)
                return not self._waiting()
            finally:
                self._hurry -= 1

    def close(self, timeout: float = 5.0) -> None:
        """Take no more, flush, and end the thread. What can't be sent goes to the spool, or is dropped and counted."""
        with self._changed:
            self._closed = True
        self.flush(timeout)
        with self._changed:
            self._over = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        if thread is None or thread.is_alive():  # it may still wait for an answer: what goes out twice counts once
            self._finish()
        atexit.unregister(self.close)

    def stats(self) -> Stats:
        """What became of the events."""
        on_disk = self._spool_bytes()
        with self._changed:
            return Stats(**self._counts, queued=len(self._queue) + len(self._hand), spool_bytes=on_disk)

    # --- state, under the lock ----------------------------------------------------------------------------------------

    def _reset(self) -> None:
        """As new, for this process: after a fork the parent sends what the parent queued."""
        self._changed = threading.Condition(threading.Lock())
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._hand: list[bytes] = []
        self._hurry = 0
        self._over = False
        self._thread: threading.Thread | None = None
        self._counts = {"sent": 0, "refused": 0, "dropped": 0, "spooled": 0}
        self._complaints: dict[str, float] = {}
        self._disk = threading.Lock()
        self._retry_at = 0.0
        self._pause = FIRST_PAUSE
        self._posting = Posting(self._transport.post, self._taken, self._try_later)
        self._backlog = self._spool is not None
        self._room_at = 0.0

    def _forked(self) -> None:
        self._transport.forget()
        if self._spool is not None:
            self._spool.forget()
        self._reset()

    def _waiting(self) -> bool:
        return bool(self._queue or self._hand)

    def _queue_up(self, body: bytes) -> bool:
        with self._changed:
            full = len(self._queue) >= self._most or self._queued_bytes + len(body) > QUEUE_BYTES
            if not full and not self._closed:
                self._queue.append(body)
                self._queued_bytes += len(body)
                self._start()
                if len(self._queue) in (1, BATCH_EVENTS):
                    self._changed.notify_all()
                return True
        self._drop(
            1, "full", "closed" if self._closed else "no room: events are dropped until the collector takes some"
        )
        return False

    def _start(self) -> None:
        if self._thread is None and not self._over:
            thread = threading.Thread(target=self._run, name="milepost.client", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the program is about to end
                self._complain("thread", f"events wait for the end: {error}")
            else:
                self._thread = thread

    def _count(self, **more: int) -> None:
        with self._changed:
            for name, number in more.items():
                self._counts[name] += number

    def _drop(self, number: int, kind: str, message: str) -> None:
        self._count(dropped=number)
        self._complain(kind, message)

    def _complain(self, kind: str, message: str) -> None:
        """Log it; the same kind once a minute at most."""
        now = monotonic()
        if now - self._complaints.get(kind, -_COMPLAIN_EVERY) >= _COMPLAIN_EVERY:
            self._complaints[kind] = now
            _log.warning("%s (%s)", message, self._url)

    def _spool_bytes(self) -> int:
        try:
            return self._spool.size() if self._spool is not None else 0
        except OSError as error:
            self._complain("spool", f"the spool can't be read: {error}")
            return 0

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._over:
            try:
                self._step()
            except Exception as error:  # noqa: BLE001 the thread's outermost loop
                self._complain("bug", f"an error inside the client: {error!r}")
                self._put_back()
                self._try_later(Answer("away"))
        self._finish()
        if self._spool is not None:
            self._spool.close()
        self._transport.forget()

    def _step(self) -> None:
        away = self._wait() > 0
        if away and not self._keeps():
            return
        batch = self._take()
        if batch:
            self._settle(batch if away else self._posting.post(batch))
        if self._backlog and monotonic() >= self._retry_at:
            self._send_spooled()

    def _wait(self) -> float:
        """Wait for something to do. Answers in how many seconds the collector is to be tried again."""
        with self._changed:
            away = self._retry_at - monotonic()
            if away > 0 and not self._keeps():
                self._changed.wait_for(lambda: self._over, away)
            elif away > 0 or not self._backlog:
                if self._changed.wait_for(lambda: self._queue or self._over, away if away > 0 else _LOOK_AGAIN):
                    self._changed.wait_for(self._enough, LINGER)
                elif away <= 0:
                    self._backlog = self._spool is not None
            return self._retry_at - monotonic()

    def _enough(self) -> bool:
        return bool(self._over or self._hurry or len(self._queue) >= BATCH_EVENTS)

    def _take(self) -> list[bytes]:
        """The next batch; it stays in hand until it is settled."""
        size = 0
        with self._changed:
            while self._queue and len(self._hand) < BATCH_EVENTS and size <= MOST_BATCH_BYTES:
                event = self._queue.popleft()
                self._hand.append(event)
                size += len(event)
            self._queued_bytes -= size
            return self._hand

    def _settle(self, left: Sequence[bytes]) -> None:
        """The batch in hand is done with, but for what is left of it: to the spool, or back into the queue."""
        self._hand = list(left)
        if self._hand and self._keep(self._hand):
            self._hand = []
        self._put_back()

    def _put_back(self) -> None:
        with self._changed:
            self._queue.extendleft(reversed(self._hand))
            self._queued_bytes += sum(map(len, self._hand))
            self._hand = []
            self._changed.notify_all()

    def _taken(self, number: int, refused: Sequence[tuple[str, str]]) -> None:
        self._retry_at, self._pause = 0.0, FIRST_PAUSE
        self._count(sent=number - len(refused), refused=len(refused))
        if refused:
            event_id, reason = refused[0]
            self._complain("refused", f"{len(refused)} of {number} events were refused, first {event_id}: {reason}")

    def _try_later(self, answer: Answer) -> None:
        if answer.meaning == "closed":
            pause = CLOSED_PAUSE * random.uniform(0.75, 1.25)
        else:
            pause = max(self._pause * random.uniform(0.5, 1), answer.wait * random.uniform(1, 1.25))
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self._retry_at = monotonic() + pause
        self._complain(answer.meaning, f"the collector does not take events: {answer.detail}; they are kept")

    # --- the spool ----------------------------------------------------------------------------------------------------

    def _keeps(self) -> bool:
        return self._spool is not None and monotonic() >= self._room_at

    def _keep(self, events: Sequence[bytes]) -> bool:
        """Whether they are on disk now."""
        if self._spool is None or not self._keeps():
            return False
        try:
            with self._disk:
                self._spool.put(events)
        except (OSError, Full) as error:
            self._room_at = monotonic() + _LOOK_AGAIN
            self._complain("spool", f"the spool takes no more: {error!r}; events are kept in memory")
            return False
        self._backlog = True
        self._count(spooled=len(events))
        return True

    def _send_spooled(self) -> None:
        assert self._spool is not None, "it has a backlog"
        try:
            with self._disk:
                events = self._spool.peek(BATCH_EVENTS, MOST_BATCH_BYTES)
            self._backlog = bool(events)
            if events:
                settled = len(events) - len(self._posting.post(events))
                with self._disk:
                    self._spool.drop(settled)
        except OSError as error:
            self._backlog = False
            self._complain("spool", f"the spool can't be read: {error}")

    def _finish(self) -> None:
        """What is left goes to the spool. Without one it is lost, and counted."""
        with self._changed:
            left = [*self._hand, *self._queue]
            self._hand, self._queue = [], deque()
        self._room_at = 0.0
        if left and not self._keep(left):
            self._drop(len(left), "closed", f"{len(left)} events are dropped: the program ends")
        if self._spool is not None:
            with self._disk:
                self._spool.seal()


def _after_fork() -> None:
    for client in list(_clients):
        client._forked()


os.register_at_fork(after_in_child=_after_fork)
