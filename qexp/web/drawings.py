"""The numbers of a run that pages draw: learning curves, estimates, matrices, calibrations.

What a script draws is a frozen dataclass, of which orjson writes the fields: they are the keys that
the script reads.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base.arrays import Array
from qexp.base.formats import read_json
from qexp.base.outputs import PERIOD, estimate_of, outputs_among, spread_of
from qexp.base.quantities import (
    DEGREE,
    QUANTITIES,
    Quantities,
    in_words,
    number_with_unit,
    of_dataset,
    quantity,
)
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
from qexp.metrics.meaning import MAIN_METRICS, number, printed
from qexp.results.calibration import calibrations_of
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import FRAMES, MATRIX_RECORD, RunDirectory
from qexp.store.record import meaning_of
from qexp.trust.figures import CALIBRATION_DRAWINGS, content_of
from qexp.trust.matrix_figures import (
    around_one,
    half_width,
    held_out_of,
    numbers_of as matrix_numbers,
    span,
)
from qexp.web.html import Drawn, drawn

if TYPE_CHECKING:
    import xarray

BACKGROUND_COLOUR = 7
"""The colour of folds behind their median: a grey."""


def calibration_drawings(directory: RunDirectory) -> list[Drawn]:
    """None before the run was calibrated; those whose numbers are gone are left out."""
    drawings, calibrations = list[Drawn](), calibrations_of(directory).values()
    for calibration in calibrations:
        kind = f" ({calibration.kind_in_words})" if len(calibrations) > 1 else ""
        with suppress(MissingNumbersError):
            content = content_of(directory, calibration)
            drawings += [
                drawn(f"{words}{kind}", partial(draw, *content))
                for words, draw in CALIBRATION_DRAWINGS.items()
            ]
    return drawings


def training_drawn(directory: RunDirectory) -> list[Drawn]:
    """The learning curves of a run or of its folds, for where no script can run; none before the
    first epoch.
    """
    if not any(lines_of(directory).values()):
        return []
    folds = bool(directory.all_folds())
    return [
        drawn("learning curves", partial(fold_curves_of if folds else learning_curve_of, directory))
    ]


# Learning curves: losses, and the validation error of each output, over epochs.


@dataclass(frozen=True)
class Series:
    """A curve of a panel, in the band of the middle half of the folds if it is their median.

    pace  seconds of an epoch on average; None for a run that has not ended
    """

    words: str
    run: str
    colour: int
    dashed: bool
    faint: bool
    values: list[float | None]
    band: list[list[float | None]] | None
    pace: float | None = None


@dataclass(frozen=True)
class Panel:
    """Curves over epochs; with a metric, readers choose the panels of one."""

    title: str
    unit: str
    x: Sequence[float]
    series: list[Series]
    metric: str = ""
    words: str = "epoch"


Folds = Mapping[str, Sequence[Lines]]
"""Name of a run → the lines of each of its folds."""

MOST_COLOURS = 8
"""The largest number of runs whose curves are distinguished by colour; with more, curves are
thin.
"""


def lines_of(directory: RunDirectory) -> dict[str, list[dict[str, Any]]]:
    """The epochs of a run, or of each of its folds."""
    return {fold.name: fold.metrics() for fold in directory.all_folds()} or {
        "": directory.metrics()
    }


def curves(
    of_folds: Mapping[str, Lines], units: Mapping[str, str], all_metrics: bool = False
) -> list[Panel]:
    """A panel for the loss and one for each output of one run; of many folds, their median before
    all of them.

    of_folds     fold → its lines; with an empty name those of a run without folds
    units        output → its unit
    all_metrics  as in `curves_of_runs`
    """
    folds = {name: [lines] for name, lines in of_folds.items() if lines}
    if len(folds) <= MOST_COLOURS:
        return curves_of_runs(folds, units, all_metrics)
    median = f"median of {len(folds)} folds"
    panels = curves_of_runs({**folds, median: [lines for (lines,) in folds.values()]}, units)

    def behind_median(series: Series) -> Series:
        is_median = series.run == median
        colour = int(series.dashed) if is_median else BACKGROUND_COLOUR
        return replace(series, colour=colour, faint=not is_median, band=None)

    return [replace(panel, series=list(map(behind_median, panel.series))) for panel in panels]


MOST_NUMBERS = 60_000
"""Numbers of curves up to which a page has all metrics that were followed, and not the main one
alone.
"""


def curves_of_runs(
    of_runs: Folds, units: Mapping[str, str], all_metrics: bool = False
) -> list[Panel]:
    """The same for several runs. Those without an epoch are left out.

    of_runs      name in the legend → the lines of a run, or those of each of its folds, whose
                 median is drawn
    all_metrics  a panel for each metric of each output, as long as they are few numbers; `metric`
                 says which
    """
    runs = {
        name: trained
        for name, folds in of_runs.items()
        if (trained := [thinned(one) for one in folds if one])
    }
    if not runs:
        return []
    all_lines = [lines for folds in runs.values() for lines in folds]
    x = positions(max(all_lines, key=len))
    if any(positions(lines) != x[: len(lines)] for lines in all_lines):
        x = list(range(1, len(x) + 1))  # programs that do not count alike
    panels = [
        _panel(
            "loss",
            "",
            x,
            runs,
            {"training": ("train", "loss"), "validation": ("validation", "loss")},
        )
    ]
    most = MOST_NUMBERS // (len(runs) * len(x)) if all_metrics else 0
    for (output, metric), part in followed_metrics(runs, most).items():
        words, words_of_part = metric_in_words(metric), "training" if part == "train" else part
        title = f"{in_words(output)}: {words}, {words_of_part}"
        unit_of_panel = meaning_of(metric, ()).in_unit(units.get(output, ""))
        panels.append(
            _panel(title, unit_of_panel, x, runs, {words_of_part: (part, output, metric)}, words)
        )
    return [panel for panel in panels if panel.series]


def followed_metrics(runs: Folds, most: int) -> dict[tuple[str, str], str]:
    """Output and metric → the part on which it was followed; the main metrics first, and of more
    than `most` alone.
    """
    ends = [folds[0][at] for folds in runs.values() for at in (0, -1)]
    followed = {
        (output, metric): part
        for part in ("train", "validation")  # the former of programs of others that have no other
        for line in ends
        for output, metrics in line[part].items()
        if output not in ("loss", "losses")
        for metric in metrics
    }
    main = {pair: part for pair, part in followed.items() if pair[1] in MAIN_METRICS}
    if len(followed) > most:
        return main or dict([*followed.items()][:MOST_COLOURS])
    return main | followed


def _panel(
    title: str,
    unit: str,
    x: Sequence[float],
    runs: Folds,
    parts: Mapping[str, Sequence[str]],
    metric: str = "",
) -> Panel:
    """The curves that have values, up to the last one: other outputs may have been followed for
    longer.

    parts  words → the keys of lines that lead to the values
    """
    numbers = {
        (run, words): quartiles
        for run, folds in runs.items()
        for words, keys in parts.items()
        if (quartiles := _over(folds, keys)).size
    }
    end = max((quartiles.shape[1] for quartiles in numbers.values()), default=0)
    validated = any(parts[words][0] != "train" for _, words in numbers)
    colours = {run: colour for colour, run in enumerate(runs)}
    series = [
        Series(
            words=f"{run} {words}".strip() if len(parts) > 1 else run or words,
            run=run,
            colour=colours[run],
            dashed=validated and parts[words][0] == "train",
            faint=len(runs) > MOST_COLOURS,
            values=_plain(middle, end),
            band=[_plain(low, end), _plain(high, end)] if len(runs[run]) > 1 else None,
        )
        for (run, words), (low, middle, high) in numbers.items()
    ]
    return Panel(title, unit, x[:end], series, metric)


MOST_EPOCHS = 5000
"""Of a run that are drawn; of more, some are left out."""


def thinned(lines: Lines) -> Lines:
    each = -(-len(lines) // MOST_EPOCHS)
    at = positions(lines[::each])
    return (
        lines
        if each == 1
        else [{**lines[i * each], "epoch": i + 1, "step": step} for i, step in enumerate(at)]
    )


def _over(folds: Sequence[Lines], keys: Sequence[str]) -> Array:
    """Their middle half and its median at each epoch, (3, epoch), up to the last with a value; see
    `middle_half`.
    """
    quartiles = middle_half(over_epochs(folds, *keys))
    return quartiles[:, : np.flatnonzero(np.isfinite(quartiles[1])).max(initial=-1) + 1]


def _plain(values: Array, count: int) -> list[float | None]:
    """So many numbers; None after their end."""
    known = [None if np.isnan(value) else float(f"{value:.7g}") for value in values.tolist()]
    return known + [None] * (count - len(known))


# What a run took of its machine, over time.


SYSTEM_CURVES = {
    "cpu": ("CPU, of one core", "%"),
    "memory": ("memory", "B"),
    "gpu": ("GPU", "%"),
    "gpu_memory": ("GPU memory", "B"),
    "disk_free": ("free on disk", "B"),
}
"""Key of a measurement → what it is, and its unit."""

BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
TIMES = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
"""Units, each used from twice its size on."""


def system_panels(lines: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """A panel for each quantity that was measured, over the time since the first measurement; none
    without any.
    """
    timed = [(at, line) for line in lines if (at := _moment(line)) is not None]
    timed = timed[:: -(-len(timed) // MOST_EPOCHS) or 1]
    if not timed:
        return []
    since = np.maximum.accumulate([at - timed[0][0] for at, _ in timed])  # a clock may be set back
    unit_of_time = _unit_for(since[-1], TIMES)
    x = [float(f"{at:.7g}") for at in since / TIMES[unit_of_time]]
    panels = []
    for key, (title, unit_of_key) in SYSTEM_CURVES.items():
        values = np.array([_finite(line.get(key)) for _, line in timed])
        if np.isnan(values).all():
            continue
        shown = (
            _unit_for(float(np.nanmax(np.abs(values))), BYTES)
            if unit_of_key == "B"
            else unit_of_key
        )
        series = Series(
            title, "", 0, False, False, _plain(values / BYTES.get(shown, 1.0), len(x)), None
        )
        panels.append(
            Panel(f"{title} ({shown})", shown, x, [series], words=f"wall time ({unit_of_time})")
        )
    return panels


def _moment(line: Mapping[str, Any]) -> float | None:
    with suppress(TypeError, ValueError, KeyError):
        return datetime.fromisoformat(line["time"]).timestamp()
    return None


def _finite(value: Any) -> float:
    """A number; NaN for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _unit_for(largest: float, units: Mapping[str, float]) -> str:
    return [name for name, size in units.items() if largest >= 2 * size or size == 1.0][-1]


