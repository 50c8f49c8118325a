"""The check of due clocks and the assembler's hook at work on many journeys, and side by side."""

from __future__ import annotations

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa

from milepost.catalog.schema import Catalog
from milepost.clock import from_us
from milepost.db.engine import make_engine
from milepost.db.tables import breaches, clocks, journeys, running_clocks, signals
from milepost.journeystate import JourneyChange, JourneyFacts, encode_facts
from sla.job import check_due_once, due_query
from sla.store import Clocks
from tests.sla_cases import at, catalog, journey, us

HOUR = timedelta(hours=1)
T = at("2026-03-20 09:00")
CONFIRMED = {"name": "confirmed", "kind": "between", "start": "received", "end": "confirmed", "within": "4h"}
PROMISED = {"name": "promised", "kind": "by", "end": "delivered", "date": "promised_date", "calendar": "business"}


def numbered(number: int, **told: Any) -> JourneyChange:
    """The journey of root `number`."""
    change = journey(**told)
    change.journey_id = change.root_id = number
    change.key = f"S{number}"
    change.types = {number: "order"}
    return change


def write_journeys(connection: sa.Connection, changes: Sequence[JourneyChange]) -> None:
    """The journeys themselves, as the assembler writes them."""
    connection.execute(sa.insert(journeys), [row_of(change) for change in changes])


def row_of(change: JourneyChange) -> dict[str, Any]:
    started = from_us(change.started_us)
    return {
        "journey_id": change.journey_id,
        "model": change.model,
        "root_id": change.root_id,
        "key": change.key,
        "namespace": "",
        "root_type": "order",
        "state": change.state,
        "stage_rank": 0,
        "started_at": started,
        "last_at": started,
        "progress_at": started,
        "first_received_at": started,
        "last_received_at": started,
        "facts": encode_facts(JourneyFacts(milestones=list(change.milestones.values()))),
    }


def change_all(engine: sa.Engine, made: Catalog, changes: Sequence[JourneyChange], now: Any = T) -> None:
    with engine.begin() as connection:
        Clocks().on_journeys_changed(connection, made, changes, now=now)


def count(engine: sa.Engine, table: sa.Table, *where: Any) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0


def started(engine: sa.Engine, made: Catalog, many: int) -> list[JourneyChange]:
    """That many orders, received at T."""
    changes = [numbered(number, steps={"received": us("2026-03-20 09:00")}) for number in range(1, many + 1)]
    with engine.begin() as connection:
        write_journeys(connection, changes)
    change_all(engine, made, changes)
    return changes


def test_two_checks_at_once_find_everything_once(engine: sa.Engine) -> None:
    made = catalog({**CONFIRMED, "warn_at": None})
    started(engine, made, 1_000)

    def check(_: int) -> int:
        due = T + 5 * HOUR
        return sum(check_due_once(engine, made, now=due, applied_through=due, batch=50) for _ in range(5))

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(check, range(3)))
    assert sum(found) == 1_000
    assert count(engine, breaches) == count(engine, signals) == count(engine, clocks) == 1_000
    assert count(engine, running_clocks, running_clocks.c.breached, running_clocks.c.next_at.is_(None)) == 1_000


def test_a_check_leaves_what_the_assembler_holds(engine: sa.Engine, database: str) -> None:
    made = catalog({**CONFIRMED, "warn_at": None})
    first, second = started(engine, made, 2)
    confirmed = numbered(1, steps={"received": first.started_us, "confirmed": us("2026-03-20 10:00")})
    other = make_engine(database)
    with engine.begin() as connection:
        Clocks().on_journeys_changed(connection, made, [confirmed], now=T)
        assert check_due_once(other, made, now=T + 5 * HOUR, applied_through=T + 5 * HOUR) == 1
    other.dispose()
    assert check_due_once(engine, made, now=T + 5 * HOUR, applied_through=T + 5 * HOUR) == 0
    assert count(engine, breaches) == count(engine, breaches, breaches.c.root_id == second.root_id) == 1


def test_a_breach_whose_policy_is_gone_is_ended_by_the_assembler_also_if_the_check_comes_first(
    engine: sa.Engine,
) -> None:
    soon = {**CONFIRMED, "warn_at": None}
    later = {**soon, "name": "later", "end": "packed", "within": "6h"}
    (change,) = started(engine, catalog(soon, later), 1)
    change.new = False
    due = T + 5 * HOUR
    assert check_due_once(engine, catalog(soon, later), now=due, applied_through=due) == 1
    assert check_due_once(engine, catalog(later), now=due + HOUR, applied_through=due + HOUR) == 1
    change_all(engine, catalog(later), [change], now=due + HOUR)
    assert count(engine, breaches, breaches.c.policy == "confirmed", breaches.c.end == "withdrawn") == 1
    assert count(engine, signals, signals.c.action == "clear") == 1
    assert count(engine, breaches, breaches.c.policy == "later", breaches.c.end.is_(None)) == 1


