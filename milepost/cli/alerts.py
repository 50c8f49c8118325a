"""milepost alerts …"""

from __future__ import annotations

from typing import Annotated

import typer

from milepost.cli.access import actor, transaction
from milepost.cli.output import notes, table

app = typer.Typer(help="What somebody should look at.", no_args_is_help=True)
Number = Annotated[int, typer.Argument(help="The number that `alerts list` shows.")]


@app.command("list")
def list_alerts(
    everything: Annotated[bool, typer.Option("--all", help="Also the resolved ones.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
) -> None:
    """List the alerts, the newest first."""
    import sqlalchemy as sa

    from milepost.db.tables import alerts

    a = alerts.c
    query = sa.select(a.alert_id, a.state, a.severity, a.title, a.items_open, a.opened_at, a.acknowledged_by)
    query = query if everything else query.where(a.state != "resolved")
    with transaction() as (connection, _, _):
        rows = connection.execute(query.order_by(a.alert_id.desc()).limit(limit)).all()
    columns = ("number", "state", "severity", "title", "open", "since", "acknowledged by")
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
