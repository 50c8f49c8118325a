"""The simulated network: the same again for the same seed, within the contract, and with the faults of real senders."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise, takewhile

import pytest

from milepost import contract
from milepost.catalog import loader
from milepost.catalog.policy import Policy
from milepost.contract import Event
from simulator import network, script
from simulator.network import Size
from simulator.rhythm import ZONE
from simulator.wire import Message
from simulator.world import DAY, GLS, HOUR, SOURCES

NOW = datetime(2026, 11, 21, 2, 30, tzinfo=UTC).timestamp()
DAYS = 8
USUAL = Size()


def history(days: int = DAYS, seed: int = 1, size: Size = USUAL, until: float = NOW) -> list[Message]:
    stream = network.stream(script.script(NOW), seed=seed, days=days, size=size)
    return list(takewhile(lambda message: message.arrives <= until, stream))


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return history(until=NOW + HOUR)


@pytest.fixture(scope="module")
def events(messages: list[Message]) -> list[Event]:
    return [contract.decode(message.body) for message in messages]


def test_same_seed_same_stream() -> None:
    small = Size(20, 5, 5)
    assert history(2, size=small) == history(2, size=small)
    assert history(2, size=small) != history(2, seed=2, size=small)


def test_messages_come_in_order_of_arrival(messages: list[Message]) -> None:
    assert all(before.arrives <= after.arrives for before, after in pairwise(messages))


def test_every_event_is_whole(messages: list[Message], events: list[Event]) -> None:
    """Valid, from a known source, with an id, and no claim that Milepost would clamp."""
    for message, event in zip(messages, events, strict=True):
        assert event.id
        assert event.source == message.source
        assert event.source in SOURCES
        assert not contract.times_of(event, round(message.arrives * 1_000_000)).skewed


def test_every_event_names_its_subject(events: list[Event]) -> None:
    fronts = {"order", "channel_order", "customer_po"}
    for event in events:
        kind = event.type.partition(".")[0]
        named = set(event.data.keys)
        assert kind == "message" or kind in named or (kind == "order" and named & fronts), event


def test_a_number_of_a_partner_comes_with_the_partner(events: list[Event]) -> None:
    assert all("partner" in event.data.attributes for event in events if "customer_po" in event.data.keys)


def test_repeats_are_exact_copies(messages: list[Message], events: list[Event]) -> None:
    seen: defaultdict[tuple[str, str], set[bytes]] = defaultdict(set)
    for message, event in zip(messages, events, strict=True):
        seen[event.source, event.id].add(message.body)
    assert all(len(bodies) == 1 for bodies in seen.values())
    assert 0.02 < 1 - len(seen) / len(messages) < 0.05


def test_some_events_are_out_of_order_and_late(messages: list[Message], events: list[Event]) -> None:
    """By source, since another source's delay is no disorder."""
    latest: dict[str, float] = {}
    behind = late = 0
    for message, event in zip(messages, events, strict=True):
        assert event.time is not None
        at = event.time.timestamp()
        behind += at < latest.get(event.source, 0.0)
        late += message.arrives - at > HOUR
        latest[event.source] = max(at, latest.get(event.source, 0.0))
    assert behind > len(events) * 0.02
    assert 0.001 < late / len(events) < 0.05


def _received(events: list[Event]) -> Iterator[datetime]:
    for event in events:
        if event.type == "order.received" and event.time is not None:
            yield event.time.astimezone(ZONE)


def test_orders_have_a_rhythm() -> None:
    size = Size(300, 0, 0)
    stream = [contract.decode(message.body) for message in history(14, size=size)]
    hours = Counter(at.hour for at in _received(stream))
    days = Counter(at.weekday() for at in _received(stream))
    assert sum(hours[hour] for hour in (1, 2, 3, 4)) * 3 < sum(hours[hour] for hour in (9, 10, 11, 20))
    assert days[5] + days[6] < 0.7 * (days[1] + days[2])


def test_orders_split_and_travel_together(events: list[Event]) -> None:
    pickings: defaultdict[str, set[str]] = defaultdict(set)
    together = backorders = 0
    for event in events:
        keys = event.data.keys
        if event.type == "picking.created":
            pickings[str(keys["order"])].add(str(keys["picking"]))
        together += event.type == "shipment.booked" and isinstance(keys["picking"], list)
        backorders += any(link.rel == "backorder" for link in event.data.links)
    assert sum(len(keys) > 1 for keys in pickings.values()) > 0.05 * len(pickings)
    assert together > 20
    assert backorders > 20


def test_things_fail_now_and_then(events: list[Event]) -> None:
    outcomes = Counter(event.data.outcome for event in events)
    assert {"ok", "retried", "failed", "rejected"} == set(outcomes)
    assert 0.95 < outcomes["ok"] / len(events) < 0.999


# --- the incidents ----------------------------------------------------------------------------------------------------


