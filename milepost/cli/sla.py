"""milepost sla …"""

from __future__ import annotations

import typer

from milepost.cli.backtest import backtest

app = typer.Typer(help="How well promises are kept, and what another promise would have found.", no_args_is_help=True)
app.command("backtest")(backtest)
