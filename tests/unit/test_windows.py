"""Matchers, silences as covers, and when maintenance windows are open."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting import silence, windows
from alerting.hiding import Candidate
from alerting.signal import Signal
from alerting.silence import Cover
from milepost.catalog import matcher
from milepost.catalog.matcher import Matcher, read
from milepost.catalog.window import Window, check
from milepost.errors import CatalogError

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)  # a Friday
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")


def window(**fields: Any) -> Window:
    return msgspec.convert({"match": {"source": ["odoo"]}, **fields}, Window)


# --- matchers ---------------------------------------------------------------------------------------------------------

LABELS = {"warehouse": "north", "carrier": "dhl", "rule": "picking-released", "kind": "sla", "severity": "warning"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("warehouse=north", True),
        ("warehouse = south, north", True),
        ("warehouse=south", False),
        ("carrier!=dhl", False),
        ("carrier!=ups,gls", True),
        ("rule=picking-*", True),
        ("rule=pick", False),
        ("rule!=picking-*", False),
        ("partner=*", False),
        ("partner!=acme", True),
        ("partner=", True),
        ("warehouse=*", True),
        (r"partner!=Acme\, Inc,Ltd", True),
    ],
)
def test_a_matcher(text: str, expected: bool) -> None:
    assert read(text).matches(LABELS) is expected
    assert read(str(read(text))) == read(text)


def test_a_comma_within_a_value_has_a_backslash_before_it() -> None:
    assert read(r"partner=Acme\, Inc,Ltd").values == ("Acme, Inc", "Ltd")


@pytest.mark.parametrize(
    "text", ["", "warehouse", "=north", "Ware=north", "a b=c", "x=" + ",".join("abcdefghijklmnopqrstu")]
)
def test_what_is_no_matcher(text: str) -> None:
    with pytest.raises(ValueError, match="matcher"):
        read(text)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], True),
        (["carrier!=dhl"], True),
        (["kind=*", "severity=info,warning,critical"], True),
        (["kind=sla,anomaly,reconciliation,platform"], True),
        (["warehouse=north,*"], True),
        (["partner="], True),
        (["kind=sla"], False),
        (["severity=info,warning"], False),
        (["carrier!=dhl", "warehouse=n*"], False),
    ],
)
def test_what_matches_everything_is_known(texts: list[str], expected: bool) -> None:
    assert matcher.everything([read(text) for text in texts]) is expected


# --- covers -----------------------------------------------------------------------------------------------------------


def cover(name: str, *texts: str, lasts: timedelta = HOUR) -> Cover:
    return Cover(name, "why", tuple(map(read, texts)), NOW + lasts)


def candidate(item: str, labels: Mapping[str, str]) -> Candidate:
    return Candidate(1, "key", Signal("raise", "sla", "ack", {}, item, NOW), labels, NOW)


def test_the_cover_that_lasts_longest_keeps() -> None:
    covers = [
        cover("a", "warehouse=north"),
        cover("b", "kind=sla", lasts=2 * HOUR),
        cover("c", "carrier=ups", lasts=9 * HOUR),
    ]
    kept = silence.keep(covers, [candidate("1", LABELS), candidate("2", {"warehouse": "south"})])
    assert {place: why.by for place, why in kept.items()} == {(1, "1"): "b"}


def test_the_reminder_of_a_silences_end_is_never_kept() -> None:
    labels = {"kind": "platform", "rule": silence.REMINDER}
    assert silence.covering([cover("a", "kind=platform")], labels) is None


def test_an_alert_is_quiet_while_all_that_is_open_is_covered() -> None:
    covers = [cover("a", "carrier=dhl"), cover("b", "carrier=ups", lasts=2 * HOUR)]
    assert silence.quiet_until(covers, [{"carrier": "dhl"}, {"carrier": "ups"}]) == NOW + HOUR
    assert silence.quiet_until(covers, [{"carrier": "dhl"}, {"carrier": "gls"}]) is None
    assert silence.quiet_until(covers, []) is None


# --- windows ----------------------------------------------------------------------------------------------------------


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


def nexts(one: Window, at: datetime, count: int) -> list[str]:
    found = []
    for _ in range(count):
        span = windows.next_span(one, at)
        assert span is not None
        at = span[0]
        start, end = (edge.astimezone(ZoneInfo(one.zone)) for edge in span)
        found.append(f"{start:%a %d %b %H:%M}-{end:%H:%M}")
    return found


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ({"weekday": "sun"}, ["Sun 22 Nov 02:00-06:00", "Sun 29 Nov 02:00-06:00"]),
        ({"weekday": "sun", "nth": 1}, ["Sun 06 Dec 02:00-06:00", "Sun 03 Jan 02:00-06:00"]),
        ({"weekday": "sun", "nth": [2, -1]}, ["Sun 29 Nov 02:00-06:00", "Sun 13 Dec 02:00-06:00"]),
        ({"weekday": ["sat", "mon"], "from": "22:00"}, ["Sat 21 Nov 22:00-06:00", "Mon 23 Nov 22:00-06:00"]),
        ({"day": -1, "from": "20:00", "until": "24:00"}, ["Mon 30 Nov 20:00-00:00", "Thu 31 Dec 20:00-00:00"]),
        ({"day": [1, 15], "until": "02:00"}, ["Tue 01 Dec 02:00-02:00", "Tue 15 Dec 02:00-02:00"]),
        ({"from": "12:00", "until": "12:30"}, ["Fri 20 Nov 12:00-12:30", "Sat 21 Nov 12:00-12:30"]),
    ],
)
def test_when_a_window_opens(every: Mapping[str, Any], expected: list[str]) -> None:
    one = window(every={"from": "02:00", "until": "06:00", **every}, zone="Europe/Berlin")
    check({"one": one})
    assert nexts(one, NOW, 2) == expected


def test_a_window_over_midnight_is_open_on_both_sides() -> None:
    one = window(every={"weekday": "fri", "from": "22:00", "until": "04:00"}, zone="Europe/Berlin")
    for text, is_open in [("20T21:59", 0), ("20T22:00", 1), ("21T03:59", 1), ("21T04:00", 0), ("20T03:00", 0)]:
        assert bool(windows.open_span(one, local(f"2026-11-{text}"))) is bool(is_open), text


def test_the_clocks_go_back_within_a_window_and_it_takes_both_hours() -> None:
    one = window(every={"weekday": "sun", "from": "02:00", "until": "03:00"}, zone="Europe/Berlin")
    (span,) = windows.spans(one, local("2026-10-25T00:00"), local("2026-10-26T00:00"))
    assert span[1] - span[0] == 2 * HOUR


def test_the_clocks_skip_a_window_and_it_never_opens() -> None:
    one = window(every={"weekday": "sun", "from": "02:00", "until": "03:00"}, zone="Europe/Berlin")
    assert list(windows.spans(one, local("2026-03-29T00:00"), local("2026-03-30T00:00"))) == []
    assert windows.open_span(one, local("2026-03-29T03:00")) is None


def test_once_is_in_its_own_zone() -> None:
    one = window(once={"from": "2026-12-24T12:00", "until": "2026-12-27T06:00"}, zone="Europe/Berlin")
    assert windows.next_span(one, NOW) == (local("2026-12-24T12:00"), local("2026-12-27T06:00"))
    assert windows.next_span(one, local("2026-12-24T12:00")) is None
    (kept,) = windows.covers({"move": one}, local("2026-12-24T13:00"))
    assert (kept.name, kept.until, kept.look_at) == (
        "window move", local("2026-12-27T06:00"), local("2026-12-24T13:05"),
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    minute=st.integers(0, 366 * 1440),
    opens=st.integers(0, 1439),
    closes=st.integers(1, 1440),
    zone=st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    weekday=st.sampled_from([None, "sun", "wed"]),
)
def test_open_means_what_the_clock_on_the_wall_says(
    minute: int, opens: int, closes: int, zone: str, weekday: str | None
) -> None:
    """Outside of the days on which clocks change, by asking the wall clock alone."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + minute * MINUTE
    wall = at.astimezone(ZoneInfo(zone))
    if len({(wall + n * HOUR).astimezone(UTC).astimezone(ZoneInfo(zone)).utcoffset() for n in range(-48, 49, 3)}) > 1:
        return
    every: dict[str, Any] = {"from": _wall(opens), "until": _wall(closes)}
    one = window(every=every | ({"weekday": weekday} if weekday else {}), zone=zone)

    def begun_on(day: datetime) -> bool:
        return weekday is None or f"{day:%a}".lower() == weekday

    now = wall.hour * 60 + wall.minute
    today = begun_on(wall) and opens <= now and (now < closes or closes <= opens)
    yesterday = begun_on(wall - timedelta(days=1)) and closes <= opens and now < closes
    assert bool(windows.open_span(one, at)) is (today or yesterday)


