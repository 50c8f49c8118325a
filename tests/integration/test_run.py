"""`milepost run`, as it is typed: everything up, an event to a journey, kill -9, and a clean end."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from milepost.db.embedded import EmbeddedPostgres
from tests.processes import alive

PATIENCE = 90.0
T = TypeVar("T")
SECRETS = {name: f"not-to-be-seen-{name}-0123456789" for name in ("web", "odoo", "mail", "hook", "privacy", "password")}
TALKATIVE = {
    "MILEPOST_LOG_LEVEL": "debug",
    "MILEPOST_PRIVACY_KEY": SECRETS["privacy"],
    "MILEPOST_ODOO_URL": "http://127.0.0.1:9",
    "MILEPOST_ODOO_DATABASE": "odoo",
    "MILEPOST_ODOO_USER": "reader",
    "MILEPOST_ODOO_PASSWORD": SECRETS["odoo"],
    "MILEPOST_SMTP_URL": f"smtp://user:{SECRETS['mail']}@127.0.0.1:9",
    "HOOK_SECRET": "whsec_" + base64.b64encode(SECRETS["hook"].encode()).decode(),
}


def eventually(look: Callable[[], T | None]) -> T:
    """What `look` finds, once it finds something. An address that doesn't answer counts as nothing."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            found = look()
        except httpx.TransportError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """A `milepost run` on a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.port = free_port()
        self.log = folder / "log"
        self.out = folder / "out"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
        self.otlp_port = free_port()
        self.environment = ours | {
            "MILEPOST_DATA_DIR": str(self.data),
            "MILEPOST_PORT": str(self.port),
            "MILEPOST_OTLP_PORT": str(self.otlp_port),
            **TALKATIVE,
        }
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10)
        self.start()
        eventually(self.ready)
        self.first_said = eventually(lambda: "to stop" in self.out.read_text() and self.out.read_text())

    def start(self) -> None:
        with self.log.open("a") as log, self.out.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "milepost", "run"], env=self.environment, stdout=out, stderr=log
            )

    def stop(self) -> float:
        """Ask it to end; the seconds that it took."""
        began = time.monotonic()
        self.process.terminate()
        assert self.process.wait(30) == 0
        return time.monotonic() - began

    def type(self, *words: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "milepost", *words]
        return subprocess.run(
            command, env=self.environment, input=answer, capture_output=True, text=True, timeout=60, check=False
        )

    def key(self, *words: str) -> dict[str, str]:
        made = self.type("keys", "create", "test", "--source", "test", *words)
        assert made.returncode == 0, made.stderr
        return {"Authorization": f"Bearer {made.stdout.strip()}"}

    def pids(self) -> dict[str, int]:
        """The latest process of each name."""
        return {name: int(pid) for name, pid in re.findall(r"started (\w+) \(pid (\d+)\)", self.log.read_text())}

    def ready(self) -> bool:
        return self.http.get("/readyz").status_code == 200

    def send(self, headers: dict[str, str], order: str, kind: str = "order.received") -> bool:
        """Until it is acknowledged, as a sender does."""
        event = {"id": f"{order}-{kind}", "type": kind, "data": {"keys": {"order": order}}}
        return self.http.post("/v1/events", json=event, headers=headers).status_code == 202

    def journey(self, headers: dict[str, str], order: str) -> dict[str, Any] | None:
        answer = self.http.get(f"/v1/journeys/order/{order}", headers=headers)
        return answer.json() if answer.status_code == 200 else None


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Every test finds it ready, and leaves it so."""
    running = Service(tmp_path_factory.mktemp("run"))
    try:
        yield running
        assert running.stop() < 10
        assert all(not alive(pid) for pid in running.pids().values())
    finally:
        running.http.close()
        running.process.terminate()
        running.process.wait(30)
        sys.stdout.write(running.log.read_text()[-8000:])  # shown where a test fails
        assert not EmbeddedPostgres(running.data / "postgres").running()


def test_the_port_of_opentelemetry_takes_nothing_else(service: Service) -> None:
    address, sends = f"http://127.0.0.1:{service.otlp_port}", service.key()
    assert service.http.post(f"{address}/v1/traces", json={}, headers=sends).json() == {}
    assert service.http.post("/v1/traces", json={}, headers=sends).json() == {}
    for path in ("/", "/v1/events", "/metrics", "/readyz"):
        assert service.http.get(f"{address}{path}", headers=sends).status_code == 404