# Figures that a run logs while it trains.


STEP = re.compile(r"(?P<name>.+)_(?P<step>\d{6,})")
"""The stem of a figure of a step, such as `residual_000120`."""


@dataclass(frozen=True)
class FigureFile:
    """A PNG file with its size [pixels], so that a page has its room before it comes, and its step,
    if it has one.
    """

    file: str
    width: int
    height: int
    step: int | None


def figures_of(directory: RunDirectory) -> tuple[dict[str, list[FigureFile]], list[FigureFile]]:
    """The figures of a run that have a step, by name and in order, and all others. Torn ones are
    left out.
    """
    series, others = dict[str, list[FigureFile]](), list[FigureFile]()
    for path in sorted(directory.results.glob("figures/*.png")):
        with suppress(OSError), path.open("rb") as file:
            header = file.read(24)
            if header[12:16] != b"IHDR":
                continue
            width, height = (int.from_bytes(header[at : at + 4]) for at in (16, 20))
            of_step = STEP.fullmatch(path.stem)
            figure = FigureFile(path.name, width, height, int(of_step["step"]) if of_step else None)
            (series.setdefault(in_words(of_step["name"]), []) if of_step else others).append(figure)
    return {
        name: sorted(of_name, key=lambda one: one.step or 0) for name, of_name in series.items()
    }, others


