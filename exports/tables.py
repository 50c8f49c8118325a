"""Tables for spreadsheets and data frames: journeys, how long their steps took, and their events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import msgspec

from exports.durations import Business, steps
from exports.journeys import HEAD, Journey, happened, journey_pieces, root_attributes
from exports.snapshot import Snapshot
from milepost import tolerant
from milepost.catalog.schema import Catalog

What = Literal["journeys", "durations", "events"]
WHATS: Final[tuple[What, ...]] = get_args(What)
Kind = Literal["text", "time", "money", "seconds"]
_KINDS: Final[dict[str, Kind]] = {"started_at": "time", "last_at": "time", "completed_at": "time", "amount": "money"}
_NAME: Final[tuple[tuple[str, Kind], ...]] = (("model", "text"), ("key", "text"), ("namespace", "text"))


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with their types, and the rows, some at a time. Times are aware UTC, money is Decimal."""

    columns: tuple[tuple[str, Kind], ...]
    pieces: Iterator[list[Sequence[Any]]]


def table(what: What, snapshot: Snapshot, catalog: Catalog, business: Business) -> Table:
    """One of the tables of an export."""
    made: dict[What, Callable[[], Table]] = {
        "journeys": lambda: _journeys(snapshot, catalog),
        "durations": lambda: _durations(snapshot, catalog, business),
        "events": lambda: _events(snapshot),
    }
    return made[what]()


def _journeys(snapshot: Snapshot, catalog: Catalog) -> Table:
    """A row a journey; the milestones of all models are columns, with the time at which each was reached."""
    names = list(dict.fromkeys(step.name for model in catalog.models.values() for step in model.milestones))
    head = [name for name in HEAD if name != "journey_id"]
    columns = [(name, _KINDS.get(name, "text")) for name in head]
    columns += [(f"{name}_reached_at", "time") for name in names]

    def row(journey: Journey) -> list[Any]:
        reached = {item.name: item.at for item in journey.milestones}
        return [*(journey.head[name] for name in head), *(reached.get(name) for name in names)]

    return Table(tuple(columns), ([row(journey) for journey in some] for some in journey_pieces(snapshot)))


def _durations(snapshot: Snapshot, catalog: Catalog, business: Business) -> Table:
    """A row for each step of each journey."""
    columns: tuple[tuple[str, Kind], ...] = (
        *_NAME, ("from", "text"), ("to", "text"), ("from_at", "time"), ("to_at", "time"),
        ("seconds", "seconds"), ("calendar", "text"), ("business_seconds", "seconds"),
    )  # fmt: skip
    beside = {name: {step.name for step in model.milestones if step.beside} for name, model in catalog.models.items()}

    def pieces() -> Iterator[list[Sequence[Any]]]:
        for some in journey_pieces(snapshot):
            attributes = root_attributes(snapshot, some)
            yield [
                [
                    *(journey.head[name] for name, _ in _NAME),
                    step.first.name, step.second.name, step.first.at, step.second.at, step.seconds,
                    step.business and step.business.calendar, step.business and step.business.seconds,
                ]
                for journey in some
                for step in steps(
                    journey, beside.get(journey.head["model"], ()), business, attributes[journey.journey_id]
                )
            ]  # fmt: skip

    return Table(columns, pieces())


def _events(snapshot: Snapshot) -> Table:
    """A row for each event of each journey: an event that several journeys show has a row in each."""
    columns: tuple[tuple[str, Kind], ...] = (
        *_NAME, ("time", "time"), ("type", "text"), ("source", "text"), ("id", "text"), ("received_at", "time"),
        ("outcome", "text"), ("code", "text"), ("reason", "text"), ("attributes", "text"),
    )  # fmt: skip

    def pieces() -> Iterator[list[Sequence[Any]]]:
        rows: list[Sequence[Any]] = []
        for some in journey_pieces(snapshot):
            for journey, shown in happened(snapshot, some):
                name = [journey.head[column] for column, _ in _NAME]
                for event in shown:
                    data = tolerant.loads(event.body).get("data") or {}
                    about = [event.occurred_at, event.type, event.source, event.id, event.received_at]
                    said = [data.get("outcome", "ok"), data.get("code"), data.get("reason")]
                    attributes = data.get("attributes")
                    rows.append(
                        [*name, *about, *said, msgspec.json.encode(attributes).decode() if attributes else None]
                    )
                    if len(rows) >= snapshot.piece:
                        yield rows
                        rows = []
        yield rows

    return Table(columns, pieces())
