"""How values read on a page: money, counts, spans of time, names of steps. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

_SIGNS: Final = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "CHF": "CHF ", "PLN": "PLN "}
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SHORT: Final = (  # from where on, the unit, its name; what would round up to 1,000k is 1m
    (Decimal(999_950_000), Decimal(1_000_000_000), "bn"),
    (Decimal(999_950), Decimal(1_000_000), "m"),
    (Decimal(10_000), Decimal(1_000), "k"),
)


def money(amount: Decimal | str | None, currency: str | None, *, short: bool = False) -> str:
    """€1,234.50, or €12.3k when short; a dash for nothing."""
    if amount is None:
        return "–"
    value = Decimal(amount)
    sign = _SIGNS.get(currency or "", f"{currency} " if currency else "")
    return ("-" if value < 0 else "") + sign + (_shortened(abs(value)) if short else f"{abs(value):,.2f}")


def _shortened(value: Decimal) -> str:
    for least, size, unit in _SHORT:
        if value >= least:
            return f"{value / size:,.1f}".removesuffix(".0") + unit
    return f"{value.quantize(Decimal(1), ROUND_HALF_UP):,}"


def moneys(amounts: Mapping[str, Decimal | str], *, short: bool = True) -> str:
    """Amounts of several currencies side by side; they are never summed."""
    return " + ".join(money(amount, currency, short=short) for currency, amount in amounts.items()) or "–"


def span(length: timedelta, *, coarse: bool = False) -> str:
    """The two largest units: 2 d 4 h, 5 min 20 s, 40 s. When coarse, no seconds beside minutes."""
    seconds = int(abs(length).total_seconds())
    parts = []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
        if coarse and size == 60 and parts:
            break
    return " ".join(parts[:2]) or "0 s"


def iso(at: datetime) -> str:
    """UTC with Z, as browsers read it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain_time(at: datetime) -> str:
    """For where no script runs; pages show the reader's own time."""
    return f"{at.astimezone(UTC):%d %b %H:%M} UTC"


def title(name: str) -> str:
    """A step or a type as people say it: out_for_delivery: Out for delivery."""
    text = name.replace("_", " ").replace("-", " ")
    return text[:1].upper() + text[1:]


def count(number: int) -> str:
    return f"{number:,}"


def many(number: int, one: str, more: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def percent(share: float, places: int = 1) -> str:
    """Never rounded up to 100 %."""
    scaled = share * 100
    text = f"{scaled:.{places}f}"
    if share < 1 and float(text) >= 100:
        text = f"{100 - 10**-places:.{places}f}"
    return text.removesuffix("." + "0" * places) + " %"
