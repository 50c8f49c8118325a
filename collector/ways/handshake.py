"""The webhook validation of CloudEvents (http-webhook.md): OPTIONS asks whether this target wants events."""

from __future__ import annotations

from http import HTTPStatus

from collector.intake import Headers
from collector.problems import Answer


def answer(headers: Headers, events_a_second: int) -> Answer:
    """Every origin may send: a key or a signature decides. `events_a_second`: the most that one sender may send."""
    origin = headers.get(b"webhook-request-origin")
    allow = [(b"allow", b"POST, OPTIONS")]
    if origin is None:
        return Answer(HTTPStatus.OK, b"", headers=allow)
    rate = str(_allowed_rate(headers.get(b"webhook-request-rate", b""), events_a_second * 60)).encode()
    granted = [(b"webhook-allowed-origin", origin), (b"webhook-allowed-rate", rate)]
    return Answer(HTTPStatus.OK, b"", headers=[*allow, *granted])


def _allowed_rate(asked: bytes, most: int) -> int:
    """Requests a minute: what was asked for, at most what a sender may send."""
    return min(int(asked), most) if asked.isdigit() and len(asked) < 16 and int(asked) else most