# Pictures that runs have saved, by kind, for a grid of several runs.


MOST_BYTES = 1 << 20
"""Size of pictures up to which a report of several runs has them all; the browser shows any number
on demand.
"""


@dataclass(frozen=True)
class PicturesOfRuns:
    """The pictures of a kind: names of runs with what they have, or None if a server has it."""

    file: str
    words: str
    runs: list[tuple[str, str | None]]


def pictures_of_runs(directories: Sequence[RunDirectory], embedded: bool) -> list[PicturesOfRuns]:
    """For each kind of picture that several of the runs have, the runs that have it.

    embedded  with the pictures themselves, or none if they are too large together
    """
    kinds: dict[str, list[tuple[str, Path]]] = {}
    for directory in directories:
        logged, others = figures_of(directory)
        for figure in [*others, *(of_name[-1] for of_name in logged.values())]:
            kinds.setdefault(figure.file, []).append(
                (directory.name, directory.results / "figures" / figure.file)
            )
    kinds = {kind: of_runs for kind, of_runs in kinds.items() if len(of_runs) > 1}
    if (
        embedded
        and sum(path.stat().st_size for of_runs in kinds.values() for _, path in of_runs)
        > MOST_BYTES
    ):
        return []

    def source(path: Path) -> str | None:
        return (
            f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
            if embedded
            else None
        )

    return [
        PicturesOfRuns(
            kind, in_words(Path(kind).stem), [(run, source(path)) for run, path in of_runs]
        )
        for kind, of_runs in kinds.items()
    ]


