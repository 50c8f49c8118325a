"""Every act of administration leaves a line in the audit, by command and over HTTP.

A new command or route fails here until somebody says whether it is an act, and of which name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from milepost import cli
from milepost.auth import split_key
from milepost.clock import utc_now
from milepost.decisions import access, audit
from milepost.decisions.catalog import CatalogCache
from milepost.settings import Settings
from milepost.wiring import web
from milepost.wiring.resources import Resources
from tests.docs.test_reference import commands

ACTS = {
    "keys create": "key.created",
    "keys rotate": "key.rotated",
    "keys revoke": "key.revoked",
    "users add": "user.created",
    "users password": "user.password_set",
    "users disable": "user.disabled",
    "users enable": "user.enabled",
    "users role": "user.role_set",
    "login-link": "login.issued",
    "catalog apply": "catalog.applied",
    "import csv": "import.done",
    "import ocel": "import.done",
    "odoo backfill": "odoo.backfilled",
    "alerts ack": "alert.acknowledged",
    "alerts resolve": "alert.resolved",
    "silences add": "silence.added",
    "silences end": "silence.ended",
    "oncall override add": "oncall.overridden",
    "oncall override end": "oncall.override_ended",
    "alerts retry": "notification.retried",
    "alerts test-route": "route.tested",
    "quarantine edit": "quarantine.edited",
    "quarantine replay": "quarantine.replayed",
    "quarantine discard": "quarantine.discarded",
    "rebuild": "rebuilt",
    "journeys cut": "correlation.cut",
    "journeys exclude": "correlation.exclude",
    "journeys merge": "correlation.merge",
    "journeys split": "correlation.split",
    "journeys lift": "correlation.lift",
    "journeys reverse": "correlation.reverse",
    "export ocel-json": "export.begun",
    "export ocel-sqlite": "export.begun",
    "export xes": "export.begun",
    "export csv": "export.begun",
    "export parquet": "export.begun",
}
"""Commands that decide something. Tests of quarantine, alerts and rebuild look for their lines themselves."""
LOOKS = {
    "run", "demo", "version", "db migrate", "db check", "keys list", "users list", "catalog check", "catalog show",
    "mapping test", "edi show", "odoo check", "alerts list", "quarantine groups", "quarantine list", "quarantine show",
    "audit list", "audit verify", "contract schema", "journeys explain", "journeys hubs", "journeys decisions",
    "folders list", "folders files", "journeys reused", "exceptions list", "exceptions groups", "gaps",
    "reconcile list", "reconcile run", "reconcile report", "alerts parked", "sla objectives", "sla report",
    "sla backtest", "catalog diff", "catalog versions",
    "oncall show", "oncall list", "silences list", "silences show", "silences preview",
}  # fmt: skip
"""Commands that look, or that do what Milepost does by itself."""
HTTP_ACTS = {
    "POST /v1/alerts/{alert_id}/acknowledge": "alert.acknowledged",
    "POST /v1/alerts/{alert_id}/resolve": "alert.resolved",
    "POST /v1/silences": "silence.added",
    "POST /v1/oncall/overrides": "oncall.overridden",
    "POST /v1/oncall/overrides/{number}/end": "oncall.override_ended",
    "POST /v1/silences/{number}/end": "silence.ended",
    "POST /v1/alerts/test-route": "route.tested",
    "POST /v1/notifications/retry": "notification.retried",
    "POST /v1/quarantine/{number}/edit": "quarantine.edited",
    "POST /v1/quarantine/{number}/replay": "quarantine.replayed",
    "POST /v1/quarantine/{number}/discard": "quarantine.discarded",
    "POST /v1/quarantine/edit": "quarantine.edited",
    "POST /v1/quarantine/replay": "quarantine.replayed",
    "POST /v1/quarantine/discard": "quarantine.discarded",
    "POST /v1/decisions": "correlation.cut",
    "POST /v1/decisions/{number}/reverse": "correlation.reverse",
}


def test_every_command_is_known_as_an_act_or_a_look() -> None:
    named = {name.removeprefix("milepost ").split(" [")[0] for name, _ in commands()}
    assert {" ".join(word for word in name.split() if not word.isupper()) for name in named} == ACTS.keys() | LOOKS


def test_every_route_that_changes_something_is_known() -> None:
    """Sending events is no act of administration."""
    engine = sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    settings = Settings.load({"MILEPOST_SECRET": "x" * 32})
    document = web.web_app(Resources(settings, engine, CatalogCache(), utc_now)).openapi()
    found = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if method not in ("get", "options") and "send" not in operation.get("tags", ())
    }
    assert found == HTTP_ACTS.keys()


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, database: str) -> Any:
    monkeypatch.setenv("MILEPOST_DATABASE_URL", database)
    monkeypatch.delenv("MILEPOST_CATALOG", raising=False)

    def type_(*words: str, answer: str | None = None) -> str:
        result = CliRunner().invoke(cli.app, list(words), input=answer)
        assert result.exit_code == 0, result.output
        return result.stdout

    return type_


def test_commands_leave_their_lines_in_one_unbroken_chain(typed: Any, engine: sa.Engine, tmp_path: Path) -> None:
    first = split_key(typed("keys", "create", "North", "--source", "/wms"))[0]
    second = split_key(typed("keys", "rotate", first, "--overlap", "1h"))[0]
    typed("keys", "revoke", second)
    password = "correct horse\n"
    typed("users", "add", "ann", answer=password)
    typed("users", "password", "ann", answer=password)
    typed("users", "role", "ann", "operator")
    typed("users", "disable", "ann")
    typed("users", "enable", "ann")
    typed("login-link", "ann")
    (tmp_path / "partners.yaml").write_text("aliases:\n  partner:\n    ACME: [acme inc]\n")
    typed("catalog", "apply", str(tmp_path))
    (tmp_path / "orders.csv").write_text("number,at\nS1,2026-11-20\n")
    mapping = "source: x\ntable: {}\nid: number\nevents: [{type: order.received, time: at, keys: {order: number}}]\n"
    (tmp_path / "mapping.yaml").write_text(mapping)
    typed("import", "csv", str(tmp_path / "orders.csv"), "--mapping", str(tmp_path / "mapping.yaml"))
    with engine.connect() as connection:
        lines = audit.lines(connection)
    done = [line.action for line in lines if line.actor != audit.SYSTEM]
    assert done == [
        "key.created", "key.created", "key.rotated", "key.revoked", "user.created", "user.password_set",
        "user.role_set", "user.disabled", "user.enabled", "login.issued", "catalog.applied", "import.done",
    ]  # fmt: skip
    assert {line.actor[:4] for line in lines if line.actor != audit.SYSTEM} == {"cli:"}
    assert all(line.target for line in lines)
    head = typed("audit", "verify").strip()
    assert head == lines[-1].hash.hex()
    assert typed("audit", "verify", "--head", head).strip() == head
    assert typed("audit", "list", "--action", "user.role_set", "--json").count("\n") == 1


def test_tampering_is_told_with_its_place_and_code_1(typed: Any, engine: sa.Engine) -> None:
    typed("keys", "create", "North", "--source", "/wms")
    head = typed("audit", "verify").strip()
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE input.audit SET actor = 'bob' WHERE action = 'key.created'"))
    result = CliRunner().invoke(cli.app, ["audit", "verify"])
    assert result.exit_code == 1
    assert "key.created by bob): its content does not match its hash" in result.stderr
    with engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM input.audit WHERE action = 'key.created'"))
    assert CliRunner().invoke(cli.app, ["audit", "verify"]).exit_code == 0, "nobody can tell without the head"
    result = CliRunner().invoke(cli.app, ["audit", "verify", "--head", head])
    assert result.exit_code == 1
    assert "removed" in result.stderr


def test_a_rotated_key_works_on_for_the_overlap_and_names_its_successor(typed: Any, engine: sa.Engine) -> None:
    first = split_key(typed("keys", "create", "North", "--source", "/wms", "--type", "a.*", "--scope", "send"))[0]
    text = typed("keys", "rotate", first, "--overlap", "24h", "--expires", "365d")
    second = split_key(text)[0]
    with engine.connect() as connection:
        keys = {record.key.key_id: record for record in access.list_keys(connection)}
    old, new = keys[first].key, keys[second].key
    now = utc_now()
    assert old.usable(now)
    assert new.usable(now)
    assert old.expires_at is not None
    assert 23 < (old.expires_at - now).total_seconds() / 3600 <= 24
    assert (new.name, new.sources, new.types, new.scopes) == (old.name, old.sources, old.types, old.scopes)
    assert keys[first].successor == second
    listed = typed("keys", "list")
    assert next(line for line in listed.splitlines() if line.startswith(first)).rstrip().endswith(second)
    assert split_key(text)[1] not in listed
    again = CliRunner().invoke(cli.app, ["keys", "rotate", first])
    assert again.exit_code == 1
    assert f"was rotated already, to {second}" in again.stderr
