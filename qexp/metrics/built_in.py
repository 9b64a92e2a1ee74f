"""Metrics: what a model is judged by, always in the output's own unit. They need numpy alone, so that reading
results never waits for torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.tables import Entry

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """What can be added up of estimates and truths that are seen piece by piece."""

    count: int = 0
    error: float = 0.0
    """Of estimate − truth; the next ones of its size, its square, and its size over the truth's in percent."""
    absolute_error: float = 0.0
    squared_error: float = 0.0
    relative_error: float = 0.0
    truth: float = 0.0
    squared_truth: float = 0.0

    @classmethod
    def of(cls, estimate: Array, truth: Array) -> Sums:
        difference = estimate - truth
        return cls(
            difference.size,
            float(difference.sum()),
            float(np.abs(difference).sum()),
            float(np.square(difference).sum()),
            float(_relative_errors(estimate, truth).sum()),
            float(truth.sum()),
            float(np.square(truth).sum()),
        )

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    @property
    def r2(self) -> float:
        spread = self.squared_truth - self.truth**2 / self.count if self.count else 0.0
        return 1 - self.squared_error / spread if spread > 0 else float("nan")


def _mean(of: Callable[[Sums], float]) -> Callable[[Sums], float]:
    return lambda sums: of(sums) / sums.count if sums.count else float("nan")


@dataclass(frozen=True)
class Metric:
    compute: Callable[[Array, Array], float]
    """estimate, truth, both (sample, ...) → a number."""
    unit: str = "{unit}"
    """`{unit}` stands for the output's."""
    best: str = "low"
    """"low", "high", or "zero" where values on both sides of zero are worse."""
    of_sums: Callable[[Sums], float] | None = None
    """The same of what was added up piece by piece; None where that cannot be."""

    def in_unit(self, unit: str) -> str:
        """The metric's unit for an output in `unit`."""
        return self.unit.format(unit=unit) if unit or "{" not in self.unit else ""

    def badness(self, value: float) -> float:
        """Smaller is better."""
        return {"low": value, "high": -value, "zero": abs(value)}[self.best]


def mean_squared_error(estimate: Array, truth: Array) -> float:
    return float(np.mean(np.square(estimate - truth)))


def mean_absolute_error(estimate: Array, truth: Array) -> float:
    return float(np.mean(np.abs(estimate - truth)))


def root_mean_squared_error(estimate: Array, truth: Array) -> float:
    return float(np.sqrt(mean_squared_error(estimate, truth)))


def bias(estimate: Array, truth: Array) -> float:
    """Mean of estimate − truth."""
    return float(np.mean(estimate - truth))


def coefficient_of_determination(estimate: Array, truth: Array) -> float:
    """1 − residual sum of squares / total sum of squares; NaN if the truth is constant."""
    spread = np.sum(np.square(truth - truth.mean()))
    return float(1 - np.sum(np.square(estimate - truth)) / spread) if spread > 0 else float("nan")


def _relative_errors(estimate: Array, truth: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100 * np.abs(estimate - truth) / np.abs(truth))


def mean_relative_error(estimate: Array, truth: Array) -> float:
    """Mean of |estimate − truth| / |truth|, in percent."""
    return float(np.mean(_relative_errors(estimate, truth)))


def median_relative_error(estimate: Array, truth: Array) -> float:
    """Median of |estimate − truth| / |truth|, in percent."""
    return float(np.median(_relative_errors(estimate, truth)))


def _entry(metric: Metric, name: str, help: str) -> Entry:
    return Entry(build=lambda: metric, parameters={}, help=help, example={"type": name})


METRICS: dict[str, Entry] = {
    "mae": _entry(
        Metric(mean_absolute_error, of_sums=_mean(lambda sums: sums.absolute_error)), "mae", "Mean absolute error."
    ),
    "rmse": _entry(
        Metric(root_mean_squared_error, of_sums=lambda sums: _mean(lambda one: one.squared_error)(sums) ** 0.5),
        "rmse",
        "Root of the mean squared error.",
    ),
    "mse": _entry(
        Metric(mean_squared_error, "({unit})²", of_sums=_mean(lambda sums: sums.squared_error)),
        "mse",
        "Mean squared error.",
    ),
    "bias": _entry(
        Metric(bias, best="zero", of_sums=_mean(lambda sums: sums.error)), "bias", "Mean of estimate − truth."
    ),
    "r2": _entry(
        Metric(coefficient_of_determination, "", "high", lambda sums: sums.r2),
        "r2",
        "Coefficient of determination R².",
    ),
    "mre": _entry(
        Metric(mean_relative_error, "%", of_sums=_mean(lambda sums: sums.relative_error)),
        "mre",
        "Mean relative error, in percent.",
    ),
    "median_relative_error": _entry(
        Metric(median_relative_error, "%"), "median_relative_error", "Median relative error, in percent."
    ),
}

ALWAYS = ("mae", "rmse", "bias", "r2", "mre")
"""Reported of every output, whatever the experience asks for besides."""


def evaluate(metrics: Mapping[str, Metric], estimate: ArrayLike, truth: ArrayLike) -> dict[str, float]:
    """All the metrics of one output."""
    estimated, true = (np.asarray(values, dtype=np.float64) for values in (estimate, truth))
    return {name: metric.compute(estimated, true) for name, metric in metrics.items()}


def find(name: str) -> Metric:
    """A built-in metric; one of an extension counts as lower is better, in the output's unit."""
    metric = METRICS[name].build() if name in METRICS else Metric(mean_absolute_error)
    assert isinstance(metric, Metric)
    return metric


def asked_for(names: Iterable[str]) -> list[str]:
    """The names of the metrics to report of an output, for those that an experience asks for."""
    return list(dict.fromkeys([*ALWAYS, *names]))
