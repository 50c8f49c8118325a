"""The batches between recorders and the assembler: what goes in comes out, in any pieces."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from correlator.aside import halves
from correlator.rows import MAX_DEPTH, Output, diff_members
from correlator.touches import Relation, Touch, TouchBatch, pack, unpack
from milepost.contract import Entry
from milepost.errors import TooLarge
from milepost.inbox import log
from milepost.journeystate import Member

whole = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
maybe = st.none() | text
scalars = text | whole | st.floats(allow_nan=False) | st.booleans() | st.none()
ids = st.integers(1, 2**62)
relations = st.builds(Relation, ids, ids, text, whole, text, text, ids, whole)
about = st.lists(st.tuples(ids, st.booleans()), max_size=3)
attributes = st.none() | st.dictionaries(text, scalars, max_size=3)
touches = st.builds(
    Touch, ids, whole, whole, text, text, text, text, st.none() | text, st.none() | text, attributes, about
)
names = st.dictionaries(ids, st.tuples(text, text, text), max_size=3)
batches = st.builds(
    TouchBatch, names, st.lists(relations, max_size=3), st.lists(touches, max_size=4), st.lists(ids, max_size=4)
)


@given(batches)
def test_a_batch_comes_out_as_it_went_in(batch: TouchBatch) -> None:
    assert unpack(pack(batch)) == batch


@given(batches)
def test_halves_are_the_whole_and_end(batch: TouchBatch) -> None:
    def parts(of: TouchBatch) -> list[TouchBatch]:
        return [leaf for half in halves(of) for leaf in parts(half)] or [of]

    leaves = parts(batch)
    assert [item for leaf in leaves for item in leaf.relations] == batch.relations
    assert [item for leaf in leaves for item in leaf.touches] == batch.touches
    assert [item for leaf in leaves for item in leaf.again] == batch.again
    assert all(len(leaf.relations) + len(leaf.touches) + len(leaf.again) <= 1 for leaf in leaves)
    assert all(leaf.names == batch.names for leaf in leaves)


def test_a_chain_of_any_length_fits_its_column() -> None:
    """Depth is a smallint, and nobody limits how long a chain of backorders may be."""
    output = Output()
    diff_members(1, None, [Member(1, None, 0), Member(2, 1, MAX_DEPTH), Member(3, 2, MAX_DEPTH + 7)], output)
    assert [row[3] for row in output.members.new] == [0, MAX_DEPTH, MAX_DEPTH]


# --- the event log ----------------------------------------------------------------------------------------------------

entries = st.builds(Entry, st.binary(min_size=16, max_size=16), whole, whole, st.binary(max_size=100))


@given(st.lists(entries, max_size=5))
def test_a_log_batch_comes_out_as_it_went_in(batch: list[Entry]) -> None:
    assert log.decode_batch(log.encode_batch(batch)) == batch


@given(st.lists(entries, min_size=1, max_size=5))
def test_a_log_batch_is_as_old_as_its_oldest_event(batch: list[Entry]) -> None:
    batch = [msgspec.structs.replace(item, received_us=abs(item.received_us) % 10**15) for item in batch]
    received_at, count, _ = log.row(batch)
    assert count == len(batch)
    assert received_at.timestamp() * 1_000_000 == pytest.approx(min(item.received_us for item in batch), abs=1)


@pytest.mark.parametrize("read", [log.decode_batch, unpack])
def test_what_would_unpack_to_more_than_a_gigabyte_is_refused(read: Any) -> None:
    """The size that a frame claims is not taken on trust."""
    head = zstandard.MAGIC_NUMBER.to_bytes(4, "little") + bytes([0b1110_0000]) + (2**40).to_bytes(8, "little")
    with pytest.raises(TooLarge):
        read(head + bytes([1, 0, 0]))
