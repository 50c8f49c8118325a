"""How an explanation reads in a terminal: the same sentences as on the journey's page."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from milepost.cli.output import out, table
from milepost.explanation import Change, Effect, Explanation, Preview, Standing, Tie, Told


def show(found: Explanation, *, everything: bool = False) -> None:
    """Print an explanation; with `everything` every single change."""
    _members(found)
    _kept_out(found)
    _odd(found)
    _missing(found)
    _changes(found.changes, everything=everything)
    if found.rulings:
        say("")
        rows = [(one.number, one.text, one.actor, one.at, one.reason) for one in found.rulings]
        table("decision", "", "by", "at", "reason", rows=rows, empty="")
    if found.note:
        say(f"\nNote: {found.note}.")


def preview(found: Preview) -> None:
    """Print what a decision would do."""
    rows = [(f"{one.kind} {one.root.key}", _change(one), _names(one.joined), _names(one.left)) for one in found.effects]
    table("journey", "", "joins", "leaves", rows=rows, empty="" if found.note else "No journey changes.")
    if found.note:
        say(f"Note: {found.note}.")


def say(text: str) -> None:
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def at(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")


def _members(found: Explanation) -> None:
    rows = []
    for one in found.members:
        proof = one.ties[0] if one.ties else None
        through = str(one.via) if one.via is not None else "the root"
        rows.append(("  " * min(one.depth, 8) + str(one.thing), through, *_proof(proof)))
        rows += [("", f"also {other}", *_proof(tie)) for other, tie in one.also]
    table("member", "through", "how", "proven by", rows=rows, empty="It has no members.")


def _proof(tie: Tie | None) -> tuple[str, str]:
    if tie is None:
        return "", ""
    return tie.text, _event(tie.event) if tie.event else f"decision {tie.decision}"


def _event(event: Told) -> str:
    late = f", received {_span(event.delay)} later" if event.delay >= timedelta(seconds=1) else ""
    return f"{event.type or 'event'} {event.source} {event.id}, {at(event.occurred_at)}{late}"


def _kept_out(found: Explanation) -> None:
    if found.kept_out or found.shared:
        say("")
        rows = [(str(one.thing), str(one.beside), one.text) for one in found.kept_out]
        rows += [(one.correlation.key, _names(one.roots), one.text) for one in found.shared]
        table("kept out", "related to", "because", rows=rows, empty="")


def _odd(found: Explanation) -> None:
    if found.odd:
        say("")
        table("odd event", "", rows=[(_event(one.event), one.text) for one in found.odd], empty="")


def _missing(found: Explanation) -> None:
    shown = [one for one in found.missing if one.notable]
    if shown:
        say("")
        rows = [
            (one.name, one.since, one.until or "still", one.beyond, _event(one.filled_by) if one.filled_by else "")
            for one in shown
        ]
        table("missing", "from", "until", "while known", "then", rows=rows, empty="")


def _changes(changes: Iterable[Change], *, everything: bool) -> None:
    shown = [one for one in changes if everything or one.notable]
    if shown:
        say("")
        rows = [(one.at, one.text, _when(one), _event(one.cause) if one.cause else "") for one in shown]
        heading = "what became known" if everything else "what late evidence changed"
        table("received", heading, "time", "by", rows=rows, empty="")


def _when(change: Change) -> str:
    if change.was and change.now:
        return f"from {at(change.was)} to {at(change.now)}"
    moment = change.now or change.was
    return at(moment) if moment else ""


def _span(length: timedelta) -> str:
    return str(timedelta(seconds=int(length.total_seconds())))


def _change(effect: Effect) -> str:
    if effect.before is None:
        return "is new"
    if effect.after is None:
        return "is no more"
    before, after = _standing(effect.before), _standing(effect.after)
    return f"{before} becomes {after}" if before != after else "stays " + after


def _standing(one: Standing) -> str:
    return f"{one.state}, {one.stage}" if one.stage else one.state


def _names(things: Iterable[object]) -> str:
    return ", ".join(map(str, things))
