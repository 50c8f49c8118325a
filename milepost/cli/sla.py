"""milepost sla …"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from milepost.cli.access import transaction
from milepost.cli.backtest import backtest
from milepost.cli.output import notes, out, table

app = typer.Typer(help="How well promises are kept, and what another promise would have found.", no_args_is_help=True)
app.command("backtest")(backtest)
Value = Annotated[str | None, typer.Option(help="Only of this one.")]


@app.command("objectives")
def objectives() -> None:
    """List the objectives: what was attained, what is left of each error budget, and until when that lasts."""
    from dashboards import words
    from dashboards.objectives import whole_of
    from dashboards.queries import objectives as queries
    from milepost.decisions import catalog as decided

    with transaction() as (connection, _, _):
        policies = decided.active(connection).policies
        found = {name: whole_of(some) for name, some in queries.standings(connection).items()}
    rows: list[tuple[object, ...]] = []
    for policy in policies:
        one = found.get(policy.name)
        goal = f"{words.percent(policy.objective.target, 2)} over {policy.objective.window.text}"
        if one is None:
            rows.append((policy.name, goal, "not judged yet", *[None] * 6))
            continue
        attained = "–" if one.attained is None else words.percent(one.attained, 2)
        burns = ", ".join(one.firing) if one.firing else None
        rate = "–" if one.burn is None else f"{one.burn:.1f}"
        left = words.percent(one.remaining, 0)
        rows.append((policy.name, goal, attained, one.clocks, one.misses, left, rate, one.exhausted_at, burns))
    columns = ("policy", "objective", "attained", "due", "missed", "left", "burn rate", "spent at", "burns")
    table(*columns, rows=rows, empty="The catalog has no policies.")


@app.command("report")
def report(
    month: Annotated[str, typer.Option(help="The month: 2026-11.")],
    format_: Annotated[
        Literal["html", "csv", "breaches"],
        typer.Option("--format", help="A page; who attained what as CSV; or every breach as CSV."),
    ] = "html",
    output: Annotated[Path | None, typer.Option(help="Where to; without it, to stdout.")] = None,
    policy: Value = None,
    partner: Value = None,
    carrier: Value = None,
    warehouse: Value = None,
    channel: Value = None,
) -> None:
    """Write a month's report: who attained what, and every breach with its evidence."""
    from dashboards.objectives import FORMS, report_of
    from milepost.decisions import catalog as decided
    from milepost.settings import Settings

    wanted = {"policy": policy, "partner": partner, "carrier": carrier, "warehouse": warehouse, "channel": channel}
    with transaction() as (connection, now, _):
        catalog = decided.active(connection)
        made = report_of(connection, catalog, month, wanted, now=now, public_url=Settings.load().public_url)
    text = FORMS[format_](made)
    if output is None:
        out.print(text, end="", markup=False, highlight=False, soft_wrap=True)
        return
    output.write_text(text, "utf-8", newline="")
    notes.print(f"{output}: {len(made.counted)} breaches, {len(made.taken_back)} taken back.", highlight=False)
