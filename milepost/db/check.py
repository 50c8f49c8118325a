"""Whether a database has exactly the tables of tables.py."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from milepost.db import timescale
from milepost.db.embedded import EmbeddedPostgres
from milepost.db.engine import make_engine
from milepost.db.schema import VERSIONS, migrate
from milepost.db.tables import metadata

SCHEMAS: Final = ("input", "derived", "record")
# Made and dropped while Milepost runs (milepost/inbox/identities.py).
_MADE_LATER: Final = re.compile(r"identities_\d+")


def differences(connection: sa.Connection) -> list[str]:
    """What the database has otherwise than tables.py, one line each: tables, columns, types, defaults, indexes,
    unique constraints and sequences. Empty when they agree.
    """
    context = MigrationContext.configure(connection, opts={**VERSIONS, **comparison(connection)})
    return [*_missing_sequences(connection), *map(_line, _flat(compare_metadata(context, metadata)))]


def differences_of_migrations() -> list[str]:
    """`differences` of a new database that the migrations made, on a server started for it and thrown away."""
    with migrated_database() as connection:
        return differences(connection)


@contextmanager
def migrated_database() -> Iterator[sa.Connection]:
    """A connection to a new database that the migrations made, on a server of its own that ends with it."""
    with (
        tempfile.TemporaryDirectory(prefix="milepost-") as folder,
        EmbeddedPostgres(Path(folder) / "postgres", settings={"fsync": "off"}) as server,
    ):
        engine = make_engine(server.url(), pool_size=1)
        try:
            migrate(engine)
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


def comparison(connection: sa.Connection) -> dict[str, Any]:
    """Options for Alembic's comparison: our schemas alone, without partitions and what is made at run time."""
    parts = {schema: timescale.partitions_in(connection, schema) for schema in _schemas(connection)}

    def include_name(name: str | None, kind: str, parents: Mapping[str, str | None]) -> bool:
        if kind == "schema":
            return name in SCHEMAS
        if kind != "table" or name is None:
            return True
        schema = parents.get("schema_name") or ""
        return name not in parts.get(schema, ()) and not _MADE_LATER.fullmatch(name)

    return {
        "include_schemas": True,
        "include_name": include_name,
        "compare_type": True,
        "compare_server_default": True,
    }


def missing_sequences(connection: sa.Connection) -> list[sa.Sequence]:
    """The sequences of tables.py that the database lacks (Alembic doesn't compare them)."""
    inspector = sa.inspect(connection)
    have = {(schema, name) for schema in _schemas(connection) for name in inspector.get_sequence_names(schema)}
    wanted = sorted(metadata._sequences.values(), key=lambda sequence: (str(sequence.schema), sequence.name))
    return [sequence for sequence in wanted if (sequence.schema, sequence.name) not in have]


def missing_schemas(connection: sa.Connection) -> list[str]:
    """The schemas that the database lacks."""
    have = _schemas(connection)
    return [schema for schema in SCHEMAS if schema not in have]


def _schemas(connection: sa.Connection) -> list[str]:
    have = sa.inspect(connection).get_schema_names()
    return [schema for schema in SCHEMAS if schema in have]


def _missing_sequences(connection: sa.Connection) -> list[str]:
    return [f"add_sequence {sequence.schema}.{sequence.name}" for sequence in missing_sequences(connection)]


def _flat(found: list[Any]) -> list[tuple[Any, ...]]:
    """Alembic groups the changes of one column into a list."""
    return [item for entry in found for item in (entry if isinstance(entry, list) else [entry])]


def _line(change: tuple[Any, ...]) -> str:
    kind, *details = change
    return f"{kind} {' '.join(_text(detail) for detail in details if detail is not None and detail != {})}"


def _text(detail: Any) -> str:
    if isinstance(detail, sa.Table):
        return detail.fullname
    if isinstance(detail, sa.Column):
        return f"{detail.name} {detail.type!r}"
    if isinstance(detail, sa.Index | sa.UniqueConstraint) and detail.table is not None:
        return f"{detail.table.fullname}.{detail.name}"
    return str(detail)
