"""What people do with the quarantine: edit, replay, discard; and what two of them at once, or a crash, leave behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from collector.replay import READERS, Raw, Replayer
from correlator.record import Recorder
from milepost.catalog import loader
from milepost.clock import from_us
from milepost.db import tables as t
from milepost.decisions import access
from milepost.errors import Conflict, InvalidEvent, NotFound, Permanent, TooLarge
from milepost.inbox import identities, log, quarantine
from milepost.inbox.quarantine import Kind, Refusal, mend, room
from milepost.inbox.quarantine.mend import Wanted
from tests.served import STRUCTURED, collector

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
FIRST = NOW - timedelta(hours=30)
SOURCE = "/wms/north"
CATALOG = loader.load(loader.default_texts())
EMPTIED = (
    "input.quarantine", "input.quarantine_revisions", "input.quarantine_groups", "input.quarantine_hours",
    "input.event_log", "input.events", "input.audit", "input.api_keys", "input.identities_1",
)  # fmt: skip


def body(number: int = 1, **changes: Any) -> bytes:
    whole: dict[str, Any] = {"specversion": "1.0", "id": f"e{number}", "source": SOURCE, "type": "order.received"}
    whole["data"] = {"keys": {"order": f"S{number}"}}
    return json.dumps({name: value for name, value in (whole | changes).items() if value is not None}).encode()


class Desk:
    """A quarantine, a replayer and a recorder on one database."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.replayer = Replayer(engine, lambda _: CATALOG, lambda: NOW)
        self.recorder = Recorder(engine, lambda _: CATALOG, lambda: NOW)
        with engine.begin() as connection:
            identities.roll_over(connection, NOW, timedelta(days=30))

    def put(self, *bodies: bytes, kind: Kind = "malformed", reason: str = "no", **more: Any) -> list[int]:
        refusals = [Refusal(FIRST, SOURCE, kind, reason, None, one, "wms", **more) for one in bodies]
        with self.engine.begin() as connection:
            before = connection.scalar(sa.select(sa.func.max(t.quarantine.c.quarantine_id))) or 0
            quarantine.add(connection, refusals)
            numbers = sa.select(t.quarantine.c.quarantine_id).where(t.quarantine.c.quarantine_id > before)
            return list(connection.scalars(numbers.order_by(t.quarantine.c.quarantine_id)))

    def edit(self, number: int, text: bytes) -> int:
        with self.engine.begin() as connection:
            return mend.edit(connection, number, text, actor="Otto", now=NOW)

    def discard(self, wanted: Wanted, reason: str = "junk") -> int:
        with self.engine.begin() as connection:
            return mend.discard(connection, wanted, reason=reason, actor="Otto", now=NOW)

    def row(self, number: int) -> sa.RowMapping:
        with self.engine.connect() as connection:
            query = sa.select(t.quarantine).where(t.quarantine.c.quarantine_id == number)
            return connection.execute(query).mappings().one()

    def groups(self) -> list[tuple[str, str, int, int, int]]:
        g = t.quarantine_groups.c
        with self.engine.connect() as connection:
            query = sa.select(g.kind, g.rule, g.open, g.replayed, g.discarded).order_by(g.group_id)
            return [tuple(row) for row in connection.execute(query)]

    def logged(self) -> list[tuple[str, datetime]]:
        """The ids in the log, with their receive times; it is empty afterwards."""
        with self.engine.begin() as connection:
            entries = [entry for batch in log.consume(connection, 1000) for entry in batch.entries]
        return [(json.loads(entry.body)["id"], from_us(entry.received_us)) for entry in entries]

    def record(self) -> None:
        while self.recorder.step():
            pass

    def audited(self) -> list[tuple[str, str, dict[str, Any]]]:
        a = t.audit.c
        with self.engine.connect() as connection:
            query = sa.select(a.action, a.target, a.detail).where(a.action.startswith("quarantine."))
            return [tuple(row) for row in connection.execute(query.order_by(a.audit_id))]


