"""Write the next migration: `python -m milepost.db.revise "Add the carrier to alerts"`.

It compares tables.py with a database that the present migrations made, on a server of its own. Read what it wrote, and
mend it: a renamed column looks to it like one dropped and one added. `--anew` replaces all migrations by a first one;
that is for the time before the first release only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op_text
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy.schema import CreateSequence

from milepost.db import timescale
from milepost.db.check import migrated_database, missing_schemas, missing_sequences
from milepost.db.schema import MIGRATIONS, config

VERSIONS: Final = MIGRATIONS / "versions"


class CreateSplitTable(ops.MigrateOperation):
    """Creates a table that is split by time."""

    def __init__(self, create: ops.CreateTableOp, split: timescale.Split) -> None:
        self.create = create
        self.split = split


@renderers.dispatch_for(CreateSplitTable)
def _render_split(context: AutogenContext, op: CreateSplitTable) -> list[str]:
    context.imports.add("\nfrom milepost.db import timescale")
    split = op.split
    create = render_op_text(context, op.create).rstrip().removesuffix(")").rstrip().removesuffix(",")
    options = f"**timescale.partitioned(op.get_bind(), {split.column!r})"
    arguments = ", ".join(repr(value) for value in (split.schema, split.name, split.column, split.order_by))
    return [f"{create},\n{options})", f"timescale.spread(op.get_bind(), {arguments})"]


class Prepare(ops.MigrateOperation):
    """Stands before everything else in the first migration."""


@renderers.dispatch_for(Prepare)
def _render_prepare(context: AutogenContext, op: Prepare) -> str:  # noqa: ARG001 - Alembic's signature
    context.imports.add("\nfrom milepost.db import timescale")
    return "timescale.prepare(op.get_bind())"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one migration."""
    parser = argparse.ArgumentParser(prog="python -m milepost.db.revise", description=__doc__)
    parser.add_argument("message", help="what changes, in a few words")
    parser.add_argument("--anew", action="store_true", help="replace all migrations by a first one")
    chosen = parser.parse_args(arguments)
    if chosen.anew:
        for old in VERSIONS.glob("*.py"):
            old.unlink()
    revise(chosen.message)
    written = max(VERSIONS.glob("*.py"))
    lines = written.read_text().splitlines(keepends=True)
    written.write_text("".join(line for line in lines if not line.strip().startswith("# ###")))
    for fix in (["format", "--quiet"], ["check", "--quiet", "--fix"]):
        subprocess.run([sys.executable, "-m", "ruff", *fix, str(written)], check=False, timeout=60)
    sys.stdout.write(f"{written}\n")


def revise(message: str) -> None:
    """Write the migration from the present ones to tables.py."""
    number = len(list(VERSIONS.glob("*.py"))) + 1
    with migrated_database() as connection:
        hooks = {"process_revision_directives": _complete}
        attributes = {"connection": connection, "revising": hooks}
        command.revision(config(attributes), message, autogenerate=True, rev_id=f"{number:04d}")


def _complete(context: MigrationContext, _: Any, directives: list[ops.MigrationScript]) -> None:
    """Add what Alembic doesn't see (schemas, sequences, splitting), and leave out the way back."""
    upgrade = directives[0].upgrade_ops
    assert upgrade is not None
    assert context.connection is not None
    upgrade.ops[:] = [*_before(context.connection), *map(_split, upgrade.ops)]


def _before(connection: sa.Connection) -> list[ops.MigrateOperation]:
    schemas: list[ops.MigrateOperation] = [
        ops.ExecuteSQLOp(f"CREATE SCHEMA IF NOT EXISTS {schema}") for schema in missing_schemas(connection)
    ]
    if schemas:
        schemas.insert(0, Prepare())
    sequences = [
        ops.ExecuteSQLOp(str(CreateSequence(sequence).compile(connection)))
        for sequence in missing_sequences(connection)
    ]
    return [*schemas, *sequences]


def _split(op: ops.MigrateOperation) -> ops.MigrateOperation:
    if not isinstance(op, ops.CreateTableOp):
        return op
    op.info = {}  # for those who read tables.py
    named = {(split.schema, split.name): split for split in timescale.split_tables()}
    split = named.get((str(op.schema), op.table_name))
    return CreateSplitTable(op, split) if split else op


if __name__ == "__main__":
    main()
