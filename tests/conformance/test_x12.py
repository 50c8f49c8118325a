"""X12: documents as events, the acknowledgement ladder, and envelopes that are broken."""

from __future__ import annotations

import pytest

from collector.edi.events import read_again
from tests.conformance.edi_samples import ACME, EDI, ORDER, US, events, faults, read, told, x12

DESPATCH = (
    "856", "BSN*00*SHP-77*20261121*0930*0001", "HL*1**S", "TD5**2*UPSN", "REF*CN*1Z999", "DTM*011*20261121*0915*CS",
    "HL*2*1*O", "PRF*4500012345", "REF*VN*S00024", "HL*3*2*P", "MAN*GM*00340123450000000018",
)  # fmt: skip
STATUS = (
    "214", "B10*PRO1*SHP-77*UPSN", "LX*1", "AT7*X4*NS***20261122*0700*ES", "MS1*DALLAS*TX*US",
    "AT7*D1*NS***20261123*1410*LT", "AT7*SD*AO***20261123*1510*05", "AT7*ZZ****20261124",
)  # fmt: skip


# --- documents --------------------------------------------------------------------------------------------------------


def test_an_order_that_a_customer_sends() -> None:
    lines = ("CUR*BY*USD", "DTM*002*20261127", "PO1*2*1*EA*2.25")
    received, order = events(x12(ACME, US, 17, "PO", (*ORDER, *lines)))
    assert received == {
        "specversion": "1.0",
        "id": "01:123456789>ZZ:MILEPOST/17/17/850/1/1",
        "source": "edi",
        "type": "document.received",
        "time": "2026-11-20T10:02:05-06:00",
        "data": {
            "keys": {"customer_po": "4500012345", "document": "in/PO/17/1", "envelope": ["in/PO/17", "in/ISA/17"]},
            "outcome": "ok",
            "attributes": {
                "partner": "ACME", "document_type": "850", "standard": "x12", "direction": "in",
                "digest": received["data"]["attributes"]["digest"],
                "about": "customer_po 4500012345",
            },
        },
    }  # fmt: skip
    assert (order["type"], order["data"]["keys"]) == ("order.received", {"customer_po": "4500012345"})
    assert order["data"]["attributes"] == {
        "partner": "ACME", "channel": "edi", "amount": "127.25", "currency": "USD", "lines": 2,
        "order_date": "2026-11-20", "requested_date": "2026-11-27",
    }  # fmt: skip


def test_an_order_that_we_send_awaits_its_answer() -> None:
    document = {"document": "out/PO/5/1", "envelope": ["out/PO/5", "out/ISA/5"], "reply": "out/850/4500012345"}
    assert told(x12(US, ACME, 5, "PO", ORDER)) == [
        ("document.sent", {"purchase_order": "4500012345", **document}),
        ("purchase_order.sent", {"purchase_order": "4500012345"}),
    ]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AK", [("acknowledged", "ok")]),
        ("AH", [("acknowledged", "ok")]),
        ("AD", [("acknowledged", "ok"), ("confirmed", "ok")]),
        ("AC", [("acknowledged", "ok"), ("confirmed", "ok")]),
        ("RD", [("acknowledged", "rejected")]),
        ("RJ", [("acknowledged", "rejected")]),
    ],
)
def test_the_answer_to_our_order(code: str, expected: list[tuple[str, str]]) -> None:
    found = events(x12(ACME, US, 6, "PR", ("855", f"BAK*00*{code}*4500012345*20261120")))
    answers = [event for event in found if event["type"].startswith("purchase_order.")]
    assert [(event["type"].split(".")[1], event["data"]["outcome"]) for event in answers] == expected
    assert {event["data"]["code"] for event in answers} == {code}
    assert found[-1]["type"] == "reply.received"
    assert found[-1]["data"]["keys"] == {"reply": "out/850/4500012345"}


def test_our_answer_names_our_own_order() -> None:
    text = x12(US, ACME, 7, "PR", ("855", "BAK*00*AD*4500012345*20261120****S00024", "DTM*069*20261201"))
    _, acknowledged, confirmed, reply = events(text)
    assert acknowledged["type"] == "order.acknowledged"
    assert confirmed["data"]["keys"] == {"customer_po": "4500012345", "order": ["S00024"]}
    assert confirmed["data"]["attributes"]["promised_date"] == "2026-12-01"
    assert reply["data"]["keys"] == {"reply": "in/850/4500012345"}


