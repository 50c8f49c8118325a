"""The JSON of explanations, decisions and their previews. Every sentence is the one that the page shows too."""

from __future__ import annotations

from typing import Any

from dashboards.queries.decisions import Hub, Listed
from milepost.explanation import (
    Change,
    Effect,
    Explanation,
    KeptOut,
    Missing,
    Odd,
    Placed,
    Preview,
    Ruling,
    Shared,
    Standing,
    Thing,
    Tie,
    Told,
)


def explanation(found: Explanation) -> dict[str, Any]:
    return {
        "id": found.journey_id,
        "kind": found.kind,
        "root": thing(found.root),
        "state": found.state,
        "stage": found.stage,
        "members": [_placed(one) for one in found.members],
        "kept_out": [_kept_out(one) for one in found.kept_out],
        "shared": [_shared(one) for one in found.shared],
        "odd": [_odd(one) for one in found.odd],
        "decisions": [ruling(one) for one in found.rulings],
        "missing": [_missing(one) for one in found.missing],
        "changes": [_change(one) for one in found.changes],
        "note": found.note,
    }


def thing(one: Thing) -> dict[str, str]:
    return {"type": one.type, "key": one.key, "namespace": one.namespace}


def _thing(one: Thing | None) -> dict[str, str] | None:
    return thing(one) if one is not None else None


def _event(one: Told | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "source": one.source, "id": one.id, "type": one.type or None, "time": one.occurred_at,
        "received_at": one.received_at,
    }  # fmt: skip


def _tie(one: Tie | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "kind": one.kind,
        "rel": one.rel or None,
        "text": one.text,
        "event": _event(one.event),
        "decision": one.decision,
    }


def _placed(one: Placed) -> dict[str, Any]:
    ties = [_tie(tie) for tie in one.ties]
    also = [{"through": thing(other), "tie": _tie(tie)} for other, tie in one.also]
    told = {"depth": one.depth, "ties": ties, "also": also, "events": one.events}
    return {**thing(one.thing), "through": _thing(one.via), **told}


def _kept_out(one: KeptOut) -> dict[str, Any]:
    told = {"why": one.why, "text": one.text, "decision": one.decision, "tie": _tie(one.tie)}
    return {**thing(one.thing), "beside": thing(one.beside), **told}


def _shared(one: Shared) -> dict[str, Any]:
    return {
        "correlation": one.correlation.key,
        "roots": [thing(root) for root in one.roots],
        "root_count": one.root_count,
        "not_joined": [thing(other) for other in one.things],
        "not_joined_count": one.thing_count,
    }


def _odd(one: Odd) -> dict[str, Any]:
    return {"event": _event(one.event), "flags": list(one.flags), "text": one.text}


def _missing(one: Missing) -> dict[str, Any]:
    return {
        "milestone": one.name,
        "while": one.beyond,
        "since": one.since,
        "until": one.until,
        "filled_by": _event(one.filled_by),
        "notable": one.notable,
    }


def _change(one: Change) -> dict[str, Any]:
    """What doesn't apply is left out."""
    more = {
        "milestone": one.name if one.what in ("reached", "moved", "undone") else None,
        "state": one.name if one.what in ("began", "state") else None,
        "former_state": one.former or None,
        "object": _thing(one.thing),
        "through": _thing(one.via),
        "events_before": one.brought or None,
        "was": one.was,
        "now": one.now,
        "late_seconds": one.delay.total_seconds() if one.now is not None else None,
        "cause": _event(one.cause),
        "evidence": _event(one.evidence),
    }
    told = {name: value for name, value in more.items() if value is not None}
    return {"at": one.at, "what": one.what, "text": one.text, "notable": one.notable, **told}


# --- decisions --------------------------------------------------------------------------------------------------------


def ruling(one: Ruling) -> dict[str, Any]:
    return {
        "decision": one.number, "act": one.act, "text": one.text, "first": thing(one.first),
        "second": _thing(one.second), "since": one.since, "by": one.actor, "at": one.at, "reason": one.reason,
    }  # fmt: skip


def listed(one: Listed) -> dict[str, Any]:
    back = {"by": one.reversed_by, "at": one.reversed_at, "reason": one.reversed_why} if one.reversed_at else None
    return {**ruling(one.ruling), "reversed": back}


def hub(one: Hub) -> dict[str, Any]:
    return {
        **thing(one.thing), "parent_type": one.parent_type, "parents": one.parents, "sources": one.sources,
        "found_at": one.found_at,
    }  # fmt: skip


def preview(found: Preview) -> dict[str, Any]:
    return {"journeys": [_effect(one) for one in found.effects], "note": found.note}


def _effect(one: Effect) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "root": thing(one.root),
        "before": _standing(one.before),
        "after": _standing(one.after),
        "joined": [thing(other) for other in one.joined],
        "left": [thing(other) for other in one.left],
    }


def _standing(one: Standing | None) -> dict[str, Any] | None:
    return {"state": one.state, "stage": one.stage, "members": one.members} if one is not None else None
