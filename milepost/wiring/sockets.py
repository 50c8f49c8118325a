"""The sockets that Milepost listens on. Apart from what is served there, which is slow to load."""

from __future__ import annotations

import logging
import socket
import time
from typing import Final

from milepost.errors import ConfigurationError
from milepost.settings import Settings

_OTLP_WAIT: Final = 2.0
"""Seconds to wait for OTLP's port before going on without it."""

_log = logging.getLogger(__name__)


def listen(settings: Settings) -> socket.socket:
    """The web's listening socket. Raises ConfigurationError when the address can't be had."""
    web = settings.web
    try:
        return _bound(web.host, web.port)
    except OSError as error:
        raise ConfigurationError(
            f"can't listen on {web.host}:{web.port}: {error.strerror} (MILEPOST_HOST, MILEPOST_PORT)"
        ) from error


def listen_otlp(settings: Settings) -> socket.socket | None:
    """The socket of OTLP's own port; None when there is to be none, or it is taken: the other port takes OTLP too.

    Whoever held it may be about to end: after a kill -9 it is a process of Milepost's own.
    """
    web, deadline = settings.web, time.monotonic() + _OTLP_WAIT
    while web.otlp_port:
        try:
            return _bound(web.host, web.otlp_port)
        except OSError as error:
            if time.monotonic() > deadline:
                _log.warning(
                    "can't listen on %s:%s for OpenTelemetry: %s (MILEPOST_OTLP_PORT); port %s takes it as well",
                    web.host, web.otlp_port, error.strerror, web.port,
                )  # fmt: skip
                return None
        time.sleep(0.1)
    return None


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(2048)
    except OSError:
        listening.close()
        raise
    return listening
