"""The shape of the catalog: journey models, SLA policies, calendars, routes, sources, partners, mappings.

These are plain frozen structs, made from YAML by milepost/catalog/loader.py, which also checks what types can't say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta, Struct, field

from milepost.catalog.edi import Edi
from milepost.catalog.epcis import EpcisSpec
from milepost.catalog.folder import FolderSpec
from milepost.catalog.mapping import MappingSpec
from milepost.catalog.privacy import Privacy

if TYPE_CHECKING:
    from milepost.catalog.flow import FlowPolicy
    from milepost.catalog.policy import Policy, ServiceClass
    from milepost.catalog.reconciliation import Reconciliation
    from milepost.catalog.routing import Routing
    from milepost.catalog.window import Window

Ident = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_\-]*$")]
TypeName = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
TimeOfDay = Annotated[str, Meta(pattern=r"^(([01]?\d|2[0-3]):[0-5]\d|24:00)$")]
Severity = Literal["info", "warning", "critical"]
CORRELATION: Final = "correlation"
"""Counts as the type of correlation ids, which live in a table of their own but share the ids of objects. Keys have
rules for it, and no model may name it."""

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d|w)")
_LONGEST_DAYS: Final = 36_500


class Duration:
    """A length of time written like 90s, 15m, 4h, 1h30m, 2d, 1w; at most 36,500d. `us` is in microseconds.

    In business time a day is 24 hours of open time; say hours when you mean working days.
    """

    __slots__ = ("text", "us")

    def __init__(self, text: str) -> None:
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(f'"{text}" is not a duration; write it like 90s, 15m, 4h, 1h30m or 2d')
        seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
        if seconds > _LONGEST_DAYS * _UNITS["d"]:
            raise ValueError(f'"{text}" is too long a duration; the longest is {_LONGEST_DAYS}d')
        self.text = text
        self.us = round(seconds * 1_000_000)

    def __repr__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and other.us == self.us

    def __hash__(self) -> int:
        return hash(self.us)


class KeyStep(Struct, frozen=True, forbid_unknown_fields=True):
    """One step that makes keys comparable, with what it takes away.

    `drop`: characters, wherever they stand. `prefix`: what keys may begin with; a key that is nothing else stays.
    `replace`: a regular expression, whose matches become `with`.
    """

    drop: str | None = None
    prefix: str | list[str] | None = None
    replace: str | None = None
    with_: str = field(default="", name="with")


class KeyRule(Struct, frozen=True, forbid_unknown_fields=True):
    """How keys of one type are made comparable, and which space they are unique in.

    `junk`: words that are no key of this type, beside those of all types; `not_junk`: words that are one all the same.
    `namespace`: none, source, or the name of an attribute of the event (partner, company, carrier).
    """

    normalise: list[Literal["strip", "upper", "lower", "strip_zeros", "alphanumeric"] | KeyStep] = field(
        default_factory=lambda: ["strip"]
    )
    junk: list[str] = []
    not_junk: list[str] = []
    namespace: str = "none"


class Milestone(Struct, frozen=True, forbid_unknown_fields=True):
    """A named step. Its place in the list is its rank.

    Without `all`, the first event about any member reaches it. With `all: <type>`, every member of that type which is
    not cancelled must have it, and it is reached at the last one's time; a journey without such members takes `any`.
    `beside`: it runs beside the flow, as invoicing and payment do; it is never the stage and ends no dwelling.
    `optional`: it needn't happen. Any other of the flow is missing once a later one of the flow is reached. `source`:
    who is to tell it; without it, whoever mostly does.
    """

    name: Ident
    events: Annotated[list[str], Meta(min_length=1)]
    all: TypeName | None = None
    beside: bool = False
    optional: bool = False
    source: str | None = None
    title: str = ""


class Completion(Struct, frozen=True, forbid_unknown_fields=True):
    """One way to be complete: all of `reached`, and no member of the types in `without`."""

    reached: Annotated[list[Ident], Meta(min_length=1)]
    without: list[TypeName] = []


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """A journey model. `roots` in order of preference; `tree` gives the children of a type; the graph is acyclic."""

    name: str = ""
    title: str = ""
    roots: Annotated[list[TypeName], Meta(min_length=1)] = []
    tree: dict[TypeName, list[TypeName]] = {}
    milestones: Annotated[list[Milestone], Meta(min_length=1)] = []
    complete_when: list[Completion] = []
    cancelled_by: list[str] = []
    amount: str = "amount"
    currency: str = "currency"


class ExceptionRule(Struct, frozen=True, forbid_unknown_fields=True):
    """An event type that opens an exception of its subject, whatever its outcome, and the types that resolve it.

    business: a rule of the business said no. technical: a system failed. held: the object waits on purpose; only
    outcome `ok` holds it.
    """

    resolved_by: Annotated[list[str], Meta(min_length=1)]
    kind: Literal["business", "technical", "held"] = "business"


class Shift(Struct, frozen=True, array_like=True):
    """Opening and closing wall time of one shift, "08:00" to "17:00"."""

    opens: str
    closes: str


class CalendarSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """When business time runs. No `weekly`: always.

    `days`: dates with hours of their own, before anything else. `cut_offs`: until when an order still leaves on that
    day, such as the times of a carrier's pick-ups.
    """

    zone: str = "UTC"
    weekly: dict[Day, list[Shift]] | None = None
    cut_offs: dict[Day, TimeOfDay] = {}
    holidays: list[str] = []
    days: dict[str, list[Shift]] = {}
    country: str | None = None
    region: str | None = None


class After(Struct, frozen=True, forbid_unknown_fields=True):
    """Tell people only once so many items of one alert came within so long."""

    items: Annotated[int, Meta(ge=2, le=1000)]
    within: Duration = Duration("15m")


class HookSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """How a source's webhooks are told from anybody's, and which mapping makes events of them.

    standard: Standard Webhooks. hmac: HMAC-SHA256 of the body in `header`; shopify, woocommerce, github, easypost and
    aftership are hmac with the header that those send. token: a secret in `header`, or in the parameter `query` of the
    address where a sender can set no header. key: an API key. `secret_env` names the variables that hold the secret,
    several while it is rotated, never the secret. `delivery`: the header with the id of a delivery, for payloads that
    don't differ although they tell different things.
    """

    mapping: Ident
    scheme: Literal["standard", "hmac", "token", "key", "shopify", "woocommerce", "github", "easypost", "aftership"]
    secret_env: str | list[str] = []
    header: str | None = None
    query: str | None = None
    encoding: Literal["base64", "hex"] = "hex"
    prefix: str = ""
    tolerance: Duration = Duration("5m")
    delivery: str | None = None


class SignalRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Which spans and log records of a source are events, and what of their attributes counts.

    `name`: of the span, or of the record's event; `*` stands for anything. `when`: attributes that must be there, each
    with one of these values (`*` as in `name`). `keys` and `attributes` give the attributes' names as OpenTelemetry has
    them. Without `type`: what matches is no event. `on_error`: the outcome of a span whose status is an error.
    """

    name: Annotated[str, Meta(min_length=1)] = "*"
    signal: Literal["any", "span", "log"] = "any"
    kind: Literal["internal", "server", "client", "producer", "consumer"] | None = None
    when: dict[str, list[str]] = {}
    type: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    time: Literal["end", "start"] = "end"
    keys: dict[TypeName, str | list[str]] = {}
    attributes: dict[str, str] = {}
    on_error: Literal["failed", "rejected", "retried"] = "failed"


class SourceSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A registered sender, for display and ownership. `rank`: a higher one's attributes win over later ones.

    `privacy`: what of its events is not to be stored. `signals`: tried in order, the first that matches counts.
    """

    title: str = ""
    owner: str | None = None
    system: str = ""
    rank: int = 0
    privacy: Privacy = Privacy()
    hook: HookSpec | None = None
    folder: FolderSpec | None = None
    signals: list[SignalRule] = []
    epcis: EpcisSpec = EpcisSpec()


class AnomalySpec(Struct, frozen=True, forbid_unknown_fields=True):
    """How sensitive the detectors are. `threshold` in robust standard deviations (MAD * 1.4826).

    Every finding is stored and shown; those of the detectors in `alert_on` raise an alert too.
    """

    threshold: Annotated[float, Meta(gt=0)] = 6.0
    min_samples: Annotated[int, Meta(ge=3)] = 8
    min_expected: Annotated[float, Meta(ge=0)] = 5.0
    contamination: Annotated[float, Meta(gt=0, lt=0.5)] = 0.01
    alert_on: list[Literal["volume", "duration", "journey"]] = field(default_factory=lambda: ["volume", "duration"])
    severity: Severity = "warning"


class Catalog(Struct, frozen=True):
    """A checked catalog. `version` is the hash of the canonical parsed form."""

    version: str
    keys: dict[str, KeyRule]
    models: dict[str, Model]
    policies: list[Policy]
    calendars: dict[str, CalendarSpec]
    routing: Routing
    sources: dict[str, SourceSpec]
    aliases: dict[str, dict[str, str]]
    """For an attribute that names a partner: {written form, lower case: the one name}."""
    dimensions: list[str]
    anomaly: AnomalySpec
    policy_versions: dict[str, str]
    """For each policy the hash of its canonical form with its calendar."""
    mappings: dict[str, MappingSpec]
    junk: list[str] = []
    """Words that are no key of any type, without regard to case."""
    hub_limit: int = 1000
    """An object with more direct parents of one type than this joins nothing."""
    privacy: Privacy = Privacy()
    """What is not to be stored of any source's events."""
    edi: Edi = Edi()
    reconciliations: dict[str, Reconciliation] = {}
    exceptions: dict[str, ExceptionRule] = {}
    """By event type. Any other event that failed or was rejected opens one too, until one of its own type goes well."""
    flows: list[FlowPolicy] = []
    """The policies that judge a flow and no journey."""
    classes: dict[str, ServiceClass] = {}
    """Service classes, which policies refer to; what they say stands in the policies too."""
    windows: dict[str, Window] = {}
    """Maintenance windows: times in which what matches is kept from being told."""
