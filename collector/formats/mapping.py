"""Payloads of anybody to events, by a mapping of the catalog. Pure.

`Mapping` is compiled once for a version of the catalog. The same payload always gives the same ids, so that what a
sender repeats is a duplicate: an event's id is the mapping's `id` (or the delivery's, or a hash of the payload), and
the type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Lookup
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, Final

import msgspec

from collector.formats.moments import Moments
from milepost.catalog import mapping as catalog
from milepost.catalog.expression import Budget, ExpressionError, is_true
from milepost.catalog.mapping import Choice, Condition, EventRule, MappingSpec, ObjectRule
from milepost.contract import OUTSIDE, is_possible
from milepost.errors import InvalidEvent

MAX_EVENTS: Final = 1_000
"""Events of one payload."""
MAX_ID: Final = 256
MAX_REASON: Final = 2000
_WHOLE: Final = 2**63
_NO_HEADERS: Final[Lookup[str, str]] = {}


@dataclass(slots=True)
class Made:
    """What a payload gives. `ignored`: why a rule of the mapping says that it means nothing here.

    `faults`: what could not be made, each with the place in the mapping. `left_out`: the rules that gave nothing by
    their own conditions. `trace`: (place, expression, value) of everything that was evaluated.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    ignored: str | None = None
    faults: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    trace: list[tuple[str, str, Any]] = field(default_factory=list)

    @property
    def told(self) -> str:
        """The faults as one text. What several rules share, each of them has."""
        return "; ".join(list(dict.fromkeys(self.faults))[:5])

    @property
    def problem(self) -> str | None:
        """Why the payload needs somebody's attention; None when it was understood or knowingly ignored."""
        if self.faults:
            return self.told
        if self.events or self.ignored is not None:
            return None
        more = f" (and {len(self.left_out) - 1} more)" if len(self.left_out) > 1 else ""
        return f"the mapping makes no event of this payload: {''.join(self.left_out[:1]) or 'nothing applies'}{more}"


class Mapping:
    """A compiled mapping. Safe to share: it keeps nothing between payloads."""

    def __init__(self, spec: MappingSpec) -> None:
        """`spec` was checked by the catalog."""
        self.spec = spec
        self.moments = Moments(spec.zone, spec.date_forms, spec.date_at)
        self.nothing = frozenset({word.strip().casefold() for word in spec.no_value} | {""})
        self.compiled = {text: catalog.expression(spec, text, catalog.NAMES_EACH) for _, text, _ in catalog.texts(spec)}
        self.suffixes = _suffixes(spec.events)

    def columns(self) -> set[str]:
        """The columns that a mapping with a `table` names."""
        found = (catalog.column_of(self.spec, text) for _, text, _ in catalog.texts(self.spec))
        return {column for column in found if column is not None}

    def events(
        self,
        payload: Any,
        *,
        source: str,
        headers: Lookup[str, str] = _NO_HEADERS,
        delivery: str | None = None,
    ) -> list[dict[str, Any]]:
        """The wire events of a payload, all or none: an empty list means that the mapping left it out.

        Raises InvalidEvent naming the place in the mapping.
        """
        made = self.apply(payload, source=source, headers=headers, delivery=delivery)
        if made.faults:
            raise InvalidEvent(made.told)
        return made.events

    def apply(
        self,
        payload: Any,
        *,
        source: str,
        headers: Lookup[str, str] = _NO_HEADERS,
        delivery: str | None = None,
        traced: bool = False,
    ) -> Made:
        """What a payload gives; what is good is made even where other parts of it have faults.

        `payload` is parsed JSON or a row; `source` what its events get unless the mapping has its own; `headers` by
        lower-case name; `delivery` the id under which the sender repeats this payload, if it has one. Never raises.
        """
        return _Run(self, payload, self.spec.source or source, headers, delivery, traced).made


