"""The spool on disk: what is flushed is found again, whatever the end of a file looks like."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import spool
from collector.spool import Record, Spool, parse
from milepost.errors import Overloaded

RECORDS = st.lists(
    st.builds(
        Record,
        st.sampled_from([b"E", b"R"]),
        st.integers(1, 1000),
        st.integers(0, 2**60),
        st.one_of(st.binary(max_size=300), st.just(b"MPs1" * 20)),
    ),
    min_size=1,
    max_size=6,
)


def record(number: int, size: int = 10) -> Record:
    return Record(b"E", 1, number, b"%d" % number * size)


def opened(root: Path, limit: int = 10**6, **options: int) -> Spool:
    made = Spool(root, limit, **options)
    made.open()
    return made


def drained(one: Spool) -> list[Record]:
    found: list[Record] = []
    while (segment := one.first()) is not None:
        found += one.load(segment).records
        one.done(segment)
    return found


# --- what a file holds ------------------------------------------------------------------------------------------------


@given(RECORDS, st.integers(0, 10**6), st.booleans())
def test_a_torn_end_costs_the_torn_record_only(records: list[Record], cut: int, zeros: bool) -> None:
    whole = b"".join(one.encoded() for one in records)
    at = cut % len(whole)
    kept, size = [], 0
    for one in records:
        size += len(one.encoded())
        if size <= at:
            kept.append(one)
    torn = whole[:at] + (b"\x00" * (len(whole) - at) if zeros and at == sum(len(o.encoded()) for o in kept) else b"")
    assert parse(torn) == (kept, 0)


@given(RECORDS, st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_costs_the_record_that_it_is_in(records: list[Record], where: int, mask: int) -> None:
    data = bytearray(b"".join(one.encoded() for one in records))
    at = where % len(data)
    data[at] ^= mask
    hit = next(n for n in range(len(records)) if at < sum(len(one.encoded()) for one in records[: n + 1]))
    content = parse(bytes(data))
    assert content.records == records[:hit] + records[hit + 1 :]
    # a length that reaches beyond the end looks like a crash's torn end; everything else is told
    assert content.damaged or hit == len(records) - 1


# --- one collector's folder -------------------------------------------------------------------------------------------


def test_what_was_flushed_is_there_after_a_crash(tmp_path: Path) -> None:
    first = opened(tmp_path, segment_bytes=40)
    sent = [record(number) for number in range(5)]
    for one in sent:
        first.append([one])
    assert (first.events, first.oldest_us) == (5, 0)
    name = first.name
    first.close()
    again = opened(tmp_path)
    assert (again.name, again.events, again.oldest_us) == (name, 5, 0)
    again.append([record(9)])
    assert drained(again) == [*sent, record(9)]
    assert (again.size, again.oldest_us, bool(again)) == (0, None, False)


def test_it_takes_what_fits_and_no_more(tmp_path: Path) -> None:
    one = opened(tmp_path, limit=200)
    one.append([record(1)])
    with pytest.raises(Overloaded):
        one.append([record(2, 300)])
    one.append([record(3)])
    assert drained(one) == [record(1), record(3)]


def test_each_collector_has_a_folder_of_its_own_and_adopts_that_of_a_dead_one(tmp_path: Path) -> None:
    dead, living = opened(tmp_path), opened(tmp_path)
    assert dead.name != living.name
    dead.append([record(1)])
    living.append([record(2)])
    assert living.adopt() == [], "it is not dead yet"
    dead.close()
    assert living.adopt() == [dead.name]
    assert living.oldest_us == 1
    living.append([record(3)])
    assert sorted(drained(living)) == [record(1), record(2), record(3)]
    assert [path.name for path in tmp_path.iterdir()] == [living.name]


def test_what_can_not_be_read_is_kept_aside(tmp_path: Path) -> None:
    one = opened(tmp_path)
    one.append([record(1)])
    one.append([record(2)])
    segment = one.first()
    assert segment is not None
    data = bytearray(segment.path.read_bytes())
    data[25] ^= 1
    segment.path.write_bytes(data)
    content = one.load(segment)
    assert content.records == [record(2)]
    assert content.damaged
    one.done(segment, damaged=True)
    assert not one
    assert [path.suffix for path in one.folder.iterdir() if path.name != "lock"] == [".aside"]


_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from collector.spool import Spool, Record
from milepost.errors import Unavailable
one = Spool(Path(sys.argv[1]), 10**6)
one.open()
one.append([Record(b"E", 1, 1, b"before")])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
try:
    one.append([Record(b"E", 1, 2, b"x" * 200)])
except Unavailable as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
one.append([Record(b"E", 1, 3, b"after")])
"""


