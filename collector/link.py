"""The collector's own connections to the database: how they are opened, and what their failures mean."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import msgspec
import psycopg
from psycopg import AsyncConnection

from milepost.errors import Transient, Unavailable

WRITE_SECONDS: Final = 10
"""A commit that takes longer counts as failed."""
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
_CONNECT_SECONDS: Final = 5
_SESSION: Final = (
    "SET synchronous_commit = on",  # whatever the server's default: an answer of 202 is a promise
    f"SET statement_timeout = '{WRITE_SECONDS}s'",
    f"SET lock_timeout = '{WRITE_SECONDS}s'",
)
# SQLSTATE classes (PostgreSQL manual, appendix A) of errors that lie in the data: trying again does not help
_IN_THE_DATA: Final = ("21", "22", "23", "54")

Connection = AsyncConnection[Any]
T = TypeVar("T")
_endings: Final[dict[Connection, asyncio.Task[None]]] = {}


async def connect(conninfo: str) -> Connection:
    """A connection for writing. Raises psycopg.Error, OSError or TimeoutError."""
    async with asyncio.timeout(2 * _CONNECT_SECONDS):
        connection = await AsyncConnection.connect(
            conninfo,
            connect_timeout=_CONNECT_SECONDS,
            application_name="milepost collector",
            tcp_user_timeout=WRITE_SECONDS * 1000,
        )
        try:
            for statement in _SESSION:
                await connection.execute(statement)
            await connection.commit()
        except BaseException:
            await connection.close()
            raise
    return connection


async def in_time(connection: Connection, work: Coroutine[Any, Any, T]) -> T:
    """What `work` answers within WRITE_SECONDS; then TimeoutError, at once.

    psycopg, cancelled, waits as long again for a server that says nothing. So it is left to end by itself.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=WRITE_SECONDS)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if task.done():
        return task.result()
    ending = asyncio.create_task(_end(connection, task))
    _endings[connection] = ending
    ending.add_done_callback(lambda _: _endings.pop(connection, None))
    raise TimeoutError(f"no answer within {WRITE_SECONDS} seconds")


async def _end(connection: Connection, task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await connection.close()


async def close(connection: Connection) -> None:
    """Close it, unless that goes on in the background."""
    if connection not in _endings:
        await connection.close()


async def pause(seconds: float) -> float:
    """Wait about so long; answers how long to wait the next time."""
    await asyncio.sleep(seconds * random.uniform(0.5, 1))
    return min(seconds * 2, LONGEST_PAUSE)


def expected(error: BaseException) -> bool:
    """Whether an error is one of a database that is away, and no bug."""
    return isinstance(error, psycopg.Error | OSError | TimeoutError | Transient)


def in_the_data(error: BaseException) -> bool:
    """Whether what was given can't be read, or the database refuses it, and always will."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return error.sqlstate.startswith(_IN_THE_DATA)
    return isinstance(error, psycopg.DataError | msgspec.MsgspecError)


def away() -> Unavailable:
    return Unavailable("the database does not answer; send the same events again", retry_after=2)
