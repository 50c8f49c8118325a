"""Line icons, drawn here: a page loads nothing from elsewhere, and they take the colour of the text around them."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from dash import html

from dashboards.components.attributes import attrs

# On a field of 24 by 24, as strokes.
_PATHS: Final = {
    "overview": "M4 4h7v9H4z M13 4h7v5h-7z M13 11h7v9h-7z M4 15h7v5H4z",
    "journeys": "M6 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4z M18 9a2 2 0 1 0 0-4 2 2 0 0 0 0 4z"
    " M8 17h7a3 3 0 0 0 0-6H9a3 3 0 0 1 0-6h7",
    "alerts": "M6 16V11a6 6 0 0 1 12 0v5l1.5 2h-15z M10 21h4",
    "silence": "M6 16V11a6 6 0 0 1 9-5.2 M18 11v5l1.5 2h-13 M10 21h4 M4 4l16 16",
    "anomalies": "M3 13h4l2.5-7 4.5 13 2.5-8 1.5 2h3",
    "sources": "M12 13a1 1 0 1 0 0-2 1 1 0 0 0 0 2z M8.5 15.5a5 5 0 0 1 0-7 M15.5 8.5a5 5 0 0 1 0 7"
    " M5.5 18.5a9 9 0 0 1 0-13 M18.5 5.5a9 9 0 0 1 0 13",
    "quarantine": "M12 3l8 3v6c0 4.5-3.2 7.6-8 9-4.8-1.4-8-4.5-8-9V6z M12 8v5 M12 16v.4",
    "reconciliation": "M12 4v16 M5 20h14 M4 7h16 M7 7l-3.5 7h7z M17 7l-3.5 7h7z",
    "objectives": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M12 17a5 5 0 1 0 0-10 5 5 0 0 0 0 10z M12 12.6v-1.2",
    "search": "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14z M16 16l4.5 4.5",
    "sun": "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8z M12 2.5v2 M12 19.5v2 M2.5 12h2 M19.5 12h2 M5.3 5.3l1.4 1.4"
    " M17.3 17.3l1.4 1.4 M18.7 5.3l-1.4 1.4 M6.7 17.3l-1.4 1.4",
    "moon": "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
    "leave": "M10 4H5v16h5 M14 8l4 4-4 4 M18 12H9",
    "person": "M12 11a4 4 0 1 0 0-8 4 4 0 0 0 0 8z M4.5 21a7.5 7.5 0 0 1 15 0",
    "check": "M5 12.5l4.5 4.5L19 7.5",
    "cross": "M6 6l12 12 M18 6L6 18",
    "right": "M9 5l7 7-7 7",
    "left": "M15 5l-7 7 7 7",
    "arrow": "M4 12h15 M13 6l6 6-6 6",
    "copy": "M9 9h11v11H9z M5 15H4V4h11v1",
    "clock": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M12 7v5.5l3.5 2",
    "box": "M12 3l8 4.3v9.4L12 21l-8-4.3V7.3z M4 7.3l8 4.4 8-4.4 M12 11.7V21",
    "truck": "M3 6h11v10H3z M14 10h4l3 3v3h-7z M7 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4z M17 19a2 2 0 1 0 0-4 2 2 0 0 0 0 4z",
    "receipt": "M6 3h12v18l-3-2-3 2-3-2-3 2z M9 8h6 M9 12h6",
    "cart": "M3 4h2.5l2.3 11h9.7L20 7.5H6.5 M9 20a1 1 0 1 0 0-2 1 1 0 0 0 0 2z M16.5 20a1 1 0 1 0 0-2 1 1 0 0 0 0 2z",
    "tag": "M4 4h8l8 8-8 8-8-8z M8.5 8.5v.2",
    "link": "M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1 M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1",
    "warning": "M12 4l9 16H3z M12 10v4.5 M12 17v.4",
    "filter": "M4 6h16 M7 12h10 M10 18h4",
    "money": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18z M15 9a3.5 3.5 0 1 0 0 6 M7.5 11h5 M7.5 13.2h4.5",
    "plug": "M9 3v5 M15 3v5 M6 8h12v3a6 6 0 0 1-12 0z M12 17v4",
    "history": "M4 12a8 8 0 1 1 2.6 5.9 M4 19v-5h5 M12 8v4.5l3 2",
    "policy": "M6 3h9l4 4v14H6z M9.5 12l2 2 4-4",
    "flow": "M5 12h14 M5 6h9 M5 18h5",
    "more": "M5 12h.2 M12 12h.2 M19 12h.2",
    "mail": "M3 6h18v12H3z M3 7l9 6 9-6",
    "bolt": "M13 3L5 14h6l-1 7 8-11h-6z",
}
_OF_TYPE: Final = {
    "order": "cart", "channel_order": "cart", "customer_po": "receipt", "picking": "box", "package": "box",
    "shipment": "truck", "invoice": "receipt", "payment": "money", "return": "history", "correlation": "link",
}  # fmt: skip


def icon(name: str, size: int = 18) -> html.Span:
    """An icon for the eye only: give what it stands on a label."""
    return html.Span(
        className="mp-icon",
        style={"--icon": f'url("{_uri(name)}")', "--size": f"{size}px"},
        **attrs(aria_hidden="true"),
    )


def type_icon(kind: str, size: int = 16) -> html.Span:
    """The icon of an object type."""
    return icon(_OF_TYPE.get(kind, "tag"), size)


def _uri(name: str) -> str:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#000" stroke-width="1.7"'
        f' stroke-linecap="round" stroke-linejoin="round"><path d="{_PATHS[name]}"/></svg>'
    )
    return "data:image/svg+xml," + quote(svg, safe=" =:/'<>()")
