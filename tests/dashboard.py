"""Read API and pages for tests: the app under uvicorn on a loopback port, with people and keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import sqlalchemy as sa
from fastapi import FastAPI

from collector.app import make_app
from collector.replay import Replayer
from collector.store import DatabaseStore
from correlator.explain import explain
from correlator.preview import preview
from dashboards.app import mount
from dashboards.context import Correlations, Exports
from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.clock import Clock, utc_now
from milepost.db.engine import make_engine
from milepost.decisions import access
from milepost.settings import Settings
from milepost.wiring.exports import business, reader
from tests.served import running

PASSWORD = "correct horse battery"
PEOPLE = {"Vera": "viewer", "Otto": "operator", "Ada": "admin"}
CATALOG = loader.load(loader.default_texts())


@dataclass
class Dashboard:
    """A running dashboard. `keys`: read, send, revoked, mend."""

    url: str
    engine: sa.Engine
    client: httpx.Client
    keys: dict[str, str]

    def get(self, path: str, *, key: str = "read", **params: Any) -> httpx.Response:
        """GET with one of `keys`, or none for an empty name."""
        headers = {"authorization": f"Bearer {self.keys[key]}"} if key else {}
        return self.client.get(path, params={name: value for name, value in params.items() if value}, headers=headers)

    def login(self, name: str, password: str = PASSWORD, **form: str) -> httpx.Response:
        return self.client.post("/login", data={"name": name, "password": password, **form})

    @contextmanager
    def session(self, name: str) -> Iterator[httpx.Client]:
        """A browser of its own in which somebody is logged in."""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            assert client.post("/login", data={"name": name, "password": PASSWORD}).status_code == 303
            yield client


@contextmanager
def dashboard(
    database: str,
    *,
    catalog: Catalog = CATALOG,
    clock: Clock = utc_now,
    with_collector: bool = False,
    **environ: str,
) -> Iterator[Dashboard]:
    """The read API and the pages on `database`, with the collector if wanted. `environ`: more settings."""
    engine = make_engine(database, application_name="test dashboard")
    app = _collector(database, engine, clock) if with_collector else FastAPI(docs_url=None, redoc_url=None)
    base = {"MILEPOST_SECRET": "s" * 32, "MILEPOST_PUBLIC_URL": "https://milepost.example"}
    settings = Settings.load(base | environ)
    replays = Replayer(engine, lambda _: catalog, clock)
    mount(
        app, engine=engine, settings=settings, catalog=lambda: catalog, replays=replays,
        correlations=Correlations(explain, preview), exports=Exports(reader, business), clock=clock,
    )  # fmt: skip
    keys = _people_and_keys(engine)
    with running(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield Dashboard(url, engine, client, keys)
    engine.dispose()


def _collector(database: str, engine: sa.Engine, clock: Clock) -> FastAPI:
    return make_app(database_url=database, store=DatabaseStore(engine), clock=clock)


def _people_and_keys(engine: sa.Engine) -> dict[str, str]:
    now = utc_now()
    keys = {}
    with engine.begin() as connection:
        for name, role in PEOPLE.items():
            access.create_user(connection, name=name, password=PASSWORD, role=role, actor="test", now=now)
        for name, scopes in (
            ("read", ["read"]),
            ("send", ["send"]),
            ("revoked", ["read"]),
            ("mend", ["read", "quarantine"]),
        ):
            made = access.create_key(
                connection, name=name, sources=["*"], types=["*"], scopes=scopes, expires_at=None, actor="test", now=now
            )
            keys[name] = made.text
            if name == "revoked":
                access.revoke_key(connection, made.key_id, actor="test", now=now)
    return keys
