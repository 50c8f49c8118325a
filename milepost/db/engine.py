"""Engines, locks, bulk copies, and what a database error means.

The one place that turns errors of the driver into Milepost's: whatever an engine of `make_engine` raises that may go
away by itself is a `Transient`; all others stay SQLAlchemy's.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.types.string import BytesBinaryDumper
from sqlalchemy.dialects import postgresql

from milepost import tolerant
from milepost.errors import Transient, Unavailable

CONNECT_TIMEOUT: Final = 10
LEASE: Final = 15.0
"""Seconds for which a leader holds on to the lead without a sign of life: its process or its host may be frozen."""
_DRIVER: Final = "postgresql+psycopg"
_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]

# A client whose host vanished loses its session, with the locks it held, after some 15 seconds (TCP only).
_KEEPALIVE: Final = (
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3 -c tcp_user_timeout=15000"
)

# SQLSTATE classes and codes (PostgreSQL manual, appendix A) after which the same statement may well succeed.
_RETRY_CLASSES: Final = ("08", "53", "58")  # connection, resources, I/O
_RETRY_CODES: Final = frozenset(
    {
        "25006",  # read-only transaction: the server has become a standby
        "25P03",  # idle in transaction for too long
        "40001",  # serialisation failure
        "40P01",  # deadlock
        "55P03",  # lock not available
        "57014",  # cancelled, by statement_timeout
        "57P01",  # shut down by the administrator
        "57P02",  # another server process crashed
        "57P03",  # starting up or shutting down
        "57P05",  # idle for too long
    }
)
_UNAVAILABLE: Final = ("08", "53", "57P")


def make_engine(
    url: str,
    *,
    pool_size: int = 5,
    application_name: str = "milepost",
    statement_timeout: float | None = None,
) -> sa.Engine:
    """An engine on psycopg 3 whose sessions run in UTC. `statement_timeout` is in seconds.

    `url` may be postgres://, postgresql:// or postgresql+psycopg://. At most 2 × `pool_size` connections are open.
    """
    target = sa.make_url(url).set(drivername=_DRIVER)
    engine = sa.create_engine(
        target,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=30,
        pool_pre_ping=True,
        json_deserializer=tolerant.loads,
        connect_args={
            "application_name": application_name,
            "connect_timeout": CONNECT_TIMEOUT,
            "options": _options(target, statement_timeout),
            # A server that vanished without a word is noticed within a minute (TCP only).
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 60_000,
        },
    )
    sa.event.listen(engine, "handle_error", _translate)
    sa.event.listen(engine, "connect", _give_bytes_as_they_are)
    return engine


def _give_bytes_as_they_are(connection: psycopg.Connection[Any], _: object) -> None:
    """By itself psycopg takes the bytes of a COPY for DB-API's Binary, and looks at each in Python."""
    connection.adapters.register_dumper(bytes, BytesBinaryDumper)


def libpq_url(url: str) -> str:
    """`url` as psycopg itself and psql take it, without SQLAlchemy's driver name."""
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return plain.replace(" ", "%20")  # SQLAlchemy leaves blanks in a password, libpq refuses them


def _options(url: sa.URL, statement_timeout: float | None) -> str:
    given = url.query.get("options", "")
    parts = [_KEEPALIVE, given if isinstance(given, str) else " ".join(given), "-c timezone=UTC"]
    if statement_timeout is not None:
        parts.append(f"-c statement_timeout={round(statement_timeout * 1000)}")
    return " ".join(part for part in parts if part)


# --- errors -----------------------------------------------------------------------------------------------------------


def transient(error: BaseException) -> bool:
    """Whether trying again may help: connection lost, serialisation failure, deadlock, lock or statement timeout."""
    if isinstance(error, Transient | sa.exc.TimeoutError):
        return True
    if isinstance(error, sa.exc.DBAPIError):
        return error.connection_invalidated or (error.orig is not None and transient(error.orig))
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        # The server said nothing: there is no connection, or there no longer is.
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(_RETRY_CLASSES) or error.sqlstate in _RETRY_CODES


def translated(error: BaseException) -> Transient | None:
    """The `Transient` to raise in place of a driver's error, or None when it stays as it is."""
    if isinstance(error, Transient) or not transient(error):
        return None
    state = getattr(error, "sqlstate", None)
    kind = Unavailable if state is None or state.startswith(_UNAVAILABLE) else Transient
    return kind(f"database: {str(error).strip() or type(error).__name__}")


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise what psycopg raises inside as `Transient` where that is what it is. Engines do this by themselves."""
    try:
        yield
    except psycopg.Error as error:
        if (instead := translated(error)) is not None:
            raise instead from error
        raise


def _translate(context: sa.engine.ExceptionContext) -> BaseException | None:
    # A failed pre-ping is the pool's own business: it opens another connection.
    if context.is_pre_ping:
        return None
    return translated(context.original_exception)


def new_session(connection: sa.Connection, user: object) -> bool:
    """Whether `user` works in this session for the first time: then what it cached may have been taken back.

    A server that crashes forgets commits that nobody waited for (synchronous_commit = off), and the pool replaces lost
    connections without a word: the session is all that tells.
    """
    users: dict[int, object] = connection.info.setdefault("milepost.users", {})
    known = users.get(id(user)) is user
    users[id(user)] = user
    return not known


# --- locks ------------------------------------------------------------------------------------------------------------


def lock_key(name: str) -> int:
    """The advisory lock's number of `name`: a signed 64-bit hash, the same in every process."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def advisory_lock(connection: sa.Connection, name: str) -> bool:
    """Try to take the lock for this session: until `advisory_unlock` or the connection's end, whatever is committed.

    A pooled connection keeps it when it goes back: unlock, or use `leader`.
    """
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(lock_key(name)))))


