"""`milepost run`: the whole of Milepost on one machine, as supervised processes."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from milepost.db.embedded import EmbeddedPostgres
from milepost.decisions import access, audit
from milepost.errors import ConfigurationError, MilepostError, Transient
from milepost.settings import Settings
from milepost.supervisor import Program, Supervisor, on_orphaned
from milepost.wiring import logs, resources, sockets
from milepost.wiring.loops import Stop, keep_trying
from milepost.wiring.resources import Resources

CHILDREN: Final = ("web", "record", "assemble", "scheduler")
GRACE: Final = 7.0
"""Seconds that the processes have to stop; with the database's own, all is over within ten."""
TICK: Final = 0.1
TAKE_OVER: Final = 4.0
"""Seconds to wait for the address: after a kill -9 of this process its children take a moment to notice."""
ADMIN: Final = "admin"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """What there is to say once everything runs. `login`: an address that lets one in once."""

    address: str
    data: str
    login: str | None
    has_password: bool


def run(settings: Settings, announce: Callable[[Started], None], *, supervised: bool = False) -> None:
    """Run until SIGTERM or SIGINT. `announce` is called when the pages answer. Raises ConfigurationError.

    `supervised`: stop as well when standard input closes.
    """
    logs.configure(settings.log, logs.secrets_of(settings))
    stop = Stop().listen()
    if supervised:
        on_orphaned(stop.set)
    with ExitStack() as stack:
        stack.enter_context(only_one(resources.make_data_dir(settings)))
        settings = resources.with_secret(settings)
        listening = stack.enter_context(_listen(settings, stop))
        url = stack.enter_context(_database(settings, stop))
        opened = stack.enter_context(resources.opened(resources.on_database(settings, url), "run"))
        if not keep_trying(lambda _: opened.prepare(), stop, "database"):
            return
        supervisor = Supervisor(_programs(url, listening), sys.stderr, colours=sys.stderr.isatty())
        _supervise(supervisor, stop, Ready(settings), lambda: announce(_started(opened)))


def _supervise(supervisor: Supervisor, stop: Stop, ready: Ready, tell: Callable[[], None]) -> None:
    told = False
    try:
        while not stop.wait(TICK):
            supervisor.tick()
            if ready and not told:
                with suppress(Transient):  # then at the next tick
                    tell()
                    told = True
    finally:
        _log.info("stopping")
        supervisor.stop(GRACE)


class Ready:
    """Asks the web now and then whether it is ready, until it is; then it is true."""

    def __init__(self, settings: Settings) -> None:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.web.host, settings.web.host)
        self._url = f"{settings.web.scheme}://{f'[{host}]' if ':' in host else host}:{settings.web.port}/readyz"
        # it asks itself: by no proxy, and by an address that no certificate needs to name
        tls = HTTPSHandler(context=ssl._create_unverified_context()) if settings.web.tls_cert else HTTPSHandler()
        self._opener = build_opener(ProxyHandler({}), tls)
        self._done = threading.Event()
        threading.Thread(target=self._ask, name="ready", daemon=True).start()

    def __bool__(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: float, stop: Stop) -> bool:
        """Wait so long at most, or until stopped; whether it is ready."""
        deadline = time.monotonic() + seconds
        while not self and not stop.wait(TICK) and time.monotonic() < deadline:
            continue
        return bool(self)

    def _ask(self) -> None:
        while True:
            with suppress(OSError), self._opener.open(self._url, timeout=5):
                self._done.set()
                return
            time.sleep(0.2)


@contextmanager
def only_one(data_dir: Path, name: str = "run.lock") -> Iterator[None]:
    """Hold the data directory for as long as the block lasts. Raises ConfigurationError when another one does."""
    path = data_dir / name
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise ConfigurationError(
                f"Milepost already runs on {data_dir.resolve()} (pid {lock.read().strip() or 'unknown'});"
                " stop it, or set MILEPOST_DATA_DIR and MILEPOST_PORT for a second one"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _listen(settings: Settings, stop: Stop) -> socket.socket:
    deadline = time.monotonic() + TAKE_OVER
    while True:
        try:
            return sockets.listen(settings)
        except ConfigurationError:
            if time.monotonic() > deadline or stop.wait(0.25):
                raise


@contextmanager
def _database(settings: Settings, stop: Stop) -> Iterator[str]:
    """The database's URL. An embedded server is kept alive for as long as the block lasts, and then stopped."""
    if settings.database.database_url:
        yield settings.database.database_url
        return
    with resources.embedded(settings) as server:
        keeper = threading.Thread(target=_keep_alive, args=(server, stop), name="database", daemon=True)
        keeper.start()
        try:
            yield server.url()
        finally:
            stop.set()
            keeper.join()


def _keep_alive(server: EmbeddedPostgres, stop: Stop) -> None:
    while not stop.wait(0.5):
        if not server.running():
            _log.error("the database ended; starting it again")
            try:
                server.start()
            except MilepostError as error:
                _log.error("%s", error)
            else:
                _log.info("the database runs again")


def _programs(url: str, listening: socket.socket) -> list[Program]:
    environment = {**os.environ, "MILEPOST_DATABASE_URL": url, "PYTHONUNBUFFERED": "1"}
    programs = []
    for name in CHILDREN:
        command = [sys.executable, "-m", "milepost", "run", name, "--supervised"]
        descriptors = [listening.fileno()] if name == "web" else []
        for descriptor in descriptors:
            command += ["--descriptor", str(descriptor)]
        programs.append(Program(name, command, environment, descriptors))
    return programs


# --- the first log-in -------------------------------------------------------------------------------------------------


def _started(opened: Resources) -> Started:
    """Makes the administrator where there is nobody yet, with an address to log in at."""
    settings, now, login = opened.settings, opened.clock(), None
    with opened.engine.begin() as connection:
        users = access.list_users(connection)
        if not users and access.ensure_admin(connection, ADMIN, actor=audit.SYSTEM, now=now):
            login = resources.login_address(settings, access.issue_login(connection, ADMIN, now=now))
    has_password = any(user.has_password and user.disabled_at is None for user in users)
    return Started(settings.public_url, str(settings.data_dir.resolve()), login, has_password)
