"""Reconciliation: where two systems' views of the same objects part, by day, and which objects these are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from dash import html

from dashboards import figures, words
from dashboards.components import filters
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
from dashboards.queries import reconciliation as queries
from dashboards.queries.paging import DEFAULT_LIMIT, Page
from dashboards.reconciling import state_of
from dashboards.view import View
from milepost.catalog.reconciliation import Reconciliation
from milepost.errors import Permanent

DAYS: Final = 14
"""Days that the list shows of each."""
CHART_DAYS: Final = 30
_STATES: Final = (("open", "Open"), ("gone", "Gone"), ("any", "All"))
_BADGES: Final[Mapping[str, tuple[str, Tone]]] = {
    "not_run": ("Not run yet", "muted"),
    "failed": ("Failed", "bad"),
    "over": ("Over tolerance", "bad"),
    "ok": ("Within tolerance", "ok"),
}
_UNJUDGED: Final[tuple[str, Tone]] = ("Nothing compared yet", "muted")
_NOTE: Final = (
    "Each square is a day: green within tolerance, red over it. What is younger than the time to settle, or was told"
    " by a side while the other one tells of nothing new, is not judged yet."
)


class Reconciliations:
    name = "reconciliations"
    pattern = r"/reconciliation/?"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Reconciliation"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:
        specs = context.catalog().reconciliations
        if not specs:
            return empty(
                "Nothing is reconciled",
                "Say which sources should agree, in reconciliations.yaml, and put it in force: milepost catalog apply.",
                name="reconciliation",
            )
        today = view.now.date()
        with context.engine.connect() as connection:
            runs, counts = queries.last_runs(connection), queries.open_counts(connection)
            days = queries.days_of_all(connection, today - timedelta(days=DAYS - 1))
        rows = [
            _row(name, spec, runs.get(name), counts.get(name, 0), days.get(name, ()), today)
            for name, spec in specs.items()
        ]
        return [live("reconciliations", rows, "mp-card mp-alert-list"), html.P(_NOTE, className="mp-note")]


def _row(
    name: str, spec: Reconciliation, run: queries.Run | None, open_now: int, days: Sequence[queries.Day], today: date
) -> Any:
    text, tone = _badge_of(run, days)
    below = f"{spec.name_of('left')} against {spec.name_of('right')}"
    return link(
        [
            html.I(className=f"mp-bar mp-{tone}"),
            html.Div(
                [html.B(spec.title or words.title(name)), html.P(_subtitle(below, run))], className="mp-alert-what"
            ),
            _pair("Open", words.count(open_now)),
            _pair(f"Last {DAYS} days", _squares(days, today)),
            _pair("Owner", spec.owner or "–"),
            _pair("Ran", ago(run.at) if run else "–"),
            badge(text, tone),
        ],
        f"/reconciliation/{name}",
        className="mp-alert-row mp-reconciliation-row",
    )


def _badge_of(run: queries.Run | None, days: Sequence[queries.Day]) -> tuple[str, Tone]:
    """What was never compared is within no tolerance."""
    state = state_of(run)
    return _UNJUDGED if state == "ok" and not any(day.judged for day in days) else _BADGES[state]


def _subtitle(below: str, run: queries.Run | None) -> str:
    return f"{below} · {run.note}" if run is not None and run.note else below


def _pair(name: str, value: Any) -> html.Div:
    return html.Div([html.Span(name), html.B(value)], className="mp-pair")


def _squares(days: Sequence[queries.Day], today: date) -> html.Span:
    known = {day.day: day for day in days}
    shown = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    return html.Span([_square(at, known.get(at)) for at in shown], className="mp-squares")


def _square(at: date, day: queries.Day | None) -> html.I:
    if day is None:
        return html.I(className="mp-muted", title=f"{at:%d %b}: nothing")
    told = day.why or f"{words.count(day.left_count)} and {words.count(day.right_count)}"
    tone = "bad" if day.over else "ok" if day.judged else "muted"
    return html.I(className=f"mp-{tone}", title=f"{at:%d %b}: {told}")


# --- one of them ------------------------------------------------------------------------------------------------------


class Reconciled:
    name = "reconciliation"
    pattern = r"/reconciliation/(?P<name>[a-z][a-z0-9_\-]{0,63})"

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Reconciliation"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return filters.bar([filters.segments(view, "state", _STATES, "open")])

    def body(self, context: Context, view: View) -> Any:
        name = view.parts["name"]
        spec = context.catalog().reconciliations.get(name)
        if spec is None:
            return empty("There is no such reconciliation", "", action=link("All of them", "/reconciliation"))
        state = view.one_of("state", dict(_STATES), "open")
        day = _day_of(view)
        last = view.now.date() + timedelta(days=1)
        with context.engine.connect() as connection:
            run, open_now = queries.last_runs(connection).get(name), queries.open_counts(connection).get(name, 0)
            days = queries.days(connection, name, last - timedelta(days=CHART_DAYS), last)

            def page(cursor: str | None) -> Page[queries.Discrepancy]:
                wanted = None if state == "any" else state
                return queries.list_page(connection, name, state=wanted, day=day, limit=DEFAULT_LIMIT, cursor=cursor)

            try:
                found = page(view.get("cursor") or None)
            except Permanent:  # a cursor from an old link: begin anew
                found = page(None)
        return [
            _head(spec, run, days, open_now),
            _days_card(name, spec, days, view),
            None if spec.by == "day" else _objects_card(spec, found, day, view),
        ]


def _day_of(view: View) -> date | None:
    try:
        return date.fromisoformat(view.get("day"))
    except ValueError:
        return None


def _head(spec: Reconciliation, run: queries.Run | None, days: Sequence[queries.Day], open_now: int) -> Any:
    text, tone = _badge_of(run, days)
    how = {"object": "each with itself", "journey": f"within each {spec.model} journey", "day": "the totals of a day"}
    values = [
        ("Left", spec.name_of("left")),
        ("Right", spec.name_of("right")),
        ("Compared", f"{spec.compare}, {how[spec.by]}"),
        ("Settles in", spec.settle.text),
        ("Open", words.count(open_now)),
        ("Ran", ago(run.at) if run else "–"),
        ("Compared up to", ago(run.until, "time") if run else None),
        ("Took", f"{run.seconds:.1f} s" if run else None),
        ("Waits" if run and run.until else "Failed", run.note if run and run.note else None),
        ("Owner", spec.owner),
    ]
    title = html.Div(
        [html.Div([html.H2(spec.title)]), html.Div(badge(text, tone), className="mp-head-badges")],
        className="mp-head mp-alert-title",
    )
    return card([title, facts(values)], name="head", className="mp-block")


def _days_card(name: str, spec: Reconciliation, days: Sequence[queries.Day], view: View) -> Any:
    if not days:
        return card(
            empty("Nothing was compared yet", "The first days appear with the first run.", className="mp-empty-small"),
            name="days",
            title="By day",
        )
    sides = spec.name_of("left"), spec.name_of("right")
    figure = figures.reconciled(
        [
            figures.Reconciled(day.day, day.left_count, day.right_count, day.only_left, day.only_right, day.differing)
            for day in days
        ],
        sides,
        paired=spec.by != "day",
    )
    heads = ["Day", *sides, f"Not in {sides[1]}", f"Not in {sides[0]}", "Other amount", "Amounts", ""]
    rows = [_day_cells(day, view) for day in reversed(days)]
    download = html.A("Days as CSV", href=_report_href(name, days, "days"), className="mp-link")
    return card(
        [chart(figure, "days-chart", "What differs, by day"), live("days", table(heads, rows))],
        name="days-card", alive=False, title="By day", aside=download, className="mp-block",
    )  # fmt: skip


def _report_href(name: str, days: Sequence[queries.Day], form: str) -> str:
    """Downloads are answered by the API, which knows the reader's session too."""
    first, last = (days[0].day, days[-1].day)
    return list_href(f"/v1/reconciliations/{name}/report", since=f"{first}", until=f"{last}", format=form)


