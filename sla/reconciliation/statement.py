"""The SQL of a comparison: from the events of a window to one row for each object or journey. Pure.

One pass over the window's partitions finds what both sides say. What one of them said before the window is looked up
for those objects only that are older than it and lack something: by key, in the days of their own life.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from milepost.catalog.reconciliation import Direction, Reconciliation, Side
from milepost.contract import MAX_SKEW_US

TABLE: Final = "compared"
"""A temporary table with a row for each unit: an object, or a journey's root. `at`: when it was first seen within the
window, null for one that is only looked at because something is open of it. `found`: missing_left, missing_right,
amount, excused, or null when both sides agree."""
_SKEW: Final = timedelta(microseconds=MAX_SKEW_US)
_AMOUNT: Final = r"^\s*[+-]?\d{1,14}(\.\d+)?\s*$"


_OPEN_FROM: Final = "FROM record.discrepancies AS d"
_IS_OPEN: Final = " WHERE d.name = :name AND d.gone_at IS NULL"


@dataclass(frozen=True, slots=True)
class Window:
    """What is compared: what a side first told of in [since, until)."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    parameters: Mapping[str, Any]


def compare(name: str, one: Reconciliation, window: Window) -> Statement:
    """Makes TABLE."""
    sql = (
        f"CREATE TEMP TABLE {TABLE} ON COMMIT DROP AS WITH open AS MATERIALIZED"
        f" (SELECT DISTINCT unit AS object_id FROM ({units(one)}) AS u),"
        f" facts ({_COLUMNS}) AS MATERIALIZED ({_facts(one)}),"
        f" wanted AS ({_wanted(one)}), history ({_COLUMNS}) AS ({_history(one)}),"
        f" per_object AS ({_PER_OBJECT}), per_unit AS ({_PER_UNIT}), valued AS ({_valued(one)})"
        f" SELECT v.*, {_found(one)} AS found FROM valued AS v LEFT JOIN open ON open.object_id = v.unit"
        " WHERE v.at IS NOT NULL OR open.object_id IS NOT NULL"
    )
    return Statement(sql, {"name": name, **_parameters(one), **_bounds(window)})


def units(one: Reconciliation) -> str:
    """What is open, as (object_id, unit). A root that another journey has absorbed since counts in that one."""
    if one.by != "journey":
        return f"SELECT d.object_id, d.object_id AS unit {_OPEN_FROM}{_IS_OPEN}"
    return (
        f"SELECT d.object_id, j.root_id AS unit {_OPEN_FROM}"
        " JOIN derived.members AS m ON m.object_id = d.object_id"
        f" JOIN derived.journeys AS j ON j.journey_id = m.journey_id AND j.model = :model{_IS_OPEN}"
    )


def like(pattern: str) -> str:
    """A source's pattern for LIKE."""
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%")


def _bounds(window: Window) -> dict[str, datetime]:
    """`heard`: nothing that occurred in the window was received before it."""
    return {"since": window.since, "until": window.until, "heard": window.since - _SKEW}


def _parameters(one: Reconciliation) -> dict[str, Any]:
    tolerance = one.tolerance
    amounts = {currency: str(amount) for currency, amount in tolerance.amount.items()}
    return {
        **_of_side("left", one.left),
        **_of_side("right", one.right),
        "model": one.model,
        "unless": one.unless,
        "percent": tolerance.percent,
        "amounts": msgspec.json.encode(amounts).decode(),
    }


def _of_side(direction: Direction, side: Side) -> dict[str, Any]:
    return {
        f"{direction}_types": side.events,
        f"{direction}_sources": [like(pattern) for pattern in side.sources],
        f"{direction}_not": [like(pattern) for pattern in side.not_sources],
        f"{direction}_milestone": side.milestone,
        f"{direction}_amount": side.amount,
        f"{direction}_currency": side.currency,
    }


# --- what was said ----------------------------------------------------------------------------------------------------

_COLUMNS: Final = (
    "unit, object_id, at, source, event_id, l, r, x, l_amount, l_currency, r_amount, r_currency, own_amount,"
    " own_currency"
)
"""l, r, x: the left or right side says it, or it excuses. own: what the journey itself is worth."""
_SAID: Final = (
    "s.at, s.source, s.event_id, s.l, s.r, s.x,"
    f" CASE WHEN s.l_amount ~ '{_AMOUNT}' THEN s.l_amount END, s.l_currency,"
    f" CASE WHEN s.r_amount ~ '{_AMOUNT}' THEN s.r_amount END, s.r_currency"
)


