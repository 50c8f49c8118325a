"""Where faults happen: a database, a proxy in front of it, a collector process, and what is counted in the end."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy as sa

from milepost.clock import utc_now
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import make_engine
from milepost.db.tables import event_log, events, quarantine
from milepost.decisions import access
from tests.chain import Chain
from tests.integration.faults.load import Load
from tests.integration.faults.proxy import Proxy
from tests.receivers import closed_port
from tests.served import SOURCE, wait_until

PATIENCE = 120.0


@dataclass(frozen=True)
class Outcome:
    """What became of the events. `lost`: acknowledged and not stored. `doubled`: stored more than once."""

    fault: str
    acknowledged: int
    lost: int
    doubled: int
    spooled: int
    answers: Counter[str]
    slowest: float

    @property
    def good(self) -> bool:
        return not self.lost and not self.doubled

    def row(self) -> str:
        answers = ", ".join(f"{count} {what}" for what, count in sorted(self.answers.items()))
        return (
            f"{self.fault:<22}{self.acknowledged:>9}{self.lost:>6}{self.doubled:>9}{self.spooled:>9}"
            f"{self.slowest:>8.1f}  {answers}"
        )


HEADER = f"{'fault':<22}{'taken':>9}{'lost':>6}{'doubled':>9}{'spooled':>9}{'slowest':>8}  answers"


class Collector:
    """A collector process that is started anew on the same port and data."""

    def __init__(self, folder: Path, database_url: str, settings: dict[str, str]) -> None:
        self.port = closed_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log"
        self.spooled = 0
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
        own = {
            "MILEPOST_DATABASE_URL": database_url,
            "MILEPOST_DATA_DIR": str(folder),
            "MILEPOST_PORT": str(self.port),
            "MILEPOST_OTLP_PORT": "0",
        }
        self._environment = {**ours, **own, **settings}

    def start(self) -> None:
        with self.log.open("a") as log:
            command = [sys.executable, "-m", "milepost", "run", "collector"]
            self.process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def status(self) -> str:
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=5)
        except httpx.TransportError:
            return "gone"
        return str(answer.json()["status"])

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.url}/metrics", timeout=5).text
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))

    def kill(self) -> None:
        with suppress(httpx.TransportError):
            self.spooled += int(self.metric("milepost_collector_spooled_total"))
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    def limit_files(self, size: int) -> None:
        """No file may become larger: a disk that is full, for whoever isn't root too."""
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, hard))


@dataclass
class Arena:
    """What a fault may touch. `server` is None where the database is shared with others."""

    proxy: Proxy
    collector: Collector
    engine: sa.Engine
    key: str
    folder: Path
    server: EmbeddedPostgres | None = None

    def outcome(self, fault: str, load: Load) -> Outcome:
        """Wait until the spool is empty, record all, and count."""
        wait_until(lambda: self.collector.status() == "ready", PATIENCE)
        spooled = self.collector.spooled + int(self.collector.metric("milepost_collector_spooled_total"))
        self.collector.stop()
        chain = Chain(self.engine)
        while chain.recorders[0].step():
            continue
        with self.engine.connect() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(event_log)) == 0
            assert connection.scalar(sa.select(sa.func.count()).select_from(quarantine)) == 0
            stored = Counter(connection.scalars(sa.select(events.c.event_id)))
        assert not stored.keys() - load.sent, "stored, and never sent"
        lost = len(load.acknowledged - stored.keys())
        doubled = stored.total() - len(stored)
        return Outcome(fault, len(load.acknowledged), lost, doubled, spooled, load.answers, load.slowest)


@contextmanager
def arena(
    url: str, folder: Path, server: EmbeddedPostgres | None = None, settings: dict[str, str] | None = None
) -> Iterator[Arena]:
    """An arena with a collector that is ready; nothing of it runs afterwards."""
    engine = make_engine(url, application_name="faults")
    with Proxy(url) as proxy:
        collector = Collector(folder, proxy.url, settings or {})
        collector.start()
        try:
            wait_until(lambda: collector.status() == "ready", PATIENCE)
            yield Arena(proxy, collector, engine, _key(engine), folder, server)
        finally:
            collector.process.kill()
            collector.process.wait()
            engine.dispose()


def _key(engine: sa.Engine) -> str:
    with engine.begin() as connection:
        made = access.create_key(
            connection,
            name="faults",
            sources=[SOURCE],
            types=["*"],
            scopes=["send"],
            expires_at=None,
            actor="test",
            now=utc_now(),
        )
    return made.text
