"""Starts near a network's estimate: values that the truth may have, by the errors of the network on test samples.

Least squares may have several minima close together, and the estimate itself need not lead to the lowest. How far the
truth may be from it, and in which directions, is told by the test samples whose estimates are most like it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qexp.estimates import PERIOD, estimate_of
from qexp.metrics.metric import nearest
from qexp.runs.figures.sources import table
from qexp.runs.record.directory import RunDirectory
from qexp.spec.kinds.kind import TEST_PREDICTIONS

Array = NDArray[np.float64]

ALIKE = 100
"""Test samples whose errors an estimate may have."""


def nearby(directory: RunDirectory, made: Mapping[str, float], count: int, seed: int) -> list[dict[str, float]]:
    """Values that the truth may have, `count` times; none for a run without test samples.

    made  output → estimate in its unit
    """
    path = directory.results / TEST_PREDICTIONS
    if count < 1 or not path.exists():
        return []
    predictions = table(path)
    unlike, values = 0.0, {}
    for name, value in made.items():
        truth, estimate = (np.asarray(predictions[of].values, np.float64) for of in (name, estimate_of(name)))
        period = predictions[estimate_of(name)].attrs.get(PERIOD)
        estimate = nearest(estimate, truth, period)
        positive = period is None and value > 0 and bool((truth > 0).all() and (estimate > 0).all())
        if positive:  # errors of a depth or a size are shares of it
            truth, estimate, value = np.log(truth), np.log(estimate), float(np.log(value))
        unlike = unlike + ((nearest(estimate, value, period) - value) / truth.std()) ** 2
        around = value + truth - estimate
        values[name] = np.exp(around) if positive else around
    alike = np.argsort(unlike)[:ALIKE]
    drawn = np.random.default_rng(seed).choice(alike, min(count, len(alike)), replace=False)
    return [{name: float(of[sample]) for name, of in values.items()} for sample in drawn]