def _says(direction: Direction, side: Side) -> str:
    if not side.events:
        return "false"
    parts = [f"e.type = ANY(CAST(:{direction}_types AS text[]))"]
    if side.sources:
        parts.append(f"e.source LIKE ANY(CAST(:{direction}_sources AS text[]))")
    if side.not_sources:
        parts.append(f"NOT e.source LIKE ANY(CAST(:{direction}_not AS text[]))")
    return f"({' AND '.join(parts)})"


def _conditions(one: Reconciliation) -> tuple[str, str, str]:
    excuses = "(e.type = ANY(CAST(:unless AS text[])))" if one.unless else "false"
    return _says("left", one.left), _says("right", one.right), excuses


def _event_columns(one: Reconciliation) -> str:
    """What is taken of an event: e is input.events."""
    left, right, excuses = _conditions(one)

    def value(condition: str, name: str) -> str:
        return f"CASE WHEN {condition} THEN e.body #>> ARRAY['data', 'attributes', CAST(:{name} AS text)] END"

    return (
        f"e.occurred_at AS at, e.source, e.event_id, {left} AS l, {right} AS r, {excuses} AS x,"
        f" {value(left, 'left_amount')} AS l_amount, {value(left, 'left_currency')} AS l_currency,"
        f" {value(right, 'right_amount')} AS r_amount, {value(right, 'right_currency')} AS r_currency"
    )


def _telling(one: Reconciliation) -> str:
    return " OR ".join(condition for condition in _conditions(one) if condition != "false")


def _facts(one: Reconciliation) -> str:
    """What was received from the window's beginning on, and the milestones that were reached since."""
    parts = [_heard(one)] if _telling(one) else []
    parts += [f"{_milestones(side)} AND s.reached_at >= :since" for side in _by_milestone(one)]
    return " UNION ALL ".join(parts)


def _by_milestone(one: Reconciliation) -> list[Direction]:
    sides: tuple[Direction, ...] = ("left", "right")
    return [side for side in sides if one.side(side).milestone is not None]


def _heard(one: Reconciliation) -> str:
    """OFFSET 0: what is needed of an event's body is taken before the joins, which then carry a few columns only."""
    joined, unit, own = "", "eo.object_id", "NULL::numeric, NULL::text"
    if one.by == "journey":
        joined = (
            " JOIN derived.members AS m ON m.object_id = eo.object_id"
            " JOIN derived.journeys AS j ON j.journey_id = m.journey_id AND j.model = :model"
        )
        unit, own = "j.root_id", "j.amount, j.currency"
    return (
        f"SELECT {unit}, eo.object_id, {_SAID}, {own} FROM (SELECT e.event_no, {_event_columns(one)}"
        f" FROM input.events AS e WHERE e.received_at >= :heard AND e.outcome = 'ok' AND ({_telling(one)})"
        " OFFSET 0) AS s JOIN input.event_object AS eo"
        f" ON eo.event_no = s.event_no AND eo.received_at >= :heard AND eo.subject{joined}"
    )


def _milestones(direction: Direction) -> str:
    left = direction == "left"
    amounts = "j.amount::text, j.currency, NULL, NULL" if left else "NULL, NULL, j.amount::text, j.currency"
    return (
        f"SELECT j.root_id, j.root_id, s.reached_at, '', '', {str(left).lower()}, {str(not left).lower()}, false,"
        f" {amounts}, j.amount, j.currency"
        " FROM derived.milestones AS s JOIN derived.journeys AS j ON j.journey_id = s.journey_id"
        f" WHERE j.model = :model AND s.name = :{direction}_milestone"
    )


# --- what was said before ---------------------------------------------------------------------------------------------

_IN_WINDOW: Final = "at >= :since AND at < :until"


def _judged(one: Reconciliation) -> str:
    """Of a unit's facts: it is one of the window's."""
    either = "(l OR r)" if one.both_ways or one.by == "day" else "l"
    return f"coalesce(bool_or({either} AND {_IN_WINDOW}), false)"


