"""The HTTP ways in, one module each: from a request to bodies of events, and from the verdict to the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from collector import rates, trace
from collector.intake import Disconnected
from collector.metrics import Metrics
from collector.problems import Answer
from milepost.errors import MilepostError


@dataclass(frozen=True, slots=True)
class Call:
    """A request without its body. Names in `headers` are lower case; `all_headers` has the repeated ones too."""

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    all_headers: Sequence[tuple[bytes, bytes]]
    parameters: Mapping[str, Any]
    client: str | None

    @property
    def correlation(self) -> str | None:
        """The trace that the request belongs to: the correlation id of events that have none."""
        return trace.of_request(self.headers, self.all_headers)

    @staticmethod
    def of(scope: Scope) -> Call:
        client = scope.get("client")
        return Call(
            scope["method"],
            scope["path"],
            scope["query_string"],
            dict(scope["headers"]),
            scope["headers"],
            scope.get("path_params", {}),
            client[0] if client else None,
        )


class Way(Protocol):
    """One protocol's way in."""

    async def answer(self, call: Call, receive: Receive) -> Answer:
        """Take what a request brings. Raises MilepostError, Disconnected."""

    def refuse(self, error: MilepostError) -> Answer:
        """An error in the protocol's own shape."""


class Endpoint:
    """The ASGI application of a way. `name` labels its requests in the metrics."""

    def __init__(self, name: str, way: Way, metrics: Metrics) -> None:
        self._name = name
        self._way = way
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self._way.answer(Call.of(scope), receive)
        except MilepostError as error:
            answer = self._way.refuse(error)
        except Disconnected:
            return
        self._metrics.count_request(self._name, answer.status)
        await answer.send(send, rates.told())
