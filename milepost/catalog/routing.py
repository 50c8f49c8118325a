"""Routing: which alerts go to whom, and over which channels."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from milepost.catalog.oncall import Digest, Escalation, Person, Rotation
from milepost.catalog.schema import Duration, Ident
from milepost.errors import CatalogError

FILE = "routes.yaml"


class Channel(Struct, frozen=True, forbid_unknown_fields=True):
    """Somewhere a notification goes. `secret_env` names the variable that holds the secret, never the secret."""

    name: Ident
    kind: Literal["webhook", "email"]
    url: str | None = None
    to: list[str] = []
    secret_env: str | None = None


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
    people: dict[Ident, Person] = {}
    rotations: dict[Ident, Rotation] = {}
    digests: dict[Ident, Digest] = {}


def check(routing: Routing) -> None:
    """What types can't say. Raises CatalogError."""
    by_person = {name for rotation in routing.rotations.values() for name in rotation.channels} - set(named(routing))
    for channel in routing.channels:
        if channel.name not in by_person:  # there the person on call has the address
            _check_channel(channel)


def named(routing: Routing) -> list[str]:
    """The channels and rotations that routes, steps of escalations and digests name."""
    steps = [step for route in routing.routes if route.escalation for step in route.escalation.steps]
    lists = [one.channels for one in routing.routes] + [one.channels for one in steps]
    return [name for names in [*lists, *(one.channels for one in routing.digests.values())] for name in names]


def _check_channel(channel: Channel) -> None:
    field = "url" if channel.kind == "webhook" else "to"
    if not getattr(channel, field):
        raise CatalogError(f"{FILE}: {channel.name}: a channel of kind {channel.kind} needs {field}")
