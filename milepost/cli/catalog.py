"""milepost catalog …"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milepost.cli.access import actor, transaction
from milepost.cli.output import notes, out
from milepost.errors import NotFound

if TYPE_CHECKING:
    from milepost.catalog.loader import Texts
    from milepost.catalog.schema import Catalog

app = typer.Typer(help="Journey models, SLA policies, calendars, routes, sources, partners.", no_args_is_help=True)
Folder = Annotated[
    Path | None,
    typer.Argument(help="A folder of YAML files that replace the built-in ones (default: MILEPOST_CATALOG)."),
]


def _texts(folder: Path | None) -> Texts:
    from milepost.catalog import loader
    from milepost.settings import Settings
    from milepost.wiring.resources import catalog_texts

    return loader.read_texts(folder) if folder is not None else catalog_texts(Settings.load())


def _tell(catalog: Catalog, what: str) -> None:
    notes.print(
        f"{what}: version {catalog.version}, {len(catalog.models)} journey models, {len(catalog.policies)} policies,"
        f" {len(catalog.routing.channels)} channels, {len(catalog.mappings)} mappings",
        markup=False,
        highlight=False,
    )


@app.command("check")
def check(folder: Folder = None) -> None:
    """Read the files and tell what is wrong with them. Needs no database."""
    from milepost.catalog import loader

    _tell(loader.load(_texts(folder)), "The catalog can be used")


@app.command("apply")
def apply(folder: Folder = None) -> None:
    """Put the files in force. Running clocks are judged anew."""
    from milepost.decisions import catalog as decided

    texts = _texts(folder)
    with transaction() as (connection, now, _):
        catalog = decided.apply(connection, texts, actor=actor(), now=now)
    _tell(catalog, "In force")


@app.command("show")
def show(file: Annotated[str | None, typer.Argument(help="One file, like slas.yaml.")] = None) -> None:
    """Print the catalog that is in force."""
    from milepost.decisions import catalog as decided

    with transaction() as (connection, _, _):
        version, texts = decided.active_version(connection), decided.active_texts(connection) or {}
    if file is not None and file not in texts:
        raise NotFound(f"there is no {file} in the catalog; it has {', '.join(sorted(texts))}")
    for name in [file] if file is not None else sorted(texts):
        out.print(f"# {name}, version {version}\n{texts[name]}", markup=False, highlight=False, soft_wrap=True)
