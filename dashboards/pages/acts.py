"""What people do on pages: callbacks with an effect. Commands do it; here only rights are checked."""

from __future__ import annotations

from typing import Any

from dash import ALL, Dash, Input, Output, no_update

from alerting import commands
from dashboards.buttons import notice, pressed
from dashboards.context import Context
from dashboards.pages import decisions, firstrun, mending, oncall, silence_new
from dashboards.routing import in_thread
from dashboards.session import current_person

_DONE = {"acknowledge": "Acknowledged", "resolve": "Resolved"}


def register(app: Dash, context: Context) -> None:
    firstrun.register(app, context)
    mending.register(app, context)
    decisions.register(app, context)
    silence_new.register(app, context)
    oncall.register(app, context)

    @app.callback(
        Output("notices", "sendNotifications", allow_duplicate=True),
        Input({"type": "act", "act": ALL, "alert": ALL}, "n_clicks"),
        prevent_initial_call=True,
    )
    @in_thread
    def act(_: Any) -> Any:
        button = pressed()
        if button is None:
            return no_update
        perform(context, button["act"], int(button["alert"]))
        return [notice(_DONE[button["act"]], "The page follows within a moment.")]


def perform(context: Context, act: str, alert_id: int) -> None:
    """Acknowledge or resolve as the person who asks. Raises NotAllowed, NotFound or Conflict."""
    person = current_person.get()
    person.require("act")
    now = context.clock()
    with context.engine.begin() as connection:
        if act == "acknowledge":
            commands.acknowledge(connection, alert_id, actor=person.name, now=now)
        elif act == "resolve":
            commands.resolve(connection, alert_id, actor=person.name, now=now, reason="")
