"""Gaps on the page of the sources: milestones that must have happened and weren't seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from dash import html

from dashboards import words
from dashboards.components.parts import card, journey_href, link, table
from dashboards.context import Context
from dashboards.queries import gaps as queries
from dashboards.view import View

WINDOW: Final = timedelta(days=30)
NEWEST: Final = 3_000
"""Journeys of each model that the page looks at."""
FRESH: Final = timedelta(minutes=1)
"""The page is drawn anew every few seconds for each of its readers; gaps don't come and go as fast."""
SHOWN: Final = 12


class Gaps:
    """The gaps of the newest journeys, as they were at most FRESH ago."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[sa.Engine, tuple[datetime, str, queries.Report]] = WeakKeyDictionary()

    def card(self, context: Context, view: View) -> Any:
        """Nothing where nothing is missing."""
        return _card(self._report(context, view), context)

    def _report(self, context: Context, view: View) -> queries.Report:
        catalog = context.catalog()
        at, version, report = self._known.get(context.engine, (None, "", queries.Report()))
        if at is None or version != catalog.version or not at <= view.now < at + FRESH:
            with context.engine.connect() as connection:
                report = queries.find(connection, catalog, since=view.now - WINDOW, newest=NEWEST)
            self._known[context.engine] = (view.now, catalog.version, report)
        return report


def _card(found: queries.Report, context: Context) -> Any:
    if not found.gaps:
        return None
    names = {name: spec.title for name, spec in context.catalog().sources.items()}
    more = len(found.gaps) - SHOWN
    looked = max(found.journeys.values())
    aside = f"of the newest {words.count(looked)} journeys of {WINDOW.days} days" + (
        f", {more} more" if more > 0 else ""
    )
    return card(
        table(
            ["Source", "Milestone", "Missing", "Share", "Newest"],
            [_row(gap, names) for gap in found.gaps[:SHOWN]],
        ),
        name="gaps",
        title="Silent failures: milestones that must have happened and weren't seen",
        aside=aside,
        className="mp-block",
    )


def _row(gap: queries.Gap, names: Mapping[str, str]) -> list[Any]:
    title = names.get(gap.source or "")
    source = [
        html.B(title or gap.source or "nobody known"),
        html.Span(f" {gap.source}" if title else "", className="mp-dim"),
    ]
    newest = [
        link(one.key, journey_href(gap.model, one.key, one.namespace), className="mp-link") for one in gap.examples[:3]
    ]
    return [
        html.Span(source),
        html.Span([words.title(gap.milestone), html.Span(f" · {words.title(gap.model)}", className="mp-dim")]),
        f"{words.count(gap.missing)} of {words.count(gap.expected)}",
        words.percent(gap.share),
        html.Span([part for one in newest for part in (one, " ")]),
    ]
