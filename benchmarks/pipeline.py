"""End to end: events over HTTP until their journeys, with clocks, can be queried.

Collector, recorder and assembler run as processes of `milepost run`. Prints one JSON object as its last line:
events_per_s (all events sent, over the time from the first request until event log and touches are empty),
copy_rows_per_s (as benchmarks/ingest.py), their ratio, and what the stream was made of. With --after: the same stream
once more on a database that holds so many events already (after_…), and the ratio of both speeds (after_ratio).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, Final

import psycopg
from collecting import make_key
from ingest import copy_rows
from interleaved import ORDERS_PER_SHIPMENT, PER_ORDER, bodies
from running import PATIENCE, Running, drain, own_settings, post, running
from seeding import fill, found

from milepost.clock import utc_now
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import libpq_url
from milepost.db.schema import run_migrations

BATCH: Final = 500
FIRST: Final = 5_000_000
"""The number of the first order: above those of a filled database."""


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="milepost-bench-") as name:
        folder = Path(name)
        with EmbeddedPostgres(folder / "postgres") as server:
            run_migrations(server.url())
            figures = measure(server.url(), options, folder)
        if options.after:
            figures |= after(options, folder, figures["events_per_s"])
    print(json.dumps(figures))


def after(options: argparse.Namespace, folder: Path, empty: float) -> dict[str, Any]:
    """The same stream on a database that holds `options.after` events already."""
    with EmbeddedPostgres(options.data_dir or folder / "filled") as server:
        run_migrations(server.url())
        before = found(server.url()) or fill(server.url(), options.after, utc_now())
        _refuse_used(server.url())
        figures = measure(server.url(), options, folder)
    return {
        "after_events": before.events,
        "after_events_per_s": figures["events_per_s"],
        "after_ratio": round(figures["events_per_s"] / empty, 3),
        "after_rss_mb": figures["rss_mb"],
        "after_cpu_us_per_event": figures["cpu_us_per_event"],
    }


def _refuse_used(url: str) -> None:
    """A stream that was sent before is all repeats: a filled database serves one run."""
    with psycopg.connect(libpq_url(url)) as connection:
        if connection.execute("SELECT FROM input.objects WHERE key = %s", [f"S{FIRST:07d}"]).fetchone() is not None:
            raise SystemExit("--data-dir: an earlier run has sent this stream to it; fill a new one")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--open-orders", type=int, default=20_000, help="orders under way at once")
    parser.add_argument("--recorders", type=int, default=1)
    parser.add_argument("--rebuild", action="store_true", help="rebuild everything derived afterwards, and time it")
    parser.add_argument("--after", type=int, default=0, help="once more, on a database filled with so many events")
    parser.add_argument("--data-dir", type=Path, help="where that database is kept: one that queries.py filled will do")
    parser.add_argument("--small", action="store_true", help="20,000 events, also after 40,000: does it run at all")
    options = parser.parse_args()
    if options.small:
        options.events, options.open_orders, options.after = 20_000, 1_000, 40_000
    return options


def measure(url: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Send the stream and wait until all of it is in the journeys."""
    key = make_key(url, sources=["*"])
    copied = copy_rows(url, 100_000 if options.events > 100_000 else 20_000)
    stream = folder / "stream"
    sent = _write(stream, bodies(options.events, open_orders=options.open_orders, first=FIRST))
    processes = ["collector", *["record"] * options.recorders, "assemble"]
    with running(url, folder, processes) as chain:
        before, start = chain.cpu(), monotonic()
        _send(chain, stream, key)
        acknowledged = monotonic() - start
        drain(chain)
        elapsed = monotonic() - start
        used = {name: spent - before[name] for name, spent in chain.cpu().items()}
        rss = chain.rss_mb()
        rebuilt = {"rebuilt_events_per_s": round(_rebuild(url, folder))} if options.rebuild else {}
    events_per_s = sent / elapsed
    return {
        "events_per_s": round(events_per_s),
        "copy_rows_per_s": round(copied),
        "copy_ratio": round(events_per_s / copied, 3),
        "events_sent": sent,
        "seconds": round(elapsed, 1),
        "acknowledged_after_s": round(acknowledged, 1),
        "correlation_ids_per_order": 1,
        "events_per_order": PER_ORDER,
        "orders_per_shipment": ORDERS_PER_SHIPMENT,
        "recorders": options.recorders,
        "rss_mb": rss,
        "cpu_us_per_event": {name: round(spent / sent * 1_000_000, 1) for name, spent in used.items()},
        "journey_updates_per_s": round(_updates(url) / elapsed),
        **_stored(url),
        **rebuilt,
    }


def _rebuild(url: str, folder: Path) -> float:
    """Stored events a second that `milepost rebuild` takes, from its start to the swap, beside the live processes."""
    start = monotonic()
    command = [sys.executable, "-m", "milepost", "rebuild"]
    subprocess.run(command, env=own_settings(url, folder), check=True, timeout=PATIENCE)
    elapsed = monotonic() - start
    with psycopg.connect(libpq_url(url)) as connection:
        row = connection.execute("SELECT count(*) FROM input.events").fetchone()
    return (row[0] if row else 0) / elapsed


def _write(path: Path, stream: Iterable[bytes]) -> int:
    """Request bodies of BATCH events, a line each, made beforehand so that the client costs next to nothing."""
    sent = 0
    events = iter(stream)
    with path.open("wb") as file:
        while batch := list(islice(events, BATCH)):
            file.write(b"[" + b",".join(batch) + b"]\n")
            sent += len(batch)
    return sent


def _send(chain: Running, path: Path, key: str) -> None:
    connection = chain.connect()
    with path.open("rb") as file:
        for line in file:
            post(connection, line, key)


def _updates(url: str) -> int:
    """Rows of journeys that were written so far, new or changed. Backends tell their counts when they end."""
    written = "SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_user_tables WHERE relid = 'derived.journeys'::regclass"
    with psycopg.connect(libpq_url(url)) as connection:
        row = connection.execute(written).fetchone()
    return int(row[0] or 0) if row else 0


def _stored(url: str) -> dict[str, int]:
    names = {
        "events_stored": "input.events",
        "journeys": "derived.journeys",
        "milestones": "derived.milestones",
        "running_clocks": "derived.running_clocks",
    }
    with psycopg.connect(libpq_url(url)) as connection:
        rows = {name: connection.execute(f"SELECT count(*) FROM {table}").fetchone() for name, table in names.items()}
    return {name: int(row[0]) if row else 0 for name, row in rows.items()}


if __name__ == "__main__":
    main()
