"""What the X12 documents 850, 855, 856, 810, 204, 990 and 214 say. Pure.

Code lists: elements 353 (purpose), 587 (acknowledgment type), 558 (reservation action), 1650 (shipment status).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from collector.edi import trade
from collector.edi.facts import Fact, Reading, iso_date, known, money, total
from collector.edi.syntax import Segment

_CANCELLATION: Final = "01"
_CHANGES: Final = ("04", "05")
_PLAIN_PRICE: Final = ("", "PE", "EA", "UM")  # of element 639: a price for one unit
_ANSWERS: Final[Mapping[str, trade.Answer]] = {
    "AD": "confirmed",
    "AT": "confirmed",
    "AP": "confirmed",
    "AC": "changed",
    "AE": "changed",
    "RD": "rejected",
    "RF": "rejected",
    "RJ": "rejected",
}
_STATUSES: Final = {
    **dict.fromkeys(("AF", "BA", "P1", "X4", "R1", "J1", "AR", "RL", "X6"), "in_transit"),
    "AJ": "out_for_delivery",
    **dict.fromkeys(("D1", "CB"), "delivered"),
    **dict.fromkeys(("A7", "A9", "AH", "AP", "PR", "SD", "OO"), "exception"),
    "A3": "returned",
    "CA": "cancelled",
    **dict.fromkeys(("AG", "X2"), "estimated"),
}
"""Element 1650 as the verb of a shipment's event; everything else is told as `shipment.status`."""
_NORMAL: Final = ("", "NS")


def order(reading: Reading) -> list[Fact]:
    """850."""
    beg = reading.one("BEG")
    purpose = beg.get(1)
    verb = "cancelled" if purpose == _CANCELLATION else "changed" if purpose in _CHANGES else "placed"
    lines = list(reading.all("PO1"))
    attributes = known(
        amount=_order_amount(reading, lines),
        currency=reading.value("CUR", "BY") or reading.value("CUR", "SE"),
        lines=len(lines) or None,
        order_date=iso_date(beg.get(5)),
        requested_date=iso_date(reading.value("DTM", "002")),
    )
    return [trade.order(reading, beg.need(3, "the purchase order number"), verb, attributes)]


def _order_amount(reading: Reading, lines: list[Segment]) -> str | None:
    stated = money(reading.value("AMT", "TT"))
    if stated is not None or any(line.get(5) not in _PLAIN_PRICE for line in lines):
        return stated
    return total([(line.get(2), line.get(4)) for line in lines])


def response(reading: Reading) -> list[Fact]:
    """855."""
    bak = reading.one("BAK")
    code = bak.get(2)
    refused = sum(1 for _ in reading.all("ACK", "IR"))
    promised = next((iso_date(day) for kind in ("069", "068", "017") if (day := reading.value("DTM", kind))), None)
    attributes = known(promised_date=promised, lines_rejected=refused or None)
    answer = _ANSWERS.get(code, "acknowledged")
    number, sellers = bak.need(3, "the purchase order number"), reading.value("REF", "VN") or bak.get(8)
    return trade.response(reading, number, answer, code, attributes, sellers)


def despatch(reading: Reading) -> list[Fact]:
    """856."""
    bsn = reading.one("BSN")
    number = bsn.need(2, "the shipment's number")
    if bsn.get(1) == _CANCELLATION:
        kind = "shipment" if reading.outgoing else "asn"
        return [Fact(f"{kind}.cancelled", {kind: number})]
    orders = [found for prf in reading.all("PRF") if (found := prf.get(1))]
    packages = [value for man in reading.all("MAN") for value in man.values(2, 3)]
    shipped = next(reading.all("DTM", "011"), None)
    at = None if shipped is None else reading.moment(shipped.get(2), shipped.get(3), shipped.get(4))
    attributes = known(
        carrier=next((td5.get(3) for td5 in reading.all("TD5") if td5.get(3)), None),
        bill_of_lading=reading.value("REF", "BM"),
        tracking=reading.value("REF", "CN") or reading.value("REF", "2I"),
    )
    return trade.despatch(reading, number, orders, packages, at, attributes, _sellers(reading))


def invoice(reading: Reading) -> list[Fact]:
    """810. TDS01 has two decimals that are not written."""
    big = reading.one("BIG")
    tds = next(reading.all("TDS"), None)
    attributes = known(
        amount=None if tds is None else money(tds.get(1), implied=2),
        currency=reading.value("CUR", "SE") or reading.value("CUR", "BY"),
        invoice_date=iso_date(big.get(1)),
    )
    orders = [number for number in (big.get(4), *(ref.get(2) for ref in reading.all("REF", "PO"))) if number]
    credit = big.get(7) in ("CR", "CN")
    number, sellers = big.need(2, "the invoice number"), _sellers(reading)
    return [trade.invoice(reading, number, orders, credit=credit, attributes=attributes, sellers=sellers)]


def _sellers(reading: Reading) -> list[str]:
    """The seller's own order numbers."""
    return [ref.get(2) for ref in reading.all("REF", "VN")]


def tender(reading: Reading) -> list[Fact]:
    """204."""
    b2 = reading.one("B2")
    purpose = next((b2a.get(1) for b2a in reading.all("B2A")), "")
    verb = "cancelled" if purpose == _CANCELLATION else "tendered"
    keys = {"shipment": b2.need(4, "the shipment's number")}
    return [Fact(f"shipment.{verb}", keys, attributes=known(carrier=b2.get(2)))]


def tender_response(reading: Reading) -> list[Fact]:
    """990: A books, D declines; what is neither (a condition, a counter offer) is told as `shipment.countered`."""
    b1 = reading.one("B1")
    code = b1.need(4, "the reservation action")
    verb = {"A": "booked", "D": "rejected"}.get(code, "countered")
    keys = {"shipment": b1.need(2, "the shipment's number")}
    return [Fact(f"shipment.{verb}", keys, attributes=known(carrier=b1.get(1)), code=code)]


def status(reading: Reading) -> list[Fact]:
    """214: one event for each status."""
    b10 = reading.one("B10")
    number = b10.get(2) or b10.need(1, "the shipment's number")
    general = known(carrier=b10.get(3), tracking=b10.get(1))
    return [
        _status(reading, number, at7, general | known(location=place))
        for at7, place in _statuses(reading)
        if at7.get(1)
    ]


def _statuses(reading: Reading) -> Iterator[tuple[Segment, str | None]]:
    """Each AT7 with the place that follows it (MS1: city, state, country)."""
    for index, segment in enumerate(reading.segments):
        if segment.tag == "AT7":
            after = reading.segments[index + 1]
            yield segment, ", ".join(after.values(1)[:3]) if after.tag == "MS1" else None


def _status(reading: Reading, number: str, at7: Segment, attributes: dict[str, Any]) -> Fact:
    code, reason = at7.get(1), at7.get(2)
    verb = _STATUSES.get(code, "status")
    at = reading.moment(at7.get(5), at7.get(6), at7.get(7))
    if verb == "estimated":
        attributes, at = attributes | known(estimated_delivery=None if at is None else at.isoformat()), None
    why = None if reason in _NORMAL else f"status {code}, reason {reason}"
    return Fact(f"shipment.{verb}", {"shipment": number}, at, attributes, code=code, reason=why)


READERS: Final[Mapping[str, Callable[[Reading], list[Fact]]]] = {
    "850": order,
    "855": response,
    "856": despatch,
    "810": invoice,
    "204": tender,
    "990": tender_response,
    "214": status,
}
