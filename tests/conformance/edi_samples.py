"""EDI interchanges of the documented shape, built for tests: who sends what to whom, under which numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from collector.edi.events import Read, Reader
from milepost.catalog.edi import Edi, EdiPartner

US = ("ZZ", "MILEPOST")
ACME = ("01", "123456789")
EDI = Edi(
    own=["ZZ:MILEPOST", "4012345000009"],
    zone="Europe/Berlin",
    partners={"ACME": EdiPartner(ids=["01:123456789", "4099999000001"], zone="America/Chicago")},
)


def x12(
    sender: tuple[str, str],
    receiver: tuple[str, str],
    control: int,
    group: str,
    *sets: Sequence[str],
    notes: Sequence[str] = (),
    usage: str = "P",
    end: str = "~",
) -> str:
    """An X12 interchange with one group. A set is its type and its segments, without ST and SE."""
    made = [
        f"ISA*00*          *00*          *{sender[0]}*{sender[1]:<15}*{receiver[0]}*{receiver[1]:<15}"
        f"*261120*1002*U*00401*{control:09}*0*{usage}*>",
        *notes,
        f"GS*{group}*{sender[1]}*{receiver[1]}*20261120*100205*{control}*X*004010",
    ]
    for number, (kind, *segments) in enumerate(sets, start=1):
        made += [f"ST*{kind}*{number:04}", *segments, f"SE*{len(segments) + 2}*{number:04}"]
    made += [f"GE*{len(sets)}*{control}", f"IEA*1*{control:09}"]
    return "".join(segment + end for segment in made)


def edifact(
    sender: str, receiver: str, control: str, *messages: Sequence[str], advice: str = "", charset: str = "UNOC"
) -> str:
    """An EDIFACT interchange. A message is its type and its segments, without UNH and UNT."""
    made = [f"UNB+{charset}:3+{sender}:14+{receiver}:14+261120:1002+{control}"]
    for number, (kind, *segments) in enumerate(messages, start=1):
        made += [f"UNH+{number}+{kind}:D:96A:UN:EAN008", *segments, f"UNT+{len(segments) + 2}+{number}"]
    made.append(f"UNZ+{len(messages)}+{control}")
    return advice + "".join(segment + "'" for segment in made)


WE = "4012345000009"
THEY = "4099999000001"


def read(text: str, source: str = "edi") -> list[Read]:
    return list(Reader(EDI, source).read(text.encode("latin-1")))


def events(text: str) -> list[dict[str, Any]]:
    """The events of data in which nothing is refused, decoded as the collector stores them."""
    found = read(text)
    assert [item.error for one in found for item in one.refused] == []
    return [msgspec.json.decode(msgspec.json.encode(event)) for one in found for event in one.events]


def told(text: str) -> list[tuple[str, dict[str, Any]]]:
    """(type, keys) of the events."""
    return [(event["type"], event["data"]["keys"]) for event in events(text)]


def faults(text: str) -> list[str]:
    return [item.error for one in read(text) for item in one.refused]


ORDER = ("850", "BEG*00*SA*4500012345**20261120", "PO1*1*10*EA*12.50**VP*X1", "CTT*1")
ORDERS = ("ORDERS", "BGM+220+4500012345+9", "DTM+137:20261120:102", "NAD+BY+4099999000001::9")