@pytest.fixture
def desk(shared: sa.Engine) -> Desk:
    made = Desk(shared)
    with shared.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {', '.join(EMPTIED)} RESTART IDENTITY"))
    return made


def one(desk: Desk, number: int, **more: Any) -> tuple[str, str]:
    verdict = desk.replayer.one(number, actor="Otto", **more)
    return verdict.outcome, verdict.note


# --- groups ----------------------------------------------------------------------------------------------------------


def test_failures_of_one_sort_are_one_group(desk: Desk) -> None:
    desk.put(b"{}", b"{ }", reason='time: "2026" is no time')
    desk.put(b"[]", reason='time: "2027-01-01" is no time')
    desk.put(b"x", kind="forbidden", reason="this key may not")
    assert desk.groups() == [("malformed", 'time: "…" is no time', 3, 0, 0), ("forbidden", "this key may not", 1, 0, 0)]
    with desk.engine.connect() as connection:
        hours = connection.execute(sa.select(t.quarantine_hours.c.hour, t.quarantine_hours.c.refused)).all()
    assert [tuple(row) for row in hours] == [(FIRST, 3), (FIRST, 1)]


def test_collectors_that_refuse_the_same_at_once_count_all(desk: Desk) -> None:
    def refuse(number: int) -> None:
        desk_bodies = [b"%d-%d" % (number, index) for index in range(20)]
        refusals = [
            Refusal(FIRST, f"/s{index % 4}", "malformed", "no", None, one, None)
            for index, one in enumerate(desk_bodies)
        ]
        with desk.engine.begin() as connection:
            quarantine.add(connection, refusals if number % 2 else refusals[::-1])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(refuse, range(12)))
    assert [group[2] for group in desk.groups()] == [60, 60, 60, 60]


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_mended_event_goes_on_with_its_first_receive_time(desk: Desk) -> None:
    (number,) = desk.put(body(data={}))
    assert one(desk, number) == ("refused", "data.keys: an event needs at least one key or a correlationid")
    assert (desk.row(number).state, desk.row(number).outcome) == ("open", "refused")
    assert desk.edit(number, body()) == 1
    assert one(desk, number) == ("accepted", "")
    assert desk.logged() == [("e1", FIRST)]
    kept = desk.row(number)
    assert (kept.state, kept.outcome, kept.acted_by, kept.body) == ("replayed", "accepted", "Otto", body(data={}))
    assert desk.groups()[0][2:] == (0, 1, 0)
    assert [action for action, _, _ in desk.audited()] == [
        "quarantine.replayed", "quarantine.edited", "quarantine.replayed",
    ]  # fmt: skip


def test_the_second_replay_does_nothing(desk: Desk) -> None:
    (number,) = desk.put(body())
    assert one(desk, number)[0] == "accepted"
    with pytest.raises(Conflict, match="replayed already, by Otto"):
        desk.replayer.one(number, actor="Ada")
    assert len(desk.logged()) == 1


def test_two_replays_at_once_send_once(desk: Desk) -> None:
    numbers = desk.put(*(body(number) for number in range(40)))
    start = threading.Barrier(4)

    def replay(_: int) -> int:
        start.wait(20)
        return desk.replayer.many(Wanted(source=SOURCE), actor="Otto").outcomes["accepted"]

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(replay, range(4)))
    assert sum(done) == len(numbers)
    assert len(desk.logged()) == len(numbers)
    assert desk.groups()[0][2:] == (0, 40, 0)


def test_a_crash_in_between_leaves_neither(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (number,) = desk.put(body())

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mend, "settle", die)
    with pytest.raises(KeyboardInterrupt):
        desk.replayer.one(number, actor="Otto")
    assert (desk.logged(), desk.row(number).state) == ([], "open")
    monkeypatch.undo()
    assert one(desk, number)[0] == "accepted"
    assert len(desk.logged()) == 1


