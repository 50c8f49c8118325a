"""Routing: which alerts go to whom, and over which channels."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

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
    """Alerts whose labels match (all names, any value) go to `channels`; the first match ends, unless `goes_on`."""

    channels: list[Ident]
    match: dict[str, list[str]] = {}
    goes_on: bool = False


class Routing(Struct, frozen=True, forbid_unknown_fields=True):
    channels: list[Channel] = []
    routes: list[Route] = []
    group_interval: Duration = Duration("5m")


def check(routing: Routing) -> None:
    """What types can't say. Raises CatalogError."""
    for channel in routing.channels:
        _check_channel(channel)
    names = {channel.name for channel in routing.channels}
    for index, route in enumerate(routing.routes):
        for name in route.channels:
            if name not in names:
                raise CatalogError(f"{FILE}: routes[{index}]: channels: there is no channel {name}")


def _check_channel(channel: Channel) -> None:
    field = "url" if channel.kind == "webhook" else "to"
    if not getattr(channel, field):
        raise CatalogError(f"{FILE}: {channel.name}: a channel of kind {channel.kind} needs {field}")
