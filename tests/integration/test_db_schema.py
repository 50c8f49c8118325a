"""The schema: migrations and tables.py say the same, and say so when they don't."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.schema import CreateSchema

from milepost.db import check, schema
from milepost.db.engine import make_engine
from milepost.db.tables import metadata
from milepost.errors import ConfigurationError
from tests.databases import Databases

COLUMNS = """
    SELECT format('%s.%s %s not null %s identity %s default %s', c.oid::regclass, a.attname,
                  format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND c.relkind IN ('r', 'p', 'S')"""
INDEXES = """
    SELECT replace(pg_get_indexdef(c.oid), ' ON ONLY ', ' ON ') FROM pg_class AS c WHERE c.relkind IN ('i', 'I')"""
CONSTRAINTS = """
    SELECT format('%s %s', k.conname, pg_get_constraintdef(k.oid)) FROM pg_constraint AS k
    JOIN pg_class AS c ON c.oid = k.conrelid WHERE k.contype <> 'n'"""
OPTIONS = "SELECT format('%s %s', c.oid::regclass, c.reloptions) FROM pg_class AS c WHERE c.relkind IN ('r', 'p')"


def listing(connection: sa.Connection) -> list[str]:
    """Every column, index, constraint and storage option of our schemas, as PostgreSQL itself writes them."""
    ours = (
        " AND NOT c.relispartition AND c.relname <> 'schema_version' AND c.relname <> 'schema_version_pkc'"
        " AND c.relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('input', 'derived', 'record'))"
    )
    parts = [connection.scalars(sa.text(part + ours)).all() for part in (COLUMNS, INDEXES, CONSTRAINTS, OPTIONS)]
    return sorted(str(line) for part in parts for line in part)


def test_the_migrations_make_the_tables_of_tables_py(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        assert check.differences(connection) == []
        assert schema.is_current(connection)


def test_down_to_the_last_option(databases: Databases, engine: sa.Engine) -> None:
    """Alembic compares no check constraints, conditions of indexes or storage options; this does."""
    with databases.fresh(migrated=False) as url:
        direct = make_engine(url)
        with direct.begin() as connection:
            for name in check.SCHEMAS:
                connection.execute(CreateSchema(name))
            metadata.create_all(connection)
            expected = listing(connection)
        direct.dispose()
    with engine.connect() as connection:
        assert listing(connection) == expected


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("ALTER TABLE input.quarantine ADD extra integer", "remove_column input quarantine extra INTEGER()"),
        ("ALTER TABLE input.quarantine DROP reason", "add_column input quarantine reason"),
        ("ALTER TABLE input.quarantine ALTER reason TYPE varchar(5)", "modify_type input quarantine reason"),
        ("ALTER TABLE input.quarantine ALTER state DROP DEFAULT", "modify_default input quarantine state"),
        ("ALTER TABLE input.quarantine ALTER event_id SET NOT NULL", "modify_nullable input quarantine event_id"),
        ("ALTER TABLE input.events ADD extra integer", "remove_column input events extra INTEGER()"),
        ("DROP TABLE record.heartbeats", "add_table record.heartbeats"),
        ("CREATE TABLE derived.extra (n integer)", "remove_table derived.extra"),
        ("DROP INDEX derived.journeys_key_idx", "add_index derived.journeys.journeys_key_idx"),
        ("DROP INDEX input.events_event_no_idx", "add_index input.events.events_event_no_idx"),
        ("ALTER TABLE input.users DROP CONSTRAINT users_name_key", "add_constraint input.users.users_name_key"),
        ("DROP SEQUENCE input.object_ids", "add_sequence input.object_ids"),
    ],
)
def test_a_difference_is_told(engine: sa.Engine, change: str, told: str) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text(change))
        found = check.differences(connection)
    assert len(found) == 1
    assert found[0].startswith(told)


def test_what_is_made_at_run_time_is_no_difference(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE input.identities_17 (identity uuid PRIMARY KEY, content bigint)"))
        connection.execute(sa.text("CREATE TABLE public.somebody_elses (n integer)"))
        assert check.differences(connection) == []


def test_many_may_migrate_at_once_and_again(databases: Databases) -> None:
    with databases.fresh(migrated=False) as url:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(schema.run_migrations, [url] * 3))
        engine = make_engine(url)
        schema.migrate(engine)
        with engine.connect() as connection:
            assert schema.is_current(connection)
        engine.dispose()


def test_a_database_without_tables_is_not_current(databases: Databases) -> None:
    with databases.fresh(migrated=False) as url:
        engine = make_engine(url)
        with engine.connect() as connection:
            assert not schema.is_current(connection)
        engine.dispose()


def test_the_schema_of_a_newer_milepost_is_refused(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE input.schema_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="9999"):
        schema.migrate(engine)


def test_a_database_that_is_not_utf8_is_refused(databases: Databases) -> None:
    latin = "ENCODING 'LATIN1' LOCALE 'C'"
    with (
        databases.fresh(migrated=False, options=latin) as url,
        pytest.raises(ConfigurationError, match="LATIN1"),
    ):
        schema.run_migrations(url)
