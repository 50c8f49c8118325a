"""Alerts: how long after a deadline has passed somebody is told, and how often of ten thousand with one cause.

Starts `milepost run` as a user does, with its embedded database, and a receiver of webhooks on loopback. Prints one
JSON object as its last line:

- p50_ms, p95_ms, max_ms: from the moment at which a clock is due to the arrival of the request that tells of it, over
  `--samples` orders that come in one by one, each with an alert of its own (promise: p95 < 2 s)
- wave: `--orders` orders of one warehouse, over 40 carriers by which the policy groups, all due at the same moment,
  among others that are well. notifications: how many came, by event, until the alerts held all of them and told their
  figures once more (promise: 3 at most); first_ms and all_ms: from the due time until the first notification came, and
  until all breaches were in alerts; told: the last summary
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any, Final

import msgspec
import psycopg
from collecting import free_port, make_key
from freshness import percentile
from running import post

from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import libpq_url
from simulator.receiver import Notice, listening

SOURCE: Final = "/shop"
EVERY: Final = 0.43
"""Seconds between two single orders: no multiple of any tick."""
ALONE: Final = timedelta(seconds=3)
CARRIERS: Final = 40
BATCH: Final = 500
PATIENCE: Final = 120.0
INTERVAL: Final = 30
_SLAS: Final = """
policies:
  - {{name: promptly, title: Confirmed in time, kind: between, model: order, start: received, end: confirmed,
     within: {within}s, severity: critical, group_by: [{group}]}}
"""
_ROUTES: Final = """
channels:
  - {{name: hook, kind: webhook, url: "{url}", secret_env: BENCH_SECRET}}
routes:
  - {{channels: [hook], match: {{rule: [promptly]}}}}
group_interval: {interval}s
groups_at_once: {at_once}
"""


def main() -> None:
    options = _options()
    result = {**one_by_one(options.samples), "wave": wave(options.orders, options.others, options.within)}
    print(json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=120, help="orders that are due one by one")
    parser.add_argument("--orders", type=int, default=10_000, help="orders that are due at once")
    parser.add_argument("--others", type=int, default=2_000, help="open orders that are well")
    parser.add_argument("--within", type=int, default=60, help="seconds from the wave's orders to their due time")
    parser.add_argument("--small", action="store_true", help="10 and 300 orders: does it run at all")
    options = parser.parse_args()
    if options.small:
        options.samples, options.orders, options.others, options.within = 10, 300, 200, 10
    return options


@dataclass(slots=True)
class Scene:
    """A running Milepost, and what its receiver heard, with when (seconds since 1970)."""

    port: int
    url: str
    key: str = ""
    heard: list[tuple[float, Notice]] = field(default_factory=list)

    def send(self, events: Sequence[dict[str, Any]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        for first in range(0, len(events), BATCH):
            post(connection, msgspec.json.encode(events[first : first + BATCH]), self.key)
        connection.close()


@contextmanager
def scene(group: str, within: int, at_once: int) -> Iterator[Scene]:
    """`milepost run` with a policy that groups by `group`, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="milepost-bench-") as name:
        folder = Path(name)
        heard: list[tuple[float, Notice]] = []
        with listening(lambda notice: heard.append((time(), notice))) as receiver:
            (folder / "slas.yaml").write_text(_SLAS.format(within=within, group=group))
            (folder / "routes.yaml").write_text(_ROUTES.format(url=receiver.url, interval=INTERVAL, at_once=at_once))
            server = EmbeddedPostgres(folder / "data" / "postgres")
            made = Scene(free_port(), server.url(), heard=heard)
            with _running(folder, made.port, receiver.secret):
                wait(lambda: _ready(made.port))
                made.key = make_key(server.url(), sources=[SOURCE])
                sleep(5)  # what is done once after the start is over
                yield made


