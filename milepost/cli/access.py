"""milepost keys …, milepost users …, milepost login-link"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from milepost.cli.output import notes, out, table
from milepost.errors import Permanent

if TYPE_CHECKING:
    import sqlalchemy as sa

    from milepost.auth import NewKey
    from milepost.settings import Settings

_LARGEST: Final = 2**63 - 1
MOST: Final = 1_000_000
"""Rows that a list can be asked for."""
keys = typer.Typer(help="API keys of the systems that send or read.", no_args_is_help=True)
users = typer.Typer(help="People who may log in.", no_args_is_help=True)


def actor() -> str:
    """Who types: for the audit."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # an id without a name, as in containers
        return "cli"


@contextmanager
def transaction() -> Iterator[tuple[sa.Connection, datetime, Settings]]:
    """A transaction on a prepared database, the time, and the settings."""
    from milepost.settings import Settings
    from milepost.wiring.resources import prepared

    with prepared(Settings.load(), "cli") as resources, resources.engine.begin() as connection:
        yield connection, resources.clock(), resources.settings


def length(text: str) -> timedelta:
    """A length of time as the catalog writes it. Raises Permanent."""
    from milepost.catalog.schema import Duration

    try:
        return timedelta(microseconds=Duration(text).us)
    except ValueError as error:
        raise Permanent(str(error)) from error


