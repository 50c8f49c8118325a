"""Which policy of a family runs, what a date means, and what happens to a faulty one."""

from collections.abc import Mapping
from typing import Any

import pytest

from milepost.calendar import CalendarBoundsError
from milepost.catalog import loader, overlay
from milepost.catalog.policy import Policy
from milepost.clock import from_us
from milepost.errors import CatalogError
from sla.policy import Compiled, UnreadableDate, compile_catalog, select
from tests.sla_cases import at, catalog

BETWEEN = {"kind": "between", "start": "received", "end": "confirmed", "within": "4h"}
BY = {"kind": "by", "end": "delivered", "date": "promised_date"}


def chosen(attributes: Mapping[str, Any], *policies: Mapping[str, Any]) -> str | None:
    families = Compiled(catalog(*({**BETWEEN, **policy} for policy in policies))).families["order"]
    assert len(families) == 1
    policy = select(families[0], attributes)
    return policy.name if policy is not None else None


GENERAL = {"name": "general"}
CHANNEL = {"name": "channel", "match": {"channel": ["Shopify", "amazon"]}}
KEY_ACCOUNT = {"name": "key-account", "match": {"channel": ["edi"], "partner": ["ACME"]}}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, "general"),
        ({"channel": "phone"}, "general"),
        ({"channel": "shopify"}, "channel"),
        ({"channel": " AMAZON "}, "channel"),
        ({"channel": "edi", "partner": "acme"}, "key-account"),
        ({"channel": "edi", "partner": "other"}, "general"),
    ],
)
def test_the_most_attributes_win(attributes: dict[str, object], expected: str) -> None:
    assert chosen(attributes, GENERAL, CHANNEL, KEY_ACCOUNT) == expected


def test_then_priority_wins_and_then_the_name() -> None:
    one = {"name": "b-one", "match": {"channel": ["edi"]}}
    other = {"name": "a-other", "match": {"partner": ["ACME"]}}
    both = {"channel": "edi", "partner": "ACME"}
    assert chosen(both, one, other) == "a-other"
    assert chosen(both, {**one, "priority": 1}, other) == "b-one"


def test_nothing_runs_when_nothing_matches() -> None:
    assert chosen({"channel": "phone"}, CHANNEL) is None


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (7, "7"), (2.5, "2.5")])
def test_values_that_are_no_text_match_as_they_are_written(value: object, text: str) -> None:
    assert chosen({"express": value}, {"name": "express", "match": {"express": [text]}}) == "express"


def test_a_partner_matches_however_it_is_spelled() -> None:
    policy = {**BETWEEN, "name": "acme", "match": {"partner": ["ACME"]}}
    compiled = Compiled(catalog(policy, partners_yaml={"aliases": {"partner": {"ACME": ["Acme Corp."]}}}))
    assert compiled.policies["acme"].applies({"partner": "acme corp."})
    assert not compiled.policies["acme"].applies({"partner": "Acme Ltd."})


def test_promises_of_different_things_are_no_family() -> None:
    policies = [
        {**BETWEEN, "name": "a"},
        {**BETWEEN, "name": "b", "end": "allocated"},
        {**BY, "name": "c"},
        {**BY, "name": "d", "date": "agreed_date"},
        {**BY, "name": "e", "per": "shipment"},
    ]
    assert len(Compiled(catalog(*policies)).families["order"]) == 5


@pytest.mark.parametrize(
    ("value", "due"),
    [
        ("2026-03-20", "2026-03-20 22:59:59.999999"),  # the end of the day in Berlin
        ("2026-03-29", "2026-03-29 21:59:59.999999"),  # summer time began
        ("20260320", "2026-03-20 22:59:59.999999"),
        ("2026-03-20T14:00:00Z", "2026-03-20 14:00"),
        ("2026-03-20T14:00:00+05:30", "2026-03-20 08:30"),
        ("2026-03-20 14:00", "2026-03-20 13:00"),  # the calendar's wall time
    ],
)
def test_a_date(value: str, due: str) -> None:
    policy = Compiled(catalog({**BY, "name": "p", "calendar": "business"})).policies["p"]
    assert from_us(policy.promised(value)) == at(due)


