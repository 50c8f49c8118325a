"""What keeps the collector upright: bounded decompression, rates, the quarantine's allowance, the memory of keys."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from collector import encoding
from collector.ingest import Rejection
from collector.intake import Room
from collector.keys import KeyRing
from collector.metrics import Metrics
from collector.rates import Buckets
from collector.refusals import REPEAT_AFTER, Gate
from milepost import auth
from milepost.auth import ApiKey
from milepost.errors import (
    MalformedBody,
    NotAuthenticated,
    Overloaded,
    RateLimited,
    TooLarge,
    Unavailable,
    UnsupportedFormat,
)
from milepost.guard import Guard
from milepost.inbox.quarantine import Tallies

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
PACK = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor().compress}


def key(key_id: str = "k1", secret: str = "s") -> ApiKey:
    return ApiKey(key_id, auth.hash_secret(secret), "north", ("/n",), ("*",), frozenset({"send"}), None, None)


# --- decompression ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", PACK)
@given(parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=4))
def test_packed_is_unpacked(coding: str, parts: list[bytes]) -> None:
    packed = b"".join(map(PACK[coding], parts))
    assert encoding.decompress(packed, coding, 20_000) == b"".join(parts)


@pytest.mark.parametrize("coding", PACK)
def test_the_limit_is_exact(coding: str) -> None:
    packed = PACK[coding](random.Random(1).randbytes(10_000))
    assert len(encoding.decompress(packed, coding, 10_000)) == 10_000
    with pytest.raises(TooLarge):
        encoding.decompress(packed, coding, 9_999)


@pytest.mark.parametrize("coding", PACK)
def test_cut_off_anywhere_is_noticed(coding: str) -> None:
    """Else NDJSON cut at a line's end would lose events without a word."""
    packed = PACK[coding](b'{"a":1}\n' * 2000)
    for length in range(len(packed)):
        with pytest.raises(MalformedBody):
            encoding.decompress(packed[:length], coding, 100_000)


@pytest.mark.parametrize("coding", PACK)
def test_what_follows_must_be_packed_too(coding: str) -> None:
    with pytest.raises(MalformedBody):
        encoding.decompress(PACK[coding](b"x") + b"rubbish", coding, 100)


@pytest.mark.parametrize("coding", PACK)
def test_a_million_empty_parts_are_refused_early(coding: str) -> None:
    with pytest.raises(MalformedBody, match="more than 1000 parts"):
        encoding.decompress(PACK[coding](b"") * 100_000, coding, 100)


@pytest.mark.parametrize(
    ("given_name", "plain"), [("", None), ("identity", None), (" GZIP ", "gzip"), ("zstd", "zstd")]
)
def test_known_encodings(given_name: str, plain: str | None) -> None:
    assert encoding.known(given_name) == plain


@pytest.mark.parametrize("name", ["br", "gzip, zstd", "deflate"])
def test_unknown_encodings(name: str) -> None:
    with pytest.raises(UnsupportedFormat, match="send one of gzip, zstd, identity"):
        encoding.known(name)


# --- rates and memory -------------------------------------------------------------------------------------------------


def test_a_bucket_is_overdrawn_once_and_pays_off_its_debt() -> None:
    buckets = Buckets(10, 10)
    assert buckets.wait("a", NOW) == 0
    buckets.take("a", 25, NOW)
    assert buckets.wait("a", NOW) == pytest.approx(1.6)
    assert buckets.wait("b", NOW) == 0
    assert buckets.wait("a", NOW + timedelta(seconds=1.4)) > 0
    assert buckets.wait("a", NOW + timedelta(seconds=1.6)) == 0


def test_a_bucket_does_not_save_more_than_its_burst() -> None:
    buckets = Buckets(10, 10)
    buckets.take("a", 1, NOW)
    later = NOW + timedelta(days=1)
    buckets.take("a", 10, later)
    assert buckets.wait("a", later) > 0


def test_a_clock_set_back_takes_no_tokens_away() -> None:
    buckets = Buckets(10, 10)
    buckets.take("a", 5, NOW)
    assert buckets.wait("a", NOW - timedelta(hours=1)) == 0


def test_a_debt_ends_though_the_clock_was_set_back() -> None:
    buckets = Buckets(10, 10)
    buckets.take("a", 25, NOW)
    before = NOW - timedelta(days=1)
    assert buckets.wait("a", before) == pytest.approx(1.6)
    assert buckets.wait("a", before + timedelta(seconds=1.6)) == 0


def test_room_takes_one_body_of_any_size_and_then_only_what_fits() -> None:
    room = Room(100)
    room.take(150)
    with pytest.raises(Overloaded):
        room.take(1)
    room.give(150)
    room.take(60)
    room.take(40)
    with pytest.raises(Overloaded):
        room.take(1)


