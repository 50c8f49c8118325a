"""What the tests of the standards share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.served import Served


@pytest.fixture
def nothing_left(served: Served) -> Iterator[None]:
    """Each test on the one collector of its module starts with an empty log and quarantine."""
    yield
    served.taken()
    served.quarantined()
