"""Reads and writes input.silences: its only writer. Making and ending a silence are acts of people, and audited.

A silence is never deleted: its time runs out, or somebody ends it, and then the row stays with what it hid.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec
import sqlalchemy as sa

from alerting import commands
from alerting.hidden import LATELY
from alerting.signal import Signal
from alerting.silence import REMINDER, Cover, Silence, State
from alerting.text import length, when
from milepost.catalog import matcher
from milepost.catalog.matcher import Matcher
from milepost.db.tables import alert_hidden, alert_items, silences
from milepost.decisions import audit
from milepost.errors import Conflict, NotFound, Permanent

LONGEST: Final = timedelta(days=30)
"""Longer ones take an administrator."""
LONGEST_OF_ALL: Final = timedelta(hours=4)
"""One that matches everything lasts no longer, whoever makes it."""
BACKDATED: Final = timedelta(minutes=5)
"""A start so long ago means now: clocks differ."""
REMIND: Final = timedelta(days=1)
"""The reminder comes so long before the end at most, and at most a quarter of the silence's length."""

_S: Final = silences.c
# Made here so that msgspec knows the type before threads do: alerting/message.py says why.
_known: Final = msgspec.json.Decoder(tuple[Matcher, ...])


@dataclass(frozen=True, slots=True)
class Wanted:
    """A silence that somebody asks for. `everything` confirms that it may match whatever happens."""

    matchers: tuple[Matcher, ...]
    reason: str
    starts_at: datetime
    ends_at: datetime
    owner: str | None = None
    everything: bool = False


def check(wanted: Wanted, *, now: datetime, admin: bool) -> None:
    """Raises Permanent for what can't be."""
    if not wanted.reason.strip():
        raise Permanent("a silence needs a reason: others will want to know")
    if len(wanted.matchers) > matcher.MOST:
        raise Permanent(f"a silence has {matcher.MOST} matchers at most")
    if wanted.ends_at <= wanted.starts_at:
        raise Permanent("it ends before it starts")
    if wanted.starts_at < now - BACKDATED or wanted.ends_at <= now:
        raise Permanent("a silence starts now or later: what was told is told")
    lasts = wanted.ends_at - wanted.starts_at
    if matcher.everything(wanted.matchers):
        _check_everything(wanted, lasts)
    if lasts > LONGEST and not admin:
        raise Permanent(f"a silence lasts {length(LONGEST)} at most; a longer one takes an administrator")


def _check_everything(wanted: Wanted, lasts: timedelta) -> None:
    if not wanted.everything:
        raise Permanent(
            "nothing in it says what it is about, so it would silence everything: name something with =,"
            " or confirm that it is meant to (--all)"
        )
    if lasts > LONGEST_OF_ALL:
        raise Permanent(f"a silence of everything lasts {length(LONGEST_OF_ALL)} at most")


def add(connection: sa.Connection, wanted: Wanted, *, actor: str, now: datetime, admin: bool) -> int:
    """Make a silence; its number. Raises Permanent."""
    check(wanted, now=now, admin=admin)
    row = {
        "matchers": msgspec.to_builtins(wanted.matchers),
        "reason": wanted.reason.strip(),
        "created_at": now,
        "created_by": actor,
        "starts_at": wanted.starts_at,
        "ends_at": wanted.ends_at,
        "owner": wanted.owner,
    }
    number: int = connection.scalars(sa.insert(silences).values(row).returning(_S.silence_id)).one()
    detail = {
        "matchers": [str(one) for one in wanted.matchers],
        "reason": wanted.reason.strip(),
        "from": wanted.starts_at,
        "until": wanted.ends_at,
    }
    audit.record(connection, actor=actor, action="silence.added", target=f"silence {number}", now=now, detail=detail)
    return number


def end(connection: sa.Connection, silence_id: int, *, actor: str, now: datetime) -> None:
    """End a silence before its time: what it hides comes out. Raises NotFound, or Conflict when it is over."""
    found = one(connection, silence_id)
    if found.state(now) in ("expired", "ended"):
        raise Conflict(f"silence {silence_id} is over already")
    values = {"ended_at": now, "ended_by": actor}
    connection.execute(sa.update(silences).where(_S.silence_id == silence_id, _S.ended_at.is_(None)).values(values))
    audit.record(connection, actor=actor, action="silence.ended", target=f"silence {silence_id}", now=now)


# --- read -------------------------------------------------------------------------------------------------------------


def one(connection: sa.Connection, silence_id: int) -> Silence:
    """Raises NotFound."""
    found = _read(connection, _S.silence_id == silence_id)
    if not found:
        raise NotFound(f"there is no silence {silence_id}")
    return found[0]


def active(connection: sa.Connection, now: datetime) -> list[Silence]:
    """Those that hide something now."""
    return _read(connection, _S.starts_at <= now, _S.ends_at > now, _S.ended_at.is_(None))


