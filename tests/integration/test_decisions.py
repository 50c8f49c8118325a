"""Hubs are found and reported, and people decide with the command line, as they would."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from milepost import cli
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.decisions import audit, correlation
from milepost.errors import Conflict, NotFound, Transient
from tests.chain import CATALOG, Chain, Wire


def shipped(order: str, shipment: str) -> Wire:
    return {
        "specversion": "1.0",
        "id": f"{order}-{shipment}",
        "source": "/wms",
        "type": "shipment.dispatched",
        "data": {"keys": {"order": order, "shipment": shipment}},
    }


def members(engine: sa.Engine, order: str) -> set[str]:
    o, m, j = t.objects.c, t.members.c, t.journeys.c
    query = sa.select(o.key).join(t.members, m.object_id == o.object_id).join(t.journeys, j.journey_id == m.journey_id)
    with engine.connect() as connection:
        return set(connection.scalars(query.where(j.key == order, j.model == "order")))


def milepost(database: str, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(cli.app, list(words), env={"MILEPOST_DATABASE_URL": database})
    assert done.exit_code == code, done.output
    return done.output


def test_a_shared_key_becomes_a_hub_and_is_lifted(engine: sa.Engine, database: str) -> None:
    chain = Chain(engine, catalog=msgspec.structs.replace(CATALOG, hub_limit=3))
    for number in range(4):
        chain.send({**shipped(f"S{number}", ""), "type": "order.received", "data": {"keys": {"order": f"S{number}"}}})
        if number < 3:
            chain.send(shipped(f"S{number}", "TBD-1"))
    chain.settle()
    assert members(engine, "S0") == {"S0", "TBD-1"}
    chain.send(shipped("S3", "TBD-1"), shipped("S3", "1Z3"))
    chain.settle()
    assert [members(engine, f"S{number}") for number in (0, 3)] == [{"S0"}, {"S3", "1Z3"}]
    assert "shipment:TBD-1" in milepost(database, "journeys", "hubs")
    with engine.connect() as connection:
        (told,) = connection.execute(sa.select(t.signals.c.rule, t.signals.c.group)).all()
    assert (told.rule, told.group) == ("hub", {"source": "/wms"})
    milepost(database, "journeys", "lift", "shipment:TBD-1", "--reason", "one truck")
    chain.settle()
    assert members(engine, "S0") == {"S0", "TBD-1"}
    milepost(database, "journeys", "reverse", "1", "--reason", "it was not")
    chain.settle()
    assert members(engine, "S0") == {"S0"}


def test_a_lifted_hub_takes_what_others_owned_by_a_correlation(engine: sa.Engine, database: str) -> None:
    """While it counts for nothing a correlation id is Q's alone; lifted, it names the same, and joins nothing."""
    chain = Chain(engine, catalog=msgspec.structs.replace(CATALOG, hub_limit=2))
    named = [{"order": f"S{number}", "customer_po": "P"} for number in range(3)]
    for number, (kind, keys, more) in enumerate(
        [
            *(("order.received", keys, {}) for keys in named),
            ("order.received", {"customer_po": "P"}, {"correlationid": "Z"}),
            ("order.received", {"customer_po": "Q"}, {"correlationid": "Z"}),
            ("picking.created", {"picking": "K"}, {"correlationid": "Z"}),
        ]
    ):
        chain.send({**shipped("", ""), "id": f"e{number}", "type": kind, "data": {"keys": keys}, **more})
    chain.settle()
    assert members(engine, "Q") == {"Q", "K"}
    milepost(database, "journeys", "lift", "customer_po:P", "--reason", "one frame contract")
    chain.settle()
    assert members(engine, "Q") == {"Q"}


def test_cut_and_explain(engine: sa.Engine, database: str) -> None:
    chain = Chain(engine)
    chain.send(shipped("S1", "X1"), shipped("S1", "X2"))
    chain.settle()
    explained = milepost(database, "journeys", "explain", "order", "S1")
    assert "shipment X1  order S1  named together  shipment.dispatched /wms S1-X1" in explained
    assert "missing: later ones were seen" in explained
    milepost(database, "journeys", "cut", "order:S1", "shipment:X1", "--reason", "typed wrongly")
    chain.settle()
    assert members(engine, "S1") == {"S1", "X2"}
    assert "typed wrongly" in milepost(database, "journeys", "decisions")
    with engine.connect() as connection:
        assert [line.action for line in audit.lines(connection, action="correlation")] == ["correlation.cut"]
    assert "already" in milepost(database, "journeys", "cut", "order:S1", "shipment:X1", "--reason", "again", code=1)
    again = milepost(database, "journeys", "cut", "shipment:X1", "order:S1", "--reason", "the other way round", code=1)
    assert "already" in again
    blank = milepost(database, "journeys", "cut", "order:S1", "shipment:X2", "--reason", " ", code=1)
    assert "a decision needs a reason, of 500 characters at most" in blank
    assert "there is no order S9" in milepost(
        database, "journeys", "exclude", "order:S9", "shipment:X1", "--reason", "x", code=1
    )


def test_people_decide_one_after_the_other(engine: sa.Engine) -> None:
    chain = Chain(engine)
    chain.send(shipped("S1", "X1"), shipped("S2", "X2"))
    chain.settle()
    told: dict[str, Any] = {"actor": "test", "reason": "try", "now": utc_now()}
    with engine.begin() as first:
        one, two = (correlation.find(first, "order", key) for key in ("S1", "S2"))
        number = correlation.decide(first, "merge", one, two, **told)
        with engine.connect() as other:
            other.execute(sa.text("SET lock_timeout = '20ms'"))
            other.commit()
            with pytest.raises(Transient, match="lock timeout"):
                correlation.decide(other, "merge", two, one, **told)
            other.rollback()
            with pytest.raises(Transient, match="lock timeout"):
                correlation.reverse(other, number, **told)
        with engine.connect() as reader:
            assert correlation.last(reader) == 0, "readers go on"
    with engine.begin() as other, pytest.raises(Conflict, match="merged into another"):
        correlation.decide(other, "merge", two, one, **told)


def test_what_cant_be_decided(engine: sa.Engine) -> None:
    chain = Chain(engine)
    chain.send(shipped("S1", "X1"), shipped("S2", "X1"), shipped("S3", "X1"))
    chain.settle()
    told: dict[str, Any] = {"actor": "test", "reason": "try", "now": utc_now()}
    with engine.begin() as connection:
        one, two, three = (correlation.find(connection, "order", key) for key in ("S1", "S2", "S3"))
        shipment = correlation.find(connection, "shipment", "X1")
        with pytest.raises(Conflict, match="no two names"):
            correlation.decide(connection, "merge", one, shipment, **told)
        with pytest.raises(Conflict, match="twice the same"):
            correlation.decide(connection, "cut", one, one, **told)
        number = correlation.decide(connection, "merge", one, two, **told)
        with pytest.raises(Conflict, match="merged into another"):
            correlation.decide(connection, "merge", three, two, **told)
        with pytest.raises(Conflict, match="others are merged"):
            correlation.decide(connection, "merge", three, one, **told)
        correlation.reverse(connection, number, **told)
        with pytest.raises(Conflict, match="taken back already"):
            correlation.reverse(connection, number, **told)
        with pytest.raises(NotFound):
            correlation.reverse(connection, 99, **told)
