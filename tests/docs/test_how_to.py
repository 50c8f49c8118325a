"""The how-to guides, run as they stand: shells and Python against a real collector and a real database."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from milepost.catalog.findings import findings
from milepost.catalog.lines import parse
from milepost.catalog.loader import default_texts, load
from milepost.catalog.overlay import lay
from milepost.cli import app as cli
from milepost.client import Client
from milepost.clock import utc_now
from milepost.db.tables import api_keys, audit, journeys, users
from milepost.decisions import access, catalog, correlation
from milepost.inbox import log
from milepost.signing import sign
from tests.chain import Chain
from tests.databases import Databases
from tests.docs.pages import DOCS, ROOT, Block, blocks, named
from tests.relay import relay
from tests.served import Served, collector

HOW_TO = DOCS / "how-to"
SEND = HOW_TO / "send-events.md"
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("MILEPOST_")}
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def shell(script: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it in bash; anything that fails in it fails the test."""
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder, env={**PLAIN, "PATH": PATH, **environment}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done


def command(line: str, database: str) -> str:
    """What a line `milepost …` prints, without the second that a process of its own takes."""
    done = CliRunner().invoke(cli, shlex.split(line)[1:], env={"MILEPOST_DATABASE_URL": database})
    assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
    return done.stdout


@pytest.fixture(scope="module")
def served(databases: Databases) -> Iterator[Served]:
    """One collector for the page: its examples don't depend on one another."""
    with databases.fresh() as url, collector(url) as running:
        yield running


def requests_and_answers() -> list[tuple[Block, Block]]:
    found = blocks(SEND, "sh", "json")
    return [(one, following) for one, following in pairwise(found) if following.info == "json"]


@pytest.mark.parametrize(("request_", "answer"), requests_and_answers(), ids=lambda block: str(block.line))
def test_every_request_gets_the_answer_shown(served: Served, tmp_path: Path, request_: Block, answer: Block) -> None:
    done = shell(request_.text, tmp_path, {"URL": served.url, "KEY": served.keys["north"]})
    assert json.loads(done.stdout) == json.loads(answer.text)


def test_every_request_of_the_page_is_tried() -> None:
    text = SEND.read_text("utf-8")
    assert len(requests_and_answers()) == text.count('/v1/events" -H')


def test_the_readmes_request_is_accepted(served: Served, tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "README.md", "sh curl")
    script = block.text.replace("http://127.0.0.1:8080", served.url)
    assert json.loads(shell(script, tmp_path, {"KEY": served.keys["north"]}).stdout) == {"accepted": 1, "rejected": []}


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node")
def test_the_sender_in_javascript_sends_and_repeats(served: Served, tmp_path: Path) -> None:
    (block,) = blocks(SEND, "js")
    served.taken()
    script = write(block, tmp_path / "send.mjs")
    with relay(served.url) as door:
        environment = {**PLAIN, "URL": door.url, "KEY": served.keys["north"]}
        with subprocess.Popen(["node", script], env=environment, stdout=subprocess.PIPE, text=True) as sender:
            door.open()
            said, _ = sender.communicate(timeout=60)
    assert said == "{ accepted: 1, rejected: [] }\n"
    assert [json.loads(entry.body)["id"] for entry in served.taken()] == ["889140"]


def test_the_sender_in_python_sends(served: Served, tmp_path: Path) -> None:
    page = HOW_TO / "send-from-python.md"
    (tmp_path / "milepost").symlink_to(ROOT / "milepost")
    (tmp_path / "my_project").mkdir()
    (copy,) = blocks(page, "sh")
    shell(copy.text, tmp_path, {})
    served.taken()
    text = "\n".join(block.text for block in blocks(page, "python"))
    text = text.replace("http://127.0.0.1:8080", served.url).replace("mp_…", served.keys["north"])
    (tmp_path / "my_project" / "send.py").write_text(text)
    done = shell(f"{sys.executable} -S my_project/send.py", tmp_path, {})
    assert "sent=2, refused=0, dropped=0" in done.stdout
    first, second = [json.loads(entry.body) for entry in served.taken()]
    assert first["data"]["keys"] == {"order": "S00024", "picking": "WH/OUT/00047"}
    assert first["data"]["attributes"] == {"warehouse": "north"}
    assert (second["id"], second["data"]["outcome"]) == ("wms-889123", "rejected")


