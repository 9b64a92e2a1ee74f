"""Pictures of a run's matrices, `matrices/<dataset>/matrix.*`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp import files
from qexp.errors import DamagedError
from qexp.estimates import PERIOD, estimate_of, outputs_among
from qexp.figures.matrix import KINDS, Panels, matrix_panels
from qexp.quantities import in_words
from qexp.runs.figures.sources import MissingNumbersError, Pictures, missing, table, unit
from qexp.runs.record.directory import MATRIX, MATRIX_RECORD, RunDirectory

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


def matrix(directory: RunDirectory) -> Pictures:
    """A picture of each matrix of a run; no figure if it has none."""
    lack = None
    for name in directory.matrix_names():
        folder = directory.matrices / name
        try:
            made = matrix_of(folder)
        except MissingNumbersError as error:
            lack = error
            continue
        yield folder.relative_to(directory.path) / Path(MATRIX).stem, made
    if lack is not None:
        raise lack


def matrix_of(folder: Path) -> Figure:
    """The values of each output over the first two axes of a matrix, at the middle of the others."""
    record, cells = numbers_of(folder)
    if "held_out" not in record:
        raise missing(f"{folder / MATRIX_RECORD} has no 'held_out'", "make it again with qexp matrix")
    names = outputs_among(cells.data_vars)
    axes: dict[str, list[float]] = record["axes"]
    shown_axes, others = list(axes)[:2], list(axes)[2:]
    middle = {name: cells.sizes[name] // 2 for name in others}
    shown = cells.isel(middle)
    held = {name: record["fixed"][name] for name in record["held_out"] if name in record["fixed"]}
    held |= {name: cells[name].values[middle[name]] for name in others}
    units, views = record["units"], record.get("views", ())
    where = ", ".join(f"{in_words(name, views)} {of:.3g} {units.get(name, '')}".rstrip() for name, of in held.items())
    return matrix_panels(
        {name: _panels(shown, name) for name in names},
        [(name, cells[name].values, (axes[name][0], axes[name][1])) for name in shown_axes],
        {name: unit(cells, name) for name in axes} | {name: unit(cells, estimate_of(name)) for name in names},
        {name: [_ends(*ends) for ends in intervals] for name, intervals in record["held_out"].items()},
        f"{record['run']} on {record['dataset']}" + (f" at {where}" if where else ""),
        record.get("why_left_out", ""),
        views,
        shown["seen"].values == 0 if "seen" in shown else None,
    )


def numbers_of(folder: Path) -> tuple[dict[str, Any], xarray.Dataset]:
    """The record and the table of a matrix. Raises DamagedError if one of them lacks what every matrix has."""
    record, cells = files.read_json(folder / MATRIX_RECORD), table(folder / MATRIX)
    _require(folder / MATRIX_RECORD, record, ("run", "dataset", "axes", "fixed"))
    outputs = outputs_among(cells.data_vars)
    kinds = ("error", "relative_error")
    _require(folder / MATRIX, cells, record["axes"])
    _require(folder / MATRIX, cells, [f"{output}_{kind}" for output in outputs or ["…"] for kind in kinds])
    return record, cells


def _require(file: Path, content: Mapping[Any, Any] | xarray.Dataset, names: Iterable[str]) -> None:
    if lacking := next((name for name in names if name not in content), None):
        raise DamagedError(f"{file} is damaged: it has no '{lacking}'")


def _ends(low: float | None, high: float | None) -> tuple[float, float]:
    """The ends of an interval from a JSON file, with infinity for null."""
    return -math.inf if low is None else low, math.inf if high is None else high


def _panels(shown: xarray.Dataset, output: str) -> Panels:
    made = {kind: shown[f"{output}_{kind}"].values for kind in KINDS if f"{output}_{kind}" in shown}
    relative = made.pop("relative_error")
    if PERIOD not in shown[f"{output}_error"].attrs and np.isfinite(relative).any():
        made["relative_error"] = 100 * relative
    return made
