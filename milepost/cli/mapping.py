"""milepost mapping …"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from milepost.cli.output import notes, out
from milepost.errors import MalformedBody, NotFound

if TYPE_CHECKING:
    from collector.formats.mapping import Made
    from milepost.catalog.mapping import MappingSpec

app = typer.Typer(help="Mappings: from payloads of anybody to events.", no_args_is_help=True)

_SHOWN = 100
"""Characters of a value that are shown."""


@app.command("test")
def try_out(
    file: Annotated[str, typer.Argument(help="A mapping, or the name of a built-in one, like shopify.")],
    sample: Annotated[Path, typer.Argument(help="A payload (JSON), several (NDJSON), or a table (CSV).")],
    header: Annotated[list[str] | None, typer.Option(help='A header of the webhook, like "X-Topic: a/b".')] = None,
    source: Annotated[str, typer.Option(help="The source that the events get.")] = "sample",
    delivery: Annotated[str | None, typer.Option(help="The sender's id of this delivery.")] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="The events alone, without what each expression gave.")
    ] = False,
) -> None:
    """Show the events that a mapping makes of a sample, what each expression gave, and what is wrong."""
    from collector.formats.mapping import Mapping

    spec = _spec(file)
    mapping, headers = Mapping(spec), dict(_header(text) for text in header or ())
    valid = 0
    for payload in _payloads(spec, sample):
        made = mapping.apply(payload, source=source, headers=headers, delivery=delivery, traced=not quiet)
        _tell(made)
        valid += _show(made)
    _note(f"{valid} valid event{'' if valid == 1 else 's'}", "green" if valid else "red")
    raise typer.Exit(0 if valid else 1)


def _spec(file: str) -> MappingSpec:
    """Raises NotFound, CatalogError."""
    from milepost.catalog import loader, mapping

    path = Path(file)
    if path.is_file():
        return mapping.read(path.name, loader.text_of(path))
    built_in = loader.default_texts().get(f"{loader.MAPPINGS}{file}.yaml")
    if built_in is None:
        raise NotFound(f"{file}: neither a file nor a built-in mapping")
    return mapping.read(file, built_in)


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name.strip().lower(), value.strip()


def _payloads(spec: MappingSpec, sample: Path) -> list[Any]:
    """Raises NotFound, MalformedBody."""
    import csv

    try:
        if spec.table is not None:
            lines = sample.read_text(spec.table.encoding).splitlines()
            return list(csv.DictReader(lines, restval="", delimiter=spec.table.delimiter))
        text = sample.read_text("utf-8-sig")
        if sample.suffix in (".ndjson", ".jsonl"):
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        return [json.loads(text)]
    except FileNotFoundError as error:
        raise NotFound(f"{sample}: there is no such file") from error
    except OSError as error:
        raise MalformedBody(f"{sample}: {error.strerror}") from error
    except (ValueError, LookupError) as error:
        raise MalformedBody(f"{sample.name}: {error}") from error


def _tell(made: Made) -> None:
    for place, text, value in made.trace:
        shown = json.dumps(value, ensure_ascii=False, default=str)
        notes.print(
            f"  {place}: {text} -> {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '…'}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    for why in made.left_out:
        _note(f"left out: {why}", "yellow")
    for fault in made.faults:
        _note(f"fault: {fault}", "red")
    if made.ignored is not None:
        _note(f"ignored: {made.ignored}", "yellow")
    elif made.problem is not None and not made.faults:
        _note(made.problem, "red")


def _show(made: Made) -> int:
    """Print the events; how many of them keep to the contract."""
    from milepost import contract
    from milepost.errors import InvalidEvent

    valid = 0
    for event in made.events:
        out.print_json(data=event)
        try:
            contract.decode(json.dumps(event).encode())
            valid += 1
        except InvalidEvent as error:
            _note(f"refused: {event['id']}: {error}", "red")
    return valid


def _note(text: str, style: str) -> None:
    notes.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