@pytest.mark.parametrize(("heading", "call"), [("of `Client`", Client), ("of `send`", Client.send)])
def test_every_argument_of_the_python_client_stands_there(heading: str, call: Callable[..., object]) -> None:
    text = (HOW_TO / "send-from-python.md").read_text("utf-8")
    table = text.partition(f"| {heading} |")[2].partition("\n\n")[0]
    assert named(table) == signature(call).parameters.keys() - {"self"}


# --- commands ---------------------------------------------------------------------------------------------------------


def write(block: Block, path: Path) -> Path:
    path.write_text(block.text)
    return path


def test_import_history(database: str, engine: sa.Engine, tmp_path: Path) -> None:
    page = HOW_TO / "import-history.md"
    mapping, types = blocks(page, "yaml")
    table, said = blocks(page, "csv", "text")
    write(mapping, tmp_path / "mapping.yaml")
    write(types, tmp_path / "types.yaml")
    write(table, tmp_path / "orders.csv")
    (tmp_path / "log.json").write_text(json.dumps(OCEL))
    from_table, from_log = blocks(page, "sh")
    done = shell(from_table.text, tmp_path, {"MILEPOST_DATABASE_URL": database})
    assert said.text.strip() in done.stderr
    shell(from_log.text, tmp_path, {"MILEPOST_DATABASE_URL": database})
    with engine.begin() as connection:
        sent = [json.loads(entry.body) for batch in log.consume(connection, 100) for entry in batch.entries]
    assert [event["type"] for event in sent] == [
        "order.received", "order.confirmed", "shipment.delivered", "order.received", "order.received", "ocel.pack_item",
    ]  # fmt: skip
    assert sent[0]["time"] == "2026-11-02T09:15:00+01:00"
    assert sent[0]["data"]["attributes"]["promised_date"] == "2026-11-05"


OCEL = {
    "objectTypes": [{"name": "order", "attributes": []}],
    "eventTypes": [{"name": "Place Order", "attributes": []}, {"name": "Pack Item", "attributes": []}],
    "objects": [{"id": "o1", "type": "order"}],
    "events": [
        {"id": "e1", "type": "Place Order", "time": "2026-11-02T09:00:00Z",
         "relationships": [{"objectId": "o1", "qualifier": "order"}]},
        {"id": "e2", "type": "Pack Item", "time": "2026-11-02T10:00:00Z",
         "relationships": [{"objectId": "o1", "qualifier": "order"}]},
    ],
}  # fmt: skip


def test_write_a_policy(database: str, engine: sa.Engine, tmp_path: Path) -> None:
    page = HOW_TO / "write-a-policy.md"
    start, apply = blocks(page, "sh")
    environment = {"MILEPOST_DATABASE_URL": database}
    shell(start.text, tmp_path, environment)
    assert "order-confirmation" in (tmp_path / "my-catalog" / "slas.yaml").read_text()
    policies, more, calendars = blocks(page, "yaml")
    write(policies, tmp_path / "my-catalog" / "slas.yaml")
    shell(apply.text, tmp_path, environment)
    with engine.connect() as connection:
        names = [policy.name for policy in catalog.active(connection).policies]
    assert names == ["edi-acknowledged", "picked-not-packed", "promised-delivery", "shipment-arrives"]
    broken = tmp_path / "my-catalog" / "slas.yaml"
    broken.write_text(broken.read_text().replace("start: received", "start: receivd"))
    said = shell("milepost catalog check my-catalog 2>&1 || true", tmp_path, environment).stdout
    error = "slas.yaml:7: edi-acknowledged: start: model order has no milestone receivd"
    assert error in said
    assert error in " ".join(page.read_text().split())
    entries = {
        name: parse(name, block.text) for name, block in {"slas.yaml": more, "calendars.yaml": calendars}.items()
    }
    overlaid = lay(entries, default_texts())
    added = {policy.name: policy for policy in load(overlaid).policies}
    assert (str(added["booking-failed"].within), added["booking-failed"].severity) == ("1h", "critical")
    assert not [one for one in findings(overlaid, load(overlaid)) if one.file == "slas.yaml"]


