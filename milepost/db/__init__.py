"""The database: engines, tables, migrations, the embedded server, and what is TimescaleDB's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlalchemy as sa


def migrate(engine: sa.Engine) -> None:
    """Bring the schema up to date. See `milepost.db.schema.migrate`."""
    from milepost.db import schema  # Alembic is for this one moment: no process pays for it at its start

    schema.migrate(engine)
