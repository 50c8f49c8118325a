"""Generations of identities come and go, and keep neither recorders nor readers waiting."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from milepost.clock import utc_now
from milepost.db.tables import identity_generations
from milepost.errors import Transient
from milepost.inbox import identities
from tests.served import wait_until

NOW = utc_now()
KEEP = timedelta(days=30)
LATER = NOW + KEEP + timedelta(seconds=1)
OLD, NEW = b"o" * 16, b"n" * 16


@pytest.fixture
def full(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """One identity in the first generation, and there is no room for another."""
    monkeypatch.setattr(identities, "HOT_IDENTITIES", 1)
    roll_over(engine)
    claim(engine, OLD)
    return engine


def roll_over(engine: sa.Engine, now: datetime = NOW) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        identities.roll_over(connection, now, KEEP)


def claim(engine: sa.Engine, identity: bytes) -> identities.Seen:
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        seen = identities.claim(connection, {identity: 7})
        connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    return seen


def drop(engine: sa.Engine) -> bool:
    with engine.begin() as connection:
        return identities.drop_forgotten(connection)


def generations(engine: sa.Engine) -> list[int]:
    with engine.connect() as connection:
        return sorted(connection.scalars(sa.select(identity_generations.c.generation)))


def tables(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names(schema="input")
    return sorted(name for name in names if name.startswith("identities_"))


def waiting(engine: sa.Engine, kind: str) -> bool:
    blocked = sa.text(
        "SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database"
        " WHERE NOT granted AND locktype = :kind AND datname = current_database()"
    )
    with engine.connect() as connection:
        return bool(connection.scalar(blocked, {"kind": kind}))


def test_a_full_generation_is_sealed_and_known_until_it_is_too_old(full: sa.Engine) -> None:
    roll_over(full)
    assert claim(full, NEW).new == {NEW}
    assert claim(full, OLD).stored == {OLD: 7}
    roll_over(full, LATER)
    assert generations(full) == [2, 3]
    assert claim(full, OLD).new == {OLD}


def test_a_dump_keeps_no_recorder_waiting(full: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    roll_over(full)
    claim(full, NEW)
    monkeypatch.setattr(identities, "PATIENCE", "20s")
    with full.connect() as dump, ThreadPoolExecutor(1) as pool:
        dump.execute(sa.text("LOCK TABLE input.identities_1, input.identities_2 IN ACCESS SHARE MODE"))
        roll_over(full, LATER)
        dropping = pool.submit(drop, full)
        wait_until(lambda: waiting(full, "relation"))
        assert claim(full, OLD).new == {OLD}
        assert not dropping.done()
        dump.rollback()
        assert dropping.result(20)
    assert tables(full) == ["identities_2", "identities_3"]


def test_what_a_dump_reads_is_dropped_later(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "PATIENCE", "20ms")
    roll_over(engine)
    with engine.begin() as connection:  # as it was left by a process that ended between forgetting and dropping
        connection.execute(sa.text("CREATE TABLE input.identities_0 ()"))
    with engine.connect() as dump:
        dump.execute(sa.text("LOCK TABLE input.identities_0 IN ACCESS SHARE MODE"))
        with pytest.raises(Transient, match="lock timeout"):
            drop(engine)
    assert drop(engine)
    assert not drop(engine)
    assert tables(engine) == ["identities_1"]


def test_while_there_is_room_no_recorder_is_waited_for(engine: sa.Engine) -> None:
    roll_over(engine)
    with engine.begin() as recorder:
        identities.claim(recorder, {OLD: 7})
        roll_over(engine)
    assert generations(engine) == [1]


def test_two_that_find_it_full_make_one_generation(full: sa.Engine) -> None:
    with full.connect() as first, ThreadPoolExecutor(1) as pool:
        with first.begin():
            identities.roll_over(first, NOW, KEEP)
            second = pool.submit(roll_over, full)
            wait_until(lambda: second.done() or waiting(full, "advisory"))
        second.result(20)
    assert generations(full) == [1, 2]
