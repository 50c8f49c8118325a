"""Silences and maintenance windows on pages and over HTTP: seen, tried, made and ended, by whom may."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest

from milepost.catalog.window import Every, Window
from milepost.clock import utc_now
from tests.dashboard import CATALOG, Dashboard, dashboard
from tests.databases import Databases
from tests.integration.test_pages import show, texts
from tests.integration.test_read_api import problem
from tests.seed import seed

WINDOW = Window(match={"warehouse": ["north"]}, every=Every("00:00", "24:00"), title="The north is moved")
NORTH = [{"label": "warehouse", "op": "=", "values": ["north"]}]


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Dashboard]:
    """The seed has a silence that hides what is wrong in the north."""
    catalog = msgspec.structs.replace(CATALOG, windows={"moving": WINDOW})
    with databases.fresh() as url, dashboard(url, catalog=catalog) as made:
        with made.engine.begin() as connection:
            seed(connection, utc_now(), journeys=60)
        yield made


@pytest.fixture(scope="module")
def people(served: Dashboard) -> Iterator[dict[str, httpx.Client]]:
    """Everybody's browser: to log in takes long on purpose."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(served.session(name)) for name in ("Vera", "Otto", "Ada")}


People = dict[str, httpx.Client]


def drawn(people: People, address: str, who: str = "Otto") -> str:
    return " | ".join(texts(show(people[who], address)["body"]))


def post(people: People, who: str, path: str, **body: Any) -> httpx.Response:
    return people[who].post(path, json=body or None)


def ends(hours: float) -> str:
    return (utc_now() + timedelta(hours=hours)).isoformat()


def test_the_list_says_what_each_hides(served: Dashboard, people: People) -> None:
    shown = drawn(people, "/silences")
    for text in ("warehouse=north", "stock-taking", "Ada", "Active", "moving", "The north is moved", "Open", "End"):
        assert text in shown
    assert "End" not in drawn(people, "/silences", "Vera").split(" | ")
    (one,) = [row for row in served.get("/v1/silences").json()["items"] if row["id"] == 1]
    assert (one["state"], one["matchers"], one["hides"] > 0, one["kept"] == one["hides"]) == (
        "active",
        NORTH,
        True,
        True,
    )
    (window,) = served.get("/v1/windows").json()["items"]
    assert (window["name"], window["matchers"], window["open_until"] is not None) == ("moving", NORTH, True)


def test_a_silence_lists_what_it_kept_and_the_alert_says_by_what_it_is_hidden(
    served: Dashboard, people: People
) -> None:
    one = served.get("/v1/silences/1").json()
    kept = one["kept_items"][0]
    assert (kept["by_name"], kept["end"], kept["journey_key"] is not None) == ("silence 1", None, True)
    shown = drawn(people, "/silences/1")
    assert kept["journey_key"] in shown
    assert "Hidden" in shown
    alert = served.get(f"/v1/alerts/{kept['alert_id']}").json()
    assert {(item["hidden_stage"], item["hidden_by"]) for item in alert["items"]} == {("silence", "silence 1")}
    shown = drawn(people, f"/alerts/{kept['alert_id']}")
    assert "silenced by Ada: stock-taking" in shown
    assert "Silence this" in shown
    assert "Silenced" in drawn(people, "/alerts")


def test_an_alert_that_was_told_before_says_that_it_is_silenced(served: Dashboard, people: People) -> None:
    open_now = served.get("/v1/alerts", state="open").json()["items"]
    number = next(one["id"] for one in open_now if one["group"].get("warehouse") == "south")
    before = drawn(people, f"/alerts/{number}"), drawn(people, "/alerts").count("Silenced")
    south = [{"label": "warehouse", "op": "=", "values": ["south"]}]
    made = post(people, "Otto", "/v1/silences", matchers=south, reason="moving out", ends_at=ends(3)).json()
    after = drawn(people, f"/alerts/{number}"), drawn(people, "/alerts").count("Silenced")
    people["Otto"].post(f"/v1/silences/{made['silence']}/end")
    assert "moving out" not in before[0]
    assert "until " in after[0]
    assert "silenced by Otto: moving out" in after[0]
    assert after[1] > before[1]


def test_an_alert_that_ended_by_itself_says_so(served: Dashboard, people: People) -> None:
    (over,) = served.get("/v1/alerts", state="resolved").json()["items"]
    assert "by itself, " in drawn(people, f"/alerts/{over['id']}")


