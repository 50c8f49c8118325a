"""milepost catalog …"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milepost.cli.access import actor, transaction
from milepost.cli.output import notes, out
from milepost.errors import CatalogError, NotFound

if TYPE_CHECKING:
    from milepost.catalog.findings import Finding
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
def check(
    folder: Folder = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print the journey models in words.")] = False,
    model: Annotated[str | None, typer.Option(help="Explain this model only.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail for warnings too.")] = False,
) -> None:
    """Read the files and tell what is wrong with them. Needs no database."""
    from milepost.catalog import explain as words

    texts = _texts(folder)
    catalog = _load(texts)
    if model is not None and model not in catalog.models:
        raise NotFound(f"there is no model {model}; there are {', '.join(catalog.models)}")
    for name, item in catalog.models.items():
        if name == model or (explain and model is None):
            out.print(words.explain(catalog, item), markup=False, highlight=False, soft_wrap=True)
    found = _judge(texts, catalog)
    errors = sum(finding.level == "error" for finding in found)
    if errors or (strict and found):
        raise CatalogError(f"{errors} errors and {len(found) - errors} warnings")
    _tell(catalog, "The catalog can be used")


def _load(texts: Texts) -> Catalog:
    """Raises CatalogError, with the line where it can be told."""
    from milepost.catalog import loader
    from milepost.catalog.lines import located

    try:
        return loader.load(texts)
    except CatalogError as error:
        raise CatalogError(located(texts, str(error))) from error


def _judge(texts: Texts, catalog: Catalog) -> list[Finding]:
    """Tell what a catalog that can be used gets wrong."""
    from milepost.catalog.findings import findings

    found = findings(texts, catalog)
    for finding in found:
        style = "red" if finding.level == "error" else "yellow"
        notes.print(str(finding), style=style, markup=False, highlight=False, soft_wrap=True)
    return found


@app.command("apply")
def apply(folder: Folder = None) -> None:
    """Put the files in force. Running clocks are judged anew."""
    from milepost.decisions import catalog as decided

    texts = _texts(folder)
    _judge(texts, _load(texts))
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
