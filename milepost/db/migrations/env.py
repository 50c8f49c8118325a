"""Alembic runs this file. `milepost.db.schema` and `milepost.db.revise` hand it the connection and the options."""

from alembic import context

from milepost.db.check import comparison
from milepost.db.schema import VERSIONS
from milepost.db.tables import metadata

attributes = context.config.attributes
connection = attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transaction_per_migration=True,
    **VERSIONS,
    **(comparison(connection) if "revising" in attributes else {}),
    **attributes.get("revising", {}),
)
with context.begin_transaction():
    context.run_migrations()
