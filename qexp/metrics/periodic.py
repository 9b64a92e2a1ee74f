"""Quantities that repeat with a period, such as a strike of 0° and 360°: errors by the shorter way round."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.metrics.metric import Additive, Array, Metric, Metrics


def nearest(estimate: ArrayLike, truth: ArrayLike, period: float | None) -> NDArray[Any]:
    """Estimates, moved by whole periods to within half a period of the truth; unchanged for None.

    estimate, truth, period  in the same unit
    """
    estimated, true = np.asarray(estimate), np.asarray(truth)
    if period is None:
        return estimated
    moved: NDArray[Any] = estimated - period * np.round((estimated - true) / period)
    return moved


def with_period(metrics: Metrics, period: float | None) -> Metrics:
    """The metrics of an output whose values repeat with a period; unchanged for None."""
    return metrics if period is None else {name: _periodic(metric, period) for name, metric in metrics.items()}


def _periodic(metric: Metric, period: float) -> Metric:
    against = metric.against

    def computed(compute: Any) -> Any:
        if isinstance(compute, Additive):
            return _additive(compute, period)
        return lambda estimate, truth: compute(nearest(estimate, truth, period), truth)

    return replace(
        metric,
        compute=computed(metric.compute),
        against=None if against is None else lambda mean: _additive(against(mean), period),
    )


def _additive(additive: Additive, period: float) -> Additive:
    def terms(estimate: Array, truth: Array, centre: float) -> Any:
        return additive.terms(nearest(estimate, truth, period), truth, centre)

    return replace(additive, terms=terms)
