"""Error budgets over many clocks: judging them, counting hours, the page, and a month's report, on an embedded
PostgreSQL with its usual settings.

Fills the database with `--clocks` clocks of 30 days that have ended, one in fifty of them missed, and prints one JSON
object as its last line: count_ms (the hourly count), judge_ms (the step that runs each minute, the least of five),
page_ms (what page Objectives spends in SQL, the least of five), report_ms and html_ms (a month's report).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from datetime import datetime
from time import perf_counter
from typing import Any, Final

import sqlalchemy as sa
from scratch import database

from dashboards.objectives import FORMS, first_day, report_of
from dashboards.queries import objectives as queries
from milepost.catalog import loader
from milepost.clock import utc_now
from sla.attained import count_hours
from sla.objective.job import judge_once

CATALOG: Final = loader.load(loader.default_texts())
POLICIES: Final = ("order-confirmation", "promised-delivery", "packed-not-shipped")
FILL: Final = (
    "INSERT INTO derived.journeys (journey_id, model, root_id, key, namespace, root_type, state, stage_rank,"
    " started_at, last_at, progress_at, first_received_at, last_received_at, carrier, warehouse, channel, partner,"
    " facts)"
    " SELECT n, 'order', n, 'S' || n, '', 'order', 'completed', 5, t, t, t, t, t,"
    " (ARRAY['dhl', 'ups', 'gls', 'dpd'])[1 + n % 4], (ARRAY['north', 'south'])[1 + n % 2],"
    " (ARRAY['shop', 'edi', 'amazon'])[1 + n % 3], 'P' || (n % 200), ''"
    " FROM (SELECT n, CAST(:now AS timestamptz) - (n % 43200) * interval '1 minute' AS t"
    " FROM generate_series(1, :journeys) AS n) AS many",
    "INSERT INTO derived.clocks (journey_id, policy, subject_id, occurrence, policy_version, state, started_at, due_at,"
    " stopped_at) SELECT journey_id, policy, root_id, 0, 'v',"
    " CASE WHEN hashint8(journey_id * 3 + length(policy)) % 50 = 0 THEN 'missed' ELSE 'met' END,"
    " started_at - interval '4 hours', started_at, started_at"
    " FROM derived.journeys, unnest(CAST(:policies AS text[])) AS policy",
    "INSERT INTO record.breaches (model, root_id, policy, subject_id, occurrence, started_at, due_at, journey_id,"
    ' policy_version, severity, late_known, judged_at, opened_at, ended_at, "end", stopped_at, evidence, dimensions)'
    " SELECT 'order', subject_id, policy, subject_id, 0, started_at, due_at, journey_id, 'v', 'warning', false, due_at,"
    " due_at, due_at, 'late', due_at + interval '1 hour', '{\"why\": \"not in time\"}', '{}'"
    " FROM derived.clocks WHERE state = 'missed'",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clocks", type=int, default=1_000_000, help="how many clocks have ended")
    parser.add_argument("--small", action="store_true", help="20,000 clocks: does it run at all")
    options = parser.parse_args()
    options.clocks = 20_000 if options.small else options.clocks
    now = utc_now()
    with database() as engine:
        clocks = fill(engine, options.clocks, now)
        print(json.dumps({"clocks": clocks, **measure(engine, now)}))


def fill(engine: sa.Engine, clocks: int, now: datetime) -> int:
    """Fill the empty database; how many clocks there are."""
    given = {"now": now, "journeys": clocks // len(POLICIES), "policies": list(POLICIES)}
    with engine.begin() as connection:
        for statement in FILL:
            names = {name: value for name, value in given.items() if f":{name}" in statement}
            connection.execute(sa.text(statement), names)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
        return int(connection.scalar(sa.text("SELECT count(*) FROM derived.clocks")) or 0)


def measure(engine: sa.Engine, now: datetime) -> dict[str, float]:
    def count() -> None:
        with engine.begin() as connection:
            count_hours(connection, CATALOG, now)

    def page() -> None:
        with engine.connect() as connection:
            queries.standings(connection)
            queries.days(connection, first_day(now))
            queries.eaters(connection, POLICIES[0], first_day(now), now, limit=50)

    def report() -> Any:
        with engine.connect() as connection:
            return report_of(connection, CATALOG, f"{now:%Y-%m}", {}, now=now)

    found = {"count_ms": least(count, 1)}
    found["judge_ms"] = least(lambda: judge_once(engine, CATALOG, now=now, through=now))
    found["page_ms"] = least(page)
    made: list[Any] = []
    found["report_ms"] = least(lambda: made.append(report()), 1)
    return {**found, "html_ms": least(lambda: FORMS["html"](made[0]), 1)}


def least(work: Callable[[], object], times: int = 5) -> float:
    """The least time that it took, in milliseconds."""
    taken = []
    for _ in range(times):
        started = perf_counter()
        work()
        taken.append(perf_counter() - started)
    return round(min(taken) * 1000, 1)


if __name__ == "__main__":
    main()
