"""What only EDIFACT does: delimiters from UNA or by default, a release character, character sets by name. Pure.

Source: ISO 9735 (syntax versions 1 to 4).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from collector.edi.header import Header, Party, wall_time
from collector.edi.syntax import Segment, Syntax
from milepost.errors import MalformedBody

_UNA: Final = len("UNA:+.? '")
_CHARSETS: Final = {
    "UNOA": "latin-1",  # ASCII, but many senders know no better
    "UNOB": "latin-1",
    "UNOC": "latin-1",
    "UNOD": "iso8859-2",
    "UNOE": "iso8859-5",
    "UNOF": "iso8859-7",
    "UNOG": "iso8859-3",
    "UNOH": "iso8859-4",
    "UNOI": "iso8859-6",
    "UNOJ": "iso8859-8",
    "UNOK": "iso8859-9",
    "UNOW": "utf-8",
    "UNOY": "utf-8",
}


def syntax_at(text: str, start: int) -> tuple[Syntax, int]:
    """The delimiters of the interchange at `start`, and where its UNB begins. Raises MalformedBody."""
    advice = ":+.? '"
    if text.startswith("UNA", start):
        advice = text[start + 3 : start + _UNA]
        start += _UNA
        if len(advice) < 6:
            raise MalformedBody("segment 1 (UNA): the data ends before the segment does")
    component, element, release, terminator = advice[0], advice[1], advice[3], advice[5]
    while text[start : start + 1] in ("\r", "\n", " ") and text[start] != terminator:
        start += 1
    if not text.startswith("UNB" + element, start):
        raise MalformedBody(f'segment 1: "{text[start : start + 4]}" stands where UNB{element} is expected')
    charset = text[start + 4 : start + 8]
    if charset not in _CHARSETS:
        raise MalformedBody(f'segment 1 (UNB), element 1: the character set "{charset}" is not supported')
    return Syntax(element, component, terminator, release.strip() or None, _CHARSETS[charset]), start


def header_of(segment: Segment) -> Header:
    """Raises MalformedBody when sender, recipient or control reference is missing."""
    return Header(
        Party(segment.get(2, 2), segment.need(2, "the sender")),
        Party(segment.get(3, 2), segment.need(3, "the recipient")),
        segment.need(5, "the control reference"),
        wall_time(segment.get(4), segment.get(4, 2)),
        segment.get(11) == "1",
    )


def document_of(segment: Segment) -> tuple[str, str]:
    """(type, reference) of a UNH."""
    return segment.need(2, "the message's type"), segment.need(1, "the message's reference")


def group_of(segment: Segment | None) -> tuple[str, str, datetime | None]:
    """(kind, control reference, when made) of a UNG; groups are optional, and rare."""
    if segment is None:
        return "", "", None
    control = segment.need(5, "the control reference")
    return segment.need(1, "the kind of the group"), control, wall_time(segment.get(4), segment.get(4, 2))
