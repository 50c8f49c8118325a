"""Charts: data in, plotly figure out. Pure.

Text and lines of the frame take their colours from the style sheet, so that one figure serves light and dark. Times are
shown in the zone that is handed in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import plotly.graph_objects as go

OK: Final = "#1fa97a"
WARN: Final = "#f2a51a"
BAD: Final = "#e2434d"
INFO: Final = "#4c74f3"
MUTED: Final = "#8996ab"
LEVELS: Final = 3
"""How many names of lines stand above each other."""
SERIES: Final = ("#4c74f3", "#1fa97a", "#f2a51a", "#9b6be0", "#2bb3c9", "#e86f9a", "#8996ab")
"""Told apart in light and dark, and with the usual colour blindness, in this order."""
OUTCOMES: Final[Mapping[str, str]] = {"ok": INFO, "retried": WARN, "failed": BAD, "rejected": BAD}
_DAY_MS: Final = 86_400_000
_TIMES: Final = [
    {"dtickrange": [None, 59_999], "value": "%H:%M:%S\n%b %-d"},
    {"dtickrange": [60_000, _DAY_MS - 1], "value": "%H:%M\n%b %-d"},
    {"dtickrange": [_DAY_MS, None], "value": "%b %-d"},
]
_FONT: Final = {"family": "Inter, system-ui, sans-serif", "size": 12, "color": MUTED}


@dataclass(frozen=True, slots=True)
class Point:
    """An event in the timeline of a journey."""

    at: datetime
    lane: str
    label: str
    outcome: str
    milestone: str | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """When a running clock falls due."""

    at: datetime
    label: str
    breached: bool


def local(at: datetime, zone: ZoneInfo) -> datetime:
    """The reader's wall time: plotly draws what it is given, without zones."""
    return at.astimezone(zone).replace(tzinfo=None)


