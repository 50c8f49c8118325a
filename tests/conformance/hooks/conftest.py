"""One collector for all calls, with a source for each scheme. Its clock stands at the time of the official vector."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from milepost.catalog import loader
from milepost.decisions import catalog
from tests.databases import Databases
from tests.served import Served, collector, wait_until

SAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "webhooks"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW_SECRET = "whsec_" + base64.b64encode(b"n" * 32).decode()
PLAIN = "a secret that both sides know"
VECTOR_AT = 1614265330
ENVIRON = {"HOOK_STANDARD": SECRET, "HOOK_NEW": NEW_SECRET, "HOOK_PLAIN": PLAIN, "HOOK_OTHER": "the one before that"}

SOURCES = """
sources:
  standard: {hook: {mapping: anything, scheme: standard, secret_env: HOOK_STANDARD}}
  rotated: {hook: {mapping: anything, scheme: standard, secret_env: [HOOK_NEW, HOOK_STANDARD]}}
  strict: {hook: {mapping: anything, scheme: standard, secret_env: HOOK_STANDARD, tolerance: 10s}}
  custom: {hook: {mapping: anything, scheme: hmac, header: X-Sign, prefix: "v0=", secret_env: [HOOK_PLAIN, HOOK_OTHER]}}
  shop: {hook: {mapping: shopify, scheme: shopify, secret_env: HOOK_PLAIN}}
  woo: {hook: {mapping: woocommerce, scheme: woocommerce, secret_env: HOOK_PLAIN}}
  easypost: {hook: {mapping: easypost, scheme: easypost, secret_env: HOOK_PLAIN}}
  aftership: {hook: {mapping: aftership, scheme: aftership, secret_env: HOOK_PLAIN}}
  github: {hook: {mapping: anything, scheme: github, secret_env: HOOK_PLAIN}}
  header: {hook: {mapping: anything, scheme: token, header: X-Token, secret_env: HOOK_PLAIN, delivery: X-Delivery}}
  bearer: {hook: {mapping: alertmanager, scheme: token, header: Authorization, secret_env: HOOK_PLAIN}}
  erp: {hook: {mapping: odoo-webhook, scheme: token, query: token, secret_env: HOOK_PLAIN}}
  /wms/north: {hook: {mapping: anything, scheme: key}}
  unset: {hook: {mapping: anything, scheme: hmac, header: X-Sign, secret_env: HOOK_UNSET}}
  silent: {title: It takes no webhooks}
"""
ANYTHING = """
ignore:
  - {when: "body.kind == 'ping'", because: a test call}
events:
  - type: {of: body.kind, table: {new: order.received, gone: order.cancelled}, otherwise: order.received}
    keys: {order: to_string(body.test)}
"""


@dataclass
class Called(Served):
    """A served collector whose clock can be set."""

    clock: list[datetime]

    def post(self, source: str, body: bytes, headers: Mapping[str, str], query: str = "") -> httpx.Response:
        return self.client.post(f"/v1/hooks/{source}{query}", content=body, headers=headers)

    def ids(self) -> list[str]:
        return [json.loads(entry.body)["id"] for entry in self.taken()]

    def apply(self, **mappings: str) -> None:
        """Put the catalog with these mappings in force, and wait until the collector knows it."""
        texts = {**loader.default_texts(), "sources.yaml": SOURCES}
        texts |= {f"mappings/{name}.yaml": text for name, text in mappings.items()}
        with self.engine.begin() as connection:
            catalog.apply(connection, texts, actor="test", now=self.clock[0])


@pytest.fixture(scope="package")
def called(databases: Databases) -> Iterator[Called]:
    with pytest.MonkeyPatch.context() as patch, databases.fresh() as url:
        for name, value in ENVIRON.items():
            patch.setenv(name, value)
        stand = [datetime.fromtimestamp(VECTOR_AT, UTC)]
        with collector(url, clock=lambda: stand[0]) as served:
            made = Called(served.url, served.engine, served.client, served.keys, stand)
            made.apply(anything=ANYTHING)
            wait_until(lambda: made.client.options("/v1/hooks/standard").status_code == 200, seconds=60)
            yield made


@pytest.fixture(autouse=True)
def nothing_left(called: Called) -> Iterator[None]:
    """Each test starts with an empty log and quarantine, at the time of the vector."""
    called.clock[0] = datetime.fromtimestamp(VECTOR_AT, UTC)
    yield
    called.taken()
    called.quarantined()


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.json").read_bytes()


def digest(body: bytes, secret: str = PLAIN) -> bytes:
    return hmac.digest(secret.encode(), body, hashlib.sha256)


def in_base64(body: bytes, secret: str = PLAIN) -> str:
    return base64.b64encode(digest(body, secret)).decode()


def standard(body: bytes, *, at: int = VECTOR_AT, secret: str = SECRET, message: str = "msg_1") -> dict[str, Any]:
    """Signed independently of milepost/signing.py."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = base64.b64encode(hmac.digest(key, f"{message}.{at}.".encode() + body, hashlib.sha256)).decode()
    return {"webhook-id": message, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signed}"}
