"""The quarantine: events that were refused, contradict what is stored, or can't be recorded, kept whole.

A row is true when the caller's transaction commits. Beside the rows stand counts by group, which also tell what was
refused and not kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final, Literal

import sqlalchemy as sa
from psycopg.types.json import Jsonb

from milepost.contract import Entry, read
from milepost.db.tables import quarantine, quarantine_groups

Kind = Literal["malformed", "forbidden", "mapping", "conflict", "failed"]
"""malformed: breaks the contract or its format. forbidden: its sender lacks the right. mapping: readable, but its
mapping makes no event of it. conflict: a known identity with other content. failed: accepted, but recording it fails
for ever."""

MAX_TEXT: Final = 1000
MAX_NAME: Final = 256
MAX_RULE: Final = 200
_NUL: Final = "\x00"
# a word in quotes is a value, unless an apostrophe stands in a word
_values: Final = re.compile(r""""[^"]*"?|(?<!\w)'[^']*'(?!\w)|\b[0-9a-fA-F]{16,}\b|(?<!\w)\d[\d.,:TZ+-]*(?<![.,:])""")

_COLUMNS: Final = (
    "received_at", "source", "kind", "way", "reason", "event_id", "body", "context", "sender", "key_id",
)  # fmt: skip
_ADD: Final = (
    f"INSERT INTO input.quarantine (group_id, {', '.join(_COLUMNS)})"
    f" SELECT group_id, {', '.join(f'%({name})s' for name in _COLUMNS)} FROM input.quarantine_groups"
    " WHERE source = %(source)s AND kind = %(kind)s AND rule = %(rule)s"
)
# an UPDATE first: ON CONFLICT alone would take a number for each refusal
_COUNT: Final = """
WITH known AS (
  UPDATE input.quarantine_groups SET last_at = greatest(last_at, %(last_at)s), first_at = least(first_at, %(first_at)s),
    open = open + %(open)s, repeated = repeated + %(repeated)s, unkept = unkept + %(unkept)s
  WHERE source = %(source)s AND kind = %(kind)s AND rule = %(rule)s RETURNING group_id),
made AS (
  INSERT INTO input.quarantine_groups AS g
    (source, kind, rule, first_at, last_at, open, replayed, discarded, repeated, unkept, thinned)
  SELECT %(source)s, %(kind)s, %(rule)s, %(first_at)s, %(last_at)s, %(open)s, 0, 0, %(repeated)s, %(unkept)s, 0
  WHERE NOT EXISTS (SELECT FROM known)
  ON CONFLICT (source, kind, rule) DO UPDATE SET last_at = greatest(g.last_at, excluded.last_at),
    first_at = least(g.first_at, excluded.first_at), open = g.open + excluded.open,
    repeated = g.repeated + excluded.repeated, unkept = g.unkept + excluded.unkept
  RETURNING group_id)
INSERT INTO input.quarantine_hours AS h (group_id, hour, refused)
SELECT group_id, %(hour)s, %(refused)s FROM (SELECT group_id FROM known UNION ALL SELECT group_id FROM made) AS found
ON CONFLICT (group_id, hour) DO UPDATE SET refused = h.refused + excluded.refused
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One event for the quarantine. `source` and `event_id` are claims; `sender` is the name of the key, if any.

    `way` tells how the body is to be read again (collector.replay knows the ways), `context` what that needs beside the
    body: headers that a mapping reads, the position in a file. `key_id`: the key whose rights a replay has.
    """

    received_at: datetime
    source: str
    kind: Kind
    reason: str
    event_id: str | None
    body: bytes
    sender: str | None
    way: str = "events"
    context: Mapping[str, Any] | None = None
    key_id: str | None = None

    @property
    def group(self) -> Group:
        return Group(storable(self.source, MAX_NAME), self.kind, storable(rule_of(self.reason), MAX_RULE))


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """What failures of one sort have in common."""

    source: str
    kind: Kind
    rule: str


@dataclass(slots=True)
class Tally:
    """Refusals of one group in one hour."""

    first_at: datetime
    last_at: datetime
    open: int = 0
    repeated: int = 0
    unkept: int = 0


Tallies = dict[tuple[Group, datetime], Tally]


def rule_of(reason: str) -> str:
    """The reason without its values, so that thousands of failures of one sort are one group."""
    line = reason.partition("\n")[0]
    return _values.sub(_stand_in, line)[:MAX_RULE]


def _stand_in(match: re.Match[str]) -> str:
    mark = match[0][0]
    return f"{mark}…{mark}" if mark in "\"'" else "#"


# --- keeping ----------------------------------------------------------------------------------------------------------


