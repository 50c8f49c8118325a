"""Headers, cookies, sessions and limits of the web side, as a browser and as somebody hostile see them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from dashboards import login, session, tries
from dashboards.session import COOKIE, Sessions
from milepost.clock import utc_now
from milepost.decisions import access, audit
from milepost.settings import Settings
from tests.dashboard import PASSWORD, Dashboard, dashboard
from tests.databases import Databases


class Later:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self.by = timedelta(0)

    def __call__(self) -> Any:
        return utc_now() + self.by


LATER = Later()


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Dashboard]:
    with databases.fresh() as url, dashboard(url, clock=LATER, with_collector=True) as running:
        yield running


@pytest.fixture
def later(served: Dashboard) -> Later:
    """The clock, past all windows that earlier tests filled."""
    LATER.by += timedelta(minutes=6)
    return LATER


@pytest.fixture
def somebody(served: Dashboard, request: pytest.FixtureRequest) -> str:
    """A user of the test's own."""
    name = request.node.name
    with begin(served) as connection:
        access.create_user(connection, name=name, password=PASSWORD, role="operator", actor="test", now=LATER())
    return name


def begin(served: Dashboard) -> Any:
    return served.engine.begin()


def out(client: httpx.Client) -> bool:
    return client.get("/").status_code == 303


# --- headers ----------------------------------------------------------------------------------------------------------


def test_every_answer_is_guarded(served: Dashboard) -> None:
    with served.session("Vera") as client:
        answers = [
            client.get(path)
            for path in (
                "/",
                "/login?next=//evil.example",
                "/v1/journeys",
                "/v1/nothing",
                "/assets/base.css",
                "/healthz",
            )
        ]
    answers.append(served.client.get("/"))
    for answer in answers:
        where = str(answer.url)
        assert answer.headers["x-content-type-options"] == "nosniff", where
        assert answer.headers["x-frame-options"] == "DENY", where
        assert answer.headers["referrer-policy"] == "same-origin", where
        assert answer.headers["cross-origin-opener-policy"] == "same-origin", where
        assert "camera=()" in answer.headers["permissions-policy"], where
        assert "server" not in answer.headers, where
        kind = answer.headers.get("content-type", "")
        if kind.startswith("text/html") or "json" in kind:
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], where
            assert answer.headers["cache-control"] == "no-store", where


def test_scripts_and_objects_come_from_nowhere_else(served: Dashboard) -> None:
    with served.session("Vera") as client:
        policy = dict(part.split(" ", 1) for part in client.get("/").headers["content-security-policy"].split("; "))
    assert "'unsafe-inline'" not in policy["script-src"]
    assert "'unsafe-eval'" not in policy["script-src"]
    assert policy["object-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == "'self'"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/v1/sources"])
def test_head_is_get_without_its_body(served: Dashboard, path: str) -> None:
    headers = {"x-api-key": served.keys["read"]}
    head, get = served.client.head(path, headers=headers), served.client.get(path, headers=headers)
    assert (head.status_code, head.headers["content-type"]) == (get.status_code, get.headers["content-type"])
    assert head.content == b""


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/events", "OPTIONS, POST"),
        ("PUT", "/v1/events", "POST, OPTIONS"),
        ("GET", "/v1/alerts/1/resolve", "POST"),
        ("POST", "/v1/journeys", "GET"),
        ("DELETE", "/healthz", "GET"),
    ],
)
def test_a_method_that_a_route_has_not_is_told(served: Dashboard, method: str, path: str, allow: str) -> None:
    answer = served.client.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
    assert set(answer.headers["allow"].split(", ")) == set(allow.split(", "))


def test_asking_for_the_head_of_a_link_does_not_use_it_up(served: Dashboard) -> None:
    with begin(served) as connection:
        token = access.issue_login(connection, "Vera", now=LATER())
    served.client.head("/login", params={"token": token})
    assert served.client.get("/login", params={"token": token}).status_code == 303


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_may_come_in_either_header(served: Dashboard) -> None:
    key = served.keys["read"]
    for headers in ({"x-api-key": key}, {"authorization": f"Bearer {key}"}, {"authorization": f"bearer  {key}"}):
        assert served.client.get("/v1/sources", headers=headers).status_code == 200
    assert served.client.get("/v1/sources", headers={"x-api-key": served.keys["send"]}).status_code == 403
    basic = {"authorization": "Basic abc", "x-api-key": key}
    assert served.client.get("/v1/sources", headers=basic).status_code == 200, "a proxy's own log-in is no obstacle"


