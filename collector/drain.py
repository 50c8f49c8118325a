"""What the spool holds goes to the database, in bounded steps beside the new events; and the database is told what the
spool holds, so that no clock is judged beyond it (milepost/inbox/watermark.py)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final, TypeVar

import msgspec
from psycopg import AsyncConnection

from collector.link import FIRST_PAUSE, close, connect, expected, in_the_data, in_time
from collector.metrics import Metrics
from collector.spool import Record, Segment, Spool, bounded
from milepost.clock import from_us
from milepost.errors import Unavailable
from milepost.inbox import heartbeats, log, quarantine
from milepost.inbox.quarantine import Refusal

STEP_EVENTS: Final = 10_000
STEP_BYTES: Final = 4 * 1024 * 1024
BEAT: Final = 0.5
"""Seconds between two reports, at most."""
ADOPT_SECONDS: Final = 30.0
_FAREWELL_SECONDS: Final = 2

_refusals: Final = msgspec.msgpack.Decoder(list[Refusal])
_log = logging.getLogger(__name__)
T = TypeVar("T")


class SpoolTrouble(Unavailable):
    """The spool's disk fails. The database may be well."""


class Drain:
    """Empties a spool on a connection of its own.

    `vouched_us`: all that came in before is committed or in the spool. `lost` is called when the connection was lost.

    `reported`: the database knows of this spool. Before that nothing may be put into it: a clock would be judged
    without it.
    """

    def __init__(
        self,
        conninfo: str,
        spool: Spool,
        metrics: Metrics,
        disk: Executor,
        vouched_us: Callable[[], int],
        lost: Callable[[], None],
    ) -> None:
        self._conninfo = conninfo
        self._spool = spool
        self._metrics = metrics
        self._disk = disk
        self._vouched_us = vouched_us
        self._lost = lost
        self._segment: Segment | None = None
        self._groups: deque[list[Record]] = deque()
        self._damaged = 0
        self._turn = asyncio.Lock()
        self._adopted: list[str] = []
        self._adopt_at = monotonic() + ADOPT_SECONDS
        self._troubled = False
        self.reported = False

    async def run(self, stop: asyncio.Event) -> None:
        """Report and drain until `stop`."""
        wait = FIRST_PAUSE
        while not stop.is_set():
            try:
                connection = await connect(self._conninfo)
                try:
                    wait = FIRST_PAUSE
                    await self._work(connection, stop)
                    await self._leave(connection)
                finally:
                    await close(connection)
            except Exception as error:  # noqa: BLE001 a task's outermost loop: a bug must not end it
                self._lost()
                _log.info("spool: %s", str(error) or type(error).__name__, exc_info=None if expected(error) else error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), wait)
                wait = min(wait * 2, 5.0)

    async def prove(self, connection: AsyncConnection[Any]) -> None:
        """Commit something of the spool: a connection on which that works may take new events again."""
        with suppress(SpoolTrouble):
            await self.step(connection)

    async def step(self, connection: AsyncConnection[Any]) -> bool:
        """Commit one group of records. False when there is none."""
        async with self._turn:
            if not self._groups and not await self._load():
                return False
            group = self._groups[0]
            try:
                await in_time(connection, _commit(connection, group))
            except Exception as error:
                if not in_the_data(error):
                    raise
                await connection.rollback()
                await self._one_by_one(connection, group)
            self._groups.popleft()
            self._metrics.drained.inc(sum(record.events for record in group))
            if not self._groups:
                await self._finish()
            return True

    async def _work(self, connection: AsyncConnection[Any], stop: asyncio.Event) -> None:
        due = 0.0
        while not stop.is_set():
            if monotonic() >= due:
                await in_time(connection, self._report(connection))
                due = monotonic() + BEAT
            if monotonic() >= self._adopt_at:
                self._adopt_at = monotonic() + ADOPT_SECONDS
                with suppress(SpoolTrouble):
                    self._adopted += await self._on_disk(self._spool.adopt)
            if not await self._try_step(connection):
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(0.0, due - monotonic()))

    async def _try_step(self, connection: AsyncConnection[Any]) -> bool:
        try:
            found = await self.step(connection)
        except SpoolTrouble as error:
            if not self._troubled:
                _log.error("%s", error)
            self._troubled = True
            return False
        self._troubled = False
        return found

    async def _report(self, connection: AsyncConnection[Any]) -> None:
        vouched = self._vouched_us()  # first: what is put into the spool after this came in after this
        oldest = self._spool.oldest_us
        adopted = list(self._adopted)
        about = {"pid": os.getpid(), "events": self._spool.events, "bytes": self._spool.size}
        await connection.execute("SET LOCAL synchronous_commit = off")
        row = heartbeats.vouched(self._spool.name, from_us(vouched), None if oldest is None else from_us(oldest), about)
        await connection.execute(heartbeats.VOUCH_SQL, row)
        if adopted:
            await connection.execute(heartbeats.FORGET_SQL, [adopted])
        await connection.commit()
        del self._adopted[: len(adopted)]
        self.reported = True

    async def _leave(self, connection: AsyncConnection[Any]) -> None:
        """Whoever ends with an empty spool is not waited for."""
        if not self._spool:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await connection.execute(heartbeats.FORGET_SQL, [[self._spool.name]])
                await connection.commit()

    # --- segments -----------------------------------------------------------------------------------------------------

    async def _load(self) -> bool:
        if self._segment is not None:
            await self._finish()  # all of it was committed, and then it could not be deleted
        self._segment = await self._on_disk(self._spool.first)
        if self._segment is None:
            return False
        try:
            records, self._damaged = await self._on_disk(partial(self._spool.load, self._segment))
        except SpoolTrouble:
            self._segment = None  # nothing of it was committed
            raise
        self._groups.extend(bounded(records, STEP_EVENTS, STEP_BYTES))
        if not self._groups:
            await self._finish()
        return bool(self._groups)

    async def _finish(self) -> None:
        segment = self._segment
        assert segment is not None, "groups come out of a segment"
        if self._damaged:
            self._metrics.damaged.inc()
            _log.error("%s: %d bytes can't be read; it is kept aside", segment.path, self._damaged)
        await self._on_disk(partial(self._spool.done, segment, damaged=bool(self._damaged)))
        self._segment, self._damaged = None, 0
        if not self._spool:
            _log.info("the spool is empty")

    async def _one_by_one(self, connection: AsyncConnection[Any], group: Sequence[Record]) -> None:
        for record in group:
            try:
                await in_time(connection, _commit(connection, [record]))
            except Exception as error:
                if not in_the_data(error):
                    raise
                await connection.rollback()
                await self._on_disk(partial(self._spool.set_aside, record))
                self._metrics.damaged.inc()
                _log.error("%d events of the spool can't be stored, they are kept aside: %s", record.events, error)

    async def _on_disk(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._disk, work)
        except OSError as error:
            raise SpoolTrouble(f"the spool {self._spool.folder}: {error.strerror}") from error


async def _commit(connection: AsyncConnection[Any], group: Sequence[Record]) -> None:
    async with connection.cursor() as cursor:
        batches = [(from_us(one.oldest_us), one.events, one.payload) for one in group if one.kind == b"E"]
        if batches:
            await cursor.executemany(log.APPEND_SQL, batches)
        refusals = [refusal for one in group if one.kind == b"R" for refusal in _refusals.decode(one.payload)]
        for statement, rows in quarantine.statements(refusals):
            await cursor.executemany(statement, rows)
    await connection.commit()
