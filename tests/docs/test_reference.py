"""The reference names what there is: nothing is missing, and nothing is made up."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import sqlalchemy as sa
from starlette.routing import Route
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from alerting.explain import Change
from alerting.message import AlertView, ItemView, Related
from alerting.notifiers import webhook
from collector.metrics import Metrics
from dashboards.queries.journeys import HEALTHS
from milepost import contract
from milepost.catalog import (
    edi,
    epcis,
    flow,
    folder,
    loader,
    mapping,
    objective,
    oncall,
    policy,
    privacy,
    reconciliation,
    routing,
    schema,
    window,
)
from milepost.cli import app as cli
from milepost.clock import utc_now
from milepost.db.tables import metadata
from milepost.decisions.catalog import CatalogCache
from milepost.journeystate import Flag
from milepost.settings import Settings, variables
from milepost.wiring import web
from milepost.wiring.resources import Resources
from tests.docs.pages import DOCS, all_blocks, blocks, codes, name_of, named, rows, sections

REFERENCE = DOCS / "reference"
STRUCTS: Mapping[str, Mapping[str, type[msgspec.Struct]]] = {
    "catalog.md": {
        "Key rule": schema.KeyRule,
        "Key step": schema.KeyStep,
        "Model": schema.Model,
        "Milestone": schema.Milestone,
        "Completion": schema.Completion,
        "Exception rule": schema.ExceptionRule,
        "Policy": policy.Policy,
        "Silence": flow.Silence,
        "Rate": flow.Rate,
        "Backlog": flow.Backlog,
        "Exception match": policy.ExceptionMatch,
        "Calendar choice": policy.CalendarChoice,
        "Service class": policy.ServiceClass,
        "Objective": objective.Objective,
        "Anomaly": schema.AnomalySpec,
        "Calendar": schema.CalendarSpec,
        "routes.yaml": routing.Routing,
        "Channel": routing.Channel,
        "Route": routing.Route,
        "Escalation": oncall.Escalation,
        "Step": oncall.Step,
        "Person": oncall.Person,
        "Rotation": oncall.Rotation,
        "Digest": oncall.Digest,
        "Source": schema.SourceSpec,
        "Privacy": privacy.Privacy,
        "Signal rule": schema.SignalRule,
        "EPCIS": epcis.EpcisSpec,
        "Hook": schema.HookSpec,
        "Folder": folder.FolderSpec,
        "Window": window.Window,
        "Every": window.Every,
        "Once": window.Once,
        "Reconciliation": reconciliation.Reconciliation,
        "Side": reconciliation.Side,
        "Tolerance": reconciliation.Tolerance,
        "EDI addresses": edi.Edi,
        "EDI partner": edi.EdiPartner,
    },
    "events.md": {"The event": contract.Event, "Its data": contract.Data, "A link": contract.Link},
    "mappings.md": {
        "Mapping": mapping.MappingSpec,
        "Event rule": mapping.EventRule,
        "Choice": mapping.Choice,
        "Link": mapping.LinkRule,
        "Ignore rule": mapping.IgnoreRule,
        "Table": mapping.TableForm,
    },
    "webhooks.md": {
        "Payload": webhook.Payload,
        "Data": webhook.Data,
        "Alert": AlertView,
        "Change": Change,
        "Related": Related,
        "Item": ItemView,
    },
}
NOT_WRITTEN = {("catalog.md", "Model", "name")}  # the key of the mapping is the name
TABLES_WITH_DEFAULTS = ("catalog.md", "mappings.md")


def fields(page: str, heading: str) -> dict[str, msgspec.structs.FieldInfo]:
    found = msgspec.structs.fields(STRUCTS[page][heading])
    return {item.encode_name: item for item in found if (page, heading, item.name) not in NOT_WRITTEN}


@pytest.mark.parametrize(("page", "heading"), [(page, heading) for page, some in STRUCTS.items() for heading in some])
def test_every_field_stands_there(page: str, heading: str) -> None:
    section = sections(REFERENCE / page)[heading]
    assert named(section) == fields(page, heading).keys()
    if page in TABLES_WITH_DEFAULTS:
        for cells in rows(section):
            check_default(fields(page, heading)[codes(cells[0])[0]], cells[1])


def check_default(field: msgspec.structs.FieldInfo, shown: str) -> None:
    """A plain default is shown as it is written in YAML."""
    assert (shown == "required") <= (field.required or field.name in {"roots", "milestones"}), field.name
    default = field.default
    if field.required:
        assert shown == "required", field.name
    elif isinstance(default, bool | int | float | str | schema.Duration) and default != "" and shown.startswith("`"):
        text = str(default).lower() if isinstance(default, bool) else str(default)
        assert codes(shown)[0] == text, field.name


# --- settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_stands_there_with_its_default() -> None:
    stated = {
        codes(cells[0])[0]: cells[1].strip("`")
        for section in sections(REFERENCE / "settings.md").values()
        for cells in rows(section)
    }
    expected = {
        name: str(default).lower() if isinstance(default, bool) else str(default)
        for name, default in variables().items()
    }
    assert stated == expected


def test_no_page_names_a_setting_that_is_none() -> None:
    for page in DOCS.rglob("*.md"):
        words = {word for text in codes(page.read_text("utf-8")) for word in text.split() if "MILEPOST_" in word}
        used = {name for word in words for name in [word.split("=")[0].strip("\"'$:,;()[]{}")]}
        unknown = {name for name in used if name.startswith("MILEPOST_")} - variables().keys()
        assert not unknown - {"MILEPOST_", "MILEPOST_…"}, name_of(page)


# --- command line -----------------------------------------------------------------------------------------------------


def commands(command: Any = None, path: tuple[str, ...] = ("milepost",)) -> Iterator[tuple[str, TyperCommand]]:
    """(how it is called, command) of everything that does something."""
    command = command or get_command(cli)
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        assert isinstance(command, TyperCommand)
        arguments = [param for param in command.params if param.param_type_name == "argument"]
        shown = [f"{item.name}".upper() if item.required else f"[{item.name}]".upper() for item in arguments]
        yield " ".join((*path, *shown)), command


def test_every_command_and_option_stands_there() -> None:
    stated = {name: text for name, text in sections(REFERENCE / "cli.md").items() if name.startswith("milepost ")}
    assert stated.keys() == dict(commands()).keys()
    for name, command in commands():
        options = {
            option
            for param in command.params
            if param.param_type_name == "option" and not getattr(param, "hidden", False)
            for option in (*param.opts, *param.secondary_opts)
        }
        assert named(stated[name]) == options, name


def test_every_command_in_the_docs_is_one() -> None:
    """`milepost …` lines of shell blocks: command and options exist."""
    known = {name.split(" [")[0]: command for name, command in commands()}
    groups = {" ".join(word for word in name.split() if word.islower() or "-" in word): known[name] for name in known}
    for block in all_blocks("sh", "sh service", "sh database", "sh data", "sh docker", "sh quarantine", "sh correct"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = line.split("milepost ", 1)[1].split() if line.lstrip("$ (").startswith("milepost ") else []
            if not words:
                continue
            found = next((groups[name] for name in longest_first(words) if name in groups), None)
            assert found is not None, f"{block}: {line}"
            options = {word.split("=")[0] for word in words if word.startswith("--")}
            allowed = {option for param in found.params for option in (*param.opts, *param.secondary_opts)}
            assert options - allowed - {"--help"} == set(), f"{block}: {line}"


def longest_first(words: list[str]) -> list[str]:
    return [" ".join(["milepost", *words[:count]]) for count in (3, 2, 1)]


# --- HTTP -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """OpenAPI of the web process, as it is put together for real; no database is asked."""
    settings = Settings.load({"MILEPOST_SECRET": "x" * 32})
    engine = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    app = web.web_app(Resources(settings, engine, CatalogCache(), utc_now))
    document: dict[str, Any] = app.openapi()
    plain = [route for route in app.routes if isinstance(route, Route)]
    document["x-routes"] = {
        (method, route.path.replace(":path}", "}")) for route in plain for method in route.methods or ()
    }
    return document


def test_every_route_and_parameter_stands_there(described: dict[str, Any]) -> None:
    page = sections(REFERENCE / "http-api.md")
    stated = {
        name: text for name, text in page.items() if name.split()[0] in ("GET", "POST", "PUT", "DELETE", "OPTIONS")
    }
    real = {
        f"{method.upper()} {path}": operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }
    assert stated.keys() == real.keys()
    for name, operation in real.items():
        parameters = {item["name"] for item in operation.get("parameters", []) if item["in"] in ("query", "path")}
        assert named(stated[name]) - parameters - {"Content-Type", *MEDIA} == set(), name
        assert parameters - named(stated[name]) == set(), name


MEDIA = {
    "application/cloudevents+json", "application/cloudevents-batch+json", "application/json", "ce-*",
    "application/x-ndjson", "application/ndjson", "application/jsonl",
}  # fmt: skip


def test_no_other_route_is_public(described: dict[str, Any]) -> None:
    """What OpenAPI doesn't describe is for browsers."""
    hidden = {path for _, path in described["x-routes"]} - described["paths"].keys()
    api = {path for path in hidden if path.startswith("/v1") and "{rest" not in path}
    assert api == set()


