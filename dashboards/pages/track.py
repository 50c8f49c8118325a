"""The milestones of a journey: reached when, how long after the one before, or still to come."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from dash import html

from dashboards import words
from dashboards.components.parts import ago, card
from dashboards.queries.journey import Milestone
from milepost.catalog.schema import Milestone as Step
from milepost.catalog.schema import Model

Standing = Literal["done", "missing", "skipped", "next", "later"]
NOT_ALL: Final = "not all yet"
"""A step that every member of a type must reach: some may have."""
_NOTES: Final = {"missing": "missing", "skipped": "not seen", "next": "next"}


def milestone_card(
    model: Model | None, found: Sequence[Milestone], zone: ZoneInfo, *, is_open: bool, missing: Collection[str] = ()
) -> html.Section:
    """Every milestone of the model; without a model those that were reached. `missing`: those that must have been."""
    reached = {item.name: item for item in found}
    plan = model.milestones if model else [Step(name=item.name, events=["?"]) for item in found]
    states: dict[str, Standing] = standings(plan, reached, is_open=is_open)
    states |= dict.fromkeys(missing, "missing")
    before: datetime | None = None
    steps = []
    for step in plan:
        item = reached.get(step.name)
        steps.append(_step(step, item, before, states[step.name], zone))
        before = item.first_at if item else before
    return card(html.Ol(steps, className="mp-track"), name="milestones", title="Milestones", className="mp-block")


def standings(plan: Sequence[Step], reached: Collection[str], *, is_open: bool) -> dict[str, Standing]:
    """Where each step stands. What runs beside the flow is never skipped or next: it may come at any time."""
    flow = [step.name for step in plan if not step.beside]
    highest = max((place for place, name in enumerate(flow) if name in reached), default=-1)
    following = flow[highest + 1] if is_open and highest + 1 < len(flow) else None
    passed = set(flow[: max(highest, 0)])
    states: dict[str, Standing] = {}
    for step in plan:
        name = step.name
        states[name] = (
            "done" if name in reached else "skipped" if name in passed else "next" if name == following else "later"
        )
    return states


def _step(step: Step, item: Milestone | None, before: datetime | None, state: Standing, zone: ZoneInfo) -> html.Li:
    title = step.title or words.title(step.name)
    if item is None:
        note = NOT_ALL if state == "skipped" and step.all else _NOTES.get(state, "–")
        return html.Li([html.I(), html.B(title), html.Span(note)], className=f"mp-{state}")
    times = html.Span(f"×{item.count}", className="mp-dim", title=f"{item.count} events") if item.count > 1 else None
    gap = words.span(item.first_at - before, coarse=True) if before and item.first_at >= before else None
    return html.Li(
        [
            html.I(),
            html.B([title, times]),
            html.Span([ago(item.first_at, "clock"), _date(item.first_at, before, zone)]),
            html.Em(f"+ {gap}") if gap else None,
        ],
        className="mp-done",
    )


def _date(at: datetime, before: datetime | None, zone: ZoneInfo) -> Any:
    """The date stands only where it changes."""
    if before is not None and at.astimezone(zone).date() == before.astimezone(zone).date():
        return None
    return html.Span([" ", ago(at, "date")], className="mp-day")
