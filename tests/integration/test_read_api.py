"""The read API as programs use it: over HTTP, with keys and sessions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from milepost.catalog import loader, overlay
from milepost.db import tables as t
from milepost.decisions import catalog as decided
from milepost.journeystate import JourneyFacts, encode_facts
from tests.dashboard import Dashboard, dashboard
from tests.databases import Databases
from tests.integration.test_pages import show
from tests.seed import seed

NOW = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
STUCK = {"name": "stuck", "kind": "dwell", "model": "order", "start": "packed", "within": "8h"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Dashboard]:
    with databases.fresh() as url, dashboard(url) as made:
        with made.engine.begin() as connection:
            seed(connection, NOW)
        yield made


def everything(served: Dashboard, path: str, limit: int = 60, **params: Any) -> list[dict[str, Any]]:
    """The items of all pages."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = served.get(path, limit=limit, cursor=cursor, **params)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return items


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert isinstance(body, dict)
    return body


# --- who may read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/journeys", "/v1/journeys/order/S00003", "/v1/alerts", "/v1/alerts/1",
                                  "/v1/sources", "/v1/flows", "/v1/exceptions", "/v1/quarantine"])  # fmt: skip
def test_nobody_reads_without_a_key(served: Dashboard, path: str) -> None:
    answer = served.get(path, key="")
    assert "API key" in problem(answer, 401)["detail"]
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_needs_the_scope_read(served: Dashboard) -> None:
    assert "scope read" in problem(served.get("/v1/journeys", key="send"), 403)["detail"]


@pytest.mark.parametrize("header", ["Bearer mp_unknown_secret", "Bearer nonsense", "Basic YTpi", "Bearer"])
def test_a_key_that_nobody_knows_is_refused(served: Dashboard, header: str) -> None:
    problem(served.client.get("/v1/journeys", headers={"authorization": header}), 401)


def test_a_revoked_key_is_refused(served: Dashboard) -> None:
    problem(served.get("/v1/journeys", key="revoked"), 401)


def test_a_session_reads_too(served: Dashboard) -> None:
    with served.session("Vera") as client:
        assert client.get("/v1/journeys").status_code == 200


@pytest.mark.parametrize(("name", "status", "offered"), [("Vera", 403, 0), ("Otto", 403, 0), ("Ada", 200, 1)])
def test_only_who_may_export_downloads(served: Dashboard, name: str, status: int, offered: int) -> None:
    with served.session(name) as client:
        assert client.get("/v1/export/csv?q=S00003").status_code == status
        assert str(show(client, "/journeys")["body"]).count("Download all of these:") == offered


# --- journeys --------------------------------------------------------------------------------------------------------


def test_the_list_has_every_journey_once(served: Dashboard) -> None:
    found = everything(served, "/v1/journeys")
    assert len({item["key"] for item in found}) == len(found) == 300
    assert all(TIME.fullmatch(item["last_at"]) for item in found)


@pytest.mark.parametrize(
    ("params", "holds"),
    [
        ({"kind": "order", "state": "open"}, lambda item: item["state"] == "open"),
        ({"state": "completed"}, lambda item: item["state"] == "completed"),
        ({"stage": "dispatched"}, lambda item: item["stage"] == "dispatched"),
        ({"health": "breached"}, lambda item: item["breached"]),
        ({"warehouse": "north"}, lambda item: item["attributes"]["warehouse"] == "north"),
        ({"q": "S0001"}, lambda item: item["key"].startswith("S0001")),
        ({"q": "WH/OUT/00003"}, lambda item: item["key"] == "S00003"),
    ],
)
def test_parameters_narrow_the_list(served: Dashboard, params: dict[str, str], holds: Any) -> None:
    everyone = everything(served, "/v1/journeys")
    found = everything(served, "/v1/journeys", **params)
    assert found == [item for item in everyone if holds(item)]
    assert found


def test_the_next_deadline_is_when_a_clock_falls_due(served: Dashboard) -> None:
    for item in everything(served, "/v1/journeys", health="breached", warehouse="north", carrier="ups"):
        clocks = served.get(f"/v1/journeys/order/{item['key']}").json()["clocks"]
        late = [(clock["due_at"], clock["policy"]) for clock in clocks if clock["state"] == "breached"]
        due = [clock["due_at"] for clock in clocks if clock["state"] in ("running", "warned")]
        assert (item["late_since"], item["late_by"]) == min(late)
        assert item["next_due_at"] == min(due, default=None)


