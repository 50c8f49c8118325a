"""Reads and writes record.alert_hidden, what was kept from people: its only writer.

A row stands for one item of an alert, kept by one silence, window, threshold, rule or outage. At most one row of an
item is open. It ends when the item is told after all, when it is cleared, or when something else keeps it from then on.
Only the pipeline calls the writing functions, in its own transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from alerting import route
from alerting.hiding import Candidate, Kept, Place, StageName
from alerting.signal import Signal
from milepost.db.tables import alert_hidden, alert_items, alerts, silences

End = Literal["told", "cleared", "handed on"]
AT_ONCE: Final = 10_000
"""So much that comes out of silences and outages a step judges again at most: one message is to tell of all of it."""
LEISURELY: Final = 1_000
"""So much that only may come out, as rules and routes change, it looks at: what is new is not to wait for it."""
LATELY: Final = timedelta(days=7)
"""Silences that were ended before are not looked at: what they kept came out at their planned end at the latest."""

_TABLE: Final = alert_hidden.c
_OPEN: Final = _TABLE.ended_at.is_(None)


# --- read -------------------------------------------------------------------------------------------------------------


def due(connection: sa.Connection, now: datetime) -> list[Candidate]:
    """What is to be judged again: its time has come, or the silence that keeps it was ended."""
    chosen = sa.select(_TABLE.hidden_id).where(_OPEN).limit(AT_ONCE)
    leisurely = _TABLE.stage.in_(("record_only", "threshold"))
    found = set(connection.scalars(chosen.where(_TABLE.look_at <= now, ~leisurely)))
    found |= set(connection.scalars(chosen.where(_TABLE.look_at <= now, leisurely).limit(LEISURELY)))
    # asked by itself: joined, it would read all that silences hide, four times a second
    ended = list(connection.scalars(sa.select(silences.c.silence_id).where(_ended_lately(now))))
    if ended:
        found |= set(connection.scalars(chosen.where(_TABLE.stage == "silence", _TABLE.by_id == _any(ended))))
    return _candidates(connection, _TABLE.hidden_id == _any(found)) if found else []


def _ended_lately(now: datetime) -> sa.ColumnElement[bool]:
    return silences.c.ended_at.between(now - LATELY, now)


def _any(numbers: Collection[int]) -> sa.ColumnElement[int]:
    return sa.func.any(sa.cast(sorted(numbers), sa.ARRAY(sa.BigInteger)))


def waiting(connection: sa.Connection, alert_ids: Collection[int], stage: StageName) -> list[Candidate]:
    """What a stage keeps of these alerts."""
    return _candidates(connection, _TABLE.alert_id.in_(alert_ids), _TABLE.stage == stage) if alert_ids else []


def of_feeds(connection: sa.Connection, sources: Collection[str], alert_ids: Collection[int]) -> list[Candidate]:
    """What inhibition keeps for the sake of these sources, or of what these alerts explain."""
    if not sources and not alert_ids:
        return []
    by = sa.or_(_TABLE.by_name.in_(sorted(sources)), _TABLE.by_id.in_(sorted(alert_ids)))
    return _candidates(connection, _TABLE.stage == "inhibit", by)


def still_hidden(connection: sa.Connection, places: Collection[Place]) -> dict[Place, StageName]:
    """Which of these items are kept from people, and by which stage."""
    return {(row.alert_id, row.item): row.stage for row in _open_rows(connection, places)}


def _open_rows(connection: sa.Connection, places: Collection[Place]) -> Sequence[sa.Row[Any]]:
    if not places:
        return []
    return connection.execute(sa.select(alert_hidden).where(_OPEN, _among(places))).all()


def _among(places: Iterable[Place]) -> sa.ColumnElement[bool]:
    by_alert: defaultdict[int, list[str]] = defaultdict(list)
    for alert_id, item in sorted(places):
        by_alert[alert_id].append(item)
    return sa.or_(
        sa.false(),
        *(
            sa.and_(_TABLE.alert_id == alert_id, _TABLE.item == sa.func.any(sa.cast(items, sa.ARRAY(sa.Text))))
            for alert_id, items in by_alert.items()
        ),
    )


def _candidates(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[Candidate]:
    its, alert = alert_items.c, alerts.c
    query = (
        sa.select(
            *(_TABLE.alert_id, _TABLE.item, _TABLE.severity, _TABLE.stage),
            *(its.at, its.raised_at, its.summary, its.labels, its.amount, its.currency, its.journey_id),
            *(alert.key, alert.kind, alert.rule, alert.group, alert.owner, alert.runbook),
        )
        .join(alert_items, sa.and_(its.alert_id == _TABLE.alert_id, its.item == _TABLE.item))
        .join(alerts, alert.alert_id == _TABLE.alert_id)
        .where(_OPEN, *conditions)
    )
    return [_candidate(row) for row in connection.execute(query).mappings()]


def _candidate(row: sa.RowMapping) -> Candidate:
    own = {name: row[name] for name in Signal.__slots__ if name in row}
    signal = Signal(action="raise", **own)
    labels = route.labels_of(signal, row["group"])
    return Candidate(row["alert_id"], row["key"], signal, labels, row["raised_at"], held=row["stage"])


# --- written by the pipeline ------------------------------------------------------------------------------------------


def hide(
    connection: sa.Connection,
    kept: Mapping[Place, tuple[StageName, Kept]],
    severities: Mapping[Place, str],
    now: datetime,
) -> list[Kept]:
    """Write what is kept from now on, or still; returns what is kept anew, or by another. `severities`: as each was
    raised."""
    rows = {place: _row(place, stage, why, severities[place], now) for place, (stage, why) in kept.items()}
    stay, move = [], []
    for held in _open_rows(connection, rows):
        row = rows[held.alert_id, held.item]
        same = (held.stage, held.by_id, held.by_name) == (row["stage"], row["by_id"], row["by_name"])
        if same:
            stay.append({"held": held.hidden_id, **_looks(rows.pop((held.alert_id, held.item)))})
        else:
            move.append((held.alert_id, held.item))
    _end(connection, move, "handed on", now)
    if stay:
        connection.execute(sa.update(alert_hidden).where(_TABLE.hidden_id == sa.bindparam("held")), stay)
    if rows:
        connection.execute(sa.insert(alert_hidden), list(rows.values()))
    return [kept[place][1] for place in rows]


def inherit(connection: sa.Connection, alert_id: int, heirs: Mapping[str, str], now: datetime) -> None:
    """Hide items, given with those that go on in them, as those are hidden."""
    if not heirs:
        return
    texts = [sa.cast(list(names), sa.ARRAY(sa.Text)) for names in (heirs.keys(), heirs.values())]
    pairs = sa.func.unnest(*texts).table_valued("item", "former").render_derived()
    copied = [column for column in _TABLE if column.name not in ("hidden_id", "item", "since")]
    found = sa.select(pairs.c.item, sa.literal(now, _TABLE.since.type), *copied).select_from(
        pairs.join(alert_hidden, sa.and_(_OPEN, _TABLE.alert_id == alert_id, _TABLE.item == pairs.c.former))
    )
    query = insert(alert_hidden).from_select(["item", "since", *copied], found)
    connection.execute(query.on_conflict_do_nothing())


def release(connection: sa.Connection, places: Collection[Place], now: datetime) -> None:
    """These are told now."""
    _end(connection, places, "told", now, told_at=now)


def cleared(connection: sa.Connection, places: Collection[Place], now: datetime) -> None:
    """These are right again before anybody was told."""
    _end(connection, places, "cleared", now)


def cleared_all(connection: sa.Connection, alert_id: int, now: datetime) -> None:
    """An alert is over, with everything in it."""
    query = sa.update(alert_hidden).where(_OPEN, _TABLE.alert_id == alert_id)
    connection.execute(query.values(ended_at=now, end="cleared"))


def _end(connection: sa.Connection, places: Collection[Place], how: End, now: datetime, **values: Any) -> None:
    if places:
        query = sa.update(alert_hidden).where(_OPEN, _among(places))
        connection.execute(query.values(ended_at=now, end=how, **values))


def _looks(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("reason", "severity", "until_at", "look_at")}


def _row(place: Place, stage: StageName, why: Kept, severity: str, now: datetime) -> dict[str, Any]:
    return {
        "alert_id": place[0],
        "item": place[1],
        "stage": stage,
        "by_id": why.by_id,
        "by_name": why.by,
        "reason": why.reason,
        "severity": severity,
        "since": now,
        "until_at": why.until,
        "look_at": why.look_at or why.until,
    }
