"""The cards of a journey beside its explanation: clocks, what is wrong with it, raw events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

from dash import html

from dashboards import policies, words
from dashboards.components.icons import icon
from dashboards.components.parts import ago, card, empty, link, state_badge, tone_of
from dashboards.queries.choices import Chosen
from dashboards.queries.journey import ClockRow, Event, Member
from milepost.catalog.schema import Catalog

SHOWN_EVENTS: Final = 300


def clock_card(
    clocks: Sequence[ClockRow], members: Sequence[Member], chosen: Chosen, catalog: Catalog, now: datetime
) -> Any:
    """`chosen`: why the policies run, where there is something to say."""
    if not clocks:
        body: Any = empty(
            "No clock runs", "No policy matches this journey so far.", name="clock", className="mp-empty-small"
        )
    else:
        keys = {member.object_id: member for member in members}
        titles = {policy.name: policy.title for policy in catalog.policies}
        ordered = sorted(clocks, key=lambda clock: (clock.stopped_at is not None, clock.due_at or clock.started_at))
        body = html.Div([_clock(clock, titles, keys, chosen, now) for clock in ordered], className="mp-clocks")
    return card(body, name="clocks", title="Clocks")


def _clock(
    clock: ClockRow, titles: Mapping[str, str], keys: Mapping[int, Member], chosen: Chosen, now: datetime
) -> html.Div:
    running = clock.stopped_at is None
    subject = keys.get(clock.subject_id)
    about: list[Any] = ["from ", ago(clock.started_at, "time")]
    if subject is not None and subject.depth > 0:
        about = [words.title(subject.type), " ", subject.key]
    why = chosen.get((clock.policy, clock.subject_id))
    share = _elapsed(clock, clock.stopped_at or now)
    due = ago(clock.due_at, "left" if running else "time") if clock.due_at else _paused(clock)
    return html.Div(
        [
            html.Div(
                [
                    html.Span(words.title(clock.policy), title=titles.get(clock.policy, "")),
                    state_badge(clock.state),
                ],
                className="mp-clock-head",
            ),
            html.Div(html.I(style={"width": f"{share}%"}), className=f"mp-meter mp-{tone_of(clock.state)}"),
            html.Div(
                [
                    html.Span(about),
                    html.Span(["" if running else "due ", due]),
                ],
                className="mp-clock-foot",
            ),
            *([html.Div(why, className="mp-clock-foot")] if why else []),
        ]
    )  # fmt: skip


def _paused(clock: ClockRow) -> Any:
    if clock.paused_at is None:
        return "paused"
    return html.Span(["paused since ", ago(clock.paused_at, "time"), f" by {clock.paused_by}"])


def _elapsed(clock: ClockRow, until: datetime) -> int:
    """Whole percent of the time that a clock has used up."""
    if clock.due_at is None:
        return 0
    if clock.due_at <= clock.started_at:
        return 100
    return round(min(1.0, max(0.0, (until - clock.started_at) / (clock.due_at - clock.started_at))) * 100)


def trouble_card(
    alerts: Sequence[Mapping[str, Any]], breaches: Sequence[Mapping[str, Any]], anomalies: Sequence[Mapping[str, Any]]
) -> Any:
    """Alerts that it is part of, breaches, what is odd about it; nothing when there is none."""
    lines: list[Any] = [
        link(
            [state_badge(row["state"]), html.Span(row["title"]), ago(row["at"])],
            f"/alerts/{row['alert_id']}",
            className="mp-trouble",
        )
        for row in alerts
    ]
    lines += [
        html.Div(
            [
                state_badge(row["end"] or "breached"),
                html.Span(
                    [f"{words.title(row['policy'])}: {_breached(row)}. Judged by ", _version(row)],
                ),
                ago(row["ended_at"] or row["opened_at"]),
            ],
            className="mp-trouble",
        )
        for row in breaches
    ]
    lines += [
        link(
            [state_badge(row["severity"]), html.Span(row["reason"]), ago(row["at"])],
            f"/anomalies/{row['anomaly_id']}",
            className="mp-trouble",
        )
        for row in anomalies
    ]
    if not lines:
        return None
    return card(html.Div(lines, className="mp-troubles"), name="troubles", title="Alerts, breaches and oddities")


def _breached(row: Mapping[str, Any]) -> str:
    if row["ended_at"] is None:
        return str(row["evidence"].get("why") or "breached")
    return f"breach {_ended(row['end'])}"


def _version(row: Mapping[str, Any]) -> Any:
    """The version that judged it, which leads to its words, whatever became of the policy."""
    version = row["policy_version"]
    href = policies.text_href(row["policy"], version, row["opened_at"])
    return html.A(f"version {version}", href=href, className="mp-link", title="The policy as it was then")


def _ended(end: str | None) -> str:
    return {
        "late": "ended: the step came late",
        "retracted": "taken back: late evidence shows that it was in time",
        "cancelled": "ended: the journey was cancelled",
        "absorbed": "passed on to the journey that took this one in",
        "withdrawn": "withdrawn: the policy no longer applies",
    }.get(end or "", "ended")


def anchor(source: str, event_id: str) -> str:
    """The place of an event on the page."""
    return "event-" + blake2b(f"{source}\x1f{event_id}".encode(), digest_size=8).hexdigest()


def event_card(events: Sequence[Event]) -> Any:
    """The latest first; each opens to the event as it was sent."""
    if not events:
        body: Any = empty("No events", "They may be older than the retention keeps.", className="mp-empty-small")
    else:
        shown = list(reversed(events))[:SHOWN_EVENTS]
        body = html.Div([_event(event) for event in shown], className="mp-events")
    hidden = len(events) - SHOWN_EVENTS
    aside = f"the latest {SHOWN_EVENTS} of {len(events)}" if hidden > 0 else words.many(len(events), "event")
    return card(body, name="events", title="Events", aside=aside)


def _event(event: Event) -> html.Details:
    told = None if event.outcome == "ok" else state_badge(event.outcome)
    reason = event.body.get("data", {}).get("reason") if isinstance(event.body, dict) else None
    flags = [html.Span(words.title(flag), className="mp-flag-text") for flag in event.flags]
    return html.Details(
        [
            html.Summary(
                [
                    icon("right", 13),
                    html.Span(ago(event.occurred_at, "time"), className="mp-event-time"),
                    html.Span([html.B(event.type), told, *flags], className="mp-event-what"),
                    html.Span(event.source, className="mp-event-source"),
                    html.Span(reason, className="mp-event-reason") if reason else None,
                ]
            ),
            html.Div(
                [
                    html.Div(
                        [
                            html.Span(["Received ", ago(event.received_at, "time")]),
                            html.Span(["after ", words.span(event.received_at - event.occurred_at)]),
                            html.Span(["Correlation ", html.B(event.correlation_id)]) if event.correlation_id else None,
                        ],
                        className="mp-event-meta",
                    ),
                    html.Pre(json.dumps(event.body, indent=2, ensure_ascii=False)),
                ],
                className="mp-event-body",
            ),
        ],
        id=anchor(event.source, event.id),
        className="mp-event",
    )
