"""Where the link in a notification leads: GET shows a button, POST acknowledges. Whoever has the link may.

GET changes nothing, as scanners of mails and previews of chats follow every link.
"""

from __future__ import annotations

from html import escape
from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from alerting import acklink, commands
from alerting.acklink import Link, Links
from alerting.text import when
from dashboards.context import Context
from dashboards.gate import content_policy
from dashboards.problems import ProblemRoute
from dashboards.queries import alerts
from dashboards.queries.alerts import Alert
from milepost.errors import NotAuthenticated


def make_acknowledge(context: Context) -> APIRouter:
    """The route /acknowledge/{token}."""
    router = APIRouter(include_in_schema=False, route_class=ProblemRoute)
    links = Links.of(context.settings)

    def answer(token: str, *, act: bool) -> Response:
        now = context.clock()
        try:
            link = links.read(token, now=now)
        except NotAuthenticated as error:
            return page("This link can't be used", f"{error}. Open the alert in Milepost instead.", status=403)
        with context.engine.begin() as connection:
            alert = alerts.one(connection, link.alert_id)
            if act and alert is not None and alert.state == "firing":
                commands.acknowledge(connection, link.alert_id, actor=link.actor, now=now)
                return page(alert.title, f"Acknowledged as {link.actor}. Milepost notifies nobody else.")
        return _shown(link, alert)

    @router.get(acklink.PATH + "{token}")
    def look(token: str) -> Response:
        return answer(token, act=False)

    @router.post(acklink.PATH + "{token}")
    def acknowledge(token: str) -> Response:
        return answer(token, act=True)

    return router


def _shown(link: Link, alert: Alert | None) -> Response:
    if alert is None:
        return page("This alert is not there any more", "It is older than what is kept.", status=404)
    if alert.state == "resolved":
        return page(alert.title, f"It is over. {alert.summary}")
    if alert.state == "acknowledged":
        at = f", {when(alert.acknowledged_at)}" if alert.acknowledged_at else ""
        return page(alert.title, f"Acknowledged already: {alert.acknowledged_by}{at}.")
    note = f"Noted as: {link.actor}. The link works until {when(link.expires_at)}."
    return page(alert.title, alert.summary, _BUTTON.format(note=escape(note)))


def page(title: str, text: str, action: str = "", status: int = 200) -> HTMLResponse:
    """A page of one card. `action` is HTML, the others are text."""
    headers = {"Content-Security-Policy": content_policy(()), "Cache-Control": "no-store"}
    return HTMLResponse(_PAGE.format(title=escape(title), text=escape(text), action=action), status, headers)


_BUTTON: Final = """<form method="post">
<button type="submit">Acknowledge</button>
</form>
<p class="mp-login-foot">{note}</p>"""

_PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title} · Milepost</title>
<link rel="icon" href="/assets/mark.svg" type="image/svg+xml">
<script src="/assets/scheme.js"></script>
<link rel="stylesheet" href="/assets/base.css">
<link rel="stylesheet" href="/assets/login.css">
</head>
<body class="mp-login">
<main class="mp-login-card">
<img src="/assets/mark.svg" width="44" height="44" alt="">
<h1>{title}</h1>
<p class="mp-login-lead">{text}</p>
{action}
</main>
</body>
</html>
"""
