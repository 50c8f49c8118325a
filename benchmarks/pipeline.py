"""End to end: events over HTTP until their journeys, with clocks, can be queried.

Collector, recorder and assembler run as processes of `milepost run`. Prints one JSON object as its last line:
events_per_s (all events sent, over the time from the first request until event log and touches are empty),
copy_rows_per_s (as benchmarks/ingest.py), their ratio, and what the stream was made of.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import psutil
import psycopg
from ingest import copy_rows, make_key
from interleaved import PER_ORDER, bodies

from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import libpq_url
from milepost.db.schema import run_migrations

BATCH: Final = 500
PORT: Final = 18_787
PATIENCE: Final = 900.0
_LEFT: Final = "SELECT (SELECT count(*) FROM input.event_log) + (SELECT count(*) FROM derived.touches)"


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
    with ExitStack() as stack:
        watched = [stack.enter_context(_process(name, url, folder)) for name in processes]
        _wait_ready()
        before, start = _cpu(watched, url), monotonic()
        _send(stream, key)
        acknowledged = monotonic() - start
        _drain(url)
        elapsed = monotonic() - start
        used = {name: spent - before[name] for name, spent in _cpu(watched, url).items()}
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
        "orders_sharing_a_shipment": "2 of 20",
        "recorders": options.recorders,
        "cpu_us_per_event": {name: round(spent / sent * 1_000_000, 1) for name, spent in used.items()},
        **_stored(url),
        **rebuilt,
    }


def _rebuild(url: str, folder: Path) -> float:
    """Stored events a second that `milepost rebuild` takes, from its start to the swap, beside the live processes."""
    own = {"MILEPOST_DATABASE_URL": url, "MILEPOST_DATA_DIR": str(folder / "data")}
    start = monotonic()
    subprocess.run([sys.executable, "-m", "milepost", "rebuild"], env=os.environ | own, check=True, timeout=PATIENCE)
    elapsed = monotonic() - start
    with psycopg.connect(libpq_url(url)) as connection:
        row = connection.execute("SELECT count(*) FROM input.events").fetchone()
    return (row[0] if row else 0) / elapsed


def _cpu(watched: Sequence[tuple[str, int]], url: str) -> dict[str, float]:
    """CPU seconds so far of the processes and of PostgreSQL with all its backends."""
    spent: dict[str, float] = {}
    for name, pid in watched:
        times = psutil.Process(pid).cpu_times()
        spent[name] = spent.get(name, 0.0) + times.user + times.system
    with psycopg.connect(libpq_url(url)) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        server = psutil.Process(row[0] if row else None).parent()
        assert server is not None
        family = [server, *server.children()]
        spent["postgres"] = sum(sum(each.cpu_times()[:4]) for each in family[:1])
        spent["postgres"] += sum(sum(each.cpu_times()[:2]) for each in family[1:])
    return spent


@contextmanager
def _process(name: str, url: str, folder: Path) -> Iterator[tuple[str, int]]:
    """One process of `milepost run`; its output goes to a file."""
    own = {
        "MILEPOST_DATABASE_URL": url,
        "MILEPOST_PORT": str(PORT),
        "MILEPOST_OTLP_PORT": "0",
        "MILEPOST_DATA_DIR": str(folder / "data"),
    }
    with (folder / f"{name}.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "milepost", "run", name], env=os.environ | own, stdout=output, stderr=output
        )
    try:
        yield name, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _wait_ready() -> None:
    deadline = monotonic() + 60
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        if monotonic() > deadline:
            raise TimeoutError("the collector did not become ready")
        sleep(0.1)


def _write(path: Path, stream: Iterable[bytes]) -> int:
    """Request bodies of BATCH events, a line each, made beforehand so that the client costs next to nothing."""
    sent = 0
    events = iter(stream)
    with path.open("wb") as file:
        while batch := list(islice(events, BATCH)):
            file.write(b"[" + b",".join(batch) + b"]\n")
            sent += len(batch)
    return sent


def _send(path: Path, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/cloudevents-batch+json"}
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
    with path.open("rb") as file:
        for line in file:
            while True:
                connection.request("POST", "/v1/events", body=line, headers=headers)
                response = connection.getresponse()
                answer = response.read()
                if response.status == 202:
                    break
                if response.status not in (429, 503):
                    raise RuntimeError(f"{response.status}: {answer!r}")
                sleep(0.05)


def _drain(url: str) -> None:
    deadline = monotonic() + PATIENCE
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        while (row := connection.execute(_LEFT).fetchone()) and row[0]:
            if monotonic() > deadline:
                raise TimeoutError(f"{row[0]} batches are left")
            sleep(0.05)


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
