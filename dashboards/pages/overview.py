"""Overview: how many orders are open, where they are, what is late and what that costs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from dash import html

from dashboards import figures, words
from dashboards.components import filters
from dashboards.components.charts import chart
from dashboards.components.icons import icon
from dashboards.components.parts import ago, card, empty, link, list_href, live, stat, state_badge, tone_of
from dashboards.context import Context
from dashboards.pages import firstrun
from dashboards.queries import overview as queries
from dashboards.view import View
from milepost.catalog.schema import Catalog, Model

VOLUME: Final = timedelta(hours=48)
ATTAINMENT: Final = timedelta(days=30)
NEAR: Final = 0.98
"""From here on a tenth of a percent decides whether the objective is met."""


class Overview:
    name = "overview"
    pattern = r"/"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Overview"

    def frame(self, context: Context, view: View) -> Any:
        models = context.catalog().models
        with context.engine.connect() as connection:
            if len(models) < 2 or not queries.has_data(connection):
                return None
        options = [(name, model.title or words.title(name)) for name, model in models.items()]
        return filters.bar([filters.segments(view, "kind", options, next(iter(models)))])

    def body(self, context: Context, view: View) -> Any:
        catalog = context.catalog()
        kind = view.one_of("kind", catalog.models, next(iter(catalog.models)))
        with context.engine.connect() as connection:
            if not queries.has_data(connection):
                return firstrun.welcome(view)
            return _filled(connection, catalog, catalog.models[kind], view.now, view)


def _filled(connection: sa.Connection, catalog: Catalog, model: Model, now: datetime, view: View) -> Any:
    flow = queries.flow(connection, model.name)
    done = queries.completed_since(connection, model.name, now - timedelta(hours=24))
    alerts, alert_count = queries.open_alerts(connection)
    return [
        _stats(flow, done, model.name),
        html.Div(
            [
                html.Div(
                    [_flow_card(flow, model), _volume_card(connection, catalog, view)],
                    className="mp-span-7 mp-stack",
                ),
                html.Div(
                    [_alert_card(alerts, alert_count), _attainment_card(connection, catalog, model.name, now)],
                    className="mp-span-5 mp-stack",
                ),
            ],
            className="mp-grid mp-columns",
        ),
    ]


def _stats(flow: queries.Flow, done: int, kind: str) -> html.Div:
    total, at_risk, breached = (flow.total(name) for name in ("open", "at_risk", "breached"))

    on_track = words.count(flow.total("on_track"))

    def href(**more: str) -> str:
        return list_href("/journeys", kind=kind, **more)

    money = words.moneys(dict(list(flow.money.items())[:1])) if flow.money else "–"
    others = words.moneys(dict(list(flow.money.items())[1:4])) if len(flow.money) > 1 else ""
    return live(
        "stats",
        [
            stat("Open", words.count(total), f"{on_track} on track", tone="info", href=href()),
            stat(
                "At risk", words.count(at_risk), "a deadline is near",
                tone="warn" if at_risk else "muted", href=href(health="at_risk", sort="due"),
            ),
            stat(
                "Breached", words.count(breached), "past a deadline",
                tone="bad" if breached else "muted", href=href(health="breached", sort="amount"),
            ),
            stat("Money at risk", money, f"and {others}" if others else "at risk or breached",
                 tone="bad" if flow.money else "muted", href=href(health="off_track", sort="amount")),
            stat("Completed", words.count(done), "in the last 24 hours", tone="ok", href=href(state="completed")),
        ],
        "mp-stats",
    )  # fmt: skip


def _flow_card(flow: queries.Flow, model: Model) -> Any:
    largest = max((stage.open for stage in flow.stages.values()), default=0)
    stages = [rank for rank, step in enumerate(model.milestones) if not step.beside]
    ranks = [-1, *stages] if -1 in flow.stages else stages
    rows = [_stage_row(flow.stages.get(rank, queries.Stage(rank)), model, largest) for rank in ranks]
    legend = [
        html.Span([html.I(className=f"mp-dot mp-{tone}"), text])
        for tone, text in (("info", "On track"), ("warn", "At risk"), ("bad", "Breached"))
    ]
    return card(
        html.Div(rows, className="mp-flow"),
        name="flow",
        title="Open by stage",
        aside=html.Div(legend, className="mp-legend"),
        className="mp-first-card",
    )


def _stage_row(stage: queries.Stage, model: Model, largest: int) -> Any:
    name = "none" if stage.rank < 0 else model.milestones[stage.rank].name
    label = "No milestone yet" if stage.rank < 0 else model.milestones[stage.rank].title or words.title(name)
    share = max(stage.open / largest * 100, 0.8) if stage.open else 0
    parts = (("info", stage.on_track), ("warn", stage.at_risk), ("bad", stage.breached))
    bars = [html.I(className=f"mp-{tone}", style={"flexGrow": number}) for tone, number in parts if number]
    flagged = [html.Span(words.count(number), className=f"mp-flag mp-{tone}") for tone, number in parts[1:] if number]
    return link(
        [
            html.Span(label, className="mp-flow-name"),
            html.Span(html.Span(bars, style={"width": f"{share:.2f}%"}), className="mp-flow-bar"),
            html.Span(flagged, className="mp-flow-flags"),
            html.Span(words.count(stage.open), className="mp-flow-count"),
        ],
        list_href("/journeys", kind=model.name, stage=name),
        className="mp-flow-row" if stage.open else "mp-flow-row mp-flow-none",
    )  # fmt: skip


def _alert_card(alerts: Sequence[dict[str, Any]], count: int) -> Any:
    if not alerts:
        body = empty(
            "Nothing needs you", "No alert fires. Deadlines that pass unmet appear here.", name="check",
            className="mp-empty-small",
        )  # fmt: skip
    else:
        body = html.Div([alert_line(alert) for alert in alerts], className="mp-alert-lines")
    aside = link(f"All {count}" if count > len(alerts) else "All alerts", "/alerts")
    return card(body, name="alerts", title="Alerts", aside=aside)


def alert_line(alert: dict[str, Any]) -> Any:
    money = words.moneys(alert["money"]) if alert["money"] else None
    return link(
        [
            html.I(className=f"mp-bar mp-{tone_of(alert['severity'])}"),
            html.Div(
                [
                    html.Div([html.B(alert["title"]), state_badge(alert["state"])], className="mp-alert-head"),
                    html.P(alert["summary"]),
                    html.Div(
                        [
                            html.Span(f"{words.count(alert['items_open'])} open"),
                            html.Span([icon("money", 14), money]) if money else None,
                            html.Span([icon("clock", 14), ago(alert["opened_at"])]),
                        ],
                        className="mp-alert-foot",
                    ),
                ]
            ),
        ],
        f"/alerts/{alert['alert_id']}",
        className="mp-alert-line",
    )


def _volume_card(connection: sa.Connection, catalog: Catalog, view: View) -> Any:
    found = queries.volume(connection, view.now - VOLUME)
    if not found:
        body: Any = empty(
            "No events yet", "What each source sends appears here by the hour.", className="mp-empty-small"
        )
    else:
        names = {name: spec.title for name, spec in catalog.sources.items()}
        counts = [(item.hour, item.source, item.events) for item in found]
        body = chart(figures.volume(counts, view.zone, names), "volume", "Events per hour by source")
    return card(
        body,
        name="volume-card",
        alive=not found,
        title="Events per hour",
        aside="the last 48 hours",
    )


def _attainment_card(connection: sa.Connection, catalog: Catalog, kind: str, now: datetime) -> Any:
    policies = {policy.name: policy for policy in catalog.policies if policy.model == kind}
    since = (now - ATTAINMENT).replace(minute=0, second=0, microsecond=0)  # whole hours are counted already
    found = {item.policy: item for item in queries.attainment(connection, since, now)}
    rows = [_attainment_row(policies[name], found.get(name)) for name in policies]
    body: Any = html.Div(rows, className="mp-attain") if rows else empty(
        "No policy yet", "Say what must happen by when, in slas.yaml, and put it in force: milepost catalog apply.",
        name="policy", className="mp-empty-small",
    )  # fmt: skip
    return card(body, name="attainment", title="SLA attainment, last 30 days", aside=link("Objectives", "/objectives"))


def _attainment_row(policy: Any, found: queries.Attainment | None) -> Any:
    share, target = found.share if found else None, policy.objective.target
    tone = "muted" if share is None else "ok" if share >= target else "warn" if share >= target - 0.05 else "bad"
    counts = f"{words.count(found.met)} met, {words.count(found.missed)} missed" if found else "nothing due yet"
    return html.Div(
        [
            html.Div(
                [
                    html.Span(words.title(policy.name), title=policy.title),
                    html.B("–" if share is None else words.percent(share, 2 if share > NEAR else 1)),
                ],
                className="mp-attain-head",
            ),
            html.Div(
                [
                    html.I(className=f"mp-{tone}", style={"width": f"{(share or 0) * 100:.2f}%"}),
                    html.S(style={"left": f"{target * 100:.2f}%"}, title=f"Objective: {words.percent(target)}"),
                ],
                className="mp-attain-bar",
            ),
            html.Span(f"{counts} · objective {words.percent(target)}", className="mp-dim mp-small"),
        ]
    )  # fmt: skip
