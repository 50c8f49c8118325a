"""Plays the simulated network into the real recorder, assembler, check and alerting, the days compressed."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import sqlalchemy as sa
import yaml

from alerting import pipeline
from correlator.assemble import Assembler
from correlator.record import Recorder
from milepost import contract
from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import from_us, to_us
from milepost.decisions import catalog as decided
from milepost.inbox import identities, log
from simulator.wire import Message
from sla.job import check_due_once
from sla.store import Clocks
from tests.integration.year.oracle import Event, Obj, Rules

ROUTES: Final = {
    "channels": [{"name": "on-call", "kind": "webhook", "url": "https://on-call.example/hook", "secret_env": "NONE"}],
    "routes": [{"channels": ["on-call"]}],
}
_CASE: Final = re.compile(rb'"id":"(.*?)(?:-r)?-\d+"')
"""An event's id is the journal's name and a number; a drop's returns have a journal of their own."""
Progress = Callable[[datetime, int], None]
"""Told the simulated time and the events so far."""


def texts() -> dict[str, str]:
    """The built-in catalog, with one channel that hears of everything."""
    return loader.default_texts() | {"routes.yaml": yaml.safe_dump(ROUTES)}


@dataclass
class World:
    """One installation whose present moves tick by tick."""

    engine: sa.Engine
    now: datetime
    alerts: bool = True
    events: int = 0
    catalog: Catalog = field(init=False)

    def __post_init__(self) -> None:
        with self.engine.begin() as connection:
            self.catalog = decided.apply(connection, texts(), actor="year", now=self.now)
            identities.roll_over(connection, self.now, timedelta(days=30))
        self.recorder = Recorder(self.engine, lambda _: self.catalog, lambda: self.now)
        clocks = Clocks()
        self.assembler = Assembler(
            self.engine,
            lambda _: self.catalog,
            lambda: self.now,
            lambda connection, catalog, changes, _: clocks.on_journeys_changed(connection, catalog, changes, self.now),
        )

    def tick(self, now: datetime, arrived: list[Message]) -> None:
        """Take what arrived, check what is due, and alert."""
        self.now = now
        if arrived:
            with self.engine.begin() as connection:
                log.append(connection, [_entry(message) for message in arrived])
            while any([self.recorder.step(), self.assembler.step()]):
                continue
            self.events += len(arrived)
        check_due_once(self.engine, self.catalog, now=now, applied_through=now)
        while self.alerts and pipeline.step(
            self.engine, self.catalog.routing, now=now, public_url="http://127.0.0.1:8080"
        ):
            continue


def _entry(message: Message) -> contract.Entry:
    event = contract.decode(message.body)
    identity, content = contract.identity_of(event.source, event.id), contract.content_of(event)
    return contract.Entry(identity, content, received_us(message), message.body)


def received_us(message: Message) -> int:
    return int(message.arrives * 1_000_000)


def play(world: World, messages: Iterable[Message], *, tick: int, until: int, progress: Progress) -> None:
    """Play them to the end, with a check every `tick` microseconds. They come in the order of their arrival."""
    coming = iter(messages)
    message = next(coming, None)
    now = tick * (to_us(world.now) // tick + 1)
    while now <= until:
        arrived = []
        while message is not None and received_us(message) <= now:
            arrived.append(message)
            message = next(coming, None)
        world.tick(from_us(now), arrived)
        if now % 86_400_000_000 < tick:
            progress(from_us(now), world.events)
        now += tick


# --- for the oracle ---------------------------------------------------------------------------------------------------


def cases(messages: Iterable[Message], rules: Rules) -> Iterator[list[Event]]:
    """What was told of each drop, or purchase order; what came twice once."""
    sent: defaultdict[bytes, list[Message]] = defaultdict(list)
    for message in messages:
        found = _CASE.search(message.body)
        assert found is not None
        sent[found[1]].append(message)
    for some in sent.values():
        events: dict[tuple[str, str], Event] = {}
        for message in some:
            event = _event(message, rules)
            events.setdefault((event.source, event.id), event)
        yield list(events.values())


def _event(message: Message, rules: Rules) -> Event:
    wire: Mapping[str, Any] = msgspec.json.decode(message.body)
    data = wire["data"]
    attributes = data.get("attributes", {})

    def named(kind: str, keys: Any) -> list[Obj]:
        space = rules.keys.get(kind, {}).get("namespace", "none")
        where = "" if space == "none" else f"{space}={attributes[space]}"
        return [(kind, where, key) for key in ([keys] if isinstance(keys, str) else keys)]

    links = [
        (named(link["parent"]["type"], link["parent"]["key"])[0], named(link["child"]["type"], link["child"]["key"])[0])
        for link in data.get("links", ())
    ]
    at = datetime.fromisoformat(wire["time"]).astimezone(UTC)
    return Event(
        received=received_us(message),
        at=to_us(at),
        source=wire["source"],
        id=wire["id"],
        type=wire["type"],
        ok=data.get("outcome", "ok") == "ok",
        keys={kind: named(kind, keys) for kind, keys in data["keys"].items()},
        attributes=attributes,
        links=links,
    )


def upto(stream: Iterator[Message], until: int) -> Iterator[Message]:
    """What arrives until then."""
    for message in stream:
        if received_us(message) > until:
            return
        yield message