def test_reading_counts_as_use_of_a_key(served: Dashboard, later: Later) -> None:
    before = LATER()
    served.get("/v1/sources")
    with served.engine.connect() as connection:
        used = {record.key.name: record.last_used_at for record in access.list_keys(connection)}
    assert used["read"] is not None
    assert used["read"] >= before


def test_a_key_given_with_a_session_counts_alone(served: Dashboard) -> None:
    with served.session("Ada") as client:
        assert client.get("/v1/sources", headers={"x-api-key": served.keys["revoked"]}).status_code == 401


def test_guessing_keys_ends_in_429_and_real_keys_go_on(served: Dashboard, later: Later) -> None:
    def guess(number: int) -> httpx.Response:
        return served.client.get("/v1/sources", headers={"x-api-key": f"mp_{number:016x}_{'0' * 64}"})

    answers = [guess(number) for number in range(101)]
    assert [answer.status_code for answer in answers] == [401] * 100 + [429]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert served.get("/v1/sources").status_code == 200
    later.by += timedelta(minutes=1, seconds=1)
    assert guess(1).status_code == 401


def test_a_wrong_secret_and_an_unknown_key_are_told_alike(served: Dashboard) -> None:
    key_id = served.keys["read"].split("_")[1]
    known = served.client.get("/v1/sources", headers={"x-api-key": f"mp_{key_id}_{'0' * 64}"})
    unknown = served.client.get("/v1/sources", headers={"x-api-key": f"mp_{'0' * 16}_{'0' * 64}"})
    revoked = served.get("/v1/sources", key="revoked")
    assert known.content == unknown.content == revoked.content
    assert known.status_code == unknown.status_code == revoked.status_code == 401


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_logging_in_makes_a_new_session_whatever_cookie_was_there(served: Dashboard) -> None:
    with served.session("Vera") as client:
        before = client.cookies[COOKIE]
        client.post("/login", data={"name": "Vera", "password": PASSWORD})
        assert client.cookies[COOKIE] != before


def test_logging_out_ends_the_session_for_every_copy_of_the_cookie(served: Dashboard) -> None:
    with served.session("Vera") as client, served.session("Vera") as elsewhere:
        stolen = client.cookies[COOKIE]
        assert client.post("/logout").status_code == 303
        with httpx.Client(base_url=served.url, cookies={COOKIE: stolen}) as thief:
            assert out(thief)
        assert not out(elsewhere), "another session of the same user goes on"


def change(served: Dashboard, name: str, what: str, now: Any) -> None:
    with begin(served) as connection:
        if what == "role":
            access.set_role(connection, name, "viewer", actor="test", now=now)
        elif what == "password":
            access.set_password(connection, name, "another long one", actor="test", now=now)
        else:
            access.disable_user(connection, name, actor="test", now=now)
        if what == "disabled and enabled":
            access.enable_user(connection, name, actor="test", now=now)


@pytest.mark.parametrize("what", ["role", "password", "disabled and enabled"])
def test_a_change_of_the_user_ends_the_sessions_within_seconds(
    served: Dashboard, later: Later, somebody: str, what: str
) -> None:
    with served.session(somebody) as client, served.session("Vera") as another:
        assert not out(client)
        change(served, somebody, what, later())
        later.by += timedelta(seconds=6)
        assert out(client)
        assert not out(another)


def test_behind_tls_the_cookie_is_bound_to_the_host(database: str) -> None:
    with dashboard(database, MILEPOST_SECURE_COOKIES="true") as served:
        answer = served.login("Vera")
        cookie = answer.headers["set-cookie"].lower()
        assert cookie.startswith(f"__host-{COOKIE}=")
        assert {"secure", "httponly", "path=/", "samesite=lax"} <= set(cookie.split("; "))
        assert "domain" not in cookie
        assert "max-age=" in answer.headers["strict-transport-security"]


def test_speaking_tls_makes_addresses_and_cookies_secure(served: Dashboard) -> None:
    settings = Settings.load({"MILEPOST_TLS_CERT": "/etc/milepost/cert.pem", "MILEPOST_SECRET": "s" * 32})
    assert settings.public_url == "https://127.0.0.1:8080"
    assert Sessions(served.engine, settings.web, LATER).cookie_options()["secure"]


# --- logging in -------------------------------------------------------------------------------------------------------


def test_guessing_a_password_waits_and_is_in_the_audit_once(served: Dashboard, later: Later, somebody: str) -> None:
    codes = [served.login(somebody, f"guess {number}").status_code for number in range(tries.PER_PAIR + 3)]
    assert codes == [401] * tries.PER_PAIR + [429] * 3
    refused = served.login(somebody)
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 300
    assert served.login("Otto").status_code == 303, "others go on"
    with served.engine.connect() as connection:
        (blocked,) = audit.lines(connection, action="login.blocked")
    assert (blocked.target, blocked.detail) == (somebody, {"address": "127.0.0.1"})
    with begin(served) as connection:
        token = access.issue_login(connection, somebody, now=LATER())
    assert served.client.get("/login", params={"token": token}).status_code == 303, "a link always lets in"
    later.by += timedelta(minutes=5, seconds=1)
    assert served.login(somebody).status_code == 303


