"""Mappings: what the catalog refuses, what a payload gives, and what an expression may cost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.formats.mapping import MAX_EVENTS, Mapping
from milepost import contract
from milepost.catalog import loader
from milepost.catalog import mapping as catalog
from milepost.catalog.expression import MAX_SIZE, Budget, Expression, ExpressionError
from milepost.errors import CatalogError, InvalidEvent

SAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "webhooks"
SHIPPED = loader.load(loader.default_texts()).mappings


def made(events: str, payload: Any, top: str = "", **given: Any) -> Any:
    return Mapping(catalog.read("m.yaml", f"{top}\nevents:\n  - {events}")).apply(payload, source="s", **given)


def only(events: str, payload: Any, top: str = "", **given: Any) -> dict[str, Any]:
    result = made(events, payload, top, **given)
    assert result.faults == []
    (event,) = result.events
    contract.decode(json.dumps(event).encode())
    return dict(event)


# --- the catalog's check ----------------------------------------------------------------------------------------------

REFUSED = [
    ("type: a.b", "events[0]: keys: an event needs keys or a correlationid"),
    (
        "{type: a.b, keys: {order: bdy.id}}",
        'events[0].keys.order: bdy.id: "bdy" is nothing that an expression can begin',
    ),
    ("{type: a.b, keys: {order: item.id}}", '"item" is nothing that an expression can begin with; use body, header'),
    ("{type: a.b, keys: {order: 'body.['}}", "events[0].keys.order: body.[: not a JMESPath expression"),
    ("{type: a.b, keys: {order: split(body)}}", "there is no function split(); there are abs, avg"),
    ("{type: a.b, keys: {order: 'length(body, body)'}}", "length() takes 1 arguments, not 2"),
    ("{type: a.b, keys: {Order: body.id}}", "events[0].keys: Expected"),
    ("{type: a.b, kys: {order: body.id}}", "events[0]: Object contains unknown field `kys`"),
    ("{type: {of: body.t, table: {x: ''}}, keys: {order: body.id}}", "an empty value; write null"),
    ("{type: a.b, keys: {order: body.id}, outcome: {of: body.o, table: {x: bad}}}", '"bad" is none of ok, retried'),
    ("{type: a.b, keys: {order: body.id}, outcome: bad}", "events[0].outcome"),
    ("{type: a.b, keys: {order: body.id}, attributes: {a: body.a}, values: {a: x}}", "this attribute is given twice"),
    (f'{{type: a.b, keys: {{order: "body.{"x" * 1000}"}}}}', "characters, at most 1000 are allowed"),
    (f'{{type: a.b, keys: {{order: "{"body.a || " * 60}body.b"}}}}', "parts, at most 100 are allowed"),
]


@pytest.mark.parametrize(("rule", "why"), REFUSED, ids=[why[:40] for _, why in REFUSED])
def test_what_cannot_work_is_refused_with_its_place(rule: str, why: str) -> None:
    with pytest.raises(CatalogError) as caught:
        catalog.read("mappings/m.yaml", f"events:\n  - {rule}")
    assert str(caught.value).startswith("mappings/m.yaml: events")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("top", "why"),
    [
        ("zone: Mars/Base", 'zone: "Mars/Base" is not a known time zone'),
        ("date_at: noon", 'date_at: "noon" is not a time of day'),
        ("date_forms: []", "date_forms"),
        ("ignore: [{when: bdy.x, because: y}]", "ignore[0].when: bdy.x"),
    ],
)
def test_the_rest_of_a_mapping_is_checked_too(top: str, why: str) -> None:
    with pytest.raises(CatalogError, match=re.escape(why)):
        catalog.read("m.yaml", top + "\nevents: [{type: a.b, keys: {order: body.id}}]")


HOOKS = [
    ("{mapping: nothing, scheme: github, secret_env: S}", "mapping: there is no mapping nothing; there are aftership"),
    ("{mapping: shopify, scheme: shopify}", "secret_env: name the variable that holds the secret"),
    ("{mapping: shopify, scheme: hmac, secret_env: S}", "header: name the header that holds the signature"),
    ("{mapping: shopify, scheme: token, secret_env: S}", "header: name the header that holds the token"),
    ("{mapping: shopify, scheme: token, secret_env: S, header: A, query: b}", "header: name the header"),
    ("{mapping: shopify, scheme: md5, secret_env: S}", "hook.scheme"),
    ("{mapping: shopify, scheme: key, secret: S}", "unknown field `secret`"),
]


@pytest.mark.parametrize(("hook", "why"), HOOKS)
def test_a_hook_that_cannot_work_is_refused_with_its_place(hook: str, why: str) -> None:
    with pytest.raises(CatalogError) as caught:
        loader.load({**loader.default_texts(), "sources.yaml": f"sources: {{shop: {{hook: {hook}}}}}"})
    assert str(caught.value).startswith("sources.yaml: shop: hook")
    assert why in str(caught.value)


def test_mappings_are_files_of_the_catalog_and_change_its_version(tmp_path: Path) -> None:
    (tmp_path / "mappings").mkdir()
    own = tmp_path / "mappings" / "own.yaml"
    own.write_text("events: [{type: a.b, keys: {order: body.id}}]")
    texts = loader.read_texts(tmp_path)
    found = loader.load(texts)
    assert found.mappings.keys() == {*SHIPPED, "own"}
    assert found.version != loader.load(loader.default_texts()).version
    own.rename(tmp_path / "mappings" / "Own Mapping.yaml")
    with pytest.raises(CatalogError, match=r"mappings/Own Mapping\.yaml: a mapping's name is"):
        loader.load(loader.read_texts(tmp_path))


# --- events -----------------------------------------------------------------------------------------------------------


def test_constants_tables_links_and_everything_else() -> None:
    rule = """type: {of: body.status, table: {done: shipment.delivered}}
    when: {body.kind: [parcel, ""]}
    id: [body.id, body.at]
    time: body.at
    keys: {shipment: [body.no, body.others], order: body.empty}
    attributes: {carrier: body.carrier, weight: body.kg, place: {of: body.place, table: {B: Berlin}, otherwise: "?"}}
    dates: {expected_date: body.eta}
    values: {channel: web, express: true}
    links: [{parent: {type: order, key: body.orders}, child: {type: shipment, key: body.no}, rel: return}]
    outcome: {of: body.ok, table: {"false": failed}, otherwise: ok}
    code: body.code
    reason: body.why
    correlationid: to_string(body.id)
    causationid: body.cause
