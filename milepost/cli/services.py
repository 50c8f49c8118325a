"""milepost run, milepost demo"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from milepost.cli.output import out

if TYPE_CHECKING:
    from milepost.wiring.service import Started


class Process(StrEnum):
    """What can run on its own."""

    web = "web"
    collector = "collector"
    dashboards = "dashboards"
    record = "record"
    assemble = "assemble"
    scheduler = "scheduler"


def run(
    process: Annotated[
        Process | None, typer.Argument(help="Run this process alone, in the foreground (default: all, supervised).")
    ] = None,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
    descriptor: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start Milepost. Ctrl+C stops it."""
    from milepost.settings import Settings

    settings = Settings.load()
    if process is None:
        from milepost.wiring import service

        service.run(settings, announce, supervised=supervised)
    else:
        from milepost.wiring import processes

        processes.run(process.value, settings, supervised=supervised, descriptor=descriptor)


def announce(started: Started) -> None:
    """The block that says where everything is."""
    lines = [("Milepost runs at", started.address)]
    if started.login:
        lines.append(("log in, once", started.login))
    elif not started.has_password:
        lines.append(("log in", "milepost login-link admin"))
    lines.append(("the data is in", started.data))
    out.print()
    for label, value in lines:
        out.print(f"  [bold]{label:<18}[/bold]{value}", highlight=False, soft_wrap=True)
    out.print()


def demo() -> None:
    """Start Milepost on a simulated distribution network."""
    raise NotImplementedError
