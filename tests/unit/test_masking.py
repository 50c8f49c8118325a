"""What the catalog says is not to be stored doesn't pass, and the rest stays as it was sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from collector.masking import Masks
from milepost.catalog import loader
from milepost.catalog.schema import Catalog
from milepost.errors import CatalogError


def KEY() -> bytes:
    return b"installation"


SECRET = "Ann.Doe@example.org"


def catalog(text: str) -> Catalog:
    return loader.load({**loader.default_texts(), "sources.yaml": text})


def masks(**privacy: Any) -> Masks:
    return Masks(catalog(json.dumps({"sources": {"/shop": {"privacy": privacy}}})), KEY)


def event(**data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.received", "data": data}


def passed(rules: Masks, body: dict[str, Any], source: str = "/shop") -> dict[str, Any]:
    made: dict[str, Any] = json.loads(rules.event(source, json.dumps(body).encode()))
    return made


def test_a_catalog_without_rules_has_no_masks() -> None:
    assert not Masks(catalog("sources: {}"), KEY)
    assert masks(drop=["data.attributes.email"])


def test_drop_mask_and_hash() -> None:
    rules = masks(
        drop=["data.attributes.email"], mask=["data.attributes.phone", "data.reason"], hash=["data.attributes.no"]
    )
    given = event(keys={"order": "S1"}, reason="x", attributes={"email": SECRET, "phone": 49, "no": "K7", "ok": "y"})
    data = passed(rules, given)["data"]
    assert data["attributes"].keys() == {"phone", "no", "ok"}
    assert (data["attributes"]["phone"], data["reason"], data["attributes"]["ok"]) == ("***", "***", "y")
    assert data["attributes"]["no"].startswith("hmac-")


def test_equal_values_stay_equal_and_another_key_gives_others() -> None:
    paths = ["data.keys.customer", "data.attributes.customer_no"]
    rules = masks(hash=paths)
    given = event(keys={"customer": [17, "18"]}, attributes={"customer_no": "17"})
    data = passed(rules, given)["data"]
    first, second = data["keys"]["customer"]
    assert data["attributes"]["customer_no"] == first != second
    again = {"specversion": "1.0", "data": data}
    assert passed(rules, again)["data"] == data, "what comes back from quarantine is not hashed again"
    others = Masks(catalog(json.dumps({"sources": {"/shop": {"privacy": {"hash": paths}}}})), lambda: b"other")
    assert passed(others, given)["data"]["keys"]["customer"][0] != first


def test_keys_in_links_follow_the_rule_of_their_type() -> None:
    links = [{"parent": {"type": "customer", "key": "17"}, "child": {"type": "order", "key": "S1"}}]
    data = passed(masks(hash=["data.keys.customer"]), event(keys={"customer": "17"}, links=links))["data"]
    assert data["links"][0]["parent"]["key"] == data["keys"]["customer"]
    assert data["links"][0]["child"]["key"] == "S1"


def test_wildcards_and_lists() -> None:
    rules = masks(drop=["data.items.*.email"], mask=["data.people.name"])
    given = event(items={"a": {"email": SECRET, "n": 1}}, people=[{"name": "Ann"}, {"name": "Bob", "x": 1}])
    data = passed(rules, given)["data"]
    assert data["items"] == {"a": {"n": 1}}
    assert data["people"] == [{"name": "***"}, {"name": "***", "x": 1}]


def test_a_name_does_not_hide_from_the_wildcard_beside_it() -> None:
    rules = masks(drop=["data.items.*.email"], mask=["data.items.a.phone", "data.items.a.email"])
    data = passed(rules, event(items={"a": {"email": SECRET, "phone": 1}, "b": {"phone": 1, "email": SECRET}}))["data"]
    assert data["items"] == {"a": {"phone": "***"}, "b": {"phone": 1}}


def test_what_is_not_named_stays_digit_by_digit() -> None:
    body = b'{"data":{"attributes":{"a":1.10,"b":123456789012345678901234567890,"email":"x"},"z":[1.0, 2.50]}}'
    made = masks(drop=["data.attributes.email"]).event("/shop", body)
    assert made == b'{"data":{"attributes":{"a":1.10,"b":123456789012345678901234567890},"z":[1.0, 2.50]}}'


def test_a_member_given_twice_hides_nothing() -> None:
    body = b'{"data":{"attributes":{"email":"%s","email":"b"}},"data":{"attributes":{"email":"c"}}}' % SECRET.encode()
    assert SECRET.encode() not in masks(mask=["data.attributes.email"]).event("/shop", body)


def test_other_sources_pay_nothing_and_rules_for_all_are_for_all() -> None:
    body = b'{ "as" : "sent" }'
    assert masks(drop=["data.attributes.email"]).event("/other", body) is body
    everywhere = Masks(catalog('privacy: {mask: ["data.attributes.email"]}'), KEY)
    assert passed(everywhere, event(attributes={"email": SECRET}), "/any")["data"]["attributes"]["email"] == "***"


def test_both_sets_of_rules_hold() -> None:
    text = 'privacy: {drop: ["data.attributes.a"]}\nsources: {/shop: {privacy: {drop: ["data.attributes.b"]}}}'
    assert passed(Masks(catalog(text), KEY), event(attributes={"a": 1, "b": 2, "c": 3}))["data"]["attributes"] == {
        "c": 3
    }


def test_unknown_fields_go_if_asked() -> None:
    given = {**event(keys={"order": "S1"}, customer=SECRET), "extension": SECRET, "correlationid": "c"}
    made = passed(masks(drop_unknown=True), given)
    assert made == {**event(keys={"order": "S1"}), "correlationid": "c"}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"email": SECRET, "deep": [{"EMAIL": [SECRET]}]}).encode(),
        json.dumps({"data": {"attributes": [{"email": {"x": SECRET}}]}}).encode(),
        json.dumps({"data_base64": SECRET}).encode(),
        b'{"email": "%s", ' % SECRET.encode(),
        b"email=%s" % SECRET.encode(),
        b'["%s"]' % SECRET.encode(),
        b'"%s"' % SECRET.encode(),
        b'{"a":' * 100 + b'"%s"' % SECRET.encode() + b"}" * 100,
        b'{"email":"\xff%s"}' % SECRET.encode(),
        SECRET.encode("utf-16"),
    ],
)
def test_nothing_slips_through_with_a_refused_body(body: bytes) -> None:
    rules = masks(mask=["data.attributes.email"])
    for sources in (["/shop"], [None], ["/other", "/shop"], [""]):
        kept = rules.refused(sources, body)
        assert SECRET.encode() not in kept
        assert SECRET.encode("utf-16")[2:] not in kept
        json.loads(kept)
    assert rules.refused(["/other"], body) is body


def test_a_refused_body_keeps_the_rest_so_that_it_can_be_mended() -> None:
    rules = masks(mask=["data.attributes.email"], hash=["data.keys.customer"])
    given = event(keys={"customer": "17"}, attributes={"email": SECRET, "amount": "1.10"}) | {"time": "yesterday"}
    kept = json.loads(rules.refused(["/shop"], json.dumps(given).encode()))
    assert kept["time"] == "yesterday"
    assert kept["data"]["attributes"] == {"email": "***", "amount": "1.10"}
    assert kept["data"]["keys"] == passed(rules, given)["data"]["keys"]


@pytest.mark.parametrize(
    ("privacy", "message"),
    [
        ({"drop": ["id"]}, "needs this"),
        ({"mask": ["*"]}, "needs this"),
        ({"drop": ["data"]}, "needs this"),
        ({"drop": ["data.keys"]}, "needs this"),
        ({"hash": ["data.keys.customer.x"]}, "needs this"),
        ({"drop": ["data.*"]}, "can't be left out"),
        ({"mask": ["data.links"]}, "can't be left out"),
        ({"drop": ["data.keys.customer"]}, "only be hashed"),
        ({"mask": ["correlationid"]}, "only be hashed"),
        ({"mask": ["data.reason"], "drop": ["data.reason"]}, "too"),
        ({"mask": ["data..reason"]}, "Expected `str` matching"),
        ({"blur": ["data.reason"]}, "blur"),
    ],
)
def test_rules_that_make_no_sense_are_refused(privacy: dict[str, Any], message: str) -> None:
    with pytest.raises(CatalogError, match=message):
        masks(**privacy)


@pytest.mark.parametrize("more", [{"type": "order"}, {"type": ["order"]}, {"type": "order", "key": 5}, 7, "order"])
def test_links_are_hashed_whatever_stands_beside_their_ends(more: Any) -> None:
    link = {"parent": {"type": "order", "key": "S1"}, "child": {"type": "picking", "key": "P1"}, "note": more}
    (made,) = passed(masks(hash=["data.keys.order"]), event(links=[link]))["data"]["links"]
    assert made == link | {"parent": {"type": "order", "key": made["parent"]["key"]}}
    assert made["parent"]["key"].startswith("hmac-")
