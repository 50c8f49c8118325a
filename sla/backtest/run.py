"""Tries a catalog on stored history: one pass over the journeys, in one read-only snapshot. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from time import perf_counter

import sqlalchemy as sa

from exports.snapshot import opened
from milepost.catalog.schema import Catalog
from milepost.clock import to_us
from sla.backtest import history
from sla.backtest.found import Span
from sla.backtest.history import Window
from sla.backtest.report import Comparison, Report
from sla.policy import Compiled

Progress = Callable[[int, int], None]
"""Told how many journeys are done, of how many."""


def backtest(
    engine: sa.Engine,
    tried: Catalog,
    today: Catalog,
    window: Window,
    *,
    judged_at: datetime,
    progress: Progress,
    as_it_happened: bool = False,
) -> Report:
    """What `tried` would have found of the clocks that fell due in the window, and how `today` differs.

    `judged_at` is the watermark: nothing due later counts. `as_it_happened`: see found.Span. `today` has the models of
    the stored journeys. The memory that it takes grows with the breaches that are found, not with the journeys. Raises
    Transient when the journeys are rebuilt meanwhile.
    """
    window = replace(window, until=min(judged_at, window.until))
    span = Span(to_us(window.since), to_us(window.until), as_it_happened)
    # not those of the process: what a faulty policy is disabled for here is not the live engine's business
    comparison = Comparison(tried, today, (Compiled(tried), Compiled(today)))
    begun = perf_counter()
    with opened(engine, None) as snapshot:
        total = history.count(snapshot.connection, window)
        for batch in history.batches(snapshot, today, window):
            for change in batch.changes:
                comparison.judge(change, batch.names, span)
            progress(comparison.journeys, total)
    return comparison.report(span, perf_counter() - begun)
