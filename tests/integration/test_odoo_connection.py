"""How Milepost connects to a real Odoo 19: rights, keys, certificates, load, and history that survives a kill."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import httpx
import msgspec
import pytest
import sqlalchemy as sa

from collector.odoo.check import findings
from collector.odoo.client import Client
from collector.odoo.poll import Poller
from milepost.clock import utc_now
from milepost.db import tables as t
from milepost.db.engine import make_engine
from tests.databases import Databases
from tests.integration.erp import Erp, events, facts

pytestmark = pytest.mark.odoo
GROUPS = [
    *(("base", "group_user"), ("sales_team", "group_sale_salesman_all_leads"), ("stock", "group_stock_user")),
    *(("account", "group_account_readonly"), ("purchase", "group_purchase_user")),
]
PASSWORD = "only reads 1"


@contextmanager
def reader(erp: Erp, *left_out: str) -> Iterator[str]:
    """The log-in of a user with the rights that docs/how-to/connect-odoo.md names, without some of them."""
    login = f"milepost-{uuid4()}"
    reading = erp.make("res.groups", name=login)
    for model in {"mail.tracking.value", "ir.model.fields", "queue.job", "edi.exchange.record"} - set(left_out):
        (row,) = erp.find("ir.model", ("model", "=", model), fields=["model"])
        erp.make("ir.model.access", name=login, model_id=row["id"], group_id=reading, perm_read=True)
    groups = [*(erp.record(*name) for name in GROUPS if name[1] not in left_out), reading]
    companies = [row["id"] for row in erp.find("res.company", fields=[])]
    rights = {"group_ids": [(6, 0, groups)], "company_ids": [(6, 0, companies)]}
    user = erp.make("res.users", name=login, login=login, password=PASSWORD, **rights)
    yield login
    erp.write("res.users", user, active=False)


def test_an_idle_poll_costs_four_calls(erp: Erp, engine: sa.Engine) -> None:
    """With open orders to look after, a queue and exchanges; once what others wrote last is settled."""
    erp.sell(1)
    poller, deadline = Poller(engine, erp.options, utc_now), utc_now() + timedelta(minutes=2)
    calls: list[int] = []
    while set(calls[-10:]) != {4} and utc_now() < deadline:  # everything has had its turn
        sleep(0.1)
        calls.append(poller.step().calls)
    assert calls[-10:] == [4] * 10


def test_a_user_who_may_only_read(erp: Erp, engine: sa.Engine, databases: Databases) -> None:
    """The rights that docs/how-to/connect-odoo.md names are enough to see all that an administrator sees."""
    with reader(erp) as login:
        options = msgspec.structs.replace(erp.options, odoo_user=login, odoo_password=PASSWORD)
        result = Poller(engine, options, utc_now).step()
        wrong = {finding.model for finding in findings(Client(options, utc_now)) if finding.wrong}
    assert (result.error, result.problems) == (None, ())
    assert wrong == set()
    with databases.fresh() as url:
        other = make_engine(url)
        Poller(other, erp.options, utc_now).step()
        assert facts(other) == facts(engine)
        other.dispose()


def test_a_right_that_is_missing_is_named_and_the_rest_goes_on(erp: Erp, engine: sa.Engine) -> None:
    with reader(erp, "group_account_readonly", "queue.job") as login:
        options = msgspec.structs.replace(erp.options, odoo_user=login, odoo_password=PASSWORD)
        result = Poller(engine, options, utc_now).step()
        found = {finding.model: finding for finding in findings(Client(options, utc_now))}
    assert result.error is None
    assert {problem.partition(":")[0] for problem in result.problems} == {"account.payment", "queue.job"}
    assert {finding.model for finding in found.values() if finding.wrong} == {"account.payment", "queue.job"}
    assert found["account.payment"].mend == "give the user the right Invoicing: Read-only"
    assert found["stock.picking"].verdict == "ok"
    assert {event["type"].partition(".")[0] for event in events(engine)} >= {"order", "picking"}


def test_without_the_history_of_states_it_waits(erp: Erp, engine: sa.Engine) -> None:
    with reader(erp, "mail.tracking.value") as login:
        options = msgspec.structs.replace(erp.options, odoo_user=login, odoo_password=PASSWORD)
        result = Poller(engine, options, utc_now).step()
    assert "state history" in (result.error or "")
    assert events(engine) == []


def api_key(erp: Erp, login: str, password: str) -> str:
    """A key as a user makes it: in the browser, with the password asked once more."""
    options = erp.options
    with httpx.Client(base_url=options.odoo_url, timeout=60) as browser:

        def rpc(path: str, **params: Any) -> Any:
            answer = browser.post(path, json={"jsonrpc": "2.0", "params": params}).json()
            assert "error" not in answer, answer
            return answer["result"]

        def call(model: str, method: str, *args: Any, **kwargs: Any) -> Any:
            return rpc("/web/dataset/call_kw", model=model, method=method, args=args, kwargs=kwargs)

        rpc("/web/session/authenticate", db=options.odoo_database, login=login, password=password)
        made = call("res.users.apikeys.description", "create", [{"name": "Milepost", "duration": "1"}])
        asked = call("res.users.apikeys.description", "make_key", made)
        context = {**asked.get("context", {}), "password": password}
        call("res.users.identitycheck", "write", [asked["res_id"]], {"password": password})
        shown = call("res.users.identitycheck", "run_check", [asked["res_id"]], context=context)
        return str(shown["context"]["default_key"])


def test_an_api_key_is_the_password(erp: Erp, engine: sa.Engine) -> None:
    with reader(erp) as login:
        key = api_key(erp, login, PASSWORD)
        assert key != PASSWORD
        options = msgspec.structs.replace(erp.options, odoo_user=login, odoo_password=key)
        result = Poller(engine, options, utc_now).step()
    assert (result.error, result.problems) == (None, ())
    assert result.events > 0


class Proxy(BaseHTTPRequestHandler):
    """Hands on to `upstream`."""

    upstream = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = Request(self.upstream + self.path, body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            data = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def encrypted(upstream: str, certificate: Path, key: Path) -> Iterator[str]:
    """The address of a TLS proxy."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    handler = type("Handler", (Proxy,), {"upstream": upstream})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"https://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost, signed by itself, and its key."""
    made, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True, timeout=60)
    return made, key


