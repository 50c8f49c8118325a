"""milepost import …"""

from __future__ import annotations

import typer

app = typer.Typer(help="Bring history in from files.", no_args_is_help=True)
