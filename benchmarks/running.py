"""Processes of `milepost run` for the benchmarks of the whole chain: started, fed, watched, waited for."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Final

import psutil
import psycopg
from collecting import free_port

from milepost.db.engine import libpq_url

PATIENCE: Final = 3_600.0
MEDIA: Final = "application/cloudevents-batch+json"
_LEFT: Final = "SELECT (SELECT count(*) FROM input.event_log) + (SELECT count(*) FROM derived.touches)"
_BUSY: Final = (429, 503)


@dataclass(frozen=True, slots=True)
class Running:
    """Processes by name, some more than once, on the database at `url`, with a collector at `port`."""

    url: str
    port: int
    pids: Sequence[tuple[str, int]]

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far of the processes and of PostgreSQL with all its backends."""
        spent: dict[str, float] = {}
        for name, pid in self.pids:
            times = psutil.Process(pid).cpu_times()
            spent[name] = spent.get(name, 0.0) + times.user + times.system
        return spent | {"postgres": postgres_cpu(self.url)}

    def rss_mb(self) -> dict[str, float]:
        """Resident memory of the largest process of each name."""
        sizes: dict[str, float] = {}
        for name, pid in self.pids:
            sizes[name] = max(sizes.get(name, 0.0), round(psutil.Process(pid).memory_info().rss / 1e6))
        return sizes

    def check(self) -> None:
        """Raises RuntimeError when one of the processes has ended."""
        for name, pid in self.pids:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                raise RuntimeError(f"{name} has ended")

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)


@contextmanager
def running(url: str, folder: Path, names: Sequence[str]) -> Iterator[Running]:
    """These processes, one of them a collector, until the block ends; their output goes to files in `folder`."""
    port = free_port()
    with ExitStack() as stack:
        pids = [(name, stack.enter_context(_process(name, url, folder, port))) for name in names]
        chain = Running(url, port, pids)
        _wait_ready(chain)
        yield chain


def own_settings(url: str, folder: Path) -> dict[str, str]:
    """The environment of a command that works on this database."""
    return os.environ | {"MILEPOST_DATABASE_URL": url, "MILEPOST_DATA_DIR": str(folder / "data")}


@contextmanager
def _process(name: str, url: str, folder: Path, port: int) -> Iterator[int]:
    own = {"MILEPOST_PORT": str(port), "MILEPOST_OTLP_PORT": "0"}
    command = [sys.executable, "-m", "milepost", "run", name]
    with (folder / f"{name}.log").open("ab") as output:
        process = subprocess.Popen(command, env=own_settings(url, folder) | own, stdout=output, stderr=output)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


def _wait_ready(chain: Running) -> None:
    deadline = monotonic() + 60
    while True:
        try:
            connection = chain.connect()
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        if monotonic() > deadline:
            raise TimeoutError("the collector did not become ready")
        sleep(0.1)


def post(connection: http.client.HTTPConnection, body: bytes, key: str) -> None:
    """Send a batch until it is acknowledged. Raises RuntimeError when it is refused."""
    while True:
        connection.request("POST", "/v1/events", body, {"Authorization": f"Bearer {key}", "Content-Type": MEDIA})
        response = connection.getresponse()
        answer = response.read()
        if response.status == 202:
            return
        if response.status not in _BUSY:
            raise RuntimeError(f"{response.status}: {answer!r}")
        sleep(0.05)


def drain(chain: Running) -> None:
    """Wait until event log and touches are empty. Raises RuntimeError when a process has ended meanwhile."""
    deadline = monotonic() + PATIENCE
    with psycopg.connect(libpq_url(chain.url), autocommit=True) as connection:
        while (row := connection.execute(_LEFT).fetchone()) and row[0]:
            chain.check()
            if monotonic() > deadline:
                raise TimeoutError(f"{row[0]} batches are left")
            sleep(0.05)


def postgres_cpu(url: str) -> float:
    """CPU seconds so far of PostgreSQL: the server, the backends that have ended, and those that run."""
    with psycopg.connect(libpq_url(url)) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        server = psutil.Process(row[0] if row else None).parent()
        assert server is not None
        own = sum(server.cpu_times()[:4])
        return float(own + sum(map(_cpu, server.children())))


def _cpu(backend: psutil.Process) -> float:
    """0 for one that has ended by now."""
    with suppress(psutil.NoSuchProcess):
        return float(sum(backend.cpu_times()[:2]))
    return 0.0