def test_a_despatch_of_ours() -> None:
    _, sent = events(x12(US, ACME, 8, "SH", DESPATCH))
    assert (sent["type"], sent["time"]) == ("shipment.dispatched", "2026-11-21T09:15:00-06:00")
    assert sent["data"]["keys"] == {
        "shipment": "SHP-77", "order": ["S00024"], "customer_po": ["4500012345"], "package": ["00340123450000000018"],
    }  # fmt: skip
    assert sent["data"]["attributes"] == {"partner": "ACME", "carrier": "UPSN", "tracking": "1Z999"}


def test_a_suppliers_despatch_is_announced_under_its_own_number() -> None:
    _, advice = told(x12(ACME, US, 8, "SH", DESPATCH))
    assert advice == (
        "asn.received",
        {"asn": "SHP-77", "purchase_order": ["4500012345"], "package": ["00340123450000000018"]},
    )


def test_many_orders_and_many_packages_are_not_mixed() -> None:
    packages = [f"MAN*GM*{number:020}" for number in range(320)]
    text = x12(US, ACME, 8, "SH", ("856", "BSN*00*SHP-1*20261121*0930", "PRF*PO1", "PRF*PO2", *packages))
    sent = [keys for kind, keys in told(text) if kind == "shipment.dispatched"]
    assert sent[0] == {"shipment": "SHP-1", "customer_po": ["PO1", "PO2"]}
    assert [len(keys["package"]) for keys in sent[1:]] == [150, 150, 20]


def test_an_invoice_of_ours_and_a_suppliers_bill() -> None:
    document = ("810", "BIG*20261121*INV-1*20261120*4500012345", "CUR*SE*USD", "TDS*12550")
    ours, bill = events(x12(US, ACME, 9, "IN", document))[1], events(x12(ACME, US, 9, "IN", document))[1]
    assert (ours["type"], ours["data"]["keys"]) == (
        "invoice.posted", {"invoice": "INV-1", "customer_po": ["4500012345"]},
    )  # fmt: skip
    assert ours["data"]["attributes"]["amount"] == "125.50"
    assert ours["data"]["attributes"]["currency"] == "USD"
    assert (bill["type"], bill["data"]["keys"]) == (
        "bill.received", {"bill": "INV-1", "purchase_order": ["4500012345"]},
    )  # fmt: skip


def test_a_tender_and_its_responses() -> None:
    sent, tendered = told(x12(US, ACME, 10, "SM", ("204", "B2**UPSN**SHP-77**PP", "B2A*00*LT")))
    assert sent[1]["reply"] == "out/204/SHP-77"
    assert tendered == ("shipment.tendered", {"shipment": "SHP-77"})
    for code, verb in (("A", "booked"), ("D", "rejected"), ("B", "countered")):
        _, answer, reply = told(x12(ACME, US, 11, "GF", ("990", f"B1*UPSN*SHP-77*20261120*{code}")))
        assert answer == (f"shipment.{verb}", {"shipment": "SHP-77"})
        assert reply == ("reply.received", {"reply": "out/204/SHP-77"})


def test_statuses_with_their_time_zones() -> None:
    _, *statuses = events(x12(ACME, US, 12, "QM", STATUS))
    assert [(event["type"], event["time"], event["data"]["code"]) for event in statuses] == [
        ("shipment.in_transit", "2026-11-22T07:00:00-05:00", "X4"),
        ("shipment.delivered", "2026-11-23T14:10:00-06:00", "D1"),  # local: the partner's zone
        ("shipment.exception", "2026-11-23T15:10:00+05:00", "SD"),
        ("shipment.status", "2026-11-24T12:00:00-06:00", "ZZ"),  # a day is noon
    ]
    assert statuses[0]["data"]["attributes"]["location"] == "DALLAS, TX, US"
    assert statuses[2]["data"]["reason"] == "status SD, reason AO"


def test_what_is_not_known_is_told_as_a_document() -> None:
    assert [kind for kind, _ in told(x12(ACME, US, 13, "SC", ("832", "BCT*PC*1")))] == ["document.received"]


