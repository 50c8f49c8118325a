"""The real Milepost for tests: `milepost run` on a directory and a port of its own, as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import sqlalchemy as sa

from milepost.clock import utc_now
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import make_engine
from milepost.decisions import access
from tests.processes import alive
from tests.receivers import closed_port
from tests.served import wait_until

PATIENCE = 90.0


class Service:
    """One `milepost run`; see `service`."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.port = closed_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        self.server = EmbeddedPostgres(folder / "data" / "postgres")
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
        own = {
            "MILEPOST_DATA_DIR": str(folder / "data"),
            "MILEPOST_PORT": str(self.port),
            "MILEPOST_OTLP_PORT": "0",
        }
        self._environment = {**ours, **own, **settings}

    def start(self) -> None:
        """Start it; it isn't ready yet."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "milepost", "run"], env=self._environment, stdout=log, stderr=log
            )

    def ready(self) -> bool:
        """Whether the web answers, has its database, and nothing left in its spool."""
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=5)
        except httpx.TransportError:
            return False
        return bool(answer.status_code == 200 and answer.json()["status"] == "ready")

    def stop(self) -> None:
        """Ask it to end; that takes less than ten seconds, and nothing is left running."""
        self.process.terminate()
        assert self.process.wait(20) == 0
        assert not self.server.running()

    def kill(self, name: str) -> bool:
        """kill -9 one of its processes, "run" for the parent. False when it is just being started."""
        pid = self.process.pid if name == "run" else self.pids().get(name, 0)
        if not pid or not alive(pid):
            return False
        os.kill(pid, signal.SIGKILL)
        if name == "run":
            self.process.wait(10)
        return True

    def pids(self) -> dict[str, int]:
        """The process last started of each name."""
        return {name: int(pid) for name, pid in re.findall(r"started (\w+) \(pid (\d+)\)", self.log.read_text())}

    @contextmanager
    def engine(self) -> Iterator[sa.Engine]:
        """An engine on its database."""
        made = make_engine(self.server.url(), application_name="test")
        try:
            yield made
        finally:
            made.dispose()

    def key(self, sources: Sequence[str]) -> dict[str, str]:
        """The header of a new key that sends and reads as these sources."""
        now = utc_now()
        with self.engine() as engine, engine.begin() as connection:
            new = access.create_key(
                connection,
                name="test",
                sources=sources,
                types=["*"],
                scopes=["send", "read"],
                expires_at=None,
                actor="test",
                now=now,
            )
        return {"Authorization": f"Bearer {new.text}"}


@contextmanager
def service(folder: Path, **settings: str) -> Iterator[Service]:
    """Milepost, ready, with these settings; whatever became of it, nothing of it runs afterwards."""
    made = Service(folder, settings)
    made.start()
    try:
        wait_until(made.ready, PATIENCE)
        yield made
    finally:
        made.process.terminate()
        made.process.wait(30)
        sys.stdout.write(made.log.read_text()[-20_000:])  # shown where a test fails
        with made.server:  # where it was killed its database still runs; the last one to leave stops it
            pass
