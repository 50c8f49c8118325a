"""Tell the next generation all that the stored events say: the replay of a rebuild, in a process of its own.

What is told waits for the assembler of the next generation, which works meanwhile in the process that asked.
"""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, Final

import sqlalchemy as sa

from correlator.derive import Known, hand_over
from correlator.facts import extract
from correlator.model import Compiled
from milepost import garbage
from milepost.catalog.schema import Catalog
from milepost.clock import Clock, to_us, utc_now
from milepost.contract import Entry
from milepost.db import tables
from milepost.db.engine import make_engine
from milepost.db.generation import NEXT, pin

CHUNK: Final = 16_000
"""Events replayed in one transaction."""
AHEAD: Final = 12
"""Chunks that are replayed before the assembler takes them: the more touches meet in a step, the fewer its updates."""
FEW: Final = 6 * CHUNK
"""So few events are replayed at once where they are: another process would take longer to begin."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which stored events to replay; without anything all. Receive times, from `since` to before `until`."""

    since: datetime | None = None
    until: datetime | None = None
    sources: Sequence[str] = ()

    @property
    def whole(self) -> bool:
        return self == Selection()

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        its, found = tables.events.c, []
        if self.since is not None:
            found.append(its.received_at >= self.since)
        if self.until is not None:
            found.append(its.received_at < self.until)
        if self.sources:
            found.append(its.source.in_(self.sources))
        return found


@dataclass(frozen=True, slots=True)
class Extent:
    """The last number of the events stored when a replay begins, and how many are to be replayed. `into` is the number
    of the next generation that is told."""

    last: int
    events: int
    into: int


def last(connection: sa.Connection) -> int:
    """The number of the last event that is stored now."""
    return connection.scalar(sa.select(sa.func.max(tables.events.c.event_no))) or 0


def count(connection: sa.Connection, selection: Selection, until: int) -> int:
    """How many events up to this number there are to replay. Takes seconds for millions."""
    chosen = sa.select(sa.func.count()).where(tables.events.c.event_no <= until, *selection.clauses())
    return connection.scalar(chosen) or 0


def run(engine: sa.Engine, catalog: Catalog, clock: Clock, selection: Selection, extent: Extent) -> Generator[int]:
    """Replay; yields how many events were told each time that the assembler should take them.

    Raises Conflict where the next generation is no longer the one that is to be told.
    """
    if extent.events <= FEW:
        told = _Told(engine, Compiled(catalog), clock, selection, extent)
        while events := told.chunk():
            yield events
        return
    url = engine.url.render_as_string(hide_password=False)
    chunks = -(-extent.events // CHUNK)
    with ProcessPoolExecutor(1, get_context("spawn"), _begin, (url, catalog, selection, extent)) as pool:
        due: deque[Future[int]] = deque()
        try:
            while chunks or due:
                while chunks and len(due) < 3 * AHEAD:
                    due.append(pool.submit(_chunk))
                    chunks -= 1
                yield sum(due.popleft().result() for _ in range(min(AHEAD, len(due))))
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(slots=True)
class _Told:
    """How far a replay has come."""

    engine: sa.Engine
    compiled: Compiled
    clock: Clock
    selection: Selection
    extent: Extent
    after: int = 0
    known: Known = field(default_factory=Known)

    def chunk(self) -> int:
        """Replay the next events; returns how many, 0 when there are none left."""
        with self.engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            pin(connection, self.extent.into)
            rows = connection.execute(_stored(self.selection, self.after, self.extent.last)).all()
            if not rows:
                return 0
            entries = [Entry(b"", 0, to_us(row.received_at), row.body.encode()) for row in rows]
            facts = extract(entries, self.compiled, self.known.names)
            new = self.known.resolve(connection, facts, self.clock())
            for item, row in zip(facts.items, rows, strict=True):
                item.event_no = row.event_no
            relations = self.known.news(facts)
            hand_over(connection, facts, new, relations, [NEXT])
        self.known.learn(relations)
        self.after = int(rows[-1].event_no)
        return len(rows)


_told: _Told | None = None
"""Of the process that replays."""


def _begin(url: str, catalog: Catalog, selection: Selection, extent: Extent) -> None:
    global _told
    Thread(target=_end_with_parent, daemon=True).start()
    engine = make_engine(url, pool_size=1, application_name="milepost rebuild: replay")
    _told = _Told(engine, Compiled(catalog), utc_now, selection, extent)


def _end_with_parent() -> None:
    """Who was killed can't tell its pool to end."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _chunk() -> int:
    assert _told is not None
    with garbage.by_hand():
        events = _told.chunk()
        garbage.collect()
    return events


def _stored(selection: Selection, after: int, last: int) -> sa.Select[Any]:
    its = tables.events.c
    return (
        sa.select(its.event_no, its.received_at, sa.cast(its.body, sa.Text).label("body"))
        .where(its.event_no > after, its.event_no <= last, *selection.clauses())
        .order_by(its.event_no)
        .limit(CHUNK)
    )