def test_an_event_becomes_a_journey_and_kills_are_survived(service: Service) -> None:
    sends, reads = service.key(), service.key("--scope", "read")
    assert service.send(sends, "S/1")
    journey = eventually(lambda: service.journey(reads, "S/1"))
    assert journey["state"] == "open"
    assert journey["stage"] == "received"
    assert journey["clocks"]

    before = service.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: all(service.pids()[name] != pid for name, pid in before.items()))
    eventually(lambda: service.send(sends, "after-processes"))
    eventually(lambda: service.journey(reads, "after-processes"))

    server = EmbeddedPostgres(service.data / "postgres")
    killed = server.server_pid()
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: server.running() and server.server_pid() not in (None, killed))
    eventually(lambda: service.send(sends, "after-database"))
    eventually(lambda: service.journey(reads, "after-database"))


def test_the_first_start_shows_the_way_in_and_the_second_does_not(service: Service) -> None:
    shown = re.search(r"http://\S+/login\?token=\S+", service.first_said)
    assert shown
    link = shown[0]
    with httpx.Client(timeout=10) as browser:
        answer = browser.get(link)
        assert answer.status_code == 303
        assert browser.cookies
        assert browser.get(link.partition("/login")[0]).status_code == 200
    assert httpx.get(link, timeout=10).status_code == 401
    secret = service.data / "secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    before = secret.read_text()
    service.stop()
    service.start()
    shown = eventually(lambda: re.search(r"log in +(.+)", service.out.read_text()))
    assert shown[1] == "milepost login-link admin"
    assert secret.read_text() == before


def test_a_second_one_on_the_same_data_is_refused(service: Service) -> None:
    result = service.type("run")
    assert result.returncode == 2
    assert f"already runs on {service.data.resolve()} (pid {service.process.pid})" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = os.environ | {"MILEPOST_DATA_DIR": str(tmp_path / "data"), "MILEPOST_PORT": port}
        environment.pop("MILEPOST_DATABASE_URL", None)
        result = subprocess.run(
            [sys.executable, "-m", "milepost", "run"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 2
    assert f"can't listen on 127.0.0.1:{port}" in result.stderr


def test_children_end_with_a_supervisor_that_is_killed(service: Service) -> None:
    children = service.pids()
    service.process.kill()
    service.process.wait(30)
    eventually(lambda: not any(alive(pid) for pid in children.values()))
    service.start()
    eventually(service.ready)


def test_no_secret_is_written_anywhere(service: Service) -> None:
    """Not even at debug level, with everything failing: the log, what is answered, the audit, the process list."""
    said: list[str] = []
    added = service.type("users", "add", "vera", "--role", "admin", answer=f"{SECRETS['password']}\n")
    said += [added.stdout, added.stderr]
    key = service.key("--scope", "send", "--scope", "read")["Authorization"].split()[1]
    token = service.type("login-link", "vera").stdout.strip().split("token=")[1]

    def ask(method: str, path: str, **more: Any) -> None:
        answer = service.http.request(method, path, **more)
        said.append(f"{answer.status_code} {answer.text}")

    bearer, wrong = {"Authorization": f"Bearer {key}"}, {"X-Api-Key": f"{key}x"}
    for headers in (bearer, wrong):
        ask("GET", "/v1/journeys?cursor=none", headers=headers)
        ask("POST", "/v1/events", content=b"{", headers=headers | {"Content-Type": "application/json"})
        ask("POST", "/v1/events", content=b" " * 17_000_000, headers=headers)
        ask("POST", "/v1/events", json=[{"type": 1}], headers=headers)
    for password in (SECRETS["password"], SECRETS["password"] + "x"):
        ask("POST", "/login", data={"name": "vera", "password": password})
    for _ in range(2):
        ask("GET", "/login", params={"token": token})
    ask("POST", "/_dash-update-component", json={"output": "nothing"})
    for path in ("/metrics", "/openapi.json", "/readyz"):
        ask("GET", path)
    processes = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, timeout=30, check=True)
    places = {
        "answers": "\n".join(said),
        "log": service.log.read_text(),
        "audit": service.type("audit", "list", "--json").stdout,
        "processes": processes.stdout,
        "database log": "".join(path.read_text(errors="replace") for path in service.data.rglob("*.log")),
    }
    assert "login.redeemed" in places["audit"]
    unsaid = {**SECRETS, "key": key.split("_")[2], "token": token, "base64": TALKATIVE["HOOK_SECRET"][6:]}
    unsaid["web"] = (service.data / "secret").read_text().strip()
    found = {(name, place) for place, text in places.items() for name, secret in unsaid.items() if secret in text}
    assert found == set()