def advisory_unlock(connection: sa.Connection, name: str) -> None:
    """Give back a lock of `advisory_lock`."""
    connection.execute(sa.select(sa.func.pg_advisory_unlock(lock_key(name))))


def transaction_lock(connection: sa.Connection, name: str) -> bool:
    """Try to take the lock until the transaction's end. It shares its number with `advisory_lock` of the same name."""
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(lock_key(name)))))


class Lead:
    """True while this process leads, as far as it knows: `leader` looks a few times in each LEASE."""

    def __init__(self, held: bool) -> None:
        self._held = held

    def __bool__(self) -> bool:
        return self._held

    def lost(self) -> None:
        self._held = False


_ELECT: Final = sa.text(
    "WITH tried AS MATERIALIZED (SELECT pg_try_advisory_lock(:key) AS got) SELECT got, set_config("
    "'idle_session_timeout', CASE WHEN got THEN :lease ELSE current_setting('idle_session_timeout') END, false)"
    " FROM tried"
)


@contextmanager
def leader(engine: sa.Engine, name: str) -> Iterator[Lead]:
    """Yield whether this process leads `name`: at most one does. Holds a connection of its own meanwhile.

    The server ends the lead of a process that is frozen, after LEASE seconds. Who is thawed again learns a moment
    later that it no longer leads: work that must never run twice at once takes a `transaction_lock` (of another name)
    in its own transaction too.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        lead = Lead(_elected(connection, name))
        held = bool(lead)
        try:
            with _renewed(connection, lead) if held else nullcontext():
                yield lead
        finally:
            if held:
                with suppress(Transient, sa.exc.SQLAlchemyError):
                    advisory_unlock(connection, name)
                # Closing the session gives the lock back even where the server no longer answers.
                connection.invalidate()


def _elected(connection: sa.Connection, name: str) -> bool:
    """Take the lock and the lease at once: nobody has the one without the other, wherever it is frozen."""
    values = {"key": lock_key(name), "lease": f"{round(LEASE * 1000)}"}
    return bool(connection.scalar(_ELECT, values))


@contextmanager
def _renewed(connection: sa.Connection, lead: Lead) -> Iterator[None]:
    """Give signs of life from a thread of its own, since a step of work may take longer than the lease."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(LEASE / 5):
            try:
                connection.execute(sa.text("SELECT 1"))
            except (Transient, sa.exc.SQLAlchemyError):
                lead.lost()
                return

    thread = threading.Thread(target=renew, name="lead", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# --- bulk -------------------------------------------------------------------------------------------------------------


def next_numbers(connection: sa.Connection, sequence: str, count: int) -> list[int]:
    """The next `count` numbers of a sequence (schema.name), in one row: a row each costs several times as much."""
    numbers = connection.scalar(
        sa.text("SELECT array_agg(nextval(CAST(:sequence AS regclass))) FROM generate_series(1, :count)"),
        {"sequence": sequence, "count": count},
    )
    return list(numbers or ())


def array_literal(values: Iterable[object]) -> str:
    """Numbers, UUIDs in hex or quoted text as one parameter to CAST to an array: psycopg would turn each by itself."""
    return "{" + ",".join(map(str, values)) + "}"


def copy_rows(
    connection: sa.Connection, table: sa.Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Append `rows` by binary COPY, as part of the connection's transaction.

    Values are what the column's type takes (aware datetimes, Decimal, UUID, bytes …), exactly: COPY converts nothing.
    A JSONB column takes a Python object; a JSON column takes the document itself, as UTF-8 bytes.
    """
    if not connection.in_transaction():
        connection.begin()
    statement = (
        sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)")
        .format(
            sql.Identifier(*([table.schema] if table.schema else []), table.name),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
        )
        .as_string()
    )
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    with database_errors(), driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types([_copy_type(table.c[name].type) for name in columns])
        for row in rows:
            copy.write_row(row)


def _copy_type(kind: sa.types.TypeEngine[Any]) -> str:
    if isinstance(kind, sa.JSON) and not isinstance(kind, postgresql.JSONB):
        return "bytea"  # json's binary form is its text, so the bytes can go as they are
    return kind.compile(_DIALECT).lower().partition("(")[0].partition(" collate ")[0]
