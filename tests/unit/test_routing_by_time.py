"""Who hears of an alert, and when: hours of routes, turns on call, escalations. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting import escalate, oncall, route
from alerting.desk import Desk, calendars_of, closes_at, opens_at
from alerting.escalate import Call, Climb, State
from alerting.oncall import Override
from milepost.calendar import build_calendar
from milepost.catalog import loader
from milepost.catalog.findings import findings
from milepost.catalog.oncall import Day, Rotation, channel_of
from milepost.catalog.schema import Catalog
from milepost.errors import CatalogError

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")
FRIDAY_NOON = datetime(2026, 11, 20, 12, tzinfo=BERLIN)
FRIDAY_NIGHT = datetime(2026, 11, 20, 23, tzinfo=BERLIN)
MONDAY_MORNING = datetime(2026, 11, 23, 8, tzinfo=BERLIN)
ROUTES = """\
channels:
  - {name: chat, kind: webhook, url: "https://example.org/chat", secret_env: S}
  - {name: pager, kind: webhook, url: "https://example.org/pager", secret_env: S}
  - {name: duty-mail, kind: email}
  - {name: duty-hook, kind: webhook, secret_env: S}
people:
  ann: {email: ann@example.org}
  bert: {email: bert@example.org, url: "https://example.org/bert"}
  cleo: {url: "https://example.org/cleo"}
rotations:
  duty: {people: [ann, bert, cleo], channels: [duty-mail, duty-hook], start: 2026-11-16, zone: Europe/Berlin}
"""
NIGHTS = """\
routes:
  - {name: nights, match: {severity: [critical]}, outside: business, channels: [pager], goes_on: true}
  - {name: days, during: business, channels: [chat]}
"""


@cache
def catalog(text: str) -> Catalog:
    return loader.load({**loader.default_texts(), "routes.yaml": ROUTES + text})


def desk(text: str, now: datetime, people: Mapping[str, str] | None = None) -> Desk:
    found = catalog(text)
    return Desk(found.routing, now, calendars_of(found), people or oncall.people_now(found.routing, [], now))


# --- hours ------------------------------------------------------------------------------------------------------------


def ways(at: Desk, **labels: str) -> tuple[list[str], dict[str, datetime]]:
    found = route.way(at, labels)
    waiting = {route.title(at.routing, index): when for index, when in found.waiting.items()}
    return route.channels(at, found.taken), waiting


def test_office_hours_go_to_chat_and_nights_to_the_pager() -> None:
    assert ways(desk(NIGHTS, FRIDAY_NOON), severity="warning") == (["chat"], {})
    assert ways(desk(NIGHTS, FRIDAY_NOON), severity="critical")[0] == ["chat"]
    assert ways(desk(NIGHTS, FRIDAY_NIGHT), severity="critical") == (["pager"], {"days": MONDAY_MORNING})


def test_what_no_route_takes_at_night_waits_for_the_day() -> None:
    assert ways(desk(NIGHTS, FRIDAY_NIGHT), severity="warning") == ([], {"days": MONDAY_MORNING})


def test_a_route_that_another_one_stood_in_for_does_not_wait() -> None:
    text = """\
routes:
  - {during: business, channels: [chat]}
  - {channels: [pager]}
