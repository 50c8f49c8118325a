"""What becomes of an authentic payload: events, knowingly nothing, or quarantine, whole and ready to be read again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx

from collector.replay import Replayer
from milepost.clock import to_us
from milepost.decisions.catalog import CatalogCache
from milepost.inbox import identities
from milepost.inbox.quarantine.mend import Wanted, take
from tests.conformance.hooks.conftest import ANYTHING, PLAIN, Called, digest, in_base64, sample
from tests.served import wait_until


def to_shop(called: Called, body: bytes, topic: str) -> httpx.Response:
    headers = {"X-Shopify-Hmac-Sha256": in_base64(body), "X-Shopify-Topic": topic, "Cookie": "session=1"}
    return called.post(
        "shop", body, headers | {"X-Shopify-Api-Token": "never kept", "X-Shopify-Shop-Domain": "a.example"}
    )


def to_easypost(called: Called, body: bytes) -> httpx.Response:
    return called.post("easypost", body, {"X-Hmac-Signature": "hmac-sha256-hex=" + digest(body).hex()})


def changed(body: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(body), **fields}).encode()


def test_one_payload_gives_several_events_of_its_source(called: Called) -> None:
    assert to_easypost(called, sample("easypost-tracker")).json()["accepted"] == 4
    events = [json.loads(entry.body) for entry in called.taken()]
    assert {event["source"] for event in events} == {"easypost"}
    assert [event["type"] for event in events] == [
        "shipment.booked", "shipment.in_transit", "shipment.out_for_delivery", "shipment.estimated",
    ]  # fmt: skip


def test_a_later_update_repeats_what_is_known_under_the_same_identities(called: Called) -> None:
    to_easypost(called, sample("easypost-tracker"))
    first = {entry.identity: entry.content for entry in called.taken()}
    update = json.loads(sample("easypost-tracker"))
    scans = update["result"]["tracking_details"]
    scan = {**scans[-1], "status": "delivered", "message": "Delivered", "datetime": "2031-01-01T00:00:00Z"}
    update["result"] |= {"updated_at": "2026-11-21T12:00:00Z", "est_delivery_date": "2026-11-22T00:00:00Z"}
    update["result"]["tracking_details"] = [scan, *reversed(scans)]  # any order, and a carrier's clock that is ahead
    to_easypost(called, json.dumps(update).encode())
    second = {entry.identity: entry.content for entry in called.taken()}
    assert len(second) == 5
    assert len(second.keys() - first.keys()) == 2, "the new scan, and the new expected date"
    assert all(second[identity] == content for identity, content in first.items() if identity in second)


def test_what_a_rule_ignores_is_told_and_not_kept(called: Called) -> None:
    answer = to_shop(called, changed(sample("shopify-order"), test=True), "orders/create")
    assert (answer.status_code, answer.json()) == (202, {"accepted": 0, "rejected": [], "ignored": "a test order"})
    assert (called.taken(), called.quarantined()) == ([], [])
    assert 'hook_calls_total{outcome="ignored",source="shop"} 1.0' in called.client.get("/metrics").text


def test_a_payload_that_nothing_applies_to_is_kept_whole_with_what_a_replay_needs(called: Called) -> None:
    body = sample("shopify-order")
    answer = to_shop(called, body, "products/create")
    assert answer.status_code == 202, "its sender must not try for ever"
    assert answer.json()["quarantined"] == (
        "mapping shopify: the mapping makes no event of this payload:"
        ' events[0].when: header.x_shopify_topic is "products/create" (and 7 more)'
    )
    (row,) = called.quarantined()
    assert (row["source"], row["kind"], row["way"], bytes(row["body"])) == ("shop", "mapping", "hook:shop", body)
    assert row["context"]["headers"]["x_shopify_topic".replace("_", "-")] == "products/create"
    kept = json.dumps(row["context"])
    assert not any(secret in kept for secret in (PLAIN, in_base64(body), "never kept", "session=1"))
    assert called.taken() == []


def test_what_is_no_json_is_kept_too(called: Called) -> None:
    for body in (b"", b"not json", b"\xff", b'{"a":', b"[" * 100_000, b'{"a": "\\ud800"}'):
        answer = to_shop(called, body, "orders/create")
        assert (answer.status_code, answer.json()["accepted"]) == (202, 0), body[:20]
        (row,) = called.quarantined()
        assert (row["kind"], row["reason"][:14]) == ("malformed", "not valid JSON"), body[:20]


def test_a_payload_of_too_many_values_is_kept_and_not_read(called: Called) -> None:
    body = b"[" + b"[]," * 200_001 + b"0]"
    answer = to_shop(called, body, "orders/create")
    assert (answer.status_code, answer.json()["quarantined"].split(",")[0]) == (202, "about 400003 values")
    (row,) = called.quarantined()
    assert (row["kind"], bytes(row["body"])) == ("malformed", body)


def test_a_fault_in_one_event_costs_only_that_and_the_payload_is_kept(called: Called) -> None:
    tracker = json.loads(sample("easypost-tracker"))
    tracker["result"]["tracking_details"][1]["status"] = "teleported"
    answer = to_easypost(called, json.dumps(tracker).encode())
    assert (answer.status_code, answer.json()["accepted"]) == (202, 3)
    assert '"teleported" is not in the table; add it' in answer.json()["quarantined"]
    assert len(called.taken()) == 3
    (row,) = called.quarantined()
    assert (row["kind"], row["way"]) == ("mapping", "hook:easypost")


def test_the_same_unread_payload_is_kept_once(called: Called) -> None:
    for _ in range(3):
        answer = called.post("github", b'{"kind": 1, "test": {}}', {"X-Hub-Signature-256": "sha256=x"})
        assert answer.status_code == 401
    body = changed(sample("shopify-order"), name="#1043")
    assert [to_shop(called, body, "themes/publish").status_code for _ in range(3)] == [202, 202, 202]
    assert len(called.quarantined()) == 1


def test_the_trace_of_a_request_correlates_what_has_no_correlation_of_its_own(called: Called) -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    called.post("header", b'{"test": 1}', {"X-Token": PLAIN, **trace})
    called.post("header", b'{"test": 1}', {"X-Token": PLAIN})  # the same, tried again by a sender without a trace
    first, again = called.taken()
    assert json.loads(first.body)["correlationid"] == "0af7651916cd43dd8448eb211c80319c"
    assert (first.identity, first.content) == (again.identity, again.content)


def test_events_that_break_the_contract_are_a_fault_of_the_payload(called: Called) -> None:
    body = changed(sample("shopify-order"), name="x" * 300, id=7)
    answer = to_shop(called, body, "orders/create")
    assert (answer.status_code, answer.json()["accepted"]) == (202, 0)
    assert "7/order.received: data.keys" in answer.json()["quarantined"]
    assert len(called.quarantined()) == 1


def test_a_mended_mapping_takes_what_is_in_quarantine(called: Called) -> None:
    body = b'{"kind": {"name": "odd"}, "test": 5}'
    headers = {"X-Hub-Signature-256": "sha256=" + digest(body).hex()}
    assert (
        "events[0].type.of: the expression gives an object"
        in called.post("github", body, headers).json()["quarantined"]
    )
    replayer = Replayer(called.engine, CatalogCache().active, lambda: called.clock[0])
    number = _only(called)
    with called.engine.begin() as connection:
        identities.roll_over(connection, called.clock[0], timedelta(days=30))
    assert replayer.one(number, actor="ann").outcome == "refused"
    called.apply(anything=ANYTHING.replace("body.kind, table", "body.kind.name || body.kind, table"))
    verdict = replayer.one(number, actor="ann")
    assert (verdict.outcome, len(verdict.events)) == ("accepted", 1)
    assert [json.loads(entry.body)["source"] for entry in called.taken()] == ["github"]
    called.apply(anything=ANYTHING)


def _only(called: Called) -> int:
    with called.engine.begin() as connection:
        (held,) = take(connection, Wanted(source="github"), limit=10).rows
    return held.quarantine_id


def test_a_body_that_takes_long_is_received_when_it_is_whole(called: Called) -> None:
    """The clocks may have passed the time at which its head came."""
    body = b'{"kind": "new", "test": 5}'

    def dribble() -> Iterator[bytes]:
        yield body[:5]
        wait_until(lambda: "milepost_collector_held_bytes 5.0" in httpx.get(f"{called.url}/metrics").text)
        called.clock[0] += timedelta(minutes=5)
        yield body[5:]

    headers = {"x-token": PLAIN, "x-delivery": "1"}
    assert called.client.post("/v1/hooks/header", content=dribble(), headers=headers).status_code == 202
    assert [entry.received_us for entry in called.taken()] == [to_us(called.clock[0])]
