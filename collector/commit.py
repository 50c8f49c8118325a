"""Group commit: one writer, one connection, everything that waits in one transaction; into the spool while the database
is away.

`Writer.submit` promises: when the awaitable it returns comes back without an error, the events are on stable storage,
the database's or the spool's. When it raises, they may or may not be; the sender repeats, and identities remove the
copy. A COMMIT whose answer was lost goes to the spool too, for the same reason without harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection

from collector.drain import Drain
from collector.link import FIRST_PAUSE, away, close, connect, expected, in_the_data, in_time, pause
from collector.metrics import Metrics
from collector.spool import Record, Spool
from milepost.clock import Clock, to_us, utc_now
from milepost.contract import Entry
from milepost.db.engine import libpq_url
from milepost.errors import MilepostError, Overloaded, Transient, Unavailable
from milepost.inbox import log, quarantine
from milepost.inbox.quarantine import Refusal

_IDLE_SECONDS: Final = 15
_FAREWELL_SECONDS: Final = 3
_GROUP_BYTES: Final = 32 * 1024 * 1024
_QUEUE_BYTES: Final = 4 * _GROUP_BYTES

_encoder: Final = msgspec.msgpack.Encoder()
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Work:
    """What one request wants written. `oldest_us`: its receive time; None without events."""

    entries: Sequence[Entry]
    refusals: Sequence[Refusal]
    size: int
    weight: int
    oldest_us: int | None
    done: asyncio.Future[None]


class Writer:
    """The bounded queue and the task that empties it (`run`). One per process; not thread-safe.

    Without a `spool` nothing is taken while the database is away. The spool is opened and closed by `run`'s caller.
    """

    def __init__(
        self,
        database_url: str,
        metrics: Metrics,
        *,
        queue_events: int,
        commit_events: int,
        clock: Clock = utc_now,
        spool: Spool | None = None,
    ) -> None:
        self._conninfo = libpq_url(database_url)
        self._metrics = metrics
        self._queue_events = queue_events
        self._commit_events = commit_events
        self._clock = clock
        self._spool = spool
        self._drain: Drain | None = None
        self._pending: deque[_Work] = deque()
        self._in_hand: Sequence[_Work] = ()
        self._waiting = 0
        self._weight = 0
        self._wake = asyncio.Event()
        self._lost = asyncio.Event()
        self._stop = asyncio.Event()
        self._connection: AsyncConnection[Any] | None = None
        self._suspected = False
        metrics.queue_events.set_function(lambda: self._waiting)
        metrics.database_up.set_function(lambda: self._connection is not None)
        if spool is not None:
            metrics.spool_bytes.set_function(lambda: spool.size)
            metrics.spool_events.set_function(lambda: spool.events)

    @property
    def away(self) -> bool:
        """Whether there is no connection to write through."""
        return self._connection is None

    @property
    def spool(self) -> Spool | None:
        return self._spool

    def check_ready(self) -> None:
        """Raises Transient while nothing can be taken."""
        if self._connection is None:
            if self._spool is None or self._drain is None or not self._drain.reported:
                raise away()
            if self._spool.full:
                raise Overloaded("the database is away and the spool is full", retry_after=10)

    def check_room(self) -> None:
        """Raises Transient while nothing more can be taken: told before a request's body is read."""
        self.check_ready()
        if self._waiting >= self._queue_events or self._weight >= _QUEUE_BYTES:
            raise Overloaded("too many events wait for their commit", retry_after=1)

    def submit(self, entries: Sequence[Entry], refusals: Sequence[Refusal]) -> asyncio.Future[None]:
        """Queue one request's events, to be written together.

        Raises Overloaded when the queue is full, Unavailable when there is nowhere to write to; so does the future.
        """
        self.check_ready()
        size = len(entries) + len(refusals)
        weight = sum(len(entry.body) for entry in entries) + sum(len(refusal.body) for refusal in refusals)
        # an empty queue takes whatever one request may carry
        if self._pending and (self._waiting + size > self._queue_events or self._weight + weight > _QUEUE_BYTES):
            raise Overloaded("too many events wait for their commit", retry_after=1)
        oldest_us = entries[0].received_us if entries else None
        work = _Work(entries, refusals, size, weight, oldest_us, asyncio.get_running_loop().create_future())
        self._pending.append(work)
        self._waiting += size
        self._weight += weight
        self._wake.set()
        return work.done

    async def run(self) -> None:
        """Write until `close` was called and nothing waits any more. Nobody is left waiting, however it ends."""
        self._disk = ThreadPoolExecutor(2, "spool")
        tasks = [asyncio.create_task(self._keep_linked(), name="link")]
        if self._spool is not None:
            self._drain = Drain(self._conninfo, self._spool, self._metrics, self._disk, self._vouched_us, self._suspect)
            tasks.append(asyncio.create_task(self._drain.run(self._stop), name="drain"))
        self._lost.set()
        try:
            while not self._stop.is_set() or self._pending:
                await self._turn()
        finally:
            self._stop.set()
            await _end(tasks)
            await self._give_up()
            self._disk.shutdown(wait=True)

    def close(self) -> None:
        """Let `run` end once the queue is empty."""
        self._stop.set()
        self._wake.set()

    def _suspect(self) -> None:
        """Another connection was lost: look after this one too."""
        self._suspected = True
        self._wake.set()

    async def _turn(self) -> None:
        try:
            if self._pending:
                await self._write(self._take())
            elif (not await self._woken() or self._suspected) and self._connection is not None:
                self._suspected = False
                await self._ping(self._connection)
        except Exception as error:  # noqa: BLE001 the writer's outermost loop: a bug must not end it
            await self._lose(error)

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
        self._weight -= weight
        return group

    async def _write(self, group: Sequence[_Work]) -> None:
        """To the database, else to the spool, else to nobody."""
        self._in_hand = group
        failed: MilepostError = Unavailable("shutting down", retry_after=1)
        try:
            left = group if self._connection is None else await self._commit_in_time(self._connection, group)
            if left:
                await self._put_aside(left)
        except Transient as error:
            failed = error
        except Exception:
            failed = away()
            raise
        finally:
            self._in_hand = ()
            _settle(group, failed)

    async def _commit_in_time(self, connection: AsyncConnection[Any], group: Sequence[_Work]) -> Sequence[_Work]:
        """Commit them. Answers those for the spool: they are not committed, or nobody knows."""
        started = perf_counter()
        try:
            events = await in_time(connection, _commit(connection, group))
        except Exception as error:  # noqa: BLE001 whatever it is, the events go to the spool, or their sender is told
            self._metrics.failed_commits.inc()
            if in_the_data(error):
                return await self._one_by_one(connection, group, error)
            await self._lose(error)
            return group
        for work in group:
            if not work.done.done():
                work.done.set_result(None)
        self._metrics.commit_seconds.observe(perf_counter() - started)
        self._metrics.commit_events.observe(events)
        return ()

    async def _one_by_one(
        self, connection: AsyncConnection[Any], group: Sequence[_Work], error: Exception
    ) -> Sequence[_Work]:
        """One request that the database refuses for ever must not fail the others. Answers as `_commit_in_time`."""
        await in_time(connection, connection.rollback())
        if len(group) == 1:
            _log.error("%d events of a request can't be stored: %s", group[0].size, error)
            _settle(group, MilepostError(f"the database refuses them: {error}"))
            return ()
        for place, work in enumerate(group):
            if await self._commit_in_time(connection, [work]):
                return group[place:]
        return ()

    async def _put_aside(self, group: Sequence[_Work]) -> None:
        """Into the spool. Raises Transient when it can't be."""
        self.check_ready()
        assert self._spool is not None, "check_ready says so"
        append, records = self._spool.append, _records(group)
        await asyncio.get_running_loop().run_in_executor(self._disk, append, records)
        self._metrics.spooled.inc(sum(record.events for record in records))
        for work in group:
            if not work.done.done():
                work.done.set_result(None)

    def _vouched_us(self) -> int:
        """Up to when all that was received is committed or in the spool, in microseconds since 1970."""
        first = next((work.oldest_us for work in (*self._in_hand, *self._pending) if work.oldest_us is not None), None)
        return to_us(self._clock()) if first is None else first

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _keep_linked(self) -> None:
        """Connect whenever the connection was lost. After an outage one group of the spool goes first, as a proof."""
        wait = FIRST_PAUSE
        while True:
            await self._lost.wait()
            try:
                connection = await connect(self._conninfo)
                try:
                    if self._drain is not None:
                        await self._drain.prove(connection)
                except BaseException:
                    await close(connection)
                    raise
            except Exception as error:  # noqa: BLE001 a task's outermost loop: a bug must not end it
                _log.log(_level(wait), "the database is away: %s", _said(error), exc_info=_bug(error))
                wait = await pause(wait)
            else:
                self._connection, wait = connection, FIRST_PAUSE
                self._lost.clear()
                _log.info("connected to the database")

    async def _ping(self, connection: AsyncConnection[Any]) -> None:
        """A connection that died in silence is found before the next sender finds it."""
        await in_time(connection, _ask(connection))

    async def _lose(self, error: Exception) -> None:
        """Give the connection up. Who waits goes to the spool; without one, nobody waits any longer."""
        _log.warning("the database is away: %s", _said(error), exc_info=_bug(error))
        connection, self._connection = self._connection, None
        self._lost.set()
        if self._spool is None:
            self._refuse_all()
        if connection is not None:
            await close(connection)

    async def _give_up(self) -> None:
        connection, self._connection = self._connection, None
        self._refuse_all()
        if connection is not None:
            await close(connection)

    def _refuse_all(self) -> None:
        waiting, self._pending = list(self._pending), deque()
        self._waiting = self._weight = 0
        _settle(waiting, away())


