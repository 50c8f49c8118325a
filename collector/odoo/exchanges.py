"""What waits or failed between Odoo and other systems: queues and exchanges, as message.* events. Pure.

Three modules bring such records: OCA's queue_job (queue.job) and edi_oca (edi.exchange.record), and Odoo's own
account_edi (account.edi.document). Of a queue only what fails or gets stuck is told, and how that ended: what runs as
it should is too much to follow. Of exchanges each rung is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from collector.odoo.cursor import OVERLAP, odoo_text
from collector.odoo.snapshots import Keys, Row, iso, label, text

Event = dict[str, Any]
Standing = Literal["failed", "stuck", "delivered", "received", "cancelled", "waiting"]
OVER: Final = ("delivered", "received", "cancelled")
LOOK_BACK: Final = timedelta(days=7)
"""What has been stuck for longer than this before Milepost looked is no news."""
_MAX_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Message:
    """A record as it stands: since when, which business record it is about, and what went wrong."""

    standing: Standing
    state: str
    at: str
    about: tuple[str, int] | None
    correlation: str
    flow: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Exchange:
    """How one model is watched. `news(floor)` and `stuck(before, after)` are domains; times in Odoo's text."""

    name: str
    fields: tuple[str, ...]
    news: Callable[[str], list[Any]]
    stuck: Callable[[str, str], list[Any]]
    read: Callable[[Row, str], Message]


def domain(exchange: Exchange, now: datetime, since: str, limit: timedelta, told: list[int]) -> list[Any]:
    """What is to be looked at: news since `since`, what is stuck for `limit`, and what was `told` as not well.

    Half an hour more is read again than was read, and what started before may fail only now.
    """
    before, after = odoo_text(now - limit), odoo_text(now - limit - LOOK_BACK)
    return ["|", "|", *exchange.news(since), *exchange.stuck(before, after), ("id", "in", told)]


def floor(now: datetime, limit: timedelta) -> str:
    """Since when news are read after a pass at `now`: in tens of minutes, so that few passes have to store it."""
    return odoo_text(now - limit - OVERLAP)[:-4] + "0:00"


def is_past(told: Mapping[str, str], since: str, now: datetime) -> bool:
    """Whether what was told needs no remembering: it is over and won't be read again, or nobody minds any more."""
    if told["at"] < odoo_text(now - LOOK_BACK):
        return True
    return told["standing"] in OVER and told["at"] < since


def judge(
    exchange: Exchange, row: Row, now: datetime, limit: timedelta, told: Mapping[str, str] | None = None
) -> Message:
    """The record; stuck when it waits for longer than `limit`. `told` is what `remembered` gave.

    What waits anew after it failed has no date of that: it was no earlier than the failure.
    """
    message = exchange.read(row, odoo_text(now - limit))
    if told and message.standing == "waiting":
        return replace(message, at=max(message.at, told["at"]))
    return message


def event(model: str, row: Row, message: Message, keys: Keys, source: str) -> Event:
    """The event of a record as it stands."""
    verb, outcome = _VERBS[message.standing]
    data: Event = {"keys": dict(keys), "outcome": outcome, "attributes": {"flow": message.flow, **_company(row)}}
    if message.standing in ("failed", "stuck", "cancelled"):
        data |= {"code": message.standing, "reason": message.reason or message.state}
    return {
        "specversion": "1.0",
        "id": _event_id(model, row, message),
        "source": source,
        "type": f"message.{verb}",
        "time": iso(message.at),
        "correlationid": message.correlation,
        "data": data,
    }


def _event_id(model: str, row: Row, message: Message) -> str:
    """Two rungs may be taken within a second, so the state is part of it."""
    return f"{model}/{row['id']}/{message.standing}/{message.state}/{message.at}"


def is_news(model: str, message: Message, told: Mapping[str, str] | None) -> bool:
    """Whether a record stands otherwise than it was told; `told` is what `remembered` gave."""
    if told is None:
        return message.standing != "waiting" and not (model == "queue.job" and message.standing in OVER)
    if message.standing == "waiting":
        return told["standing"] in ("failed", "stuck")
    if message.standing in OVER:
        return told["state"] != message.state
    return (told["standing"], told["at"]) != (message.standing, message.at)


def remembered(message: Message) -> dict[str, str]:
    """What to remember of a record that was told."""
    return {
        "standing": message.standing,
        "state": message.state,
        "at": message.at,
        "correlation": message.correlation,
    }


def deleted(model: str, record_id: int, told: Mapping[str, str], at: str, source: str) -> Event:
    """A record that was not over is gone."""
    data = {"outcome": "failed", "code": "deleted", "reason": "deleted in Odoo"}
    return {
        "specversion": "1.0",
        "id": f"{model}/{record_id}/deleted",
        "source": source,
        "time": iso(at),
        "type": "message.dead_lettered",
        "correlationid": told["correlation"],
        "data": data,
    }


_VERBS: Final[Mapping[str, tuple[str, str]]] = {
    "failed": ("failed", "failed"),
    "stuck": ("failed", "failed"),
    "delivered": ("delivered", "ok"),
    "received": ("received", "ok"),
    "cancelled": ("dead_lettered", "failed"),
    "waiting": ("retried", "retried"),
}


def _company(row: Row) -> dict[str, str]:
    name = label(row, "company_id")
    return {"company": name} if name else {}


