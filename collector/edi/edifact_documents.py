"""What the EDIFACT messages ORDERS, ORDRSP, DESADV, INVOIC and IFTSTA say. Pure.

Code lists: 1225 (function), 4343 (response type), 2005 and 2379 (dates and their forms), 5025 (amounts), 9011/4405
(transport status, UN/ECE recommendation 24).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from collector.edi import trade
from collector.edi.facts import Fact, Reading, known, money
from collector.edi.syntax import Segment
from milepost.errors import MalformedBody

_ORDER_FUNCTIONS: Final = {"1": "cancelled", "4": "changed", "5": "changed"}
_ANSWERS: Final[Mapping[str, trade.Answer]] = {
    "27": "rejected",
    "RE": "rejected",
    "4": "changed",
    "AC": "changed",
    "AI": "changed",
    "CA": "changed",
    "29": "confirmed",
    "44": "confirmed",
    "AD": "confirmed",
    "AP": "confirmed",
}
"""Of 1225 and 4343."""
_CREDITS: Final = ("381", "83", "308", "396")
_STATUSES: Final = {
    "1": "arrived",
    "6": "booked",
    "13": "in_transit",
    "21": "delivered",
    "24": "in_transit",
    "31": "in_transit",
    "23": "exception",
    "49": "exception",
    "54": "exception",
}
"""Transport status as the verb of a shipment's event; everything else is told as `shipment.status`."""
_DATE_FORMS: Final = {"101": "%y%m%d", "102": "%Y%m%d", "201": "%y%m%d%H%M", "203": "%Y%m%d%H%M", "204": "%Y%m%d%H%M%S"}
_OFFSET: Final = re.compile(r"(\d{12})([+-]\d{2}):?(\d{2})")


def order(reading: Reading) -> list[Fact]:
    """ORDERS."""
    bgm = reading.one("BGM")
    attributes = known(
        **_amount(reading, "86", "128", "79"),
        lines=sum(1 for _ in reading.all("LIN")) or None,
        order_date=_day(reading, "137"),
        requested_date=_day(reading, "2", "64", "63"),
    )
    verb = _ORDER_FUNCTIONS.get(bgm.get(3), "placed")
    return [trade.order(reading, _number(bgm), verb, attributes)]


def response(reading: Reading) -> list[Fact]:
    """ORDRSP. The order is that of RFF+ON; a response type (4343) counts before the function (1225)."""
    bgm = reading.one("BGM")
    code = next((code for code in (bgm.get(4), bgm.get(3)) if code in _ANSWERS), bgm.get(4) or bgm.get(3))
    answer = _ANSWERS.get(code, "acknowledged")
    attributes = known(promised_date=_day(reading, "69", "67", "17", "2"))
    orders = _orders(reading)
    if not orders:
        raise MalformedBody(f"{bgm.place()}: ORDRSP without RFF+ON: no order is named")
    return trade.response(reading, orders[0], answer, code, attributes, _reference(reading, "VN"))


def despatch(reading: Reading) -> list[Fact]:
    """DESADV."""
    bgm = reading.one("BGM")
    number = _number(bgm)
    if bgm.get(3) == "1":
        kind = "shipment" if reading.outgoing else "asn"
        return [Fact(f"{kind}.cancelled", {kind: number})]
    packages = [value for gin in reading.all("GIN", "BJ") for value in gin.values(2)]
    carrier = next((name for tdt in reading.all("TDT") if (name := tdt.get(5, 4) or tdt.get(5))), None)
    attributes = known(carrier=carrier, tracking=_reference(reading, "CN") or _reference(reading, "AAS"))
    return trade.despatch(
        reading, number, _orders(reading), packages, _moment(reading, "11"), attributes, _sellers(reading)
    )


def invoice(reading: Reading) -> list[Fact]:
    """INVOIC."""
    bgm = reading.one("BGM")
    attributes = known(**_amount(reading, "77", "9", "86"), invoice_date=_day(reading, "137", "3"))
    credit = bgm.get(1) in _CREDITS
    orders, sellers = _orders(reading), _sellers(reading)
    return [trade.invoice(reading, _number(bgm), orders, credit=credit, attributes=attributes, sellers=sellers)]


