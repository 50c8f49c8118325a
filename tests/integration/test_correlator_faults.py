"""What one bad event, a lost transaction or an unlucky moment may do to the correlator: as little as possible."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
import zstandard

from milepost import contract
from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import from_us
from milepost.db import tables as t
from milepost.journeystate import JourneyChange
from tests.chain import Chain, Wire

RECEIVED_US = 1_790_000_000_000_000


def event(number: int, kind: str = "order.received", **data: Any) -> Wire:
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/odoo",
        "type": kind,
        "time": f"2026-09-21T10:{number // 60:02}:{number % 60:02}Z",
        "data": {"keys": {"order": f"S{number}"}, **data},
    }


def unchecked(wire: Wire) -> contract.Entry:
    """An entry that passed no check, as one of another version of the contract may have."""
    identity = contract.identity_of(wire["source"], wire["id"])
    return contract.Entry(identity, 0, RECEIVED_US, json.dumps(wire).encode())


POISON: dict[str, dict[str, Any]] = {
    "text that COPY refuses": {"code": "a\x00b"},
    "what the contract no longer reads": {"outcome": "perhaps"},
}


def rows(engine: sa.Engine, statement: Any) -> Sequence[sa.Row[Any]]:
    with engine.connect() as connection:
        return connection.execute(statement).all()


def keys_of_journeys(engine: sa.Engine) -> list[str]:
    return sorted(row.key for row in rows(engine, sa.select(t.journeys.c.key)))


# --- record -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", POISON.values(), ids=list(POISON))
def test_an_event_that_cannot_be_recorded_goes_to_quarantine_alone(engine: sa.Engine, poison: dict[str, Any]) -> None:
    chain = Chain(engine)
    wires = [event(number) for number in range(5)]
    wires[2]["data"] |= poison
    chain.append([unchecked(wire) for wire in wires])
    chain.settle()
    assert keys_of_journeys(engine) == ["S0", "S1", "S3", "S4"]
    (kept,) = rows(engine, sa.select(t.quarantine))
    assert (kept.kind, kept.body) == ("failed", json.dumps(wires[2]).encode())
    if "outcome" not in poison:
        assert (kept.source, kept.event_id) == ("/odoo", "e2")


@pytest.mark.parametrize(
    "payload",
    [
        b"no zstd at all",
        zstandard.compress(b"no msgpack"),
        zstandard.compress(msgspec.msgpack.encode([[1, 2]])),
        zstandard.ZstdCompressor().compress(b"x" * 1000)[:-5],
    ],
)
def test_a_batch_that_cannot_be_read_stops_nobody(engine: sa.Engine, payload: bytes) -> None:
    chain = Chain(engine)
    chain.append([unchecked(event(1))])
    with engine.begin() as connection:
        received_at = from_us(RECEIVED_US)
        connection.execute(t.event_log.insert().values(received_at=received_at, events=3, payload=payload))
    chain.append([unchecked(event(2))])
    chain.settle()
    assert keys_of_journeys(engine) == ["S1", "S2"]
    (kept,) = rows(engine, sa.select(t.quarantine))
    assert (kept.kind, kept.body, kept.received_at) == ("failed", payload, received_at)
    assert kept.reason.startswith("a batch of the event log can't be read: ")


def test_what_a_failed_attempt_allocated_is_not_remembered(engine: sa.Engine) -> None:
    """The ids and proofs of a transaction that was rolled back name nothing."""
    chain = Chain(engine)
    bad = event(1, keys={"order": "S1", "picking": "P1"}, code="a\x00b")
    chain.append([unchecked(event(0)), unchecked(bad)])
    chain.settle()
    chain.send(event(2, keys={"order": "S1", "picking": "P1"}))
    chain.settle()
    names = {row.object_id: row.key for row in rows(engine, sa.select(t.objects))}
    assert sorted(names.values()) == ["P1", "S0", "S1"]
    (pair,) = rows(engine, sa.select(t.relations))
    assert {names[pair.first_id], names[pair.second_id]} == {"S1", "P1"}
    assert pair.event_id == "e2"


def test_a_database_that_is_not_ours_sends_nothing_to_quarantine(engine: sa.Engine) -> None:
    """A missing column is nobody's event: stopping loses nothing, emptying the log into the quarantine would."""
    chain = Chain(engine)
    chain.send(event(0), event(1))
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE input.events RENAME COLUMN code TO codes"))
    with pytest.raises((sa.exc.ProgrammingError, psycopg.ProgrammingError)):
        chain.recorders[0].step()
    assert not rows(engine, sa.select(t.quarantine))
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE input.events RENAME COLUMN codes TO code"))
    chain.settle()
    assert keys_of_journeys(engine) == ["S0", "S1"]


def nonsense(length: int) -> str:
    """Text that no compression makes shorter, four bytes a character."""
    source = random.Random(2)
    return "".join(chr(source.randrange(0x20000, 0x2A000)) for _ in range(length))


def test_long_attributes_are_no_reason_to_refuse_an_event(engine: sa.Engine) -> None:
    """A namespace and a dimension are parts of index rows, which hold 2,700 bytes."""
    chain = Chain(engine)
    long = {"partner": nonsense(1000), "channel": nonsense(1000), "warehouse": "north"}
    keys = {"order": nonsense(256), "customer_po": nonsense(256)}
    wire = event(1, nonsense(128), keys=keys, attributes=long) | {"correlationid": nonsense(256)}
    chain.send(wire | {"source": nonsense(256), "id": nonsense(256)}, event(2))
    chain.settle()
    assert not rows(engine, sa.select(t.quarantine.c.reason))
    assert len(rows(engine, sa.select(t.events))) == 2
    assert len(keys_of_journeys(engine)) == 2


# --- assemble ---------------------------------------------------------------------------------------------------------


