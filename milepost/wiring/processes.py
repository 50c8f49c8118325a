"""The main function of each process. Each returns when it is asked to stop, and raises what it can't go on from."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final, Literal, get_args

from milepost import garbage
from milepost.errors import Unavailable
from milepost.settings import Settings
from milepost.supervisor import on_orphaned
from milepost.wiring import logs, sockets
from milepost.wiring.loops import Beat, Pulse, Stop, Trouble, keep_trying, loop, run_leading, run_steps
from milepost.wiring.resources import Resources, opened, with_secret

Name = Literal["web", "collector", "dashboards", "record", "assemble", "scheduler"]
NAMES: Final[tuple[Name, ...]] = get_args(Name)
GRACE: Final = 5
"""Seconds that open requests of a supervised web process have to end."""


def run(name: Name, settings: Settings, *, supervised: bool = False, descriptor: int | None = None) -> None:
    """Run one process until SIGTERM or SIGINT.

    `supervised`: stop as well when standard input closes. `descriptor`: the web's listening socket, inherited.
    """
    logs.configure(settings.log, logs.secrets_of(settings))
    # Full collections walk through all that a process caches, and find next to nothing. What dies young still goes.
    gc.set_threshold(100_000, 20, 1_000_000)
    stop = Stop().listen()
    if supervised:
        on_orphaned(lambda: os.kill(os.getpid(), signal.SIGTERM))
    if name in ("web", "collector", "dashboards"):
        _run_web(name, settings, stop, descriptor, supervised)
        return
    with opened(settings, name) as resources:
        if keep_trying(lambda _: resources.prepare(), stop, "database"):
            _LOOPS[name](resources, stop, Pulse(resources.engine, name, resources.clock))


# --- web --------------------------------------------------------------------------------------------------------------


def _run_web(name: Name, settings: Settings, stop: Stop, descriptor: int | None, supervised: bool) -> None:
    from milepost.wiring import web

    factory = {"web": web.web_app, "collector": web.collector_app, "dashboards": web.dashboards_app}[name]
    settings = settings if name == "collector" else with_secret(settings)
    listening = socket.socket(fileno=descriptor) if descriptor is not None else sockets.listen(settings)
    otlp = sockets.listen_otlp(settings) if name != "dashboards" else None
    with listening, otlp or nullcontext(), opened(settings, name) as resources:
        options = {"timeout_graceful_shutdown": GRACE} if supervised else {}
        # answers from the start, with 503 until the database is there
        with Pulse(resources.engine, name, resources.clock).by_itself(stop, resources.prepare):
            web.serve(factory(resources), settings, listening, otlp, **options)


# --- steps ------------------------------------------------------------------------------------------------------------


def _run_record(resources: Resources, stop: Stop, pulse: Pulse) -> None:
    from correlator.record import Recorder

    recorder = Recorder(resources.engine, resources.cache.active, resources.clock)
    with garbage.by_hand():
        run_steps(recorder.step, stop, pulse.beat, "record")


def _run_assemble(resources: Resources, stop: Stop, pulse: Pulse) -> None:
    from correlator.assemble import GATHER, Assembler
    from sla.store import Clocks

    hook = Clocks().on_journeys_changed
    assembler = Assembler(resources.engine, resources.cache.active, resources.clock, hook, gather=GATHER)

    def lead(trouble: Trouble, beat: Beat) -> None:
        loop(assembler.step, stop, beat, trouble)

    with garbage.by_hand():
        run_leading(resources.engine, "assemble", stop, lead, pulse)


def _run_scheduler(resources: Resources, stop: Stop, pulse: Pulse) -> None:
    from milepost.wiring.jobs import Schedule, jobs_of

    def lead(trouble: Trouble, beat: Beat) -> None:
        with Schedule(jobs_of(resources)) as schedule:
            while not stop.wait(0.2):
                if schedule.lost.is_set():
                    raise Unavailable("the database went away")
                beat()
                trouble.over()

    run_leading(resources.engine, "scheduler", stop, lead, pulse)


_LOOPS: Final[dict[str, Callable[[Resources, Stop, Pulse], None]]] = {
    "record": _run_record,
    "assemble": _run_assemble,
    "scheduler": _run_scheduler,
}
