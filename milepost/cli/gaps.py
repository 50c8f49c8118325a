"""milepost gaps"""

from __future__ import annotations

from typing import Annotated

import typer

from milepost.cli.access import MOST, length, transaction
from milepost.cli.output import notes, table
from milepost.errors import NotFound


def gaps(
    since: Annotated[str, typer.Option(help="Journeys that started in the last so long: 12h, 30d.")] = "30d",
    model: Annotated[str | None, typer.Option(help="Only journeys of this model.")] = None,
    newest: Annotated[int | None, typer.Option(min=1, max=MOST, help="Only so many of each model, the newest.")] = None,
) -> None:
    """List milestones that must have happened and weren't seen, by the source that should have told them."""
    from dashboards.queries import gaps as queries
    from milepost.decisions import catalog as decided

    with transaction() as (connection, now, _):
        catalog = decided.active(connection)
        if model is not None and model not in catalog.models:
            raise NotFound(f"there is no model {model}; there are {', '.join(catalog.models)}")
        found = queries.find(connection, catalog, since=now - length(since), model=model, newest=newest)
    rows = [
        (
            gap.source or "nobody known",
            gap.model,
            gap.milestone,
            gap.missing,
            gap.expected,
            f"{gap.share:.1%}",
            ", ".join(one.key for one in gap.examples),
        )
        for gap in found.gaps
    ]
    columns = ("source", "model", "milestone", "missing", "of", "share", "newest")
    table(*columns, rows=rows, empty="Nothing is missing.")
    if found.untold:
        names = ", ".join(f"{name} ({of})" for of, name in found.untold)
        notes.print(f"Nobody tells {names}: declare optional what is not to be told.", highlight=False, soft_wrap=True)
