"""One key in very many orders: a tracking number that somebody typed everywhere, a correlation id that never changes.

Three streams of the same events go through a recorder and an assembler in this process, each into a database of its
own: as they should be, with one more tracking number in every order (`shared_key`), and with that and one correlation
id in every event (`shared_id`). Prints one JSON object as its last line: for each stream events_per_s, its longest step
and what was reported as a hub; and the ratios to the first stream. cpu_us_per_event is the processor time of this
process, recorder and assembler; PostgreSQL's is not in it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any, Final

import msgspec
import psutil
import psycopg
import sqlalchemy as sa
from inprocess import append, entry, settle

from milepost.clock import to_us, utc_now
from milepost.contract import Entry
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import libpq_url, make_engine
from milepost.db.schema import run_migrations

STEPS: Final = ("order.received", "shipment.dispatched", "picking.done")
STREAMS: Final = {"plain": (False, False), "shared_key": (True, False), "shared_id": (True, True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--small", action="store_true", help="3,000 orders: does it run at all")
    options = parser.parse_args()
    orders = 3_000 if options.small else options.orders
    with (
        tempfile.TemporaryDirectory(prefix="milepost-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
    ):
        figures = {name: measure(server, name, orders) for name in STREAMS}
    plain = figures["plain"]["events_per_s"]
    ratios = {f"{name}_ratio": round(each["events_per_s"] / plain, 3) for name, each in figures.items()}
    print(json.dumps({"orders": orders, **ratios, **figures}))


def measure(server: EmbeddedPostgres, name: str, orders: int) -> dict[str, Any]:
    """One stream from a full log to journeys."""
    with psycopg.connect(libpq_url(server.url()), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    url = server.url(name)
    run_migrations(url)
    engine = make_engine(url)
    append(engine, stream(orders, *STREAMS[name]))
    cpu, times, events = process_time(), settle(engine), orders * len(STEPS)
    figures: dict[str, Any] = {
        "events_per_s": round(events / times[-1]),
        "cpu_us_per_event": round((process_time() - cpu) / events * 1e6, 1),
        "longest_step_s": round(max(after - before for before, after in pairwise(times)), 2),
        "rss_mb": round(psutil.Process().memory_info().rss / 1e6),
    }
    with engine.connect() as connection:
        hubs = connection.execute(sa.text("SELECT type, key, parents, parent_type FROM derived.hubs ORDER BY type"))
        figures["hubs"] = [tuple(row) for row in hubs]
        figures["journeys"] = connection.scalar(sa.text("SELECT count(*) FROM derived.journeys"))
    engine.dispose()
    return figures


def stream(orders: int, shared_key: bool, shared_id: bool) -> Iterator[Entry]:
    """Three events an order."""
    now = to_us(utc_now())
    for order in range(orders):
        named = {"order": f"S{order:07d}"}
        keys = (
            named,
            {**named, "shipment": [f"1Z{order:08d}", *(["TYPEDOVER1"] if shared_key else [])]},
            {**named, "picking": f"WH/OUT/{order:07d}"},
        )
        for kind, about in zip(STEPS, keys, strict=True):
            wire: dict[str, Any] = {
                "specversion": "1.0", "id": f"{kind}-{order}", "source": "/wms/north", "type": kind,
                "time": "2026-11-20T10:00:00Z", "data": {"keys": about},
            }  # fmt: skip
            if shared_id:
                wire["correlationid"] = "CONSTANT-1"
            yield entry(msgspec.json.encode(wire), now)


if __name__ == "__main__":
    main()
