"""`milepost demo`: Milepost on a database of its own, and a simulated network that sends to it over HTTP."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

import msgspec

from milepost.decisions import access, audit
from milepost.errors import Unavailable
from milepost.settings import Settings
from milepost.supervisor import Program, Supervisor
from milepost.wiring import resources, sockets
from milepost.wiring.loops import Stop
from milepost.wiring.service import ADMIN, GRACE, Ready, only_one

if TYPE_CHECKING:
    from simulator.demo import Live
    from simulator.receiver import Notice

FOLDER: Final = "demo"
START_SECONDS: Final = 120.0
LOGIN_VALID: Final = timedelta(hours=12)
TICK: Final = 0.2
NOTHING: Final[Mapping[str, str]] = {}
FOREIGN: Final = frozenset({"MILEPOST_DATABASE_URL", "MILEPOST_ODOO_URL"})
"""What is meant for the real Milepost of this machine."""


@dataclass(frozen=True, slots=True)
class Site:
    """A Milepost that runs: where it is, a key for each source, an address that lets in once, and where it logs."""

    address: str
    keys: dict[str, str]
    login: str
    log: Path


def settings_of(settings: Settings) -> Settings:
    """The same, with a data directory of its own and the embedded database."""
    own = msgspec.structs.replace(settings.database, database_url="", data_dir=str(settings.data_dir / FOLDER))
    return msgspec.structs.replace(settings, database=own)


@contextmanager
def site(
    settings: Settings, sources: Sequence[str], stop: Stop, environment: Mapping[str, str] = NOTHING
) -> Iterator[Site]:
    """A Milepost that is new and empty, for as long as the block lasts. Raises ConfigurationError, Unavailable.

    `environment` goes over ours.
    """
    with only_one(resources.make_data_dir(settings), "demo.lock"):
        _clear(settings)
        sockets.listen(settings).close()  # to be told now, and not by a log, that the address is taken
        log = settings.data_dir / "milepost.log"
        with log.open("w", encoding="utf-8") as output, _service(settings, output, stop, environment) as ready:
            if not ready.wait(START_SECONDS, stop):
                raise Unavailable(
                    "stopped before it had started" if stop else f"Milepost did not start; {log} says why"
                )
            keys, login = _let_in(settings, sources)
            yield Site(settings.public_url, keys, login, log)


@contextmanager
def _service(settings: Settings, output: TextIO, stop: Stop, environment: Mapping[str, str]) -> Iterator[Ready]:
    whole = {
        **{name: value for name, value in os.environ.items() if name not in FOREIGN},
        "MILEPOST_DATA_DIR": str(settings.data_dir),
        "MILEPOST_PORT": str(settings.web.port),
        "MILEPOST_OTLP_PORT": "0",
        **environment,
    }
    command = [sys.executable, "-m", "milepost", "run", "--supervised"]
    supervisor = Supervisor([Program("milepost", command, whole)], output)
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(supervisor, ended), name="service", daemon=True)
    keeper.start()
    try:
        yield Ready(settings)
    finally:
        stop.set()
        ended.set()
        keeper.join()


def _keep(supervisor: Supervisor, ended: threading.Event) -> None:
    """All calls of the supervisor come from here."""
    try:
        supervisor.tick()
        while not ended.wait(TICK):
            supervisor.tick()
    finally:
        supervisor.stop(GRACE + 5)


def _clear(settings: Settings) -> None:
    """Throw away what the last demo left behind."""
    server = resources.embedded(settings)
    if server.running():  # it was killed: its database is still there
        server.start()
        server.stop()
    for name in ("postgres", "secret", "milepost.log"):
        path = settings.data_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _let_in(settings: Settings, sources: Sequence[str]) -> tuple[dict[str, str], str]:
    """A key for each source, and an address to log in at."""
    with resources.prepared(settings, "demo") as opened, opened.engine.begin() as connection:
        now = opened.clock()
        keys = {
            source: access.create_key(
                connection,
                name=f"demo {source}",
                sources=[source],
                types=["*"],
                scopes=["send"],
                expires_at=None,
                actor=audit.SYSTEM,
                now=now,
            ).text
            for source in sources
        }
        access.ensure_admin(connection, ADMIN, actor=audit.SYSTEM, now=now)
        token = access.issue_login(connection, ADMIN, now=now, valid=LOGIN_VALID)
    return keys, resources.login_address(settings, token)


def run(
    settings: Settings,
    *,
    announce: Callable[[Site], None],
    progress: Callable[[int, int], None],
    live: Callable[[Live], None],
    notified: Callable[[Notice], None],
    seconds: float | None = None,
    days: int | None = None,
) -> None:
    """Run until SIGTERM or SIGINT, or for so many seconds after the pages answer.

    `announce` is called when the pages answer, `progress` while history (so many days) is sent, `live` after it,
    `notified` for each notification that the demo's receiver gets, from threads.
    """
    from simulator import demo, receiver

    stop = Stop().listen()
    own = settings_of(settings)
    with receiver.listening(notified) as told:
        environment = demo.environment(resources.make_data_dir(own) / "catalog", told)
        with site(own, demo.SOURCES, stop, environment) as running:
            announce(running)
            if seconds is not None:
                _stop_after(seconds, stop)
            demo.run(
                running.address,
                running.keys,
                stopped=lambda: bool(stop),
                progress=progress,
                live=live,
                days=days or demo.DAYS,
            )


def _stop_after(seconds: float, stop: Stop) -> None:
    timer = threading.Timer(seconds, stop.set)
    timer.daemon = True
    timer.start()