class Fussy:
    """An SLA engine that fails on some journeys."""

    def __init__(self, *keys: str) -> None:
        self.keys = set(keys)
        self.all = False

    def __call__(
        self, connection: sa.Connection, catalog: Catalog, changes: Sequence[JourneyChange], now: datetime
    ) -> None:
        for change in changes:
            if self.all or change.key in self.keys:
                raise ValueError(f"{change.key} is more than I can bear")


@pytest.mark.parametrize("batch", [1, 3, 40])
def test_a_touch_that_cannot_be_assembled_is_set_aside_alone(engine: sa.Engine, batch: int) -> None:
    """Else one bad journey would stop all others, and no clock would be judged any more."""
    chain = Chain(engine, changed=Fussy("S5", "S17"))
    wires = [event(number, keys={"order": f"S{number}", "picking": f"P{number}"}) for number in range(20)]
    for start in range(0, 20, batch):
        chain.send(*wires[start : start + batch])
        chain.recorders[0].step()
    for _ in range(100):
        with contextlib.suppress(ValueError):
            chain.settle()
            break
    assert keys_of_journeys(engine) == sorted(f"S{number}" for number in range(20) if number not in (5, 17))
    kept = rows(engine, sa.select(t.quarantine))
    assert {(row.kind, row.event_id) for row in kept} == {("failed", "e5"), ("failed", "e17")}
    assert all("more than I can bear" in row.reason and json.loads(row.body)["id"] == row.event_id for row in kept)
    assert not rows(engine, sa.select(t.touches))


def test_while_nothing_can_be_assembled_nothing_is_set_aside(engine: sa.Engine) -> None:
    rules = Fussy()
    rules.all = True
    chain = Chain(engine, changed=rules)
    chain.send(*(event(number) for number in range(9)))
    for _ in range(60):
        with contextlib.suppress(ValueError):
            chain.settle()
    assert not rows(engine, sa.select(t.quarantine))
    rules.all = False
    chain.settle()
    assert len(keys_of_journeys(engine)) == 9


def members_of(engine: sa.Engine) -> dict[str, set[str]]:
    """The keys of the objects in each journey, by the key of its root."""
    journeys, members = t.journeys.c, t.members.c
    named = [sa.select(table.c.object_id, table.c.key) for table in (t.objects, t.correlations)]
    names = sa.union_all(*named).subquery()
    joined = t.journeys.join(t.members, members.journey_id == journeys.journey_id)
    joined = joined.join(names, names.c.object_id == members.object_id)
    found: dict[str, set[str]] = {}
    for row in rows(engine, sa.select(journeys.key, names.c.key.label("member")).select_from(joined)):
        found.setdefault(row.key, set()).add(row.member)
    return found


def test_a_restart_amid_the_namings_of_a_correlation_misses_nothing(engine: sa.Engine) -> None:
    """What is loaded may be ahead of what was told: the owner changed, and no single batch shows it."""
    chain = Chain(engine)
    chain.send(
        event(1) | {"correlationid": "Z"}, event(2, "picking.created", keys={"picking": "P1"}) | {"correlationid": "Z"}
    )
    chain.settle()
    assert members_of(engine) == {"S1": {"S1", "Z", "P1"}}
    for number in (3, 4):
        chain.send(event(number) | {"correlationid": "Z"})
        chain.recorders[0].step()
    chain = Chain(engine)
    chain.assembler._batches = 1
    chain.assembler.step()
    chain.settle()
    assert members_of(engine) == {"S1": {"S1", "Z"}, "S3": {"S3", "Z"}, "S4": {"S4", "Z"}}


def test_a_restarted_assembler_finds_roots_that_it_has_yet_to_load(engine: sa.Engine) -> None:
    """The first that it hears is of a shipment: nothing in its memory says that there are orders at all."""
    chain = Chain(engine)
    chain.send(
        event(1),
        event(2, "picking.done", keys={"order": "S1", "picking": "P1"}),
        event(3, "shipment.dispatched", keys={"picking": "P1", "shipment": "X1"}),
    )
    chain.settle()
    chain = Chain(engine)
    chain.send(event(4, "shipment.delivered", keys={"shipment": "X1"}))
    chain.settle()
    stage = sa.select(t.journeys.c.stage).where(t.journeys.c.model == "order")
    assert [row.stage for row in rows(engine, stage)] == ["delivered"]


def test_many_neighbours_are_loaded_at_once(engine: sa.Engine) -> None:
    """A purchase order of many orders, and an order of many correlations: one query for all, not one for each."""
    chain = Chain(engine)
    many = range(1, 151)
    chain.send(*(event(number, keys={"order": f"S{number}", "customer_po": "PO1"}) for number in many))
    chain.send(*(event(number + 200, keys={"order": "S1"}) | {"correlationid": f"Z{number}"} for number in many))
    chain.settle()
    chain = Chain(engine)
    chain.send(event(500, keys={"customer_po": "PO1"}), event(501, keys={"order": "S1"}))
    chain.recorders[0].step()
    statements = 0

    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    sa.event.listen(engine, "before_cursor_execute", count)
    chain.settle()
    assert statements < 80


def test_a_running_assembler_forgets_what_it_concluded_from_another_catalog(engine: sa.Engine) -> None:
    chain = Chain(engine)
    chain.send(event(1, keys={"order": "S1", "return": "R1"}))
    chain.settle()
    assert members_of(engine) == {"S1": {"S1", "R1"}}
    texts = loader.default_texts()
    fewer = texts["journeys.yaml"].replace("        - return\n", "", 1)
    catalog = loader.load(texts | {"journeys.yaml": fewer})
    chain.assembler._catalog_of = lambda _: catalog
    chain.settle()
    assert members_of(engine) == {"S1": {"S1"}}
