"""From addresses to pages, and the callbacks that all pages share."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio.to_thread
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, html, no_update
from plotly.utils import PlotlyJSONEncoder

from dashboards.components.parts import empty, link
from dashboards.context import Context
from dashboards.queries import alerts
from dashboards.session import current_person
from dashboards.view import ZONE_COOKIE, Page, View, params_of, path_of, zone_of

_encode: Final = PlotlyJSONEncoder(separators=(",", ":")).encode


def in_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """A callback that runs in a worker thread: the event loop also takes in events, and must not wait for SQL."""

    @functools.wraps(function)
    async def run(*args: Any) -> Any:
        return await anyio.to_thread.run_sync(functools.partial(function, *args))

    return run


class Missing:
    """What an address shows that leads nowhere."""

    name = "missing"
    pattern = ""

    def title(self, view: View) -> str:  # noqa: ARG002
        return "Not found"

    def frame(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return None

    def body(self, context: Context, view: View) -> Any:  # noqa: ARG002
        return empty("There is no such page", "The address may be mistyped.", action=link("Go to the overview", "/"))


class Router:
    """Finds the page of a path."""

    def __init__(self, pages: Sequence[Page]) -> None:
        self._routes = [(re.compile(page.pattern), page) for page in pages]
        self._missing = Missing()

    def find(self, path: str) -> tuple[Page, dict[str, str]]:
        for pattern, page in self._routes:
            if match := pattern.fullmatch(path):
                return page, match.groupdict()
        return self._missing, {}


def register(app: Dash, context: Context, router: Router) -> None:
    """The callbacks that every page shares."""

    def view_of(pathname: str | None, search: str | None) -> tuple[Page, View]:
        path = path_of(pathname)
        page, parts = router.find(path)
        zone = zone_of(ctx.cookies.get(ZONE_COOKIE))
        return page, View(path, params_of(search), current_person.get(), zone, context.clock(), parts)

    @app.callback(
        Output("frame", "children"), Output("body", "children"), Output("heading", "data"), Output("shown", "data"),
        Input("url", "pathname"), State("url", "search"),
    )  # fmt: skip
    @in_thread
    def show(pathname: str | None, search: str | None) -> Any:
        page, view = view_of(pathname, search)
        body = page.body(context, view)
        return page.frame(context, view), body, page.title(view), fingerprint(body)

    @app.callback(
        Output("body", "children", allow_duplicate=True), Output("shown", "data", allow_duplicate=True),
        Input("url", "search"), Input("pulse", "data"), State("url", "pathname"), State("shown", "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    @in_thread
    def refresh(search: str | None, _: Any, pathname: str | None, shown: str | None) -> Any:
        page, view = view_of(pathname, search)
        body = page.body(context, view)
        now_shown = fingerprint(body)
        return (no_update, no_update) if now_shown == shown else (body, now_shown)

    @app.callback(Output("nav-alerts", "children"), Input("pulse", "data"), Input("url", "pathname"))
    @in_thread
    def count_alerts(*_: Any) -> Any:
        with context.engine.connect() as connection:
            firing = alerts.counts(connection).get("firing", 0)
        return str(firing) if firing else ""

    _register_scripts(app)


def _register_scripts(app: Dash) -> None:
    """Callbacks that run in the browser (assets/milepost.js)."""

    def script(name: str, *wires: Any, **options: Any) -> None:
        app.clientside_callback(ClientsideFunction("milepost", name), *wires, **options)  # type: ignore[no-untyped-call]

    filters = {"type": "filter", "name": ALL, "default": ALL}
    script(
        "sync", Output("url", "search"), Output(filters, "value"),
        Input("url", "search"), Input(filters, "value"), State(filters, "id"), prevent_initial_call=True,
    )  # fmt: skip
    script("pulse", Output("pulse", "data"), Input("tick", "n_intervals"), prevent_initial_call=True)
    script("entitle", Output("page-title", "children"), Input("heading", "data"))
    nav = {"type": "nav", "href": ALL}
    script("navigate", Output(nav, "className"), Input("url", "pathname"), State(nav, "id"))
    script(
        "burger", Output("shell", "navbar"), Output("burger", "opened"),
        Input("burger", "opened"), Input("url", "pathname"), State("shell", "navbar"), prevent_initial_call=True,
    )  # fmt: skip
    script(
        "find", Output("url", "pathname"), Output("url", "search", allow_duplicate=True), Output("find", "value"),
        Input("find", "n_submit"), State("find", "value"), prevent_initial_call=True,
    )  # fmt: skip


def fingerprint(body: Any) -> str:
    """Tells whether a body is the one that is shown already: then nothing is sent."""
    return hashlib.blake2b(_encode(body).encode(), digest_size=12).hexdigest()


def loading() -> html.Div:
    return html.Div(className="mp-ghost")
