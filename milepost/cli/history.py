"""milepost import …"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from milepost.catalog.words import and_more
from milepost.cli.access import actor
from milepost.cli.output import notes, table

if TYPE_CHECKING:
    from collector.importer import Report
    from collector.masking import Masks
    from milepost.wiring.resources import Resources

_NAMED: Final = 20
app = typer.Typer(
    help="Bring history in from files. An import can be repeated: it doubles nothing.", no_args_is_help=True
)


@app.command("csv")
def import_csv(
    file: Annotated[Path, typer.Argument(help="A table with a line of column names.")],
    mapping: Annotated[Path, typer.Option(help="YAML: which columns are dates of events, keys and attributes.")],
) -> None:
    """Import a table: each row gives an event for each of its dates."""
    from collector import importer

    with _database() as resources, _progress(file.name) as progress:
        masks = _masks(resources)
        report = importer.import_csv(resources.engine, file, mapping, resources.clock, progress, masks)
        _note(resources, file, report)
    _tell(report, "rows")


@app.command("ocel")
def import_ocel(
    file: Annotated[Path, typer.Argument(help="An object-centric event log: OCEL 1.0 as JSON, 2.0 as JSON or SQLite.")],
    source: Annotated[str, typer.Option(help="The source that the events get.")] = "ocel",
    types: Annotated[
        Path | None, typer.Option(help="YAML: {activity: event type}, like {Ship: shipment.dispatched}.")
    ] = None,
    account: Annotated[
        bool, typer.Option("--account", help="Import nothing; tell what became of each relation of the file.")
    ] = False,
) -> None:
    """Import an object-centric event log: its events, objects and relations."""
    from collector import importer

    known = importer.read_types(types) if types is not None else {}
    if account:
        _account(file, source)
        return

    with _database() as resources, _progress(file.name) as progress:
        masks = _masks(resources)
        report = importer.import_ocel(resources.engine, file, source, known, resources.clock, progress, masks)
        _note(resources, file, report)
    _tell(report, "events")


def _account(file: Path, source: str) -> None:
    from collector import ocel_file
    from collector.account import account

    log = ocel_file.read(file)
    with _database() as resources:
        catalog = resources.catalog()
        with resources.engine.connect() as connection:
            found = account(connection, log, source, catalog)
    rows = [
        (what, count, fate) for (what, fate), count in sorted(found.items(), key=lambda item: (item[0][0], -item[1]))
    ]
    table("relations", "number", "what became of them", rows=rows, empty="The log has no relations.")


@contextmanager
def _database() -> Iterator[Resources]:
    from milepost.settings import Settings
    from milepost.wiring.resources import prepared

    with prepared(Settings.load(), "import") as resources:
        yield resources


def _masks(resources: Resources) -> Masks | None:
    from collector.masking import Masking

    return Masking(resources.privacy_key).of(resources.catalog())


def _note(resources: Resources, file: Path, report: Report) -> None:
    """An import is an act for the audit."""
    from milepost.decisions import audit

    detail = {"accepted": report.accepted, "refused": report.refused}
    with resources.engine.begin() as connection:
        audit.record(
            connection, actor=actor(), action="import.done", target=file.name, now=resources.clock(), detail=detail
        )


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes) as bars:
        bar = bars.add_task(name, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def _some(names: Sequence[str]) -> str:
    return and_more([name or '""' for name in names], _NAMED)


def _tell(report: Report, unit: str) -> None:
    lines = [f"{report.units} {unit} read, {report.accepted} events handed over; what is stored already stays as it is"]
    if report.objects:
        lines.append(f"{report.objects} objects, {report.relations} relations")
    if report.dateless:
        lines.append(f"{report.dateless} gave no event, for want of a date")
    if report.conflicts:
        lines.append(f"{report.conflicts} contradict what is stored, and were in quarantine before")
    if report.refused:
        before = f"; {report.open} were there before" if report.open else ""
        lines.append(f"{report.refused} were refused, and are in quarantine with the reason{before}")
    if report.unlisted:
        lines.append(f"no event type was given for {_some(report.unlisted)}: they are ocel.<activity>")
    if report.absent:
        lines.append(f"the log has no {_some(report.absent)}, for which --types gives an event type")
    for line in lines:
        notes.print(line, markup=False, highlight=False)
