"""Finished journeys that are unlike the others: scikit-learn's IsolationForest on their stage durations.

What is stored is the sample that the forest grows from, as plain numbers: the same sample and seed grow the same
forest, and reading it back runs no code, as a pickle would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from anomaly.features import Baseline, Finding, FinishedJourney, baseline, deviations, journey_reason, vector

SEED = 7
TREES = 100
MAX_SAMPLE = 5_000
MIN_SAMPLE = 200
BEYOND = 10.0
"""Robust deviations (of log durations) that are unusual whatever the rest looks like."""
DETECTOR = "journey"


@dataclass(frozen=True)
class Forest:
    """A grown forest for one journey model. `steps` are its milestones in order."""

    model: str
    steps: tuple[str, ...]
    sample: NDArray[np.float64]
    trees: IsolationForest
    usual: tuple[Baseline, ...]

    def unusual(self, journeys: Sequence[FinishedJourney]) -> list[Finding]:
        """Those that the forest isolates early, or that have a feature far beyond all that it grew from.

        A forest can't tell the second kind from the edge of its sample: its cuts lie within the sample's range.
        """
        if not journeys:
            return []
        values = np.asarray([vector(journey, self.steps) for journey in journeys])
        mixes = self.trees.decision_function(values)
        found = []
        for journey, row, mix in zip(journeys, values.tolist(), mixes, strict=True):
            furthest = max(deviations(row, self.usual))
            if mix < 0 or furthest >= BEYOND:
                found.append(self._finding(journey, row, furthest))
        return found

    def _finding(self, journey: FinishedJourney, values: list[float], furthest: float) -> Finding:
        reason = journey_reason(journey, self.steps, values, self.usual)
        series = f"{self.model}|{journey.key}|{journey.journey_id}"
        labels = {**journey.labels, "model": self.model}
        return Finding(DETECTOR, series, journey.at, furthest, 0.0, furthest, reason, labels, journey.journey_id)


def grow(model: str, steps: Sequence[str], sample: NDArray[np.float64], contamination: float) -> Forest:
    """A forest from a sample of shape (journeys, steps + 1)."""
    trees = IsolationForest(n_estimators=TREES, contamination=contamination, random_state=SEED).fit(sample)
    usual = tuple(baseline(column.tolist()) for column in sample.T)
    return Forest(model, tuple(steps), sample, trees, usual)


def pack(sample: NDArray[np.float64]) -> bytes:
    """A sample as bytes (NumPy's .npz, float32)."""
    buffer = BytesIO()
    np.savez_compressed(buffer, sample=sample.astype(np.float32))
    return buffer.getvalue()


def unpack(data: bytes) -> NDArray[np.float64]:
    with np.load(BytesIO(data), allow_pickle=False) as arrays:
        return np.asarray(arrays["sample"], dtype=np.float64)
