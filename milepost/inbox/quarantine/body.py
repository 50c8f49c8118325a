"""A refused body as people read, compare and edit it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from milepost import contract
from milepost.clock import from_us
from milepost.errors import InvalidEvent

MAX_DIFFERENCES: Final = 100
MAX_VALUE: Final = 200
_ABSENT: Final = "–"
_place: Final = re.compile(r"^(?:line \d+: )?([A-Za-z_][\w.\[\]-]*?)(?:\[\.\.\.\])?: ")
_byte: Final = re.compile(r"\bbyte (\d+)\b")
_segment: Final = re.compile(r"\bsegment (\d+)\b")
_FORBIDDEN: Final = "this key may not send"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a body. `marked`: here is what it was refused for; `column`: from where on, where that is known."""

    text: str
    marked: bool = False
    column: int | None = None


def editable(body: bytes) -> bool:
    """Whether it is a text that comes back from an editor as it went in: UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def readable(body: bytes, before: str = "") -> str:
    """Indented when it is JSON, a line for each segment when it is EDI, else as it came. Values keep their digits.

    `before`: what stood before it in an interchange that it was a part of.
    """
    try:
        return msgspec.json.format(body, indent=2).decode()
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body.decode("utf-8", "replace")
    end = _terminator(before or text)
    return re.sub(re.escape(end) + r"[\r\n]*", lambda _: end + "\n", text).rstrip("\n") if end else text


def _terminator(text: str) -> str:
    """X12 states it at the end of its first segment, which has a fixed length; EDIFACT in UNA. Empty for others."""
    end = ""
    if text.startswith("ISA") and len(text) > 105:
        end = text[105]
    elif text.startswith("UNA") and len(text) > 8:
        end = text[8]
    elif text.startswith("UNB"):
        end = "'"
    return "" if end in "\r\n" else end


def marked(body: bytes, reason: str, before: str = "") -> list[Line]:
    """The readable body by lines, with those marked that the reason names. `before`: see `readable`."""
    lines = readable(body, before).split("\n")
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _marked_text(body, lines, reason, before)
    paths = list(_paths(lines))
    chosen = _named(paths, reason)
    return [Line(line, path in chosen) for line, path in zip(lines, paths, strict=True)]


def _marked_text(body: bytes, lines: list[str], reason: str, before: str) -> list[Line]:
    row = column = -1
    if found := _segment.search(reason):
        head = before[9:] if before.startswith("UNA") else before  # UNA is no segment
        row = int(found[1]) - 1 - head.count(_terminator(before) or "\0") + lines[0].startswith("UNA")
    elif found := _byte.search(reason):
        text = body[: int(found[1])].decode("utf-8", "replace")
        row, column = text.count("\n"), len(text) - text.rfind("\n") - 1
    return [
        Line(line, number == row, column if number == row and column >= 0 else None)
        for number, line in enumerate(lines)
    ]


def _named(paths: list[str | None], reason: str) -> set[str]:
    """The paths that a reason speaks of; for what is missing, the nearest one that it would be in."""
    if reason.startswith(_FORBIDDEN):
        return {"source", "type"}
    found = _place.match(reason)
    path = found[1] if found else ""
    if path and "." not in path and path not in paths:
        return set()
    while path and path not in paths:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return {path} if path else set()


def _paths(lines: list[str]) -> Iterator[str | None]:
    """The path of the value that begins on each line of indented JSON, like data.links[0].rel; None for an end."""
    opened: list[tuple[str, Iterator[int] | None]] = []
    for line in lines:
        rest = line.strip()
        if rest[:1] in ("}", "]"):
            opened.pop()
            yield None
            continue
        path = ""
        if opened:
            prefix, index = opened[-1]
            if index is not None:
                path = f"{prefix}[{next(index)}]"
            else:
                name, end = json.JSONDecoder().raw_decode(rest)
                path, rest = f"{prefix}.{name}" if prefix else name, rest[end:]
        yield path
        if rest.endswith(("{", "[")):
            opened.append((path, iter(range(len(lines))) if rest.endswith("[") else None))


def differences(stored: Mapping[str, Any], body: bytes) -> list[tuple[str, str, str]]:
    """(path, stored value, value of `body`) where the contents of two events differ, at most MAX_DIFFERENCES.

    Empty too where one is no event.
    """
    try:
        one, two = (dict(_leaves(_content(text), "")) for text in (msgspec.json.encode(stored), body))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    paths = sorted(path for path in one.keys() | two.keys() if one.get(path) != two.get(path))
    return [(path, one.get(path, _ABSENT), two.get(path, _ABSENT)) for path in paths[:MAX_DIFFERENCES]]


def _content(body: bytes) -> dict[str, Any]:
    said = contract.canonical(contract.read(body))
    if said["time"] is not None:
        said["time"] = from_us(said["time"]).isoformat()
    return {name: value for name, value in said.items() if value is not None}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    else:
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        yield path, text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "…"


def changed(body: bytes, changes: Mapping[str, str]) -> bytes:
    """The body with values set: {data.keys.order: S00001}. A path that ends with a colon takes JSON: {data.links:: []}.

    Raises InvalidEvent for a body that is no JSON object, or a path that leads through something else.
    """
    try:
        whole = json.loads(body)
    except ValueError as error:
        raise InvalidEvent(f"this body is no JSON, so no value of it can be set: {error}") from error
    for path, text in changes.items():
        _set(whole, path.removesuffix(":"), _value(path, text))
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _value(path: str, text: str) -> Any:
    if not path.endswith(":"):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidEvent(f"{path}={text}: this is no JSON: {error}") from error


def _set(whole: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    place = whole
    for name in parents:
        place = place.setdefault(name, {}) if isinstance(place, dict) else None
    if not isinstance(place, dict):
        raise InvalidEvent(f"{path}: this does not lead through objects")
    place[last] = value
