"""A real collector for tests: the app under uvicorn on a loopback port, on a real database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import sqlalchemy as sa
import uvicorn

from collector.app import make_app
from collector.server import server_config
from collector.store import DatabaseStore
from milepost import settings
from milepost.clock import Clock, utc_now
from milepost.contract import Entry
from milepost.db.engine import make_engine
from milepost.db.tables import quarantine
from milepost.decisions import access
from milepost.inbox import log

SOURCE = "/wms/north"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
JSON = "application/json"
NDJSON = "application/x-ndjson"


@dataclass
class Served:
    """A running collector. `keys`: what a sender may present, by what is special about it."""

    url: str
    engine: sa.Engine
    client: httpx.Client
    keys: Mapping[str, str]

    def send(
        self, body: bytes, content_type: str = JSON, *, key: str = "north", headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """POST to /v1/events with one of `keys`, or none for an empty name."""
        given = {"content-type": content_type} if content_type else {}
        if key:
            given["authorization"] = f"Bearer {self.keys[key]}"
        return self.client.post("/v1/events", content=body, headers={**given, **(headers or {})})

    def taken(self) -> list[Entry]:
        """What is in the log, which is empty afterwards."""
        with self.engine.begin() as connection:
            return [entry for batch in log.consume(connection, 10_000) for entry in batch.entries]

    def quarantined(self) -> list[Mapping[str, Any]]:
        """What is in quarantine, in order; it is empty afterwards."""
        with self.engine.begin() as connection:
            rows = connection.execute(sa.delete(quarantine).returning(quarantine)).mappings().all()
        return sorted((dict(row) for row in rows), key=lambda row: row["quarantine_id"])


@contextmanager
def collector(
    database: str, *, limits: settings.Ingest | None = None, clock: Clock = utc_now, writes_to: str = ""
) -> Iterator[Served]:
    """A collector on `database`. With `writes_to` its writer goes elsewhere than its look-ups."""
    engine = make_engine(database, application_name="test collector")
    app = make_app(database_url=writes_to or database, store=DatabaseStore(engine), limits=limits, clock=clock)
    with running(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield Served(url, engine, client, make_keys(engine))
    engine.dispose()


@contextmanager
def running(app: Any) -> Iterator[str]:
    """The app under uvicorn in a thread; yields its URL."""
    config = server_config(app, host="127.0.0.1", port=0, log_level="error")
    listener = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
    assert not thread.is_alive(), "the server does not stop"


def make_keys(engine: sa.Engine) -> dict[str, str]:
    """One key of each sort."""
    now = utc_now()
    made: dict[str, tuple[list[str], list[str], list[str], timedelta | None]] = {
        "north": ([SOURCE], ["*"], ["send"], None),
        "picking": ([SOURCE], ["picking.*"], ["send"], None),
        "several": (["/wms/*"], ["*"], ["send"], None),
        "anybody": (["*"], ["*"], ["send"], None),
        "reader": ([SOURCE], ["*"], ["read"], None),
        "expired": ([SOURCE], ["*"], ["send"], timedelta(days=1)),
        "revoked": ([SOURCE], ["*"], ["send"], None),
    }
    keys = {}
    with engine.begin() as connection:
        for name, (sources, types, scopes, valid) in made.items():
            before = now - timedelta(days=2)
            key = access.create_key(
                connection,
                name=name,
                sources=sources,
                types=types,
                scopes=scopes,
                expires_at=before + valid if valid else None,
                actor="test",
                now=before,
            )
            keys[name] = key.text
            if name == "revoked":
                access.revoke_key(connection, key.key_id, actor="test", now=now)
    return keys


def wait_until(true: Any, seconds: float = 20) -> None:
    """Poll a condition that another thread or process brings about."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
