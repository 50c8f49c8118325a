"""The life signs of Milepost's own processes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from milepost.db.tables import heartbeats


def beat(connection: sa.Connection, process: str, now: datetime, detail: Mapping[str, Any]) -> None:
    """Say that `process` lives."""
    values = {"at": now, "detail": dict(detail)}
    statement = insert(heartbeats).values(process=process, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["process"], set_=values))
