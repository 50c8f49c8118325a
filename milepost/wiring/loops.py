"""The loops around steps. What can't reach the database is tried again; any other error ends the process."""

from __future__ import annotations

import logging
import math
import os
import platform
import select
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final

import sqlalchemy as sa

from milepost import garbage
from milepost.clock import Clock
from milepost.db.engine import Lead, leader, transient
from milepost.errors import Transient, Unavailable
from milepost.inbox import heartbeats

IDLE: Final = (0.02, 0.05)
"""Seconds between two steps that find nothing: the first pause, and the longest."""
PERIOD: Final = 0.1
"""Seconds at least between the beginnings of two steps that find work: a step costs the same few milliseconds for one
event and for a hundred, and at some thousand events a second these were most of the work."""
PATIENCE: Final = (0.25, 5.0)
"""Seconds to wait after a failure that may go away: the first time, and at most."""
BEAT: Final = 10.0
STANDBY: Final = 1.0
AGAIN: Final = 60.0
"""Seconds until a process without a loop of its own tries again what failed for good."""

Step = Callable[[], bool]
Beat = Callable[[], None]
Leading = Callable[["Trouble", Beat], None]
_log = logging.getLogger(__name__)


class Stop:
    """Set by SIGTERM and SIGINT; everything that waits, waits on it.

    A pipe that becomes readable for good. A threading.Event has a lock, and a signal that comes while its own thread
    holds that would wait for it for ever.
    """

    def __init__(self) -> None:
        self._set = False
        self._read, self._write = os.pipe()
        weakref.finalize(self, _close, self._read, self._write)

    def listen(self) -> Stop:
        """Be set by the signals that ask a process to end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.set())
        return self

    def set(self) -> None:
        if not self._set:
            self._set = True
            os.write(self._write, b"!")

    def __bool__(self) -> bool:
        return self._set

    def wait(self, seconds: float) -> bool:
        """Wait so long at most; whether it is set."""
        if not self._set:
            poll = select.poll()
            poll.register(self._read, select.POLLIN)
            poll.poll(max(0, math.ceil(seconds * 1000)))
        return self._set


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class Trouble:
    """Tells how long to wait after failures in a row: twice as long each time. Logs a failure that isn't the last one
    again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._wait = PATIENCE[0]
        self._said = ""

    def happened(self, error: BaseException) -> float:
        """Seconds to wait before trying again."""
        said = str(error).splitlines()[0] if str(error) else repr(error)
        if said != self._said:
            _log.warning("%s: %s; trying again", self._what, said)
        wait, self._said = self._wait, said
        self._wait = min(2 * wait, PATIENCE[1])
        return wait

    def over(self) -> None:
        if self._said:
            _log.info("%s: works again", self._what)
        self._wait, self._said = PATIENCE[0], ""


def keep_trying(work: Callable[[Trouble], None], stop: Stop, what: str) -> bool:
    """Do `work`, again from its start whenever the database is away. False when it was stopped before it was done.

    `work` calls `over` on what it is given when things go well again. Raises whatever isn't transient.
    """
    trouble = Trouble(what)
    while not stop:
        try:
            work(trouble)
        except (Transient, sa.exc.SQLAlchemyError) as error:
            if not transient(error):
                raise
            stop.wait(trouble.happened(error))
        else:
            trouble.over()
            return True
    return False


def run_steps(step: Step, stop: Stop, beat: Callable[[], None], what: str) -> None:
    """Step until stopped."""
    keep_trying(lambda trouble: loop(step, stop, beat, trouble), stop, what)


def run_leading(engine: sa.Engine, name: str, stop: Stop, lead: Leading, pulse: Pulse) -> None:
    """Until stopped, `lead` whenever this process leads `name`; else stand by.

    `lead` calls now and then the beat that it is given, which raises Unavailable once the lead is lost. Whatever else
    fails in it, the lock may be gone too: so the way back is through another election.
    """

    def once(trouble: Trouble) -> None:
        with leader(engine, name) as leads:
            if leads:
                _log.info("leading")
                lead(trouble, lambda: pulse.leading(leads))
                return
        trouble.over()
        pulse.beat(leads=False)
        stop.wait(STANDBY)

    while keep_trying(once, stop, name):
        continue


def loop(step: Step, stop: Stop, beat: Callable[[], None], trouble: Trouble) -> None:
    """Step until stopped: each PERIOD while work is found, at once if that took longer, else after a pause."""
    first, most = IDLE
    pause = first
    while not stop:
        beat()
        begun = time.monotonic()
        found = step()
        trouble.over()
        if found:
            garbage.collect()
            pause = first
            if (left := begun + PERIOD - time.monotonic()) > 0:
                stop.wait(left)
        else:
            stop.wait(pause)
            pause = min(pause * 1.2, most)


class Pulse:
    """Says now and then in the database that this process lives."""

    def __init__(self, engine: sa.Engine, process: str, clock: Clock) -> None:
        self._engine = engine
        self._process = f"{process}@{platform.node()}"
        self._clock = clock
        self._due = 0.0
        self._started = clock()

    def beat(self, **detail: Any) -> None:
        """Write the life sign, if the last one is `BEAT` seconds old. Raises Transient."""
        if time.monotonic() >= self._due:
            self._write(detail)
            self._due = time.monotonic() + BEAT

    def leading(self, lead: Lead) -> None:
        """Beat as the one that leads. Raises Unavailable when it no longer does."""
        if not lead:
            raise Unavailable("this process was not heard of for a while, and lost the lead")
        self.beat(leads=True)

    def _write(self, detail: Mapping[str, Any]) -> None:
        about = {"pid": os.getpid(), "version": version("milepost"), "started_at": self._started.isoformat(), **detail}
        with self._engine.begin() as connection:
            heartbeats.beat(connection, self._process, self._clock(), about)

    @contextmanager
    def by_itself(self, stop: Stop, prepare: Callable[[], None]) -> Iterator[None]:
        """For a process without a loop of its own: a thread prepares the database, and then beats.

        What fails is logged and tried again; the process goes on, and its /readyz tells what is missing.
        """
        done = threading.Event()

        def live() -> None:
            keep_trying(lambda _: prepare(), stop, "database")
            while not stop and not done.wait(1.0):
                keep_trying(lambda _: self.beat(), stop, "heartbeat")

        def work() -> None:
            while not stop and not done.is_set():
                try:
                    live()
                except Exception:  # noqa: BLE001 - a thread's outermost loop
                    _log.exception("the database can't be used")
                    done.wait(AGAIN)

        threading.Thread(target=work, name="heartbeat", daemon=True).start()
        try:
            yield
        finally:
            done.set()
