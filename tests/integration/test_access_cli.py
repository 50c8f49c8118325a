"""Commands that change the database, as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from milepost import cli
from milepost.auth import split_key
from milepost.catalog import loader
from milepost.clock import utc_now
from milepost.db.tables import audit
from milepost.decisions import access
from milepost.decisions import catalog as decided


@pytest.fixture(autouse=True)
def _on_the_test_database(monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    monkeypatch.setenv("MILEPOST_DATABASE_URL", database)
    monkeypatch.setenv("MILEPOST_PUBLIC_URL", "https://milepost.example")
    monkeypatch.delenv("MILEPOST_CATALOG", raising=False)


def milepost(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(cli.app, list(words), input=typed)


def test_a_key_is_shown_once_listed_and_revoked(engine: sa.Engine) -> None:
    made = milepost("keys", "create", "North", "--source", "/wms/north", "--type", "picking.*", "--expires", "90d")
    assert made.exit_code == 0, made.output
    key_id, secret = split_key(made.stdout)
    listed = milepost("keys", "list").stdout
    assert key_id in listed
    assert "/wms/north" in listed
    assert secret not in listed
    assert milepost("keys", "revoke", key_id).exit_code == 0
    assert key_id not in milepost("keys", "list").stdout
    assert "revoked" in milepost("keys", "list", "--all").stdout
    with engine.connect() as connection:
        key = access.find_key(connection, key_id)
        actors = set(connection.scalars(sa.select(audit.c.actor).where(audit.c.target == key_id)))
    assert key is not None
    assert not key.usable(utc_now())
    assert len(actors) == 1
    assert actors.pop().startswith("cli")


def test_an_unknown_key_is_one_line_and_code_1() -> None:
    result = milepost("keys", "revoke", "none")
    assert result.exit_code == 1
    assert result.stderr == "milepost: there is no key none\n"


def test_a_duration_that_is_none() -> None:
    result = milepost("keys", "create", "x", "--source", "x", "--expires", "soon")
    assert result.exit_code == 1
    assert '"soon" is not a duration' in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["exceptions", "list", "--since", "999999999d"], '"999999999d" is too long a duration; the longest is 36500d'),
        (["journeys", "explain", "order", "S1\udcff"], "this is not UTF-8: '\\udcff'; write it in UTF-8"),
        (["keys", "create", "x", "--source", "\udcff"], "a number or a time is too large, or a text is not UTF-8: ("),
        (["silences", "add", "rule=x", "--until", "9999-12-31T23:59-14:00"], "9999-12-31T23:59:00-14:00 lies outside"),
    ],
)
def test_what_no_database_takes_is_one_line_and_code_1(words: list[str], said: str) -> None:
    result = milepost(*words)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"milepost: {said}")
    assert len(result.stderr.splitlines()) == 1


def test_a_user_with_a_piped_password_may_log_in(engine: sa.Engine) -> None:
    assert milepost("users", "add", "ann", "--role", "operator", typed="correct horse\n").exit_code == 0
    with engine.connect() as connection:
        assert access.check_login(connection, "ann", "correct horse", now=utc_now()) is not None
    assert milepost("users", "password", "ann", typed="another long one\n").exit_code == 0
    with engine.connect() as connection:
        assert access.check_login(connection, "ann", "another long one", now=utc_now()) is not None
    assert "operator" in milepost("users", "list").stdout
    assert milepost("users", "disable", "ann").exit_code == 0
    with engine.connect() as connection:
        assert access.check_login(connection, "ann", "another long one", now=utc_now()) is None


def test_a_short_password_adds_nobody(engine: sa.Engine) -> None:
    result = milepost("users", "add", "ann", typed="short\n")
    assert result.exit_code == 1
    assert "at least 10 characters" in result.stderr
    with engine.connect() as connection:
        assert access.find_user(connection, "ann") is None


def test_a_login_link_lets_in_once(engine: sa.Engine) -> None:
    milepost("users", "add", "ann", "--no-password")
    link = milepost("login-link", "ann").stdout.strip()
    address, _, token = link.partition("?token=")
    assert address == "https://milepost.example/login"
    with engine.begin() as connection:
        user = access.redeem_login(connection, token, now=utc_now())
        assert user is not None
        assert user.name == "ann"
        assert access.redeem_login(connection, token, now=utc_now()) is None


def test_a_catalog_is_applied_and_shown(tmp_path: Path, engine: sa.Engine) -> None:

    (tmp_path / "partners.yaml").write_text("aliases:\n  partner:\n    ACME: [acme inc]\n")
    result = milepost("catalog", "apply", str(tmp_path))
    assert result.exit_code == 0, result.output
    with engine.connect() as connection:
        assert decided.active(connection).aliases["partner"]["acme inc"] == "ACME"
    assert "acme inc" in milepost("catalog", "show", "partners.yaml").stdout
    shown = milepost("catalog", "show").stdout
    assert all(text.strip() in shown for text in [loader.default_texts()["slas.yaml"]])
    assert milepost("catalog", "show", "none.yaml").exit_code == 1


def test_without_alerts_there_is_nothing_to_acknowledge() -> None:
    assert "There are no alerts." in milepost("alerts", "list").stderr
    result = milepost("alerts", "ack", "7")
    assert result.exit_code == 1
    assert "there is no alert 7" in result.stderr


def test_migrating_twice_is_no_harm() -> None:
    assert milepost("db", "migrate").exit_code == 0
    result = milepost("db", "check", "--live")
    assert result.exit_code == 0, result.output
