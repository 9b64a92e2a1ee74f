"""The matrices of a run, as maps that a reader can explore: the numbers of `matrix.nc`, and how to read them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.look.view import value_in_words
from qexp.estimates import PERIOD, estimate_of, outputs_among
from qexp.figures.matrix import around_one, half_width, span
from qexp.quantities import DEGREE, QUANTITIES, Quantities, in_words, of_dataset, quantity
from qexp.runs.figures.matrices import numbers_of
from qexp.runs.figures.sources import unit
from qexp.runs.record.directory import RunDirectory

if TYPE_CHECKING:
    import xarray

Array = NDArray[np.float64]

MOST_CELLS = 1 << 18
"""Cells of a matrix with more than two axes that are embedded whole; of larger ones the middle plane is shown."""

RATIO = "ratio"
"""Diverging colours of ratios, around one on a logarithmic scale."""

LAYERS = {
    "estimate": ("estimate", "sequential"),
    "error": ("error", "diverging"),
    "refined_error": ("refined error", "diverging"),
    "relative_error": ("relative error", "diverging"),
    "standard_deviation": ("standard deviation over noise", "sequential"),
    "bound": ("Cramér–Rao bound", "sequential"),
    "over_bound": ("standard deviation over the bound", RATIO),
    "refined_over_bound": ("refined: standard deviation over the bound", RATIO),
}
"""Kind of value → words for it, and the colours that suit it."""


def matrices(
    directory: RunDirectory, spec: Mapping[str, Any], only: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """What the page needs to draw each matrix of a run, in the order of their names.

    spec  the resolved spec of the run
    only  names of matrices; all if left out
    """
    names = directory.matrix_names() if only is None else only
    if not names:
        return []
    quantities = of_dataset(spec["dataset"], QUANTITIES)
    return [_matrix(directory.matrices / name, name, quantities) for name in names]


def shared_matrices(directories: Sequence[RunDirectory]) -> list[dict[str, Any]]:
    """Matrices that all runs have over the same cells: the errors of each run beside those of the others."""
    names = set.intersection(*(set(one.matrix_names()) for one in directories))
    made = []
    for name in sorted(names):
        of_runs = [matrices(one, one.spec(), [name])[0] for one in directories]
        first = of_runs[0]
        if any(other["axes"] != first["axes"] or other["fixed"] != first["fixed"] for other in of_runs):
            continue
        outputs = []
        for output in first["outputs"]:
            layers = [
                {**layer, "words": f"error of {directory.name}"}
                for directory, of_run in zip(directories, of_runs, strict=True)
                for other in of_run["outputs"]
                for layer in other["layers"]
                if (other["words"], layer["words"]) == (output["words"], "error")
            ]
            widest: list[float] = max(
                (layer["limits"] for layer in layers), key=lambda ends: float(ends[1]), default=[]
            )
            outputs.append({"words": output["words"], "layers": [{**layer, "limits": widest} for layer in layers]})
        made.append({**first, "outputs": outputs})
    return made


def _matrix(folder: Path, name: str, quantities: Quantities) -> dict[str, Any]:
    record, cells = numbers_of(folder)
    views = record.get("views", ())
    axes = list(record["axes"])
    if len(axes) > 2 and cells[estimate_of(outputs_among(cells.data_vars)[0])].size > MOST_CELLS:
        cells = cells.isel({other: [cells.sizes[other] // 2] for other in axes[2:]})
    return {
        "name": name,
        "axes": [_axis(cells, axis, record, views) for axis in axes],
        "outputs": [_output(cells, output) for output in outputs_among(cells.data_vars)],
        "fixed": [
            value_in_words(in_words(key, views), value, quantity(key, quantities).unit)
            for key, value in record["fixed"].items()
        ],
        "blank": record.get("why_left_out", ""),
    }


def _axis(cells: xarray.Dataset, name: str, record: dict[str, Any], views: tuple[str, ...]) -> dict[str, Any]:
    low, high = record["axes"][name][:2]
    return {
        "words": f"true {in_words(name, views)}",
        "unit": unit(cells, name),
        "centres": cells[name].values.astype(np.float64).tolist(),
        "ends": [low, high],
        "held_out": record.get("held_out", {}).get(name, []),
        "turn": unit(cells, name) == DEGREE,
    }


def _output(cells: xarray.Dataset, output: str) -> dict[str, Any]:
    layers: list[dict[str, Any]] = []
    for kind, (words, colours) in LAYERS.items():
        variable = f"{output}_{kind}"
        if variable not in cells:
            continue
        values = cells[variable].values.astype("<f8")
        if kind == "relative_error":
            if PERIOD in cells[variable].attrs or not np.isfinite(values).any():
                continue
            values = 100 * values
        own = "%" if kind == "relative_error" else unit(cells, variable)
        own = "" if own == "1" else own
        # Values before and after refinement are compared on one scale.
        shown = layers[-1]["limits"] if kind.startswith("refined") else _limits(values, colours)
        drawn = {"colours": "diverging", "logarithmic": True} if colours == RATIO else {"colours": colours}
        layers.append({"words": words, **drawn, "unit": own, "limits": shown})
        layers[-1]["values"] = base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
    return {"words": in_words(output), "layers": layers}


def _limits(values: Array, colours: str) -> list[float]:
    """The ends of a colour scale, as in the figures of matrices."""
    if colours == "diverging":
        half = half_width(values)
        return [-half, half]
    if colours == RATIO:
        return list(around_one(values))
    low, high = map(float, span(values))
    return [low, high if high > low else low + 1e-12]
