"""The pages and the read API on a FastAPI app: a pure factory."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from dash import Dash, set_props
from dash.backends._fastapi import reset_current_request, set_current_request
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match

from dashboards import openapi, routing
from dashboards.acknowledge import make_acknowledge
from dashboards.api import make_router
from dashboards.components.shell import shell
from dashboards.context import CatalogProvider, Context, Correlations, Exports, Replays
from dashboards.gate import Gate
from dashboards.login import make_login
from dashboards.pages import PAGES
from dashboards.pages import acts as page_acts
from dashboards.problems import problem
from dashboards.session import Person, Sessions, current_person
from milepost.clock import Clock, utc_now
from milepost.errors import MilepostError, Permanent
from milepost.settings import Settings

_ASSETS: Final = Path(__file__).parent / "assets"
_log = logging.getLogger(__name__)
_INDEX: Final = """<!DOCTYPE html>
<html lang="en">
<head>
{%metas%}
<title>{%title%}</title>
<link rel="icon" href="/assets/mark.svg" type="image/svg+xml">
<meta name="viewport" content="width=device-width, initial-scale=1">
<script src="/assets/scheme.js"></script>
{%css%}
</head>
<body>
{%app_entry%}
<footer>
{%config%}
{%scripts%}
{%renderer%}
</footer>
</body>
</html>"""


def mount(
    app: FastAPI,
    *,
    engine: sa.Engine,
    settings: Settings,
    catalog: CatalogProvider,
    replays: Replays,
    correlations: Correlations,
    exports: Exports,
    clock: Clock = utc_now,
) -> None:
    """Add the read API under /v1, the log-in, and the pages under / to `app`.

    Call it after all other routes are there. Raises ConfigurationError without a secret.
    """
    sessions = Sessions(engine, settings.web, clock)
    context = Context(engine, settings, catalog, clock, sessions, replays, correlations, exports)
    app.include_router(make_router(context))
    app.include_router(make_login(context))
    app.include_router(make_acknowledge(context))
    app.add_api_route("/v1/{rest:path}", _no_such_route, methods=["GET"], include_in_schema=False)
    pages = make_pages(app, context)
    app.add_api_route("/{path:path}", _index_of(pages), methods=["GET"], include_in_schema=False)
    openapi.complete(app)
    app.add_middleware(
        Gate,
        sessions=sessions,
        public_url=settings.public_url,
        scripts=tuple(pages.csp_hashes()),
    )


def make_pages(app: FastAPI, context: Context) -> Dash:
    """The Dash application on `app`."""
    pages = Dash(
        "dashboards",
        server=app,  # type: ignore[arg-type]  # its annotation knows Flask only
        assets_folder=str(_ASSETS),
        assets_ignore=r"(scheme\.js|login\.css)",
        index_string=_INDEX,
        title="Milepost",
        update_title="",
        serve_locally=True,
        use_pages=False,
        pages_folder="",
        suppress_callback_exceptions=True,
        enable_mcp=False,
        add_log_handler=False,
        on_error=_tell,
    )
    pages.backend.websocket_capability = False  # or every tab would hold a connection for nothing
    pages.layout = lambda: shell(current_person.get())
    routing.register(pages, context, routing.Router(PAGES))
    page_acts.register(pages, context)
    return pages


def _index_of(pages: Dash) -> Callable[[Request], Awaitable[Response]]:
    """Every address is one application; the router finds the page."""
    # Dash would do this at the first request that is its own: too late for a page that is asked for by another address,
    # and for a script that is asked of another process than the page came from.
    token = current_person.set(Person("", "viewer"))
    try:
        pages._setup_server()  # type: ignore[no-untyped-call]
    finally:
        current_person.reset(token)
    _render(pages, Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}))

    async def index(request: Request) -> Response:
        return HTMLResponse(_render(pages, request))

    return index


def _render(pages: Dash, request: Request) -> str:
    token = set_current_request(request)  # type: ignore[no-untyped-call]
    try:
        return str(pages.index())  # type: ignore[no-untyped-call]
    finally:
        reset_current_request(token)  # type: ignore[no-untyped-call]


def _no_such_route(request: Request) -> Response:
    """What no other route answers to GET: there may be one that answers to something else."""
    scopes = {method: {**request.scope, "method": method} for method in ("DELETE", "OPTIONS", "PATCH", "POST", "PUT")}
    routes = request.app.router.routes
    methods = [name for name, asked in scopes.items() if any(route.matches(asked)[0] is Match.FULL for route in routes)]
    if not methods:
        return problem(404, "Not found", "there is no such route")
    refusal = problem(405, "Method not allowed", f"this route answers to {', '.join(methods)}")
    refusal.headers["Allow"] = ", ".join(methods)
    return refusal


def _tell(error: Exception) -> Any:
    """An error in a callback: the page keeps what it shows, and says what is wrong."""
    if isinstance(error, MilepostError):
        message = str(error) if isinstance(error, Permanent) else "The database does not answer; trying again."
    else:
        _log.error("a page could not be rendered", exc_info=error)
        message = "This page could not be rendered; the log says why."
    notice = {"id": "error", "action": "show", "title": "Something is wrong", "message": message, "color": "red"}
    set_props("notices", {"sendNotifications": [notice]})
