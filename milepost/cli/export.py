"""milepost export …"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from milepost.cli.access import actor
from milepost.cli.journeys import by_epoch
from milepost.cli.output import notes
from milepost.clock import aware
from milepost.errors import ConfigurationError, Conflict, NotFound

if TYPE_CHECKING:
    from dashboards.queries.journey import Head
    from exports.snapshot import Snapshot
    from exports.tables import Table, What
    from milepost.catalog.schema import Catalog
    from milepost.wiring.resources import Resources

app = typer.Typer(
    help="Write what is stored to files that other tools read. Without a filter: everything.", no_args_is_help=True
)
FORMATS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
STDOUT: Final = Path("-")

Out = Annotated[Path, typer.Option(help="The file to write; - for standard output.")]
OutFile = Annotated[Path, typer.Option("--out", help="The file to write.")]
Model = Annotated[str | None, typer.Option(help="Only journeys of this model.")]
Since = Annotated[
    datetime | None, typer.Option(help="Only journeys that started then or later (UTC).", formats=FORMATS)
]
Until = Annotated[datetime | None, typer.Option(help="Only journeys that started before then (UTC).", formats=FORMATS)]
State = Annotated[Literal["open", "completed", "cancelled"] | None, typer.Option(help="Only journeys in this state.")]
Where = Annotated[
    list[str] | None,
    typer.Option(help="Only journeys with this channel, warehouse, carrier or partner: channel=shopify. Repeatable."),
]
Journey = Annotated[tuple[str, str] | None, typer.Option(help="Only this journey: its model and its key.")]
Namespace = Annotated[str | None, typer.Option(help="Of --journey, where its key exists in several.")]
Epoch = Annotated[
    int | None, typer.Option(help="Of --journey, where its key was split: 0 for the first object, 1 …", min=0)
]
What_ = Annotated[Literal["journeys", "durations", "events"], typer.Option("--table", help="What the rows are.")]
Calendar = Annotated[
    str | None, typer.Option(help="The calendar for steps that no policy with a calendar of its own promises.")
]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The filters, as they were typed."""

    model: str | None
    since: datetime | None
    until: datetime | None
    state: str | None
    where: list[str] | None
    journey: tuple[str, str] | None
    namespace: str | None
    epoch: int | None


@app.command("ocel-json")
def ocel_json(
    out: Out, model: Model = None, since: Since = None, until: Until = None, state: State = None,
    where: Where = None, journey: Journey = None, namespace: Namespace = None, epoch: Epoch = None,
) -> None:  # fmt: skip
    """Write an object-centric event log, OCEL 2.0 as JSON: events, objects and all their relations."""
    from exports import ocel_json as form
    from milepost.wiring.exports import reader

    with _opened("ocel-json", Chosen(model, since, until, state, where, journey, namespace, epoch)) as (view, catalog):
        _stream(out, form.chunks(view, reader(catalog)))


@app.command("ocel-sqlite")
def ocel_sqlite(
    out: OutFile, model: Model = None, since: Since = None, until: Until = None, state: State = None,
    where: Where = None, journey: Journey = None, namespace: Namespace = None, epoch: Epoch = None,
) -> None:  # fmt: skip
    """Write an object-centric event log, OCEL 2.0 as an SQLite database."""
    from exports import ocel_sqlite as form
    from milepost.wiring.exports import reader

    _check_file(out)
    chosen = Chosen(model, since, until, state, where, journey, namespace, epoch)
    with _opened("ocel-sqlite", chosen) as (view, catalog):
        _write(out, lambda path: form.write(path, view, reader(catalog)))


@app.command("xes")
def xes(
    out: Out, model: Model = None, since: Since = None, until: Until = None, state: State = None,
    where: Where = None, journey: Journey = None, namespace: Namespace = None, epoch: Epoch = None,
) -> None:  # fmt: skip
    """Write an event log in XES: a trace for each journey of a model (default: the catalog's first)."""
    from exports import xes as form

    with _opened("xes", Chosen(model, since, until, state, where, journey, namespace, epoch)) as (view, catalog):
        _stream(out, form.chunks(view, model or (journey[0] if journey else next(iter(catalog.models)))))


@app.command("csv")
def csv(
    out: Out, table: What_ = "journeys", calendar: Calendar = None, model: Model = None, since: Since = None,
    until: Until = None, state: State = None, where: Where = None, journey: Journey = None,
    namespace: Namespace = None, epoch: Epoch = None,
) -> None:  # fmt: skip
    """Write a table as CSV: journeys, the durations of their steps, or their events."""
    from exports import csv as form

    _check_calendar(calendar, table)
    with _opened("csv", Chosen(model, since, until, state, where, journey, namespace, epoch)) as (view, catalog):
        _stream(out, form.chunks(_table(table, view, catalog, calendar)))


