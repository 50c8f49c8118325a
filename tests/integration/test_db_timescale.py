"""Tables split by day: on plain PostgreSQL and on TimescaleDB alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from milepost.db import timescale
from milepost.db.engine import copy_rows, make_engine
from milepost.db.tables import event_object
from milepost.errors import Transient
from tests.databases import Databases

NOW = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def plain(engine: sa.Engine) -> sa.Engine:
    with engine.connect() as connection:
        if timescale.flavour(connection) != "plain":
            pytest.skip("about plain partitions")
    return engine


@pytest.fixture
def timescaled(timescale_databases: Databases) -> Iterator[sa.Engine]:
    with timescale_databases.fresh() as url:
        engine = make_engine(url)
        yield engine
        engine.dispose()


def write(engine: sa.Engine, *times: datetime) -> None:
    with engine.begin() as connection:
        rows = [(7, at, number, True) for number, at in enumerate(times, 1)]
        copy_rows(connection, event_object, ["object_id", "received_at", "event_no", "subject"], rows)


def numbers(engine: sa.Engine, table: str = "event_object") -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.text(f"SELECT event_no FROM input.{table} ORDER BY event_no")))


def ensure(engine: sa.Engine, first: datetime, last: datetime) -> int:
    with engine.begin() as connection:
        return timescale.ensure_partitions(connection, first, last)


def test_a_day_without_a_partition_is_no_reason_to_fail(engine: sa.Engine) -> None:
    write(engine, NOW, NOW - 400 * DAY, NOW + 2 * DAY)
    assert numbers(engine) == [1, 2, 3]


def test_partitions_come_ahead_of_time_and_once(plain: sa.Engine) -> None:
    assert ensure(plain, NOW, NOW + 2 * DAY) == 6
    assert ensure(plain, NOW, NOW + 3 * DAY) == 2
    assert ensure(plain, NOW, NOW + 3 * DAY) == 0
    write(plain, NOW)
    assert numbers(plain, "event_object_20261120") == [1]
    with plain.connect() as connection:
        indexes = sa.inspect(connection).get_indexes("event_object_20261120", schema="input")
    assert [index["column_names"] for index in indexes] == [["object_id", "received_at"]]


def test_rows_that_came_first_move_into_their_day(plain: sa.Engine) -> None:
    midnight = datetime(2026, 11, 21, tzinfo=UTC)
    write(
        plain,
        midnight - timedelta(microseconds=1),
        midnight,
        midnight + DAY - timedelta(microseconds=1),
        midnight + DAY,
    )
    ensure(plain, midnight, midnight)
    assert numbers(plain, "event_object_20261121") == [2, 3]
    assert numbers(plain, "event_object_default") == [1, 4]
    assert numbers(plain) == [1, 2, 3, 4]


def test_days_are_utc_days(plain: sa.Engine) -> None:
    tokyo = datetime.fromisoformat("2026-11-21T05:00:00+09:00")
    ensure(plain, tokyo, tokyo)
    write(plain, tokyo)
    assert numbers(plain, "event_object_20261120") == [1]


def test_two_processes_make_each_partition_once(plain: sa.Engine) -> None:
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: ensure(plain, NOW, NOW + DAY), range(2)))
    assert sorted(made) == [0, 4]


def test_writers_are_waited_for_briefly_and_never_hurt(plain: sa.Engine) -> None:
    with plain.begin() as writer:
        writer.execute(sa.insert(event_object).values(object_id=7, received_at=NOW, event_no=1, subject=True))
        with pytest.raises(Transient, match="lock timeout"):
            ensure(plain, NOW, NOW)
        writer.execute(sa.insert(event_object).values(object_id=7, received_at=NOW, event_no=2, subject=True))
    assert ensure(plain, NOW, NOW) == 2
    assert numbers(plain, "event_object_20261120") == [1, 2]


def test_recording_goes_on_while_partitions_are_made(plain: sa.Engine) -> None:
    """Rows written meanwhile land in the default or in their day: no write fails, and no row is lost."""
    stop = threading.Event()

    def record() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            write(plain, *[NOW + day * DAY for day in range(10)])
        return number

    with ThreadPoolExecutor(2) as pool:
        recorders = [pool.submit(record) for _ in range(2)]
        made = sum(tried(plain, day) for day in range(10) for _ in range(4))
        stop.set()
        batches = sum(recorder.result(timeout=30) for recorder in recorders)
    assert made > 0
    assert len(numbers(plain)) == 10 * batches


def tried(engine: sa.Engine, day: int) -> int:
    try:
        return ensure(engine, NOW + day * DAY, NOW + day * DAY)
    except Transient:
        return 0


def test_retention_drops_whole_days(engine: sa.Engine) -> None:
    ensure(engine, NOW - 3 * DAY, NOW)
    write(engine, NOW - 3 * DAY, NOW - 2 * DAY, NOW - DAY, NOW)
    with engine.begin() as connection:
        assert timescale.drop_before(connection, NOW - DAY) > 0
    assert numbers(engine) == [3, 4]
    with engine.begin() as connection:
        assert timescale.drop_before(connection, NOW - DAY) == 0


def test_retention_reaches_what_is_in_no_day(plain: sa.Engine) -> None:
    write(plain, NOW - 400 * DAY, NOW)
    with plain.begin() as connection:
        timescale.drop_before(connection, NOW - 30 * DAY)
    assert numbers(plain) == [2]


def test_only_the_community_edition_compresses(engine: sa.Engine) -> None:
    write(engine, NOW - 3 * DAY)
    with engine.begin() as connection:
        if timescale.flavour(connection) == "community":
            assert timescale.compress_before(connection, NOW) == 1
        else:
            assert timescale.compress_before(connection, NOW) == 0
    assert numbers(engine) == [1]


@pytest.mark.timescale
def test_timescaledb_gets_hypertables_with_a_chunk_a_day(timescaled: sa.Engine) -> None:
    with timescaled.connect() as connection:
        assert timescale.flavour(connection) in ("apache", "community")
        found = connection.execute(
            sa.text(
                "SELECT hypertable_name, column_name, time_interval FROM timescaledb_information.dimensions ORDER BY 1"
            )
        ).all()
    assert [tuple(row) for row in found] == [("event_object", "received_at", DAY), ("events", "received_at", DAY)]
    assert ensure(timescaled, NOW, NOW + 5 * DAY) == 0
    write(timescaled, NOW, NOW - DAY, NOW + timedelta(minutes=1))
    with timescaled.connect() as connection:
        assert len(connection.execute(sa.text("SELECT show_chunks('input.event_object')")).all()) == 2


@pytest.mark.timescale
def test_timescaledb_installed_later_changes_nothing(timescale_databases: Databases) -> None:
    """Tables made as plain partitions stay so, and are kept as such."""
    with timescale_databases.fresh(migrated=False) as url:
        engine = make_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE SCHEMA input"))
            for name in ("events", "event_object"):
                options = timescale.partitioned(connection, "received_at")
                columns = (sa.Column("received_at", sa.DateTime(timezone=True)), sa.Column("event_no", sa.BigInteger))
                sa.Table(name, sa.MetaData(), *columns, schema="input", **options).create(connection)
                timescale.spread(connection, "input", name, "received_at", "event_no")
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE EXTENSION timescaledb"))
        assert ensure(engine, NOW, NOW) == 2
        with engine.begin() as connection:
            assert timescale.compress_before(connection, NOW + 9 * DAY) == 0
            assert timescale.drop_before(connection, NOW + 9 * DAY) == 2
        engine.dispose()