def test_every_status_of_sending_stands_there(described: dict[str, Any]) -> None:
    text = sections(REFERENCE / "http-api.md")["POST /v1/events"]
    stated = {cells[0] for cells in rows(text) if cells[0].isdigit()}
    assert stated == described["paths"]["/v1/events"]["post"]["responses"].keys()


def test_every_choice_of_a_parameter_stands_there(described: dict[str, Any]) -> None:
    page = sections(REFERENCE / "http-api.md")
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            for item in operation.get("parameters", []):
                for choice in choices(item.get("schema", {})):
                    if item["in"] == "query":
                        assert f"`{choice}`" in page[f"{method.upper()} {path}"], f"{path}: {item['name']}: {choice}"
    assert all(f"`{health}`" in page["GET /v1/journeys"] for health in HEALTHS)


def choices(schema_: Mapping[str, Any]) -> list[str]:
    inner = [choice for part in schema_.get("anyOf", ()) for choice in choices(part)]
    return [*schema_.get("enum", ()), *inner]


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_every_table_stands_there_with_its_writer() -> None:
    stated = {
        (codes(cells[0])[0], codes(cells[1])[0])
        for section in sections(REFERENCE / "database.md").values()
        for cells in rows(section)
    }
    assert stated == {(table.fullname, table.info["writer"]) for table in metadata.tables.values()}


