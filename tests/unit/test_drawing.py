"""What of a page is sent again: whole bodies, single parts, or nothing."""

from __future__ import annotations

from typing import Any

import dash_ag_grid as dag
import pytest
from dash import dcc, html

from dashboards.drawing import take_apart
from dashboards.pages.track import standings
from milepost.catalog import loader


def page(**given: Any) -> Any:
    made = {"title": "Orders", "rows": [{"id": 1}], "figure": {"data": []}, "note": "one", "inner": "a", **given}
    return [
        html.H1(made["title"]),
        html.Div(dag.AgGrid(id="grid", rowData=made["rows"], columnDefs=[{"field": "id"}])),
        dcc.Graph(id="chart", figure=made["figure"]),
        html.Div([made["note"], html.Div(made["inner"], id="live-inner")], id="live-outer"),
        html.Div("no part", id="plain"),
    ]


def changed(**given: Any) -> list[str] | None:
    before = take_apart(page()).digests
    changes = take_apart(page(**given)).changes(before)
    return None if changes is None else [change["id"] for change in changes]


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({}, []),
        ({"rows": [{"id": 2}]}, ["grid"]),
        ({"figure": {"data": [1]}}, ["chart"]),
        ({"note": "two"}, ["live-outer"]),
        ({"inner": "b"}, ["live-inner"]),
        ({"rows": [], "inner": "b"}, ["grid", "live-inner"]),
        ({"title": "Shipments"}, None),
    ],
)
def test_only_what_has_changed(given: dict[str, Any], parts: list[str] | None) -> None:
    assert changed(**given) == parts


def test_a_change_names_the_property_and_the_value() -> None:
    changes = take_apart(page(rows=[{"id": 2}])).changes(take_apart(page()).digests)
    assert changes == [{"id": "grid", "prop": "rowData", "value": [{"id": 2}]}]


def test_somebody_who_is_shown_nothing_gets_it_all() -> None:
    assert take_apart(page()).changes({}) is None


PLAN = loader.load(loader.default_texts()).models["order"].milestones


@pytest.mark.parametrize(
    ("reached", "expected"),
    [
        (set(), {"received": "next", "validated": "later", "paid": "later"}),
        ({"received", "confirmed"}, {"received": "done", "validated": "skipped", "allocated": "next"}),
        ({"received", "paid"}, {"received": "done", "validated": "next", "invoiced": "later", "paid": "done"}),
    ],
)
def test_steps_are_done_skipped_next_or_to_come(reached: set[str], expected: dict[str, str]) -> None:
    states = standings(PLAN, reached, is_open=True)
    assert expected.items() <= states.items()


def test_nothing_is_next_for_a_journey_that_has_ended() -> None:
    assert "next" not in standings(PLAN, {"received"}, is_open=False).values()
