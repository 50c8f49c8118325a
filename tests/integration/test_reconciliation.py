"""Reconciliations against a count in Python, through the real chain: what is missing, what differs, what is told."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import structs

from milepost.catalog import loader
from milepost.catalog.schema import Catalog, Duration
from milepost.clock import to_us
from milepost.db import tables as t
from milepost.db.engine import transaction_lock
from milepost.errors import Conflict, NotFound
from sla.reconciliation import job, store
from sla.reconciliation.result import Result
from tests.chain import Chain, Wire, entry

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

    def tell(self, *wires: Wire) -> None:
        self.chain.append([entry(wire, to_us(datetime.fromisoformat(wire["time"]))) for wire in wires])
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


def test_what_is_not_known_yet_is_not_judged(site: Site) -> None:
    """Neither what lies in a queue, nor what a dark feed could not tell."""
    long_ago = NOW - 30 * HOUR
    site.tell(received(1, long_ago), taken(1, long_ago), received(2, NOW - 5 * HOUR), received(3, NOW - 20 * HOUR))
    assert not site.run(through=NOW - 19 * HOUR).opened  # the log holds events that old
    waits = site.run()  # the ERP has been silent since `long_ago`, and is waited for a day
    assert waits.waits == f"ERP has told of nothing since {long_ago:%Y-%m-%d %H:%M:%SZ}"
    assert not waits.opened
    assert len(site.run(now=NOW + 7 * HOUR).opened) == 1  # patience is at an end for order 3
    site.tell(taken(9, NOW + 7 * HOUR))
    speaks = site.run(now=NOW + 7 * HOUR)
    assert speaks.waits is None
    assert len(speaks.opened) == 1


def test_evidence_from_before_the_window_counts(site: Site) -> None:
    """The ERP knew it a week before the channel told of it."""
    site.tell(taken(1, NOW - 200 * HOUR))
    site.tell(received(1, NOW - 10 * HOUR), received(2, NOW - 10 * HOUR), taken(3, NOW))
    found = site.run()
    assert [(day.left, day.right, day.only_left) for day, _ in found.days] == [(2, 1, 1)]


def test_what_is_excused_counts_for_nothing(site: Site) -> None:
    keys = {"channel_order": "C1"}
    site.tell(received(1, NOW - 9 * HOUR), received(2, NOW - 9 * HOUR), taken(3, NOW))
    site.tell(event("order.cancelled", "/shop/one", NOW - HOUR, keys))
    found = site.run()
    assert [(day.left, day.excused, day.units) for day, _ in found.days] == [(1, 1, 1)]
    site.tell(event("order.cancelled", "/shop/one", NOW, {"channel_order": "C2"}))
    assert [change.why for change in site.run().closed] == ["excused"]


def test_one_that_was_found_again_is_told_again(site: Site) -> None:
    """An order that moves to another journey and back: each time is an event of its own."""
    site.tell(received(1, NOW - 9 * HOUR), taken(2, NOW))
    assert len(site.run().opened) == 1
    other = catalog_of(ORDERS.replace("lookback: 3d", "lookback: 2d").replace("/shop/*", "/nobody"))
    found = job.run(site.engine, other, "orders", now=NOW, through=NOW)
    assert [change.why for change in found.closed] == ["withdrawn"]
    assert [change.occurrence for change in site.run().opened] == [2]
    assert site.told()["reconciliation.missing", "missing_right"] == 2


def test_a_journey_knows_of_it(site: Site) -> None:
    """It opens an exception, and a promise could run on it."""
    site.tell(received(1, NOW - 9 * HOUR), taken(2, NOW))
    site.run()
    o, m, j = t.objects.c, t.members.c, t.journeys.c
    query = (
        sa.select(j.key, o.key)
        .join(t.members, m.object_id == o.object_id)
        .join(t.journeys, j.journey_id == m.journey_id)
        .where(j.model == "order")
    )
    assert site.rows(query.where(o.type == "reconciliation")) == [("C1", "orders/channel_order C1")]
    site.tell(taken(1, NOW))
    site.run()
    assert site.rows(query.where(o.type == "reconciliation")) == [("S1", "orders/channel_order C1")]


AMOUNTS = """
  amounts:
    compare: amount
    match: journey
    model: order
    left: {title: Order, sources: [erp], events: [order.acknowledged]}
    right: {title: Invoices, events: [invoice.posted]}
    settle: 1h
    lookback: 2d
    tolerance: {percent: 1, amount: {EUR: "0.50"}}
