"""The state of an object, a journey and its clocks as bytes: the only reader and writer of those bytes.

Written as msgpack arrays with a leading version. Times are integers, microseconds since 1970 UTC. Fields are only ever
appended, with a default, so that older bytes stay readable; anything else needs a new VERSION and a branch in `_read`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import IntFlag
from typing import Any, Final

import msgspec
from msgspec import Struct

from milepost.errors import Permanent

VERSION: Final = 1
Scalar = str | int | float | bool | None


class Flag(IntFlag):
    """What was odd about an event; kept with it (input.events.flags)."""

    TIME_MISSING = 1
    CLOCK_SKEW = 2
    AMBIGUOUS = 4  # many-to-many co-mention: related nothing
    NAMESPACE_MISSING = 8  # the attribute that gives a key its namespace is missing
    JUNK_KEY = 16  # a key that the catalog calls junk was left out
    NO_SUBJECT = 32  # names no object of its own type and no correlation
    INDIRECT = 64  # relates objects that no two of its relations lead to from what it is about


class Evidence(Struct, array_like=True, gc=False):
    """The distinct events of one type with outcome ok about one object.

    `first` is the minimum by (time, source, id); the pair (first_no, first_received_us) finds its row.
    """

    count: int
    first_us: int
    first_source: str
    first_id: str
    first_no: int
    first_received_us: int
    last_us: int


class AttributeGroup(Struct, array_like=True, gc=False):
    """The attributes for which one event has the last word, by (time, source, id)."""

    at_us: int
    source: str
    id: str
    values: dict[str, Scalar]


class Trouble(Struct, array_like=True, gc=False, frozen=True):
    """An event about an object that is no progress: outcome retried, failed or rejected, or of a type that the catalog
    calls an exception. Of one type an object keeps MAX_TROUBLES, by (time, source, id)."""

    at_us: int
    source: str
    id: str
    event_no: int
    received_us: int
    outcome: str
    code: str | None
    reason: str | None


MAX_TROUBLES: Final = 64
"""The first and the last 63: hours of retries. Which ones depends on the set of events only."""
MAX_REPEATS: Final = 256
"""Of the times at which something went well, which end what went wrong before: the first and the last 255. That is
2.3 kB of a state at most for each type."""


class ObjectState(Struct, array_like=True, gc=False):
    """All that a journey needs to know of one object. `reached`, `trouble` and `repeats` are by event type.

    `trouble` is in the order of (time, source, id). `repeats` holds MAX_REPEATS times at which an event of a type went
    well, in order; where it is in `reached` only if there is more than one.
    """

    version: int = VERSION
    reached: dict[str, Evidence] = {}
    trouble: dict[str, list[Trouble]] = {}
    attributes: list[AttributeGroup] = []
    events: int = 0
    first_us: int = 0
    last_us: int = 0
    first_received_us: int = 0
    last_received_us: int = 0
    repeats: dict[str, list[int]] | None = None

    def went_well(self, kind: str) -> list[int]:
        """The times, in order, at which events of a type went well, as far as they are kept."""
        times = (self.repeats or {}).get(kind, [])
        first = self.reached.get(kind)
        return times if first is None else sorted({first.first_us, *times})

    def values(self) -> dict[str, Scalar]:
        """The attributes of the object, each with its last value."""
        return {name: value for group in self.attributes for name, value in group.values.items()}


class Member(Struct, array_like=True, gc=False, frozen=True):
    """An object in a journey, and through which member it was reached (None for the root)."""

    object_id: int
    via_id: int | None
    depth: int


class Reached(Struct, array_like=True, gc=False, frozen=True):
    """A milestone that is reached, with its evidence."""

    name: str
    rank: int
    reached_us: int
    last_us: int
    count: int
    event_no: int
    received_us: int
    source: str
    event_id: str


class JourneyFacts(Struct, array_like=True, gc=False):
    """What was last written of a journey: enough to write only what changes."""

    version: int = VERSION
    members: list[Member] = []
    milestones: list[Reached] = []


class Pause(Struct, array_like=True, gc=False, frozen=True):
    """A clock has stood still for `still_us` of its business time so far, and does so since `since_us` (None: it runs).

    The rest is the event that held it last: its type and identity.
    """

    since_us: int | None
    type: str
    source: str
    id: str
    still_us: int


class RunningClock(Struct, array_like=True, gc=False):
    """A clock of a journey. Identity: (journey, policy, subject_id, occurrence).

    It runs until `stopped_us`. While it runs, `breached` says that its breach is open; afterwards, that it had one.
    `state` is running, or how it ended: met, missed, late_known, retracted or stopped. While it stands still, it has
    neither due nor warn time.
    """

    policy: str
    subject_id: int
    occurrence: int
    policy_version: str
    started_us: int
    started_received_us: int
    due_us: int | None
    warn_us: int | None
    warned: bool = False
    breached: bool = False
    stopped_us: int | None = None
    state: str = "running"
    pause: Pause | None = None

    def due_by(self, at_us: int) -> bool:
        """Whether it is past due at this time; one that stands still never is."""
        return self.due_us is not None and self.due_us <= at_us


class JourneyClocks(Struct, array_like=True):
    """All clocks of a journey. The ended ones stay with it, so that late evidence is compared without another read."""

    version: int = VERSION
    running: list[RunningClock] = []
    ended: list[RunningClock] = []


class JourneyChange(Struct, gc=False):
    """A journey as it stands after a recomputation: what the SLA engine is told, in the same transaction.

    `state` is open, completed, cancelled or absorbed; `ended_us` is the business time of the latter two. `states`
    holds the state of every member object, for clocks that run per object. `types` gives each member's object type.
    `quiet`: nobody is to be told of breaches that this brings to light. `new`: nothing is stored under its id yet.
    """

    journey_id: int
    model: str
    root_id: int
    key: str
    state: str
    started_us: int
    last_us: int
    progress_us: int
    ended_us: int | None
    milestones: Mapping[str, Reached]
    attributes: Mapping[str, Scalar]
    amount: Decimal | None
    currency: str | None
    members: Sequence[Member]
    states: Mapping[int, ObjectState] = {}
    types: Mapping[int, str] = {}
    quiet: bool = False
    new: bool = False


def merge_attributes(root: Mapping[str, Scalar], others: Iterable[Mapping[str, Scalar]]) -> dict[str, Scalar]:
    """A journey's attributes (rule 11 of the correlation): the root's value, else the only distinct one among its other
    members, else none. 1, 1.0 and True are three."""
    seen: dict[str, set[tuple[type, Scalar]]] = {}
    for values in others:
        for name, value in values.items():
            if value is not None:
                seen.setdefault(name, set()).add((type(value), value))
    single = {name: next(iter(values))[1] for name, values in seen.items() if len(values) == 1}
    return single | {name: value for name, value in root.items() if value is not None}


_encode: Final = msgspec.msgpack.Encoder(decimal_format="string").encode
_object_decoder: Final = msgspec.msgpack.Decoder(ObjectState)
_facts_decoder: Final = msgspec.msgpack.Decoder(JourneyFacts)
_clocks_decoder: Final = msgspec.msgpack.Decoder(JourneyClocks)


def encode_object(state: ObjectState) -> bytes:
    return _encode(state)


def decode_object(data: bytes) -> ObjectState:
    state = _read(_object_decoder, data)
    assert isinstance(state, ObjectState)
    return state


def encode_facts(facts: JourneyFacts) -> bytes:
    return _encode(facts)


def decode_facts(data: bytes) -> JourneyFacts:
    facts = _read(_facts_decoder, data)
    assert isinstance(facts, JourneyFacts)
    return facts


def encode_clocks(running: Sequence[RunningClock], ended: Sequence[RunningClock] = ()) -> bytes:
    return _encode((VERSION, running, ended))


def decode_clocks(data: bytes) -> list[RunningClock]:
    """The running clocks; the ended ones are rows of derived.clocks."""
    return decode_all_clocks(data).running


def decode_all_clocks(data: bytes) -> JourneyClocks:
    clocks = _read(_clocks_decoder, data)
    assert isinstance(clocks, JourneyClocks)
    return clocks


def _read(decoder: msgspec.msgpack.Decoder[Any], data: bytes) -> Any:
    """All versions so far share one layout; a byte string from a newer Milepost is refused."""
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise Permanent(f"stored state can't be read by this version of Milepost: {error}") from error
