"""milepost catalog …"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milepost.cli.access import MOST, actor, transaction
from milepost.cli.output import notes, out, table
from milepost.errors import CatalogError, MilepostError, NotFound

if TYPE_CHECKING:
    import sqlalchemy as sa

    from milepost.catalog.findings import Finding
    from milepost.catalog.loader import Texts
    from milepost.catalog.schema import Catalog
    from milepost.decisions.catalog import Applied

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
    counts = (
        (len(catalog.models), "journey model", "journey models"),
        (len(catalog.policies) + len(catalog.flows), "policy", "policies"),
        (len(catalog.routing.channels), "channel", "channels"),
        (len(catalog.mappings), "mapping", "mappings"),
    )
    told = [f"{number} {one if number == 1 else many}" for number, one, many in counts]
    notes.print(
        f"{what}: version {catalog.version}, {', '.join(told)}",
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
def apply(
    folder: Folder = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would change, and change nothing.")] = False,
) -> None:
    """Tell what is different, and put the files in force. Running clocks are judged anew."""
    from milepost.decisions import catalog as decided

    texts = _texts(folder)
    new = _load(texts)
    _judge(texts, new)
    with transaction() as (connection, now, _):
        _print(_against(decided.active_texts(connection) or {}, new), "Nothing is different")
        if not dry_run:
            new = decided.apply(connection, texts, actor=actor(), now=now)
    _tell(new, "Would be in force" if dry_run else "In force")


def _against(former: Texts, new: Catalog) -> Iterable[str]:
    from milepost.catalog.diff import diff

    try:
        return list(diff(_load(former), new).lines())
    except CatalogError as error:  # of another Milepost; that must keep nobody from putting another one in force
        return [f"The catalog in force can't be read: {error}"]


@app.command("diff")
def diff_(
    one: Annotated[
        str | None, typer.Argument(help="A folder of YAML files, or a version (default: MILEPOST_CATALOG).")
    ] = None,
    other: Annotated[str | None, typer.Argument(help="The same: what makes the first one this one.")] = None,
) -> None:
    """Tell what is different in a catalog from the one in force, or in a second one from a first, field by field."""
    from milepost.catalog.diff import diff
    from milepost.decisions import catalog as decided

    with transaction() as (connection, _, _):
        active = decided.active_texts(connection) or {}
        first = _read(connection, one)
        old, new = (active, first) if other is None else (first, _read(connection, other))
    _print(diff(_load(old), _load(new)).lines(), "Nothing is different")


def _read(connection: sa.Connection, what: str | None) -> Texts:
    """The texts of a folder or a version."""
    from milepost.decisions import catalog as decided

    if what is None or Path(what).is_dir():
        return _texts(None if what is None else Path(what))
    return decided.texts_of(connection, what)[1]


def _print(lines: Iterable[str], empty: str) -> None:
    text = "\n".join(lines)
    if text:
        out.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        notes.print(empty, highlight=False)


@app.command("versions")
def versions(
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="The latest so many.")] = 20,
) -> None:
    """List which catalogs came into force: when, by whom, and what was different from the one before."""
    from milepost.decisions import catalog as decided

    with transaction() as (connection, _, _):
        rows = [
            (one.version, one.at, one.by, _differences(connection, one)) for one in decided.history(connection, limit)
        ]
    table("version", "in force since", "by", "what", rows=rows, empty="No catalog was applied yet.")


def _differences(connection: sa.Connection, one: Applied) -> str:
    from milepost.catalog.diff import diff
    from milepost.decisions import catalog as decided

    if one.before is None:
        return "the first one"
    try:
        old, new = (_load(decided.texts_of(connection, version)[1]) for version in (one.before, one.version))
    except MilepostError as error:
        return f"can't be told: {error}"
    return diff(old, new).summary() or "other words for the same"


@app.command("show")
def show(
    what: Annotated[
        str | None,
        typer.Argument(help="One file, like slas.yaml; a version; with --policy also a version of the policy."),
    ] = None,
    policy: Annotated[str | None, typer.Option(help="This policy alone, with its calendar.")] = None,
) -> None:
    """Print the catalog that is in force, or a former version of it."""
    from milepost.decisions import catalog as decided

    if policy is not None:
        _show_policy(policy, what)
        return
    file = what if what is not None and what.endswith(".yaml") else None
    with transaction() as (connection, _, _):
        version, texts = decided.active_version(connection), decided.active_texts(connection) or {}
        if what is not None and file is None:
            version, texts = decided.texts_of(connection, what)
    if file is not None and file not in texts:
        raise NotFound(f"there is no {file} in the catalog; it has {', '.join(sorted(texts))}")
    for name in [file] if file is not None else sorted(texts):
        out.print(f"# {name}, version {version}\n{texts[name]}", markup=False, highlight=False, soft_wrap=True)


def _show_policy(policy: str, version: str | None) -> None:
    """As it is, as it was in a version of the catalog, or in a version of its own: what breaches name."""
    from milepost.catalog import overlay
    from milepost.decisions import catalog as decided

    with transaction() as (connection, now, _):
        catalog = version or decided.active_version(connection) or ""
        try:
            catalog, texts = decided.texts_of(connection, catalog)
            text = overlay.written(texts, policy)
        except NotFound:
            found = decided.policy_of(connection, policy, catalog, now)
            if found is None or not found.certain:
                raise NotFound(f"neither a catalog nor policy {policy} ever had version {version}") from None
            catalog, text = found.catalog.version, found.text
    if text is None:
        raise NotFound(f"there is no policy {policy} in catalog {catalog}")
    out.print(f"# {policy}, of catalog {catalog}\n{text}", markup=False, highlight=False, soft_wrap=True)
