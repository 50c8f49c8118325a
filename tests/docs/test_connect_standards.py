"""The guides to OpenTelemetry and EPCIS, run as they stand against a real collector."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from milepost.catalog import epcis, loader
from milepost.clock import utc_now
from milepost.decisions import catalog
from tests.databases import Databases
from tests.docs.pages import DOCS, blocks
from tests.docs.test_how_to import shell
from tests.served import Served, collector, wait_until

OTEL = DOCS / "how-to" / "connect-opentelemetry.md"
EPCIS = DOCS / "how-to" / "connect-epcis.md"


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Served]:
    with databases.fresh() as url, collector(url) as running:
        (rules,) = blocks(OTEL, "yaml")
        with running.engine.begin() as connection:
            texts = {**loader.default_texts(), "sources.yaml": rules.text}
            applied = catalog.apply(connection, texts, actor="test", now=utc_now())
        assert [rule.type for rule in applied.sources["esb"].signals] == [
            "order.received",
            "asn.received",
            "order.held",
        ]
        wait_until(lambda: running.client.post("/v1/traces", json={}, headers=key(running)).status_code == 200)
        yield running


def key(served: Served) -> dict[str, str]:
    return {"authorization": f"Bearer {served.keys['anybody']}"}


def test_a_program_sends_by_its_environment(served: Served, tmp_path: Path) -> None:
    (_, exporter, _), (program,) = blocks(OTEL, "sh"), blocks(OTEL, "python")
    (tmp_path / "orders.py").write_text(program.text)
    script = f"{exporter.text}\n{sys.executable} orders.py"
    shell(script, tmp_path, {"URL": served.url, "KEY": served.keys["anybody"]})
    (event,) = [json.loads(entry.body) for entry in served.taken()]
    assert (event["source"], event["type"]) == ("esb", "order.received")
    assert event["data"]["keys"] == {"order": ["S00024"]}
    assert event["data"]["attributes"] == {"channel": "web"}


def test_a_span_by_hand(served: Served, tmp_path: Path) -> None:
    (_, _, curl), (answer,) = blocks(OTEL, "sh"), blocks(OTEL, "json")
    done = shell(curl.text, tmp_path, {"URL": served.url, "KEY": served.keys["anybody"]})
    assert json.loads(done.stdout) == json.loads(answer.text)
    (event,) = [json.loads(entry.body) for entry in served.taken()]
    assert event["correlationid"] == "5b8efff798038103d269b633813fc60c"


def test_the_agent_s_configuration_is_yaml() -> None:
    (configuration,) = blocks(OTEL, "text")
    pipelines = yaml.safe_load(configuration.text)["service"]["pipelines"]
    assert pipelines.keys() == {"traces", "logs"}


# --- EPCIS ------------------------------------------------------------------------------------------------------------


def test_a_capture_and_its_state(served: Served, tmp_path: Path) -> None:
    _, capture, state = blocks(EPCIS, "sh")
    (shown,) = blocks(EPCIS, "json")
    done = shell(f"{capture.text}\n{state.text}", tmp_path, {"URL": served.url, "KEY": served.keys["north"]})
    told, expected = json.loads(done.stdout), json.loads(shown.text)
    assert told.keys() == expected.keys()
    assert {name: item for name, item in told.items() if expected[name] != "…"} == {
        name: item for name, item in expected.items() if item != "…"
    }
    (event,) = [json.loads(entry.body) for entry in served.taken()]
    assert event["type"] == "shipment.dispatched"
    assert event["data"]["keys"] == {"customer_po": ["1152"], "shipment": ["DN-77"], "package": ["106141412345678908"]}


def test_the_tables_are_those_of_the_code() -> None:
    page = EPCIS.read_text("utf-8")
    for step, kind in epcis.TYPES.items():
        assert all(f"`{word}`" in page for word in (*step.split("/"), str(kind))), step
    for document, key_type in epcis.TRANSACTIONS.items():
        assert all(f"`{word}`" in page for word in (document.rpartition("/")[2], str(key_type))), document


def test_the_catalog_of_the_page_is_one() -> None:
    (rules,) = blocks(EPCIS, "yaml")
    spec = loader.load({**loader.default_texts(), "sources.yaml": rules.text}).sources["acme"].epcis
    assert spec.type_of("receiving", "") == "shipment.delivered"
    assert spec.type_of("inspecting", "") is None
    assert spec.key_of("receiving", "po") == "customer_po"
