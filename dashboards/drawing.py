"""What of a page must be sent: Dash builds anew whatever it is given, so only what has changed may go.

A body is a skeleton with parts in it. A part is something with an id whose one property changes as data comes: the rows
of a grid, the figure of a chart, the children of a live element (parts.live). Parts may hold parts. While the skeleton
stays the same, only the changed parts are sent. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from dash.development.base_component import Component
from plotly.utils import PlotlyJSONEncoder

LIVE: Final = "live-"
"""How the ids of live elements begin."""
SKELETON: Final = ""
_encode: Final = PlotlyJSONEncoder(separators=(",", ":"), sort_keys=True).encode
_PROPERTY: Final = {"AgGrid": "rowData", "Graph": "figure"}


@dataclass(frozen=True)
class Part:
    """The property of a component that changes with the data."""

    ident: str
    prop: str
    value: Any


@dataclass
class Drawing:
    """A body taken apart. `digests` has one for each part by its id, and one for the skeleton."""

    parts: dict[str, Part] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def changes(self, shown: Mapping[str, str]) -> list[dict[str, Any]] | None:
        """What to send to somebody who is shown the drawing with those digests; None when it must be all of it."""
        if shown.get(SKELETON) != self.digests[SKELETON]:
            return None
        changed = [part for ident, part in self.parts.items() if shown.get(ident) != self.digests[ident]]
        return [{"id": part.ident, "prop": part.prop, "value": part.value} for part in changed]


def take_apart(body: Any) -> Drawing:
    drawing = Drawing()
    drawing.digests[SKELETON] = _digest(_plain(body, drawing))
    return drawing


def _plain(node: Any, drawing: Drawing) -> Any:
    """The node without what its parts show; they go into the drawing."""
    if isinstance(node, Component):
        made = node.to_plotly_json()  # type: ignore[no-untyped-call]
        props = dict(made["props"])
        part = _part(made["type"], props)
        if part is not None:
            drawing.parts[part.ident] = part
            drawing.digests[part.ident] = _digest(_plain(props.pop(part.prop), drawing))
        return [made["type"], {name: _plain(value, drawing) for name, value in props.items()}]
    if isinstance(node, list | tuple):
        return [_plain(one, drawing) for one in node]
    if isinstance(node, dict):
        return {name: _plain(value, drawing) for name, value in node.items()}
    return node


def _part(kind: str, props: Mapping[str, Any]) -> Part | None:
    ident = props.get("id")
    if not isinstance(ident, str):
        return None
    prop = "children" if ident.startswith(LIVE) else _PROPERTY.get(kind)
    return Part(ident, prop, props[prop]) if prop is not None and prop in props else None


def _digest(value: Any) -> str:
    return hashlib.blake2b(_encode(value).encode(), digest_size=9).hexdigest()
