"""Plausible data straight into the tables, for tests of what only reads: orders in every stage, clocks, alerts.

What runs through the pipeline is tested elsewhere; here the tables are filled as their writers would leave them.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import sqlalchemy as sa

from milepost.clock import to_us, utc_now
from milepost.db import tables as t
from milepost.decisions import correlation
from milepost.inbox import quarantine
from milepost.journeystate import (
    AttributeGroup,
    JourneyFacts,
    ObjectState,
    RunningClock,
    encode_clocks,
    encode_facts,
    encode_object,
)

CHANNELS: Final = ("shopify", "amazon", "edi", "phone")
WAREHOUSES: Final = ("north", "south")
CARRIERS: Final = ("dhl", "ups", "gls")
PARTNERS: Final = ("ACME", "Brightline", "Castor & Co", "Delmore", "Eastgate")
STEPS: Final = (
    # milestone, event type, source, about, median hours after the one before
    ("received", "order.received", "/channel/{channel}", "order", 0.0),
    ("validated", "order.validated", "/middleware", "order", 0.05),
    ("acknowledged", "order.acknowledged", "odoo", "order", 0.3),
    ("confirmed", "order.confirmed", "odoo", "order", 1.2),
    ("allocated", "picking.created", "odoo", "picking", 0.4),
    ("released", "picking.released", "/wms/{warehouse}", "picking", 0.8),
    ("picked", "picking.picked", "/wms/{warehouse}", "picking", 3.0),
    ("packed", "picking.packed", "/wms/{warehouse}", "picking", 1.0),
    ("fulfilled", "picking.done", "odoo", "picking", 0.3),
    ("dispatched", "shipment.dispatched", "/carrier/{carrier}", "shipment", 4.0),
    ("delivered", "shipment.delivered", "/carrier/{carrier}", "shipment", 34.0),
    ("invoiced", "invoice.posted", "odoo", "invoice", 3.0),
    ("paid", "invoice.paid", "odoo", "invoice", 140.0),
)
DELIVERED: Final = 10
CLOCKS: Final = (
    ("order-confirmation", "received", "confirmed", 4.0),
    ("warehouse-acknowledgement", "allocated", "released", 2.0),
    ("packed-not-shipped", "packed", "dispatched", 8.0),
    ("promised-delivery", "received", "delivered", 72.0),
)


@dataclass
class Seed:
    """Collects the rows of all tables, and writes them."""

    now: datetime
    chance: random.Random
    rows: dict[sa.Table, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    object_id: int = 1000
    event_no: int = 0

    def add(self, table: sa.Table, **values: Any) -> None:
        self.rows[table].append(values)

    def object(self, kind: str, key: str, namespace: str = "") -> int:
        self.object_id += 1
        if kind == "correlation":
            self.add(t.correlations, object_id=self.object_id, key=key, created_at=self.now)
        else:
            self.add(t.objects, object_id=self.object_id, type=kind, namespace=namespace, key=key)
        return self.object_id

    def event(self, source: str, kind: str, at: datetime, about: Iterable[int], data: dict[str, Any]) -> dict[str, Any]:
        self.event_no += 1
        received = at + timedelta(seconds=self.chance.expovariate(0.2))
        event_id = f"{source.strip('/').replace('/', '-')}-{self.event_no:06}"
        body = {
            "specversion": "1.0",
            "id": event_id,
            "source": source,
            "type": kind,
            "time": at.isoformat(),
            "data": data,
        }
        self.add(
            t.events, event_no=self.event_no, received_at=received, occurred_at=at, claimed_at=at, source=source,
            event_id=event_id, type=kind, outcome=data.get("outcome", "ok"), code=data.get("code"),
            correlation_id=None, flags=0, body=body,
        )  # fmt: skip
        for object_id in about:
            self.add(t.event_object, object_id=object_id, received_at=received, event_no=self.event_no, subject=True)
        return {"event_no": self.event_no, "received_at": received, "source": source, "event_id": event_id, "at": at}

    def write(self, connection: sa.Connection) -> None:
        for table in t.metadata.sorted_tables:
            # rows with the same columns go together, in their order
            for _, rows in itertools.groupby(self.rows.get(table, []), key=lambda row: tuple(row)):
                connection.execute(sa.insert(table), list(rows))


def seed(connection: sa.Connection, now: datetime, journeys: int = 300, chance: int = 7) -> None:
    """Fill the tables as `journeys` orders of the last weeks would; the same rows for the same arguments."""
    made = Seed(now, random.Random(chance))
    late = [made_order(made, number) for number in range(journeys)]
    _alerts(made, [item for item in late if item is not None])
    _silenced(made, [item for item in late if item is not None])
    _sources(made)
    _volume(made)
    _anomalies(made)
    made.write(connection)
    quarantine.add(connection, _refusals(now))


@dataclass
class Late:
    """An open order past due."""

    journey_id: int
    key: str
    policy: str
    warehouse: str
    due_at: datetime
    amount: Decimal


def made_order(made: Seed, number: int) -> Late | None:
    chance, now = made.chance, made.now
    values = {
        "channel": chance.choice(CHANNELS),
        "warehouse": chance.choice(WAREHOUSES),
        "carrier": chance.choice(CARRIERS),
    }
    partner = chance.choice(PARTNERS) if values["channel"] == "edi" else None
    amount = Decimal(chance.randrange(1900, 420_000)) / 100
    key = f"S{number + 1:05}"
    ids = {
        "order": made.object("order", key),
        "channel_order": made.object("channel_order", f"#{10_000 + number}"),
        "correlation": made.object("correlation", f"{chance.randrange(16**12):012x}"),
    }
    start = now - timedelta(hours=chance.uniform(0.05, 60) if chance.random() < 0.6 else chance.uniform(60, 24 * 20))
    stuck_at = 5 if values["warehouse"] == "north" and now - start < timedelta(hours=20) else None
    reached, at = [], start
    for rank, (_, kind, source, about, hours) in enumerate(STEPS):
        at = at + timedelta(hours=hours * chance.lognormvariate(0, 0.55))
        if at > now or rank == stuck_at:
            break
        if about not in ids:
            ids[about] = made.object(about, _key_of(about, number, chance))
        data: dict[str, Any] = {"keys": {"order": key, about: _key_in(made, ids[about])}}
        if rank == 0:
            data["attributes"] = {**values, "amount": str(amount), "currency": "EUR"}
        if rank == 3 and chance.random() < 0.05:
            failed = {
                **data,
                "outcome": "rejected",
                "code": "CREDIT",
                "reason": "The customer's credit limit is used up",
            }
            told = made.event("odoo", "order.validated", at - timedelta(minutes=20), [ids["order"]], failed)
            _exception(made, ids["order"], "order.validated", "business", failed, told, at if number % 2 else None)
        reached.append(made.event(source.format(**values), kind, at, [ids[about]], data))
        if rank == 6 and number % 9 == 0:
            short = {"code": "SHORT", "reason": "Not enough on the shelf"}
            _exception(made, ids[about], "picking.short", "business", short, reached[-1], None)
    cancelled = number % 41 == 40 and len(reached) < 9
    return _write_journey(made, number + 1, key, ids, values, partner, amount, reached, cancelled)


def _exception(
    made: Seed, object_id: int, kind: str, of: str, data: dict[str, Any], told: dict[str, Any], until: datetime | None
) -> None:
    made.add(
        t.exceptions, object_id=object_id, type=kind, number=0, kind=of, outcome=data.get("outcome", "ok"),
        code=data["code"], source=told["source"], reason=data["reason"], count=1, opened_at=told["at"],
        last_at=told["at"], resolved_at=until, resolved_by=kind if until else None, event_no=told["event_no"],
        received_at=told["received_at"],
    )  # fmt: skip


def _key_of(about: str, number: int, chance: random.Random) -> str:
    return {
        "picking": f"WH/OUT/{number + 1:05}",
        "shipment": f"1Z{chance.randrange(10**12):012}",
        "invoice": f"INV/2026/{number + 1:05}",
    }[about]


def _key_in(made: Seed, object_id: int) -> str:
    row = next(row for row in reversed(made.rows[t.objects]) if row["object_id"] == object_id)
    return str(row["key"])


def _write_journey(
    made: Seed, journey_id: int, key: str, ids: dict[str, int], values: dict[str, str], partner: str | None,
    amount: Decimal, reached: list[dict[str, Any]], cancelled: bool,
) -> Late | None:  # fmt: skip
    state = "cancelled" if cancelled else "completed" if len(reached) >= 12 else "open"
    last, rank = reached[-1], min(len(reached) - 1, DELIVERED)  # what comes later runs beside the flow
    received = [item["received_at"] for item in reached]
    made.add(
        t.journeys, journey_id=journey_id, model="order", root_id=ids["order"], key=key, namespace="",
        root_type="order", state=state,
        stage=STEPS[rank][0], stage_rank=rank, started_at=reached[0]["at"],
        last_at=last["at"], progress_at=last["at"], first_received_at=min(received), last_received_at=max(received),
        **values, partner=partner, amount=amount, currency="EUR",
        completed_at=last["at"] if state == "completed" else None, facts=encode_facts(JourneyFacts()),
    )  # fmt: skip
    for name, object_id in ids.items():
        depth = 0 if name == "order" else 2 if name == "shipment" else 1
        via = None if name == "order" else ids["picking"] if name == "shipment" else ids["order"]
        made.add(t.members, journey_id=journey_id, object_id=object_id, via_id=via, depth=depth)
        _state(made, object_id, {**values, "amount": str(amount), "currency": "EUR"} if name == "order" else {})
        if via is not None:
            _relation(made, via, object_id, name, reached)
    for rank, item in enumerate(reached):
        if STEPS[rank][0] == "confirmed" and journey_id % 20 == 1:
            continue  # some were never told of
        made.add(
            t.milestones, journey_id=journey_id, name=STEPS[rank][0], rank=rank, reached_at=item["at"],
            last_at=item["at"], count=1, event_no=item["event_no"], received_at=item["received_at"],
        )  # fmt: skip
    times = {STEPS[rank][0]: item["at"] for rank, item in enumerate(reached)}
    return _clocks(made, journey_id, key, ids["order"], values["warehouse"], amount, times, state)


def _state(made: Seed, object_id: int, values: dict[str, Any]) -> None:
    groups = [AttributeGroup(0, "seed", "1", values)] if values else []
    made.add(t.object_states, object_id=object_id, state=encode_object(ObjectState(attributes=groups)))


def _relation(made: Seed, one: int, other: int, name: str, reached: list[dict[str, Any]]) -> None:
    proof = reached[{"picking": 4, "shipment": 9, "invoice": 11}.get(name, 0)]
    rel = "correlation" if name == "correlation" else "mention"
    names = ("source", "event_id", "event_no", "received_at")
    made.add(
        t.relations, first_id=min(one, other), second_id=max(one, other), rel=rel, occurred_at=proof["at"],
        **{name: proof[name] for name in names},
    )  # fmt: skip


def _clocks(
    made: Seed, journey_id: int, key: str, root: int, warehouse: str, amount: Decimal,
    times: dict[str, datetime], state: str,
) -> Late | None:  # fmt: skip
    running: list[RunningClock] = []
    late = None
    for policy, start, end, hours in CLOCKS:
        if start not in times:
            continue
        began, due = times[start], times[start] + timedelta(hours=hours)
        if end in times or state != "open":
            stopped = times.get(end, made.now)
            outcome = "stopped" if end not in times else "met" if stopped <= due else "missed"
            _clock_row(made, journey_id, policy, root, outcome, began, due, stopped)
            continue
        warned, breached = due - (due - began) * 0.2 <= made.now, due <= made.now
        running.append(
            RunningClock(policy, root, 0, "v1", to_us(began), to_us(began), to_us(due), None, warned, breached)
        )
        if warned:
            _clock_row(made, journey_id, policy, root, "breached" if breached else "warned", began, due, None)
        if breached:
            late = Late(journey_id, key, policy, warehouse, due, amount)
            _breach(made, late, root, began)
    if running:
        made.add(
            t.running_clocks, journey_id=journey_id,
            next_at=made.now + timedelta(minutes=made.chance.randrange(5, 600)),
            at_risk=any(clock.warned for clock in running), breached=any(clock.breached for clock in running),
            clocks=encode_clocks(running),
        )  # fmt: skip
    return late


def _clock_row(
    made: Seed, journey_id: int, policy: str, root: int, state: str, began: datetime, due: datetime,
    stopped: datetime | None,
) -> None:  # fmt: skip
    made.add(
        t.clocks, journey_id=journey_id, policy=policy, subject_id=root, occurrence=0, policy_version="v1",
        state=state, started_at=began, due_at=due, stopped_at=stopped,
    )  # fmt: skip


def _breach(made: Seed, late: Late, root: int, began: datetime) -> None:
    made.add(
        t.breaches, model="order", root_id=root, policy=late.policy, subject_id=root, occurrence=0, started_at=began,
        due_at=late.due_at, journey_id=late.journey_id, policy_version="v1", severity="critical", late_known=False,
        judged_at=late.due_at, opened_at=late.due_at + timedelta(seconds=1), evidence={"why": "not in time"},
        dimensions={"warehouse": late.warehouse}, amount=late.amount, currency="EUR",
    )  # fmt: skip


def _alerts(made: Seed, late: list[Late]) -> None:
    """Their ids come from the database, which is fresh: they are 1, 2, 3 in this order."""
    groups: defaultdict[tuple[str, str], list[Late]] = defaultdict(list)
    for item in late:
        groups[item.policy, item.warehouse].append(item)
    for number, ((policy, warehouse), items) in enumerate(sorted(groups.items()), start=1):
        _alert(made, number, policy, warehouse, items)
    old = made.now - timedelta(days=3)
    made.add(
        t.alerts, key="sla/order-confirmation/old", kind="sla", rule="order-confirmation",
        group={"channel": "edi"}, state="resolved", severity="warning", title="Orders are confirmed too late: edi",
        summary="12 orders were late; the last one was confirmed in the end", opened_at=old,
        updated_at=old + timedelta(hours=3), resolved_at=old + timedelta(hours=3),
        items_open=0, items_total=12, oldest_at=old, money={"EUR": "8120.00"}, labels={"channel": "edi"},
        owner="order desk",
    )  # fmt: skip


def _alert(made: Seed, number: int, policy: str, warehouse: str, items: list[Late]) -> None:
    opened = min(item.due_at for item in items)
    money = str(sum((item.amount for item in items), Decimal(0)))
    acknowledged = number == 2
    made.add(
        t.alerts, key=f"sla/{policy}/{warehouse}", kind="sla", rule=policy,
        group={"warehouse": warehouse}, state="acknowledged" if acknowledged else "firing",
        severity="critical" if "warehouse" in policy else "warning",
        title=f"{policy.replace('-', ' ').capitalize()}: warehouse {warehouse}",
        summary=f"{_orders(len(items))} past due, all in warehouse {warehouse}; the oldest is {items[0].key}",
        opened_at=opened, updated_at=made.now - timedelta(minutes=4),
        acknowledged_at=made.now - timedelta(minutes=9) if acknowledged else None,
        acknowledged_by="Ada" if acknowledged else None, items_open=len(items), items_total=len(items) + 3,
        oldest_at=opened, money={"EUR": money}, labels={"warehouse": warehouse, "policy": policy},
        owner="warehouse lead", runbook="https://wiki.example.org/runbooks/warehouse",
    )  # fmt: skip
    for item in items:
        made.add(
            t.alert_items, alert_id=number, item=f"breach:{item.journey_id}:{policy}", at=item.due_at,
            raised_at=item.due_at + timedelta(seconds=1), journey_id=item.journey_id,
            summary=f"{item.key} has waited since {item.due_at:%H:%M}", labels={}, amount=item.amount, currency="EUR",
        )  # fmt: skip
    for what, minutes in (("opened", 0), ("updated", 5), ("updated", 11)):
        at = min(made.now, opened + timedelta(minutes=minutes))
        made.add(
            t.alert_changes,
            alert_id=number,
            at=at,
            what=what,
            actor="milepost",
            detail={"added": len(items), "cleared": {}, "open": len(items)},
        )
        made.add(
            t.notifications, alert_id=number, channel="ops-hook", event=what, message_id=f"m-{number}-{minutes}",
            body={}, created_at=at, state="sent", attempts=1, next_attempt_at=at, sent_at=at + timedelta(seconds=1),
        )  # fmt: skip


def _silenced(made: Seed, late: list[Late]) -> None:
    """A silence of one warehouse, which hides what is wrong there; its id comes from the database, and is 1."""
    since, until = made.now - timedelta(hours=2), made.now + timedelta(hours=2)
    made.add(
        t.silences, matchers=[{"label": "warehouse", "op": "=", "values": ["north"]}], reason="stock-taking",
        created_at=since, created_by="Ada", starts_at=since, ends_at=until, owner="warehouse lead",
    )  # fmt: skip
    groups = sorted({(item.policy, item.warehouse) for item in late})
    for item in late:
        if item.warehouse == "north":
            made.add(
                t.alert_hidden, alert_id=groups.index((item.policy, item.warehouse)) + 1,
                item=f"breach:{item.journey_id}:{item.policy}", stage="silence", by_id=1, by_name="silence 1",
                reason="silenced by Ada: stock-taking", severity="warning", since=max(since, item.due_at),
                until_at=until, look_at=until,
            )  # fmt: skip


def _orders(count: int) -> str:
    return "One order is" if count == 1 else f"{count} orders are"


def _sources(made: Seed) -> None:
    minute = made.now.replace(second=0, microsecond=0)
    by_source: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in made.rows[t.events]:
        by_source[event["source"]].append(event)
    for index, (source, items) in enumerate(sorted(by_source.items())):
        quiet = source == "/carrier/gls"
        silent = (
            timedelta(hours=5) if source == "/wms/north" else timedelta(minutes=22 if quiet else 0, seconds=7 + index)
        )
        last = made.now - silent
        made.add(
            t.source_stats, source=source, events=len(items) * 37, duplicates=len(items) // 9, conflicts=index % 3,
            skewed=index % 2, first_received_at=min(item["received_at"] for item in items),
            last_received_at=last, last_occurred_at=last,
        )  # fmt: skip
        for back in range(60):
            if source == "/wms/north" or (quiet and back < 22):
                continue
            count = max(0, round(made.chance.gauss(8 + 5 * (index % 4), 3)))
            made.add(
                t.source_minutes, source=source, minute=minute - timedelta(minutes=back), events=count, duplicates=0,
                conflicts=0, lag_us_sum=count * 2_400_000 * (1 + index), lag_us_max=9_000_000 * (1 + index),
            )  # fmt: skip


def _volume(made: Seed) -> None:
    hour = made.now.replace(minute=0, second=0, microsecond=0)
    for source, kind in (
        ("odoo", "order.confirmed"), ("/wms/north", "picking.packed"), ("/wms/south", "picking.packed"),
        ("/carrier/dhl", "shipment.delivered"), ("/middleware", "order.validated"),
    ):  # fmt: skip
        for back in range(24 * 14):
            at = hour - timedelta(hours=back)
            day = 0.25 if at.weekday() > 4 else 1.0
            busy = max(0.05, 1 - abs(at.hour - 13) / 9)
            stopped = source == "/wms/north" and back < 5
            count = 0 if stopped else round(260 * day * busy * made.chance.uniform(0.8, 1.2))
            made.add(t.volume_hours, source=source, type=kind, dimension="", hour=at, events=count, bad=count // 60)


def _anomalies(made: Seed) -> None:
    hour = made.now.replace(minute=0, second=0, microsecond=0)
    for slot in range(48):
        day = 0.25 if slot >= 24 else 1.0
        busy = max(0.05, 1 - abs(slot % 24 - 13) / 9)
        made.add(
            t.baselines, detector="volume", series="/wms/north|picking.packed|", slot=slot,
            median=260 * day * busy, mad=18 * day * busy, samples=12, fitted_at=hour,
        )  # fmt: skip
    for back in range(1, 5):
        made.add(
            t.anomalies, detector="volume", series="/wms/north|picking.packed|", at=hour - timedelta(hours=back),
            found_at=hour - timedelta(hours=back - 1), score=9.5 - back, expected=210.0, observed=0.0,
            severity="critical", reason="/wms/north sent no picking.packed this hour; about 210 are usual",
            labels={"source": "/wms/north", "type": "picking.packed"},
        )  # fmt: skip
    made.add(
        t.anomalies, detector="journey", series="order", at=made.now - timedelta(hours=30),
        found_at=made.now - timedelta(hours=29), score=4.2, severity="info", journey_id=3,
        reason="S00003 took 61 hours from picked to packed; 95 % of orders take less than 4", labels={},
    )  # fmt: skip


def _refusals(now: datetime) -> list[quarantine.Refusal]:
    refusals = []
    for number in range(37):
        kind: quarantine.Kind = "conflict" if number % 3 == 2 else "malformed"
        reason = {
            "malformed": "data.keys: an event needs at least one key or a correlationid",
            "conflict": "the same source and id came before with other content; the first one stands",
        }[kind]
        body = {"specversion": "1.0", "id": f"bad-{number}", "source": "/wms/north", "type": "picking.packed"}
        at = now - timedelta(minutes=11 * number)
        text = json.dumps(body).encode()
        refusals.append(quarantine.Refusal(at, "/wms/north", kind, reason, f"bad-{number}", text, "wms north"))
    return refusals


def seed_with_a_cut(engine: sa.Engine) -> None:
    """What `seed` writes, and two of its objects cut apart by somebody."""
    with engine.begin() as connection:
        seed(connection, utc_now())
        ends = correlation.pair(connection, 1001, 1004)
        correlation.decide(connection, "cut", *ends, actor="test", reason="typed wrongly", now=utc_now())
