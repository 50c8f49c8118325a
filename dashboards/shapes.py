"""The JSON that the read API answers: plain dicts, times in UTC with Z, money as text."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args

import sqlalchemy as sa

from alerting import text
from alerting.message import Related
from alerting.wave import Whom
from dashboards.queries import exceptions, gaps
from dashboards.queries import journey as one
from dashboards.queries.alerts import Alert
from dashboards.queries.journeys import Row
from dashboards.queries.quarantine import Detail, Group, Skewed
from dashboards.queries.quarantine import Row as QuarantineRow
from dashboards.queries.sources import Source
from milepost.catalog.schema import Catalog, Model
from milepost.inbox.quarantine.mend import Outcome, Report, Verdict


def journey_row(row: Row) -> dict[str, Any]:
    names = ("channel", "warehouse", "carrier", "partner", "currency")
    values = {name: getattr(row, name) for name in names if getattr(row, name) is not None}
    if row.amount is not None:
        values["amount"] = one.money_text(row.amount)
    return {
        "id": row.journey_id,
        "kind": row.kind,
        "key": row.key,
        "namespace": row.namespace,
        "state": row.state,
        "stage": row.stage,
        "started_at": row.started_at,
        "last_at": row.last_at,
        "attributes": values,
        "at_risk": row.at_risk,
        "breached": row.breached,
        "next_due_at": row.due_at,
        "late_since": row.late_since,
        "late_by": row.late_by,
    }


def journey(connection: sa.Connection, catalog: Catalog, head: one.Head) -> dict[str, Any]:
    """Everything about one journey."""
    found = one.member_list(connection, head.journey_id)
    ids = [member.object_id for member in found]
    names = {member.object_id: {"type": member.type, "key": member.key} for member in found}
    milestones = one.milestone_list(connection, head.journey_id)
    return {
        "id": head.journey_id,
        "kind": head.kind,
        "key": head.key,
        "namespace": head.namespace,
        "state": head.state,
        "stage": head.stage,
        "started_at": head.started_at,
        "last_at": head.last_at,
        "completed_at": head.completed_at,
        "attributes": one.attributes(connection, head, found),
        "milestones": [_milestone(item) for item in milestones],
        "missing": _missing(connection, catalog.models.get(head.kind), milestones, found),
        "members": [{**names[item.object_id], "namespace": item.namespace} for item in found],
        "links": [_link(link, names) for link in one.link_list(connection, catalog.models.get(head.kind), found)],
        "events": [_event(event) for event in one.event_list(connection, head, ids)],
        "exceptions": [exception(row) for row in exceptions.of_objects(connection, ids)],
        "clocks": [_clock(clock, names) for clock in one.clock_list(connection, head.journey_id)],
        "breaches": [_breach(row, names) for row in one.breach_list(connection, head.journey_id)],
    }


def _milestone(item: one.Milestone) -> dict[str, Any]:
    return {"name": item.name, "first_at": item.first_at, "last_at": item.last_at, "count": item.count}


def _missing(
    connection: sa.Connection, model: Model | None, reached: Sequence[one.Milestone], members: Sequence[one.Member]
) -> list[str]:
    if model is None:
        return []
    return gaps.of_journey(connection, model, {item.name for item in reached}, {member.type for member in members})


def exception(row: exceptions.Row) -> dict[str, Any]:
    names = ("type", "kind", "outcome", "code", "source", "reason", "count")
    times = ("opened_at", "last_at", "resolved_at", "resolved_by")
    about = {"type": row.object_type, "namespace": row.namespace, "key": row.key}
    return {"object": about, **{name: getattr(row, name) for name in (*names, *times)}}


def _link(link: one.Link, names: Mapping[int, Mapping[str, str]]) -> dict[str, Any]:
    return {
        "parent": names[link.parent_id],
        "child": names[link.child_id],
        "rel": link.rel,
        "event": {"source": link.source, "id": link.event_id},
    }


def _event(event: one.Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": event.occurred_at,
        "received_at": event.received_at,
        "claimed_at": event.claimed_at,
        "outcome": event.outcome,
        "code": event.code,
        "correlationid": event.correlation_id,
        "flags": list(event.flags),
        "data": event.body.get("data", {}) if isinstance(event.body, dict) else {},
    }


def _clock(clock: one.ClockRow, names: Mapping[int, Mapping[str, str]]) -> dict[str, Any]:
    return {
        "policy": clock.policy,
        "subject": names.get(clock.subject_id),
        "state": clock.state,
        "started_at": clock.started_at,
        "due_at": clock.due_at,
        "stopped_at": clock.stopped_at,
        "paused_at": clock.paused_at,
        "paused_by": clock.paused_by or None,
    }


def _breach(row: Mapping[str, Any], names: Mapping[int, Mapping[str, str]]) -> dict[str, Any]:
    values = {name: value for name, value in row.items() if name not in ("subject_id", "evidence")}
    return {**values, "subject": names.get(row["subject_id"]), "why": row["evidence"].get("why")}


def alert(row: Alert) -> dict[str, Any]:
    values = asdict(row)
    del values["findings"]
    return {"id": values.pop("alert_id"), **values}


def alert_detail(
    row: Alert,
    whom: Whom,
    related: Sequence[Related],
    items: Sequence[Mapping[str, Any]],
    changes: Sequence[Mapping[str, Any]],
    deliveries: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    known = row.known
    found = {
        **whom._asdict(),
        "before": known.before,
        "cause": text.because(known.cause, known.model) if known.cause else None,
        "related": related,
    }
    return {**alert(row), **found, "items": items, "changes": changes, "notifications": deliveries}


def source(row: Source) -> dict[str, Any]:
    names = ("source", "title", "system", "owner", "first_received_at", "last_received_at", "last_occurred_at")
    counts = ("events", "duplicates", "conflicts", "skewed", "refused", "quarantined", "unkept")
    return {
        **{name: getattr(row, name) for name in (*names, *counts)},
        "rate_per_minute": round(row.rate, 2),
        "lag_seconds": {"mean": row.lag_mean, "max": row.lag_max},
        "usual_gap_seconds": row.feed.usual_gap.total_seconds() if row.feed.usual_gap is not None else None,
        "silent_since": row.feed.silent_since,
        "silences": [
            {"policy": one.policy, "due_at": one.since, "match": one.labels, "alert": one.alert_id}
            for one in row.feed.silences
        ],
        "policies": [{"name": one.policy, "within": one.within} for one in row.feed.promises],
        "holds_back": row.feed.held,
    }


def quarantine_group(group: Group) -> dict[str, Any]:
    values = asdict(group)
    return {"group": values.pop("group_id"), **values}


def quarantine_row(row: QuarantineRow) -> dict[str, Any]:
    values = asdict(row)
    return {"id": values.pop("quarantine_id"), "group": values.pop("group_id"), **values}


def quarantine_detail(found: Detail) -> dict[str, Any]:
    """`stands`: for a conflict, the event that is stored."""
    revisions = [
        {"revision": one.revision, "at": one.at, "actor": one.actor, **_body(one.body)} for one in found.revisions
    ]
    more = {"context": found.context, "revisions": revisions, "stands": found.stands}
    return {**quarantine_row(found.row), **_body(found.body), **more}


def _body(body: bytes) -> dict[str, str]:
    """As text; as base64 where it is no UTF-8."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def quarantine_verdict(verdict: Verdict) -> dict[str, Any]:
    values = asdict(verdict)
    return {"id": values.pop("quarantine_id"), **values, "events": list(verdict.events)}


def quarantine_report(report: Report) -> dict[str, Any]:
    outcomes = {name: report.outcomes[name] for name in get_args(Outcome)}
    notes = [{"note": note, "rows": rows} for note, rows in report.notes.most_common()]
    return {**outcomes, "notes": notes, "more": report.more}


def skewed(row: Skewed) -> dict[str, Any]:
    ahead = (row.claimed_at - row.received_at).total_seconds() if row.claimed_at else None
    return {
        "id": row.event_id, "source": row.source, "type": row.type, "received_at": row.received_at,
        "claimed_at": row.claimed_at, "ahead_seconds": ahead,
    }  # fmt: skip
