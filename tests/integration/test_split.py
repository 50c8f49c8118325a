"""A key that a partner uses again is split: while all is live, beside a rebuild, quietly, from the command line."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from correlator import record
from correlator.rebuild import Rebuild
from dashboards.queries import journey, search
from milepost import cli
from milepost.catalog.schema import Catalog
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.decisions import correlation
from milepost.errors import Conflict
from milepost.inbox import objects
from milepost.journeystate import JourneyChange
from tests.chain import CATALOG, Chain, Wire, entry, ignore
from tests.integration.test_correlation_property import check, crowd, decide
from tests.integration.test_rebuild import contents
from tests.threads import Senders

OCTOBER = datetime(2026, 10, 1, tzinfo=UTC)
NOON = datetime(2026, 10, 1, 12, 30, 5, tzinfo=UTC)


def wire(number: int, day: str, kind: str, **keys: str) -> Wire:
    at = f"{day}T10:{number:02}:00Z"
    return {"id": f"e{number}", "source": "/wms", "type": kind, "time": at, "data": {"keys": keys}}


USED_AGAIN = [
    wire(1, "2026-09-01", "order.received", order="4711"),
    wire(2, "2026-09-02", "shipment.delivered", order="4711", shipment="X1"),
    wire(3, "2026-10-02", "order.received", order="4711"),
    wire(4, "2026-10-03", "shipment.dispatched", order="4711", shipment="X2"),
]


def split(engine: sa.Engine, key: str, since: datetime, kind: str = "order") -> int:
    with engine.begin() as connection:
        first = correlation.find(connection, kind, key, epoch=0)
        told: dict[str, Any] = {"actor": "test", "reason": "used again", "now": utc_now()}
        return correlation.decide(connection, "split", first, since=since, **told)


def reverse(engine: sa.Engine, number: int) -> None:
    with engine.begin() as connection:
        correlation.reverse(connection, number, actor="test", reason="it was not", now=utc_now())


def orders(engine: sa.Engine) -> dict[str, set[str]]:
    """The members of the journeys of orders."""
    with engine.connect() as connection:
        heads = connection.execute(
            sa.select(t.journeys.c.journey_id, t.journeys.c.key).where(t.journeys.c.model == "order")
        )
        return {key: {one.key for one in journey.member_list(connection, number)} for number, key in heads.all()}


@pytest.fixture
def chain(engine: sa.Engine) -> Chain:
    made = Chain(engine)
    made.send(*USED_AGAIN)
    made.settle()
    return made


def test_the_events_go_to_the_object_of_their_time(chain: Chain, engine: sa.Engine) -> None:
    first = split(engine, "4711", OCTOBER)
    chain.send(wire(5, "2026-09-03", "shipment.delivered", order="4711", shipment="X3"))
    chain.settle()
    apart = {
        "4711": {"4711", "X1", "X3"},
        "4711 (since 2026-10-01)": {"4711 (since 2026-10-01)", "X2"},
    }
    assert orders(engine) == apart
    second = split(engine, "4711", NOON)
    chain.settle()
    assert orders(engine)["4711 (since 2026-10-01 12:30:05Z)"] == {"4711 (since 2026-10-01 12:30:05Z)", "X2"}
    reverse(engine, second)
    chain.settle()
    assert orders(engine) == apart
    reverse(engine, first)
    chain.settle()
    assert orders(engine) == {"4711": {"4711", "X1", "X2", "X3"}}


def test_all_that_a_key_named_is_found(chain: Chain, engine: sa.Engine) -> None:
    split(engine, "4711", OCTOBER)
    chain.settle()
    with engine.connect() as connection:
        found = journey.candidates(connection, CATALOG, "order", "4711")
        assert [(head.key, head.epoch) for head in found] == [("4711", 0), ("4711 (since 2026-10-01)", 1)]
        (later,) = journey.candidates(connection, CATALOG, "order", "4711", epoch=1)
        assert journey.candidates(connection, CATALOG, "order", later.key) == [later]
        assert {head.journey_id for head in found} <= set(search.find(connection, CATALOG, "4711"))


def test_nobody_is_told_of_what_it_brings_to_light(engine: sa.Engine) -> None:
    told: list[JourneyChange] = []

    def changed(_: sa.Connection, __: Catalog, changes: Sequence[Any], ___: datetime) -> None:
        told.extend(changes)

    chain = Chain(engine, changed=changed)
    chain.send(*USED_AGAIN)
    chain.settle()
    told.clear()
    number = split(engine, "4711", OCTOBER)
    chain.settle()
    reverse(engine, number)
    chain.settle()
    assert {change.key for change in told if change.model == "order"} == {"4711", "4711 (since 2026-10-01)"}
    assert all(change.quiet for change in told if change.model == "order" and change.state != "absorbed")


def test_a_rebuild_sees_the_same_splits_throughout(chain: Chain, engine: sa.Engine) -> None:
    """One that is decided meanwhile waits for its end."""

    def meanwhile(what: str, _: int, __: int) -> None:
        if what == "replayed":
            split(engine, "4711", OCTOBER)
            chain.send(wire(5, "2026-10-04", "shipment.delivered", order="4711", shipment="X2"))
            chain.recorders[0].step()
            chain.assembler.step()
            with engine.connect() as connection:
                assert not objects.splits(connection)

    Rebuild(engine, lambda _: CATALOG, utc_now, ignore, progress=meanwhile).run()
    chain.settle()
    carried_out = contents(engine)
    assert set(orders(engine)) == {"4711", "4711 (since 2026-10-01)"}
    report = Rebuild(engine, lambda _: CATALOG, utc_now, ignore).run()
    assert (report.new, report.changed, report.gone) == (0, 0, 0)
    assert contents(engine) == carried_out


def test_people_split_while_everything_is_live(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorders hold batches while a split is carried out, and those that come next must know it."""
    rng = random.Random("live")
    chain = Chain(engine, recorders=2)
    monkeypatch.setattr(record, "BATCHES", 1)
    steps = [*(recorder.step for recorder in chain.recorders), chain.assembler.step]

    class Workers(Senders):
        def send(self, sender: int) -> None:
            while not self.stopped.wait(0 if steps[sender]() else 0.001):
                continue

    worlds = crowd(rng, "live", 12)
    with Workers(len(steps)):
        play_and_decide(chain, rng, worlds)
    chain.settle()
    check(engine, "live", worlds)


