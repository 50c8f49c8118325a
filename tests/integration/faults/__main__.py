"""Run faults under load, and print how many events were lost and doubled. Exits with 1 when any was."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from milepost.db import schema
from milepost.db.embedded import EmbeddedPostgres
from tests.integration.faults.arena import HEADER, Outcome, arena
from tests.integration.faults.faults import FAULTS, SETTINGS, Fault, mount, unmount
from tests.integration.faults.load import Load

BEFORE, AFTER = 1.0, 1.0
"""Seconds of load around the fault."""


def main() -> int:
    options = _options()
    if options.list:
        _say("\n".join(f"{fault.name:<22}{fault.about}" for fault in FAULTS.values()))
        return 0
    _say(HEADER)
    good = True
    for name in options.fault or FAULTS:
        fault = FAULTS[name]
        if fault.root and os.geteuid() != 0:
            _say(f"{name:<22}skipped: it needs root")
            continue
        outcome = run(fault, seconds=options.minutes * 60, rate=options.rate, batch=options.batch)
        _say(outcome.row())
        good = good and outcome.good
    return 0 if good else 1


def run(fault: Fault, *, seconds: float, rate: int, batch: int) -> Outcome:
    """One fault on a server of its own, which flushes as it should."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="milepost-faults-")))
        data = folder / "postgres"
        if fault.root:
            mount(data, 300)
            stack.callback(unmount, data)
        server = EmbeddedPostgres(data)
        server.start()
        stack.callback(server.stop)
        schema.run_migrations(server.url())
        ready = stack.enter_context(arena(server.url(), folder, server, SETTINGS.get(fault.name)))
        with Load(ready.collector.url, ready.key, rate=rate, batch=batch) as load:
            time.sleep(BEFORE)
            fault.work(ready, seconds)
            time.sleep(AFTER)
        return ready.outcome(fault.name, load)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 what it is for


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.integration.faults", description=__doc__)
    parser.add_argument("--fault", action="append", choices=sorted(FAULTS), help="one of them; all if not given")
    parser.add_argument("--minutes", type=float, default=0.1, help="how long each lasts (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=1000, help="events a second (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=10, help="events in a request (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="what there is")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
