"""What `milepost catalog check` finds in a catalog that can be used, and where; and models in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from collector.odoo import mapping as odoo
from milepost.catalog import explain, known, lines, loader
from milepost.catalog.findings import Finding, findings
from milepost.cli import app
from milepost.errors import CatalogError

DEFAULT = loader.default_texts()
REPAIR = """\
keys:
  repair: {normalise: [alphanumeric], junk: [NEW]}
  ticket: {}
  part: {}
models:
  repair:
    title: Repair
    roots: [repair, ticket]
    tree:
      repair: [ticket, part]
    milestones:
      - {name: opened, events: [repair.opened]}
      - {name: ordered, events: [part.ordered], all: part}
      - {name: mended, events: [repair.mended]}
      - {name: billed, events: [repair.billed], beside: true}
    complete_when:
      - {reached: [mended]}
    cancelled_by: [repair.cancelled]
"""
SLAS = """\
policies:
  - name: mending
    kind: between
    model: repair
    start: opened
    end: mended
    within: 5d
"""


def texts(journeys: str = REPAIR, slas: str = SLAS) -> dict[str, str]:
    own = {"journeys.yaml": journeys, "slas.yaml": slas, "reconciliations.yaml": "reconciliations: {}\n"}
    return {**DEFAULT, **own}


def found(journeys: str = REPAIR, slas: str = SLAS) -> list[Finding]:
    own = texts(journeys, slas)
    return findings(own, loader.load(own))


def test_the_built_in_catalog_has_no_faults() -> None:
    assert findings(DEFAULT, loader.load(DEFAULT)) == []
    assert found() == []


CASES: list[tuple[str, str, str, int, str]] = [
    # what is written, what is written instead, level, line, words of the finding
    ("[ticket, part]", "[ticket, part]\n      depot: [part]", "warning", 11, "no root stands above depot"),
    ("repair: [ticket, part]", "repair: [part]", "warning", 8, "ticket stands below none of the roots before it"),
    ("  part: {}\n", "", "warning", 8, "part has no entry in keys"),
    ("  part: {}\n", "  part: {}\n  parts: {}\n", "warning", 5, "has a type parts (did you mean part?)"),
    ("[NEW]", '[NEW, "-/-"]', "warning", 2, 'nothing is left of "-/-"'),
    ("[repair.opened]", "[repair.opened, order.recieved]", "warning", 12, "(did you mean order.received?)"),
    ("[repair.opened]", "[repair.opened, order.received]", "warning", 12, "order is no type of this model"),
    ("[repair.opened]", "[repair.opened, repair.opened]", "warning", 12, "stands here twice"),
    ("[part.ordered], all", "[repair.ordered], all", "error", 13, "none of its events is about a part"),
    ("[repair.mended]", "[repair.opened, repair.mended]", "warning", 14, "opened is never the stage"),
    ("[repair.cancelled]", "[part.cancelled]", "error", 18, "about no root of this model"),
    ("- {reached: [mended]}", "- {reached: [mended], without: [depot]}", "warning", 17, "no journey has one"),
    ("- {reached: [mended]}", "- {reached: [mended], without: [repair]}", "error", 17, "every journey that began with"),
    ("{reached: [mended]}", "{reached: [ordered], without: [part]}", "error", 17, "of which there must be none"),
    (
        "{reached: [mended]}",
        "{reached: [mended]}\n      - {reached: [mended, opened]}",
        "warning",
        18,
        "an earlier way",
    ),
    ("    complete_when:\n      - {reached: [mended]}\n", "", "warning", 6, "its journeys never end"),
]


@pytest.mark.parametrize(("old", "new", "level", "line", "words"), CASES, ids=[case[4] for case in CASES])
def test_a_finding_names_the_line(old: str, new: str, level: str, line: int, words: str) -> None:
    assert old in REPAIR
    told = [item for item in found(REPAIR.replace(old, new)) if words in item.text]
    assert [(item.level, item.file, item.line) for item in told] == [(level, "journeys.yaml", line)]


@pytest.mark.parametrize(
    ("old", "new", "level", "line", "words"),
    [
        ("start: opened\n    end: mended", "start: mended\n    end: opened", "warning", 6, "ranks not above"),
        ("within: 5d", "within: 5d\n    per: part", "error", 5, "none of the events of opened is about a part"),
        ("between\n    model: repair\n    start: opened\n    end: mended",
         "dwell\n    model: repair\n    start: mended", "warning", 5, "nothing ranks above mended"),
    ],
)  # fmt: skip
def test_promises_are_looked_at_too(old: str, new: str, level: str, line: int, words: str) -> None:
    told = [item for item in found(slas=SLAS.replace(old, new)) if words in item.text]
    assert [(item.level, item.file, item.line) for item in told] == [(level, "slas.yaml", line)]


def test_two_models_must_not_turn_types_round() -> None:
    other = """\
  part_supply:
    roots: [part]
    tree:
      part: [repair]
    milestones: [{name: made, events: [part.made]}]
    complete_when: [{reached: [made]}]