def test_the_order_by_value_puts_the_dearest_first(served: Dashboard) -> None:
    values = [float(item["attributes"]["amount"]) for item in everything(served, "/v1/journeys", sort="amount")]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    "params",
    [{"limit": "0"}, {"limit": "501"}, {"limit": "many"}, {"state": "lost"}, {"health": "ill"}, {"sort": "colour"},
     {"q": "x" * 300}, {"kind": "nope"}, {"stage": "nowhere"}, {"model": "shipment"}],
)  # fmt: skip
def test_parameters_are_checked(served: Dashboard, params: dict[str, str]) -> None:
    assert (
        next(iter(params))
        in problem(served.client.get("/v1/journeys", params=params, headers=_read(served)), 422)["detail"]
    )


def _read(served: Dashboard) -> dict[str, str]:
    return {"authorization": f"Bearer {served.keys['read']}"}


@pytest.mark.parametrize(
    ("path", "name", "known"),
    [("exceptions?class=held", "class", "code, cursor, kind, "), ("gaps?model=order", "model", "days, kind, newest"),
     ("gaps?kind=nope", "kind", "order, shipment"), ("export/csv?model=order", "model", "alert, carrier, "),
     ("sources?limit=5", "limit", "none"), ("journeys/order/S00003?key=1", "key", "epoch, namespace"),
     ("policies/order-confirmation/1?form=text", "form", "at, format")],
)  # fmt: skip
def test_what_a_route_does_not_know_is_refused(served: Dashboard, path: str, name: str, known: str) -> None:
    detail = problem(served.client.get(f"/v1/{path}", headers=_read(served)), 422)["detail"]
    assert detail.startswith(f"{name}: ")
    assert known in detail
    assert served.client.get(f"/v1/{path}").status_code == 401


def test_nothing_is_decided_with_a_parameter_that_the_route_does_not_know(served: Dashboard) -> None:
    with served.session("Otto") as client:
        tried = client.post("/v1/alerts/1/resolve?dry_run=true", json={})
    assert "dry_run" in problem(tried, 422)["detail"]


def test_a_cursor_of_somebody_elses_list_is_refused(served: Dashboard) -> None:
    assert "cursor" in problem(served.get("/v1/journeys", cursor="nonsense"), 400)["detail"]


def test_a_journey_has_the_documented_shape(served: Dashboard) -> None:
    body = served.get("/v1/journeys/order/S00003").json()
    assert set(body) >= {
        "kind", "key", "state", "stage", "started_at", "last_at", "attributes", "milestones", "members", "links",
        "events", "clocks",
    }  # fmt: skip
    assert (body["kind"], body["key"]) == ("order", "S00003")
    assert set(body["milestones"][0]) == {"name", "first_at", "last_at", "count"}
    assert {"type": "order", "key": "S00003"}.items() <= body["members"][0].items()
    link = body["links"][0]
    assert link["parent"] == {"type": "order", "key": "S00003"}
    assert set(link["child"]) == {"type", "key"}
    assert set(link["event"]) == {"source", "id"}
    assert {"policy", "state", "started_at", "due_at", "stopped_at"} <= set(body["clocks"][0])
    assert {"id", "source", "type", "time", "data"} <= set(body["events"][0])
    assert body["attributes"]["currency"] == "EUR"
    assert re.fullmatch(r"\d+\.\d\d", body["attributes"]["amount"])


def test_links_are_proved_by_events_of_the_journey(served: Dashboard) -> None:
    body = served.get("/v1/journeys/order/S00003").json()
    known = {(event["source"], event["id"]) for event in body["events"]}
    assert {(link["event"]["source"], link["event"]["id"]) for link in body["links"]} <= known


def test_times_are_utc_with_z(served: Dashboard) -> None:
    text = served.get("/v1/journeys/order/S00003").text
    assert "+00:00" not in re.sub(r'"data":\{[^}]*\}', "", text)
    assert TIME.search(text)


def test_a_key_is_normalised_as_the_catalog_says(served: Dashboard) -> None:
    assert served.get("/v1/journeys/order/ S00003 ").json()["key"] == "S00003"


def test_a_key_may_contain_slashes(served: Dashboard) -> None:
    with served.engine.begin() as connection:
        _journey(connection, 9001, "WH/OUT/77", "")
    assert served.get("/v1/journeys/order/WH/OUT/77").json()["key"] == "WH/OUT/77"


def test_several_namespaces_are_told_apart(served: Dashboard) -> None:
    with served.engine.begin() as connection:
        for number, partner in enumerate(("ACME", "Castor")):
            _journey(connection, 9100 + number, "PO-1001", f"partner={partner}")
    body = problem(served.get("/v1/journeys/order/PO-1001"), 409)
    assert [item["namespace"] for item in body["candidates"]] == ["partner=ACME", "partner=Castor"]
    one = served.get("/v1/journeys/order/PO-1001", namespace="partner=Castor")
    assert one.json()["namespace"] == "partner=Castor"


