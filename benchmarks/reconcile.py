"""Reconciliations over a week of orders, on an embedded PostgreSQL with its usual settings.

Fills the database by SQL with as many orders as `--orders` says, each with a channel's number and a picking, so three
objects and four events an order, spread over seven days; one in a thousand lacks what the other side should have told,
one in a thousand has another amount there. Prints one JSON object as its last line:

- seconds: of each comparison over all seven days, counts, discrepancies and events included: the first run, which opens
  all of them, and the next one, which finds nothing new
- cpu_s: of the database's processor time in the first run, which neighbours on the machine have no part in
- found: how many objects lack something, which is what was left out
- idle_ms: a look at what is due when nothing is
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import sqlalchemy as sa
from scratch import database

from milepost.catalog import loader
from milepost.db import timescale
from sla.reconciliation import job
from sla.reconciliation.statement import Window, compare

NOW: Final = datetime(2026, 3, 20, 12, tzinfo=UTC)
DAYS: Final = 7
ODD: Final = 1_000
"""One order in so many lacks something; another one has another amount."""
CHUNK: Final = 100_000
CATALOG: Final = loader.load(
    {
        **loader.default_texts(),
        "reconciliations.yaml": """
reconciliations:
  by_journey:
    match: journey
    model: order
    left: {sources: ["/shop/*"], events: [order.received]}
    right: {sources: [odoo], events: [order.acknowledged]}
    unless: [order.cancelled]
  amounts:
    compare: amount
    match: journey
    model: order
    left: {sources: ["/shop/*"], events: [order.received]}
    right: {sources: [odoo], events: [order.acknowledged]}
  by_object:
    both_ways: true
    left: {sources: ["/wms/*"], events: [picking.packed]}
    right: {sources: [odoo], events: [picking.done]}
  milestones:
    match: journey
    model: order
    left: {milestone: received}
    right: {milestone: acknowledged}
  by_day:
    compare: count
    left: {sources: ["/wms/*"], events: [picking.packed]}
    right: {sources: [odoo], events: [picking.done]}
""",
    }
)
_TEXT: Final = '\'{{"specversion":"1.0","id":"\' || {id} || \'","source":"{source}","type":"{type}",\''
_BODY: Final = (
    _TEXT + ' || \'"time":"\' || {at} || \'","data":{{"keys":{{\' || {keys} || \'}},"outcome":"ok",'
    '"attributes":{{"channel":"shop","warehouse":"north","carrier":"dhl","amount":"\' || {amount} ||'
    ' \'","currency":"EUR"}}}}}}\''
)
_STEPS: Final = (
    # source, type, which object it is about, minutes after the order, which orders lack it
    ("/shop/one", "order.received", 0, 0, "false"),
    ("odoo", "order.acknowledged", 1, 3, f"n % {ODD} = 7"),
    ("/wms/north", "picking.packed", 2, 60, f"n % {ODD} = 9"),
    ("odoo", "picking.done", 2, 90, f"n % {ODD} = 11"),
)


def main() -> None:
    options = _options()
    with database() as engine:
        started = perf_counter()
        fill(engine, options.orders)
        print(f"filled {options.orders} orders in {perf_counter() - started:.0f} s", flush=True)
        result: dict[str, Any] = {"orders": options.orders, "objects": 3 * options.orders, "events": _count(engine)}
        first: dict[str, float] = {}
        again: dict[str, float] = {}
        cpu: dict[str, float] = {}
        found: dict[str, int] = {}
        for name in CATALOG.reconciliations:
            if options.explain:
                explain(engine, name)
            before = backend_cpu(engine)
            first[name], found[name] = timed_run(engine, name)
            cpu[name] = round(backend_cpu(engine) - before, 2)
            again[name], _ = timed_run(engine, name)
            print(f"{name}: {first[name]} s, then {again[name]} s, {found[name]} found", flush=True)
        idle = perf_counter()
        assert job.run_due(engine, CATALOG, now=NOW, through=NOW) == 0
        result |= {"seconds": first, "again_seconds": again, "cpu_s": cpu, "found": found}
        result["idle_ms"] = round((perf_counter() - idle) * 1e3, 1)
    print(json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000, help="how many orders")
    parser.add_argument("--explain", action="store_true", help="print the plan of each comparison")
    parser.add_argument("--small", action="store_true", help="10,000 orders: does it run at all")
    options = parser.parse_args()
    options.orders = 10_000 if options.small else options.orders
    return options


def timed_run(engine: sa.Engine, name: str) -> tuple[float, int]:
    """Seconds, and how many objects don't agree (of days, how many days)."""
    begun = perf_counter()
    result = job.run(engine, CATALOG, name, now=NOW, through=NOW)
    seconds = round(perf_counter() - begun, 2)
    days = [day for day, _ in result.days]
    differ = sum(day.only_left + day.only_right + day.differing for day in days)
    return seconds, differ or sum(abs(day.left - day.right) for day in days)


