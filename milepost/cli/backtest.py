"""milepost sla backtest"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from milepost.cli.access import length, moment
from milepost.cli.output import notes, out, table
from milepost.clock import from_us
from milepost.errors import CatalogError, ConfigurationError

if TYPE_CHECKING:
    from milepost.catalog.schema import Catalog
    from milepost.decisions.catalog import CatalogCache
    from sla.backtest.found import Found
    from sla.backtest.report import Difference, Report

SHOWN: Final = 5
"""Differences of a kind that are told in words; `--format json` has more."""
DAYS: Final = 5


def backtest(
    file: Annotated[
        Path | None,
        typer.Argument(help="A YAML file, or a folder of them: laid over the catalog in force, entry by entry."),
    ] = None,
    catalog: Annotated[Path | None, typer.Option(help="A folder: try this whole catalog instead.")] = None,
    since: Annotated[str, typer.Option(help="What fell due in the last so long, or since that day.")] = "90d",
    until: Annotated[str | None, typer.Option(help="… and before that day, or so long ago.")] = None,
    as_it_happened: Annotated[
        bool,
        typer.Option(
            "--as-it-happened", help="As if everything had been received when it happened: for imported history."
        ),
    ] = False,
    format_: Annotated[
        Literal["text", "json", "csv"], typer.Option("--format", help="A text, everything, or the breaches as a table.")
    ] = "text",
) -> None:
    """Tell what policies would have found in stored history, beside what those in force find.

    Nothing is written, and nobody is notified.
    """
    from milepost.inbox.watermark import Watermark
    from milepost.settings import Settings
    from milepost.wiring.resources import prepared
    from sla.backtest.history import Window
    from sla.backtest.run import backtest as run

    if file is not None and catalog is not None:
        raise ConfigurationError("give a FILE or --catalog, not both")
    with prepared(Settings.load(), "backtest") as resources:
        now = resources.clock()
        window = Window(_moment(since, now), now if until is None else _moment(until, now))
        if window.since >= window.until:
            raise ConfigurationError("--since must be before --until")
        today, tried = _catalogs(resources.engine, resources.cache, file, catalog)
        with resources.engine.begin() as connection:
            judged_at = Watermark().read(connection, now).through
        with _progress() as progress:
            found = run(
                resources.engine, tried, today, window,
                judged_at=judged_at, progress=progress, as_it_happened=as_it_happened,
            )  # fmt: skip
    _note(found)
    {"text": _text, "json": _json, "csv": _csv}[format_](found)


def _moment(text: str, now: datetime) -> datetime:
    """A time, or a length of time before now. Raises Permanent."""
    return now - length(text) if text[-1:] in "smhdw" else moment(text)


def _catalogs(engine: Any, cache: CatalogCache, file: Path | None, folder: Path | None) -> tuple[Catalog, Catalog]:
    """The catalog in force, and the one to try."""
    from milepost.catalog import loader, overlay
    from milepost.decisions import catalog as decided

    with engine.connect() as connection:
        today, texts = cache.active(connection), decided.active_texts(connection) or {}
    if folder is not None:
        tried = loader.load(loader.read_texts(folder))
    else:
        tried = today if file is None else loader.load(overlay.lay(overlay.read(file), texts))
    if tried.models != today.models:
        raise CatalogError(
            "journeys.yaml: the journeys are stored as the models in force make them; try other models with"
            " `milepost rebuild --catalog FOLDER --dry-run`"
        )
    untried = [flow.name for flow in tried.flows if flow not in today.flows]
    if untried:
        _say(notes, f"Not tried, because they judge no journeys: {', '.join(untried)}")
    return today, tried


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("journeys"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes) as bars:
        bar = bars.add_task("journeys", total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


# --- for people -------------------------------------------------------------------------------------------------------


def _note(found: Report) -> None:
    speed = found.journeys / found.seconds if found.seconds else 0
    _say(notes, f"{found.journeys:,} journeys judged in {found.seconds:.1f} s ({speed:,.0f}/s); nothing was written")
    for policy, fault in found.faults.items():
        notes.print(f"{policy}: {fault}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _say(where: Any, text: str = "") -> None:
    where.print(text, markup=False, highlight=False, soft_wrap=True)


def _text(found: Report) -> None:
    compared = f", beside {found.today} in force" if found.tried != found.today else ", in force"
    _say(out, f"What fell due from {found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC")
    _say(out, f"by catalog {found.tried}{compared}\n")
    _policies(found)
    _pages(found)
    _groups(found)
    _differences("Breaches that are new", found.samples["new"], sum(one.new for one in found.policies))
    _differences("Breaches that are gone", found.samples["gone"], sum(change == "gone" for _, change in found.breaches))


def _policies(found: Report) -> None:
    rows: list[tuple[object, ...]] = []
    idle = [one.policy for one in found.policies if not one.met + one.missed + one.breaches + one.gone]
    for one in found.policies:
        if one.policy in idle:
            continue
        was = found.was.get(one.policy)
        rows.append(
            (
                one.policy, one.met + one.missed, _percent(one.share), _percent(was.share) if was else "", one.breaches,
                was.breaches if was else "", one.new, one.gone, one.retracted, one.late_known, one.alerts, one.messages,
            )
        )  # fmt: skip
    rows += [
        (name, "gone", "", _percent(was.share), "", was.breaches, "", was.breaches, "", "", "", "")
        for name, was in found.was.items()
        if name not in {one.policy for one in found.policies}
    ]
    columns = (
        "policy", "clocks", "met", "today", "breaches", "today", "new", "gone", "taken back", "known late", "alerts",
        "messages",
    )  # fmt: skip
    table(*columns, rows=rows, empty="No clock fell due.")
    if idle:
        _say(out, f"No clock fell due of: {', '.join(idle)}")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _pages(found: Report) -> None:
    total, before = found.messages.total(), found.messages_before.total()
    _say(out, f"\nMessages a day: {total / found.days:.1f} (today {before / found.days:.1f})")
    for day, number in found.messages.most_common(DAYS):
        _say(out, f"  {day} {day:%a} {number:>6}  (today {found.messages_before[day]})")
    channels = ", ".join(f"{name} {number}" for name, number in found.channels.most_common())
    if channels:
        _say(out, f"By channel: {channels}")


def _groups(found: Report) -> None:
    if found.worst:
        _say(out, "\nWhere most were missed")
        rows = [
            (one.policy, f"{one.dimension} {one.value}", one.clocks, one.missed, f"{one.missed / one.clocks:.1%}")
            for one in found.worst
        ]
        table("policy", "group", "clocks", "missed", "share", rows=rows, empty="")


def _differences(title: str, samples: Any, total: int) -> None:
    if not samples:
        return
    _say(out, f"\n{title}: {total:,}")
    for difference in _spread(samples):
        one = difference.breach
        _say(out, f"  {one.policy}: {one.model} {one.key}: {one.why}")
        _say(out, f"    instead: {difference.instead}")


def _spread(samples: list[Difference]) -> list[Difference]:
    """A few, of each policy some."""
    turns: dict[str, int] = {}
    ranked = []
    for sample in samples:
        turns[sample.breach.policy] = turns.get(sample.breach.policy, 0) + 1
        ranked.append((turns[sample.breach.policy], sample))
    return [sample for _, sample in sorted(ranked, key=lambda pair: pair[0])[:SHOWN]]


# --- for programs -----------------------------------------------------------------------------------------------------

_COLUMNS: Final = (
    "change", "policy", "version", "model", "key", "subject", "severity", "started_at", "due_at", "ended_at", "end",
    "late_known", "found_at", "notify", "group", "dimensions", "amount", "currency", "why",
)  # fmt: skip


def _csv(found: Report) -> None:
    writer = csv.DictWriter(sys.stdout, _COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for one, change in found.breaches:
        row = _breach(one) | {"change": change}
        writer.writerow({name: _cell(row[name]) for name in _COLUMNS})


def _cell(value: Any) -> Any:
    if isinstance(value, dict):
        return "; ".join(f"{name}={item}" for name, item in sorted(value.items()))
    return value


def _json(found: Report) -> None:
    documents = {
        "tried": found.tried,
        "today": found.today,
        "since": found.since.isoformat(),
        "until": found.until.isoformat(),
        "journeys": found.journeys,
        "seconds": round(found.seconds, 3),
        "policies": [_figures(one) for one in found.policies],
        "policies_today": [_figures(one) for one in found.was.values()],
        "messages": {"total": found.messages.total(), "by_day": _by_day(found.messages), "by_channel": found.channels},
        "messages_today": {"total": found.messages_before.total(), "by_day": _by_day(found.messages_before)},
        "worst": [
            {"policy": one.policy, "dimension": one.dimension, "value": one.value, "clocks": one.clocks,
             "missed": one.missed}
            for one in found.worst
        ],
        "new": [_breach(one.breach) | {"instead": one.instead} for one in found.samples["new"]],
        "gone": [_breach(one.breach) | {"instead": one.instead} for one in found.samples["gone"]],
        "faults": found.faults,
    }  # fmt: skip
    _say(out, json.dumps(documents, indent=2, ensure_ascii=False))


def _figures(one: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(one) | {"share": one.share}


def _by_day(messages: Any) -> dict[str, int]:
    return {day.isoformat(): number for day, number in sorted(messages.items())}


def _breach(one: Found) -> dict[str, Any]:
    return {
        "policy": one.policy,
        "version": one.version,
        "model": one.model,
        "key": one.key,
        "subject": one.subject,
        "severity": one.severity,
        "started_at": _stamp(one.started_us),
        "due_at": _stamp(one.due_us),
        "ended_at": _stamp(one.stopped_us),
        "end": one.end,
        "late_known": one.late_known,
        "found_at": _stamp(one.opened_us),
        "notify": one.notify,
        "group": dict(one.group),
        "dimensions": dict(one.dimensions),
        "amount": None if one.amount is None else str(one.amount),
        "currency": one.currency,
        "why": one.why,
    }


def _stamp(at_us: int | None) -> str | None:
    return None if at_us is None else from_us(at_us).isoformat().replace("+00:00", "Z")
