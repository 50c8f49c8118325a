"""Rebuild: everything derived, written anew from the stored events beside the live state, and swapped in.

The live chain goes on. From the beginning on, recorders tell both generations (milepost/db/generation.py); this module
replays the events stored before, puts their journeys together in the next generation, and, once it has caught up, holds
the writers still for as long as the rest and the swap take. Clocks and breaches stay: journeys that came out otherwise
are looked at again after the swap, and what that brings to light is recorded, and notified to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

import sqlalchemy as sa

from correlator import journeystore as store
from correlator import retell, touches
from correlator.assemble import Assembler, CatalogOf, Changed, Root
from correlator.retell import Extent, Selection
from correlator.rows import gone
from correlator.touches import TouchBatch
from milepost import garbage
from milepost.catalog.schema import Catalog
from milepost.clock import Clock, to_us
from milepost.db import generation, tables
from milepost.db.engine import leader, transaction_lock
from milepost.db.generation import FORMER, LIVE, NEXT
from milepost.decisions import audit
from milepost.errors import Conflict, Transient
from milepost.journeystate import JourneyChange

LOCK: Final = "milepost.rebuild"
TRIES: Final = 10
_HELD: Final = (tables.touches, tables.relations, tables.journeys, tables.running_clocks, tables.clocks)
"""In the order in which recorders and the check of due clocks take them: the other way round they would deadlock."""
_KEPT: Final = (tables.running_clocks, tables.clocks, tables.baselines, tables.anomaly_models)

_ALL: Final = Selection()


@dataclass(slots=True)
class Report:
    """What a rebuild did. Journeys by how they compare with the live ones; `examples` are (model, key) of each."""

    events: int = 0
    journeys: int = 0
    new: int = 0
    gone: int = 0
    changed: int = 0
    examples: dict[str, list[tuple[str, str]]] = field(default_factory=dict)


Progress = Callable[[str, int, int], None]
"""Told what is being done, and how much of it, of how much."""


def _silent(_: str, __: int, ___: int) -> None: ...


Done = TypeVar("Done")


class Rebuild:
    """One rebuild. `changed` is the SLA engine's hook, told of journeys that are no more; `actor` is for the audit."""

    def __init__(
        self,
        engine: sa.Engine,
        catalog_of: CatalogOf,
        clock: Clock,
        changed: Changed,
        *,
        actor: str = audit.SYSTEM,
        progress: Progress = _silent,
    ) -> None:
        self._engine = engine
        self._catalog_of = catalog_of
        self._clock = clock
        self._changed = changed
        self._actor = actor
        self._progress = progress
        self.report = Report()

    def run(self, selection: Selection = _ALL, *, swap: bool = True) -> Report:
        """Replay, compare, and swap. A selection of events, or `swap` false, compares only, and leaves all as it was.

        Raises Conflict while another rebuild runs, or where others built on the live tables, and Transient where a
        reader keeps it from beginning or from swapping. Whatever ends it early, the live state is untouched.
        """
        with self._engine.connect() as connection:
            left = generation.number(connection)  # before it leads: no other one that leads has begun since
        with leader(self._engine, LOCK) as self._lead, garbage.by_hand():
            if not self._lead:
                raise Conflict("a rebuild is running already")
            self._whole = swap and selection.whole
            if self._whole:
                with self._engine.connect() as connection:
                    generation.refuse_dependents(connection, _KEPT)
            last, catalog = self._patiently(lambda: self._begin(left))
            url = self._engine.url.render_as_string(hide_password=False)
            beside = generation.redirected(url, self._number, pool_size=1, application_name="milepost rebuild")
            try:
                self._replay(beside, selection, last, catalog)
                if self._whole:
                    self._patiently(self._swap)
                else:
                    self._compare_only(selection)
            finally:
                beside.dispose()
                self._clear_up()
        return self.report

    def _patiently(self, work: Callable[[], Done]) -> Done:
        """A reader that takes long, a backup for one, holds this off; meanwhile nobody is to wait behind it."""
        for tried in range(1, TRIES):
            try:
                return work()
            except Transient:
                self._progress("waiting for readers", tried, TRIES)
        return work()

    def _begin(self, left: int | None) -> tuple[int, Catalog]:
        """Make the next generation in place of what was left; returns the last event that no recorder tells it of."""
        with self._engine.begin() as connection:
            self._number = generation.begin(connection, told=self._whole, instead_of=left)
            return retell.last(connection), self._catalog_of(connection)

    def _go_on(self) -> None:
        if not self._lead:
            raise Conflict("the connection was lost that kept other rebuilds away; rebuild again")

    # --- replay -------------------------------------------------------------------------------------------------------

    def _replay(self, beside: sa.Engine, selection: Selection, last: int, catalog: Catalog) -> None:
        with self._engine.connect() as connection:
            extent = Extent(last, retell.count(connection, selection, last), self._number)
        self._version = catalog.version
        self._assembler = Assembler(
            beside, lambda _: catalog, self._clock, _nothing, adopt=self._adopt, trial=not self._whole
        )
        with closing(retell.run(self._engine, catalog, self._clock, selection, extent)) as replayed:
            for events in replayed:
                self._go_on()
                self.report.events += events
                self._progress("replayed", self.report.events, extent.events)
                self._assembler.step()  # one: what is told meanwhile is for the next, together with what comes then
                garbage.collect()
        self._catch_up()

    def _catch_up(self) -> None:
        while self._assembler.step():
            garbage.collect()

    def _adopt(self, roots: Sequence[Root]) -> Mapping[Root, int]:
        """A journey keeps the id that it has."""
        its = tables.journeys.c
        wanted = sa.select(its.model, its.root_id, its.journey_id).where(
            its.root_id == sa.func.any(sa.cast(sorted({root for _, root in roots}), sa.ARRAY(sa.BigInteger)))
        )
        with self._engine.connect() as connection:
            return {(row.model, row.root_id): row.journey_id for row in connection.execute(wanted)}

    # --- compare and swap ---------------------------------------------------------------------------------------------

    def _swap(self) -> None:
        self._catch_up()
        with self._engine.begin() as connection:
            generation.be_patient(connection)
            store.take_over(connection, LOCK)  # waits for the assembler's step, and is the last one of this generation
            generation.hold(connection, _HELD)
            generation.pin(connection, self._number)
            self._go_on()
            if self._catalog_of(connection).version != self._version:
                raise Conflict("another catalog was applied meanwhile; rebuild again")
            self._catch_up()
            self._progress("comparing", 0, 1)
            _align(connection)
            self._count(connection, Selection())
            lost = [gone(*row) for row in _gone(connection)]
            again = _differing(connection)
            generation.swap(connection, _KEPT)
            self._look_again(connection, again, lost)

    def _look_again(self, connection: sa.Connection, again: Iterator[Sequence[int]], lost: list[JourneyChange]) -> None:
        """After the swap: note it, and have the clocks of journeys that differ judged anew, quietly."""
        now, report = self._clock(), self.report
        detail = {"events": report.events, "journeys": report.journeys, "changed": report.changed}
        audit.record(connection, actor=self._actor, action="rebuilt", target="journeys", now=now, detail=detail)
        for portion in again:
            touches.put(connection, TouchBatch({}, [], [], list(portion), quiet=True), now)
        if lost:
            self._changed(connection, self._catalog_of(connection), lost, now)

    def _compare_only(self, selection: Selection) -> None:
        with self._engine.connect() as connection:
            generation.pin(connection, self._number)
            self._count(connection, selection)

    def _count(self, connection: sa.Connection, selection: Selection) -> None:
        report = self.report
        report.journeys = connection.scalar(sa.text(f"SELECT count(*) FROM {NEXT}.journeys")) or 0
        kinds = {"new": _NEW, "changed": _CHANGED, **({"gone": _GONE} if selection.whole else {})}
        for name, query in kinds.items():
            count = connection.scalar(sa.text(f"SELECT count(*) FROM ({query}) AS found"))
            setattr(report, name, count or 0)
            rows = connection.execute(
                sa.text(f"SELECT model, key FROM ({query}) AS found ORDER BY model, key LIMIT 10")
            )
            report.examples[name] = [(row.model, row.key) for row in rows]

    def _clear_up(self) -> None:
        """Take away what is not live, the unfinished next generation or the former one; or leave it to `clear_up`."""
        for schema, number in ((NEXT, self._number), (FORMER, None)):
            with suppress(Transient), self._engine.begin() as connection:
                generation.drop(connection, schema, number)