# --- what quarantine keeps --------------------------------------------------------------------------------------------


def refused(body: bytes, error: str = "why") -> Rejection:
    return Rejection(0, None, error, body, None)


def test_a_repetition_is_kept_again_after_an_hour() -> None:
    gate = Gate(Metrics())
    gate.remember(gate.admit(key(), [refused(b"x")], NOW))
    assert gate.admit(key(), [refused(b"x")], NOW + REPEAT_AFTER / 2) == []
    assert len(gate.admit(key(), [refused(b"x", "another reason")], NOW)) == 1
    assert len(gate.admit(key("k2"), [refused(b"x")], NOW)) == 1
    assert len(gate.admit(key(), [refused(b"x")], NOW + REPEAT_AFTER)) == 1


def test_a_refusal_that_was_not_committed_is_no_repetition() -> None:
    gate = Gate(Metrics())
    assert len(gate.admit(key(), [refused(b"x")], NOW)) == 1
    assert len(gate.admit(key(), [refused(b"x")], NOW)) == 1


@pytest.mark.parametrize("changes", [{"way": "hook:shop"}, {"context": {"headers": {"x-topic": "b"}}}, {"id": "7"}])
def test_what_is_read_otherwise_is_no_repetition(changes: dict[str, Any]) -> None:
    gate, one = Gate(Metrics()), refused(b"x")
    gate.remember(gate.admit(key(), [one], NOW))
    assert len(gate.admit(key(), [replace(one, **changes)], NOW)) == 1
    assert gate.admit(key(), [replace(one, context={"correlation": "another trace"})], NOW) == []


def test_what_a_sender_was_told_is_taken_needs_no_allowance() -> None:
    gate = Gate(Metrics(), burst=1000, per_second=1)
    kept = gate.admit(key(), [refused(b"x" * 900), refused(b"y" * 900), refused(b"z")], NOW, unread=2)
    assert [one.body[:1] for one in kept] == [b"x", b"y"]


def test_a_broken_sender_has_an_allowance_and_the_others_have_theirs() -> None:
    metrics = Metrics()
    gate = Gate(metrics, burst=3000, per_second=100)
    bodies = [refused(b"%04d" % number * 250) for number in range(10)]
    assert len(gate.admit(key(), bodies, NOW)) == 3
    assert len(gate.admit(key("k2"), bodies[:1], NOW)) == 1
    assert len(gate.admit(key(), [refused(b"later")], NOW + timedelta(minutes=1))) == 1
    text = metrics.text().decode()
    assert 'milepost_collector_refusals_not_kept_total{why="allowance"} 7.0' in text


def test_what_the_allowance_kept_out_is_no_repetition() -> None:
    gate = Gate(Metrics(), burst=1000, per_second=100)
    gate.admit(key(), [refused(b"x" * 2000)], NOW)
    assert gate.admit(key(), [refused(b"y")], NOW) == []
    assert len(gate.admit(key(), [refused(b"y")], NOW + timedelta(minutes=1))) == 1


def test_what_is_not_kept_is_counted_by_group() -> None:
    gate = Gate(Metrics(), burst=1000, per_second=100)
    gate.admit(key(), [refused(b"x" * 2000, 'no "1"'), refused(b"x" * 2000, 'no "1"')], NOW)
    gate.admit(key(), [refused(b"y", 'no "2"'), refused(b"z", "else")], NOW)
    written: list[Tallies] = []

    def away(_: Tallies) -> None:
        raise Unavailable("away")

    asyncio.run(gate.flush(away))
    asyncio.run(gate.flush(written.append))
    asyncio.run(gate.flush(written.append))
    (tallies,) = written
    assert {group.rule: (one.repeated, one.unkept) for (group, _), one in tallies.items()} == {
        'no "…"': (1, 1), "else": (0, 1),
    }  # fmt: skip


# --- keys -------------------------------------------------------------------------------------------------------------


class Book:
    """A store in memory that counts look-ups and can be away."""

    def __init__(self, *keys: ApiKey) -> None:
        self.keys = {one.key_id: one for one in keys}
        self.asked: list[str] = []
        self.touched: dict[str, datetime] = {}
        self.away = False

    def find_key(self, key_id: str) -> ApiKey | None:
        self.asked.append(key_id)
        if self.away:
            raise Unavailable("away")
        return self.keys.get(key_id)

    def key_ids(self) -> list[str]:
        return list(self.keys)

    def count_refusals(self, tallies: Tallies) -> None:
        raise NotImplementedError

    def touch_keys(self, used: Mapping[str, datetime]) -> None:
        if self.away:
            raise Unavailable("away")
        self.touched |= used

    def check_ready(self) -> None:
        return


