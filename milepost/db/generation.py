"""Two generations of what is derived: the live one, and while a rebuild runs the next one beside it.

`derived` is the live schema. A rebuild makes `derived_next` with the same tables, fills it through a `redirected`
engine, and swaps: the schemas change their names in one transaction. What writes to the live tables meanwhile takes the
locks that make a beginning and a swap exact (`watch`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from milepost.db.engine import make_engine
from milepost.db.tables import metadata, touches

LIVE: Final = "derived"
NEXT: Final = "derived_next"
FORMER: Final = "derived_former"

_live: Final = re.compile(rf"\b{LIVE}\.|\"{LIVE}\"\.")
_LOCK: Final = sa.text(f"LOCK TABLE {LIVE}.{touches.name} IN ROW EXCLUSIVE MODE")
_ALONE: Final = sa.text(f"LOCK TABLE {LIVE}.{touches.name} IN SHARE ROW EXCLUSIVE MODE")
_TOLD: Final = sa.text(f"SELECT to_regclass('{NEXT}.told') IS NOT NULL")


def watch(connection: sa.Connection) -> bool:
    """Whether a next generation is being made that must be told what the live one is told.

    The answer holds until the transaction ends: `begin` and `swap` wait for it.
    """
    connection.execute(_LOCK)
    return bool(connection.scalar(_TOLD))


def quiesce(connection: sa.Connection) -> None:
    """Wait for all that `watch`es, and let it wait until this transaction ends."""
    connection.execute(_ALONE)


def begin(connection: sa.Connection, *, told: bool) -> None:
    """Make the empty next generation. With `told`, all that `watch`es tells it what happens from this commit on."""
    quiesce(connection)
    drop(connection, NEXT)
    connection.execute(sa.text(f"CREATE SCHEMA {NEXT}"))
    translated = connection.execution_options(schema_translate_map={LIVE: NEXT})
    for table in _tables():
        table.create(translated)
    if told:
        connection.execute(sa.text(f"CREATE TABLE {NEXT}.told ()"))


def exists(connection: sa.Connection) -> bool:
    """Whether there is a next generation, being made or left behind."""
    return bool(connection.scalar(sa.text(f"SELECT to_regnamespace('{NEXT}') IS NOT NULL")))


def drop(connection: sa.Connection, schema: str) -> None:
    """Take a generation away that is not live."""
    assert schema != LIVE
    connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))


def hold(connection: sa.Connection, tables: Iterable[sa.Table]) -> None:
    """Let nobody write to these live tables until the transaction ends. Readers go on."""
    for table in tables:
        connection.execute(sa.text(f"LOCK TABLE {LIVE}.{table.name} IN EXCLUSIVE MODE"))


def swap(connection: sa.Connection, kept: Sequence[sa.Table]) -> None:
    """Make the next generation the live one; the tables `kept` come along as they are. `hold` them all before."""
    for table in kept:
        connection.execute(sa.text(f"DROP TABLE {NEXT}.{table.name}"))
        connection.execute(sa.text(f"ALTER TABLE {LIVE}.{table.name} SET SCHEMA {NEXT}"))
    connection.execute(sa.text(f"DROP TABLE {NEXT}.told"))
    drop(connection, FORMER)
    connection.execute(sa.text(f"ALTER SCHEMA {LIVE} RENAME TO {FORMER}"))
    connection.execute(sa.text(f"ALTER SCHEMA {NEXT} RENAME TO {LIVE}"))


def _tables() -> list[sa.Table]:
    return [table for table in metadata.sorted_tables if table.schema == LIVE]


# --- redirection ------------------------------------------------------------------------------------------------------


def redirected(url: str, **options: Any) -> sa.Engine:
    """An engine (`make_engine`) whose statements mean the next generation wherever they say `derived`.

    At the driver, so that it holds for every statement, SQLAlchemy's own and text alike.
    """
    engine = make_engine(url, **options)
    sa.event.listen(engine, "connect", _redirect)
    return engine


def _redirect(driver: Any, _: Any) -> None:
    driver.cursor_factory = _Cursor
    driver.server_cursor_factory = _ServerCursor


def _meant(query: Any) -> Any:
    return _live.sub(f"{NEXT}.", query) if isinstance(query, str) else query


class _Cursor(psycopg.Cursor[Any]):
    def execute(self, query: Any, *args: Any, **options: Any) -> Any:
        return super().execute(_meant(query), *args, **options)

    def executemany(self, query: Any, *args: Any, **options: Any) -> Any:
        return super().executemany(_meant(query), *args, **options)

    def copy(self, statement: Any, *args: Any, **options: Any) -> Any:
        return super().copy(_meant(statement), *args, **options)


class _ServerCursor(psycopg.ServerCursor[Any]):
    def execute(self, query: Any, *args: Any, **options: Any) -> Any:
        return super().execute(_meant(query), *args, **options)
