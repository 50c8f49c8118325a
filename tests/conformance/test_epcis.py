"""The capture subset of EPCIS 2.0 at a real collector on a real database. Documents of the shape of GS1's examples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest

from collector import replay
from collector.formats import epcis
from milepost import settings
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.db.engine import make_engine
from milepost.decisions import catalog
from milepost.errors import InvalidEvent
from milepost.inbox import identities
from tests.databases import Databases
from tests.served import SOURCE, Served, collector, wait_until

pytestmark = pytest.mark.usefixtures("nothing_left")

LIMITS = settings.Ingest(max_body_bytes=200_000, max_event_bytes=50_000, max_batch_events=20)
SOURCES = """
sources:
  /wms/north:
    epcis:
      types: {receiving: shipment.delivered, loading: null}
      transactions: {"https://example.org/btt/wave": picking}
"""
SSCC, PALLET = "urn:epc:id:sscc:0614141.1234567890", "https://id.gs1.org/00/106141412345678915"
WEB = "https://ref.gs1.org/cbv/"
CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Served]:
    with databases.fresh() as url:
        engine = make_engine(url, application_name="test")
        with engine.begin() as connection:
            texts = {**loader.default_texts(), "sources.yaml": SOURCES}
            catalog.apply(connection, texts, actor="test", now=utc_now())
            identities.roll_over(connection, utc_now(), timedelta(days=30))
        engine.dispose()
        with collector(url, limits=LIMITS) as running:
            wait_until(lambda: post(running, document()).status_code == 202)
            yield running


def event(**fields: Any) -> dict[str, Any]:
    whole = {
        "eventID": "urn:uuid:374d95fc-9457-4a51-bd6a-0bba133845a8",
        "type": "ObjectEvent",
        "action": "OBSERVE",
        "bizStep": "shipping",
        "disposition": "in_transit",
        "epcList": [SSCC],
        "eventTime": "2026-04-03T20:33:31.116000Z",
        "eventTimeZoneOffset": "-06:00",
        "readPoint": {"id": "urn:epc:id:sgln:0614141.07346.1234"},
        "bizTransactionList": [{"type": "po", "bizTransaction": "urn:epcglobal:cbv:bt:0614141073467:PO%2F1152"}],
    }
    return {name: value for name, value in {**whole, **fields}.items() if value is not None}


def document(*events: Any) -> dict[str, Any]:
    return {
        "@context": [CONTEXT, {"example": "https://ns.example.org/"}],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2026-04-03T11:30:47.0Z",
        "epcisBody": {"eventList": list(events)},
    }


def post(
    served: Served,
    sent: Any,
    *,
    path: str = "capture",
    key: str = "north",
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    body = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    given = {"content-type": "application/json"} | ({"authorization": f"Bearer {served.keys[key]}"} if key else {})
    return served.client.post(f"/v1/epcis/{path}", content=body, headers={**given, **(headers or {})})


def state(served: Served, answer: httpx.Response, key: str = "north") -> httpx.Response:
    assert answer.status_code == 202, answer.text
    return served.client.get(answer.headers["location"], headers={"authorization": f"Bearer {served.keys[key]}"})


def captured(served: Served, *events: Any) -> list[dict[str, Any]]:
    """The events that a capture without errors gave."""
    job = state(served, post(served, document(*events))).json()
    assert (job["running"], job["success"], job["errors"]) == (False, True, [])
    return [json.loads(entry.body) for entry in served.taken()]


# --- what events become -----------------------------------------------------------------------------------------------


def test_a_shipment_leaves(served: Served) -> None:
    sent = event(
        sourceList=[{"type": "owning_party", "source": "urn:epc:id:pgln:0614141.00001"}],
        destinationList=[{"type": f"{WEB}SDT-location", "destination": "urn:epc:id:sgln:0012345.11111.0"}],
    )
    (found,) = captured(served, sent)
    assert found == {
        "specversion": "1.0",
        "id": sent["eventID"],
        "source": SOURCE,
        "type": "shipment.dispatched",
        "time": "2026-04-03T14:33:31.116000-06:00",
        "data": {
            "keys": {"customer_po": ["PO/1152"], "package": ["106141412345678908"]},
            "attributes": {
                "disposition": "in_transit",
                "read_point": "0614141073467.1234",
                "partner": "0614141073467",
                "from_owning_party": "0614141000012",
                "to_location": "0012345111112",
            },
            "epcis": sent,
        },
    }


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"bizStep": "urn:epcglobal:cbv:bizstep:packing"}, "picking.packed"),
        ({"bizStep": f"{WEB}BizStep-picking"}, "picking.picked"),
        ({"bizStep": "receiving"}, "shipment.delivered"),
        ({"bizStep": "void_shipping"}, "shipment.cancelled"),
        ({"bizStep": "inspecting"}, "epcis.inspecting"),
        ({"bizStep": None}, "epcis.event"),
    ],
)
def test_business_steps_are_types(served: Served, fields: dict[str, Any], kind: str) -> None:
    (found,) = captured(served, event(**fields))
    assert found["type"] == kind


def test_a_step_that_means_nothing_gives_no_event(served: Served) -> None:
    assert captured(served, event(bizStep="loading")) == []


def test_documents_are_keys(served: Served) -> None:
    listed = [
        {"type": "desadv", "bizTransaction": "urn:epcglobal:cbv:bt:0614141073467:1152"},
        {"type": "urn:epcglobal:cbv:btt:inv", "bizTransaction": "http://transaction.acme.example/inv/RE100099/"},
        {"type": "poc", "bizTransaction": "urn:epc:id:gdti:0614141.00001.1618034"},
        {"type": "https://example.org/btt/wave", "bizTransaction": "urn:example:W7"},
        {"bizTransaction": "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"},
    ]
    (found,) = captured(served, event(bizTransactionList=listed, epcList=["urn:epc:id:gsin:0614141.123456789"]))
    assert found["data"]["keys"] == {
        "shipment": ["1152", "06141411234567890"],
        "invoice": ["RE100099"],
        "order": ["1618034"],
        "picking": ["urn:example:W7"],
    }


def test_a_pallet_and_its_cartons(served: Served) -> None:
    packed = event(
        type="AggregationEvent", action="ADD", bizStep="packing", parentID=PALLET, childEPCs=[SSCC], epcList=None
    )
    (found,) = captured(served, packed)
    assert found["data"]["keys"]["package"] == ["106141412345678915", "106141412345678908"]
    assert found["data"]["links"] == [
        {
            "parent": {"type": "package", "key": "106141412345678915"},
            "child": {"type": "package", "key": "106141412345678908"},
            "rel": "packed",
        }
    ]


def test_many_packages_are_told_by_several_events(served: Served) -> None:
    many = [f"https://id.gs1.org/00/{number:018d}" for number in range(250)]
    found = captured(served, event(epcList=many))
    assert [len(item["data"]["keys"]["package"]) for item in found] == [100, 100, 50]
    assert len({item["id"] for item in found}) == 3
    assert ["epcis" in item["data"] for item in found] == [True, False, False]


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"epcList": ["urn:epc:id:sgtin:0614141.107346.2017"]}, {"item": ["urn:epc:id:sgtin:0614141.107346.2017"]}),
        ({"epcList": [], "quantityList": [{"epcClass": "urn:epc:class:lgtin:4012345.012345.998877", "quantity": 200}]},
         {"item": ["urn:epc:class:lgtin:4012345.012345.998877"]}),
        ({"epcList": None, "type": "TransformationEvent", "action": None, "inputEPCList": ["urn:x:1"],
          "outputEPCList": ["urn:x:2"]}, {"item": ["urn:x:1", "urn:x:2"]}),
        ({"epcList": None, "type": "AssociationEvent", "parentID": "urn:x:3"}, {"item": ["urn:x:3"]}),
        ({"epcList": []}, None),
    ],
)  # fmt: skip
def test_events_about_goods_alone_are_kept_too(served: Served, fields: dict[str, Any], keys: Any) -> None:
    (found,) = captured(served, event(bizTransactionList=None, **fields))
    assert found["data"].get("keys") == (keys or {})
    assert found.get("correlationid") == (None if keys else event()["eventID"])


def test_an_event_that_its_sender_takes_back(served: Served) -> None:
    declared = {
        "declarationTime": "2026-04-05T00:00:00Z",
        "reason": "urn:epcglobal:cbv:er:incorrect_data",
        "correctiveEventIDs": ["urn:uuid:1"],
    }
    (found,) = captured(served, event(errorDeclaration=declared))
    assert (found["type"], found["id"]) == ("epcis.error_declared", f"{event()['eventID']}#error")
    assert (found["causationid"], found["time"]) == (event()["eventID"], "2026-04-04T18:00:00-06:00")
    data = found["data"]
    assert (data["outcome"], data["code"]) == ("rejected", "incorrect_data")
    assert data["reason"] == "its sender takes shipment.dispatched back; instead: urn:uuid:1"


def test_an_event_without_an_id_is_known_again(served: Served) -> None:
    first, again, other = (
        event(eventID=None, recordTime="2026-04-04T00:00:00Z"),
        dict(reversed(event(eventID=None).items())),
        event(eventID=None, epcList=[PALLET]),
    )
    ids = [item["id"] for one in (first, again, other) for item in captured(served, one)]
    assert ids[0] == ids[1] != ids[2]
    assert ids[0].startswith("urn:milepost:sha256:")


def test_a_query_document_is_captured_too(served: Served) -> None:
    asked = {**document(), "type": "EPCISQueryDocument"}
    asked["epcisBody"] = {"queryResults": {"queryName": "x", "resultsBody": {"eventList": [event()]}}}
    answer = post(served, asked, headers={"content-type": "application/ld+json; charset=utf-8"})
    assert state(served, answer).json()["success"]
    assert len(served.taken()) == 1


# --- captures ---------------------------------------------------------------------------------------------------------

BAD = event(eventID="urn:uuid:bad", eventTimeZoneOffset="CET")
LATE = event(eventID="urn:uuid:late", eventTime="2200-01-01T00:00:00Z")


def test_all_or_nothing(served: Served) -> None:
    answer = post(served, document(event(), BAD, LATE))
    job = state(served, answer).json()
    assert job == {
        "captureID": answer.headers["location"].rpartition("/")[2],
        "createdAt": job["createdAt"],
        "finishedAt": job["finishedAt"],
        "running": False,
        "success": False,
        "captureErrorBehaviour": "rollback",
        "errors": [
            {"type": "epcisException:ValidationException", "title": "Bad Request", "status": 400, "instance": None,
             "detail": "eventList[1]: eventTimeZoneOffset: write it like +02:00"},
            {"type": "epcisException:ValidationException", "title": "Bad Request", "status": 400,
             "instance": "urn:uuid:late",
             "detail": "eventList[2]: time: 2199-12-31T18:00:00-06:00 lies outside the years 1990 to 2100"},
        ],
    }  # fmt: skip
    assert served.taken() == []
    assert len(served.quarantined()) == 2


def test_proceed(served: Served) -> None:
    events = document(BAD, event(type="OtherEvent"), event(action=None), event())
    answer = post(served, events, headers={"GS1-Capture-Error-Behaviour": "proceed"})
    job = state(served, answer).json()
    assert (job["success"], job["captureErrorBehaviour"], len(job["errors"])) == (False, "proceed", 3)
    assert [error["detail"] for error in job["errors"][1:]] == [
        "eventList[1]: type: Invalid enum value 'OtherEvent'",
        "eventList[2]: action: ObjectEvent requires it: OBSERVE, ADD or DELETE",
    ]
    assert len(served.taken()) == 1


def test_what_was_refused_can_be_mended_and_replayed(served: Served) -> None:
    bad = event(eventID="urn:uuid:mend", eventTimeZoneOffset="CET")
    post(served, document(bad))
    (row,) = served.quarantined()
    assert (row["way"], json.loads(row["body"])) == (epcis.WAY, bad)
    checked = loader.load({**loader.default_texts(), "sources.yaml": SOURCES})
    with pytest.raises(InvalidEvent, match="eventTimeZoneOffset"):
        epcis.read_again(checked, SOURCE, row["body"])
    (body,) = epcis.read_again(checked, SOURCE, row["body"].replace(b"CET", b"+01:00"))
    assert json.loads(body)["type"] == "shipment.dispatched"
    assert replay.READERS[epcis.WAY]


def test_nobody_else_is_told(served: Served) -> None:
    answer = post(served, document(event()))
    for found in (
        state(served, answer, key="several"),
        served.client.get("/v1/epcis/capture/x%00", headers={"authorization": f"Bearer {served.keys['north']}"}),
    ):
        assert (found.status_code, found.json()["type"]) == (404, "epcisException:NoSuchResourceException")


def test_what_the_key_may_not_send(served: Served) -> None:
    job = state(served, post(served, document(event()), key="picking"), key="picking").json()
    (error,) = job["errors"]
    assert (error["type"], error["status"]) == ("epcisException:SecurityException", 403)


# --- single events ----------------------------------------------------------------------------------------------------


def test_one_event(served: Served) -> None:
    answer = post(served, event(), path="events")
    assert (answer.status_code, answer.json()) == (201, event())
    assert answer.headers["location"] == f"/v1/epcis/events/{event()['eventID']}"
    assert answer.headers["gs1-epcis-version"] == "2.0"
    again = post(served, event(), path="events")
    assert (again.status_code, again.json()["type"]) == (409, "epcisException:ResourceAlreadyExistsException")
    assert len(served.taken()) == 1


def test_one_event_that_another_collector_captured(served: Served) -> None:
    sent = event(eventID="urn:uuid:elsewhere")
    post(served, document(sent))
    (entry,) = served.taken()
    with served.engine.begin() as connection:
        identities.claim(connection, {entry.identity: entry.content})
    assert post(served, sent, path="events").status_code == 409


def test_one_event_without_an_id_gets_one(served: Served) -> None:
    sent = event(eventID=None, epcList=[PALLET])
    answer = post(served, sent, path="events")
    assert answer.status_code == 201
    assert answer.json() == {"eventID": answer.json()["eventID"], **sent}


@pytest.mark.parametrize(
    ("sent", "status", "kind", "detail"),
    [
        (BAD, 400, "ValidationException", "eventTimeZoneOffset: write it like +02:00"),
        (b"{", 400, "ValidationException", "not valid JSON: Input data was truncated"),
        (b"[]", 400, "ValidationException", "event: Expected `object`, got `array`"),
        (b"{} {}", 400, "ValidationException", "not valid JSON: "),
    ],
)
def test_one_event_that_is_none(served: Served, sent: Any, status: int, kind: str, detail: str) -> None:
    answer = post(served, sent, path="events")
    assert (answer.status_code, answer.json()["type"]) == (status, f"epcisException:{kind}")
    assert answer.json()["detail"].startswith(detail)
    assert answer.headers["content-type"] == "application/problem+json"


def test_one_event_that_the_key_may_not_send(served: Served) -> None:
    answer = post(served, event(eventID="urn:uuid:2"), path="events", key="picking")
    assert (answer.status_code, answer.json()["type"]) == (403, "epcisException:SecurityException")


# --- the rest of the protocol -----------------------------------------------------------------------------------------


def test_what_is_announced(served: Served) -> None:
    announced = served.client.options("/v1/epcis/capture")
    assert (announced.status_code, announced.content) == (204, b"")
    expected = {
        "allow": "OPTIONS, POST",
        "gs1-epcis-version": "2.0",
        "gs1-epcis-min": "2.0",
        "gs1-epcis-max": "2.0",
        "gs1-cbv-version": "2.0",
        "gs1-epc-format": "Never_Translates",
        "gs1-extensions": "",
        "gs1-epcis-capture-limit": "20",
        "gs1-epcis-capture-file-size-limit": "200000",
        "gs1-capture-error-behaviour": "all",
    }
    assert {name: announced.headers[name] for name in expected} == expected
    assert served.client.options("/v1/epcis/events").headers["allow"] == "OPTIONS, POST"
    assert served.client.options("/v1/epcis/capture/x").headers["allow"] == "OPTIONS, GET"


@pytest.mark.parametrize(
    ("sent", "headers", "key", "status", "kind", "detail"),
    [
        (document(), {}, "", 401, "SecurityException", ""),
        (document(), {}, "revoked", 401, "SecurityException", ""),
        (document(), {}, "reader", 403, "SecurityException", "this key may not send events"),
        (document(), {}, "several", 403, "SecurityException", "the key stands for several sources"),
        (document(), {"accept": "text/html"}, "north", 406, "NotAcceptableException", "answers are JSON"),
        (document(*[event()] * 21), {}, "north", 413, "CaptureLimitExceededException", "21 events, at most 20"),
        (b" " * 200_001, {}, "north", 413, "CaptureLimitExceededException", "the body has more than 200000 bytes"),
        (b"<x/>", {"content-type": "application/xml"}, "north", 415, "UnsupportedMediaTypeException", "Content-Type"),
        (b"{}", {}, "north", 400, "ValidationException", "no EPCIS document: Object missing required field `type`"),
        (b"\xff", {}, "north", 400, "ValidationException", "not valid JSON: "),
        ({**document(), "schemaVersion": "1.2"}, {}, "north", 400, "ValidationException", "schemaVersion: 1.2"),
        (document(), {"GS1-EPCIS-Version": "1.2"}, "north", 400, "ValidationException", "GS1-EPCIS-Version: 2.0"),
        (document(), {"GS1-Capture-Error-Behaviour": "all"}, "north", 400, "ValidationException", "GS1-Capture"),
    ],
)
def test_problems(
    served: Served, sent: Any, headers: dict[str, str], key: str, status: int, kind: str, detail: str
) -> None:
    answer = post(served, sent, key=key, headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["type"]) == (status, status, f"epcisException:{kind}")
    assert problem["detail"].startswith(detail)
    assert answer.headers["content-type"] == "application/problem+json"
    assert served.taken() == []


@pytest.mark.parametrize(("method", "path"), [("GET", "events"), ("DELETE", "capture"), ("POST", "capture/x")])
def test_what_is_not_in_the_subset(served: Served, method: str, path: str) -> None:
    answer = served.client.request(method, f"/v1/epcis/{path}")
    assert (answer.status_code, answer.json()["detail"]) == (405, "this is the capture subset of EPCIS")
    assert "OPTIONS" in answer.headers["allow"]


def test_a_trace_joins_events_that_say_nothing_else(served: Served) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    post(served, document(event()), headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    (entry,) = served.taken()
    assert json.loads(entry.body)["correlationid"] == trace
