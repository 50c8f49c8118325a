"""Clocks against an oracle that knows only the rules: it walks through the minutes and looks at the wall clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from milepost.clock import to_us
from milepost.journeystate import JourneyChange, ObjectState
from sla.evaluate import Clock, evaluate
from sla.policy import Compiled
from tests.sla_cases import CALENDARS, MODEL, NAMES, catalog, held, journey, state_of, trouble, went_well

MINUTE = 60_000_000
# three weeks over the change to summer time in Berlin, with a holiday
FIRST = datetime(2026, 3, 16, tzinfo=UTC)
SPAN = 21 * 24 * 60
EVENTS = {item["name"]: item["events"] for item in MODEL["milestones"]}  # type: ignore[index]

Verdict = tuple[str, int, int | None, int | None, int | None, int | None, str]
"""Policy, subject, start, due (microseconds), warn (unless by a date), stop, state."""


# --- the oracle: all times in minutes since FIRST ---------------------------------------------------------------------


@cache
def is_open(calendar: str, minute: int) -> bool:
    if calendar == "always":
        return True
    spec: Any = CALENDARS[calendar]
    wall = (FIRST + timedelta(minutes=minute)).astimezone(ZoneInfo(spec["zone"]))
    if wall.date().isoformat() in spec.get("holidays", []):
        return False
    shifts = spec["weekly"].get(wall.strftime("%a").lower(), [])
    return any(opens <= wall.strftime("%H:%M") < closes for opens, closes in shifts)


Span = tuple[int, int | None]
"""From when to when something is held; None: for good."""


def held_spans(told: Mapping[str, Any], stop: int | None) -> list[Span]:
    """When an object is held; a clock that stopped is held no longer."""
    spans = []
    for begin in told["holds"]:
        if stop is not None and begin >= stop:
            continue
        ends = [one for one in (*told["releases"], told.get("gone"), stop) if one is not None and one >= begin]
        spans.append((begin, min(ends, default=None)))
    return spans


def is_held(spans: Sequence[Span], minute: int) -> bool:
    return any(begin <= minute and (end is None or minute < end) for begin, end in spans)


def after(calendar: str, start: int, minutes: int, spans: Sequence[Span] = ()) -> int | None:
    """None when it is held for good before that."""
    now = start
    while minutes:
        if now > 2 * SPAN and is_held(spans, now):
            return None
        minutes -= is_open(calendar, now) and not is_held(spans, now)
        now += 1
    return now


def put_off(calendar: str, start: int, due: int, spans: Sequence[Span]) -> int | None:
    """A date moves on, hold by hold, by the business time in which it was held; two that meet are one."""
    now = start
    while now < due:
        if now > 2 * SPAN:
            return None
        if is_held(spans, now):
            begin = now
            while is_held(spans, now):
                if now > 2 * SPAN:
                    return None
                now += 1
            moved = after(calendar, due, between(calendar, begin, now))
            assert moved is not None
            due = moved
        now += 1
    return due


def between(calendar: str, start: int, end: int) -> int:
    return sum(is_open(calendar, minute) for minute in range(start, end))


def end_of_day(calendar: str, day: str) -> int:
    zone = ZoneInfo(CALENDARS[calendar]["zone"]) if calendar in CALENDARS else ZoneInfo("UTC")  # type: ignore[arg-type]
    following = date.fromisoformat(day) + timedelta(days=1)
    midnight = datetime(following.year, following.month, following.day, tzinfo=zone)
    return int((midnight - FIRST) / timedelta(minutes=1))


def due_of(
    policy: Mapping[str, Any], start: int, attributes: Mapping[str, Any], spans: Sequence[Span]
) -> tuple[int | None, int | None, int] | None:
    """Due, warn, and how many microseconds before that minute it is really due."""
    calendar, share = policy["calendar"], policy["warn_at"]
    if policy["kind"] != "by":
        within = policy["minutes"]
        due = after(calendar, start, within, spans)
        warn = after(calendar, start, int(within * share), spans) if share and due is not None else None
        return due, warn, 0
    value = attributes.get(policy["date"])
    if value is None:
        return None
    told = after(calendar, end_of_day(calendar, value), policy["grace_minutes"])
    assert told is not None
    due = put_off(calendar, start, told, spans)
    # the microsecond before a day's end is carried on where it is open
    return due, None, int(due == told or is_open(calendar, told - 1))


def spans_of(policy: Mapping[str, Any], facts: Any, seen: Any, stop: int | None) -> list[Span]:
    """What pauses a clock of a policy; what seen are the facts of the object, or else of the journey."""
    pause = policy.get("pause", "never" if policy["kind"] == "by" else "root")
    if pause == "never":
        return []
    spans = held_spans(facts["troubles"]["held"], stop) if pause != ["shipment.exception"] else []
    if seen is not facts and pause != "root":
        spans += held_spans(seen["troubles"]["held" if pause == "subject" else "exception"], stop)
    return spans


def applies(policy: Mapping[str, Any], attributes: Mapping[str, Any]) -> bool:
    return all(attributes.get(name) in values for name, values in policy["match"].items())


def best(policies: list[dict[str, Any]], attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of those that promise the same, the one that asks for most."""
    chosen: dict[Any, dict[str, Any]] = {}
    for policy in sorted(policies, key=lambda p: (len(p["match"]), p["priority"], [-ord(c) for c in p["name"]])):
        if applies(policy, attributes):
            chosen[policy["kind"], policy.get("start"), policy.get("end")] = policy
    return list(chosen.values())


