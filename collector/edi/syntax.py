"""The characters that separate, and the segments between them. Pure.

The bytes of an interchange are kept as Latin-1 text, so that an index is a byte position; values are read in the
interchange's own character set when they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from milepost.errors import MalformedBody

_BETWEEN: Final = "\r\n \t"
"""What may stand between two segments, for people to read."""
_TAG: Final = re.compile(r"[A-Z][A-Z0-9]{1,2}")
MAX_SEGMENT: Final = 64 * 1024
"""Bytes of one segment. Without a bound, data full of headers and without terminators would cost its square."""


@dataclass(frozen=True)
class Syntax:
    """The delimiters of one interchange. `release` takes the next character's meaning away; X12 has none."""

    element: str
    component: str
    terminator: str
    release: str | None = None
    charset: str = "latin-1"

    def __post_init__(self) -> None:
        used = [self.element, self.component, self.terminator, *([self.release] if self.release else [])]
        if len(set(used)) < len(used) or any(character.isalnum() or character == " " for character in used):
            shown = " ".join(repr(character) for character in used)
            raise MalformedBody(f"segment 1: these delimiters can't be used: {shown}")

    def end_of(self, text: str, start: int) -> int:
        """Where the segment that begins at `start` has its terminator; -1 when it is not within MAX_SEGMENT bytes."""
        if self.release is None:
            return text.find(self.terminator, start, start + MAX_SEGMENT)
        match = self._to_terminator.match(text, start, start + MAX_SEGMENT)
        return match.end() - 1 if match else -1

    @cached_property
    def _to_terminator(self) -> re.Pattern[str]:
        # possessive: linear whatever is sent
        return re.compile(f"(?s)(?:[^{self._set}]++|{self._released})*+{re.escape(self.terminator)}")

    @property
    def _set(self) -> str:
        return re.escape(self.terminator) + re.escape(self.release or "")

    @property
    def _released(self) -> str:
        return f"{re.escape(self.release)}." if self.release else "(?!)"

    def split(self, text: str) -> list[list[str]]:
        """The elements of a segment, each as its components, without release characters. The tag is the first."""
        if self.release is None or self.release not in text:
            return [element.split(self.component) for element in text.split(self.element)]
        return [
            [self._plain(component) for component in self._parts(element, self.component)]
            for element in self._parts(text, self.element)
        ]

    def _parts(self, text: str, separator: str) -> list[str]:
        """Split at the separators that are not released; what is released stays so."""
        parts, current, index = [], 0, 0
        while index < len(text):
            if text[index] == self.release:
                index += 1
            elif text[index] == separator:
                parts.append(text[current:index])
                current = index + 1
            index += 1
        return [*parts, text[current:]]

    def _plain(self, text: str) -> str:
        return re.sub(f"(?s){self._released}", lambda match: match[0][1], text)

    def join(self, segment: list[list[str]]) -> str:
        """The text of a segment, terminator included: what `split` takes apart."""
        elements = (self.component.join(self._released_text(part) for part in element) for element in segment)
        return self.element.join(elements) + self.terminator

    def _released_text(self, text: str) -> str:
        special = {self.element, self.component, self.terminator, self.release}
        if self.release is None:
            return text
        return "".join(f"{self.release}{character}" if character in special else character for character in text)

    def read(self, text: str) -> str:
        """A value in the interchange's character set; as Latin-1 where it is in another than it announces."""
        if text.isascii():
            return text
        try:
            return text.encode("latin-1").decode(self.charset)
        except UnicodeDecodeError:
            return text


class Segment:
    """One segment. `number` counts from 1 in its interchange, `start` and `end` are byte positions in the data."""

    __slots__ = ("_split", "_syntax", "_text", "end", "number", "start", "tag")

    def __init__(self, text: str, syntax: Syntax, number: int, start: int) -> None:
        """`text` is without its terminator. Raises MalformedBody when it begins with no tag."""
        self.tag = text.partition(syntax.element)[0]
        self.number = number
        self.start = start
        self.end = start + len(text) + 1
        self._text = text
        self._syntax = syntax
        self._split: list[list[str]] | None = None
        if not _TAG.fullmatch(self.tag):
            raise MalformedBody(f'segment {number}: "{self.tag[:20]}" is no segment tag (byte {start})')

    @property
    def _elements(self) -> list[list[str]]:
        # most segments are only counted
        if self._split is None:
            syntax = self._syntax
            self._split = [[syntax.read(part) for part in element] for element in syntax.split(self._text)]
        return self._split

    def get(self, element: int, component: int = 1) -> str:
        """A component of an element, both counted from 1 as the standards do; empty when it is not there."""
        if element >= len(self._elements) or component > len(self._elements[element]):
            return ""
        return self._elements[element][component - 1].strip()

    def values(self, first: int, step: int = 1) -> list[str]:
        """The first components of the elements from `first` on that are not empty."""
        return [value for index in range(first, len(self._elements), step) if (value := self.get(index))]

    def need(self, element: int, what: str, component: int = 1) -> str:
        """Like `get`. Raises MalformedBody when it is empty."""
        value = self.get(element, component)
        if not value:
            raise MalformedBody(f"{self.place(element)}: {what} is missing")
        return value

    def place(self, element: int | None = None) -> str:
        """How people find it: segment 7 (SE), element 1."""
        where = f"segment {self.number} ({self.tag})"
        return where if element is None else f"{where}, element {element}"


def scan(text: str, syntax: Syntax, start: int, *, first: int = 1, stop: int | None = None) -> Iterator[Segment]:
    """The segments from `start` to `stop`, the first one numbered `first`. Raises MalformedBody at what is none."""
    stop = len(text) if stop is None else stop
    number, at = first, _past_blanks(text, start, syntax)
    while at < stop:
        end = syntax.end_of(text, at)
        if end < 0 and len(text) - at > MAX_SEGMENT:
            raise MalformedBody(f"segment {number}: over {MAX_SEGMENT} bytes without a terminator (byte {at})")
        if end < 0:
            raise MalformedBody(f"segment {number}: the data ends before the segment does (byte {at})")
        yield Segment(text[at:end], syntax, number, at)
        number, at = number + 1, _past_blanks(text, end + 1, syntax)


def _past_blanks(text: str, at: int, syntax: Syntax) -> int:
    while at < len(text) and text[at] in _BETWEEN and text[at] != syntax.terminator:
        at += 1
    return at
