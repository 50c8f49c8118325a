"""What an alert's page tells of the wave: whom it concerns, what else belongs to it, what changed before it began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from dash import html

from alerting import text
from alerting.message import Related, journeys_path
from alerting.wave import Whom
from dashboards.components.parts import ago, card, link
from dashboards.queries import alerts as queries

RELATED: Final = 5
"""So many related alerts are named."""


def facts(connection: sa.Connection, alert: queries.Alert) -> list[tuple[str, Any]]:
    """Names and values for the head of the page."""
    return [
        ("Concerns", _journeys(alert, queries.whom(connection, alert))),
        ("Related", _related(queries.related(connection, alert))),
    ]


def _journeys(alert: queries.Alert, whom: Whom) -> Any:
    """Its journeys, all of them in a list."""
    if not whom.journeys:
        return None
    return link(text.concerns(*whom), journeys_path(alert.alert_id), className="mp-link")


def _related(related: Sequence[Related]) -> Any:
    """Alerts of the same wave, and what they share with this one."""
    if not related:
        return None
    return html.Div(
        [
            html.Div([link(one.title, one.url, className="mp-link"), f" ({text.named(one.shared)})"])
            for one in related[:RELATED]
        ]
    )


def before_card(alert: queries.Alert) -> Any:
    """What changed before it began: what somebody would look up first."""
    changes = alert.known.before
    if not changes:
        return None
    lines = [
        html.Li([html.I(className="mp-info"), html.Span(change.text), ago(change.at, "time")]) for change in changes
    ]
    return card(html.Ul(lines, className="mp-log"), name="before", title="Before it began")
