"""The values of outputs that a network was trained on: its estimates beyond them mean little."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.prediction.columns import ESTIMATES_OUTSIDE
from qexp.metrics.metric import nearest
from qexp.quantities import Quantities, quantity
from qexp.runs.record.record import Record
from qexp.simulation.dataset import GeneratedDataset

EDGES = np.array([0.005, 0.995])
"""Quantiles of a distribution of simulated data between which most of the training data lie."""

MOST, ALL = "99 % of the training data", "the range of the training data"
"""What ranges hold, in words: those between the EDGES, and those from the least to the greatest value."""


@dataclass(frozen=True)
class TrainedRange:
    """Where the training data of an output lie, in its unit.

    period  after which its values repeat; None if they do not
    """

    low: float
    high: float
    period: float | None = None

    def placed(self, values: Any) -> NDArray[Any]:
        """Values, those that repeat moved by whole periods to within half a period of the middle of the range."""
        return nearest(values, (self.low + self.high) / 2, self.period)

    def beyond(self, values: Any) -> NDArray[np.bool_]:
        """Whether values lie beyond the range; NaN does not."""
        placed = self.placed(values)
        return np.asarray((placed < self.low) | (placed > self.high))


def trained_ranges(
    dataset: GeneratedDataset, outputs: Iterable[str], quantities: Quantities
) -> dict[str, TrainedRange]:
    """Output → the range between the EDGES of its distribution.

    Without outputs that do not vary, and without those that repeat and have all directions in the training data.

    quantities  of the dataset, with the periods of what the network learns as angles
    """
    ranges = {}
    for name in outputs:
        if name not in dataset.test:
            continue
        low, high = map(float, dataset.distributions[name].quantile(EDGES))
        period = quantity(name, quantities).period
        if period is None or high - low < (EDGES[1] - EDGES[0]) * period * (1 - 1e-6):
            ranges[name] = TrainedRange(low, high, period)
    return ranges


def ranges_of_targets(record: Record, periods: Mapping[str, float]) -> dict[str, TrainedRange]:
    """Output → the range of its true values in the training data, as a run recorded it; empty for older runs.

    periods  output → the period after which its values repeat, if they do
    """
    return {
        one.column: TrainedRange(one.least, one.greatest, periods.get(one.column))
        for one in record.targets
        if one.least is not None and one.greatest is not None
    }


class BeyondTraining:
    """Counts of estimates beyond the ranges of the training data, accumulated piece by piece.

    samples  number of samples with such an estimate
    outputs  output → number of its estimates
    """

    def __init__(self, trained: Mapping[str, TrainedRange]) -> None:
        self._trained, self.samples = dict(trained), 0
        self.outputs = dict.fromkeys(trained, 0)

    def add(self, estimates: Mapping[str, NDArray[Any]], count: int) -> NDArray[np.int16]:
        """The number of outputs of each of `count` samples whose estimates lie beyond, (sample,), which is added.

        estimates  output → (sample,)
        """
        of_samples = np.zeros(count, np.int16)
        for name, trained in self._trained.items():
            beyond = trained.beyond(estimates[name])
            self.outputs[name] += int(beyond.sum())
            of_samples += beyond
        self.samples += int((of_samples > 0).sum())
        return of_samples

    def document(self) -> dict[str, Any]:
        """What the record of the file says of it; empty if it is not known what the network was trained on."""
        if not self._trained:
            return {}
        return {ESTIMATES_OUTSIDE: self.samples, f"{ESTIMATES_OUTSIDE}_in": self.outputs}


def remarks(about: Mapping[str, Any], most: str) -> list[str]:
    """A phrase on the samples with estimates beyond the training data, by the record of a file; none without any.

    most  what of the training data the ranges hold, in words
    """
    if not (count := about.get(ESTIMATES_OUTSIDE, 0)):
        return []
    listed = "; ".join(f"{name}: {of:,}" for name, of in about[f"{ESTIMATES_OUTSIDE}_in"].items() if of)
    return [f"{count:,} with estimates outside {most} ({listed})"]
