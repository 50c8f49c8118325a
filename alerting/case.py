"""An alert in a step of the pipeline, and what there is to remember of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alerting import escalate, lifecycle, route
from alerting.desk import Desk
from alerting.escalate import Rung
from alerting.group import Batch
from alerting.hiding import Candidate
from alerting.lifecycle import RANK, Alert, What
from alerting.limit import Event
from alerting.message import ITEMS_SHOWN
from alerting.route import Way
from alerting.signal import Act
from alerting.store import MILEPOST, Change
from milepost.catalog.schema import Severity


@dataclass(frozen=True, slots=True)
class Case:
    """An alert that a step works on: as it was stored, as it becomes, and through what.

    `loud`: what is to be told of it, raised in this step or out of hiding; `news`: whether that, or what ended, is new.
    `quiet_until`: until then nothing is told of it but an acknowledgement and the end.
    """

    before: Alert | None
    alert: Alert
    batch: Batch | None = None
    act: Act | None = None
    happened: tuple[What, ...] = ()
    loud: Sequence[Candidate] = ()
    news: bool = False
    quiet_until: datetime | None = None

    @property
    def worse(self) -> bool:
        """Whether something that is to be told is more severe than all that was told before."""
        told = self.alert.told_severity
        before = RANK[told] if told else -1
        return any(RANK[one.signal.severity] > before for one in self.loud)

    @property
    def told(self) -> Severity | None:
        """The highest severity that was told, once this is."""
        told = self.alert.told_severity
        for one in self.loud:
            told = lifecycle.worst(told or "info", one.signal.severity)
        return told


# --- the record of it -------------------------------------------------------------------------------------------------


def changes_of(case: Case, now: datetime) -> list[Change]:
    """What happened to it, for its history."""
    actor = case.act.actor if case.act else MILEPOST
    detail = _detail(case)
    changes = [Change(case.alert.alert_id, now, what, actor, detail) for what in case.happened]
    return [*_retracted(case, now), *changes]


def notes(alert: Alert, way: Way, rungs: Sequence[Rung], events: Mapping[str, Event], desk: Desk) -> list[Change]:
    """Which way it took, and whom that reached."""
    new = [name for name in route.channels(desk, way.taken) if events.get(name) in ("opened", "reopened")]
    found: list[tuple[What, dict[str, Any]]] = []
    if new:
        names = [name for index in way.taken for name in desk.routing.routes[index].channels]
        routes = [route.title(desk.routing, index) for index in way.taken]
        found.append(("routed", {"routes": routes, "channels": new, "on_call": desk.on_call(names)}))
    found += [("escalated", escalate.note(rung, desk)) for rung in rungs]
    return [Change(alert.alert_id, desk.now, what, MILEPOST, detail) for what, detail in found]


def _detail(case: Case) -> Mapping[str, Any]:
    if case.act is not None:
        return {"reason": case.act.reason} if case.act.reason else {}
    if case.batch is None:
        return {}
    return {
        "added": case.batch.added,
        "cleared": dict(case.batch.cleared),
        "open": case.alert.items_open,
        "severity": case.alert.severity,
    }


def _retracted(case: Case, now: datetime) -> list[Change]:
    """What late evidence took back has an entry of its own."""
    if case.batch is None or not case.batch.cleared["retracted"]:
        return []
    items = [item for item, why in case.batch.ended.items() if why == "retracted"]
    detail = {"count": case.batch.cleared["retracted"], "items": items[:ITEMS_SHOWN]}
    return [Change(case.alert.alert_id, now, "retracted", MILEPOST, detail)]
