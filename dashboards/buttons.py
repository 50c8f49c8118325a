"""What callbacks of buttons have in common: which one was pressed, what was typed beside it, what is said then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import ctx


def pressed() -> dict[str, Any] | None:
    """The id of the button that was pressed; None when it has only just appeared."""
    found: dict[str, Any] | None = ctx.triggered_id
    return found if found and ctx.triggered[0]["value"] else None


def typed(values: Sequence[str | None], idents: Sequence[dict[str, str]]) -> dict[str, str]:
    """What stands in fields, by the `name` of their ids."""
    return {ident["name"]: value or "" for ident, value in zip(idents, values, strict=True)}


def notice(title: str, message: str, colour: str = "teal") -> dict[str, str]:
    """A notification of Mantine's, to be sent."""
    return {"action": "show", "title": title, "message": message, "color": colour}
