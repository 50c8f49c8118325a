"""The tokeniser on anything: it never raises, never loops, and what is split can be joined again."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collector.edi.events import Reader
from collector.edi.syntax import Syntax
from tests.conformance.edi_samples import ACME, EDI, ORDER, ORDERS, THEY, US, WE, edifact, x12

EDIFACT = Syntax("+", ":", "'", "?")
GOOD = (x12(ACME, US, 17, "PO", ORDER), edifact(THEY, WE, "17", ORDERS, advice="UNA:+.? '"))
BLANK = b"\r\n\t \x00\x1a"
VALUES = st.text(st.characters(codec="latin-1"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(VALUES, min_size=1, max_size=4), min_size=1, max_size=5))
def test_what_is_joined_is_split_again(segment: list[list[str]]) -> None:
    text = EDIFACT.join(segment)
    assert EDIFACT.end_of(text, 0) == len(text) - 1
    assert EDIFACT.split(text[:-1]) == segment


def covered(data: bytes) -> None:
    """Everything is read or refused, in order, and nothing twice."""
    at = 0
    for found in Reader(EDI, "edi").read(data):
        assert at <= found.start < found.end <= len(data)
        assert not data[at : found.start].strip(BLANK)
        assert bool(found.refused) or found.interchange is not None
        at = found.end
    assert not data[at:].strip(BLANK)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
@example(b"UNA" + b"?" * 6 + b"UNB")
@example(b"ISA*00*")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    covered(data)


@settings(max_examples=250, deadline=None)
@given(
    st.sampled_from(GOOD),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 12), st.text(st.characters(codec="latin-1"), max_size=6))),
    st.sampled_from(GOOD),
)
def test_a_damaged_interchange_is_read_or_refused(good: str, damages: list[tuple[int, int, str]], after: str) -> None:
    for at, length, instead in damages:
        good = good[:at] + instead + good[at + length :]
    covered((good + "\n" + after).encode("latin-1"))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 600))
def test_a_part_gives_the_same_as_the_whole(cut: int) -> None:
    """With `final` false, what was not given is read from where it begins."""
    data = "\r\n".join([*GOOD, *GOOD]).encode()
    reader = Reader(EDI, "edi")
    first = list(reader.read(data[:cut], final=False))
    rest = first[-1].end if first else 0
    found = [*first, *reader.read(data[rest:])]
    assert [event for one in found for event in one.events] == [
        event for one in reader.read(data) for event in one.events
    ]
    assert not any(one.refused for one in found)


@pytest.mark.parametrize("part", [GOOD[0][:106], "UNB+UNOA", "ISA*00*", "UNA:+.? 'UNB+", "ISA*00*IEA*1*1"])
def test_headers_without_end_cost_no_more_than_what_they_weigh(part: str) -> None:
    """A million bytes of them would else take hours."""
    data = (part * (1_000_000 // len(part))).encode()
    assert len(list(islice(Reader(EDI, "edi").read(data), 500))) > 0
