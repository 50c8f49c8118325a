"""Recorders and assemblers that are processes of their own, all at once on one database, and killed now and then."""

from __future__ import annotations

import multiprocessing as mp
import random
import threading
from functools import partial
from typing import Any, Self

import pytest
import sqlalchemy as sa

from correlator import journeystore, record
from correlator.assemble import Assembler
from milepost.clock import to_us, utc_now
from milepost.db import tables as t
from milepost.db.engine import leader, make_engine
from milepost.inbox import log
from tests.chain import CATALOG, Chain, Wire, entry, ignore
from tests.integration.test_correlation_property import expected, scenario, stored
from tests.served import wait_until
from tests.threads import at_once

PATIENCE = 120
WORLDS = 120


def run_recorder(url: str, events: int) -> None:
    """A recorder's process. Any error, a deadlock too, is its end."""
    record.BATCHES = 1  # type: ignore[misc] # small transactions, so that there are many
    engine = make_engine(url, application_name="test record")
    _until_idle(record.Recorder(engine, lambda _: CATALOG, utc_now).step, engine, events)


def assemble(url: str, events: int, elected: bool) -> None:
    """An assembler's process: elected before each few steps, or as one that doesn't know that it lost the lead."""
    engine = make_engine(url, application_name="test assemble")
    assembler = Assembler(engine, lambda _: CATALOG, utc_now, ignore)

    def step() -> bool:
        if not elected:
            return assembler.step()
        with leader(engine, "assemble") as leads:
            return leads and (assembler.step() | assembler.step())

    _until_idle(step, engine, events)


def _until_idle(step: Any, engine: sa.Engine, events: int) -> None:
    """Until the chain has nothing left and had so many events."""
    while True:
        if not step() and _finished(engine, events):
            return


def _finished(engine: sa.Engine, events: int) -> bool:
    counts = [sa.select(sa.func.count()).select_from(x).scalar_subquery() for x in (t.event_log, t.touches, t.events)]
    with engine.connect() as connection:
        in_log, in_touches, stored_events = connection.execute(sa.select(*counts)).one()
    return (in_log, in_touches, stored_events) == (0, 0, events)


