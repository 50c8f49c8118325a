"""EDIFACT: messages as events, CONTRL, and interchanges that are broken."""

from __future__ import annotations

import pytest

from tests.conformance.edi_samples import ACME, ORDER, ORDERS, THEY, US, WE, edifact, events, read, told, x12

DESADV = (
    "DESADV", "BGM+351+DES-9+9", "DTM+137:20261120:102", "DTM+11:202611211530:203", "RFF+ON:4500012345",
    "RFF+VN:S00024", "TDT+20++30+31+DHL::9:DHL Freight", "GIN+BJ+340123450000000018+340123450000000025",
)  # fmt: skip
IFTSTA = (
    "IFTSTA", "BGM+23+S1+9", "CNI+1+SHP-77", "STS+1+31", "DTM+334:202611220700:203", "LOC+14+:::Hamburg",
    "CNI+2+SHP-78", "STS+1+21", "DTM+334:202611221000?+0100:205", "STS+1+49+17", "STS+1+99",
)  # fmt: skip


def test_an_order_that_a_customer_sends() -> None:
    lines = ("DTM+2:20261127:102", "CUX+2:EUR:9", "LIN+1", "LIN+2", "UNS+S", "MOA+86:127,25")
    received, order = events(edifact(THEY, WE, "17", (*ORDERS, *lines)))
    assert (received["type"], received["id"]) == (
        "document.received",
        "14:4099999000001>14:4012345000009/17/ORDERS/1/1",
    )
    assert received["data"]["keys"] == {"customer_po": "4500012345", "document": "in/17/1", "envelope": "in/17"}
    assert received["time"] == "2026-11-20T10:02:00-06:00"
    assert order["type"] == "order.received"
    assert order["data"]["attributes"] == {
        "partner": "ACME", "channel": "edi", "amount": "127.25", "currency": "EUR", "lines": 2,
        "order_date": "2026-11-20", "requested_date": "2026-11-27",
    }  # fmt: skip


def test_an_order_that_we_send_awaits_its_answer() -> None:
    names = {"document": "out/5/1", "envelope": "out/5", "reply": "out/ORDERS/4500012345"}
    assert told(edifact(WE, THEY, "5", ORDERS)) == [
        ("document.sent", {"purchase_order": "4500012345", **names}),
        ("purchase_order.sent", {"purchase_order": "4500012345"}),
    ]


@pytest.mark.parametrize(
    ("function", "answers"),
    [
        ("29", [("acknowledged", "ok"), ("confirmed", "ok")]),
        ("4", [("acknowledged", "ok"), ("confirmed", "ok")]),
        ("9+AP", [("acknowledged", "ok"), ("confirmed", "ok")]),
        ("9+AB", [("acknowledged", "ok")]),
        ("27", [("acknowledged", "rejected")]),
        ("9+RE", [("acknowledged", "rejected")]),
    ],
)
def test_the_answer_to_our_order(function: str, answers: list[tuple[str, str]]) -> None:
    found = events(edifact(THEY, WE, "6", ("ORDRSP", f"BGM+231+R1+{function}", "RFF+ON:4500012345")))
    own = [event for event in found if event["type"].startswith("purchase_order.")]
    assert [(event["type"].split(".")[1], event["data"]["outcome"]) for event in own] == answers
    assert found[-1]["data"]["keys"] == {"reply": "out/ORDERS/4500012345"}


def test_a_despatch_of_ours() -> None:
    _, sent = events(edifact(WE, THEY, "8", DESADV))
    assert (sent["type"], sent["time"]) == ("shipment.dispatched", "2026-11-21T15:30:00+01:00")
    assert sent["data"]["keys"] == {
        "shipment": "DES-9", "order": ["S00024"], "customer_po": ["4500012345"],
        "package": ["340123450000000018", "340123450000000025"],
    }  # fmt: skip
    assert sent["data"]["attributes"]["carrier"] == "DHL Freight"


def test_invoices_and_credit_notes() -> None:
    segments = ("RFF+ON:4500012345", "CUX+2:EUR:9", "MOA+77:99.90")
    (_, posted) = events(edifact(WE, THEY, "9", ("INVOIC", "BGM+380+INV-1+9", *segments)))
    assert (posted["type"], posted["data"]["attributes"]["amount"]) == ("invoice.posted", "99.90")
    assert told(edifact(WE, THEY, "9", ("INVOIC", "BGM+381+CN-1+9", *segments)))[1][0] == "invoice.credited"
    bill = ("bill.received", {"bill": "INV-1", "purchase_order": ["4500012345"]})
    assert told(edifact(THEY, WE, "9", ("INVOIC", "BGM+380+INV-1+9", *segments)))[1] == bill


def test_statuses_of_several_consignments() -> None:
    received, *statuses = events(edifact(THEY, WE, "12", IFTSTA))
    assert received["data"]["keys"]["shipment"] == ["SHP-77", "SHP-78"]
    assert [(event["type"], event["data"]["keys"]["shipment"], event["time"]) for event in statuses] == [
        ("shipment.in_transit", "SHP-77", "2026-11-22T07:00:00-06:00"),
        ("shipment.delivered", "SHP-78", "2026-11-22T10:00:00+01:00"),
        ("shipment.exception", "SHP-78", "2026-11-20T10:02:00-06:00"),
        ("shipment.status", "SHP-78", "2026-11-20T10:02:00-06:00"),
    ]
    assert statuses[2]["data"]["reason"] == "status 49, reason 17"


