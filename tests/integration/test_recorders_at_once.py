"""Recorders and assemblers that are processes of their own, all at once on one database."""

from __future__ import annotations

import multiprocessing as mp
import random
import threading
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
import sqlalchemy as sa

from correlator import journeystore
from correlator.assemble import Assembler
from correlator.record import Recorder
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.db.engine import leader, make_engine
from tests.chain import CATALOG, Chain, Wire, entry, ignore
from tests.integration.test_correlation_property import expected, scenario, stored
from tests.threads import at_once

PATIENCE = 120
WORLDS = 120


def record(url: str, start: Barrier, empty_after: int) -> None:
    """A recorder's process. Any error, a deadlock too, is its end."""
    engine = make_engine(url, application_name="test record")
    recorder = Recorder(engine, lambda _: CATALOG, utc_now)
    recorder._batches = 1  # small transactions, so that there are many
    start.wait(PATIENCE)
    _until_idle(recorder.step, engine, empty_after)


def assemble(url: str, start: Barrier, empty_after: int, elected: bool) -> None:
    """An assembler's process: elected before each few steps, or as one that doesn't know that it lost the lead."""
    engine = make_engine(url, application_name="test assemble")
    assembler = Assembler(engine, lambda _: CATALOG, utc_now, ignore)
    start.wait(PATIENCE)

    def step() -> bool:
        if not elected:
            return assembler.step()
        with leader(engine, "assemble") as leads:
            return leads and (assembler.step() | assembler.step())

    _until_idle(step, engine, empty_after)


def _until_idle(step: Any, engine: sa.Engine, empty_after: int) -> None:
    """Until the chain has nothing left and had so many events."""
    while True:
        if not step() and _finished(engine, empty_after):
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


@pytest.mark.parametrize("elected", [True, False], ids=["elected", "unaware"])
def test_processes_at_once_give_the_oracles_journeys(engine: sa.Engine, database: str, elected: bool) -> None:
    worlds, batches = stream(random.Random(f"at once {elected}"))
    events = sum(len(world) for world in worlds.values())
    chain = Chain(engine)
    context = mp.get_context("spawn")
    start = context.Barrier(6)
    processes = [context.Process(target=record, args=(database, start, events)) for _ in range(3)]
    processes += [context.Process(target=assemble, args=(database, start, events, elected)) for _ in range(2)]
    for process in processes:
        process.start()
    try:
        start.wait(PATIENCE)
        for batch in batches:
            chain.append([entry(wire, received) for wire, received in batch])
        for process in processes:
            process.join(PATIENCE)
        assert [process.exitcode for process in processes] == [0] * 5
    finally:
        for process in processes:
            process.kill()
    wanted = {root: journey for world in worlds.values() for root, journey in expected(world).items()}
    assert stored(engine, "") == wanted
    check_counts(engine, events, sum(len(batch) for batch in batches))


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


def test_one_event_in_two_recorders_is_stored_once(engine: sa.Engine) -> None:
    """The second waits for the first's transaction, and then knows."""
    chain = Chain(engine, recorders=2)
    wire: Wire = {"id": "e1", "source": "/odoo", "type": "order.received", "data": {"keys": {"order": "S1"}}}
    for recorder in chain.recorders:
        recorder._batches = 1
    for _ in range(20):
        wire = {**wire, "id": f"{wire['id']}1"}
        chain.send(wire)
        chain.send(wire)
        at_once(*(recorder.step for recorder in chain.recorders))
    chain.settle()
    check_counts(engine, 20, 40)


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
