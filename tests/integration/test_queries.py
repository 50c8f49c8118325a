"""The reading side's SQL: pages without gaps, filters that mean what they say, and indexes that serve the hot ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from dashboards.queries import (
    alerts,
    anomalies,
    exceptions,
    gaps,
    journey,
    journeys,
    objectives,
    overview,
    quarantine,
    search,
    sources,
)
from dashboards.queries.journeys import Filter
from milepost.catalog import loader
from milepost.db import tables as t
from milepost.db.engine import make_engine
from milepost.errors import Permanent
from sla.attained import count_hours
from tests.databases import Databases
from tests.seed import seed

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
CATALOG = loader.load(loader.default_texts())
KINDS = list(CATALOG.models)


@pytest.fixture(scope="module")
def seeded(databases: Databases) -> Iterator[sa.Engine]:
    with databases.fresh() as url:
        engine = make_engine(url, application_name="test queries")
        with engine.begin() as connection:
            seed(connection, NOW)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("ANALYZE"))
        yield engine
        engine.dispose()


@pytest.fixture
def connection(seeded: sa.Engine) -> Iterator[sa.Connection]:
    with seeded.connect() as made:
        yield made


def walk(connection: sa.Connection, wanted: Filter, sort: str, limit: int = 17) -> list[list[journeys.Row]]:
    """All pages, forwards."""
    pages, cursor = [], None
    while True:
        page = journeys.list_page(connection, wanted, kinds=KINDS, sort=sort, limit=limit, cursor=cursor)
        pages.append(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return pages


def plan(connection: sa.Connection, statement: sa.Select[Any]) -> str:
    """How PostgreSQL would do it where a full scan is out of the question, as it is at a million rows."""
    text = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})  # type: ignore[no-untyped-call]
    connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
    connection.execute(sa.text("SET LOCAL enable_bitmapscan = off"))
    rows = connection.exec_driver_sql("EXPLAIN " + str(text).replace("%", "%%"))
    return "\n".join(row[0] for row in rows)


@pytest.mark.parametrize("sort", journeys.ORDERS)
@pytest.mark.parametrize("health", [None, *journeys.HEALTHS])
def test_pages_hold_every_journey_once_and_in_order(connection: sa.Connection, sort: str, health: Any) -> None:
    pages = walk(connection, Filter(health=health), sort)
    found = [row for page in pages for row in page]
    assert len({row.journey_id for row in found}) == len(found) > 0
    value = {"quiet": "last_at", "due": "next_at"}.get(sort, sort)
    values = [getattr(row, value) for row in found]
    assert values == sorted(values, reverse=sort not in ("quiet", "due"))
    if health:
        assert {row.health for row in found} == ({"at_risk", "breached"} if health == "off_track" else {health})


@pytest.mark.parametrize("sort", journeys.ORDERS)
def test_a_page_leads_back_to_the_one_before(connection: sa.Connection, sort: str) -> None:
    first = journeys.list_page(connection, Filter(), kinds=KINDS, sort=sort, limit=20)
    second = journeys.list_page(connection, Filter(), kinds=KINDS, sort=sort, limit=20, cursor=first.next_cursor)
    back = journeys.list_page(
        connection, Filter(), kinds=KINDS, sort=sort, limit=20, cursor=second.previous_cursor, backwards=True
    )
    assert back.items == first.items
    assert first.previous_cursor is None
    assert back.previous_cursor is None
    assert back.next_cursor == first.next_cursor


def test_all_sorts_show_the_same_open_journeys(connection: sa.Connection) -> None:
    by_activity = {row.journey_id for page in walk(connection, Filter(), "last_at") for row in page}
    by_start = {row.journey_id for page in walk(connection, Filter(), "started_at") for row in page}
    assert by_activity == by_start
    assert len(by_activity) == 300


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        (Filter(kind="order", state="open"), lambda row: row.state == "open"),
        (Filter(state="cancelled"), lambda row: row.state == "cancelled"),
        (Filter(kind="order", stage="dispatched", stage_rank=9), lambda row: row.stage == "dispatched"),
        (Filter(warehouse="north", carrier="ups"), lambda row: row.warehouse == "north" and row.carrier == "ups"),
        (Filter(partner="ACME"), lambda row: row.partner == "ACME"),
        (Filter(state="open", health="on_track"), lambda row: not row.at_risk and not row.breached),
    ],
)
def test_filters_narrow_to_exactly_what_they_say(connection: sa.Connection, wanted: Filter, holds: Any) -> None:
    everything = [row for page in walk(connection, Filter(), "last_at") for row in page]
    found = [row for page in walk(connection, wanted, "last_at") for row in page]
    narrowed = [row for row in everything if holds(row) and (wanted.state is None or row.state == wanted.state)]
    assert found == narrowed
    assert found


@pytest.mark.parametrize("sort", journeys.OPEN_ONLY)
def test_deadline_and_value_sort_open_journeys_only(connection: sa.Connection, sort: str) -> None:
    assert {row.state for page in walk(connection, Filter(), sort) for row in page} == {"open"}
    with pytest.raises(Permanent, match="open journeys only"):
        journeys.list_page(connection, Filter(state="completed"), kinds=KINDS, sort=sort)


def test_an_unknown_kind_has_no_journeys(connection: sa.Connection) -> None:
    assert journeys.list_page(connection, Filter(kind="nothing"), kinds=KINDS).items == []


@pytest.mark.parametrize("cursor", ["nonsense", "WyJhIl0", "W10", "eyJhIjoxfQ", "WyJ4IiwxXQ", "A"])
def test_a_cursor_that_was_not_given_out_is_refused(connection: sa.Connection, cursor: str) -> None:
    with pytest.raises(Permanent, match="cursor"):
        journeys.list_page(connection, Filter(), kinds=KINDS, cursor=cursor)


@pytest.mark.parametrize("text", ["S00003", "s00003", " S00003 ", "#10002", "WH/OUT/00003"])
def test_any_member_key_finds_its_journey(connection: sa.Connection, text: str) -> None:
    assert search.find(connection, CATALOG, text) == [3]


def test_the_beginning_of_a_key_finds_all_that_begin_so(connection: sa.Connection) -> None:
    assert search.find(connection, CATALOG, "S0001") == list(range(19, 9, -1))


def test_a_correlation_id_finds_its_journey(connection: sa.Connection) -> None:
    key = connection.scalar(sa.select(t.correlations.c.key).order_by(t.correlations.c.object_id))
    assert search.find(connection, CATALOG, str(key)) == [1]


@pytest.mark.parametrize("text", ["%", "_", "S0000_", "\\", "", "   ", "no such key"])
def test_search_takes_pattern_signs_literally(connection: sa.Connection, text: str) -> None:
    assert search.find(connection, CATALOG, text) == []


def test_search_is_bounded(connection: sa.Connection) -> None:
    assert len(search.find(connection, CATALOG, "S")) == search.MAX_OBJECTS


def test_the_choices_are_what_the_journeys_have(connection: sa.Connection) -> None:
    found = journeys.choices(connection, KINDS)
    assert found["warehouse"] == ["north", "south"]
    assert found["carrier"] == ["dhl", "gls", "ups"]


def test_a_journey_is_read_whole(connection: sa.Connection) -> None:
    (head,) = journey.candidates(connection, CATALOG, "order", "S00003")
    members = journey.member_list(connection, head.journey_id)
    assert (members[0].type, members[0].key) == ("order", "S00003")
    links = journey.link_list(connection, CATALOG.models["order"], members)
    names = {member.object_id: member.type for member in members}
    assert {(names[link.parent_id], names[link.child_id]) for link in links} >= {
        ("order", "channel_order"), ("order", "picking"), ("order", "correlation"),
    }  # fmt: skip
    events = journey.event_list(connection, head, [member.object_id for member in members])
    steps = journey.milestone_list(connection, head.journey_id)
    assert [step.rank for step in steps] == sorted(step.rank for step in steps)
    assert {step.first_at for step in steps} <= {event.occurred_at for event in events}
    assert events == sorted(events, key=lambda event: event.occurred_at)


def test_the_events_of_a_journey_are_bounded(connection: sa.Connection) -> None:
    (head,) = journey.candidates(connection, CATALOG, "order", "S00003")
    ids = [member.object_id for member in journey.member_list(connection, head.journey_id)]
    every = journey.event_list(connection, head, ids)
    assert journey.event_list(connection, head, ids, limit=3) == every[-3:]


def test_a_running_clock_stands_once(connection: sa.Connection) -> None:
    """A clock that warned or breached is both packed and a row."""
    for row in journeys.list_page(connection, Filter(health="breached"), kinds=KINDS).items:
        clocks = journey.clock_list(connection, row.journey_id)
        assert len({(clock.policy, clock.subject_id) for clock in clocks}) == len(clocks)
        assert "breached" in {clock.state for clock in clocks if clock.stopped_at is None}


def test_the_deadline_in_the_list_is_that_of_the_clocks(connection: sa.Connection) -> None:
    """Not the time of a warning, which comes before it."""
    rows = [row for page in walk(connection, Filter(kind="order", state="open"), "last_at") for row in page]
    for row in rows:
        clocks = [clock for clock in journey.clock_list(connection, row.journey_id) if clock.stopped_at is None]
        running = [clock.due_at for clock in clocks if clock.state != "breached" and clock.due_at]
        late = [(clock.due_at, clock.policy) for clock in clocks if clock.state == "breached" and clock.due_at]
        assert row.due_at == min(running, default=None)
        assert (row.late_since, row.late_by) == min(late, default=(None, None))
    assert any(row.breached for row in rows)


def test_the_flow_agrees_with_the_journeys(connection: sa.Connection) -> None:
    flow = overview.flow(connection, "order")
    rows = [row for page in walk(connection, Filter(kind="order", state="open"), "last_at") for row in page]
    assert flow.total("open") == len(rows)
    assert flow.total("breached") == sum(row.breached for row in rows)
    assert flow.total("at_risk") == sum(row.at_risk and not row.breached for row in rows)
    off_track = Filter(kind="order", state="open", health="off_track")  # where the tile of the money leads
    listed = [row for page in walk(connection, off_track, "amount") for row in page]
    assert flow.money == {"EUR": sum(row.amount or 0 for row in listed)}
    assert {row.journey_id for row in listed} == {row.journey_id for row in rows if row.at_risk or row.breached}


def test_attainment_counts_each_clock_with_an_outcome_once(connection: sa.Connection) -> None:
    found = {item.policy: item for item in overview.attainment(connection, NOW - timedelta(days=30), NOW)}
    rows = connection.execute(sa.select(t.clocks).where(t.clocks.c.due_at < NOW)).mappings().all()
    for policy, item in found.items():
        states = [row["state"] for row in rows if row["policy"] == policy]
        assert item.met == states.count("met") + states.count("retracted")
        assert item.missed == states.count("missed") + states.count("breached")


def test_hours_that_were_counted_give_the_same_attainment(connection: sa.Connection) -> None:
    windows = [(NOW - timedelta(days=days), NOW - timedelta(hours=1)) for days in (30, 7, 1)]
    before = [sorted(overview.attainment(connection, *window), key=str) for window in windows]
    assert count_hours(connection, CATALOG, NOW)
    assert not count_hours(connection, CATALOG, NOW + timedelta(minutes=50))
    counted = connection.scalar(sa.select(sa.func.sum(t.clock_hours.c.clocks)))
    assert counted
    assert [sorted(overview.attainment(connection, *window), key=str) for window in windows] == before
    connection.execute(t.clocks.delete().where(t.clocks.c.due_at < NOW - timedelta(days=3)))
    assert sum(item.met + item.missed for item in overview.attainment(connection, *windows[0])) > 0
    assert count_hours(connection, CATALOG, NOW + timedelta(hours=1))
    assert (connection.scalar(sa.select(sa.func.sum(t.clock_hours.c.clocks))) or 0) < counted
    assert count_hours(connection, CATALOG, NOW), "the clock was ahead"


def test_alerts_come_with_all_that_is_known(connection: sa.Connection) -> None:
    page = alerts.list_page(connection, state="open", limit=2)
    rest = alerts.list_page(connection, state="open", limit=200, cursor=page.next_cursor)
    found = [*page.items, *rest.items]
    assert found == sorted(found, key=lambda alert: alert.opened_at, reverse=True)
    assert {alert.state for alert in found} == {"firing", "acknowledged"}
    first = found[0]
    items = alerts.items(connection, first.alert_id)
    assert len(items) == first.items_open
    assert all(item["journey_key"] for item in items)
    assert alerts.changes(connection, first.alert_id)[-1]["what"] == "opened"
    assert {row["state"] for row in alerts.deliveries(connection, first.alert_id)} == {"sent"}


def test_what_is_hidden_and_budgets_come_after_other_alerts(connection: sa.Connection) -> None:
    """Budgets burn at the same time as the incident that burns them, and would push it off the overview."""
    row = {
        "key": "k", "rule": "r", "group": {}, "state": "firing", "severity": "critical", "title": "t", "summary": "s",
        "opened_at": NOW, "updated_at": NOW, "items_open": 1, "items_total": 1, "money": {}, "labels": {},
    }  # fmt: skip
    rows = [{**row, "key": f"o{number}", "kind": "objective"} for number in range(9)]
    connection.execute(sa.insert(t.alerts), [*rows, {**row, "kind": "platform"}])
    found, _ = overview.open_alerts(connection, limit=100)
    hidden = {
        number
        for number, items in connection.execute(
            sa.select(t.alert_hidden.c.alert_id, sa.func.count()).group_by(t.alert_hidden.c.alert_id)
        )
        if next(one["items_open"] for one in found if one["alert_id"] == number) == items
    }
    last = [one["kind"] == "objective" or one["alert_id"] in hidden for one in found]
    assert hidden
    assert found[0]["kind"] == "platform"
    assert last == sorted(last)


def test_sources_have_rate_lag_and_refusals(connection: sa.Connection) -> None:
    found = {source.source: source for source in sources.source_list(connection, CATALOG, NOW)}
    assert found["/wms/north"].refused == 37
    assert found["/wms/south"].rate > 0
    assert found["/wms/south"].lag_mean is not None
    assert found["odoo"].title == "Odoo"


@pytest.mark.parametrize("source", [None, "/wms/north"])
def test_the_quarantine_comes_in_pages(connection: sa.Connection, source: str | None) -> None:
    found, cursor = [], None
    while True:
        page = quarantine.row_page(connection, source=source, kind="malformed", limit=10, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len({row.quarantine_id for row in found}) == len(found) == 25


def test_anomalies_name_their_journey(connection: sa.Connection) -> None:
    page = anomalies.list_page(connection, detector="journey")
    assert [item.journey_key for item in page.items] == ["S00003"]


HOT = [
    (journeys.select_page(Filter(kind="order", state="open"), KINDS, "last_at", 50), "journeys_model_state_last_at"),
    (journeys.select_page(Filter(), KINDS, "last_at", 50), "journeys_model_state_last_at"),
    (journeys.select_page(Filter(health="breached"), KINDS, "amount", 50), "running_clocks_breached_idx"),
    (journeys.select_page(Filter(health="at_risk"), KINDS, "amount", 50), "running_clocks_at_risk_idx"),
    (journeys.select_page(Filter(), KINDS, "due", 50), "running_clocks_next_at_idx"),
    (
        journeys.select_page(Filter(), KINDS, "started_at", 50),
        "Index Only Scan Backward using journeys_model_state_started_at",
    ),
    (overview.select_stages("order"), "Index Only Scan using journeys_model_state_"),
    (overview.select_flagged("order"), "running_clocks_breached_idx"),
    (exceptions.select_rows(exceptions.Filter(open=True), 50), "exceptions_open_idx"),
    (exceptions.select_rows(exceptions.Filter(objects=[1, 2, 3]), 50), "exceptions_"),
    (exceptions.select_groups(None), "exceptions_open_idx"),
    (gaps.select_groups("order", CATALOG.models["order"], NOW, ["warehouse"], 50), "journeys_model_state_started_at"),
    (
        objectives.select_eaters("promised-delivery", NOW - timedelta(days=30), NOW, 50),
        "breaches_policy_due_at_idx",
    ),
    (search.select_exact(t.objects, ["S00003"]), "objects_key_type_namespace_epoch_key"),
    (search.select_prefix(t.objects, ["S0000"], 200), "objects_key_type_namespace_epoch_key"),
]


@pytest.mark.parametrize(("statement", "index"), HOT, ids=[str(number) for number in range(len(HOT))])
def test_an_index_serves_the_hot_queries(connection: sa.Connection, statement: sa.Select[Any], index: str) -> None:
    found = plan(connection, statement)
    assert index in found, found
    assert "Seq Scan" not in found, found


def test_the_prefix_search_reads_only_what_begins_so(connection: sa.Connection) -> None:
    found = plan(connection, search.select_prefix(t.objects, ["S0000"], 200))
    assert "Index Cond: ((key >= 'S0000'" in found, found


def test_the_timeline_looks_events_up_by_their_pairs(connection: sa.Connection) -> None:
    (head,) = journey.candidates(connection, CATALOG, "order", "S00003")
    ids = [member.object_id for member in journey.member_list(connection, head.journey_id)]
    found = plan(connection, journey.select_events(head, ids, 1000))
    assert "object_id_received_at_idx" in found, found
    assert "event_no_idx" in found, found
    assert "Hash Join" not in found, found
