"""The quarantine: events that were refused, contradict what is stored, or can't be recorded, kept whole.

The only writer of input.quarantine and of the tables beside it. `keep` puts in, `mend` is what people do with it,
`room` bounds its size.
"""

from milepost.inbox.quarantine.keep import (
    Group,
    Kind,
    Known,
    Refusal,
    Tallies,
    Tally,
    add,
    count,
    merge,
    rule_of,
    statements,
    tally,
)

__all__ = [
    "Group",
    "Kind",
    "Known",
    "Refusal",
    "Tallies",
    "Tally",
    "add",
    "count",
    "merge",
    "rule_of",
    "statements",
    "tally",
]
