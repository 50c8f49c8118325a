"""A rebuild gives the same journeys, while events go on coming, and takes nothing away."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
import yaml

from correlator import assemble, journeystore, record, retell
from correlator.rebuild import LOCK, Rebuild, clear_up
from correlator.retell import Selection
from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import utc_now
from milepost.db import generation
from milepost.db import tables as t
from milepost.db.engine import leader
from milepost.decisions import correlation
from milepost.errors import Conflict, NotFound, Transient
from tests.chain import CATALOG, Chain, Wire, ignore
from tests.served import wait_until


def wires(first: int, count: int) -> list[Wire]:
    """Orders, each with pickings and a shipment that it shares with the next one."""
    found: list[Wire] = []
    for number in range(first, first + count):
        order, picking, shipment = f"S{number}", f"OUT/{number}", f"1Z{number // 2}"
        keys = {"order": order, "picking": picking}
        for step, (kind, named) in enumerate(
            [
                ("order.received", {"order": order, "customer_po": f"PO{number // 3}"}),
                ("picking.created", keys),
                ("picking.done", keys),
                ("shipment.exception" if number % 8 == 4 else "shipment.dispatched", {**keys, "shipment": shipment}),
            ]
        ):
            found.append(
                {
                    "specversion": "1.0",
                    "id": f"{order}-{step}",
                    "source": "/wms",
                    "type": kind,
                    "time": f"2026-11-20T10:{step:02}:00Z",
                    "data": {"keys": named, "attributes": {"partner": "acme", "channel": "web"}},
                }
            )
    return found


def contents(engine: sa.Engine) -> dict[str, list[tuple[Any, ...]]]:
    """All that is derived, in an order that doesn't depend on how it was written."""
    found = {}
    with engine.connect() as connection:
        for table in (t.journeys, t.members, t.milestones, t.relations, t.object_states, t.exceptions):
            rows = connection.execute(sa.select(table)).all()
            found[table.name] = sorted((tuple(row) for row in rows), key=repr)
    return found


def rebuild(chain: Chain, **options: Any) -> Rebuild:
    return Rebuild(chain.engine, lambda _: CATALOG, utc_now, ignore, **options)


@pytest.fixture
def chain(engine: sa.Engine) -> Chain:
    made = Chain(engine)
    made.send(*wires(0, 40))
    made.settle()
    return made


def test_a_rebuild_writes_the_same_again(chain: Chain, engine: sa.Engine) -> None:
    before = contents(engine)
    report = rebuild(chain).run()
    assert contents(engine) == before
    assert (report.events, report.journeys) == (160, len(before["journeys"]))
    assert (report.new, report.changed, report.gone) == (0, 0, 0)
    chain.send(*wires(39, 3))  # one that is known, and two new ones
    chain.settle()
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).where(t.journeys.c.root_type == "order")) == 42