"""


def test_amounts_of_partial_invoices_are_summed_and_compared(engine: sa.Engine) -> None:
    site = Site(engine, AMOUNTS)

    def invoice(number: int, part: int, at: datetime, amount: str, currency: str = "EUR") -> Wire:
        keys = {"order": f"S{number}", "invoice": f"I{number}-{part}"}
        return event("invoice.posted", "erp", at, keys, amount=amount, currency=currency)

    orders = [taken(number, NOW - 30 * HOUR, "100.00") for number in range(1, 7)]
    site.tell(*orders)
    site.tell(
        invoice(1, 1, NOW - 60 * HOUR, "60"),  # paid in advance: before the window
        invoice(1, 2, NOW - 20 * HOUR, "40.00"),
        invoice(2, 1, NOW - 20 * HOUR, "99.10"),  # within one percent
        invoice(3, 1, NOW - 20 * HOUR, "98.00"),
        invoice(4, 1, NOW - 20 * HOUR, "100.00", "USD"),
        invoice(5, 1, NOW - 20 * HOUR, "a lot"),  # no amount: nothing to compare
    )
    found = site.run("amounts")
    keys = {name.key for name in store_names(engine, found)}
    assert keys == {"S3", "S4"}
    (day, why) = found.days[0]
    assert (day.left, day.right, day.differing) == (6, 5, 2)
    assert why == "2 with another amount of 6 (33.3%)"
    site.tell(invoice(3, 2, NOW, "2.00"))
    closed = site.run("amounts").closed
    assert [(change.why, change.left_amount) for change in closed] == [("matched", Decimal("100.0000"))]
    assert site.told() == {
        ("reconciliation.differs", "amount"): 2,
        ("reconciliation.agrees", "matched"): 1,
    }


def store_names(engine: sa.Engine, found: Result) -> list[Any]:
    with engine.connect() as connection:
        return list(store.names_of(connection, [change.object_id for change in found.opened]).values())


DAYS = """
  days:
    compare: count
    left: {title: WMS, sources: [/wms], events: [picking.packed]}
    right: {title: ERP, sources: [erp], events: [picking.done]}
    zone: Europe/Berlin
    settle: 1h
    lookback: 3d
    patience: 2d
    tolerance: {share: 0.1}
"""


def test_totals_are_judged_of_days_that_are_over(engine: sa.Engine) -> None:
    site = Site(engine, DAYS)
    night = datetime(2026, 9, 15, 22, 30, tzinfo=UTC)  # half past midnight in Berlin: the 16th
    site.tell(
        *(event("picking.packed", "/wms", NOW - 30 * HOUR, {"picking": f"P{number}"}) for number in range(20)),
        *(event("picking.done", "erp", NOW - 29 * HOUR, {"picking": f"P{number}"}) for number in range(17)),
        event("picking.packed", "/wms", night, {"picking": "P99"}),
        event("picking.packed", "/wms", NOW, {"picking": "P98"}),
        event("picking.done", "erp", NOW, {"picking": "P97"}),
    )
    found = site.run("days")
    assert [(day.day, day.left, day.right, day.judged) for day, _ in found.days] == [
        (date(2026, 9, 15), 20, 17, True),
        (date(2026, 9, 16), 1, 0, False),
    ]
    assert [why for _, why in found.over] == ["20 and 17, 15.0% apart"]
    assert site.told() == {("reconciliation.differs", "count"): 1}
    site.tell(*(event("picking.done", "erp", NOW - 29 * HOUR, {"picking": f"P{number}"}) for number in (17, 18)))
    assert not site.run("days").over
    assert site.told()["reconciliation.agrees", "count"] == 1
    assert site.signals() == [("raise", "reconciliation", "days"), ("clear", "reconciliation", "days")]


# --- against a count in Python ----------------------------------------------------------------------------------------


BOTH = """
  orders:
    match: journey
    model: order
    left: {title: Shop, sources: ["/shop/*"], events: [order.received]}
    right: {title: ERP, sources: [erp], events: [order.acknowledged]}
    both_ways: true
    settle: 3h
    lookback: 2d
    patience: 9d
  pickings:
    left: {title: WMS, sources: ["/wms/*"], not_sources: [/wms/test], events: [picking.packed, picking.picked]}
    right: {title: ERP, sources: [erp], events: [picking.done]}
    settle: 3h
    lookback: 2d
    patience: 9d
