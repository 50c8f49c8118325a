"""The audit: who did what to what, and when. Rows are only ever added, in the transaction of the act itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from milepost.db.tables import audit

SYSTEM: Final = "milepost"
"""The actor of what Milepost does by itself."""


def record(
    connection: sa.Connection,
    *,
    actor: str,
    action: str,
    target: str,
    now: datetime,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add a line. `action` is like `key.created`; `detail` must never hold a secret."""
    row = {"at": now, "actor": actor, "action": action, "target": target, "detail": dict(detail or {})}
    connection.execute(sa.insert(audit), row)