@app.command("parquet")
def parquet(
    out: OutFile, table: What_ = "journeys", calendar: Calendar = None, model: Model = None, since: Since = None,
    until: Until = None, state: State = None, where: Where = None, journey: Journey = None,
    namespace: Namespace = None, epoch: Epoch = None,
) -> None:  # fmt: skip
    """Write a table as Parquet; it needs pyarrow, which is the extra `parquet`."""
    from exports import parquet as form

    _check_file(out)
    _check_calendar(calendar, table)
    with _opened("parquet", Chosen(model, since, until, state, where, journey, namespace, epoch)) as (view, catalog):
        _write(out, lambda path: form.write(path, _table(table, view, catalog, calendar)))


def _table(what: What, view: Snapshot, catalog: Catalog, calendar: str | None) -> Table:
    from exports import tables
    from milepost.wiring.exports import business

    return tables.table(what, view, catalog, business(catalog, calendar))


def _check_calendar(calendar: str | None, what: What) -> None:
    if calendar is not None and what != "durations":
        raise ConfigurationError(f"--calendar counts for --table durations, and not for {what}")


# --- what is chosen ---------------------------------------------------------------------------------------------------


@contextmanager
def _opened(form: str, chosen: Chosen) -> Iterator[tuple[Snapshot, Catalog]]:
    from exports import snapshot
    from milepost.settings import Settings
    from milepost.wiring.resources import prepared

    with prepared(Settings.load(), "export") as resources:
        catalog = resources.catalog()
        _note(form, chosen, resources)
        with snapshot.opened(resources.engine, _select(chosen, resources, catalog)) as view, _progress(view) as told:
            yield told, catalog


def _note(form: str, chosen: Chosen, resources: Resources) -> None:
    """Who takes how much out is an act for the audit."""
    from milepost.decisions import audit

    detail = {name: str(value) for name, value in asdict(chosen).items() if value is not None}
    with resources.engine.begin() as connection:
        audit.record(
            connection, actor=actor(), action="export.begun", target=form, now=resources.clock(), detail=detail
        )


def _select(chosen: Chosen, resources: Resources, catalog: Catalog) -> Any:
    """The ids of the journeys that are chosen; None where everything is."""
    from dashboards.queries import journeys as queries

    if chosen.model is not None and chosen.model not in catalog.models:
        raise NotFound(f"there is no model {chosen.model}; there are {', '.join(catalog.models)}")
    ids = _ids(chosen, resources, catalog)
    wanted = queries.Filter(
        kind=chosen.model, state=chosen.state, since=aware(chosen.since), until=aware(chosen.until), ids=ids,
        **_dimensions(chosen.where or []),
    )  # fmt: skip
    return queries.select_ids(wanted) if wanted.narrow else None


def _ids(chosen: Chosen, resources: Resources, catalog: Catalog) -> list[int] | None:
    from dashboards.queries.journey import candidates

    if chosen.journey is None:
        if chosen.namespace is not None or chosen.epoch is not None:
            raise ConfigurationError("--namespace and --epoch say which --journey is meant: name it")
        return None
    kind, key = chosen.journey
    with resources.engine.connect() as connection:
        found = candidates(connection, catalog, kind, key, chosen.namespace, chosen.epoch)
    if not found:
        raise NotFound(f"there is no {kind} journey {key}")
    if len(found) > 1:
        raise Conflict(f"{key} is the key of several {kind} journeys; add {_told_apart(found)}")
    return [found[0].journey_id]


def _told_apart(found: Sequence[Head]) -> str:
    """The options that choose one of these journeys."""
    spaces = sorted({head.namespace for head in found})
    if len(spaces) > 1:
        return "one of " + ", ".join(f"--namespace {quote(space)}" for space in spaces)
    return by_epoch(found)


def _dimensions(where: Iterable[str]) -> dict[str, Any]:
    from dashboards.queries.journeys import DIMENSIONS

    found: dict[str, Any] = {}
    for text in where:
        name, equals, value = text.partition("=")
        if not equals or name not in DIMENSIONS:
            raise ConfigurationError(f"--where {text}: write NAME=VALUE, where NAME is one of {', '.join(DIMENSIONS)}")
        found[name] = value
    return found


# --- where it goes ----------------------------------------------------------------------------------------------------


def _check_file(out: Path) -> None:
    if out == STDOUT:
        raise ConfigurationError("--out -: this form can't go to standard output; name a file")


def _stream(out: Path, chunks: Iterable[bytes]) -> None:
    if out == STDOUT:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(chunks)

    _write(out, write)


def _write(out: Path, write: Callable[[Path], None]) -> None:
    """A file that has its name is whole: it is written beside, and takes its place at the end."""
    part = out.with_name(f"{out.name}.part")
    try:
        part.unlink(missing_ok=True)
        write(part)
        os.replace(part, out)  # noqa: PTH105
    except OSError as error:
        raise ConfigurationError(f"--out {out}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    notes.print(f"{out}: {out.stat().st_size:,} bytes", highlight=False, markup=False)


@contextmanager
def _progress(view: Snapshot) -> Iterator[Snapshot]:
    """Rows as they are read, where somebody looks."""
    if not notes.is_terminal:
        yield view
        return
    from dataclasses import replace

    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} rows read"), TimeElapsedColumn())
    with Progress(*columns, console=notes, transient=True) as bars:
        bar = bars.add_task("", total=None)
        yield replace(view, heard=lambda rows: bars.advance(bar, rows))
