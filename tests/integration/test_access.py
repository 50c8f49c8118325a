"""Keys, users and one-time log-ins on a real database."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from milepost.auth import NewKey, split_key, verify_secret
from milepost.db.tables import api_keys, audit, login_tokens, users
from milepost.decisions import access
from milepost.errors import Conflict, NotFound, Permanent
from tests.threads import at_once

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"


def make_key(connection: sa.Connection, **changes: object) -> NewKey:
    grant = {"name": "wms", "sources": ["/wms/north"], "types": ["picking.*"], "scopes": ["send"], "expires_at": None}
    return access.create_key(connection, **{**grant, **changes}, actor="ann", now=NOW)  # type: ignore[arg-type]


def actions(connection: sa.Connection) -> list[tuple[str, str, str]]:
    a = audit.c
    rows = connection.execute(sa.select(a.actor, a.action, a.target).order_by(a.audit_id))
    return [(row.actor, row.action, row.target) for row in rows]


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_is_found_by_what_was_shown(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        new = make_key(connection)
        key_id, secret = split_key(new.text)
        found = access.find_key(connection, key_id)
    assert found is not None
    assert verify_secret(secret, found.secret_hash)
    assert found.usable(NOW)
    assert found.may_send("/wms/north", "picking.done")
    assert not found.may_send("/wms/south", "picking.done")
    assert not found.may_send("/wms/north", "order.received")


def test_the_secret_is_nowhere_in_the_database(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        _, secret = split_key(make_key(connection).text)
        for table in (api_keys, audit):
            rows = connection.scalars(sa.text(f"SELECT t::text FROM input.{table.name} AS t")).all()
            assert rows
            assert not any(secret in row or secret.encode().hex() in row for row in rows)


def test_a_key_expires(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        new = make_key(connection, expires_at=NOW + timedelta(hours=1))
        found = access.find_key(connection, new.key_id)
    assert found is not None
    assert found.usable(NOW + timedelta(minutes=59))
    assert not found.usable(NOW + timedelta(hours=1))


def test_a_revoked_key_stays_revoked_since_the_first_time(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        new = make_key(connection)
        access.revoke_key(connection, new.key_id, actor="bob", now=NOW)
        access.revoke_key(connection, new.key_id, actor="eve", now=NOW + timedelta(days=1))
        found = access.find_key(connection, new.key_id)
        assert found is not None
        assert found.revoked_at == NOW
        assert not found.usable(NOW)
        assert actions(connection) == [("ann", "key.created", new.key_id), ("bob", "key.revoked", new.key_id)]


def test_an_unknown_key_cannot_be_revoked(engine: sa.Engine) -> None:
    with engine.begin() as connection, pytest.raises(NotFound, match="no key abc"):
        access.revoke_key(connection, "abc", actor="ann", now=NOW)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["send", "fly"]}, "scopes"),
        ({"sources": []}, "sources"),
        ({"sources": [""]}, "sources"),
        ({"types": []}, "types"),
        ({"expires_at": NOW}, "expired"),
    ],
)
def test_keys_that_make_no_sense_are_refused(engine: sa.Engine, changes: dict[str, object], message: str) -> None:
    with engine.begin() as connection, pytest.raises(Permanent, match=message):
        make_key(connection, **changes)


def test_the_quickstart_key_takes_the_place_of_the_one_before(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        other = make_key(connection)
        first = access.quickstart_key(connection, actor="ann", now=NOW)
        second = access.quickstart_key(connection, actor="ann", now=NOW)
        usable = {record.key.key_id for record in access.list_keys(connection) if record.key.usable(NOW)}
        key = access.find_key(connection, second.key_id)
    assert usable == {other.key_id, second.key_id}
    assert first.key_id != second.key_id
    assert key is not None
    assert key.default_source == "quickstart"
    assert key.may_send("quickstart", "anything.at_all")
    assert not key.usable(NOW + timedelta(hours=24))


def test_quickstart_keys_made_at_once_leave_one(engine: sa.Engine) -> None:
    def make() -> None:
        with engine.begin() as connection:
            access.quickstart_key(connection, actor="ann", now=NOW)

    at_once(*[make] * 4)
    with engine.connect() as connection:
        assert sum(record.key.usable(NOW) for record in access.list_keys(connection)) == 1


def test_last_use_only_moves_forward(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        one, other = make_key(connection), make_key(connection)
        access.touch_keys(connection, {one.key_id: NOW, other.key_id: NOW, "unknown": NOW})
        access.touch_keys(connection, {one.key_id: NOW - timedelta(hours=1), other.key_id: NOW + timedelta(hours=1)})
        access.touch_keys(connection, {})
        used = {record.key.key_id: record.last_used_at for record in access.list_keys(connection)}
    assert used == {one.key_id: NOW, other.key_id: NOW + timedelta(hours=1)}


# --- users ------------------------------------------------------------------------------------------------------------


def add_user(connection: sa.Connection, name: str = "ann", password: str | None = PASSWORD) -> access.User:
    return access.create_user(connection, name=name, password=password, role="operator", actor="root", now=NOW)


def test_a_user_logs_in_with_the_password_alone(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        add_user(connection)
        found = access.check_login(connection, "ann", PASSWORD, now=NOW)
        assert found == access.find_user(connection, "ann")
        assert found is not None
        assert found.role == "operator"
        assert access.check_login(connection, "ann", PASSWORD + "x", now=NOW) is None
        assert access.check_login(connection, "bob", PASSWORD, now=NOW) is None
        assert PASSWORD not in str(connection.execute(sa.select(users)).all())


def test_without_a_password_none_fits(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        add_user(connection, password=None)
        assert access.check_login(connection, "ann", "", now=NOW) is None


def test_a_disabled_user_is_out(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        add_user(connection)
        token = access.issue_login(connection, "ann", now=NOW)
        access.disable_user(connection, "ann", actor="root", now=NOW)
        assert access.check_login(connection, "ann", PASSWORD, now=NOW) is None
        assert access.redeem_login(connection, token, now=NOW) is None
        with pytest.raises(Conflict, match="disabled"):
            access.issue_login(connection, "ann", now=NOW)


def test_another_password_takes_the_place_of_the_first(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        add_user(connection)
        access.set_password(connection, "ann", "another long one", actor="root", now=NOW)
        assert access.check_login(connection, "ann", PASSWORD, now=NOW) is None
        assert access.check_login(connection, "ann", "another long one", now=NOW) is not None


def test_names_are_unique_and_roles_known(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        add_user(connection)
        with pytest.raises(Conflict, match="there is a user ann already"):
            add_user(connection)
        with pytest.raises(Permanent, match="role"):
            access.create_user(connection, name="x", password=None, role="king", actor="root", now=NOW)
        with pytest.raises(Permanent, match="at least 10"):
            add_user(connection, "bob", "short")
        assert [user.name for user in access.list_users(connection)] == ["ann"]


def test_what_is_done_to_users_is_in_the_audit(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        add_user(connection)
        access.set_password(connection, "ann", "another long one", actor="root", now=NOW)
        token = access.issue_login(connection, "ann", now=NOW, actor="root")
        access.redeem_login(connection, token, now=NOW)
        access.disable_user(connection, "ann", actor="root", now=NOW)
        assert actions(connection) == [
            ("root", "user.created", "ann"),
            ("root", "user.password_set", "ann"),
            ("root", "login.issued", "ann"),
            ("ann", "login.redeemed", "ann"),
            ("root", "user.disabled", "ann"),
        ]
        assert token not in str(connection.execute(sa.select(audit)).all())


# --- one-time log-ins -------------------------------------------------------------------------------------------------


def test_a_token_lets_in_once(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        add_user(connection)
        token = access.issue_login(connection, "ann", now=NOW)
        found = access.redeem_login(connection, token, now=NOW)
        assert found is not None
        assert found.name == "ann"
        assert access.redeem_login(connection, token, now=NOW) is None
        assert access.redeem_login(connection, "guess", now=NOW) is None


def test_a_token_lets_one_in_where_many_try_at_once(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        add_user(connection)
        token = access.issue_login(connection, "ann", now=NOW)
    let_in: list[access.User | None] = []

    def redeem() -> None:
        with engine.begin() as connection:
            let_in.append(access.redeem_login(connection, token, now=NOW))

    at_once(*[redeem] * 5)
    assert len(let_in) == 5
    assert sum(user is not None for user in let_in) == 1


def test_a_token_gets_too_old(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        add_user(connection)
        token = access.issue_login(connection, "ann", now=NOW, valid=timedelta(minutes=5))
        assert access.redeem_login(connection, token, now=NOW + timedelta(minutes=5)) is None


def test_old_tokens_are_thrown_away(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        add_user(connection)
        for hours in (0, 1, 2):
            access.issue_login(connection, "ann", now=NOW + timedelta(hours=hours), valid=timedelta(minutes=5))
        assert connection.scalar(sa.select(sa.func.count()).select_from(login_tokens)) == 1


def test_nobody_unknown_gets_a_token(engine: sa.Engine) -> None:
    with engine.begin() as connection, pytest.raises(NotFound, match="no user bob"):
        access.issue_login(connection, "bob", now=NOW)


def test_two_who_find_nobody_make_one_administrator(engine: sa.Engine) -> None:
    made: list[bool] = []
    with engine.begin() as first:
        assert access.ensure_admin(first, "admin", actor="system", now=NOW)

        def second() -> None:
            with engine.begin() as connection:
                made.append(access.ensure_admin(connection, "admin", actor="system", now=NOW))

        waiting = threading.Thread(target=second)
        waiting.start()
    waiting.join(20)
    assert made == [False]
    with engine.connect() as connection:
        assert [user.name for user in access.list_users(connection)] == ["admin"]
        assert [row[1] for row in actions(connection)].count("user.created") == 1
