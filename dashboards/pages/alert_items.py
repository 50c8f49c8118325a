"""The items of an alert: what is wrong, and what a silence explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dashboards import words
from dashboards.components.grid import column, grid
from dashboards.components.parts import card, journey_href
from dashboards.queries import alerts as queries
from dashboards.queries import feeds

HIDDEN: Final = {
    "silence": "Silenced",
    "inhibit": "Explained",
    "threshold": "Too few",
    "hours": "Waits",
    "record_only": "Not told",
}


def wrong(alert: queries.Alert, items: Sequence[Mapping[str, Any]]) -> Any:
    """What is wrong, the most urgent first."""
    hidden = alert.items_total - len(items)
    aside = (
        f"the {len(items)} most urgent of {alert.items_total}"
        if hidden > 0 and len(items) >= queries.MAX_ITEMS
        else None
    )
    rows = [_item(item) for item in items]
    return card(
        grid("items", _columns(), rows, height=54),
        name="items-card",
        alive=False,
        title="What is wrong",
        aside=aside,
        className="mp-flush",
    )


def _columns() -> list[dict[str, Any]]:
    return [
        column("key", "What", flex=1.6, width=160, cell="MpKey", wide=False),
        column("summary", "Why", flex=3, width=180, cell="MpLines"),
        column("amount", "Value", width=124, right=True, cell="MpText"),
        column("since", "Since", width=130, cell="MpTime", wide=False),
        column("state", "State", width=118, cell="MpBadge"),
    ]


def stuck_card(stuck: Sequence[Mapping[str, Any]]) -> Any:
    """What a silence explains."""
    if not stuck:
        return None
    aside = f"the {len(stuck)} oldest" if len(stuck) >= feeds.EXPLAINED else None
    return card(
        grid("stuck", _columns(), [_item(item) for item in stuck], height=54),
        name="stuck-card",
        alive=False,
        title="Stuck for want of this source",
        aside=aside,
        className="mp-flush",
    )


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item without a journey leads nowhere."""
    href = None
    if item["journey_key"] is not None:
        href = journey_href(item["journey_kind"], item["journey_key"], item["journey_namespace"] or "")
    cleared = item["cleared_at"] is not None
    return {
        "id": item["item"],
        "href": href,
        "key": item["journey_key"] or item["labels"].get("source") or item["item"],
        "summary": item["summary"].removeprefix(f"{item['journey_key']} ") + _version(item),
        "amount": words.money(item["amount"], item["currency"]) if item["amount"] is not None else None,
        "since": {"at": words.iso(item["at"]), "mode": "ago", "plain": words.plain_time(item["at"])},
        "state": {"text": "Cleared", "tone": "ok"} if cleared else _open(item),
    }


def _version(item: Mapping[str, Any]) -> str:
    """The journey's page leads to its words."""
    version = item.get("policy_version")
    return f" · policy version {version}" if version else ""


def _open(item: Mapping[str, Any]) -> dict[str, str]:
    """An open item was told, or says by what it is hidden."""
    return {"text": HIDDEN.get(item["hidden_stage"], "Open"), "tone": "muted" if item["hidden_stage"] else "bad"}