def _journey(connection: sa.Connection, number: int, key: str, namespace: str) -> None:
    """A bare journey without events, outside the lists of the other tests: cancelled long ago."""
    values = dict.fromkeys(("started_at", "last_at", "progress_at", "first_received_at", "last_received_at"), NOW)
    row = {"journey_id": number, "model": "order", "root_id": number, "key": key, "namespace": namespace,
           "root_type": "order", "state": "merged", "stage": None, "stage_rank": -1, **values,
           "facts": encode_facts(JourneyFacts())}  # fmt: skip
    connection.execute(sa.insert(t.journeys), row)


@pytest.mark.parametrize("path", ["/v1/journeys/order/S99999", "/v1/journeys/nothing/S00003", "/v1/alerts/999999"])
def test_what_is_not_there_is_not_found(served: Dashboard, path: str) -> None:
    problem(served.get(path), 404)


def test_an_unknown_route_is_a_problem_not_a_page(served: Dashboard) -> None:
    problem(served.get("/v1/nothing"), 404)


# --- alerts, sources, quarantine -------------------------------------------------------------------------------------


def test_alerts_are_listed_and_shown(served: Dashboard) -> None:
    found = everything(served, "/v1/alerts", state="open", limit=1)
    assert {item["state"] for item in found} == {"firing", "acknowledged"}
    one = served.get(f"/v1/alerts/{found[0]['id']}").json()
    assert one["items"]
    assert one["changes"]
    assert one["notifications"][0]["channel"] == "ops-hook"


def _post(served: Dashboard, who: str, path: str, headers: dict[str, str] | None = None, **body: Any) -> Any:
    with served.session(who) as client:
        return client.post(path, json=body or None, headers=headers or {})


def test_an_operator_acknowledges_and_resolves(served: Dashboard) -> None:
    alert = everything(served, "/v1/alerts", state="firing")[0]["id"]
    assert _post(served, "Otto", f"/v1/alerts/{alert}/acknowledge").status_code == 202
    assert _post(served, "Otto", f"/v1/alerts/{alert}/resolve", reason="the carrier called").status_code == 202
    with served.engine.connect() as connection:
        rows = connection.execute(sa.select(t.signals.c.action, t.signals.c.body)).all()
    assert [row.action for row in rows] == ["acknowledge", "resolve"]
    assert {row.body["actor"] for row in rows} == {"Otto"}


def test_a_viewer_only_looks(served: Dashboard) -> None:
    assert "viewer" in problem(_post(served, "Vera", "/v1/alerts/1/acknowledge"), 403)["detail"]


def test_a_key_does_not_act(served: Dashboard) -> None:
    problem(served.client.post("/v1/alerts/1/acknowledge", headers=_read(served)), 403)


@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_another_site_can_not_act_with_a_session(served: Dashboard, headers: dict[str, str]) -> None:
    assert "another site" in problem(_post(served, "Otto", "/v1/alerts/1/acknowledge", headers), 403)["detail"]


def test_a_resolved_alert_can_not_be_acknowledged(served: Dashboard) -> None:
    alert = everything(served, "/v1/alerts", state="resolved")[0]["id"]
    problem(_post(served, "Otto", f"/v1/alerts/{alert}/acknowledge"), 409)


def test_only_an_admin_tries_a_route(served: Dashboard) -> None:
    asked = {"labels": {"warehouse": "north"}, "channels": ["nowhere"]}
    problem(_post(served, "Otto", "/v1/alerts/test-route", **asked), 403)
    planned = _post(served, "Ada", "/v1/alerts/test-route", **asked, dry_run=True).json()
    assert (planned["labels"]["warehouse"], planned["routes"], planned["outcomes"]) == ("north", [], [])
    (outcome,) = _post(served, "Ada", "/v1/alerts/test-route", **asked).json()["outcomes"]
    assert outcome == {"channel": "nowhere", "arrived": False, "said": "channel nowhere is not in the catalog any more"}
    problem(_post(served, "Ada", "/v1/alerts/test-route", labels={"severity": "loud"}, channels=["nowhere"]), 400)