def test_a_breach_outlives_other_clocks_of_a_journey_that_is_gone_until_the_assembler_ends_it(
    engine: sa.Engine,
) -> None:
    soon = {**CONFIRMED, "warn_at": None}
    made = catalog(soon, {**soon, "name": "later", "end": "packed", "within": "6h"})
    (change,) = started(engine, made, 1)
    change.new = False
    for hours in (5, 7):
        check_due_once(engine, made, now=T + hours * HOUR, applied_through=T + hours * HOUR)
        with engine.begin() as connection:
            connection.execute(sa.delete(journeys))
    assert count(engine, running_clocks, running_clocks.c.breached, running_clocks.c.next_at.is_(None)) == 1
    change.state = "absorbed"
    change_all(engine, made, [change], now=T + 7 * HOUR)
    assert count(engine, breaches, breaches.c.end == "absorbed") == count(engine, breaches) == 1


def test_one_call_is_bounded(engine: sa.Engine) -> None:
    made = catalog({**CONFIRMED, "warn_at": None})
    started(engine, made, 45)
    due = T + 5 * HOUR
    found = [check_due_once(engine, made, now=due, applied_through=due, batch=10, batches=3) for _ in range(3)]
    assert found == [30, 15, 0]


def test_only_what_changes_is_written(engine: sa.Engine) -> None:
    made = catalog(CONFIRMED, PROMISED)
    steps = {"received": us("2026-03-20 09:00")}
    change_all(engine, made, [numbered(1, steps=steps), numbered(2)])

    def versions() -> list[Any]:
        with engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT journey_id, xmin::text FROM derived.running_clocks ORDER BY 1"))
            return [tuple(row) for row in rows]

    before = versions()
    assert [row[0] for row in before] == [1]
    change_all(engine, made, [numbered(1, steps=steps), numbered(2)])
    assert versions() == before
    change_all(engine, made, [numbered(1, steps={**steps, "confirmed": us("2026-03-20 10:00")})])
    assert versions() != before
    before = versions()
    change_all(
        engine,
        made,
        [numbered(1, steps={**steps, "confirmed": us("2026-03-20 10:00"), "packed": us("2026-03-20 11:00")})],
    )
    assert versions() == before
    assert count(engine, clocks) == 1


def test_a_batch_of_history_by_date_equals_a_plain_count(engine: sa.Engine) -> None:
    """Order lines with a scheduled and a delivered day, imported years later."""
    chance = random.Random(11)
    made = catalog({**PROMISED, "calendar": "always"})
    first = date(2006, 5, 1)
    days = [(chance.randrange(400), chance.randrange(-20, 60)) for _ in range(2_000)]
    changes = []
    for number, (scheduled, delay) in enumerate(days, 1):
        promised = first + timedelta(days=scheduled)
        delivered = us(f"{promised + timedelta(days=delay)} 00:00")
        changes.append(
            numbered(
                number,
                steps={"received": us("2006-03-01 00:00"), "delivered": delivered},
                received={"received": us("2026-03-20 09:00"), "delivered": us("2026-03-20 09:00")},
                attributes={"promised_date": promised.isoformat()},
                state="completed",
                ended=delivered,
            )
        )
    change_all(engine, made, changes)
    late = sum(delay > 0 for _, delay in days)
    assert count(engine, breaches, breaches.c.end == "late", breaches.c.late_known) == late
    assert count(engine, clocks, clocks.c.state == "late_known") == late
    assert count(engine, clocks, clocks.c.state == "met") == len(days) - late
    assert count(engine, signals) == 0
    assert check_due_once(engine, made, now=T, applied_through=T) == 0


def test_the_check_reads_by_the_index_of_the_next_time(engine: sa.Engine) -> None:
    made = catalog(CONFIRMED)
    started(engine, made, 500)
    with engine.begin() as connection:
        connection.execute(sa.text("ANALYZE derived.running_clocks"))
        query = due_query(T).compile(engine, compile_kwargs={"literal_binds": True})
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(connection.scalars(sa.text(f"EXPLAIN {query}")))
    assert "running_clocks_next_at_idx" in plan
    assert "Sort" not in plan


def test_a_rebuild_finds_its_breaches_and_tells_nobody(engine: sa.Engine) -> None:
    made = catalog({**CONFIRMED, "warn_at": None})
    changes = started(engine, made, 3)
    check_due_once(engine, made, now=T + 5 * HOUR, applied_through=T + 5 * HOUR)
    with engine.begin() as connection:
        connection.execute(sa.delete(running_clocks))
        connection.execute(sa.delete(clocks))
    done = numbered(1, steps={"received": changes[0].started_us, "confirmed": us("2026-03-20 15:00")})
    change_all(engine, made, [done, *changes[1:]], now=T + 6 * HOUR)
    assert check_due_once(engine, made, now=T + 6 * HOUR, applied_through=T + 6 * HOUR) == 2
    assert count(engine, breaches) == 3
    assert count(engine, breaches, breaches.c.end == "late") == 1
    assert count(engine, signals, signals.c.action == "raise") == 3
    assert count(engine, signals, signals.c.action == "clear") == 1
