"""How a cursor of the Odoo poller moves on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from collector.odoo import cursor as at
from collector.odoo.cursor import OVERLAP, Cursor, Records, Start, Tracking

NOW = datetime(2026, 11, 20, 10, 0, 30, tzinfo=UTC)


def text(minutes: float) -> str:
    """Odoo's text of so many minutes before NOW."""
    return at.odoo_text(NOW - timedelta(minutes=minutes))


def test_the_floor_follows_in_whole_minutes() -> None:
    assert at.floor_at(NOW) == "2026-11-20 09:30:00"
    assert at.floor_at(NOW) == at.floor_at(NOW + timedelta(seconds=20))


def test_state_changes_stay_remembered_until_they_are_old() -> None:
    done = {1: text(90), 2: text(70), 3: text(50), 5: text(1)}
    tracking = at.tracked(Tracking(), done, NOW)
    assert tracking == Tracking(floor=2, seen={3: text(50), 5: text(1)})
    later = at.tracked(tracking, {4: text(3)}, NOW)
    assert later.seen.keys() == {3, 4, 5}
    assert at.tracked(later, {}, NOW + 2 * OVERLAP) == Tracking(floor=5, seen={})


def test_a_state_change_with_a_lower_id_that_shows_later_is_read() -> None:
    """The first to begin takes its id last: the other one's is lower, and shows a while after it."""
    begun, shown = {200: 60, 100: 40}, {200: 35, 100: 28}  # minutes before NOW
    tracking, read = Tracking(), set[int]()
    for minute in range(60, 0, -1):
        new = [key for key, at_ in shown.items() if at_ >= minute and key > tracking.floor and key not in tracking.seen]
        read |= set(new)
        tracking = at.tracked(tracking, {key: text(begun[key]) for key in new}, NOW - timedelta(minutes=minute))
    assert read == {100, 200}


def test_a_record_is_done_at_its_write_date_only() -> None:
    records = at.marked(Records(floor=text(60)), {7: (text(2), "aa")}, NOW)
    assert at.is_done(records, 7, text(2))
    assert not at.is_done(records, 7, text(1))
    assert at.digest_of(records, 7) == "aa"


def test_what_was_just_written_is_read_again() -> None:
    records = at.marked(Records(floor=text(60)), {7: (text(0), "aa")}, NOW)
    assert not at.is_done(records, 7, text(0))
    assert at.digest_of(records, 7) == "aa"
    assert not at.is_new(records, 7, text(0))


def test_a_record_is_new_when_it_was_made_since_the_floor() -> None:
    records = at.marked(Records(floor=text(30)), {9: (text(9), "b")}, NOW)
    assert not at.is_new(records, 9, text(9))
    assert not at.is_new(records, 8, text(999))
    assert at.is_new(records, 13, text(1))


def test_a_model_that_could_not_be_read_begins_where_following_began() -> None:
    cursor = at.begun("shop", Start(text(500), 7))
    assert (cursor.of("sale.order"), cursor.tracking.floor) == (Records(text(500)), 7)


def test_what_was_behind_has_caught_up_after_a_pass() -> None:
    records = Records(floor=at.floor_at(NOW), behind=True)
    assert not at.passed(records, {}, NOW).behind


def test_what_is_older_than_the_floor_is_forgotten() -> None:
    records = Records(floor=text(100), seen={1: f"{text(50)}|a", 2: f"{text(10)}|b", 3: "-|c"})
    written = {1: text(50), 2: text(10), 3: text(1)}
    passed = at.passed(records, written, NOW)
    assert (passed.floor, set(passed.seen)) == (at.floor_at(NOW), {2, 3})


def test_an_idle_pass_has_nothing_to_store() -> None:
    records = Records(floor=at.floor_at(NOW), seen={2: f"{text(10)}|b"})
    assert at.passed(records, {2: text(10)}, NOW + timedelta(seconds=15)) == records


def test_a_stored_cursor_comes_back_the_same() -> None:
    records = {"sale.order": Records("2026-11-20 09:30:00", {1: "-|c"}, behind=True)}
    cursor = Cursor("shop", Start(text(9), 2), records, Tracking(3, {4: text(1)}), {"queue.job": text(2)})
    assert at.read_stored(json.loads(json.dumps(cursor.stored()))) == cursor
    first = at.begun("shop", Start(text(9), 2))
    assert at.read_stored(first.stored()) == first
