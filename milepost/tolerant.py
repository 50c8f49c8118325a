"""Reading JSON that was stored before the contract refused numbers that are too large."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec

_decoder = msgspec.json.Decoder()


def loads(text: str | bytes) -> Any:
    """A JSON value. A number without a place in Python stays text: one event must not hide all others."""
    try:
        return _decoder.decode(text)
    except msgspec.DecodeError:
        return json.loads(text, parse_int=_whole, parse_float=_float)


def _whole(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # beyond 4,300 digits
        return digits


def _float(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text
