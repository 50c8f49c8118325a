"""W3C Trace Context, level 1: the trace id in a `traceparent`. Pure.

https://www.w3.org/TR/trace-context/#traceparent-header
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

HEADER: Final = b"traceparent"

_format: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.DOTALL)
_FORBIDDEN_VERSION: Final = "ff"
_NO_TRACE: Final = "0" * 32
_NO_PARENT: Final = "0" * 16


def trace_id_of(text: str) -> str | None:
    """The trace id, 32 lower-case hex digits; None when the text is no valid `traceparent`.

    Version 00 has exactly its four fields. A higher version may go on after them, behind a hyphen.
    """
    found = _format.fullmatch(text.strip(" \t"))
    if found is None:
        return None
    version, trace, parent, more = found.groups()
    if version == _FORBIDDEN_VERSION or trace == _NO_TRACE or parent == _NO_PARENT:
        return None
    return None if version == "00" and more else trace


def of_request(headers: Mapping[bytes, bytes], all_headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The trace id that a request's header gives; None as well when the header comes more than once."""
    if HEADER not in headers:
        return None
    values = [value for name, value in all_headers if name == HEADER]
    return trace_id_of(values[0].decode("latin-1")) if len(values) == 1 else None