def _wanted(one: Reconciliation) -> str:
    """The units of which older facts may count: amounts must be complete, else only what is missing is looked for."""
    if one.by == "day":
        return "SELECT NULL::bigint AS unit WHERE false"
    judged = f"SELECT unit FROM facts GROUP BY unit HAVING {_judged(one)}"
    if one.compare == "presence":
        return f"{judged} AND NOT (bool_or(l) AND bool_or(r))"
    return f"{judged} UNION SELECT object_id FROM open WHERE object_id IN (SELECT unit FROM facts)"


def _history(one: Reconciliation) -> str:
    """Facts of the wanted units from before the window. OFFSET 0: or PostgreSQL might read all of history for it."""
    parts = [_told_before(one)] if _telling(one) and one.by != "day" else []
    wanted = "s.reached_at < :since AND j.root_id IN (SELECT unit FROM wanted)"
    parts += [f"{_milestones(side)} AND {wanted}" for side in _by_milestone(one)]
    return " UNION ALL ".join(parts) or "SELECT * FROM facts WHERE false"


def _told_before(one: Reconciliation) -> str:
    if one.by == "journey":
        life = (
            "derived.journeys AS j ON j.model = :model AND j.root_id = w.unit AND j.first_received_at < :heard"
            " JOIN derived.members AS m ON m.journey_id = j.journey_id"
        )
        member, begun, own = "m.object_id", "j.first_received_at", "j.amount, j.currency"
    else:
        life = (
            "LATERAL (SELECT coalesce(min(j.first_received_at), '-infinity') AS begun FROM derived.members AS m"
            " JOIN derived.journeys AS j ON j.journey_id = m.journey_id WHERE m.object_id = w.unit) AS b"
            " ON b.begun < :heard"
        )
        member, begun, own = "w.unit", "b.begun", "NULL::numeric, NULL::text"
    return (
        f"SELECT w.unit, {member}, {_SAID}, {own} FROM wanted AS w JOIN {life} CROSS JOIN LATERAL"
        f" (SELECT {_event_columns(one)} FROM input.event_object AS eo JOIN input.events AS e"
        " ON e.event_no = eo.event_no AND e.received_at = eo.received_at"
        f" WHERE eo.object_id = {member} AND eo.subject AND eo.received_at >= {begun} AND eo.received_at < :heard"
        f" AND e.outcome = 'ok' AND ({_telling(one)}) OFFSET 0) AS s"
    )


# --- what comes of it -------------------------------------------------------------------------------------------------


def _last(side: str) -> str:
    """The last amount by (time, source, id), with its currency: as text of which the greatest is the last."""
    order = "lpad(CAST(CAST(extract(epoch FROM at) * 1000000 AS bigint) AS text), 20, '0')"
    return (
        f"max(ARRAY[{order}, source, event_id, {side}_amount, coalesce({side}_currency, '')])"
        f" FILTER (WHERE {side}_amount IS NOT NULL) AS {side}_last"
    )


_PER_OBJECT: Final = (
    f"SELECT unit, object_id, min(at) FILTER (WHERE l AND {_IN_WINDOW}) AS l_at, min(at) FILTER (WHERE l) AS l_seen,"
    f" min(at) FILTER (WHERE r AND {_IN_WINDOW}) AS r_at, min(at) FILTER (WHERE r) AS r_seen, bool_or(x) AS x,"
    f" {_last('l')}, {_last('r')}, min(own_amount) AS own_amount, min(own_currency) AS own_currency"
    " FROM (SELECT * FROM facts UNION ALL SELECT * FROM history) AS f GROUP BY unit, object_id"
)


def _sum(side: str) -> str:
    """Nothing where a unit's amounts have several currencies: they are never summed."""
    return (
        f"CASE WHEN min({side}_last[5]) = max({side}_last[5]) THEN sum({side}_last[4]::numeric) END AS {side}_amount,"
        f" nullif(min({side}_last[5]), '') AS {side}_currency"
    )


_PER_UNIT: Final = (
    "SELECT unit, min(l_at) AS l_at, min(l_seen) AS l_seen, min(r_at) AS r_at, min(r_seen) AS r_seen, bool_or(x) AS x,"
    f" {_sum('l')}, {_sum('r')}, min(own_amount) AS own_amount, min(own_currency) AS own_currency"
    " FROM per_object GROUP BY unit"
)


