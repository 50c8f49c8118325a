"""What every channel says of an alert besides its headline and its summary, in plain text. Pure."""

from __future__ import annotations

from typing import Final

from alerting import text
from alerting.message import ItemView, Message
from alerting.notifiers import Delivery

CUT: Final = "…"
CHANGES: Final = 3
"""So many of what changed before it are told, and so many related alerts."""


def facts(message: Message) -> list[tuple[str, str]]:
    """Names and values of what a reader needs besides the summary."""
    alert = message.alert
    rows = [
        ("Owner", alert.owner),
        ("Runbook", alert.runbook),
        ("Opened", text.when(alert.opened_at) if message.event != "digest" else ""),
        ("Acknowledged", _by(alert.acknowledged_by)),
        ("Resolved", _by(alert.resolved_by)),
        ("Before it", "; ".join(f"{text.when(one.at)}: {one.text}" for one in alert.before[:CHANGES])),
        ("Related", "; ".join(one.title for one in alert.related[:CHANGES])),
    ]
    return [(name, value) for name, value in rows if value]


def links(delivery: Delivery) -> list[tuple[str, str]]:
    """What a reader may want to open: titles and addresses."""
    message = delivery.message
    found = [
        ("Open the alert" if message.event != "digest" else "Open Milepost", message.url),
        (f"List the {message.alert.model}s", message.alert.journeys_url or ""),
        ("Acknowledge", delivery.acknowledge_url),
    ]
    return [(title, url) for title, url in found if url]


def details(item: ItemView) -> str:
    """Since when, how much, and how it ended."""
    parts = [f"since {text.when(item.since)}"]
    if item.amount is not None:
        parts.append(text.money({item.currency or "": item.amount}))
    if item.cleared_why is not None:
        parts.append(text.ending(item.cleared_why))
    return ", ".join(parts)


def items(message: Message, most: int) -> list[str]:
    """The oldest items, `most` at most, a line each; the last line counts the others."""
    lines = [f"{item.summary or item.item} ({details(item)})" for item in message.items[:most]]
    left = message.items_left_out + len(message.items) - len(lines)
    return [*lines, f"{CUT} and {left} more"] if left else lines


def is_web_address(value: str) -> bool:
    """Whether a value may be a link."""
    return value.startswith(("http://", "https://"))


def cut(value: str, most: int) -> str:
    """A text of at most so many characters, which shows that it was longer."""
    return value if len(value) <= most else value[: most - 1] + CUT


def _by(person: str | None) -> str | None:
    return f"by {person}" if person else None