def _wall(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "it needs every or once"),
        ({"every": {"from": "2:00", "until": "06:00"}}, 'every: from: "2:00" is not a time of day'),
        ({"every": {"from": "24:00", "until": "06:00"}}, "every: from"),
        ({"every": {"from": "02:00", "until": "06:00", "nth": 1}}, "every: nth"),
        ({"every": {"from": "02:00", "until": "06:00", "day": 1, "weekday": "sun"}}, "weekday or day"),
        ({"every": {"from": "02:00", "until": "06:00", "day": 0}}, "no day 0"),
        ({"every": {"from": "02:00", "until": "06:00"}, "zone": "Mars/Base"}, "zone"),
        ({"once": {"from": "2026-12-24", "until": "2026-12-27T06:00"}}, "once: from"),
        ({"once": {"from": "2026-12-24T25:00", "until": "2026-12-27T06:00"}}, "once: from"),
        ({"once": {"from": "2026-12-28T12:00", "until": "2026-12-27T06:00"}}, "ends before it begins"),
        ({"every": {"from": "02:00", "until": "06:00"}, "match": {}}, "keep everything from everybody"),
        ({"every": {"from": "02:00", "until": "07:00"}, "match": {}, "everything": True}, "4 h at most"),
    ],
)
def test_what_cannot_be_a_window(fields: Mapping[str, Any], said: str) -> None:
    with pytest.raises(CatalogError, match=r"windows\.yaml: one: ") as caught:
        check({"one": window(**fields)})
    assert said in str(caught.value)


def test_a_window_may_be_for_everything_if_it_says_so() -> None:
    check({"one": window(every={"from": "02:00", "until": "06:00"}, match={}, everything=True)})


def test_matchers_of_the_catalog_and_of_silences_are_the_same() -> None:
    one = window(match={"warehouse": ["north"]}, unless={"severity": ["critical"]})
    assert one.matchers == (read("warehouse=north"), Matcher("severity", "!=", ("critical",)))
