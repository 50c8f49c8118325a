"""From what a caller says to the bytes of one event."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

MAX_BYTES = 256 * 1024
"""What a collector takes as one event, as it is set up by default."""


class Unfit(ValueError):
    """This can't be sent, now or ever."""


def encode(
    type_: str,
    keys: Mapping[str, Any] | None,
    attributes: Mapping[str, Any] | None,
    *,
    id: str | None,
    time: datetime | str | None,
    source: str | None,
    correlation: str | None,
    outcome: str,
    code: str | None,
    reason: str | None,
    links: Sequence[Mapping[str, Any]],
) -> tuple[str, bytes]:
    """The id of the event, and the event as CloudEvents JSON in one line. Raises Unfit."""
    named = {name: key for name, key in (keys or {}).items() if key}  # an empty field is None here, False in Odoo
    if not (type_ and (named or correlation or links)):
        raise Unfit(f"{type_ or 'an event'}: it needs a type, and at least one key or a correlation")
    made = id or str(uuid.uuid4())
    data: dict[str, Any] = {"keys": named, "outcome": outcome, "code": code, "reason": reason, "links": list(links)}
    event: dict[str, Any] = {"specversion": "1.0", "id": made, "source": source, "type": type_, "time": _time(time)}
    event["correlationid"] = correlation
    event["data"] = {name: value for name, value in data.items() if value}
    if attributes:
        event["data"]["attributes"] = dict(attributes)
    try:
        said = {name: value for name, value in event.items() if value}
        body = json.dumps(said, separators=(",", ":"), default=_plain, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Unfit(f"{type_}: {error}") from error
    if len(body) > MAX_BYTES:
        raise Unfit(f"{type_}: {len(body)} bytes, at most {MAX_BYTES} are taken")
    return made, body


def _time(given: datetime | str | None) -> str:
    if given is None:
        now = time.time()
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1_000_000):06d}Z"
    if isinstance(given, str):
        return given
    if given.tzinfo is None:
        raise Unfit("time: it has no time zone; give an aware datetime")
    return given.isoformat()


def _plain(value: Any) -> Any:
    """Decimals, dates, ids: as text. Sets of keys: as a list."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
