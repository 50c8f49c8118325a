"""Another catalog is put in force: the journeys that are there follow it."""

from __future__ import annotations

import sqlalchemy as sa

from correlator.rebuild import Rebuild
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.db import tables as t
from tests.chain import Chain, Wire, ignore

TEXTS = loader.default_texts()
WHOLE = TEXTS["journeys.yaml"]


def wire(number: int, kind: str, **keys: str) -> Wire:
    return {"specversion": "1.0", "id": f"{number}", "source": "/odoo", "type": kind, "data": {"keys": keys}}


def use(engine: sa.Engine, journeys: str) -> Chain:
    texts = TEXTS | {"journeys.yaml": journeys} | ({"slas.yaml": "policies: []\n"} if journeys != WHOLE else {})
    chain = Chain(engine, catalog=loader.load(texts))
    chain.settle()
    return chain


def reached(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return sorted(connection.scalars(sa.select(t.milestones.c.name)))


def journeys(engine: sa.Engine) -> set[tuple[str, str, str | None]]:
    with engine.connect() as connection:
        chosen = sa.select(t.journeys.c.model, t.journeys.c.key, t.journeys.c.stage)
        return {(row.model, row.key, row.stage) for row in connection.execute(chosen)}


def test_a_new_milestone_appears_in_the_journeys_that_are_there(engine: sa.Engine) -> None:
    chain = use(engine, WHOLE)
    chain.send(wire(1, "order.confirmed", order="S1"), wire(2, "payment.announced", order="S1", payment="B1"))
    chain.settle()
    assert reached(engine) == ["confirmed"]
    before = "      - {name: confirmed, events: [order.confirmed]}\n"
    assert before in WHOLE
    use(engine, WHOLE.replace(before, before + "      - {name: announced, events: [payment.announced]}\n", 1))
    assert reached(engine) == ["announced", "confirmed"]
    use(engine, WHOLE)
    assert reached(engine) == ["confirmed"]


def test_a_model_that_the_catalog_no_longer_has_takes_its_journeys_along(engine: sa.Engine) -> None:
    chain = use(engine, WHOLE)
    chain.send(wire(1, "order.received", channel_order="C1"), wire(2, "shipment.booked", shipment="X1", order="S1"))
    chain.settle()
    assert journeys(engine) == {("order", "C1", "received"), ("order", "S1", None), ("shipment", "X1", "booked")}
    fewer = WHOLE[: WHOLE.index("  shipment:\n    title")]
    use(engine, fewer.replace("roots: [order, channel_order, customer_po]", "roots: [order]"))
    assert journeys(engine) == {("order", "S1", None)}


def test_what_is_a_hub_follows_the_catalog_in_force(engine: sa.Engine) -> None:
    """Hubs stay hubs under another catalog, become some under a lower limit, and stop under a higher one."""
    chain = use(engine, "hub_limit: 3\n" + WHOLE)
    for number in range(5):
        order = f"S{number}"
        chain.send(wire(number, "picking.done", order=order, picking="MULTI"))
        chain.send(wire(10 + number, "picking.done", order=order, picking=f"P{number // 2}"))
    chain.settle()
    assert joining(engine) == {"P0", "P1", "P2"}
    for limit, keys in (("3  # as before", {"P0", "P1", "P2"}), ("1", {"P2"}), ("9", {"MULTI", "P0", "P1", "P2"})):
        chain = use(engine, f"hub_limit: {limit}\n" + WHOLE)
        assert joining(engine) == keys
    before = joining(engine)
    Rebuild(engine, lambda _: chain.catalog, utc_now, ignore).run()
    assert joining(engine) == before


def joining(engine: sa.Engine) -> set[str]:
    """The keys of the pickings that belong to an order."""
    its = sa.select(t.objects.c.key).join(t.members, t.members.c.object_id == t.objects.c.object_id)
    with engine.connect() as connection:
        return set(connection.scalars(its.where(t.objects.c.type == "picking")))
