"""The web processes: collector, read API and pages, together on one ASGI app or each on its own."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import ASGIApp

from collector.app import make_app
from collector.health import Health
from collector.ingest import Limits
from collector.metrics import Metrics
from collector.replay import Replayer
from collector.server import Narrowed, limited, server_config
from collector.store import DatabaseStore
from collector.ways.otlp import KINDS
from correlator.explain import explain
from correlator.preview import preview
from milepost.db.engine import libpq_url
from milepost.errors import ConfigurationError
from milepost.settings import Settings
from milepost.wiring.resources import Resources


def web_app(resources: Resources) -> FastAPI:
    """Collector, read API and pages."""
    app = collector_app(resources)
    _mount_pages(app, resources)
    return app


def collector_app(resources: Resources) -> FastAPI:
    """What systems send to."""
    url = libpq_url(resources.engine.url.render_as_string(hide_password=False))
    return make_app(
        database_url=url,
        store=DatabaseStore(resources.engine, resources.cache),
        limits=resources.settings.ingest,
        clock=resources.clock,
        spool_dir=resources.settings.spool_dir,
        privacy_key=resources.privacy_key,
    )


def dashboards_app(resources: Resources) -> FastAPI:
    """What people and programs read."""
    app = FastAPI(title="Milepost", version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    health = Health(DatabaseStore(resources.engine), Metrics())
    app.add_api_route("/healthz", health.live, methods=["GET"], response_class=Response)
    app.add_api_route("/readyz", health.ready, methods=["GET"], response_class=Response)
    _mount_pages(app, resources)
    return app


def _mount_pages(app: FastAPI, resources: Resources) -> None:
    from dashboards.app import mount  # Dash and plotly are slow to load, and a collector needs neither
    from dashboards.context import Correlations, Exports
    from milepost.wiring.exports import business, reader

    mount(
        app,
        engine=resources.engine,
        settings=resources.settings,
        catalog=resources.catalog,
        replays=replayer(resources),
        correlations=Correlations(explain, preview),
        exports=Exports(reader, business),
        clock=resources.clock,
    )


def replayer(resources: Resources) -> Replayer:
    """What replays from the quarantine, for pages, programs and commands."""
    limits = Limits(event_bytes=resources.settings.ingest.max_event_bytes)
    return Replayer(
        resources.engine, resources.cache.active, resources.clock, limits=limits, privacy_key=resources.privacy_key
    )


def serve(
    app: ASGIApp, settings: Settings, listening: socket.socket, otlp: socket.socket | None, **options: Any
) -> None:
    """Serve until SIGTERM or SIGINT. `otlp`: where nothing but OpenTelemetry's paths is answered."""
    web = settings.web
    sockets = [listening]
    if otlp is not None:
        app = Narrowed(app, otlp.getsockname()[1], [kind.path for kind in KINDS])
        sockets.append(otlp)
    if web.trusted_proxies:
        options |= {"proxy_headers": True, "forwarded_allow_ips": web.trusted_proxies}
    if web.tls_cert:
        options |= {"ssl_certfile": web.tls_cert, "ssl_keyfile": web.tls_key or None}
    options |= {"http": limited(settings.ingest.max_connections)}
    config = server_config(app, host=web.host, port=web.port, **options)
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"MILEPOST_TLS_CERT, MILEPOST_TLS_KEY: {error}") from error
    uvicorn.Server(config).run(sockets=sockets)
