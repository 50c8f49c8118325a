"""/healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from time import monotonic
from typing import Final

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from collector.commit import Writer
from collector.metrics import Metrics
from collector.problems import PROBLEM, Answer, from_error
from collector.store import Store
from milepost.errors import Transient, Unavailable

_ANSWER_SECONDS: Final = 2
_REMEMBER_SECONDS: Final = 1.0


class Health:
    """The state of one process. The database is asked one question at a time, at most once a second."""

    def __init__(self, store: Store, metrics: Metrics, writer: Writer | None = None) -> None:
        self._store = store
        self._writer = writer
        self._metrics = metrics
        self._asked: asyncio.Task[None] | None = None
        self._asked_at = 0.0

    async def live(self) -> Response:
        """The process runs and its event loop turns."""
        return _ok("alive")

    async def ready(self) -> Response:
        """Events are taken: the database answers, has the right schema, and the writer is connected; or, while the
        database is away, there is room in the spool. Else 503."""
        try:
            if self._writer is not None:
                self._writer.check_ready()
                if self._writer.away:
                    return self._taking("spooling")
            async with asyncio.timeout(_ANSWER_SECONDS):
                await asyncio.shield(self._question())
        except TimeoutError:
            late = Unavailable(f"the database did not answer within {_ANSWER_SECONDS} seconds", retry_after=2)
            return response_of(from_error(late))
        except Transient as error:
            return response_of(from_error(error))
        return self._taking("ready")

    def _taking(self, status: str) -> Response:
        spool = self._writer.spool if self._writer is not None else None
        if spool is None:
            return _ok(status)
        return _ok(
            "draining" if spool and status == "ready" else status,
            spool={"events": spool.events, "bytes": spool.size},
        )

    async def metrics(self) -> Response:
        return Response(self._metrics.text(), media_type=CONTENT_TYPE_LATEST)

    def _question(self) -> asyncio.Task[None]:
        if self._asked is None or (self._asked.done() and monotonic() - self._asked_at > _REMEMBER_SECONDS):
            self._asked = asyncio.create_task(asyncio.to_thread(self._store.check_ready))
            self._asked_at = monotonic()
        return self._asked


def _ok(status: str, **more: object) -> Response:
    return Response(msgspec.json.encode({"status": status, **more}), HTTPStatus.OK, media_type="application/json")


def response_of(answer: Answer) -> Response:
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(answer.body, answer.status, headers, media_type=PROBLEM.decode())
