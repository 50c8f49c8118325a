"""Every messy case in tests/scenarios, as it happened and in any other order, and by the rules of the oracle."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from milepost.db import tables as t
from milepost.db.engine import make_engine
from milepost.inbox.objects import shown
from milepost.journeystate import Flag
from tests import story
from tests.chain import Chain
from tests.databases import Databases
from tests.integration.test_correlation_property import decided, stored
from tests.oracle import Oracle
from tests.story import Story

FILES = sorted(story.FOLDER.glob("*.yaml"))
SHUFFLES = 2
KEPT = ["catalog_versions", "identity_generations", "assembled"]


@pytest.fixture(scope="module")
def one(databases: Databases) -> Iterator[sa.Engine]:
    """One database for all scenarios: a fresh one would cost more than playing most of them."""
    with databases.fresh() as url:
        made = make_engine(url, application_name="test")
        yield made
        made.dispose()


@pytest.fixture
def empty(one: sa.Engine) -> sa.Engine:
    wipe(one)
    return one


def wipe(engine: sa.Engine) -> None:
    """Take away all that was sent, derived and decided."""
    tables = sa.text(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
        " WHERE schemaname IN ('input', 'derived') AND tablename <> ALL(:kept)"
    )
    with engine.begin() as connection:
        for name in connection.scalars(tables, {"kept": KEPT}).all():
            connection.execute(sa.text(f"DELETE FROM {name}"))


@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_as_it_happened(name: str, empty: sa.Engine) -> None:
    told = Story(story.FOLDER / f"{name}.yaml")
    chain = Chain(empty, catalog=told.catalog)
    for chapter in told.chapters:
        story.tell(chain, chapter)
        check(empty, told, chapter.expect, chapter.title)


@pytest.mark.parametrize("name", [path.stem for path in FILES if path.stem != "contradiction"])
def test_in_other_orders(name: str, empty: sa.Engine) -> None:
    told = Story(story.FOLDER / f"{name}.yaml", few=True)
    for number in range(SHUFFLES):
        wipe(empty)
        story.shuffle(Chain(empty, recorders=2, catalog=told.catalog), told, random.Random(f"{name}{number}"))
        check(empty, told, told.chapters[-1].expect, "in another order")
        assert stored(empty, "") == by_the_rules(told, empty)


def test_every_case_is_there() -> None:
    assert len(FILES) >= 14


def by_the_rules(told: Story, engine: sa.Engine) -> Any:
    stored_once = {(wire["source"], wire["id"]): (wire, received) for wire, received in told.sent}
    found = Oracle(told.journeys, list(stored_once.values()), decided(engine)).journeys()
    for journey in found.values():
        attributes = journey.pop("attributes")
        journey["carrier"], journey["partner"] = attributes.get("carrier"), attributes.get("partner")
        journey["amount"] = Decimal(journey["amount"]) if journey["amount"] is not None else None
    return found


# --- what is expected -------------------------------------------------------------------------------------------------


def check(engine: sa.Engine, told: Story, expect: Mapping[str, Any], where: str) -> None:
    seen = Seen(engine)
    for model, journeys in expect.get("journeys", {}).items():
        wanted = {name: value for key, value in journeys.items() for name in told.spelled(key)}
        steps = {name: value if isinstance(value, str) else value["step"] for name, value in wanted.items()}
        assert seen.steps(model) == steps, f"{where}: {model}"
        for name, value in wanted.items():
            if isinstance(value, dict):
                _check_journey(seen, told, (model, name), value, where)
    for pair in expect.get("apart", []):
        assert seen.apart(*pair["these"]), f"{where}: {pair['these']}: {pair['because']}"
    for flag, types in expect.get("flagged", {}).items():
        assert sorted(seen.flagged(Flag[flag.upper().replace(" ", "_")])) == sorted(types), f"{where}: {flag}"
    if "hubs" in expect:
        assert seen.hubs() == expect["hubs"], where
    if "exceptions" in expect:
        assert seen.exceptions() == sorted(expect["exceptions"]), where
    if "set aside" in expect:
        assert seen.set_aside() == expect["set aside"], where


def _check_journey(seen: Seen, told: Story, journey: tuple[str, str], value: Mapping[str, Any], where: str) -> None:
    if "members" in value:
        wanted = {name for key in value["members"] for name in told.spelled(key)}
        assert seen.members(journey) == wanted, f"{where}: {journey}"
    if "reached" in value:
        assert seen.reached(journey) == value["reached"], f"{where}: {journey}"
    if "shows" in value:
        assert seen.shown(journey) == value["shows"], f"{where}: {journey}"
    for name, wanted in value.get("values", {}).items():
        assert seen.value(journey, name) == wanted, f"{where}: {journey}: {name}"


class Seen:
    """What the database says, in the words of scenario files."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.journeys = {(row.model, _name(row)): row for row in self.rows(sa.select(t.journeys))}
        names = {row.object_id: _name(row) for row in self.rows(sa.select(t.objects))}
        names |= {row.object_id: row.key for row in self.rows(sa.select(t.correlations))}
        self._members: dict[int, set[str]] = {row.journey_id: set() for row in self.journeys.values()}
        for row in self.rows(sa.select(t.members).where(t.members.c.depth > 0)):
            self._members[row.journey_id].add(names[row.object_id])

    def rows(self, statement: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(statement))

    def steps(self, model: str) -> dict[str, str]:
        """By name: the step reached, or that the journey is completed or cancelled."""
        mine = {name: row for (of, name), row in self.journeys.items() if of == model}
        return {name: (row.stage or "-") if row.state == "open" else row.state for name, row in mine.items()}

    def members(self, journey: tuple[str, str]) -> set[str]:
        """What belongs to a journey, but for itself."""
        return self._members[self.journeys[journey].journey_id]

    def apart(self, one: str, other: str) -> bool:
        """Whether neither is a member of a journey of the other."""
        pairs = ((one, other), (other, one))
        return not any(b in self.members(journey) for a, b in pairs for journey in self.journeys if journey[1] == a)

    def reached(self, journey: tuple[str, str]) -> dict[str, str]:
        """The milestones of a journey, each with the day, if it is another than the first's, and the time."""
        chosen = t.milestones.c.journey_id == self.journeys[journey].journey_id
        rows = self.rows(sa.select(t.milestones).where(chosen))
        day = min((row.reached_at.date() for row in rows), default=None)
        return {
            row.name: f"{row.reached_at:%H:%M}" if row.reached_at.date() == day else f"{row.reached_at:%Y-%m-%d %H:%M}"
            for row in rows
        }

    def shown(self, journey: tuple[str, str]) -> list[str]:
        """The types of the events that a journey shows, as they happened."""
        mine = sa.select(t.members.c.object_id).where(t.members.c.journey_id == self.journeys[journey].journey_id)
        numbers = sa.select(t.event_object.c.event_no).where(t.event_object.c.object_id.in_(mine))
        chosen = sa.select(t.events.c.type).where(t.events.c.event_no.in_(numbers))
        return [row.type for row in self.rows(chosen.order_by(t.events.c.occurred_at))]

    def value(self, journey: tuple[str, str], name: str) -> str:
        """An attribute, or the money, of a journey; "none" where it has none."""
        found = getattr(self.journeys[journey], name)
        return "none" if found is None else f"{found:.2f}" if isinstance(found, Decimal) else str(found)

    def flagged(self, flag: Flag) -> list[str]:
        return [row.type for row in self.rows(sa.select(t.events).where(t.events.c.flags.bitwise_and(flag.value) != 0))]

    def hubs(self) -> dict[str, str]:
        """By type and key: the source that named it most."""
        return {f"{row.type} {row.key}": max(row.sources, key=row.sources.get) for row in self.rows(sa.select(t.hubs))}

    def exceptions(self) -> list[str]:
        """What went wrong, of what kind, why, and from when to when."""
        e, o = t.exceptions.c, t.objects.c
        rows = self.rows(sa.select(t.exceptions, o.type.label("of"), o.key).join(t.objects, o.object_id == e.object_id))
        return sorted(
            f"{row.of} {row.key}: {row.type} {row.kind} {row.code}, {row.opened_at:%H:%M} "
            + (f"to {row.resolved_at:%H:%M}" if row.resolved_at else "and open")
            for row in rows
        )

    def set_aside(self) -> dict[str, str]:
        """The events in quarantine: id and why."""
        return {row.event_id: row.kind for row in self.rows(sa.select(t.quarantine))}


def _name(row: Any) -> str:
    """A key, with its namespace where it has one: 1001 (partner=ACME)."""
    key = shown(row.key, getattr(row, "since", None))
    return f"{key} ({row.namespace})" if row.namespace else key