def _day_cells(day: queries.Day, view: View) -> list[Any]:
    shown = view.href(day=day.day.isoformat(), cursor=None)
    return [
        link(f"{day.day:%a %d %b}", shown, className="mp-link"),
        *(words.count(number) for number in (day.left_count, day.right_count)),
        *(_flag(number) for number in (day.only_left, day.only_right, day.differing)),
        html.Div([_amounts(currency, *pair) for currency, pair in day.amounts.items()]),
        badge(day.why or "over", "bad") if day.over else badge("Not over yet", "muted") if not day.judged else None,
    ]


def _flag(number: int) -> Any:
    return html.Span(words.count(number), className="mp-flag mp-bad") if number else html.Span("0", className="mp-dim")


def _amounts(currency: str, left: str, right: str) -> html.Div:
    apart = Decimal(left) - Decimal(right)
    short = [words.money(value, currency, short=True) for value in (left, right)]
    more = f" ({words.money(apart, currency, short=True)} apart)" if apart else ""
    return html.Div(" / ".join(short) + more, className="mp-small")


def _objects_card(spec: Reconciliation, found: Page[queries.Discrepancy], day: date | None, view: View) -> Any:
    title = "Objects that differ" + (f" on {day:%d %b}" if day else "")
    if not found.items:
        body: Any = empty("No object differs", "Both sides agree on what is settled.", name="check",
                          className="mp-empty-small")  # fmt: skip
    else:
        heads = ["Object", "What", "Since", spec.name_of("left"), spec.name_of("right"), "Found", "Gone", "Journey"]
        body = [
            table(heads, [_object_cells(item, spec) for item in found.items]),
            pager(
                view.href(cursor=None) if view.get("cursor") else None,
                view.href(cursor=found.next_cursor) if found.next_cursor else None,
                words.many(len(found.items), "object"),
            ),
        ]
    aside = [
        link("All days", view.href(day=None, cursor=None), className="mp-link") if day else None,
        html.A("As CSV", href=f"/v1/reconciliations/{view.parts['name']}/report?format=csv", className="mp-link"),
    ]
    return card(body, name="objects", title=title, aside=html.Div(aside, className="mp-legend"))


def _object_cells(item: queries.Discrepancy, spec: Reconciliation) -> list[Any]:
    lacking = {
        "missing_left": f"Missing in {spec.name_of('left')}",
        "missing_right": f"Missing in {spec.name_of('right')}",
    }
    journey = None
    if item.journey_kind and item.journey_key:
        href = journey_href(item.journey_kind, item.journey_key, item.journey_namespace or "")
        journey = link(item.journey_key, href, className="mp-link")
    gone = [ago(item.gone_at), html.Span(f" {item.why}", className="mp-dim mp-small")] if item.gone_at else "–"
    return [
        html.Span([html.B(item.key or "?"), html.Span(f" {item.type or ''}", className="mp-dim mp-small")]),
        lacking.get(item.kind, "Other amount"),
        ago(item.at),
        words.money(item.left_amount, item.left_currency),
        words.money(item.right_amount, item.right_currency),
        ago(item.found_at),
        gone,
        journey,
    ]
