"""The numbers of a run that pages draw: learning curves, estimates, matrices, calibrations."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array
from qexp.base.formats import read_json
from qexp.base.outputs import PERIOD, estimate_of, outputs_among, spread_of
from qexp.base.quantities import DEGREE, QUANTITIES, Quantities, in_words, number_with_unit, of_dataset, quantity
from qexp.figures.curves import Lines, middle_half, over_epochs, positions
from qexp.kinds.figures import (
    MissingNumbersError,
    fold_curves_of,
    learning_curve_of,
    outputs,
    table,
    truth_and_estimate,
    unit,
)
from qexp.kinds.preview import value_in_words
from qexp.metrics.built_in import metric_in_words
from qexp.metrics.meaning import MAIN_METRIC, number, printed
from qexp.metrics.recorded import meaning_of
from qexp.results.calibration import calibrations_of
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import FRAMES, MATRIX_RECORD, RunDirectory
from qexp.trust.figures import CALIBRATION_DRAWINGS, numbers_of as calibration_numbers, title_of
from qexp.trust.matrix_figures import around_one, half_width, held_out_of, numbers_of as matrix_numbers, span
from qexp.web.html import Drawn, drawn

if TYPE_CHECKING:
    import xarray

BACKGROUND = 7
"""The colour of folds behind their median: a grey."""


def calibration_drawings(directory: RunDirectory) -> list[Drawn]:
    """None before the run was calibrated; those whose numbers are gone are left out."""
    drawings, calibrations = list[Drawn](), calibrations_of(directory).values()
    for calibration in calibrations:
        kind = f" ({calibration.kind_in_words})" if len(calibrations) > 1 else ""
        with suppress(MissingNumbersError):
            numbers = calibration_numbers(directory, calibration)
            drawings += [
                drawn(
                    f"{words}{kind}",
                    partial(draw, title_of(directory, calibration), list(calibration.outputs), numbers),
                )
                for words, draw in CALIBRATION_DRAWINGS.items()
            ]
    return drawings


def training_drawn(directory: RunDirectory) -> list[Drawn]:
    """The learning curves of a run or of its folds, for where no script can run; none before the first epoch."""
    if not any(lines_of(directory).values()):
        return []
    folds = bool(directory.all_folds())
    return [drawn("learning curves", partial(fold_curves_of if folds else learning_curve_of, directory))]


# Learning curves: losses, and the validation error of each output, over epochs.


Panel = dict[str, Any]
"""A drawing: `title`, `unit`, `x`, and the `series` over it.

