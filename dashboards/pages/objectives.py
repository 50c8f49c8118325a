"""Objectives: what is left of each error budget, how fast it goes, and the breaches that ate it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from dash import html

from dashboards import figures, words
from dashboards.components.charts import chart
from dashboards.components.parts import (
    Tone,
    ago,
    badge,
    card,
    empty,
    facts,
    journey_href,
    link,
    list_href,
    live,
    pager,
    table,
)
from dashboards.context import Context
from dashboards.objectives import DAYS, first_day, whole_of, window_of
from dashboards.queries import objectives as queries
from dashboards.queries.objectives import Breach, Day, Standing
from dashboards.queries.paging import DEFAULT_LIMIT, Page
from dashboards.view import View
from milepost.catalog.policy import Policy
from milepost.errors import Permanent

TALLEST: Final = 3.0
"""The burn rate of a day that fills its bar."""
_NEAR: Final = 0.98
_NOTE: Final = (
    "Each bar is a day's burn rate: green while it is within what the objective allows, red over it. A budget starts at"
    " 100 %; at a burn rate of 1 it is spent when the window ends."
)
_LEVELS: Final = {"fast": "Fast", "medium": "Medium", "slow": "Slow"}


class Objectives:
    name = "objectives"
    pattern = r"/objectives/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Objectives"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        policies = context.catalog().policies
        if not policies:
            return empty(
                "No policy has an objective",
                "Say what must happen by when, in slas.yaml, and put it in force: milepost catalog apply.",
                name="policy",
            )
        with context.engine.connect() as connection:
            found = queries.standings(connection)
            days = queries.days(connection, first_day(view.now))
        rows = [_row(policy, found.get(policy.name, ()), days.get(policy.name, ()), view) for policy in policies]
        return [live("objectives", rows, "mp-card mp-alert-list"), _foot(view)]


def _foot(view: View) -> html.P:
    month = (view.now.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    report = html.A(
        f"Report of {month}", href=f"/v1/sla/report?month={month}", className="mp-link", target="_blank", rel="noopener"
    )
    return html.P([f"{_NOTE} ", report], className="mp-note")


def _row(policy: Policy, found: Sequence[Standing], days: Sequence[Day], view: View) -> Any:
    whole = whole_of(found)
    text, tone = _state(whole, found)
    target = f"{words.percent(policy.objective.target, 2)} over {_window(policy)}"
    return link(
        [
            html.I(className=f"mp-bar mp-{tone}"),
            html.Div([html.B(words.title(policy.name)), html.P(policy.title or target)], className="mp-alert-what"),
            _pair("Attained", _attained(whole), f"of {target}"),
            _pair("Budget left", _left(whole, tone), _missed(whole)),
            _pair("Burn rate", _burn(whole), _forecast(whole)),
            _pair("Last 30 days", _spark(policy, days, view)),
            badge(text, tone),
        ],
        f"/objectives/{policy.name}",
        className="mp-alert-row mp-objective-row",
    )


def _pair(name: str, value: Any, note: Any = None) -> html.Div:
    below = html.Span(note, className="mp-dim mp-small") if note is not None else None
    return html.Div([html.Span(name), html.B(value), below], className="mp-pair")


def _window(policy: Policy) -> str:
    return "the month" if policy.objective.window.length is None else policy.objective.window.text


def _state(whole: Standing | None, found: Sequence[Standing]) -> tuple[str, Tone]:
    firing = {level for one in found for level in one.firing}
    if whole is None:
        return "Not judged yet", "muted"
    if firing & {"fast", "medium"}:
        return "Burns fast", "bad"
    if whole.remaining <= 0:
        return "Spent", "bad"
    if firing:
        return "Burns", "warn"
    return ("On target", "ok") if whole.clocks else ("Nothing due yet", "muted")


def _attained(whole: Standing | None) -> str:
    share = whole.attained if whole is not None else None
    return "–" if share is None else words.percent(share, 2 if share > _NEAR else 1)


def _left(whole: Standing | None, tone: Tone) -> Any:
    if whole is None:
        return "–"
    bar = html.Span(
        html.I(className=f"mp-{tone}", style={"width": f"{whole.remaining * 100:.1f}%"}), className="mp-left"
    )
    return html.Span([bar, words.percent(whole.remaining, 0)], className="mp-budget")


def _missed(whole: Standing | None) -> str | None:
    if whole is None:
        return None
    return f"{words.count(whole.misses)} missed, {_number(whole.allowed)} allowed"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}".removesuffix(".0")


def _burn(whole: Standing | None) -> str:
    return "–" if whole is None or whole.burn is None else f"{whole.burn:.1f} ×" if whole.burn < 100 else "> 100 ×"


def _forecast(whole: Standing | None) -> Any:
    if whole is None or whole.burn is None:
        return None
    if whole.remaining <= 0:
        return "nothing is left"
    if whole.exhausted_at is None:
        return "lasts the window"
    return ["until ", ago(whole.exhausted_at, "time")]


def _spark(policy: Policy, days: Sequence[Day], view: View) -> html.Span:
    known = {day.day: day for day in days}
    last = view.now.date()
    shown = [last - timedelta(days=back) for back in range(DAYS.days - 1, -1, -1)]
    return html.Span([_bar(at, known.get(at), policy) for at in shown], className="mp-spark")


def _bar(at: date, day: Day | None, policy: Policy) -> html.I:
    if day is None or not day.clocks:
        return html.I(className="mp-muted", title=f"{at:%d %b}: nothing fell due", style={"height": "8%"})
    allowed = (1 - policy.objective.target) * day.clocks
    rate = day.misses / allowed if allowed else TALLEST * bool(day.misses)
    tone = "bad" if rate > 1 + 1e-9 else "ok"
    height = f"{max(8.0, min(rate / TALLEST, 1.0) * 100):.0f}%"
    told = f"{at:%d %b}: {words.count(day.misses)} missed of {words.count(day.clocks)}"
    return html.I(className=f"mp-{tone}", title=told, style={"height": height})


# --- one of them ------------------------------------------------------------------------------------------------------


class Objective:
    name = "objective"
    pattern = r"/objectives/(?P<name>[a-z][a-z0-9_\-]{0,63})"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Objective"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        name = view.parts["name"]
        policy = next((one for one in context.catalog().policies if one.name == name), None)
        if policy is None:
            return empty("There is no such objective", "", action=link("All of them", "/objectives"))
        with context.engine.connect() as connection:
            found = queries.standings(connection).get(name, [])
            days = queries.days(connection, first_day(view.now), name).get(name, [])
            counted_at = queries.counted_at(connection)
            whole = whole_of(found)
            since, until = window_of(whole, view.now)

            def page(cursor: str | None) -> Page[Breach]:
                return queries.eaters(connection, name, since, until, limit=DEFAULT_LIMIT, cursor=cursor)

            try:
                eaten = page(view.get("cursor") or None)
            except Permanent:  # a cursor from an old link: begin anew
                eaten = page(None)
        return [
            _head(policy, whole, found, counted_at),
            _days_card(policy, days),
            _groups_card([one for one in found if one.group]),
            _levels_card(whole),
            _breaches_card(eaten, view),
        ]


def _head(policy: Policy, whole: Standing | None, found: Sequence[Standing], counted_at: datetime | None) -> Any:
    text, tone = _state(whole, found)
    values = [
        ("Objective", f"{words.percent(policy.objective.target, 2)} over {_window(policy)}"),
        ("Attained", _attained(whole)),
        ("Budget left", _left(whole, tone)),
        ("Missed", _missed(whole)),
        ("Burn rate", _burn(whole)),
        ("Forecast", _forecast(whole)),
        ("Window", [*_stamp(whole.since), " to ", *_stamp(whole.until)] if whole else None),
        ("Judged", ago(whole.at) if whole else "–"),
        (
            "Hours counted",
            [ago(counted_at, "time"), "; late evidence counts from the next hour on"] if counted_at else None,
        ),
        ("Owner", policy.owner),
    ]
    name = html.Div(html.H2(policy.title or words.title(policy.name)))
    title = html.Div(
        [name, html.Div(badge(text, tone), className="mp-head-badges")], className="mp-head mp-alert-title"
    )
    return card([title, facts(values)], name="head", className="mp-block")


def _stamp(at: datetime) -> list[Any]:
    """With the day, also where that is today: a window has two."""
    return [ago(at, "date"), ", ", ago(at, "clock")]


def _days_card(policy: Policy, days: Sequence[Day]) -> Any:
    if not days:
        nothing = empty("Nothing fell due yet", "Days appear as clocks fall due.", className="mp-empty-small")
        return card(nothing, name="days", title="By day", className="mp-block")
    drawn = [figures.Missed(day.day, day.clocks, day.misses) for day in days]
    figure = figures.spent(drawn, policy.objective.target)
    return card(
        chart(figure, "days-chart", "Missed and allowed, by day"), name="days-card", alive=False, title="By day",
        aside="missed clocks against what the objective allows", className="mp-block",
    )  # fmt: skip


def _groups_card(groups: Sequence[Standing]) -> Any:
    if not groups:
        return None
    heads = [" ".join(words.title(name) for name in groups[0].group), "Fell due", "Missed", "Attained", "Budget left",
             "Burn rate", "Forecast", ""]  # fmt: skip
    rows = [
        [
            html.B(", ".join(one.group.values())), words.count(one.clocks), words.count(one.misses), _attained(one),
            words.percent(one.remaining, 0), _burn(one), _forecast(one), _burning(one),
        ]
        for one in groups
    ]  # fmt: skip
    return card(table(heads, rows), name="groups", title="Who misses", className="mp-block")


def _burning(one: Standing) -> Any:
    return [badge(_LEVELS.get(level, level), "warn" if level == "slow" else "bad") for level in one.firing] or None


def _levels_card(whole: Standing | None) -> Any:
    if whole is None or whole.target >= 1:
        return None
    heads = ["Alert", "Rate needed", "Long window", "Rate there", "Short window", "Rate there", ""]
    rows = []
    for level in whole.levels:
        parts = [level["long"], level["short"]]
        cells: list[Any] = [html.B(_LEVELS.get(level["name"], level["name"])), f"{level['factor']:g} ×"]
        for part in parts:
            length = words.span(timedelta(seconds=part["seconds"]))
            cells += [f"{length}: {words.count(part['misses'])} of {words.count(part['clocks'])}"]
            cells += ["–" if part["burn"] is None else f"{part['burn']:.1f} ×"]
        rows.append([*cells, badge("Burns", "bad") if level["name"] in whole.firing else None])
    return card(
        table(heads, rows), name="levels", title="Alerts on the burn rate", className="mp-block",
        aside="without what was late when it was heard of",
    )  # fmt: skip


def _breaches_card(found: Page[Breach], view: View) -> Any:
    if not found.items:
        body: Any = empty("Nothing ate it", "No clock was missed in the window.", name="check",
                          className="mp-empty-small")  # fmt: skip
    else:
        heads = ["Journey", "Due", "Reached", "Why", "Worth"]
        body = [
            table(heads, [_breach_cells(item) for item in found.items]),
            pager(
                view.href(cursor=None) if view.get("cursor") else None,
                view.href(cursor=found.next_cursor) if found.next_cursor else None,
                words.many(len(found.items), "breach", "breaches"),
            ),
        ]
    href = list_href("/v1/sla/report", month=f"{view.now:%Y-%m}", format="breaches", policy=view.parts["name"])
    return card(
        body, name="breaches", title="What ate it", aside=html.A("This month as CSV", href=href, className="mp-link")
    )


def _breach_cells(item: Breach) -> list[Any]:
    key: Any = item.key
    if item.journey_kind:
        key = link(item.key, journey_href(item.journey_kind, item.key, item.namespace), className="mp-link")
    reached = (
        ago(item.stopped_at, "time") if item.stopped_at else badge("Open", "bad") if not item.ended_at else item.end
    )
    dims = ", ".join(item.dimensions.values())
    return [
        html.Span([key, html.Span(f" {dims}", className="mp-dim mp-small")]), ago(item.due_at, "time"), reached,
        html.Span(item.evidence.get("why", ""), className="mp-small"), words.money(item.amount, item.currency),
    ]  # fmt: skip
