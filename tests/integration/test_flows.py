"""Silence, rate and backlog through the real chain: what is measured, when it is a breach, and when it is over."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from dashboards.queries import flows as listed
from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import to_us
from milepost.db import tables as t
from milepost.inbox import heard
from sla.flow import job, learn
from tests.chain import Chain, Wire, entry

NOW = datetime(2026, 11, 18, 10, 0, tzinfo=UTC)  # a Wednesday
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
NORTH = "/wms/north"
HOURS = '{zone: UTC, weekly: {wed: [["08:00", "17:00"]], thu: [["08:00", "17:00"]]}}'


def catalog_of(tag: str, *policies: str) -> Catalog:
    listed = "".join(f"  - {{{policy}}}\n" for policy in policies).replace("TAG", tag) or "  []\n"
    texts = {**loader.default_texts(), "slas.yaml": f"policies:\n{listed}"}
    return loader.load({**texts, "calendars.yaml": f"calendars: {{office: {HOURS}}}\n"})


class Site:
    """A chain, and the flows of a catalog looked at minute by minute. What is told is received when it happens.

    Each has sources and keys of its own: TAG in policies, and left out of what is answered.
    """

    tags = itertools.count()

    def __init__(self, engine: sa.Engine, *policies: str) -> None:
        self.engine = engine
        self.now = NOW
        self.tag = f"t{next(self.tags)}"
        self.catalog = catalog_of(self.tag, *policies)
        self.chain = Chain(engine, catalog=self.catalog)
        self.told = 0

    def tell(self, kind: str, source: str = NORTH, outcome: str = "ok", keys: Any = None, **attributes: Any) -> None:
        self.chain.append([self.wire(kind, source, outcome, keys, attributes)])
        self.chain.settle()

    def wire(self, kind: str, source: str, outcome: str, keys: Any, attributes: Any) -> Any:
        self.told += 1
        subject = kind.partition(".")[0]
        data = {"keys": keys or {subject: f"{self.tag}-{self.told}"}, "outcome": outcome, "attributes": attributes}
        event: Wire = {
            "specversion": "1.0",
            "id": f"e{self.told}",
            "source": self.tag + source,
            "type": kind,
            "data": data,
        }
        return entry({**event, "source": self.tag + source, "time": self.now.isoformat()}, to_us(self.now))

    def look(self, after: timedelta = timedelta(0), through: datetime | None = None) -> list[tuple[Any, ...]]:
        """The signals of a look that comes later: (action, policy, group or why)."""
        self.now += after
        last = self.one(sa.select(sa.func.coalesce(sa.func.max(t.signals.c.signal_id), 0)))
        job.judge_once(self.engine, self.catalog, now=self.now, applied_through=through or self.now)
        s = t.signals.c
        mine = s.signal_id > last, s.rule.startswith(f"{self.tag}-")
        query = sa.select(s.action, s.rule, s.group, s.body).where(*mine).order_by(s.signal_id)
        return [(row.action, self.name(row.rule), self.plain(row.group) or row.body["why"]) for row in self.rows(query)]

    def name(self, text: str) -> str:
        return text.removeprefix(self.tag).removeprefix("-")

    def plain(self, labels: dict[str, str]) -> dict[str, str]:
        return {name: self.name(value) for name, value in labels.items()}

    def watch(self, minutes: int) -> list[tuple[Any, ...]]:
        """A look each minute."""
        return [signal for _ in range(minutes) for signal in self.look(MINUTE)]

    def rows(self, query: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(query))

    def one(self, query: Any) -> Any:
        return self.rows(query)[0][0]

    def breaches(self) -> list[Any]:
        b = t.flow_breaches.c
        return self.rows(sa.select(t.flow_breaches).where(b.item.contains(self.tag)).order_by(b.breach_id))


# --- silence ----------------------------------------------------------------------------------------------------------

QUIET = "name: TAG-quiet, kind: silence, within: 30m, owner: it desk, sources: [TAG*]"
DARK = ("raise", "quiet", {"source": NORTH})
SPEAKS = ("clear", "quiet", "it speaks again")


def test_a_source_that_stops_is_silent_until_it_speaks_again(shared: sa.Engine) -> None:
    site = Site(shared, QUIET)
    site.tell("picking.released")
    site.tell("order.confirmed", source="odoo")
    assert site.look(29 * MINUTE + timedelta(seconds=59)) == []
    site.tell("order.confirmed", source="odoo")
    assert site.look(timedelta(seconds=1)) == [DARK]
    assert site.look(5 * MINUTE) == []
    site.tell("picking.packed")
    assert site.look(MINUTE) == [SPEAKS]
    (row,) = site.breaches()
    assert (row.kind, row.since, row.judged_at, row.end) == (
        "silence", NOW + 30 * MINUTE, NOW + 30 * MINUTE, "it speaks again",
    )  # fmt: skip
    assert row.policy_version == site.catalog.policy_versions[f"{site.tag}-quiet"]
    assert row.measured["heard_at"] == NOW.isoformat()
    assert (
        row.measured["says"]
        .removeprefix(site.tag)
        .startswith("/wms/north is silent since Wed 18 Nov 10:00 UTC (30 min)")
    )
    assert row.measured["end"]["heard_at"] == (NOW + 35 * MINUTE).isoformat()
    with shared.connect() as connection:
        (shown,) = listed.list_page(connection, policy=row.policy, kind="silence").items
        assert listed.list_page(connection, policy=row.policy, only_open=True).items == []
    assert (shown.breach_id, site.plain(shown.labels), shown.alert_id) == (row.breach_id, {"source": NORTH}, None)


def test_nobody_is_silent_while_milepost_is_behind(shared: sa.Engine) -> None:
    site = Site(shared, QUIET)
    site.tell("picking.released")
    site.look()
    assert site.look(2 * HOUR, through=NOW + 10 * MINUTE) == []
    assert site.look(MINUTE, through=NOW + 31 * MINUTE) == [DARK]


def test_nights_and_holidays_are_no_silence(shared: sa.Engine) -> None:
    site = Site(shared, f"{QUIET}, calendar: office")
    site.look(6 * HOUR + 50 * MINUTE)  # 16:50
    site.tell("picking.released")
    assert site.look(15 * HOUR) == []  # Thursday, 07:50
    assert site.look(29 * MINUTE) == []
    assert site.look(MINUTE) == [DARK]  # ten minutes yesterday, twenty today


def test_history_does_not_bring_a_silent_source_to_life_but_a_repeat_does(shared: sa.Engine) -> None:
    site = Site(shared, QUIET)
    site.tell("picking.released")
    again = site.wire("picking.packed", NORTH, "ok", None, {})
    site.chain.append([again])
    site.chain.settle()
    site.look(20 * MINUTE)
    old = site.wire("picking.packed", NORTH, "ok", None, {})
    body = old.body.replace(site.now.isoformat().encode(), (NOW - timedelta(days=3)).isoformat().encode())
    site.chain.append([type(old)(old.identity, old.content, old.received_us, body)])
    site.chain.settle()
    assert site.look(11 * MINUTE) == [DARK]
    site.chain.append([type(again)(again.identity, again.content, to_us(site.now), again.body)])
    site.chain.settle()
    assert site.look(MINUTE) == [SPEAKS]


def test_a_source_that_is_named_must_begin_to_speak(shared: sa.Engine) -> None:
    site = Site(shared, f"name: TAG-quiet, kind: silence, within: 30m, sources: [TAG{NORTH}]")
    assert site.look() == []
    assert site.look(29 * MINUTE) == []
    assert site.look(MINUTE) == [DARK]


def test_what_counts_as_speaking_can_be_narrowed(shared: sa.Engine) -> None:
    site = Site(
        shared,
        "name: TAG-quiet, kind: silence, within: 30m, sources: [TAG/wms/*], events: [picking.*],"
        " match: {warehouse: [north, south]}, group_by: [warehouse]",
    )
    site.tell("picking.released", "/wms/both", warehouse="north")
    site.tell("picking.released", "/wms/both", warehouse="south")
    site.look()
    found = []
    for _ in range(4):
        site.tell("picking.packed", "/wms/both", warehouse="north")
        site.tell("stock.adjusted", "/wms/both", warehouse="south")
        found += site.look(9 * MINUTE)
    assert found == [("raise", "quiet", {"warehouse": "south"})]
    site.tell("picking.packed", "/wms/both", warehouse="south")
    assert site.look(MINUTE) == [("clear", "quiet", "it speaks again")]


def test_a_policy_that_is_gone_takes_its_breach_with_it(shared: sa.Engine) -> None:
    site = Site(shared, QUIET)
    site.tell("picking.released")
    assert site.look(HOUR) == [DARK]
    site.catalog = catalog_of(site.tag)
    assert site.look(MINUTE) == [("clear", "quiet", "withdrawn")]
    assert [row.policy for row in site.rows(sa.select(t.flow_states)) if row.policy.startswith(site.tag)] == []


def test_what_is_usual_is_learnt_from_history(shared: sa.Engine) -> None:
    site = Site(shared, "name: TAG-quiet, kind: silence, within: auto, sources: [TAG*]")
    every = sa.func.generate_series(NOW - timedelta(days=20), NOW, timedelta(minutes=10)).alias("every")
    columns = [t.source_minutes.c[name] for name in ("events", "duplicates", "conflicts", "lag_us_sum", "lag_us_max")]
    spoken = sa.select(sa.literal(site.tag + NORTH), every.column, *(sa.literal(number) for number in (3, 0, 0, 5, 5)))
    stats = dict.fromkeys(("events", "duplicates", "conflicts", "skewed"), 0)
    times = {"first_received_at": NOW - timedelta(days=20), "last_received_at": NOW, "last_occurred_at": NOW}
    with site.engine.begin() as connection:
        names = ["source", "minute", *(column.name for column in columns)]
        connection.execute(sa.insert(t.source_minutes).from_select(names, spoken))
        connection.execute(sa.insert(t.source_stats).values(source=site.tag + NORTH, **stats, **times))
        learner = learn.Learner()
        looks = [learner.step(connection, site.catalog, NOW + minute * MINUTE) for minute in range(-9, 1)]
        assert looks == [minute in (0, 1, 3, 7) for minute in range(10)]
        assert heard.usual_gaps(connection, NOW, [site.tag + NORTH]) == {site.tag + NORTH: 10 * MINUTE}
    site.look()
    assert site.look(29 * MINUTE) == []
    assert site.look(MINUTE) == [DARK]  # three times as long


# --- rate -------------------------------------------------------------------------------------------------------------

REJECTED = "name: TAG-rejections, kind: rate, sources: [TAG*], limit: 0.2, window: 30m, at_least: 10, for: 5m"


def test_a_share_above_its_limit_for_long_enough_is_a_breach_that_does_not_flap(shared: sa.Engine) -> None:
    site = Site(shared, REJECTED)
    site.look()
    for _ in range(10):
        site.tell("order.validated", source="odoo")
    assert site.watch(2) == []
    for _ in range(3):
        site.tell("order.validated", source="odoo", outcome="rejected")  # 3 of 13
    assert site.watch(5) == []
    assert site.watch(1) == [("raise", "rejections", {"source": "odoo"})]
    for _ in range(4):
        site.tell("order.validated", source="odoo")  # 3 of 17: below the limit, above what ends it
    assert site.watch(2) == []
    for _ in range(2):
        site.tell("order.validated", source="odoo")  # 3 of 19
    assert site.watch(1) == [("clear", "rejections", "below the limit again")]
    (row,) = site.breaches()
    assert (row.measured["events"], row.measured["bad"]) == (13, 3)
    assert row.measured["end"]["events"] == 19


def test_few_events_tell_nothing_and_old_ones_leave_the_window(shared: sa.Engine) -> None:
    site = Site(
        shared,
        "name: TAG-rejections, kind: rate, sources: [TAG*], limit: 0.2, window: 30m, at_least: 10,"
        " failures: [message.failed]",
    )
    site.look()
    for _ in range(9):
        site.tell("message.failed", source="esb", keys={"order": "S1"})
    assert site.watch(1) == []
    site.tell("message.delivered", source="esb", keys={"order": "S1"})
    assert site.watch(1) == [("raise", "rejections", {"source": "esb"})]
    assert site.watch(28) == []
    assert site.watch(2) == [("clear", "rejections", "below the limit again")]
    assert site.watch(2) == []
    items = [row.item for row in site.rows(sa.select(t.flow_states))]
    assert items == ["", f'{{"source":"{site.tag}esb"}}']


# --- backlog ----------------------------------------------------------------------------------------------------------


def test_a_backlog_is_what_is_open_in_a_stage_for_long_enough_by_group(shared: sa.Engine) -> None:
    site = Site(
        shared,
        "name: TAG-waiting, kind: backlog, model: order, stages: [confirmed], older_than: 1h, limit: 2, until: 1,"
        " match: {channel: [TAG]},"
        " group_by: [warehouse]",
        "name: TAG-worth, kind: backlog, model: order, stages: [confirmed], measure: money, limit: 250,"
        " match: {channel: [TAG]}",
    )
    for number, warehouse in enumerate(["north"] * 3 + ["south"] * 2):
        told = {"warehouse": warehouse, "amount": "100", "currency": "EUR", "channel": site.tag}
        site.tell("order.confirmed", "odoo", keys={"order": f"{site.tag}-{number}"}, **told)
    assert site.look() == [("raise", "worth", "")]
    assert site.look(59 * MINUTE) == []
    assert site.look(MINUTE) == [("raise", "waiting", {"warehouse": "north"})]
    signal = site.rows(sa.select(t.signals.c.body).order_by(t.signals.c.signal_id.desc()))[0][0]
    assert signal["summary"] == "warehouse north: 3 order journeys wait in confirmed for more than 1h (limit 2)"
    assert (signal["amount"], signal["currency"]) == ("300.0000", "EUR")
    site.tell("order.cancelled", "odoo", keys={"order": f"{site.tag}-0"})
    assert site.look(MINUTE) == []
    site.tell("order.cancelled", "odoo", keys={"order": f"{site.tag}-1"})
    assert site.look(timedelta(seconds=59)) == []  # a backlog is counted once a minute
    assert site.look(MINUTE) == [("clear", "waiting", "below the limit again")]
