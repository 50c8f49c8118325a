"""Steps for the scheduler and the command line: run what is due, or one reconciliation now.

A run is one transaction: counts, discrepancies, their events in the log and the alert's signal are committed together,
so a crash leaves all or nothing, and a second run over the same window adds nothing.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import sqlalchemy as sa

from alerting import commands
from milepost.catalog.reconciliation import Direction, Reconciliation
from milepost.catalog.schema import Catalog
from milepost.contract import FIRST_TIME, LAST_TIME, Entry
from milepost.db.engine import transaction_lock
from milepost.errors import Conflict, MilepostError, NotFound
from milepost.inbox import log
from sla.reconciliation import store, telling
from sla.reconciliation.judge import why_over
from sla.reconciliation.result import Result
from sla.reconciliation.statement import Window
from sla.reconciliation.telling import length, midnight

_BATCH: Final = 5_000
_WAITS: Final = timedelta(minutes=10)
_EARLY: Final = timedelta(seconds=30)
"""One is due this long before its time: the scheduler looks once a minute, and would often come a moment too soon."""
_EVER: Final = (FIRST_TIME.date() - timedelta(days=1), LAST_TIME.date() + timedelta(days=1))
"""No event is of a day before or after these, wherever on earth; times beyond them soon can't be reckoned with."""
Days = tuple[date | None, date | None]

_log = logging.getLogger(__name__)


def run_due(engine: sa.Engine, catalog: Catalog, *, now: datetime, through: datetime) -> int:
    """Run each reconciliation whose time has come; returns how many ran. One that fails is told, the others go on.

    `through`: up to when everything received is in the journeys. Nothing later is judged.
    """
    with engine.begin() as connection:
        last = store.last_scheduled(connection)
        _withdraw(connection, catalog, now)
    ran = 0
    for name, one in catalog.reconciliations.items():
        if name in last and timedelta(0) <= now - last[name] < length(one.every) - _EARLY:
            continue
        try:
            run(engine, catalog, name, now=now, through=through)
        except Conflict:  # somebody runs it by hand
            continue
        except (MilepostError, sa.exc.SQLAlchemyError, ArithmeticError, ValueError) as error:
            _failed(engine, name, one, (str(error) or repr(error)).splitlines()[0], now)
        ran += 1
    return ran


def run(
    engine: sa.Engine, catalog: Catalog, name: str, *, now: datetime, through: datetime, days: Days | None = None
) -> Result:
    """Compare, over the usual window or over whole `days` (first and last, in the reconciliation's zone).

    Days before the usual window raise no alert. Raises NotFound, or Conflict while another run of it goes on.
    """
    one = catalog.reconciliations.get(name)
    if one is None:
        known = ", ".join(sorted(catalog.reconciliations)) or "none"
        raise NotFound(f"there is no reconciliation {name}; there are {known}")
    begun, version = time.monotonic(), version_of(one)
    with engine.begin() as connection:
        if not transaction_lock(connection, f"reconcile {name}"):
            raise Conflict(f"{name} is being run already")
        horizon, waits = _horizon(connection, one, through)
        window = _window(one, horizon - length(one.settle), days)
        failing = store.failing(connection, name)
        run_id = store.begin(connection, name, version, window, now, scheduled=days is None)
        about = {"version": version, "now": now, "run": run_id}
        result = _compare(connection, name, one, window, about, waits)
        usual = _window(one, horizon - length(one.settle), None)
        # a comparison may take a minute: what it tells is received when it is told
        told_at = now + timedelta(seconds=time.monotonic() - begun)
        _tell(connection, catalog, name, one, result, usual, told_at)
        if failing:
            commands.send(connection, [telling.works_again(name, now)], now=now)
        store.end(connection, run_id, result.counted(time.monotonic() - begun))
    return result


def version_of(one: Reconciliation) -> str:
    """A hash of what a reconciliation says."""
    plain = msgspec.json.encode(msgspec.to_builtins(one, enc_hook=repr), order="sorted")
    return hashlib.sha256(plain).hexdigest()[:12]


# --- the window -------------------------------------------------------------------------------------------------------


