"""A matrix as a table with units, and as VDI's arrays."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp import files
from qexp.analysis.matrix.axes import MatrixAxis
from qexp.analysis.matrix.bounds import Bounds
from qexp.estimates import PERIOD, estimate_of, outputs_among
from qexp.limits import limits_of
from qexp.metrics.metric import nearest
from qexp.quantities import Quantities, Quantity, quantity
from qexp.runs.record.directory import RunDirectory

if TYPE_CHECKING:
    import xarray

Array = NDArray[np.float64]

REFINED = "_refined"
"""End of the name of an output's estimate by least squares that starts at the network's."""

SEEN, SIGNAL = "seen", "signal_to_noise"


@dataclass(frozen=True)
class Estimated:
    """An output in all cells."""

    truth: Array
    """(cell,)"""
    made: Array
    """(repeat, cell): the network's estimates; NaN in cells that are not possible."""
    refined: Array | None = None
    """(repeat, cell): the same, refined by least squares."""


def matrix_table(
    estimates: Mapping[str, Estimated],
    grid: Sequence[MatrixAxis],
    held: Mapping[str, float],
    repeats: int,
    directory: RunDirectory,
    dataset: str,
    seed: int,
    quantities: Quantities,
    bounds: Bounds | None = None,
) -> xarray.Dataset:
    """One variable per output and kind of value, over the axes.

    Estimates of an angle that repeats, such as a strike, are moved by whole periods to the nearest of the true value.
    """
    import xarray

    limits = limits_of(directory.spec())
    dimensions = [one.variable for one in grid]
    shape = [one.cells for one in grid]
    coordinates = {
        one.variable: (one.variable, one.centres, _attributes(quantity(one.variable, quantities), "true value of: "))
        for one in grid
    }
    variables: dict[str, Any] = {}
    for name, one in estimates.items():
        of = quantity(name, quantities)
        for kind, (values, attributes) in _kinds(one.truth, one.made, of).items():
            if name in limits and kind in ("estimate", "mean"):
                attributes["limits"] = str(limits[name])
            variables[f"{name}_{kind}"] = (dimensions, values.reshape(shape), attributes)
        if one.refined is None:
            continue
        for kind, (values, attributes) in _kinds(one.truth, one.refined, of).items():
            attributes["long_name"] = f"refined by least squares: {attributes['long_name']}"
            end = REFINED if kind == "estimate" else f"{REFINED}_{kind}"
            variables[f"{name}{end}"] = (dimensions, values.reshape(shape), attributes)
    about: dict[str, Any] = {
        "Conventions": "CF-1.10",
        "title": f"inference matrix of the run {directory.name} on the dataset {dataset}",
        "run": directory.name,
        "dataset": dataset,
        "repeats": repeats,
        "seed": seed,
        **{f"fixed_{name}": number for name, number in held.items()},
    }
    made = xarray.Dataset(variables, coordinates, about)
    return made if bounds is None else made.assign(_of_bounds(made, bounds, dimensions))


def _kinds(truth: Array, made: Array, of: Quantity) -> dict[str, tuple[Array, dict[str, Any]]]:
    """Kind of value → the values of an output in each cell, and its attributes.

    truth  (cell,)
    made   (repeat, cell) estimates
    """
    near = nearest(made, truth, of.period)
    mean, errors = near.mean(0), near - truth
    scale, of_what = (np.abs(truth), "true value") if of.period is None else (of.period / 2, "half a period")
    with np.errstate(divide="ignore", invalid="ignore"):
        kinds = {
            "estimate": (mean, "estimate of: ", of.unit),
            "error": (mean - truth, "estimate minus true value of: ", of.unit),
            "relative_error": ((mean - truth) / scale, f"error over {of_what} of: ", "1"),
        }
    if len(made) > 1:
        over = "over noise realisations"
        kinds |= {
            "mean": (mean, f"mean {over} of the estimate of: ", of.unit),
            "bias": (errors.mean(0), f"mean error {over} of: ", of.unit),
            "standard_deviation": (near.std(0, ddof=1), f"standard deviation {over} of the estimate of: ", of.unit),
        }
    turn = {} if of.period is None else {PERIOD: of.period}
    return {
        kind: (values, {"long_name": words + of.description, "units": unit, **turn})
        for kind, (values, words, unit) in kinds.items()
    }


def _of_bounds(table: xarray.Dataset, bounds: Bounds, axes: Sequence[str]) -> dict[str, Any]:
    """The Cramér–Rao bound of each output, and standard deviations over it where the source is seen."""
    shape = tuple(table.sizes[name] for name in axes)
    seen = bounds.seen.reshape(shape)
    made: dict[str, Any] = {
        SIGNAL: (axes, bounds.signal.reshape(shape), {"long_name": "signal-to-noise ratio", "units": "1"}),
        SEEN: (axes, seen, {"long_name": "1 where the data show the source", "units": "1"}),
    }
    for name, of_output in bounds.deviations.items():
        least = of_output.reshape(shape)
        about = table[estimate_of(name)].attrs
        words = about["long_name"].replace("estimate of", "Cramér–Rao bound on the standard deviation of")
        made[f"{name}_bound"] = (axes, least, {"long_name": words, "units": about["units"]})
        for start in ("", REFINED.removeprefix("_") + "_"):
            spread = f"{name}_{start}standard_deviation"
            if spread in table:
                ratio = np.where((seen == 1) & np.isfinite(least), table[spread].values / least, np.nan)
                over = f"{table[spread].attrs['long_name']}, over its bound; where the data show the source"
                made[f"{name}_{start}over_bound"] = (axes, ratio, {"long_name": over, "units": "1"})
    return made


def _attributes(of: Quantity, words: str) -> dict[str, str]:
    return {"long_name": words + of.description, "units": of.unit}


VDI_NAMES = {"estimate": "matrix", "error": "dif_matrix", "relative_error": "dif_n_matrix"}


def write_npy(table: xarray.Dataset, folder: Path) -> None:
    """VDI's three arrays per output; VDI's first variable varies fastest, so the order of axes is reversed."""
    for output in outputs_among(table.data_vars):
        for ours, theirs in VDI_NAMES.items():
            content = io.BytesIO()
            np.save(content, table[f"{output}_{ours}"].values.T)
            files.write_bytes(folder / f"{output}_{theirs}.npy", content.getvalue())
