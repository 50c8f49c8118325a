"""Alerts: what needs somebody, and one of them with everything that is known about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from dash import html

from alerting.silence import Cover
from dashboards import words
from dashboards.components import filters
from dashboards.components.icons import icon
from dashboards.components.parts import (
    ago,
    badge,
    card,
    empty,
    facts,
    link,
    live,
    pager,
    state_badge,
    tone_of,
)
from dashboards.context import Context
from dashboards.pages import alert_items, escalation, wave
from dashboards.pages.alert_items import HIDDEN
from dashboards.pages.silences import hider_href, new_href
from dashboards.queries import alerts as queries
from dashboards.queries import feeds, hidden
from dashboards.queries.paging import DEFAULT_LIMIT
from dashboards.view import View
from milepost.decisions.audit import SYSTEM
from milepost.errors import Permanent

_STATES: Final = (
    ("open", "Open"),
    ("firing", "Firing"),
    ("acknowledged", "Acknowledged"),
    ("resolved", "Resolved"),
    ("any", "All"),
)
_KINDS: Final = (
    ("sla", "Deadlines"),
    ("objective", "Objectives"),
    ("anomaly", "Anomalies"),
    ("reconciliation", "Reconciliation"),
    ("platform", "Milepost itself"),
)
_SEVERITIES: Final = (("critical", "Critical"), ("warning", "Warning"), ("info", "Info"))
_CHANGES: Final = {
    "opened": "opened",
    "updated": "changed",
    "acknowledged": "was acknowledged",
    "resolved": "was resolved",
    "reopened": "fires again",
    "routed": "was told",
    "escalated": "was not acknowledged",
    "retracted": "was taken back",
}


class Alerts:
    name = "alerts"
    pattern = r"/alerts/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Alerts"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return filters.bar(
            [filters.segments(view, "state", _STATES, "open")],
            [
                filters.select(view, "severity", "Severity", _SEVERITIES),
                filters.select(view, "kind", "Kind", _KINDS),
            ],
        )

    def body(self, context: Context, view: View) -> Any:
        state = view.one_of("state", dict(_STATES), "open")
        wanted = {
            name: view.one_of(name, dict(options)) or None
            for name, options in (("severity", _SEVERITIES), ("kind", _KINDS))
        }
        with context.engine.connect() as connection:
            page = queries.list_page(
                connection,
                state=None if state == "any" else state,
                **wanted,
                limit=DEFAULT_LIMIT,
                cursor=_cursor(view),
            )
            ids = [alert.alert_id for alert in page.items]
            hiders = hidden.hiders(connection, ids)
            silenced = hidden.covers(connection, ids, context.catalog().windows, view.now)
        if not page.items:
            return _nothing(state)
        following = view.href(cursor=page.next_cursor) if page.next_cursor else None
        first = view.href(cursor=None) if view.get("cursor") else None
        return [
            live(
                "alerts",
                [
                    _row(alert, hiders.get(alert.alert_id, ()), silenced=alert.alert_id in silenced)
                    for alert in page.items
                ],
                "mp-card mp-alert-list",
            ),
            live("pager", pager(first, following, words.many(len(page.items), "alert"))),
        ]


def _cursor(view: View) -> str | None:
    cursor = view.get("cursor") or None
    try:
        queries.ORDER.after(cursor)
    except Permanent:  # from an old link: begin anew
        return None
    return cursor


def _nothing(state: str) -> html.Div:
    if state in ("open", "firing"):
        return empty(
            "Nothing needs you",
            "No alert is open. When a deadline passes unmet or something is odd, it appears here.",
            name="check",
            action=link("Look at the resolved ones", "/alerts?state=resolved"),
        )
    return empty(
        "No alerts here", "None in this state so far.", name="alerts", action=link("Show all", "/alerts?state=any")
    )


def _row(alert: queries.Alert, hiders: Sequence[hidden.Hider], *, silenced: bool) -> Any:
    return link(
        [
            html.I(className=f"mp-bar mp-{tone_of(alert.severity)}"),
            html.Div([html.B(alert.title), html.P(alert.summary)], className="mp-alert-what"),
            _small("Open", f"{words.count(alert.items_open)} of {words.count(alert.items_total)}"),
            _small("Money", words.moneys(alert.money) if alert.money else "–"),
            _small("Owner", alert.owner or "–"),
            _small("Since", ago(alert.opened_at)),
            html.Div(
                [state_badge(alert.state), _hidden_badge(alert, hiders, silenced=silenced)], className="mp-alert-badges"
            ),
        ],
        f"/alerts/{alert.alert_id}",
        className="mp-alert-row",
    )


def _hidden_badge(alert: queries.Alert, hiders: Sequence[hidden.Hider], *, silenced: bool) -> Any:
    """That some, or all, of what is open is kept from people, or that no more is told of it for now."""
    if not hiders:
        return badge(HIDDEN["silence"], "muted") if silenced else None
    number = sum(one.items for one in hiders)
    share = "" if number >= alert.items_open else f" {words.count(number)}"
    return badge(f"{HIDDEN[hiders[0].stage]}{share}", "muted")


def _small(name: str, value: Any) -> html.Div:
    return html.Div([html.Span(name), html.B(value)], className=f"mp-pair mp-pair-{name.lower()}")


class Alert:
    name = "alert"
    pattern = r"/alerts/(?P<id>\d{1,18})"

    def title(self, view: View) -> str:
        return f"Alert {view.parts['id']}"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        alert_id = int(view.parts["id"])
        with context.engine.connect() as connection:
            alert = queries.one(connection, alert_id)
            if alert is None:
                return empty(
                    "There is no such alert",
                    "It may belong to another installation.",
                    action=link("All alerts", "/alerts"),
                )
            items = queries.items(connection, alert_id)
            hiders = hidden.hiders(connection, [alert_id]).get(alert_id, ())
            cover = hidden.covers(connection, [alert_id], context.catalog().windows, view.now).get(alert_id)
            changes = queries.changes(connection, alert_id)
            deliveries = queries.deliveries(connection, alert_id)
            calls = escalation.calls_next(context, connection, alert_id, view.now)
            stuck = feeds.explained(connection, alert_id)
            more = [("Silenced", _silenced(cover)), *wave.facts(connection, alert), ("Calls next", calls)]
        return [
            _head(alert, hiders, more, may_act=view.person.may("act")),
            html.Div(
                [
                    html.Div(
                        [alert_items.wrong(alert, items), alert_items.stuck_card(stuck)],
                        className="mp-span-8 mp-stack",
                    ),
                    html.Div(
                        [wave.before_card(alert), _change_card(changes), _delivery_card(deliveries, hiders)],
                        className="mp-span-4 mp-stack",
                    ),
                ],
                className="mp-grid",
            ),
        ]


def _head(
    alert: queries.Alert, hiders: Sequence[hidden.Hider], more: Sequence[tuple[str, Any]], *, may_act: bool
) -> Any:
    values = [
        ("Open items", f"{words.count(alert.items_open)} of {words.count(alert.items_total)}"),
        ("Money", words.moneys(alert.money, short=False) if alert.money else None),
        ("Oldest", ago(alert.oldest_at) if alert.oldest_at else None),
        ("Opened", ago(alert.opened_at, "time")),
        ("Acknowledged", [f"{alert.acknowledged_by}, ", ago(alert.acknowledged_at)] if alert.acknowledged_at else None),
        ("Resolved", [f"{alert.resolved_by or 'by itself'}, ", ago(alert.resolved_at)] if alert.resolved_at else None),
        *more,
        ("Owner", alert.owner),
        *((words.title(name), value) for name, value in alert.group.items()),
        ("Hidden", html.Span([_hider(one) for one in hiders]) if hiders else None),
        ("Rule", _rule(alert)),
        ("Runbook", _runbook(alert.runbook)),
    ]
    return card(
        [
            html.Div(
                [
                    html.Div(icon("alerts", 22), className=f"mp-head-mark mp-tone mp-{tone_of(alert.severity)}"),
                    html.Div([html.H2(alert.title), html.Span(alert.summary, className="mp-ink-2")]),
                    html.Div([state_badge(alert.state), state_badge(alert.severity)], className="mp-head-badges"),
                ],
                className="mp-head mp-alert-title",
            ),
            facts(values),
            _acts(alert) if may_act and alert.state != "resolved" else None,
        ],
        name="head",
        className="mp-block",
    )


def _silenced(cover: Cover | None) -> Any:
    """Until when, and by whom."""
    if cover is None:
        return None
    name = link(cover.name, hider_href("silence", cover.silence_id, cover.name) or "", className="mp-link")
    return ["until ", ago(cover.until, "time"), f", {cover.reason}, ", name]


def _hider(one: hidden.Hider) -> html.Div:
    """What keeps items of it from people, and how many."""
    href = hider_href(one.stage, one.by_id, one.by_name)
    name = link(one.by_name, href, className="mp-link") if href else one.by_name
    return html.Div([words.many(one.items, "item"), " by ", name, f": {one.reason}"])


def _rule(alert: queries.Alert) -> Any:
    page = {"reconciliation": "reconciliation", "objective": "objectives"}.get(alert.kind)
    if page is not None:
        return link(alert.rule, f"/{page}/{alert.rule}", className="mp-link")
    return alert.rule


def _runbook(address: str | None) -> Any:
    """A link for a web address, else as it is written: the catalog may say anything."""
    if address and address.startswith(("https://", "http://")):
        return html.A("Open", href=address, target="_blank", rel="noopener noreferrer", className="mp-link")
    return address


def _acts(alert: queries.Alert) -> html.Div:
    """Buttons that acts.py listens to."""

    def button(act: str, text: str, mark: str, kind: str) -> html.Button:
        ident = {"type": "act", "act": act, "alert": alert.alert_id}
        return html.Button([icon(mark, 16), text], id=ident, n_clicks=0, className=f"mp-button {kind}")

    first = button("acknowledge", "Acknowledge", "check", "mp-primary") if alert.state == "firing" else None
    labels = [("kind", alert.kind), ("rule", alert.rule), *sorted(alert.group.items())]
    silence = link([icon("silence", 16), "Silence this"], new_href(labels), className="mp-button")
    return html.Div([first, button("resolve", "Resolve", "cross", ""), silence], className="mp-acts")


def _change_card(changes: Sequence[Mapping[str, Any]]) -> Any:
    lines = [
        html.Li(
            [
                html.I(className=f"mp-{_tone_of_change(_what(run))}"),
                html.Span([html.B(_CHANGES.get(_what(run), _what(run))), _by(run)]),
                ago(run[0]["at"]),
                html.P(str(run[0]["detail"]["reason"])) if run[0]["detail"].get("reason") else None,
            ]
        )
        for run in runs(changes)
    ]
    return card(html.Ul(lines, className="mp-log"), name="history", title="History")


def runs(changes: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Changes in a row that say the same, together: a wave makes hundreds of updates. What is taken back is a change
    that has an entry more."""

    def same(row: Mapping[str, Any]) -> tuple[Any, ...]:
        what = "updated" if row["what"] == "retracted" else row["what"]
        return what, row["actor"], str(row["detail"]) if what in ("routed", "escalated") else ""

    return [list(run) for _, run in groupby(changes, key=same)]