def oracle(policies: list[dict[str, Any]], facts: dict[str, Any], per: bool) -> set[Verdict]:
    expected: set[Verdict] = set()
    subjects = facts["objects"] if per else {1: facts}
    for subject, seen in subjects.items():
        steps = seen["steps"]
        for policy in best([p for p in policies if ("per" in p) == per], {**facts["attributes"], **seen["attributes"]}):
            if policy.get("start"):
                start = steps.get(policy["start"])
            else:
                start = min(steps.values()) if per else facts["started"]
            if start is None:
                continue
            if policy["kind"] == "dwell":
                higher = [steps[name] for name in NAMES[NAMES.index(policy["start"]) + 1 :] if name in steps]
                stop = min(higher) if higher else None
            else:
                stop = steps.get(policy["end"])
            how = "reached"
            cancels = [seen.get("cancelled"), facts["cancelled"]]
            cancel = min((c for c in cancels if c is not None), default=None)
            if cancel is not None and (stop is None or cancel < stop):
                stop, how = cancel, "cancelled"
            stop = None if stop is None else max(stop, start)
            spans = spans_of(policy, facts, seen, stop)
            promise = due_of(policy, start, {**facts["attributes"], **seen["attributes"]}, spans)
            if promise is None:
                continue
            due, warn, less = promise
            due_us = None if due is None else due * MINUTE - less
            if stop is None:
                state = "running"
            else:
                assert due_us is not None
                state = "missed" if stop * MINUTE > due_us else "met" if how == "reached" else "stopped"
            expected.add((policy["name"], subject, start, due_us, warn, stop, state))
    return expected


# --- what is drawn ----------------------------------------------------------------------------------------------------

minutes = st.integers(0, SPAN)
calendars = st.sampled_from(["always", "business", "shifts"])
shares = st.sampled_from([None, 0.5, 0.25])
matches = st.sampled_from(
    [{}, {"channel": ["edi"]}, {"carrier": ["dhl", "ups"]}, {"channel": ["edi"], "carrier": ["ups"]}]
)
values = st.fixed_dictionaries(
    {}, optional={"channel": st.sampled_from(["edi", "web"]), "carrier": st.sampled_from(["dhl", "ups", "gls"])}
)
spells = st.fixed_dictionaries(
    {"holds": st.lists(minutes, max_size=3, unique=True), "releases": st.lists(minutes, max_size=3, unique=True)}
)
days = st.sampled_from([(FIRST + timedelta(days=day)).date().isoformat() for day in range(21)])


@st.composite
def policy_of(draw: st.DrawFn, number: int) -> dict[str, Any]:
    kind = draw(st.sampled_from(["between", "dwell", "by"]))
    start, end = sorted(draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=2, unique=True)), key=NAMES.index)
    policy: dict[str, Any] = {
        "name": f"p{number}",
        "kind": kind,
        "calendar": draw(calendars),
        "warn_at": draw(shares),
        "match": draw(matches),
        "priority": draw(st.integers(0, 1)),
        "start": start,
    }
    if draw(st.booleans()):
        policy["per"] = "shipment"
        policy["start"], end = "dispatched", "delivered"
    if draw(st.booleans()):
        policy["pause"] = draw(st.sampled_from(["root", "subject", "never", ["shipment.exception"]]))
    if kind == "by":
        grace = draw(st.sampled_from([0, 90]))
        policy |= {"end": end, "date": "promised", "grace": f"{grace}m", "grace_minutes": grace}
        if draw(st.booleans()):
            del policy["start"]
    else:
        within = draw(st.integers(1, 100)) * 20
        policy |= {"within": f"{within}m", "minutes": within} | ({"end": end} if kind == "between" else {})
    return policy


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    policies = [draw(policy_of(number)) for number in range(draw(st.integers(1, 6)))]
    shipments = {
        number: {
            "steps": draw(
                st.dictionaries(st.sampled_from(["dispatched", "delivered"]), minutes, min_size=1, max_size=2)
            ),
            "attributes": draw(values),
            "cancelled": draw(st.none() | minutes),
            "troubles": {"held": draw(spells), "exception": draw(spells)},
        }
        for number in range(2, 2 + draw(st.integers(0, 2)))
    }
    steps = draw(st.dictionaries(st.sampled_from(NAMES), minutes, min_size=1, max_size=6))
    promised = draw(st.fixed_dictionaries({}, optional={"promised": days}))
    facts: dict[str, Any] = {
        "steps": steps,
        "started": min(steps.values()),
        "attributes": {**draw(values), **promised},
        "objects": shipments,
        "cancelled": draw(st.none() | minutes),
        "troubles": {"held": draw(spells)},
    }
    for seen in facts["objects"].values():
        for told in seen["troubles"].values():
            told["gone"] = seen["cancelled"]
    return policies, facts


