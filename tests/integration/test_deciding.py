"""Explanations and decisions on pages and over HTTP: who may, what is shown first, and what stands in the audit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from milepost.decisions import audit
from tests.chain import Chain, Wire
from tests.dashboard import Dashboard, dashboard
from tests.databases import Databases
from tests.integration.test_pages import show

CUT = {"act": "cut", "first": {"type": "order", "key": "S1"}, "second": {"type": "shipment", "key": "X1"}}


@dataclass
class Scene:
    """A dashboard on the journeys of S1, with X1 and X2, and S2; ids of the objects by key."""

    served: Dashboard
    chain: Chain
    ids: dict[str, int]

    def journey_id(self) -> int:
        found = self.served.get("/v1/journeys/order/S1").json()
        return int(found["id"])


def shipped(order: str, shipment: str) -> Wire:
    return {
        "specversion": "1.0", "id": f"{order}-{shipment}", "source": "/wms", "type": "shipment.dispatched",
        "data": {"keys": {"order": order, "shipment": shipment}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def scene(databases: Databases) -> Iterator[Scene]:
    with databases.fresh() as url, dashboard(url) as served:
        chain = Chain(served.engine)
        chain.send(shipped("S1", "X1"), shipped("S1", "X2"), shipped("S2", "X3"))
        chain.settle()
        with served.engine.connect() as connection:
            ids = {
                key: number for number, key in connection.execute(sa.text("SELECT object_id, key FROM input.objects"))
            }
        yield Scene(served, chain, ids)


def decide(client: httpx.Client, reason: str = "typed wrongly", **more: Any) -> httpx.Response:
    return client.post("/v1/decisions", json={**CUT, "reason": reason, **more})


def press(client: httpx.Client, what: str, reason: str) -> dict[str, Any]:
    """What the browser is sent when somebody takes a decision on its page."""
    ident = json.dumps({"type": "decide", "what": what}, separators=(",", ":"))
    dependencies = client.get("/_dash-dependencies").json()
    (output,) = [one["output"] for one in dependencies if '"decide"' in str(one["inputs"])]
    outputs = [dict(zip(("id", "property"), part.split("."), strict=True)) for part in output.strip(".").split("...")]
    button = {"id": {"type": "decide", "what": what}, "property": "n_clicks", "value": 1}
    box = {"id": {"type": "decide-reason", "row": 0}, "property": "value", "value": reason}
    sent = {
        "output": output, "outputs": outputs, "inputs": [[button]], "state": [[box]],
        "changedPropIds": [f"{ident}.n_clicks"],
    }  # fmt: skip
    answer = client.post("/_dash-update-component", json=sent)
    assert answer.status_code in (200, 204), answer.text
    return dict(answer.json()) if answer.status_code == 200 else {}


# --- explanations -----------------------------------------------------------------------------------------------------


def test_the_explanation_over_http_and_on_the_page_say_the_same(scene: Scene) -> None:
    found = scene.served.get(f"/v1/journeys/{scene.journey_id()}/explanation").json()
    (first,) = [one for one in found["members"] if one["key"] == "X1"]
    assert first["through"]["key"] == "S1"
    assert (first["ties"][0]["text"], first["ties"][0]["event"]["id"]) == ("named together", "S1-X1")
    assert {one["milestone"] for one in found["missing"]} >= {"received"}
    with scene.served.session("Vera") as client:
        body = str(show(client, "/journeys/order/S1")["body"])
    assert "Why this is one journey" in body
    assert "named together" in body
    assert "Received is missing" in body
    assert "/decisions/new" not in body


def test_there_is_no_explanation_of_nothing(scene: Scene) -> None:
    assert scene.served.get("/v1/journeys/999/explanation").status_code == 404
    assert scene.served.get("/v1/journeys/999/explanation", key="").status_code == 401


# --- decisions over HTTP ----------------------------------------------------------------------------------------------


def test_only_those_who_may_act_decide(scene: Scene) -> None:
    with scene.served.session("Vera") as viewer, scene.served.session("Otto") as operator:
        assert decide(viewer).status_code == 403
        assert operator.post(
            "/v1/decisions", json={**CUT, "reason": "x"}, headers={"origin": "https://evil.example"}
        ).status_code == 403  # fmt: skip
        key = {"authorization": f"Bearer {scene.served.keys['read']}"}
        assert scene.served.client.post("/v1/decisions", json={**CUT, "reason": "x"}, headers=key).status_code == 403
        for blank in ("", " \n"):
            assert decide(operator, reason=blank).status_code == 422
            assert "reason" in operator.post("/v1/decisions/1/reverse", json={"reason": blank}).json()["detail"]
        assert decide(operator, first={"type": "order", "key": "S9"}).status_code == 404
    assert scene.served.get("/v1/decisions").json()["items"] == []


def test_a_decision_is_tried_taken_listed_and_taken_back(scene: Scene) -> None:
    with scene.served.session("Otto") as client:
        tried = decide(client, dry_run=True)
        (effect,) = [one for one in tried.json()["preview"]["journeys"] if one["kind"] == "order"]
        assert tried.status_code == 200
        assert [one["key"] for one in effect["left"]] == ["X1"]
        assert scene.served.get("/v1/decisions").json()["items"] == []
        number = decide(client).json()["decision"]
        assert decide(client).status_code == 409
        scene.chain.settle()
        (kept_out,) = scene.served.get(f"/v1/journeys/{scene.journey_id()}/explanation").json()["kept_out"]
        assert (kept_out["key"], kept_out["why"], kept_out["decision"]) == ("X1", "cut", number)
        assert "typed wrongly" in str(show(client, "/journeys/order/S1")["body"])
        back = client.post(f"/v1/decisions/{number}/reverse", json={"reason": "it was right"})
        assert back.status_code == 200
        scene.chain.settle()
    (listed,) = scene.served.get("/v1/decisions").json()["items"]
    assert (listed["by"], listed["reason"], listed["reversed"]["reason"]) == ("Otto", "typed wrongly", "it was right")
    with scene.served.engine.connect() as connection:
        acts = [(line.action, line.actor) for line in audit.lines(connection, action="correlation")]
    assert sorted(acts) == [("correlation.cut", "Otto"), ("correlation.reverse", "Otto")]


# --- decisions on pages -----------------------------------------------------------------------------------------------


def test_a_page_shows_what_would_change_and_takes_a_reason(scene: Scene) -> None:
    ids = scene.ids
    with scene.served.session("Otto") as client:
        offered = str(show(client, "/journeys/order/S1")["body"])
        (href,) = set(re.findall(rf"/decisions/new/exclude\?first={ids['S1']}&second={ids['X2']}&journey=\d+", offered))
        body = str(show(client, href)["body"])
        assert "shipment X2 is not in the journey of order S1" in body.replace("Shipment", "shipment")
        assert "leaves: shipment X2" in body
        what = f"exclude,{ids['S1']},{ids['X2']},0,"
        assert "say why" in str(press(client, what, " "))
        assert "/decisions/" in str(press(client, what, "another truck"))
        assert "decided already" in str(show(client, href)["body"])
        scene.chain.settle()
        assert "another truck" in str(show(client, "/decisions")["body"])
    with scene.served.session("Vera") as viewer:
        assert "not decide" in str(show(viewer, href)["body"])
        assert "may not do this" in str(press(viewer, what, "because"))


@pytest.mark.parametrize(
    "address",
    ["/decisions/new/cut", "/decisions/new/cut?first=x&second=y", "/decisions/new/cut?first=999999999&second=1",
     "/decisions/new/split?first={S1}&since=never", "/decisions/new/merge?first={S1}&other=nobody",
     "/decisions/new/lift?first=99999999999999999999", "/decisions/999"],
)  # fmt: skip
def test_an_address_that_can_not_be_decided_says_so(scene: Scene, address: str) -> None:
    with scene.served.session("Otto") as client:
        body = str(show(client, address.format(**scene.ids))["body"])
    assert "can't be decided" in body or "no such decision" in body
    assert "'type': 'decide'" not in body


def test_names_are_merged_by_key_and_keys_split_by_day(scene: Scene) -> None:
    ids = scene.ids
    with scene.served.session("Otto") as client:
        merged = str(show(client, f"/decisions/new/merge?first={ids['S1']}&other=S2")["body"])
        assert "joins: order S2, shipment X3" in merged
        assert f"merge,{ids['S1']},{ids['S2']},0," in merged
        split = str(show(client, f"/decisions/new/split?first={ids['S2']}&since=2026-01-31")["body"])
    assert f"split,{ids['S2']},,0,2026-01-31T00:00:00+00:00" in split


@pytest.mark.parametrize("what", ["", "cut,1", "cut,x,2,0,", "sink,1,2,0,", "reverse,0,,x,"])
def test_a_button_that_was_made_up_does_nothing(scene: Scene, what: str) -> None:
    with scene.served.session("Otto") as client:
        before = scene.served.get("/v1/decisions").json()
        assert "error" in str(press(client, what, "because"))
        assert scene.served.get("/v1/decisions").json() == before


def test_an_object_of_a_split_key_is_named_by_its_epoch(scene: Scene) -> None:
    order, keys = {"type": "order", "key": "S4"}, ["S4", "S4 (since 2026-10-01)"]
    for month, shipment in (("09", "X4"), ("10", "X5")):
        scene.chain.send({**shipped("S4", shipment), "time": f"2026-{month}-02T10:00:00Z"})
    with scene.served.session("Otto") as client:
        scene.chain.settle()
        assert decide(client, act="split", first=order, second=None, since="2026-10-01T00:00:00Z").status_code == 201
        scene.chain.settle()
        assert f"order:S4#1 for {keys[1]}" in decide(client, first=order).json()["detail"]
        for epoch, shipment in enumerate(("X4", "X5")):
            second = {"type": "shipment", "key": shipment}
            tried = decide(client, first={**order, "epoch": epoch}, second=second, dry_run=True)
            (effect,) = [one for one in tried.json()["preview"]["journeys"] if one["kind"] == "order"]
            assert (effect["root"]["key"], effect["left"][-1]["key"]) == (keys[epoch], shipment)
        assert decide(client, first={**order, "epoch": 2}).status_code == 404
        assert decide(client, first={**order, "epoch": -1}).status_code == 422