class _Run:
    """One payload on its way through a mapping."""

    def __init__(
        self, mapping: Mapping, payload: Any, source: str, headers: Lookup[str, str], delivery: str | None, traced: bool
    ) -> None:
        self._mapping = mapping
        self._source = source
        self._delivery = delivery
        self._traced = traced
        self._budget = Budget()
        plain = {name.lower().replace("-", "_"): value for name, value in headers.items()}
        self._context: dict[str, Any] = {"body": payload, "header": plain}
        self.made = Made()
        self._all()

    def _all(self) -> None:
        for index, ignore in enumerate(self._mapping.spec.ignore):
            try:
                applies = self._objection(f"ignore[{index}].when", ignore.when) is None
            except InvalidEvent as error:  # told, and the payload is looked at
                self.made.faults.append(str(error))
                continue
            if applies:
                self.made.ignored = ignore.because
                return
        for index, rule in enumerate(self._mapping.spec.events):
            self._rule(f"events[{index}]", rule, self._mapping.suffixes[index])

    def _rule(self, where: str, rule: EventRule, suffix: str) -> None:
        try:
            for number, item in self._items(where, rule):
                if len(self.made.events) >= MAX_EVENTS:
                    raise InvalidEvent(f"{where}: more than {MAX_EVENTS} events of one payload")
                self._one(where if number is None else f"{where} item {number}", rule, suffix, number, item)
        except InvalidEvent as error:
            self.made.faults.append(str(error))
        self._context.pop("item", None)

    def _one(self, where: str, rule: EventRule, suffix: str, number: int | None, item: Any) -> None:
        """An element with a fault doesn't cost the others."""
        if number is not None:
            self._context["item"] = item
        try:
            event = self._event(where, rule, suffix, number)
        except InvalidEvent as error:
            self.made.faults.append(str(error))
            return
        if event is not None:
            self.made.events.append(event)

    def _items(self, where: str, rule: EventRule) -> Iterator[tuple[int | None, Any]]:
        if rule.each is None:
            yield None, None
            return
        found = self._value(f"{where}.each", rule.each)
        items = found if isinstance(found, list) else [] if found is None else [found]
        if not items:
            self.made.left_out.append(f"{where}.each: {rule.each} is empty")
        yield from enumerate(items[:MAX_EVENTS])
        if len(items) > MAX_EVENTS:
            raise InvalidEvent(f"{where}.each: {len(items)} elements, at most {MAX_EVENTS} are looked at")

    def _event(self, where: str, rule: EventRule, suffix: str, number: int | None) -> dict[str, Any] | None:
        if rule.when is not None and (objection := self._objection(f"{where}.when", rule.when)) is not None:
            self.made.left_out.append(objection)
            return None
        at = None
        if rule.time is not None:
            at = self._time(f"{where}.time", rule.time)
            if at is None:
                self._undated(f"{where}.time: {rule.time} is empty", number)
                return None
        event_type = self._type(where, rule)
        if event_type is None:
            self.made.left_out.append(f"{where}.type: the table leaves it out")
            return None
        made = {
            "specversion": "1.0",
            "id": self._id(where, rule, event_type + suffix, number),
            "source": self._source,
            "type": event_type,
            "time": None if at is None else at.isoformat(),
            "correlationid": self._optional(where, "correlationid", rule),
            "causationid": self._optional(where, "causationid", rule),
        }
        return {name: value for name, value in made.items() if value is not None} | {"data": self._data(where, rule)}

    def _time(self, place: str, text: str) -> datetime | None:
        value = self._plain(place, text)
        moment = self._moments.read(place, value)
        if moment is None:
            return None
        at = self._moments.instant(moment)
        if not is_possible(at):  # RFC 3339 can't write all of them
            raise InvalidEvent(f'{place}: "{value}" {OUTSIDE}')
        return at

    def _undated(self, why: str, number: int | None) -> None:
        """What did not happen yet has no date; an element that is there has one."""
        if number is not None:
            raise InvalidEvent(why)
        self.made.left_out.append(why)

    # --- parts of an event --------------------------------------------------------------------------------------------

    def _type(self, where: str, rule: EventRule) -> str | None:
        if isinstance(rule.type, str):
            return rule.type
        found = self._choice(f"{where}.type", rule.type, needed=True)
        return None if found is None else str(found)

    def _id(self, where: str, rule: EventRule, name: str, number: int | None) -> str:
        place, texts = (f"{where}.id", rule.id) if rule.id is not None else ("id", self._mapping.spec.id)
        parts = [self._delivery or _digest(self._context["body"])] if texts is None else []
        for text in [texts] if isinstance(texts, str) else texts or ():
            part = self._plain(place, text)
            if part is None:
                raise InvalidEvent(f"{place}: {text} is empty; name what stays the same when this comes again")
            parts.append(part)
        if number is not None and rule.id is None:
            parts.append(str(number))
        made = "/".join([*parts, name])
        return made if len(made) <= MAX_ID else "sha-" + blake2b(made.encode(), digest_size=16).hexdigest()

    def _data(self, where: str, rule: EventRule) -> dict[str, Any]:
        keys = {
            kind: found for kind, texts in rule.keys.items() if (found := self._keys(f"{where}.keys.{kind}", texts))
        }
        data: dict[str, Any] = {"keys": keys}
        links = [link for index in range(len(rule.links)) for link in self._link(where, rule, index)]
        if links:
            data["links"] = links
        outcome = self._choice(f"{where}.outcome", rule.outcome) if isinstance(rule.outcome, Choice) else rule.outcome
        if outcome not in (None, "ok"):
            data["outcome"] = outcome
        for name in ("code", "reason"):
            value = self._optional(where, name, rule)
            if value is not None:
                data[name] = value[:MAX_REASON]
        attributes = {**rule.values, **self._attributes(where, rule), **self._dates(where, rule)}
        return {**data, "attributes": attributes} if attributes else data

    def _keys(self, place: str, texts: str | list[str]) -> list[str]:
        found = [self._value(place, text) for text in ([texts] if isinstance(texts, str) else texts)]
        flat = [key for value in found for key in (value if isinstance(value, list) else [value])]
        return [key for value in flat if (key := self._text(place, value)) is not None]

    def _link(self, where: str, rule: EventRule, index: int) -> Iterator[dict[str, Any]]:
        link, place = rule.links[index], f"{where}.links[{index}]"
        for parent in self._keys(f"{place}.parent.key", link.parent.key):
            for child in self._keys(f"{place}.child.key", link.child.key):
                ends = {"parent": _object(link.parent, parent), "child": _object(link.child, child)}
                yield {**ends, "rel": link.rel}

    def _attributes(self, where: str, rule: EventRule) -> dict[str, Any]:
        made = {}
        for name, wanted in rule.attributes.items():
            place = f"{where}.attributes.{name}"
            value = self._choice(place, wanted) if isinstance(wanted, Choice) else self._value(place, wanted)
            text = self._text(place, value)
            if text is not None:
                made[name] = text if isinstance(value, str) or _is_long(value) else value
        return made

    def _dates(self, where: str, rule: EventRule) -> dict[str, str]:
        made = {}
        for name, text in rule.dates.items():
            place = f"{where}.dates.{name}"
            moment = self._moments.read(place, self._plain(place, text))
            if moment is not None:
                made[name] = self._moments.day(moment).isoformat()
        return made

    def _optional(self, where: str, name: str, rule: EventRule) -> str | None:
        text: str | None = getattr(rule, name)
        return None if text is None else self._plain(f"{where}.{name}", text)

    def _choice(self, place: str, choice: Choice, *, needed: bool = False) -> str | None:
        """The value of a choice; None where the table leaves it out, or there is nothing to choose by."""
        value = self._plain(f"{place}.of", choice.of)
        if value is None:
            if needed and choice.otherwise is None:
                raise InvalidEvent(f"{place}: {choice.of} is empty")
            return choice.otherwise
        if not choice.table:
            return value
        found = choice.table.get(value, choice.otherwise)
        if found is None and value not in choice.table:
            raise InvalidEvent(f'{place}: "{value[:100]}" is not in the table; add it, or say what counts `otherwise`')
        return found

    # --- values -------------------------------------------------------------------------------------------------------

    @property
    def _moments(self) -> Moments:
        return self._mapping.moments

    def _objection(self, place: str, condition: Condition) -> str | None:
        """Why a condition is not true; None when it is."""
        if isinstance(condition, str):
            return None if is_true(self._value(place, condition)) else f"{place}: not true"
        for text, values in condition.items():
            found = _shown(self._value(place, text))
            if found not in values:
                return f'{place}: {text} is "{found[:100]}"'
        return None

    def _plain(self, place: str, text: str) -> str | None:
        return self._text(place, self._value(place, text))

    def _value(self, place: str, text: str) -> Any:
        try:
            value = self._mapping.compiled[text].search(self._context, self._budget)
        except ExpressionError as error:
            raise InvalidEvent(f"{place}: {text}: {error}") from error
        if self._traced:
            self.made.trace.append((place, text, value))
        return value

    def _text(self, place: str, value: Any) -> str | None:
        """A value as text, None for nothing. Raises InvalidEvent for what is no single value."""
        if value is None:
            return None
        if isinstance(value, dict | list):
            raise InvalidEvent(f"{place}: the expression gives {'an object' if isinstance(value, dict) else 'a list'}")
        text = _shown(value)
        return None if text.casefold() in self._mapping.nothing else text


def _object(rule: ObjectRule, key: str) -> dict[str, str]:
    return {"type": rule.type, "key": key}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value).strip()


def _is_long(value: Any) -> bool:
    return isinstance(value, int) and not -_WHOLE <= value < _WHOLE


def _digest(payload: Any) -> str:
    canonical = msgspec.json.encode(payload, order="sorted")
    return "sha-" + blake2b(canonical, digest_size=16).hexdigest()


def _suffixes(rules: Sequence[EventRule]) -> list[str]:
    """What tells rules of the same type apart: nothing for the first of them, then #2, #3."""
    seen: Counter[str] = Counter()
    found = []
    for rule in rules:
        kind = rule.type if isinstance(rule.type, str) else ""
        seen[kind] += 1
        found.append("" if seen[kind] == 1 else f"#{seen[kind]}")
    return found