# --- CONTRL -----------------------------------------------------------------------------------------------------------


def contrl(*segments: str) -> list[tuple[str, dict[str, str], str]]:
    text = edifact(THEY, WE, "20", ("CONTRL", *segments))
    return [(event["type"], event["data"]["keys"], event["data"]["code"]) for event in events(text)]


@pytest.mark.parametrize(
    ("action", "verdict"), [("4", "rejected"), ("7", "acknowledged"), ("8", "delivered")]
)  # fmt: skip
def test_what_is_said_of_an_interchange(action: str, verdict: str) -> None:
    keys = {"envelope": "out/5"} | ({"rejection": "out/5"} if action == "4" else {})
    assert contrl(f"UCI+5+{WE}:14+{THEY}:14+{action}") == [(f"envelope.{verdict}", keys, action)]


def test_what_is_said_of_its_messages() -> None:
    assert contrl(f"UCI+5+{WE}:14+{THEY}:14+7", "UCM+1+ORDERS:D:96A:UN+7", "UCM+2+ORDERS:D:96A:UN+4+12") == [
        ("envelope.acknowledged", {"envelope": "out/5"}, "7"),
        ("document.acknowledged", {"document": "out/5/1"}, "7"),
        ("document.rejected", {"document": "out/5/2", "rejection": "out/5/2"}, "4"),
    ]


# --- syntax -----------------------------------------------------------------------------------------------------------

GOOD = edifact(THEY, WE, "17", ORDERS)


def test_release_characters_and_other_delimiters() -> None:
    odd = edifact(THEY, WE, "17", ("ORDERS", "BGM+220+A?+B?'C?:D??+9"))
    assert told(odd)[1] == ("order.received", {"customer_po": "A+B'C:D?"})
    advice = "UNA;*.# !"
    other = GOOD.replace(":", ";").replace("+", "*").replace("'", "!\r\n")
    assert told(advice + other) == told(GOOD)


@pytest.mark.parametrize(("charset", "codec"), [("UNOC", "latin-1"), ("UNOD", "iso8859-2"), ("UNOY", "utf-8")])
def test_values_are_read_in_the_charset_that_is_announced(charset: str, codec: str) -> None:
    text = edifact(THEY, WE, "17", ("ORDERS", "BGM+220+Ö-1+9"), charset=charset)
    assert told(text.encode(codec).decode("latin-1"))[1][1] == {"customer_po": "Ö-1"}


def test_groups_are_counted_where_there_are_some() -> None:
    unh = GOOD.index("UNH")
    unz = GOOD.index("UNZ")
    grouped = GOOD[:unh] + "UNG+ORDERS+A+B+261120:1002+3+UN+D:96A'" + GOOD[unh:unz] + "UNE+1+3'" + GOOD[unz:]
    assert told(grouped) == told(GOOD)
    (broken,) = read(grouped.replace("UNZ+1", "UNZ+2"))
    assert broken.refused[0].error == "segment 9 (UNZ), element 1: 2 groups announced, 1 found"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD.replace("UNT+5", "UNT+6"), "segment 6 (UNT), element 1: 6 segments announced, 5 found"),
        (
            GOOD.replace("UNT+5+1", "UNT+5+2"),
            'segment 6 (UNT), element 2: control number "2", but "1" in segment 2 (UNH), element 1',
        ),
        (
            GOOD.replace("UNZ+1+17", "UNZ+1+18"),
            'segment 7 (UNZ), element 2: control number "18", but "17" in segment 1 (UNB), element 5',
        ),
        (GOOD.replace("UNZ+1+17'", ""), "the data ends before UNZ after segment 1 (UNB) (byte 163)"),
        (GOOD.replace("UNOC", "UNOX"), 'segment 1 (UNB), element 1: the character set "UNOX" is not supported'),
        (GOOD.replace("+17'UNH", "+'UNH"), "segment 1 (UNB), element 5: the control reference is missing"),
        ("UNA:+.? '" + GOOD[:30], "segment 1: the data ends before the segment does (byte 9)"),
    ],
)  # fmt: skip
def test_a_broken_interchange_is_refused_whole_with_its_place(text: str, reason: str) -> None:
    (found,) = read(text)
    assert [item.error for item in found.refused] == [reason]
    assert found.refused[0].body == text.encode("latin-1")


def test_the_healthy_interchanges_beside_a_broken_one_go_on() -> None:
    for broken in (GOOD[:-10], GOOD.replace("UNT+5", "UNT+6"), GOOD.replace("UNZ+1+17'", ""), GOOD[:60]):
        found = read(GOOD + "\n" + broken + "UNA:+.? '" + GOOD)
        assert [len(one.events) for one in found] == [2, 0, 2]
        assert found[1].refused[0].body == broken.encode("latin-1")


def test_both_standards_in_one_file() -> None:
    assert [len(one.events) for one in read(GOOD + "\n" + x12(ACME, US, 1, "PO", ORDER) + GOOD)] == [2, 2, 2]