def _valued(one: Reconciliation) -> str:
    """Amounts as numeric(18,4). Where only presence counts, what no message tells is what the journey is worth."""
    at = "coalesce(l_at, r_at)" if one.both_ways or one.by == "day" else "l_at"
    times = f"unit, {at} AS at, l_at, l_seen, r_at, r_seen, x"
    if one.compare != "presence":
        return (
            f"SELECT {times}, l_amount::numeric(18,4) AS l_amount, l_currency, r_amount::numeric(18,4) AS r_amount,"
            " r_currency FROM per_unit"
        )
    amount = "coalesce(l_amount, own_amount, r_amount)::numeric(18,4)"
    currency = (
        "CASE WHEN l_amount IS NOT NULL THEN l_currency WHEN own_amount IS NOT NULL THEN own_currency"
        " ELSE r_currency END"
    )
    return (
        f"SELECT {times}, CASE WHEN l_seen IS NOT NULL THEN {amount} END AS l_amount,"
        f" CASE WHEN l_seen IS NOT NULL THEN {currency} END AS l_currency,"
        f" CASE WHEN r_seen IS NOT NULL THEN {amount} END AS r_amount,"
        f" CASE WHEN r_seen IS NOT NULL THEN {currency} END AS r_currency FROM per_unit"
    )


_DIFFERS: Final = (
    "v.l_amount IS NOT NULL AND v.r_amount IS NOT NULL AND (v.l_currency <> v.r_currency OR"
    " abs(v.l_amount - v.r_amount) > greatest(CAST(:percent AS numeric) / 100 * greatest(abs(v.l_amount),"
    " abs(v.r_amount)), coalesce(CAST(CAST(:amounts AS jsonb) ->> v.l_currency AS numeric), 0)))"
)


def _found(one: Reconciliation) -> str:
    if one.by == "day":
        return "NULL::text"
    missing = ["WHEN v.l_at IS NOT NULL AND v.r_seen IS NULL THEN 'missing_right'"]
    if one.both_ways:
        missing.append("WHEN v.r_at IS NOT NULL AND v.l_seen IS NULL THEN 'missing_left'")
    cases = missing if one.compare == "presence" else [f"WHEN {_DIFFERS} THEN 'amount'"]
    kind = f"CASE {' '.join(cases)} END"
    return f"CASE WHEN v.x AND {kind} IS NOT NULL THEN 'excused' ELSE {kind} END"


# --- what is no longer so ---------------------------------------------------------------------------------------------

_SEEN: Final = "min(CASE d.kind WHEN 'missing_right' THEN c.r_seen WHEN 'missing_left' THEN c.l_seen END)"
_AGREE: Final = "c.found IS DISTINCT FROM 'amount' AND c.l_amount IS NOT NULL AND c.r_amount IS NOT NULL"


def close(one: Reconciliation, told: str) -> str:
    """Ends what is open and no longer so, `most` at once, after `compare`. Returns the columns `told` of d, why, and
    when the side that lacked it told of it."""
    absorbed = "WHEN count(*) FILTER (WHERE u.unit = d.object_id) = 0 THEN 'absorbed' " if one.by == "journey" else ""
    return (
        f"WITH units AS ({units(one)}), over AS (SELECT d.discrepancy_id AS id, CASE"
        f" WHEN {_SEEN} IS NOT NULL THEN 'matched' WHEN bool_or(c.x) THEN 'excused'"
        f" WHEN d.kind = 'amount' AND bool_or(c.unit = d.object_id AND {_AGREE}) THEN 'matched' {absorbed}"
        " WHEN d.version <> :version AND count(*) FILTER (WHERE c.found = d.kind) = 0 THEN 'withdrawn' END AS why,"
        f" {_SEEN} AS seen_at {_OPEN_FROM} LEFT JOIN units AS u ON u.object_id = d.object_id"
        f" LEFT JOIN {TABLE} AS c ON c.unit = u.unit{_IS_OPEN} GROUP BY d.discrepancy_id)"
        " UPDATE record.discrepancies AS d SET gone_at = :now, why = picked.why"
        " FROM (SELECT * FROM over WHERE why IS NOT NULL ORDER BY id LIMIT :most) AS picked"
        f" WHERE d.discrepancy_id = picked.id RETURNING {told}, d.why, picked.seen_at"
    )
