"""Figures of runs on generated images: estimates of the test samples, and matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from qexp.estimates import quantile_of
from qexp.figures.scatter import estimates_against_truth
from qexp.runs.figures import calibration, matrices
from qexp.runs.figures.sources import (
    FIGURES_FOLDER,
    FigureOfRun,
    Pictures,
    learning_curve,
    outputs,
    table,
    truth_and_estimate,
    unit,
)
from qexp.runs.record.directory import RunDirectory, with_caution
from qexp.runs.record.limit import limit_of
from qexp.spec.kinds.kind import TEST_PREDICTIONS

if TYPE_CHECKING:
    import xarray

TEST_ESTIMATES = "test_estimates"
"""Name of the figure, and of its files."""


def estimates(directory: RunDirectory) -> Pictures:
    """Estimates against true values, a panel per output."""
    predictions = table(directory.results / TEST_PREDICTIONS)
    known, limit = outputs(predictions), limit_of(directory)
    made = estimates_against_truth(
        {name: truth_and_estimate(predictions, name) for name in known},
        {name: unit(predictions, name) for name in known},
        f"{with_caution(directory.name, directory.record().caution)}: {directory.part} part",
        None if limit is None else {name: one.mae for name, one in limit.variables.items()},
        {name: _interval(predictions, name) for name in known if quantile_of(name) in predictions},
    )
    yield FIGURES_FOLDER / TEST_ESTIMATES, made


def _interval(of: xarray.Dataset, output: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The ends of the widest interval of the posterior that is kept."""
    quantiles = of[quantile_of(output)]
    return quantiles.values[:, 0], quantiles.values[:, -1]


FIGURES: Mapping[str, FigureOfRun] = {
    "learning_curve": learning_curve,
    TEST_ESTIMATES: estimates,
    **calibration.FIGURES,
    "matrix": matrices.matrix,
}
