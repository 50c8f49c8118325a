"""milepost quarantine …"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from milepost.cli.access import actor, row_number
from milepost.cli.output import notes, out, table
from milepost.errors import Permanent

if TYPE_CHECKING:
    from dashboards.queries.quarantine import Detail
    from milepost.inbox.quarantine.mend import Report, Verdict, Wanted
    from milepost.wiring.resources import Resources

app = typer.Typer(help="Events that were refused or contradict what is stored: mend and replay.", no_args_is_help=True)
Number = Annotated[int, typer.Argument(parser=row_number, help="The number that `quarantine list` shows.")]
Numbers = Annotated[list[int] | None, typer.Argument(parser=row_number, help="Numbers that `quarantine list` shows.")]
Group = Annotated[
    int | None,
    typer.Option(
        parser=row_number, metavar="NUMBER", help="All of a group, by the number that `quarantine groups` shows."
    ),
]
Source = Annotated[str | None, typer.Option(help="Those of one source.")]
Kind = Annotated[str | None, typer.Option(help="malformed, forbidden, mapping, conflict or failed.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON, as the HTTP API answers.")]


@app.command("groups")
def list_groups(
    source: Source = None,
    kind: Kind = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those with nothing open.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="The latest so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List what fails in the same way, with counts. Not kept are repetitions, and what went over a bound."""
    from dashboards.queries import quarantine as queries
    from dashboards.shapes import quarantine_group

    with _database() as resources, resources.engine.connect() as connection:
        found = queries.group_page(connection, source=source, kind=_kind(kind), closed=everything, limit=limit).items
    if as_json:
        return _print([quarantine_group(group) for group in found])
    rows = (
        (group.group_id, group.kind, group.source, group.open, group.replayed, group.discarded,
         group.repeated + group.unkept + group.thinned, group.last_at, group.rule)
        for group in found
    )  # fmt: skip
    columns = ("group", "kind", "source", "open", "replayed", "discarded", "not kept", "last", "rule")
    return table(*columns, rows=rows, empty="Nothing is in quarantine.")


@app.command("list")
def list_rows(
    group: Group = None,
    source: Source = None,
    kind: Kind = None,
    state: Annotated[str, typer.Option(help="open, replayed, discarded or any.")] = "open",
    limit: Annotated[int, typer.Option(min=1, max=500, help="The latest so many.")] = 50,
    as_json: Json = False,
) -> None:
    """List events in quarantine, the latest first."""
    from dashboards.queries import quarantine as queries
    from dashboards.shapes import quarantine_row

    wanted = None if state == "any" else state
    with _database() as resources, resources.engine.connect() as connection:
        found = queries.row_page(
            connection, group_id=group, source=source, kind=_kind(kind), state=wanted, limit=limit
        ).items
    if as_json:
        return _print([quarantine_row(row) for row in found])
    rows = ((row.quarantine_id, row.group_id, row.state, row.kind, row.source, row.event_id, row.received_at, row.note
             or row.reason) for row in found)  # fmt: skip
    columns = ("number", "group", "state", "kind", "source", "id", "received", "reason")
    return table(*columns, rows=rows, empty="Nothing is in quarantine.")


@app.command("show")
def show(
    number: Number,
    raw: Annotated[bool, typer.Option("--raw", help="Only the body, byte for byte as it came.")] = False,
    as_json: Json = False,
) -> None:
    """Show one event: why it is here, its body with the place marked, its edits, and what it contradicts."""
    from dashboards.shapes import quarantine_detail

    with _database() as resources:
        found = _detail(resources, number)
    if raw:
        sys.stdout.buffer.write(found.body)
    elif as_json:
        _print(quarantine_detail(found))
    else:
        _show(found)


def _show(found: Detail) -> None:
    from milepost.inbox.quarantine.body import differences, marked

    row = found.row
    facts: dict[str, Any] = {
        "state": row.state, "kind": row.kind, "source": row.source, "id": row.event_id, "reason": row.reason,
        "received": f"{row.received_at:%Y-%m-%d %H:%M:%SZ}", "way": row.way,
        "sent by": row.sender, "group": row.group_id,
        "last act": f"{row.acted_by} at {row.acted_at:%Y-%m-%d %H:%M:%SZ}" if row.acted_at else None,
        "outcome": row.outcome, "note": row.note,
    }  # fmt: skip
    for name, value in facts.items():
        if value is not None:
            out.print(f"{name + ':':<10} {value}", markup=False, highlight=False, soft_wrap=True)
    for revision in found.revisions:
        text = f"edit {revision.revision}:    {revision.actor} at {revision.at:%Y-%m-%d %H:%M:%SZ}"
        out.print(text, markup=False, highlight=False)
    out.print()
    for line in marked(found.present, found.complaint, found.before):
        out.print(f"{'>' if line.marked else ' '} {line.text}", markup=False, highlight=False, soft_wrap=True)
    if found.stands is not None:
        rows = differences(found.stands, found.present)
        table("differs in", "stored", "this one", rows=rows, empty="It differs in nothing that counts.")


@app.command("edit")
def edit(
    numbers: Numbers = None,
    group: Group = None,
    source: Source = None,
    kind: Kind = None,
    file: Annotated[
        str | None, typer.Option(help="Take the new body from a file, or from standard input with -.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="data.keys.order=S00001, or JSON with data.links:=[]: change one value. Repeatable."
        ),
    ] = None,
) -> None:
    """Mend a body in $EDITOR or from a file, or many at once value by value. What came is kept beside it."""
    from milepost.inbox.quarantine import mend

    with _database() as resources:
        if changes:
            return _edit_many(resources, _wanted(numbers, group, source, kind), changes)
        if not numbers or len(numbers) != 1 or group or source or kind:
            raise Permanent("give one number; many are edited with --set")
        body = _new_body(resources, numbers[0], file)
        with resources.engine.begin() as connection:
            revision = mend.edit(connection, numbers[0], body, actor=actor(), now=resources.clock())
    return notes.print(f"Edit {revision} of {numbers[0]} is kept. Next: milepost quarantine replay", highlight=False)


