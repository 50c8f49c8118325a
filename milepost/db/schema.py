"""Migrations: bringing a database to the schema that this version of Milepost needs. They only go forward.

Alembic is loaded where there is something to do: a process or a command that finds all done doesn't pay for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from milepost.db.engine import lock_key, make_engine
from milepost.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS: Final = Path(__file__).parent / "migrations"
VERSIONS: Final[Mapping[str, Any]] = {"version_table": "schema_version", "version_table_schema": "input"}
OLDEST_SERVER: Final = 15
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
    when a table is in use for too long (what was committed stays, and the next call goes on from there), and
    ConfigurationError for a server that won't do, or a schema that only a newer Milepost knows.
    """
    with engine.connect() as connection:
        if is_current(connection):
            return
    from alembic import command
    from alembic.util import CommandError

    with engine.connect() as connection, _alone(connection):
        _refuse_unfit(connection)
        connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS input"))
        connection.commit()
        try:
            command.upgrade(config({"connection": connection}), "head")
        except CommandError as error:
            raise ConfigurationError(f"the database is not of this version of Milepost, nor older: {error}") from error


def is_current(connection: sa.Connection) -> bool:
    """Whether the database has this version's schema."""
    if not connection.scalar(sa.text("SELECT to_regclass('input.schema_version') IS NOT NULL")):
        return False
    return bool(connection.scalar(sa.text("SELECT version_num FROM input.schema_version")) == _newest())


def _newest() -> str:
    """The last revision: files are named by their number."""
    return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def config(attributes: Mapping[str, Any]) -> Config:
    """Alembic's configuration; migrations/env.py reads `attributes`."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    made.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    made.attributes.update(attributes)
    return made


def _refuse_unfit(connection: sa.Connection) -> None:
    version = connection.execute(sa.text("SHOW server_version_num")).scalar_one()
    encoding = connection.execute(sa.text("SHOW server_encoding")).scalar_one()
    if int(version) < OLDEST_SERVER * 10_000:
        raise ConfigurationError(f"the database server is older than PostgreSQL {OLDEST_SERVER}")
    if encoding != "UTF8":
        raise ConfigurationError(f"the database's encoding is {encoding}; Milepost needs UTF8")


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