def test_strangers_and_tests_are_told() -> None:
    (received, _) = events(x12(("ZZ", "STRANGER"), ("ZZ", "OTHER"), 14, "PO", ORDER, usage="T"))
    assert received["type"] == "document.received"
    assert received["data"]["attributes"]["partner"] == "STRANGER"
    assert received["data"]["attributes"]["test"] is True


# --- the ladder -------------------------------------------------------------------------------------------------------


def acknowledged(*segments: str, kind: str = "997") -> list[tuple[str, dict[str, str], str, str | None]]:
    found = events(x12(ACME, US, 20, "FA", (kind, *segments)))
    return [
        (item["type"], item["data"]["keys"], item["data"]["code"], item["data"].get("reason")) for item in found
    ]  # fmt: skip


def test_an_acknowledgement_speaks_of_each_set() -> None:
    sets = ("AK2*850*0001", "AK5*A", "AK2*850*0002", "AK3*PO1*3**8", "AK4*2*330*1", "AK5*R*5")
    assert acknowledged("AK1*PO*5", *sets, "AK9*P*2*2*1") == [
        ("document.acknowledged", {"document": "out/PO/5/1"}, "A", None),
        ("document.rejected", {"document": "out/PO/5/2", "rejection": "out/PO/5/2"}, "R", "AK5 5; PO1 3 8; 2 330 1"),
    ]


def test_an_acknowledgement_of_the_whole_group() -> None:
    accepted = ("envelope.acknowledged", {"envelope": "out/PO/5"}, "E", None)
    assert acknowledged("AK1*PO*5", "AK9*E*2*2*2") == [accepted]
    rejected = ("envelope.rejected", {"envelope": "out/PO/5", "rejection": "out/PO/5"}, "R", "AK9 3")
    assert acknowledged("AK1*PO*000000005", "AK9*R*2*2*0*3") == [rejected]


def test_a_999_is_read_like_a_997() -> None:
    segments = ("AK1*PO*5*005010", "AK2*850*0001", "IK3*N1*8**8", "IK5*R*I5", "AK9*R*1*1*0")
    assert acknowledged(*segments, kind="999")[0] == (
        "document.rejected", {"document": "out/PO/5/1", "rejection": "out/PO/5/1"}, "R", "IK5 I5; N1 8 8",
    )  # fmt: skip


def test_no_acknowledgement_is_acknowledged() -> None:
    assert acknowledged("AK1*FA*5", "AK9*A*1*1*1") == []


def test_ta1_speaks_of_the_envelope_only() -> None:
    notes = ["TA1*000000005*261120*1002*A*000", "TA1*000000006*261120*1002*R*024"]
    found = told(x12(ACME, US, 21, "FA", ("997", "AK1*FA*1", "AK9*A*1*1*1"), notes=notes))
    assert found == [
        ("envelope.delivered", {"envelope": "out/ISA/5"}),
        ("envelope.rejected", {"envelope": "out/ISA/6", "rejection": "out/ISA/6"}),
    ]


# --- envelopes --------------------------------------------------------------------------------------------------------

