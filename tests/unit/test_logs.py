"""What must not be written to a log is taken out of every line."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from milepost.settings import Settings
from milepost.wiring import logs

KEY = f"mp_{'a1' * 8}_{'b2' * 32}"


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (f"Bearer {KEY} was refused", "b2b2"),
        ("connecting to postgresql://milepost:hunter2@db/x", "hunter2"),
        ("smtp://u:p%40ss@mail failed", "p%40ss"),
        ("GET /login?token=abcDEF-_123&next=/ 303", "abcDEF"),
        ("secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw is bad", "MfKQ"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("it said correct horse, twice: correct horse", "correct horse"),
    ],
)
def test_secrets_are_hidden_by_shape_and_by_value(line: str, secret: str) -> None:
    shown = logs.Redaction(["correct horse", "x"])(line)
    assert secret not in shown
    assert logs.HIDDEN in shown


@pytest.mark.parametrize("line", ["key mp_a1a1a1a1a1a1a1a1 was revoked", "http://host:8080/v1/events?x=1", "", "a@b.c"])
def test_other_lines_stay(line: str) -> None:
    assert logs.Redaction()(line) == line


def test_both_formats_hide_what_an_error_brings_along() -> None:
    try:
        raise ValueError(f"bad {KEY}")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "said %s", (KEY,), sys.exc_info())
    for line in (logs.TextLine(), logs.JsonLine()):
        text = line.format(record)
        assert "b2b2" not in text
        assert "ValueError" in text
    assert json.loads(logs.JsonLine().format(record))["level"] == "error"


def test_the_settings_know_their_secrets() -> None:
    environ = {
        "MILEPOST_DATABASE_URL": "postgresql://u:p%40ss@db/x",
        "MILEPOST_SMTP_URL": "smtp://u:se/cr@et@mail",
        "MILEPOST_SECRET": "web",
        "MILEPOST_ODOO_PASSWORD": "odoo",
        "MILEPOST_PRIVACY_KEY": "privacy",
    }
    assert set(logs.secrets_of(Settings.load(environ))) >= {"p%40ss", "p@ss", "se/cr@et", "web", "odoo", "privacy"}