def test_what_is_stored_already_is_a_duplicate(desk: Desk) -> None:
    first, second = desk.put(body(), body())
    assert one(desk, first)[0] == "accepted"
    desk.record()
    assert one(desk, second) == ("duplicate", "")
    assert (desk.row(second).state, desk.logged()) == ("replayed", [])


def test_copies_in_one_replay_are_sent_once(desk: Desk) -> None:
    desk.put(body(), body(), body(type="order.cancelled"))
    report = desk.replayer.many(Wanted(kind="malformed"), actor="Otto")
    assert dict(report.outcomes) == {"accepted": 1, "duplicate": 1, "conflict": 1}
    assert len(desk.logged()) == 1


def test_a_dry_run_tells_and_writes_nothing(desk: Desk) -> None:
    desk.put(body(1), body(2, data={}), body(3, data={}))
    report = desk.replayer.many(Wanted(source=SOURCE), actor="Otto", dry_run=True)
    assert dict(report.outcomes) == {"accepted": 1, "refused": 2}
    assert list(report.notes.values()) == [2]
    assert (desk.logged(), desk.audited(), desk.groups()[0][2]) == ([], [], 3)


def test_thousands_are_replayed_in_steps(desk: Desk) -> None:
    desk.put(*(body(number) for number in range(1_200)))
    report = desk.replayer.many(Wanted(source=SOURCE), actor="Otto", limit=1_100)
    assert (report.outcomes["accepted"], report.more) == (1_100, True)
    report = desk.replayer.many(Wanted(source=SOURCE), actor="Otto")
    assert (report.outcomes["accepted"], report.more) == (100, False)
    assert len(desk.logged()) == 1_200


def test_large_bodies_are_replayed_a_few_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mend, "MAX_CHUNK_BYTES", 300)
    desk.put(*(body(number) for number in range(5)))
    with desk.engine.connect() as connection:
        assert len(mend.take(connection, Wanted(source=SOURCE), limit=10, lock=False).rows) == 2
    assert desk.replayer.many(Wanted(source=SOURCE), actor="Otto").outcomes["accepted"] == 5
    assert len(desk.logged()) == 5


def test_replays_and_refusals_at_once_don_t_block_each_other(desk: Desk) -> None:
    """They meet at the counts of groups, which are changed in one order."""
    reasons = [chr(ord("a") + number) for number in (3, 1, 2, 0)]

    def refuse(number: int) -> None:
        refusals = [Refusal(FIRST, SOURCE, "malformed", reason, None, b"%d" % number, None) for reason in reasons]
        with desk.engine.begin() as connection:
            quarantine.add(connection, refusals)

    def discard(_: int) -> None:
        desk.discard(Wanted(source=SOURCE))

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(refuse if number % 2 else discard, number) for number in range(80)]
        for one_done in done:
            one_done.result(60)
    desk.discard(Wanted(source=SOURCE))
    assert [group[2:] for group in desk.groups()] == [(0, 0, 40)] * 4


def test_nobody_means_everything_by_leaving_it_out(desk: Desk) -> None:
    with pytest.raises(Permanent, match="say which ones"):
        desk.replayer.many(Wanted(), actor="Otto")


def test_there_must_be_such_a_row(desk: Desk) -> None:
    with pytest.raises(NotFound):
        desk.replayer.one(99, actor="Otto")


# --- ways, rights, conflicts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "outcome"), [("json", "accepted"), ("events", "refused")])
def test_what_may_be_left_out_depends_on_the_way(desk: Desk, way: str, outcome: str) -> None:
    (number,) = desk.put(body(id=None, source=None), way=way)
    assert one(desk, number)[0] == outcome


