"""milepost oncall …"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from milepost.cli.access import actor, ending, moment, row_number, transaction
from milepost.cli.output import notes, table
from milepost.errors import NotFound

if TYPE_CHECKING:
    from alerting.oncall import Duty
    from milepost.catalog.routing import Routing

app = typer.Typer(help="Who is called: rotations of the catalog, and who stands in.", no_args_is_help=True)
override = typer.Typer(help="Who stands in for whose turn.", no_args_is_help=True)
app.add_typer(override, name="override")


@app.command("show")
def show(
    at: Annotated[str | None, typer.Option(help="At another time: 2026-12-24T18:00, in UTC unless it says so.")] = None,
) -> None:
    """Show who is on call now, and who is next."""
    from alerting import overrides
    from milepost.decisions import catalog

    with transaction() as (connection, now, _):
        routing, when = catalog.active(connection).routing, moment(at) if at else now
        found = overrides.rosters(connection, routing, when, when)
    rows = [
        (one.name, _who(routing, one.now), one.now.until, _who(routing, one.following), one.following.since)
        for one in found
    ]
    table("rotation", "on call", "until", "next", "from", rows=rows, empty="The catalog has no rotations.")


@app.command("list")
def list_duties(
    rotation: Annotated[str | None, typer.Argument(help="One rotation; without it all of them.")] = None,
    days: Annotated[int, typer.Option(min=1, max=400, help="So far ahead.")] = 28,
) -> None:
    """List who is on call in the days to come; the number is that of an override."""
    from alerting import overrides
    from milepost.decisions import catalog

    with transaction() as (connection, now, _):
        routing = catalog.active(connection).routing
        if rotation is not None and rotation not in routing.rotations:
            raise NotFound(f"there is no rotation {rotation}")
        found = overrides.rosters(connection, routing, now, now + timedelta(days=days))
    rows = [
        (one.name, duty.since, duty.until, _who(routing, duty), duty.override)
        for one in found
        if rotation in (None, one.name)
        for duty in one.duties
    ]
    table("rotation", "from", "until", "on call", "number", rows=rows, empty="The catalog has no rotations.")


@override.command("add")
def add(
    rotation: Annotated[str, typer.Argument(help="Which rotation.")],
    person: Annotated[str, typer.Argument(help="Who stands in: a name of the catalog's people.")],
    starts: Annotated[str | None, typer.Option("--from", help="From when on. Default: now.")] = None,
    until: Annotated[str | None, typer.Option(help="Until when: 2026-12-24T18:00, in UTC unless it says so.")] = None,
    lasts: Annotated[str | None, typer.Option("--for", help="Or for how long: 8h, 2d.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Put somebody else on call for a while."""
    from alerting import overrides
    from milepost.decisions import catalog

    with transaction() as (connection, now, _):
        routing = catalog.active(connection).routing
        since = moment(starts) if starts else now
        ends_at = ending(since, lasts, until)
        number = overrides.add(
            connection, routing, rotation=rotation, person=person, since=since, until=ends_at, reason=reason,
            actor=actor(), now=now,
        )  # fmt: skip
    notes.print(f"Override {number}: {person} is on call until {ends_at:%Y-%m-%d %H:%M:%SZ}.", highlight=False)


@override.command("end")
def end(number: Annotated[int, typer.Argument(parser=row_number, help="The number that `oncall list` shows.")]) -> None:
    """End it now; one that has not begun never does."""
    from alerting import overrides

    with transaction() as (connection, now, _):
        overrides.end(connection, number, actor=actor(), now=now)
    notes.print(f"Override {number} is over.", highlight=False)


def _who(routing: Routing, duty: Duty) -> str:
    person = routing.people.get(duty.person)
    name = f"{duty.person} ({person.title})" if person and person.title else duty.person
    return f"{name}, for {duty.instead_of}" if duty.instead_of else name
