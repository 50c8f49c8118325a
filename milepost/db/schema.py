"""Migrations: bringing a database to the schema that this version of Milepost needs. They only go forward."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from milepost.db.engine import lock_key, make_engine

MIGRATIONS: Final = Path(__file__).parent / "migrations"
VERSIONS: Final[Mapping[str, Any]] = {"version_table": "schema_version", "version_table_schema": "input"}
PATIENCE: Final = "5min"


def run_migrations(url: str) -> None:
    """`migrate` for a URL."""
    engine = make_engine(url, pool_size=1, application_name="milepost migrate")
    try:
        migrate(engine)
    finally:
        engine.dispose()


def migrate(engine: sa.Engine) -> None:
    """Run the migrations that the database lacks, each in a transaction of its own.

    May be called by many processes at once: one works, the others wait for it and find nothing to do. Raises Transient
    when a table is in use for too long; what was committed stays, and the next call goes on from there.
    """
    with engine.connect() as connection, _alone(connection):
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS input"))
        connection.commit()
        command.upgrade(config({"connection": connection}), "head")


def is_current(connection: sa.Connection) -> bool:
    """Whether the database has this version's schema."""
    context = MigrationContext.configure(connection, opts=dict(VERSIONS))
    return context.get_current_revision() == ScriptDirectory(str(MIGRATIONS)).get_current_head()


def config(attributes: Mapping[str, Any]) -> Config:
    """Alembic's configuration; migrations/env.py reads `attributes`."""
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    made.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    made.attributes.update(attributes)
    return made


@contextmanager
def _alone(connection: sa.Connection) -> Iterator[None]:
    key = lock_key("milepost.migrations")
    connection.execute(sa.text(f"SET lock_timeout = '{PATIENCE}'"))
    connection.execute(sa.select(sa.func.pg_advisory_lock(key)))
    connection.execute(sa.text("RESET lock_timeout"))
    connection.commit()
    try:
        yield
    finally:
        # The session ends with its settings and locks, whatever state a failure left it in.
        connection.invalidate()