def status(reading: Reading) -> list[Fact]:
    """IFTSTA: one event for each STS, about the consignment (CNI) that it stands under."""
    facts = []
    for number, sts, beside in _statuses(reading):
        if not number:
            raise MalformedBody(f"{sts.place()}: neither CNI nor RFF says which shipment it is about")
        code = sts.get(2)
        verb = _STATUSES.get(code, "status")
        at = next((found for dtm in beside if dtm.tag == "DTM" and (found := _read(reading, dtm)) is not None), None)
        attributes = known(location=next((loc.get(2, 4) or loc.get(2) for loc in beside if loc.tag == "LOC"), None))
        why = f"status {code}, reason {sts.get(3)}" if sts.get(3) else None
        facts.append(Fact(f"shipment.{verb}", {"shipment": number}, at, attributes, code=code or None, reason=why))
    return facts


def _statuses(reading: Reading) -> Iterator[tuple[str, Segment, Sequence[Segment]]]:
    """(shipment, STS, the segments that follow it up to the next one or the next consignment)."""
    number = _reference(reading, "CN") or _reference(reading, "SRN") or _reference(reading, "AAS")
    segments = reading.segments
    for index, segment in enumerate(segments):
        if segment.tag == "CNI":
            number = segment.get(2) or number
        elif segment.tag == "STS":
            rest = segments[index + 1 :]
            ends = next((at for at, after in enumerate(rest) if after.tag in ("STS", "CNI", "UNT")), len(rest))
            yield number, segment, rest[:ends]


def _number(bgm: Segment) -> str:
    return bgm.need(2, "the document's number")


def _reference(reading: Reading, qualifier: str) -> str:
    return next((rff.get(1, 2) for rff in reading.all("RFF", qualifier)), "")


def _orders(reading: Reading) -> list[str]:
    return list(dict.fromkeys(number for rff in reading.all("RFF", "ON") if (number := rff.get(1, 2))))


def _sellers(reading: Reading) -> list[str]:
    """The seller's own order numbers."""
    return [rff.get(1, 2) for rff in reading.all("RFF", "VN")]


def _amount(reading: Reading, *qualifiers: str) -> dict[str, Any]:
    """The first amount of these kinds, with its currency."""
    currency = next((cux.get(1, 2) for cux in reading.all("CUX")), "")
    for qualifier in qualifiers:
        for moa in reading.all("MOA", qualifier):
            return {"amount": money(moa.get(1, 2)), "currency": moa.get(1, 3) or currency}
    return {"amount": None, "currency": currency}


def _moment(reading: Reading, *qualifiers: str) -> datetime | None:
    found = (_read(reading, dtm) for qualifier in qualifiers for dtm in reading.all("DTM", qualifier))
    return next((moment for moment in found if moment is not None), None)


def _day(reading: Reading, *qualifiers: str) -> str | None:
    """A date as it is written, whatever its time."""
    moment = _moment(reading, *qualifiers)
    return None if moment is None else moment.astimezone(reading.roles.zone).date().isoformat()


def _read(reading: Reading, dtm: Segment) -> datetime | None:
    """A DTM: 102 a day, 203 and 204 with a time, 205 and 303 with a zone. None when it is no moment."""
    text, form = dtm.get(1, 2), dtm.get(1, 3)
    if form == "205" and (match := _OFFSET.fullmatch(text)):
        return _parsed(match[1] + match[2] + match[3], "%Y%m%d%H%M%z")
    if form in ("303", "304"):
        moment = _parsed(text.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), _DATE_FORMS["203" if form == "303" else "204"])
        zone = UTC if text.endswith(("UTC", "GMT")) else reading.roles.zone
        return None if moment is None else moment.replace(tzinfo=zone)
    if form == "101":
        text, form = f"20{text}", "102"
    if form == "102" or not form:
        return reading.moment(text)
    moment = _parsed(text, _DATE_FORMS.get(form, ""))
    return None if moment is None else moment.replace(tzinfo=reading.roles.zone)


def _parsed(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form) if form else None  # noqa: DTZ007 - the caller sets the zone
    except ValueError:
        return None


READERS: Final[Mapping[str, Callable[[Reading], list[Fact]]]] = {
    "ORDERS": order,
    "ORDRSP": response,
    "DESADV": despatch,
    "INVOIC": invoice,
    "IFTSTA": status,
}