def play_and_decide(chain: Chain, rng: random.Random, worlds: dict[str, Any]) -> None:
    pending = [item for world in worlds.values() for item in world]
    rng.shuffle(pending)
    while pending:
        chain.append([entry(*item) for item in pending[:8]])
        del pending[:8]
        decide(chain.engine, rng, [name for name in worlds if rng.random() < 0.15])


def test_what_cant_be_split(chain: Chain, engine: sa.Engine) -> None:
    number = split(engine, "4711", OCTOBER)
    with pytest.raises(Conflict, match="decided already"):
        split(engine, "4711", OCTOBER)
    with pytest.raises(Conflict, match="to the second"):
        split(engine, "4711", OCTOBER.replace(microsecond=1))
    for never in (datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), datetime.max.replace(tzinfo=UTC)):
        with pytest.raises(Conflict, match="1990 to 2100"):
            split(engine, "4711", never.replace(microsecond=0))
    chain.settle()
    with engine.begin() as connection:
        with pytest.raises(Conflict, match="name one of them, or give its epoch: order:4711#0 for 4711"):
            correlation.find(connection, "order", "4711")
        later = correlation.find(connection, "order", "4711", epoch=1)
        told: dict[str, Any] = {"actor": "test", "reason": "try", "now": utc_now()}
        with pytest.raises(Conflict, match="first object"):
            correlation.decide(connection, "split", later, since=NOON, **told)
        correlation.decide(connection, "cut", later, correlation.find(connection, "shipment", "X2"), **told)
    with pytest.raises(Conflict, match="take that back first"):
        reverse(engine, number)
    reverse(engine, number + 1)
    reverse(engine, number)
    with engine.begin() as connection, pytest.raises(Conflict, match="was taken back"):
        correlation.decide(connection, "lift", later, **told)


def milepost(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli.app, ["journeys", *words])
    assert done.exit_code == code, done.output
    return " ".join(f"{done.output} {done.exception or ''}".split())


def test_from_the_command_line(chain: Chain, engine: sa.Engine, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE_URL", database)
    assert "order:4711 received 2026-09-01" in milepost("reused")
    assert "No key" in milepost("reused", "--days", "32")
    assert "Decision 1" in milepost("split", "order", "4711", "--from", "2026-10-01", "--reason", "began anew")
    chain.settle()
    asked = milepost("explain", "order", "4711", code=1)
    assert "--epoch 0 for 4711, --epoch 1 for 4711 (since 2026-10-01)" in asked
    asked = milepost("explain", "order", "4711", "--epoch", "7", code=1)
    assert "order 4711 has no epoch 7; there is --epoch 0 for 4711, --epoch 1 for 4711 (since 2026-10-01)" in asked
    asked = milepost("split", "order", "4711", "--from", "0001-01-01T00:00:00+1400", "--reason", "x", code=1)
    assert "0001-01-01T00:00:00+14:00 lies outside the years 1990 to 2100" in asked
    explained = milepost("explain", "order", "4711", "--epoch", "1")
    assert "order 4711 (since 2026-10-01): open, dispatched" in explained
    assert "X1" not in explained
    assert "2026-10-01" in milepost("decisions")
    milepost("cut", "order:4711#1", "shipment:X2", "--reason", "another")
    chain.settle()
    assert orders(engine)["4711 (since 2026-10-01)"] == {"4711 (since 2026-10-01)"}


def test_a_key_is_named_as_it_is_before_all_that_it_may_mean(
    chain: Chain, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE_URL", database)
    keys = ["#1002@web=1", "#1003", "A#1@web=1"]
    chain.send(*(wire(10 + number, "2026-10-05", "order.received", order=key) for number, key in enumerate(keys)))
    chain.settle()
    for key in keys:
        assert "No journey changes" in milepost("exclude", f"order:{key}", "order:4711", "--dry-run", "--reason", "x")
    missing = {"#9999": "#9999", "#9999@web=1": "#9999@web=1", "B#3": "B#3", "4711#8": "4711 of epoch 8"}
    for key, told in missing.items():
        said = milepost("lift", f"order:{key}", "--reason", "x", code=1)
        assert said.startswith(f"milepost: there is no order {told} ")
