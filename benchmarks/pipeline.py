"""End to end: events over HTTP until their journeys, with clocks, can be queried.

Collector, recorder and assembler run as processes of `milepost run`. Prints one JSON object as its last line:
events_per_s (all events sent, over the time from the first request until event log and touches are empty),
copy_rows_per_s (as benchmarks/ingest.py), their ratio, and what the stream was made of.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, Final

import psycopg
from collecting import make_key
from ingest import copy_rows
from interleaved import ORDERS_PER_SHIPMENT, PER_ORDER, bodies
from running import PATIENCE, Running, drain, own_settings, post, running

from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import libpq_url
from milepost.db.schema import run_migrations

BATCH: Final = 500


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="milepost-bench-")))
        url = stack.enter_context(EmbeddedPostgres(folder / "postgres")).url()
        run_migrations(url)
        figures = measure(url, options, folder)
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--open-orders", type=int, default=20_000, help="orders under way at once")
    parser.add_argument("--recorders", type=int, default=1)
    parser.add_argument("--rebuild", action="store_true", help="rebuild everything derived afterwards, and time it")
    parser.add_argument("--small", action="store_true", help="20,000 events: does it run at all")
    options = parser.parse_args()
    if options.small:
        options.events, options.open_orders = 20_000, 1_000
    return options


def measure(url: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Send the stream and wait until all of it is in the journeys."""
    key = make_key(url, sources=["*"])
    copied = copy_rows(url, 100_000 if options.events > 100_000 else 20_000)
    stream = folder / "stream"
    sent = _write(stream, bodies(options.events, open_orders=options.open_orders))
    processes = ["collector", *["record"] * options.recorders, "assemble"]
    with running(url, folder, processes) as chain:
        before, start = chain.cpu(), monotonic()
        _send(chain, stream, key)
        acknowledged = monotonic() - start
        drain(url)
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