@contextmanager
def _running(folder: Path, port: int, secret: str) -> Iterator[None]:
    own = {
        "MILEPOST_DATA_DIR": str(folder / "data"),
        "MILEPOST_CATALOG": str(folder),
        "MILEPOST_PORT": str(port),
        "MILEPOST_OTLP_PORT": "0",
        "MILEPOST_ALLOW_PRIVATE_RECEIVERS": "true",
        "BENCH_SECRET": secret,
    }
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-m", "milepost", "run"]
        process = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


def wait(done: Callable[[], bool]) -> None:
    """Raises TimeoutError when it isn't done in PATIENCE seconds."""
    deadline = monotonic() + PATIENCE
    while not done():
        if monotonic() > deadline:
            raise TimeoutError(done)
        sleep(0.1)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def event(kind: str, key: str, at: float, **attributes: str) -> dict[str, Any]:
    """What the shop says of an order at a time."""
    return {
        "specversion": "1.0",
        "id": f"{kind}-{key}",
        "source": SOURCE,
        "type": kind,
        "time": datetime.fromtimestamp(at, UTC).isoformat(),
        "data": {"keys": {"order": key}, "attributes": {"amount": "100.00", "currency": "EUR", **attributes}},
    }


# --- one by one -------------------------------------------------------------------------------------------------------


def one_by_one(samples: int) -> dict[str, float]:
    """Orders that come in one after the other, each of a lane of its own."""
    sent: dict[int, float] = {}
    with scene("lane", round(ALONE.total_seconds()), at_once=1_000_000) as made:
        for number in range(samples):
            sent[number] = time()
            made.send([event("order.received", f"S{number:05}", sent[number], lane=f"l{number}")])
            sleep(max(0.0, sent[number] + EVERY - time()))
        wait(lambda: len(made.heard) >= samples)
        told = {int(re.findall(r"lane l(\d+)", notice.headline)[0]): at for at, notice in made.heard}
    late = [(told[number] - at - ALONE.total_seconds()) * 1e3 for number, at in sent.items()]
    return {
        "samples": samples,
        "p50_ms": percentile(late, 0.5),
        "p95_ms": percentile(late, 0.95),
        "max_ms": percentile(late, 1),
    }


# --- all at once ------------------------------------------------------------------------------------------------------


def wave(orders: int, others: int, within: int) -> dict[str, Any]:
    """Orders of one warehouse that are all due at the same moment."""
    with scene("carrier", within, at_once=2) as made:
        began = time()
        well = [(f"A{number:06}", {"warehouse": f"w{number % 4}", **_who(number)}) for number in range(others)]
        made.send([event("order.received", key, began, **own) for key, own in well])
        made.send([event("order.confirmed", key, began) for key, _ in well])
        began = time()
        late = [event("order.received", f"S{n:06}", began, warehouse="north", **_who(n)) for n in range(orders)]
        made.send(late)
        due = began + within
        if time() > due:
            raise RuntimeError(f"sending took longer than {within} s: give more --within")
        with psycopg.connect(libpq_url(made.url), autocommit=True) as connection:
            wait(lambda: _count(connection, "SELECT count(*) FROM record.alert_items") == orders)
            everything = time() - due
            told = _count(connection, "SELECT count(*) FROM record.alerts")
            sleep(1.5 * INTERVAL)
            last = connection.execute("SELECT summary FROM record.alerts ORDER BY items_open DESC LIMIT 1").fetchone()
    return {
        "orders": orders,
        "groups": CARRIERS,
        "alerts": told,
        "notifications": Counter(notice.event for _, notice in made.heard),
        "first_ms": round((made.heard[0][0] - due) * 1e3),
        "all_ms": round(everything * 1e3),
        "told": last[0] if last else "",
    }


def _who(number: int) -> dict[str, str]:
    return {"carrier": f"c{number % CARRIERS}", "partner": f"customer {number % 700}"}


def _count(connection: psycopg.Connection[Any], query: str) -> int:
    row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    return int(row[0]) if row else 0


if __name__ == "__main__":
    main()
