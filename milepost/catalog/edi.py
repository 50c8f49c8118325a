"""Who is who in EDI: our own addresses, and those of the partners."""

from __future__ import annotations

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from milepost.errors import CatalogError


class EdiPartner(Struct, frozen=True, forbid_unknown_fields=True):
    """A partner's addresses, each `qualifier:id` or, whatever the qualifier, `id`; and the zone of its wall times."""

    ids: list[str]
    zone: str | None = None


class Edi(Struct, frozen=True, forbid_unknown_fields=True):
    """What an interchange's addresses mean.

    `own`: our addresses; what they send is sent, everything else received. `zone`: that of times which name none.
    """

    own: list[str] = []
    zone: str = "UTC"
    partners: dict[str, EdiPartner] = {}


def address(text: str) -> str:
    """An address as it is compared."""
    return text.strip().upper()


def check(edi: Edi, file: str) -> None:
    """Every address has one owner, and every zone exists. Raises CatalogError."""
    owner = {address(text): "own" for text in edi.own}
    for name, partner in edi.partners.items():
        _check_zone(f"{file}: edi: {name}", partner.zone or edi.zone)
        for text in map(address, partner.ids):
            if owner.setdefault(text, name) != name:
                raise CatalogError(f"{file}: edi: {name}: ids: {text} belongs to {owner[text]} too")
    _check_zone(f"{file}: edi", edi.zone)


def _check_zone(where: str, zone: str) -> None:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise CatalogError(f'{where}: zone: "{zone}" is not a known time zone') from error
