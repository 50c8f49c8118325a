"""`milepost run` finds out that its web is ready."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from milepost.settings import Settings
from milepost.wiring.loops import Stop
from milepost.wiring.service import Ready
from tests.receivers import closed_port


class _Web(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_it_asks_itself_by_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    with HTTPServer(("127.0.0.1", 0), _Web) as web:
        threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        settings = Settings.load({"MILEPOST_HOST": "0.0.0.0", "MILEPOST_PORT": str(web.server_port)})
        assert Ready(settings).wait(10, Stop())
        web.shutdown()