def test_a_window_says_when_it_is_open_and_what_it_is_about(people: People) -> None:
    shown = drawn(people, "/silences/window/moving")
    assert "came while it was open" in shown
    assert "It has kept nothing from anybody" in shown
    assert "no such window" in drawn(people, "/silences/window/other")


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"what": "warehouse=north; severity!=info"}, "would have been hidden"),
        ({"what": "warehouse north"}, "is no matcher"),
        ({"what": "carrier!=dhl"}, "Yes, everything"),
        ({"what": "carrier!=dhl", "everything": "yes"}, "Silence until"),
        ({"what": "carrier!=dhl", "everything": "yes", "for": "8h"}, "lasts 4 h at most"),
        ({"what": "warehouse=north", "from": "2020-01-01T00:00"}, "starts now or later"),
        ({"what": "warehouse=north", "from": "tomorrow"}, "can't be read"),
    ],
)
def test_a_silence_is_tried_before_it_is_made(people: People, params: dict[str, str], said: str) -> None:
    assert said in drawn(people, f"/silences/new?{urlencode(params)}")


def test_its_end_is_told_in_the_readers_zone(people: People) -> None:
    address = "/silences/new?what=warehouse%3Dnorth&for=2h"
    assert "Silence until " in drawn(people, address).split(" | ")


def press(client: httpx.Client, button: dict[str, Any], typed: dict[str, str]) -> dict[str, Any]:
    """What the browser is sent after a click."""
    dependencies = client.get("/_dash-dependencies").json()
    (output,) = [one["output"] for one in dependencies if f'"{button["type"]}"' in str(one["inputs"])]
    outputs = [dict(zip(("id", "property"), part.split("."), strict=True)) for part in output.strip(".").split("...")]
    boxes = {name: {"type": "silence-text", "name": name} for name in typed}
    values = [{"id": ident, "property": "value", "value": typed[name]} for name, ident in boxes.items()]
    idents = [{"id": ident, "property": "id", "value": ident} for ident in boxes.values()]
    sent = {
        "output": output,
        "outputs": outputs if len(outputs) > 1 else outputs[0],
        "inputs": [[{"id": button, "property": "n_clicks", "value": 1}]],
        "state": [values, idents] if typed else [],
        "changedPropIds": [f"{json.dumps(dict(sorted(button.items())), separators=(',', ':'))}.n_clicks"],
    }
    answer = client.post("/_dash-update-component", json=sent)
    assert answer.status_code in (200, 204), answer.text
    return dict(answer.json()["response"]) if answer.status_code == 200 else {}


def test_buttons_make_and_end_a_silence(served: Dashboard, people: People) -> None:
    button = {"type": "silence-add", "what": urlencode({"what": "warehouse=west", "for": "1h"})}
    made = press(people["Otto"], button, {"reason": "moving", "owner": "lead"})
    number = int(made["url"]["pathname"].removeprefix("/silences/"))
    assert "Ended" in str(press(people["Otto"], {"type": "silence-end", "silence": number}, {}))
    one = served.get(f"/v1/silences/{number}").json()
    assert (one["reason"], one["owner"], one["state"], one["ended_by"]) == ("moving", "lead", "ended", "Otto")
    press(people["Vera"], button, {"reason": "moving", "owner": ""})
    assert max(row["id"] for row in served.get("/v1/silences", state="over").json()["items"]) == number


def test_over_http_it_is_tried_made_and_ended(people: People) -> None:
    wanted: dict[str, Any] = {"matchers": NORTH, "reason": "stock-taking", "ends_at": ends(2)}
    tried = post(people, "Otto", "/v1/silences", **wanted, dry_run=True)
    assert tried.status_code == 200
    assert tried.json()["preview"]["open"]["items"] > 0
    made = post(people, "Otto", "/v1/silences", **wanted)
    assert made.status_code == 201
    number = made.json()["silence"]
    assert post(people, "Otto", f"/v1/silences/{number}/end").status_code == 202
    problem(post(people, "Otto", f"/v1/silences/{number}/end"), 409)
    problem(post(people, "Otto", "/v1/silences/999/end"), 404)


@pytest.mark.parametrize(
    ("who", "changed", "status"),
    [
        ("Vera", {}, 403),
        ("Otto", {"matchers": []}, 400),
        ("Otto", {"ends_at": ends(24 * 40)}, 400),
        ("Ada", {"ends_at": ends(24 * 40), "dry_run": True}, 200),
        ("Ada", {"matchers": [], "everything": True}, 400),
        ("Otto", {"matchers": [{"label": "Ware House", "values": ["x"]}]}, 422),
        ("Otto", {"matchers": [{"label": "warehouse", "op": "~", "values": ["x"]}]}, 422),
    ],
)
def test_who_may_silence_what(people: People, who: str, changed: dict[str, Any], status: int) -> None:
    wanted: dict[str, Any] = {"matchers": NORTH, "reason": "x", "ends_at": ends(6), **changed}
    assert post(people, who, "/v1/silences", **wanted).status_code == status
