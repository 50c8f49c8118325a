"""Signatures: other people's examples, and what is no secret. Calls are tried in tests/conformance/hooks."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest

from milepost import signing
from milepost.errors import NotAuthenticated
from milepost.signing import BodyHmac, Signed

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)
KEY = b"k" * 32


def test_the_example_of_github() -> None:
    form = BodyHmac("hex", "sha256=")
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    form.verify([b"It's a Secret to Everybody"], signature, b"Hello, World!")
    with pytest.raises(NotAuthenticated):
        form.verify([b"It's a Secret to Nobody"], signature, b"Hello, World!")


@pytest.mark.parametrize(
    "form", [BodyHmac("hex"), BodyHmac("base64"), BodyHmac("hex", "v0="), BodyHmac("base64", "v0 ")]
)
def test_what_is_signed_is_verified_by_any_of_the_keys(form: BodyHmac) -> None:
    signature = form.sign(KEY, b"body")
    form.verify([b"another", KEY], signature, b"body")
    for header, body in [(signature, b"bodY"), (signature[:-1], b"body"), ("", b"body"), ("\udcff", b"body")]:
        with pytest.raises(NotAuthenticated):
            form.verify([KEY], header, body)
    with pytest.raises(NotAuthenticated):
        form.verify([], signature, b"body")


def test_a_standard_webhook_is_verified_as_it_is_signed() -> None:
    at = int(NOW.timestamp())
    given = Signed("msg_1", str(at), signing.sign([b"another" * 5, KEY], "msg_1", at, b"{}"))
    signing.verify([KEY], given, b"{}", now=NOW)
    for now in (NOW - timedelta(seconds=301), NOW + timedelta(seconds=301)):
        with pytest.raises(NotAuthenticated, match="too old, or too far ahead"):
            signing.verify([KEY], given, b"{}", now=now)
    with pytest.raises(NotAuthenticated, match="does not match"):
        signing.verify([], given, b"{}", now=NOW)


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("", "it is empty"),
        ("secret", "it does not begin with whsec_"),
        ("whsec_?", "is not base64"),
        ("whsec_", "it has 0 bytes"),
        ("whsec_" + base64.b64encode(b"k" * 23).decode(), "it has 23 bytes; 24 to 64 are needed"),
        ("whsec_" + base64.b64encode(b"k" * 65).decode(), "it has 65 bytes"),
    ],
)
def test_what_is_no_secret_of_standard_webhooks(secret: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        signing.secrets_of(secret)


def test_tokens() -> None:
    signing.verify_token(["one", "two"], "two")
    for tokens, given in [(["one"], "two"), (["one"], ""), ([], "one"), ([""], "")]:
        with pytest.raises(NotAuthenticated):
            signing.verify_token(tokens, given)
