"""Samples that are accepted."""

from __future__ import annotations

import base64
import gzip
import json

from tests.conformance.cloudevents.samples import (
    BINARY,
    CE,
    DATA,
    FULL,
    MADE_UP,
    A,
    Accepted,
    B,
    dump,
    event,
    lines,
    nested,
    zstd,
)
from tests.served import BATCH, JSON, NDJSON, STRUCTURED

ACCEPTED = [
    Accepted("structured", dump(A), [A], STRUCTURED),
    Accepted("structured with charset", dump(A), [A], STRUCTURED + "; charset=UTF-8"),
    Accepted("structured in capitals", dump(A), [A], "Application/CloudEvents+JSON"),
    Accepted("every attribute, and what we don't know is kept", dump(FULL), [FULL], STRUCTURED),
    Accepted("escaped characters outside the BMP", json.dumps(FULL, ensure_ascii=True).encode(), [FULL], STRUCTURED),
    Accepted("raw UTF-8", json.dumps(FULL, ensure_ascii=False).encode(), [FULL], STRUCTURED),
    Accepted("byte order mark", b"\xef\xbb\xbf" + dump(A), [A], STRUCTURED),
    Accepted("pretty-printed", b"\r\n " + json.dumps(A, indent=4).encode() + b"\n", [A], STRUCTURED),
    Accepted("only a correlationid", dump(event(correlationid="c", data=None)), [event(correlationid="c", data=None)]),
    Accepted("specversion last", dump(dict(reversed(A.items()))), [A], STRUCTURED),
    Accepted("deep, but not too deep", dump(event(extra=nested(31))), [event(extra=nested(31))], STRUCTURED),
    Accepted("the first year", dump(event(time="1990-01-01T00:00:00Z")), [event(time="1990-01-01T00:00:00Z")]),
    Accepted("the last year", dump(event(time="2100-12-31T23:59:59Z")), [event(time="2100-12-31T23:59:59Z")]),
    Accepted(
        "200 keys",
        dump(event(data={"keys": {"order": list(range(200))}})),
        [event(data={"keys": {"order": list(range(200))}})],
    ),
    Accepted("batch", dump([A, B]), [A, B], BATCH),
    Accepted("empty batch", b"[]", [], BATCH),
    Accepted("JSON object", dump(A), [A]),
    Accepted("JSON array", dump([A, B]), [A, B]),
    Accepted("JSON without id", dump(event(id=None)), [event(id=MADE_UP)]),
    Accepted("JSON with an empty id", dump(event(id="")), [event(id=MADE_UP)]),
    Accepted("JSON without source", dump(event(source=None)), [event()]),
    Accepted("JSON without specversion", dump(event(specversion=None)), [event()]),
    Accepted(
        "JSON with specversion inside only",
        dump(event(specversion=None, x={"specversion": 1})),
        [event(x={"specversion": 1})],
    ),
    Accepted(
        "JSON with numbers that must keep their digits",
        b'{"type":"a.b","id":"1","data":{"keys":{"order":"S1"},"exact":1.10}}',
        [event(type="a.b", data={**DATA, "exact": 1.1})],
    ),
    Accepted("NDJSON", lines(A, B), [A, B], NDJSON),
    Accepted("NDJSON with CRLF, blank lines and no last newline", dump(A) + b"\r\n\n  \n" + dump(B), [A, B], NDJSON),
    Accepted("NDJSON without id and source", lines(event(id=None, source=None)), [event(id=MADE_UP)], NDJSON),
    Accepted("empty NDJSON", b"", [], NDJSON),
    Accepted("JSON lines by another name", lines(A), [A], "application/jsonl"),
    Accepted("binary", dump(DATA), [BINARY], JSON, CE),
    Accepted("binary without a content type", dump(DATA), [event()], "", CE),
    Accepted(
        "binary with +json", dump(DATA), [event(datacontenttype="application/vnd.x+json")], "application/vnd.x+json", CE
    ),
    Accepted("binary without data", b"", [event(data=None, correlationid="c")], "", {**CE, "ce-correlationid": "c"}),
    Accepted(
        "binary, percent-encoded once",
        dump(DATA),
        [{**BINARY, "id": "a €%20"}],
        JSON,
        {**CE, "ce-id": "a%20%E2%82%AC%2520"},
    ),
    Accepted("binary, quoted", dump(DATA), [{**BINARY, "id": 'a "b" c'}], JSON, {**CE, "ce-id": '"a \\"b\\" c"'}),
    Accepted(
        "data as base64",
        dump(event(data=None, data_base64=base64.b64encode(dump(DATA)).decode())),
        [event()],
        STRUCTURED,
    ),
    Accepted("gzip", gzip.compress(dump(A)), [A], STRUCTURED, {"content-encoding": "gzip"}),
    Accepted("x-gzip", gzip.compress(dump(A)), [A], STRUCTURED, {"content-encoding": "X-GZIP"}),
    Accepted(
        "gzip in two members",
        gzip.compress(lines(A)) + gzip.compress(lines(B)),
        [A, B],
        NDJSON,
        {"content-encoding": "gzip"},
    ),
    Accepted("zstd", zstd(dump([A, B])), [A, B], BATCH, {"content-encoding": "zstd"}),
    Accepted("zstd in two frames", zstd(lines(A)) + zstd(lines(B)), [A, B], NDJSON, {"content-encoding": "zstd"}),
    Accepted("identity", dump(A), [A], STRUCTURED, {"content-encoding": "identity"}),
    Accepted(
        "a key for several sources", dump(event(source="/wms/south")), [event(source="/wms/south")], key="several"
    ),
    Accepted("a key for some types", dump(A), [A], key="picking"),
]