def _horizon(connection: sa.Connection, one: Reconciliation, through: datetime) -> tuple[datetime, str | None]:
    """Up to when the side that may lack something has told what it had to tell, and whom one waits for.

    While it is silent altogether, what came since is not judged: its feed may be dark. That holds for `patience` only.
    """
    bound, waits = through, None
    least = through - length(one.patience)
    sides: tuple[Direction, ...] = ("left", "right") if one.both_ways or one.by == "day" else ("right",)
    for direction in sides:
        if not one.side(direction).events:
            continue
        told = store.told_through(connection, one.side(direction))
        known = max(least, told or least)
        if known < bound:
            since = f"has told of nothing since {told:%Y-%m-%d %H:%M:%SZ}" if told else "never told anything"
            bound, waits = known, f"{one.name_of(direction)} {since}"
    return bound, waits if through - bound > _WAITS else None


def _window(one: Reconciliation, settled: datetime, days: Days | None) -> Window:
    """From the beginning of a day on, and up to what has settled."""
    zone = ZoneInfo(one.zone)
    first, last = (day and min(max(day, _EVER[0]), _EVER[1]) for day in days or (None, None))
    until = settled if last is None else min(settled, midnight(last + timedelta(days=1), zone))
    begin = midnight(first or (until - length(one.lookback)).astimezone(zone).date(), zone)
    return Window(begin, max(begin, until))


# --- comparing and telling --------------------------------------------------------------------------------------------


def _compare(
    connection: sa.Connection, name: str, one: Reconciliation, window: Window, about: dict[str, Any], waits: str | None
) -> Result:
    store.make(connection, name, one, window)
    last = window.until.astimezone(ZoneInfo(one.zone)).date()
    days = [(day, why_over(one, day)) for day in store.days(connection, one, last)]
    closed = store.close_gone(connection, name, one, about)
    opened = store.open_new(connection, name, one, about)
    return Result(about["run"], window, days, opened, closed, waits)


def _tell(
    connection: sa.Connection, catalog: Catalog, name: str, one: Reconciliation, result: Result, usual: Window,
    now: datetime,
) -> None:  # fmt: skip
    """Write the days, and tell the log and alerting of all that is new or gone."""
    zone = ZoneInfo(one.zone)
    first, alerting = (window.since.astimezone(zone).date() for window in (result.window, usual))
    last = max(first, (result.window.until - timedelta(microseconds=1)).astimezone(zone).date())
    aged = store.over_before(connection, name, alerting, zone)
    former = store.save_days(connection, name, result.run_id, first, last, result.days)
    commands.send(connection, telling.verdicts(name, one, result, aged | former, alerting, now), now=now)
    changes = [*result.opened, *result.closed]
    names = store.names_of(connection, sorted({change.object_id for change in changes})) if changes else {}
    entries = [telling.found(catalog, name, one, item, names.get(item.object_id), now) for item in result.opened]
    entries += [telling.gone(catalog, name, item, names.get(item.object_id), now) for item in result.closed]
    if one.by == "day":
        entries += telling.turned(name, one, result, former, now)
    _append(connection, entries)


def _append(connection: sa.Connection, entries: Sequence[Entry]) -> None:
    for start in range(0, len(entries), _BATCH):
        log.append(connection, entries[start : start + _BATCH])


def _withdraw(connection: sa.Connection, catalog: Catalog, now: datetime) -> None:
    """What the catalog no longer has: its discrepancies are over, and so is its alert."""
    changes = store.withdraw(connection, list(catalog.reconciliations), now)
    names = store.names_of(connection, sorted({change.object_id for _, change in changes})) if changes else {}
    _append(
        connection,
        [telling.gone(catalog, name, change, names.get(change.object_id), now) for name, change in changes],
    )
    removed = store.open_items(connection, list(catalog.reconciliations))
    commands.send(connection, [telling.withdrawn(name, item, now) for name, item in removed], now=now)


def _failed(engine: sa.Engine, name: str, one: Reconciliation, error: str, now: datetime) -> None:
    """It is tried again when it is due again."""
    _log.warning("reconciliation %s: %s", name, error)
    with engine.begin() as connection:
        run_id = store.begin(connection, name, version_of(one), Window(now, now), now, scheduled=True)
        store.end(connection, run_id, {"note": error[:500]})
        commands.send(connection, [telling.failed(name, one, error, now)], now=now)
