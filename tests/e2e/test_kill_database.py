"""kill -9 of PostgreSQL between two steps: commits that weren't flushed are gone, and whoever cached them must know."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from milepost.db import schema
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import make_engine
from milepost.db.tables import correlations, event_log, event_object, events, objects, touches
from tests.chain import Chain, Wire, entry
from tests.integration.test_correlation_property import expected, scenario, stored

SAFE = {"fsync": "on", "shared_buffers": "64MB", "wal_buffers": "16MB", "bgwriter_lru_maxpages": "0"}


@pytest.fixture
def server(server_dir: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(server_dir / "postgres", settings=SAFE) as running:
        schema.run_migrations(running.url())
        _signal_writer(running, signal.SIGSTOP)
        yield running
        _signal_writer(running, signal.SIGCONT)


@pytest.fixture
def engine(server: EmbeddedPostgres) -> Iterator[sa.Engine]:
    made = make_engine(server.url(), application_name="test")
    yield made
    made.dispose()


def crash(server: EmbeddedPostgres) -> None:
    """Kill all of the server at one blow, as a power cut does, and start again."""
    pid = server.server_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # it must not see its children die: nobody is to tidy up
    for victim in [*_children(pid), pid]:
        os.kill(victim, signal.SIGKILL)
    server.start()
    assert server.server_pid() != pid
    _signal_writer(server, signal.SIGSTOP)


def _signal_writer(server: EmbeddedPostgres, how: signal.Signals) -> None:
    """While the WAL writer is stopped, nothing reaches the disk but with a commit that waits for it."""
    pid = server.server_pid()
    assert pid is not None
    os.kill(next(child for child, title in _children(pid).items() if "walwriter" in title), how)


def _children(pid: int) -> dict[int, str]:
    """The processes of the server, with what they call themselves."""
    numbers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    titles: dict[int, str] = {}
    for number in numbers:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            titles[int(number)] = Path(f"/proc/{number}/cmdline").read_text()
    return titles


def order(number: int, kind: str = "order.received") -> Wire:
    keys = {"order": "S1", "picking": f"P{number}"}
    return {"specversion": "1.0", "id": f"e{number}", "source": "/odoo", "type": kind, "data": {"keys": keys}}


def strangers(engine: sa.Engine) -> int:
    """Objects that events are said to be about, and nobody knows."""
    known = sa.union_all(sa.select(objects.c.object_id), sa.select(correlations.c.object_id))
    query = sa.select(sa.func.count()).select_from(event_object).where(event_object.c.object_id.not_in(known))
    with engine.connect() as connection:
        return connection.scalar(query) or 0


def test_a_recorder_forgets_what_a_crash_took_back(server: EmbeddedPostgres, engine: sa.Engine) -> None:
    chain = Chain(engine)
    chain.send(order(1))
    assert chain.recorders[0].step()
    crash(server)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(event_log)) == 1, "nothing was taken back"
    chain.settle()
    assert strangers(engine) == 0
    chain.send(order(2))
    chain.settle()
    assert strangers(engine) == 0
    assert {key for _, (_, _, key) in stored(engine, "")} == {"S1"}


def test_an_assembler_forgets_what_a_crash_took_back(server: EmbeddedPostgres, engine: sa.Engine) -> None:
    chain = Chain(engine)
    chain.send(order(1))
    chain.settle()
    chain.send(order(2))
    assert chain.recorders[0].step()
    chain.send(order(3))  # durable, and with it all that came before
    assert chain.assembler.step()
    crash(server)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(touches)) == 1, "nothing was taken back"
    chain.settle()
    (journey,) = stored(engine, "").values()
    assert {key for _, _, key in journey["members"]} == {"S1", "P1", "P2", "P3"}
    assert journey["milestones"]["received"][2] == 3


@pytest.mark.parametrize("seed", range(2))
def test_crashes_at_any_step_change_nothing(server: EmbeddedPostgres, engine: sa.Engine, seed: int) -> None:
    rng = random.Random(f"crash-{seed}")
    worlds = {f"{seed}w{number}_": scenario(rng, f"{seed}w{number}_") for number in range(25)}
    chain = Chain(engine, recorders=2)
    pending = [item for world in worlds.values() for item in world]
    rng.shuffle(pending)
    steps = [*(recorder.step for recorder in chain.recorders), chain.assembler.step]
    crashes = sorted(rng.sample(range(len(pending) // 5), k=4), reverse=True)
    for turn in range(len(pending) // 5 + 1):
        chain.append([entry(wire, received) for wire, received in pending[turn * 5 : turn * 5 + 5]])
        for _ in range(rng.randint(0, 4)):
            rng.choice(steps)()
        if crashes and turn == crashes[-1]:
            crashes.pop()
            crash(server)
    chain.settle()
    assert strangers(engine) == 0
    wanted = {root: journey for world in worlds.values() for root, journey in expected(world).items()}
    assert stored(engine, "") == wanted
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(events)) == len(pending)
