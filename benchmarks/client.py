"""The Python client: what `send` takes from its caller, and how fast events get to the collector.

Prints one JSON object as its last line: send_us_p50, send_us_p99 and send_us_max while a collector takes the events
(events_per_s: from the first call until all are acknowledged), and the same as away_… while it is away and they go to
the spool.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from time import perf_counter

from collecting import make_key, serve_collector, serving

from milepost.client import Client
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.schema import run_migrations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--small", action="store_true", help="2,000 events: does it run at all")
    options = parser.parse_args()
    events = 2_000 if options.small else options.events
    with (
        tempfile.TemporaryDirectory(prefix="milepost-bench-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres") as server,
    ):
        run_migrations(server.url())
        print(json.dumps(measure(server.url(), Path(folder), events)))


def measure(url: str, folder: Path, events: int) -> dict[str, float]:
    key = make_key(url)
    with serving(serve_collector, url, str(folder / "data")) as server:
        address = f"http://127.0.0.1:{server.port}"
        with Client(address, key, queue=events) as client:
            started = perf_counter()
            figures = calls(client, events)
            assert client.flush(120)
            figures["events_per_s"] = round(events / (perf_counter() - started))
            assert client.stats().sent == events
    with Client(address, key, queue=events, spool=folder / "spool", spool_bytes=10**9) as client:
        away = calls(client, events)
        assert client.flush(120)
        assert client.stats().spooled == events
    return figures | {f"away_{name}": value for name, value in away.items()}


def calls(client: Client, events: int) -> dict[str, float]:
    """Microseconds of single calls, one after the other as fast as they go."""
    times = []
    for number in range(events):
        before = perf_counter()
        client.send("picking.packed", {"order": f"S{number}", "picking": "WH/OUT/00047"}, {"warehouse": "north"})
        times.append(perf_counter() - before)
    times.sort()
    return {
        "send_us_p50": round(times[events // 2] * 1e6, 1),
        "send_us_p99": round(times[events * 99 // 100] * 1e6, 1),
        "send_us_max": round(times[-1] * 1e6, 1),
    }


if __name__ == "__main__":
    main()
