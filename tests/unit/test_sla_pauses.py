"""When clocks stand still, case by case."""

from typing import Any

import pytest

from milepost.catalog import loader
from milepost.errors import CatalogError
from milepost.journeystate import JourneyClocks, ObjectState, Pause, RunningClock, decode_clocks, encode_clocks
from sla.evaluate import Clock, evaluate
from sla.policy import Compiled
from sla.transition import Transition, settle
from tests.sla_cases import catalog, held, journey, state_of, trouble, us, went_well

HOUR = 3_600_000_000
T = us("2026-03-20 09:00")  # a Friday, 10:00 in Berlin
BETWEEN = {"name": "p", "kind": "between", "start": "received", "end": "confirmed", "within": "4h", "warn_at": 0.5}


def paused(policy: dict[str, Any], root: Any, steps: dict[str, int] | None = None, **told: Any) -> Clock:
    change = journey({"received": T, **(steps or {})}, **told)
    change.states = {1: root, **change.states}
    (found,) = evaluate(Compiled(catalog(policy)), change).clocks
    return found


def test_while_the_root_is_held_nothing_is_due() -> None:
    found = paused(BETWEEN, held([T + HOUR]))
    assert (found.due_us, found.warn_us, found.state) == (None, None, "running")
    assert found.pause == Pause(T + HOUR, "order.held", "erp", f"t{T + HOUR}", 0)


def test_afterwards_it_is_due_so_much_later() -> None:
    found = paused(BETWEEN, held([T + HOUR], [T + 3 * HOUR]))
    assert (found.due_us, found.warn_us) == (T + 6 * HOUR, T + 4 * HOUR)
    assert found.pause is not None
    assert (found.pause.since_us, found.pause.still_us) == (None, 2 * HOUR)


def test_only_business_time_moves_it() -> None:
    policy = {**BETWEEN, "calendar": "business"}
    weekend = held([us("2026-03-20 16:00")], [us("2026-03-23 08:00")])  # Friday 17:00 to Monday 09:00
    assert paused({**policy, "within": "9h"}, weekend).due_us == us("2026-03-23 10:00")
    night = held([us("2026-03-20 17:00")], [us("2026-03-23 07:00")])
    found = paused({**policy, "within": "9h"}, night)
    assert (found.due_us, found.pause) == (us("2026-03-23 08:00"), None)


def test_a_hold_that_began_before_the_clock_counts_from_its_start() -> None:
    assert paused(BETWEEN, held([T - 5 * HOUR], [T + HOUR])).due_us == T + 5 * HOUR
    assert paused(BETWEEN, held([T - 5 * HOUR], [T - HOUR])).due_us == T + 4 * HOUR
    open_before = paused(BETWEEN, held([T - 5 * HOUR]))
    assert open_before.pause is not None
    assert open_before.pause.since_us == T


def test_a_hold_at_the_due_time_or_later_changes_nothing() -> None:
    found = paused(BETWEEN, held([T + 4 * HOUR]))
    assert (found.due_us, found.pause) == (T + 4 * HOUR, None)
    late = paused(BETWEEN, held([T + 5 * HOUR]), {"confirmed": T + 6 * HOUR})
    assert (late.state, late.due_us) == ("missed", T + 4 * HOUR)


def test_holds_that_overlap_count_once() -> None:
    policy = {**BETWEEN, "start": "dispatched", "end": "delivered", "per": "shipment", "pause": "subject"}
    shipment = state_of({"shipment.dispatched": T})
    shipment.trouble = held([T + 2 * HOUR], kind="shipment").trouble
    went_well(shipment, "shipment.released", [T + 5 * HOUR])
    found = paused(policy, held([T + HOUR], [T + 3 * HOUR]), objects={5: ("shipment", shipment)})
    assert found.due_us == T + 8 * HOUR
    assert found.pause is not None
    assert (found.pause.type, found.pause.still_us) == ("shipment.held", 4 * HOUR)


@pytest.mark.parametrize(
    ("steps", "due", "state"),
    [
        ({"confirmed": T + 2 * HOUR}, T + 5 * HOUR, "met"),  # while held: it ends there
        ({"confirmed": T + 30 * HOUR}, T + 33 * HOUR, "met"),
    ],
)
def test_what_stops_while_it_is_held_was_in_time(steps: dict[str, int], due: int, state: str) -> None:
    found = paused(BETWEEN, held([T + HOUR]), steps)
    assert (found.due_us, found.state) == (due, state)


def test_cancelling_while_it_is_held_stops_it() -> None:
    found = paused(BETWEEN, held([T + HOUR]), state="cancelled", ended=T + 20 * HOUR)
    assert (found.state, found.stopped_us) == ("stopped", T + 20 * HOUR)


# --- what pauses ------------------------------------------------------------------------------------------------------

