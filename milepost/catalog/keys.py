"""How a key of a type is made comparable: the one place that knows what the catalog's steps do. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from milepost.catalog.schema import Catalog, KeyRule

_NOT_ALNUM: Final = re.compile(r"[^0-9A-Za-z]+")
STEPS: Final[Mapping[str, Callable[[str], str]]] = {
    "strip": str.strip,
    "upper": str.upper,
    "lower": str.lower,
    "strip_zeros": lambda key: key.lstrip("0") or key,
    "alphanumeric": lambda key: _NOT_ALNUM.sub("", key) or key,
}
_PLAIN: Final = KeyRule()


def normalise(catalog: Catalog, kind: str, key: str) -> str:
    """The comparable form of a key of type `kind`; empty when nothing is left of it."""
    for step in catalog.keys.get(kind, _PLAIN).normalise:
        key = STEPS[step](key)
    return key
