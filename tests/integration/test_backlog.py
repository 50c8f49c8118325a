"""How an assembler works a backlog off: in large portions, for which it waits a while, and only then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa

from correlator import assemble
from correlator.assemble import Assembler, Changed
from milepost.catalog.schema import Catalog
from milepost.clock import to_us, utc_now
from milepost.db import tables as t
from tests.chain import CATALOG, Chain, Wire, ignore

OLD = timedelta(minutes=1)


class Looked(dict[Any, Any]):
    """A dictionary in which things are looked up, but that nobody goes through."""

    def _through(self, *_: object) -> NoReturn:
        raise AssertionError("a step goes through all that is remembered")

    __iter__ = keys = values = items = _through


class Backlog:
    """A chain whose assembler gathers for ten seconds, by a clock that stands still."""

    def __init__(self, engine: sa.Engine, changed: Changed = ignore) -> None:
        self.now = utc_now()
        self.chain = Chain(engine)
        self.step = Assembler(engine, lambda _: CATALOG, lambda: self.now, changed, gather=timedelta(seconds=10)).step
        self._sent = 0

    def send(self, received: datetime, *, recorded: bool) -> None:
        """One event of an order of its own."""
        self._sent += 1
        wire: Wire = {
            "specversion": "1.0",
            "id": f"e{self._sent}",
            "source": "odoo",
            "type": "order.received",
            "time": received.isoformat(),
            "data": {"keys": {"order": f"S{self._sent}"}},
        }
        self.chain.send(wire, received_us=to_us(received))
        if recorded:
            assert self.chain.recorders[0].step()

    def journeys(self) -> int:
        with self.chain.engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(t.journeys)) or 0


@pytest.fixture
def backlog(engine: sa.Engine) -> Backlog:
    return Backlog(engine)


def test_late_touches_wait_for_more_while_the_log_has_late_events(backlog: Backlog) -> None:
    backlog.send(backlog.now - OLD, recorded=True)
    backlog.send(backlog.now - OLD, recorded=False)
    assert not backlog.step()
    backlog.now += timedelta(seconds=9)
    assert not backlog.step()
    backlog.now += timedelta(seconds=1)
    assert backlog.step()
    assert backlog.journeys() == 1


def test_the_wait_begins_anew_with_each_portion(backlog: Backlog) -> None:
    backlog.send(backlog.now - OLD, recorded=True)
    backlog.send(backlog.now - OLD, recorded=False)
    backlog.step()
    backlog.now += timedelta(seconds=10)
    assert backlog.step()
    assert backlog.chain.recorders[0].step()
    backlog.send(backlog.now - OLD, recorded=False)
    assert not backlog.step()


def test_nothing_waits_once_the_log_is_empty(backlog: Backlog) -> None:
    backlog.send(backlog.now - OLD, recorded=True)
    assert backlog.step()


def test_nothing_waits_once_recorders_have_caught_up(backlog: Backlog) -> None:
    """At a steady rate there is always something in the log: what waited for that would be late itself, and wait on."""
    backlog.send(backlog.now - OLD, recorded=True)
    backlog.send(backlog.now, recorded=False)
    assert backlog.step()


def test_fresh_touches_never_wait(backlog: Backlog) -> None:
    backlog.send(backlog.now, recorded=True)
    backlog.send(backlog.now - OLD, recorded=False)
    assert backlog.step()


def test_a_full_portion_does_not_wait(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "MAX_TOUCHES", 2)
    backlog = Backlog(engine)
    for _ in range(3):
        backlog.send(backlog.now - OLD, recorded=True)
    backlog.send(backlog.now - OLD, recorded=False)
    assert backlog.step()
    assert backlog.journeys() == 2
    assert not backlog.step()


def test_a_batch_that_is_larger_than_a_portion_is_taken_alone(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assemble, "MAX_TOUCHES", 1)
    backlog = Backlog(engine)
    for _ in range(2):
        backlog.send(backlog.now, recorded=False)
    backlog.chain.recorders[0].step()
    backlog.send(backlog.now, recorded=True)
    assert backlog.step()
    assert backlog.journeys() == 2
    assert backlog.step()
    assert backlog.journeys() == 3


def test_after_a_step_that_took_long_the_next_takes_less(engine: sa.Engine) -> None:
    def slow(_connection: sa.Connection, _catalog: Catalog, changes: Sequence[Any], _now: datetime) -> None:
        backlog.now += timedelta(seconds=10) * len(changes)

    backlog = Backlog(engine, slow)
    for _ in range(4):
        backlog.send(backlog.now, recorded=True)
    assert backlog.step()
    assert backlog.journeys() == 4
    for _ in range(4):
        backlog.send(backlog.now, recorded=True)
    assert backlog.step()
    assert backlog.journeys() == 6


def test_a_step_costs_the_same_however_much_is_remembered(backlog: Backlog) -> None:
    """`ids - nodes.keys()` takes milliseconds when there are 400,000 nodes."""
    chain = backlog.chain
    backlog.send(backlog.now, recorded=True)
    assert chain.assembler.step()
    graph = chain.assembler._memory.graph
    graph.nodes, graph.types = Looked(graph.nodes), Looked(graph.types)
    chain.assembler._journeys = Looked(chain.assembler._journeys)
    chain.recorders[0]._known.relations = Looked(chain.recorders[0]._known.relations)
    backlog.send(backlog.now, recorded=True)
    assert chain.assembler.step()
    assert backlog.journeys() == 2
