"""Any order, duplication, batching, number of recorders and restarts give the journeys that the oracle gives."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
import yaml

from correlator import assemble, derive
from milepost.catalog import loader
from milepost.clock import from_us, to_us, utc_now
from milepost.db import tables as t
from milepost.decisions import correlation
from milepost.errors import Conflict
from milepost.inbox import log, objects
from tests.chain import CATALOG, Chain, Wire, entry
from tests.oracle import Oracle

World = list[tuple[Wire, int]]
JOURNEYS = yaml.safe_load(loader.default_texts()["journeys.yaml"])
BASE_US = 1_790_000_000_000_000
TYPES = [
    "order.received",
    "order.confirmed",
    "order.cancelled",
    "order.acknowledged",
    "picking.created",
    "picking.released",
    "picking.picked",
    "picking.packed",
    "picking.done",
    "picking.cancelled",
    "shipment.booked",
    "shipment.dispatched",
    "shipment.delivered",
    "shipment.cancelled",
    "invoice.posted",
    "invoice.paid",
    "message.received",
    "message.failed",
    "message.delivered",
    "order.held",
    "order.released",
    "picking.short",
    "return.requested",
    "ticket.opened",
]
CROWDS = (*[1] * 24, 6, 10, 30, 60, 70)
"""How many worlds are played in one another's midst, one crowd after the other; times five, 1,000 in all."""
DECIDED = (*[1] * 25, 5, 10, 20, 40)
"""The same for worlds about which people decide: times two, 200 in all."""


def scenario(rng: random.Random, prefix: str) -> World:
    """A small, nasty world: few keys, so that everything meets everything."""
    pools = {
        "order": ["S1", "S2", "S3"],
        "channel_order": ["C1", "C2"],
        "customer_po": ["1001", "1002"],
        "picking": ["P1", "P2", "P3"],
        "shipment": ["X1", "X2"],
        "package": ["K1", "K2"],
        "invoice": ["I1", "I2"],
        "ticket": ["T1"],
    }
    events = []
    for number in range(rng.randint(1, 22)):
        kinds = rng.sample(list(pools), k=rng.choice([0, 1, 1, 2, 2, 2, 3, 4]))
        keys: dict[str, Any] = {}
        for kind in kinds:
            chosen = rng.sample(pools[kind], k=min(len(pools[kind]), rng.choice([1, 1, 1, 2])))
            keys[kind] = [f"{prefix}{key}" for key in chosen]
            if len(chosen) == 1 and rng.random() < 0.5:
                keys[kind] = f" {prefix}{chosen[0]}" if rng.random() < 0.2 else f"{prefix}{chosen[0]}"
        data: dict[str, Any] = {"keys": keys}
        if rng.random() < 0.15:
            data["keys"]["picking"] = "n/a"
        if rng.random() < 0.15:
            kinds = [rng.choice(["picking", "order", "shipment", "invoice"]) for _ in range(2)]
            ends = [{"type": kind, "key": prefix + rng.choice(pools[kind])} for kind in kinds]
            data["links"] = [{"parent": ends[0], "child": ends[1], "rel": "backorder"}]
        data["outcome"] = rng.choice(["ok"] * 6 + ["failed", "rejected", "retried"])
        if rng.random() < 0.3:
            data["code"], data["reason"] = rng.choice([("E1", None), ("E1", "no stock"), (None, "no answer")])
        pool: dict[str, list[str | None]] = {
            "partner": ["ACME", "Globex"],
            "amount": ["10.5", "20"],
            "carrier": ["dhl", "dhl", "ups", None],
        }
        data["attributes"] = {name: rng.choice(values) for name, values in pool.items() if rng.random() < 0.4}
        wire: Wire = {
            "specversion": "1.0",
            "id": f"{prefix}e{number}",
            "source": rng.choice(["/odoo", "/wms"]),
            "type": rng.choice(_fitting(keys) if rng.random() < 0.6 else TYPES),
            "data": data,
        }
        received = BASE_US + rng.randint(0, 40) * 60_000_000
        if rng.random() < 0.9:
            seconds = (received - 1_790_000_000_000_000) // 1_000_000 + rng.randint(-1200, 600)
            wire["time"] = _iso(seconds)
        if rng.random() < 0.45:
            wire["correlationid"] = prefix + rng.choice(["Z1", "Z2", "Z3"])
        if wire["data"]["keys"] or "correlationid" in wire or "links" in data:
            events.append((wire, received))
    return events


