"""The faults. Each lasts so many seconds while events are sent, and mends what it broke."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from milepost.errors import MilepostError
from tests.integration.faults.arena import PATIENCE, Arena
from tests.served import BATCH, wait_until

Work = Callable[[Arena, float], None]


@dataclass(frozen=True)
class Fault:
    """`shared`: needs no server of its own. `root`: needs the right to mount."""

    name: str
    about: str
    work: Work
    shared: bool = False
    root: bool = False


def database_away(arena: Arena, seconds: float) -> None:
    assert arena.server is not None
    arena.server.stop()
    _last(seconds)
    arena.server.start()


def database_killed(arena: Arena, seconds: float) -> None:
    assert arena.server is not None
    _signal_postgres(arena, signal.SIGKILL)
    _last(seconds)
    arena.server.start()


def database_stopped(arena: Arena, seconds: float) -> None:
    _signal_postgres(arena, signal.SIGSTOP)
    _last(seconds)
    _signal_postgres(arena, signal.SIGCONT)


def connection_cut(arena: Arena, seconds: float) -> None:
    arena.proxy.cut()
    _last(seconds)
    arena.proxy.mend()


def network_silent(arena: Arena, seconds: float) -> None:
    arena.proxy.stop()
    _last(seconds)
    arena.proxy.mend()


def commit_answer_lost(arena: Arena, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or not arena.proxy.lost_commits:
        arena.proxy.lose_commits(1)
        time.sleep(0.3)
    arena.proxy.lose_commits(0)


def database_disk_full(arena: Arena, seconds: float) -> None:
    assert arena.server is not None
    filler = arena.server.data_dir / "filler"
    try:
        with filler.open("wb") as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        _last(seconds)
    finally:
        filler.unlink(missing_ok=True)
    _start_again(arena)


def spool_disk_full(arena: Arena, seconds: float) -> None:
    arena.collector.limit_files(0)
    arena.proxy.cut()
    _last(seconds)
    arena.collector.limit_files(1 << 40)
    arena.proxy.mend()


def spool_full(arena: Arena, seconds: float) -> None:
    """The arena's collector has a small one: see `SETTINGS`."""
    connection_cut(arena, seconds)


def collector_killed(arena: Arena, seconds: float) -> None:
    """At random times: healthy, with a database that is away, and while the spool drains."""
    rng = random.Random(os.environ.get("MILEPOST_TEST_SEED", "faults"))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if rng.random() < 0.7:
            arena.proxy.cut()
            time.sleep(rng.uniform(0.2, 1.5))
        if rng.random() < 0.7:
            arena.proxy.mend()
            time.sleep(rng.uniform(0.0, 0.5))
        arena.collector.kill()
        arena.proxy.mend()
        arena.collector.start()
        wait_until(lambda: arena.collector.status() in ("ready", "draining"), PATIENCE)


def collector_restarted(arena: Arena, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.5)
        with suppress(httpx.TransportError):
            arena.collector.spooled += int(arena.collector.metric("milepost_collector_spooled_total"))
        arena.collector.stop()
        arena.collector.start()
        wait_until(lambda: arena.collector.status() == "ready", PATIENCE)


def half_requests(arena: Arena, seconds: float) -> None:
    """Senders that hang up in the middle of a body, after an event of it that was whole."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with _head(arena, 500) as connection:
            whole = (
                b'[{"specversion":"1.0","id":"half","source":"/wms/north","type":"a.b","data":{"keys":{"order":"1"}}},'
            )
            connection.sendall(whole)
        time.sleep(0.02)


def slow_senders(arena: Arena, seconds: float) -> None:
    """Hundreds of connections that send a byte now and then: heads and bodies."""
    slow = [_head(arena, 500) if number % 2 else _connect(arena) for number in range(400)]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for connection in slow:
            with suppress(OSError):
                connection.send(b"x")
        time.sleep(0.5)
    for connection in slow:
        connection.close()


def everything(arena: Arena, seconds: float) -> None:
    """A little of all that a shared database allows."""
    share = seconds / 5
    commit_answer_lost(arena, share)
    connection_cut(arena, share)
    half_requests(arena, share)
    arena.proxy.cut()
    time.sleep(share)
    arena.collector.kill()
    arena.proxy.mend()
    arena.collector.start()
    wait_until(lambda: arena.collector.status() in ("ready", "draining"), PATIENCE)
    spool_disk_full(arena, share)


FAULTS: Final = {
    fault.name: fault
    for fault in (
        Fault("database-away", "PostgreSQL is shut down and started again", database_away),
        Fault("database-killed", "kill -9 of PostgreSQL", database_killed),
        Fault("database-stopped", "PostgreSQL hangs (SIGSTOP)", database_stopped),
        Fault("database-disk-full", "no space for PostgreSQL (needs root: a tmpfs)", database_disk_full, root=True),
        Fault("connection-cut", "every connection to the database is closed", connection_cut, shared=True),
        Fault("network-silent", "the network swallows all packets", network_silent, shared=True),
        Fault("commit-answer-lost", "COMMIT arrives, its answer doesn't", commit_answer_lost, shared=True),
        Fault("spool-full", "the database is away, and the spool is too small", spool_full, shared=True),
        Fault("spool-disk-full", "the database is away, and the spool can't be written", spool_disk_full, shared=True),
        Fault("collector-killed", "kill -9 at random times, also while it drains", collector_killed, shared=True),
        Fault("collector-restarted", "stopped and started again", collector_restarted, shared=True),
        Fault("half-requests", "senders hang up in the middle of a body", half_requests, shared=True),
        Fault("slow-senders", "400 connections that dribble bytes", slow_senders, shared=True),
        Fault("everything", "a little of several, one after the other", everything, shared=True),
    )
}
SETTINGS: Final = {"spool-full": {"MILEPOST_SPOOL_BYTES": "20000"}}
"""What the collector is given for a fault."""


def _last(seconds: float) -> None:
    """How long the fault lasts: a duration of the experiment, not a wait for something."""
    time.sleep(seconds)


def _signal_postgres(arena: Arena, number: signal.Signals) -> None:
    assert arena.server is not None
    pid = arena.server.server_pid()
    assert pid is not None
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    for victim in [pid, *children] if number != signal.SIGCONT else [*children, pid]:
        with suppress(ProcessLookupError):
            os.kill(victim, number)
    if number == signal.SIGKILL:
        wait_until(lambda: not arena.server.running() if arena.server else True, PATIENCE)


def _start_again(arena: Arena) -> None:
    assert arena.server is not None
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            arena.server.start()
            return
        except MilepostError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _connect(arena: Arena) -> socket.socket:
    return socket.create_connection(("127.0.0.1", arena.collector.port), timeout=10)


def _head(arena: Arena, length: int) -> socket.socket:
    connection = _connect(arena)
    connection.sendall(
        f"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: {BATCH}\r\nContent-Length: {length}\r\n"
        f"Authorization: Bearer {arena.key}\r\n\r\n".encode()
    )
    return connection


def mount(folder: Path, megabytes: int) -> None:
    """A small disk. Root only."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "milepost-faults", str(folder)]
    subprocess.run(command, check=True, timeout=30)


def unmount(folder: Path) -> None:
    subprocess.run([shutil.which("umount") or "umount", str(folder)], check=False, timeout=30)