def _new_body(resources: Resources, number: int, file: str | None) -> bytes:
    from milepost.inbox.quarantine.body import editable, readable

    found = _detail(resources, number)
    if file is not None:
        return sys.stdin.buffer.read() if file == "-" else _read(Path(file))
    if not editable(found.present):
        raise Permanent("this is no text in UTF-8, and an editor would spoil it: show --raw, and edit --file")
    written = click.edit(readable(found.present, found.before), extension=".json")
    if written is None:
        raise Permanent("nothing was saved, so nothing is changed")
    return written.encode()


def _edit_many(resources: Resources, wanted: Wanted, changes: list[str]) -> None:
    from milepost.inbox.quarantine import mend
    from milepost.inbox.quarantine.body import changed

    values = _pairs(changes)
    rows = seen = 0
    last: int | None = 0
    while last is not None:
        with resources.engine.begin() as connection:
            done = mend.edit_many(
                connection, wanted, partial(changed, changes=values), actor=actor(), now=resources.clock(), after=last
            )
        rows, seen, last = rows + done.rows, seen + done.seen, done.last
    notes.print(f"{rows} of {seen} edited. Next: milepost quarantine replay", highlight=False)


@app.command("replay")
def replay(
    numbers: Numbers = None,
    group: Group = None,
    source: Source = None,
    kind: Kind = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would come of it.")] = False,
    new_id: Annotated[
        bool, typer.Option("--new-id", help="Give it an id of its own first: take this version of a conflict too.")
    ] = False,
    vouch: Annotated[bool, typer.Option("--vouch", help="Also what its sender has no right to send.")] = False,
    as_json: Json = False,
) -> None:
    """Judge events once more, and take in those that pass. Doing it twice does no harm."""
    from milepost.wiring.web import replayer as made_for

    with _database() as resources:
        replayer = made_for(resources)
        if numbers and len(numbers) == 1 and not dry_run:
            verdict = replayer.one(numbers[0], actor=actor(), vouch=vouch, new_id=new_id)
            return _tell_verdict(verdict, as_json)
        if new_id:
            raise Permanent("--new-id goes with one number")
        wanted = _wanted(numbers, group, source, kind)
        report = replayer.many(wanted, actor=actor(), vouch=vouch, dry_run=dry_run, limit=sys.maxsize)
    return _tell_report(report, as_json, dry_run)


@app.command("discard")
def discard(
    numbers: Numbers = None,
    group: Group = None,
    source: Source = None,
    kind: Kind = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
) -> None:
    """Close events without replaying them. They stay readable until retention takes them."""
    from milepost.inbox.quarantine import mend

    wanted = _wanted(numbers, group, source, kind)
    total = 0
    with _database() as resources:
        while True:
            with resources.engine.begin() as connection:
                done = mend.discard(connection, wanted, reason=reason, actor=actor(), now=resources.clock())
            total += done
            if not done:
                break
    notes.print(f"{total} discarded.", highlight=False)


@contextmanager
def _database() -> Iterator[Resources]:
    from milepost.settings import Settings
    from milepost.wiring.resources import prepared

    with prepared(Settings.load(), "cli") as resources:
        yield resources


def _kind(name: str | None) -> Any:
    from typing import get_args

    from milepost.inbox.quarantine import Kind as Known

    if name is not None and name not in get_args(Known):
        raise typer.BadParameter(f"kind: one of {', '.join(get_args(Known))}")
    return name


def _wanted(numbers: list[int] | None, group: int | None, source: str | None, kind: str | None) -> Wanted:
    from milepost.inbox.quarantine.mend import Wanted

    return Wanted(numbers or None, group, source, _kind(kind))


def _detail(resources: Resources, number: int) -> Detail:
    from dashboards.queries import quarantine as queries

    with resources.engine.connect() as connection:
        return queries.known(connection, number)


def _pairs(changes: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for change in changes:
        path, equals, value = change.partition("=")
        if not equals or not path:
            raise typer.BadParameter(f"--set {change}: write it as data.keys.order=S00001")
        pairs[path] = value
    return pairs


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Permanent(f"{path}: {error.strerror}") from error


def _tell_verdict(verdict: Verdict, as_json: bool) -> None:
    from dashboards.shapes import quarantine_verdict

    if as_json:
        return _print(quarantine_verdict(verdict))
    text = f"{verdict.quarantine_id}: {verdict.outcome}" + (f": {verdict.note}" if verdict.note else "")
    return out.print(text, markup=False, highlight=False, soft_wrap=True)


def _tell_report(report: Report, as_json: bool, dry_run: bool) -> None:
    from dashboards.shapes import quarantine_report

    if as_json:
        return _print(quarantine_report(report))
    told = ", ".join(f"{number} {outcome}" for outcome, number in sorted(report.outcomes.items()))
    notes.print(("Would be: " if dry_run else "Replayed: ") + (told or "nothing is open"), highlight=False)
    for note, number in report.notes.most_common():
        notes.print(f"{number:>7}  {note}", markup=False, highlight=False, soft_wrap=True)
    return None


def _print(value: Mapping[str, Any] | list[dict[str, Any]]) -> None:
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    out.print(text, markup=False, highlight=False, soft_wrap=True)
