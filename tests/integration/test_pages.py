"""The pages over HTTP: who gets in, what a browser may load, and that every page can be drawn."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import sqlalchemy as sa

from dashboards.login import local_path
from dashboards.pages import PAGES
from dashboards.tries import PER_PAIR
from milepost.auth import split_key
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.decisions import access
from milepost.inbox import log
from tests.dashboard import PASSWORD, Dashboard, dashboard
from tests.databases import Databases
from tests.seed import seed_with_a_cut

ADDRESSES = {
    "overview": "/", "journeys": "/journeys", "journey": "/journeys/order/S00003", "alerts": "/alerts",
    "alert": "/alerts/1", "exceptions": "/exceptions", "anomalies": "/anomalies", "anomaly": "/anomalies/1",
    "sources": "/sources", "quarantine": "/quarantine", "quarantine-group": "/quarantine/groups/1",
    "quarantined": "/quarantine/1", "decisions": "/decisions", "decision": "/decisions/1",
    "decide": "/decisions/new/merge?first=1001&journey=1",
    "reconciliations": "/reconciliation", "reconciliation": "/reconciliation/orders-in-odoo",
    "objectives": "/objectives", "objective": "/objectives/promised-delivery",
    "silences": "/silences", "silence-new": "/silences/new?what=warehouse%3Dnorth", "silence": "/silences/1",
    "oncall": "/oncall", "window": "/silences/window/none",
}  # fmt: skip
FOREIGN = re.compile(r"""(?:src|href|url)\s*[=(:]\s*["']?(?:https?:)?//[^"'\s)]+""")


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Dashboard]:
    with databases.fresh() as url, dashboard(url) as made:
        seed_with_a_cut(made.engine)
        yield made


@pytest.fixture
def empty(database: str) -> Iterator[Dashboard]:
    with dashboard(database, with_collector=True) as made:
        yield made


def show(client: httpx.Client, address: str, cookies: dict[str, str] | None = None) -> dict[str, Any]:
    """What the browser is sent when it comes to an address: frame, title, body."""
    parts = urlsplit(address)
    return update(client, parts.path, f"?{parts.query}" if parts.query else "", None, cookies) or {}


def update(
    client: httpx.Client, path: str, search: str, shown: Any, cookies: dict[str, str] | None = None
) -> dict[str, Any] | None:
    """What the browser is sent when it shows what `shown` says; None when nothing has changed."""
    inputs = [("url", "pathname", path), ("url", "search", search), ("pulse", "data", 1)]
    answer = call(client, [("update", "data")], inputs, [("shown", "data", shown)], cookies)
    assert answer.status_code in (200, 204), answer.text
    sent = answer.json()["response"] if answer.status_code == 200 else {}
    return dict(sent["update"]["data"]) if "update" in sent else None


def call(
    client: httpx.Client,
    outputs: list[tuple[str, str]],
    inputs: list[tuple[str, str, Any]],
    states: list[tuple[str, str, Any]],
    cookies: dict[str, str] | None = None,
) -> httpx.Response:
    """One callback of Dash, as its renderer sends it."""
    names = [f"{name}.{prop}" for name, prop in outputs]
    wanted = [{"id": name, "property": prop} for name, prop in outputs]
    body = {
        "output": f"..{'...'.join(names)}.." if len(names) > 1 else names[0],
        "outputs": wanted if len(names) > 1 else wanted[0],
        "inputs": [_value(*one) for one in inputs],
        "state": [_value(*one) for one in states],
        "changedPropIds": [f"{inputs[0][0]}.{inputs[0][1]}"],
    }
    for name, value in (cookies or {}).items():
        client.cookies.set(name, value)
    return client.post("/_dash-update-component", json=body)


def _value(ident: str, prop: str, value: Any) -> dict[str, Any]:
    return {"id": ident, "property": prop, "value": value}


# --- who gets in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [*ADDRESSES.values(), "/nothing/here?a=1&b=2"])
def test_a_page_sends_strangers_to_the_login_and_back(served: Dashboard, address: str) -> None:
    answer = served.client.get(address)
    assert answer.status_code == 303
    target = urlsplit(answer.headers["location"])
    assert target.path == "/login"
    assert parse_qs(target.query).get("next", ["/"]) == [address]


@pytest.mark.parametrize("path", ["/_dash-layout", "/_dash-dependencies", "/_reload-hash"])
def test_what_feeds_the_pages_is_closed_to_strangers(served: Dashboard, path: str) -> None:
    assert served.client.get(path).status_code == 401


def test_callbacks_are_closed_to_strangers(served: Dashboard) -> None:
    assert served.client.post("/_dash-update-component", json={}).status_code == 401


def test_a_forged_cookie_is_worth_nothing(served: Dashboard) -> None:
    with httpx.Client(base_url=served.url, cookies={"milepost_session": "WyJBZGEiLDFd.forged"}) as client:
        assert client.get("/").status_code == 303


def test_the_cookie_can_not_be_read_by_scripts_or_sent_by_other_sites(served: Dashboard) -> None:
    answer = served.login("Ada", next="/alerts")
    served.client.cookies.clear()
    assert answer.headers["location"] == "/alerts"
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


@pytest.mark.parametrize(("name", "password"), [("Ada", "wrong password"), ("Nobody", PASSWORD), ("", "")])
def test_a_wrong_name_or_password_says_no_more_than_that(served: Dashboard, name: str, password: str) -> None:
    answer = served.login(name, password)
    assert answer.status_code == 401
    assert "Name or password is wrong" in answer.text


def test_another_site_can_not_log_anybody_in(served: Dashboard) -> None:
    form = {"name": "Ada", "password": PASSWORD}
    answer = served.client.post("/login", data=form, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_public_address_is_our_own_site(served: Dashboard) -> None:
    form = {"name": "Ada", "password": PASSWORD}
    answer = served.client.post("/login", data=form, headers={"origin": "https://milepost.example"})
    served.client.cookies.clear()
    assert answer.status_code == 303


def test_guessing_is_slowed_down(served: Dashboard) -> None:
    for _ in range(PER_PAIR):
        served.login("Mallory", "a guess")
    assert served.login("Mallory", "a guess").status_code == 429
    with served.session("Vera"):
        pass


def test_a_link_lets_in_once(served: Dashboard) -> None:
    with served.engine.begin() as connection:
        token = access.issue_login(connection, "Vera", now=utc_now())
    with httpx.Client(base_url=served.url) as client:
        assert client.get("/login", params={"token": token}).status_code == 303
        assert client.get("/").status_code == 200
    again = served.client.get("/login", params={"token": token})
    assert again.status_code == 401
    assert "used already" in again.text


def test_logging_out_ends_the_session(served: Dashboard) -> None:
    with served.session("Vera") as client:
        assert client.post("/logout").status_code == 303
        assert client.get("/").status_code == 303


def test_a_session_ends_with_time_and_with_the_user(database: str) -> None:
    now = utc_now()
    with dashboard(database, clock=lambda: now) as served, served.session("Vera") as client:
        assert client.get("/").status_code == 200
        with served.engine.begin() as connection:
            access.disable_user(connection, "Vera", actor="test", now=now)
        now += timedelta(seconds=6)
        assert client.get("/").status_code == 303
        with served.session("Otto") as other:
            now += timedelta(hours=13)
            assert other.get("/").status_code == 303


@pytest.mark.parametrize(
    ("target", "path"),
    [("/alerts?state=open", "/alerts?state=open"), ("https://evil.example", "/"), ("//evil.example", "/"),
     ("/\\evil.example", "/"), ("javascript:alert(1)", "/"), ("", "/"), ("/a\nb", "/")],
)  # fmt: skip
def test_the_login_leads_nowhere_else(target: str, path: str) -> None:
    assert local_path(target) == path


def test_no_page_holds_a_websocket(served: Dashboard) -> None:
    with served.session("Ada") as client:
        assert '"websocket"' not in client.get("/").text


# --- what a browser loads --------------------------------------------------------------------------------------------


def test_a_page_refers_to_no_other_host(served: Dashboard) -> None:
    with served.session("Ada") as client:
        page = client.get("/")
        assert not FOREIGN.findall(page.text)
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(assets) > 10
        for address in assets:
            asset = client.get(address)
            assert asset.status_code == 200, address
            if address.startswith("/assets/"):
                assert not FOREIGN.findall(asset.text.replace("http://www.w3.org", "")), address


def test_scripts_come_compressed_and_whole(served: Dashboard) -> None:
    with served.session("Ada") as client:
        address = next(one for one in re.findall(r'src="([^"]+)"', client.get("/").text) if "mantine" in one)
        plain = client.get(address, headers={"accept-encoding": "identity"})
        first, second = (client.get(address, headers={"accept-encoding": "gzip"}) for _ in range(2))
    assert plain.content == first.content == second.content
    assert "content-encoding" not in plain.headers
    assert first.headers["content-encoding"] == "gzip"
    assert int(second.headers["content-length"]) < len(plain.content) / 2
    assert second.headers["x-content-type-options"] == "nosniff"
    assert second.headers["cache-control"] == plain.headers["cache-control"]
    assert served.client.get("/assets/nothing.js").status_code == 404


def test_the_policy_keeps_a_page_from_loading_anything_else(served: Dashboard) -> None:
    with served.session("Ada") as client:
        policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    script = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe" not in script
    assert "//" not in policy


def test_the_login_refers_to_no_other_host(served: Dashboard) -> None:
    page = served.client.get("/login")
    assert not FOREIGN.findall(page.text)
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_the_first_address_asked_for_has_everything(database: str) -> None:
    with dashboard(database) as served, served.session("Ada") as client:
        page = client.get("/journeys")
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert any(address.startswith("/assets/milepost.js") for address in assets)
        assert [address for address in assets if client.get(address).status_code != 200] == []


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_every_page_has_an_address_here() -> None:
    assert {page.name for page in PAGES} == set(ADDRESSES)


@pytest.mark.parametrize("address", ADDRESSES.values())
def test_every_page_can_be_drawn(served: Dashboard, address: str) -> None:
    with served.session("Vera") as client:
        response = show(client, address, {"milepost_zone": "America/New_York"})
    assert response["title"]
    assert "http://" not in str(response["body"]).replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    "address",
    ["/?kind=nothing", "/journeys?kind=x&state=y&sort=z&health=q&stage=w&limit=9", "/journeys?cursor=%00&before=x",
     "/journeys?q=%25%5C_", "/journeys?sort=amount&state=completed", "/alerts?state=x&cursor=y", "/quarantine?cursor=!",
     "/anomalies?cursor=!&detector=x", "/alerts/999999999", "/anomalies/999999999", "/journeys/x/y", "/journeys/order/",
     "/alerts/1e3", "/nothing", "/journeys/order/%F0%9F%93%A6/%2F"],
)  # fmt: skip
def test_no_address_breaks_a_page(served: Dashboard, address: str) -> None:
    with served.session("Vera") as client:
        assert show(client, address, {"milepost_zone": "No/Where"})["body"]


def test_only_what_has_changed_is_sent_again(served: Dashboard) -> None:
    with served.session("Ada") as client:
        first = show(client, "/journeys?state=cancelled")
        assert first["frame"]
        assert update(client, "/journeys", "?state=cancelled", first["shown"]) is None
        narrower = update(client, "/journeys", "?state=cancelled&warehouse=north", first["shown"])
        assert narrower is not None
        assert {change["id"] for change in narrower["changes"]} == {"journeys", "live-pager", "live-downloads"}
        assert "body" not in narrower
        nothing = update(client, "/journeys", "?state=cancelled&q=none", first["shown"])
        assert nothing is not None
        assert "mp-empty" in str(nothing["body"])
        assert "frame" not in nothing
        other = update(client, "/alerts", "?state=resolved", first["shown"])
        assert other is not None
        assert {"frame", "title", "body"} <= set(other)


def test_exceptions_show_by_group_and_lead_to_their_journeys(served: Dashboard) -> None:
    with served.session("Vera") as client:
        groups = str(show(client, "/exceptions")["body"])
        assert "SHORT: Not enough on the shelf" in groups
        assert "/exceptions?class=business&type=picking.short&code=SHORT&source=" in groups
        behind = str(show(client, "/exceptions?type=picking.short&code=SHORT")["body"])
        assert "WH/OUT/" in behind
        assert "/journeys/order/S" in behind
        assert "No open exceptions" in str(show(client, "/exceptions?class=held")["body"])


def test_sources_show_what_was_never_told(served: Dashboard) -> None:
    with served.session("Vera") as client:
        text = str(show(client, "/sources")["body"])
    assert "Silent failures" in text
    assert re.search(r"'Confirmed'.*\d of \d+.*/journeys/order/S00\d+", text)


def test_only_those_who_may_act_see_the_buttons(served: Dashboard) -> None:
    with served.session("Vera") as viewer, served.session("Otto") as operator:
        assert "'act': 'acknowledge'" not in str(show(viewer, "/alerts/1")["body"])
        assert "'act': 'acknowledge'" in str(show(operator, "/alerts/1")["body"])


# --- the first run ---------------------------------------------------------------------------------------------------


def texts(drawn: Any) -> Iterator[str]:
    """All texts in what was drawn."""
    if isinstance(drawn, str):
        yield drawn
    elif isinstance(drawn, dict | list):
        for inner in drawn.values() if isinstance(drawn, dict) else drawn:
            yield from texts(inner)


def first_line(client: httpx.Client, kept: str | None = None) -> tuple[Any, str | None]:
    """The line of the empty overview, and the key that the browser keeps."""
    outputs = [("quickstart-line", "children"), ("quickstart", "data")]
    answer = call(client, outputs, [("quickstart-line", "id", "quickstart-line")], [("quickstart", "data", kept)])
    response = answer.json()["response"]
    return response["quickstart-line"]["children"], response["quickstart"]["data"]


def test_the_empty_overview_gives_a_line_that_works(empty: Dashboard) -> None:
    with empty.session("Ada") as client:
        assert "quickstart-line" in str(show(client, "/")["body"])
        drawn, key = first_line(client)
    assert key is not None
    line = next(value for value in texts(drawn) if value.startswith("curl "))
    command = shlex.split(line.replace("https://milepost.example", empty.url))
    done = subprocess.run([*command, "-w", "%{http_code}"], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.endswith("202"), done.stdout
    with empty.engine.begin() as connection:
        batches = log.consume(connection, 10)
    bodies = [entry.body for batch in batches for entry in batch.entries]
    assert b"order.received" in bodies[0]
    assert b'"quickstart"' in bodies[0]


def test_the_line_stays_the_same_until_its_key_is_gone(empty: Dashboard) -> None:
    with empty.session("Ada") as client:
        _, key = first_line(client)
        _, again = first_line(client, key)
        assert again == key
        assert key is not None
        with empty.engine.begin() as connection:
            access.revoke_key(connection, split_key(key)[0], actor="test", now=utc_now())
        _, fresh = first_line(client, key)
        assert fresh not in (None, key)


def test_only_administrators_get_a_key(empty: Dashboard) -> None:
    with empty.session("Otto") as client:
        drawn, key = first_line(client)
    assert key is None
    assert "Ask an administrator" in str(drawn)
    with empty.engine.connect() as connection:
        names = connection.scalars(sa.select(t.api_keys.c.name)).all()
    assert access.QUICKSTART not in names


@pytest.mark.parametrize("address", ["/journeys", "/alerts", "/anomalies", "/sources", "/quarantine"])
def test_an_empty_page_says_what_to_do_next(empty: Dashboard, address: str) -> None:
    with empty.session("Vera") as client:
        drawn = str(show(client, address)["body"])
    assert "mp-empty" in drawn


def test_times_are_drawn_in_the_readers_zone(served: Dashboard) -> None:
    """The charts are drawn here, in the zone that the browser told."""
    hours = []
    for zone in ("UTC", "Asia/Tokyo"):
        with served.session("Vera") as client:
            drawn = str(show(client, "/", {"milepost_zone": zone})["body"])
        hours.append(datetime.fromisoformat(re.findall(r"'x': \['([^']+)'", drawn)[0]).replace(tzinfo=UTC))
    assert hours[1] - hours[0] == timedelta(hours=9)