"""
    assert ways(desk(text, FRIDAY_NIGHT)) == (["pager"], {})
    more = text.replace("channels: [chat]}", "channels: [chat], goes_on: true}")
    assert ways(desk(more, FRIDAY_NIGHT)) == (["pager"], {"1": MONDAY_MORNING})


def test_hours_change_over_a_holiday_and_the_clocks() -> None:
    hours = build_calendar(
        "x", zone="Europe/Berlin", weekly={"sun": [("01:00", "04:00")]}, holidays=[date(2026, 10, 18)]
    )
    opens = opens_at(hours, datetime(2026, 10, 12, tzinfo=UTC))
    assert opens == datetime(2026, 10, 24, 23, tzinfo=UTC)
    assert closes_at(hours, opens) == opens + 4 * HOUR, "the clocks go back at three"
    assert closes_at(build_calendar("y", zone="UTC", weekly=None, holidays=[]), opens) is None


PEAK_IS_OVER = build_calendar(
    "business", zone="UTC", weekly={}, holidays=[], days={date(2026, 11, 1): [("08:00", "12:00")]}
)


def test_a_route_whose_calendar_has_no_open_day_left_is_taken_no_more_and_stops_no_other() -> None:
    nights = replace(desk(NIGHTS, FRIDAY_NOON), calendars={"business": PEAK_IS_OVER})
    assert ways(nights, severity="warning") == ([], {})
    assert ways(nights, severity="critical") == (["pager"], {})


def test_things_that_share_an_alert_are_routed_each_by_itself() -> None:
    found = route.way_of_all(desk(NIGHTS, FRIDAY_NIGHT), [{"severity": "warning"}, {"severity": "critical"}])
    assert (found.taken, list(found.waiting)) == ((0,), [1])


# --- on call ----------------------------------------------------------------------------------------------------------

zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
rotations = st.builds(
    Rotation,
    people=st.lists(st.sampled_from("abcde"), min_size=1, max_size=5),
    channels=st.just(["x"]),
    start=st.dates(date(2024, 1, 1), date(2027, 12, 31)).map(lambda day: Day(day.isoformat())),
    every=st.sampled_from(["day", "week"]),
    handover=st.times().map(lambda at: at.strftime("%H:%M")),
    zone=zones,
)
instants = st.integers(0, 2 * 365 * 86_400).map(
    lambda second: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
)
overrides = st.lists(
    st.builds(
        lambda number, person, since, hours: Override(number, "duty", person, since, since + hours * HOUR),
        st.integers(1, 10_000), st.sampled_from("vwxyz"), instants, st.integers(1, 400),
    ),
    max_size=6, unique_by=lambda one: one.number,
)  # fmt: skip


@given(rotations, overrides, instants, st.integers(1, 60 * 24))
@settings(max_examples=60, deadline=None)
def test_at_every_instant_exactly_one_is_on_call(
    rotation: Rotation, changes: list[Override], at: datetime, hours: int
) -> None:
    """Against the plain reading: walk the turns day by day; of the overrides that cover an instant the last counts."""
    until = at + hours * HOUR
    duties = list(oncall.schedule("duty", rotation, changes, at, until))
    assert duties[0].since <= at
    assert duties[-1].until >= until
    assert all(one.until == other.since and one.since < one.until for one, other in pairwise(duties))
    edges = {duty.since for duty in duties} | {duty.until for duty in duties}
    for moment in sorted({at, *(edge + step for edge in edges for step in (-MINUTE, timedelta(0), MINUTE))}):
        if not at <= moment < until:
            continue
        (duty,) = [one for one in duties if one.since <= moment < one.until]
        assert duty.person == plainly(rotation, changes, moment)
        assert oncall.on_call("duty", rotation, changes, moment).person == duty.person


def plainly(rotation: Rotation, changes: list[Override], at: datetime) -> str:
    covering = [one for one in changes if one.since <= at < one.until]
    if covering:
        return max(covering, key=lambda one: one.number).person
    zone = ZoneInfo(rotation.zone)
    # Where the clocks go back, the wall falls behind a hand-over that has happened.
    latest = max((at - minutes * MINUTE).astimezone(zone).replace(tzinfo=None) for minutes in range(121))
    start = datetime.fromisoformat(f"{rotation.start}T{rotation.handover}")
    number = (latest - start) // timedelta(days=1 if rotation.every == "day" else 7)
    return rotation.people[number % len(rotation.people)]


def test_hand_over_is_at_the_wall_time_also_when_the_clocks_change() -> None:
    rotation = catalog("").routing.rotations["duty"]
    summer = oncall.turn(rotation, datetime(2027, 3, 25, tzinfo=UTC))
    assert (summer.since, summer.until) == (
        datetime(2027, 3, 22, 8, tzinfo=BERLIN),
        datetime(2027, 3, 29, 8, tzinfo=BERLIN),
    )
    assert summer.until - summer.since == timedelta(days=7) - HOUR


def test_an_override_stands_in_and_says_for_whom() -> None:
    rotation = catalog("").routing.rotations["duty"]
    since = FRIDAY_NOON
    changes = [
        Override(1, "duty", "bert", since, since + 9 * HOUR),
        Override(2, "duty", "cleo", since + HOUR, since + 2 * HOUR),
    ]
    found = list(oncall.schedule("duty", rotation, changes, since - HOUR, since + 10 * HOUR))
    assert [(one.person, one.instead_of) for one in found] == [
        ("ann", None), ("bert", "ann"), ("cleo", "ann"), ("bert", "ann"), ("ann", None),
    ]  # fmt: skip


def test_a_rotation_reaches_whoever_is_on_call_at_their_own_addresses() -> None:
    routing = catalog("routes: [{channels: [duty, chat]}]").routing
    names = {person: oncall.expand(routing, ["duty", "chat"], {"duty": person}) for person in ("ann", "bert", "gone")}
    assert names["ann"] == ["duty-mail/ann", "chat"]
    assert names["bert"] == ["duty-mail/bert", "duty-hook/bert", "chat"]
    assert names["gone"] == names["ann"], "somebody is told"
    mail, hook = channel_of(routing, "duty-mail/bert"), channel_of(routing, "duty-hook/bert")
    assert mail is not None
    assert hook is not None
    assert (mail.to, hook.url) == (["bert@example.org"], "https://example.org/bert")
    assert channel_of(routing, "duty-mail/cleo") is None
    assert channel_of(routing, "gone/ann") is None


# --- escalation -------------------------------------------------------------------------------------------------------

LADDER = """\
routes:
  - name: urgent
    channels: [pager]
    escalation: {steps: [{after: 15m, channels: [duty]}, {after: 30m, channels: [chat]}], repeat: 1h, times: 2}
