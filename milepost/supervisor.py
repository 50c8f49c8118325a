"""Child processes that are started again when they end, and stopped together. Knows nothing of what they do.

A child's output goes line by line to `output`, with the child's name before it. Its standard input is a lifeline that
closes when we are gone, however we end: a child stops then by itself (`on_orphaned`).
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final, TextIO

SOON: Final = 0.2
LATEST: Final = 10.0
"""Seconds before a child is started again: SOON after the first crash, twice as long each time, LATEST at most."""
HEALTHY: Final = 30.0
"""A child that ran so long (seconds) counts as well; its next crash is a first one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `descriptors` are inherited."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Sequence[int] = ()


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[str] | None = None
    started: float = 0.0
    wait: float = SOON
    start_at: float = 0.0


class Supervisor:
    """Runs programs. Not for several threads: one loop calls `tick` some times a second, and `stop` at the end."""

    def __init__(
        self,
        programs: Sequence[Program],
        output: TextIO,
        *,
        now: Callable[[], float] = time.monotonic,
        colours: bool = False,
    ) -> None:
        self._children = [_Child(program) for program in programs]
        self._output = output
        self._now = now
        self._colours = colours
        self._width = max((len(program.name) for program in programs), default=0)

    def tick(self) -> None:
        """Notice who ended, and start whose time has come; the first call starts everyone."""
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._ended(child, child.process)
            if child.process is None and self._now() >= child.start_at:
                self._start(child)

    def pids(self) -> dict[str, int]:
        """The process ids of those that run, by name."""
        return {child.program.name: child.process.pid for child in self._children if child.process is not None}

    def stop(self, grace: float) -> None:
        """Ask everyone to end, and kill who hasn't after `grace` seconds."""
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = self._now() + grace
        for process in running:
            try:
                process.wait(max(0.0, deadline - self._now()))
            except subprocess.TimeoutExpired:
                _log.warning("process %d didn't stop within %g s; killed", process.pid, grace)
                process.kill()
                process.wait()
        for child in self._children:
            child.process = None

    def _start(self, child: _Child) -> None:
        program = child.program
        child.process = subprocess.Popen(
            program.command,
            env=dict(program.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=program.descriptors,
            text=True,
            errors="replace",
            process_group=0,  # Ctrl+C in the terminal is for us; we pass it on in good order
        )
        child.started = self._now()
        _log.info("started %s (pid %d)", program.name, child.process.pid)
        assert child.process.stdout is not None
        threading.Thread(target=self._relay, args=(program.name, child.process.stdout), daemon=True).start()

    def _ended(self, child: _Child, process: subprocess.Popen[str]) -> None:
        if self._now() - child.started >= HEALTHY:
            child.wait = SOON
        how, wait = _how(process.returncode), child.wait
        _log.error("%s (pid %d) %s; again in %g s", child.program.name, process.pid, how, wait)
        if process.stdin is not None:
            process.stdin.close()
        child.process, child.wait, child.start_at = None, min(2 * wait, LATEST), self._now() + wait

    def _relay(self, name: str, lines: IO[str]) -> None:
        label = f"{name:{self._width}} | "
        if self._colours:
            label = f"\x1b[2m{label}\x1b[0m"
        with lines:
            for line in lines:
                self._output.write(f"{label}{line.rstrip()}\n")
                self._output.flush()


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    named = -code in set(signal.Signals)  # most real-time signals have no name
    return f"was killed by {signal.Signals(-code).name if named else f'signal {-code}'}"


def on_orphaned(act: Callable[[], None], lifeline: int = 0) -> None:
    """Call `act` once, from another thread, when the supervisor at the other end of `lifeline` is gone."""

    def watch() -> None:
        while os.read(lifeline, 1):
            pass
        act()

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
