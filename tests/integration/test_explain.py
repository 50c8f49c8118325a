"""Why a journey is as it is: proofs, what was kept out, and what was known when; and what a decision would change."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from correlator.dossier import Dossier
from correlator.explain import explain, history_of
from correlator.model import Compiled
from correlator.preview import preview
from milepost.clock import to_us, utc_now
from milepost.db import tables as t
from milepost.decisions import correlation
from milepost.errors import Conflict
from milepost.explanation import Preview, Proposal
from tests.chain import CATALOG, Chain
from tests.integration.test_correlation_property import _known, crowd, play

WORLDS = 8
DECISIONS = 25


def replayed(dossier: Dossier) -> dict[str, Any]:
    """The journey as the last moment of its replay has it."""
    history, note = history_of(dossier)
    assert note is None
    assert history is not None
    assert history.last is not None
    journey = history.last.journey
    assert journey is not None
    return {
        "members": {(one.object_id, one.via_id, one.depth) for one in history.last.members},
        "milestones": {(one.name, one.reached_us, one.last_us, one.count, one.event_no) for one in journey.milestones},
        "state": journey.state,
        "stage": journey.stage.name if journey.stage else None,
        "times": (journey.started_us, journey.last_us, journey.progress_us),
        "received": (journey.first_received_us, journey.last_received_us),
        "money": (journey.amount, journey.currency),
    }


def stored(connection: sa.Connection, journey_id: int) -> dict[str, Any]:
    """The same of the journey as it is stored."""
    row = connection.execute(sa.select(t.journeys).where(t.journeys.c.journey_id == journey_id)).one()
    members = connection.execute(sa.select(t.members).where(t.members.c.journey_id == journey_id))
    reached = connection.execute(sa.select(t.milestones).where(t.milestones.c.journey_id == journey_id))
    return {
        "members": {(one.object_id, one.via_id, one.depth) for one in members},
        "milestones": {
            (one.name, to_us(one.reached_at), to_us(one.last_at), one._mapping["count"], one.event_no)
            for one in reached
        },
        "state": row.state,
        "stage": row.stage,
        "times": (to_us(row.started_at), to_us(row.last_at), to_us(row.progress_at)),
        "received": (to_us(row.first_received_at), to_us(row.last_received_at)),
        "money": (row.amount, row.currency),
    }


@pytest.mark.parametrize("limit", [3, 1000])
def test_the_last_moment_of_a_replay_is_the_journey_that_is_stored(engine: sa.Engine, limit: int) -> None:
    """With hubs, people who decide at random, and none of either."""
    catalog = msgspec.structs.replace(CATALOG, hub_limit=limit)
    rng = random.Random(f"explained-{limit}")
    worlds = crowd(rng, f"x{limit}", WORLDS)
    play(Chain(engine, recorders=2, catalog=catalog), rng, worlds, people=limit == 3)
    compiled = Compiled(catalog)
    with engine.connect() as connection:
        for journey_id in connection.scalars(sa.select(t.journeys.c.journey_id)).all():
            dossier = Dossier(connection, compiled, journey_id)
            assert replayed(dossier) == stored(connection, journey_id), (limit, dossier.head)
            explained = explain(connection, catalog, journey_id)
            placed = {(one.thing.object_id, one.depth) for one in explained.members}
            assert placed == {(one, depth) for one, _, depth in stored(connection, journey_id)["members"]}
            assert all(one.ties for one in explained.members if one.via is not None)


def journeys(engine: sa.Engine) -> dict[tuple[str, int], tuple[Any, ...]]:
    """How each journey stands, and its members: by model and root."""
    with engine.connect() as connection:
        members: dict[int, set[int]] = {}
        for row in connection.execute(sa.select(t.members.c.journey_id, t.members.c.object_id)):
            members.setdefault(row[0], set()).add(row[1])
        rows = connection.execute(sa.select(t.journeys)).all()
    return {(row.model, row.root_id): (row.state, row.stage, members[row.journey_id]) for row in rows}


def test_a_preview_tells_what_the_decision_then_does(engine: sa.Engine) -> None:
    catalog = msgspec.structs.replace(CATALOG, hub_limit=3)
    rng = random.Random("previewed")
    worlds = crowd(rng, "p", WORLDS)
    chain = play(Chain(engine, catalog=catalog), rng, worlds)
    told: dict[str, Any] = {"actor": "test", "reason": "try", "now": utc_now()}
    for _ in range(DECISIONS):
        before = journeys(engine)
        prefix = rng.choice(list(worlds))
        with engine.begin() as connection:
            act = rng.choice(["cut", "cut", "exclude", "merge", "lift", "reverse"])
            names = _known(connection, prefix)
            one, other = rng.sample(names, 2) if len(names) > 1 else (None, None)
            standing = [item.decision_id for item in correlation.effective(connection)]
            if one is None or other is None or (act == "reverse" and not standing):
                continue
            second = None if act == "lift" else other
            proposal = Proposal(act, one.object_id, second.object_id if second else None)
            if act == "reverse":
                proposal = Proposal("reverse", reverses=rng.choice(standing))
            with suppress(Conflict):
                expected = preview(connection, catalog, proposal)
                if act == "reverse":
                    correlation.reverse(connection, proposal.reverses, **told)
                else:
                    correlation.decide(connection, act, one, second, **told)
                before = _applied(before, expected)
        chain.settle()
        assert journeys(engine) == before, proposal


def _applied(before: dict[tuple[str, int], Any], expected: Preview) -> dict[tuple[str, int], Any]:
    after = dict(before)
    for effect in expected.effects:
        root = (effect.kind, effect.root.object_id)
        had = after.pop(root)[2] if effect.before else set()
        if effect.after:
            members = (had | {one.object_id for one in effect.joined}) - {one.object_id for one in effect.left}
            assert effect.after.members == len(members)
            after[root] = (effect.after.state, effect.after.stage, members)
    return after


def test_a_hub_is_told_and_what_it_relates_to_is_not_read(engine: sa.Engine) -> None:
    catalog = msgspec.structs.replace(CATALOG, hub_limit=3)
    chain = Chain(engine, catalog=catalog)
    for number in range(5):
        keys = {"order": f"S{number}", "shipment": "TBD-1"}
        wire = {"specversion": "1.0", "id": str(number), "source": "/wms", "type": "order.received"}
        chain.send({**wire, "correlationid": "constant", "data": {"keys": keys}})
    chain.settle()
    with engine.connect() as connection:
        journey_id = connection.scalars(sa.select(t.journeys.c.journey_id).where(t.journeys.c.key == "S4")).one()
        explained = explain(connection, catalog, journey_id)
        dossier = Dossier(connection, Compiled(catalog), journey_id)
        history_of(dossier)
    out = {(one.thing.key, one.why, one.others, one.other_type) for one in explained.kept_out}
    assert out == {("TBD-1", "hub", 5, "order"), ("constant", "hub", 5, "order")}
    assert len(explained.members) == 1
    assert {dossier.names[end].key for relation in dossier.relations for end in relation[:2]} == {
        "S4", "TBD-1", "constant",
    }  # fmt: skip