# --- OCA queue_job ----------------------------------------------------------------------------------------------------

_ABOUT: Final = re.compile(r"([a-z0-9_.]+)\((\d+),?\)\.")


def _job(row: Row, before: str) -> Message:
    """A job. `func_string` is like "sale.order(24,).export_to_wms()"; write dates there are none."""
    state = text(row, "state")
    since = text(row, f"date_{state}") or text(row, "date_created")
    standing: Standing = "waiting"
    if state in ("enqueued", "started") and since < before:
        standing = "stuck"
    elif state == "failed":
        standing, since = "failed", text(row, "date_done") or text(row, "date_started") or since
    elif state in ("done", "cancelled"):
        standing = "delivered" if state == "done" else "cancelled"
    about = _ABOUT.match(text(row, "func_string"))
    return Message(
        standing,
        state,
        since,
        (about[1], int(about[2])) if about else None,
        text(row, "uuid") or f"queue.job/{row['id']}",
        ".".join(part for part in (text(row, "model_name"), text(row, "method_name")) if part) or text(row, "name"),
        _reason(row) if state == "failed" else f"{state} since {since} UTC",
    )


def _reason(row: Row) -> str:
    named = ": ".join(part for part in (text(row, "exc_name"), text(row, "exc_message")) if part)
    trace = text(row, "exc_info").splitlines()
    return (named or (trace[-1] if trace else ""))[:_MAX_REASON]


# --- OCA edi_oca ------------------------------------------------------------------------------------------------------

_EDI: Final[Mapping[str, Standing]] = {
    "output_sent": "delivered",
    "output_sent_and_processed": "delivered",
    "input_processed": "received",
    "validate_error": "failed",
    "output_error_on_send": "failed",
    "output_sent_and_error": "failed",
    "input_receive_error": "failed",
    "input_processed_error": "failed",
}
_EDI_WAITING: Final = ["new", "output_pending", "input_pending", "input_received"]


def _exchange_record(row: Row, before: str) -> Message:
    state, written = text(row, "edi_exchange_state"), text(row, "write_date")
    standing = _EDI.get(state) or ("stuck" if written < before else "waiting")
    about = (text(row, "model"), int(row.get("res_id") or 0))
    return Message(
        standing,
        state,
        written,
        about if all(about) else None,
        text(row, "identifier") or f"edi.exchange.record/{row['id']}",
        label(row, "type_id"),
        text(row, "exchange_error")[:_MAX_REASON] or f"{state} since {written} UTC",
    )


# --- Odoo account_edi -------------------------------------------------------------------------------------------------

_TAGS: Final = re.compile(r"<[^>]*+>")


def _document(row: Row, before: str) -> Message:
    state, written, error = text(row, "state"), text(row, "write_date"), _TAGS.sub(" ", text(row, "error")).strip()
    standing: Standing = "stuck" if written < before else "waiting"
    if error and row.get("blocking_level") == "error":
        standing = "failed"
    elif state in ("sent", "cancelled"):
        standing = "delivered" if state == "sent" else "cancelled"
    move = row.get("move_id")
    return Message(
        standing,
        state,
        written,
        ("account.move", int(move[0])) if move else None,
        f"account.edi.document/{row['id']}",
        text(row, "edi_format_name"),
        error[:_MAX_REASON] or f"{state} since {written} UTC",
    )


EXCHANGES: Final[Mapping[str, Exchange]] = {
    exchange.name: exchange
    for exchange in (
        Exchange(
            "queue.job",
            (
                *("uuid", "name", "model_name", "method_name", "func_string", "state", "company_id", "date_created"),
                *(
                    "date_enqueued",
                    "date_started",
                    "date_done",
                    "date_cancelled",
                    "exc_name",
                    "exc_message",
                    "exc_info",
                ),
            ),
            lambda since: [
                "&",
                ("state", "=", "failed"),
                "|",
                ("date_started", ">=", since),
                ("date_created", ">=", since),
            ],
            lambda before, after: [
                "|",
                *("&", "&", ("state", "=", "enqueued"), ("date_enqueued", "<", before), ("date_enqueued", ">=", after)),
                *("&", "&", ("state", "=", "started"), ("date_started", "<", before), ("date_started", ">=", after)),
            ],
            _job,
        ),
        Exchange(
            "edi.exchange.record",
            (
                *("identifier", "type_id", "model", "res_id", "edi_exchange_state", "exchange_error", "write_date"),
                "company_id",
            ),
            lambda since: ["&", ("write_date", ">=", since), ("edi_exchange_state", "in", sorted(_EDI))],
            lambda before, after: [
                *("&", "&", ("edi_exchange_state", "in", _EDI_WAITING)),
                *(("write_date", "<", before), ("write_date", ">=", after)),
            ],
            _exchange_record,
        ),
        Exchange(
            "account.edi.document",
            ("move_id", "edi_format_name", "state", "error", "blocking_level", "write_date"),
            lambda since: [
                *("&", ("write_date", ">=", since)),
                *("|", ("state", "in", ["sent", "cancelled"]), ("blocking_level", "=", "error")),
            ],
            lambda before, after: [
                *("&", "&", ("state", "in", ["to_send", "to_cancel"])),
                *(("write_date", "<", before), ("write_date", ">=", after)),
            ],
            _document,
        ),
    )
}
