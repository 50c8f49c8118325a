"""How far an Odoo was read, as pure data: what is stored between polls, and how it moves on.

Odoo dates a record when the transaction begins, gives a tracking value its id at any time within it, and shows both
when it ends. So a cursor that follows the newest one would pass over slower transactions. Here all is read again that
is newer than a floor, half an hour behind (for state changes an hour), and what was done above it is remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

OVERLAP: Final = timedelta(minutes=30)
"""A transaction of Odoo that takes longer than this may be missed."""
SETTLED: Final = timedelta(seconds=3)
"""Write dates come in whole seconds: within one, a record may change again after it was read."""
UNSETTLED: Final = "-"
_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


class Start(Struct, frozen=True):
    """Where following begins, and history ends: records made before `at`, tracking values up to `tracking`."""

    at: str
    tracking: int


class Records(Struct, frozen=True):
    """How far one model was read.

    `floor`: everything written before is done (Odoo's text of a time). `seen`: {id: "write date|digest"} of what is
    done since the floor; the write date is UNSETTLED when it must be read again. `behind`: it could not be read for a
    while, so that state changes went by.
    """

    floor: str = ""
    seen: dict[int, str] = {}
    behind: bool = False


class Tracking(Struct, frozen=True):
    """How far the state changes were read. `seen`: {id: create date} of what is done above the id `floor`."""

    floor: int = 0
    seen: dict[int, str] = {}


class Cursor(Struct, frozen=True):
    """What is stored between polls. `database` guards against reading another Odoo into the same source."""

    database: str
    start: Start
    records: dict[str, Records] = {}
    tracking: Tracking = Tracking()
    exchanges: dict[str, str] = {}

    def of(self, model: str) -> Records:
        return self.records.get(model) or Records(self.start.at)

    def with_records(self, model: str, records: Records) -> Cursor:
        return replace(self, records={**self.records, model: records})

    def with_exchange(self, model: str, floor: str) -> Cursor:
        """`floor`: since when news of these exchanges are read."""
        return replace(self, exchanges={**self.exchanges, model: floor})

    def stored(self) -> dict[str, Any]:
        """As JSON can hold it."""
        plain: dict[str, Any] = msgspec.to_builtins(self, str_keys=True)
        return plain


def read_stored(value: Any) -> Cursor:
    return msgspec.convert(value, Cursor, strict=False, str_keys=True)


def begun(database: str, start: Start) -> Cursor:
    """The cursor before the first poll."""
    return Cursor(database, start, tracking=Tracking(start.tracking))


def odoo_text(at: datetime) -> str:
    """A UTC time as Odoo writes it."""
    return at.strftime(_FORMAT)


def odoo_time(text: str) -> datetime:
    """The aware time of Odoo's text."""
    return datetime.fromisoformat(text + "+00:00")


def floor_at(now: datetime) -> str:
    """The floor when everything was read at `now`: in whole minutes, so that an idle poll has nothing to store."""
    return odoo_text((now - OVERLAP).replace(second=0, microsecond=0))


# --- records ----------------------------------------------------------------------------------------------------------


def is_done(records: Records, record_id: int, written: str) -> bool:
    return records.seen.get(record_id, "").partition("|")[0] == written


def is_new(records: Records, record_id: int, created: str) -> bool:
    """Whether a record shows for the first time: it was made since the floor."""
    return record_id not in records.seen and created >= records.floor


def digest_of(records: Records, record_id: int) -> str:
    """The digest of what was last told of a record, "" when it isn't known any more."""
    return records.seen.get(record_id, "").partition("|")[2]


def marked(records: Records, done: Mapping[int, tuple[str, str]], now: datetime) -> Records:
    """After records were read: `done` is {id: (write date, digest)}, `now` Odoo's time before they were read."""
    fresh = odoo_text(now - SETTLED)
    marks = {
        record_id: f"{written if written < fresh else UNSETTLED}|{digest}"
        for record_id, (written, digest) in done.items()
        if written >= records.floor
    }
    return replace(records, seen={**records.seen, **marks})


def passed(records: Records, written: Mapping[int, str], begun: datetime) -> Records:
    """After a pass over all that was written since the floor: `written` is {id: write date}, `begun` its beginning."""
    floor = floor_at(begun)
    records = replace(records, behind=False)
    if floor <= records.floor:
        return records
    kept = {key: mark for key, mark in records.seen.items() if written.get(key, "") >= floor}
    return replace(records, floor=floor, seen=kept)


# --- state changes ----------------------------------------------------------------------------------------------------


def tracked(tracking: Tracking, done: Mapping[int, str], now: datetime) -> Tracking:
    """After tracking values were read: `done` is {id: create date}."""
    # an id may be taken at the end of its transaction, and one below it by another that has only begun
    seen, old = {**tracking.seen, **done}, floor_at(now - OVERLAP)
    floor = max((key for key, created in seen.items() if created < old), default=tracking.floor)
    if floor <= tracking.floor:
        return replace(tracking, seen=seen)
    return Tracking(floor, {key: created for key, created in seen.items() if key > floor})
