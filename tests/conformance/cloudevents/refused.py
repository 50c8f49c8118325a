"""Samples all of whose events are refused."""

from __future__ import annotations

from tests.conformance.cloudevents.samples import CE, DATA, NO_KEYS, NUL, Refused, dump, event, nested
from tests.served import BATCH, JSON, NDJSON

REFUSED = [
    Refused("no id", dump(event(id=None)), ["id: missing or empty, and CloudEvents requires it"]),
    Refused("empty id", dump(event(id="")), ["id: missing or empty, and CloudEvents requires it"]),
    Refused("no source", dump(event(source=None)), ["source: missing or empty, and CloudEvents requires it"]),
    Refused("no specversion", dump(event(specversion=None)), ['specversion: missing; send "1.0"']),
    Refused(
        "no specversion but inside",
        dump(event(specversion=None, x={"specversion": "1.0"})),
        ['specversion: missing; send "1.0"'],
    ),
    Refused("specversion 0.3", dump(event(specversion="0.3")), ['specversion: "0.3" is not supported; send "1.0"']),
    Refused("no type", dump(event(type=None)), ["Object missing required field `type`"]),
    Refused("empty type", dump(event(type="")), ["type: Expected `str` of length >= 1"]),
    Refused("id of 257 characters", dump(event(id="x" * 257)), ["id: Expected `str` of length <= 256"]),
    Refused("id is a number", dump(event(id=1)), ["id: Expected `str`, got `int`"]),
    Refused("no data", dump(event(data=None)), [NO_KEYS]),
    Refused("no keys", dump(event(data={"keys": {}})), [NO_KEYS]),
    Refused("an empty list of keys", dump(event(data={"keys": {"order": []}})), [NO_KEYS]),
    Refused(
        "a blank key",
        dump(event(data={"keys": {"order": " "}})),
        ["data.keys.order: the key is blank; leave it out instead"],
    ),
    Refused(
        "201 keys",
        dump(event(data={"keys": {"order": list(range(201))}})),
        ["data.keys: 201 keys, at most 200 are allowed; send several events"],
    ),
    Refused(
        "a key of 257 characters",
        dump(event(data={"keys": {"order": "x" * 257}})),
        ["data.keys[...]: Expected `str` of length <= 256"],
    ),
    Refused(
        "65 attributes",
        dump(event(data={**DATA, "attributes": {f"a{n}": 1 for n in range(65)}})),
        ["data.attributes: Expected `object` of length <= 64"],
    ),
    Refused(
        "an unknown outcome", dump(event(data={**DATA, "outcome": "fine"})), ["data.outcome: Invalid enum value 'fine'"]
    ),
    Refused("data is text", dump(event(data="x")), ["data: Expected `object`, got `str`"]),
    Refused("U+0000 in a key", dump(event(data={"keys": {"order": "a\x00"}})), [NUL]),
    Refused("U+0000 in what we don't read", dump(event(x={"y": ["a\x00"]})), [NUL]),
    Refused("U+0000 in a name", dump(event(x={"a\x00": 1})), [NUL]),
    Refused(
        "1989",
        dump(event(time="1989-12-31T23:59:59Z")),
        ["time: 1989-12-31T23:59:59+00:00 lies outside the years 1990 to 2100"],
    ),
    Refused(
        "2101",
        dump(event(time="2101-01-01T00:00:00Z")),
        ["time: 2101-01-01T00:00:00+00:00 lies outside the years 1990 to 2100"],
    ),
    Refused(
        "a time without a zone",
        dump(event(time="2026-11-20T10:02:11")),
        ["time: Expected `datetime` with a timezone component"],
    ),
    Refused("a time that is none", dump(event(time="yesterday")), ["time: Invalid RFC3339 encoded datetime"]),
    Refused("too deep", dump(event(extra=nested(32))), ["event: nested more than 32 levels deep"]),
    Refused(
        "far too deep",
        b'{"type":"a.b","x":' + b"[" * 400 + b"]" * 400 + b"}",
        ["event: nested more than 32 levels deep"],
    ),
    Refused(
        "too large",
        dump(event(x="y" * 20_000)),
        [f"event: {len(dump(event(x='y' * 20_000)))} bytes, at most 20000 are allowed"],
    ),
    Refused(
        "base64 of no JSON",
        dump(event(data=None, data_base64="eA==")),
        ["data_base64: not base64 of a JSON value: JSON is malformed: invalid character (byte 0)"],
    ),
    Refused("data twice", dump(event(data_base64="e30=")), ["data_base64: give data or data_base64, not both"]),
    Refused(
        "no events in a batch",
        dump([1, None, "x", []]),
        [f"Expected `object`, got `{kind}`" for kind in ("int", "null", "str", "array")],
        BATCH,
    ),
    Refused(
        "broken lines",
        b'{"type":\nxx\n',
        [
            "not valid JSON in UTF-8: Input data was truncated",
            "not valid JSON in UTF-8: JSON is malformed: invalid character (byte 0)",
        ],
        NDJSON,
    ),
    Refused(
        "a line that is not UTF-8",
        b'{"type":"a.b","x":"\xff"}\n',
        ["not valid JSON in UTF-8: invalid start byte at byte 19"],
        NDJSON,
    ),
    Refused(
        "a surrogate in a line",
        b'{"type":"a.b","x":"\\ud800","data":{"keys":{"order":"1"}}}',
        ["not valid JSON in UTF-8: JSON is malformed: unexpected end of hex escape (byte 25)"],
        NDJSON,
    ),
    Refused(
        "several sources, and none named",
        dump(event(source=None)),
        ["source: missing, and the key does not stand for exactly one source"],
        JSON,
        key="several",
    ),
    Refused(
        "binary without specversion",
        dump(DATA),
        ['specversion: missing; send "1.0"'],
        JSON,
        headers={name: value for name, value in CE.items() if name != "ce-specversion"},
    ),
    Refused(
        "binary without id",
        dump(DATA),
        ["id: missing or empty, and CloudEvents requires it"],
        JSON,
        headers={name: value for name, value in CE.items() if name != "ce-id"},
    ),
    Refused(
        "another's source",
        dump(event(source="/wms/south")),
        ['this key may not send "picking.packed" as source "/wms/south"'],
        status=403,
    ),
    Refused(
        "a type that the key may not send",
        dump(event(type="order.received")),
        ['this key may not send "order.received" as source "/wms/north"'],
        status=403,
        key="picking",
    ),
]
