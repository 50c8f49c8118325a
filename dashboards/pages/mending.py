"""What people do with the quarantine on its pages: buttons, and the callback behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import dash_mantine_components as dmc
from dash import ALL, Dash, Input, Output, State, html, no_update

from dashboards import words
from dashboards.buttons import notice, pressed
from dashboards.components.icons import icon
from dashboards.components.parts import card
from dashboards.context import Context
from dashboards.mending import AT_ONCE, RIGHT
from dashboards.routing import in_thread
from dashboards.session import current_person
from milepost.decisions.audit import MAX_REASON
from milepost.errors import MalformedBody
from milepost.inbox.quarantine import mend
from milepost.inbox.quarantine.mend import PASSED, Report, Verdict, Wanted

_GOOD, _BAD, _NEUTRAL = "teal", "red", "blue"
_TITLES: Final = {
    "accepted": "It goes on its way",
    "duplicate": "It is stored already",
    "conflict": "It contradicts what is stored",
    "refused": "It is refused again",
}


def button(act: str, number: int, text: str, mark: str, kind: str) -> html.Button:
    ident = {"type": "mend", "act": act, "number": number}
    return html.Button([icon(mark, 16), text], id=ident, n_clicks=0, className=f"mp-button {kind}")


def group_acts(group_id: int) -> Any:
    """Not alive: a reason is typed here."""
    return _acts(
        [
            button("try", group_id, "Try without effect", "search", ""),
            button("replay_group", group_id, "Replay all that are open", "arrow", "mp-primary"),
        ],
        group_id,
        button("discard_group", group_id, "Discard all that are open", "cross", ""),
    )


def row_acts(number: int, kind: str, *, vouch: bool) -> Any:
    """What can be done with one event. `vouch`: the reader may answer for what its sender may not send."""
    buttons = [button("replay", number, "Replay", "arrow", "mp-primary")]
    if kind == "conflict":
        buttons.append(button("new_id", number, "Take it too, with an id of its own", "copy", ""))
    if kind == "forbidden" and vouch:
        buttons.append(button("vouch", number, "Vouch for it and replay", "policy", ""))
    return _acts(buttons, number, button("discard", number, "Discard", "cross", ""))


def _acts(buttons: Sequence[html.Button], number: int, discard: html.Button) -> Any:
    reason = dmc.TextInput(
        id={"type": "mend-reason", "row": number},
        placeholder="Why it is discarded",
        size="sm",
        className="mp-reason",
        inputProps={"aria-label": "Why it is discarded", "maxLength": MAX_REASON},
    )
    row = html.Div([*buttons, html.Div([reason, discard], className="mp-discard")], className="mp-mend")
    return card(row, name="mend", alive=False, className="mp-block")


def register(app: Dash, context: Context) -> None:
    @app.callback(
        Output("notices", "sendNotifications", allow_duplicate=True),
        Input({"type": "mend", "act": ALL, "number": ALL}, "n_clicks"),
        State({"type": "mend-reason", "row": ALL}, "value"),
        State({"type": "mend-body", "row": ALL}, "value"),
        prevent_initial_call=True,
    )
    @in_thread
    def act(_: Any, reasons: Sequence[str | None], bodies: Sequence[str | None]) -> Any:
        button = pressed()
        if button is None:
            return no_update
        reason, body = next(iter(reasons), None), next(iter(bodies), None)
        return [notice(*perform(context, button["act"], int(button["number"]), reason or "", body or ""))]


def perform(context: Context, act: str, number: int, reason: str, body: str) -> tuple[str, str, str]:
    """Do it as the person who asks: title, text and colour of the notice. Raises MilepostError."""
    person = current_person.get()
    person.require(RIGHT)
    if act in ("try", "replay_group"):
        wanted, dry = Wanted(group_id=number), act == "try"
        return _told_many(context.replays.many(wanted, actor=person.name, dry_run=dry, limit=AT_ONCE), dry=dry)
    if act in ("discard", "discard_group"):
        chosen = Wanted(group_id=number) if act == "discard_group" else Wanted(ids=[number])
        return _discard(context, chosen, reason, person.name)
    if act in ("save", "save_replay"):
        with context.engine.begin() as connection:
            mend.edit(connection, number, body.encode("utf-8", "surrogatepass"), actor=person.name, now=context.clock())
        if act == "save":
            return "Kept", "What came is kept beside it.", _GOOD
    if act == "vouch":
        person.require("administer")
    elif act not in ("save_replay", "replay", "new_id"):
        raise MalformedBody(f"there is no act {act}")
    return _told(context.replays.one(number, actor=person.name, vouch=act == "vouch", new_id=act == "new_id"))


def _discard(context: Context, wanted: Wanted, reason: str, actor: str) -> tuple[str, str, str]:
    with context.engine.begin() as connection:
        done = mend.discard(connection, wanted, reason=reason, actor=actor, now=context.clock(), limit=AT_ONCE)
    more = " There are more: press it again." if done == AT_ONCE else ""
    return "Discarded", f"{words.many(done, 'event')}.{more}", _GOOD


def _told(verdict: Verdict) -> tuple[str, str, str]:
    good = verdict.outcome in PASSED
    text = verdict.note or "The page follows within a moment."
    return _TITLES[verdict.outcome], text, _GOOD if good else _BAD


def _told_many(report: Report, *, dry: bool) -> tuple[str, str, str]:
    told = ", ".join(f"{words.count(number)} {outcome}" for outcome, number in sorted(report.outcomes.items()))
    notes = "; ".join(note for note, _ in report.notes.most_common(2))
    more = "There are more: press it again." if report.more else ""
    text = ". ".join(part for part in (told or "Nothing is open", notes, more) if part)
    return ("What would come of it" if dry else "Replayed"), text, _NEUTRAL if dry else _GOOD
