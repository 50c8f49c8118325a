"""Where a figure is shown."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from dash import dcc, html

from dashboards.components.attributes import attrs


def chart(figure: go.Figure, ident: str, label: str) -> html.Div:
    """A chart without tool bar; `label` says what it shows to those who can't see it."""
    config: Any = {"displayModeBar": False, "displaylogo": False, "responsive": True, "scrollZoom": False}
    graph = dcc.Graph(id=ident, figure=figure, config=config, style={"height": f"{figure.layout.height}px"})
    return html.Div(graph, className="mp-chart", role="img", **attrs(aria_label=label))
