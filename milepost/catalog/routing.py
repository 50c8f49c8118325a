"""Routing: which alerts go to whom, and over which channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from milepost.catalog.oncall import Digest, Escalation, Person, Rotation, addressed, channel_of
from milepost.catalog.schema import Duration, Ident
from milepost.errors import CatalogError

FILE = "routes.yaml"


class Channel(Struct, frozen=True, forbid_unknown_fields=True):
    """Somewhere a notification goes.

    `secret_env` and `url_env` name the variables that hold the secret, or an address that is one; never the secret.
    `to`: the recipients of mails; the conversation in Slack. `url`: of the receiver, or of a provider's API where it is
    not at the usual place.
    """

    name: Ident
    kind: Literal["webhook", "email", "slack", "teams", "pagerduty", "alertmanager", "apprise"]
    url: str | None = None
    to: list[str] = []
    secret_env: str | None = None
    url_env: str | None = None


class Route(Struct, frozen=True, forbid_unknown_fields=True):
    """Alerts whose labels match (all names, any value) go to `channels`; the first match ends, unless `goes_on`.

    `channels` may name rotations too. `during`, `outside`: the route is taken only while this calendar is open, or
    closed; what finds no other way until then waits for it.
    """

    channels: list[Ident]
    match: dict[str, list[str]] = {}
    goes_on: bool = False
    name: Ident | None = None
    during: str | None = None
    outside: str | None = None
    escalation: Escalation | None = None


class Routing(Struct, frozen=True, forbid_unknown_fields=True):
    channels: list[Channel] = []
    routes: list[Route] = []
    group_interval: Duration = Duration("5m")
    groups_at_once: Annotated[int, Meta(ge=1)] = 2
    people: dict[Ident, Person] = {}
    rotations: dict[Ident, Rotation] = {}
    digests: dict[Ident, Digest] = {}


def check(routing: Routing) -> None:
    """What types can't say. Raises CatalogError."""
    by_person = {name for rotation in routing.rotations.values() for name in rotation.channels} - set(named(routing))
    for channel in routing.channels:
        if channel.name not in by_person:  # there the person on call has the address
            _check_channel(channel)
    for name in {
        addressed(name, who) for one in routing.rotations.values() for name in one.channels for who in one.people
    }:
        reached = channel_of(routing, name)
        if reached is not None:
            _check_channel(reached)


def named(routing: Routing) -> list[str]:
    """The channels and rotations that routes, steps of escalations and digests name."""
    steps = [step for route in routing.routes if route.escalation for step in route.escalation.steps]
    lists = [one.channels for one in routing.routes] + [one.channels for one in steps]
    return [name for names in [*lists, *(one.channels for one in routing.digests.values())] for name in names]


_USES: Final[Mapping[str, tuple[frozenset[str], ...]]] = {
    "webhook": (frozenset({"url", "secret_env"}),),
    "email": (frozenset({"to"}),),
    "slack": (frozenset({"secret_env", "to"}), frozenset({"secret_env", "to", "url"}), frozenset({"url_env"})),
    "teams": (frozenset({"url_env"}),),
    "pagerduty": (frozenset({"secret_env"}), frozenset({"secret_env", "url"})),
    "alertmanager": (frozenset({"url"}), frozenset({"url", "secret_env"})),
    "apprise": (frozenset({"url_env"}),),
}
"""The fields that a channel of each kind has: one of these sets."""


def _check_channel(channel: Channel) -> None:
    where = f"{FILE}: {channel.name}"
    given = frozenset(name for name in ("url", "to", "secret_env", "url_env") if getattr(channel, name))
    if given not in _USES[channel.kind]:
        ways = ", or ".join(" and ".join(sorted(fields)) for fields in _USES[channel.kind])
        raise CatalogError(f"{where}: a channel of kind {channel.kind} needs {ways}, and nothing else")
    if channel.kind == "slack" and len(channel.to) > 1:
        raise CatalogError(f"{where}: to: one conversation; make a channel for each")
