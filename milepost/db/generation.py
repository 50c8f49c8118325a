"""Two generations of what is derived: the live one, and while a rebuild runs the next one beside it.

`derived` is the live schema. A rebuild makes `derived_next` with the same tables, fills it through a `redirected`
engine, and swaps: the schemas change their names in one transaction. What writes to the live tables meanwhile takes the
locks that make a beginning and a swap exact (`watch`).

Each next generation has a number. Whoever fills or swaps one `pin`s it by that in each transaction: a rebuild that was
frozen, and comes to itself when another one has begun, can do nothing to what is no longer its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from milepost.db import outside
from milepost.db.engine import lock_key, make_engine
from milepost.db.tables import assembled, metadata, touches
from milepost.errors import Conflict

LIVE: Final = "derived"
NEXT: Final = "derived_next"
FORMER: Final = "derived_former"
PATIENCE: Final = 5
"""Seconds for which a lock is waited for that others need too: recorders or pages may wait behind it for as long."""

_live: Final = re.compile(rf"\b{LIVE}\.|\"{LIVE}\"\.")
_LOCK: Final = sa.text(f"LOCK TABLE {LIVE}.{touches.name} IN ROW EXCLUSIVE MODE")
_ALONE: Final = sa.text(f"LOCK TABLE {LIVE}.{touches.name} IN SHARE ROW EXCLUSIVE MODE")
_STEP: Final = sa.text(f"SELECT FROM {LIVE}.{assembled.name} FOR UPDATE")
_NUMBER: Final = sa.text("SELECT CAST(to_regnamespace(:schema) AS oid)")
_PIN: Final = sa.text(f"SELECT pg_advisory_xact_lock_shared({lock_key('milepost.generation')})")
_UNPINNED: Final = sa.text(f"SELECT pg_advisory_xact_lock({lock_key('milepost.generation')})")
_TOLD: Final = sa.text(f"SELECT to_regclass('{NEXT}.told') IS NOT NULL")


def watch(connection: sa.Connection) -> bool:
    """Whether a next generation is being made that must be told what the live one is told.

    The answer holds until the transaction ends: `begin` and `swap` wait for it.
    """
    connection.execute(_LOCK)
    return bool(connection.scalar(_TOLD))


def quiesce(connection: sa.Connection) -> None:
    """Wait for all that `watch`es, and let it wait until this transaction ends.

    First for the assembler's step, which takes longer than a recorder's: behind this alone no recorder waits.
    """
    connection.execute(_STEP)
    connection.execute(_ALONE)


def be_patient(connection: sa.Connection) -> None:
    """Raise Transient in this transaction where a lock can't be had within PATIENCE."""
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{PATIENCE}s'"))


def begin(connection: sa.Connection, *, told: bool, instead_of: int | None) -> int:
    """Make the empty next generation, in place of the one of this number that was left behind; returns its number.

    With `told`, all that `watch`es tells it what happens from this commit on. Raises Conflict where another one has
    been begun meanwhile, and Transient as `drop` does.
    """
    be_patient(connection)
    quiesce(connection)
    _be_at(connection, instead_of)
    drop(connection, NEXT)
    connection.execute(sa.text(f"CREATE SCHEMA {NEXT}"))
    translated = connection.execution_options(schema_translate_map={LIVE: NEXT})
    for table in _tables():
        table.create(translated)
    if told:
        connection.execute(sa.text(f"CREATE TABLE {NEXT}.told ()"))
    made = number(connection)
    assert made is not None
    return made


def pin(connection: sa.Connection, wanted: int) -> None:
    """Have the next generation stay what it is until the transaction ends. Raises Conflict where it is another one."""
    connection.execute(_PIN)
    _be_at(connection, wanted)


def _be_at(connection: sa.Connection, wanted: int | None) -> None:
    if number(connection) != wanted:
        raise Conflict("another rebuild, or the clean-up, has taken this one's place; rebuild again")


def exists(connection: sa.Connection) -> bool:
    """Whether there is a next generation, being made or left behind."""
    return number(connection) is not None


def number(connection: sa.Connection, schema: str = NEXT) -> int | None:
    """The number of a generation, None where there is none. It stays the same when the schema changes its name."""
    found: int | None = connection.scalar(_NUMBER, {"schema": schema})
    return found


def drop(connection: sa.Connection, schema: str, only: int | None = None) -> bool:
    """Take a generation away that is not live, or only the one of this number; whether there was one.

    Recorders that tell it something are waited for, and so is whoever reads it. Raises Transient after PATIENCE.
    """
    assert schema != LIVE
    be_patient(connection)
    if schema == NEXT and exists(connection):
        quiesce(connection)
        connection.execute(_UNPINNED)
    found = number(connection, schema)
    if found is None or only not in (None, found):
        return False
    connection.execute(sa.text(f"DROP SCHEMA {schema} CASCADE"))
    return True


def hold(connection: sa.Connection, tables: Iterable[sa.Table]) -> None:
    """Let nobody write to these live tables until the transaction ends. Readers go on."""
    for table in tables:
        connection.execute(sa.text(f"LOCK TABLE {LIVE}.{table.name} IN EXCLUSIVE MODE"))


def refuse_dependents(connection: sa.Connection, kept: Sequence[sa.Table]) -> None:
    """Raises Conflict where others built on the live tables that a swap replaces: it would all be dropped with them."""
    own = [table.name for table in _tables()]
    found = outside.dependents(connection, LIVE, own, kept=[table.name for table in kept])
    if found:
        raise Conflict(f"a rebuild replaces the tables of {', '.join(found)}; drop that, rebuild, and make it again")


def swap(connection: sa.Connection, kept: Sequence[sa.Table]) -> None:
    """Make the next generation the live one; the tables `kept` come along as they are. `hold` them all before.

    Who might use the former one may use this one. Raises Conflict as `refuse_dependents` does.
    """
    refuse_dependents(connection, kept)
    outside.give_the_same_rights(connection, LIVE, NEXT)
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


def redirected(url: str, filled: int, **options: Any) -> sa.Engine:
    """An engine (`make_engine`) whose statements mean the next generation wherever they say `derived`.

    At the driver, so that it holds for every statement, SQLAlchemy's own and text alike. Each transaction pins the
    generation, and raises Conflict at its beginning where that is no longer the one of this number.
    """
    engine = make_engine(url, **options)
    sa.event.listen(engine, "connect", _redirect)
    sa.event.listen(engine, "begin", lambda connection: pin(connection, filled))
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