def test_a_raw_payload_is_read_again_by_its_way(desk: Desk) -> None:
    def shop(raw: Raw) -> list[bytes]:
        assert (raw.detail, raw.context, raw.received_at) == ("shop", {"topic": "orders/create"}, FIRST)
        if raw.body == b"broken":
            raise InvalidEvent("mapping shop: no id")
        return [body(int(raw.body)), body(int(raw.body) + 1)]

    replayer = Replayer(desk.engine, lambda _: CATALOG, lambda: NOW, readers={**READERS, "test": shop})
    context = {"topic": "orders/create"}
    good, bad = desk.put(b"7", b"broken", kind="mapping", way="test:shop", context=context)
    verdict = replayer.one(good, actor="Otto")
    assert (verdict.outcome, verdict.events) == ("accepted", ["e7", "e8"])
    assert replayer.one(bad, actor="Otto").note == "mapping shop: no id"
    assert one(desk, bad) == ("refused", "nothing here reads what came by test:shop")
    assert desk.logged() == [("e7", FIRST), ("e8", FIRST)]


def test_what_was_forbidden_stays_so_until_the_key_may_or_somebody_vouches(desk: Desk) -> None:
    with desk.engine.begin() as connection:
        key = access.create_key(
            connection, name="wms", sources=["/wms/south"], types=["*"], scopes=["send"], expires_at=None,
            actor="test", now=FIRST,
        )  # fmt: skip
    first, second = desk.put(body(1), body(2), kind="forbidden", key_id=key.key_id)
    assert one(desk, first) == ("refused", f'this key may not send "order.received" as source "{SOURCE}"')
    assert one(desk, first, vouch=True)[0] == "accepted"
    assert desk.audited()[-1][2] == {"accepted": 1, "vouched": True}
    with desk.engine.begin() as connection:
        connection.execute(sa.update(t.api_keys).values(sources=["/wms/*"], revoked_at=NOW))
    assert one(desk, second)[0] == "accepted"


def test_an_edit_gives_no_rights(desk: Desk) -> None:
    (number,) = desk.put(body())
    desk.edit(number, body(source="odoo"))
    assert one(desk, number)[0] == "refused"


def test_of_two_versions_the_first_stands_and_the_other_may_become_an_event_of_its_own(desk: Desk) -> None:
    (first,) = desk.put(body())
    one(desk, first)
    desk.record()
    with desk.engine.begin() as connection:
        log.append(connection, _entries(body(type="order.cancelled")))
    desk.record()
    number = first + 1
    assert (desk.row(number).kind, desk.row(number).event_id) == ("conflict", "e1")
    assert one(desk, number)[0] == "conflict"
    assert desk.row(number).state == "open"
    verdict = desk.replayer.one(number, actor="Otto", new_id=True)
    assert verdict.outcome == "accepted"
    (name,) = verdict.events
    assert name > "e1"
    assert name.startswith("e1~")
    desk.record()
    with desk.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(t.events)) == 2


def _entries(text: bytes) -> Any:
    from collector.ingest import validate
    from collector.replay import _Rights
    from milepost.clock import to_us

    return validate([text], received_us=to_us(FIRST), sender=_Rights(SOURCE, None, True)).entries


def test_a_touch_that_was_set_aside_waits_for_a_rebuild(desk: Desk) -> None:
    (number,) = desk.put(body(), kind="failed", way="touch")
    outcome, note = one(desk, number)
    assert outcome == "refused"
    assert "rebuild" in note


# --- edit, discard ---------------------------------------------------------------------------------------------------


def test_what_came_is_never_changed(desk: Desk) -> None:
    (number,) = desk.put(b"\xff\x00")
    assert [desk.edit(number, text) for text in (b"1", b"1", b"2")] == [1, 1, 2]
    assert desk.row(number).body == b"\xff\x00"
    with pytest.raises(TooLarge):
        desk.edit(number, b" " * (mend.MAX_REVISION_BYTES + 1))


def test_what_is_closed_stays_as_it_is(desk: Desk) -> None:
    (number,) = desk.put(body())
    assert desk.discard(Wanted(ids=[number])) == 1
    acts: list[Callable[[], Any]] = [lambda: desk.edit(number, b"{}"), lambda: desk.replayer.one(number, actor="Otto")]
    for act in acts:
        with pytest.raises(Conflict, match="discarded already"):
            act()
    assert desk.discard(Wanted(ids=[number])) == 0


