"""The port of OpenTelemetry: taken or off, Milepost starts all the same."""

from __future__ import annotations

import logging
import socket

import pytest

from milepost.settings import Settings
from milepost.wiring import sockets


def settings(port: int) -> Settings:
    return Settings.load({"MILEPOST_OTLP_PORT": str(port)})


def test_it_is_on_by_default() -> None:
    assert Settings.load({}).web.otlp_port == 4318


def test_off() -> None:
    assert sockets.listen_otlp(settings(0)) is None


def test_taken(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sockets, "_OTLP_WAIT", 0.1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with caplog.at_level(logging.WARNING):
            assert sockets.listen_otlp(settings(port)) is None
    assert f"can't listen on 127.0.0.1:{port} for OpenTelemetry: Address already in use" in caplog.text
    listening = sockets.listen_otlp(settings(port))
    assert listening is not None
    with listening:
        assert listening.getsockname() == ("127.0.0.1", port)
