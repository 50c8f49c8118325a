"""milepost journeys …"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from milepost.cli.access import actor, row_number, transaction, usual
from milepost.cli.output import notes, table
from milepost.cli.rebuild import FORMATS
from milepost.errors import ConfigurationError, Conflict, NotFound
from milepost.explanation import Proposal

if TYPE_CHECKING:
    import sqlalchemy as sa

    from dashboards.queries.choices import Chosen
    from dashboards.queries.journey import ClockRow, Head, Milestone
    from milepost.catalog.schema import Model
    from milepost.decisions.correlation import Act, Named

app = typer.Typer(help="Why a journey is as it is, and decisions about who belongs to whom.", no_args_is_help=True)
Name = Annotated[
    str,
    typer.Argument(
        help="TYPE:KEY, like order:S00024; customer_po:1001@partner=ACME in a namespace; order:S00024#1 after a split."
    ),
]
Namespace = Annotated[str | None, typer.Option(help="Where the key exists in several.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what it would do to journeys, and decide nothing.")]


# --- looking ----------------------------------------------------------------------------------------------------------


@app.command("explain")
def explain(
    kind: Annotated[str, typer.Argument(help="The journey model: order, shipment …")],
    key: Annotated[str, typer.Argument(help="The key of the journey's root.")],
    namespace: Namespace = None,
    epoch: Annotated[int | None, typer.Option(help="Where the key was split: 0 for the first object, 1 …")] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Every change, not only what late evidence changed.")
    ] = False,
) -> None:
    """Tell which event proved which link, what was kept out, what was missing when, and what late evidence changed."""
    from correlator.explain import explain as reasons_of
    from dashboards.queries import choices
    from dashboards.queries import journey as queries
    from milepost.cli import reasons
    from milepost.decisions import catalog as decided

    with transaction() as (connection, _, _):
        catalog = decided.active(connection)
        head = _only(queries.candidates(connection, catalog, kind, key, namespace), kind, key, epoch)
        model = catalog.models.get(kind)
        reached = queries.milestone_list(connection, head.journey_id)
        members = queries.member_list(connection, head.journey_id)
        clocks = queries.clock_list(connection, head.journey_id)
        why = choices.chosen(connection, catalog, clocks, queries.attributes(connection, head, members))
        explained = reasons_of(connection, catalog, head.journey_id)
    amount = f", {head.amount} {head.currency or ''}" if head.amount is not None else ""
    reasons.say(f"{kind} {head.key}: {head.state}, {head.stage or 'nothing reached'}{amount}")
    reasons.say(f"from {reasons.at(head.started_at)} to {reasons.at(head.last_at)}\n")
    _milestones(model, reached, {one.thing.type for one in explained.members})
    reasons.say("")
    _clocks(clocks, {member.object_id: f"{member.type} {member.key}" for member in members}, why)
    reasons.show(explained, everything=history)


def by_epoch(heads: Sequence[Head]) -> str:
    """The options that choose one of the journeys of a split key."""
    return ", ".join(f"--epoch {head.epoch} for {head.key}" for head in sorted(heads, key=lambda head: head.epoch))


def _only(heads: Sequence[Head], kind: str, key: str, epoch: int | None) -> Head:
    if not heads:
        raise NotFound(f"there is no {kind} journey {key}")
    spaces = sorted({head.namespace for head in heads})
    if len(spaces) > 1:
        raise Conflict(f"{key} exists in several namespaces; add --namespace with one of {', '.join(spaces)}")
    listed = by_epoch(heads)
    found = [head for head in heads if epoch in (None, head.epoch)]
    if not found:
        raise NotFound(f"{kind} {key} has no epoch {epoch}; there is {listed}")
    if len(found) > 1:
        raise Conflict(f"{key} was split; add {listed}")
    return found[0]


def _milestones(model: Model | None, reached: Sequence[Milestone], types: set[str]) -> None:
    """`types`: those of the members."""
    from milepost.gaps import missing

    first = {item.name: item for item in reached}
    absent = {step.name for step in missing(model, first, types)} if model is not None else set()
    rows = [
        (step.name, first[step.name].first_at, first[step.name].count, "")
        if step.name in first
        else (step.name, None, None, "missing: later ones were seen" if step.name in absent else "")
        for step in (model.milestones if model is not None else [])
    ]
    table("milestone", "reached", "events", "", rows=rows, empty="")


def _clocks(clocks: Sequence[ClockRow], names: Mapping[int, str], why: Chosen) -> None:
    """Each with the reason for which its policy runs."""
    from milepost.cli import reasons

    rows = [
        (
            clock.policy,
            names.get(clock.subject_id),
            f"{clock.state} since {reasons.at(clock.paused_at)} by {clock.paused_by}"
            if clock.paused_at
            else clock.state,
            clock.due_at,
            why.get((clock.policy, clock.subject_id), ""),
        )
        for clock in clocks
    ]
    if rows:
        table("promise", "of", "state", "due", "because", rows=rows, empty="")
        reasons.say("")


@app.command("hubs")
def list_hubs() -> None:
    """List the keys that too many share to mean anything: they join nothing."""
    import sqlalchemy as sa

    from milepost.db.tables import hubs

    with transaction() as (connection, _, _):
        rows = connection.execute(sa.select(hubs).order_by(hubs.c.found_at.desc()).limit(500)).all()
    listed = [
        (f"{row.type}:{row.key}", f"{row.parents} of type {row.parent_type}", ", ".join(row.sources), row.found_at)
        for row in rows
    ]
    table("object", "named by", "sources", "found", rows=listed, empty="There are no hubs.")


@app.command("reused")
def list_reused(
    days: Annotated[int, typer.Option(min=1, max=36_500, help="So many days after the first time, or more.")] = 30,
) -> None:
    """List the keys that look used again: the first step of their journey came again long afterwards."""
    import sqlalchemy as sa

    from milepost.db.tables import journeys as j
    from milepost.db.tables import milestones as m

    again = m.c.last_at - m.c.reached_at
    query = (
        sa.select(j.c.root_type, j.c.key, j.c.namespace, m.c.name, m.c.reached_at, m.c.last_at)
        .join(j, j.c.journey_id == m.c.journey_id)
        .where(m.c.rank == 0, again >= timedelta(days=days))
        .order_by(again.desc(), m.c.journey_id)
        .limit(500)
    )
    with transaction() as (connection, _, _):
        rows = connection.execute(query).all()
    listed = [(f"{row[0]}:{row[1]}" + f"@{row[2]}" * bool(row[2]), *row[3:]) for row in rows]
    table("object", "step", "first", "again", rows=listed, empty="No key looks used again.")


# --- deciding ---------------------------------------------------------------------------------------------------------


@app.command("cut")
def cut(one: Name, other: Name, reason: Reason, dry_run: DryRun = False) -> None:
    """Let the relation between two objects count for nothing, whatever proves it."""
    _decide("cut", one, other, reason, dry_run=dry_run)


@app.command("exclude")
def exclude(root: Name, member: Name, reason: Reason, dry_run: DryRun = False) -> None:
    """Take an object out of the journey of a root, by whatever path it came in."""
    _decide("exclude", root, member, reason, dry_run=dry_run)


@app.command("merge")
def merge(name: Name, other: Name, reason: Reason, dry_run: DryRun = False) -> None:
    """Say that OTHER is the same thing as NAME, whose name stays."""
    _decide("merge", name, other, reason, dry_run=dry_run)


@app.command("lift")
def lift(hub: Name, reason: Reason, dry_run: DryRun = False) -> None:
    """Say that an object is no hub, however many share it."""
    _decide("lift", hub, None, reason, dry_run=dry_run)


@app.command("split")
def split(
    kind: Annotated[str, typer.Argument(help="The type of the key: order, shipment …")],
    key: Annotated[str, typer.Argument(help="The key that names another thing now.")],
    since: Annotated[
        datetime,
        typer.Option("--from", help="Events that happened then or later mean the other one (UTC).", formats=FORMATS),
    ],
    reason: Reason,
    namespace: Namespace = None,
) -> None:
    """Say that a key names another thing from a time on: a partner's numbers began again."""
    from milepost.decisions import correlation

    with transaction() as (connection, now, _):
        first = correlation.find(connection, kind, _known(connection, kind, key), namespace, 0)
        number = correlation.decide(
            connection, "split", first, actor=actor(), reason=reason, now=now, since=usual(since)
        )
    notes.print(f"Decision {number}; journeys follow in a moment.", highlight=False)


