"""The acknowledgement ladder of documents: sent or received → checked (997, 999, CONTRL) → answered. Pure.

Keys are what the other side's acknowledgement can name, so that it finds the document without any look-up:
`document` is direction, group and document control number (X12: `out/PO/17/1`; EDIFACT: `out/17/1`), `envelope` the
group or interchange around it, `reply` the answer that is awaited (`out/850/4500012345`). Direction is ours: out is
what we sent. An acknowledgement speaks of syntax only, and is itself never acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from collector.edi.envelope import Document, Interchange, plain
from collector.edi.facts import Fact, Reading
from collector.edi.parties import Roles
from collector.edi.syntax import Segment

ACKNOWLEDGEMENTS: Final = ("997", "999", "CONTRL")
_GROUP_OF_ACKNOWLEDGEMENTS: Final = "FA"
ANSWERED_BY: Final[Mapping[str, str]] = {"855": "850", "ORDRSP": "ORDERS", "990": "204"}
"""The document that a business response answers."""
_OF_THE_LADDER: Final = ("document", "envelope", "reply")
_MANY: Final = 60
"""Keys of one type that a document's event names."""
_AWAIT: Final = frozenset(ANSWERED_BY.values())

Verdict = Literal["acknowledged", "rejected", "delivered"]
_X12_VERDICTS: Final[Mapping[str, Verdict]] = {
    **dict.fromkeys(("A", "E"), "acknowledged"),
    **dict.fromkeys(("M", "R", "W", "X"), "rejected"),
}
"""AK501, IK501, AK901; P of a group says nothing of those that it doesn't name."""
_TA1_VERDICTS: Final[Mapping[str, Verdict]] = {"A": "delivered", "E": "delivered", "R": "rejected"}
"""TA104 speaks of the interchange's envelope, not of what is in it."""
_CONTRL_VERDICTS: Final[Mapping[str, Verdict]] = {"4": "rejected", "7": "acknowledged", "8": "delivered"}
"""Element 0083. 8 says that it was received, not that it is right."""


@dataclass(frozen=True, slots=True)
class Names:
    """The keys of an interchange's documents."""

    standard: str
    direction: str

    def document(self, group_code: str, outer: str, control: str) -> str:
        """`outer` is the control number of the X12 group or the EDIFACT interchange."""
        return "/".join(part for part in (self.direction, group_code, plain(outer), plain(control)) if part)

    def envelope(self, kind: str, control: str) -> str:
        """`kind` is a group's code, ISA, or empty for an EDIFACT interchange."""
        return "/".join(part for part in (self.direction, kind, plain(control)) if part)


def document_keys(interchange: Interchange, document: Document, roles: Roles) -> dict[str, str | list[str]]:
    """What names a document: its own key, and those of its envelopes."""
    names = Names(interchange.standard, roles.direction)
    control = interchange.header.control
    if interchange.standard == "x12":
        code, group = document.group_code, document.group_control
        envelopes = [names.envelope(code, group), names.envelope("ISA", control)]
        return {"document": names.document(code, group, document.control), "envelope": envelopes}
    return {"document": names.document("", control, document.control), "envelope": names.envelope("", control)}


def passed_on(reading: Reading, keys: Mapping[str, str | list[str]], facts: Sequence[Fact]) -> Fact:
    """The document was sent or received. It names what the document is about, which is how they find each other."""
    named: dict[str, str | list[str]] = {**_about(facts), **keys}
    kind = reading.document.type
    if reading.outgoing and kind in _AWAIT and facts:
        named["reply"] = reply_key(reading.roles.direction, kind, facts[0])
    return Fact(f"document.{'sent' if reading.outgoing else 'received'}", named)


def _about(facts: Sequence[Fact]) -> dict[str, str | list[str]]:
    """What all facts of a document name, packages aside: one of each type is plain."""
    found: dict[str, list[str]] = {}
    for fact in facts:
        for kind, keys in fact.keys.items():
            if kind != "package":
                found.setdefault(kind, []).extend([keys] if isinstance(keys, str) else keys)
    return {kind: keys[0] if len(set(keys)) == 1 else list(dict.fromkeys(keys))[:_MANY] for kind, keys in found.items()}


def about(fact: Fact) -> str | None:
    """In words what a document is about, for people: its journey is not that of the order."""
    kinds = ((kind, keys) for kind, keys in fact.keys.items() if kind not in _OF_THE_LADDER)
    return next((f"{kind} {keys if isinstance(keys, str) else keys[0]}" for kind, keys in kinds), None)


