"""Gaps as reports tell them: by source and milestone, of how many journeys, whatever else there is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa

from dashboards.queries import gaps
from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import to_us, utc_now
from milepost.db.engine import make_engine
from tests.chain import Chain, Wire, entry
from tests.databases import Databases

CATALOG = loader.load(loader.default_texts())
NOW = utc_now()
SITES = ("north", "south")


def order(number: int, site: str, *left_out: str, until: str = "picking.done") -> Iterator[Wire]:
    """An order through one warehouse, as far as told."""
    key, picking = f"S{number}", f"P{number}"
    steps = (
        ("order.received", "/shop", {"order": key}),
        ("order.validated", "/shop", {"order": key}),
        ("order.confirmed", "/odoo", {"order": key}),
        ("picking.created", "/odoo", {"order": key, "picking": picking}),
        ("picking.picked", f"/wms/{site}", {"picking": picking}),
        ("picking.packed", f"/wms/{site}", {"picking": picking}),
        ("picking.done", "/odoo", {"picking": picking}),
    )
    for minute, (kind, source, keys) in enumerate(steps):
        if kind not in left_out:
            at = NOW - timedelta(days=2) + timedelta(minutes=number * 10 + minute)
            data = {"keys": keys, "attributes": {"warehouse": site} if kind == "order.received" else {}}
            yield {
                "specversion": "1.0", "id": f"{number}-{kind}", "source": source, "type": kind,
                "time": at.isoformat(), "data": data,
            }  # fmt: skip
        if kind == until:
            return


@pytest.fixture(scope="module")
def told(databases: Databases) -> Iterator[sa.Engine]:
    """Twenty orders: of two the warehouse north never told that they were packed, of one that it was picked."""
    silent = {2: ("picking.packed",), 4: ("picking.packed",), 6: ("picking.picked",)}
    orders = [order(number, SITES[number % 2], *silent.get(number, ())) for number in range(20)]
    orders += [order(20, "north", until="picking.created"), order(21, "north", "order.confirmed", "order.validated")]
    orders.append(wire for wire in order(22, "south") if wire["type"] in ("order.received", "order.confirmed"))
    with databases.fresh() as url:
        engine = make_engine(url, application_name="test gaps")
        chain = Chain(engine)
        chain.append([entry(wire, to_us(NOW)) for events in orders for wire in events])
        chain.settle()
        yield engine
        engine.dispose()


def find(engine: sa.Engine, catalog: Catalog = CATALOG, **more: int) -> gaps.Report:
    with engine.connect() as connection:
        return gaps.find(connection, catalog, since=NOW - timedelta(days=30), model="order", **more)


def test_gaps_are_told_by_source_with_their_share(told: sa.Engine) -> None:
    found = find(told)
    assert found.journeys == {"order": 23}
    rows = [(gap.source, gap.milestone, gap.missing, gap.expected) for gap in found.gaps]
    # of 21 neither validation nor confirmation was told, of 22 no validation
    assert rows == [
        ("/wms/north", "packed", 2, 11),
        ("/shop", "validated", 2, 23),
        ("/odoo", "confirmed", 1, 23),
        ("/wms/north", "picked", 1, 11),
    ]
    packed = next(gap for gap in found.gaps if gap.milestone == "packed")
    assert [one.key for one in packed.examples] == ["S4", "S2"]
    assert round(packed.share, 3) == 0.182
    # every picking that was picked must have been released, and nobody ever told: no gap of single orders
    assert found.untold == [("order", "released")]


def test_the_catalog_says_whose_gap_it_is_and_what_is_none(told: sa.Engine) -> None:
    texts = loader.default_texts()
    journeys = texts["journeys.yaml"]
    journeys = journeys.replace("events: [order.confirmed]}", "events: [order.confirmed], source: /crm}", 1)
    journeys = journeys.replace("events: [order.validated]}", "events: [order.validated], optional: true}", 1)
    found = find(told, loader.load({**texts, "journeys.yaml": journeys}))
    assert ("/crm", "confirmed", 1) in [(gap.source, gap.milestone, gap.missing) for gap in found.gaps]
    assert all(gap.milestone != "validated" for gap in found.gaps)


def test_the_newest_are_looked_at_where_there_are_too_many(told: sa.Engine) -> None:
    found = find(told, newest=4)
    assert found.journeys == {"order": 4}
    assert {gap.milestone for gap in found.gaps} == {"validated", "confirmed"}
