"""The held-out estimates of a run and their errors, read from its files: what intervals are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp import files
from qexp.assemble.scales import scale_of
from qexp.datasets.spectra import SPECTRUM
from qexp.errors import QexpError
from qexp.estimates import estimate_of, quantile_of
from qexp.metrics.conformal import Scale
from qexp.runs.evaluation.kinds import KINDS, ROW
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.trust import tables_of
from qexp.spec.kinds.kind import TEST_PREDICTIONS

if TYPE_CHECKING:
    import xarray

Array = NDArray[np.float64]

MEDIAN = 0.5


@dataclass(frozen=True)
class HeldOut:
    """One output's estimates of held-out rows or spectra.

    quantiles  probability → quantiles of a posterior head, (row,); empty where the output has none
    unit       kind of the units that are exchangeable: `row`, or the kind of group that is held out
    units      the unit of each row, as numbers from 0; likewise below (row,)
    by         kind of the groups by which coverage is listed; None if there are none
    patterns   the folds that hold a row out, which are several if they are repeated; empty for a run without folds
    pattern    that of each row, by its place in `patterns`
    """

    output: str
    scale: Scale
    truth: Array
    estimate: Array
    quantiles: Mapping[float, Array]
    unit: str
    units: NDArray[np.int64]
    by: str | None
    groups: NDArray[np.str_]
    patterns: tuple[tuple[str, ...], ...]
    pattern: NDArray[np.int64]

    def probabilities(self, coverage: float) -> tuple[float, ...]:
        """Of the quantiles that intervals of a coverage are laid around; none if that is the estimate.

        Those of the head's own interval whose probability is nearest: any are right once they are corrected.
        """
        lower = [one for one in self.quantiles if one < MEDIAN]
        if not lower:
            return ()
        low = min(lower, key=lambda one: abs(1 - 2 * one - coverage))
        return low, min(self.quantiles, key=lambda one: abs(1 - low - one))

    def start(self, coverage: float) -> tuple[Array, Array]:
        """What intervals of a coverage are laid around, in the output's unit: two quantiles, or twice the estimate."""
        around = [self.quantiles[one] for one in self.probabilities(coverage)] or [self.estimate]
        return around[0], around[-1]

    def scores(self, coverage: float) -> Array:
        """How far true values lie outside of it, (row,); absolute errors if that is the estimate."""
        return self.scale.scores(*self.start(coverage), self.truth)

    @property
    def count(self) -> int:
        """The number of units."""
        return int(self.units.max()) + 1


def held_out(directory: RunDirectory) -> list[HeldOut]:
    """The held-out estimates of a run on rows or spectra, by output. Raises QexpError if it has none."""
    spec = directory.training_spec()
    layout_of = KINDS[spec["dataset"]["type"]]
    if layout_of is None:
        raise QexpError(f"{directory.name}: the errors of held-out samples make intervals for rows and spectra only")
    outputs = [name for name in spec["outputs"] if name != SPECTRUM]
    if not outputs:
        raise QexpError(f"{directory.name} reconstructs spectra and estimates no number that could have an interval")
    predictions, tables = opened(directory), tables_of(directory)
    layout = layout_of(directory, predictions)
    groups = np.zeros(len(layout.folds), dtype=str)
    if layout.by is not None:
        groups = predictions[layout.by].values.astype(str)
    units = np.arange(len(groups)) if layout.unit == ROW else np.unique(groups, return_inverse=True)[1]
    patterns = tuple(dict.fromkeys(layout.folds))
    place = {folds: number for number, folds in enumerate(patterns)}
    pattern = np.array([place[folds] for folds in layout.folds])
    made = []
    for output in outputs:
        truth, estimate = (predictions[name].values.astype(np.float64) for name in (output, estimate_of(output)))
        scale = scale_of(spec, tables, output, truth)
        quantiles = quantiles_among(predictions, output)
        made.append(
            HeldOut(output, scale, truth, estimate, quantiles, layout.unit, units, layout.by, groups, patterns, pattern)
        )
    return made


def quantiles_among(predictions: xarray.Dataset, output: str) -> dict[float, Array]:
    """Probability → quantiles of an output; empty if it is of no posterior head, or the run of an older version."""
    if quantile_of(output) not in predictions:
        return {}
    found = predictions[quantile_of(output)].astype(np.float64)
    return {float(one): found.sel(quantile=one).values for one in found["quantile"].values}


def opened(directory: RunDirectory) -> xarray.Dataset:
    """The file of a run's test predictions. Raises QexpError or DamagedError."""
    path = directory.results / TEST_PREDICTIONS
    if not path.is_file():
        raise QexpError(f"{directory.name} has no held-out estimates ({path} is missing), so its errors are unknown")
    return files.read_netcdf(path)