def world_us(minute: int) -> int:
    return to_us(FIRST) + minute * MINUTE


def change_of(facts: dict[str, Any]) -> JourneyChange:
    def state(seen: dict[str, Any]) -> ObjectState:
        events = {EVENTS[name][0]: world_us(at) for name, at in seen["steps"].items()}
        first = min(events.values())
        if seen["cancelled"] is not None:
            events["shipment.cancelled"] = world_us(seen["cancelled"])
        made = state_of(events, seen["attributes"])
        # an object starts with its first event of any kind; the oracle starts it with its first step
        made.first_us = first
        for name, ending in (("held", "released"), ("exception", "cleared")):
            told = seen["troubles"][name]
            if told["holds"]:
                made.trouble[f"shipment.{name}"] = [trouble(world_us(at)) for at in sorted(told["holds"])]
            went_well(made, f"shipment.{ending}", map(world_us, told["releases"]))
        return made

    cancelled = facts["cancelled"]
    change = journey(
        {name: world_us(at) for name, at in facts["steps"].items()},
        state="open" if cancelled is None else "cancelled",
        ended=None if cancelled is None else world_us(cancelled),
        attributes=facts["attributes"],
        objects={number: ("shipment", state(seen)) for number, seen in facts["objects"].items()},
    )
    spell = facts["troubles"]["held"]
    change.states = {1: held(map(world_us, spell["holds"]), map(world_us, spell["releases"])), **change.states}
    # every event was received at the start: nothing is late_known
    for item in change.states.values():
        item.first_received_us = 0
        for evidence in item.reached.values():
            evidence.first_received_us = 0
    change.milestones = {name: replace(item, received_us=0) for name, item in change.milestones.items()}
    return change


@settings(max_examples=120, deadline=None)
@given(worlds())
def test_clocks_are_those_of_the_oracle(world: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    policies, facts = world
    plain = [{k: v for k, v in p.items() if not k.endswith("minutes")} for p in policies]
    evaluation = evaluate(Compiled(catalog(*plain)), change_of(facts))
    assert evaluation.verdicts == []
    assert {told(clock) for clock in evaluation.clocks} == oracle(policies, facts, per=False) | oracle(
        policies, facts, per=True
    )
    by_name = {policy["name"]: policy for policy in policies}
    for clock in evaluation.clocks:
        if clock.policy.kind == "by" and clock.pause is None:
            check_warning(by_name[clock.policy.name], clock)


def told(clock: Clock) -> Verdict:
    warn = None if clock.policy.kind == "by" else minute(clock.warn_us)
    return (
        clock.policy.name,
        clock.subject_id,
        minute(clock.started_us),
        None if clock.due_us is None else clock.due_us - world_us(0),
        warn,
        minute(clock.stopped_us),
        clock.state,
    )


def minute(us: int | None) -> int | None:
    return None if us is None else (us - world_us(0)) // MINUTE


def check_warning(policy: Mapping[str, Any], clock: Clock) -> None:
    """A date warns between two minutes: when its share of the business time has run, to the minute."""
    assert clock.due_us is not None
    start, due = minute(clock.started_us), minute(clock.due_us + 1)
    assert start is not None
    assert due is not None
    run = between(policy["calendar"], start, due)
    warn = minute(clock.warn_us)
    if warn is None:
        assert policy["warn_at"] is None or run <= 0
    else:
        assert abs(between(policy["calendar"], start, warn) - run * policy["warn_at"]) <= 1
        # a share that has run exactly at closing time warns there
        assert is_open(policy["calendar"], warn) or is_open(policy["calendar"], warn - 1)
