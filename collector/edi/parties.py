"""Which of the two is us, and what the other one is called. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

from collector.edi.header import Header, Party
from milepost.catalog.edi import Edi, address

OUT: Final = "out"
IN: Final = "in"


@dataclass(frozen=True, slots=True)
class Roles:
    """An interchange as we see it. `direction`: out when we sent it; `zone` is that of the sender's wall times."""

    direction: str
    partner: str
    zone: ZoneInfo

    @property
    def outgoing(self) -> bool:
        return self.direction == OUT

    @property
    def other_direction(self) -> str:
        return IN if self.outgoing else OUT


class Parties:
    """The addresses of a catalog, looked up."""

    def __init__(self, edi: Edi) -> None:
        self._own = frozenset(address(text) for text in edi.own)
        self._names: Mapping[str, str] = {
            address(text): name for name, partner in edi.partners.items() for text in partner.ids
        }
        self._zones = {name: ZoneInfo(partner.zone) for name, partner in edi.partners.items() if partner.zone}
        self._zone = ZoneInfo(edi.zone)

    def roles(self, header: Header) -> Roles:
        """Who an address is that nobody knows is told by itself, and what strangers send counts as received."""
        outgoing = self._is_own(header.sender)
        partner = self._name(header.receiver if outgoing else header.sender)
        zone = self._zone if outgoing else self._zones.get(partner, self._zone)
        return Roles(OUT if outgoing else IN, partner, zone)

    def _is_own(self, party: Party) -> bool:
        return not self._own.isdisjoint(_forms(party))

    def _name(self, party: Party) -> str:
        return next((self._names[form] for form in _forms(party) if form in self._names), party.id)


def _forms(party: Party) -> tuple[str, str]:
    return address(str(party)), address(party.id)