def test_every_metric_stands_there() -> None:
    families = {(family.name, family.type) for family in Metrics().registry.collect()}
    (section,) = (text for text in sections(REFERENCE / "metrics.md").values() if "counter" in text)
    assert {(codes(cells[0])[0], cells[1]) for cells in rows(section)} == families


def test_event_types_and_flags_stand_there() -> None:
    page = sections(REFERENCE / "events.md")
    catalog = loader.load(loader.default_texts())
    known = {event for model in catalog.models.values() for step in model.milestones for event in step.events}
    known |= {event for model in catalog.models.values() for event in model.cancelled_by}
    assert set(codes("\n".join(cells[1] for cells in rows(page["Types"])))) == known
    assert named(page["Flags"]) == {str(flag.name).lower() for flag in Flag}


def test_the_limits_of_an_event_are_those_of_the_contract() -> None:
    text = (REFERENCE / "events.md").read_text("utf-8")
    assert f"{contract.MAX_KEYS} keys at most" in text
    assert f"relations, {contract.MAX_LINKS} at most" in text
    assert f"null}}`, {contract.MAX_ATTRIBUTES} at most" in text
    assert "five minutes" in text
    assert contract.MAX_SKEW_US == 5 * 60 * 1_000_000
    assert all(f"`{outcome}`" in text for outcome in get_args(contract.Outcome))


@pytest.mark.parametrize("page", [REFERENCE / "webhooks.md", REFERENCE / "events.md"], ids=name_of)
def test_the_example_is_one(page: Path) -> None:
    (example,) = blocks(page, "json")
    if page.name == "events.md":
        contract.decode(example.text.encode())
        return
    decoded = msgspec.json.decode(example.text.encode(), type=webhook.Payload)
    assert json.loads(msgspec.json.encode(decoded)) == json.loads(example.text)
