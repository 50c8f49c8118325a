"""Durable ingest over HTTP: one collector process on an embedded PostgreSQL with fsync on.

Prints one JSON object as its last line:

- batch_events_per_s: events acknowledged in batches of 500
- single_requests_per_s: single events acknowledged, one a request
- noop_requests_per_s: a FastAPI endpoint that does nothing, under the same server settings and the same client
- single_to_noop: their ratio
- copy_rows_per_s: COPY in text, row by row, of the same events' columns into a table with two btree indexes
- …_p50_ms, …_p99_ms: latency as the client sees it

Every server is warmed up before it is measured. `--profile FILE` writes the collector's cProfile statistics.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import json
import multiprocessing
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Final

import psycopg
import uvicorn
import uvloop
from fastapi import FastAPI
from http_load import Load, Measured, run, timed

from collector.app import make_app
from collector.server import server_config
from collector.store import DatabaseStore
from milepost import settings
from milepost.clock import utc_now
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import make_engine
from milepost.db.schema import run_migrations
from milepost.decisions import access

BATCH: Final = 500
MARK: Final = b"@@@@@@@@@@"
WARM_UP: Final = 1.5
_TABLE: Final = (
    "CREATE TABLE copied (event_id text, source text, type text, occurred_at timestamptz, "
    "received_at timestamptz, correlation_id text, outcome text, body text)"
)
_INDEXES: Final = (
    "CREATE INDEX ON copied (source, event_id)",
    "CREATE INDEX ON copied (received_at)",
)
_spawn: Final = multiprocessing.get_context("spawn")


def main() -> None:
    options = _options()
    with (
        tempfile.TemporaryDirectory(prefix="milepost-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
    ):
        figures = measure(server.url(), options.seconds, options.profile)
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="how long each load runs")
    parser.add_argument("--small", action="store_true", help="2 seconds each: does it run at all")
    parser.add_argument("--profile", default="", help="where to write the collector's profile")
    options = parser.parse_args()
    options.seconds = 2.0 if options.small else options.seconds
    return options


def measure(url: str, seconds: float, profile: str = "") -> dict[str, Any]:
    """All figures on the database at `url`."""
    run_migrations(url)
    key = make_key(url)
    with serving(_serve_noop, ()) as port:
        noop = _warm(Load(port, "/noop", single(), "application/cloudevents+json", key, 64, seconds, MARK))
    with serving(_serve_collector, (url, profile)) as port:
        events = Load(port, "/v1/events", single(), "application/cloudevents+json", key, 64, seconds, MARK)
        one = _warm(events)
        _empty(url)
        many = _warm(
            replace(events, body=batch(), content_type="application/cloudevents-batch+json", connections=8, first=10**8)
        )
        stored = _stored(url)
        _empty(url)
    return {
        "batch_events_per_s": round(many.per_second * BATCH),
        "batch_p50_ms": many.percentile_ms(0.5),
        "batch_p99_ms": many.percentile_ms(0.99),
        "single_requests_per_s": round(one.per_second),
        "single_p50_ms": one.percentile_ms(0.5),
        "single_p99_ms": one.percentile_ms(0.99),
        "noop_requests_per_s": round(noop.per_second),
        "noop_p50_ms": noop.percentile_ms(0.5),
        "noop_p99_ms": noop.percentile_ms(0.99),
        "single_to_noop": round(one.per_second / noop.per_second, 3),
        "copy_rows_per_s": round(copy_rows(url, 100_000 if seconds > 5 else 20_000)),
        "event_bytes": len(single()),
        "stored_bytes_per_event": stored,
    }


def _warm(load: Load) -> Measured:
    run([replace(load, seconds=min(WARM_UP, load.seconds))])
    return run([replace(load, first=load.first + 10**7)])


# --- events -----------------------------------------------------------------------------------------------------------


def event(number: int) -> bytes:
    """A typical event; its id contains MARK."""
    order, kind = divmod(number, 4)
    types = ("order.confirmed", "picking.created", "picking.packed", "shipment.dispatched")
    keys = {"order": f"S{order:05d}", "picking": [f"WH/OUT/{order:05d}"], "shipment": f"1Z999AA1{order:010d}"}
    at = datetime(2026, 11, 20, 10, tzinfo=UTC) + timedelta(seconds=number)
    made = {
        "specversion": "1.0",
        "id": f"wms-{MARK.decode()}-{number:03d}",
        "source": "/wms/north",
        "type": types[kind],
        "time": at.isoformat().replace("+00:00", "Z"),
        "data": {
            "keys": {name: keys[name] for name in ("order", types[kind].partition(".")[0])},
            "outcome": "ok",
            "attributes": {"channel": "shopify", "warehouse": "north", "amount": f"{order}.40", "currency": "EUR"},
        },
    }
    return json.dumps(made, separators=(",", ":")).encode()


def single() -> bytes:
    return event(1)


def batch() -> bytes:
    return b"[" + b",".join(map(event, range(BATCH))) + b"]"


# --- servers ----------------------------------------------------------------------------------------------------------


@contextmanager
def serving(serve: Any, arguments: tuple[Any, ...]) -> Iterator[int]:
    """A server in a process of its own; yields its port."""
    port = _free_port()
    process = _spawn.Process(target=serve, args=(port, *arguments))
    process.start()
    try:
        _wait(port)
        yield port
    finally:
        process.terminate()
        process.join(40)


def _serve_noop(port: int) -> None:
    app = FastAPI()

    @app.post("/noop", status_code=202)
    async def noop() -> dict[str, int]:
        return {"accepted": 1}

    uvicorn.Server(server_config(app, host="127.0.0.1", port=port)).run()


def _serve_collector(port: int, url: str, profile: str) -> None:
    engine = make_engine(url)
    app = make_app(database_url=url, store=DatabaseStore(engine), limits=settings.Ingest(rate_per_key=10_000_000))
    server = uvicorn.Server(server_config(app, host="127.0.0.1", port=port))
    if not profile:
        server.run()
        return
    # uvicorn sends itself the signal that stopped it once more
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with cProfile.Profile() as profiler, contextlib.suppress(SystemExit):
        uvloop.run(server.serve())
    profiler.dump_stats(profile)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int, patience: float = 30) -> None:
    deadline = monotonic() + patience
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if monotonic() > deadline:
                raise
            sleep(0.05)


# --- database ---------------------------------------------------------------------------------------------------------


def make_key(url: str, sources: Sequence[str] = ("/wms/north",)) -> str:
    """A key that may send everything as these sources."""
    engine = make_engine(url)
    with engine.begin() as connection:
        key = access.create_key(
            connection,
            name="bench",
            sources=list(sources),
            types=["*"],
            scopes=["send"],
            expires_at=None,
            actor="bench",
            now=utc_now(),
        )
    engine.dispose()
    return key.text


def _empty(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE input.event_log")
        connection.execute("CHECKPOINT")


def _stored(url: str) -> float:
    """Bytes of the log's payload an event."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT sum(octet_length(payload)) / sum(events)::float FROM input.event_log"
        ).fetchone()
    return round(row[0], 1) if row and row[0] else 0.0


def copy_rows(url: str, rows: int) -> float:
    """Rows a second of a raw COPY in text, one `write_row` a row, durable when it returns."""
    bodies = [event(number).replace(MARK, b"%010d" % number).decode() for number in range(rows)]
    fields = [(body, json.loads(body)) for body in bodies]
    with psycopg.connect(url) as connection:
        connection.execute(_TABLE)
        for index in _INDEXES:
            connection.execute(index)
        connection.commit()
        _, seconds = timed(lambda: _copy(connection, fields))
        connection.execute("DROP TABLE copied")
    return rows / seconds


def _copy(connection: psycopg.Connection[Any], fields: list[tuple[str, dict[str, Any]]]) -> int:
    received = utc_now()
    with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN") as copy:
        for body, sent in fields:
            row = (sent["id"], sent["source"], sent["type"], sent["time"], received, None, "ok", body)
            copy.write_row(row)
    connection.commit()
    return len(fields)


if __name__ == "__main__":
    main()