def _policy(name: str) -> Policy:
    catalog = loader.load(loader.default_texts())
    return next(policy for policy in catalog.policies if policy.name == name)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("order-confirmation", script.CONFIRM),
        ("warehouse-acknowledgement", script.ACKNOWLEDGE),
        ("packed-not-shipped", script.LEAVE),
        ("shipment-first-scan", script.SCAN),
        ("shipment-delivery", script.ARRIVE),
    ],
)
def test_the_script_knows_the_policies(name: str, seconds: float) -> None:
    policy = _policy(name)
    assert policy.within is not None
    assert policy.within.us == seconds * 1_000_000


def _between(messages: list[Message], source: str, begins: float, ends: float) -> list[Event]:
    return [contract.decode(one.body) for one in messages if one.source == source and begins <= one.arrives < ends]


def test_the_warehouse_goes_mute_and_catches_up(messages: list[Message]) -> None:
    acts = script.script(NOW)
    mute = _between(messages, "/wms/north", acts.mute.begins + 60, acts.mute.ends)
    # what comes still was released before, or is a late repeat
    assert not [
        event
        for event in mute
        if event.type == "picking.released" and event.time and event.time.timestamp() > acts.mute.begins
    ]
    after = _between(messages, "/wms/north", acts.mute.ends, acts.mute.ends + 180)
    assert sum(event.type == "picking.released" for event in after) > 30


def test_pickings_fall_due_in_the_first_minutes(messages: list[Message]) -> None:
    """Without a batch of orders just then, a quiet night would have nothing to show."""
    waiting, released = {}, {}
    for message in messages:
        event = contract.decode(message.body)
        if event.type == "picking.created" and event.time:
            waiting[event.data.keys["picking"]] = event.time.timestamp()
        if event.type == "picking.released" and event.time:
            released[event.data.keys["picking"]] = event.time.timestamp()
    due = [
        at + script.ACKNOWLEDGE
        for key, at in waiting.items()
        if released.get(key, NOW + DAY) > at + script.ACKNOWLEDGE and NOW < at + script.ACKNOWLEDGE < NOW + 420
    ]
    assert len(due) > 30
    assert min(due) < NOW + 90


def test_the_feed_goes_dark_and_comes_back(messages: list[Message]) -> None:
    acts = script.script(NOW)
    assert not _between(messages, GLS.source, acts.dark.begins, acts.dark.ends)
    assert len(_between(messages, GLS.source, acts.dark.ends, acts.dark.ends + 120)) > 50


def test_odoo_refuses_a_channel_and_takes_it_later(messages: list[Message]) -> None:
    acts = script.script(NOW)
    refused = {
        event.data.keys["channel_order"]
        for event in _between(messages, "odoo", acts.refusing.begins, acts.refusing.ends)
        if event.data.code == "PRICELIST"
    }
    assert len(refused) > 20
    taken = {
        event.data.keys["channel_order"]
        for event in _between(messages, "odoo", acts.refusing.ends, acts.refusing.ends + 180)
        if event.type == "order.acknowledged" and "channel_order" in event.data.keys
    }
    assert len(refused - taken) < 0.1 * len(refused)


@pytest.mark.parametrize("seed", range(4))
def test_each_incident_ends(seed: int) -> None:
    """All that falls due because of it is put right within minutes of its end: its alert can resolve."""
    acts = script.script(NOW)
    started: dict[tuple[str, str], float] = {}
    ended: dict[tuple[str, str], float] = {}
    for message in history(4, seed, until=NOW + HOUR):
        event = contract.decode(message.body)
        for policy, key, begins in _clocks(event):
            (started if begins else ended).setdefault((policy, key), message.at if begins else message.arrives)
    for policy, length, span in (
        ("release", script.ACKNOWLEDGE, acts.mute),
        ("confirm", script.CONFIRM, acts.refusing),
        ("scan", script.SCAN, acts.dark),
    ):
        stuck = {key for key, at in started.items() if key[0] == policy and at in span and at + length < span.ends}
        late = [key for key in stuck if ended.get(key, NOW + DAY) > span.ends + 5 * 60]
        assert len(stuck) > 15
        assert len(late) <= 1, late


def _clocks(event: Event) -> Iterator[tuple[str, str, bool]]:
    """Which of the three policies an event starts or stops, and for what."""
    keys, ok = event.data.keys, event.data.outcome == "ok"
    channel, carrier = event.data.attributes.get("channel"), event.data.attributes.get("carrier")
    if event.type == "picking.created" and event.data.attributes.get("warehouse") == "north":
        yield "release", str(keys["picking"]), True
    elif event.type == "picking.released":
        yield "release", str(keys["picking"]), False
    elif event.type == "order.received" and channel == "marketplace":
        yield "confirm", str(keys["channel_order"]), True
    elif event.type == "order.acknowledged" and ok and channel == "marketplace":
        yield "confirm", str(keys["channel_order"]), False
    elif event.type == "shipment.dispatched" and carrier == "gls":
        yield "scan", str(keys["shipment"]), True
    elif event.type == "shipment.in_transit":
        yield "scan", str(keys["shipment"]), False


def test_without_a_script_nothing_stops() -> None:
    quiet = network.stream(script.uneventful(NOW), seed=1, days=2, size=Size())
    last = list(takewhile(lambda message: message.arrives <= NOW, quiet))
    assert len(_between(last, GLS.source, NOW - 12 * HOUR, NOW)) > 20