def test_write_a_model(database: str, engine: sa.Engine, tmp_path: Path) -> None:
    page = HOW_TO / "write-a-model.md"
    (model,) = blocks(page, "yaml")
    start, check = blocks(page, "sh")
    try_it, apply = blocks(page, "sh database")
    environment = {"MILEPOST_DATABASE_URL": database}
    assert "Return and credit" in shell(start.text, tmp_path, environment).stdout
    keys, _, models = model.text.partition("keys:\n")[2].partition("models:\n")
    own = tmp_path / "my-catalog" / "journeys.yaml"
    own.write_text(own.read_text().replace("\nkeys:\n", f"\nkeys:\n{keys}", 1) + models)
    said = shell(check.text, tmp_path, environment)
    assert "every part that is not cancelled" in said.stdout
    assert "warning" not in said.stderr
    chain = Chain(engine)
    for kind, named_keys in (
        ("repair.opened", {"ticket": "T1"}),
        ("repair.examined", {"repair": "r1", "ticket": "T1"}),
    ):
        data = {"keys": named_keys}
        chain.send({"specversion": "1.0", "id": kind, "source": "/desk", "type": kind, "data": data})
    chain.settle()
    tried = shell(try_it.text, tmp_path, environment).stdout
    assert "repair R1" in tried
    shell(apply.text, tmp_path, environment)
    with engine.connect() as connection:
        found = connection.execute(sa.select(journeys.c.model, journeys.c.key, journeys.c.stage)).all()
    assert [tuple(row) for row in found] == [("repair", "R1", "examined")]


