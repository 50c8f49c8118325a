"""The audit's chain on a real database: what is tampered with is found, and where."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from milepost.decisions import audit
from tests.threads import at_once

NOW = datetime(2026, 11, 20, 10, 0, 2, 120, tzinfo=UTC)


@pytest.fixture
def connection(shared: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that is taken back: the chain is empty again for the next test."""
    with shared.connect() as made:
        yield made
        made.rollback()


def fill(connection: sa.Connection, count: int = 5) -> None:
    for index in range(count):
        detail = {"index": index, "name": 'Žofia \u2028 "x"', "many": ["b", "a"], "none": None, "odd": 1.50}
        at = NOW + timedelta(minutes=index)
        audit.record(connection, actor="ann", action="key.created", target=f"k{index}", now=at, detail=detail)


def test_an_untouched_chain_is_good(connection: sa.Connection) -> None:
    assert audit.verify(connection) == audit.Verdict(0, audit.FIRST)
    fill(connection)
    verdict = audit.verify(connection)
    last = audit.lines(connection)[-1]
    assert (verdict.rows, verdict.head, verdict.problem) == (5, last.hash, None)


def test_an_outsider_can_check_it_with_a_few_lines(connection: sa.Connection) -> None:
    """As docs/how-to/keys-and-users.md states the form, with nothing of Milepost's."""
    fill(connection, 3)
    rows = connection.execute(sa.text("SELECT * FROM input.audit ORDER BY audit_id")).mappings().all()
    previous = bytes(32)
    for row in rows:
        at = row["at"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        names = ("audit_id", "actor", "action", "target", "detail")
        content = {**{name: row[name] for name in names}, "at": at, "previous": previous.hex()}
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        previous = hashlib.sha256(text.encode()).digest()
        assert row["hash"] == previous


CHANGES = {
    "the actor": "UPDATE input.audit SET actor = 'bob' WHERE audit_id = 3",
    "the time": "UPDATE input.audit SET at = at + interval '1 microsecond' WHERE audit_id = 3",
    "the action": "UPDATE input.audit SET action = 'key.revoked' WHERE audit_id = 3",
    "the target": "UPDATE input.audit SET target = 'k9' WHERE audit_id = 3",
    "a detail": "UPDATE input.audit SET detail = detail || '{\"index\": 7}' WHERE audit_id = 3",
    "a detail more": "UPDATE input.audit SET detail = detail || '{\"more\": 7}' WHERE audit_id = 3",
    "the hash": "UPDATE input.audit SET hash = sha256('x') WHERE audit_id = 3",
    "the hash before": "UPDATE input.audit SET previous = sha256('x') WHERE audit_id = 3",
    "the row is gone": "DELETE FROM input.audit WHERE audit_id = 3",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_at_its_place(connection: sa.Connection, change: str) -> None:
    fill(connection)
    connection.execute(sa.text(CHANGES[change]))
    verdict = audit.verify(connection)
    assert verdict.rows == 2
    assert verdict.problem is not None
    assert "row 3" in verdict.problem


def test_a_row_written_anew_no_longer_fits_the_next(connection: sa.Connection) -> None:
    fill(connection)
    line = audit.lines(connection)[2]
    forged = audit.hash_of({**line.content(), "actor": "bob"})
    change = sa.text("UPDATE input.audit SET actor = 'bob', hash = :hash WHERE audit_id = 3")
    connection.execute(change, {"hash": forged})
    verdict = audit.verify(connection)
    assert verdict.problem is not None
    assert verdict.problem.startswith("row 4")


def test_the_first_rows_may_not_be_missing(connection: sa.Connection) -> None:
    fill(connection)
    connection.execute(sa.text("DELETE FROM input.audit WHERE audit_id <= 2"))
    verdict = audit.verify(connection)
    assert verdict.problem is not None
    assert verdict.problem.startswith("rows 1 to 2 before row 3")


def test_a_head_that_was_kept_tells_that_the_end_was_cut_off(connection: sa.Connection) -> None:
    fill(connection)
    head = audit.verify(connection).head
    assert audit.verify(connection, head=head).problem is None
    fill(connection, 1)
    assert audit.verify(connection, head=head).problem is None
    connection.execute(sa.text("DELETE FROM input.audit WHERE audit_id >= 5"))
    cut = audit.verify(connection, head=head)
    assert cut.rows == 4
    assert cut.problem is not None
    assert "removed" in cut.problem


def test_those_who_write_at_once_make_one_chain(engine: sa.Engine) -> None:
    def write() -> None:
        for _ in range(5):
            with engine.begin() as connection:
                fill(connection, 1)

    at_once(*[write] * 4)
    with engine.connect() as connection:
        verdict = audit.verify(connection)
    assert (verdict.rows, verdict.problem) == (20, None)


def test_an_act_that_is_rolled_back_leaves_no_gap(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        fill(connection, 2)
        connection.rollback()
        fill(connection, 1)
        connection.commit()
        assert audit.verify(connection).rows == 1


def test_what_the_database_cannot_hold_is_written_as_it_can(connection: sa.Connection) -> None:
    odd = {"nul": "a\0b", "lone": "\ud800", "when": NOW, "set": frozenset({"x"})}
    audit.record(connection, actor="a\0", action="key.created", target="\udfff", now=NOW, detail=odd)
    assert audit.verify(connection).problem is None


def test_lines_are_found_by_actor_action_and_time(connection: sa.Connection) -> None:
    fill(connection, 3)
    audit.record(connection, actor="bob", action="user.created", target="jo", now=NOW + timedelta(hours=1))

    def found(**by: object) -> list[int]:
        return [line.audit_id for line in audit.lines(connection, **by)]  # type: ignore[arg-type]

    assert found() == [1, 2, 3, 4]
    assert found(limit=2) == [3, 4]
    assert found(actor="bob") == [4]
    assert found(action="key") == [1, 2, 3]
    assert found(action="user.created") == [4]
    assert found(since=NOW + timedelta(minutes=2)) == [3, 4]
