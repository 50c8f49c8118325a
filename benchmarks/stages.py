"""Where an event's time goes on its way into the log: each stage of the collector by itself, on the benchmark's batch.

A stage is timed without the others around it, in this process; `http` is the same server with an application that
only reads the body.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Any, Final

import psycopg
import uvicorn
from collecting import BATCH, MARK, batch, serving
from http_load import Load, run

from collector.binding import Format, Splitter
from collector.ingest import validate
from collector.server import server_config
from milepost.auth import ApiKey
from milepost.clock import to_us, utc_now
from milepost.db.engine import libpq_url
from milepost.inbox import log

_COMMIT_EVENTS: Final = 4_000
"""About what one commit of the collector holds under this load."""


def stages(url: str, key: ApiKey, text: str, seconds: float) -> dict[str, float]:
    """Microseconds an event and stage. Those of `commit` are spent waiting for PostgreSQL, the others are CPU."""
    body = batch().replace(MARK, b"0123456789")
    splitter = Splitter(10_000)
    bodies = splitter.split(Format.BATCH, body, "", ())
    now = to_us(utc_now())
    entries = validate(bodies, received_us=now, sender=key).entries
    assert len(entries) == BATCH
    group = entries * (_COMMIT_EVENTS // BATCH)
    return {
        "http": _http(text, seconds),
        "split": _each(lambda: splitter.split(Format.BATCH, body, "", ()), seconds),
        "validate": _each(lambda: validate(bodies, received_us=now, sender=key), seconds),
        "pack and compress": _each(lambda: log.row(group), seconds, len(group)),
        "commit": _commit(url, log.row(group), seconds),
    }


def _each(step: Callable[[], object], seconds: float, events: int = BATCH) -> float:
    until, times, started = perf_counter() + seconds, 0, thread_time()
    while perf_counter() < until:
        step()
        times += 1
    return (thread_time() - started) / times / events * 1e6


def _commit(url: str, row: Any, seconds: float) -> float:
    until, times, started = perf_counter() + seconds, 0, perf_counter()
    with psycopg.connect(libpq_url(url)) as connection:
        connection.execute("SET synchronous_commit = on")
        while perf_counter() < until:
            connection.execute(log.APPEND_SQL, row)
            connection.commit()
            times += 1
    return (perf_counter() - started) / times / _COMMIT_EVENTS * 1e6


def _http(key: str, seconds: float) -> float:
    with serving(_serve_reader) as server:
        load = Load(server.port, "/", batch(), "application/json", key, 8, seconds, MARK)
        before = server.cpu()
        done = run([load])
        return (server.cpu() - before) / done.requests / BATCH * 1e6


def _serve_reader(port: int) -> None:
    uvicorn.Server(server_config(_read, host="127.0.0.1", port=port, lifespan="off")).run()


async def _read(_: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body", False):
        pass
    headers = [(b"content-length", b"0"), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
