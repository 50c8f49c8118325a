"""Real receivers of notifications on loopback: an HTTP server and a mail server, which misbehave on request."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

Trouble = Literal[
    "", "hang", "drip", "rate limited", "server error", "client error", "redirect", "gone", "hang up", "answer lost",
    "malformed", "rude",
]  # fmt: skip
"""`answer lost`: it was taken, and then the connection broke. `malformed`: something else answered, with success.
`rude`: a mail is taken, and the farewell refused."""
RETRY_AFTER = 7

_HTTP: Mapping[str, tuple[int, dict[str, str]]] = {
    "rate limited": (429, {"Retry-After": str(RETRY_AFTER)}),
    "server error": (503, {}),
    "client error": (400, {}),
    "redirect": (307, {"Location": "/elsewhere"}),
    "gone": (410, {}),
    "malformed": (200, {"Content-Type": "text/html"}),
}
_SMTP: Mapping[str, str] = {
    "rate limited": "450 slow down",
    "server error": "451 local error",
    "client error": "550 no such mailbox",
    "redirect": "551 user not local; please try elsewhere",
}


@dataclass(frozen=True)
class Request:
    """What an HTTP receiver got; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Request], tuple[int, Mapping[str, str], bytes]]
"""What a provider says to a request that it takes, or refuses for what it asks."""


def _done(_: Request) -> tuple[int, Mapping[str, str], bytes]:
    return 204, {}, b""


@dataclass
class Receiver:
    """A server's state. `trouble` is what it does next; `wait_for` waits for requests."""

    port: int = 0
    answer: Answer = _done
    trouble: Trouble = ""
    troubles: list[Trouble] = field(default_factory=list)
    """Used up first, one a request."""
    got: list[Any] = field(default_factory=list)
    """What was accepted: Request or EmailMessage."""
    seen: list[Any] = field(default_factory=list)
    """All that came, also what was answered with an error."""
    closing: threading.Event = field(default_factory=threading.Event)
    arrived: threading.Condition = field(default_factory=threading.Condition)
    passwords: list[str] = field(default_factory=list)
    """user:password of each log-in to the mail server."""
    refuse: str = ""
    """The mail server refuses this recipient."""

    def next_trouble(self) -> Trouble:
        with self.arrived:
            self.arrived.notify_all()
            return self.troubles.pop(0) if self.troubles else self.trouble

    def has_had_its_troubles(self) -> None:
        """Wait until a request that was given up has met its trouble, so that the next one doesn't."""
        with self.arrived:
            self.arrived.wait_for(lambda: not self.troubles, 5)
            self.troubles.clear()

    def note(self, thing: Any, *, accepted: bool) -> None:
        with self.arrived:
            self.seen.append(thing)
            if accepted:
                self.got.append(thing)
            self.arrived.notify_all()

    def wait_for(self, number: int, timeout: float = 10) -> None:
        """Wait until so many requests have come."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.seen) >= number, timeout), f"only {len(self.seen)} came"


def _drip(handler: _Http | _Smtp, text: bytes) -> None:
    with contextlib.suppress(OSError):
        for byte in text:
            handler.wfile.write(bytes([byte]))
            if handler.receiver.closing.wait(0.05):
                return


class _Http(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        trouble = self.receiver.next_trouble()
        taken = trouble in ("", "answer lost")
        answer = self.receiver.answer(request) if taken else (*_HTTP.get(trouble, (0, {})), b"done")
        self.receiver.note(request, accepted=taken)
        if trouble == "hang":
            self.receiver.closing.wait(30)
        elif trouble == "drip":
            _drip(self, b"HTTP/1.1 200 OK\r\nX-Slow: " + b"z" * 1000)
        elif trouble not in ("hang up", "answer lost"):
            self._say(*answer)

    def _say(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Smtp(socketserver.StreamRequestHandler):
    receiver: Receiver
    context: ssl.SSLContext | None
    """For STARTTLS."""

    def handle(self) -> None:
        trouble = self.receiver.next_trouble()
        if trouble == "hang":
            self.receiver.closing.wait(30)
        if trouble == "drip":
            _drip(self, b"5" * 100)
        if trouble in ("hang", "drip", "hang up"):
            return
        with contextlib.suppress(OSError):
            self._talk(trouble)

    def _talk(self, trouble: Trouble) -> None:
        self._say("220 receiver")
        while line := self.rfile.readline().decode().strip():
            verb = line.partition(" ")[0].upper()
            if verb == "RCPT":
                refused = bool(self.receiver.refuse) and self.receiver.refuse in line
                self._say("550 no such mailbox" if refused else _SMTP.get(trouble, "250 ok"))
            elif verb == "DATA":
                self._say("354 go on")
                self._mail()
                if trouble == "answer lost":
                    return None
                self._say("250 ok")
            elif verb == "QUIT":
                return self._say("421 no time" if trouble == "rude" else "221 bye")
            elif verb == "EHLO":
                self._greet()
            elif verb == "STARTTLS":
                self._secure()
            elif verb == "AUTH":
                self._log_in(line)
            else:
                self._say("250 ok")
        return None

    def _greet(self) -> None:
        secure = isinstance(self.connection, ssl.SSLSocket)
        offers = ["AUTH PLAIN"] if secure else ["STARTTLS"] if self.context else []
        lines = ["receiver", *offers]
        for line in lines[:-1]:
            self._say(f"250-{line}")
        self._say(f"250 {lines[-1]}")

    def _secure(self) -> None:
        assert self.context is not None
        self._say("220 go on")
        self.connection = self.context.wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)

    def _log_in(self, line: str) -> None:
        _, user, password = base64.b64decode(line.split()[-1]).decode().split("\0")
        self.receiver.passwords.append(f"{user}:{password}")
        self._say("235 welcome")

    def _mail(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.receiver.note(mail, accepted=True)

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class _SmtpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that refuse our certificate are meant to."""


class _HttpServer(ThreadingHTTPServer):
    handle_error = _SmtpServer.handle_error


@contextlib.contextmanager
def http_receiver(certificate: Path | None = None, answer: Answer = _done) -> Iterator[Receiver]:
    """An HTTP server, with TLS where it has a certificate; it takes every POST unless told otherwise."""
    receiver = Receiver(answer=answer)
    server = _HttpServer(("127.0.0.1", 0), type("Handler", (_Http,), {"receiver": receiver}))
    if certificate:
        _wrap(server, certificate)
    yield from _serve(server, receiver)


@contextlib.contextmanager
def smtp_receiver(certificate: Path | None = None, *, tls: bool = False) -> Iterator[Receiver]:
    """A mail server; it takes every mail unless told otherwise. With a certificate: TLS at once, or by STARTTLS."""
    receiver = Receiver()
    context = _context(certificate) if certificate else None
    server = _SmtpServer(("127.0.0.1", 0), type("Handler", (_Smtp,), {"receiver": receiver, "context": context}))
    if certificate and tls:
        _wrap(server, certificate)
    yield from _serve(server, receiver)


def _context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def _wrap(server: socketserver.TCPServer, certificate: Path) -> None:
    """The handshake is left to the connection's own thread."""
    server.socket = _context(certificate).wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)


def _serve(server: socketserver.TCPServer, receiver: Receiver) -> Iterator[Receiver]:
    receiver.port = server.socket.getsockname()[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
