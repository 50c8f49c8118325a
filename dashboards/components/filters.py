"""Filters that live in the address: drawn here, kept in step with it by assets/milepost.js."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import html

from dashboards.components.attributes import attrs
from dashboards.components.icons import icon
from dashboards.view import View

Options = Iterable[tuple[str, str]]


def _ident(name: str, default: str) -> dict[str, str]:
    return {"type": "filter", "name": name, "default": default}


def search_box(view: View, name: str = "q", placeholder: str = "Search by any key", label: str = "Search") -> Any:
    return dmc.TextInput(
        id=_ident(name, ""),
        value=view.get(name),
        placeholder=placeholder,
        leftSection=icon("search", 16),
        debounce=350,
        size="sm",
        className="mp-search",
        inputProps={"aria-label": label, "spellCheck": False, "autoCapitalize": "off"},
    )


def select(view: View, name: str, label: str, options: Options, default: str = "") -> Any:
    """A drop-down. With a default there is no way to choose nothing."""
    value = view.get(name, default)
    data = [{"value": key, "label": text} for key, text in options]
    if value and all(item["value"] != value for item in data):
        data.append({"value": value, "label": value})
    return dmc.Select(
        id=_ident(name, default),
        value=value or None,
        data=data,
        placeholder=label,
        clearable=not default,
        allowDeselect=not default,
        searchable=len(data) > 8,
        size="sm",
        className="mp-select mp-select-set" if value and value != default else "mp-select",
        comboboxProps={"shadow": "md", "width": "max-content", "position": "bottom-start"},
        inputProps={"aria-label": label},
    )


def segments(view: View, name: str, options: Options, default: str) -> Any:
    return dmc.SegmentedControl(
        id=_ident(name, default),
        value=view.get(name, default),
        data=[{"value": key, "label": text} for key, text in options],
        size="sm",
        className="mp-segments",
    )


def bar(first: Sequence[Any], more: Sequence[Any] = ()) -> html.Div:
    """A row of filters; on a phone those in `more` fold away."""
    toggle = html.Button([icon("filter", 16), "Filters"], className="mp-filter-toggle", **attrs(data_toggle="filters"))
    return html.Div(
        [
            html.Div([*first, toggle if more else None], className="mp-filter-row"),
            html.Div(more, className="mp-filter-row mp-filter-more") if more else None,
        ],
        className="mp-filters" if len(more) > 2 else "mp-filters mp-filters-few",
    )