"""
    told = [item for item in found(REPAIR + other) if item.level == "error"]
    assert [(item.line, item.place) for item in told] == [(22, "part_supply: tree: part")]
    assert "repair stands above part in repair and below it in part_supply: a cycle" in told[0].text


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[repair.opened]", "[message.received]", "journeys.yaml:12: repair: milestones: opened: message.received is"),
        ("all: part", "all: prat", "journeys.yaml:13: repair: milestones: ordered: all: prat is not in the tree"),
        ("[ticket, part]", "[ticket, part]\n      part: [repair]", "journeys.yaml:9: repair: tree: cycle part"),
        ("part]", "correlation]", "journeys.yaml:9: repair: tree: correlation is no type of object: leave it out"),
        ("ticket]", "correlation]", "journeys.yaml:8: repair: roots: correlation is no type of object: leave it out"),
        ("beside: true", "beside: maybe", "journeys.yaml:15: repair: milestones[3].beside: "),
        ("[alphanumeric]", "[mystery]", "journeys.yaml:2: repair: normalise[0]: "),
        ("[mended]}", "[mended", "journeys.yaml:18: not valid YAML: while parsing a flow sequence, did not find"),
        ("  part: {}\n", "  part: {}\n  part: {}\n", "journeys.yaml:5: part stands on line 4 already; keep one"),
        ("[NEW]", "[2026-99-99]", "journeys.yaml: not valid YAML: month must be in 1..12"),
    ],
)
def test_a_catalog_that_can_not_be_used_is_told_with_its_line(old: str, new: str, told: str) -> None:
    own = texts(REPAIR.replace(old, new, 1))
    with pytest.raises(CatalogError) as refused:
        loader.load(own)
    assert lines.located(own, str(refused.value)).startswith(told)


def test_reconciliations_of_events_that_nothing_tells() -> None:
    text = """\
reconciliations:
  mended:
    left: {events: [repair.opend]}
    right:
      events: [repair.opened, order.receivd]
    unless: [order.canceled]
"""
    own = {**texts(), "reconciliations.yaml": text}
    assert [(one.line, one.level, one.place) for one in findings(own, loader.load(own))] == [
        (3, "warning", "mended: left: events[0]"),
        (5, "warning", "mended: right: events[1]"),
        (6, "warning", "mended: unless[0]"),
    ]


def test_keys_that_a_merge_overrides_stand_once() -> None:
    text = "one: &one {a: 1}\ntwo: &two {<<: *one, a: 2}\nthree: {<<: *two, <<: *one, a: 3}\n"
    assert lines.parse("own.yaml", text)["three"] == {"a": 3}


def test_the_command_explains_and_judges(tmp_path: Path) -> None:
    for name, text in texts().items():
        if name in ("journeys.yaml", "slas.yaml", "reconciliations.yaml"):
            (tmp_path / name).write_text(text, "utf-8")
    run = CliRunner()
    done = run.invoke(app, ["catalog", "check", str(tmp_path), "--explain"])
    assert done.exit_code == 0, done.output
    assert "repair\n    ├─ ticket\n    └─ part\n" in done.stdout
    assert "2  ordered  part.ordered, of every part that is not cancelled" in done.stdout
    (tmp_path / "journeys.yaml").write_text(REPAIR.replace("  part: {}\n", ""), "utf-8")
    assert run.invoke(app, ["catalog", "check", str(tmp_path)]).exit_code == 0
    assert run.invoke(app, ["catalog", "check", str(tmp_path), "--strict"]).exit_code == 1
    (tmp_path / "journeys.yaml").write_text(REPAIR.replace("[repair.cancelled]", "[part.cancelled]"), "utf-8")
    assert run.invoke(app, ["catalog", "check", str(tmp_path)]).exit_code == 1
    assert run.invoke(app, ["catalog", "check", "--model", "nothing"]).exit_code == 1


def test_every_built_in_model_can_be_explained() -> None:
    catalog = loader.load(DEFAULT)
    assert {"order", "shipment", "purchase_order", "return", "inventory_update"} <= catalog.models.keys()
    for model in catalog.models.values():
        told = explain.explain(catalog, model)
        assert all(milestone.name in told for milestone in model.milestones)
        assert all(kind in told for kind in loader.types_of(model)), json.dumps(sorted(loader.types_of(model)))


def test_what_odoo_tells_is_known() -> None:
    told = {f"{kind}.{verb}" for (kind, _), verbs in odoo._VERBS.items() for verb in verbs.values()}
    assert told <= known.event_types(loader.load(DEFAULT))
