"""Whom an alert reached by which way, and who hears of it next, as long as nobody acknowledges it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from dash import html

from alerting import escalate, overrides
from alerting.desk import calendars_of
from alerting.escalate import Rung
from dashboards import words
from dashboards.components.parts import ago
from dashboards.context import Context
from dashboards.queries import alerts as queries


def calls_next(context: Context, connection: sa.Connection, alert_id: int, now: datetime) -> Any:
    """What is told next and when, for the alert's head; None when nothing is to come."""
    state = escalate.read(queries.escalation(connection, alert_id))
    if state == escalate.State():
        return None
    catalog = context.catalog()
    desk = overrides.desk(connection, catalog.routing, calendars_of(catalog), now)
    return [_line(at, rung, desk.reach(rung.names)) for at, rung in escalate.upcoming(state, desk)] or None


def _line(at: datetime | None, rung: Rung, channels: list[str]) -> html.Div:
    when = [" ", ago(at, "left")] if at is not None else " once it is no longer silenced"
    why = "" if rung.number else ", when the hours of its route begin"
    return html.Div([html.B(", ".join(channels)), *([when] if isinstance(when, str) else when), why])


def told(change: Mapping[str, Any]) -> str:
    """Whom a route or an escalation reached, and who was on call."""
    detail = change["detail"]
    on_call = [f"{person} ({rotation})" for rotation, person in detail["on_call"].items()]
    reached = [name.replace("/", " → ") for name in detail["channels"]] or ["nobody"]
    ways = ", ".join(detail.get("routes") or [detail["route"]])
    after = f", after {words.span(timedelta(seconds=detail['after_seconds']))}" if detail.get("after_seconds") else ""
    called = f"; on call: {', '.join(on_call)}" if on_call else ""
    return f"{', '.join(reached)} (route {ways}{after}){called}"
