"""Engines: UTC, errors by what can be done about them, locks, binary COPY."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import (
    advisory_lock,
    advisory_unlock,
    copy_rows,
    database_errors,
    leader,
    libpq_url,
    make_engine,
    transaction_lock,
    transient,
)
from milepost.errors import Transient, Unavailable


def test_sessions_run_in_utc_under_their_name(database: str) -> None:
    engine = make_engine(database.replace("postgresql://", "postgres://"), application_name="unit")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW timezone")) == "UTC"
        assert connection.scalar(sa.text("SHOW application_name")) == "unit"
        now = connection.scalar(sa.text("SELECT now()"))
        assert now.utcoffset().total_seconds() == 0
    engine.dispose()


def test_a_url_keeps_its_own_options(database: str) -> None:
    separator = "&" if "?" in database else "?"
    engine = make_engine(f"{database}{separator}options=-c%20work_mem%3D7MB", statement_timeout=2.5)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SHOW work_mem")) == "7MB"
        assert connection.scalar(sa.text("SHOW statement_timeout")) == "2500ms"
    engine.dispose()
    assert libpq_url("postgresql+psycopg://a:b@c/d") == "postgresql://a:b@c/d"
    assert libpq_url("postgresql://a:b%20c%2Bd@e/f") == "postgresql://a:b%20c+d@e/f"


def test_a_statement_that_takes_too_long_is_transient(database: str) -> None:
    engine = make_engine(database, statement_timeout=0.05)
    with engine.connect() as connection, pytest.raises(Transient, match="statement timeout"):
        connection.execute(sa.text("SELECT pg_sleep(10)"))
    engine.dispose()


def test_a_mistake_stays_an_error_of_sqlalchemy(engine: sa.Engine) -> None:
    with engine.connect() as connection, pytest.raises(sa.exc.ProgrammingError) as caught:
        connection.execute(sa.text("SELECT nonsense"))
    assert not transient(caught.value)


def test_a_deadlock_is_transient(engine: sa.Engine) -> None:
    """Two transactions that wait for each other's lock: one is told to try again, the other goes on."""
    outcomes: list[BaseException | None] = []
    both = threading.Barrier(2, timeout=20)

    def take(first: int, second: int) -> None:
        lock = sa.text("SELECT pg_advisory_xact_lock(:key)")
        try:
            with engine.begin() as connection:
                connection.execute(sa.text("SET LOCAL deadlock_timeout = '50ms'"))
                connection.execute(lock, {"key": first})
                both.wait()
                connection.execute(lock, {"key": second})
            outcomes.append(None)
        except Transient as error:
            outcomes.append(error)

    threads = [threading.Thread(target=take, args=keys) for keys in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "Transient"]


def test_a_lost_connection_is_unavailable_and_the_pool_recovers(database: str, engine: sa.Engine) -> None:
    with engine.connect() as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        with psycopg.connect(libpq_url(database), autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        with pytest.raises(Unavailable) as caught:
            connection.execute(sa.text("SELECT 1"))
        assert transient(caught.value)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1


def test_a_connection_that_died_in_the_pool_goes_unnoticed(database: str, engine: sa.Engine) -> None:
    with engine.connect() as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
    with psycopg.connect(libpq_url(database), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1


def test_no_server_is_unavailable(tmp_path_factory: pytest.TempPathFactory) -> None:
    url = EmbeddedPostgres(tmp_path_factory.mktemp("nothing")).url()
    engine = make_engine(url)
    with pytest.raises(Unavailable):
        engine.connect()
    with pytest.raises(Unavailable), database_errors():
        psycopg.connect(libpq_url(url))


def test_an_advisory_lock_outlives_the_transaction_until_it_is_given_back(engine: sa.Engine) -> None:
    with engine.connect() as first, engine.connect() as second:
        assert advisory_lock(first, "nightly")
        first.commit()
        assert not advisory_lock(second, "nightly")
        assert advisory_lock(second, "weekly")
        assert not transaction_lock(second, "nightly")
        advisory_unlock(first, "nightly")
        assert transaction_lock(second, "nightly")
        second.commit()
        assert transaction_lock(first, "nightly")


def test_one_leads_and_another_follows_when_it_ends(engine: sa.Engine) -> None:
    with (
        leader(engine, "assemble") as first,
        leader(engine, "assemble") as second,
        leader(engine, "scheduler") as third,
    ):
        assert (bool(first), bool(second), bool(third)) == (True, False, True)
    with leader(engine, "assemble") as next_one:
        assert next_one


def test_the_lead_ends_with_a_failure_too(engine: sa.Engine) -> None:
    with pytest.raises(RuntimeError), leader(engine, "assemble"):
        raise RuntimeError
    with leader(engine, "assemble") as leads:
        assert leads


COLUMNS: dict[str, tuple[Any, Any]] = {
    "big": (sa.BigInteger, 2**62),
    "normal": (sa.Integer, -5),
    "small": (sa.SmallInteger, 7),
    "text": (sa.Text, "Größe 📦\\\t"),
    "flag": (sa.Boolean, True),
    "time": (sa.DateTime(timezone=True), datetime(2026, 11, 20, 10, 2, 11, 123456, UTC)),
    "money": (sa.Numeric(18, 4), Decimal("-12345.6700")),
    "whole": (sa.Numeric(24, 0), 10**20),
    "ratio": (sa.Double, 0.1),
    "bytes": (sa.LargeBinary, b"\x00\xff\\x"),
    "document": (JSONB, {"b": [1, None, "ü"]}),
    "uuid": (sa.Uuid, uuid.UUID(int=2**127)),
    "list": (ARRAY(sa.Text), ["x", "y,z"]),
    "day": (sa.Date, date(2026, 11, 20)),
}


def test_copied_rows_come_back_as_they_were(engine: sa.Engine) -> None:
    table = sa.Table("all_types", sa.MetaData(), *[sa.Column(name, kind) for name, (kind, _) in COLUMNS.items()])
    row = tuple(value for _, value in COLUMNS.values())
    with engine.begin() as connection:
        table.create(connection)
        copy_rows(connection, table, list(COLUMNS), [row, (None,) * len(row)])
        copy_rows(connection, table, ["big"], iter([]))
    with engine.connect() as connection:
        assert [tuple(found) for found in connection.execute(sa.select(table))] == [row, (None,) * len(row)]


def test_a_json_column_takes_the_document_as_it_was_sent(engine: sa.Engine) -> None:
    table = sa.Table("documents", sa.MetaData(), sa.Column("body", JSON))
    body = '{"b": 1.10,  "a": "ü"}'
    with engine.begin() as connection:
        table.create(connection)
        copy_rows(connection, table, ["body"], [(body.encode(),)])
        assert connection.scalar(sa.text("SELECT body::text FROM documents")) == body


def test_a_copy_belongs_to_the_transaction(engine: sa.Engine) -> None:
    table = sa.Table("copied", sa.MetaData(), sa.Column("n", sa.Integer))
    with engine.begin() as connection:
        table.create(connection)
    with engine.connect() as connection:
        copy_rows(connection, table, ["n"], [(1,)])
        connection.rollback()
        copy_rows(connection, table, ["n"], [(2,)])
        connection.commit()
    with engine.connect() as connection:
        assert connection.scalars(sa.select(table.c.n)).all() == [2]
