"""Drive the chain in a test: wire events into the log, then recorders and the assembler, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from correlator.assemble import Assembler, Changed
from correlator.record import Recorder
from milepost import contract
from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import utc_now
from milepost.inbox import identities, log

CATALOG = loader.load(loader.default_texts())
Wire = dict[str, Any]


def entry(wire: Wire, received_us: int) -> contract.Entry:
    """A wire event as the collector would put it into the log."""
    body = msgspec.json.encode(wire)
    event = contract.decode(body)
    return contract.Entry(contract.identity_of(event.source, event.id), contract.content_of(event), received_us, body)


def ignore(connection: sa.Connection, catalog: Catalog, changes: Sequence[Any], now: datetime) -> None:
    """An SLA engine that does nothing."""


class Chain:
    """One database with recorders and an assembler."""

    def __init__(
        self, engine: sa.Engine, recorders: int = 1, changed: Changed = ignore, catalog: Catalog = CATALOG
    ) -> None:
        self.engine = engine
        self.catalog = catalog
        self.recorders = [Recorder(engine, lambda _: catalog, utc_now) for _ in range(recorders)]
        self.assembler = Assembler(engine, lambda _: catalog, utc_now, changed)
        with engine.begin() as connection:
            identities.roll_over(connection, utc_now(), timedelta(days=30))

    def append(self, entries: Sequence[contract.Entry]) -> None:
        with self.engine.begin() as connection:
            log.append(connection, entries)

    def send(self, *wires: Wire, received_us: int | None = None) -> None:
        at = received_us if received_us is not None else int(utc_now().timestamp() * 1_000_000)
        self.append([entry(wire, at) for wire in wires])

    def settle(self) -> None:
        """Until nothing is left to do."""
        while any(recorder.step() for recorder in self.recorders) or self.assembler.step():
            continue