def stream(rng: random.Random) -> tuple[dict[str, list[tuple[Wire, int]]], list[list[tuple[Wire, int]]]]:
    """Worlds by name, and their events mixed up in batches; a fifth comes again in another batch."""
    worlds = {f"w{number}_": scenario(rng, f"w{number}_") for number in range(WORLDS)}
    pending = [item for world in worlds.values() for item in world]
    pending += rng.sample(pending, k=len(pending) // 5)
    rng.shuffle(pending)
    batches = []
    while pending:
        size = rng.choice([1, 3, 10, 40])
        batches.append(pending[:size])
        del pending[:size]
    return worlds, batches


class Crew:
    """Three recorders and two assemblers, each a process, until they have recorded and assembled so many events."""

    def __init__(self, url: str, events: int, elected: bool) -> None:
        # A server that has imported all is forked for each of them.
        context = mp.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        recorder = partial(context.Process, target=run_recorder, args=(url, events))
        assembler = partial(context.Process, target=assemble, args=(url, events, elected))
        self._makers = [recorder] * 3 + [assembler] * 2
        self._working = [make() for make in self._makers]

    def __enter__(self) -> Self:
        for process in self._working:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._working:
            process.kill()

    def replace(self, place: int) -> None:
        """kill -9 one, and start another in its place."""
        self._working[place].kill()
        self._working[place].join(PATIENCE)
        self._working[place] = self._makers[place]()
        self._working[place].start()

    def join(self) -> None:
        for process in self._working:
            process.join(PATIENCE)
        assert [process.exitcode for process in self._working] == [0] * 5


@pytest.mark.parametrize("elected", [True, False], ids=["elected", "unaware"])
def test_processes_at_once_give_the_oracles_journeys(engine: sa.Engine, database: str, elected: bool) -> None:
    rng = random.Random(f"at once {elected}")
    worlds, batches = stream(rng)
    events = sum(len(world) for world in worlds.values())
    chain = Chain(engine)
    with Crew(database, events, elected) as crew:
        for batch in batches:
            chain.append([entry(wire, received) for wire, received in batch])
        for share in range(1, 10):
            wait_until(lambda share=share: recorded(engine) >= events * share // 10, PATIENCE)
            crew.replace(rng.randrange(5))
        crew.join()
    wanted = {root: journey for world in worlds.values() for root, journey in expected(world).items()}
    assert stored(engine, "") == wanted
    check_counts(engine, events, sum(len(batch) for batch in batches))


def recorded(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(t.events)) or 0


def check_counts(engine: sa.Engine, events: int, sent: int) -> None:
    """Everything once, nothing in anybody's way."""
    with engine.connect() as connection:
        totals = connection.execute(
            sa.select(sa.func.sum(t.source_stats.c.events), sa.func.sum(t.source_stats.c.duplicates))
        ).one()
        numbers = connection.scalar(sa.select(sa.func.count(t.events.c.event_no.distinct())))
        deadlocks = connection.scalar(
            sa.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        )
    assert tuple(totals) == (events, sent - events)
    assert numbers == events
    assert deadlocks == 0


def test_a_source_was_heard_when_its_first_and_its_last_event_came(engine: sa.Engine) -> None:
    chain = Chain(engine)
    for number, second in enumerate((40, 20, 50)):
        wire: Wire = {"id": f"e{number}", "source": "/odoo", "type": "a.b", "data": {"keys": {"order": "S1"}}}
        chain.send(wire, received_us=1_790_000_040_000_000 + second * 1_000_000)
    chain.settle()
    with engine.connect() as connection:
        heard = connection.execute(sa.select(t.source_stats.c.first_received_at, t.source_stats.c.last_received_at))
        assert [to_us(at) // 1_000_000 - 1_790_000_040 for at in heard.one()] == [20, 50]


def test_one_event_in_two_recorders_is_stored_once(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first's transaction, and then knows."""
    chain = Chain(engine, recorders=2)
    wire: Wire = {"id": "e1", "source": "/odoo", "type": "order.received", "data": {"keys": {"order": "S1"}}}
    monkeypatch.setattr(record, "BATCHES", 1)
    for _ in range(20):
        wire = {**wire, "id": f"{wire['id']}1"}
        chain.send(wire)
        chain.send(wire)
        at_once(*(recorder.step for recorder in chain.recorders))
    chain.settle()
    check_counts(engine, 20, 40)


def received(order: str) -> Wire:
    return {"id": order, "source": "/odoo", "type": "order.received", "data": {"keys": {"order": order}}}


def test_a_step_is_bounded_by_events_whatever_the_batches(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "MAX_EVENTS", 10)
    chain = Chain(engine)
    for number, size in enumerate([1] * 8 + [4] * 4):
        chain.send(*(received(f"{number}-{item}") for item in range(size)))
    counts = []
    while chain.recorders[0].step():
        counts.append(recorded(engine))
    assert counts == [12, 24, 24]  # the last one looks from the beginning of the log once more


def test_what_one_recorder_leaves_another_takes(engine: sa.Engine) -> None:
    chain = Chain(engine)
    for number in range(9):
        chain.send(received(str(number)))
    with engine.begin() as one, engine.begin() as other, engine.begin() as third:
        taken = [[batch.seq for batch in log.consume(who, 200, events=3)] for who in (one, other, third)]
    assert [len(seqs) for seqs in taken] == [3, 3, 3]


def test_the_first_assemblers_take_turns_too(engine: sa.Engine) -> None:
    """On an empty table there is no row yet to wait for."""
    with engine.begin() as connection:
        connection.execute(t.assembled.delete())
    took = threading.Event()

    def second() -> None:
        with engine.begin() as connection:
            journeystore.take_over(connection, "second")
            took.set()

    with engine.begin() as connection:
        assert journeystore.take_over(connection, "first") == (False, None, 0)
        waiting = threading.Thread(target=second)
        waiting.start()
        assert not took.wait(0.5)
    waiting.join(PATIENCE)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(t.assembled.c.holder)) == "second"