def test_a_full_disk_takes_nothing_half(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _ON_A_FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert "can't be written: File too large" in done.stdout
    assert [one.payload for one in drained(opened(tmp_path))] == [b"before", b"after"]


# --- killed at any step -----------------------------------------------------------------------------------------------

STEPS = ("open", "pwrite", "fdatasync", "fsync", "close")


class Killed:
    """`os` that ends the process at its `last` step; a write that it ends in is half done."""

    def __init__(self, last: int) -> None:
        self._left = last

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return partial(self._step, name, real) if name in STEPS else real

    def _step(self, name: str, real: Callable[..., Any], *arguments: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            if name == "pwrite":
                descriptor, data, at = arguments
                os.pwrite(descriptor, data[: len(data) // 2], at)
            os._exit(9)
        return real(*arguments)


def fill_and_drain(root: Path, tell: int, last: int) -> None:
    """What a collector does, telling what it acknowledged (+) and committed (-), until it is killed."""
    spool.os = Killed(last)  # type: ignore[assignment]
    one = opened(root, segment_bytes=60)
    for number in range(1, 8):
        one.append([record(number)])
        os.write(tell, b"+%d " % number)
        if number % 3 == 0:
            segment = one.first()
            assert segment is not None
            for found in one.load(segment).records:
                os.write(tell, b"-%d " % found.oldest_us)
            one.done(segment)
    os._exit(0)


@pytest.mark.parametrize("last", range(2, 40, 3))
def test_killed_at_any_step_it_keeps_what_it_acknowledged(tmp_path: Path, last: int) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            fill_and_drain(tmp_path, writer, last)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        words = told.read().split()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    acknowledged = {int(word[1:]) for word in words if word.startswith(b"+")}
    committed = {int(word[1:]) for word in words if word.startswith(b"-")}
    left = {one.oldest_us for one in drained(opened(tmp_path))}
    assert acknowledged <= committed | left
    assert committed | left <= acknowledged | {len(acknowledged) + 1}, "nothing comes out that never went in"


def test_a_folder_that_can_not_be_taken_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lost+found").mkdir()
    plain = os.open

    def deny(path: Any, *more: Any) -> int:
        if "lost+found" in str(path):
            raise PermissionError(13, "Permission denied")
        return plain(path, *more)

    monkeypatch.setattr(spool.os, "open", deny)
    one, dead = opened(tmp_path), opened(tmp_path)
    assert "lost+found" not in (one.name, dead.name)
    dead.append([record(1)])
    dead.close()
    assert one.adopt() == [dead.name]


def test_a_strange_file_in_a_dead_folder_stays_there(tmp_path: Path) -> None:
    dead, living = opened(tmp_path), opened(tmp_path)
    dead.append([record(1)])
    dead.close()
    (dead.folder / "README").write_text("mine")
    assert living.adopt() == [dead.name]
    assert drained(living) == [record(1)]
    assert (dead.folder / "README").exists()


def test_one_folder_that_fails_keeps_no_other_from_being_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    living, first, second = sorted((opened(tmp_path) for _ in range(3)), key=lambda one: one.name)
    for dead in (first, second):
        dead.append([record(1)])
        dead.close()
    move_in = living._move_in

    def fail(folder: Path) -> None:
        if folder == first.folder:
            raise OSError(5, "Input/output error")
        move_in(folder)

    monkeypatch.setattr(living, "_move_in", fail)
    assert living.adopt() == [second.name]
