"""GS1's identifiers as people know them, from EPC URNs and Digital Link URIs. Pure.

https://ref.gs1.org/standards/tds/ (URNs), https://ref.gs1.org/standards/digital-link/uri-syntax/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

_SSCC_DIGITS, _GSIN_DIGITS, _GLN_DIGITS = 17, 16, 12
"""Without the check digit."""

_urn: Final = re.compile(r"urn:epc:id:(sscc|gsin|sgln|pgln|gdti):(.+)")
_web: Final = re.compile(r"(?s)https?://[^/?#]*([^?#]*).*")
_link: Final = re.compile(r"/(00|402|414|417|253)/([^/]+)(?:/|$)")
_transaction: Final = re.compile(r"urn:epcglobal:cbv:bt:([0-9]{1,14}):(.+)")
_words: Final = re.compile(
    r"(?:urn:epcglobal:cbv:(?:bizstep|disp|btt|sdt|er):|(?:https?://(?:ref\.gs1\.org|ns\.gs1\.org)/cbv/|cbv:)"
    r"(?:BizStep|Disp|BTT|SDT|ER)-)(.+)"
)
_AI: Final[Mapping[str, str]] = {"00": "sscc", "402": "gsin", "414": "sgln", "417": "pgln", "253": "gdti"}


def word(term: str) -> str:
    """A term of the Core Business Vocabulary in its bare form; other URIs stay as they are."""
    found = _words.fullmatch(term)
    return found[1] if found else term


def sscc(uri: str) -> str | None:
    """The 18 digits of a logistic unit."""
    kind, value = _parsed(uri)
    if kind != "sscc":
        return None
    prefix, _, reference = value.partition(".")
    return _checked(reference[:1] + prefix + reference[1:], _SSCC_DIGITS) if reference else value


def gsin(uri: str) -> str | None:
    """The 17 digits of a shipment."""
    kind, value = _parsed(uri)
    if kind != "gsin":
        return None
    return _checked(value.replace(".", ""), _GSIN_DIGITS) if "." in value else value


def place(uri: str) -> str:
    """The GLN of a location or party, with its extension where it has one; anything else as it is."""
    kind, value = _parsed(uri)
    if kind not in ("sgln", "pgln"):
        return uri
    prefix, *rest = value.split(".")
    if not rest:
        return value
    gln = _checked(prefix + rest[0], _GLN_DIGITS) or value
    extension = rest[1] if len(rest) > 1 else "0"
    return gln if extension == "0" else f"{gln}.{extension}"


def transaction(uri: str) -> tuple[str, str | None]:
    """The number of a business document, and the GLN of the party that gave it where the identifier has one."""
    found = _transaction.fullmatch(uri)
    if found:
        return unquote(found[2]), found[1]
    kind, value = _parsed(uri)
    if kind == "gdti":
        return value.rpartition(".")[2], None
    return unquote(_path(uri).rstrip("/").rpartition("/")[2]) or uri, None


def _path(uri: str) -> str:
    """The path of a web address; empty for anything else."""
    found = _web.fullmatch(uri)
    return found[1] if found else ""


def _parsed(uri: str) -> tuple[str, str]:
    """What an identifier identifies, and its value."""
    found = _urn.fullmatch(uri)
    if found:
        return found[1], found[2]
    linked = _link.search(_path(uri))
    return (_AI[linked[1]], unquote(linked[2])) if linked else ("", uri)


def _checked(digits: str, length: int) -> str | None:
    """The digits with the check digit behind them (GS1 General Specifications 7.9)."""
    if len(digits) != length or not (digits.isascii() and digits.isdigit()):
        return None
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits)))
    return digits + str(-total % 10)
