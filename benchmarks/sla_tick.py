"""The check of due SLA clocks, and the assembler's hook, on an embedded PostgreSQL with its usual settings.

Fills the database with as many open orders as `--clocks` says, each with one running clock, and prints one JSON object
as its last line:

- idle_ms_p50, idle_ms_max: a check with nothing due (promise at 1,000,000: < 50 ms)
- due: for each number of clocks that fall due at once, the seconds until their breaches are committed (10,000: < 3 s),
  and the CPU seconds of the check and of PostgreSQL together, which other load doesn't lengthen
- hook: microseconds per changed journey in a transaction of 5,000, with the default catalog: started (a journey's first
  event: two clocks start), progress (a clock ends, another starts), unchanged
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter, process_time
from typing import Any, Final

import sqlalchemy as sa
from running import postgres_cpu
from scratch import database

from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import from_us, to_us
from milepost.db.engine import copy_rows
from milepost.db.tables import breaches, journeys, object_states, objects, running_clocks, signals
from milepost.journeystate import (
    AttributeGroup,
    Evidence,
    JourneyChange,
    JourneyFacts,
    Member,
    ObjectState,
    Reached,
    RunningClock,
    Scalar,
    encode_clocks,
    encode_facts,
    encode_object,
)
from sla.job import check_due_once
from sla.store import Clocks

NOW: Final = datetime(2026, 3, 20, 9, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
WAVES: Final = (0, 10, 100, 1_000, 10_000)
POLICY: Final = "warehouse-acknowledgement"
HOOK_BATCH: Final = 5_000
HOOK_BATCHES: Final = 4
CHUNK: Final = 50_000
CATALOG: Final = loader.load(loader.default_texts())
STEPS: Final = {item.name: rank for rank, item in enumerate(CATALOG.models["order"].milestones)}


def main() -> None:
    options = _options()
    with database() as engine:
        started = perf_counter()
        waves = [wave for wave in WAVES if wave <= options.clocks]
        fill(engine, options.clocks, waves)
        print(f"filled {options.clocks} running clocks in {perf_counter() - started:.0f} s", flush=True)
        result: dict[str, Any] = {"clocks": options.clocks, **idle(engine)}
        result["due"] = due(engine, waves)
        result["hook"] = hook(engine, options.clocks)
    print(json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clocks", type=int, default=1_000_000, help="how many clocks run")
    parser.add_argument("--small", action="store_true", help="20,000 clocks: does it run at all")
    options = parser.parse_args()
    options.clocks = 20_000 if options.small else options.clocks
    return options


# --- filling ----------------------------------------------------------------------------------------------------------


def fill(engine: sa.Engine, count: int, waves: Sequence[int]) -> None:
    """Orders that wait for their warehouse. Of each wave all are due in the same hour, the others are days away."""
    chance = random.Random(5)
    hours = [hour for hour, wave in enumerate(waves, 1) for _ in range(wave)]
    version = CATALOG.policy_versions[POLICY]
    for first in range(1, count + 1, CHUNK):
        numbers = range(first, min(first + CHUNK, count + 1))
        with engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            changes = [order(number, ("received", "confirmed", "allocated")) for number in numbers]
            write_orders(connection, changes)
            rows: list[tuple[Any, ...]] = []
            for number in numbers:
                at = NOW + hours[number - 1] * HOUR if number <= len(hours) else NOW + timedelta(days=9)
                due_us = to_us(at) + chance.randrange(3_000_000_000 if number <= len(hours) else 10**12)
                started = due_us - 7_200_000_000
                clock = RunningClock(POLICY, number, 0, version, started, started, due_us, None)
                rows.append((number, from_us(due_us), False, False, encode_clocks([clock])))
            copy_rows(connection, running_clocks, [column.name for column in running_clocks.columns], rows)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


def order(number: int, reached: Sequence[str], at: datetime = NOW) -> JourneyChange:
    """An order with these milestones, one a minute, and its picking."""
    start = to_us(at) - 3_600_000_000 + number
    at_us = {name: start + index * 60_000_000 for index, name in enumerate(reached)}
    milestones = {
        name: Reached(name, STEPS[name], when, when, 1, number, when, "odoo", f"{name}-{number}")
        for name, when in at_us.items()
    }
    values: dict[str, Scalar] = {"channel": "shopify", "warehouse": f"w{number % 5}", "promised_date": "2026-03-27"}
    reach = {f"order.{name}": Evidence(1, when, "odoo", "x", number, when, when) for name, when in at_us.items()}
    state = ObjectState(reached=reach, attributes=[AttributeGroup(start, "odoo", "x", values)], events=len(reached))
    return JourneyChange(
        journey_id=number,
        model="order",
        root_id=number,
        key=f"S{number:08}",
        state="open",
        started_us=start,
        last_us=start,
        progress_us=start,
        ended_us=None,
        milestones=milestones,
        attributes=values,
        amount=None,
        currency=None,
        members=[Member(number, None, 0), Member(-number, number, 1)],
        states={number: state, -number: ObjectState(events=1, first_us=start, first_received_us=start)},
        types={number: "order", -number: "picking"},
    )


def write_orders(connection: sa.Connection, changes: Sequence[JourneyChange]) -> None:
    """The orders as the assembler writes them."""
    ids = [object_id for change in changes for object_id in change.types]
    kinds = {object_id: kind for change in changes for object_id, kind in change.types.items()}
    states = {object_id: state for change in changes for object_id, state in change.states.items()}
    copy_rows(connection, objects, ["object_id", "type", "namespace", "key", "epoch"], [
        (object_id, kinds[object_id], "", f"K{abs(object_id):08}", 0) for object_id in ids
    ])  # fmt: skip
    copy_rows(connection, object_states, ["object_id", "state"], [(i, encode_object(states[i])) for i in ids])
    columns = (
        "journey_id", "model", "root_id", "key", "namespace", "root_type", "state", "stage", "stage_rank", "started_at",
        "last_at", "progress_at", "first_received_at", "last_received_at", "channel", "warehouse", "facts",
    )  # fmt: skip
    copy_rows(connection, journeys, columns, [_journey_row(change) for change in changes])


def _journey_row(change: JourneyChange) -> tuple[Any, ...]:
    at = from_us(change.started_us)
    facts = JourneyFacts(members=list(change.members), milestones=list(change.milestones.values()))
    return (
        change.journey_id, change.model, change.root_id, change.key, "", "order", "open", "allocated", 4, at, at, at,
        at, at, change.attributes["channel"], change.attributes["warehouse"], encode_facts(facts),
    )  # fmt: skip


# --- the check --------------------------------------------------------------------------------------------------------


def idle(engine: sa.Engine) -> dict[str, float]:
    """Checks with nothing due."""
    check(engine, NOW)
    times = [timed(lambda: check(engine, NOW)) * 1e3 for _ in range(50)]
    return {"idle_ms_p50": round(median(times), 2), "idle_ms_max": round(max(times), 2)}


def check(engine: sa.Engine, now: datetime) -> int:
    return check_due_once(engine, CATALOG, now=now, applied_through=now)


def due(engine: sa.Engine, waves: Sequence[int]) -> dict[str, dict[str, float]]:
    """For each wave, the time until everything that fell due in its hour is judged."""
    result = {}
    for hour, wave in enumerate(waves, 1):
        now = NOW + (hour + 1) * HOUR - timedelta(minutes=1)
        found: list[int] = []
        before = _cpu(engine)
        spent = timed(lambda now=now, found=found: found.append(check(engine, now)))  # type: ignore[misc]
        result[str(wave)] = {"s": round(spent, 4), "cpu_s": round(_cpu(engine) - before, 2)}
        assert found == [wave], (found, wave)
    with engine.connect() as connection:
        for table in (breaches, signals):
            assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == sum(waves)
    return result


def _cpu(engine: sa.Engine) -> float:
    """CPU seconds so far of this process and of PostgreSQL."""
    return process_time() + postgres_cpu(engine.url.render_as_string(hide_password=False))


def timed(work: Callable[[], Any]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


# --- the hook ---------------------------------------------------------------------------------------------------------


def hook(engine: sa.Engine, count: int) -> dict[str, float]:
    """Microseconds per change, the best of some batches of new orders."""
    times: dict[str, list[float]] = {"started": [], "progress": [], "unchanged": []}
    clocks = Clocks()
    for batch in range(HOOK_BATCHES):
        first = count + 1 + batch * HOOK_BATCH
        numbers = range(first, first + HOOK_BATCH)
        stages = {
            "started": [order(number, ("received",)) for number in numbers],
            "progress": [order(number, ("received", "confirmed", "allocated")) for number in numbers],
            "unchanged": [order(number, ("received", "confirmed", "allocated")) for number in numbers],
        }
        for name, changes in stages.items():
            times[name].append(timed(lambda changes=changes: tell(engine, clocks, CATALOG, changes)))  # type: ignore[misc]
    return {name: round(min(spent) / HOOK_BATCH * 1e6, 1) for name, spent in times.items()}


def tell(engine: sa.Engine, clocks: Clocks, made: Catalog, changes: Sequence[JourneyChange]) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        clocks.on_journeys_changed(connection, made, changes, now=NOW)


if __name__ == "__main__":
    main()