def test_grace_runs_in_business_time() -> None:
    policy = Compiled(catalog({**BY, "name": "p", "calendar": "business", "grace": "2h"})).policies["p"]
    # Friday 15:00 Berlin plus two hours; Friday 17:00 plus two hours is Monday 09:00
    assert from_us(policy.promised("2026-03-20T14:00:00Z")) == at("2026-03-20 16:00")
    assert from_us(policy.promised("2026-03-20T16:00:00Z")) == at("2026-03-23 08:00")


@pytest.mark.parametrize("value", ["soon", "2026-13-01", "2026-03-20T25:00", "20.03.2026", 20260320, True, "  "])
def test_what_is_no_date(value: object) -> None:
    policy = Compiled(catalog({**BY, "name": "p"})).policies["p"]
    with pytest.raises(UnreadableDate):
        policy.promised(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["0001-01-01", "9999-12-31", "2300-01-01T00:00Z", "1900-01-01T00:00"])
def test_a_date_outside_all_calendars(value: str) -> None:
    policy = Compiled(catalog({**BY, "name": "p"})).policies["p"]
    with pytest.raises(CalendarBoundsError):
        policy.promised(value)


def test_a_faulty_calendar_disables_only_its_policies() -> None:
    calendars = {"broken": {"zone": "UTC", "weekly": {"mon": [["09:00", "08:00"]]}}}
    made = catalog(
        {**BETWEEN, "name": "good"},
        {**BETWEEN, "name": "bad", "end": "allocated", "calendar": "broken"},
        calendars_yaml={"calendars": calendars},
    )
    compiled = Compiled(made)
    assert list(compiled.policies) == ["good"]
    assert "runs over midnight" in compiled.disabled["bad"]


CLASSES = {"hourly": {"within": "1h", "calendar": "business", "severity": "critical", "warn_at": None}}


def classed(policy: Mapping[str, Any], classes: Mapping[str, Any] = CLASSES) -> Policy:
    told = {"model": "order", "start": "received", "name": "p", "class": "hourly", **policy}
    (found,) = catalog(slas_yaml={"classes": classes, "policies": [told]}).policies
    return found


def test_what_a_policy_says_wins_over_its_class() -> None:
    plain = classed({"kind": "between", "end": "confirmed"})
    assert (str(plain.within), plain.calendar, plain.severity, plain.warn_at) == ("1h", "business", "critical", None)
    own = classed({"kind": "between", "end": "confirmed", "within": "2h", "warn_at": 0.5, "severity": "info"})
    assert (str(own.within), own.calendar, own.severity, own.warn_at) == ("2h", "business", "info", 0.5)
    by = classed({"kind": "by", "end": "confirmed", "date": "promised_date"})
    assert (by.within, by.calendar) == (None, "business")


def test_a_class_that_changes_makes_another_version() -> None:
    def version(within: str) -> str:
        classes = {"hourly": {"within": within}}
        told = {"model": "order", "start": "received", "kind": "dwell", "name": "p", "class": "hourly"}
        return catalog(slas_yaml={"classes": classes, "policies": [told]}).policy_versions["p"]

    assert version("1h") != version("2h")


def test_a_class_that_is_none() -> None:
    with pytest.raises(CatalogError, match="p: class: there is no class hourly; there are none"):
        classed({"kind": "dwell"}, {})
    with pytest.raises(CatalogError, match="hourly: Object contains unknown field `owner`"):
        classed({"kind": "dwell"}, {"hourly": {"within": "1h", "owner": "me"}})


def test_a_policy_is_written_with_its_class_and_calendars() -> None:
    slas = "classes: {hourly: {within: 1h, calendar: {attribute: carrier, calendars: {X: business}, else: warehouse}}}"
    texts = {**loader.default_texts(), "slas.yaml": f"{slas}\npolicies: [{{name: p, kind: dwell, class: hourly}}]"}
    written = overlay.written(texts, "p") or ""
    assert [part in written for part in ("hourly:", "  business:", "  warehouse:")] == [True] * 3


def test_one_version_is_compiled_once() -> None:
    policy = {**BETWEEN, "name": "p"}
    assert compile_catalog(catalog(policy)) is compile_catalog(catalog(policy))
