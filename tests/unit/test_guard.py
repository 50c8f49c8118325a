"""Who fails too often is turned away; who is real never is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from milepost.errors import RateLimited
from milepost.guard import Guard

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def fail(guard: Guard, address: str | None, times: int, now: datetime = NOW) -> None:
    for _ in range(times):
        guard.admit(address, "guess", now)
        guard.failed(address, now)


def blocked(guard: Guard, address: str | None, name: str = "guess", now: datetime = NOW) -> bool:
    try:
        guard.admit(address, name, now)
    except RateLimited as error:
        return 0 < (error.retry_after or 0) <= 60
    return False


def test_an_address_that_fails_too_often_waits_for_the_window_to_end() -> None:
    guard = Guard(per_address=3)
    fail(guard, "192.0.2.1", 3)
    assert blocked(guard, "192.0.2.1")
    assert not blocked(guard, "192.0.2.2")
    assert blocked(guard, "192.0.2.1", now=NOW + MINUTE / 2)
    assert not blocked(guard, "192.0.2.1", now=NOW + MINUTE)


def test_a_real_key_passes_whatever_its_neighbours_behind_the_same_address_do() -> None:
    guard = Guard(per_address=3, over_all=5)
    guard.know(["real"])
    fail(guard, "192.0.2.1", 3)
    fail(guard, "192.0.2.2", 2)
    assert not blocked(guard, "192.0.2.1", "real")
    assert not blocked(guard, "192.0.2.9", "real")


def test_all_together_are_bounded_and_so_is_the_memory() -> None:
    guard = Guard(per_address=3, over_all=20)
    for number in range(100):
        guard.failed(f"192.0.2.{number}", NOW)
    assert len(guard._failures) == 20
    assert blocked(guard, "198.51.100.1")
    fail(guard, "198.51.100.1", 1, NOW + MINUTE)
    assert len(guard._failures) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        (None, "", True),
        ("unix", "192.0.2.1", False),
    ],
)
def test_what_counts_as_one_address(one: str | None, other: str, same: bool) -> None:
    guard = Guard(per_address=2)
    fail(guard, one, 2)
    assert blocked(guard, other) == same


def test_a_clock_that_was_set_back_blocks_nobody() -> None:
    guard = Guard(per_address=1)
    fail(guard, "192.0.2.1", 1)
    assert not blocked(guard, "192.0.2.1", now=NOW - timedelta(days=1))
