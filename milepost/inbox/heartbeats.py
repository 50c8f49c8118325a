"""The life signs of Milepost's own processes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from psycopg.types.json import Jsonb
from sqlalchemy.dialects.postgresql import insert

from milepost.db.tables import heartbeats

SPOOL: Final = "spool/"
"""How the names of collectors' reports begin: see `vouched`."""
VOUCH_SQL: Final = (
    "INSERT INTO record.heartbeats (process, at, detail) VALUES (%s, least(%s, clock_timestamp()), %s)"
    " ON CONFLICT (process) DO UPDATE SET at = excluded.at, detail = excluded.detail"
)
"""For the collector's asynchronous path; the parameters are those of `vouched`. A collector's clock that runs ahead
vouches for nothing that the database's clock has not reached."""
FORGET_SQL: Final = f"DELETE FROM record.heartbeats WHERE process IN (SELECT '{SPOOL}' || unnest(%s::text[]))"
"""Collectors that have gone with an empty spool, by name."""


def beat(connection: sa.Connection, process: str, now: datetime, detail: Mapping[str, Any]) -> None:
    """Say that `process` lives."""
    values = {"at": now, "detail": dict(detail)}
    statement = insert(heartbeats).values(process=process, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["process"], set_=values))


def vouched(
    name: str, through: datetime, oldest: datetime | None, about: Mapping[str, Any]
) -> tuple[str, datetime, Jsonb]:
    """A collector's report: all that it received before `through` is committed or lies in its spool.

    `oldest`: the least receive time of an event in the spool, None while that is empty.
    """
    detail = {**about, "oldest": None if oldest is None else oldest.isoformat()}
    return f"{SPOOL}{name}", through, Jsonb(detail)
