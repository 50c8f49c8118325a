"""Freshness: how long after an event was due to be sent its effect can be queried, at a steady rate.

Events are offered on a schedule that waits for nobody, in small batches, while orders pass through all their steps as
they do in life. A sample of them is watched from another connection: one counts as visible when the milestone that it
reaches is a committed row of a journey. The time starts when the event was due to be sent, so a chain that stops for a
second shows in all that was due in that second.

Prints one JSON object as its last line: p50_ms, p95_ms, p99_ms, max_ms over the samples, slowest_minute_p99_ms, and
acknowledged_p99_ms: until the collector's answer, from when the batch was due. A sample that is not visible PATIENCE
seconds after the last batch (never_visible) counts with the time that it was waited for.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from queue import Empty, SimpleQueue
from time import perf_counter, sleep, time
from typing import Any, Final

import msgspec
import psycopg
from collecting import make_key
from interleaved import event, steps
from running import Running, post, running

from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import libpq_url
from milepost.db.schema import run_migrations

PROCESSES: Final = ("collector", "record", "assemble", "scheduler")
BATCH: Final = 20
CONNECTIONS: Final = 16
SAMPLES_PER_S: Final = 40
LOOK: Final = 0.005
"""Seconds between two looks for what is not visible yet: what the result may be too high by."""
PATIENCE: Final = 60.0
_REACHED: Final = (
    ("order", "S{:07d}", "received"),
    ("order", "S{:07d}", "validated"),
    ("order", "S{:07d}", "confirmed"),
    ("order", "S{:07d}", "allocated"),
    ("order", "S{:07d}", "released"),
    ("order", "S{:07d}", "picked"),
    ("order", "S{:07d}", "packed"),
    ("order", "S{:07d}", "fulfilled"),
    ("shipment", "1Z{:08d}", "booked"),
    ("shipment", "1Z{:08d}", "dispatched"),
    ("shipment", "1Z{:08d}", "delivered"),
    ("order", "S{:07d}", "invoiced"),
)
"""By step: the kind and key of a journey, and the milestone that it reaches there."""
_VISIBLE: Final = (
    "SELECT w.number FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[]) AS w(number, model, key, name)"
    " JOIN derived.journeys AS j ON j.key = w.key AND j.model = w.model"
    " JOIN derived.milestones AS m ON m.journey_id = j.journey_id AND m.name = w.name"
)


def main() -> None:
    options = _options()
    with (
        tempfile.TemporaryDirectory(prefix="milepost-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
    ):
        run_migrations(server.url())
        key = make_key(server.url(), sources=["*"])
        with running(server.url(), Path(folder), PROCESSES) as chain:
            print(json.dumps(measure(chain, key, options)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=2_000, help="events a second")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--open-orders", type=int, default=20_000, help="orders under way at once")
    parser.add_argument("--warm-up", type=float, default=5, help="seconds before the first sample")
    parser.add_argument("--small", action="store_true", help="500 a second for 5 seconds: does it run at all")
    options = parser.parse_args()
    if options.small:
        options.rate, options.seconds, options.open_orders, options.warm_up = 500, 5, 200, 1
    return options


@dataclass(frozen=True, slots=True)
class Sample:
    """An event that is watched: when it was due, by the clock of perf_counter, and what becomes visible."""

    number: int
    due: float
    model: str
    key: str
    milestone: str


@dataclass(slots=True)
class Watch:
    """The samples on their way, and for each that arrived (seconds since the first, seconds that it took)."""

    sent: SimpleQueue[Sample] = field(default_factory=SimpleQueue)
    took: list[tuple[float, float]] = field(default_factory=list)
    waiting: dict[int, Sample] = field(default_factory=dict)

    def look(self, connection: psycopg.Connection[Any], start: float) -> None:
        """Take note of what has become visible."""
        while True:
            try:
                sample = self.sent.get_nowait()
            except Empty:
                break
            self.waiting[sample.number] = sample
        if not self.waiting:
            return
        rows = self.waiting.values()
        wanted = [[getattr(row, name) for row in rows] for name in ("number", "model", "key", "milestone")]
        found = connection.execute(_VISIBLE, wanted, prepare=True).fetchall()
        now = perf_counter()
        for (number,) in found:
            due = self.waiting.pop(number).due
            self.took.append((due - start, now - due))

    def all_by(self, start: float, elapsed: float) -> list[tuple[float, float]]:
        """What each sample took; one that never arrived has taken until now, `elapsed` seconds after the start."""
        given_up = [(sample.due - start, start + elapsed - sample.due) for sample in self.waiting.values()]
        return self.took + given_up


def measure(chain: Running, key: str, options: argparse.Namespace) -> dict[str, Any]:
    before = chain.cpu()
    start = perf_counter() + 0.2
    with watching(chain.url, start) as watch:
        late = offer(chain, key, options, start, watch)
    elapsed = perf_counter() - start
    took = [(at, spent * 1e3) for at, spent in watch.all_by(start, elapsed) if at >= options.warm_up]
    used = {name: round((spent - before[name]) / elapsed, 3) for name, spent in chain.cpu().items()}
    return {
        "offered_per_s": options.rate,
        "seconds": round(elapsed, 1),
        "samples": len(took),
        "never_visible": len(watch.waiting),
        "p50_ms": percentile([spent for _, spent in took], 0.5),
        "p95_ms": percentile([spent for _, spent in took], 0.95),
        "p99_ms": percentile([spent for _, spent in took], 0.99),
        "max_ms": percentile([spent for _, spent in took], 1),
        "slowest_minute_p99_ms": max(_minutes(took)),
        "acknowledged_p99_ms": percentile([spent * 1e3 for spent in late], 0.99),
        "cores_used": used,
    }


def _minutes(took: Iterable[tuple[float, float]]) -> Iterator[float]:
    """The p99 of each minute."""
    for _, group in groupby(sorted(took), lambda item: item[0] // 60):
        yield percentile([spent for _, spent in group], 0.99)


def percentile(values: Sequence[float], share: float) -> float:
    return round(sorted(values)[int(share * (len(values) - 1))], 1)


def offer(chain: Running, key: str, options: argparse.Namespace, start: float, watch: Watch) -> list[float]:
    """Send the stream on its schedule; answers how long after it was due each batch was acknowledged, in seconds."""
    stream = steps(int(options.rate * options.seconds), open_orders=options.open_orders)
    every = max(1, round(options.rate / SAMPLES_PER_S))
    began, number = time() + start - perf_counter(), 0
    with sending(chain, key) as due_now:
        while batch := list(islice(stream, BATCH)):
            due = start + number / options.rate
            at = datetime.fromtimestamp(began + number / options.rate, UTC)
            body = msgspec.json.encode([event(order, step, position, at) for position, order, step in batch])
            for index, (_, order, step) in enumerate(batch, number):
                if index % every == 0 and order % 20 > 1:  # two in twenty share a shipment, and may reach nothing new
                    model, form, milestone = _REACHED[step]
                    watch.sent.put(Sample(index, due, model, form.format(order), milestone))
            sleep(max(0.0, due - perf_counter()))
            due_now.bodies.put((due, body))
            number += len(batch)
    return due_now.late


@dataclass(slots=True)
class Sending:
    """Batches that are due, each with when; and how late each was acknowledged."""

    bodies: SimpleQueue[tuple[float, bytes] | None] = field(default_factory=SimpleQueue)
    late: list[float] = field(default_factory=list)

    def run(self, chain: Running, key: str) -> None:
        connection = chain.connect()
        while (item := self.bodies.get()) is not None:
            due, body = item
            post(connection, body, key)
            self.late.append(perf_counter() - due)


@contextmanager
def sending(chain: Running, key: str) -> Iterator[Sending]:
    """CONNECTIONS threads that send what is put into the queue, until the block ends and all is acknowledged. Raises
    what one of them raised."""
    queue = Sending()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        senders = [pool.submit(queue.run, chain, key) for _ in range(CONNECTIONS)]
        try:
            yield queue
        finally:
            for _ in senders:
                queue.bodies.put(None)
        for sender in senders:
            sender.result()


@contextmanager
def watching(url: str, start: float) -> Iterator[Watch]:
    """Looks for samples while the block runs, and afterwards until all are found or PATIENCE is over. Raises what went
    wrong."""
    watch, over = Watch(), threading.Event()

    def run() -> None:
        with psycopg.connect(libpq_url(url), autocommit=True) as connection:
            until = float("inf")
            while not over.is_set() or ((watch.waiting or not watch.sent.empty()) and perf_counter() < until):
                if over.is_set() and until == float("inf"):
                    until = perf_counter() + PATIENCE
                watch.look(connection, start)
                sleep(LOOK)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(run)
        try:
            yield watch
        finally:
            over.set()
        looking.result()


if __name__ == "__main__":
    main()
