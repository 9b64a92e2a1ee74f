"""Figures of a run's calibration, from `results/calibration.nc`; none before it was calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from qexp.figures.calibration import Band, LocalPanel, coverage_panels, local_panels, rank_panels
from qexp.quantities import in_words
from qexp.runs.figures.sources import FIGURES_FOLDER, FigureOfRun, MissingNumbersError, Pictures, table, unit
from qexp.runs.record.calibration import FEW, NUMBERS, RECORD, Calibration, calibration_of
from qexp.runs.record.directory import RunDirectory

if TYPE_CHECKING:
    import xarray

GREY = "grey: where 95 % of calibrated posteriors stay"

REGIONS = {"density_level_share": "highest density", "ball_level_share": "balls around random points"}


def ranks(directory: RunDirectory) -> Pictures:
    """Distribution functions of the ranks of true values, in their simultaneous band."""
    if (made := calibration_of(directory)) is not None:
        numbers = numbers_of(directory, made)
        shares = {name: numbers[f"{name}_position_share"].values for name in made.outputs}
        title = f"{_title(directory, made)}; {GREY}"
        yield FIGURES_FOLDER / "calibration_ranks", rank_panels(shares, _band(numbers), title)


def coverage(directory: RunDirectory) -> Pictures:
    """Shares of true values inside intervals of each output, and inside regions of all."""
    if (made := calibration_of(directory)) is not None:
        numbers = numbers_of(directory, made)
        levels = {
            f"intervals of {in_words(name)}": {"": numbers[f"{name}_level_share"].values} for name in made.outputs
        }
        if len(made.outputs) > 1:
            levels["regions of all"] = {words: numbers[key].values for key, words in REGIONS.items() if key in numbers}
        figure = coverage_panels(levels, _band(numbers), f"{_title(directory, made)}; {GREY}")
        yield FIGURES_FOLDER / "calibration_coverage", figure


def local(directory: RunDirectory) -> Pictures:
    """Shares of true values inside 90 % intervals, in cells of the estimates and of the true values."""
    if (made := calibration_of(directory)) is not None:
        numbers = numbers_of(directory, made)
        outputs = {name: {words: local_of(numbers, name, key) for key, words in CELLS.items()} for name in made.outputs}
        units = {name: unit(numbers, name) for name in made.outputs}
        title = (
            f"{_title(directory, made)}; calibrated posteriors hold the truth equally often wherever estimates lie, "
            "but not for every true value; ▼ too narrow, ▲ too wide beyond chance; hatched: too few draws"
        )
        probability = float(numbers.attrs["interval"])
        yield FIGURES_FOLDER / "calibration_local", local_panels(outputs, units, probability, title)


def numbers_of(directory: RunDirectory, made: Calibration) -> xarray.Dataset:
    """The numbers that belong to a calibration. Raises MissingNumbersError if they are missing or of another one."""
    file = directory.results / NUMBERS
    numbers = table(file)
    if numbers.attrs.get("created") != made.created:
        raise MissingNumbersError(f"{file} is of another calibration than {RECORD}: qexp calibrate {directory.name}")
    return numbers


CELLS = {"estimate": "estimated", "truth": "true"}


def local_of(numbers: xarray.Dataset, name: str, kind: str = "estimate") -> LocalPanel:
    """The coverage of an output in cells of estimates, or of the `truth`."""
    count, inside = numbers[f"{name}_{kind}_count"], numbers[f"{name}_{kind}_inside"].values
    share = np.where(count.values < FEW, np.nan, inside / np.maximum(count.values, 1))
    edges = [numbers[f"{dim}_edge"].values for dim in count.dims]
    axes = [str(dim).removeprefix(f"{name}_cell_") for dim in count.dims]
    return LocalPanel(axes, edges, share, numbers[f"{name}_{kind}_wrong"].values)


def _band(numbers: xarray.Dataset) -> Band:
    return Band(numbers["point"].values, numbers["lower"].values, numbers["upper"].values)


def _title(directory: RunDirectory, made: Calibration) -> str:
    return f"{directory.name}: {made.draws:,} draws"


FIGURES: Mapping[str, FigureOfRun] = {
    "calibration_ranks": ranks,
    "calibration_coverage": coverage,
    "calibration_local": local,
}
