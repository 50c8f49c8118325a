"""What is around every page: navigation, search, the reader's menu."""

from __future__ import annotations

from typing import Any, Final

import dash_mantine_components as dmc
from dash import dcc, html

from dashboards.components.attributes import attrs
from dashboards.components.icons import icon
from dashboards.session import Person

TICK_MS: Final = 7_000
NAV: Final = (
    ("/", "Overview", "overview"),
    ("/journeys", "Journeys", "journeys"),
    ("/alerts", "Alerts", "alerts"),
    ("/objectives", "Objectives", "objectives"),
    ("/silences", "Silences", "silence"),
    ("/oncall", "On call", "person"),
    ("/exceptions", "Exceptions", "warning"),
    ("/anomalies", "Anomalies", "anomalies"),
    ("/reconciliation", "Reconciliation", "reconciliation"),
    ("/sources", "Sources", "sources"),
    ("/quarantine", "Quarantine", "quarantine"),
    ("/decisions", "Decisions", "link"),
)
_COBALT: Final = [
    "#eef3ff", "#dbe4fd", "#b4c6fb", "#8aa6f8", "#6689f5", "#4c74f3", "#3b66ef", "#2b55d6", "#2149bd", "#123ca6",
]  # fmt: skip
_DARK: Final = [
    "#d7dde8", "#aab4c4", "#8792a5", "#5d687c", "#3a4557", "#2a3444", "#1d2635", "#151d2a", "#0f1621", "#0a101a",
]  # fmt: skip
THEME: Final[dict[str, Any]] = {
    "primaryColor": "cobalt",
    "primaryShade": {"light": 7, "dark": 5},
    "colors": {"cobalt": _COBALT, "dark": _DARK},
    "fontFamily": "Inter, system-ui, -apple-system, 'Segoe UI', sans-serif",
    "fontFamilyMonospace": "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    "defaultRadius": "md",
    "cursorType": "pointer",
}


def shell(person: Person) -> Any:
    """The frame of the application for one person. `frame`, `body` and the stores are filled by callbacks."""
    return dmc.MantineProvider(
        [
            dcc.Location(id="url", refresh=False),
            dcc.Interval(id="tick", interval=TICK_MS),
            dcc.Store(id="pulse"),
            dcc.Store(id="update"),
            dcc.Store(id="shown"),
            dcc.Store(id="heading"),
            dcc.Store(id="quickstart", storage_type="session"),
            dmc.NotificationContainer(id="notices", position="bottom-right", autoClose=5000),
            dmc.AppShell(
                [_header(person), _navbar(person), dmc.AppShellMain(_main())],
                header={"height": 56},
                navbar={"width": 224, "breakpoint": "md", "collapsed": {"mobile": True}},
                padding=0,
                id="shell",
            ),
        ],
        theme=THEME,
        defaultColorScheme="auto",
    )


def _main() -> html.Div:
    return html.Div(
        [html.Div(id="frame"), html.Div(id="body", children=_skeleton())],
        className="mp-page",
    )


def _skeleton() -> html.Div:
    return html.Div([html.Div(className="mp-ghost") for _ in range(4)], className="mp-ghosts")


def _header(person: Person) -> Any:
    return dmc.AppShellHeader(
        [
            html.Div(
                [
                    dmc.Burger(id="burger", opened=False, hiddenFrom="md", size="sm", **attrs(aria_label="Navigation")),
                    html.H1(id="page-title", className="mp-title"),
                ],
                className="mp-header-left",
            ),
            html.Div([_search(), _live(), _scheme(), _menu(person)], className="mp-header-right"),
        ],
        className="mp-header",
    )


def _search() -> Any:
    """Goes to the list of journeys on Enter."""
    return dmc.TextInput(
        id="find",
        placeholder="Find an order, shipment, invoice …",
        leftSection=icon("search", 16),
        rightSection=html.Kbd("/"),
        size="sm",
        className="mp-find",
        debounce=True,
        inputProps={"aria-label": "Find by any key", "spellCheck": False, "autoCapitalize": "off"},
    )


def _live() -> html.Div:
    """Whether the server answers; assets/connection.js says so when it doesn't."""
    return html.Div(
        [html.I(), html.Span("Live")],
        id="live", className="mp-live", title="Refreshes by itself", **attrs(aria_live="polite"),
    )  # fmt: skip


def _scheme() -> Any:
    return dmc.ColorSchemeToggle(
        lightIcon=icon("sun"), darkIcon=icon("moon"), variant="subtle", color="gray", size="lg",
        id="scheme", **attrs(aria_label="Light or dark"),
    )  # fmt: skip


def _menu(person: Person) -> Any:
    return dmc.Menu(
        [
            dmc.MenuTarget(
                html.Button(
                    html.Span(person.name[:1].upper()), className="mp-avatar", **attrs(aria_label="Your account")
                )
            ),
            dmc.MenuDropdown(
                [
                    html.Div([html.B(person.name), html.Span(person.role)], className="mp-who"),
                    dmc.MenuDivider(),
                    html.Form(
                        html.Button([icon("leave", 16), "Log out"], type="submit", className="mp-leave"),
                        method="post",
                        action="/logout",
                    ),
                ]
            ),
        ],
        position="bottom-end",
        shadow="md",
        width=200,
    )


def _navbar(person: Person) -> Any:  # noqa: ARG001 (what a role may see will differ)
    return dmc.AppShellNavbar(
        [
            dcc.Link(
                [html.Img(src="/assets/mark.svg", width=30, height=30, alt=""), html.Span("Milepost")],
                href="/",
                className="mp-brand",
            ),
            html.Nav([_nav_link(*item) for item in NAV], className="mp-nav"),
        ],
        className="mp-navbar",
    )


def _nav_link(href: str, label: str, mark: str) -> dcc.Link:
    count = html.Span(id="nav-alerts", className="mp-nav-count") if href == "/alerts" else None
    return dcc.Link(
        [icon(mark, 18), html.Span(label), count],
        href=href,
        id={"type": "nav", "href": href},
        className="mp-nav-link",
    )