def moment(text: str) -> datetime:
    """A time, in UTC unless it says so. Raises Permanent."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise Permanent(f"{text} is no time; write it like 2026-12-24T18:00") from error
    return usual(found)


def usual(at: datetime) -> datetime:
    """A time, in UTC unless it says so. Raises Permanent for one that no event has: not all of those can be stored."""
    from milepost.clock import aware
    from milepost.contract import OUTSIDE, is_possible

    if not is_possible(aware(at)):
        raise Permanent(f"{at.isoformat()} {OUTSIDE}")
    return aware(at)


def row_number(text: str) -> int:
    """What a row is numbered by. Raises BadParameter."""
    try:
        found = int(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is no number") from error
    if abs(found) > _LARGEST:
        raise typer.BadParameter(f"{text} is larger than any number that Milepost gives")
    return found


def ending(starts_at: datetime, lasts: str | None, until: str | None) -> datetime:
    """When something ends that was given either a length or an end."""
    if (lasts is None) == (until is None):
        raise typer.BadParameter("say --for how long, or --until when")
    return starts_at + length(lasts) if lasts is not None else moment(until or "")


# --- keys -------------------------------------------------------------------------------------------------------------


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    source: Annotated[
        list[str] | None, typer.Option(help="A source that it may send as; * matches anything. Repeatable.")
    ] = None,
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="An event type that it may send (default: all). Repeatable.")
    ] = None,
    scope: Annotated[list[str] | None, typer.Option(help="send (default), read or quarantine. Repeatable.")] = None,
    expires: Annotated[str | None, typer.Option(help="For how long it is valid: 90d, 12h. Default: for ever.")] = None,
) -> None:
    """Make a key and print it. This is the only time that it is shown."""
    from milepost.decisions import access

    scopes = scope or ["send"]
    if "send" in scopes and not source:
        raise typer.BadParameter("a key that may send needs at least one --source")
    with transaction() as (connection, now, _):
        new = access.create_key(
            connection,
            name=name,
            sources=source or [],
            types=type_ or ["*"],
            scopes=scopes,
            expires_at=now + length(expires) if expires else None,
            actor=actor(),
            now=now,
        )
    _show(new, name)


def _show(new: NewKey, name: str) -> None:
    notes.print(f"Key {new.key_id} of {name}. It is shown this once:", markup=False, highlight=False)
    out.print(new.text, markup=False, highlight=False, soft_wrap=True)


@keys.command("rotate")
def rotate_key(
    key_id: Annotated[str, typer.Argument(help="The id that `keys list` shows.")],
    overlap: Annotated[str, typer.Option(help="For how long the old one still works: 24h, 7d, 0s.")] = "24h",
    expires: Annotated[str | None, typer.Option(help="For how long the new one is valid. Default: for ever.")] = None,
) -> None:
    """Make a key with the same rights, print it, and let the old one end."""
    from milepost.decisions import access

    with transaction() as (connection, now, _):
        old = access.find_key(connection, key_id)
        expires_at = now + length(expires) if expires else None
        new = access.rotate_key(
            connection, key_id, overlap=length(overlap), expires_at=expires_at, actor=actor(), now=now
        )
    _show(new, old.name if old is not None else key_id)


@keys.command("list")
def list_keys(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are revoked or expired.")] = False,
) -> None:
    """List the keys."""
    from milepost.decisions import access

    with transaction() as (connection, now, _):
        found = [record for record in access.list_keys(connection) if everything or record.key.usable(now)]
    rows = (
        (
            record.key.key_id,
            record.key.name,
            ", ".join(sorted(record.key.scopes)),
            ", ".join(record.key.sources),
            ", ".join(record.key.types),
            "revoked" if record.key.revoked_at else record.key.expires_at,
            record.last_used_at,
            record.successor,
        )
        for record in found
    )
    columns = ("id", "name", "scopes", "sources", "types", "valid until", "last used", "successor")
    table(*columns, rows=rows, empty="There are no keys: milepost keys create NAME --source SOURCE")


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="The id that `keys list` shows.")]) -> None:
    """Make a key useless, within seconds."""
    from milepost.decisions import access

    with transaction() as (connection, now, _):
        access.revoke_key(connection, key_id, actor=actor(), now=now)
    notes.print(f"Key {key_id} is revoked.", markup=False, highlight=False)


# --- users ------------------------------------------------------------------------------------------------------------


@users.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="The name to log in with.")],
    role: Annotated[str, typer.Option(help="viewer, operator, analyst or admin.")] = "viewer",
    password: Annotated[
        bool, typer.Option(help="Ask for a password (read from a pipe where there is one), or go without.")
    ] = True,
) -> None:
    """Add somebody who may log in. Without a password only login-link lets them in."""
    from milepost.decisions import access

    chosen = _ask_password() if password else None
    with transaction() as (connection, now, _):
        access.create_user(connection, name=name, password=chosen, role=role, actor=actor(), now=now)
    notes.print(f"{name} may log in as {role}.", markup=False, highlight=False)


@users.command("password")
def set_password(name: Annotated[str, typer.Argument(help="Whose password.")]) -> None:
    """Set another password. Their sessions end within seconds."""
    from milepost.decisions import access

    chosen = _ask_password()
    with transaction() as (connection, now, _):
        access.set_password(connection, name, chosen, actor=actor(), now=now)
    notes.print(f"{name} has another password.", markup=False, highlight=False)


@users.command("list")
def list_users() -> None:
    """List the users."""
    from milepost.decisions import access

    with transaction() as (connection, _, _):
        found = access.list_users(connection)
    rows = (
        (user.name, user.role, "yes" if user.has_password else "no", user.created_at, user.disabled_at)
        for user in found
    )
    columns = ("name", "role", "password", "added", "disabled")
    table(*columns, rows=rows, empty="There are no users: milepost users add NAME --role admin")


@users.command("disable")
def disable_user(name: Annotated[str, typer.Argument(help="Whom to let in no more.")]) -> None:
    """Let somebody in no more, within seconds."""
    from milepost.decisions import access

    with transaction() as (connection, now, _):
        access.disable_user(connection, name, actor=actor(), now=now)
    notes.print(f"{name} is disabled.", markup=False, highlight=False)


@users.command("enable")
def enable_user(name: Annotated[str, typer.Argument(help="Whom to let in again.")]) -> None:
    """Let somebody in again who was disabled."""
    from milepost.decisions import access

    with transaction() as (connection, now, _):
        access.enable_user(connection, name, actor=actor(), now=now)
    notes.print(f"{name} may log in again.", markup=False, highlight=False)


@users.command("role")
def set_role(
    name: Annotated[str, typer.Argument(help="Whose role.")],
    role: Annotated[str, typer.Argument(help="viewer, operator, analyst or admin.")],
) -> None:
    """Give somebody another role. Their sessions end within seconds."""
    from milepost.decisions import access

    with transaction() as (connection, now, _):
        access.set_role(connection, name, role, actor=actor(), now=now)
    notes.print(f"{name} is {role} now, and has to log in again.", markup=False, highlight=False)


def login_link(
    name: Annotated[str, typer.Argument(help="Who is to log in.")],
    valid: Annotated[str, typer.Option(help="For how long the link works: 1h, 30m.")] = "1h",
) -> None:
    """Print an address that lets a user in once, without a password."""
    from milepost.decisions import access
    from milepost.wiring.resources import login_address

    with transaction() as (connection, now, settings):
        token = access.issue_login(connection, name, now=now, valid=length(valid), actor=actor())
    out.print(login_address(settings, token), markup=False, highlight=False, soft_wrap=True)


def _ask_password() -> str:
    """Asked twice at a terminal, else the first line of standard input. Raises Permanent when it is too short."""
    from milepost.auth import MIN_PASSWORD

    if sys.stdin.isatty():
        typed = typer.prompt(
            f"Password (at least {MIN_PASSWORD} characters)", hide_input=True, confirmation_prompt=True
        )
    else:
        typed = sys.stdin.readline().rstrip("\r\n")
    if len(typed) < MIN_PASSWORD:
        raise Permanent(f"the password needs at least {MIN_PASSWORD} characters")
    return str(typed)