# Estimates against true values: rows, spectra and samples as points, fields as maps of whole
# frames.


MOST_POINTS = 4000
"""Samples that are drawn at most, evenly over the file."""

MOST_CELLS = 300_000
"""Values of fields that are embedded for each folder at most; of more frames some are left out."""


@dataclass(frozen=True)
class Points:
    """Samples by their true values and estimates, with the spread of an ensemble and what
    identifies each.
    """

    title: str
    words: str
    unit: str
    truth: list[float]
    estimate: list[float]
    spread: list[float]
    samples: list[str]


def points(directory: RunDirectory) -> list[Points]:
    """A panel per output of the test samples; none for runs without a table of them."""
    try:
        predictions = table(directory.results / TEST_PREDICTIONS)
    except MissingNumbersError:
        return []
    names = outputs(predictions)
    return [
        _points(predictions, output, directory.part, names)
        for output in names
        if predictions[output].ndim == 1
    ]


def _points(predictions: xarray.Dataset, output: str, part: str, names: list[str]) -> Points:
    truth, estimate = truth_and_estimate(predictions, output)
    each = max(1, -(-len(truth) // MOST_POINTS))
    note = f", {len(truth[::each]):,} of {len(truth):,} samples" if each > 1 else ""
    spread = (
        predictions[spread_of(output)].values[::each]
        if spread_of(output) in predictions
        else np.array([])
    )
    return Points(
        title=f"{in_words(output)}: {part} part{note}",
        words=in_words(output),
        unit=unit(predictions, output),
        truth=truth[::each].astype(float).tolist(),
        estimate=estimate[::each].astype(float).tolist(),
        spread=spread.astype(float).tolist() if np.isfinite(spread).any() else [],
        samples=_names(
            predictions.isel({predictions[output].dims[0]: slice(None, None, each)}), output, names
        ),
    )


def _names(predictions: xarray.Dataset, output: str, outputs: list[str]) -> list[str]:
    """What identifies each sample: its texts, then its number, then what else varies, such as the
    depth in a core.
    """
    (dimension,) = map(str, predictions[output].dims)
    aside = {f"{name}{ending}" for name in outputs for ending in ("", "_estimate", "_spread")}
    others = {
        str(name): values.values
        for name, values in predictions.data_vars.items()
        if values.dims == (dimension,)
    }
    others = {name: values for name, values in others.items() if name not in aside}
    columns: list[Any] = [
        values.astype(str) for values in others.values() if values.dtype.kind in "UOST"
    ]
    columns.append([f"{dimension} {number}" for number in predictions[dimension].values])
    for name, values in others.items():
        if values.dtype.kind == "f" and len(np.unique(values)) > 1:
            unit_of_column = unit(predictions, name)
            columns.append(
                [
                    f"{in_words(name)} {number_with_unit(printed(number(value)), unit_of_column)}"
                    for value in values
                ]
            )
    return [", ".join(words) for words in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Axis:
    """The centres of its cells, the bands that were held out, and whether its ticks are parts of a
    turn.
    """

    words: str
    unit: str
    centres: list[float]
    ends: tuple[float, float]
    bands: Sequence[tuple[float, float]] = ()
    turn: bool = False


@dataclass(frozen=True)
class Layer:
    """A kind of value of an output in all cells.

    colours  `sequential`, `diverging` around zero, or `ratio`: diverging around one on a
             logarithmic scale
    values   in base 64, over the axes in their order: little-endian numbers of eight bytes, or of
             four if `single`
    follows  in place of values: `estimate` or `relative_error`, from the errors and the true values
             on an axis
    """

    output: str
    words: str
    colours: str
    unit: str
    limits: list[float]
    single: bool
    values: str = ""
    follows: str = ""
    axis: int | None = None


@dataclass(frozen=True)
class Maps:
    """Layers over two axes or more: a matrix, or test frames.

    fixed     the values of all other variables, in words
    blank     why some cells have no values
    tested    whether test samples have the values of all other variables
    outlined  what the outlines mean
    """

    name: str
    axes: list[Axis]
    layers: list[Layer]
    fixed: Sequence[str] = ()
    blank: str = ""
    tested: bool = False
    outlined: str = ""


def fields(directory: RunDirectory) -> Iterator[Maps]:
    """The test frames that the run keeps, as maps of true values, estimates and errors: one for
    each folder.
    """
    for path in sorted((directory.results / FRAMES).glob("*.nc")):
        frames = table(path)
        names = outputs(frames)
        most = max(1, MOST_CELLS // (3 * len(names) * frames.sizes["x"] * frames.sizes["y"]))
        if frames.sizes["frame"] > most:
            frames = frames.isel(
                frame=np.linspace(0, frames.sizes["frame"] - 1, most).round().astype(int)
            )
        layers = [layer for output in names for layer in _layers_of_frames(frames, output)]
        yield Maps(path.stem, list(_axes_of_frames(frames)), layers)


def _axes_of_frames(frames: xarray.Dataset) -> Iterator[Axis]:
    left, right, bottom, top = map(float, frames.attrs["extent"])
    for name, low, high in (("x", left, right), ("y", bottom, top)):
        cells = frames.sizes[name]
        centres = (low + (np.arange(cells) + 0.5) * (high - low) / cells).tolist()
        yield Axis(name, str(frames.attrs["extent_unit"]), centres, (low, high))
    when = "time" if "time" in frames.coords else "frame"
    moments = frames[when].values.astype(float).tolist()
    yield Axis(when, unit(frames, when), moments, (moments[0], moments[-1]))


def _layers_of_frames(frames: xarray.Dataset, output: str) -> Iterator[Layer]:
    """Single precision suffices: so are the fields kept."""
    truth, estimate = (values.astype(np.float64) for values in truth_and_estimate(frames, output))
    error = estimate - truth
    ends = _limits(np.concatenate([truth.ravel(), estimate.ravel()]), "sequential")
    of_error = _limits(error, "diverging")
    for words, values in {"true": truth, "estimate": estimate, "error": error}.items():
        colours, limits = ("diverging", of_error) if words == "error" else ("sequential", ends)
        packed = _packed(np.transpose(values, (2, 1, 0)), single=True)
        yield Layer(
            in_words(output),
            words,
            colours,
            unit(frames, output),
            limits,
            single=True,
            values=packed,
        )


def _packed(values: Array, single: bool) -> str:
    return base64.b64encode(
        np.ascontiguousarray(values, dtype="<f4" if single else "<f8").tobytes()
    ).decode()


# The matrices of a run, as maps that a reader can explore: the numbers of `matrix.nc`, and how to
# read them.


MOST_MATRIX_CELLS = 1 << 18
"""Cells of a matrix with more than two axes that are embedded whole; of larger ones the middle
plane is shown.
"""

LAYERS = {
    "estimate": ("estimate", "sequential"),
    "error": ("error", "diverging"),
    "refined_error": ("refined error", "diverging"),
    "absolute_error": ("mean |error|", "sequential"),
    "refined_absolute_error": ("refined mean |error|", "sequential"),
    "relative_error": ("relative error", "diverging"),
    "standard_deviation": ("standard deviation over noise", "sequential"),
    "bound": ("Cramér–Rao bound", "sequential"),
    "over_bound": ("standard deviation over the bound", "ratio"),
    "refined_over_bound": ("refined: standard deviation over the bound", "ratio"),
}
"""Kind of value → words for it, and the colours that suit it."""


def matrices(directory: RunDirectory) -> list[Maps]:
    """What the page needs to draw each matrix of a run, in the order of their names."""
    return [_matrix(directory, name) for name in directory.matrix_names()]


MOST_MAPS = 12
"""Matrices of a data set whose numbers are in a page of several runs; a server gives further ones
on demand.
"""


@dataclass(frozen=True)
class MatrixOfRun:
    """A matrix beside those of others; of too many, some have no plane: a server is asked for
    it.
    """

    run: str
    name: str
    title: str
    group: int
    plane: Maps | None = None


def matrices_of_runs(runs: Sequence[tuple[RunDirectory, int]]) -> dict[str, list[MatrixOfRun]]:
    """For each data set the matrices of all runs, each with its own axes, for maps side by side.

    runs  each with the number of its group, in the order of the groups
    Of more than `MOST_MAPS` the numbers of those are in it that come first if one of each group is
    taken by turns.
    """
    of_data: dict[str, list[MatrixOfRun]] = {}
    for directory, group in runs:
        names = directory.matrix_names()
        for name in names:
            data = read_json(directory.matrices / name / MATRIX_RECORD).get("dataset", name)
            title = directory.name if len(names) == 1 else f"{directory.name}: {name}"
            of_data.setdefault(data, []).append(MatrixOfRun(directory.name, name, title, group))
    directories = {directory.name: directory for directory, _ in runs}
    for several in of_data.values():
        turns = [
            [matrix.group for matrix in several[:at]].count(own.group)
            for at, own in enumerate(several)
        ]
        for at in sorted(range(len(several)), key=turns.__getitem__)[:MOST_MAPS]:
            own = several[at]
            several[at] = replace(own, plane=matrix_plane(directories[own.run], own.name))
    return dict(sorted(of_data.items()))


def matrix_plane(directory: RunDirectory, name: str) -> Maps:
    """A matrix over its first two axes, at the middle of the others, in single precision."""
    return _matrix(directory, name, plane=True)


def _matrix(directory: RunDirectory, name: str, plane: bool = False) -> Maps:
    quantities = of_dataset(directory.spec()["dataset"], QUANTITIES)
    record, cells = matrix_numbers(directory.matrices / name)
    views = record.get("views", ())
    axes, names = list(record["axes"]), outputs_among(cells.data_vars)
    if len(axes) > 2 and (plane or cells[estimate_of(names[0])].size > MOST_MATRIX_CELLS):
        cells = cells.isel({other: [cells.sizes[other] // 2] for other in axes[2:]})
    fixed = dict(record["fixed"])
    if plane:
        fixed |= {other: float(cells[other].values[0]) for other in axes[2:]}
        axes = axes[:2]
    shown = [
        (axis, cells[axis].values, (record["axes"][axis][0], record["axes"][axis][1]))
        for axis in axes
    ]
    marks = held_out_of(record, shown, fixed)
    axes_of_maps = []
    for (axis, centres, ends), bands in zip(shown, marks.bands, strict=True):
        words, unit_of_axis = f"true {in_words(axis, views)}", unit(cells, axis)
        axes_of_maps.append(
            Axis(words, unit_of_axis, centres.tolist(), ends, bands, turn=unit_of_axis == DEGREE)
        )
    return Maps(
        name=name,
        axes=axes_of_maps,
        layers=[layer for output in names for layer in _layers(cells, output, quantities, plane)],
        fixed=[
            value_in_words(in_words(key, views), value, quantity(key, quantities).unit)
            for key, value in fixed.items()
        ],
        blank=record.get("why_left_out", ""),
        tested=marks.tested,
        outlined="; ".join(replace(marks, bands=marks.bands[:2]).notes) if len(axes) > 1 else "",
    )


def _layers(
    cells: xarray.Dataset, output: str, quantities: Quantities, single: bool
) -> list[Layer]:
    """The layers of an output.

    single  with single precision, and without values that follow from the errors and the true
            values on an axis
    """
    layers: list[Layer] = []
    errors = cells[f"{output}_error"]
    on_axis = errors.dims.index(output) if single and output in errors.dims else None
    truth = (
        None if on_axis is None else (cells[output] + 0.0 * errors).transpose(*errors.dims).values
    )
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
            if (
                periodic
                or not quantity(output, quantities).natural_zero
                or not np.isfinite(values).any()
            ):
                continue
            values = 100 * values
            with np.errstate(divide="ignore", invalid="ignore"):
                follows = None if truth is None else 100 * errors.values / np.abs(truth)
        unit_of_layer = "%" if kind == "relative_error" else unit(cells, variable)
        unit_of_layer = "" if unit_of_layer == "1" else unit_of_layer
        # Values before and after refinement are compared on one scale.
        limits = layers[-1].limits if kind.startswith("refined") else _limits(values, colours)
        layer = partial(Layer, in_words(output), words, colours, unit_of_layer, limits, single)
        if follows is not None and np.allclose(
            follows, values, rtol=1e-6, atol=1e-9, equal_nan=True
        ):
            layers.append(layer(follows=kind, axis=on_axis))
        else:
            layers.append(layer(values=_packed(values, single)))
    return layers


def _limits(values: Array, colours: str) -> list[float]:
    """The ends of a colour scale, as in the figures of matrices."""
    if colours == "diverging":
        half = half_width(values)
        return [-half, half]
    if colours == "ratio":
        return list(around_one(values))
    low, high = map(float, span(values))
    return [low, high if high > low else low + 1e-12]