def clear_up(engine: sa.Engine) -> bool:
    """Take away what a rebuild left: one that was killed, or whose leavings somebody was reading.

    True when there was something. Raises Transient where it is still read: try again later.
    """
    return any([_cleared(engine, NEXT), _cleared(engine, FORMER)])


def _cleared(engine: sa.Engine, schema: str) -> bool:
    with engine.begin() as connection:
        # in the transaction that drops: who is frozen in it keeps the lock, and no rebuild begins
        return transaction_lock(connection, LOCK) and generation.drop(connection, schema)


def _nothing(connection: sa.Connection, catalog: Catalog, changes: Sequence[JourneyChange], now: datetime) -> None:
    """The next generation has no clocks: they come over from the live one."""


# --- comparison -------------------------------------------------------------------------------------------------------

_BOTH: Final = f"{NEXT}.journeys AS n LEFT JOIN {LIVE}.journeys AS l ON l.model = n.model AND l.root_id = n.root_id"
_COLUMNS: Final = [
    column.name for column in tables.journeys.columns if column.name not in ("journey_id", "model", "root_id")
]
_NEW: Final = f"SELECT n.model, n.key FROM {_BOTH} WHERE l.journey_id IS NULL"
_OTHER: Final = " OR ".join(f"n.{name} IS DISTINCT FROM l.{name}" for name in _COLUMNS)
_CHANGED: Final = f"SELECT n.model, n.key FROM {_BOTH} WHERE l.journey_id IS NOT NULL AND ({_OTHER})"
_GONE: Final = (
    f"SELECT l.journey_id, l.model, l.root_id, l.key, l.started_at FROM {LIVE}.journeys AS l WHERE NOT EXISTS"
    f" (SELECT FROM {NEXT}.journeys AS n WHERE n.model = l.model AND n.root_id = l.root_id)"
)
_DIFFERING: Final = sa.text(
    f"SELECT n.root_id FROM {_BOTH} WHERE {_OTHER}"
    f" UNION SELECT j.root_id FROM {NEXT}.object_states AS n"
    f" LEFT JOIN {LIVE}.object_states AS l USING (object_id)"
    f" JOIN {NEXT}.members AS m ON m.object_id = n.object_id"
    f" JOIN {NEXT}.journeys AS j ON j.journey_id = m.journey_id"
    " WHERE n.state IS DISTINCT FROM l.state"
)
_MOVED: Final = sa.text(
    f"SELECT n.journey_id AS other, l.journey_id AS own FROM {NEXT}.journeys AS n"
    f" JOIN {LIVE}.journeys AS l ON l.model = n.model AND l.root_id = n.root_id WHERE l.journey_id <> n.journey_id"
)


def _align(connection: sa.Connection) -> None:
    """Journeys that both generations numbered at the same time keep the live number."""
    moved = [{"other": row.other, "own": row.own} for row in connection.execute(_MOVED)]
    for table in ("journeys", "members", "milestones") if moved else ():
        connection.execute(sa.text(f"UPDATE {NEXT}.{table} SET journey_id = :own WHERE journey_id = :other"), moved)


def _gone(connection: sa.Connection) -> list[tuple[int, str, int, str, int]]:
    rows = connection.execute(sa.text(_GONE))
    return [(row.journey_id, row.model, row.root_id, row.key, to_us(row.started_at)) for row in rows]


def _differing(connection: sa.Connection) -> Iterator[Sequence[int]]:
    """The roots of journeys that came out otherwise than they are live, in portions."""
    roots = list(connection.scalars(_DIFFERING))
    return (roots[start : start + store.PORTION] for start in range(0, len(roots), store.PORTION))
