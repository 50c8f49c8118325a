"""milepost rebuild"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from milepost.cli.output import notes, table
from milepost.clock import aware
from milepost.errors import ConfigurationError

if TYPE_CHECKING:
    from correlator.rebuild import Report

FORMATS: Final = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]


def rebuild(
    since: Annotated[
        datetime | None, typer.Option(help="Only events received since then (UTC).", formats=FORMATS)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(help="Only events received before then (UTC).", formats=FORMATS)
    ] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only events of this source; repeatable.")] = None,
    catalog: Annotated[Path | None, typer.Option(help="A folder: try this catalog instead.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compare only, and leave all as it is.")] = False,
) -> None:
    """Write all journeys anew from the stored events, beside the live ones, and swap them in. Notifies nobody.

    With a selection of events or another catalog, journeys are compared only, and stay as they are.
    """
    from correlator.rebuild import Rebuild
    from correlator.retell import Selection
    from milepost.catalog import loader
    from milepost.cli.access import actor
    from milepost.settings import Settings
    from milepost.wiring.resources import prepared
    from sla.store import Clocks

    selection = Selection(aware(since), aware(until), tuple(source or ()))
    if selection.since is not None and selection.until is not None and selection.since >= selection.until:
        raise ConfigurationError("--since must be before --until")
    tried = loader.load(loader.read_texts(catalog)) if catalog is not None else None
    with prepared(Settings.load(), "rebuild") as resources, _progress() as progress:
        catalog_of = resources.cache.active if tried is None else lambda _: tried
        hook = Clocks().on_journeys_changed
        work = Rebuild(resources.engine, catalog_of, resources.clock, hook, actor=actor(), progress=progress)
        swaps = selection.whole and tried is None and not dry_run
        report = work.run(selection, swap=swaps)
    _tell(report, swapped=swaps)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes) as bars:
        bar = bars.add_task("starting", total=None)
        yield lambda what, done, total: bars.update(bar, description=what, completed=done, total=total)


def _tell(report: Report, swapped: bool) -> None:
    what = "swapped in" if swapped else "compared, and left as they were"
    notes.print(f"{report.events} events replayed, {report.journeys} journeys, {what}", highlight=False)
    counts = {"new": report.new, "changed": report.changed, "gone": report.gone}
    rows = [
        (kind, counts[kind], ", ".join(f"{model} {key}" for model, key in report.examples.get(kind, ())))
        for kind in counts
    ]
    table("journeys", "count", "like", rows=rows, empty="")