def volume(
    counts: Sequence[tuple[datetime, str, int]], zone: ZoneInfo, names: Mapping[str, str], top: int = 6
) -> go.Figure:
    """Events per hour, stacked by source; those beyond the `top` largest become one."""
    totals: defaultdict[str, int] = defaultdict(int)
    for _, source, number in counts:
        totals[source] += number
    ranked = sorted(totals, key=lambda source: (-totals[source], source))
    shown, rest = ranked[:top], set(ranked[top:])
    hours = sorted({hour for hour, _, _ in counts})
    by_source: defaultdict[str, defaultdict[datetime, int]] = defaultdict(lambda: defaultdict(int))
    for hour, source, number in counts:
        by_source["Others" if source in rest else source][hour] += number
    figure = go.Figure()
    for position, source in enumerate([*shown, *(["Others"] if rest else [])]):
        figure.add_bar(
            x=[local(hour, zone) for hour in hours],
            y=[by_source[source][hour] for hour in hours],
            name=names.get(source) or source,
            marker={"color": SERIES[position % len(SERIES)], "line": {"width": 0}},
            hovertemplate="%{y:,} events<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.22, hovermode="x unified")
    figure.update_yaxes(tickformat=",d", nticks=5)
    return _framed(figure, height=320, legend=True)


def swimlane(
    points: Sequence[Point], dues: Sequence[Due], zone: ZoneInfo, names: Mapping[str, str], now: datetime | None
) -> go.Figure:
    """One lane a source in order of appearance; events as points, milestones filled; `now` for open journeys."""
    lanes = list(dict.fromkeys(point.lane for point in points))
    figure = go.Figure()
    ordered = sorted(points, key=lambda point: point.at)
    figure.add_scatter(
        x=[local(point.at, zone) for point in ordered],
        y=[lanes.index(point.lane) for point in ordered],
        mode="lines",
        line={"color": MUTED, "width": 1, "dash": "dot"},
        opacity=0.55,
        hoverinfo="skip",
        showlegend=False,
    )
    for milestone, size in ((False, 9), (True, 13)):
        chosen = [point for point in ordered if bool(point.milestone) is milestone]
        colours = [OUTCOMES.get(point.outcome, MUTED) for point in chosen]
        figure.add_scatter(
            x=[local(point.at, zone) for point in chosen],
            y=[lanes.index(point.lane) for point in chosen],
            mode="markers",
            marker={
                "size": size,
                "color": colours,
                "symbol": "circle" if milestone else "circle-open",
                "line": {"width": 2, "color": colours},
            },
            customdata=[[point.label, point.milestone or "", point.outcome] for point in chosen],
            hovertemplate="<b>%{customdata[0]}</b><br>%{x|%d %b %H:%M:%S}<br>%{customdata[2]}<extra></extra>",
            showlegend=False,
        )
    if ordered:
        dues = near(dues, ordered[0].at, max(ordered[-1].at, now or ordered[-1].at))
    _mark_times(figure, dues, zone, now)
    figure.update_yaxes(
        tickvals=list(range(len(lanes))),
        ticktext=[names.get(lane) or lane for lane in lanes],
        range=[len(lanes) - 0.4, -0.6],
        fixedrange=True,
        showgrid=True,
        zeroline=False,
    )
    levels = min(LEVELS, len(figure.layout.annotations))
    framed = _framed(figure, height=62 + 14 * levels + 40 * max(1, len(lanes)))
    return framed.update_layout(margin_t=10 + 14 * levels)


def _mark_times(figure: go.Figure, dues: Sequence[Due], zone: ZoneInfo, now: datetime | None) -> None:
    """Lines for the present and the deadlines; their names rise where they would lie over each other."""
    marks = [(now, "now", MUTED, "solid")] if now is not None else []
    marks += [(due.at, due.label, BAD if due.breached else WARN, "dash") for due in dues]
    for place, (at, text, colour, dash) in enumerate(sorted(marks, key=lambda mark: mark[0])):
        figure.add_vline(x=local(at, zone), line={"color": colour, "width": 1.5, "dash": dash})
        _note(figure, local(at, zone), text, colour, 14 * (place % LEVELS))


def near(dues: Sequence[Due], first: datetime, last: datetime) -> list[Due]:
    """The deadlines that can be drawn without squeezing what has happened into a corner."""
    return [due for due in dues if due.at <= last + max(last - first, timedelta(hours=1))][: LEVELS * 2]


def _note(figure: go.Figure, at: datetime, text: str, colour: str, raised: int) -> None:
    figure.add_annotation(
        x=at, y=1, yref="paper", yanchor="bottom", yshift=raised, text=text, showarrow=False,
        font={"size": 11, "color": colour},
    )  # fmt: skip


def slot_of(hour: datetime) -> int:
    """The slot that baselines are kept for: the hour (UTC), 24 more at weekends."""
    return hour.hour + (24 if hour.weekday() >= 5 else 0)


def expectation(
    hours: Sequence[tuple[datetime, int]],
    usual: Mapping[int, tuple[float, float]],
    zone: ZoneInfo,
    flagged: Sequence[datetime],
) -> go.Figure:
    """What came each hour (UTC), the band in which it mostly lies, and the hours that are odd.

    `usual` is {slot, or -1 for all: (median, spread)}; the band is two spreads to either side.
    """
    figure = go.Figure()
    times = [local(hour, zone) for hour, _ in hours]
    expected = [usual.get(slot_of(hour), usual.get(-1)) for hour, _ in hours]
    if any(item is not None for item in expected):
        _add_band(figure, times, expected)
    figure.add_scatter(
        x=times, y=[number for _, number in hours], mode="lines", line={"color": INFO, "width": 2}, name="Received",
        hovertemplate="%{y:,} events<extra></extra>",
    )  # fmt: skip
    odd = set(flagged)
    chosen = [(hour, number) for hour, number in hours if hour in odd]
    figure.add_scatter(
        x=[local(hour, zone) for hour, _ in chosen], y=[number for _, number in chosen], mode="markers", name="Odd",
        marker={"size": 9, "color": BAD}, hoverinfo="skip",
    )  # fmt: skip
    figure.update_layout(hovermode="x unified")
    return _framed(figure, height=260, legend=True)


def _add_band(figure: go.Figure, times: Sequence[datetime], expected: Sequence[tuple[float, float] | None]) -> None:
    """The band is open where nothing is known."""
    high = [item[0] + 2 * item[1] if item else None for item in expected]
    low = [max(0.0, item[0] - 2 * item[1]) if item else None for item in expected]
    edge: dict[str, Any] = {"x": times, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_scatter(**edge, y=high, showlegend=False)
    figure.add_scatter(**edge, y=low, fill="tonexty", fillcolor="rgba(76,116,243,.14)", name="Usual")


def fill_hours(found: Sequence[tuple[datetime, int]], since: datetime, until: datetime) -> list[tuple[datetime, int]]:
    """Every hour of the span, with 0 where nothing came: a gap must look like one."""
    known = dict(found)
    start = since.replace(minute=0, second=0, microsecond=0)
    count = max(0, int((until - start) / timedelta(hours=1)))
    return [(at, known.get(at, 0)) for at in (start + timedelta(hours=step) for step in range(count))]


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What two sides have of a day."""

    day: date
    left: int
    right: int
    only_left: int
    only_right: int
    differing: int


def reconciled(days: Sequence[Reconciled], sides: tuple[str, str], *, paired: bool) -> go.Figure:
    """By day: when `paired`, the objects that do not agree, by what is wrong; else what each side has."""
    figure = go.Figure()
    if paired:
        bars = [
            (f"Not in {sides[1]}", BAD, [day.only_left for day in days]),
            (f"Not in {sides[0]}", SERIES[5], [day.only_right for day in days]),
            ("Other amount", WARN, [day.differing for day in days]),
        ]
    else:
        bars = [(sides[0], SERIES[0], [day.left for day in days]), (sides[1], SERIES[1], [day.right for day in days])]
    for name, colour, counts in bars:
        if any(counts):
            figure.add_bar(
                x=[f"{day.day:%d %b}" for day in days],
                y=counts,
                name=name,
                marker={"color": colour, "line": {"width": 0}},
                hovertemplate="%{y:,}<extra>%{fullData.name}</extra>",
            )  # fmt: skip
    figure.update_layout(barmode="stack" if paired else "group", bargap=0.3, hovermode="x unified")
    figure.update_yaxes(tickformat=",d", nticks=5)
    return _framed(figure, height=260, legend=True).update_xaxes(type="category")


@dataclass(frozen=True, slots=True)
class Missed:
    """The clocks that fell due on a day, and those that were not met."""

    day: date
    clocks: int
    misses: int


def spent(days: Sequence[Missed], target: float) -> go.Figure:
    """By day: how many clocks were missed, and how many the objective allows of those that fell due."""
    figure = go.Figure()
    names = [f"{day.day:%d %b}" for day in days]
    over = [day.misses > (1 - target) * day.clocks + 1e-9 for day in days]
    figure.add_bar(
        x=names, y=[day.misses for day in days], name="Missed", customdata=[day.clocks for day in days],
        marker={"color": [BAD if one else OK for one in over], "line": {"width": 0}},
        hovertemplate="%{y:,} missed of %{customdata:,}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=names, y=[(1 - target) * day.clocks for day in days], name="Allowed", mode="lines",
        line={"color": MUTED, "width": 1.5, "dash": "dash", "shape": "hvh"},
        hovertemplate="%{y:,.1f} allowed<extra></extra>",
    )  # fmt: skip
    figure.update_layout(bargap=0.3, hovermode="x unified")
    figure.update_yaxes(tickformat=",d", nticks=5, rangemode="tozero")
    return _framed(figure, height=240, legend=False).update_xaxes(type="category")


def _framed(figure: go.Figure, *, height: int, legend: bool = False) -> go.Figure:
    """The look that all charts share."""
    axis: dict[str, Any] = {"showline": False, "ticks": "", "tickfont": _FONT, "automargin": True, "zeroline": False}
    figure.update_layout(
        height=height,
        margin={"l": 4, "r": 8, "t": 30 if legend else 34, "b": 4},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font=_FONT,
        showlegend=legend,
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
            "font": {**_FONT, "size": 11.5},
            "traceorder": "normal",
            "itemwidth": 30,
        },
        hoverlabel={"bgcolor": "#0e1a2f", "bordercolor": "#0e1a2f", "font": {"color": "#fff", "size": 12}},
        uirevision="keep",
        dragmode=False,
        template="none",
    )
    figure.update_xaxes(**axis, showgrid=False, fixedrange=True, tickangle=0, nticks=8, tickformatstops=_TIMES)
    figure.update_yaxes(**axis, gridcolor="rgba(137,150,171,.18)", fixedrange=True)
    return figure