A series has `words`, `values`, the number of its `colour`, the `run` it is of, whether it is `dashed` or `faint`, and a
`band`, the middle half of the folds whose median it is, or None.
"""

FEW = 8
"""The largest number of runs whose curves are distinguished by colour; with more, curves are thin."""


def lines_of(directory: RunDirectory) -> dict[str, list[dict[str, Any]]]:
    """The epochs of a run, or of each of its folds."""
    return {fold.name: fold.metrics() for fold in directory.all_folds()} or {"": directory.metrics()}


def curves(of_folds: Mapping[str, Lines], units: Mapping[str, str], all_metrics: bool = False) -> list[Panel]:
    """A panel for the loss and one for each output of one run; of many folds, their median before all of them.

    of_folds     fold → its lines; with an empty name those of a run without folds
    units        output → its unit
    all_metrics  as in `curves_of_runs`
    """
    folds = {name: [lines] for name, lines in of_folds.items() if lines}
    if len(folds) <= FEW:
        return curves_of_runs(folds, units, all_metrics)
    median = f"median of {len(folds)} folds"
    panels = curves_of_runs({**folds, median: [lines for (lines,) in folds.values()]}, units)
    for panel in panels:
        for series in panel["series"]:
            is_median = series["run"] == median
            series |= {"faint": not is_median, "band": None}
            series["colour"] = int(series["dashed"]) if is_median else BACKGROUND
    return panels


MOST_NUMBERS = 60_000
"""Numbers of curves up to which a page has all metrics that were followed, and not the main one alone."""


def curves_of_runs(
    of_runs: Mapping[str, Sequence[Lines]], units: Mapping[str, str], all_metrics: bool = False
) -> list[Panel]:
    """The same for several runs. Those without an epoch are left out.

    of_runs      name in the legend → the lines of a run, or those of each of its folds, whose median is drawn
    all_metrics  a panel for each metric of each output, as long as they are few numbers; `metric` says which
    """
    runs = {name: trained for name, folds in of_runs.items() if (trained := [thinned(one) for one in folds if one])}
    if not runs:
        return []
    longest = max((lines for folds in runs.values() for lines in folds), key=len)
    last, at = longest[-1]["epoch"], positions(longest)
    if any(positions(lines) != at[: len(lines)] for folds in runs.values() for lines in folds):
        at = list(range(1, last + 1))  # programs that do not count alike
    shared = {"words": "epoch", "x": at, "logarithmic": True, "whole": True}
    losses = [
        {"words": f"{name} {words}".strip(), "run": name, "dashed": part == "train", "colour": number}
        | _over(last, folds, (part, "loss"))
        for number, (name, folds) in enumerate(runs.items())
        for part, words in (("train", "training"), ("validation", "validation"))
    ]
    panels: list[Panel] = [{"title": "loss", "unit": "", "series": losses, **shared}]
    followed: dict[tuple[str, str], str] = {}
    for part in ("train", "validation"):  # the former of programs of others that have no other
        for line in (folds[0][at] for folds in runs.values() for at in (0, -1)):
            of_part = {output: metrics for output, metrics in line[part].items() if output not in ("loss", "losses")}
            followed |= {(output, metric): part for output, metrics in of_part.items() for metric in metrics}
    if not all_metrics or len(followed) * len(runs) * last > MOST_NUMBERS:
        main = {pair: part for pair, part in followed.items() if pair[1] == MAIN_METRIC}
        followed = main or dict([*followed.items()][:FEW])
    for (output, metric), part in sorted(followed.items(), key=lambda item: item[0][1] != MAIN_METRIC):
        words = "training" if part == "train" else part
        series = [
            {"words": name or words, "run": name, "dashed": False, "colour": number}
            | _over(last, folds, (part, output, metric))
            for number, (name, folds) in enumerate(runs.items())
        ]
        title = f"{in_words(output)}: {metric_in_words(metric)}, {words}"
        unit_of_panel = meaning_of(metric, ()).in_unit(units.get(output, ""))
        panels.append(
            {"title": title, "unit": unit_of_panel, "metric": metric_in_words(metric), "series": series, **shared}
        )
    for panel in panels:
        panel["series"] = [series for series in panel["series"] if any(value is not None for value in series["values"])]
        only_training = all(series["dashed"] for series in panel["series"])
        # Panels of outputs that only short runs have are not as long as those of others.
        present = [at for series in panel["series"] for at, value in enumerate(series["values"]) if value is not None]
        end = max(present, default=-1) + 1
        panel["x"] = panel["x"][:end]
        for series in panel["series"]:
            series |= {"faint": len(runs) > FEW, "dashed": series["dashed"] and not only_training}
            series["values"] = series["values"][:end]
            series["band"] = series["band"] and [edge[:end] for edge in series["band"]]
    return [panel for panel in panels if panel["series"]]


MOST_EPOCHS = 5000
"""Of a run that are drawn; of more, some are left out."""


def thinned(lines: Lines) -> Lines:
    each = -(-len(lines) // MOST_EPOCHS)
    at = positions(lines[::each])
    return lines if each == 1 else [{**lines[i * each], "epoch": i + 1, "step": step} for i, step in enumerate(at)]


def _over(last: int, folds: Sequence[Lines], keys: Sequence[str]) -> dict[str, Any]:
    """The median over folds at each epoch up to the last, and the band of their middle half, see `middle_half`."""
    low, middle, high = np.full((3, last), np.nan)
    table = over_epochs(folds, *keys)
    low[: table.shape[1]], middle[: table.shape[1]], high[: table.shape[1]] = middle_half(table)
    return {"values": _plain(middle), "band": [_plain(low), _plain(high)] if len(folds) > 1 else None}


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(f"{value:.7g}") for value in values.tolist()]


# Pictures that runs have saved, by kind, for a grid of several runs.


MOST_BYTES = 1 << 20
"""Size of pictures up to which a report of several runs has them all; the browser shows any number on demand."""


def pictures_of_runs(directories: Sequence[RunDirectory], embedded: bool) -> list[dict[str, Any]]:
    """For each kind of picture that several of the runs have, the runs that have it.

    embedded  with the pictures themselves, or none if they are too large together
    """
    kinds: dict[str, list[tuple[str, Path]]] = {}
    for directory in directories:
        for path in sorted((directory.results / "figures").glob("*.png")):
            kinds.setdefault(path.name, []).append((directory.name, path))
    kinds = {kind: of_runs for kind, of_runs in kinds.items() if len(of_runs) > 1}
    if embedded and sum(path.stat().st_size for of_runs in kinds.values() for _, path in of_runs) > MOST_BYTES:
        return []

    def source(path: Path) -> str | None:
        return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" if embedded else None

    return [
        {"file": kind, "words": in_words(Path(kind).stem), "runs": [[run, source(path)] for run, path in of_runs]}
        for kind, of_runs in kinds.items()
    ]


# Estimates against true values: rows, spectra and samples as points, fields as maps of whole frames.


MOST_POINTS = 4000
"""Samples that are drawn at most, evenly over the file."""

MOST_CELLS = 300_000
"""Values of fields that are embedded for each folder at most; of more frames some are left out."""


def points(directory: RunDirectory) -> list[dict[str, Any]]:
    """A panel per output of the test samples; none for runs without a table of them."""
    try:
        predictions = table(directory.results / TEST_PREDICTIONS)
    except MissingNumbersError:
        return []
    names = outputs(predictions)
    return [_panel(predictions, output, directory.part, names) for output in names if predictions[output].ndim == 1]


def _panel(predictions: xarray.Dataset, output: str, part: str, names: list[str]) -> dict[str, Any]:
    truth, estimate = truth_and_estimate(predictions, output)
    each = max(1, -(-len(truth) // MOST_POINTS))
    note = f", {len(truth[::each]):,} of {len(truth):,} samples" if each > 1 else ""
    spread = predictions[spread_of(output)].values[::each] if spread_of(output) in predictions else np.array([])
    return {
        "title": f"{in_words(output)}: {part} part{note}",
        "words": in_words(output),
        "unit": unit(predictions, output),
        "truth": truth[::each].astype(float).tolist(),
        "estimate": estimate[::each].astype(float).tolist(),
        "spread": spread.astype(float).tolist() if np.isfinite(spread).any() else [],
        "samples": _names(predictions.isel({predictions[output].dims[0]: slice(None, None, each)}), output, names),
    }


def _names(predictions: xarray.Dataset, output: str, outputs: list[str]) -> list[str]:
    """What identifies each sample: its texts, then its number, then what else varies, such as the depth in a core."""
    (dimension,) = map(str, predictions[output].dims)
    aside = {f"{name}{ending}" for name in outputs for ending in ("", "_estimate", "_spread")}
    others = {str(name): values.values for name, values in predictions.data_vars.items() if values.dims == (dimension,)}
    others = {name: values for name, values in others.items() if name not in aside}
    columns: list[Any] = [values.astype(str) for values in others.values() if values.dtype.kind in "UOST"]
    columns.append([f"{dimension} {number}" for number in predictions[dimension].values])
    for name, values in others.items():
        if values.dtype.kind == "f" and len(np.unique(values)) > 1:
            unit_of_column = unit(predictions, name)
            columns.append(
                [f"{in_words(name)} {number_with_unit(printed(number(value)), unit_of_column)}" for value in values]
            )
    return [", ".join(words) for words in zip(*columns, strict=True)]


def fields(directory: RunDirectory) -> Iterator[dict[str, Any]]:
    """The test frames that the run keeps, as maps of true values, estimates and errors: one for each folder."""
    for path in sorted((directory.results / FRAMES).glob("*.nc")):
        frames = table(path)
        names = outputs(frames)
        most = max(1, MOST_CELLS // (3 * len(names) * frames.sizes["x"] * frames.sizes["y"]))
        if frames.sizes["frame"] > most:
            frames = frames.isel(frame=np.linspace(0, frames.sizes["frame"] - 1, most).round().astype(int))
        outputs_of_frames = [_layers(frames, output) for output in names]
        yield {
            "name": path.stem, "axes": _axes_of_frames(frames), "outputs": outputs_of_frames, "fixed": [], "blank": "",
            "tested": False, "outlined": "",
        }  # fmt: skip


def _axes_of_frames(frames: xarray.Dataset) -> list[dict[str, Any]]:
    left, right, bottom, top = map(float, frames.attrs["extent"])
    axes = []
    for name, low, high in (("x", left, right), ("y", bottom, top)):
        cells = frames.sizes[name]
        centres = (low + (np.arange(cells) + 0.5) * (high - low) / cells).tolist()
        axes.append((name, str(frames.attrs["extent_unit"]), centres, [low, high]))
    when = "time" if "time" in frames.coords else "frame"
    moments = frames[when].values.astype(float).tolist()
    axes.append((when, unit(frames, when), moments, [moments[0], moments[-1]]))
    return [
        {"words": words, "unit": unit_of_axis, "centres": centres, "ends": ends, "held_out": [], "turn": False}
        for words, unit_of_axis, centres, ends in axes
    ]


def _layers(frames: xarray.Dataset, output: str) -> dict[str, Any]:
    truth, estimate = (values.astype(np.float64) for values in truth_and_estimate(frames, output))
    error, unit_of_output = estimate - truth, unit(frames, output)
    ends = _limits(np.concatenate([truth.ravel(), estimate.ravel()]), "sequential")
    layers = [
        _layer("true", "sequential", unit_of_output, ends, truth),
        _layer("estimate", "sequential", unit_of_output, ends, estimate),
        _layer("error", "diverging", unit_of_output, _limits(error, "diverging"), error),
    ]
    return {"words": in_words(output), "layers": layers}


def _layer(words: str, colours: str, unit: str, limits: list[float], values: NDArray[np.float64]) -> dict[str, Any]:
    """Single precision suffices: so are the fields kept."""
    ordered = np.ascontiguousarray(np.transpose(values, (2, 1, 0)), dtype="<f4")
    encoded = base64.b64encode(ordered.tobytes()).decode()
    return {"words": words, "colours": colours, "unit": unit, "limits": limits, "values": encoded, "single": True}


# The matrices of a run, as maps that a reader can explore: the numbers of `matrix.nc`, and how to read them.


MOST_MATRIX_CELLS = 1 << 18
"""Cells of a matrix with more than two axes that are embedded whole; of larger ones the middle plane is shown."""

RATIO = "ratio"
"""Diverging colours of ratios, around one on a logarithmic scale."""

LAYERS = {
    "estimate": ("estimate", "sequential"),
    "error": ("error", "diverging"),
    "refined_error": ("refined error", "diverging"),
    "absolute_error": ("mean |error|", "sequential"),
    "refined_absolute_error": ("refined mean |error|", "sequential"),
    "relative_error": ("relative error", "diverging"),
    "standard_deviation": ("standard deviation over noise", "sequential"),
    "bound": ("Cramér–Rao bound", "sequential"),
    "over_bound": ("standard deviation over the bound", RATIO),
    "refined_over_bound": ("refined: standard deviation over the bound", RATIO),
}
"""Kind of value → words for it, and the colours that suit it."""


def matrices(directory: RunDirectory, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the page needs to draw each matrix of a run, by its resolved spec, in the order of their names."""
    if not (names := directory.matrix_names()):
        return []
    quantities = of_dataset(spec["dataset"], QUANTITIES)
    return [_matrix(directory.matrices / name, name, quantities) for name in names]