def test_many_events_are_replayed_in_a_process_of_its_own(
    chain: Chain, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(engine)
    monkeypatch.setattr(retell, "FEW", 0)
    assert rebuild(chain).run().events == 160
    assert contents(engine) == before


def test_another_catalog_meanwhile_ends_it(chain: Chain, engine: sa.Engine) -> None:
    before, catalogs = contents(engine), iter([CATALOG])
    other = msgspec.structs.replace(CATALOG, version="other")
    with pytest.raises(Conflict, match="another catalog was applied"):
        Rebuild(engine, lambda _: next(catalogs, other), utc_now, ignore).run()
    assert contents(engine) == before


def test_events_that_come_meanwhile_are_in_it_once(chain: Chain, engine: sa.Engine) -> None:
    def meanwhile(what: str, _: int, __: int) -> None:
        if what == "replayed":
            chain.send(*wires(30, 30))  # ten of them are repeats
            chain.recorders[0].step()

    rebuild(chain, progress=meanwhile).run()
    chain.settle()
    rebuilt = contents(engine)
    rebuild(chain).run()
    assert contents(engine) == rebuilt
    with engine.connect() as connection:
        states = connection.scalar(sa.select(sa.func.count()).where(t.journeys.c.root_type == "order"))
    assert states == 60


def test_what_is_wrong_is_put_right(chain: Chain, engine: sa.Engine) -> None:
    right = contents(engine)
    with engine.begin() as connection:
        connection.execute(sa.delete(t.milestones))
        connection.execute(sa.delete(t.relations).where(t.relations.c.first_id % 2 == 0))
        lost = connection.scalars(sa.select(t.journeys.c.journey_id).order_by(t.journeys.c.key).limit(1)).one()
        connection.execute(sa.delete(t.journeys).where(t.journeys.c.journey_id == lost))
    report = rebuild(chain).run()
    assert (report.new, report.gone) == (1, 0)
    now = contents(engine)
    assert len(now["milestones"]) == len(right["milestones"]) > 0
    assert now["relations"] == right["relations"]


def test_a_selection_is_compared_and_changes_nothing(chain: Chain, engine: sa.Engine) -> None:
    before = contents(engine)
    report = rebuild(chain).run(Selection(sources=["/wms"], since=utc_now() - timedelta(hours=1)))
    assert (report.events, report.new, report.changed) == (160, 0, 0)
    nothing = rebuild(chain).run(Selection(until=utc_now() - timedelta(hours=1)))
    assert (nothing.events, nothing.journeys) == (0, 0)
    assert contents(engine) == before
    with engine.connect() as connection:
        assert not generation.exists(connection)


def test_one_at_a_time_and_what_a_kill_leaves_is_cleared(chain: Chain, engine: sa.Engine) -> None:
    with leader(engine, "milepost.rebuild") as leads:
        assert leads
        with pytest.raises(Conflict):
            rebuild(chain).run()
    begun(engine)
    assert clear_up(engine)
    assert not clear_up(engine)
    chain.send(*wires(40, 1))
    chain.settle()


def test_several_recorders_tell_both(engine: sa.Engine) -> None:
    chain = Chain(engine, recorders=3)

    def meanwhile(what: str, _: int, __: int) -> None:
        if what == "replayed":
            chain.send(*wires(0, 10))
            chain.send(*wires(10, 10))
            for recorder in chain.recorders:
                recorder.step()

    chain.send(*wires(0, 5))
    chain.settle()
    rebuild(chain, progress=meanwhile).run()
    chain.settle()
    once = contents(engine)
    rebuild(chain).run()
    assert contents(engine) == once


@pytest.mark.usefixtures("hasty")
def test_a_reader_that_takes_long_holds_off_the_swap_and_nobody_else(chain: Chain, engine: sa.Engine) -> None:
    before, waited = contents(engine), []

    def end_reading(what: str, _: int, __: int) -> None:
        if what == "waiting for readers":
            waited.append(what)
            reader.rollback()

    with engine.connect() as reader:
        reader.execute(sa.select(t.running_clocks)).all()
        rebuild(chain, progress=end_reading).run()
    assert (contents(engine), waited) == (before, ["waiting for readers"])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a lock for long."""
    monkeypatch.setattr("milepost.db.generation.PATIENCE", 0.1)


def begun(engine: sa.Engine) -> int:
    """What another rebuild does first: take away what there is, and make its own."""
    with engine.begin() as connection:
        return generation.begin(connection, told=True, instead_of=generation.number(connection))


def stands(engine: sa.Engine, number: int) -> bool:
    """Whether the next generation is the one of this number."""
    with engine.begin() as connection:
        generation.pin(connection, number)
        return not connection.scalar(sa.text("SELECT count(*) FROM derived_next.journeys"))


def test_who_lost_its_place_before_it_began_does_nothing_to_the_next_one(
    chain: Chain, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, second, begin = contents(engine), [], generation.begin

    def thawed(connection: sa.Connection, **options: Any) -> int:
        if not second:
            second.append(0)
            second[0] = begun(engine)
        return begin(connection, **options)

    monkeypatch.setattr(generation, "begin", thawed)
    with pytest.raises(Conflict, match="another rebuild"):
        rebuild(chain).run()
    assert stands(engine, second[0])
    assert contents(engine) == before


def test_who_lost_its_place_while_it_replays_does_nothing_to_the_next_one(chain: Chain, engine: sa.Engine) -> None:
    before, second = contents(engine), []

    def meanwhile(what: str, _: int, __: int) -> None:
        if what == "replayed" and not second:
            second.append(begun(engine))

    with pytest.raises(Conflict, match="another rebuild"):
        rebuild(chain, progress=meanwhile).run()
    assert stands(engine, second[0])
    assert contents(engine) == before


def test_who_lost_its_place_before_the_swap_does_nothing_to_the_next_one(
    chain: Chain, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, second, take_over = contents(engine), [], journeystore.take_over

    def thawed(connection: sa.Connection, holder: str) -> Any:
        if holder == LOCK:
            second.append(begun(engine))
        return take_over(connection, holder)

    monkeypatch.setattr(journeystore, "take_over", thawed)
    with pytest.raises(Conflict, match="another rebuild"):
        rebuild(chain).run()
    assert stands(engine, second[0])
    assert contents(engine) == before


def test_who_no_longer_keeps_others_away_ends(chain: Chain, engine: sa.Engine) -> None:
    before = contents(engine)
    work = rebuild(chain, progress=lambda *_: work._lead.lost())
    with pytest.raises(Conflict, match="rebuild again"):
        work.run()
    assert contents(engine) == before
    with engine.connect() as connection:
        assert not generation.exists(connection)


@pytest.mark.usefixtures("hasty")
def test_the_clean_up_waits_for_a_recorder(chain: Chain, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(engine)
    hand_over, waited = record.hand_over, []

    def meanwhile(*args: Any) -> None:
        with pytest.raises(Transient):
            waited.append(clear_up(engine))
        hand_over(*args)

    monkeypatch.setattr(record, "hand_over", meanwhile)
    chain.send(*wires(40, 1))
    chain.settle()
    assert not waited
    assert clear_up(engine)


@pytest.mark.usefixtures("hasty")
def test_the_clean_up_leaves_what_somebody_reads(chain: Chain, engine: sa.Engine) -> None:
    begun(engine)
    with engine.connect() as dump:
        dump.execute(sa.text("LOCK TABLE derived_next.touches IN ACCESS SHARE MODE"))
        with pytest.raises(Transient):
            clear_up(engine)
        chain.send(*wires(40, 1))
        chain.settle()  # the recorder doesn't wait for it
    assert clear_up(engine)


@pytest.mark.usefixtures("hasty")
def test_a_rebuild_begins_once_nobody_reads_what_was_left(chain: Chain, engine: sa.Engine) -> None:
    before = contents(engine)
    begun(engine)
    with engine.connect() as dump:
        dump.execute(sa.text("LOCK TABLE derived_next.touches IN ACCESS SHARE MODE"))
        with pytest.raises(Transient):
            begun(engine)
        rebuild(chain, progress=lambda *_: dump.rollback()).run()
    assert contents(engine) == before


@pytest.mark.usefixtures("hasty")
def test_who_reads_the_former_journeys_may_go_on(chain: Chain, engine: sa.Engine) -> None:
    with engine.connect() as dump:
        dump.execute(sa.text("LOCK TABLE derived.journeys IN ACCESS SHARE MODE"))
        rebuild(chain).run()
        with pytest.raises(Transient):
            clear_up(engine)
    assert clear_up(engine)
    assert not clear_up(engine)


def test_recorders_dont_wait_for_a_beginning_that_waits_for_the_assembler(chain: Chain, engine: sa.Engine) -> None:
    def waits() -> int | None:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        with engine.connect() as connection:
            return connection.scalar(sa.text(waiting))

    with ThreadPoolExecutor(1) as pool, engine.connect() as assembler:
        journeystore.take_over(assembler, "other")
        assembler.execute(sa.delete(t.touches))
        rebuilt = pool.submit(begun, engine)
        wait_until(waits)
        chain.send(*wires(40, 1))
        chain.recorders[0].step()
        assert not rebuilt.done()
        assembler.rollback()
        assert stands(engine, rebuilt.result())


def another_catalog() -> Catalog:
    """Pickings are told apart by their source, and whatever two others name is a hub."""
    texts = loader.default_texts()
    journeys = yaml.safe_load(texts["journeys.yaml"])
    journeys["hub_limit"] = 1
    journeys["keys"]["picking"]["namespace"] = "source"
    return loader.load({**texts, "journeys.yaml": yaml.safe_dump(journeys)})


def test_a_trial_tells_nobody_anything_and_leaves_names_alone(chain: Chain, engine: sa.Engine) -> None:
    before, tried = contents(engine), another_catalog()
    report = Rebuild(engine, lambda _: tried, utc_now, ignore).run(swap=False)
    assert report.changed > 0
    assert contents(engine) == before
    with engine.connect() as connection:
        assert connection.scalars(sa.select(t.signals.c.rule)).all() == []
        assert correlation.find(connection, "picking", "OUT/0").namespace == ""
        assert len(correlation.epochs(connection, "shipment", "1Z0")) == 1
        with pytest.raises(NotFound):
            correlation.find(connection, "picking", "OUT/0", "source=/wms")


def test_a_rebuild_reports_no_hub_again(engine: sa.Engine) -> None:
    catalog = another_catalog()
    chain = Chain(engine, catalog=catalog)
    chain.send(*wires(0, 4))
    chain.settle()
    with engine.connect() as connection:
        before = [connection.execute(sa.select(x)).all() for x in (t.signals, t.hubs.alias())]
    Rebuild(engine, lambda _: catalog, utc_now, ignore).run()
    with engine.connect() as connection:
        after = [connection.execute(sa.select(x)).all() for x in (t.signals, t.hubs.alias())]
    assert before[0] == after[0] != []
    assert {row.object_id for row in before[1]} == {row.object_id for row in after[1]}


@pytest.mark.parametrize("swap", [False, True], ids=["trial", "whole"])
def test_only_what_a_rebuild_would_lose_goes_to_quarantine(
    chain: Chain, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, swap: bool
) -> None:
    right = assemble.assess
    chain.send(wires(40, 1)[0] | {"data": {"keys": {"order": "S40"}}})
    chain.settle()

    def fail(root: Any, *rest: Any) -> Any:
        if root.key == "S40":
            raise ZeroDivisionError
        return right(root, *rest)

    monkeypatch.setattr(assemble, "assess", fail)
    assert rebuild(chain).run(swap=swap).examples["gone"] == [("order", "S40")]
    with engine.connect() as connection:
        kept = connection.scalars(sa.select(t.quarantine.c.kind)).all()
    assert set(kept) == ({"failed"} if swap else set())


def test_a_rebuild_keeps_everybodys_rights(chain: Chain, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for right in (
            "GRANT USAGE ON SCHEMA derived TO pg_monitor WITH GRANT OPTION",
            "GRANT SELECT ON ALL TABLES IN SCHEMA derived TO pg_monitor, PUBLIC",
            "GRANT SELECT ON ALL SEQUENCES IN SCHEMA derived TO pg_monitor",
            "REVOKE SELECT ON derived.hubs FROM PUBLIC",
            "GRANT SELECT (key) ON derived.hubs TO PUBLIC",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA derived GRANT SELECT ON TABLES TO pg_monitor",
        ):
            connection.execute(sa.text(right))
    before = rights(engine)
    rebuild(chain).run()
    assert rights(engine) == before
    assert before[0] is not None


def rights(engine: sa.Engine) -> list[Any]:
    """Who may do what in the live schema."""
    queries = (
        "SELECT array_agg(CAST(acl AS text) ORDER BY CAST(acl AS text)) FROM pg_namespace, unnest(nspacl) AS acl"
        " WHERE nspname = 'derived'",
        "SELECT array_agg(relname || CAST(acl AS text) ORDER BY relname, CAST(acl AS text)) FROM pg_class,"
        " unnest(relacl) AS acl WHERE relnamespace = CAST('derived' AS regnamespace)",
        "SELECT array_agg(CAST(attacl AS text)) FROM pg_attribute WHERE attrelid = CAST('derived.hubs' AS regclass)"
        " AND attacl IS NOT NULL",
        "SELECT array_agg(CAST(defaclacl AS text)) FROM pg_default_acl"
        " WHERE defaclnamespace = CAST('derived' AS regnamespace)",
    )
    with engine.connect() as connection:
        return [connection.scalar(sa.text(query)) for query in queries]


BUILT = {
    "view public.report": "CREATE VIEW public.report AS SELECT key FROM derived.journeys",
    "materialized view public.sums": "CREATE MATERIALIZED VIEW public.sums AS SELECT count(*) FROM derived.members",
    "table constraint known on public.notes": "CREATE TABLE public.notes (journey bigint CONSTRAINT known"
    " REFERENCES derived.journeys (journey_id))",
    "function public.late(derived.journeys)": "CREATE FUNCTION public.late(derived.journeys) RETURNS boolean"
    " LANGUAGE sql AS 'SELECT true'",
    "derived.journeys in publication changes": "CREATE PUBLICATION changes FOR TABLE derived.journeys",
    "table derived.notes": "CREATE TABLE derived.notes (note text)",
}


@pytest.mark.parametrize("built", BUILT)
def test_a_rebuild_refuses_to_take_away_what_others_built(chain: Chain, engine: sa.Engine, built: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(BUILT[built]))
    with pytest.raises(Conflict, match=re.escape(built)):
        rebuild(chain).run()
    assert rebuild(chain).run(swap=False).events == 160


def test_a_view_that_is_made_meanwhile_stays(chain: Chain, engine: sa.Engine) -> None:
    before = contents(engine)

    def meanwhile(what: str, _: int, __: int) -> None:
        if what == "comparing":
            with engine.begin() as connection:
                connection.execute(sa.text("CREATE VIEW public.kept AS SELECT * FROM derived.running_clocks"))
                connection.execute(sa.text("CREATE VIEW public.report AS SELECT key FROM derived.journeys"))

    with pytest.raises(Conflict, match=r"tables of view public\.report;"):
        rebuild(chain, progress=meanwhile).run()
    assert contents(engine) == before
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM public.report")) == len(before["journeys"])
        connection.execute(sa.text("DROP VIEW public.report"))
    rebuild(chain).run()
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM public.kept")) == 0
