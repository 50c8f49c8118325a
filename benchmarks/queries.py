"""How fast journeys can be read when there are many: 20 million events, 1.7 million orders.

Fills an embedded PostgreSQL (benchmarks/seeding.py), or takes one that an earlier run left in --data-dir, and prints
one JSON object as its last line. Times in milliseconds, of random journeys:

- timeline: one journey by its key, with its members and events (promise: p95 < 20)
- search: by order, tracking number, invoice, purchase order, picking, correlation id and by prefixes, each with the
  page of journeys that it finds (p95 < 50)
- pages: what each page of the dashboards spends in SQL for a rendering, frame and body (p95 < 300). All pages are taken
  from the application; those for which no address is known are told as `not_measured`
- bytes_per_event: what is on disk by table, with its indexes; compressed_… where TimescaleDB can (community edition)
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import sqlalchemy as sa
from interleaved import shipment_of
from pages import Pages
from seeding import Filled, fill, found
from sqltime import SqlTime

from dashboards.queries import journey as journey_queries
from dashboards.queries import journeys as journeys_queries
from dashboards.queries import search
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.db import timescale
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import make_engine
from milepost.db.schema import run_migrations

CATALOG: Final = loader.load(loader.default_texts())
TIMELINE_MS: Final = 20.0
SEARCH_MS: Final = 50.0
PAGE_MS: Final = 300.0
_KEYS: Final[Mapping[str, Callable[[int], str]]] = {
    "order": "S{:07d}".format,
    "order in small letters": "s{:07d}".format,
    "tracking number": lambda number: f"1Z{shipment_of(number):08d}",
    "invoice": "INV/{:07d}".format,
    "purchase order": "PO-{:07d}".format,
    "picking": "WH/OUT/{:07d}".format,
    "correlation id": "c{:08d}".format,
    "prefix of 5": lambda number: f"S{number:07d}"[:5],
    "prefix of 1": lambda _: "S",
    "nothing": "X{:07d}".format,
}
_SIZES: Final = sa.text(
    "SELECT coalesce(p.relnamespace, c.relnamespace)::regnamespace::text || '.' ||"
    " CASE WHEN c.relname ~ '^identities_' THEN 'identities' WHEN c.relname ~ '_chunk_compressed$' THEN 'compressed'"
    " ELSE coalesce(p.relname, c.relname) END AS name,"
    " sum(pg_table_size(c.oid)) AS rows, sum(pg_indexes_size(c.oid)) AS indexes FROM pg_class AS c"
    " LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid LEFT JOIN pg_class AS p ON p.oid = i.inhparent"
    " WHERE c.relkind = 'r' AND (c.relname ~ '_chunk_compressed$' OR"
    " coalesce(p.relnamespace, c.relnamespace)::regnamespace::text IN ('input', 'derived', 'record'))"
    " GROUP BY 1 ORDER BY 2 DESC"
)


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        url = options.url or _embedded(stack, options.data_dir)
        run_migrations(url)
        filled = found(url) or fill(url, options.events, utc_now())
        engine = make_engine(url)
        stack.callback(engine.dispose)
        print(json.dumps(measure(engine, filled, options)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--times", type=int, default=300, help="journeys and searches that are read")
    parser.add_argument("--data-dir", type=Path, help="where the database is kept; filled if it isn't yet")
    parser.add_argument("--url", default="", help="an empty database of another server, TimescaleDB for example")
    parser.add_argument("--small", action="store_true", help="60,000 events: does it run at all")
    options = parser.parse_args()
    if options.small:
        options.events, options.times = 60_000, 20
    return options


def _embedded(stack: ExitStack, folder: Path | None) -> str:
    data = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="milepost-bench-"))) / "postgres"
    return stack.enter_context(EmbeddedPostgres(data)).url()


def measure(engine: sa.Engine, filled: Filled, options: argparse.Namespace) -> dict[str, Any]:
    chance = random.Random(7)
    numbers = [chance.randrange(filled.orders * 4 // 5) for _ in range(options.times)]  # the last ones are under way
    sql = SqlTime(engine)
    with engine.connect() as connection:
        _timeline(connection, "S0000000")  # plans and catalogs
        timeline = [timed(lambda n=n: _timeline(connection, f"S{n:07d}")) for n in numbers]  # type: ignore[misc]
    searches = _searches(engine, sql, numbers)
    pages = Pages(engine, filled, chance).measure(sql, renderings=max(5, options.times // 10))
    worst = {name: figures for name, figures in pages.spent.items() if figures["p95"] > PAGE_MS}
    _explain(engine, sql, [*worst, *(name for name, each in searches.items() if each["p95"] > SEARCH_MS)])
    return {
        "events": filled.events,
        "orders": filled.orders,
        "timeline_p50_ms": percentile(timeline, 0.5),
        "timeline_p95_ms": percentile(timeline, 0.95),
        "search_p95_ms": max(each["p95"] for each in searches.values()),
        "search_ms": searches,
        "page_p95_ms": max(each["p95"] for each in pages.spent.values()),
        "pages_ms": pages.spent,
        "not_measured": pages.unknown,
        **storage(engine, filled),
    }


def _timeline(connection: sa.Connection, key: str) -> None:
    """What the journey's timeline needs, by the order's key."""
    head = journey_queries.candidates(connection, CATALOG, "order", key)[0]
    members = journey_queries.member_list(connection, head.journey_id)
    events = journey_queries.event_list(connection, head, [member.object_id for member in members])
    assert events
    connection.rollback()


def _searches(engine: sa.Engine, sql: SqlTime, numbers: Sequence[int]) -> dict[str, dict[str, float]]:
    spent = {}
    kinds = list(CATALOG.models)
    for name, form in _KEYS.items():
        times = []
        for number in numbers[:100]:
            with engine.connect() as connection, sql.of(name):
                started = perf_counter()
                ids = search.find(connection, CATALOG, form(number))
                journeys_queries.list_page(connection, journeys_queries.Filter(ids=ids), kinds=kinds)
                times.append((perf_counter() - started) * 1e3)
            assert bool(ids) == (name != "nothing"), (name, form(number), ids)
        spent[name] = {"p50": percentile(times, 0.5), "p95": percentile(times, 0.95)}
    return spent


def _explain(engine: sa.Engine, sql: SqlTime, names: Sequence[str]) -> None:
    """The plan of the slowest statement of each of these, for whoever mends it."""
    for name in names:
        statement, parameters, milliseconds = sql.slowest(name)
        print(f"\n== {name}: {milliseconds:.0f} ms\n{statement}\n{parameters}", file=sys.stderr)
        with engine.connect() as connection:
            for (line,) in connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {statement}", parameters):
                print(line, file=sys.stderr)


def storage(engine: sa.Engine, filled: Filled) -> dict[str, Any]:
    """Bytes on disk per event, by table: rows and indexes. Compressed as well, where the database can."""
    with engine.begin() as connection:
        figures = {"database": timescale.flavour(connection), **_sizes(connection, filled)}
    with engine.begin() as connection:
        chunks = timescale.compress_before(connection, filled.now + timedelta(days=2))
        compressed = _sizes(connection, filled) if chunks else {}
    return figures | {f"compressed_{name}": value for name, value in compressed.items()}


def _sizes(connection: sa.Connection, filled: Filled) -> dict[str, Any]:
    rows = connection.execute(_SIZES).all()
    sizes = {name: [round(int(size) / filled.events, 1) for size in pair] for name, *pair in rows}
    return {
        "bytes_per_event": round(sum(map(sum, sizes.values())), 1),
        "bytes_per_event_by_table": {name: pair for name, pair in sizes.items() if sum(pair) >= 1},
    }


def timed(step: Callable[[], object]) -> float:
    """Milliseconds."""
    started = perf_counter()
    step()
    return (perf_counter() - started) * 1e3


def percentile(values: Sequence[float], share: float) -> float:
    return round(sorted(values)[int(share * (len(values) - 1))], 1)


if __name__ == "__main__":
    main()
