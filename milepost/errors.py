"""Every error that Milepost raises on purpose, in one hierarchy.

Whether trying again can help is part of the type: `Transient` may be retried, `Permanent` may not.
"""

from __future__ import annotations


class MilepostError(Exception):
    """The root of all errors that Milepost raises on purpose."""


class Permanent(MilepostError):
    """Trying the same thing again gives the same error."""


class Transient(MilepostError):
    """Trying again later may succeed. `retry_after` is in seconds, where it is known."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InvalidEvent(Permanent):
    """An event that breaks the contract. The message names the place (a JSON path) and the mend."""


class MalformedBody(Permanent):
    """A request body that can't be read as the format that it claims to be."""


class UnsupportedFormat(Permanent):
    """A content type or content encoding that is not known."""


class TooLarge(Permanent):
    """A body, after decompression too, over the limit."""


class CatalogError(Permanent):
    """A catalog file that can't be used. The message names file, entry and path."""


class ConfigurationError(Permanent):
    """A setting that can't be used. The message names the variable."""


class NotAuthenticated(Permanent):
    """Nobody knows this key, password or token, or it has expired."""


class NotAllowed(Permanent):
    """Known, but not entitled to do this."""


class NotFound(Permanent):
    """The thing asked for does not exist."""


class Conflict(Permanent):
    """The request contradicts what is stored."""


class Unavailable(Transient):
    """A service that Milepost needs (database, Odoo, a receiver) does not answer now."""


class Overloaded(Transient):
    """A bounded queue is full."""


class RateLimited(Transient):
    """One sender sends more than it may; the others are not affected."""


class Gone(Permanent):
    """The receiver wants nothing more from us."""