@app.command("reverse")
def reverse(
    number: Annotated[int, typer.Argument(parser=row_number, help="As `decisions` shows it.")],
    reason: Reason,
    dry_run: DryRun = False,
) -> None:
    """Take a decision back."""
    from milepost.decisions import correlation

    with transaction() as (connection, now, _):
        if dry_run:
            _preview(connection, Proposal("reverse", reverses=number))
            return
        correlation.reverse(connection, number, actor=actor(), reason=reason, now=now)
    notes.print(f"Decision {number} is taken back; journeys follow in a moment.", highlight=False)


@app.command("decisions")
def list_decisions() -> None:
    """List the decisions that count."""
    from milepost.decisions import correlation

    with transaction() as (connection, _, _):
        found = correlation.effective(connection)
        ids = {number for item in found for number in (item.first_id, item.second_id) if number is not None}
        names = correlation.names_of(connection, sorted(ids))
    rows = [
        (
            item.decision_id,
            item.act,
            names.get(item.first_id),
            item.since or names.get(item.second_id or 0),
            item.actor,
            item.at,
            item.reason,
        )
        for item in found
    ]
    table("number", "act", "first", "second, or from", "by", "at", "reason", rows=rows, empty="Nothing is decided.")


def _decide(act: Act, one: str, other: str | None, reason: str, *, dry_run: bool) -> None:
    from milepost.decisions import correlation

    with transaction() as (connection, now, _):
        first = _named(connection, one)
        second = _named(connection, other) if other is not None else None
        if dry_run:
            _preview(connection, Proposal(act, first.object_id, second.object_id if second is not None else None))
            return
        number = correlation.decide(connection, act, first, second, actor=actor(), reason=reason, now=now)
    notes.print(f"Decision {number}; journeys follow in a moment.", highlight=False)


