"""Figures of a run's calibrations, from `results/calibration*.nc`; none before it was calibrated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qexp.figures.calibration import Band, LocalPanel, coverage_panels, local_panels, rank_panels
from qexp.quantities import in_words
from qexp.runs.figures.sources import FIGURES_FOLDER, FigureOfRun, MissingNumbersError, Pictures, table, unit
from qexp.runs.record.calibration import FEW, HEAD, Calibration, calibrations_of, numbers_name, record_name
from qexp.runs.record.directory import RunDirectory

if TYPE_CHECKING:
    import xarray

GREY = "grey: where 95 % of calibrated posteriors stay"

REGIONS = {"density_level_share": "highest density", "ball_level_share": "balls around random points"}


def ranks(directory: RunDirectory) -> Pictures:
    """Distribution functions of the ranks of true values, in their simultaneous band."""
    for made in calibrations_of(directory).values():
        numbers = numbers_of(directory, made)
        shares = {name: numbers[f"{name}_position_share"].values for name in made.outputs}
        title = f"{_title(directory, made)}; {GREY}"
        yield _place(made, "ranks"), rank_panels(shares, _band(numbers), title)


def coverage(directory: RunDirectory) -> Pictures:
    """Shares of true values inside intervals of each output, and inside regions of all."""
    for made in calibrations_of(directory).values():
        numbers = numbers_of(directory, made)
        levels = {
            f"intervals of {in_words(name)}": {"": numbers[f"{name}_level_share"].values} for name in made.outputs
        }
        if len(made.outputs) > 1:
            levels["regions of all"] = {words: numbers[key].values for key, words in REGIONS.items() if key in numbers}
        figure = coverage_panels(levels, _band(numbers), f"{_title(directory, made)}; {GREY}")
        yield _place(made, "coverage"), figure


def local(directory: RunDirectory) -> Pictures:
    """Shares of true values inside 90 % intervals, in cells of the estimates and of the true values."""
    for made in calibrations_of(directory).values():
        numbers = numbers_of(directory, made)
        outputs = {name: {words: local_of(numbers, name, key) for key, words in CELLS.items()} for name in made.outputs}
        units = {name: unit(numbers, name) for name in made.outputs}
        title = (
            f"{_title(directory, made)}; calibrated posteriors hold the truth equally often wherever estimates lie, "
            "but not for every true value; ▼ too narrow, ▲ too wide beyond chance; hatched: too few draws"
        )
        probability = float(numbers.attrs["interval"])
        yield _place(made, "local"), local_panels(outputs, units, probability, title)


def numbers_of(directory: RunDirectory, made: Calibration) -> xarray.Dataset:
    """The numbers that belong to a calibration. Raises MissingNumbersError if they are missing or of another one."""
    file = directory.results / numbers_name(made.kind)
    numbers = table(file)
    if numbers.attrs.get("created") != made.created:
        record = record_name(made.kind)
        raise MissingNumbersError(f"{file} is of another calibration than {record}: qexp calibrate {directory.name}")
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
    kind = "" if made.kind == HEAD else f" ({made.kind.replace('_', ', ')})"
    return f"{directory.name}{kind}: {made.draws:,} draws"


def _place(made: Calibration, name: str) -> Path:
    """The picture: `calibration_ranks`, of other kinds than that of the head `calibration_refined_ranks`."""
    kind = "" if made.kind == HEAD else f"{made.kind}_"
    return FIGURES_FOLDER / f"calibration_{kind}{name}"


FIGURES: Mapping[str, FigureOfRun] = {
    "calibration_ranks": ranks,
    "calibration_coverage": coverage,
    "calibration_local": local,
}
