"""Recorder and assembler in this process, for benchmarks that start from a full event log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import islice
from time import perf_counter
from typing import Final

import sqlalchemy as sa

from correlator.assemble import Assembler
from correlator.record import Recorder
from milepost import contract, garbage
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.decisions import catalog as decided
from milepost.inbox import identities, log
from sla.store import Clocks

AT_ONCE: Final = 500
AHEAD: Final = 24
"""Steps of the recorder to one of the assembler, which works a backlog off: as much meets in each of its steps."""


def entry(body: bytes, received_us: int) -> contract.Entry:
    """An event as the collector puts it into the log."""
    event = contract.decode(body)
    return contract.Entry(contract.identity_of(event.source, event.id), contract.content_of(event), received_us, body)


def append(engine: sa.Engine, entries: Iterable[contract.Entry]) -> None:
    """Put these into the log, AT_ONCE a commit."""
    rest = iter(entries)
    while batch := list(islice(rest, AT_ONCE)):
        with engine.begin() as connection:
            log.append(connection, batch)


def _tidy(step: Callable[[], bool]) -> bool:
    found = step()
    garbage.collect()
    return found


def settle(engine: sa.Engine) -> list[float]:
    """Recorder and assembler in turns, with clocks, until nothing is left; when each turn ended, in seconds from 0."""
    texts = loader.default_texts()
    catalog = loader.load(texts)
    with engine.begin() as connection:
        decided.ensure(connection, texts, now=utc_now())
        identities.roll_over(connection, utc_now(), timedelta(days=30))
    recorder = Recorder(engine, lambda _: catalog, utc_now)
    assembler = Assembler(engine, lambda _: catalog, utc_now, Clocks().on_journeys_changed)
    started, times = perf_counter(), [0.0]
    with garbage.by_hand():
        while any([*(_tidy(recorder.step) for _ in range(AHEAD)), _tidy(assembler.step)]):
            times.append(perf_counter() - started)
    return times
