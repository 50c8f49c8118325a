"""What one rendering of a page knows about who looks, at what, and when. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dashboards.context import Context
from dashboards.session import Person

ZONE_COOKIE: Final = "milepost_zone"
"""Set by assets/scheme.js: the time zone of the reader's browser."""
CURSORS: Final = ("cursor", "before")


@dataclass(frozen=True)
class View:
    """`path` is decoded, `params` come from the address, `zone` is the reader's, `now` was read once."""

    path: str
    params: Mapping[str, str]
    person: Person
    zone: ZoneInfo
    now: datetime
    parts: Mapping[str, str] = field(default_factory=dict)
    """The variable parts of the path."""

    def get(self, name: str, default: str = "") -> str:
        return self.params.get(name) or default

    def one_of(self, name: str, allowed: Any, default: str = "") -> str:
        """The parameter, if it is one of `allowed`: an address may hold anything."""
        value = self.get(name)
        return value if value in allowed else default

    def href(self, **changed: str | None) -> str:
        """This address with some parameters changed; None takes one away."""
        kept = {name: value for name, value in self.params.items() if name not in changed}
        kept |= {name: value for name, value in changed.items() if value}
        return f"{self.path}?{urlencode(kept)}" if kept else self.path


class Page(Protocol):
    """A page: a frame that stays, and a body that is rendered anew as data comes."""

    name: str
    pattern: str

    def title(self, view: View) -> str: ...
    def frame(self, context: Context, view: View) -> Any:
        """What stands above the body: filters."""

    def body(self, context: Context, view: View) -> Any:
        """Everything that shows data."""


def params_of(search: str | None) -> dict[str, str]:
    given = parse_qsl((search or "").lstrip("?"), max_num_fields=50)
    return {_text(name): _text(value) for name, value in given}


def path_of(pathname: str | None) -> str:
    return _text(unquote(pathname or "/")) or "/"


def _text(given: str) -> str:
    """Without NUL, which PostgreSQL takes in no text."""
    return given.replace("\0", "")


def zone_of(name: str | None) -> ZoneInfo:
    """A reader's zone by name; UTC for what no machine knows."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")