MOST_MAPS = 12
"""Matrices of a data set whose numbers are in a page of several runs; a server gives further ones on demand."""


def matrices_of_runs(runs: Sequence[tuple[RunDirectory, int]]) -> list[dict[str, Any]]:
    """For each data set the matrices of all runs, each with its own axes, for maps side by side.

    runs  each with the number of its group, in the order of the groups
    Of more than `MOST_MAPS` the numbers of those are in it that come first if one of each group is taken by turns.
    """
    of_data: dict[str, list[dict[str, Any]]] = {}
    for directory, group in runs:
        names = directory.matrix_names()
        for name in names:
            data = read_json(directory.matrices / name / MATRIX_RECORD).get("dataset", name)
            title = directory.name if len(names) == 1 else f"{directory.name}: {name}"
            matrix: dict[str, Any] = {
                "run": directory.name,
                "name": name,
                "title": title,
                "group": group,
                "plane": None,
            }
            of_data.setdefault(data, []).append(matrix)
    directories = {directory.name: directory for directory, _ in runs}
    for matrices_of_data in of_data.values():
        turns: Counter[int] = Counter()
        order: list[tuple[int, int]] = []
        for matrix in matrices_of_data:
            turns[matrix["group"]] += 1
            order.append((turns[matrix["group"]], len(order)))
        for _, index in sorted(order)[:MOST_MAPS]:
            matrix = matrices_of_data[index]
            matrix["plane"] = matrix_plane(directories[matrix["run"]], matrix["name"])
    return [{"data": data, "matrices": of_data[data]} for data in sorted(of_data)]


