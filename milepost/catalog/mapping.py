"""The shape of a mapping: how a payload of somebody else's becomes events. Checked here, run by the collector.

A payload is what came in one request of a webhook, or one row or line of a file. Texts in a mapping are JMESPath
expressions over `body` (the payload), `item` (one element, where the rule has `each`) and `header` (the request's
headers, lower case, `_` for `-`). With a `table` the payloads are rows, and a text is the name of a column; one that
begins with `=` is an expression.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import time
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct, field

from milepost.catalog import lines
from milepost.catalog.expression import Expression, ExpressionError
from milepost.contract import KeyType, Name, Outcome
from milepost.errors import CatalogError

Text = Annotated[str, Meta(min_length=1)]
Condition = Text | dict[Text, list[str]]
"""An expression that must be true, or {expression: [values]}: each must have one of its values."""

NAMES: Final = ("body", "header")
NAMES_EACH: Final = ("body", "header", "item")
OUTCOMES: Final = ("ok", "retried", "failed", "rejected")


class Choice(Struct, frozen=True, forbid_unknown_fields=True):
    """A value looked up in a table.

    A value that isn't in the table is `otherwise`; without that, it is a fault, and tells. Null in the table: left out.
    Without a table the value itself counts.
    """

    of: Text
    table: dict[str, str | None] = {}
    otherwise: Text | None = None


class ObjectRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One end of a link."""

    type: KeyType
    key: Text


class LinkRule(Struct, frozen=True, forbid_unknown_fields=True):
    """A relation that keys can't tell; left out where one of its ends has no key."""

    parent: ObjectRule
    child: ObjectRule
    rel: Name = "related"


class IgnoreRule(Struct, frozen=True, forbid_unknown_fields=True):
    """Payloads that mean nothing here. They are counted."""

    when: Condition
    because: Text


class EventRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of event of a payload; with `each`, one event for each element.

    A rule with a `time` that gives nothing gives no event; without `time`, the time of receipt counts.
    """

    type: Name | Choice
    each: Text | None = None
    when: Condition | None = None
    id: Text | list[Text] | None = None
    time: Text | None = None
    keys: dict[KeyType, Text | list[Text]] = {}
    attributes: dict[Text, Text | Choice] = {}
    dates: dict[Text, Text] = {}
    values: dict[Text, str | int | bool] = {}
    links: list[LinkRule] = []
    outcome: Outcome | Choice = "ok"
    code: Text | None = None
    reason: Text | None = None
    correlationid: Text | None = None
    causationid: Text | None = None


class TableForm(Struct, frozen=True, forbid_unknown_fields=True):
    """How a file of rows is read."""

    encoding: str = "utf-8-sig"
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","


class MappingSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping. `id` tells payloads apart and stays the same when one comes again; see EventRule.id."""

    events: Annotated[list[EventRule], Meta(min_length=1)]
    title: str = ""
    source: Annotated[str, Meta(max_length=256)] = ""
    table: TableForm | None = None
    id: Text | list[Text] | None = None
    zone: str = "UTC"
    date_forms: Annotated[list[Text], Meta(min_length=1)] = field(default_factory=lambda: ["iso"])
    date_at: str = "12:00"
    no_value: list[str] = []
    ignore: list[IgnoreRule] = []


def read(name: str, text: str) -> MappingSpec:
    """Parse and check the text of a mapping. Raises CatalogError naming file, field and the mend."""
    return convert(name, lines.parse(name, text))


def convert(name: str, document: Any) -> MappingSpec:
    """Check a parsed mapping. Raises CatalogError."""
    try:
        spec = msgspec.convert(document, MappingSpec)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        place = path.removeprefix("key` in `").rstrip("`").lstrip("$.")
        raise CatalogError(f"{name}: {place or 'mapping'}: {message}") from error
    _check(name, spec)
    return spec


