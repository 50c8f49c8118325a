"""How long exports take, and how much memory: each form in a process of its own, of everything that is stored.

Fills an embedded PostgreSQL (benchmarks/seeding.py), or takes one that an earlier run left in --data-dir, and prints
one JSON object as its last line. For each form: seconds (`cpu_s`: of the processor in the process itself), events/s,
MiB of the file, and the process's greatest resident memory in MiB. `idle_mib` is that of a process that has loaded
everything and exports one journey; `copy_s` is how long PostgreSQL takes to COPY the bodies of the events out, by which
the machine can be told.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from seeding import fill, found

from exports import csv, ocel_json, ocel_sqlite, parquet, snapshot, tables, xes
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import libpq_url, make_engine
from milepost.db.schema import run_migrations
from milepost.db.tables import journeys
from milepost.wiring.exports import business, reader

FORMS: Final = ("csv journeys", "csv durations", "csv events", "parquet journeys", "xes", "ocel-json", "ocel-sqlite")


def main() -> None:
    options = _options()
    if options.form:
        print(json.dumps(_export(options.url, options.form, options.out, one=options.one)))
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="milepost-bench-")))
        url = options.url or stack.enter_context(EmbeddedPostgres(options.data_dir or folder / "postgres")).url()
        run_migrations(url)
        filled = found(url) or fill(url, options.events, utc_now())
        said: dict[str, Any] = {"events": filled.events, "orders": filled.orders, "copy_s": _copied(url)}
        said["idle_mib"] = _child(url, FORMS[0], folder, "--one")["mib"]
        for form in FORMS:
            done = _child(url, form, folder)
            said[form] = {**done, "events_per_s": round(filled.events / done["seconds"])}
            print(form, said[form], flush=True)
    print(json.dumps(said))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--small", action="store_true", help="20,000 events")
    parser.add_argument("--url", help="a database to take instead of the embedded one")
    parser.add_argument("--data-dir", type=Path, help="where the database is kept; filled if it isn't yet")
    parser.add_argument("--form", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.events = 20_000 if options.small else options.events
    return options


def _child(url: str, form: str, folder: Path, *more: str) -> dict[str, Any]:
    out = folder / "export"
    command = [sys.executable, __file__, "--url", url, "--form", form, "--out", str(out), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3600)
    out.unlink()
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def _copied(url: str) -> float:
    started = time.monotonic()
    statement = "COPY (SELECT body FROM input.events) TO STDOUT"
    with psycopg.connect(libpq_url(url)) as connection, connection.cursor() as cursor, cursor.copy(statement) as copy:
        for _ in copy:
            continue
    return round(time.monotonic() - started, 2)


def _export(url: str, form: str, out: Path, *, one: bool) -> dict[str, Any]:
    engine, catalog = make_engine(url), loader.load(loader.default_texts())
    chosen = sa.select(journeys.c.journey_id).limit(1) if one else None
    kind, _, what = form.partition(" ")
    started = time.monotonic()
    with snapshot.opened(engine, chosen) as view:
        if kind == "ocel-sqlite":
            ocel_sqlite.write(out, view, reader(catalog))
        elif kind == "parquet":
            parquet.write(out, tables.table(_what(what), view, catalog, business(catalog)))
        else:
            chunks = {
                "ocel-json": lambda: ocel_json.chunks(view, reader(catalog)),
                "xes": lambda: xes.chunks(view, "order"),
                "csv": lambda: csv.chunks(tables.table(_what(what), view, catalog, business(catalog))),
            }[kind]()
            with out.open("wb") as file:
                file.writelines(chunks)
    return {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_s": round(time.process_time(), 1),
        "mib": _peak_mib(),
        "file_mib": round(out.stat().st_size / 2**20, 1),
    }


def _peak_mib() -> int:
    """Of this program alone: getrusage counts what its parent had before it."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


def _what(text: str) -> tables.What:
    return next(what for what in tables.WHATS if what == text)


if __name__ == "__main__":
    main()
