"""AG Grid in our colours. Rows come in pages from the server; a row leads to what its `href` names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import dash_ag_grid as dag
from dash import html

_THEME: Final = {
    "function": (
        "themeQuartz.withParams({"
        "fontFamily: 'inherit', fontSize: 13.5, headerFontSize: 12, headerFontWeight: 550,"
        "backgroundColor: 'var(--mp-surface)', foregroundColor: 'var(--mp-ink)',"
        "headerBackgroundColor: 'var(--mp-surface)', headerTextColor: 'var(--mp-ink-3)',"
        "borderColor: 'var(--mp-line)', rowBorder: {color: 'var(--mp-line-2)'}, wrapperBorderRadius: 10,"
        "accentColor: 'var(--mp-accent)', rowHoverColor: 'var(--mp-raised)', oddRowBackgroundColor: 'transparent',"
        "cellHorizontalPadding: 14, headerColumnResizeHandleColor: 'transparent', browserColorScheme: 'inherit',"
        "focusShadow: 'none'"
        "})"
    )
}


def column(
    field: str,
    title: str,
    *,
    width: int | None = None,
    flex: float | None = None,
    cell: str | None = None,
    right: bool = False,
    wide: bool = True,
) -> dict[str, Any]:
    """A column. `cell` names its renderer (assets/dashAgGridComponentFunctions.js); a `wide` one hides on a phone."""
    made: dict[str, Any] = {"field": field, "headerName": title, "context": {"wide": wide}}
    if cell:
        made["cellRenderer"] = cell
    if width:
        made |= {"width": width, "minWidth": min(width, 80)}
    if flex:
        made |= {"flex": flex, "minWidth": width or 110}
    if right:
        made |= {"type": "rightAligned"}
    return made


def grid(
    ident: str, columns: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], *, height: int = 46
) -> html.Div:
    """Rows need an `id`; those with the same id are brought up to date in place."""
    return html.Div(
        dag.AgGrid(
            id=ident,
            columnDefs=list(columns),
            rowData=list(rows),
            getRowId="params.data.id",
            columnSize=None,
            defaultColDef={"sortable": False, "resizable": True, "suppressMovable": True, "cellDataType": False},
            dashGridOptions={
                "theme": _THEME,
                "domLayout": "autoHeight",
                "rowHeight": height,
                "headerHeight": 38,
                "animateRows": False,
                "suppressHeaderFocus": True,
                "tabToNextCell": {"function": "false"},
                "enableCellTextSelection": True,
                "suppressColumnVirtualisation": True,
            },
            style={"height": None, "width": "100%"},
        ),
        className="mp-rows",
    )
