"""Group commit: one writer, one connection, everything that waits in one transaction.

`Writer.submit` promises: when the awaitable it returns comes back without an error, the events are on stable storage.
When it raises, they may or may not be (a COMMIT whose answer was lost); the sender repeats, and identities remove the
copy.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from collector.metrics import Metrics
from milepost.contract import Entry
from milepost.db.engine import libpq_url
from milepost.errors import Overloaded, Transient, Unavailable
from milepost.inbox import log, quarantine
from milepost.inbox.quarantine import Refusal

WRITE_SECONDS: Final = 10
"""A commit that takes longer counts as failed."""
_CONNECT_SECONDS: Final = 5
_IDLE_SECONDS: Final = 15
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_GROUP_BYTES: Final = 32 * 1024 * 1024
_SESSION: Final = (
    "SET synchronous_commit = on",  # whatever the server's default: an answer of 202 is a promise
    f"SET statement_timeout = '{WRITE_SECONDS}s'",
    f"SET lock_timeout = '{WRITE_SECONDS}s'",
)

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Work:
    """What one request wants written."""

    entries: Sequence[Entry]
    refusals: Sequence[Refusal]
    size: int
    weight: int
    done: asyncio.Future[None]


class Writer:
    """The bounded queue and the task that empties it (`run`). One per process; not thread-safe."""

    def __init__(self, database_url: str, metrics: Metrics, *, queue_events: int, commit_events: int) -> None:
        self._conninfo = libpq_url(database_url)
        self._metrics = metrics
        self._queue_events = queue_events
        self._commit_events = commit_events
        self._pending: deque[_Work] = deque()
        self._waiting = 0
        self._wake = asyncio.Event()
        self._connection: AsyncConnection[Any] | None = None
        self._closing = False
        metrics.queue_events.set_function(lambda: self._waiting)
        metrics.database_up.set_function(lambda: self._connection is not None)

    def check_ready(self) -> None:
        """Raises Unavailable while there is no connection to write through."""
        if self._connection is None:
            raise _away()

    def submit(self, entries: Sequence[Entry], refusals: Sequence[Refusal]) -> asyncio.Future[None]:
        """Queue one request's events, to be written together.

        Raises Overloaded when the queue is full, Unavailable while the database is away; so does the future.
        """
        self.check_ready()
        size = len(entries) + len(refusals)
        # an empty queue takes whatever one request may carry
        if self._pending and self._waiting + size > self._queue_events:
            raise Overloaded("too many events wait for their commit", retry_after=1)
        weight = sum(len(entry.body) for entry in entries) + sum(len(refusal.body) for refusal in refusals)
        work = _Work(entries, refusals, size, weight, asyncio.get_running_loop().create_future())
        self._pending.append(work)
        self._waiting += size
        self._wake.set()
        return work.done

    async def run(self) -> None:
        """Write until `close` was called and nothing waits any more. Nobody is left waiting, however it ends."""
        pause = _FIRST_PAUSE
        try:
            while not self._closing or self._pending:
                try:
                    await self._open()
                    pause = _FIRST_PAUSE
                    await self._serve()
                except Exception as error:  # noqa: BLE001 the writer's outermost loop: a bug must not end it
                    await self._lose(error)
                    await self._rest(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE)
        finally:
            await self._give_up()

    def close(self) -> None:
        """Let `run` end once the queue is empty."""
        self._closing = True
        self._wake.set()

    async def _serve(self) -> None:
        while not self._closing or self._pending:
            if self._pending:
                await self._write(self._take())
            elif not await self._woken():
                await self._ping()

    async def _woken(self) -> bool:
        """Wait for work. False when there was none for a while."""
        self._wake.clear()
        try:
            async with asyncio.timeout(_IDLE_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    def _take(self) -> list[_Work]:
        """The next group, in order: whole requests, up to a number of events and bytes, at least one."""
        group: list[_Work] = []
        events = weight = 0
        while self._pending:
            work = self._pending[0]
            if group and (events + work.size > self._commit_events or weight + work.weight > _GROUP_BYTES):
                break
            group.append(self._pending.popleft())
            events += work.size
            weight += work.weight
        self._waiting -= events
        return group

    async def _write(self, group: Sequence[_Work]) -> None:
        started = perf_counter()
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                events = await self._commit(group)
        except BaseException as error:
            self._metrics.failed_commits.inc()
            _fail(group, _away() if isinstance(error, Exception) else Unavailable("shutting down", retry_after=1))
            raise
        for work in group:
            if not work.done.done():
                work.done.set_result(None)
        self._metrics.commit_seconds.observe(perf_counter() - started)
        self._metrics.commit_events.observe(events)

    async def _commit(self, group: Sequence[_Work]) -> int:
        assert self._connection is not None, "_open comes first"
        entries = [entry for work in group for entry in work.entries]
        refusals = [refusal for work in group for refusal in work.refusals]
        async with self._connection.cursor() as cursor:
            if entries:
                await cursor.execute(log.APPEND_SQL, log.row(entries))
            for statement, rows in quarantine.statements(refusals):
                await cursor.executemany(statement, rows)
        await self._connection.commit()
        return len(entries) + len(refusals)

    async def _ping(self) -> None:
        """A connection that died in silence is found before the next sender finds it."""
        assert self._connection is not None, "_open comes first"
        async with asyncio.timeout(WRITE_SECONDS):
            await self._connection.execute("SELECT 1")
            await self._connection.rollback()

    async def _open(self) -> None:
        if self._connection is not None:
            return
        async with asyncio.timeout(2 * _CONNECT_SECONDS):
            connection = await AsyncConnection.connect(
                self._conninfo,
                connect_timeout=_CONNECT_SECONDS,
                application_name="milepost collector",
                tcp_user_timeout=WRITE_SECONDS * 1000,
            )
            try:
                for statement in _SESSION:
                    await connection.execute(statement)
                await connection.commit()
            except BaseException:
                await connection.close()
                raise
        self._connection = connection
        _log.info("connected to the database")

    async def _lose(self, error: Exception) -> None:
        """Give the connection up, and let nobody wait for it."""
        known = isinstance(error, (psycopg.Error, OSError, TimeoutError, Transient))
        _log.warning("the database is away: %s", str(error) or type(error).__name__, exc_info=None if known else error)
        await self._give_up()

    async def _give_up(self) -> None:
        connection, self._connection = self._connection, None
        waiting, self._pending, self._waiting = list(self._pending), deque(), 0
        _fail(waiting, _away())
        if connection is not None:
            await connection.close()

    async def _rest(self, pause: float) -> None:
        if not self._closing:
            await asyncio.sleep(pause * random.uniform(0.5, 1))


def _away() -> Unavailable:
    return Unavailable("the database does not answer; send the same events again", retry_after=2)


def _fail(group: Sequence[_Work], error: Exception) -> None:
    for work in group:
        if not work.done.done():
            work.done.set_exception(error)
