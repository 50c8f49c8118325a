"""milepost silences …"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer

from milepost.cli.access import actor, ending, length, moment, row_number, transaction
from milepost.cli.output import notes, out, table
from milepost.errors import NotFound, Permanent

if TYPE_CHECKING:
    import sqlalchemy as sa

    from alerting.silence_preview import Sum
    from milepost.catalog.matcher import Matcher

app = typer.Typer(help="What is kept from people for a while, and what that hides.", no_args_is_help=True)
Number = Annotated[int, typer.Argument(parser=row_number, help="The number that `silences list` shows.")]
Matchers = Annotated[
    list[str] | None,
    typer.Argument(help="What it is about: warehouse=north, carrier!=dhl,ups, rule=picking-*. All must match."),
]


@app.command("add")
def add(
    matchers: Matchers = None,
    reason: Annotated[str, typer.Option(help="Why, for others and for the record.")] = "",
    lasts: Annotated[str | None, typer.Option("--for", help="For how long: 2h, 3d.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Or until when: 2026-12-24T18:00, in UTC unless it says so.")
    ] = None,
    starts: Annotated[str | None, typer.Option("--from", help="From when on. Default: now.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whom its reminder is routed to (label owner).")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Yes, it may match whatever happens; 4 hours at most.")
    ] = False,
) -> None:
    """Silence what matches: it is recorded, and told at the end if it is still wrong."""
    from alerting import silences

    wanted = _read(matchers)
    with transaction() as (connection, now, _):
        starts_at = moment(starts) if starts else now
        ends_at = ending(starts_at, lasts, until)
        asked = silences.Wanted(wanted, reason, starts_at, ends_at, owner, everything)
        number = silences.add(connection, asked, actor=actor(), now=now, admin=True)
        _tell_preview(connection, wanted, since=now - timedelta(days=7), spans=None)
    notes.print(f"Silence {number} until {ends_at:%Y-%m-%d %H:%M:%SZ}.", highlight=False)


@app.command("list")
def list_silences(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="The newest so many.")] = 50,
) -> None:
    """List silences and maintenance windows: when they last, what they hide."""
    from alerting import silences, windows
    from dashboards.queries import hidden
    from dashboards.silencing import STATES
    from milepost.catalog.matcher import said
    from milepost.decisions import catalog as decided

    states = [*STATES["open"], *(STATES["over"] if everything else ())]
    with transaction() as (connection, now, _):
        found = silences.some(connection, states, now=now, limit=limit)
        planned = decided.active(connection).windows
        names = [*(one.cover().name for one in found), *(f"window {name}" for name in planned)]
        counts = hidden.counts(connection, "silence", names)
    rows: list[tuple[object, ...]] = []
    for one in found:
        count = counts[one.cover().name]
        when = (one.state(now), said(one.matchers), one.starts_at, one.over_at)
        rows.append((one.silence_id, *when, count.hides, count.kept, one.created_by, one.reason))
    for name, window in planned.items():
        span, count = windows.open_span(window, now), counts[f"window {name}"]
        shown = span or windows.next_span(window, now) or (None, None)
        state = "open" if span else "closed"
        rows.append(
            (f"window {name}", state, said(window.matchers), *shown, count.hides, count.kept, None, window.title)
        )
    columns = ("number", "state", "matches", "from", "until", "hides", "kept", "by", "reason")
    table(*columns, rows=rows, empty="There are no silences.")


@app.command("show")
def show(number: Number) -> None:
    """Show a silence, and what it kept from people."""
    from alerting import silences
    from milepost.catalog.matcher import said

    with transaction() as (connection, now, _):
        one = silences.one(connection, number)
        facts = {
            "state": one.state(now), "matches": said(one.matchers), "reason": one.reason, "by": one.created_by,
            "from": f"{one.starts_at:%Y-%m-%d %H:%M:%SZ}", "until": f"{one.ends_at:%Y-%m-%d %H:%M:%SZ}",
            "ended": f"by {one.ended_by} at {one.ended_at:%Y-%m-%d %H:%M:%SZ}" if one.ended_at else None,
            "owner": one.owner,
        }  # fmt: skip
        for name, value in facts.items():
            if value:
                out.print(f"{name + ':':<9}{value}", markup=False, highlight=False, soft_wrap=True)
        _list_kept(connection, one.cover().name)


@app.command("preview")
def preview(
    matchers: Matchers = None,
    window: Annotated[str | None, typer.Option(help="Instead: a maintenance window of the catalog.")] = None,
    since: Annotated[str, typer.Option(help="Look so far back: 7d, 12h.")] = "7d",
) -> None:
    """Tell what a silence would hide now, and what of the last days it would have kept."""
    from alerting import windows
    from milepost.decisions import catalog as decided

    with transaction() as (connection, now, _):
        start = now - length(since)
        if window is None:
            _tell_preview(connection, _read(matchers), since=start, spans=None)
            return
        found = decided.active(connection).windows
        if window not in found:
            raise NotFound(f"the catalog has no window {window}; it has {', '.join(sorted(found)) or 'none'}")
        spans = list(windows.spans(found[window], start, now))
        following = windows.open_span(found[window], now) or windows.next_span(found[window], now)
        _tell_preview(connection, found[window].matchers, since=start, spans=spans)
        if following:
            text = f"Next: {following[0]:%Y-%m-%d %H:%M:%SZ} to {following[1]:%Y-%m-%d %H:%M:%SZ}."
            notes.print(text, highlight=False)
        _list_kept(connection, f"window {window}")


@app.command("end")
def end(number: Number) -> None:
    """End a silence before its time: what it hides and is still wrong is told."""
    from alerting import silences

    with transaction() as (connection, now, _):
        silences.end(connection, number, actor=actor(), now=now)
    notes.print(f"Silence {number} is over. What it hides is told in a moment.", highlight=False)


def _read(texts: Sequence[str] | None) -> tuple[Matcher, ...]:
    from milepost.catalog import matcher

    try:
        return tuple(matcher.read(text) for text in texts or ())
    except ValueError as error:
        raise Permanent(str(error)) from error


def _tell_preview(
    connection: sa.Connection,
    matchers: Sequence[Matcher],
    *,
    since: datetime,
    spans: Sequence[tuple[datetime, datetime]] | None,
) -> None:
    from alerting.silence_preview import preview as look

    seen = look(connection, matchers, since=since, spans=spans)
    out.print(f"Open now: {_summed(seen.now)}", markup=False, highlight=False, soft_wrap=True)
    out.print(f"Since {since:%Y-%m-%d %H:%M:%SZ}: {_summed(seen.past)}", markup=False, highlight=False, soft_wrap=True)
    rows = [(one.alert_id, one.state, one.items, one.title) for one in seen.now.found or seen.past.found]
    if rows:
        table("alert", "state", "items", "title", rows=rows, empty="")


def _summed(one: Sum) -> str:
    items, alerts = ("item" if one.items == 1 else "items"), ("alert" if one.alerts == 1 else "alerts")
    worth = f", {_money(one.money)}" if one.money else ""
    return f"{one.items} {items} of {one.alerts} {alerts}{worth}"


def _money(amounts: Mapping[str, Decimal]) -> str:
    return " + ".join(f"{amount:,.2f} {currency}".strip() for currency, amount in sorted(amounts.items()))


def _list_kept(connection: sa.Connection, name: str) -> None:
    from dashboards.queries import hidden

    rows = [
        (row.alert_id, row.journey_key or row.item, row.since, row.ended_at, row.end or "hidden", row.summary)
        for row in hidden.by(connection, "silence", name)
    ]
    columns = ("alert", "what", "since", "until", "now", "why")
    table(*columns, rows=rows, empty="It has kept nothing from anybody.")
