"""What a try on history says of single journeys, and of whom the breaches would have woken."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from milepost.clock import from_us, to_us
from milepost.journeystate import JourneyChange
from sla.backtest.alerts import play
from sla.backtest.found import Found, Span, breach_of, outcome
from sla.backtest.report import Comparison
from sla.evaluate import evaluate
from sla.policy import Compiled
from tests.sla_cases import at, catalog, journey

T = at("2026-03-20 09:00")
HOUR = timedelta(hours=1)
CONFIRMED = {
    "name": "confirmed", "kind": "between", "start": "received", "end": "confirmed", "within": "4h",
    "group_by": ["channel"],
}  # fmt: skip
ROUTED = {"channels": [{"name": "ops", "kind": "email", "to": ["a@b.example"]}], "routes": [{"channels": ["ops"]}]}


def told(steps: Mapping[str, float], received: Mapping[str, float] | None = None) -> JourneyChange:
    """An order with steps so many hours after T, received at once or so many hours after T."""
    times = {name: to_us(T + hours * HOUR) for name, hours in steps.items()}
    late = {name: to_us(T + hours * HOUR) for name, hours in (received or {}).items()}
    return journey(times, received={**times, **late}, attributes={"channel": "edi"})


def found(change: JourneyChange, judged: float = 100, live: bool = False, **policy: Any) -> Found | None:
    made = catalog({**CONFIRMED, **policy})
    (clock,) = evaluate(Compiled(made), change).clocks
    return breach_of(clock, change, made, {}, Span(0, to_us(T + judged * HOUR), live))


def hours(at_us: int | None) -> float | None:
    return None if at_us is None else (from_us(at_us) - T) / HOUR


def seen(one: Found | None) -> tuple[Any, ...] | None:
    return one and (one.end, hours(one.opened_us), hours(one.cleared_us), one.notify)


def test_what_was_kept_is_no_breach() -> None:
    assert found(told({"received": 0, "confirmed": 3})) is None
    assert found(told({"received": 0, "confirmed": 4})) is None


def test_what_is_late_is_found_when_it_is_due() -> None:
    assert seen(found(told({"received": 0}))) == ("open", 4, None, True)
    assert seen(found(told({"received": 0, "confirmed": 6}))) == ("late", 4, 6, True)
    assert found(told({"received": 0}), judged=3.9) is None


def test_evidence_that_came_too_late_would_have_been_called_a_breach_and_taken_back() -> None:
    one = found(told({"received": 0, "confirmed": 3}, {"confirmed": 5}))
    assert seen(one) == ("retracted", 4, 5, True)
    assert one is not None
    assert "not confirmed" in one.why


def test_what_was_over_when_it_was_heard_of_wakes_nobody() -> None:
    imported = {"received": 50.0, "confirmed": 50.0}
    assert seen(found(told({"received": 0, "confirmed": 6}, imported))) == ("late", None, None, False)
    assert found(told({"received": 0, "confirmed": 3}, imported)) is None


def test_imported_history_can_be_judged_as_it_happened() -> None:
    imported = {"received": 50.0, "confirmed": 52.0}
    assert found(told({"received": 0, "confirmed": 3}, imported)) is None, "it came in pieces, and was never late"
    assert seen(found(told({"received": 0, "confirmed": 6}, imported))) == ("late", 50, 52, False)
    assert seen(found(told({"received": 0, "confirmed": 6}, imported), live=True)) == ("late", 4, 6, True)
    assert found(told({"received": 0, "confirmed": 3}, imported), live=True) is None


def test_what_is_known_late_wakes_somebody_only_while_it_is_young() -> None:
    assert seen(found(told({"received": 0}, {"received": 10}))) == ("open", 10, None, True)
    assert seen(found(told({"received": 0}, {"received": 30}))) == ("open", 30, None, False)
    assert seen(found(told({"received": 0}), notify=False)) == ("open", 4, None, False)


def test_attainment_counts_what_has_an_outcome() -> None:
    made = Compiled(catalog(CONFIRMED))

    def became(change: JourneyChange, judged: float) -> str:
        return outcome(evaluate(made, change).clocks[0], to_us(T + judged * HOUR))

    assert became(told({"received": 0}), 3) == "running"
    assert became(told({"received": 0}), 5) == "missed"
    assert became(told({"received": 0, "confirmed": 3}), 3) == "met"
    gone = told({"received": 0})
    gone.state, gone.ended_us = "cancelled", to_us(T + HOUR)
    assert became(gone, 9) == "stopped"


# --- whom it would have woken -----------------------------------------------------------------------------------------


def breach(number: int, opened: datetime, cleared: datetime | None = None, channel: str = "edi") -> Found:
    return Found(
        journey_id=number, model="order", key=f"S{number}", policy="confirmed", version="v", subject_id=number,
        occurrence=0, subject="", started_us=0, due_us=to_us(opened), stopped_us=None, end="late", late_known=False,
        opened_us=to_us(opened), cleared_us=None if cleared is None else to_us(cleared), notify=True,
        severity="warning", group={"channel": channel}, dimensions={"channel": channel}, amount=None, currency=None,
        why="",
    )  # fmt: skip


def messages(*breaches: Found, until: datetime = T + 100 * HOUR, **policy: Any) -> list[tuple[float, str, str]]:
    made = catalog({**CONFIRMED, **policy}, routes_yaml=ROUTED)
    played = play(breaches, made, until)
    return [((one.at - T) / HOUR, one.channel, one.event) for one in played.messages]


def test_many_breaches_of_one_group_are_one_alert() -> None:
    minute = HOUR / 60
    wave = [breach(number, T + number * minute, T + 3 * HOUR) for number in range(60)]
    said = messages(*wave)
    assert [event for _, _, event in said].count("opened") == 1
    assert said[0] == (0, "ops", "opened")
    assert said[-1] == (3, "ops", "resolved")
    assert len(said) == 1 + 60 // 5 + 1


def test_groups_have_alerts_of_their_own_and_come_back() -> None:
    two = (breach(1, T, T + HOUR), breach(2, T, channel="web"), breach(3, T + 1.5 * HOUR), breach(4, T + 30 * HOUR))
    assert messages(*two, until=T + 20 * HOUR) == [
        (0, "ops", "opened"),
        (0, "ops", "opened"),
        (1, "ops", "resolved"),
        (1.5, "ops", "reopened"),
    ]


def test_what_waits_for_more_is_told_with_them() -> None:
    after = {"items": 3, "within": "1h"}
    assert messages(breach(1, T), breach(2, T + 0.5 * HOUR), after=after) == []
    three = [breach(number, T + number * HOUR / 4) for number in range(3)]
    assert messages(*three, after=after) == [(0.5, "ops", "opened")]


def test_what_wakes_nobody_sends_nothing() -> None:
    from msgspec.structs import replace

    assert messages(replace(breach(1, T), notify=False)) == []
    assert messages(replace(breach(1, T), opened_us=None)) == []


# --- two catalogs -----------------------------------------------------------------------------------------------------


def test_a_comparison_tells_what_is_new_and_what_is_gone() -> None:
    slower, faster = catalog({**CONFIRMED, "within": "8h"}), catalog(CONFIRMED)
    changes = [told({"received": 0, "confirmed": hours}) for hours in (1, 6, 20)]
    for number, change in enumerate(changes):
        change.journey_id, change.key = number, f"S{number}"
    span = Span(0, to_us(T + 100 * HOUR))
    for tried, today, wanted in ((faster, slower, "new"), (slower, faster, "gone")):
        compared = Comparison(tried, today, (Compiled(tried), Compiled(today)))
        for change in changes:
            compared.judge(change, {}, span)
        report = compared.report(span, 1.0)
        (mine,) = report.policies
        assert (mine.new, mine.gone) == ((1, 0) if wanted == "new" else (0, 1))
        assert (mine.breaches, report.was["confirmed"].breaches) == ((2, 1) if wanted == "new" else (1, 2))
        assert mine.share == (1 / 3 if wanted == "new" else 2 / 3)
        (sample,) = report.samples[wanted]  # type: ignore[index]
        assert sample.breach.key == "S1"
        assert sample.instead.endswith("in time")
