"""What a sample can't say: partial batches, retries, the webhook handshake, and the description of it all."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from collector.server import MAX_HEAD_BYTES
from milepost.clock import to_us, utc_now
from tests.conformance.cloudevents.samples import CE, dump, event, lines
from tests.served import BATCH, JSON, NDJSON, SOURCE, STRUCTURED, Served

pytestmark = pytest.mark.usefixtures("nothing_left")

NO_RIGHT = 'this key may not send "picking.packed" as source "/x"'
NO_ID = "id: missing or empty, and CloudEvents requires it"


def test_part_of_a_batch_is_accepted(served: Served) -> None:
    good, foreign, nameless = event(id="good"), event(id="bad", source="/x"), event(id=None, source="/wms/lost")
    answer = served.send(dump([nameless, good, foreign]), BATCH)
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 1,
        "rejected": [
            {"index": 0, "id": None, "error": NO_ID},
            {"index": 2, "id": "bad", "error": NO_RIGHT},
        ],
    }
    assert [json.loads(entry.body) for entry in served.taken()] == [good]
    kept = [(row["source"], row["event_id"], row["reason"], row["body"]) for row in served.quarantined()]
    assert kept == [("/wms/lost", None, NO_ID, dump(nameless)), ("/x", "bad", NO_RIGHT, dump(foreign))]


def test_a_batch_refused_for_different_reasons_is_not_about_rights(served: Served) -> None:
    answer = served.send(dump([event(source="/x", id="r1"), event(id=None)]), BATCH)
    assert (answer.status_code, len(answer.json()["rejected"])) == (422, 2)
    answer = served.send(dump([event(source="/x", id="r2"), event(source="/x", id="r3")]), BATCH)
    assert (answer.status_code, len(answer.json()["rejected"])) == (403, 2)


def test_a_refused_event_is_kept_byte_for_byte(served: Served) -> None:
    line = b'{"type" : "x\\u0000",  "id":"\\u00e9", "data":{} , "n": 1.10}'
    assert served.send(line + b"\n", NDJSON).status_code == 422
    assert [(row["body"], row["event_id"], row["source"]) for row in served.quarantined()] == [(line, "é", SOURCE)]


def test_an_event_sent_twice_is_twice_in_the_log_and_the_same(served: Served) -> None:
    for _ in range(2):
        assert served.send(dump(event(id="twice")), STRUCTURED).status_code == 202
    first, second = served.taken()
    assert (first.identity, first.content) == (second.identity, second.content)


def test_spelling_does_not_change_identity_or_content(served: Served) -> None:
    whole = event(id="same", time="2026-11-20T10:00:00Z")
    spelled = {**whole, "time": "2026-11-20T11:00:00+01:00", "data": {"keys": {"order": ["S1"]}, "outcome": "ok"}}
    served.send(json.dumps(whole, indent=1).encode(), STRUCTURED)
    served.send(dump(dict(reversed(spelled.items()))))
    served.send(dump(whole["data"]), JSON, headers={**CE, "ce-id": "same", "ce-time": whole["time"]})
    assert len({(entry.identity, entry.content) for entry in served.taken()}) == 1


def test_a_refusal_that_is_repeated_is_kept_once(served: Served) -> None:
    body = dump(event(id="again", type=""))
    answers = [served.send(body, STRUCTURED) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [422] * 3
    assert len(served.quarantined()) == 1


def test_received_time_is_read_once_a_request(served: Served) -> None:
    before = to_us(utc_now())
    served.send(dump([event(id="1"), event(id="2")]), BATCH)
    times = {entry.received_us for entry in served.taken()}
    assert len(times) == 1
    assert before <= times.pop() <= to_us(utc_now())


def test_x_api_key_is_as_good(served: Served) -> None:
    answer = served.send(dump(event()), key="", headers={"x-api-key": served.keys["north"]})
    assert answer.status_code == 202


def test_a_chunked_body_is_read_and_bounded(served: Served) -> None:
    headers = {"authorization": f"Bearer {served.keys['north']}", "content-type": NDJSON}
    parts = (lines(event(id=str(number))) for number in range(20))
    answer = served.client.post("/v1/events", content=parts, headers=headers)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 20)
    endless = (b" " * 10_000 for _ in range(30))
    assert served.client.post("/v1/events", content=endless, headers=headers).status_code == 413


@pytest.mark.parametrize(
    ("asked", "granted"), [("120", "120"), ("", "12000000"), ("x", "12000000"), ("9" * 12, "12000000")]
)
def test_webhook_handshake(served: Served, asked: str, granted: str) -> None:
    headers = {"webhook-request-origin": "eventgrid.example"} | ({"webhook-request-rate": asked} if asked else {})
    answer = served.client.options("/v1/events", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["webhook-allowed-origin"] == "eventgrid.example"
    assert answer.headers["webhook-allowed-rate"] == granted
    assert answer.headers["allow"] == "POST, OPTIONS"


def test_options_without_an_origin_grants_nothing(served: Served) -> None:
    answer = served.client.options("/v1/events")
    assert (answer.status_code, "webhook-allowed-origin" in answer.headers) == (200, False)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/events", 405), ("PUT", "/v1/events", 405), ("GET", "/v1/nothing", 404), ("POST", "/v1/events/", 404)],
)
def test_what_is_not_there_is_a_problem_too(served: Served, method: str, path: str, status: int) -> None:
    answer = served.client.request(method, path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    if status == 405:
        assert set(answer.headers["allow"].split(", ")) == {"POST", "OPTIONS"}


def test_headers_are_bounded(served: Served) -> None:
    answer = served.client.get("/healthz", headers={"x": "y" * MAX_HEAD_BYTES})
    assert (answer.status_code, answer.json()["status"]) == (431, 431)


def test_what_is_no_http_is_a_problem_too(served: Served) -> None:
    address = urlsplit(served.url)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=10) as connection:
        connection.sendall(b"hello\r\n\r\n")
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n")


def _examples(served: Served) -> list[tuple[str, Any]]:
    content = served.client.get("/openapi.json").json()["paths"]["/v1/events"]["post"]["requestBody"]["content"]
    return [
        (media, example)
        for media, described in content.items()
        for example in (
            [described["example"]]
            if "example" in described
            else [item["value"] for name, item in described["examples"].items() if name != "binary"]
        )
    ]


def test_every_example_of_the_description_is_accepted(served: Served) -> None:
    examples = _examples(served)
    assert {media for media, _ in examples} == {STRUCTURED, BATCH, JSON, NDJSON}
    for media, example in examples:
        body = example.encode() if isinstance(example, str) else dump(example)
        answer = served.send(body, media)
        assert (answer.status_code, answer.json()["rejected"]) == (202, []), example


def test_the_description_knows_every_answer(served: Served) -> None:
    described = served.client.get("/openapi.json").json()
    route = described["paths"]["/v1/events"]["post"]
    assert set(route["responses"]) == {"202", "400", "401", "403", "408", "413", "415", "422", "429", "503"}
    references = set(_references(described))
    known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert references <= known


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for inner in value.values() for found in _references(inner)]
    return [found for inner in value for found in _references(inner)] if isinstance(value, list) else []
