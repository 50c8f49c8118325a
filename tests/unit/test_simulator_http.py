"""The demo's two ends: the sender, which is patient, and the receiver, which believes signatures only."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from milepost.errors import Permanent
from milepost.signing import secrets_of, sign
from simulator import demo, receiver, sender
from simulator.receiver import Notice
from simulator.sender import Sender
from tests.receivers import closed_port

KEYS = {"/wms/north": "mp_key_secret"}


class Collector:
    """Gives its answers one after the other, the last one for ever."""

    def __init__(self, *answers: tuple[int, dict[str, Any]]) -> None:
        self.answers = list(answers)
        self.got: list[tuple[str, list[bytes]]] = []

    def next(self) -> tuple[int, dict[str, Any]]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(BaseHTTPRequestHandler):
    collector: Collector

    def do_POST(self) -> None:
        body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
        status, answer = self.collector.next()
        self.collector.got.append((self.headers["authorization"], body.split(b"\n")))
        said = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"retry-after": "0", "content-length": str(len(said))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Collector:
    return Collector((202, {"accepted": 2, "rejected": []}))


@pytest.fixture
def address(collector: Collector) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"collector": collector}))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def send(address: str, *, stopped: bool = False) -> None:
    with Sender(address, KEYS, lambda: stopped) as sending:
        sending.send("/wms/north", [b"{}", b"[]"])


def test_sends_lines_with_the_key_of_the_source(collector: Collector, address: str) -> None:
    send(address)
    assert collector.got == [("Bearer mp_key_secret", [b"{}", b"[]"])]


@pytest.mark.parametrize("status", [429, 503])
def test_tries_again_while_it_is_busy(collector: Collector, address: str, status: int) -> None:
    collector.answers.insert(0, (status, {}))
    send(address)
    assert len(collector.got) == 2


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (401, {"title": "no"}),
        (422, {"accepted": 0, "rejected": [{"index": 0, "id": "a", "error": "no"}]}),
        (202, {"accepted": 1, "rejected": [{"index": 0, "id": "a", "error": "no"}]}),
    ],
)
def test_gives_up_on_what_is_refused(collector: Collector, address: str, status: int, answer: dict[str, Any]) -> None:
    collector.answers = [(status, answer)]
    with pytest.raises(Permanent, match="no"):
        send(address)
    assert len(collector.got) == 1


def test_sends_by_no_proxy(collector: Collector, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "PATIENCE", 0.0)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    send(address)
    assert len(collector.got) == 1


def test_sends_nothing_more_once_stopped(collector: Collector, address: str) -> None:
    send(address, stopped=True)
    assert collector.got == []


# --- the receiver -----------------------------------------------------------------------------------------------------

BODY = json.dumps(
    {
        "type": "alert.opened",
        "data": {"headline": "[critical] Stuck", "url": "http://m/alerts/1", "alert": {"severity": "critical"}},
    }
).encode()


def post(listening: receiver.Receiver, secret: str, at: float, body: bytes = BODY) -> int:
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at)),
        "webhook-signature": sign(secrets_of(secret), "msg_1", int(at), BODY),
    }
    return httpx.post(listening.url, content=body, headers=headers, timeout=5).status_code


def test_the_receiver_believes_signatures_only() -> None:
    told: list[Notice] = []
    now = time.time()
    with receiver.listening(told.append) as listening:
        assert post(listening, receiver.new_secret(), now) == 401
        assert post(listening, listening.secret, now - 3600) == 401
        assert post(listening, listening.secret, now, BODY + b" ") == 401
        assert told == []
        assert post(listening, listening.secret, now) == 204
    assert told == [Notice("opened", "critical", "[critical] Stuck", "http://m/alerts/1")]


def test_the_catalog_of_the_demo_can_be_used(tmp_path: Any) -> None:
    variables = demo.environment(tmp_path / "catalog", receiver.Receiver("http://127.0.0.1:1/alerts", "whsec_x"))
    assert "http://127.0.0.1:1/alerts" in (tmp_path / "catalog" / "routes.yaml").read_text()
    assert variables["MILEPOST_CATALOG"] == str(tmp_path / "catalog")
    assert variables[demo.SECRET] == "whsec_x"
