"""Charts and words: pure, so every case is a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from dashboards import figures, words
from dashboards.figures import Due, Point
from dashboards.queries.journey import money_text
from milepost.journeystate import merge_attributes

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
ZONE = ZoneInfo("UTC")


def hour(number: int) -> datetime:
    return NOON + timedelta(hours=number)


# --- volume


def test_volume_stacks_the_largest_sources_first() -> None:
    figure = figures.volume(
        [(hour(0), "small", 1), (hour(0), "large", 9), (hour(1), "large", 5)], ZONE, {"large": "WMS"}
    )
    assert [bar.name for bar in figure.data] == ["WMS", "small"]
    assert list(figure.data[0].y) == [9, 5]
    assert list(figure.data[1].y) == [1, 0]


def test_volume_puts_the_rest_together() -> None:
    counts = [(hour(0), f"s{number}", 100 - number) for number in range(9)]
    figure = figures.volume(counts, ZONE, {}, top=6)
    assert figure.data[-1].name == "Others"
    assert list(figure.data[-1].y) == [94 + 93 + 92]
    assert sum(bar.y[0] for bar in figure.data) == sum(number for _, _, number in counts)


def test_times_are_the_readers_wall_time() -> None:
    figure = figures.volume([(NOON, "a", 1)], BERLIN, {})
    assert figure.data[0].x[0] == datetime(2026, 11, 20, 13, 0)  # noqa: DTZ001 (plotly draws wall time)


# --- swimlane


def test_lanes_are_in_the_order_in_which_systems_appear() -> None:
    points = [
        Point(hour(0), "shop", "order.received", "ok", "received"),
        Point(hour(2), "wms", "picking.packed", "failed"),
        Point(hour(1), "odoo", "order.confirmed", "ok", "confirmed"),
    ]
    figure = figures.swimlane(points, [], ZONE, {"odoo": "Odoo"}, None)
    assert list(figure.layout.yaxis.ticktext) == ["shop", "wms", "Odoo"]
    plain, milestones = figure.data[1], figure.data[2]
    assert list(milestones.y) == [0, 2]
    assert list(plain.marker.color) == [figures.BAD]


def test_deadlines_and_the_present_are_marked() -> None:
    points = [Point(hour(0), "shop", "order.received", "ok", "received")]
    dues = [Due(hour(4), "Confirmation", breached=True), Due(hour(6), "Delivery", breached=False)]
    figure = figures.swimlane(points, dues, ZONE, {}, hour(5))
    assert [note.text for note in figure.layout.annotations] == ["Confirmation", "now", "Delivery"]
    assert [shape.line.color for shape in figure.layout.shapes] == [figures.BAD, figures.MUTED, figures.WARN]
    far = figures.swimlane(points, [Due(hour(90), "Delivery", breached=False)], ZONE, {}, hour(5))
    assert [note.text for note in far.layout.annotations] == ["now"]
    ended = figures.swimlane(points, [], ZONE, {}, None)
    assert not ended.layout.shapes


# --- expectation


@pytest.mark.parametrize(("days", "slot"), [(0, 12), (1, 36), (2, 36), (3, 12)])
def test_the_band_is_two_spreads_wide_in_its_slot(days: int, slot: int) -> None:
    at = NOON + timedelta(days=days)  # Friday and on
    figure = figures.expectation([(at, 3)], {slot: (100.0, 10.0), -1: (1.0, 1.0)}, ZONE, [at])
    high, low, received, odd = figure.data
    assert (high.y[0], low.y[0]) == (120, 80)
    assert list(received.y) == list(odd.y) == [3]


def test_the_band_is_never_below_zero_and_falls_back_to_all_hours() -> None:
    figure = figures.expectation([(NOON, 3)], {-1: (5.0, 50.0)}, ZONE, [])
    assert figure.data[1].y[0] == 0
    assert not figure.data[3].x


def test_without_a_baseline_there_is_no_band() -> None:
    assert [trace.name for trace in figures.expectation([(NOON, 3)], {}, ZONE, []).data] == ["Received", "Odd"]


def test_hours_without_events_are_drawn_as_such() -> None:
    found = figures.fill_hours([(hour(1), 7)], NOON + timedelta(minutes=20), hour(3))
    assert found == [(hour(0), 0), (hour(1), 7), (hour(2), 0)]


@pytest.mark.parametrize("figure", [
    figures.volume([], ZONE, {}),
    figures.swimlane([], [], ZONE, {}, None),
    figures.expectation([], {}, ZONE, []),
])  # fmt: skip
def test_nothing_can_be_drawn_too(figure: object) -> None:
    assert figure


# --- words


@pytest.mark.parametrize(
    ("amount", "currency", "short", "text"),
    [
        ("1234.5", "EUR", False, "€1,234.50"), ("1234.5", "SEK", False, "SEK 1,234.50"), ("-5", "USD", False, "-$5.00"),
        ("0.1250", None, False, "0.12"), ("9999.4", "EUR", True, "€9,999"), ("44714.71", "EUR", True, "€44.7k"),
        ("29000", "EUR", True, "€29k"), ("999999.5", "USD", True, "$1m"), ("1500000", "USD", True, "$1.5m"),
        ("2000000000", "USD", True, "$2bn"), (None, "EUR", False, "–"),
    ],
)  # fmt: skip
def test_money(amount: str | None, currency: str | None, short: bool, text: str) -> None:
    assert words.money(amount, currency, short=short) == text


def test_money_of_several_currencies_is_never_summed() -> None:
    assert words.moneys({"EUR": "10", "USD": Decimal(20)}) == "€10 + $20"


@pytest.mark.parametrize(
    ("length", "text", "coarse"),
    [
        (timedelta(0), "0 s", "0 s"), (timedelta(seconds=40), "40 s", "40 s"),
        (timedelta(minutes=5, seconds=20), "5 min 20 s", "5 min"), (timedelta(hours=2), "2 h", "2 h"),
        (timedelta(hours=2, seconds=5), "2 h", "2 h"), (timedelta(days=2, hours=4, minutes=9), "2 d 4 h", "2 d 4 h"),
        (timedelta(days=-1), "1 d", "1 d"),
    ],
)  # fmt: skip
def test_spans(length: timedelta, text: str, coarse: str) -> None:
    assert words.span(length) == text
    assert words.span(length, coarse=True) == coarse


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100 %"), (0.99999, "99.9 %"), (0.5, "50 %"), (0.8765, "87.6 %"), (0.0, "0 %")]
)
def test_percent_is_never_rounded_up_to_all(share: float, text: str) -> None:
    assert words.percent(share) == text


@pytest.mark.parametrize(
    ("amount", "text"), [("123.4000", "123.40"), ("5", "5.00"), ("0.1234", "0.1234"), ("1E+3", "1000.00")]
)
def test_money_on_the_wire(amount: str, text: str) -> None:
    assert money_text(Decimal(amount)) == text


def test_a_journeys_attribute_is_its_roots_else_the_only_one_among_its_members() -> None:
    root = {"warehouse": "north", "channel": None}
    others = [{"warehouse": "south", "carrier": "dhl", "lot": 1}, {"carrier": "dhl", "lot": 2, "channel": "edi"}]
    assert merge_attributes(root, others) == {"warehouse": "north", "carrier": "dhl", "channel": "edi"}
