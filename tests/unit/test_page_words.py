"""How pages put into words what is Milepost's own: its source, its codes, its windows and counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dashboards.pages import exceptions, objectives, sources
from dashboards.queries.objectives import Standing
from dashboards.queries.sources import Source
from milepost.catalog import loader

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=9)


def test_milepost_itself_is_no_silent_source() -> None:
    found = [
        sources._freshness(Source(name, last_occurred_at=LONG_AGO), NOW) for name in ("/milepost/reconciliation", "/x")
    ]
    assert found == [("Milepost itself", "muted"), ("Silent", "bad")]


def test_a_discrepancy_is_told_by_its_reason() -> None:
    assert exceptions._words("reconciliation.missing", "missing_right", "missing in ERP") == "missing in ERP"
    assert exceptions._words("picking.short", "SHORT", "Not enough") == "SHORT: Not enough"


def test_an_objective_says_when_its_hours_were_counted_and_both_days_of_its_window() -> None:
    policy = loader.load(loader.default_texts()).policies[0]
    whole = Standing(policy.name, {}, NOW, LONG_AGO, NOW, 0.99, 10, 1, 0.1, 0.0, 1.0, None, levels=(), firing={})
    shown = str(objectives._head(policy, whole, [whole], NOW - timedelta(minutes=33)).to_plotly_json())
    assert "late evidence counts from the next hour on" in shown
    assert "11:27" in shown
    assert shown.count("='date'") == 2
