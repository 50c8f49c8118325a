"""The command line: parses arguments and prints; everything else is somebody else's.

Modules that are slow to load are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from milepost.cli import (
    access,
    alerts,
    audit,
    catalog,
    database,
    edi,
    exceptions,
    export,
    folders,
    gaps,
    history,
    journeys,
    mapping,
    odoo,
    oncall,
    quarantine,
    rebuild,
    reconcile,
    services,
    silences,
    sla,
)
from milepost.cli.output import notes, out
from milepost.errors import ConfigurationError, MilepostError


class Commands(TyperGroup):
    """Turns errors that Milepost raises on purpose into one line and an exit code: 2 for settings, 1 for the rest."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options)
        except Exception as error:
            said = _said(error)
            if said is None:
                raise
            notes.print(f"milepost: {said}", style="red", markup=False, highlight=False, soft_wrap=True)
            sys.exit(2 if isinstance(error, ConfigurationError) else 1)


def _said(error: Exception) -> str | None:
    """What to tell of an error; None for one that nobody foresaw."""
    if isinstance(error, MilepostError):
        return str(error)
    if isinstance(error, UnicodeEncodeError | UnicodeDecodeError):
        return f"this is not UTF-8: {error.object[error.start : error.start + 40]!a}; write it in UTF-8"
    from sqlalchemy.exc import DataError

    if isinstance(error, OverflowError | DataError):
        return f"a number or a time is too large, or a text is not UTF-8: {str(error).splitlines()[0]}"
    return None


app = typer.Typer(
    cls=Commands,
    name="milepost",
    help="Where every order and shipment is, and whether it will be on time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
contract_app = typer.Typer(help="The wire contract of events.", no_args_is_help=True)

app.command("run")(services.run)
app.command("demo")(services.demo)
app.command("rebuild")(rebuild.rebuild)
app.add_typer(database.app, name="db")
app.add_typer(access.keys, name="keys")
app.add_typer(access.users, name="users")
app.command("login-link")(access.login_link)
app.add_typer(history.app, name="import")
app.add_typer(export.app, name="export")
app.add_typer(journeys.app, name="journeys")
app.add_typer(exceptions.app, name="exceptions")
app.command("gaps")(gaps.gaps)
app.add_typer(edi.app, name="edi")
app.add_typer(folders.app, name="folders")
app.add_typer(odoo.app, name="odoo")
app.add_typer(catalog.app, name="catalog")
app.add_typer(mapping.app, name="mapping")
app.add_typer(alerts.app, name="alerts")
app.add_typer(oncall.app, name="oncall")
app.add_typer(silences.app, name="silences")
app.add_typer(sla.app, name="sla")
app.add_typer(reconcile.app, name="reconcile")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(audit.app, name="audit")
app.add_typer(contract_app, name="contract")


@contract_app.command("schema")
def contract_schema(
    indent: Annotated[int, typer.Option(min=0, max=8, help="Spaces a level; 0 for one line.")] = 2,
) -> None:
    """Print the JSON Schema of an event."""
    import json

    from milepost.contract import json_schema

    out.print(json.dumps(json_schema(), indent=indent or None), markup=False, highlight=False, soft_wrap=True)


@app.command("version")
def version() -> None:
    """Print Milepost's version."""
    from importlib.metadata import version as installed

    out.print(installed("milepost"), highlight=False)


def main() -> None:
    """The entry point `milepost`."""
    app()