def test_tls_with_an_authority_of_ones_own(erp: Erp, engine: sa.Engine, certificate: tuple[Path, Path]) -> None:
    with encrypted(erp.options.odoo_url, *certificate) as url:
        known = msgspec.structs.replace(erp.options, odoo_url=url, odoo_ca=str(certificate[0]))
        result = Poller(engine, known, utc_now).step()
        assert result.error is None
        assert result.events > 0
        unknown = msgspec.structs.replace(known, odoo_ca="")
        assert "self-signed certificate" in (Poller(engine, unknown, utc_now).step().error or "")
        other = msgspec.structs.replace(known, odoo_url=url.replace("localhost", "127.0.0.1"))
        assert "not valid for '127.0.0.1'" in (Poller(engine, other, utc_now).step().error or "")


def backfill(url: str, erp: Erp, *options: str) -> subprocess.Popen[str]:
    """`milepost odoo backfill` in small pages."""
    variables = {
        "DATABASE_URL": url,
        "ODOO_URL": erp.options.odoo_url,
        "ODOO_DATABASE": erp.options.odoo_database,
        "ODOO_USER": erp.options.odoo_user,
        "ODOO_PASSWORD": erp.options.odoo_password,
        "ODOO_PAGE": "3",
        "ODOO_RATE": "1000",
        "DATA_DIR": "/nonexistent",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "milepost", "odoo", "backfill", *options],
        env={**os.environ, **{f"MILEPOST_{name}": value for name, value in variables.items()}},
        stderr=subprocess.PIPE,
        text=True,
    )


def pages_done(engine: sa.Engine) -> int:
    """Records that the backfill has done."""
    with engine.connect() as connection:
        stored = connection.scalar(sa.select(t.pollers.c.backfill))
    return sum(done["done"] for done in (stored or {"passes": {}})["passes"].values())


def test_history_survives_kills_beside_the_poller(
    erp: Erp, database: str, engine: sa.Engine, databases: Databases
) -> None:
    """Killed with -9 twice in the middle, with the live poller running all the while: everything once."""
    poller = Poller(engine, msgspec.structs.replace(erp.options, odoo_backfill_hours="00:00-00:01"), utc_now)
    order = erp.sell(1)
    poller.step()
    for _ in range(2):
        before, deadline = pages_done(engine), utc_now() + timedelta(minutes=2)
        with backfill(database, erp) as running:
            while pages_done(engine) < before + 12 and running.poll() is None and utc_now() < deadline:
                poller.step()
                sleep(0.05)
            running.kill()
    erp.call("sale.order", "action_confirm", [order])
    with backfill(database, erp) as running:
        while running.poll() is None:
            poller.step()
            sleep(0.05)
        said = running.communicate()[1]
    assert running.returncode == 0, said
    poller.step()
    told = facts(engine)  # each id once
    assert f"sale.order/{order}/created" in told
    with databases.fresh() as url:
        other = make_engine(url)
        Poller(other, erp.options, utc_now).step()
        assert facts(other) - told == set()
        other.dispose()