"""
    payload = {
        "id": 7, "at": "2026-11-20T10:00:00+01:00", "status": "done", "no": " 1Z ", "others": [12, None, "A"],
        "empty": " ", "carrier": "dhl", "kg": 2.5, "place": "B", "eta": "2026-11-22", "orders": ["S1", "S2"],
        "ok": False, "code": 404, "why": "x" * 3000, "cause": None,
    }  # fmt: skip
    assert only(rule.strip(), payload) == {
        "specversion": "1.0",
        "id": "7/2026-11-20T10:00:00+01:00/shipment.delivered",
        "source": "s",
        "type": "shipment.delivered",
        "time": "2026-11-20T10:00:00+01:00",
        "correlationid": "7",
        "data": {
            "keys": {"shipment": ["1Z", "12", "A"]},
            "links": [
                {"parent": {"type": "order", "key": key}, "child": {"type": "shipment", "key": "1Z"}, "rel": "return"}
                for key in ("S1", "S2")
            ],
            "outcome": "failed",
            "code": "404",
            "reason": "x" * 2000,
            "attributes": {"channel": "web", "express": True, "carrier": "dhl", "weight": 2.5, "place": "Berlin",
                           "expected_date": "2026-11-22"},
        },
    }  # fmt: skip


TIMES = [
    ("", "2026-11-20", "2026-11-20T12:00:00+00:00"),
    ("", "2026-11-20T10:00:00Z", "2026-11-20T10:00:00+00:00"),
    ("", "2026-11-20T08:00:12.345678912Z", "2026-11-20T08:00:12.345678+00:00"),
    ("zone: Europe/Berlin", "2026-11-20 10:00:00", "2026-11-20T10:00:00+01:00"),
    ("zone: Europe/Berlin\ndate_at: '23:59'", "2026-07-01", "2026-07-01T23:59:00+02:00"),
    ("date_forms: [epoch]", 1614265330, "2021-02-25T15:02:10+00:00"),
    ("date_forms: [epoch]", "1614265330.5", "2021-02-25T15:02:10.500000+00:00"),
    ("date_forms: [iso, epoch_ms]", 1614265330123, "2021-02-25T15:02:10.123000+00:00"),
    ("date_forms: ['%d.%m.%Y %H:%M', '%d.%m.%Y']\nzone: Europe/Berlin", "02.11.2026", "2026-11-02T12:00:00+01:00"),
]


@pytest.mark.parametrize(("top", "text", "time"), TIMES)
def test_times_in_many_forms(top: str, text: Any, time: str) -> None:
    assert only("{type: a.b, time: body.t, keys: {order: body.o}}", {"t": text, "o": 1}, top)["time"] == time


@pytest.mark.parametrize("text", ["soon", "1614265330", "2026-13-01", [1], {"a": 1}, True, 1e300])
def test_what_is_no_time_is_a_fault_that_names_its_place(text: Any) -> None:
    result = made("{type: a.b, time: body.t, keys: {order: body.o}}", {"t": text, "o": 1})
    assert result.events == []
    assert result.faults[0].startswith("events[0].time: ")


def test_a_missing_time_is_no_event_of_its_rule_and_a_payload_without_any_is_told() -> None:
    result = made("{type: a.b, time: body.t, keys: {order: body.o}}", {"o": 1})
    assert (result.events, result.faults) == ([], [])
    assert result.problem == "the mapping makes no event of this payload: events[0].time: body.t is empty"


def test_an_element_without_a_time_is_a_fault() -> None:
    result = made(
        "{type: a.b, each: body, time: item.t, keys: {order: item.o}}", [{"o": 1, "t": "2026-01-01"}, {"o": 2}]
    )
    assert (len(result.events), result.faults) == (1, ["events[0] item 1.time: item.t is empty"])


def test_ids_stay_the_same_and_tell_events_apart() -> None:
    rules = "{type: a.b, keys: {order: body.o}}\n  - {type: a.b, each: body.l, keys: {order: item}}"
    payload = {"o": 1, "l": ["x", "y"]}
    first = [event["id"] for event in made(rules, payload).events]
    assert first == [event["id"] for event in made(rules, dict(reversed(payload.items()))).events], "order is nothing"
    assert [text.partition("/")[2] for text in first] == ["a.b", "0/a.b#2", "1/a.b#2"]
    assert len({text.partition("/")[0] for text in first}) == 1
    assert [event["id"] for event in made(rules, payload, delivery="d7").events] == [
        "d7/a.b",
        "d7/0/a.b#2",
        "d7/1/a.b#2",
    ]
    assert first[0] != made(rules, {"o": 2}).events[0]["id"]
    long = only("{type: a.b, id: body.o, keys: {order: body.k}}", {"o": "x" * 300, "k": 1})["id"]
    assert re.fullmatch(r"sha-[0-9a-f]{32}", long)
    fault = made("{type: a.b, id: [body.o, body.none], keys: {order: body.o}}", payload).faults[0]
    assert fault == "events[0].id: body.none is empty; name what stays the same when this comes again"


def test_an_element_with_a_fault_costs_only_itself_and_strict_callers_all() -> None:
    rule = "{type: {of: item.t, table: {x: a.b, y: null}}, each: body.l, keys: {order: item.k}}"
    payload = {
        "l": [
            {"t": "x", "k": 1},
            {"t": "z", "k": 2},
            {"t": "y", "k": 3},
            {"k": 4},
            {"t": "x", "k": {}},
            {"t": "x", "k": 5},
        ]
    }
    result = made(rule, payload)
    assert [event["data"]["keys"]["order"] for event in result.events] == [["1"], ["5"]]
    assert result.faults == [
        'events[0] item 1.type: "z" is not in the table; add it, or say what counts `otherwise`',
        "events[0] item 3.type: item.t is empty",
        "events[0] item 4.keys.order: the expression gives an object",
    ]
    assert result.left_out == ["events[0] item 2.type: the table leaves it out"]
    assert result.problem.startswith("events[0] item 1.type")
    with pytest.raises(InvalidEvent, match=r"events\[0\] item 1\.type"):
        Mapping(catalog.read("m.yaml", f"events:\n  - {rule}")).events(payload, source="s")


def test_ignoring_comes_first_and_is_told() -> None:
    top = "ignore: [{when: body.test, because: a test}, {when: {header.x_topic: [a, b]}, because: another topic}]"
    rule = "{type: a.b, keys: {order: body.o}}"
    assert made(rule, {"o": 1, "test": True}, top).ignored == "a test"
    assert made(rule, {"o": 1}, top, headers={"x-topic": "b"}).ignored == "another topic"
    result = made(rule, {"o": 1}, top, headers={"x-topic": "c"})
    assert (result.ignored, result.problem, len(result.events)) == (None, None, 1)


def test_rows_are_payloads_whose_texts_are_columns() -> None:
    top = "source: /import/x\ntable: {delimiter: ';'}\nid: 'Order No.'\nno_value: ['-', n/a]"
    rule = """{type: order.received, time: Placed, keys: {order: 'Order No.', customer_po: PO},
      attributes: {a: "=join('/', [body.PO, body.Via])"}, when: {Lost: ["no", ""]}}"""
    mapping = Mapping(catalog.read("m.yaml", f"{top}\nevents:\n  - {rule}"))
    assert mapping.columns() == {"Order No.", "Placed", "PO", "Lost"}
    row = {"Order No.": " A1 ", "Placed": "2026-11-02", "PO": "N/A", "Via": "web", "Lost": " "}
    (event,) = mapping.events(row, source="ignored")
    assert (event["id"], event["source"], event["data"]["keys"]) == (
        "A1/order.received",
        "/import/x",
        {"order": ["A1"]},
    )
    assert event["data"]["attributes"] == {"a": "N/A/web"}
    assert mapping.events({**row, "Lost": "yes"}, source="") == []


def test_what_is_told_of_each_expression() -> None:
    rule = "{type: a.b, keys: {order: body.o}}"
    result = Mapping(catalog.read("m.yaml", f"events: [{rule}]")).apply({"o": 1}, source="s", traced=True)
    assert result.trace == [("events[0].keys.order", "body.o", 1)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("body.a.b", 1), ("body.a", {"b": 1}), ("body.c[0].d.e", 2), ('body."f g"', 3), ("body.a.b.x", None),
        ("body.c.d", None), ("body.none.x", None), ("body.a.[b, b]", [1, 1]), ("body.a.length(@)", 1), ("header", {}),
    ],
)  # fmt: skip
def test_paths_and_other_expressions(text: str, value: Any) -> None:
    context = {"body": {"a": {"b": 1}, "c": [{"d": {"e": 2}}], "f g": 3}, "header": {}}
    assert Expression(text, ("body", "header")).search(context, Budget()) == value


# --- cost -------------------------------------------------------------------------------------------------------------

BOMBS = [
    ("body|" + "|".join(["[@,@]"] * 15) + "|to_string(@)", "x" * 100),
    ("body|" + "|".join(["[@,@][]"] * 14) + "|length(@)", "x" * 100),
    ("body|" + "|".join(["join('',[@,@])"] * 12), "x" * 100),
    ("body[].body[].body", [{"body": [{"body": 1}] * 1000}] * 1000),
    ("to_string(body)", ["x" * 1000] * 1000),
    ("sort_by(body, &to_string(@))", [["x" * 60_000]] * 200_000),
]


@pytest.mark.parametrize(("text", "value"), BOMBS, ids=[text[:20] for text, _ in BOMBS])
def test_an_expression_cannot_cost_much(text: str, value: Any) -> None:
    budget = Budget()
    try:
        found = Expression(text, ("body",)).search({"body": value}, budget)
    except ExpressionError:
        return
    assert not isinstance(found, str | list) or len(found) <= MAX_SIZE


def test_a_payload_gives_no_more_events_than_a_thousand() -> None:
    result = made("{type: a.b, each: body, keys: {order: item}}", list(range(MAX_EVENTS + 1)))
    assert len(result.events) == MAX_EVENTS
    assert result.faults == [f"events[0].each: {MAX_EVENTS + 1} elements, at most {MAX_EVENTS} are looked at"]
    two = "{type: a.b, each: body, keys: {order: item}}\n  - {type: a.c, each: body, keys: {order: item}}"
    result = made(two, list(range(MAX_EVENTS - 1)))
    assert len(result.events) == MAX_EVENTS
    assert result.faults == [f"events[1]: more than {MAX_EVENTS} events of one payload"]


def test_all_rules_share_one_budget() -> None:
    rule = "{type: a.b, each: 'body[]', when: 'item.l[?@ > `5`]', keys: {order: item.o}}"
    result = made(rule, [{"l": list(range(1000)), "o": number} for number in range(500)])
    assert any("the expressions cost too much for this payload" in fault for fault in result.faults)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=80, deadline=None)
@given(
    payload=JSON, name=st.sampled_from(sorted(SHIPPED)), topic=st.sampled_from(["orders/create", "order.updated", ""])
)
def test_no_payload_breaks_a_mapping(payload: Any, name: str, topic: str) -> None:
    headers = {"x-shopify-topic": topic, "x-wc-webhook-topic": topic}
    result = Mapping(SHIPPED[name]).apply(payload, source="s", headers=headers)
    assert result.events or result.ignored or result.problem


# --- what is shipped --------------------------------------------------------------------------------------------------

TYPES = [
    ("shopify", "shopify-order", {"x-shopify-topic": "orders/create"}, ["order.received"]),
    ("shopify", "shopify-order", {"x-shopify-topic": "orders/updated"}, ["order.updated"]),
    ("shopify", "shopify-order", {"x-shopify-topic": "orders/paid"}, ["invoice.paid"]),
    ("shopify", "shopify-order", {"x-shopify-topic": "orders/delete"}, ["order.cancelled"]),
    ("shopify", "shopify-fulfillment", {"x-shopify-topic": "fulfillments/create"}, ["shipment.dispatched"]),
    ("shopify", "shopify-fulfillment", {"x-shopify-topic": "fulfillments/update"},
     ["shipment.dispatched", "shipment.out_for_delivery"]),
    ("woocommerce", "woocommerce-order", {"x-wc-webhook-topic": "order.created"}, ["order.received", "invoice.paid"]),
    ("woocommerce", "woocommerce-order", {"x-wc-webhook-topic": "order.updated"}, ["order.updated", "invoice.paid"]),
    ("easypost", "easypost-tracker", {},
     ["shipment.booked", "shipment.in_transit", "shipment.out_for_delivery", "shipment.estimated"]),
    ("aftership", "aftership-tracking", {}, ["shipment.in_transit", "shipment.exception", "shipment.estimated"]),
    ("odoo-webhook", "odoo-order", {}, ["order.confirmed"]),
    ("alertmanager", "alertmanager", {}, ["alert.firing", "alert.resolved"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sample", "headers", "types"), TYPES, ids=[f"{t[1]} {t[3][-1]}" for t in TYPES])
def test_a_sample_gives_these_events(name: str, sample: str, headers: dict[str, str], types: list[str]) -> None:
    payload = json.loads((SAMPLES / f"{sample}.json").read_text())
    result = Mapping(SHIPPED[name]).apply(payload, source="s", headers=headers)
    assert (result.problem, [event["type"] for event in result.events]) == (None, types)
    for event in result.events:
        contract.decode(json.dumps(event).encode())
    assert len({event["id"] for event in result.events}) == len(types)


def test_every_shipped_mapping_and_sample_is_tried() -> None:
    assert {case[0] for case in TYPES} == SHIPPED.keys()
    assert {case[1] for case in TYPES} == {path.stem for path in SAMPLES.glob("*.json")}


def test_an_order_and_its_fulfillment_of_shopify_meet_by_correlation() -> None:
    mapping = Mapping(SHIPPED["shopify"])
    order, parcel = (json.loads((SAMPLES / f"shopify-{name}.json").read_text()) for name in ("order", "fulfillment"))
    (received,) = mapping.events(order, source="s", headers={"X-Shopify-Topic": "orders/create"})
    dispatched = mapping.events(parcel, source="s", headers={"X-Shopify-Topic": "fulfillments/update"})[0]
    assert received["correlationid"] == dispatched["correlationid"] == "shopify-820982911946154508"