def test_a_discard_says_why_and_is_counted(desk: Desk) -> None:
    numbers = desk.put(b"1", b"2", b"3")
    with pytest.raises(Permanent, match="why"):
        desk.discard(Wanted(ids=numbers[:1]), reason=" ")
    assert desk.discard(Wanted(ids=numbers[:2]), reason="test data") == 2
    assert desk.groups()[0][2:] == (1, 0, 2)
    assert (desk.row(numbers[0]).state, desk.row(numbers[0]).note) == ("discarded", "test data")
    assert desk.audited() == [
        ("quarantine.discarded", f"quarantine {numbers[0]} {numbers[1]}", {"rows": 2, "reason": "test data"})
    ]


def test_identities_are_looked_up_without_being_claimed(desk: Desk) -> None:
    with desk.engine.begin() as connection:
        assert identities.look_up(connection, [b"x" * 16]) == {}
        assert identities.claim(connection, {b"x" * 16: 7}).new
        assert identities.look_up(connection, [b"x" * 16, b"y" * 16]) == {b"x" * 16: 7}


# --- room ------------------------------------------------------------------------------------------------------------


def test_what_is_closed_goes_after_a_time_and_what_is_open_never(desk: Desk) -> None:
    numbers = desk.put(*(body(number) for number in range(4)))
    desk.edit(numbers[0], b"{}")
    desk.discard(Wanted(ids=numbers[:2]))
    one(desk, numbers[2])
    with desk.engine.begin() as connection:
        assert room.drop_closed(connection, NOW) == 0
        assert room.drop_closed(connection, NOW + timedelta(seconds=1)) == 3
        assert connection.scalar(sa.select(sa.func.count()).select_from(t.quarantine_revisions)) == 0
    assert desk.groups() == [("malformed", "no", 1, 0, 0)]
    desk.discard(Wanted(ids=numbers[3:]))
    with desk.engine.begin() as connection:
        assert room.drop_closed(connection, NOW + timedelta(days=1)) == 1
    assert desk.groups() == []


def test_a_full_quarantine_thins_what_its_senders_were_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KEPT_EACH", 5)
    monkeypatch.setattr(room, "STEP", 8)
    told = desk.put(*(b"%d" % number for number in range(30)))
    desk.put(*(b"%d" % number for number in range(10)), kind="forbidden")
    desk.put(*(b"%d" % number for number in range(20)), kind="mapping", way="hook:shop")
    desk.put(*(b"%d" % number for number in range(20)), reason="edi", way="edi:partner")
    taken = []
    with desk.engine.begin() as connection:
        while step := room.thin(connection, 50, NOW):
            taken.append(step)
    assert sum(taken) == 30
    assert max(taken) <= 8
    kept = {(kind, rule): number for kind, rule, number, _, _ in desk.groups()}
    assert kept == {("malformed", "no"): 5, ("forbidden", "no"): 5, ("mapping", "no"): 20, ("malformed", "edi"): 20}
    g = t.quarantine_groups.c
    with desk.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.sum(g.thinned))) == 30
        left = connection.scalars(sa.select(t.quarantine.c.quarantine_id)).all()
    assert set(told) & set(left) == set(told[-5:])
    assert desk.audited()[0][:2] == ("quarantine.thinned", "group 1")


def test_a_repetition_is_counted_where_it_is_not_kept(database: str, engine: sa.Engine) -> None:
    """At the latest when the collector stops."""
    with collector(database) as served:
        answers = [served.send(body(data={}), STRUCTURED).status_code for _ in range(3)]
    assert answers == [422, 422, 422]
    g = t.quarantine_groups.c
    with engine.connect() as connection:
        found = connection.execute(sa.select(g.kind, g.source, g.open, g.repeated, g.unkept)).all()
        refused = connection.scalar(sa.select(sa.func.sum(t.quarantine_hours.c.refused)))
    assert [tuple(row) for row in found] == [("malformed", SOURCE, 1, 2, 0)]
    assert refused == 3
