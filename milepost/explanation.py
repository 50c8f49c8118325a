"""Why a journey is as it is: what the correlator answers, and commands, read API and pages show.

Only data, and the words for it: a page, an answer and a terminal say the same sentences. Times are aware UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

LATE: Final = timedelta(minutes=15)
"""Evidence that comes later than this after what it tells of is told among what changed late."""
SHORT: Final = timedelta(minutes=1)
"""For so long a milestone may be missing before that is told: events of one moment come in any order."""
HISTORY: Final = timedelta(days=1)
"""A journey whose first event came later than this was brought in as history: what comes in its order is no news."""

TieKind = Literal["mention", "link", "correlation", "merge"]
Why = Literal["cut", "excluded", "hub"]
What = Literal["began", "joined", "left", "reached", "moved", "undone", "state"]

FLAGS: Final[Mapping[str, str]] = {
    "time_missing": "gave no time: its reception counts",
    "clock_skew": "claimed a time over five minutes in the future: its reception counts",
    "ambiguous": "named several of two types at once: that relates nothing",
    "namespace_missing": "lacks the attribute that says whose key it is: the source stands in",
    "junk_key": "held a key that means nothing: it was left out",
    "no_subject": "names nothing of its own type",
    "indirect": "relates objects that it isn't about",
}


@dataclass(frozen=True, slots=True)
class Thing:
    """An object, or a correlation, as people know it."""

    object_id: int
    type: str
    namespace: str
    key: str

    def __str__(self) -> str:
        return f"{self.type} {self.key}" + (f" ({self.namespace})" if self.namespace else "")


@dataclass(frozen=True, slots=True)
class Told:
    """A stored event. The type is empty where the event itself is no longer stored."""

    source: str
    id: str
    type: str
    occurred_at: datetime
    received_at: datetime

    @property
    def delay(self) -> timedelta:
        """From what it tells of to its reception."""
        return max(timedelta(), self.received_at - self.occurred_at)


@dataclass(frozen=True, slots=True)
class Tie:
    """What relates two objects, with the event that proved it first; a merge has its decision's number instead."""

    kind: TieKind
    rel: str
    event: Told | None
    decision: int | None = None

    @property
    def text(self) -> str:
        if self.kind == "link":
            return f"linked as {self.rel.replace('_', ' ')}"
        return {"mention": "named together", "correlation": "same correlation id", "merge": "merged"}[self.kind]


@dataclass(frozen=True, slots=True)
class Placed:
    """A member, and through which member it was reached (None for the root). `events` are about it.

    `also` are other members that it stands under by itself, each with the first proof: it would stay by those.
    """

    thing: Thing
    via: Thing | None
    depth: int
    ties: tuple[Tie, ...]
    events: int
    also: tuple[tuple[Thing, Tie], ...] = ()


@dataclass(frozen=True, slots=True)
class KeptOut:
    """Something that a member is related to and that is no member all the same.

    `others`: how many of `other_type` share a hub. `beside` is the member; for what is excluded, the root.
    """

    thing: Thing
    beside: Thing
    why: Why
    tie: Tie | None
    decision: int | None = None
    others: int = 0
    other_type: str = ""

    @property
    def text(self) -> str:
        if self.why == "hub":
            return f"over {self.others - 1:,} of type {self.other_type} share it: it joins nothing"
        act = "the link was cut" if self.why == "cut" else "it was taken out of this journey"
        return f"{act} by decision {self.decision}"


@dataclass(frozen=True, slots=True)
class Shared:
    """A correlation id that several roots name: its own events show, but what else names it does not join.

    `roots` and `things` are the first few, `root_count` and `thing_count` all of them.
    """

    correlation: Thing
    roots: tuple[Thing, ...]
    root_count: int
    things: tuple[Thing, ...]
    thing_count: int

    @property
    def text(self) -> str:
        """Why it joins nothing."""
        rest = f", and leaves out {many(self.thing_count, 'object')} that it would join" if self.thing_count else ""
        return f"{many(self.root_count, 'root')} name this correlation id: it joins nothing{rest}"


