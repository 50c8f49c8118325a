"""Two catalogs told apart, and one laid over another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from milepost.catalog import loader, overlay
from milepost.catalog.diff import diff
from milepost.errors import CatalogError

TEXTS = loader.default_texts()
CONFIRMED = next(
    item for item in yaml.safe_load(TEXTS["slas.yaml"])["policies"] if item["name"] == "order-confirmation"
)


def told(**entries: Any) -> list[str]:
    changed = overlay.lay({"try.yaml": entries}, TEXTS)
    return list(diff(loader.load(TEXTS), loader.load(changed)).lines())


def test_a_changed_policy_is_told_field_by_field() -> None:
    changed = {**CONFIRMED, "within": "2h", "match": {"channel": ["edi"]}, "objective": {"target": 0.95}}
    del changed["owner"]
    assert told(policies=[changed]) == [
        "~ policy order-confirmation",
        "    within: 4h -> 2h",
        '    match.channel: none -> ["edi"]',
        "    objective.target: 0.99 -> 0.95",
        "    owner: order desk -> none",
    ]


def test_what_is_new_says_what_it_says() -> None:
    fresh = {"name": "stuck", "kind": "dwell", "model": "order", "start": "picked", "within": "1h"}
    assert told(policies=[fresh], hub_limit=50) == [
        "+ policy stuck is new",
        "    kind: dwell",
        "    model: order",
        "    start: picked",
        "    within: 1h",
        "~ hub limit",
        "    it: 1000 -> 50",
    ]


def test_policies_are_named_whose_calendar_changed() -> None:
    lines = told(calendars={"business": {"zone": "Europe/Vienna", "country": "AT"}})
    assert "    zone: Europe/Berlin -> Europe/Vienna" in lines
    assert "~ policy order-confirmation: judged anew, because calendar business changed" in lines


def test_what_is_gone_is_told() -> None:
    without = {**TEXTS, "slas.yaml": yaml.safe_dump({"policies": [CONFIRMED]})}
    found = diff(loader.load(TEXTS), loader.load(without))
    assert "- policy promised-delivery is gone" in list(found.lines())
    assert found.summary().startswith("policies: ")


def test_the_same_catalog_in_other_words_is_no_other() -> None:
    spelled = {**CONFIRMED, "warn_at": 0.8, "match": {}}
    assert told(policies=[spelled]) == []
    one, other = (loader.load(texts) for texts in (TEXTS, overlay.lay({"a.yaml": {"policies": [spelled]}}, TEXTS)))
    assert one.policy_versions == other.policy_versions
    assert one.version != other.version


def test_entries_are_laid_over_by_name(tmp_path: Path) -> None:
    (tmp_path / "routes.yaml").write_text("channels: [{name: ops, kind: email, to: [a@b.example]}]\nroutes: []\n")
    (tmp_path / "slas.yaml").write_text(yaml.safe_dump({"policies": [{**CONFIRMED, "within": "2h"}]}))
    laid = overlay.lay(overlay.read(tmp_path), TEXTS)
    before, after = loader.load(TEXTS), loader.load(laid)
    assert [one.name for one in after.policies] == [one.name for one in before.policies]
    assert [one.name for one in after.policies if one not in before.policies] == ["order-confirmation"]
    assert [channel.name for channel in after.routing.channels] == ["ops"]
    assert laid["journeys.yaml"] == TEXTS["journeys.yaml"]


@pytest.mark.parametrize("text", ["[1, 2]", "policies: [", None])
def test_what_is_no_catalog_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "try.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CatalogError, match=r"try\.yaml"):
        overlay.read(path)


def test_a_policy_is_written_out_with_its_calendar() -> None:
    text = overlay.written(TEXTS, "order-confirmation")
    assert text is not None
    assert yaml.safe_load(text)["policies"] == [CONFIRMED]
    assert list(yaml.safe_load(text)["calendars"]) == ["business"]
    assert "&" not in text
    assert overlay.written(TEXTS, "none") is None


def test_a_section_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(CatalogError, match=r"try\.yaml: polices is no section"):
        told(polices=[CONFIRMED])