"""
T = datetime(2026, 11, 20, 9, tzinfo=UTC)


def told(text: str, minutes: list[int], silent: range = range(0)) -> list[tuple[int, list[str]]]:
    """What is told at which of these minutes after the route was taken."""
    state, found = escalate.begin(State(), desk(text, T), [0], {}), []
    for minute in minutes:
        at = desk(text, T + minute * MINUTE)
        state = escalate.read(escalate.write(state))
        state = escalate.silenced(state, at, now=minute in silent)
        state, rungs = escalate.due(state, at)
        found += [(minute, list(rung.names)) for rung in rungs]
    return found


def test_steps_then_repeats_then_the_end() -> None:
    every = list(range(0, 400, 5))
    assert told(LADDER, every) == [(15, ["duty"]), (30, ["chat"]), (90, ["chat"]), (150, ["chat"])]


def test_a_climb_that_is_at_its_end_does_not_begin_anew_until_somebody_acknowledged() -> None:
    end = desk(LADDER, T + 150 * MINUTE)
    state, _ = escalate.due(escalate.begin(State(), desk(LADDER, T), [0], {}), end)
    assert escalate.begin(state, end, [0], {}) == state == State([Climb("urgent", T, told=4)])
    assert escalate.look_at(state, end, can_be_silenced=True) is None
    assert escalate.upcoming(state, end) == []
    again = escalate.begin(escalate.acknowledged(state), end, [0], {})
    assert again == State([Climb("urgent", end.now)])


def test_the_time_of_a_silence_does_not_count() -> None:
    assert told(LADDER, list(range(0, 400, 5)), silent=range(10, 60)) == [
        (65, ["duty"]), (80, ["chat"]), (140, ["chat"]), (200, ["chat"]),
    ]  # fmt: skip


def test_what_an_outage_held_up_is_told_at_once_and_repeats_once() -> None:
    assert told(LADDER, [0, 300, 301]) == [(300, ["duty"]), (300, ["chat"])]


def test_time_may_run_in_business_hours() -> None:
    text = LADDER.replace("times: 2}", "times: 2, calendar: business}")
    at = desk(text, datetime(2026, 11, 20, 17, 50, tzinfo=BERLIN))
    state = escalate.begin(State(), at, [0], {})
    assert escalate.look_at(state, at, can_be_silenced=False) == MONDAY_MORNING + 5 * MINUTE


def test_a_climb_in_the_time_of_a_calendar_with_no_open_day_left_goes_no_further() -> None:
    text = LADDER.replace("times: 2}", "times: 2, calendar: business}")
    at = replace(desk(text, FRIDAY_NOON), calendars={"business": PEAK_IS_OVER})
    state = escalate.begin(State(), at, [0], {})
    assert escalate.due(state, at) == (state, [])
    assert escalate.look_at(state, at, can_be_silenced=False) is None


def test_an_acknowledgement_ends_the_climb_and_leaves_the_call_of_the_morning() -> None:
    at = desk(NIGHTS + LADDER.partition("routes:\n")[2], FRIDAY_NIGHT)
    state = escalate.begin(State(), at, [2], {1: MONDAY_MORNING})
    assert state == State([Climb("urgent", FRIDAY_NIGHT)], [Call("days", MONDAY_MORNING, ["chat"])])
    assert escalate.begin(state, at, [2], {1: MONDAY_MORNING}) == state, "taken again changes nothing"
    left = escalate.acknowledged(state)
    assert escalate.look_at(left, at, can_be_silenced=True) == MONDAY_MORNING
    morning = desk(NIGHTS, MONDAY_MORNING)
    left, (rung,) = escalate.due(left, morning)
    assert (rung.route, rung.names, rung.number, escalate.write(left)) == ("days", ["chat"], 0, None)


def test_a_changed_catalog_counts_from_then_on() -> None:
    state = escalate.begin(State(), desk(LADDER, T), [0], {})
    without = desk("routes: [{name: urgent, channels: [pager]}]", T + 20 * MINUTE)
    assert escalate.due(state, without) == (State(), [])


# --- the catalog ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("routes: [{channels: [nobody]}]", "routes[0]: channels: there is no channel or rotation nobody"),
        ("routes: [{channels: [chat], during: x}]", "during: there is no calendar x"),
        ("routes: [{channels: [chat], during: business, outside: always}]", "either during or outside"),
        ("routes: [{channels: [chat], escalation: {repeat: 5m}}]", "give the route a name"),
        ("routes: [{name: a, channels: [chat], escalation: {}}]", "needs steps, or repeat"),
        ("routes: [{channels: [duty-mail]}]", "duty-mail: a channel of kind email needs to, and nothing else"),
        ("digests: {d: {channels: [chat], at: '8:00'}}", 'at: "8:00" is not a time of day'),
    ],
)
def test_what_can_not_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(CatalogError) as error:
        catalog(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("people: [ann, bert, cleo]", "people: [dora]", "duty: people: there is no dora in people"),
        ("start: 2026-11-16", "start: soon", '"soon" is not a date; write it like'),
        ("zone: Europe/Berlin", "zone: Berlin", '"Berlin" is not a known time zone'),
        ("ann: {email: ann@example.org}", "ann: {}", "ann has no address for any of duty-mail, duty-hook"),
        ("duty: {people", "chat: {people", "chat: a channel has this name too"),
    ],
)  # fmt: skip
def test_rotations_that_can_not_be_are_refused(old: str, new: str, said: str) -> None:
    texts: dict[str, Any] = {**loader.default_texts(), "routes.yaml": ROUTES.replace(old, new)}
    with pytest.raises(CatalogError) as error:
        loader.load(texts)
    assert said in str(error.value)


# --- what `milepost catalog check` finds ------------------------------------------------------------------------------


def said_of(text: str) -> list[str]:
    texts = {**loader.default_texts(), "routes.yaml": text}
    return [str(one).partition(": ")[2] for one in findings(texts, loader.load(texts)) if one.file == "routes.yaml"]


CHAT = 'channels: [{name: chat, kind: webhook, url: "https://example.org", secret_env: S}]\n'


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ("[{channels: [chat]}]", []),
        (
            "[{channels: [chat], goes_on: true}, {match: {severity: [info]}, channels: [chat]}, {channels: [chat]}]",
            [],
        ),
        (
            "[{channels: [chat]}, {name: late, match: {severity: [info]}, channels: [chat]}]",
            ["error: routes[1]: it is never taken: the route in place 1 takes all that it would, and ends the search"],
        ),
        (
            "[{during: business, channels: [chat]}, {match: {kind: [sla]}, channels: [chat]}, {channels: [chat]}]",
            [],
        ),
        (
            "[{match: {werehouse: [north]}, channels: [chat]}, {channels: [chat]}]",
            ["error: routes[0]: match: werehouse: nothing has a label werehouse (did you mean warehouse?)"],
        ),
        (
            "[{match: {severity: [urgent]}, channels: [chat]}, {channels: [chat]}]",
            [
                "error: routes[0]: match: severity: there is no severity urgent; there are info, warning, critical",
            ],
        ),
        (
            "[{match: {rule: [order-confirmaton]}, channels: [chat]}, {channels: [chat]}]",
            ["warning: routes[0]: match: rule: no rule of the catalog is called order-confirmaton"
             " (did you mean order-confirmation?)"],
        ),
        (
            "[{outside: always, channels: [chat]}, {channels: [chat]}]",
            ["error: routes[0]: outside: the calendar always never closes: this route is never taken"],
        ),
        (
            "[{match: {rule: [order-confirmation], kind: [anomaly]}, channels: [chat]}, {channels: [chat]}]",
            ["error: routes[0]: match: it is never taken: nothing has these labels together"],
        ),
        (
            "[{match: {kind: [sla, objective, reconciliation]}, channels: [chat]}]",
            ["warning: routes: no route takes alerts of unusual-volume, unusual-duration, Milepost itself: nobody is"
             " told of them"],
        ),
        (
            "[{match: {kind: [sla, objective, reconciliation, anomaly]}, channels: [chat]},"
            " {match: {kind: [platform], channel: [chat]}, channels: [chat]}]",
            ["warning: routes: some alerts of Milepost itself may find no route, by their labels: end with a route for"
             " all"],
        ),
    ],
)  # fmt: skip
def test_what_check_finds_in_routes(routes: str, said: list[str]) -> None:
    assert said_of(f"{CHAT}routes: {routes}") == said


def test_check_finds_what_nobody_uses_and_whom_a_channel_does_not_reach() -> None:
    assert said_of(ROUTES + "routes: [{channels: [chat]}]\n") == [
        "warning: channels[1]: no route, escalation or digest names pager",
        "warning: duty: no route, escalation or digest names duty",
        "warning: duty: people: ann has no address for duty-hook, which does not reach them",
        "warning: duty: people: cleo has no address for duty-mail, which does not reach them",
    ]