@dataclass(frozen=True, slots=True)
class Odd:
    """An event that something was odd about."""

    event: Told
    flags: tuple[str, ...]

    @property
    def text(self) -> str:
        return "; ".join(FLAGS.get(flag, flag) for flag in self.flags)


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision that counts, by whom, when and why."""

    number: int
    act: str
    first: Thing
    second: Thing | None
    actor: str
    at: datetime
    reason: str
    since: datetime | None = None

    @property
    def text(self) -> str:
        return ruling_text(self.act, self.first, self.second, self.since)


def ruling_text(act: str, first: Thing, second: Thing | None, since: datetime | None = None) -> str:
    """What a decision says, in words."""
    return {
        "split": f"since {since:%Y-%m-%d %H:%M:%S}Z {first} is another thing than before" if since else "",
        "cut": f"{first} and {second} don't belong together",
        "exclude": f"{second} is not in the journey of {first}",
        "merge": f"{second} is the same as {first}",
        "lift": f"{first} is no hub",
    }.get(act, f"{act}: {first}" + (f", {second}" if second else ""))


@dataclass(frozen=True, slots=True)
class Change:
    """What became known of a journey at a receipt. `cause` is the event that was received.

    joined, left: `thing`, reached through `via`; `brought` of its events had been received before. reached: the
    milestone `name` at the time `now`. moved: from `was` to `now`. undone: it had been reached at `was`, and no longer
    is, because `thing` joined, where that is why. began, state: the state is `name`, and was `former`. `in_order`:
    it belongs to history that was brought in, and nothing later had been known.
    """

    at: datetime
    what: What
    name: str = ""
    cause: Told | None = None
    evidence: Told | None = None
    thing: Thing | None = None
    via: Thing | None = None
    brought: int = 0
    was: datetime | None = None
    now: datetime | None = None
    former: str = ""
    in_order: bool = False

    @property
    def delay(self) -> timedelta:
        """From when it was so to when it became known."""
        return max(timedelta(), self.at - self.now) if self.now is not None else timedelta()

    @property
    def notable(self) -> bool:
        """Whether late evidence changed what was known: what came in good time and order only added to it."""
        if self.what == "reached":
            return self.delay >= LATE and not self.in_order
        if self.what == "joined":
            return self.brought > 0
        return self.what in ("left", "moved", "undone") or self.former in ("completed", "cancelled")

    @property
    def text(self) -> str:
        name, via = self.name.replace("_", " "), f" through {self.via}" if self.via else ""
        if self.what == "joined":
            events = f", with {many(self.brought, 'event')} received before" if self.brought else ""
            return f"{self.thing} joined{via}{events}"
        return {
            "began": "the journey began",
            "left": f"{self.thing} left",
            "reached": f"{name} reached",
            "moved": f"the time of {name} was corrected",
            "undone": f"{name} is open again" + (f": {self.thing} joined" if self.thing else ""),
            "state": f"{'reopened' if name == 'open' else name}" + (f", it was {self.former}" if self.former else ""),
        }[self.what]


@dataclass(frozen=True, slots=True)
class Missing:
    """A milestone that was missing while the later `beyond` was known, from one receipt to another (None: still is)."""

    name: str
    beyond: str
    since: datetime
    until: datetime | None
    filled_by: Told | None

    @property
    def notable(self) -> bool:
        return self.until is None or self.until - self.since >= SHORT


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that explains one journey. `note` says what could not be told, and why; None when all was."""

    journey_id: int
    kind: str
    root: Thing
    state: str
    stage: str | None
    members: tuple[Placed, ...]
    kept_out: tuple[KeptOut, ...]
    shared: tuple[Shared, ...]
    odd: tuple[Odd, ...]
    rulings: tuple[Ruling, ...]
    changes: tuple[Change, ...]
    missing: tuple[Missing, ...]
    note: str | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """A decision that somebody thinks of: as in milepost.decisions.correlation, or the number of one to reverse."""

    act: str
    first_id: int = 0
    second_id: int | None = None
    reverses: int = 0
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a journey stands."""

    state: str
    stage: str | None
    members: int


@dataclass(frozen=True, slots=True)
class Effect:
    """What a decision does to one journey; `before` or `after` is None where there is none."""

    kind: str
    root: Thing
    before: Standing | None
    after: Standing | None
    joined: tuple[Thing, ...]
    left: tuple[Thing, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a decision would do. `note` says what was not looked at; None when everything was."""

    effects: tuple[Effect, ...]
    note: str | None = None


def many(number: int, one: str) -> str:
    return f"{number:,} {one}" if number == 1 else f"{number:,} {one}s"