def _fitting(keys: Collection[str]) -> list[str]:
    """The types of events about what is named, as most events are."""
    return [kind for kind in TYPES if kind.partition(".")[0] in keys] or TYPES


def _iso(seconds: int) -> str:
    return (datetime.fromtimestamp(1_790_000_000, UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def stored(engine: sa.Engine, prefix: str) -> dict[Any, dict[str, Any]]:
    """The journeys of a scenario as the database has them, in the oracle's words."""
    with engine.connect() as connection:
        names = {row.object_id: _name(row) for row in connection.execute(sa.select(t.objects))}
        names |= {row.object_id: ("correlation", "", row.key) for row in connection.execute(sa.select(t.correlations))}
        result: dict[Any, dict[str, Any]] = {}
        by_id = {}
        for row in connection.execute(
            sa.select(t.journeys).where(t.journeys.c.key.startswith(prefix, autoescape=True))
        ):
            journey = {
                "members": set(),
                "milestones": {},
                "state": row.state,
                "carrier": row.carrier,
                "partner": row.partner,
                "amount": row.amount,
                "started": to_us(row.started_at),
                "last": to_us(row.last_at),
                "received": (to_us(row.first_received_at), to_us(row.last_received_at)),
            }
            result[row.model, names[row.root_id]] = by_id[row.journey_id] = journey
        its = t.events.c
        sent = sa.select(its.event_no, its.source, its.event_id).where(its.event_id.startswith(prefix, autoescape=True))
        events = {row.event_no: (row.source, row.event_id) for row in connection.execute(sent)}
        for row in connection.execute(sa.select(t.members).where(t.members.c.journey_id.in_(by_id))):
            by_id[row.journey_id]["members"].add(names[row.object_id])
        for row in connection.execute(sa.select(t.milestones).where(t.milestones.c.journey_id.in_(by_id))):
            proof = events[row.event_no]
            reached = (to_us(row.reached_at), to_us(row.last_at), row.count, *proof)
            by_id[row.journey_id]["milestones"][row.name] = reached
    return result


def _name(row: Any) -> tuple[str, str, str]:
    """What the oracle calls an object. Nothing is to be found of those that a split made which was taken back."""
    ended = row.epoch and row.since is None
    return (row.type, row.namespace, f"{row.key} (ended)" if ended else objects.shown(row.key, row.since))


def stored_exceptions(engine: sa.Engine, prefix: str) -> dict[Any, list[tuple[Any, ...]]]:
    """The exceptions of all objects of a scenario as the database has them, in the oracle's words."""
    e, o, c = t.exceptions.c, t.objects.c, t.correlations.c
    columns = sa.select(
        sa.func.coalesce(o.type, "correlation").label("of"),
        sa.func.coalesce(o.namespace, "").label("namespace"),
        sa.func.coalesce(o.key, c.key).label("key"),
        o.since,
        t.exceptions,
        t.events.c.source.label("first_source"),
        t.events.c.event_id,
    )
    rows = columns.select_from(
        t.exceptions.outerjoin(t.objects, o.object_id == e.object_id)
        .outerjoin(t.correlations, c.object_id == e.object_id)
        .join(t.events, sa.and_(t.events.c.event_no == e.event_no, t.events.c.received_at == e.received_at))
    ).where(t.events.c.event_id.startswith(prefix, autoescape=True))
    result: dict[Any, list[tuple[Any, ...]]] = {}
    with engine.connect() as connection:
        for row in connection.execute(rows.order_by(e.object_id, e.number)):
            opened = (to_us(row.opened_at), row.first_source, row.event_id)
            last = (to_us(row.last_at), row.source, row.outcome, row.code, row.reason)
            resolved = (row.resolved_at and to_us(row.resolved_at), row.resolved_by)
            told = result.setdefault((row.of, row.namespace, objects.shown(row.key, row.since)), [])
            assert row.number == len(told)
            told.append((row.type, row.kind, opened, last, row.count, *resolved))
    return result


def expected(events: World) -> dict[Any, dict[str, Any]]:
    return journeys_of(Oracle(JOURNEYS, events))


def journeys_of(oracle: Oracle) -> dict[Any, dict[str, Any]]:
    result = oracle.journeys()
    for journey in result.values():
        attributes = journey.pop("attributes")
        journey["carrier"], journey["partner"] = attributes.get("carrier"), attributes.get("partner")
        journey["amount"] = Decimal(journey["amount"]) if journey["amount"] is not None else None
    return result


def decide(engine: sa.Engine, rng: random.Random, prefixes: Sequence[str]) -> None:
    """Decide something about objects that there are in each of these worlds, or take a decision back."""
    if not prefixes:
        return
    with engine.begin() as connection:
        known = {prefix: _known(connection, prefix) for prefix in prefixes}
        standing = correlation.effective(connection)
        for prefix in prefixes:
            about = {item.object_id for item in known[prefix]}
            before = [item.decision_id for item in standing if item.first_id in about]
            if len(about) >= 2:
                _decide(connection, rng, known[prefix], before)


def _known(connection: sa.Connection, prefix: str) -> list[correlation.Named]:
    of = (
        sa.select(table).where(table.c.key.startswith(prefix, autoescape=True)) for table in (t.objects, t.correlations)
    )
    rows, threads = (connection.execute(query).all() for query in of)
    known = [correlation.Named(row.object_id, *_name(row)) for row in rows if row.since or not row.epoch]
    return known + [correlation.Named(row.object_id, "correlation", "", row.key) for row in threads]


def _decide(connection: sa.Connection, rng: random.Random, known: list[correlation.Named], standing: list[int]) -> None:
    told: dict[str, Any] = {"actor": "test", "reason": "try", "now": utc_now()}
    if standing and rng.random() < 0.3:
        with suppress(Conflict):
            correlation.reverse(connection, rng.choice(standing), **told)
        return
    act = rng.choice(["cut", "exclude", "merge", "lift", "split", "split"])
    one, other = rng.sample(known, k=2)
    if act == "merge":
        other = rng.choice([item for item in known if item.type == one.type])
    if act == "split":
        told["since"] = from_us(BASE_US) + timedelta(minutes=rng.randint(-15, 45))
    with suppress(Conflict):
        correlation.decide(connection, act, one, None if act in ("lift", "split") else other, **told)


def decided(engine: sa.Engine) -> list[tuple[str, Any, Any]]:
    """The decisions that count, in the oracle's words."""
    with engine.connect() as connection:
        standing = correlation.effective(connection)
        ids = {number for item in standing for number in (item.first_id, item.second_id) if number is not None}
        names = correlation.names_of(connection, sorted(ids))
        later = connection.execute(sa.select(t.objects).where(t.objects.c.object_id.in_(ids), t.objects.c.epoch > 0))
        ended = {row.object_id: _name(row) for row in later}
    said = {number: (item.type, item.namespace, item.key) for number, item in names.items()} | ended
    return [
        (item.act, said[item.first_id], item.since.isoformat() if item.since else said.get(item.second_id or 0))
        for item in standing
    ]


def crowd(rng: random.Random, prefix: str, size: int) -> dict[str, World]:
    """So many worlds, by what their keys begin with."""
    return {name: scenario(rng, name) for name in (f"{prefix}w{number}_" for number in range(size))}


def play(chain: Chain, rng: random.Random, worlds: Mapping[str, World], *, people: bool = False) -> Chain:
    """Send the events in any order, some twice, in any batches, with steps and restarts in between.

    The worlds go on side by side, each by some events at a time. With `people`, decisions are taken meanwhile.
    """
    left = {name: _disordered(rng, events) for name, events in worlds.items() if events}
    while left:
        portion = []
        for name, events in list(left.items()):
            size = rng.choice([1, 1, 2, 3, 10])
            portion += events[:size]
            del events[:size]
            if not events:
                del left[name]
        _append(chain, rng, portion)
        for _ in range(rng.randint(0, 3)):
            rng.choice([*(recorder.step for recorder in chain.recorders), chain.assembler.step])()
        if people:
            decide(chain.engine, rng, rng.sample(list(worlds), k=_so_many(rng, len(worlds))))
        if rng.random() < 0.1:
            chain = Chain(chain.engine, recorders=rng.randint(1, 3), catalog=chain.catalog)
            chain.assembler._batches = rng.choice([1, 8])  # in small steps, what is loaded is ahead of what was told
    chain.settle()
    return chain


def _so_many(rng: random.Random, most: int) -> int:
    """Often none or one: what is decided alone is taken into account alone."""
    return min(most, rng.choice([0, 0, 1, 1, most // 3]))


def _disordered(rng: random.Random, events: World) -> World:
    sent = [*events, *rng.choices(events, k=len(events) // 4)]
    rng.shuffle(sent)
    return sent


def _append(chain: Chain, rng: random.Random, portion: World) -> None:
    rng.shuffle(portion)
    with chain.engine.begin() as connection:
        while portion:
            size = rng.choice([1, 3, 10, 40])
            log.append(connection, [entry(wire, received) for wire, received in portion[:size]])
            del portion[:size]


def check(
    engine: sa.Engine, prefix: str, worlds: Mapping[str, World], limit: int = 1000, journeys: Any = JOURNEYS
) -> None:
    """The journeys whose keys begin with `prefix` are those of the worlds, by the models of `journeys`."""
    judged = decided(engine)
    found, troubled = stored(engine, prefix), stored_exceptions(engine, prefix)
    for name, events in worlds.items():
        mine = [item for item in judged if item[1][2].startswith(name)]
        oracle = Oracle({**journeys, "hub_limit": limit}, events, mine)
        exceptions = oracle.exceptions()
        assert {obj: troubled.pop(obj, None) for obj in exceptions} == exceptions, (name, events, mine)
        wanted = journeys_of(oracle)
        assert {root: found.pop(root, None) for root in wanted} == wanted, (name, events, mine)
    assert found == {}, "journeys that should not be"
    assert troubled == {}, "exceptions that should not be"


@pytest.mark.parametrize("part", range(5))
def test_journeys_equal_the_oracles(engine: sa.Engine, part: int) -> None:
    chain = Chain(engine, recorders=2)
    for number, size in enumerate(CROWDS):
        rng = random.Random(f"{part}-{number}")
        prefix = f"{part}n{number}"
        worlds = crowd(rng, prefix, size)
        chain = play(chain, rng, worlds)
        check(engine, prefix, worlds)


@pytest.mark.parametrize("part", range(2))
def test_journeys_equal_the_oracles_with_hubs_and_decisions(engine: sa.Engine, part: int) -> None:
    """A limit so low that many things are hubs, and people who decide at random."""
    limit = part + 2
    chain = Chain(engine, recorders=2, catalog=msgspec.structs.replace(CATALOG, hub_limit=limit))
    for number, size in enumerate(DECIDED):
        rng = random.Random(f"decided-{part}-{number}")
        prefix = f"d{part}n{number}"
        worlds = crowd(rng, prefix, size)
        chain = play(chain, rng, worlds, people=True)
        check(engine, prefix, worlds, limit)


@pytest.mark.parametrize("part", range(2))
def test_journeys_equal_the_oracles_with_little_memory(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """Nearly all is forgotten after each step, and found again in the database."""
    monkeypatch.setattr(assemble, "CACHE", 3 + 20 * part)
    monkeypatch.setattr(derive, "CACHE", 3 + 20 * part)
    chain = Chain(engine, recorders=2)
    for number, size in enumerate((*[1] * 20, 5, 10, 20)):
        rng = random.Random(f"little-{part}-{number}")
        prefix = f"l{part}n{number}"
        worlds = crowd(rng, prefix, size)
        chain = play(chain, rng, worlds, people=number % 4 == 3)
        check(engine, prefix, worlds)


def test_what_no_model_knows_makes_no_hub(engine: sa.Engine) -> None:
    limit = 2
    chain = Chain(engine, catalog=msgspec.structs.replace(CATALOG, hub_limit=limit))
    order, shipment = ({"type": kind, "key": key} for kind, key in (("order", "S1"), ("shipment", "X1")))
    parents = [order, *({"type": "memo", "key": f"M{number}"} for number in range(limit + 1))]
    world = [
        (
            {"specversion": "1.0", "id": parent["key"], "source": "/wms", "type": "shipment.dispatched",
             "data": {"keys": {"shipment": "X1"}, "links": [{"parent": parent, "child": shipment, "rel": "of"}]}},
            BASE_US,
        )
        for parent in parents
    ]  # fmt: skip
    _append(chain, random.Random(0), list(world))
    chain.settle()
    assert ("shipment", "", "X1") in stored(engine, "")["order", ("order", "", "S1")]["members"]
    check(engine, "", {"": world}, limit)