def test_log_ins_and_log_outs_are_audited(served: Dashboard, later: Later, somebody: str) -> None:
    with served.session(somebody) as client:
        client.post("/logout")
    with served.engine.connect() as connection:
        lines = [(line.action, line.actor) for line in audit.lines(connection, actor=somebody)]
    assert lines == [("login.passed", somebody), ("login.ended", somebody)]


def test_passwords_are_checked_few_at_a_time() -> None:
    """Each takes 64 MiB: a flood of log-ins must not take the memory."""
    assert login.HASHING <= 4
    assert session.COOKIE == "milepost_session"


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/login", "/v1/alerts/1/resolve"])
@pytest.mark.parametrize("announced", [True, False])
def test_nobody_sends_more_than_a_log_in_may_weigh(served: Dashboard, path: str, announced: bool) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x=" + b"y" * 65_534

    kind = "application/x-www-form-urlencoded" if path == "/login" else "application/json"
    body: Any = b"".join(chunks()) if announced else chunks()
    answer = served.client.post(path, content=body, headers={"content-type": kind})
    assert answer.status_code == 413


def test_a_callback_is_bounded_too(served: Dashboard) -> None:
    with served.session("Vera") as client:
        answer = client.post("/_dash-update-component", content=b" " * (9 * 1024 * 1024))
    assert answer.status_code == 413


@pytest.mark.parametrize("path", ["/v1/journeys?q=a%00", "/v1/journeys/order/%00", "/v1/quarantine?source=%00"])
def test_what_no_database_can_hold_is_the_senders_fault(served: Dashboard, path: str) -> None:
    assert served.client.get(path, headers={"x-api-key": served.keys["read"]}).status_code == 422


def test_a_name_that_no_database_can_hold_is_nobodys(served: Dashboard) -> None:
    assert served.login("Vera\0", "x").status_code == 422


# --- behind a proxy ---------------------------------------------------------------------------------------------------


async def seen(trusted: str, peer: str, headers: list[tuple[bytes, bytes]]) -> tuple[str, str]:
    """(address, scheme) that the app sees, by uvicorn's rules as `milepost run` sets them."""
    found: list[tuple[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append((scope["client"][0], scope["scheme"]))

    scope = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": headers}
    await ProxyHeadersMiddleware(app, trusted)(scope, None, None)  # type: ignore[arg-type]
    return found[0]


FORGED = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-proto", b"https")]
PROXIED = [
    ("10.0.0.1", "10.0.0.1", [(b"x-forwarded-for", b"198.51.100.7")], "198.51.100.7"),
    ("10.0.0.1", "10.0.0.1", [(b"x-forwarded-for", b"203.0.113.9, 198.51.100.7")], "198.51.100.7"),
    ("10.0.0.1,10.0.0.2", "10.0.0.1", [(b"x-forwarded-for", b"203.0.113.9, 198.51.100.7, 10.0.0.2")], "198.51.100.7"),
    ("10.0.0.0/8", "10.9.9.9", [(b"x-forwarded-for", b"198.51.100.7")], "198.51.100.7"),
    ("10.0.0.1", "10.0.0.1", [*FORGED[:1], (b"x-forwarded-for", b"198.51.100.7")], "198.51.100.7"),
    ("10.0.0.1", "192.0.2.5", FORGED, "192.0.2.5"),
    ("10.0.0.1", "10.0.0.1", [(b"forwarded", b"for=203.0.113.9"), (b"x-real-ip", b"203.0.113.9")], "10.0.0.1"),
]


@pytest.mark.parametrize(("trusted", "peer", "headers", "expected"), PROXIED)
def test_only_a_trusted_proxy_says_who_asks(
    trusted: str, peer: str, headers: list[tuple[bytes, bytes]], expected: str
) -> None:
    address, scheme = asyncio.run(seen(trusted, peer, headers))
    assert address == expected
    assert scheme == "http"


def test_without_a_trusted_proxy_a_client_can_not_choose_its_address(served: Dashboard, later: Later) -> None:
    for number in range(101):
        forged = {"x-api-key": f"mp_{number:016x}_x", "x-forwarded-for": f"203.0.113.{number}", "forwarded": "for=x"}
        status = served.client.get("/v1/sources", headers=forged).status_code
    assert status == 429
