"""milepost folders …"""

from __future__ import annotations

from typing import Annotated

import typer

from milepost.cli.access import MOST, transaction
from milepost.cli.output import table

app = typer.Typer(help="Folders that are watched for files.", no_args_is_help=True)


@app.command("list")
def list_folders() -> None:
    """List the watched folders: when they were looked at, how many files wait, what is wrong."""
    import sqlalchemy as sa

    from milepost.db.tables import folders

    f = folders.c
    query = sa.select(f.source, f.looked_at, f.waiting, f.failing_since, f.error).order_by(f.source)
    with transaction() as (connection, _, _):
        rows = connection.execute(query).all()
    columns = ("source", "looked at", "waiting", "failing since", "problem")
    table(*columns, rows=rows, empty="No folder is watched; sources.yaml of the catalog names them.")


@app.command("files")
def list_files(
    source: Annotated[str | None, typer.Option(help="Only those of this source.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only those of which something was refused.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="The newest so many.")] = 50,
) -> None:
    """List the files that were read, the newest first."""
    import sqlalchemy as sa

    from milepost.db.tables import files

    f = files.c
    first_reason = sa.func.split_part(f.error, "\n", 1)
    query = sa.select(f.source, f.name, f.state, f.units, f.accepted, f.refused, f.begun_at, f.ended_at, first_reason)
    query = query if source is None else query.where(f.source == source)
    query = query.where(f.refused > 0) if failed else query
    with transaction() as (connection, _, _):
        rows = connection.execute(query.order_by(f.file_id.desc()).limit(limit)).all()
    columns = ("source", "file", "state", "lines", "events", "refused", "begun", "ended", "first reason")
    table(*columns, rows=rows, empty="No file was read.")
