"""How a cursor of the Odoo poller moves on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from collector.odoo import cursor as at
from collector.odoo.cursor import OVERLAP, Cursor, Records, Tracking

NOW = datetime(2026, 11, 20, 10, 0, 30, tzinfo=UTC)


def text(minutes: float) -> str:
    """Odoo's text of so many minutes before NOW."""
    return at.odoo_text(NOW - timedelta(minutes=minutes))


def test_the_floor_follows_in_whole_minutes() -> None:
    assert at.floor_at(NOW) == "2026-11-20 09:30:00"
    assert at.floor_at(NOW) == at.floor_at(NOW + timedelta(seconds=20))


def test_state_changes_stay_remembered_until_they_are_old() -> None:
    done = {1: text(90), 2: text(40), 3: text(5), 5: text(1)}
    tracking = at.tracked(Tracking(), done, NOW)
    assert tracking == Tracking(floor=2, seen={3: text(5), 5: text(1)})
    later = at.tracked(tracking, {4: text(3)}, NOW)
    assert later.seen.keys() == {3, 4, 5}
    assert at.tracked(later, {}, NOW + OVERLAP) == Tracking(floor=5, seen={})


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


def test_the_first_pass_goes_by_id_and_then_by_time() -> None:
    begun = Records(begun=at.odoo_text(NOW))
    page = at.first_pass(at.marked(begun, {8: (text(999), "a"), 9: (text(9), "b")}, NOW), 9, complete=False)
    assert (page.after, page.floor, set(page.seen)) == (9, "", {9})
    assert at.is_new(page, 1, text(999))
    ended = at.first_pass(page, 12, complete=True)
    assert (ended.after, ended.floor) == (0, at.floor_at(NOW))
    assert not at.is_new(ended, 9, text(9))
    assert not at.is_new(ended, 8, text(999))
    assert at.is_new(ended, 13, text(1))


def test_what_is_older_than_the_floor_is_forgotten() -> None:
    records = Records(floor=text(100), seen={1: f"{text(50)}|a", 2: f"{text(10)}|b", 3: "-|c"})
    written = {1: text(50), 2: text(10), 3: text(1)}
    passed = at.passed(records, written, NOW)
    assert (passed.floor, set(passed.seen)) == (at.floor_at(NOW), {2, 3})


def test_an_idle_pass_has_nothing_to_store() -> None:
    records = Records(floor=at.floor_at(NOW), seen={2: f"{text(10)}|b"})
    assert at.passed(records, {2: text(10)}, NOW + timedelta(seconds=15)) == records


def test_a_stored_cursor_comes_back_the_same() -> None:
    records = {"sale.order": Records("2026-11-20 09:30:00", "", 4, {1: "-|c"})}
    cursor = Cursor("shop", records, Tracking(3, {4: text(1)}))
    assert at.read_stored(json.loads(json.dumps(cursor.stored()))) == cursor
    assert at.read_stored(Cursor("shop").stored()) == Cursor("shop")
