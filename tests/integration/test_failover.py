"""Two assemblers of which one leads: the other takes over when that one is killed or frozen, and nothing is wrong."""

from __future__ import annotations

import itertools
import multiprocessing as mp
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from correlator.assemble import Assembler
from milepost.clock import utc_now
from milepost.db import engine as engines
from milepost.db import frozen
from milepost.db import tables as t
from milepost.db.engine import make_engine
from milepost.wiring import loops
from milepost.wiring.loops import Beat, Pulse, Stop, Trouble
from tests.chain import CATALOG, Chain, Wire, entry, ignore
from tests.integration.test_correlation_property import expected, scenario, stored
from tests.served import wait_until

PATIENCE = 25.0
LEASE = 1.0


def assemble(url: str, name: str) -> None:
    """An assembler's process, as `milepost run assemble` has it, with a lease that is short enough to wait for."""
    engines.LEASE, loops.STANDBY = LEASE, 0.1
    engine = make_engine(url, application_name="milepost assemble")
    assembler = Assembler(engine, lambda _: CATALOG, utc_now, ignore)
    assembler._holder = name
    stop = Stop()

    def lead(trouble: Trouble, beat: Beat) -> None:
        loops.loop(assembler.step, stop, beat, trouble)

    loops.run_leading(engine, "assemble", stop, lead, Pulse(engine, "assemble", utc_now))


class Pair:
    """Two assemblers, and events that don't stop coming."""

    def __init__(self, engine: sa.Engine, url: str) -> None:
        self._context = mp.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._engine = engine
        self._url = url
        self._names = (str(number) for number in itertools.count())
        self._rng = random.Random("failover")
        self._stop = threading.Event()
        self._feeding = threading.Thread(target=self._feed, args=(Chain(engine),), daemon=True)
        self.worlds: dict[str, list[tuple[Wire, int]]] = {}
        self.pids: dict[str, int] = {}
        self.start()
        self.start()
        self._feeding.start()

    def start(self) -> None:
        name = next(self._names)
        process = self._context.Process(target=assemble, args=(self._url, name), daemon=True)
        process.start()
        self.pids[name] = process.pid or 0

    def kill(self, name: str) -> None:
        os.kill(self.pids.pop(name), signal.SIGKILL)

    def _feed(self, chain: Chain) -> None:
        while not self._stop.wait(0.02):
            name = f"w{len(self.worlds)}_"
            self.worlds[name] = scenario(self._rng, name)
            chain.append([entry(wire, received) for wire, received in self.worlds[name]])
            chain.recorders[0].step()

    def leader(self) -> str:
        """Whose step was the last one, of those that run."""
        wait_until(lambda: self._holder() in self.pids, PATIENCE)
        return self._holder()

    def _holder(self) -> str:
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(t.assembled.c.holder)) or ""

    def _watched(self) -> bool:
        """As the scheduler does it now and then."""
        frozen.end(self._engine, after=timedelta(seconds=LEASE))
        return True

    def succession(self, former: str) -> float:
        """Seconds until another one than `former` assembles."""
        start = time.monotonic()
        wait_until(lambda: self._watched() and self._holder() != former, PATIENCE)
        return time.monotonic() - start

    def settle(self) -> None:
        """No more events; what there are is assembled."""
        self._stop.set()
        self._feeding.join(PATIENCE)
        chain = Chain(self._engine)
        while chain.recorders[0].step():
            continue
        wait_until(self._idle, PATIENCE)

    def _idle(self) -> bool:
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(t.touches)) == 0

    def close(self) -> None:
        self._stop.set()
        self._feeding.join(PATIENCE)
        for name in list(self.pids):
            self.kill(name)


@pytest.fixture
def pair(engine: sa.Engine, database: str) -> Iterator[Pair]:
    made = Pair(engine, database)
    yield made
    made.close()


def test_another_assembler_takes_over_from_one_that_is_killed_or_frozen(engine: sa.Engine, pair: Pair) -> None:
    for _ in range(2):
        killed = pair.leader()
        pair.kill(killed)
        print(f"killed: {pair.succession(killed):.2f} s")  # noqa: T201
        pair.start()
        stopped = pair.leader()
        os.kill(pair.pids[stopped], signal.SIGSTOP)
        print(f"stopped: {pair.succession(stopped):.2f} s with a lease of {LEASE} s")  # noqa: T201
        os.kill(pair.pids[stopped], signal.SIGCONT)  # it goes on where it was, with what it knew then
    pair.settle()
    wanted = {root: journey for world in pair.worlds.values() for root, journey in expected(world).items()}
    assert stored(engine, "") == wanted