GOOD = x12(ACME, US, 17, "PO", ORDER)
_DIFFERS = 'segment {}, element {}: control number "{}", but "{}" in segment {}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD.replace("SE*5", "SE*6"), "segment 7 (SE), element 1: 6 segments announced, 5 found"),
        (GOOD.replace("SE*5*0001", "SE*5*0002"), _DIFFERS.format("7 (SE)", 2, "0002", "0001", "3 (ST), element 2")),
        (GOOD.replace("GE*1", "GE*2"), "segment 8 (GE), element 1: 2 transaction sets announced, 1 found"),
        (GOOD.replace("GE*1*17", "GE*1*18"), _DIFFERS.format("8 (GE)", 2, 18, 17, "2 (GS), element 6")),
        (GOOD.replace("IEA*1", "IEA*3"), "segment 9 (IEA), element 1: 3 groups announced, 1 found"),
        (
            GOOD.replace("IEA*1*000000017", "IEA*1*000000018"),
            _DIFFERS.format("9 (IEA)", 2, "000000018", "000000017", "1 (ISA), element 13"),
        ),
        (GOOD.replace("IEA*1*000000017~", ""), "the data ends before IEA after segment 1 (ISA) (byte 251)"),
        (GOOD.replace("GE*1*17~", ""), "segment 8 (IEA): GE is missing before it"),
        (GOOD.replace("SE*5*0001~", ""), "segment 7 (GE): SE is missing before it"),
        (GOOD.replace("ST*850*0001~", ""), "segment 3 (BEG): outside of a document; ST is expected before it"),
        (GOOD[:150], "segment 2: the data ends before the segment does (byte 106)"),
        (GOOD[:80], "segment 1 (ISA): 16 elements expected, 10 found"),
        (GOOD.replace("*>~", "***"), "segment 1: these delimiters can't be used: '*' '*' '*'"),
        (GOOD.replace("BEG*", "b?*"), 'segment 4: "b?" is no segment tag (byte 171)'),
        (GOOD.replace("SE*5", "SE*²"), "segment 7 (SE), element 1: ² segments announced, 5 found"),
        ("hello, world", "byte 0: neither ISA, UNA nor UNB: no X12 and no EDIFACT interchange"),
    ],
)  # fmt: skip
def test_a_broken_envelope_is_refused_whole_with_its_place(text: str, reason: str) -> None:
    (found,) = read(text)
    assert (found.events, [item.error for item in found.refused]) == ([], [reason])
    assert found.refused[0].body == text.encode("latin-1")


@pytest.mark.parametrize(
    "broken",
    [GOOD.replace("SE*5", "SE*6"), GOOD[:-20], GOOD[:150], GOOD.replace("IEA*1*000000017~", ""), GOOD[:105] + "X"],
)
def test_the_healthy_interchanges_beside_a_broken_one_go_on(broken: str) -> None:
    after = x12(ACME, US, 18, "PO", ORDER)
    found = read(GOOD + "\r\n" + broken + after)
    assert [len(one.events) for one in found] == [2, 0, 2]
    assert found[1].refused[0].body == broken.encode("latin-1")


def test_lines_blanks_and_other_delimiters_are_read() -> None:
    odd = x12(ACME, US, 17, "PO", ORDER, end="\n").replace("*", "|").replace(">", ":")
    assert told(odd) == told(GOOD) == told(x12(ACME, US, 17, "PO", ORDER, end="~\r\n"))


def test_a_document_that_is_not_understood_is_refused_alone_and_can_be_mended() -> None:
    found = read(x12(ACME, US, 17, "PO", ("850", "BEG*00*SA"), ORDER))
    assert [event["type"] for event in found[0].events] == ["document.received", "order.received"]
    (refused,) = found[0].refused
    assert refused.error == "segment 4 (BEG), element 3: the purchase order number is missing"
    assert (refused.body, refused.way) == (b"ST*850*0001~BEG*00*SA~SE*3*0001~", "edi")
    assert refused.context is not None
    mended = read_again(EDI, "edi", refused.body.replace(b"BEG*00*SA", b"BEG*00*SA*PO7"), refused.context)
    assert len(mended) == 2
    assert b'"customer_po":"PO7"' in mended[1]


def test_a_nul_in_the_envelope_can_be_stored_and_comes_back() -> None:
    whole = x12(ACME, US, 17, "PO", ("850", "BEG*00*SA")).replace("00*          *", "00*" + "\0" * 10 + "*")
    (refused,) = read(whole)[0].refused
    assert refused.context is not None
    assert "\0" not in "".join(refused.context["around"])
    mended = read_again(EDI, "edi", refused.body.replace(b"BEG*00*SA", b"BEG*00*SA*PO7"), refused.context)
    assert len(mended) == 2


def test_what_is_sent_again_is_the_same_and_a_reused_number_is_not() -> None:
    again, other = events(GOOD), events(GOOD.replace("EA*12.50", "EA*99.00"))
    assert events(GOOD) == again
    assert [event["id"] for event in other] == [event["id"] for event in again]
    assert other[0]["data"]["attributes"]["digest"] != again[0]["data"]["attributes"]["digest"]


def test_faults_name_the_document_that_is_meant() -> None:
    assert faults(x12(ACME, US, 30, "FA", ("997", "AK9*A"))) == ["segment 3 (ST): 997 without AK1"]
