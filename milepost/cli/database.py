"""milepost db …"""

from __future__ import annotations

from typing import Annotated

import typer

from milepost.cli.output import notes, out

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.command("migrate")
def migrate() -> None:
    """Bring the database to the schema of this version, with a catalog in force."""
    from milepost.settings import Settings
    from milepost.wiring.resources import prepared

    with prepared(Settings.load(), "cli"):
        notes.print("The database is up to date.")


@app.command("check")
def check(
    live: Annotated[
        bool, typer.Option("--live", help="Check the database of the settings, not what the migrations make.")
    ] = False,
) -> None:
    """Compare the schema that the migrations make with the one that the code expects; code 1 where they differ."""
    from milepost.db.check import differences, differences_of_migrations
    from milepost.settings import Settings
    from milepost.wiring.resources import opened

    if live:
        with opened(Settings.load(), "cli") as resources, resources.engine.connect() as connection:
            found = differences(connection)
    else:
        found = differences_of_migrations()
    for line in found:
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    if found:
        raise typer.Exit(1)
    notes.print("The schema is as it should be.")
