"""The judges of flows, against counts made another way."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from alerting import inhibit
from alerting.hiding import Candidate
from alerting.inhibit import Feed, Silence
from alerting.signal import Signal
from milepost.calendar import Calendar, build_calendar, calendar_of
from milepost.catalog import findings, loader
from milepost.catalog.flow import Backlog
from milepost.catalog.schema import CalendarSpec, Duration, Shift
from milepost.errors import CatalogError
from sla.flow import judge
from sla.flow.counts import Seen, look
from sla.flow.judge import Level
from sla.flow.reading import cutoff
from sla.flow.usual import usual

NOW = datetime(2026, 11, 18, 10, 0, tzinfo=UTC)  # a Wednesday
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SHIFTS = [Shift("08:00", "12:00"), Shift("13:00", "17:30")]
OFFICE = calendar_of("office", CalendarSpec("Europe/Berlin", {"wed": SHIFTS, "thu": SHIFTS}))
ALWAYS = calendar_of("always", CalendarSpec())


# --- what is usual ----------------------------------------------------------------------------------------------------


def test_the_usual_gap_is_what_99_of_100_minutes_of_the_hour_class_had_been_quiet() -> None:
    rng = random.Random(4)
    start = datetime(2026, 10, 1, tzinfo=UTC)
    heard = sorted({start + rng.randrange(20 * 1440) * MINUTE for _ in range(2_000)})
    outage = (heard[700], heard[700] + 5 * HOUR)
    ages: defaultdict[tuple[bool, int], list[int]] = defaultdict(list)
    at, last, spoke = heard[0], heard[0], frozenset(heard)
    while at < heard[-1]:
        last = at if at in spoke else last
        if not outage[0] <= at < outage[1]:
            ages[at.weekday() >= 5, at.hour].append((at - last) // MINUTE + 1)
        at += MINUTE
    found = usual(heard, [outage])
    assert len(found) == len(ages) == 48
    for (weekend, hour), each in ages.items():
        one = found[hour + 24 * weekend]
        within = sum(age * 60 <= one.seconds for age in each)
        less = sum(age * 60 < one.seconds for age in each)
        assert one.samples == len(each)
        assert within >= 0.99 * len(each) > less


def test_who_is_not_known_for_long_has_nothing_usual() -> None:
    assert usual([]) == {}
    assert usual([NOW - timedelta(days=13), NOW]) == {}
    assert usual([NOW - timedelta(days=14), NOW])


# --- silence ----------------------------------------------------------------------------------------------------------


def minutes_open(calendar: Calendar, since: datetime, until: datetime) -> int:
    steps = range(int((until - since) / MINUTE))
    return sum(calendar.is_open(since + step * MINUTE) for step in steps)


@pytest.mark.parametrize("seed", range(5))
def test_quiet_runs_in_the_calendars_time(seed: int) -> None:
    rng = random.Random(seed)
    heard = NOW + rng.randrange(3 * 1440) * MINUTE
    within = rng.randrange(5, 400) * MINUTE
    at = heard + rng.randrange(12 * 60) * MINUTE
    since = judge.silent_since(heard, within, None, OFFICE, at)
    assert (since is not None) == (minutes_open(OFFICE, heard, at) * MINUTE >= within)
    assert since is None or minutes_open(OFFICE, heard, since) * MINUTE == within


def test_no_one_is_silent_in_a_calendar_with_no_open_day_left() -> None:
    day = {NOW.date() - timedelta(days=1): [("08:00", "12:00")]}
    over = build_calendar("over", zone="UTC", weekly={}, holidays=[], days=day)
    assert judge.silent_since(NOW, HOUR, None, over, NOW + HOUR) is None


def test_as_usual_is_never_less_than_the_floor_and_looked_at_while_open() -> None:
    def silent(quiet: timedelta, usually: timedelta | None, calendar: Calendar = ALWAYS) -> bool:
        return judge.silent_since(NOW - quiet, None, usually, calendar, NOW) is not None

    assert not silent(14 * MINUTE, MINUTE)
    assert silent(15 * MINUTE, MINUTE)
    assert not silent(179 * MINUTE, HOUR)
    assert silent(180 * MINUTE, HOUR)
    assert not silent(timedelta(days=9), None)
    assert judge.silent_since(NOW, None, HOUR, OFFICE, NOW + 9 * HOUR) is None


# --- levels -----------------------------------------------------------------------------------------------------------


def test_a_level_takes_patience_to_begin_and_hysteresis_to_end() -> None:
    values = [10, 21, 22, 19, 25, 25, 25, 18, 17, 21, 16, 30, None]
    before, told = Level(), []
    for minute, value in enumerate(values):
        before = judge.level(before, value, 20, None, 2 * MINUTE, NOW + minute * MINUTE)
        told.append(before.breached)
    assert [minute for minute, breached in enumerate(told) if breached] == [6, 7, 8, 9]


def test_a_level_without_patience_begins_at_once_and_ends_where_it_is_said() -> None:
    begun = judge.level(Level(), 21, 20, 5, timedelta(0), NOW)
    assert begun == Level(NOW, breached=True)
    assert judge.level(begun, 6, 20, 5, timedelta(0), NOW + MINUTE) == begun
    assert judge.level(begun, 5, 20, 5, timedelta(0), NOW + MINUTE) == Level()


def test_a_share_needs_enough_events_and_fewer_to_go_on() -> None:
    assert judge.share(19, 19, 20, breached=False) is None
    assert judge.share(20, 5, 20, breached=False) == 0.25
    assert judge.share(10, 5, 20, breached=True) == 0.5
    assert judge.share(9, 9, 20, breached=True) is None
    assert judge.share(0, 0, 1, breached=True) is None


# --- counts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_what_is_added_to_counts_by_the_hour_is_what_came_in_the_window(seed: int) -> None:
    """Events happen, some come late; looks are irregular. The sums are those of the arrivals, to the minute."""
    rng = random.Random(seed)
    arrivals = sorted((rng.uniform(0, 300), rng.uniform(0, 100), rng.random() < 0.3) for _ in range(600))
    seen: Seen | None = look(None, {}, HOUR, NOW)
    minute = 0.0
    while minute < 300:
        minute += rng.uniform(0.2, 3)
        at = NOW + timedelta(minutes=minute)
        hours = counted(arrivals, minute, at)
        seen = look(seen, hours, HOUR, at)
        events, bad = seen.sums
        fresh = [(came, failed) for came, late, failed in arrivals if came <= minute and late < 119]
        most = [failed for came, failed in fresh if came > minute - 60 - 5]
        least = [failed for came, failed in fresh if came > minute - 60 + 5]
        assert len(least) <= events <= len(most)
        assert sum(least) <= bad <= sum(most)


def counted(arrivals: list[tuple[float, float, bool]], minute: float, at: datetime) -> dict[str, tuple[int, int]]:
    """The counts of the last two full hours and this one, as the recorder has them then."""
    first = at.replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    hours: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for came, late, failed in arrivals:
        happened = NOW + timedelta(minutes=came - late)
        hour = happened.replace(minute=0, second=0, microsecond=0)
        if came <= minute and hour >= first:
            hours[hour.isoformat()][0] += 1
            hours[hour.isoformat()][1] += failed
    return {hour: (one, two) for hour, (one, two) in hours.items()}


def test_a_first_look_tells_nothing() -> None:
    assert look(None, {"2026-11-18T10:00:00+00:00": (500, 400)}, HOUR, NOW).sums == (0, 0)


# --- backlog ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [1, 5, 30])
def test_older_than_is_in_the_calendars_time(hours: int) -> None:
    policy = Backlog(name="b", model="order", stages=["packed"], limit=1, older_than=Duration(f"{hours}h"))
    found = cutoff(policy, OFFICE, NOW)
    assert timedelta(0) <= OFFICE.between(found, NOW) - hours * HOUR < timedelta(seconds=2)
    assert cutoff(policy, ALWAYS, NOW) == NOW - hours * HOUR


# --- inhibition -------------------------------------------------------------------------------------------------------

NORTH = "/wms/north"
DARK = Silence(NORTH, {"source": NORTH}, 7, NOW - HOUR, NOW - HOUR)
SOUTH_ONLY = Silence(NORTH, {"source": NORTH, "warehouse": "south"}, 8, NOW - HOUR, NOW - HOUR)
BACK = Silence(NORTH, {"source": NORTH}, 7, NOW - HOUR, NOW - HOUR, ended_at=NOW - MINUTE)
LONG_BACK = Silence(NORTH, {"source": NORTH}, 7, NOW - HOUR, NOW - HOUR, ended_at=NOW - 5 * MINUTE)


@pytest.mark.parametrize(
    ("feed", "raised", "expected"),
    [
        (Feed([DARK]), 0, (7, None, True)),
        (Feed([DARK]), 300, (7, None, True)),
        (Feed([SOUTH_ONLY]), 0, None),
        (Feed([SOUTH_ONLY, DARK]), 0, (7, None, True)),
        (Feed([BACK]), 0, (7, NOW + 4 * MINUTE, False)),
        (Feed([LONG_BACK]), 0, None),
        (Feed([], NOW - 20 * MINUTE, 10 * MINUTE, NOW + 10 * MINUTE), 0, (None, NOW + 15 * MINUTE, False)),
        (Feed([], NOW - 20 * MINUTE, 10 * MINUTE, NOW - MINUTE), 14, (None, NOW + MINUTE, False)),
        (Feed([], NOW - 20 * MINUTE, 10 * MINUTE, NOW), 15, None),
        (Feed([], NOW - 20 * MINUTE, 10 * MINUTE, NOW + 16 * MINUTE), 0, None),
        (Feed([], NOW - 20 * MINUTE, 10 * MINUTE), 0, None),
        (Feed([], NOW - 9 * MINUTE, 10 * MINUTE, NOW), 0, None),
        (Feed([], NOW - 9 * HOUR, None, NOW), 0, None),
        (Feed([], None, HOUR), 0, None),
    ],
)
def test_what_is_stuck_is_explained_or_waits_for_the_verdict(feed: Feed, raised: int, expected: Any) -> None:
    labels = {"warehouse": "north", inhibit.AWAITS: NORTH}
    signal = Signal("raise", "sla", "released", {}, "breach:1", NOW, labels=labels)
    candidate = Candidate(3, "", signal, labels, NOW - raised * MINUTE)
    kept = inhibit.keep({NORTH: feed}, [candidate], NOW).get(candidate.place)
    assert (kept and (kept.by_id, kept.until, kept.explained)) == expected


def test_what_waits_for_nobody_is_told() -> None:
    signal = Signal("raise", "sla", "released", {}, "breach:1", NOW, labels={"warehouse": "north"})
    assert inhibit.keep({NORTH: Feed([DARK])}, [Candidate(3, "", signal, signal.labels, NOW)], NOW) == {}


# --- catalog ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ("kind: silence, within: 10s", "within: silence is told by the minute; 10s is less than 1m"),
        ("kind: silence, within: auto, events: [picking.packed]", "within: auto is for whole sources; say how long"),
        ("kind: silence, within: 1h, match: {colour: [red]}", "match: colour is none of channel, warehouse, carrier"),
        ("kind: silence, within: 1h, group_by: [warehouse]", "group_by: name the values of warehouse in match"),
        ("kind: rate, limit: 2", "limit: Expected `float` < 1.0"),
        ("kind: rate, limit: 0.1, until: 0.2", "until: it must not be above the limit"),
        ("kind: rate, limit: 0.1, window: 2d", "window: it must be 1m to 24h"),
        (
            "kind: rate, limit: 0.1, group_by: [warehouse, carrier]",
            "match: events are counted by one attribute at a time",
        ),
        ("kind: rate, limit: 0.1, model: order", "Object contains unknown field `model`"),
        ("kind: backlog, model: none, stages: [packed], limit: 3", "model: there is no model none"),
        ("kind: backlog, model: order, stages: [paid], limit: 3", "stages: paid is no stage of model order"),
        ("kind: silence, calendar: moon", "calendar: there is no calendar moon"),
    ],
)
def test_what_cannot_be_meant_is_refused(policy: str, told: str) -> None:
    with pytest.raises(CatalogError) as caught:
        loader.load({**loader.default_texts(), "slas.yaml": f"policies:\n  - {{name: one, {policy}}}\n"})
    assert str(caught.value).startswith(f"slas.yaml: one: {told}")


def test_what_is_probably_misspelt_is_told_with_its_line() -> None:
    text = "policies:\n  - name: one\n    kind: silence\n    within: 1h\n    events: [picking.relesed]\n"
    texts = {**loader.default_texts(), "slas.yaml": text}
    (found,) = findings.findings(texts, loader.load(texts))
    assert str(found).startswith("slas.yaml:5: warning: one: events: nothing that Milepost knows tells picking.relesed")
