"""milepost edi …"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milepost.catalog.words import and_more
from milepost.cli.output import notes, out

if TYPE_CHECKING:
    from collector.edi.events import Read, Told

app = typer.Typer(help="EDI interchanges, X12 and EDIFACT.", no_args_is_help=True)


@app.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="A file of interchanges.")],
    catalog: Annotated[
        Path | None, typer.Option(help="A folder of catalog files; its partners.yaml says who is who.")
    ] = None,
    source: Annotated[str, typer.Option(help="The source that the events would get.")] = "edi",
    as_json: Annotated[bool, typer.Option("--json", help="Print the events, one a line, and nothing else.")] = False,
) -> None:
    """Tell what a file of interchanges says, and which events would come of it. Nothing is sent."""
    from collector.edi.events import Reader, encode
    from milepost.catalog import loader
    from milepost.errors import NotFound

    try:
        data = file.read_bytes()
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}") from error
    refused = 0
    for read in Reader(loader.load(loader.read_texts(catalog)).edi, source).read(data):
        refused += len(read.refused)
        if as_json:
            for body in encode(read.events):
                out.print(body.decode(), markup=False, highlight=False, soft_wrap=True)
        else:
            _tell(read)
    if refused:
        raise typer.Exit(1)


def _tell(read: Read) -> None:
    if read.interchange is None or read.roles is None:
        _fault(f"bytes {read.start} to {read.end}", read.refused[0].error)
        return
    found, roles = read.interchange, read.roles
    header = found.header
    way = f"to {roles.partner}" if roles.outgoing else f"from {roles.partner}"
    test = ", a test" if header.test else ""
    _line(f"{found.standard} interchange {header.control} {way} ({header.sender} > {header.receiver}{test})", "bold")
    for document in read.documents:
        _document(document)


def _document(document: Told) -> None:
    where = f"{document.type} {document.control}".strip()
    _line(f"  {where} (from segment {document.first_segment})")
    if document.fault is not None:
        _fault("    ", document.fault)
    for event in document.events:
        keys = "  ".join(f"{kind} {_keys(value)}" for kind, value in event["data"]["keys"].items())
        code = f"  code {event['data']['code']}" if "code" in event["data"] else ""
        outcome = "" if event["data"]["outcome"] == "ok" else f"  {event['data']['outcome']}"
        _line(f"    {event['type']:<28}{event.get('time', 'no time'):<27}{keys}{code}{outcome}")


def _keys(value: str | list[str]) -> str:
    keys = [value] if isinstance(value, str) else value
    return and_more(keys, 3)


def _line(text: str, style: str = "") -> None:
    out.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _fault(where: str, why: str) -> None:
    notes.print(f"{where}: {why}" if where.strip() else f"{where}{why}", style="red", markup=False, soft_wrap=True)
