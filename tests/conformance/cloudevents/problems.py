"""Samples that are refused as a whole."""

from __future__ import annotations

import gzip

from tests.conformance.cloudevents.samples import CE, DATA, A, Problem, dump, lines, zstd
from tests.served import BATCH, JSON, NDJSON, STRUCTURED

UNKNOWN = (
    "is not understood; send one of application/cloudevents+json, application/cloudevents-batch+json, "
    "application/json, application/x-ndjson, or ce-* headers"
)
MALFORMED = "the body is not valid JSON: "
PROBLEMS = [
    Problem("no key", 401, "send the header `Authorization: Bearer mp_…` with an API key", key=""),
    Problem(
        "another scheme",
        401,
        "send the header `Authorization: Bearer mp_…` with an API key",
        key="",
        headers={"authorization": "Basic eDp5"},
    ),
    Problem(
        "not a key",
        401,
        "this is not a Milepost key; it looks like mp_<id>_<secret>",
        key="",
        headers={"authorization": "Bearer x"},
    ),
    Problem(
        "an unknown key",
        401,
        "this key is not known, has expired or was revoked",
        key="",
        headers={"x-api-key": "mp_00_00"},
    ),
    Problem("an expired key", 401, "this key is not known, has expired or was revoked", key="expired"),
    Problem("a revoked key", 401, "this key is not known, has expired or was revoked", key="revoked"),
    Problem("a key that may only read", 403, "this key may not send events", key="reader"),
    Problem("empty body", 400, "a body of application/json is a JSON object or an array of objects", b""),
    Problem("JSON text", 400, "a body of application/json is a JSON object or an array of objects", b'"x"'),
    Problem(
        "a batch in a structured body",
        400,
        "a body of application/cloudevents+json is one JSON object",
        b"[]",
        STRUCTURED,
    ),
    Problem(
        "an event in a batch body",
        400,
        "a body of application/cloudevents-batch+json is a JSON array of events",
        b"{}",
        BATCH,
    ),
    Problem("cut off", 400, MALFORMED + "Input data was truncated", b'{"type":"a'),
    Problem("cut off array", 400, MALFORMED + "Input data was truncated", b'[{},{"type":"a'),
    Problem("trailing characters", 400, MALFORMED + "JSON is malformed: trailing characters (byte 3)", b"{}{}"),
    Problem(
        "a surrogate",
        400,
        MALFORMED + "JSON is malformed: unexpected end of hex escape (byte 12)",
        b'{"x":"\\ud800 and more"}',
    ),
    Problem("not UTF-8", 400, "the body is not UTF-8: invalid start byte at byte 6", b'{"x":"\xff"}'),
    Problem(
        "binary, data is no JSON", 400, MALFORMED + "JSON is malformed: invalid character (byte 0)", b"hello", JSON, CE
    ),
    Problem(
        "binary, a header that is not UTF-8",
        400,
        "ce-id: not UTF-8 once percent-decoded",
        dump(DATA),
        JSON,
        {**CE, "ce-id": "%FF"},
    ),
    Problem(
        "binary, a header that is no attribute",
        400,
        "ce-data: not the name of a CloudEvents attribute",
        dump(DATA),
        JSON,
        {**CE, "ce-data": "{}"},
    ),
    Problem("too many events", 413, "more than 50 events in one request; send several requests", dump([A] * 51)),
    Problem(
        "too many lines", 413, "more than 50 events in one request; send several requests", lines(*[A] * 51), NDJSON
    ),
    Problem("too many bytes", 413, "the body has more than 200000 bytes", b" " * 200_001),
    Problem(
        "too many bytes in gzip",
        413,
        "the body has more than 200000 bytes once decompressed",
        gzip.compress(bytes(50_000_000)),
        JSON,
        {"content-encoding": "gzip"},
    ),
    Problem(
        "too many bytes in zstd",
        413,
        "the body has more than 200000 bytes once decompressed",
        zstd(bytes(50_000_000)),
        JSON,
        {"content-encoding": "zstd"},
    ),
    Problem(
        "gzip cut off",
        400,
        "the compressed body is cut off",
        gzip.compress(dump([A] * 9))[:-9],
        JSON,
        {"content-encoding": "gzip"},
    ),
    Problem(
        "zstd cut off",
        400,
        "the compressed body is cut off",
        zstd(lines(*[A] * 9))[:-3],
        NDJSON,
        {"content-encoding": "zstd"},
    ),
    Problem(
        "not gzip",
        400,
        "the body is not gzip: Error -3 while decompressing data: incorrect header check",
        dump(A),
        JSON,
        {"content-encoding": "gzip"},
    ),
    Problem(
        "an encoding that we don't know",
        415,
        'Content-Encoding "br" is not known; send one of gzip, zstd, identity',
        dump(A),
        JSON,
        {"content-encoding": "br"},
    ),
    Problem(
        "two encodings",
        415,
        'Content-Encoding "gzip, gzip" is not known; send one of gzip, zstd, identity',
        dump(A),
        JSON,
        {"content-encoding": "gzip, gzip"},
    ),
    Problem("XML", 415, 'Content-Type "text/xml" ' + UNKNOWN, b"<x/>", "text/xml"),
    Problem(
        "CloudEvents in Avro",
        415,
        'Content-Type "application/cloudevents+avro" ' + UNKNOWN,
        b"",
        "application/cloudevents+avro",
    ),
    Problem("Latin-1", 415, "charset iso-8859-1 is not understood; send UTF-8", dump(A), JSON + "; charset=iso-8859-1"),
    Problem(
        "binary, data in XML",
        415,
        'data of Content-Type "text/xml" is not understood; send application/json',
        b"<x/>",
        "text/xml",
        CE,
    ),
]
