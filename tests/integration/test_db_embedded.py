"""The embedded server: shared by processes, found again after any end, safe for whoever runs it."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from milepost.db.account import Account
from milepost.db.embedded import SOCKET_PATH_BYTES, EmbeddedPostgres
from milepost.errors import ConfigurationError, Unavailable
from tests.served import wait_until

SMALL = {"shared_buffers": "16MB", "fsync": "off"}
JOIN = """
import sys
from pathlib import Path
from milepost.db.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), settings={"shared_buffers": "16MB", "fsync": "off"})
server.start()
print(server.server_pid(), flush=True)
sys.stdin.readline()
server.stop()
print(server.running(), flush=True)
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has accounts to choose from")


@pytest.fixture
def server(server_dir: Path) -> Iterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(server_dir / "postgres", settings=SMALL)
    yield made
    made.stop()


def another(server: EmbeddedPostgres) -> EmbeddedPostgres:
    return EmbeddedPostgres(server.data_dir, settings=SMALL)


def scalar(url: str, query: str) -> object:
    with psycopg.connect(url, connect_timeout=10) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def join(server: EmbeddedPostgres) -> subprocess.Popen[str]:
    """Another process that uses the server; a line on its standard input makes it leave."""
    command = [sys.executable, "-c", JOIN, str(server.data_dir)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kill_server(server: EmbeddedPostgres) -> None:
    pid = server.server_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def test_it_is_durable_by_default_and_sorts_alike_everywhere(server_dir: Path) -> None:
    with EmbeddedPostgres(server_dir / "postgres") as server:
        settings = {
            name: scalar(server.url(), f"SHOW {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")
        }
        assert settings == dict.fromkeys(settings, "on")
        assert scalar(server.url(), "SELECT datlocale FROM pg_database WHERE datname = 'milepost'") == "C.UTF-8"
        assert scalar(server.url(), "SHOW server_encoding") == "UTF8"
        assert str(scalar(server.url(), "SHOW server_version")).startswith("18")
        assert scalar(server.url(), "SHOW listen_addresses") == ""
    assert not server.running()


def test_starting_twice_joins_and_who_leaves_last_stops(server: EmbeddedPostgres) -> None:
    url = server.start()
    pid = server.server_pid()
    assert server.start() == url
    with another(server) as second:
        assert second.server_pid() == pid
        assert second.url() == url
    assert server.running()
    server.stop()
    assert not server.running()
    server.stop()


def test_many_processes_at_once_share_one_server(server: EmbeddedPostgres) -> None:
    users = [join(server) for _ in range(4)]
    pids = {user.stdout.readline() for user in users if user.stdout}
    assert len(pids) == 1
    left = [user.communicate("leave\n", timeout=60)[0].strip() for user in users]
    assert left == ["True", "True", "True", "False"]


def test_a_second_command_neither_stops_the_service_nor_is_stopped_by_it(server: EmbeddedPostgres) -> None:
    server.start()
    command = join(server)
    assert command.stdout
    command.stdout.readline()
    server.stop()
    assert server.running()
    assert command.communicate("leave\n", timeout=60)[0] == "False\n"


def test_a_killed_user_is_not_waited_for(server: EmbeddedPostgres) -> None:
    user = join(server)
    assert user.stdout
    user.stdout.readline()
    user.kill()
    user.communicate(timeout=10)
    assert server.running()
    server.start()
    server.stop()
    assert not server.running()


def test_what_was_committed_survives_a_killed_server(server_dir: Path) -> None:
    with EmbeddedPostgres(server_dir / "postgres", settings={"shared_buffers": "16MB"}) as server:
        with psycopg.connect(server.url()) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
        kill_server(server)
        server.start()
        assert scalar(server.url(), "SELECT n FROM kept") == 42


def test_stale_pids_that_another_process_has_now_do_no_harm(server: EmbeddedPostgres) -> None:
    server.start()
    notes = [next(server.data_dir.glob("pg*/postmaster.pid")), server.data_dir / "socket" / ".s.PGSQL.5432.lock"]
    texts = [note.read_text().splitlines(keepends=True) for note in notes]
    owner = notes[0].stat().st_uid if os.geteuid() == 0 else None  # other accounts' processes PostgreSQL doesn't mind
    kill_server(server)
    wait_until(lambda: not server.running())
    with subprocess.Popen(["sleep", "60"], user=owner) as other:
        for note, lines in zip(notes, texts, strict=True):
            note.write_text("".join([f"{other.pid}\n", *lines[1:]]))
        server.start()
        other.kill()
    assert scalar(server.url(), "SELECT 1") == 1


def test_an_interrupted_set_up_is_begun_again(server: EmbeddedPostgres) -> None:
    unfinished = server.data_dir / "pg18.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    assert scalar(server.start(), "SELECT 1") == 1
    assert not unfinished.exists()


def test_a_long_path_still_gets_a_socket(server_dir: Path) -> None:
    deep = server_dir / ("long" * 20) / ("longer" * 10) / "postgres"
    with EmbeddedPostgres(deep, settings=SMALL) as server:
        assert scalar(server.url(), "SELECT 1") == 1
        folder = Path(str(scalar(server.url(), "SHOW unix_socket_directories")))
        assert len(os.fsencode(folder / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not folder.exists()


def test_a_server_that_cannot_start_says_why(server_dir: Path) -> None:
    server = EmbeddedPostgres(server_dir / "postgres", settings={"shared_buffers": "nonsense"})
    with pytest.raises(Unavailable, match='invalid value for parameter "shared_buffers"'):
        server.start()
    assert not server.running()


def test_a_directory_that_cannot_be_used_is_named(server_dir: Path) -> None:
    (server_dir / "file").write_text("")
    with pytest.raises(ConfigurationError, match="file/postgres"):
        EmbeddedPostgres(server_dir / "file" / "postgres").start()


@needs_root
def test_root_opens_its_own_directories_for_its_group_only(server_dir: Path) -> None:
    closed = server_dir / "closed"
    closed.mkdir(mode=0o700)
    nobody = pwd.getpwnam("nobody")
    account = Account(nobody.pw_uid, nobody.pw_gid, "nobody")
    account.reach(closed)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o710
    theirs = closed / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 4711, 4711)
    with pytest.raises(ConfigurationError, match="theirs keeps the account nobody out"):
        account.reach(theirs)


@needs_root
def test_an_ordinary_user_needs_no_other_account(server_dir: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    own = server_dir / "own"
    own.mkdir()
    os.chown(own, nobody.pw_uid, nobody.pw_gid)
    Account(nobody.pw_uid, nobody.pw_gid, "nobody").reach(own)

    def use() -> bytes:
        with EmbeddedPostgres(own / "postgres", settings=SMALL) as server:
            owner = (server.data_dir / "pg18").stat().st_uid
            return f"{scalar(server.url(), 'SELECT 7')} {owner}".encode()

    assert as_user(nobody.pw_uid, nobody.pw_gid, use) == f"7 {nobody.pw_uid}"


def as_user(uid: int, gid: int, act: Callable[[], bytes]) -> str:
    """What `act` returns in a child process that has given up root's rights but for its group."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([0])
            os.setgid(gid)
            os.setuid(uid)
            theirs.sendall(act())
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        ours.settimeout(60)
        answer = ours.recv(1000).decode()
    os.waitpid(child, 0)
    return answer