async def _ask(connection: AsyncConnection[Any]) -> None:
    await connection.execute("SELECT 1")
    await connection.rollback()


async def _commit(connection: AsyncConnection[Any], group: Sequence[_Work]) -> int:
    entries = [entry for work in group for entry in work.entries]
    refusals = [refusal for work in group for refusal in work.refusals]
    async with connection.cursor() as cursor:
        if entries:
            await cursor.execute(log.APPEND_SQL, log.row(entries))
        for statement, rows in quarantine.statements(refusals):
            await cursor.executemany(statement, rows)
    await connection.commit()
    return len(entries) + len(refusals)


def _records(group: Sequence[_Work]) -> list[Record]:
    records = []
    entries = [entry for work in group for entry in work.entries]
    if entries:
        oldest, events, payload = log.row(entries)
        records.append(Record(b"E", events, to_us(oldest), payload))
    refusals = [refusal for work in group for refusal in work.refusals]
    if refusals:
        oldest = min(refusal.received_at for refusal in refusals)
        records.append(Record(b"R", len(refusals), to_us(oldest), _encoder.encode(refusals)))
    return records


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Let tasks end by themselves for a moment, then cancel them."""
    link, *others = tasks
    link.cancel()
    if others:
        await asyncio.wait(others, timeout=_FAREWELL_SECONDS)
    for task in others:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _settle(group: Sequence[_Work], error: Exception) -> None:
    """Who has no answer yet gets this one."""
    for work in group:
        if not work.done.done():
            work.done.set_exception(error)


def _level(wait: float) -> int:
    """An outage is told once, then softly."""
    return logging.WARNING if wait == FIRST_PAUSE else logging.DEBUG


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _bug(error: Exception) -> Exception | None:
    return None if expected(error) else error
