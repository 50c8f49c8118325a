"""Catalogs and journeys for the tests of the SLA engine, written in a few words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import to_us
from milepost.journeystate import (
    AttributeGroup,
    Evidence,
    JourneyChange,
    Member,
    ObjectState,
    Reached,
    Scalar,
    Trouble,
)

MODEL = {
    "roots": ["order", "channel_order"],
    "tree": {"order": ["channel_order", "picking", "shipment"], "picking": ["shipment"]},
    "milestones": [
        {"name": "received", "events": ["order.received"]},
        {"name": "confirmed", "events": ["order.confirmed"]},
        {"name": "allocated", "events": ["picking.created"]},
        {"name": "released", "events": ["picking.released"], "all": "picking"},
        {"name": "packed", "events": ["picking.packed"], "all": "picking"},
        {"name": "dispatched", "events": ["shipment.dispatched"], "all": "shipment"},
        {"name": "delivered", "events": ["shipment.delivered"], "all": "shipment"},
        {"name": "invoiced", "events": ["invoice.posted"]},
    ],
    "complete_when": [{"reached": ["delivered"]}, {"reached": ["packed", "invoiced"], "without": ["shipment"]}],
    "cancelled_by": ["order.cancelled"],
}
NAMES = [str(item["name"]) for item in MODEL["milestones"]]  # type: ignore[index]
SHIPS = {
    "roots": ["shipment"],
    "milestones": [{"name": name, "events": [f"shipment.{name}"]} for name in ("dispatched", "delivered")],
    "complete_when": [{"reached": ["delivered"]}],
}
EXCEPTIONS = {
    "order.held": {"kind": "held", "resolved_by": ["order.released"]},
    "shipment.held": {"kind": "held", "resolved_by": ["shipment.released"]},
    "shipment.exception": {"resolved_by": ["shipment.cleared"]},
}
CALENDARS = {
    "business": {
        "zone": "Europe/Berlin",
        "weekly": {day: [["08:00", "18:00"]] for day in ("mon", "tue", "wed", "thu", "fri")},
        "holidays": ["2026-04-03"],
    },
    "shifts": {
        "zone": "America/New_York",
        "weekly": {day: [["06:00", "12:00"], ["12:30", "22:00"]] for day in ("mon", "wed", "fri", "sun")},
    },
}


def catalog(*policies: Mapping[str, Any], **files: Any) -> Catalog:
    """A catalog of the model `order` above with these policies; `model`, unless told, is order."""
    told = [{"model": "order", **policy} for policy in policies]
    texts = loader.default_texts() | {
        "journeys.yaml": yaml.safe_dump(
            {
                "models": {"order": MODEL, "shipment": SHIPS},
                "exceptions": EXCEPTIONS,
                "dimensions": ["channel", "warehouse", "carrier", "partner"],
            }
        ),
        "slas.yaml": yaml.safe_dump({"policies": told}),
        "calendars.yaml": yaml.safe_dump({"calendars": CALENDARS}),
        **{name.replace("_", "."): yaml.safe_dump(value) for name, value in files.items()},
    }
    return loader.load(texts)


def at(text: str) -> datetime:
    """2026-03-20 10:00, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def us(text: str) -> int:
    return to_us(at(text))


def reached(name: str, when: int, received: int | None = None) -> Reached:
    return Reached(
        name, NAMES.index(name), when, when, 1, 1, when if received is None else received, "erp", f"e-{name}"
    )


def journey(
    steps: Mapping[str, int] | None = None,
    *,
    state: str = "open",
    ended: int | None = None,
    received: Mapping[str, int] | None = None,
    attributes: Mapping[str, Scalar] | None = None,
    objects: Mapping[int, tuple[str, ObjectState]] | None = None,
    started: int = 0,
) -> JourneyChange:
    """A journey of root 1 with milestones at these times (microseconds)."""
    steps = steps or {}
    objects = objects or {}
    late = received or {}
    milestones = {name: reached(name, when, late.get(name)) for name, when in steps.items()}
    begun = started or min(steps.values(), default=0)
    return JourneyChange(
        journey_id=10,
        model="order",
        root_id=1,
        key="S1",
        state=state,
        started_us=begun,
        last_us=max(steps.values(), default=begun),
        progress_us=max(steps.values(), default=begun),
        ended_us=ended,
        milestones=milestones,
        attributes=attributes or {},
        amount=None,
        currency=None,
        members=[Member(1, None, 0), *(Member(number, 1, 1) for number in objects)],
        states={number: item[1] for number, item in objects.items()},
        types={1: "order", **{number: item[0] for number, item in objects.items()}},
    )


def state_of(events: Mapping[str, int], attributes: Mapping[str, Scalar] | None = None) -> ObjectState:
    """The state of an object with one event of each type at these times, received at once."""
    first, last = min(events.values()), max(events.values())
    return ObjectState(
        reached={kind: Evidence(1, when, "erp", f"e-{kind}", 1, when, when) for kind, when in events.items()},
        attributes=[AttributeGroup(first, "erp", "a", dict(attributes))] if attributes else [],
        events=len(events),
        first_us=first,
        last_us=last,
        first_received_us=first,
        last_received_us=last,
    )


def trouble(when: int, outcome: str = "ok", code: str | None = None, received: int | None = None) -> Trouble:
    """An event that opens an exception."""
    return Trouble(when, "erp", f"t{when}", 1, when if received is None else received, outcome, code, None)


def went_well(state: ObjectState, kind: str, times: Iterable[int]) -> None:
    """Events of a type at these times, besides what the state holds."""
    told = sorted(times)
    if told:
        state.reached[kind] = Evidence(len(told), told[0], "erp", f"e-{kind}", 1, told[0], told[-1])
        state.repeats = {**(state.repeats or {}), kind: told}


def held(
    holds: Iterable[int], releases: Iterable[int] = (), *, kind: str = "order", code: str | None = None
) -> ObjectState:
    """The state of an object that was held and released at these times."""
    state = ObjectState(trouble={f"{kind}.held": [trouble(when, code=code) for when in sorted(holds)]})
    went_well(state, f"{kind}.released", releases)
    return state
