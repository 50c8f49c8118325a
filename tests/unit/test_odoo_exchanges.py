"""What queues and exchanges of Odoo say. The rows have the fields and states that their modules document."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from collector.odoo import exchanges
from collector.odoo.exchanges import EXCHANGES
from milepost import contract

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIMIT = timedelta(minutes=30)
EARLY, LATE = "2026-11-21 11:00:00", "2026-11-21 11:55:00"
JOB: dict[str, Any] = {
    "id": 7,
    "uuid": "0b1e",
    "name": "Export",
    "model_name": "sale.order",
    "method_name": "export_to_wms",
    "func_string": "sale.order(24,).export_to_wms()",
    "state": "pending",
    "company_id": [1, "My Company"],
    "date_created": EARLY,
    **dict.fromkeys(("date_enqueued", "date_started", "date_done", "date_cancelled"), False),
    **dict.fromkeys(("exc_name", "exc_message", "exc_info"), False),
}
RECORD: dict[str, Any] = {
    "id": 8,
    "identifier": "EDI/0008",
    "type_id": [1, "ORDRSP out"],
    "model": "sale.order",
    "res_id": 24,
    "edi_exchange_state": "output_pending",
    "exchange_error": False,
    "write_date": LATE,
    "company_id": False,
}
DOCUMENT: dict[str, Any] = {
    "id": 9,
    "move_id": [57, "INV/2026/00010"],
    "edi_format_name": "Factur-X",
    "state": "to_send",
    "error": False,
    "blocking_level": False,
    "write_date": LATE,
}


def standing(model: str, row: dict[str, Any], **changes: Any) -> tuple[str, str]:
    message = exchanges.judge(EXCHANGES[model], {**row, **changes}, NOW, LIMIT)
    return message.standing, message.at


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ("waiting", EARLY)),
        ({"state": "enqueued", "date_enqueued": LATE}, ("waiting", LATE)),
        ({"state": "enqueued", "date_enqueued": EARLY}, ("stuck", EARLY)),
        ({"state": "started", "date_enqueued": EARLY, "date_started": LATE}, ("waiting", LATE)),
        ({"state": "started", "date_enqueued": EARLY, "date_started": EARLY}, ("stuck", EARLY)),
        ({"state": "failed", "date_started": LATE}, ("failed", LATE)),
        ({"state": "done", "date_done": LATE}, ("delivered", LATE)),
        ({"state": "cancelled", "date_cancelled": LATE}, ("cancelled", LATE)),
    ],
)
def test_how_a_job_stands(changes: dict[str, Any], found: tuple[str, str]) -> None:
    assert standing("queue.job", JOB, **changes) == found


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("new", "waiting"),
        ("output_pending", "waiting"),
        ("output_sent", "delivered"),
        ("output_sent_and_processed", "delivered"),
        ("input_processed", "received"),
        ("validate_error", "failed"),
        ("output_error_on_send", "failed"),
        ("output_sent_and_error", "failed"),
        ("input_receive_error", "failed"),
        ("input_processed_error", "failed"),
    ],
)
def test_how_an_exchange_record_stands(state: str, found: str) -> None:
    assert standing("edi.exchange.record", RECORD, edi_exchange_state=state)[0] == found
    waits = standing("edi.exchange.record", RECORD, edi_exchange_state=state, write_date=EARLY)[0]
    assert waits == ("stuck" if found == "waiting" else found)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, "waiting"),
        ({"write_date": EARLY}, "stuck"),
        ({"state": "sent"}, "delivered"),
        ({"state": "cancelled"}, "cancelled"),
        ({"error": "<p>No VAT number</p>", "blocking_level": "error"}, "failed"),
        ({"error": "<p>Slow</p>", "blocking_level": "info"}, "waiting"),
    ],
)
def test_how_an_electronic_document_stands(changes: dict[str, Any], found: str) -> None:
    assert standing("account.edi.document", DOCUMENT, **changes)[0] == found


def test_a_failed_job_is_an_event_with_what_it_is_about() -> None:
    row = {**JOB, "state": "failed", "date_started": LATE, "exc_name": "WmsError", "exc_message": "no such item"}
    message = exchanges.judge(EXCHANGES["queue.job"], row, NOW, LIMIT)
    assert message.about == ("sale.order", 24)
    event = exchanges.event("queue.job", row, message, {"order": "S00024"}, "odoo")
    contract.decode(msgspec.json.encode(event))
    assert (event["type"], event["correlationid"]) == ("message.failed", "0b1e")
    assert event["data"] == {
        "keys": {"order": "S00024"},
        "outcome": "failed",
        "attributes": {"flow": "sale.order.export_to_wms", "company": "My Company"},
        "code": "failed",
        "reason": "WmsError: no such item",
    }


def test_the_error_of_a_document_is_told_without_its_markup() -> None:
    row = {**DOCUMENT, "error": "<p>No <b>VAT</b> number</p>", "blocking_level": "error"}
    message = exchanges.judge(EXCHANGES["account.edi.document"], row, NOW, LIMIT)
    assert " ".join(message.reason.split()) == "No VAT number"
    assert message.about == ("account.move", 57)


def told(model: str, row: dict[str, Any], memory: dict[str, str] | None) -> tuple[str | None, dict[str, str] | None]:
    """(the standing that is told, what is remembered then)."""
    message = exchanges.judge(EXCHANGES[model], row, NOW, LIMIT, memory)
    if not exchanges.is_news(model, message, memory):
        return None, memory
    return message.standing, exchanges.remembered(message)


def test_a_job_is_told_when_it_goes_wrong_and_how_that_ended() -> None:
    memory: dict[str, str] | None = None
    found = []
    for changes in (
        {"state": "started", "date_started": LATE},
        {"state": "started", "date_started": EARLY},
        {"state": "started", "date_started": EARLY},
        {"state": "pending"},
        {"state": "pending"},
        {"state": "failed", "date_started": LATE},
        {"state": "done", "date_done": LATE},
        {"state": "done", "date_done": LATE},
    ):
        standing_told, memory = told("queue.job", {**JOB, **changes}, memory)
        found.append(standing_told)
    assert found == [None, "stuck", None, "waiting", None, "failed", "delivered", None]


def test_each_retry_and_each_rung_has_an_id_of_its_own() -> None:
    """Also within the second of another, and where a job has no date of the retry."""
    exchange, ids = EXCHANGES["queue.job"], []
    for failed_at in (EARLY, LATE):
        told_then = {"standing": "failed", "state": "failed", "at": failed_at, "correlation": "0b1e"}
        message = exchanges.judge(exchange, JOB, NOW, LIMIT, told_then)
        assert message.at == failed_at
        ids.append(exchanges.event("queue.job", JOB, message, {}, "odoo")["id"])
    for state in ("output_sent", "output_sent_and_processed"):
        row = {**RECORD, "edi_exchange_state": state}
        message = exchanges.judge(EXCHANGES["edi.exchange.record"], row, NOW, LIMIT)
        ids.append(exchanges.event("edi.exchange.record", row, message, {}, "odoo")["id"])
    assert len(set(ids)) == 4


def test_a_job_that_did_as_it_should_is_never_told() -> None:
    assert told("queue.job", {**JOB, "state": "done", "date_done": LATE}, None) == (None, None)


def test_each_rung_of_an_exchange_is_told_once() -> None:
    sent = {**RECORD, "edi_exchange_state": "output_sent"}
    first, memory = told("edi.exchange.record", sent, None)
    again, memory = told("edi.exchange.record", {**sent, "write_date": "2026-11-21 11:58:00"}, memory)
    processed, _ = told("edi.exchange.record", {**sent, "edi_exchange_state": "output_sent_and_processed"}, memory)
    assert (first, again, processed) == ("delivered", None, "delivered")


def test_what_is_over_is_forgotten_when_it_is_not_read_any_more() -> None:
    since = exchanges.floor(NOW, LIMIT)
    assert since == "2026-11-21 11:00:00"
    over, failed = {"standing": "delivered", "at": "2026-11-21 10:59:00"}, {"standing": "failed", "at": EARLY}
    assert exchanges.is_past(over, since, NOW)
    assert not exchanges.is_past({**over, "at": LATE}, since, NOW)
    assert not exchanges.is_past(failed, since, NOW)
    assert exchanges.is_past(failed, since, NOW + timedelta(days=8))
