"""The held-out estimates of a run and their errors, read from its files: what intervals are made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.assemble.scales import scale_of
from qexp.calibration.scale import Scale
from qexp.datasets.spectra import SPECTRUM
from qexp.errors import DamagedError, QexpError
from qexp.estimates import estimate_of
from qexp.runs.evaluation.kinds import KINDS, ROW
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.trust import tables_of
from qexp.spec.kinds.kind import TEST_PREDICTIONS

if TYPE_CHECKING:
    import xarray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """One output's estimates of held-out rows or spectra.

    unit      kind of the units that are exchangeable: `row`, or the kind of group that is held out
    units     the unit of each row, as numbers from 0; likewise below (row,)
    by        kind of the groups by which coverage is listed; None if there are none
    patterns  the folds that hold a row out, which are several if they are repeated; empty for a run without folds
    pattern   that of each row, by its place in `patterns`
    """

    output: str
    scale: Scale
    truth: Array
    estimate: Array
    unit: str
    units: NDArray[np.int64]
    by: str | None
    groups: NDArray[np.str_]
    patterns: tuple[tuple[str, ...], ...]
    pattern: NDArray[np.int64]

    @cached_property
    def scores(self) -> Array:
        return self.scale.scores(self.estimate, self.truth)

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
        made.append(HeldOut(output, scale, truth, estimate, layout.unit, units, layout.by, groups, patterns, pattern))
    return made


def opened(directory: RunDirectory) -> xarray.Dataset:
    """The file of a run's test predictions. Raises QexpError or DamagedError."""
    import xarray

    path = directory.results / TEST_PREDICTIONS
    if not path.is_file():
        raise QexpError(f"{directory.name} has no held-out estimates ({path} is missing), so its errors are unknown")
    try:
        return xarray.load_dataset(path, engine="h5netcdf", decode_times=False, decode_timedelta=False)
    except (OSError, ValueError, KeyError) as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