def _check(name: str, spec: MappingSpec) -> None:
    try:
        ZoneInfo(spec.zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise CatalogError(f'{name}: zone: "{spec.zone}" is not a known time zone') from error
    try:
        time.fromisoformat(spec.date_at)
    except ValueError as error:
        raise CatalogError(f'{name}: date_at: "{spec.date_at}" is not a time of day; write it like 12:00') from error
    for place, text, known in texts(spec):
        try:
            expression(spec, text, known)
        except ExpressionError as error:
            raise CatalogError(f"{name}: {place}: {text}: {error}") from error
    for index, rule in enumerate(spec.events):
        _check_rule(f"{name}: events[{index}]", rule)


def _check_rule(where: str, rule: EventRule) -> None:
    if not rule.keys and not rule.links and rule.correlationid is None:
        raise CatalogError(f"{where}: keys: an event needs keys or a correlationid")
    if isinstance(rule.type, Choice):
        _check_table(f"{where}: type", rule.type, None)
    if isinstance(rule.outcome, Choice):
        _check_table(f"{where}: outcome", rule.outcome, OUTCOMES)
    for name in rule.values:
        if name in rule.attributes or name in rule.dates:
            raise CatalogError(f"{where}: values.{name}: this attribute is given twice")


def _check_table(where: str, choice: Choice, allowed: tuple[str, ...] | None) -> None:
    for value in (*choice.table.values(), choice.otherwise):
        if value is not None and allowed is not None and value not in allowed:
            raise CatalogError(f'{where}: "{value}" is none of {", ".join(allowed)}')
        if value == "":
            raise CatalogError(f"{where}: table: an empty value; write null to leave something out")


def column_of(spec: MappingSpec, text: str) -> str | None:
    """The column that a text of this mapping names; None where it is an expression."""
    return text if spec.table is not None and not text.startswith("=") else None


def expression(spec: MappingSpec, text: str, known: tuple[str, ...]) -> Expression:
    """A text of a mapping as an expression. Raises ExpressionError."""
    column = column_of(spec, text)
    if column is not None:
        return Expression.of_column(column)
    return Expression(text.removeprefix("=") if spec.table is not None else text, known)


def texts(spec: MappingSpec) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """All expressions and columns of a mapping: (place, text, the names that it may begin with)."""
    for place, text in _several("id", spec.id):
        yield place, text, NAMES
    for index, ignore in enumerate(spec.ignore):
        for place, text in _conditions(f"ignore[{index}].when", ignore.when):
            yield place, text, NAMES
    for index, rule in enumerate(spec.events):
        if rule.each is not None:
            yield f"events[{index}].each", rule.each, NAMES
        known = NAMES if rule.each is None else NAMES_EACH
        for place, text in _of_rule(rule):
            yield f"events[{index}].{place}", text, known


def _of_rule(rule: EventRule) -> Iterator[tuple[str, str]]:
    yield from _conditions("when", rule.when)
    yield from _several("id", rule.id)
    for name in ("time", "code", "reason", "correlationid", "causationid", "type", "outcome"):
        value = getattr(rule, name)
        if isinstance(value, Choice):
            yield f"{name}.of", value.of
        elif value is not None and name not in ("type", "outcome"):
            yield name, value
    for kind, keys in rule.keys.items():
        yield from _several(f"keys.{kind}", keys)
    for name, attribute in rule.attributes.items():
        yield f"attributes.{name}", attribute.of if isinstance(attribute, Choice) else attribute
    for name, date in rule.dates.items():
        yield f"dates.{name}", date
    for index, link in enumerate(rule.links):
        yield f"links[{index}].parent.key", link.parent.key
        yield f"links[{index}].child.key", link.child.key


def _several(place: str, value: str | list[str] | None) -> Iterator[tuple[str, str]]:
    for text in [value] if isinstance(value, str) else value or ():
        yield place, text


def _conditions(place: str, value: Condition | None) -> Iterator[tuple[str, str]]:
    for text in [value] if isinstance(value, str) else value or ():
        yield place, text
