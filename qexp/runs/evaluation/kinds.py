"""What is exchangeable among the held-out samples of a run, by the kind of its dataset."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qexp.errors import DamagedError, QexpError
from qexp.runs.record.directory import PREDICTIONS, RunDirectory
from qexp.spec.kinds.tabular import grouped_by

if TYPE_CHECKING:
    import xarray

ROW, CORE = "row", "core"


@dataclass(frozen=True)
class Layout:
    """How held-out samples belong together.

    unit   kind of the units that are exchangeable: `row`, or the kind of group that is held out
    by     kind of the groups by which coverage is listed; None if there are none
    folds  the folds that hold out each sample, (sample,), which are several if they are repeated; empty without folds
    """

    unit: str
    by: str | None
    folds: Sequence[tuple[str, ...]]


def _rows(directory: RunDirectory, predictions: xarray.Dataset) -> Layout:
    spec = directory.spec()
    by = grouped_by(spec)
    path = directory.results / PREDICTIONS
    if not path.is_file():
        raise QexpError(f"{path} is missing, so it is unknown which fold held out which row")
    folds: dict[str, tuple[str, ...]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for fold, row, *_ in csv.reader(file):
            folds[row] = (*folds.get(row, ()), fold)
    try:
        of_rows = [folds[str(number)] for number in predictions["row"].values]
    except KeyError as error:
        raise DamagedError(f"{path} does not list the row {error}") from None
    return Layout(ROW if spec["split"]["parameters"].get("by") is None else str(by), by, of_rows)


def _spectra(directory: RunDirectory, predictions: xarray.Dataset) -> Layout:
    return Layout(CORE, CORE, [()] * predictions.sizes["spectrum"])


KINDS: Mapping[str, Callable[[RunDirectory, Any], Layout] | None] = {
    "generated": None,
    "tabular": _rows,
    "gridded": None,
    "spectra": _spectra,
}
"""Type of the dataset → how its held-out samples belong together; None where they make no intervals."""
