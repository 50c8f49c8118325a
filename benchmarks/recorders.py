"""Recorders side by side: one, then two, empty the same full event log, with no assembler beside them.

Prints one JSON object as its last line: events a second with each number (`recorded_per_s`), and how many times as fast
two are as one (`two_to_one`). The clock runs from the first transaction that is seen to leave the log to the last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import psycopg
from inprocess import AT_ONCE, append, entry
from interleaved import bodies
from running import PATIENCE, running

from milepost.clock import to_us, utc_now
from milepost.contract import Entry
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import libpq_url, make_engine
from milepost.db.schema import run_migrations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--small", action="store_true", help="20,000 events: does it run at all")
    options = parser.parse_args()
    now = to_us(utc_now())
    entries = [entry(body, now) for body in bodies(20_000 if options.small else options.events)]
    rates = {recorders: measure(entries, recorders) for recorders in (1, 2)}
    told = {str(recorders): round(rate) for recorders, rate in rates.items()}
    print(json.dumps({"events": len(entries), "recorded_per_s": told, "two_to_one": round(rates[2] / rates[1], 2)}))


def measure(entries: Sequence[Entry], recorders: int) -> float:
    """Events a second that so many recorders take out of the log together, in a database of their own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="milepost-bench-")))
        url = stack.enter_context(EmbeddedPostgres(folder / "postgres")).url()
        run_migrations(url)
        engine = make_engine(url)
        append(engine, entries)
        engine.dispose()
        with running(url, folder, ["collector", *["record"] * recorders]) as chain:
            return _rate(chain.url)


def _rate(url: str) -> float:
    """Events a second from when the log has begun to shrink until it is empty."""
    deadline = monotonic() + PATIENCE
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        full = first = _waiting(connection)
        began = monotonic()
        while left := _waiting(connection):
            if first == full and left < full:
                first, began = left, monotonic()
            if monotonic() > deadline:
                raise TimeoutError(f"{left} batches are left")
            sleep(0.02)
    return first * AT_ONCE / (monotonic() - began)


def _waiting(connection: psycopg.Connection[tuple[int]]) -> int:
    row = connection.execute("SELECT count(*) FROM input.event_log").fetchone()
    return row[0] if row else 0


if __name__ == "__main__":
    main()
