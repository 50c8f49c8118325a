"""Which failures one event is to blame for: it would fail for ever, so it is set aside and the rest goes on.

What the database lacks (a column, a right) is no event's fault: setting events aside for it would empty the queue into
the quarantine. Such errors are raised, the process ends, and nothing is lost.
"""

from __future__ import annotations

from typing import Final

import msgspec
import psycopg
import sqlalchemy as sa

from milepost.db.engine import transient
from milepost.errors import Permanent

FAILURES: Final = (
    psycopg.Error,
    sa.exc.DBAPIError,
    msgspec.MsgspecError,
    Permanent,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What working on events may raise: errors of the database, of a codec, or of a rule that met the unexpected."""

# SQLSTATE classes (PostgreSQL manual, appendix A) of errors that lie in the data
_IN_THE_DATA: Final = ("21", "22", "23", "54")


def is_poison(error: BaseException) -> bool:
    """Whether an error of FAILURES lies in the input."""
    if transient(error):
        return False
    if isinstance(error, sa.exc.DBAPIError):
        return error.orig is not None and is_poison(error.orig)
    if isinstance(error, psycopg.Error):
        return error.sqlstate is not None and error.sqlstate.startswith(_IN_THE_DATA)
    return True
