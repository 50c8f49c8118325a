"""The first run: the one line that makes the first journey appear, and the next three steps."""

from __future__ import annotations

import json
from typing import Any, Final

from dash import Dash, Input, Output, State, html

from dashboards.components.icons import icon
from dashboards.components.parts import copy_line
from dashboards.context import Context
from dashboards.routing import in_thread
from dashboards.session import current_person
from dashboards.view import View
from milepost import auth
from milepost.decisions import access
from milepost.errors import NotAuthenticated

EVENT: Final = {
    "type": "order.received",
    "data": {"keys": {"order": "S00001"}, "attributes": {"channel": "web", "amount": "129.90", "currency": "EUR"}},
}
_STEPS: Final = (
    ("plug", "Connect Odoo", "Sale orders, transfers, purchase orders and invoices follow by themselves.",
     "MILEPOST_ODOO_URL=https://…\nMILEPOST_ODOO_DATABASE=…\nMILEPOST_ODOO_USER=…\nMILEPOST_ODOO_PASSWORD=…"),
    ("history", "Import history", "What happened before teaches Milepost what is usual. Nobody is notified about it.",
     "milepost import csv orders.csv\n    --mapping mapping.yaml"),
    ("policy", "Write a policy", "Say what must happen by when; a clock then runs on every journey it matches.",
     "milepost catalog check my-catalog\nmilepost catalog apply my-catalog"),
)  # fmt: skip


def welcome(view: View) -> Any:  # noqa: ARG001 (all pages are drawn alike)
    return html.Div(
        [
            html.Div(
                [
                    html.Div(icon("journeys", 28), className="mp-empty-mark"),
                    html.H2("Send the first event"),
                    html.P("Paste this line into a terminal. An order appears here a moment later."),
                    html.Div(html.Div("…", className="mp-ghost mp-ghost-line"), id="quickstart-line"),
                    html.Div([html.I(), "Listening for the first event"], className="mp-live mp-listening"),
                ],
                className="mp-card mp-welcome",
            ),
            html.H3("And then", className="mp-then"),
            html.Div([_step(*step) for step in _STEPS], className="mp-steps"),
        ],
        className="mp-first",
    )


def _step(mark: str, name: str, text: str, command: str) -> html.Div:
    return html.Div(
        [html.Div(icon(mark, 20), className="mp-step-mark"), html.H4(name), html.P(text), html.Code(command)],
        className="mp-card mp-next",
    )


def curl_line(public_url: str, key: str) -> str:
    """One line for any shell that knows single quotes."""
    body = json.dumps(EVENT, separators=(",", ":"))
    return (
        f"curl -sS {public_url}/v1/events -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
        f" -d '{body}'"
    )


def register(app: Dash, context: Context) -> None:
    @app.callback(
        Output("quickstart-line", "children"), Output("quickstart", "data"),
        Input("quickstart-line", "id"), State("quickstart", "data"),
    )  # fmt: skip
    @in_thread
    def line(_: str, kept: str | None) -> Any:
        person = current_person.get()
        if not person.may("administer"):
            return html.P("Ask an administrator for an API key: milepost keys create", className="mp-dim"), kept
        key = kept if kept and _usable(context, kept) else _fresh(context, person.name)
        return copy_line(curl_line(context.settings.public_url, key), "curl"), key


def _usable(context: Context, text: str) -> bool:
    """Another session may have made a newer one, which revoked this."""
    try:
        key_id, secret = auth.split_key(text)
    except NotAuthenticated:
        return False
    with context.engine.connect() as connection:
        key = access.find_key(connection, key_id)
    return key is not None and key.usable(context.clock()) and auth.verify_secret(secret, key.secret_hash)


def _fresh(context: Context, actor: str) -> str:
    with context.engine.begin() as connection:
        return access.quickstart_key(connection, actor=actor, now=context.clock()).text
