"""A bounded cache forgets what it took in first, and tells what."""

from __future__ import annotations

import pytest

from correlator.bounded import forget_oldest


@pytest.mark.parametrize(("most", "old"), [(0, [3, 1, 2]), (1, [3, 1]), (2, [3]), (3, []), (4, [])])
def test_what_came_first_is_forgotten_and_told(most: int, old: list[int]) -> None:
    cache = {3: "a", 1: "b", 2: "c"}
    assert forget_oldest(cache, most) == old
    assert list(cache) == [3, 1, 2][len(old) :]