def _what(run: Sequence[Mapping[str, Any]]) -> str:
    """Of changes and of what was taken back in them: changed."""
    return "updated" if any(row["what"] == "updated" for row in run) else str(run[0]["what"])


def _tone_of_change(what: str) -> str:
    tones = {"opened": "bad", "reopened": "bad", "escalated": "bad", "updated": "warn"}
    return tones.get(what, "info" if what in ("acknowledged", "routed") else "ok")


def _by(run: Sequence[Mapping[str, Any]]) -> str:
    """Who did it, or what it came to: the latest change stands first."""
    latest = run[0]
    if latest["what"] in ("routed", "escalated"):
        return f": {escalation.told(latest)}"
    if latest["what"] == "acknowledged" or (latest["what"] == "resolved" and latest["actor"] != SYSTEM):
        return f" by {latest['actor']}"
    added = sum(row["detail"].get("added") or 0 for row in run)
    cleared = sum(sum((row["detail"].get("cleared") or {}).values()) for row in run)
    retracted = sum(row["detail"].get("count") or 0 for row in run if row["what"] == "retracted")
    parts = [f"{words.count(added)} more" if added and _what(run) == "updated" else ""]
    parts += [f"{words.count(cleared)} cleared" if cleared else ""]
    parts += [f"{words.count(retracted)} taken back" if retracted and cleared else ""]
    still = next((row["detail"]["open"] for row in run if row["detail"].get("open") is not None), None)
    if still is not None:
        parts.append(f"{words.count(still)} open")
    told = ", ".join(part for part in parts if part)
    return f": {told}" if told else ""


def _delivery_card(deliveries: Sequence[Mapping[str, Any]], hiders: Sequence[hidden.Hider]) -> Any:
    if not deliveries:
        body: Any = empty(
            "Nobody was told",
            f"{hiders[0].reason[:1].upper()}{hiders[0].reason[1:]}." if hiders else "There is nothing to tell.",
            name="mail",
            className="mp-empty-small",
        )
    else:
        body = html.Div([_delivery(row) for row in deliveries[:30]], className="mp-troubles")
    return card(body, name="deliveries", title="Notifications")


def _delivery(row: Mapping[str, Any]) -> html.Div:
    failed = row["state"] != "sent" and row["error"]
    why = f"{row['error']} ({words.many(row['attempts'], 'attempt')})" if failed else None
    return html.Div(
        [
            state_badge(row["state"]),
            html.Span([html.B(row["channel"]), f" {row['event']}", html.P(why) if why else None]),
            ago(row["sent_at"] or row["created_at"]),
        ],
        className="mp-trouble",
    )