def some(
    connection: sa.Connection, states: Collection[State], *, now: datetime, limit: int, before: int | None = None
) -> list[Silence]:
    """The latest of these states first, those with a smaller number than `before`."""
    conditions: dict[State, sa.ColumnElement[bool]] = {
        "ended": _S.ended_at.is_not(None),
        "expired": sa.and_(_S.ended_at.is_(None), _S.ends_at <= now),
        "active": sa.and_(_S.ended_at.is_(None), _S.starts_at <= now, _S.ends_at > now),
        "upcoming": sa.and_(_S.ended_at.is_(None), _S.starts_at > now),
    }
    wanted = [sa.or_(sa.false(), *(conditions[state] for state in states))]
    wanted += [] if before is None else [_S.silence_id < before]
    return _read(connection, *wanted, limit=limit)


def _read(connection: sa.Connection, *conditions: sa.ColumnElement[bool], limit: int | None = None) -> list[Silence]:
    query = sa.select(silences).where(*conditions).order_by(_S.silence_id.desc()).limit(limit)
    return [_silence(row) for row in connection.execute(query).mappings()]


def _silence(row: sa.RowMapping) -> Silence:
    return Silence(**{**row, "matchers": msgspec.convert(row["matchers"], tuple[Matcher, ...])})


# --- the reminder -----------------------------------------------------------------------------------------------------


def remind(connection: sa.Connection, now: datetime) -> int:
    """Tell owners whose silence ends soon and still hides something; take the reminder of one that is over back.

    How many signals were sent.
    """
    soon = [silence for silence in _ending(connection, now) if now >= remind_at(silence)]
    hides = _still_hides(connection, [silence.silence_id for silence in soon], now)
    due = [silence for silence in soon if silence.silence_id in hides]
    if due:
        ids = [silence.silence_id for silence in due]
        connection.execute(sa.update(silences).where(_S.silence_id.in_(ids)).values(reminded_at=now))
    raised = [_reminder(silence, hides[silence.silence_id], now) for silence in due]
    over = [_over(silence, now) for silence in _reminded_and_over(connection, now)]
    commands.send(connection, [*raised, *over], now=now)
    return len(raised) + len(over)


def remind_at(silence: Silence) -> datetime:
    """When its owner is reminded."""
    return silence.ends_at - min(REMIND, (silence.ends_at - silence.starts_at) / 4)


def _ending(connection: sa.Connection, now: datetime) -> list[Silence]:
    near = [_S.ends_at <= now + REMIND, _S.ends_at > now, _S.starts_at <= now]
    return _read(connection, *near, _S.ended_at.is_(None), _S.reminded_at.is_(None))


def _still_hides(connection: sa.Connection, silence_ids: Sequence[int], now: datetime) -> dict[int, int]:
    """By silence, how many items it hides now."""
    if not silence_ids:
        return {}
    h = alert_hidden.c
    query = (
        sa.select(h.by_id, sa.func.count())
        .where(h.ended_at.is_(None), h.stage == "silence", h.by_id.in_(silence_ids), h.since <= now)
        .group_by(h.by_id)
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def _reminded_and_over(connection: sa.Connection, now: datetime) -> list[Silence]:
    item = sa.literal("silence:") + sa.cast(_S.silence_id, sa.Text)
    is_open = sa.exists().where(alert_items.c.item == item, alert_items.c.cleared_at.is_(None))
    lately = _S.ends_at > now - LATELY - LONGEST
    return _read(
        connection, _S.reminded_at.is_not(None), sa.or_(_S.ends_at <= now, _S.ended_at <= now), lately, is_open
    )


def _reminder(silence: Silence, hides: int, now: datetime) -> Signal:
    what = f"{hides} open {'item' if hides == 1 else 'items'}"
    return Signal(
        action="raise",
        kind="platform",
        rule=REMINDER,
        group={"silence": str(silence.silence_id)},
        item=f"silence:{silence.silence_id}",
        at=now,
        title="A silence ends soon",
        summary=f"silence {silence.silence_id} ({matcher.said(silence.matchers)}; {silence.reason}) ends at"
        f" {when(silence.ends_at)}, and hides {what} that will be told then",
        severity="info",
        labels={"silence": str(silence.silence_id)},
        owner=silence.owner or silence.created_by,
    )


def _over(silence: Silence, now: datetime) -> Signal:
    item = f"silence:{silence.silence_id}"
    group = {"silence": str(silence.silence_id)}
    return Signal(
        action="clear", kind="platform", rule=REMINDER, group=group, item=item, at=now, why="the silence is over"
    )


def covers(connection: sa.Connection, now: datetime) -> list[Cover]:
    """What the active silences keep."""
    return [silence.cover() for silence in active(connection, now)]
