"""The traceparent header and the extension attribute, at a real collector: what gets which correlation id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from milepost import contract
from milepost.clock import utc_now
from tests.databases import Databases
from tests.served import JSON, NDJSON, SOURCE, STRUCTURED, Served, collector

pytestmark = pytest.mark.usefixtures("nothing_left")

TRACE, OTHER = "0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736"
HEADER = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
KEYS = {"keys": {"order": "S1"}}
DERIVED = {"correlationid": TRACE, "correlationfrom": "trace"}


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Served]:
    with databases.fresh() as url, collector(url) as running:
        yield running


def event(**changes: Any) -> dict[str, Any]:
    whole = {"specversion": "1.0", "id": "1", "source": SOURCE, "type": "order.received", "data": KEYS}
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def stored(served: Served) -> list[dict[str, Any]]:
    return [json.loads(entry.body) for entry in served.taken()]


def test_the_header_gives_a_correlation_to_events_that_have_none(served: Served) -> None:
    own = event(id="2", correlationid="mine")
    body = b"\n".join(json.dumps(item).encode() for item in (event(), own))
    assert served.send(body, NDJSON, headers=HEADER).status_code == 202
    assert stored(served) == [event(**DERIVED), own]


@pytest.mark.parametrize("data", [{}, {"keys": {}}, None])
def test_an_event_without_keys_is_valid_by_the_header(served: Served, data: Any) -> None:
    body = json.dumps(event(data=data)).encode()
    assert served.send(body, STRUCTURED).status_code == 422
    assert served.send(body, STRUCTURED, headers=HEADER).status_code == 202
    assert stored(served) == [event(data=data, **DERIVED)]


def test_a_correlation_of_null_is_none(served: Served) -> None:
    body = json.dumps({**event(), "correlationid": None}).encode()
    assert served.send(body, STRUCTURED, headers=HEADER).status_code == 202
    (entry,) = served.taken()
    assert entry.body.count(b"correlationid") == 1
    assert json.loads(entry.body) == event(**DERIVED)


@pytest.mark.parametrize(
    "value",
    [
        f"00-{TRACE}-b7ad6b7169203331-01-more",
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE.upper()}-b7ad6b7169203331-01",
        "nonsense",
    ],
)
def test_a_bad_header_counts_as_none(served: Served, value: str) -> None:
    answer = served.send(json.dumps(event()).encode(), STRUCTURED, headers={"traceparent": value})
    assert answer.status_code == 202
    assert stored(served) == [event()]


def test_two_headers_count_as_none(served: Served) -> None:
    sent = served.client.post(
        "/v1/events",
        content=json.dumps(event()).encode(),
        headers=[
            ("content-type", STRUCTURED),
            ("authorization", f"Bearer {served.keys['north']}"),
            ("traceparent", HEADER["traceparent"]),
            ("TraceParent", f"00-{OTHER}-b7ad6b7169203331-01"),
        ],
    )
    assert sent.status_code == 202
    assert stored(served) == [event()]


def test_the_event_s_own_traceparent_comes_before_the_header(served: Served) -> None:
    own = event(traceparent=f"00-{OTHER}-b7ad6b7169203331-01", data={})
    assert served.send(json.dumps(own).encode(), STRUCTURED, headers=HEADER).status_code == 202
    broken = event(id="2", traceparent="broken")
    assert served.send(json.dumps(broken).encode(), STRUCTURED, headers=HEADER).status_code == 202
    binary = {"ce-specversion": "1.0", "ce-id": "3", "ce-source": SOURCE, "ce-type": "order.received"}
    given = {**binary, "ce-traceparent": f"00-{OTHER}-b7ad6b7169203331-00"}
    assert served.send(json.dumps(KEYS).encode(), JSON, headers=given).status_code == 202
    assert [item["correlationid"] for item in stored(served)] == [OTHER, TRACE, OTHER]


def test_another_trace_makes_no_conflict(served: Served) -> None:
    """Whoever sends again does so in a new trace: the content is the same, so it is a duplicate."""
    body = json.dumps(event()).encode()
    for headers in ({}, HEADER, {"traceparent": f"00-{OTHER}-b7ad6b7169203331-01"}):
        assert served.send(body, STRUCTURED, headers=headers).status_code == 202
    taken = served.taken()
    assert len({(entry.identity, entry.content) for entry in taken}) == 1
    assert taken[0].content == contract.content_of(contract.decode(body))


def test_a_made_up_id_covers_the_trace_only_where_nothing_else_tells(served: Served) -> None:
    again = {"traceparent": f"00-{OTHER}-b7ad6b7169203331-01"}
    at = utc_now().isoformat()
    named = json.dumps({"type": "order.received", "time": at, "data": KEYS}).encode()
    bare = json.dumps({"type": "order.received", "time": at}).encode()
    for headers in (HEADER, again):
        assert served.send(named, headers=headers).status_code == 202
        assert served.send(bare, headers=headers).status_code == 202
    first, bare_first, second, bare_second = stored(served)
    assert first["id"] == second["id"]
    assert bare_first["id"] != bare_second["id"]


def test_what_is_refused_keeps_its_trace_for_the_replay(served: Served) -> None:
    body = json.dumps(event(data={"outcome": "fine"})).encode()
    assert served.send(body, STRUCTURED, headers=HEADER).status_code == 422
    (row,) = served.quarantined()
    assert row["context"] == {"correlation": TRACE}