def backend_cpu(engine: sa.Engine) -> float:
    """Seconds of processor time of the one connection that everything here uses."""
    with engine.connect() as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def explain(engine: sa.Engine, name: str) -> None:
    """The plan of the comparison with what it took, in a transaction that is rolled back."""
    one = CATALOG.reconciliations[name]
    made = compare(name, one, Window(NOW - timedelta(days=DAYS), NOW - timedelta(hours=2)))
    with engine.connect() as connection:
        connection.execute(sa.text("SET LOCAL work_mem = '64MB'"))
        connection.execute(sa.text("SET LOCAL jit = off"))
        plan = connection.execute(sa.text(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF) {made.sql}"), made.parameters)
        print("\n".join(plan.scalars()))


def _count(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(sa.text("SELECT count(*) FROM input.events")) or 0)


# --- filling ----------------------------------------------------------------------------------------------------------


def fill(engine: sa.Engine, orders: int) -> None:
    """Orders as the chain leaves them. Objects 3n+1, 3n+2, 3n+3 are the channel's number, the order, the picking."""
    with engine.begin() as connection:
        timescale.ensure_partitions(connection, NOW - timedelta(days=DAYS + 1), NOW)
    for first in range(0, orders, CHUNK):
        bounds = {"first": first, "last": min(first + CHUNK, orders) - 1, "orders": orders}
        with engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
            for statement in _statements():
                connection.execute(sa.text(statement), {**bounds, "begin": NOW - timedelta(days=DAYS)})
    with engine.begin() as connection:
        for source in ("/shop/one", "odoo", "/wms/north"):
            connection.execute(
                sa.text("INSERT INTO input.source_stats VALUES (:source, 1, 0, 0, 0, :now, :now, :now)"),
                {"source": source, "now": NOW},
            )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))


def _statements() -> Iterator[str]:
    numbers = "FROM generate_series(CAST(:first AS bigint), :last) AS n"
    at = f"(CAST(:begin AS timestamptz) + n * (interval '{DAYS} days' / CAST(:orders AS bigint)))"
    for place, (kind, key) in enumerate((("channel_order", "C"), ("order", "S"), ("picking", "P"))):
        yield (
            "INSERT INTO input.objects (object_id, type, namespace, key)"
            f" SELECT 3 * n + {place + 1}, '{kind}', '', '{key}' || lpad(n::text, 8, '0') {numbers}"
        )
    yield (
        "INSERT INTO derived.journeys (journey_id, model, root_id, key, namespace, root_type, state, stage, stage_rank,"
        " started_at, last_at, progress_at, first_received_at, last_received_at, amount, currency, facts)"
        " SELECT n + 1, 'order', 3 * n + 2, 'S' || lpad(n::text, 8, '0'), '', 'order', 'open', 'packed', 7,"
        f" {at}, {at}, {at}, {at}, {at} + interval '2 hours', 10, 'EUR', '\\x00' {numbers}"
    )
    for place in range(3):
        via, depth = ("NULL", 0) if place == 1 else ("3 * n + 2", 1)
        yield (
            "INSERT INTO derived.members (journey_id, object_id, via_id, depth)"
            f" SELECT n + 1, 3 * n + {place + 1}, {via}, {depth} {numbers}"
        )
    for name, rank, lacks in (("received", 0, "false"), ("acknowledged", 2, f"n % {ODD} = 7")):
        yield (
            "INSERT INTO derived.milestones (journey_id, name, rank, reached_at, last_at, count, event_no, received_at)"
            f" SELECT n + 1, '{name}', {rank}, {at}, {at}, 1, 4 * n + 1, {at} {numbers} WHERE NOT ({lacks})"
        )
    for step, (source, kind, place, minutes, lacks) in enumerate(_STEPS):
        when = f"({at} + interval '{minutes} minutes')"
        keys = {
            0: "'\"channel_order\":\"C' || lpad(n::text, 8, '0') || '\"'",
            1: "'\"order\":\"S' || lpad(n::text, 8, '0') || '\",\"channel_order\":\"C' || n || '\"'",
            2: "'\"picking\":\"P' || lpad(n::text, 8, '0') || '\"'",
        }[place]
        amount = f"CASE WHEN '{source}' = 'odoo' AND n % {ODD} = 5 THEN '12.00' ELSE '10.00' END"
        number = f"'{step}-' || n"
        body = _BODY.format(id=number, source=source, type=kind, at=f"to_char({when}, 'YYYY-MM-DD\"T\"HH24:MI:SSZ')",
                            keys=keys, amount=amount)  # fmt: skip
        yield (
            "INSERT INTO input.events (event_no, received_at, occurred_at, claimed_at, source, event_id, type, outcome,"
            f" flags, body) SELECT 4 * n + {step + 1}, {when}, {when}, {when}, '{source}', {number}, '{kind}', 'ok', 0,"
            f" CAST({body} AS json) {numbers} WHERE NOT ({lacks})"
        )
        yield (
            "INSERT INTO input.event_object (object_id, received_at, event_no, subject)"
            f" SELECT 3 * n + {place + 1}, {when}, 4 * n + {step + 1}, true {numbers} WHERE NOT ({lacks})"
        )


if __name__ == "__main__":
    main()