def reply_key(direction: str, kind: str, fact: Fact) -> str:
    """The answer to a document of this type about this order or shipment."""
    number = next(iter(fact.keys.values()))
    return f"{direction}/{kind}/{number if isinstance(number, str) else number[0]}"[:256]


def replied(reading: Reading, facts: Sequence[Fact]) -> list[Fact]:
    """A business response answers the document that went the other way."""
    request = ANSWERED_BY.get(reading.document.type)
    if request is None or not facts:
        return []
    key = reply_key(reading.roles.other_direction, request, facts[0])
    rejected = facts[0].outcome == "rejected" or facts[0].type.endswith(".rejected")
    return [Fact("reply.received", {"reply": key}, code=facts[0].code, reason="rejected" if rejected else None)]


# --- acknowledgements -------------------------------------------------------------------------------------------------


def of_document(interchange: Interchange, reading: Reading) -> list[Fact]:
    """What a 997, 999 or CONTRL says of the documents that went the other way."""
    names = Names(interchange.standard, reading.roles.other_direction)
    if reading.document.type == "CONTRL":
        return list(_contrl(reading, names))
    return list(_x12(reading, names))


def of_notes(interchange: Interchange, roles: Roles) -> list[Fact]:
    """What TA1 segments say of the interchanges that went the other way."""
    names = Names(interchange.standard, roles.other_direction)
    facts = []
    for ta1 in interchange.notes:
        verdict = _TA1_VERDICTS.get(ta1.get(4))
        if verdict is not None and ta1.get(1):
            key = names.envelope("ISA", ta1.get(1))
            facts.append(_fact("envelope", key, verdict, ta1.get(4), f"TA1 note {ta1.get(5)}" if ta1.get(5) else None))
    return facts


def _x12(reading: Reading, names: Names) -> Iterator[Fact]:
    """AK1 names the group; AK2 … AK5 or IK5 a set each; AK9 judges the group."""
    ak1 = reading.one("AK1")
    code, group = ak1.need(1, "the group's code"), ak1.need(2, "the group's control number")
    if code == _GROUP_OF_ACKNOWLEDGEMENTS:
        return
    control = ""
    errors: list[str] = []
    for segment in reading.segments:
        if segment.tag == "AK2":
            control, errors = segment.need(2, "the set's control number"), []
        elif segment.tag in ("AK3", "IK3", "AK4", "IK4"):
            errors.append(" ".join(segment.values(1)))
        elif segment.tag in ("AK5", "IK5") and control:
            yield from _verdict(segment, "document", names.document(code, group, control), errors)
        elif segment.tag == "AK9":
            yield from _verdict(segment, "envelope", names.envelope(code, group), [])


def _verdict(segment: Segment, kind: str, key: str, errors: Sequence[str]) -> Iterator[Fact]:
    code = segment.need(1, "the verdict")
    verdict = _X12_VERDICTS.get(code)
    named = [f"{segment.tag} {value}" for value in segment.values(2 if kind == "document" else 5)]
    if verdict is not None:
        yield _fact(kind, key, verdict, code, "; ".join([*named, *errors])[:2000] or None)


def _contrl(reading: Reading, names: Names) -> Iterator[Fact]:
    """UCI judges the interchange, UCM a message in it."""
    uci = reading.one("UCI")
    control = uci.need(1, "the interchange's reference")
    yield from _judged(uci, "envelope", names.envelope("", control), 4)
    for ucm in reading.all("UCM"):
        reference = ucm.need(1, "the message's reference")
        yield from _judged(ucm, "document", names.document("", control, reference), 3)


def _judged(segment: Segment, kind: str, key: str, element: int) -> Iterator[Fact]:
    action = segment.need(element, "the action")
    verdict = _CONTRL_VERDICTS.get(action)
    error = segment.get(element + 1)
    if verdict is not None:
        yield _fact(kind, key, verdict, action, f"{segment.tag} error {error}" if error else None)


def _fact(kind: str, key: str, verdict: Verdict, code: str, reason: str | None) -> Fact:
    keys = {kind: key}
    if verdict == "rejected":
        keys["rejection"] = key
    return Fact(f"{kind}.{verdict}", keys, code=code, reason=reason)