def statements(refusals: Sequence[Refusal]) -> list[tuple[str, list[dict[str, Any]]]]:
    """What keeps refusals: SQL for psycopg, each with its rows for executemany. Empty for none."""
    if not refusals:
        return []
    tallies: Tallies = {}
    for refusal in refusals:
        tally(tallies, refusal.group, refusal.received_at).open += 1
    return [(_COUNT, _counts(tallies)), (_ADD, [_row(refusal) for refusal in refusals])]


def add(connection: sa.Connection, refusals: Sequence[Refusal]) -> None:
    """Put refusals into the quarantine; nothing for an empty sequence."""
    for statement, rows in statements(refusals):
        connection.exec_driver_sql(statement, rows)


class Known:
    """What is open already, for who reads the same files again. It looks a group up once, when it meets it first."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[str, Kind, str | None], set[bytes]] = {}

    def new(self, connection: sa.Connection, refusals: Sequence[Refusal]) -> list[Refusal]:
        """The refusals whose body no open row of their group had then."""
        return [one for one in refusals if not self._has(connection, one.body, one.source, one.kind, one.group.rule)]

    def consistent(self, connection: sa.Connection, entries: Sequence[Entry]) -> list[Entry]:
        """The events that no open conflict had as its body: those would only be one more."""
        return [one for one in entries if not self._has(connection, one.body, read(one.body).source, "conflict", None)]

    def _has(self, connection: sa.Connection, body: bytes, source: str, kind: Kind, rule: str | None) -> bool:
        key = (storable(source, MAX_NAME), kind, rule)
        if key not in self._bodies:
            q, g = quarantine.c, quarantine_groups.c
            pairs = zip((g.source, g.kind, g.rule), key, strict=True)
            same = [column == value for column, value in pairs if value is not None]
            query = sa.select(sa.func.sha256(q.body)).join(quarantine_groups, g.group_id == q.group_id)
            self._bodies[key] = set(connection.scalars(query.where(q.state == "open", *same)))
        return sha256(body).digest() in self._bodies[key]


def tally(tallies: Tallies, group: Group, at: datetime) -> Tally:
    """The tally of a group for the hour of `at`, made where it is missing."""
    found = tallies.setdefault((group, _hour(at)), Tally(at, at))
    found.first_at, found.last_at = min(found.first_at, at), max(found.last_at, at)
    return found


def merge(tallies: Tallies, more: Tallies) -> None:
    """Add counts to others."""
    for (group, _), one in more.items():
        found = tally(tallies, group, one.first_at)
        found.last_at = max(found.last_at, one.last_at)
        found.open, found.repeated, found.unkept = (
            found.open + one.open,
            found.repeated + one.repeated,
            found.unkept + one.unkept,
        )


def _hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def count(connection: sa.Connection, tallies: Tallies) -> None:
    """Count refusals that were not kept; nothing for none."""
    if tallies:
        connection.exec_driver_sql(_COUNT, _counts(tallies))


def _counts(tallies: Tallies) -> list[dict[str, Any]]:
    """Sorted, so that two who count the same groups can't deadlock."""
    return [
        {
            "source": group.source, "kind": group.kind, "rule": group.rule, "hour": hour,
            "first_at": one.first_at, "last_at": one.last_at,
            "open": one.open, "repeated": one.repeated, "unkept": one.unkept,
            "refused": one.open + one.repeated + one.unkept,
        }
        for (group, hour), one in sorted(tallies.items(), key=lambda item: item[0])
    ]  # fmt: skip


def _row(refusal: Refusal) -> dict[str, Any]:
    """The columns of a refusal. Text is made storable: what is refused may be refused for its characters."""
    group = refusal.group
    return {
        "received_at": refusal.received_at,
        "source": group.source,
        "kind": group.kind,
        "rule": group.rule,
        "way": refusal.way,
        "reason": storable(refusal.reason),
        "event_id": None if refusal.event_id is None else storable(refusal.event_id, MAX_NAME),
        "body": refusal.body,
        "context": None if refusal.context is None else Jsonb(_storable_all(dict(refusal.context))),
        "sender": refusal.sender,
        "key_id": refusal.key_id,
    }


def _storable_all(value: Any) -> Any:
    """JSON with every text in it storable, and none cut."""
    if isinstance(value, str):
        return storable(value, len(value))
    if isinstance(value, Mapping):
        return {_storable_all(name): _storable_all(inner) for name, inner in value.items()}
    return [_storable_all(inner) for inner in value] if isinstance(value, list | tuple) else value


def storable(text: str, length: int = MAX_TEXT) -> str:
    """PostgreSQL's text has no U+0000 and no surrogates."""
    return text[:length].replace(_NUL, "\ufffd").encode(errors="replace").decode()
