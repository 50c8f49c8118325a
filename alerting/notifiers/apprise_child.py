"""The process that loads Apprise, sends one message and ends: an Order on stdin, an Outcome on stdout."""

from __future__ import annotations

import importlib.util
import io
import logging
import socket
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from alerting.notifiers.address import is_public


class Order(Struct, frozen=True):
    """What the process is to do. `timeout` in seconds, for each step of the exchange."""

    url: str
    title: str
    body: str
    kind: str
    timeout: float
    allow_private: bool


class Outcome(Struct, frozen=True):
    """What came of it: sent, failed, refused (the address is none), private, missing (the library); `said` its log."""

    what: str
    said: str = ""


def main() -> None:
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    if importlib.util.find_spec("apprise") is None:
        outcome = Outcome("missing")
    else:
        refused: list[str] = []
        if not order.allow_private:
            guard(refused)
        outcome = send(order)
        outcome = Outcome("private", refused[0]) if refused else outcome
    sys.stdout.buffer.write(msgspec.json.encode(outcome))


def send(order: Order) -> Outcome:
    import apprise

    asset = apprise.AppriseAsset(http_redirects=False, secure_logging=True, app_id="Milepost", app_desc="Milepost")
    everything = apprise.Apprise(asset=asset)
    capture = apprise.LogCapture(level=logging.WARNING, fmt="%(message)s")  # type: ignore[no-untyped-call]
    with capture as log:
        if not everything.add(_bounded(order.url, order.timeout)):
            return Outcome("refused", _text(log))
        sent = everything.notify(order.body, title=order.title, notify_type=order.kind, body_format="text")
        return Outcome("sent" if sent else "failed", _text(log))


def _bounded(url: str, timeout: float) -> str:
    """The address with our timeouts, and texts that are too long cut rather than sent in parts."""
    own = {"cto": f"{timeout:g}", "rto": f"{timeout:g}", "overflow": "truncate"}
    given = parse_qs(urlsplit(url).query, keep_blank_values=True)
    added = "&".join(f"{name}={value}" for name, value in own.items() if name not in given)
    return f"{url}{'&' if given else '' if url.endswith('?') else '?'}{added}" if added else url


def _text(log: Any) -> str:
    return log.getvalue().strip() if isinstance(log, io.StringIO) else ""


def guard(refused: list[str]) -> None:
    """Let this process look up public addresses only: every service of the library connects by this look-up."""
    look_up = socket.getaddrinfo

    def guarded(host: Any, *args: Any, **given: Any) -> Any:
        found = look_up(host, *args, **given)
        private = [str(entry[4][0]) for entry in found if not is_public(str(entry[4][0]))]
        if private:
            allow = "MILEPOST_ALLOW_PRIVATE_RECEIVERS=true allows such receivers"
            refused.append(f"{host} is the private address {private[0]}; {allow}")
            raise OSError(refused[-1])
        return found

    socket.getaddrinfo = guarded


if __name__ == "__main__":
    main()
