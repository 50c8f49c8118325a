"""The pure stages of alerting: group, lifecycle, route, limit, text, retry."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from alerting import group, lifecycle, limit, retry, route, text
from alerting.desk import Desk
from alerting.explain import Cause, Findings, Totals
from alerting.group import Standing
from alerting.limit import Told
from alerting.signal import Act, Signal
from milepost.catalog.routing import Channel, Route, Routing

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
INTERVAL = 5 * MINUTE


def signal(item: str = "breach:1", action: str = "raise", **fields: object) -> Signal:
    base = Signal("raise", "sla", "ack", {"warehouse": "north"}, item, NOW)
    return replace(base, action=action, **fields)  # type: ignore[arg-type]


# --- group ------------------------------------------------------------------------------------------------------------


def test_the_key_does_not_depend_on_the_order_of_the_group() -> None:
    one = group.key_of("sla", "ack", {"a": "1", "b": "2"})
    assert one == group.key_of("sla", "ack", {"b": "2", "a": "1"})
    assert one != group.key_of("sla", "ack", {"a": "1", "b": "3"})


def test_a_long_value_makes_a_key_that_an_index_takes_and_no_other_value_makes() -> None:
    long = "".join(chr(0x4E00 + 7 * number) for number in range(1_000))
    keys = {group.key_of("sla", "ack", {"region": value}) for value in (long, long[:-1], long[:128], "x" * 128)}
    assert len(keys) == 4
    assert all(len(key.encode()) < 1_000 for key in keys)


def test_many_signals_of_a_group_make_one_batch() -> None:
    batches = group.fold([signal(f"breach:{n}") for n in range(200)], {})
    (batch,) = batches.values()
    assert (batch.added, len(batch.raised), len(batch.fresh), len(batch.loud)) == (200, 200, 200, 200)


def test_an_item_stays_with_the_alert_that_it_opened_in() -> None:
    first = group.key_of("sla", "ack", {"warehouse": "north"})
    held = {("sla", "ack", "breach:1"): first}
    batches = group.fold([signal(group={"warehouse": "south"}), signal(action="clear", group={})], held)
    assert list(batches) == [first]
    assert batches[first].added == 0
    assert held == {}


def test_a_clear_of_nothing_does_nothing() -> None:
    assert group.fold([signal(action="clear")], {}) == {}


def test_raised_and_cleared_in_one_batch_is_kept_but_not_told() -> None:
    (batch,) = group.fold([signal(), signal(action="clear", why="late")], {}).values()
    assert batch.raised["breach:1"].ended == "late"
    assert batch.loud == {}


def test_silent_signals_are_not_worth_telling() -> None:
    (batch,) = group.fold([signal(notify=False), signal("breach:2", notify=False)], {}).values()
    assert (batch.over, batch.loud, batch.added) == (set(), {}, 2)


def test_the_batch_has_the_worst_severity() -> None:
    given = [signal(severity="warning"), signal("breach:2", severity="critical"), signal("breach:3", severity="info")]
    (batch,) = group.fold(given, {}).values()
    assert batch.severity == "critical"


GROUPS = [{"carrier": f"c{number}"} for number in range(40)]
RULE = ("sla", "ack")


def keys(*numbers: int) -> set[str]:
    return {group.key_of(*RULE, GROUPS[number]) for number in numbers}


def wave_of(*numbers: int) -> list[Signal]:
    return [signal(f"breach:{number}", group=GROUPS[number]) for number in numbers]


@pytest.mark.parametrize(
    ("standing", "new", "expected"),
    [
        (None, (1, 2), ()),
        (None, (1, 2, 3), (1, 2, 3)),
        (Standing(own=keys(1, 2), lately=2), (1, 2), ()),
        (Standing(own=keys(1, 2), lately=2), (1, 2, 3, 4), (3, 4)),
        (Standing(own=keys(1, 2), lately=0), (1, 2, 3, 4), ()),
        (Standing(taken=keys(1, 2, 3), widens=True), (3, 4), (3, 4)),
        (Standing(taken=keys(1, 2, 3)), (3, 4), (3,)),
        (Standing(taken=keys(1, 2, 3)), (3, 4, 5, 6), (3, 4, 5, 6)),
    ],
)
def test_groups_that_open_at_once(standing: Standing | None, new: tuple[int, ...], expected: tuple[int, ...]) -> None:
    known = {} if standing is None else {RULE: standing}
    assert group.together(wave_of(*new), known, at_once=2) == keys(*expected)


def test_groups_taken_together_make_one_batch_that_knows_them() -> None:
    held: dict[group.ItemId, str] = {}
    (batch,) = group.fold(wave_of(1, 2, 3), held, keys(1, 2, 3)).values()
    assert (batch.key, batch.seed.group, batch.groups) == (group.key_of(*RULE, {}), {}, keys(1, 2, 3))
    assert set(held.values()) == {batch.key}
    (again,) = group.fold([signal("breach:1", "clear", group=GROUPS[1])], held).values()
    assert (again.key, again.groups) == (batch.key, set())


def test_only_groups_of_policies_are_taken_together() -> None:
    other = [replace(one, kind="platform") for one in wave_of(*range(9))]
    assert group.together([*other, *[signal(f"breach:{n}", group={}) for n in range(9)]], {}, at_once=2) == set()


# --- lifecycle --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "added", "items_open", "expected"),
    [
        (None, 1, 1, ("firing", ("opened",))),
        (None, 1, 0, ("resolved", ("opened", "resolved"))),
        ("firing", 3, 4, ("firing", ("updated",))),
        ("acknowledged", 1, 4, ("acknowledged", ("updated",))),
        ("acknowledged", 0, 0, ("resolved", ("resolved",))),
        ("resolved", 1, 1, ("firing", ("reopened",))),
        ("resolved", 1, 0, ("resolved", ("reopened", "resolved"))),
    ],
)
def test_follow(state: lifecycle.State | None, added: int, items_open: int, expected: object) -> None:
    assert lifecycle.follow(state, added=added, items_open=items_open) == expected


def test_an_acknowledged_alert_that_takes_in_further_groups_fires_again() -> None:
    assert lifecycle.follow("acknowledged", added=1, items_open=4, wider=True) == ("firing", ("reopened",))
    known = replace(lifecycle.opened("k", signal(), NOW), state="acknowledged", acknowledged_by="anna")
    again = lifecycle.enter(lifecycle.take_in(known, {"b", "a"}), "firing", "warning", NOW)
    assert (again.acknowledged_by, again.folded) == (None, ["a", "b"])


def test_acknowledging_twice_keeps_the_first() -> None:
    alert = lifecycle.opened("k", signal(), NOW)
    once, happened = lifecycle.obey(alert, Act("acknowledge", 1, "anna", NOW), NOW)
    assert (once.state, once.acknowledged_by, happened) == ("acknowledged", "anna", ("acknowledged",))
    twice, happened = lifecycle.obey(once, Act("acknowledge", 1, "bert", NOW), NOW)
    assert (twice, happened) == (once, ())


def test_an_act_on_a_resolved_alert_comes_too_late() -> None:
    alert = replace(lifecycle.opened("k", signal(), NOW), state="resolved")
    assert lifecycle.obey(alert, Act("acknowledge", 1, "anna", NOW), NOW) == (alert, ())
    assert lifecycle.obey(alert, Act("resolve", 1, "anna", NOW), NOW) == (alert, ())


def test_firing_again_wants_attention_anew() -> None:
    over = replace(
        lifecycle.opened("k", signal(severity="critical"), NOW),
        state="resolved",
        acknowledged_by="anna",
        acknowledged_at=NOW,
        resolved_at=NOW,
    )
    again = lifecycle.enter(over, "firing", "warning", NOW)
    assert (again.acknowledged_by, again.resolved_at, again.severity) == (None, None, "warning")


# --- route ------------------------------------------------------------------------------------------------------------

ROUTING = Routing(
    channels=[Channel(name=name, kind="email", to=["a@example.org"]) for name in ("pager", "north", "mail")],
    routes=[
        Route(match={"severity": ["critical"]}, channels=["pager"], goes_on=True),
        Route(match={"kind": ["sla"], "warehouse": ["north", "east"]}, channels=["north"]),
        Route(channels=["mail"]),
    ],
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"severity": "critical"}, ["pager", "north"]),
        ({}, ["north"]),
        ({"group": {"warehouse": "south"}}, ["mail"]),
        ({"group": {}, "labels": {"warehouse": "east"}}, ["north"]),
        ({"kind": "anomaly", "severity": "critical"}, ["pager", "mail"]),
    ],
)
def test_routes(fields: dict[str, Any], expected: list[str]) -> None:
    given = signal(**fields)
    desk = Desk(ROUTING, NOW)
    assert route.channels(desk, route.way(desk, route.labels_of(given, given.group)).taken) == expected


def test_items_of_one_alert_are_routed_each_by_itself() -> None:
    labels = [{"kind": "sla", "warehouse": "north"}, {"kind": "sla", "warehouse": "south"}]
    desk = Desk(ROUTING, NOW)
    assert route.channels(desk, route.way_of_all(desk, labels).taken) == ["north", "mail"]


def test_without_routes_nobody_is_told() -> None:
    assert route.way(Desk(Routing(), NOW), {"kind": "sla"}).taken == ()


# --- limit ------------------------------------------------------------------------------------------------------------


def speak(state: lifecycle.State = "firing", told: dict[str, Told] | None = None, **given: object) -> limit.Verdict:
    plain: dict[str, object] = {
        "routed": [],
        "worth_telling": False,
        "worse": False,
        "acknowledged": False,
        "next_update_at": None,
        "interval": INTERVAL,
        "now": NOW,
    }
    return limit.speak(state, told or {}, **{**plain, **given})  # type: ignore[arg-type]


OPENED_JUST_NOW = {"hook": Told("opened", NOW - MINUTE)}
OPENED_LONG_AGO = {"hook": Told("opened", NOW - 60 * MINUTE)}


def test_the_first_breach_is_told_at_once() -> None:
    verdict = speak(routed=["hook"], worth_telling=True)
    assert verdict == limit.Verdict({"hook": "opened"}, None)


def test_more_of_it_waits_for_the_interval() -> None:
    verdict = speak(told=OPENED_JUST_NOW, routed=["hook"], worth_telling=True)
    assert verdict == limit.Verdict({}, NOW + 4 * MINUTE)


def test_what_waits_is_not_put_off_by_more_news() -> None:
    verdict = speak(told=OPENED_JUST_NOW, worth_telling=True, next_update_at=NOW + MINUTE)
    assert verdict.next_update_at == NOW + MINUTE


def test_news_after_a_quiet_time_are_told_at_once() -> None:
    assert speak(told=OPENED_LONG_AGO, worth_telling=True) == limit.Verdict({"hook": "updated"}, None)


def test_what_waited_is_told_when_due() -> None:
    assert speak(told=OPENED_LONG_AGO, next_update_at=NOW) == limit.Verdict({"hook": "updated"}, None)


def test_a_channel_that_more_severe_trouble_goes_to_hears_of_the_opening() -> None:
    verdict = speak(told=OPENED_JUST_NOW, routed=["hook", "pager"], worth_telling=True, worse=True)
    assert verdict.events == {"pager": "opened"}


def test_an_acknowledged_alert_is_quiet_unless_it_gets_worse() -> None:
    assert speak("acknowledged", OPENED_LONG_AGO, worth_telling=True) == limit.Verdict({}, None)
    assert speak("acknowledged", OPENED_LONG_AGO, worse=True).events == {"hook": "updated"}


def test_acknowledging_is_told_and_ends_what_waited() -> None:
    verdict = speak("acknowledged", OPENED_JUST_NOW, acknowledged=True, next_update_at=NOW + MINUTE)
    assert verdict == limit.Verdict({"hook": "acknowledged"}, None)


def test_the_end_is_told_at_once_to_those_who_know() -> None:
    told = {**OPENED_JUST_NOW, "mail": Told("resolved", NOW - MINUTE)}
    assert speak("resolved", told) == limit.Verdict({"hook": "resolved"}, None)
    assert speak("resolved") == limit.Verdict({}, None)


def test_firing_again_soon_after_the_end_waits_and_is_not_told_when_over_by_then() -> None:
    told = {"hook": Told("resolved", NOW - MINUTE)}
    waits = speak(told=told, routed=["hook"], worth_telling=True)
    assert waits == limit.Verdict({}, NOW + 4 * MINUTE)
    assert speak("resolved", told, next_update_at=waits.next_update_at) == limit.Verdict({}, None)
    later = speak(told=told, next_update_at=waits.next_update_at, now=NOW + 4 * MINUTE)
    assert later.events == {"hook": "reopened"}


def test_silent_trouble_schedules_nothing() -> None:
    assert speak(told=OPENED_LONG_AGO) == limit.Verdict({}, None)


# --- text -----------------------------------------------------------------------------------------------------------


def test_the_summary_says_how_many_how_much_since_when_and_why() -> None:
    totals = Totals(
        items_open=200,
        items_total=230,
        oldest_at=NOW,
        oldest="S00024 is not released after 2 h.",
        money={"USD": Decimal(800), "EUR": Decimal("12300.5")},
    )
    cause = Cause({"warehouse": "north"}, 190, 200, 36, 200)
    findings = Findings(model="order", journeys=200, customers=31, cause=cause)
    assert text.summary("sla", totals, findings, lasted=MINUTE) == (
        "200 breaches open. 200 orders of 31 customers. At risk: 12,300.50 EUR, 800.00 USD. "
        "Oldest since 20 Nov 2026 10:00 UTC: S00024 is not released after 2 h. "
        "190 of 200 have warehouse north, as do 18 % of the 200 other open orders."
    )


def test_the_end_says_how_it_ended() -> None:
    totals = Totals(0, 200, ended={"late": 185, "retracted": 15}, money={"EUR": Decimal(10)})
    assert text.summary("sla", totals, Findings(), lasted=125 * MINUTE) == (
        "All 200 breaches are over after 2 h 5 min: 185 done late, 15 taken back by late evidence. "
        "Was at risk: 10.00 EUR."
    )
    single = Totals(0, 1, ended={"retracted": 1})
    assert (
        text.summary("sla", single, Findings(), lasted=MINUTE) == "It is over after 1 min: taken back by late evidence."
    )


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3700, "1 h 1 min"), (3605, "1 h"), (180_000, "2 d 2 h")],
)
def test_lengths(seconds: int, expected: str) -> None:
    assert text.length(timedelta(seconds=seconds)) == expected


def test_the_title_names_the_group_once() -> None:
    assert text.title("Not acknowledged", {"warehouse": "north"}) == "Not acknowledged (warehouse north)"
    assert text.title("Silence of north", {"source": "north"}) == "Silence of north"


# --- retry ------------------------------------------------------------------------------------------------------------


def again(attempt: int = 1, retry_after: float | None = None, jitter: float = 0.0, age: timedelta = MINUTE) -> object:
    at = retry.next_attempt(attempt=attempt, created_at=NOW - age, now=NOW, retry_after=retry_after, jitter=jitter)
    return None if at is None else (at - NOW).total_seconds()


def test_the_wait_doubles_up_to_a_limit_with_jitter() -> None:
    assert [again(attempt) for attempt in (1, 2, 3, 4)] == [2, 4, 8, 16]
    assert again(50) == 900
    assert again(3, jitter=1.0) == 4


def test_what_the_receiver_asks_for_is_the_least_within_reason() -> None:
    assert again(1, retry_after=120) == 120
    assert again(10, retry_after=1) == 900
    assert again(1, retry_after=10**7) == 3600
    assert again(1, retry_after=1e17) == again(1, retry_after=float("inf")) == 3600


def test_the_budget_has_an_end() -> None:
    assert again(retry.ATTEMPTS) is None
    assert again(5, age=retry.AGE) is None
