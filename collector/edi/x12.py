"""What only X12 does: delimiters that stand in the header at fixed places, groups of one kind of document. Pure.

Source: ASC X12.5 (interchange control structures), X12.22 (segments). GS01 names the kind of a group.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from collector.edi.header import Header, Party, wall_time
from collector.edi.syntax import Segment, Syntax
from milepost.errors import MalformedBody

_ISA_ELEMENTS: Final = 16
_ISA_LENGTH: Final = 106


def syntax_at(text: str, start: int) -> tuple[Syntax, int]:
    """The delimiters that the ISA at `start` defines, and where segments begin. Raises MalformedBody.

    The element separator follows the tag; after the 16th one stand the component separator and the terminator.
    """
    separator, at = text[start + 3 : start + 4], start + 3
    for found in range(1, _ISA_ELEMENTS):
        at = text.find(separator, at + 1, start + 2 * _ISA_LENGTH)
        if at < 0:
            raise MalformedBody(f"segment 1 (ISA): {_ISA_ELEMENTS} elements expected, {found} found")
    if at + 3 > len(text):
        raise MalformedBody("segment 1 (ISA): the data ends before the segment does")
    component, terminator = text[at + 1], text[at + 2]
    return Syntax(separator, component, terminator, charset="utf-8"), start


def header_of(segment: Segment) -> Header:
    """Raises MalformedBody when sender, receiver or control number is missing."""
    return Header(
        Party(segment.get(5), segment.need(6, "the sender")),
        Party(segment.get(7), segment.need(8, "the receiver")),
        segment.need(13, "the control number"),
        wall_time(segment.get(9), segment.get(10)),
        segment.get(15) == "T",
    )


def document_of(segment: Segment) -> tuple[str, str]:
    """(type, control number) of an ST."""
    return segment.need(1, "the transaction set's type"), segment.need(2, "the control number")


def group_of(segment: Segment | None) -> tuple[str, str, datetime | None]:
    """(kind, control number, when made) of a GS."""
    if segment is None:
        return "", "", None
    control = segment.need(6, "the control number")
    return segment.need(1, "the kind of the group"), control, wall_time(segment.get(4), segment.get(5))