def matrix_plane(directory: RunDirectory, name: str) -> dict[str, Any]:
    """A matrix over its first two axes, at the middle of the others, in single precision."""
    quantities = of_dataset(directory.spec()["dataset"], QUANTITIES)
    return _matrix(directory.matrices / name, name, quantities, plane=True)


def _matrix(folder: Path, name: str, quantities: Quantities, plane: bool = False) -> dict[str, Any]:
    record, cells = matrix_numbers(folder)
    views = record.get("views", ())
    axes = list(record["axes"])
    size = cells[estimate_of(outputs_among(cells.data_vars)[0])].size
    if len(axes) > 2 and (plane or size > MOST_MATRIX_CELLS):
        cells = cells.isel({other: [cells.sizes[other] // 2] for other in axes[2:]})
    fixed = dict(record["fixed"])
    if plane:
        fixed |= {other: float(cells[other].values[0]) for other in axes[2:]}
        axes = axes[:2]
    shown = [(axis, cells[axis].values, (record["axes"][axis][0], record["axes"][axis][1])) for axis in axes[:2]]
    marks = held_out_of(record, shown, fixed)
    return {
        "name": name,
        "axes": [_axis(cells, axis, record, views) for axis in axes],
        "tested": marks.tested,
        "outlined": "; ".join(marks.notes) if len(axes) > 1 else "",
        "outputs": [_output(cells, output, quantities, plane) for output in outputs_among(cells.data_vars)],
        "fixed": [
            value_in_words(in_words(key, views), value, quantity(key, quantities).unit) for key, value in fixed.items()
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


def _output(cells: xarray.Dataset, output: str, quantities: Quantities, single: bool) -> dict[str, Any]:
    """The layers of an output.

    single  with single precision, and without values that follow from the errors and the true values on an axis
    """
    layers: list[dict[str, Any]] = []
    errors = cells[f"{output}_error"]
    on_axis = errors.dims.index(output) if single and output in errors.dims else None
    truth = None if on_axis is None else (cells[output] + 0.0 * errors).transpose(*errors.dims).values
    for kind, (words, colours) in LAYERS.items():
        variable = f"{output}_{kind}"
        if variable not in cells:
            continue
        if f"{output}_bias" in cells and kind.endswith("error") and "absolute" not in kind:
            words = f"mean {words}"  # over noise realisations
        values = cells[variable].values.astype("<f8")
        follows = None if truth is None else {"estimate": truth + errors.values}.get(kind)
        if kind == "relative_error":
            periodic = PERIOD in cells[variable].attrs
            if periodic or not quantity(output, quantities).natural_zero or not np.isfinite(values).any():
                continue
            values = 100 * values
            with np.errstate(divide="ignore", invalid="ignore"):
                follows = None if truth is None else 100 * errors.values / np.abs(truth)
        unit_of_layer = "%" if kind == "relative_error" else unit(cells, variable)
        unit_of_layer = "" if unit_of_layer == "1" else unit_of_layer
        # Values before and after refinement are compared on one scale.
        ends = layers[-1]["limits"] if kind.startswith("refined") else _limits(values, colours)
        drawn = {"colours": "diverging", "logarithmic": True} if colours == RATIO else {"colours": colours}
        layers.append({"words": words, **drawn, "unit": unit_of_layer, "limits": ends, "single": single})
        if follows is not None and np.allclose(follows, values, rtol=1e-6, atol=1e-9, equal_nan=True):
            layers[-1] |= {"follows": kind, "axis": on_axis}
        else:
            packed = np.ascontiguousarray(values, dtype="<f4" if single else "<f8")
            layers[-1]["values"] = base64.b64encode(packed.tobytes()).decode()
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
