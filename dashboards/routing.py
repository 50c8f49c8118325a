"""From addresses to pages, and the callbacks that all pages share."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio.to_thread
from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, no_update

from dashboards.components.parts import empty, link
from dashboards.context import Context
from dashboards.drawing import take_apart
from dashboards.queries import alerts
from dashboards.session import current_person
from dashboards.view import ZONE_COOKIE, Page, View, params_of, path_of, zone_of


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
        Output("update", "data"),
        Input("url", "pathname"), Input("url", "search"), Input("pulse", "data"), State("shown", "data"),
    )  # fmt: skip
    @in_thread
    def update(pathname: str | None, search: str | None, _: Any, shown: Mapping[str, Any] | None) -> Any:
        page, view = view_of(pathname, search)
        body = page.body(context, view)
        drawing = take_apart(body)
        made = {"pathname": pathname, "search": search or "", "shown": {"pathname": pathname, **drawing.digests}}
        if shown is None or shown.get("pathname") != pathname:
            return {**made, "frame": page.frame(context, view), "title": page.title(view), "body": body}
        changes = drawing.changes(shown)
        if changes is None:
            return {**made, "body": body}
        return {**made, "changes": changes} if changes else no_update

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
    script(
        "apply", Output("frame", "children"), Output("body", "children"), Output("heading", "data"),
        Output("shown", "data"),
        Input("update", "data"), State("url", "pathname"), State("url", "search"), prevent_initial_call=True,
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
