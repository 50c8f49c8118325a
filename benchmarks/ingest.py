"""Durable ingest over HTTP: one collector process on an embedded PostgreSQL with fsync on.

Prints one JSON object as its last line. Always:

- batch_events_per_s: events acknowledged in batches of 500
- single_requests_per_s: single events acknowledged, one a request
- noop_requests_per_s: a FastAPI endpoint that does nothing, under the same server settings and the same client
- single_to_noop: their ratio
- cpu_us: CPU microseconds of the server for a no-op, a single event, and an event of a batch
- copy_rows_per_s: COPY in text, row by row, of the same events' columns into a table with two btree indexes
- …_p50_ms, …_p99_ms: latency as the client sees it, all connections busy

With --half-load: half_single_…, half_batch_…: latency from the time that a request was due, at half the rates above.
With --flat: flat_…: the collector's memory over ten million events. With --overload: over_…: its memory, and what it
answers, at three times what it can take. With --stages: stage_us: CPU microseconds an event and stage. With
--profile FILE: cProfile's statistics of the collector, which costs much of its speed. With --all: all but the profile.

Every server is warmed up before it is measured.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import psycopg
from collecting import (
    BATCH,
    MARK,
    Server,
    batch,
    emptied,
    event,
    make_key,
    serve_collector,
    serve_noop,
    serving,
    single,
    watched,
)
from http_load import Load, Measured, run, timed
from http_load.offered import Offered, offer
from stages import stages

from milepost import auth
from milepost.clock import utc_now
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import libpq_url, make_engine
from milepost.db.schema import run_migrations
from milepost.decisions import access

WARM_UP: Final = 1.5
MORE: Final = ("half_load", "flat", "overload", "stages")
_STEP: Final = 10**8
_TABLE: Final = (
    "CREATE TABLE copied (event_id text, source text, type text, occurred_at timestamptz, "
    "received_at timestamptz, correlation_id text, outcome text, body text)"
)
_INDEXES: Final = (
    "CREATE INDEX ON copied (source, event_id)",
    "CREATE INDEX ON copied (received_at)",
)


def main() -> None:
    options = _options()
    with (
        tempfile.TemporaryDirectory(prefix="milepost-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
    ):
        run_migrations(server.url())
        figures = Bench(server.url(), make_key(server.url()), folder, options).figures()
    print(json.dumps(figures))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="how long each load runs")
    parser.add_argument("--small", action="store_true", help="everything, 2 seconds each: does it run at all")
    parser.add_argument("--half-load", action="store_true", help="latency at half load")
    parser.add_argument("--flat", action="store_true", help="memory over --events")
    parser.add_argument("--events", type=int, default=10_000_000, help="how many events --flat sends")
    parser.add_argument("--overload", action="store_true", help="memory and answers at three times the capacity")
    parser.add_argument("--stages", action="store_true", help="microseconds an event and stage")
    parser.add_argument("--all", action="store_true", help="all of these")
    parser.add_argument("--profile", default="", help="where to write the collector's profile")
    options = parser.parse_args()
    for name in MORE:
        setattr(options, name, getattr(options, name) or options.all or options.small)
    if options.small:
        options.seconds, options.events = 2.0, 100_000
    return options


@dataclass
class Bench:
    """All measurements of one run, on the database at `url`."""

    url: str
    key: str
    folder: str
    options: argparse.Namespace
    first: int = 0

    def figures(self) -> dict[str, Any]:
        with serving(serve_noop) as server:
            noop, noop_cpu = self._warm(server, self._load(server, single(), 64, path="/noop"))
        with self._collector(self.options.profile) as server:
            one, one_cpu = self._warm(server, self._load(server, single(), 64))
            self._empty()
            many, many_cpu = self._warm(server, self._load(server, batch(), 8))
            figures = {
                **throughput(noop, one, many),
                "cpu_us": {"noop": noop_cpu, "single": one_cpu, "batch_event": round(many_cpu / BATCH, 2)},
                "stored_bytes_per_event": self._stored(),
            }
            self._empty()
            if self.options.half_load:
                figures |= self._half_load(server, one, many)
        if self.options.flat:
            figures |= self._flat(many)
        if self.options.overload:
            figures |= self._overload(many)
        if self.options.stages:
            figures |= self._stages(many)
        rows = 100_000 if self.options.seconds > 5 else 20_000
        return {**figures, "copy_rows_per_s": round(copy_rows(self.url, rows))}

    def _half_load(self, server: Server, one: Measured, many: Measured) -> dict[str, float]:
        figures: dict[str, float] = {}
        for name, body, connections, capacity in (("single", single(), 256, one), ("batch", batch(), 32, many)):
            self._empty()
            result = offer(self._load(server, body, connections), capacity.per_second / 2)
            assert set(result.answers) == {202}, result.answers
            figures |= {
                f"half_{name}_requests_per_s": round(capacity.per_second / 2),
                f"half_{name}_p50_ms": result.percentile_ms(0.5),
                f"half_{name}_p99_ms": result.percentile_ms(0.99),
            }
        return figures

    def _flat(self, many: Measured) -> dict[str, Any]:
        """A fresh collector, as many events as asked for, at the speed that it can do."""
        sent = 0
        with self._collector() as server, emptied(self.url), watched(server) as memory:
            while (left := self.options.events - sent) > 0:
                seconds = max(1.0, left / BATCH / many.per_second)
                sent += run([self._load(server, batch(), 8, seconds=seconds)]).requests * BATCH
        return {
            "flat_events": sent,
            "flat_rss_mb": memory.tenths(),
            "flat_growth_mb": memory.growth(),
        }

    def _overload(self, many: Measured) -> dict[str, Any]:
        rate = 3 * many.per_second
        with self._collector() as server, emptied(self.url), watched(server) as memory:
            result = offer(self._load(server, batch(), 512), rate, most_waiting=round(rate))
        return {
            "over_offered_events_per_s": round(rate * BATCH),
            "over_taken_events_per_s": round(result.answers[202] * BATCH / self.options.seconds),
            "over_answers": shares(result),
            "over_rss_mb": memory.tenths(),
            "over_max_rss_mb": max(memory.samples),
        }

    def _stages(self, many: Measured) -> dict[str, Any]:
        """Each stage by itself, beside what the whole costs."""
        engine = make_engine(self.url)
        with engine.connect() as connection:
            key = access.find_key(connection, auth.id_of(self.key))
        engine.dispose()
        assert key is not None
        each = stages(self.url, key, self.key, min(2.0, self.options.seconds))
        whole = 1e6 / many.per_second / BATCH
        for name, spent in [*each.items(), ("an event, wall time", whole)]:
            print(f"{name:24} {spent:8.2f} µs")
        return {"stage_us": {name: round(spent, 2) for name, spent in each.items()}, "event_us": round(whole, 2)}

    def _collector(self, profile: str = "") -> Any:
        return serving(serve_collector, self.url, self.folder, profile)

    def _load(
        self, server: Server, body: bytes, connections: int, path: str = "/v1/events", seconds: float = 0
    ) -> Load:
        """Every load sends ids of its own."""
        self.first += _STEP
        media = "application/cloudevents-batch+json" if body.startswith(b"[") else "application/cloudevents+json"
        lasts = seconds or self.options.seconds
        return Load(server.port, path, body, media, self.key, connections, lasts, MARK, self.first)

    def _warm(self, server: Server, load: Load) -> tuple[Measured, float]:
        """Also the server's CPU microseconds a request."""
        run([replace(load, seconds=min(WARM_UP, load.seconds))])
        before = server.cpu()
        done = run([replace(load, first=load.first + _STEP // 2)])
        return done, round((server.cpu() - before) / done.requests * 1e6, 1)

    def _empty(self) -> None:
        with psycopg.connect(libpq_url(self.url), autocommit=True) as connection:
            connection.execute("TRUNCATE input.event_log")
            connection.execute("CHECKPOINT")

    def _stored(self) -> float:
        """Bytes of the log's payload an event."""
        with psycopg.connect(libpq_url(self.url)) as connection:
            row = connection.execute(
                "SELECT sum(octet_length(payload)) / sum(events)::float FROM input.event_log"
            ).fetchone()
        return round(row[0], 1) if row and row[0] else 0.0


def throughput(noop: Measured, one: Measured, many: Measured) -> dict[str, Any]:
    """What is always told, but for COPY."""
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
        "event_bytes": len(single()),
    }


def shares(result: Offered) -> dict[str, float]:
    """Of all requests that were due, how many got which answer, or were never sent: all connections were waiting."""
    counts: dict[str, int] = {str(status): number for status, number in result.answers.items()}
    return {name: round(number / result.due, 3) for name, number in {**counts, "not_sent": result.skipped}.items()}


# --- the reference ----------------------------------------------------------------------------------------------------


def copy_rows(url: str, rows: int) -> float:
    """Rows a second of a raw COPY in text, one `write_row` a row, durable when it returns."""
    bodies = [event(number).replace(MARK, b"%010d" % number).decode() for number in range(rows)]
    fields = [(body, json.loads(body)) for body in bodies]
    with psycopg.connect(libpq_url(url)) as connection:
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
