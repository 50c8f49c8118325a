"""One journey: what happened when and where, why its objects belong together, and how its clocks stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from dash import html

from dashboards import figures, words
from dashboards.components.charts import chart
from dashboards.components.icons import type_icon
from dashboards.components.parts import ago, card, empty, facts, health_badge, journey_href, link, state_badge
from dashboards.context import Context
from dashboards.deciding import RIGHT
from dashboards.pages import evidence, reasons, track
from dashboards.pages.exceptions import exception_card
from dashboards.queries import alerts as alert_queries
from dashboards.queries import choices
from dashboards.queries import exceptions as exception_queries
from dashboards.queries import gaps as gap_queries
from dashboards.queries import journey as queries
from dashboards.view import View
from milepost.catalog.schema import Catalog, Model
from milepost.explanation import Explanation

_KNOWN = ("channel", "warehouse", "carrier", "partner", "amount", "currency")


@dataclass(frozen=True)
class Story:
    """All that the page shows of one journey."""

    head: queries.Head
    model: Model | None
    members: Sequence[queries.Member]
    milestones: Sequence[queries.Milestone]
    events: Sequence[queries.Event]
    clocks: Sequence[queries.ClockRow]
    chosen: choices.Chosen
    """Why the policies of the clocks run."""
    attributes: Mapping[str, Any]
    breaches: Sequence[Mapping[str, Any]]
    anomalies: Sequence[Mapping[str, Any]]
    alerts: Sequence[Mapping[str, Any]]
    exceptions: Sequence[exception_queries.Row]
    missing: Sequence[str]
    """Milestones that must have been reached."""
    why: Explanation | None
    """None where the catalog no longer knows its model."""

    @property
    def health(self) -> str:
        running = {clock.state for clock in self.clocks if clock.stopped_at is None}
        return "breached" if "breached" in running else "at_risk" if "warned" in running else "on_track"


class Journey:
    name = "journey"
    pattern = r"/journeys/(?P<kind>[^/]+)/(?P<key>.+)"

    def title(self, view: View) -> str:
        return view.parts["key"]

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        catalog = context.catalog()
        kind, key = view.parts["kind"], view.parts["key"]
        with context.engine.connect() as connection:
            found = queries.candidates(connection, catalog, kind, key, view.params.get("namespace"))
            exact = [head for head in found if head.key == key]  # of a split key that of the first object
            chosen = exact if len(exact) == 1 else found
            if len(chosen) == 1:
                page = _page(read(context, connection, catalog, chosen[0]), catalog, view)
                others = [head for head in found if head != chosen[0]]
                return [page[0], _choose(others, "The same key names also", alone=False), *page[1:]] if others else page
        return _choose(found, "Several journeys have this key") if found else _missing(kind, key)


def read(context: Context, connection: sa.Connection, catalog: Catalog, head: queries.Head) -> Story:
    model = catalog.models.get(head.kind)
    members = queries.member_list(connection, head.journey_id)
    milestones = queries.milestone_list(connection, head.journey_id)
    reached, types = {item.name for item in milestones}, {member.type for member in members}
    clocks = queries.clock_list(connection, head.journey_id)
    attributes = queries.attributes(connection, head, members)
    return Story(
        head,
        model,
        members,
        milestones,
        queries.event_list(connection, head, [member.object_id for member in members]),
        clocks,
        choices.chosen(connection, catalog, clocks, attributes),
        attributes,
        queries.breach_list(connection, head.journey_id),
        queries.anomaly_list(connection, head.journey_id),
        alert_queries.of_journey(connection, head.journey_id),
        exception_queries.of_objects(connection, [member.object_id for member in members]),
        gap_queries.of_journey(connection, model, reached, types) if model is not None else (),
        context.correlations.explain(connection, catalog, head.journey_id) if model is not None else None,
    )


def _missing(kind: str, key: str) -> Any:
    return empty(
        f"No {words.title(kind).lower()} {key}",
        "Nothing has this key as the root of a journey. It may be a member of one: search for it.",
        action=link("Search every journey", f"/journeys?kind=any&state=any&q={key}"),
    )


def _choose(found: Sequence[queries.Head], title: str, *, alone: bool = True) -> Any:
    rows = [
        link(
            [
                html.B(f"{words.title(head.root_type)} {head.key}"),
                html.Span(head.namespace or "no namespace", className="mp-dim"),
                state_badge(head.state),
                ago(head.last_at),
            ],
            journey_href(head.kind, head.key, head.namespace),
            className="mp-choice",
        )
        for head in found
    ]
    return card(rows, name="choices", title=title, className="mp-choices" if alone else "mp-block")


def _page(story: Story, catalog: Catalog, view: View) -> Any:
    side = [
        evidence.clock_card(story.clocks, story.members, story.chosen, catalog, view.now),
        exception_card(story.exceptions, story.members),
        evidence.trouble_card(story.alerts, story.breaches, story.anomalies),
        reasons.why_card(story.why, may_act=view.person.may(RIGHT)) if story.why else None,
    ]
    main = [reasons.late_card(story.why) if story.why else None, evidence.event_card(story.events)]
    return [
        _head_card(story),
        track.milestone_card(
            story.model, story.milestones, view.zone, is_open=story.head.state == "open", missing=story.missing
        ),
        _timeline_card(story, catalog, view),
        html.Div(
            [
                html.Div([part for part in main if part is not None], className="mp-span-7 mp-stack"),
                html.Div([part for part in side if part is not None], className="mp-span-5 mp-stack"),
            ],
            className="mp-grid",
        ),
    ]


def _head_card(story: Story) -> Any:
    head = story.head
    ended = head.state != "open"
    more = [(words.title(name), str(value)) for name, value in sorted(story.attributes.items()) if name not in _KNOWN]
    values = [
        ("Value", html.Span(words.money(head.amount, head.currency), className="mp-money") if head.amount else None),
        *((words.title(name), getattr(head, name)) for name in ("channel", "warehouse", "carrier", "partner")),
        ("Started", ago(head.started_at, "time")),
        ("Last activity", ago(head.last_at)),
        ("Took", words.span(head.last_at - head.started_at) if ended else None),
        ("Open for", None if ended else ago(head.started_at, "span")),
        *more[:8],
    ]  # fmt: skip
    return card(
        [
            html.Div(
                [
                    html.Div(type_icon(head.root_type, 22), className="mp-head-mark"),
                    html.Div(
                        [
                            html.H2(head.key),
                            html.Span(
                                " · ".join(
                                    part
                                    for part in (
                                        story.model.title if story.model else words.title(head.kind),
                                        words.title(head.root_type),
                                        head.namespace,
                                    )
                                    if part
                                ),
                                className="mp-dim",
                            ),
                        ]
                    ),
                    html.Div(
                        [state_badge(head.state), None if ended else health_badge(story.health)],
                        className="mp-head-badges",
                    ),
                ],
                className="mp-head",
            ),
            facts(values),
        ],
        name="head",
        className="mp-block",
    )


def _timeline_card(story: Story, catalog: Catalog, view: View) -> Any:
    if not story.events:
        return None
    marks = {event: step.name for step in (story.model.milestones if story.model else []) for event in step.events}
    points = [
        figures.Point(event.occurred_at, event.source, event.type, event.outcome, marks.get(event.type))
        for event in story.events
    ]
    titles = {policy.name: words.title(policy.name) for policy in catalog.policies}
    dues = [
        figures.Due(clock.due_at, titles.get(clock.policy, clock.policy), clock.state == "breached")
        for clock in story.clocks
        if clock.stopped_at is None and clock.due_at is not None
    ]
    names = {name: spec.title for name, spec in catalog.sources.items()}
    now = view.now.replace(second=0, microsecond=0) if story.head.state == "open" else None
    figure = figures.swimlane(points, dues, view.zone, names, now)
    label = f"Timeline of {len(points)} events by system"
    return card(
        chart(figure, "timeline", label),
        name="timeline-card",
        alive=False,
        title="Timeline by system",
        aside=f"{words.many(len(points), 'event')} · filled points reach a milestone",
        className="mp-block",
    )
