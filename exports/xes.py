"""XES (IEEE 1849-2016): a trace for each journey of one model, its events in the order of (time, source, id).

An event that several journeys show stands in each of their traces: that is what flattening costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from exports.journeys import HEAD, Happened, Journey, happened, journey_pieces
from exports.snapshot import Snapshot
from milepost import tolerant
from milepost.ocel import PREFIX, stamp

_HEAD: Final = """<?xml version="1.0" encoding="UTF-8"?>
<log xes.version="1849.2016" xes.features="" xmlns="http://www.xes-standard.org/">
<extension name="Concept" prefix="concept" uri="http://www.xes-standard.org/concept.xesext"/>
<extension name="Time" prefix="time" uri="http://www.xes-standard.org/time.xesext"/>
<extension name="Lifecycle" prefix="lifecycle" uri="http://www.xes-standard.org/lifecycle.xesext"/>
<extension name="Organizational" prefix="org" uri="http://www.xes-standard.org/org.xesext"/>
<global scope="trace">
<string key="concept:name" value=""/>
</global>
<global scope="event">
<string key="concept:name" value=""/>
<date key="time:timestamp" value="1970-01-01T00:00:00Z"/>
<string key="lifecycle:transition" value="complete"/>
<string key="org:resource" value=""/>
</global>
<classifier name="Activity" scope="event" keys="concept:name"/>
<classifier name="ActivityAndResource" scope="event" keys="concept:name org:resource"/>
<string key="lifecycle:model" value="standard"/>
"""
_NOT_IN_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_IN_A_NAME: Final = re.compile(r"[^\w.\-]", re.ASCII)
_TRACE: Final = tuple(name for name in HEAD if name not in ("journey_id", "model", "key"))
_WHOLE: Final = 2**63


def chunks(snapshot: Snapshot, model: str) -> Iterator[bytes]:
    """The file, some of it at a time."""
    yield (_HEAD + _attribute("concept:name", model)).encode()
    lines: list[str] = []
    for some in journey_pieces(snapshot, model):
        for journey, shown in happened(snapshot, some):
            lines.append(_trace(journey))
            for event in shown:
                lines.append(_event(event))
                if len(lines) >= snapshot.piece:
                    yield "".join(lines).encode()
                    lines = []
            lines.append("</trace>\n")
    yield ("".join(lines) + "</log>\n").encode()


def _trace(journey: Journey) -> str:
    head = journey.head
    name = f"{head['key']}@{head['namespace']}" if head["namespace"] else head["key"]
    values = {field: head[field] for field in _TRACE if head[field] not in (None, "")}
    return "<trace>\n" + _attribute("concept:name", name) + _attributes(values)


def _event(event: Happened) -> str:
    data = tolerant.loads(event.body).get("data") or {}
    own = {"id": event.id, "received": event.received_at, "outcome": data.get("outcome", "ok")}
    own |= {name: data[name] for name in ("code", "reason") if data.get(name)}
    said: Mapping[str, Any] = data.get("attributes") or {}
    return (
        "<event>\n"
        + _attribute("concept:name", event.type)
        + _attribute("time:timestamp", event.occurred_at)
        + _attribute("lifecycle:transition", "complete")
        + _attribute("org:resource", event.source)
        + _attributes({PREFIX + name: value for name, value in own.items()})
        + _attributes({name: value for name, value in said.items() if not name.startswith(PREFIX)})
        + "</event>\n"
    )


def _attributes(values: Mapping[str, Any]) -> str:
    """Keys are XML names, and each stands once: of two that become the same the first counts."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if value is not None:
            found.setdefault(_key(name), value)
    return "".join(_attribute(name, value) for name, value in found.items())


def _key(name: str) -> str:
    plain = _NOT_IN_A_NAME.sub("_", name)
    return plain if plain[0].isalpha() or plain[0] == "_" else f"_{plain}"


def _attribute(key: str, value: Any) -> str:
    kind, text = _written(value)
    legal = _NOT_IN_XML.sub("\ufffd", text)
    return f'<{kind} key="{key}" value={quoteattr(legal)}/>\n'


def _written(value: Any) -> tuple[str, str]:
    if isinstance(value, bool):
        return "boolean", "true" if value else "false"
    if isinstance(value, datetime):
        return "date", stamp(value)
    if isinstance(value, int) and -_WHOLE <= value < _WHOLE:
        return "int", str(value)
    if isinstance(value, float | Decimal):
        return "float", str(value)
    return "string", str(value)
