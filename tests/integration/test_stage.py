"""What runs beside the flow moves neither the stage nor a dwelling order."""

from __future__ import annotations

import sqlalchemy as sa

from milepost.db import tables as t
from milepost.journeystate import JourneyChange
from sla.evaluate import evaluate
from sla.policy import compile_catalog
from tests.chain import CATALOG, Chain


def test_an_invoice_is_no_stage(engine: sa.Engine) -> None:
    chain = Chain(engine)
    keys = {"order.received": {}, "picking.packed": {"picking": "P1"}, "invoice.posted": {"invoice": "I1"}}
    for number, (kind, more) in enumerate(keys.items()):
        wire = {
            "specversion": "1.0",
            "id": kind,
            "source": "odoo",
            "type": kind,
            "time": f"2026-09-01T0{number}:00:00Z",
        }
        chain.send({**wire, "data": {"keys": {"order": "S1", **more}}})
    chain.settle()
    with engine.connect() as connection:
        assert connection.scalar(sa.select(t.journeys.c.stage)) == "packed"
        reached = set(connection.scalars(sa.select(t.milestones.c.name)))
    assert reached == {"received", "packed", "invoiced"}


def test_an_invoice_ends_no_dwelling() -> None:
    policy = compile_catalog(CATALOG).policies["packed-not-shipped"]
    assert policy.after_start == {"fulfilled", "dispatched", "delivered"}


def test_goods_that_left_don_t_dwell_though_their_picking_is_not_done(engine: sa.Engine) -> None:
    told: list[JourneyChange] = []
    chain = Chain(engine, changed=lambda _, __, changes, ___: told.extend(changes))
    packed = {"picking": "P1", "shipment": "X1"}
    steps = {"order.received": {}, "picking.packed": packed, "shipment.dispatched": {"shipment": "X1"}}
    for hour, (kind, more) in enumerate(steps.items(), 8):
        data = {"keys": {"order": "S1", **more}}
        chain.send({"id": kind, "source": "wms", "type": kind, "time": f"2026-09-01T{hour:02}:00:00Z", "data": data})
    chain.settle()
    order = [change for change in told if change.model == "order"][-1]
    clocks = {clock.policy.name: clock for clock in evaluate(compile_catalog(CATALOG), order).clocks}
    clock = clocks["packed-not-shipped"]
    assert (clock.how, clock.stopped_us) == ("reached", order.milestones["dispatched"].reached_us)