BY = {"name": "p", "kind": "by", "end": "delivered", "date": "promised_date"}


def test_a_promised_date_stands_unless_the_policy_says() -> None:
    promised: dict[str, Any] = {"attributes": {"promised_date": "2026-03-24"}}
    stands = paused(BY, held([T + HOUR], [T + 3 * HOUR]), **promised)
    assert stands.due_us == us("2026-03-25 00:00") - 1
    moves = paused({**BY, "pause": "root"}, held([T + HOUR], [T + 3 * HOUR]), **promised)
    assert moves.due_us == us("2026-03-25 02:00") - 1
    assert paused({**BY, "pause": "root"}, held([T + HOUR]), **promised).due_us is None


def test_never_is_never() -> None:
    assert paused({**BETWEEN, "pause": "never"}, held([T])).due_us == T + 4 * HOUR


def test_waiting_for_the_customer_pauses_and_other_holds_dont() -> None:
    policy = {**BETWEEN, "pause": ["order.held:customer", "shipment.exception"]}
    assert paused(policy, held([T], code="customer")).due_us is None
    assert paused(policy, held([T], code="credit")).due_us == T + 4 * HOUR
    assert paused({**BETWEEN, "pause": ["order.held"]}, held([T], code="credit")).due_us is None


@pytest.mark.parametrize(("pause", "due"), [("root", T + 5 * HOUR), ("subject", None), (["shipment.held"], None)])
def test_the_hold_of_an_object_pauses_its_own_clock_only_if_the_policy_says(pause: Any, due: int | None) -> None:
    policy = {**BETWEEN, "start": "dispatched", "end": "delivered", "per": "shipment", "pause": pause}
    shipment = state_of({"shipment.dispatched": T})
    shipment.trouble = held([T + HOUR], kind="shipment").trouble
    root = held([T + HOUR], [T + 2 * HOUR])
    if isinstance(pause, list):
        root = held([])
    assert paused(policy, root, objects={5: ("shipment", shipment)}).due_us == due


def test_a_hold_in_the_shop_holds_the_order_that_took_it_in() -> None:
    """The root under whatever name: held by the shop, released by the ERP."""
    shop = held([T + HOUR])
    change: dict[str, Any] = {"objects": {5: ("channel_order", shop)}}
    assert paused(BETWEEN, ObjectState(), **change).due_us is None
    assert paused(BETWEEN, held([], [T + 2 * HOUR]), **change).due_us == T + 5 * HOUR
    parcel: dict[str, Any] = {"objects": {5: ("shipment", shop)}}
    assert paused(BETWEEN, ObjectState(), **parcel).due_us == T + 4 * HOUR


def test_a_hold_that_failed_is_none() -> None:
    root = held([])
    root.trouble["order.held"] = [trouble(T, "failed")]
    assert paused(BETWEEN, root).due_us == T + 4 * HOUR


def test_a_pause_must_be_one() -> None:
    with pytest.raises(CatalogError, match=r"p: pause: order_held is no event type"):
        catalog({**BETWEEN, "pause": ["order_held"]})
    with pytest.raises(CatalogError, match=r"p: pause"):
        catalog({**BETWEEN, "pause": "sometimes"})
    assert loader.load(loader.default_texts()).policies


# --- what is kept -----------------------------------------------------------------------------------------------------


def moved(change: Any, before: Transition | None, now: int) -> Transition | None:
    compiled = Compiled(catalog(BETWEEN))
    known = {(clock.policy, clock.subject_id, clock.occurrence): clock for clock in before.running} if before else {}
    former = JourneyClocks(running=before.running, ended=before.ended) if before else None
    return settle(change, evaluate(compiled, change, known).clocks, former, known, compiled, now)


def test_held_clocks_are_never_looked_up() -> None:
    change = journey({"received": T})
    change.states = {1: held([T + HOUR])}
    first = moved(change, None, T + HOUR)
    assert first is not None
    assert (first.next_us, first.empty) == (None, False)
    assert moved(change, first, T + 2 * HOUR) is None  # nothing to write
    change.states = {1: held([T + HOUR], [T + 3 * HOUR])}
    released = moved(change, first, T + 3 * HOUR)
    assert released is not None
    assert released.next_us == T + 4 * HOUR


def test_clocks_written_before_there_were_pauses_are_read() -> None:
    clock = RunningClock("p", 1, 0, "v", T, T, T + HOUR, None)
    assert decode_clocks(encode_clocks([clock])) == [clock]
    former = ("p", 1, 0, "v", T, T, T + HOUR, None, False, False, None, "running")
    assert decode_clocks(encode_clocks([former])) == [clock]  # type: ignore[list-item]
    still = RunningClock("p", 1, 0, "v", T, T, None, None, pause=Pause(T, "order.held", "erp", "e1", 0))
    assert decode_clocks(encode_clocks([still])) == [still]
