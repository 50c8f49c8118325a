"""What the benchmarks of the collector share: events, servers in processes of their own, and a look at their memory."""

from __future__ import annotations

import contextlib
import cProfile
import json
import multiprocessing
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep
from typing import Any, Final

import psutil
import psycopg
import uvicorn
from fastapi import FastAPI

from collector.server import server_config
from milepost.clock import utc_now
from milepost.db.engine import libpq_url, make_engine
from milepost.decisions import access
from milepost.settings import Settings
from milepost.wiring import processes

BATCH: Final = 500
MARK: Final = b"@@@@@@@@@@"
_spawn: Final = multiprocessing.get_context("spawn")


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


# --- servers ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    """A server in a process of its own, on loopback."""

    port: int
    pid: int

    def cpu(self) -> float:
        """CPU seconds so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def serving(serve: Callable[..., None], *arguments: Any) -> Iterator[Server]:
    """`serve(port, *arguments)` in a process of its own."""
    port = free_port()
    process = _spawn.Process(target=serve, args=(port, *arguments))
    process.start()
    try:
        _wait(port)
        yield Server(port, process.pid or 0)
    finally:
        process.terminate()
        process.join(40)


def serve_noop(port: int) -> None:
    """An ordinary FastAPI route that does nothing."""
    app = FastAPI()

    @app.post("/noop", status_code=202)
    async def noop() -> dict[str, int]:
        return {"accepted": 1}

    uvicorn.Server(server_config(app, host="127.0.0.1", port=port)).run()


def serve_collector(port: int, url: str, folder: str, profile: str = "") -> None:
    """The process of `milepost run collector`, with no limit to what a key may send."""
    settings = Settings.load(
        {
            "MILEPOST_DATABASE_URL": url,
            "MILEPOST_DATA_DIR": folder,
            "MILEPOST_PORT": str(port),
            "MILEPOST_OTLP_PORT": "0",
            "MILEPOST_RATE_PER_KEY": "100000000",
            "MILEPOST_LOG_LEVEL": "warning",
        }
    )
    if not profile:
        processes.run("collector", settings)
        return
    with cProfile.Profile() as profiler, contextlib.suppress(SystemExit):
        processes.run("collector", settings)
    profiler.dump_stats(profile)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
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


# --- beside the load --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Memory:
    """Resident memory of a process in MB, sampled in order."""

    samples: list[float] = field(default_factory=list)

    def tenths(self) -> list[float]:
        """The highest of each tenth of the time."""
        size = max(1, len(self.samples) // 10)
        return [round(max(self.samples[at : at + size])) for at in range(0, size * 10, size) if self.samples[at:]]

    def growth(self) -> float:
        """From the third tenth to the last: the first two fill buffers and caches."""
        tenths = self.tenths()
        return tenths[-1] - tenths[min(2, len(tenths) - 1)]


@contextmanager
def watched(server: Server, every: float = 0.1) -> Iterator[Memory]:
    """Samples a server's memory while the block runs."""
    memory, process = Memory(), psutil.Process(server.pid)
    with repeated(lambda: memory.samples.append(process.memory_info().rss / 1e6), every):
        yield memory


@contextmanager
def emptied(url: str) -> Iterator[None]:
    """Empties the event log all the time, so that the disk holds it."""
    with (
        psycopg.connect(libpq_url(url), autocommit=True) as connection,
        repeated(lambda: connection.execute("TRUNCATE input.event_log"), 1.0),
    ):
        yield


@contextmanager
def repeated(step: Callable[[], object], every: float) -> Iterator[None]:
    """Runs a step again and again in a thread while the block runs."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(every):
            step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
