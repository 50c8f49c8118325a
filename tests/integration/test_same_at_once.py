"""Two recorders that write the same at the same moment: the second one waits, and finds what the first one made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa

from correlator import store
from correlator.touches import Relation
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.inbox import identities, objects
from milepost.inbox.objects import Ref
from tests.chain import Chain
from tests.served import wait_until

Found = TypeVar("Found")


def both(engine: sa.Engine, first: Callable[[sa.Connection], Found], second: Callable[[sa.Connection], Found]) -> Found:
    """Do the first, then the second in another transaction, commit the first once the second waits for it."""

    def later() -> Found:
        with engine.begin() as connection:
            return second(connection)

    with ThreadPoolExecutor(1) as pool, engine.connect() as one:
        with one.begin():
            first(one)
            waiting = pool.submit(later)
            wait_until(lambda: waiting.done() or _waits(engine))
            assert not waiting.done(), "it did not wait"
        return waiting.result(20)


def _waits(engine: sa.Engine) -> bool:
    blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    with engine.connect() as connection:
        return bool(connection.scalar(sa.text(blocked)))


def test_one_identity_is_new_to_one_of_them(engine: sa.Engine) -> None:
    Chain(engine)
    same, mine, theirs = b"s" * 16, b"m" * 16, b"t" * 16
    seen = both(
        engine,
        lambda one: identities.claim(one, {same: 1, mine: 2}),
        lambda two: identities.claim(two, {same: 7, theirs: 3}),
    )
    assert seen.new == {theirs}
    assert seen.stored == {same: 1}


def test_one_name_is_one_object(engine: sa.Engine) -> None:
    same, other = Ref("order", "", "S1"), Ref("order", "", "S2")
    found = both(
        engine,
        lambda one: objects.allocate(one, [same], utc_now()),
        lambda two: objects.allocate(two, [other, same], utc_now()),
    )
    with engine.connect() as connection:
        rows = connection.execute(sa.select(t.objects.c.key, t.objects.c.object_id))
        assert {row.key: row.object_id for row in rows} == {"S1": found[same], "S2": found[other]}


def test_the_earlier_proof_of_a_relation_stands(engine: sa.Engine) -> None:
    late, early = (Relation(1, 2, "mention", at, "wms", f"e{at}", at, at) for at in (2_000, 1_000))
    both(
        engine,
        lambda one: store.write_relations(one, [late]),
        lambda two: store.write_relations(two, [early, Relation(1, 3, "mention", 5_000, "wms", "e5", 5, 5)]),
    )
    with engine.connect() as connection:
        rows = connection.execute(sa.select(t.relations.c.second_id, t.relations.c.event_id)).all()
    assert sorted(map(tuple, rows)) == [(2, "e1000"), (3, "e5")]