def test_keys_and_users(database: str, engine: sa.Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        access.create_user(connection, name="admin", password=None, role="admin", actor="test", now=utc_now())
    page = HOW_TO / "keys-and-users.md"
    people, changes, systems, rotate, chain, anchored = blocks(page, "sh")
    environment = {"MILEPOST_DATABASE_URL": database, "MILEPOST_PUBLIC_URL": "https://milepost.example.org"}
    assert "https://milepost.example.org/login?token=" in shell(people.text, tmp_path, environment).stdout
    shell(changes.text, tmp_path, environment)
    keys = shell(systems.text, tmp_path, environment).stdout.split()
    key_id = next(word for word in keys if word.startswith("mp_")).split("_")[1]
    rotated = shell(rotate.text.replace("KEY_ID", key_id), tmp_path, environment).stdout
    keys += [word for word in rotated.split() if word.startswith("mp_")]
    head = shell(chain.text, tmp_path, environment).stdout.split()[-1]
    assert shell(anchored.text.replace("5f0c…", head), tmp_path, environment).stdout.strip() == head
    (checks,) = blocks(page, "python")
    (tmp_path / "check.py").write_text(checks.text)
    shell(f"milepost audit list --json --limit 1000000 | {sys.executable} check.py", tmp_path, environment)
    with engine.connect() as connection:
        roles = {row.name: row.role for row in connection.execute(sa.select(users.c.name, users.c.role))}
        made = connection.execute(sa.select(api_keys.c.name, api_keys.c.scopes).order_by(api_keys.c.created_at)).all()
        acts = set(connection.scalars(sa.select(audit.c.action)))
    assert roles == {"admin": "admin", "ines": "operator", "jo": "analyst"}
    assert [tuple(row) for row in made] == [("WMS North", ["send"]), ("BI", ["read"]), ("WMS North", ["send"])]
    assert sum(word.startswith("mp_") for word in keys) == 3
    assert {"key.created", "user.created", "user.password_set", "login.issued"} <= acts


def test_deploy_on_a_database(database: str, tmp_path: Path) -> None:
    block = blocks(HOW_TO / "deploy.md", "sh database")[0]
    lines = [line for line in block.text.splitlines() if line.startswith("milepost db")]
    assert lines
    shell("\n".join(lines), tmp_path, {"MILEPOST_DATABASE_URL": database})


def test_rebuild(database: str, tmp_path: Path) -> None:
    replay, selected = blocks(HOW_TO / "rebuild.md", "sh database")
    shell(replay.text, tmp_path, {"MILEPOST_DATABASE_URL": database})
    done = shell(selected.text, tmp_path, {"MILEPOST_DATABASE_URL": database})
    assert "compared, and left as they were" in done.stderr
    (tried,) = [block for block in blocks(HOW_TO / "rebuild.md", "sh") if "--catalog" in block.text]
    (tmp_path / "my-catalog").mkdir()
    shell(tried.text, tmp_path, {"MILEPOST_DATABASE_URL": database})


def test_correct_a_journey(engine: sa.Engine, database: str) -> None:
    """Its decisions, one after the other, on journeys that have what they are about."""
    chain, day = Chain(engine), "2026-11-0{}T08:00:00Z"
    named = [
        {"order": "S00024", "shipment": "1Z0099"},
        {"order": "S00024", "picking": "WH/OUT/00047"},
        {"order": "S00024", "picking": "WH-OUT-47", "invoice": "INV/2026/00010"},
        {"order": "S00025"},
    ]
    chain.send(
        *(
            {"specversion": "1.0", "id": str(at), "source": "/odoo", "type": "order.confirmed",
             "time": day.format(at + 1), "data": {"keys": keys}}
            for at, keys in enumerate(named)
        )
    )  # fmt: skip
    told = []
    for block in blocks(HOW_TO / "correct-a-journey.md", "sh correct"):
        chain.settle()
        told.append("".join(command(line, database) for line in block.text.splitlines()))
    chain.settle()
    why, tried, _, later, reversal = told
    assert "named together" in why
    assert "shipment 1Z0099" in tried
    assert "order S00025 (since 2026-11-01)" in later
    assert "shipment 1Z0099" in reversal
    with engine.connect() as connection:
        standing = [item.act for item in correlation.effective(connection)]
    assert standing == ["exclude", "merge", "split"]


def test_back_up_and_restore(server_dir: Path) -> None:
    server_dir.chmod(0o755)
    environment = {"MILEPOST_DATA_DIR": str(server_dir / "data")}
    shell("milepost keys create WMS --source /wms/north", server_dir, environment)
    save, restore = blocks(HOW_TO / "back-up.md", "sh")
    shell(save.text, server_dir, environment)
    assert "WMS" in shell(restore.text, server_dir, environment).stdout


def test_notifications_are_tried_and_sent_again(databases: Databases, tmp_path: Path) -> None:
    page = HOW_TO / "notifications.md"
    (routes,) = [block.text for block in blocks(page, "yaml")]
    (tmp_path / "routes.yaml").write_text(routes)
    ask, parked = [block.text for block in blocks(page, "sh") if block.text.startswith("milepost")]
    with databases.fresh() as url:
        command(f"milepost catalog apply {tmp_path}", url)
        assert command(ask.strip(), url).split() == ["channel", "duty", "ops-chat", "warehouse-mail"]
        for line in parked.splitlines():
            command(line, url)


def test_route_alerts(databases: Databases, tmp_path: Path) -> None:
    page = HOW_TO / "route-alerts.md"
    (routes,) = blocks(page, "yaml")
    write(routes, tmp_path / "routes.yaml")
    looks, acts, _, _ = [block.text.splitlines() for block in blocks(page, "sh")]
    with databases.fresh() as url:
        assert "warning" not in command(f"milepost catalog check {tmp_path}", url)
        command(f"milepost catalog apply {tmp_path}", url)
        shown, listed = [command(line, url) for line in looks]
        assert sum(shown.count(name) for name in ("Berg", "Falk", "Dahl")) == 2, "who is, and who is next"
        assert listed.count("duty") >= 3
        command(acts[0], url)
        assert "cleo (Cleo Dahl), for " in command(looks[0], url)
        command(acts[1], url)
        assert command(looks[0], url) == shown
    wrong = routes.text.replace("severity: [critical]", "werehouse: [north]")
    (tmp_path / "routes.yaml").write_text(wrong)
    (said,) = blocks(page, "text")
    assert said.text.strip() in CliRunner().invoke(cli, ["catalog", "check", str(tmp_path)]).output.replace("\n", " ")


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["notifications.md", "receive_alerts.py"])
def test_the_signature_check_checks(where: str) -> None:
    space: dict[str, object] = {"__name__": "example"}
    if where.endswith(".py"):
        source = (DOCS / "examples" / where).read_text("utf-8")
    else:
        (block,) = blocks(HOW_TO / where, "python")
        source = block.text
    exec(compile(source, where, "exec"), space)  # noqa: S102 our own documentation
    key, at, body = secrets.token_bytes(32), int(utc_now().timestamp()), b'{"type": "alert.opened"}'
    secret = "whsec_" + base64.b64encode(key).decode()
    good = sign([secrets.token_bytes(32), key], "msg_1", at, body)

    def check(signature: str, timestamp: int, sent: bytes) -> bool:
        verified = space["verified"]
        assert callable(verified)
        if where.endswith(".py"):
            headers = httpx.Headers({"webhook-id": "msg_1", "webhook-timestamp": str(timestamp)})
            headers["webhook-signature"] = signature
            return bool(verified(secret, headers, sent))
        return bool(verified(secret, "msg_1", str(timestamp), signature, sent))

    assert check(good, at, body)
    assert not check(good, at, body + b" ")
    assert not check(good, at - 1, body)
    old = at - 301
    assert not check(sign([key], "msg_1", old, body), old, body)
    assert not check("v1,AAAA", at, body)
