"""Reconciliations against a count in Python, through the real chain: what is missing, what differs, and what is told."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import to_us
from milepost.db import tables as t
from milepost.errors import Conflict, NotFound
from sla.reconciliation import job
from sla.reconciliation.result import Result
from tests.chain import Chain, Wire

NOW = datetime(2026, 9, 16, 15, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
ORDERS = """
  orders:
    title: Orders are in the ERP
    match: journey
    model: order
    left: {title: Shop, sources: ["/shop/*"], events: [order.received]}
    right: {title: ERP, sources: [erp], events: [order.acknowledged]}
    unless: [order.cancelled]
    settle: 2h
    lookback: 3d
    patience: 1d
"""


def catalog_of(text: str) -> Catalog:
    return loader.load({**loader.default_texts(), "reconciliations.yaml": f"reconciliations:\n{text}"})


def event(kind: str, source: str, at: datetime, keys: dict[str, Any], **attributes: Any) -> Wire:
    name = f"{kind}-{source}-{sorted(keys.items())}-{at.isoformat()}"
    data = {"keys": keys, "attributes": attributes}
    return {"specversion": "1.0", "id": name, "source": source, "type": kind, "time": at.isoformat(), "data": data}


def received(number: int, at: datetime, amount: str = "10.00") -> Wire:
    return event("order.received", "/shop/one", at, {"channel_order": f"C{number}"}, amount=amount, currency="EUR")


def taken(number: int, at: datetime, amount: str = "10.00") -> Wire:
    keys = {"order": f"S{number}", "channel_order": f"C{number}"}
    return event("order.acknowledged", "erp", at, keys, amount=amount, currency="EUR")


class Site:
    """A chain with the reconciliations of a catalog. `tell` sends events that arrive when they happen."""

    def __init__(self, engine: sa.Engine, text: str = ORDERS) -> None:
        self.engine = engine
        self.catalog = catalog_of(text)
        self.chain = Chain(engine, catalog=self.catalog)

    def tell(self, *wires: Wire, late: timedelta = timedelta(0)) -> None:
        for wire in wires:
            at = datetime.fromisoformat(wire["time"]) + late
            self.chain.send(wire, received_us=to_us(at))
        self.chain.settle()

    def run(self, name: str = "orders", now: datetime = NOW, **more: Any) -> Result:
        found = job.run(self.engine, self.catalog, name, now=now, through=more.pop("through", now), **more)
        self.chain.settle()  # its own events
        return found

    def rows(self, statement: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(statement).all())

    def told(self) -> Counter[tuple[str, str]]:
        """Events of its own: (type, code)."""
        e = t.events.c
        return Counter(
            (kind, code)
            for kind, code in self.rows(sa.select(e.type, e.code).where(e.source == "/milepost/reconciliation"))
        )

    def signals(self) -> list[tuple[str, str, str]]:
        s = t.signals.c
        return [tuple(row) for row in self.rows(sa.select(s.action, s.kind, s.rule).order_by(s.signal_id))]


@pytest.fixture
def site(engine: sa.Engine) -> Site:
    return Site(engine)


def test_what_one_side_lacks_is_found_told_once_and_ended(site: Site) -> None:
    yesterday = NOW - 24 * HOUR
    site.tell(received(1, yesterday), taken(1, yesterday + HOUR), received(2, yesterday, "25.50"))
    site.tell(received(3, NOW - HOUR))  # too young to be missing
    site.tell(taken(4, NOW - HOUR / 60))  # the ERP speaks
    found = site.run()
    assert [(day.left, day.right, day.only_left, day.units) for day, _ in found.days] == [(2, 1, 1, 2)]
    (day, why) = found.days[0]
    assert why == "1 missing in ERP of 2 (50.0%)"
    assert day.amounts == {"EUR": (Decimal("35.5000"), Decimal("10.0000"))}
    assert len(found.opened) == 1
    assert site.told() == {("reconciliation.missing", "missing_right"): 1}
    assert site.signals()[0] == ("raise", "reconciliation", "orders")
    again = site.run()
    assert not again.opened
    assert not again.closed
    assert site.told() == {("reconciliation.missing", "missing_right"): 1}
    site.tell(taken(2, NOW + HOUR))
    after = site.run(now=NOW + 1.5 * HOUR)
    assert [change.why for change in after.closed] == ["matched"]
    assert site.told()["reconciliation.matched", "matched"] == 1
    assert site.signals() == [("raise", "reconciliation", "orders"), ("clear", "reconciliation", "orders")]
