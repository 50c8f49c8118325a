"""milepost audit …"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from milepost.cli.access import MOST, length, transaction
from milepost.cli.output import notes, out, table
from milepost.errors import Permanent

app = typer.Typer(help="Who did what, when.", no_args_is_help=True)


@app.command("list")
def list_lines(
    actor: Annotated[str | None, typer.Option(help="Of this one only.")] = None,
    action: Annotated[str | None, typer.Option(help="Only these: key.created, or key for all about keys.")] = None,
    since: Annotated[str | None, typer.Option(help="Only what is not older: 24h, 30d.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="The last so many.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with the hashes.")] = False,
) -> None:
    """List what was done, the oldest first."""
    from milepost.decisions import audit

    with transaction() as (connection, now, _):
        oldest = now - length(since) if since else None
        lines = audit.lines(connection, actor=actor, action=action, since=oldest, limit=limit)
    if as_json:
        for line in lines:
            text = json.dumps({**line.content(), "hash": line.hash.hex()}, ensure_ascii=False)
            out.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    rows = (
        (line.audit_id, line.at, line.actor, line.action, line.target, json.dumps(line.detail) if line.detail else "")
        for line in lines
    )
    table("row", "at", "actor", "action", "target", "detail", rows=rows, empty="Nothing was done.")


@app.command("verify")
def verify(
    head: Annotated[
        str | None, typer.Option(help="The hash that an earlier check printed: it must still be in the chain.")
    ] = None,
) -> None:
    """Check that no row was changed, removed or put in. Prints the last row's hash: keep it elsewhere."""
    from milepost.decisions import audit

    try:
        expected = bytes.fromhex(head) if head is not None else None
    except ValueError as error:
        raise Permanent("--head: give the 64 digits that `milepost audit verify` printed") from error
    with transaction() as (connection, _, _):
        verdict = audit.verify(connection, head=expected)
    if verdict.problem is not None:
        raise Permanent(f"the audit was tampered with: {verdict.problem} ({verdict.rows} rows are good)")
    notes.print(f"{verdict.rows} rows, all as they were written. The last one's hash:", highlight=False)
    out.print(verdict.head.hex(), markup=False, highlight=False, soft_wrap=True)
