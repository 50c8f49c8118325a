"""milepost exceptions …"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from milepost.cli.access import length, transaction
from milepost.cli.output import notes, table

app = typer.Typer(help="What went wrong with objects, and what is still open.", no_args_is_help=True)


Class = Annotated[Literal["business", "technical", "held"] | None, typer.Option("--class", help="Only these.")]


@app.command("groups")
def list_groups(kind: Class = None) -> None:
    """List what is open by class, type, code and source, with the value of the open journeys."""
    from dashboards.queries import exceptions as queries

    with transaction() as (connection, _, _):
        found = queries.groups(connection, kind)
    rows = [
        (
            group.count,
            group.kind,
            group.type,
            group.code,
            group.source,
            group.oldest_at,
            group.journeys,
            " + ".join(f"{amount:,.2f} {currency}" for currency, amount in sorted(group.money.items())),
            group.reason,
        )
        for group in found
    ]
    columns = ("open", "class", "type", "code", "source", "oldest", "journeys", "value", "reason")
    table(*columns, rows=rows, empty="Nothing is open.")


@app.command("list")
def list_exceptions(
    everything: Annotated[bool, typer.Option("--all", help="Also the resolved ones.")] = False,
    kind: Class = None,
    type: Annotated[str | None, typer.Option(help="Of the events that opened it, like picking.short.")] = None,
    code: Annotated[str | None, typer.Option(help="Only with this code.")] = None,
    source: Annotated[str | None, typer.Option(help="Only what this source said.")] = None,
    since: Annotated[str | None, typer.Option(help="Only those opened in the last so long: 12h, 30d.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="The newest so many.")] = 50,
) -> None:
    """List exceptions, the newest first."""
    from dashboards.queries import exceptions as queries

    with transaction() as (connection, now, _):
        wanted = queries.Filter(
            None if everything else True,
            kind,
            type,
            code,
            source,
            now - length(since) if since else None,
        )
        page = queries.list_page(connection, wanted, limit=limit)
    rows = [
        (
            f"{row.object_type} {row.key}",
            row.kind,
            row.type,
            row.code,
            row.source,
            row.opened_at,
            row.resolved_at,
            row.count,
            ", ".join(f"{item.kind} {item.key}" for item in row.journeys[:3]),
            row.reason,
        )
        for row in page.items
    ]
    columns = ("object", "class", "type", "code", "source", "opened", "resolved", "events", "journeys", "reason")
    table(*columns, rows=rows, empty="There are none.")
    if page.next_cursor:
        notes.print(f"The newest {limit}; there are more.", highlight=False)