def test_what_was_given_up_is_listed_and_sent_again(served: Dashboard) -> None:
    values = {
        "alert_id": 1, "channel": "ops-chat", "event": "updated", "message_id": "parked", "body": {}, "created_at": NOW,
        "state": "parked", "attempts": 3, "next_attempt_at": NOW, "error": "Slack: not_in_channel",
    }  # fmt: skip
    with served.engine.begin() as connection:
        connection.execute(sa.insert(t.notifications).values(values))
    (parked,) = served.get("/v1/notifications/parked", channel="ops-chat").json()["items"]
    assert (parked["attempts"], parked["error"]) == (3, "Slack: not_in_channel")
    problem(_post(served, "Otto", "/v1/notifications/retry", numbers=[]), 400)
    problem(_post(served, "Vera", "/v1/notifications/retry", channel="ops-chat"), 403)
    again = _post(served, "Otto", "/v1/notifications/retry", numbers=[parked["notification_id"]])
    assert again.json() == {"retried": 1}
    assert served.get("/v1/notifications/parked", channel="ops-chat").json()["items"] == []


def test_sources_are_listed(served: Dashboard) -> None:
    found = {item["source"]: item for item in served.get("/v1/sources").json()["items"]}
    assert found["/wms/north"]["refused"] == 37
    assert set(found["odoo"]["lag_seconds"]) == {"mean", "max"}


def test_the_list_of_the_quarantine_shows_no_bodies(served: Dashboard) -> None:
    found = everything(served, "/v1/quarantine", source="/wms/north", kind="conflict", limit=5)
    assert len(found) == 12
    assert "body" not in found[0]
    assert sum(item["open"] for item in everything(served, "/v1/quarantine/groups", source="/wms/north")) == 37


def test_the_api_describes_itself(served: Dashboard) -> None:
    paths = served.client.get("/openapi.json").json()["paths"]
    assert set(paths) >= {"/v1/journeys", "/v1/journeys/{kind}/{key}", "/v1/alerts", "/v1/sources", "/v1/quarantine"}


# --- exceptions ------------------------------------------------------------------------------------------------------


def test_exceptions_are_listed_with_what_they_are_about(served: Dashboard) -> None:
    every = everything(served, "/v1/exceptions", limit=3)
    still = everything(served, "/v1/exceptions", open="true")
    assert {item["resolved_at"] for item in still} == {None}
    assert len(still) + len(everything(served, "/v1/exceptions", open="false")) == len(every) > 3
    short = everything(served, "/v1/exceptions", type="picking.short", code="SHORT", kind="business")[0]
    assert short["object"]["type"] == "picking"
    assert short["journeys"][0]["kind"] == "order"
    assert TIME.fullmatch(short["opened_at"])
    groups = served.get("/v1/exceptions/groups").json()["items"]
    assert sum(group["count"] for group in groups) == len(still)
    assert re.fullmatch(r"\d+\.\d\d", next(group for group in groups if group["money"])["money"]["EUR"])


def test_gaps_say_of_how_many(served: Dashboard) -> None:
    found = served.get("/v1/gaps", kind="order", days=365).json()
    assert found["journeys"]["order"] >= 300
    assert [(gap["source"], gap["milestone"]) for gap in found["items"]] == [("odoo", "confirmed")]
    assert 0 < found["items"][0]["missing"] < found["items"][0]["expected"] < 300
    assert found["untold"] == []
    problem(served.get("/v1/gaps", days=999_999), 422)


# --- policies as they were --------------------------------------------------------------------------------------------


def test_a_breach_leads_to_the_words_of_the_policy_that_judged_it(served: Dashboard) -> None:
    texts = overlay.lay({"try.yaml": {"policies": [STUCK]}}, loader.default_texts())
    later = {**STUCK, "within": "1h"}
    with served.engine.begin() as connection:
        version = decided.apply(connection, texts, actor="ann", now=NOW).policy_versions["stuck"]
        changed = overlay.lay({"try.yaml": {"policies": [later]}}, loader.default_texts())
        decided.apply(connection, changed, actor="ben", now=NOW + timedelta(hours=1))
        decided.apply(connection, loader.default_texts(), actor="ben", now=NOW + timedelta(hours=2))
    for at in (None, NOW.isoformat(), (NOW + timedelta(days=1)).isoformat()):
        body = served.get(f"/v1/policies/stuck/{version}", at=at).json()
        assert (body["policy"], body["version"], body["by"]) == ("stuck", version, "ann")
        assert yaml.safe_load(body["text"])["policies"] == [STUCK]
    text = served.get(f"/v1/policies/stuck/{version}", format="text")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert text.text.startswith(f"# stuck, version {version}, of catalog ")
    assert "never" in problem(served.get("/v1/policies/never/x"), 404)["detail"]
    assert problem(served.get(f"/v1/policies/stuck/{version}", key=""), 401)
