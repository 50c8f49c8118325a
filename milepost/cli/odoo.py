"""milepost odoo …"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from milepost.cli.access import actor
from milepost.cli.output import notes, out
from milepost.errors import ConfigurationError

if TYPE_CHECKING:
    from collector.odoo.check import Finding
    from milepost.settings import Settings

app = typer.Typer(help="The Odoo that Milepost reads.", no_args_is_help=True)


@app.command("check")
def check() -> None:
    """Say what of Odoo can be read, what is missing, and the mend. Exit code 1 when a right is missing."""
    from collector.odoo.check import findings
    from collector.odoo.client import Client
    from milepost.clock import utc_now

    options = _settings().odoo
    client = Client(options, utc_now)
    companies = client.companies()
    out.print(f"{options.odoo_url}, database {options.odoo_database}, user {options.odoo_user}", highlight=False)
    out.print(f"companies: {escape(', '.join(companies.values()))}", highlight=False, soft_wrap=True)
    wrong = [_tell(finding) for finding in findings(client)]
    if any(wrong):
        raise typer.Exit(1)


def _tell(finding: Finding) -> bool:
    """One line, two with a mend; whether something is wrong."""
    if finding.verdict == "ok":
        out.print(f"  [green]ok[/green]         {finding.model}  [dim]{finding.records:,}[/dim]", highlight=False)
        return False
    colour = "red" if finding.wrong else "dim"
    out.print(f"  [{colour}]{finding.verdict:<9}[/{colour}]  {finding.model}", highlight=False)
    out.print(f"             {escape(finding.mend)}", style="dim", highlight=False, soft_wrap=True)
    return finding.wrong


@app.command("backfill")
def backfill(
    since: Annotated[
        str | None,
        typer.Option(help="What was written since this day, like 2026-01-01 (default: MILEPOST_ODOO_SINCE)."),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="Only this model, like sale.order; may be given several times.")
    ] = None,
) -> None:
    """Read the history of Odoo now, whatever the hour. It can be stopped at any time: the next call goes on there."""
    from collector.masking import Masking
    from collector.odoo.backfill import Backfill, parse_since
    from collector.odoo.snapshots import MODELS
    from collector.odoo.source import Source
    from milepost.decisions import audit
    from milepost.wiring.resources import prepared

    settings = _settings()
    unknown = sorted(set(models or ()) - MODELS.keys())
    if unknown:
        raise ConfigurationError(f"--models: {unknown[0]} is not one of {', '.join(MODELS)}")
    day = parse_since(since) if since is not None else None
    with prepared(settings, "odoo backfill") as resources, _bars() as progress:
        masks = Masking(resources.privacy_key).of(resources.catalog())
        source = Source(resources.engine, settings.odoo, resources.clock, lambda: masks)
        events = Backfill(source).run(progress, since=day, models=models or ())
        detail = {"events": events, "since": since, "models": models or []}
        with resources.engine.begin() as connection:
            audit.record(
                connection,
                actor=actor(),
                action="odoo.backfilled",
                target=settings.odoo.odoo_source,
                now=resources.clock(),
                detail=detail,
            )
    for problem in source.reader.problems.values():
        notes.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
    notes.print(f"{events:,} events taken in, {source.client.calls} calls", highlight=False)


def _settings() -> Settings:
    from milepost.settings import Settings

    settings = Settings.load()
    if not settings.odoo.odoo_url:
        raise ConfigurationError("MILEPOST_ODOO_URL: not set")
    return settings


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each model; what was done by an earlier call counts."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<16}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes) as bars:
        known: dict[str, TaskID] = {}

        def told(model: str, done: int, total: int) -> None:
            if model not in known:
                known[model] = bars.add_task(model, total=total)
            bars.update(known[model], completed=done, total=max(done, total))

        yield told