"""


@pytest.mark.parametrize("seed", range(2))
def test_it_counts_what_python_counts(engine: sa.Engine, seed: int) -> None:
    """Random orders and pickings, told out of order, late and twice, over several runs."""
    site, rng = Site(engine, BOTH), random.Random(seed)
    said: list[tuple[datetime, str, str, Wire]] = []
    for number in range(60):
        for side, make in (("shop", received), ("erp", taken)):
            if rng.random() < 0.8:
                at = NOW - timedelta(minutes=rng.randrange(1, 96 * 60))
                said.append((at, side, f"C{number}", make(number, at)))
        for kind, source in (("picking.packed", "/wms/a"), ("picking.picked", "/wms/test"), ("picking.done", "erp")):
            if rng.random() < 0.7:
                at = NOW - timedelta(minutes=rng.randrange(1, 96 * 60))
                said.append((at, f"{kind} {source}", f"P{number}", event(kind, source, at, {"picking": f"P{number}"})))
    rng.shuffle(said)
    told: list[tuple[datetime, str, str]] = []
    open_now: dict[str, set[str]] = {"orders": set(), "pickings": set()}
    for part in range(3):
        some = said[part * len(said) // 3 : (part + 1) * len(said) // 3]
        heard = [max(at, NOW - 24 * HOUR) if rng.random() < 0.2 else at for at, *_ in some]
        twice = [*zip(some, heard, strict=True), *zip(some[:5], heard, strict=False)]
        site.chain.append([entry(wire, to_us(at)) for (*_, wire), at in twice])
        site.chain.settle()
        told += [(at, side, key) for at, side, key, _ in some]
        site.tell(taken(10_000 + part, NOW), received(20_000 + part, NOW))  # nobody is waited for
        for name, left, right, both in (
            ("orders", "shop", "erp", True),
            ("pickings", "picking.packed /wms/a", "picking.done erp", False),
        ):
            result = site.run(name)
            days, missing, both_known = expected(told, left, right, both)
            assert {day.day: (day.left, day.right, day.only_left, day.only_right) for day, _ in result.days} == days
            open_now[name] = (open_now[name] - both_known) | missing
            assert still_open(site, name) == open_now[name]


def expected(
    told: list[tuple[datetime, str, str]], left: str, right: str, both: bool
) -> tuple[dict[date, tuple[int, int, int, int]], set[str], set[str]]:
    """(left, right, only left, only right) by day; what lacks something; what both sides know."""
    since = (NOW - 3 * HOUR - timedelta(days=2)).replace(hour=0, minute=0)
    first: dict[tuple[str, str], datetime] = {}
    known = {side: {key for _, one, key in told if one == side} for side in (left, right)}
    for at, side, key in told:
        if side in (left, right) and since <= at < NOW - 3 * HOUR:
            first[side, key] = min(at, first.get((side, key), at))
    days: dict[date, list[int]] = {}
    missing = set()
    for key in {key for side, key in first if both or side == left}:
        at = first.get((left, key)) or first[right, key]
        row = days.setdefault(at.date(), [0, 0, 0, 0])
        row[0] += key in known[left]
        row[1] += key in known[right]
        row[2] += (left, key) in first and key not in known[right]
        row[3] += both and (right, key) in first and key not in known[left]
        if key not in known[left] or key not in known[right]:
            missing.add(key)
    return {day: tuple(row) for day, row in days.items()}, missing, known[left] & known[right]  # type: ignore[misc]


def still_open(site: Site, name: str) -> set[str]:
    """Keys of what is open: of an order, that of the channel."""
    d, o = t.discrepancies.c, t.objects.c
    query = sa.select(o.key).join(t.discrepancies, d.object_id == o.object_id)
    return {key.replace("S", "C") for (key,) in site.rows(query.where(d.name == name, d.gone_at.is_(None)))}


# --- the scheduler's step ---------------------------------------------------------------------------------------------


def test_what_is_due_runs_once_and_what_fails_is_told(site: Site) -> None:
    site.tell(received(1, NOW - 9 * HOUR), taken(2, NOW))
    assert job.run_due(site.engine, site.catalog, now=NOW, through=NOW) == 1
    assert job.run_due(site.engine, site.catalog, now=NOW + HOUR / 2, through=NOW) == 0
    broken = catalog_of(ORDERS.replace("settle: 2h", "settle: 2h\n    timeout: 0.001s"))
    assert job.run_due(site.engine, broken, now=NOW + HOUR, through=NOW) == 1
    assert site.signals()[-1] == ("raise", "platform", "reconciliation-failed")
    r = t.reconciliation_runs.c
    (note,) = site.rows(sa.select(r.note).where(r.until.is_(None)))[0]
    assert "timeout" in note
    assert job.run_due(site.engine, site.catalog, now=NOW + 2 * HOUR, through=NOW) == 1
    assert ("clear", "platform", "reconciliation-failed") in site.signals()
    none = catalog_of("  {}")
    job.run_due(site.engine, none, now=NOW + 3 * HOUR, through=NOW)
    assert site.rows(sa.select(t.discrepancies.c.why)) == [("withdrawn",)]


def test_a_clock_that_was_ahead_once_puts_no_run_off(site: Site) -> None:
    ran = [
        job.run_due(site.engine, site.catalog, now=now, through=NOW)
        for now in (NOW + 24 * HOUR, NOW, NOW + HOUR / 2, NOW + HOUR)
    ]
    assert ran == [1, 1, 0, 1]


def test_one_beyond_all_times_keeps_no_other_from_running(site: Site) -> None:
    good = site.catalog.reconciliations["orders"]
    lookback = Duration("1d")
    lookback.us = 2**62
    both = {"bad": structs.replace(good, lookback=lookback), "orders": good}
    assert job.run_due(site.engine, structs.replace(site.catalog, reconciliations=both), now=NOW, through=NOW) == 2
    r = t.reconciliation_runs.c
    assert site.rows(sa.select(r.name, r.until.is_(None)).order_by(r.name)) == [("bad", True), ("orders", False)]


@pytest.mark.parametrize(
    ("first", "last", "compared"),
    [
        (date.max, date.max, (date(2101, 1, 2), date(2101, 1, 2))),
        (date.min, date(1, 1, 2), (date(1989, 12, 31), date(1990, 1, 1))),
        (None, date.min, (date(1989, 12, 29), date(1990, 1, 1))),
    ],
)
def test_days_beyond_all_events_have_nothing_to_compare(
    site: Site, first: date | None, last: date | None, compared: tuple[date, date]
) -> None:
    found = job.run(site.engine, site.catalog, "orders", now=NOW, through=NOW, days=(first, last))
    assert (found.window.since.date(), found.window.until.date()) == compared
    assert found.days == []


def test_two_runs_of_one_never_overlap(site: Site) -> None:
    with site.engine.begin() as connection:
        assert transaction_lock(connection, "reconcile orders")
        with pytest.raises(Conflict, match="run already"):
            site.run()
    with pytest.raises(NotFound, match="there are orders"):
        site.run("nothing")


def test_days_of_ones_own_choice_are_history_for_the_alert(site: Site) -> None:
    site.tell(received(1, NOW - 24 * 10 * HOUR), taken(2, NOW))
    asked = (date(2026, 9, 1), date(2026, 9, 10))
    found = site.run(days=asked)
    assert len(found.opened) == 1
    assert len(found.over) == 1
    assert site.signals() == []
    assert not site.run(days=asked).opened


def test_what_is_too_old_is_forgotten_and_what_is_open_stays(site: Site) -> None:
    site.tell(received(1, NOW - 9 * HOUR), received(2, NOW - 9 * HOUR), taken(3, NOW))
    site.run()
    site.tell(taken(2, NOW))
    site.run()
    with site.engine.begin() as connection:
        assert store.drop_before(connection, NOW + timedelta(days=2)) == 4  # two runs, a day, and what is gone
    assert still_open(site, "orders") == {"C1"}