def go(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def test_a_key_is_looked_up_once_in_its_time() -> None:
    book = Book(key())
    ring = KeyRing(book, ttl=timedelta(seconds=5))

    async def ask() -> None:
        await asyncio.gather(*(ring.authenticate("mp_k1_s", NOW) for _ in range(20)))
        assert book.asked == ["k1"]
        await ring.authenticate("mp_k1_s", NOW + timedelta(seconds=4))
        assert book.asked == ["k1"]
        await ring.authenticate("mp_k1_s", NOW + timedelta(seconds=5))
        assert book.asked == ["k1", "k1"]

    go(ask())


def test_a_revoked_key_stops_working_though_the_clock_was_set_back() -> None:
    book = Book(key())
    ring = KeyRing(book)

    async def ask() -> None:
        await ring.authenticate("mp_k1_s", NOW)
        book.keys.clear()
        with pytest.raises(NotAuthenticated):
            await ring.authenticate("mp_k1_s", NOW - timedelta(hours=1))

    go(ask())


@pytest.mark.parametrize(
    "presented", ["", "mp_", "mp_k1", "x", "mp_k1_s_x", f"mp_{'k' * 65}_s", "mp_k\x00_s", "mp_k1_wrong"]
)
def test_what_is_no_key_is_refused(presented: str) -> None:
    ring = KeyRing(Book(key()))
    with pytest.raises(NotAuthenticated):
        go(ring.authenticate(presented, NOW))


def test_unknown_keys_are_remembered_in_bounded_number() -> None:
    book = Book(key())
    ring = KeyRing(book, remember=10)

    async def ask() -> None:
        await ring.authenticate("mp_k1_s", NOW)
        for number in [*range(50), 49]:
            with pytest.raises(NotAuthenticated):
                await ring.authenticate(f"mp_guess{number}_s", NOW)
        await ring.authenticate("mp_k1_s", NOW)
        assert len(book.asked) == 51, "the last guess and the real key were remembered"
        assert len(ring._known) == 10

    go(ask())


def test_guesses_at_once_are_bounded_and_known_keys_go_first() -> None:
    book = Book(key())
    ring = KeyRing(book, strangers=4)

    async def ask() -> None:
        await ring.authenticate("mp_k1_s", NOW)
        guesses = [ring.authenticate(f"mp_guess{number}_s", NOW) for number in range(20)]
        known = ring.authenticate("mp_k1_s", NOW + timedelta(hours=1))
        *answers, mine = await asyncio.gather(*guesses, known, return_exceptions=True)
        assert [type(answer) for answer in answers].count(Overloaded) == 16
        assert mine == key()

    go(ask())


def test_after_many_guesses_unknown_keys_cost_no_look_up_and_new_ones_come_through() -> None:
    book = Book(key())
    ring = KeyRing(book, guard=Guard(per_address=3))

    async def ask() -> None:
        for number in range(3):
            with pytest.raises(NotAuthenticated):
                await ring.authenticate(f"mp_guess{number}_s", NOW, "192.0.2.1")
        for number in range(3, 9):
            with pytest.raises(RateLimited):
                await ring.authenticate(f"mp_guess{number}_s", NOW, "192.0.2.1")
        assert len(book.asked) == 3
        assert await ring.authenticate("mp_k1_s", NOW, "192.0.2.1") == key()
        book.keys["k2"] = key("k2")
        later = NOW + timedelta(seconds=6)
        assert await ring.authenticate("mp_k2_s", later, "192.0.2.1") == key("k2")
        with pytest.raises(NotAuthenticated):
            await ring.authenticate("mp_k2_wrong", later, "192.0.2.1")

    go(ask())


def test_a_store_that_is_away_is_not_taken_for_an_unknown_key() -> None:
    book = Book(key())
    book.away = True
    ring = KeyRing(book)

    async def ask() -> None:
        with pytest.raises(Unavailable):
            await ring.authenticate("mp_k1_s", NOW)
        book.away = False
        assert await ring.authenticate("mp_k1_s", NOW) == key()

    go(ask())


def test_uses_are_written_together_and_not_lost_when_the_store_is_away() -> None:
    book = Book(key(), key("k2"))
    ring = KeyRing(book)

    async def ask() -> None:
        await ring.authenticate("mp_k1_s", NOW)
        book.away = True
        await ring.flush()
        book.away = False
        await ring.authenticate("mp_k2_s", NOW + timedelta(seconds=1))
        await ring.flush()

    go(ask())
    assert book.touched == {"k1": NOW, "k2": NOW + timedelta(seconds=1)}
