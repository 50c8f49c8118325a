"""milepost reconcile …"""

from __future__ import annotations

import calendar
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from milepost.cli.access import transaction
from milepost.cli.output import notes, out, table
from milepost.errors import ConfigurationError, NotFound

if TYPE_CHECKING:
    from dashboards.reconciliation_report import Report

app = typer.Typer(help="Two sources' views of the same objects, compared.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="As `reconcile list` shows it.")]
_DAY = "%Y-%m-%d"


@app.command("list")
def list_reconciliations() -> None:
    """List the reconciliations of the catalog: when they ran, what they found, whom they wait for."""
    from dashboards.queries import reconciliation as queries
    from milepost.decisions import catalog as decided

    with transaction() as (connection, _, _):
        specs = decided.active(connection).reconciliations
        runs, counts = queries.last_runs(connection), queries.open_counts(connection)
    rows = []
    for name, spec in specs.items():
        run = runs.get(name)
        state = "not run yet" if run is None else "failed" if run.until is None else "over" if run.over else "ok"
        times = (run.at, run.until) if run else (None, None)
        sides = f"{spec.name_of('left')} / {spec.name_of('right')}"
        rows.append((name, sides, spec.compare, state, counts.get(name, 0), *times, run.note if run else None))
    columns = ("name", "left / right", "compares", "state", "open", "ran at", "compared up to", "note")
    table(*columns, rows=rows, empty="The catalog has no reconciliations.")


@app.command("run")
def run(
    name: Name,
    since: Annotated[datetime | None, typer.Option(formats=[_DAY], help="The first day.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=[_DAY], help="The last day.")] = None,
) -> None:
    """Compare now: over the usual window, or over whole days. Only the usual window counts for the alert."""
    from milepost.inbox.watermark import Watermark
    from milepost.settings import Settings
    from milepost.wiring.resources import prepared
    from sla.reconciliation import job

    days = (since.date() if since else None, until.date() if until else None) if since or until else None
    if since and until and since > until:
        raise ConfigurationError("--since must not be after --until")
    with prepared(Settings.load(), "reconcile") as resources:
        now = resources.clock()
        with resources.engine.begin() as connection:
            through = Watermark().read(connection, now).through
        found = job.run(resources.engine, resources.catalog(), name, now=now, through=through, days=days)
    rows = [
        (day.day, day.left, day.right, day.only_left, day.only_right, day.differing, day.excused, why)
        for day, why in found.days
    ]
    columns = ("day", "left", "right", "only left", "only right", "other amount", "excused", "over tolerance")
    table(*columns, rows=rows, empty="Nothing to compare.")
    window = f"{found.window.since:%Y-%m-%d %H:%M:%S%z} to {found.window.until:%Y-%m-%d %H:%M:%S%z}"
    notes.print(f"Compared {window}: {len(found.opened)} new, {len(found.closed)} gone.", highlight=False)
    if found.waits:
        notes.print(f"It waits: {found.waits}.", highlight=False)


@app.command("report")
def report(
    name: Name,
    day: Annotated[datetime | None, typer.Option(formats=[_DAY], help="One day.")] = None,
    month: Annotated[str | None, typer.Option(help="One month: 2026-11.")] = None,
    format_: Annotated[Literal["text", "csv", "html"], typer.Option("--format", help="How it is written.")] = "text",
    days_only: Annotated[bool, typer.Option("--days", help="The days alone, without the objects.")] = False,
) -> None:
    """Print what was compared, day by day, and the objects that differ. Without a day or month: the present month."""
    from dashboards import reconciliation_report as made

    found = _report(name, *_span(day, month))
    if format_ == "html":
        _print(made.as_html(found))
    elif format_ == "csv":
        _print(made.days_csv(found) if days_only else made.objects_csv(found))
    else:
        _text(found, days_only=days_only)


def _report(name: str, first: date | None, last: date | None) -> Report:
    from dashboards.queries import reconciliation as queries
    from dashboards.reconciliation_report import Report
    from milepost.decisions import catalog as decided

    with transaction() as (connection, now, _):
        spec = decided.active(connection).reconciliations.get(name)
        if spec is None:
            raise NotFound(f"there is no reconciliation {name}; `milepost reconcile list` shows them")
        first = first or now.date().replace(day=1)
        last = last or now.date()
        days = queries.days(connection, name, first, last)
        return Report(name, spec, first, last, days, list(queries.of_days(connection, name, first, last)))


def _span(day: datetime | None, month: str | None) -> tuple[date | None, date | None]:
    if day is not None and month is not None:
        raise ConfigurationError("give --day or --month, not both")
    if day is not None:
        return day.date(), day.date()
    if month is None:
        return None, None
    try:
        first = datetime.strptime(month, "%Y-%m").date()  # noqa: DTZ007 a month has no zone
    except ValueError as error:
        raise ConfigurationError(f"--month: {month} is no month; write it like 2026-11") from error
    return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])


def _text(found: Report, *, days_only: bool) -> None:
    from dashboards import reconciliation_report as made

    _print(f"{found.spec.title or found.name}, {found.span}\n\n")
    heads, rows = made.day_table(found)
    table(*heads, rows=[cells for cells, _ in rows], empty="No day of it was compared.")
    if not days_only:
        _print("\n")
        heads, cells = made.object_table(found)
        table(*heads, rows=cells, empty="No object differs.")


def _print(text: str) -> None:
    out.print(text, end="", markup=False, highlight=False, soft_wrap=True)