def _preview(connection: sa.Connection, proposal: Proposal) -> None:
    from correlator.preview import preview
    from milepost.cli import reasons
    from milepost.decisions import catalog as decided

    reasons.preview(preview(connection, decided.active(connection), proposal))


def _named(connection: sa.Connection, text: str) -> Named:
    from milepost.decisions import correlation

    kind, colon, key = text.partition(":")
    if not colon or not key:
        raise ConfigurationError(f"{text}: write an object as TYPE:KEY, like order:S00024")
    meant = [(_known(connection, kind, stem), namespace, epoch) for stem, namespace, epoch in _readings(key)]
    found = (one for one in meant if correlation.epochs(connection, kind, one[0]))
    return correlation.find(connection, kind, *next(found, meant[0]))


def _readings(text: str) -> Iterator[tuple[str, str | None, int | None]]:
    """(key, namespace, epoch) that a text may mean, a key with @ or # in it before all else."""
    plain, _, space = text.rpartition("@")
    spaced = [(text, None), (plain, space)] if plain and "=" in space else [(text, None)]
    yield from ((key, namespace, None) for key, namespace in spaced)
    for key, namespace in spaced:
        stem, _, number = key.rpartition("#")
        if stem and number.isdecimal():
            yield stem, namespace, int(number)


def _known(connection: sa.Connection, kind: str, key: str) -> str:
    """A key as it is stored."""
    from milepost.catalog.keys import normalise
    from milepost.decisions import catalog as decided

    return normalise(decided.active(connection), kind, key) or key
