"""milepost alerts …"""

from __future__ import annotations

from typing import Annotated

import typer

from milepost.cli.access import MOST, actor, row_number, transaction
from milepost.cli.output import notes, table

app = typer.Typer(help="What somebody should look at.", no_args_is_help=True)
Number = Annotated[int, typer.Argument(parser=row_number, help="The number that `alerts list` shows.")]


@app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Also the resolved ones.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="The newest so many.")] = 50,
) -> None:
    """List the alerts, the newest first."""
    import sqlalchemy as sa

    from dashboards.queries import hidden
    from milepost.db.tables import alerts

    a = alerts.c
    query = sa.select(a.alert_id, a.state, a.severity, a.title, a.items_open, a.opened_at, a.acknowledged_by)
    query = query if everything else query.where(a.state != "resolved")
    with transaction() as (connection, _, _):
        found = connection.execute(query.order_by(a.alert_id.desc()).limit(limit)).all()
        hiders = hidden.hiders(connection, [row.alert_id for row in found])
    rows = [(*row, ", ".join(f"{one.items} by {one.by_name}" for one in hiders.get(row.alert_id, ()))) for row in found]
    columns = ("number", "state", "severity", "title", "open", "since", "acknowledged by", "hidden")
    table(*columns, rows=rows, empty="There are no alerts.")


@app.command("ack")
def acknowledge(number: Number) -> None:
    """Say that you look after it: it notifies nobody else."""
    from alerting import commands

    with transaction() as (connection, now, _):
        commands.acknowledge(connection, number, actor=actor(), now=now)
    notes.print(f"Alert {number} will be acknowledged in a moment.", highlight=False)


@app.command("resolve")
def resolve(
    number: Number, reason: Annotated[str, typer.Option(help="Why, for the record.")] = "resolved by hand"
) -> None:
    """Close it, with everything that is open in it."""
    from alerting import commands

    with transaction() as (connection, now, _):
        commands.resolve(connection, number, actor=actor(), now=now, reason=reason)
    notes.print(f"Alert {number} will be resolved in a moment.", highlight=False)


@app.command("parked")
def list_parked(
    channel: Annotated[str | None, typer.Option(help="Of this channel only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="The latest so many.")] = 50,
) -> None:
    """List notifications that were given up, the latest first."""
    from alerting import outbox

    with transaction() as (connection, _, _):
        found = outbox.parked(connection, limit=limit, channel=channel)
    rows = (
        (one.notification_id, one.created_at, one.channel, one.alert_id, one.event, one.attempts, one.error)
        for one in found
    )
    columns = ("number", "written", "channel", "alert", "event", "attempts", "why")
    table(*columns, rows=rows, empty="No notification was given up.")


@app.command("retry")
def retry(
    numbers: Annotated[
        list[int] | None, typer.Argument(parser=row_number, help="The numbers that `alerts parked` shows.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="All of this channel.")] = None,
) -> None:
    """Send notifications after all that were given up. Openings of alerts that are over stay where they are."""
    from alerting import outbox

    if bool(numbers) == (channel is not None):
        raise typer.BadParameter("give numbers, or else --channel")
    with transaction() as (connection, now, _):
        count = outbox.requeue(connection, numbers, channel, actor=actor(), now=now)
    notes.print(f"{count} will be sent again.", highlight=False)


@app.command("test-route")
def try_route(
    label: Annotated[list[str] | None, typer.Option(help="What it is about: warehouse=north. Repeatable.")] = None,
    channel: Annotated[
        list[str] | None, typer.Option(help="To this channel instead of the route's. Repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show where it would go.")] = False,
) -> None:
    """Show which route and channels a set of labels takes now, and send them a sample that says it is one."""
    import os

    from alerting import rehearsal
    from milepost.settings import Settings
    from milepost.wiring.resources import prepared

    given = dict(_pair(text) for text in label or [])
    with prepared(Settings.load(), "cli") as resources:
        catalog, now = resources.catalog(), resources.clock()
        with resources.engine.connect() as connection:
            plan = rehearsal.plan(connection, catalog, given, now=now)
        for line in plan.lines():
            notes.print(line, markup=False, highlight=False)
        names = channel or plan.channels
        if dry_run or not names:
            table("channel", rows=[(name,) for name in names], empty="Nobody would hear of it.")
            return
        outcomes = rehearsal.send(
            names, plan.labels, routing=catalog.routing, settings=resources.settings, environ=os.environ, now=now
        )
        with resources.engine.begin() as connection:
            rehearsal.note(connection, outcomes, actor=actor(), now=now)
    rows = [(one.channel, "arrived" if one.arrived else "failed", one.said) for one in outcomes]
    table("channel", "sample", "said", rows=rows, empty="")
    if not all(one.arrived for one in outcomes):
        raise typer.Exit(1)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise typer.BadParameter(f"{text}: write a label like warehouse=north")
    return name, value
