"""milepost run, milepost demo"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from milepost.cli.output import notes, out

if TYPE_CHECKING:
    from milepost.wiring.demo import Site
    from milepost.wiring.service import Started
    from simulator.demo import Live
    from simulator.receiver import Notice


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
    lines = {"Milepost runs at": started.address}
    if started.login:
        lines["log in, once"] = started.login
    elif not started.has_password:
        lines["log in"] = "milepost login-link admin"
    _block(lines | {"the data is in": started.data, "to stop": "Ctrl+C"})


def demo(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where it listens (default: MILEPOST_PORT).")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--for", min=1, help="Stop by itself, so many seconds after the pages answer.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=90, help="How many days of history (default: 24).")] = None,
) -> None:
    """Start Milepost on a simulated distribution network, with a database of its own that is new each time."""
    import msgspec

    from milepost.settings import Settings
    from milepost.wiring import demo as demonstration

    settings = Settings.load()
    if port is not None:
        settings = msgspec.structs.replace(settings, web=msgspec.structs.replace(settings.web, port=port))
    with _history() as progress:
        demonstration.run(
            settings,
            announce=_announce_demo,
            progress=progress,
            live=_tell_live,
            notified=_tell_notice,
            seconds=seconds,
            days=days,
        )


def _tell_live(live: Live) -> None:
    """What is in, and what there will be to see."""
    out.print(
        f"  {live.events:,} events of history sent in {live.seconds:.0f} s. Live now, and in trouble:", highlight=False
    )
    for act in live.acts:
        over = datetime.fromtimestamp(act.over).astimezone()
        out.print(f"  · {act.what}, until {over:%H:%M}", highlight=False)
    out.print("  Alerts rise within two minutes; each notification is shown here.", highlight=False)
    out.print()


def _tell_notice(notice: Notice) -> None:
    """One line for each notification."""
    colour = {"resolved": "green", "opened": "red", "reopened": "red"}.get(notice.event, "yellow")
    told = f"  [dim]{datetime.now().astimezone():%H:%M:%S}[/dim]  [{colour}]{notice.event:<13}[/{colour}]"
    out.print(f"{told}{escape(notice.headline)}  [dim]{escape(notice.url)}[/dim]", highlight=False, soft_wrap=True)


def _announce_demo(site: Site) -> None:
    _block(
        {"Milepost runs at": site.address, "log in, once": site.login, "its log is": str(site.log), "to stop": "Ctrl+C"}
    )


def _block(lines: Mapping[str, str]) -> None:
    out.print()
    for label, value in lines.items():
        out.print(f"  [bold]{label:<18}[/bold]{escape(value)}", highlight=False, soft_wrap=True)
    out.print()


@contextmanager
def _history() -> Iterator[Callable[[int, int], None]]:
    """A bar that goes away when it is full."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("  {task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes, transient=True) as bars:
        bar = bars.add_task("sending weeks of history", total=None, visible=False)

        def told(done: int, total: int) -> None:
            bars.update(bar, completed=done, total=total, visible=done < total)

        yield told
