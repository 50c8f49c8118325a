"""Children that are started, started again, and stopped."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from milepost.supervisor import HEALTHY, LATEST, Program, Supervisor
from tests.processes import alive

PATIENCE = 30.0


def program(code: str, name: str = "child") -> Program:
    return Program(name, [sys.executable, "-c", code], os.environ)


def eventually(holds: Callable[[], bool], tick: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        tick()
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


WAITS = "import time; time.sleep(60)"


def test_output_has_the_name_before_each_line() -> None:
    output = io.StringIO()
    supervisor = Supervisor([program("print('one'); print('two')", "web"), program("", "assemble")], output)
    supervisor.tick()
    eventually(lambda: "two" in output.getvalue())
    supervisor.stop(5)
    assert output.getvalue().splitlines() == ["web      | one", "web      | two"]


def test_a_killed_child_comes_back_and_the_others_stay() -> None:
    supervisor = Supervisor([program(WAITS, "one"), program(WAITS, "two")], io.StringIO())
    supervisor.tick()
    before = supervisor.pids()
    os.kill(before["one"], signal.SIGKILL)
    eventually(lambda: supervisor.pids().get("one", before["one"]) != before["one"], supervisor.tick)
    assert supervisor.pids()["two"] == before["two"]
    supervisor.stop(5)
    assert supervisor.pids() == {}


def test_each_crash_waits_longer_until_it_ran_well() -> None:
    hands = Hands()
    supervisor = Supervisor([program(WAITS)], io.StringIO(), now=hands)
    supervisor.tick()
    waits = []
    for ran in (0.0, 0.0, 0.0, HEALTHY):
        hands.at += ran
        os.kill(supervisor.pids()["child"], signal.SIGKILL)
        eventually(lambda: not supervisor.pids(), supervisor.tick)
        died = hands.at
        while not supervisor.pids():
            hands.at += 0.05
            supervisor.tick()
        waits.append(round(hands.at - died, 1))
    supervisor.stop(5)
    assert waits == [0.2, 0.4, 0.8, 0.2]


class Dead:
    """A process that ended before anybody looked."""

    pid, returncode, stdin = 1, 1, None

    def __init__(self, *_: object, **__: object) -> None:
        self.stdout = io.StringIO()

    def poll(self) -> int:
        return self.returncode


def test_a_child_may_crash_for_hours(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(subprocess, "Popen", Dead)
    hands = Hands()
    supervisor = Supervisor([program("")], io.StringIO(), now=hands)
    for _ in range(2_200):  # one ends in every other
        supervisor.tick()
        hands.at += LATEST
    assert caplog.messages[-1].endswith(f"again in {LATEST:g} s")


def test_how_a_child_ended_is_told(caplog: pytest.LogCaptureFixture) -> None:
    ends = "import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 6)"
    supervisor = Supervisor([program(ends), program("raise SystemExit(3)")], io.StringIO())
    eventually(lambda: len(caplog.messages) == 2, supervisor.tick)
    supervisor.stop(5)
    assert any(f"was killed by signal {signal.SIGRTMIN + 6}" in line for line in caplog.messages)
    assert any("ended with code 3" in line for line in caplog.messages)


def test_who_does_not_stop_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    output = io.StringIO()
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    supervisor = Supervisor([program(stubborn)], output)
    supervisor.tick()
    eventually(lambda: "ready" in output.getvalue())
    supervisor.stop(0.1)
    assert supervisor.pids() == {}
    assert "killed" in caplog.text


def test_children_end_when_their_supervisor_is_killed() -> None:
    child = (
        "import os, time; from milepost.supervisor import on_orphaned;"
        "on_orphaned(lambda: os._exit(0)); print('pid', os.getpid(), flush=True); time.sleep(60)"
    )
    parent = (
        "import os, sys, time; from milepost.supervisor import Program, Supervisor;"
        f"s = Supervisor([Program('c', [sys.executable, '-c', {child!r}], os.environ)], sys.stdout);"
        "s.tick(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline().split()[-1])
        process.kill()
    eventually(lambda: not alive(pid))
