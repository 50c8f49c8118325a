"""Who is let in at /v1/hooks/{source}: Standard Webhooks with its official vector, HMAC headers, tokens, keys."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.hooks.conftest import (
    NEW_SECRET,
    PLAIN,
    SECRET,
    VECTOR_AT,
    Called,
    digest,
    in_base64,
    sample,
    standard,
)

BODY = b'{"test": 2432232314}'
VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
FILE = Path(__file__).parents[4] / "shared" / "data" / "webhooks" / "vectors.json"
ACCEPTED = {"accepted": 1, "rejected": []}


@pytest.mark.skipif(not FILE.exists(), reason="the official vectors are not beside the checkout")
def test_the_vector_here_is_the_official_one() -> None:
    (vector,) = json.loads(FILE.read_text())["vectors"]
    assert (vector["secret"], vector["payload"].encode()) == (SECRET, BODY)
    assert [vector[name] for name in ("msg_id", "timestamp", "expected")] == list(VECTOR.values())


def test_the_official_vector_is_let_in_and_its_id_is_the_events(called: Called) -> None:
    answer = called.post("standard", BODY, VECTOR)
    assert (answer.status_code, answer.json()) == (202, ACCEPTED)
    assert called.ids() == ["msg_p5jXN8AQM9LWM0D4loKWxJek/order.received"]


LATE, EARLY = str(VECTOR_AT - 301), str(VECTOR_AT + 301)
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("no id", {"webhook-id": None}, "the header webhook-id is missing"),
    ("no timestamp", {"webhook-timestamp": None}, "the header webhook-timestamp is missing"),
    ("no signature", {"webhook-signature": None}, "the header webhook-signature is missing"),
    ("empty signature", {"webhook-signature": ""}, "the header webhook-signature is missing"),
    ("no number", {"webhook-timestamp": "soon"}, "webhook-timestamp is not a number of seconds"),
    ("negative", {"webhook-timestamp": "-1614265330"}, "webhook-timestamp is not a number of seconds"),
    ("endless", {"webhook-timestamp": "9" * 400}, "webhook-timestamp is not a number of seconds"),
    ("fraction", {"webhook-timestamp": "1614265330.0"}, "webhook-timestamp is not a number of seconds"),
    ("long id", {"webhook-id": "m" * 257}, "webhook-id has more than 256 characters"),
    ("wrong", {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="}, "does not match"),
    ("another version", {"webhook-signature": "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}, "does not match"),
    ("no version", {"webhook-signature": "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}, "does not match"),
    ("another id", {"webhook-id": "msg_other"}, "does not match"),
    ("another time", {"webhook-timestamp": str(VECTOR_AT + 1)}, "does not match"),
    ("too old", standard(BODY, at=int(LATE)), "webhook-timestamp is too old, or too far ahead"),
    ("ahead", standard(BODY, at=int(EARLY)), "webhook-timestamp is too old, or too far ahead"),
    ("another secret", standard(BODY, secret=NEW_SECRET), "does not match"),
]


@pytest.mark.parametrize(("change", "detail"), [pytest.param(*case[1:], id=case[0]) for case in WRONG])
def test_a_wrong_standard_webhook_is_told_why_and_nothing_is_kept(
    called: Called, change: Mapping[str, Any], detail: str
) -> None:
    headers = {name: value for name, value in {**VECTOR, **change}.items() if value is not None}
    answer = called.post("standard", BODY, headers)
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert (problem["status"], problem["title"]) == (401, "Unauthorized")
    assert detail in problem["detail"]
    assert (called.taken(), called.quarantined()) == ([], [])


def test_one_byte_more_is_another_body(called: Called) -> None:
    assert called.post("standard", BODY + b" ", VECTOR).status_code == 401


@pytest.mark.parametrize("seconds", [-300, 300])
def test_the_tolerance_is_five_minutes_either_way(called: Called, seconds: int) -> None:
    assert called.post("standard", BODY, standard(BODY, at=VECTOR_AT + seconds)).status_code == 202
    assert called.post("strict", BODY, standard(BODY, at=VECTOR_AT + seconds)).status_code == 401


def test_one_right_signature_among_several_is_enough_but_not_behind_a_hundred(called: Called) -> None:
    wrong = "v1," + base64.b64encode(b"0" * 32).decode()
    right = VECTOR["webhook-signature"]
    assert called.post("standard", BODY, {**VECTOR, "webhook-signature": f"{wrong} v1a,x {right}"}).status_code == 202
    many = " ".join([wrong] * 100 + [right])
    assert called.post("standard", BODY, {**VECTOR, "webhook-signature": many}).status_code == 401


@pytest.mark.parametrize("secret", [SECRET, NEW_SECRET])
def test_each_secret_counts_while_they_rotate(called: Called, secret: str) -> None:
    assert called.post("rotated", BODY, standard(BODY, secret=secret)).status_code == 202


def test_a_retry_has_the_same_identity_and_another_message_has_not(called: Called) -> None:
    for at in (VECTOR_AT, VECTOR_AT + 60):  # a retry is signed anew
        assert called.post("standard", BODY, standard(BODY, at=at, message="msg_1")).json() == ACCEPTED
    called.post("standard", BODY, standard(BODY, message="msg_2"))
    first, again, other = (entry.identity for entry in called.taken())
    assert first == again
    assert first != other


# --- plain HMAC -------------------------------------------------------------------------------------------------------

WOO_CREATED = {"X-WC-Webhook-Topic": "order.created"}
HMAC: list[tuple[str, str, bytes, str, Mapping[str, str], int]] = [
    ("shop", "X-Shopify-Hmac-Sha256", sample("shopify-order"), "{base64}", {"X-Shopify-Topic": "orders/create"}, 1),
    ("woo", "X-WC-Webhook-Signature", sample("woocommerce-order"), "{base64}", WOO_CREATED, 2),
    ("easypost", "X-Hmac-Signature", sample("easypost-tracker"), "hmac-sha256-hex={hex}", {}, 4),
    ("aftership", "aftership-hmac-sha256", sample("aftership-tracking"), "{base64}", {}, 3),
    ("github", "X-Hub-Signature-256", BODY, "sha256={hex}", {}, 1),
    ("custom", "X-Sign", BODY, "v0={hex}", {}, 1),
]  # fmt: skip


def form(text: str, body: bytes, secret: str = PLAIN) -> str:
    return text.format(base64=in_base64(body, secret), hex=digest(body, secret).hex())


@pytest.mark.parametrize(("source", "header", "body", "text", "more", "events"), HMAC, ids=[case[0] for case in HMAC])
def test_each_sender_signs_in_its_own_way(
    called: Called, source: str, header: str, body: bytes, text: str, more: Mapping[str, str], events: int
) -> None:
    answer = called.post(source, body, {header: form(text, body), **more})
    assert (answer.status_code, answer.json()) == (202, {"accepted": events, "rejected": []})
    first = {entry.identity for entry in called.taken()}
    called.post(source, body, {header: form(text, body), **more})
    assert {entry.identity for entry in called.taken()} == first, "what is sent again counts once"
    for wrong in ({}, {header: ""}, {header: form(text, body + b" ")}, {header: form(text, body, "another")}):
        answer = called.post(source, body, {**wrong, **more})
        assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json"), wrong
    assert (called.taken(), called.quarantined()) == ([], [])


def test_hex_may_be_in_capitals_and_the_old_secret_counts_in_a_rotation(called: Called) -> None:
    for value in ("v0=" + digest(BODY).hex().upper(), "v0=" + digest(BODY, "the one before that").hex()):
        assert called.post("custom", BODY, {"X-Sign": value}).status_code == 202


def test_a_signature_that_is_no_ascii_is_a_wrong_one(called: Called) -> None:
    assert called.post("custom", BODY, {"X-Sign": b"v0=\xff\xfe"}).status_code == 401  # type: ignore[dict-item]


# --- tokens and keys --------------------------------------------------------------------------------------------------


def test_a_token_in_a_header(called: Called) -> None:
    assert called.post("header", BODY, {"X-Token": PLAIN}).json() == ACCEPTED
    for headers in ({}, {"X-Token": ""}, {"X-Token": PLAIN + "x"}, {"X-Token": PLAIN[:-1]}):
        answer = called.post("header", BODY, headers)
        assert (answer.status_code, answer.json()["detail"]) == (401, "the token is missing or wrong")


def test_a_token_as_alertmanager_sends_it(called: Called) -> None:
    body = sample("alertmanager")
    answer = called.post("bearer", body, {"Authorization": f"Bearer {PLAIN}"})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "rejected": []})
    assert called.post("bearer", body, {"Authorization": f"Basic {PLAIN}"}).status_code == 401


def test_a_token_in_the_address_for_who_can_set_no_header(called: Called) -> None:
    body = sample("odoo-order")
    assert called.post("erp", body, {}, query="?token=a%20secret+that%20both%20sides%20know").json() == ACCEPTED
    assert called.post("erp", body, {}, query="?token=wrong").status_code == 401
    assert called.post("erp", body, {"token": PLAIN}).status_code == 401
    assert called.post("erp", body, {}, query="?" + "a=1&" * 500).status_code == 401


def test_the_senders_delivery_id_tells_equal_payloads_apart(called: Called) -> None:
    for delivery in ("d1", "d1", "d2"):
        called.post("header", BODY, {"X-Token": PLAIN, "X-Delivery": delivery})
    assert called.ids() == ["d1/order.received", "d1/order.received", "d2/order.received"]


def test_an_api_key(called: Called) -> None:
    good = {"Authorization": f"Bearer {called.keys['north']}"}
    assert called.post("wms/north", BODY, good).json() == ACCEPTED
    assert called.post("/wms/north", BODY, {"X-Api-Key": called.keys["north"]}).json() == ACCEPTED
    assert called.post("wms/north", BODY, {}).status_code == 401
    assert called.post("wms/north", BODY, {"Authorization": f"Bearer {called.keys['reader']}"}).status_code == 403
    called.taken()
    answer = called.post("wms/north", BODY, {"Authorization": f"Bearer {called.keys['picking']}"})
    assert (answer.status_code, answer.json()["accepted"]) == (403, 0)
    assert called.taken() == []


# --- around it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["nobody", "silent", "standard/more", "wms"])
def test_who_takes_no_webhooks_is_not_found(called: Called, source: str) -> None:
    answer = called.post(source, BODY, VECTOR)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["detail"] == f'no source "{source}" takes webhooks; sources.yaml of the catalog says which do'


def test_a_source_without_its_secret_asks_to_come_again(called: Called) -> None:
    answer = called.post("unset", BODY, {"X-Sign": "v0=00"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")
    assert "HOOK_UNSET" not in answer.text


def test_the_handshake_of_cloudevents(called: Called) -> None:
    asked = {"WebHook-Request-Origin": "eventemitter.example.com", "WebHook-Request-Rate": "120"}
    answer = called.client.options("/v1/hooks/standard", headers=asked)
    assert (answer.status_code, answer.headers["allow"]) == (200, "POST, OPTIONS")
    assert answer.headers["webhook-allowed-origin"] == "eventemitter.example.com"
    assert answer.headers["webhook-allowed-rate"] == "120"
    assert called.client.options("/v1/hooks/nobody", headers=asked).status_code == 404
    assert called.client.get("/v1/hooks/standard").status_code == 405


def test_the_ping_of_woocommerce_is_answered_and_nothing_else_unsigned(called: Called) -> None:
    form_type = {"Content-Type": "application/x-www-form-urlencoded"}
    assert called.post("woo", b"webhook_id=7", form_type).status_code == 200
    assert called.post("woo", b"webhook_id=7&x=1", form_type).status_code == 401
    assert called.post("woo", sample("woocommerce-order"), {}).status_code == 401
    assert called.post("shop", b"webhook_id=7", form_type).status_code == 401
    assert (called.taken(), called.quarantined()) == ([], [])


def test_guessing_costs_the_guesser(called: Called) -> None:
    called.clock[0] += timedelta(hours=1)
    codes = [called.post("header", BODY, {"X-Token": f"guess {number}"}).status_code for number in range(101)]
    assert codes == [401] * 100 + [429]
    answer = called.post("header", BODY, {"X-Token": PLAIN})
    assert (answer.status_code, int(answer.headers["retry-after"]) <= 60) == (429, True)
    called.clock[0] += timedelta(seconds=61)
    assert called.post("header", BODY, {"X-Token": PLAIN}).status_code == 202
