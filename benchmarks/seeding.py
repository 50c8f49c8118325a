"""Fills a database with millions of events as the chain leaves them, in minutes instead of hours.

Two blocks of some thousand orders go through the real recorder and assembler, with clocks: one of finished orders, one
of orders under way. SQL then multiplies what that wrote: each copy has ids, keys and times of its own. What only code
reads (bytes) is copied as it is, so it names the ids of the block that it came from.

An order takes LIFE days for its twelve events, all orders together SPAN days. Of the journeys under way one in fifty is
at risk, one in fifty breached; alerts, anomalies, refusals and counts per hour are made up by SQL.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import psycopg
from inprocess import append, entry, settle
from interleaved import PER_ORDER, event
from made_up import STATEMENTS

from milepost.catalog import loader
from milepost.clock import to_us
from milepost.contract import Entry
from milepost.db import timescale
from milepost.db.check import differences
from milepost.db.engine import libpq_url, make_engine
from milepost.db.tables import metadata
from milepost.inbox import identities
from sla.attained import count_hours

SPAN: Final = timedelta(days=30)
LIFE: Final = timedelta(days=3)
BLOCK: Final = 4_000
"""Orders of a block."""
CHANNELS: Final = ("shopify", "amazon", "edi", "phone")
PARTNERS: Final = ("ACME", "Brightline", "Castor & Co", "Delmore", "Eastgate")
SITES: Final = ("north", "south", "east")
CARRIERS: Final = ("dhl", "ups", "gls")

_ID: Final = "b.{} + %(objects)s"
_JOURNEY: Final = "b.{} + %(journeys)s"
_EVENT: Final = "b.{} + %(events)s"
_AT: Final = "b.{} + %(shift)s"
_KEY: Final = "left(b.{0}, -7) || lpad((right(b.{0}, 7)::int + %(orders)s)::text, 7, '0')"
_EVENT_ID: Final = "split_part(b.{0}, '-', 1) || '-' || (split_part(b.{0}, '-', 2)::int + %(orders)s)"
_NUMBER: Final = "lpad((split_part(b.event_id, '-', 2)::int {})::text, 7, '0')"
_SWAPS: Final = (
    ("b.event_id", _EVENT_ID.format("event_id")),
    (_NUMBER.format(""), _NUMBER.format("+ %(orders)s")),
    (_NUMBER.format("- 1"), _NUMBER.format("- 1 + %(orders)s")),
    ("b.body ->> 'time'", "to_char(b.occurred_at + %(shift)s, 'YYYY-MM-DD\"T\"HH24:MI:SS.USZ')"),
)
_BODY: Final = "replace(" * len(_SWAPS) + "b.{}::text" + "".join(f", {old}, {new})" for old, new in _SWAPS) + "::json"
_WHEN: Final = dict.fromkeys(("occurred_at", "claimed_at", "received_at", "reached_at", "last_at"), _AT)
_COPIED: Final[Mapping[str, Mapping[str, str]]] = {
    "input.objects": {"object_id": _ID, "key": _KEY},
    "input.correlations": {"object_id": _ID, "key": _KEY, "created_at": _AT},
    "input.events": {"event_no": _EVENT, "event_id": _EVENT_ID, "correlation_id": _KEY, "body": _BODY, **_WHEN},
    "input.event_object": {"object_id": _ID, "event_no": _EVENT, **_WHEN},
    "derived.relations": {
        "first_id": _ID, "second_id": _ID, "event_no": _EVENT, "event_id": _EVENT_ID, **_WHEN,
    },
    "derived.object_states": {"object_id": _ID},
    "derived.journeys": {
        "journey_id": _JOURNEY, "root_id": _ID, "key": _KEY, **_WHEN,
        **dict.fromkeys(("started_at", "progress_at", "completed_at", "first_received_at", "last_received_at"), _AT),
    },
    "derived.members": {"journey_id": _JOURNEY, "object_id": _ID, "via_id": _ID},
    "derived.milestones": {"journey_id": _JOURNEY, "event_no": _EVENT, **_WHEN},
    "derived.running_clocks": {"journey_id": _JOURNEY, "next_at": _AT},
    "derived.clocks": {
        "journey_id": _JOURNEY, "subject_id": _ID, **dict.fromkeys(("started_at", "due_at", "stopped_at"), _AT),
    },
}  # fmt: skip
"""The tables that are multiplied, and what of a row is another in each copy."""
_EMPTIED: Final = (
    "input.source_stats", "input.source_minutes", "input.volume_hours", "derived.touches", "record.breaches",
    "record.signals",
)  # fmt: skip
_SEQUENCES: Final = {"objects": "object_ids", "events": "event_numbers", "journeys": "journey_ids"}


@dataclass(frozen=True, slots=True)
class Filled:
    """What a filled database holds. `now`: the time at which the last event came."""

    now: datetime
    orders: int
    events: int


@dataclass(frozen=True, slots=True)
class Block:
    """Tables bench.<name>_… of one block: the greatest ids in it and how many orders and events it has."""

    name: str
    orders: int
    objects: int
    events: int
    journeys: int


def fill(url: str, events: int, now: datetime) -> Filled:
    """Fill a database that is migrated and empty with about so many events, the last of them at `now`."""
    orders = events // PER_ORDER
    size = max(100, min(BLOCK, orders // 400 * 20))
    under_way = round(orders * (LIFE / SPAN) / size) or 1
    copies = max(1, round(orders / size) - under_way // 2)  # those under way have half of their events
    started = time.monotonic()
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        _days(url, now)
        done = _block(url, connection, "done", _finished(size, now - LIFE - SPAN, SPAN / (copies * size)))
        going = _block(url, connection, "going", _under_way(size, now))
        _empty(connection)
        reached = {"orders": 0, "objects": 0, "events": 0, "journeys": 0}
        for block, number, shift in (
            (done, copies, SPAN / copies),
            (going, under_way, -LIFE / (size * under_way)),
        ):
            for copy in range(number):
                _copy(connection, block, {**reached, "shift": copy * shift})
                for name in reached:
                    reached[name] += getattr(block, name)
            print(f"{block.name}: {number} copies, {time.monotonic() - started:.0f} s", flush=True)
        for name, sequence in _SEQUENCES.items():
            connection.execute(f"SELECT setval('input.{sequence}', {reached[name]})")
        _know(connection, reached["events"], now)
        for statement in STATEMENTS:
            connection.execute(statement, {"now": now, "span": SPAN})
        connection.execute("DROP SCHEMA bench CASCADE")
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
    engine = make_engine(url)
    with engine.begin() as sessions:
        count_hours(sessions, loader.load(loader.default_texts()), now)
    engine.dispose()
    print(f"filled in {time.monotonic() - started:.0f} s", flush=True)
    return Filled(now, reached["orders"], reached["events"])


def found(url: str) -> Filled | None:
    """What an earlier run filled the database with; None when it is empty. Ends when its schema is of another time."""
    engine = make_engine(url)
    with engine.connect() as connection:
        if other := differences(connection):
            raise SystemExit(f"the database is of another version of Milepost, fill a new one: {other[0]}")
    engine.dispose()
    with psycopg.connect(libpq_url(url)) as connected:
        row = connected.execute(
            "SELECT max(hour), (SELECT last_value FROM input.event_numbers),"
            " (SELECT 1 + max(right(key, 7)::int) FROM input.objects WHERE key BETWEEN 'S' AND 'S5')"
            " FROM input.volume_hours"
        ).fetchone()
    return Filled(row[0] + timedelta(hours=1), row[2], row[1]) if row and row[0] else None


def _days(url: str, now: datetime) -> None:
    engine = make_engine(url)
    with engine.begin() as connection:
        timescale.ensure_partitions(connection, now - SPAN - LIFE, now + timedelta(days=1))
    engine.dispose()


# --- the blocks -------------------------------------------------------------------------------------------------------


def _finished(orders: int, start: datetime, apart: timedelta) -> Iterator[tuple[int, int, datetime]]:
    """(order, step, time) of orders that went through all steps."""
    for order in range(orders):
        for step in range(PER_ORDER):
            yield order, step, start + apart * order + LIFE / PER_ORDER * step


def _under_way(orders: int, now: datetime) -> Iterator[tuple[int, int, datetime]]:
    """(order, step, time) of orders that have begun at some time of the last days."""
    for order in range(orders):
        start = now - LIFE / orders * (order + 0.5)
        for step in range(PER_ORDER):
            if (at := start + LIFE / PER_ORDER * step) <= now - timedelta(seconds=5):
                yield order, step, at


def _block(
    url: str, connection: psycopg.Connection[Any], name: str, rows: Iterator[tuple[int, int, datetime]]
) -> Block:
    """Send a block through recorder and assembler, and put what they wrote aside."""
    _empty(connection)
    entries = [_entry(order, step, at) for order, step, at in sorted(rows, key=lambda row: row[2])]
    _assemble(url, entries)
    connection.execute("CREATE SCHEMA IF NOT EXISTS bench")
    for table in _COPIED:
        connection.execute(f"CREATE TABLE bench.{_aside(name, table)} AS SELECT * FROM {table}")
    greatest = {key: _scalar(connection, f"SELECT last_value FROM input.{name}") for key, name in _SEQUENCES.items()}
    orders = 1 + _scalar(connection, "SELECT max(split_part(event_id, '-', 2)::int) FROM input.events")
    return Block(name, orders, **greatest)


def _entry(order: int, step: int, at: datetime) -> Entry:
    wire = event(order, step, 0, at)
    data = wire["data"]
    if step == 0:
        data["keys"]["customer_po"] = f"PO-{order:07d}"
        data["attributes"] |= {
            "channel": CHANNELS[order % 4], "partner": PARTNERS[order % 5], "amount": f"{10 + order * 7 % 990}.40",
        }  # fmt: skip
    elif step == 3:
        data["attributes"]["warehouse"] = SITES[order % 3]
    elif step == 8:
        data["attributes"]["carrier"] = CARRIERS[order % 3]
    wire["time"] = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    received_us = to_us(at) + 300_000 + (3_600_000_000 if (order + step) % 50 == 0 else 0)
    return entry(msgspec.json.encode(wire), received_us)


def _assemble(url: str, entries: Sequence[Entry]) -> None:
    engine = make_engine(url)
    append(engine, entries)
    settle(engine)
    engine.dispose()


def _empty(connection: psycopg.Connection[Any]) -> None:
    connection.execute(f"TRUNCATE {', '.join((*_COPIED, *_EMPTIED))}")
    for sequence in _SEQUENCES.values():
        connection.execute(f"ALTER SEQUENCE input.{sequence} RESTART")
    for row in connection.execute("SELECT generation FROM input.identity_generations").fetchall():
        connection.execute(f"TRUNCATE input.identities_{row[0]}")


# --- the copies -------------------------------------------------------------------------------------------------------


def _copy(connection: psycopg.Connection[Any], block: Block, offsets: Mapping[str, Any]) -> None:
    """One more copy of a block, in one transaction."""
    with connection.transaction():
        for table, changed in _COPIED.items():
            names = [column.name for column in metadata.tables[table].columns]
            values = ", ".join(changed.get(name, "b.{}").format(name) for name in names)
            statement = (
                f"INSERT INTO {table} ({', '.join(names)}) SELECT {values} FROM bench.{_aside(block.name, table)} b"
            )
            connection.execute(statement, offsets)


def _know(connection: psycopg.Connection[Any], events: int, now: datetime) -> None:
    """Identities of as many events as there are, in sealed generations as large as those that recorders make."""
    connection.execute("SELECT pg_advisory_lock(7226001)")
    last = _scalar(connection, "SELECT max(generation) FROM input.identity_generations")
    for number in range(last + 1, last + 1 + -(-events // identities.HOT_IDENTITIES)):
        count = min(identities.HOT_IDENTITIES, events - (number - last - 1) * identities.HOT_IDENTITIES)
        name = f"input.identities_{number}"
        connection.execute(
            f"CREATE TABLE {name} AS SELECT gen_random_uuid() AS identity, random(1, 1000000000)::bigint AS content"
            f" FROM generate_series(1, {count})"
        )
        connection.execute(f"ALTER TABLE {name} ALTER content SET NOT NULL, ADD PRIMARY KEY (identity)")
        connection.execute(
            "INSERT INTO input.identity_generations (generation, created_at, sealed_at, identities)"
            " VALUES (%s, %s, %s, %s)",
            (number, now, now, count),
        )
    connection.execute("SELECT pg_advisory_unlock(7226001)")


def _aside(block: str, table: str) -> str:
    return f"{block}_{table.partition('.')[2]}"


def _scalar(connection: psycopg.Connection[Any], statement: str) -> int:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])
