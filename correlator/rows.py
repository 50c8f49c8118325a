"""The rows that a step of the assembler writes, and what of a journey changed since it was last written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from correlator.assess import Journey
from correlator.model import MAX_VALUE
from milepost.db.staging import Row, Rows, wire_time
from milepost.journeystate import JourneyChange, JourneyFacts, Member, Reached, encode_facts

MAX_DEPTH: Final = 32_767
"""What the column of a member's depth holds; a longer chain says no more than that it is long."""
DIMENSIONS: Final = ("channel", "warehouse", "carrier", "partner")


@dataclass(slots=True)
class Output:
    """What one step writes."""

    journeys: Rows = field(default_factory=Rows)
    members: Rows = field(default_factory=Rows)
    milestones: Rows = field(default_factory=Rows)
    absorbed: list[int] = field(default_factory=list)
    changes: list[JourneyChange] = field(default_factory=list)


def gone(journey_id: int, model: str, root_id: int, key: str, at_us: int) -> JourneyChange:
    """What the SLA engine is told of a journey that is no more; `at_us` is when it started."""
    return JourneyChange(journey_id, model, root_id, key, "absorbed", at_us, at_us, at_us, None, {}, {}, None, None, [])


def journey_row(journey_id: int, name: str, journey: Journey, facts: JourneyFacts) -> Row:
    root = journey.root
    stage = journey.stage
    attributes = journey.attributes
    return (
        journey_id,
        name,
        root.id,
        root.key,
        root.namespace,
        root.type,
        journey.state,
        stage.name if stage else None,
        stage.rank if stage else -1,
        wire_time(journey.started_us),
        wire_time(journey.last_us),
        wire_time(journey.progress_us),
        wire_time(journey.first_received_us),
        wire_time(journey.last_received_us),
        *(None if attributes.get(field) is None else str(attributes[field])[:MAX_VALUE] for field in DIMENSIONS),
        journey.amount,
        journey.currency,
        wire_time(journey.ended_us) if journey.state == "completed" and journey.ended_us is not None else None,
        encode_facts(facts),
    )


def diff_members(journey_id: int, before: JourneyFacts | None, members: list[Member], output: Output) -> None:
    if before is not None and before.members == members:
        return
    old = {member.object_id: member for member in before.members} if before else {}
    for member in members:
        known = old.pop(member.object_id, None)
        if known != member:
            rows = output.members.new if known is None else output.members.changed
            rows.append((journey_id, member.object_id, member.via_id, min(member.depth, MAX_DEPTH)))
    output.members.gone += [(journey_id, object_id) for object_id in old]


def diff_milestones(journey_id: int, before: JourneyFacts | None, reached: list[Reached], output: Output) -> None:
    if before is not None and before.milestones == reached:
        return
    old = {item.name: item for item in before.milestones} if before else {}
    for item in reached:
        known = old.pop(item.name, None)
        if known != item:
            at, last, received = wire_time(item.reached_us), wire_time(item.last_us), wire_time(item.received_us)
            rows = output.milestones.new if known is None else output.milestones.changed
            rows.append((journey_id, item.name, item.rank, at, last, item.count, item.event_no, received))
    output.milestones.gone += [(journey_id, name) for name in old]
