"""The pages of the quarantine: what each role sees, that thousands of failures don't slow them, and what buttons do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.inbox import identities, log, quarantine
from milepost.inbox.quarantine import Refusal
from tests.dashboard import Dashboard, dashboard
from tests.databases import Databases
from tests.integration.test_pages import show

MANY = 14_000
REASON = "data.keys: an event needs at least one key or a correlationid"
SECRET = "Jane Doe, 4 Elm Street"


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Dashboard]:
    with databases.fresh() as url, dashboard(url) as made:
        now = utc_now()
        body = json.dumps({"id": "1", "source": "/wms", "data": {"attributes": {"address": SECRET}}}).encode()
        many = [Refusal(now, "/wms", "malformed", REASON, str(number), body, "wms") for number in range(MANY)]
        with made.engine.begin() as connection:
            identities.roll_over(connection, now, timedelta(days=30))
            quarantine.add(connection, many)
        yield made


def put(served: Dashboard, body: bytes, **more: Any) -> int:
    refusal = Refusal(utc_now(), "/wms", more.pop("kind", "malformed"), REASON, "e", body, None, **more)
    with served.engine.begin() as connection:
        quarantine.add(connection, [refusal])
        return int(connection.scalar(sa.select(sa.func.max(t.quarantine.c.quarantine_id))))


def press(client: httpx.Client, act: str, number: int, reason: str = "", body: str = "") -> dict[str, Any]:
    """What the browser is told when somebody presses a button; the error's notice where it fails."""
    ident = json.dumps({"act": act, "number": number, "type": "mend"}, separators=(",", ":"))
    button = {"id": {"type": "mend", "act": act, "number": number}, "property": "n_clicks", "value": 1}

    def state(kind: str, value: str) -> list[dict[str, Any]]:
        return [{"id": {"type": kind, "row": number}, "property": "value", "value": value}]

    outputs = {"id": "notices", "property": "sendNotifications@" + duplicate(client)}
    sent = {
        "output": f"notices.{outputs['property']}",
        "outputs": outputs,
        "inputs": [[button]],
        "state": [state("mend-reason", reason), state("mend-body", body)],
        "changedPropIds": [f"{ident}.n_clicks"],
    }
    answer = client.post("/_dash-update-component", json=sent)
    assert answer.status_code in (200, 204), answer.text
    if answer.status_code == 204:
        return {}
    told = answer.json()
    response = told.get("response") or told.get("sideUpdate") or {}
    return dict((response.get("notices") or told["sideUpdate"]["notices"])["sendNotifications"][0])


def duplicate(client: httpx.Client) -> str:
    """The mark that Dash gives to a second callback with the same output."""
    for one in client.get("/_dash-dependencies").json():
        if '"mend"' in json.dumps(one["inputs"]).replace("\\", ""):
            return str(one["output"].split("@", 1)[1])
    raise AssertionError("there is no such callback")


def text_of(client: httpx.Client, address: str) -> str:
    return json.dumps(show(client, address), ensure_ascii=False)


@pytest.mark.parametrize("address", ["/quarantine", "/quarantine?state=any&source=/wms", "/quarantine/groups/1"])
def test_thousands_of_failures_are_one_line_and_one_page(served: Dashboard, address: str) -> None:
    with served.session("Otto") as client:
        shown = text_of(client, address)
    assert REASON in shown
    assert "14,0" in shown
    assert len(shown) < 150_000


def test_a_body_is_shown_to_those_who_mend(served: Dashboard) -> None:
    with served.session("Vera") as client:
        shown = text_of(client, "/quarantine/1")
        assert REASON in shown
        assert SECRET not in shown
        assert "mend-body" not in shown
    with served.session("Otto") as client:
        shown = text_of(client, "/quarantine/1")
        assert SECRET in shown
        assert "mp-marked" in shown
        assert "mend-body" in shown


def test_what_is_not_there_is_told(served: Dashboard) -> None:
    with served.session("Otto") as client:
        assert "no such event" in text_of(client, "/quarantine/99999999")
        assert "no such group" in text_of(client, "/quarantine/groups/99999999")


def test_somebody_mends_and_replays(served: Dashboard) -> None:
    number = put(served, b"{}", kind="forbidden")
    event = {"specversion": "1.0", "id": "e", "source": "/wms", "type": "a.b", "data": {"keys": {"order": "S1"}}}
    with served.session("Otto") as client:
        assert press(client, "replay", number)["title"] == "It is refused again"
        assert press(client, "save", number, body=json.dumps(event))["title"] == "Kept"
        assert press(client, "save_replay", number, body=json.dumps(event))["title"] == "It goes on its way"
        assert "Replayed" in text_of(client, f"/quarantine/{number}")
        assert press(client, "replay", number)["title"] == "Something is wrong"
    with served.engine.begin() as connection:
        assert len(log.consume(connection, 10)) == 1


def test_a_group_is_tried_and_discarded(served: Dashboard) -> None:
    put(served, b"{}", kind="mapping", way="json")
    with served.engine.connect() as connection:
        g = t.quarantine_groups.c
        group = connection.execute(sa.select(g.group_id).where(g.kind == "mapping")).scalar_one()
    with served.session("Otto") as client:
        assert "1 refused" in press(client, "try", group)["message"]
        assert press(client, "discard_group", group)["title"] == "Something is wrong"
        assert press(client, "discard_group", group, reason="ours")["message"] == "1 event."


@pytest.mark.parametrize("act", ["replay", "try", "discard", "save", "vouch"])
def test_a_viewer_can_not_act(served: Dashboard, act: str) -> None:
    with served.session("Vera") as client:
        assert "right quarantine" in press(client, act, 1, "why", "{}")["message"]
    assert served.get("/v1/quarantine/1", key="mend").json()["state"] == "open"


def test_only_administrators_vouch(served: Dashboard) -> None:
    number = put(served, b"{}", kind="forbidden")
    with served.session("Otto") as client:
        assert "Vouch for it" not in text_of(client, f"/quarantine/{number}")
        assert "right administer" in press(client, "vouch", number)["message"]
    with served.session("Ada") as client:
        assert "Vouch for it" in text_of(client, f"/quarantine/{number}")


def test_the_sources_page_tells_kinds_apart(served: Dashboard) -> None:
    values = {"source": "/wms", "events": 10, "duplicates": 1, "conflicts": 0, "skewed": 3}
    times = {f"{which}_at": utc_now() for which in ("first_received", "last_received", "last_occurred")}
    with served.engine.begin() as connection:
        connection.execute(sa.insert(t.source_stats), values | times)
    with served.session("Vera") as client:
        shown = text_of(client, "/sources")
    assert "malformed" in shown
    assert "/quarantine?source=%2Fwms" in shown
    assert "Clock ahead" in shown
