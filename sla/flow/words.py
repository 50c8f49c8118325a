"""What a breach of a flow's policy says, in one line for people. Pure; times in the calendar's zone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from alerting.text import length
from milepost.calendar import Calendar
from milepost.catalog.flow import Backlog

Labels = Mapping[str, str]


def silence(
    labels: Labels,
    heard: datetime | None,
    within: timedelta | None,
    usual: timedelta | None,
    calendar: Calendar,
    at: datetime,
) -> str:
    """ "/wms/north (warehouse north) is silent since Fri 20 Nov 10:02 (47 min); it speaks at least every 30 min"."""
    zone = calendar.zone
    since = (
        f"is silent since {heard.astimezone(zone):%a %d %b %H:%M} {zone.key} ({length(at - heard)})"
        if heard is not None
        else "has never spoken"
    )
    if within is not None:
        hours = f" of {calendar.name} time" if calendar.hours is not None else ""
        promise = f"; it is to speak every {length(within)}{hours}"
    else:
        promise = f"; usually it is quiet for {length(usual)} at most at this hour" if usual is not None else ""
    return f"{_who(labels)} {since}{promise}"


def rate(labels: Labels, events: int, bad: int, limit: float, window: str) -> str:
    """ "odoo (channel amazon): 40 of 100 events in the last 1h failed or were rejected (40 %; limit 20 %)"."""
    share = f"{bad / events:.0%}" if events else "none"
    return f"{_who(labels)}: {bad} of {events} events in the last {window} went wrong ({share}; limit {limit:.0%})"


def backlog(policy: Backlog, labels: Labels, value: float, journeys: int) -> str:
    """ "warehouse north: 73 order journeys wait in packed for more than 24h (limit 50)"."""
    where = ", ".join(f"{name} {text}" for name, text in sorted(labels.items()) if name != "currency")
    stages = " or ".join(stage.replace("_", " ") for stage in policy.stages)
    older = f" for more than {policy.older_than.text}" if policy.older_than.us else ""
    currency = labels.get("currency", "")
    if policy.measure == "money":
        worth, limit = f", worth {value:,.2f} {currency}".rstrip(), f"{policy.limit:,.2f} {currency}".rstrip()
    else:
        worth, limit = "", f"{policy.limit:,.0f}"
    what = f"{journeys} {policy.model} journeys wait in {stages}{older}{worth} (limit {limit})"
    return f"{where}: {what}" if where else what


def _who(labels: Labels) -> str:
    others = [f"{name} {value}" for name, value in sorted(labels.items()) if name != "source"]
    source = labels.get("source", "")
    return f"{source} ({', '.join(others)})" if source and others else source or ", ".join(others) or "all sources"
