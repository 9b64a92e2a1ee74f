"""The numbers of a run that pages draw: learning curves, estimates, matrices, calibrations.

What a script draws is a frozen dataclass, of which orjson writes the fields: they are the keys that
the script reads.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
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
from qexp.base.outputs import MAIN_METRICS, PERIOD, estimate_of, outputs_among, spread_of
from qexp.base.quantities import (
    DEGREE,
    QUANTITIES,
    Quantities,
    in_words,
    number_with_unit,
    of_dataset,
    quantity,
)
from qexp.figures.curves import Folds, Lines, middle_half, over_epochs, positions
from qexp.kinds import matrix_figures
from qexp.kinds.figures import MissingNumbersError, outputs, table, truth_and_estimate, unit
from qexp.kinds.preview import value_in_words
from qexp.metrics.built_in import metric_in_words
from qexp.metrics.meaning import number, printed
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import FRAMES, MATRIX_RECORD, RunDirectory
from qexp.store.record import meaning_of

if TYPE_CHECKING:
    import xarray

BACKGROUND_COLOUR = 7
"""The colour of folds behind their median: a grey."""


# Learning curves: losses, and the validation error of each output, over epochs.


@dataclass(frozen=True)
class Series:
    """A curve of a panel, in the band of the middle half of the folds if it is their median.

    pace  seconds of an epoch on average; None for a run that has not ended
    """

    words: str
    values: list[float | None]
    run: str = ""
    colour: int = 0
    dashed: bool = False
    faint: bool = False
    band: list[list[float | None]] | None = None
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


MOST_COLOURS = 8
"""Largest number of runs whose curves are told apart by colour; with more, curves are thin."""


def lines_of(directory: RunDirectory) -> dict[str, list[dict[str, Any]]]:
    """The epochs of a run, or of each of its folds."""
    folds = {fold.name: fold.metrics() for fold in directory.all_folds()}
    return folds or {"": directory.metrics()}


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
"""Numbers of curves up to which a page has all metrics followed, and not only the main one."""


def curves_of_runs(
    of_runs: Folds, units: Mapping[str, str], all_metrics: bool = False
) -> list[Panel]:
    """A panel for the loss and one for each output of several runs; none of runs without an epoch.

    of_runs      name in the legend → the lines of a run, or those of each of its folds, whose
                 median is drawn
    all_metrics  a panel for each metric of each output, as long as they are few numbers; `metric`
                 says which
    """
    runs: dict[str, list[Lines]] = {}
    for name, folds in of_runs.items():
        for lines in filter(None, folds):
            runs.setdefault(name, []).append(thinned(lines))
    if not runs:
        return []
    all_lines = [lines for folds in runs.values() for lines in folds]
    x = positions(max(all_lines, key=len))
    if any(positions(lines) != x[: len(lines)] for lines in all_lines):
        x = list(range(1, len(x) + 1))  # programs that do not count alike
    losses = {"training": ("train", "loss"), "validation": ("validation", "loss")}
    panels = [_panel("loss", "", x, runs, losses)]
    most = MOST_NUMBERS // (len(runs) * len(x)) if all_metrics else 0
    for (output, metric), part in followed_metrics(runs, most).items():
        words = metric_in_words(metric)
        words_of_part = "training" if part == "train" else part
        title = f"{in_words(output)}: {words}, {words_of_part}"
        unit_of_panel = meaning_of(metric, ()).in_unit(units.get(output, ""))
        errors = {words_of_part: (part, output, metric)}
        panels.append(_panel(title, unit_of_panel, x, runs, errors, words))
    return [panel for panel in panels if panel.series]


def followed_metrics(runs: Folds, most: int) -> dict[tuple[str, str], str]:
    """Output and metric → the part it was followed on; only main ones if there are too many."""
    ends = [folds[0][index] for folds in runs.values() for index in (0, -1)]
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
    numbers = []
    for colour, (run, folds) in enumerate(runs.items()):
        for words, keys in parts.items():
            quartiles = _quartiles(folds, keys)
            if quartiles.size:
                numbers.append((colour, run, words, quartiles))
    end = max((quartiles.shape[1] for *_, quartiles in numbers), default=0)
    validated = any(parts[words][0] != "train" for _, _, words, _ in numbers)
    series = []
    for colour, run, words, quartiles in numbers:
        low, middle, high = (_plain(values, end) for values in quartiles)
        series.append(
            Series(
                words=f"{run} {words}".strip() if len(parts) > 1 else run or words,
                run=run,
                colour=colour,
                dashed=validated and parts[words][0] == "train",
                faint=len(runs) > MOST_COLOURS,
                values=middle,
                band=[low, high] if len(runs[run]) > 1 else None,
            )
        )
    return Panel(title, unit, x[:end], series, metric)


MOST_EPOCHS = 5000
"""Of a run that are drawn; of more, some are left out."""


def thinned(lines: Lines) -> Lines:
    each = -(-len(lines) // MOST_EPOCHS)
    if each == 1:
        return lines
    steps = positions(lines[::each])
    return [{**lines[i * each], "epoch": i + 1, "step": step} for i, step in enumerate(steps)]


def _quartiles(folds: Sequence[Lines], keys: Sequence[str]) -> Array:
    """The folds' `middle_half`, (3, epoch), up to the last epoch with a value."""
    quartiles = middle_half(over_epochs(folds, *keys))
    return quartiles[:, : np.flatnonzero(np.isfinite(quartiles[1])).max(initial=-1) + 1]


def _plain(values: Array, count: int) -> list[float | None]:
    """So many numbers of seven digits; None for NaN and after their end."""
    plain = [None if math.isnan(value) else float(f"{value:.7g}") for value in values.tolist()]
    return plain + [None] * (count - len(plain))


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
    """A panel for each measured quantity, over the time since the first; none without any."""
    timed = [line for line in lines if _moment(line) is not None]
    timed = timed[:: -(-len(timed) // MOST_EPOCHS) or 1]
    if not timed:
        return []
    moments = np.array([_moment(line) for line in timed], dtype=float)
    times = np.maximum.accumulate(moments - moments[0])  # a clock may be set back
    unit_of_time = _unit_for(times[-1], TIMES)
    x = [float(f"{moment:.7g}") for moment in times / TIMES[unit_of_time]]
    panels = []
    for key, (title, shown) in SYSTEM_CURVES.items():
        values = np.array([_finite(line.get(key)) for line in timed])
        if np.isnan(values).all():
            continue
        if shown == "B":
            shown = _unit_for(float(np.nanmax(np.abs(values))), BYTES)
            values = values / BYTES[shown]
        series = [Series(title, _plain(values, len(x)))]
        words = f"wall time ({unit_of_time})"
        panels.append(Panel(f"{title} ({shown})", shown, x, series, words=words))
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
    """A PNG file with its size [pixels], for its room in a page, and its step, if any."""

    file: str
    width: int
    height: int
    step: int | None


def figures_of(directory: RunDirectory) -> tuple[dict[str, list[FigureFile]], list[FigureFile]]:
    """The figures of a run with steps, by name and in order, and all others; not torn ones."""
    series = dict[str, list[FigureFile]]()
    others = list[FigureFile]()
    for path in sorted(directory.results.glob("figures/*.png")):
        with suppress(OSError), path.open("rb") as file:
            header = file.read(24)
            if header[12:16] != b"IHDR":
                continue
            width = int.from_bytes(header[16:20])
            height = int.from_bytes(header[20:24])
            match = STEP.fullmatch(path.stem)
            if match is None:
                others.append(FigureFile(path.name, width, height, None))
                continue
            figure = FigureFile(path.name, width, height, int(match["step"]))
            series.setdefault(in_words(match["name"]), []).append(figure)
    for figures in series.values():
        figures.sort(key=lambda figure: figure.step or 0)
    return series, others


def last_figures(directory: RunDirectory) -> list[FigureFile]:
    """The figures of a run, of those with steps the last one."""
    logged, others = figures_of(directory)
    return [*others, *(figures[-1] for figures in logged.values())]


# Pictures that runs have saved, by kind, for a grid of several runs.


MOST_BYTES = 1 << 20
"""Size of pictures up to which a report of several runs has them all; a server has any number."""


@dataclass(frozen=True)
class PicturesOfRun:
    """The pictures of a kind that a run has, in the order of their steps.

    source  the last picture itself, or None if a server has all of them
    """

    run: str
    source: str | None
    files: list[str]
    steps: list[int | None]


@dataclass(frozen=True)
class PicturesOfRuns:
    """The pictures of a kind, of several runs."""

    words: str
    runs: list[PicturesOfRun]


def pictures_of_runs(directories: Sequence[RunDirectory], embedded: bool) -> list[PicturesOfRuns]:
    """For each kind of picture that several of the runs have, the runs that have it.

    embedded  with the last pictures themselves, or none if they are too large together
    """
    kinds: dict[str, list[tuple[RunDirectory, list[FigureFile]]]] = {}
    for directory in directories:
        logged, others = figures_of(directory)
        alone = {in_words(Path(figure.file).stem): [figure] for figure in others}
        for words, figures in (alone | logged).items():
            kinds.setdefault(words, []).append((directory, figures))
    kinds = {words: runs for words, runs in kinds.items() if len(runs) > 1}
    if embedded:
        paths = [_path(*run) for runs in kinds.values() for run in runs]
        if sum(path.stat().st_size for path in paths) > MOST_BYTES:
            return []

    def of_run(directory: RunDirectory, figures: list[FigureFile]) -> PicturesOfRun:
        source = None
        if embedded:
            content = base64.b64encode(_path(directory, figures).read_bytes()).decode()
            source = f"data:image/png;base64,{content}"
        files = [figure.file for figure in figures]
        steps = [figure.step for figure in figures]
        return PicturesOfRun(directory.name, source, files, steps)

    return [PicturesOfRuns(words, [of_run(*run) for run in runs]) for words, runs in kinds.items()]


def _path(directory: RunDirectory, figures: Sequence[FigureFile]) -> Path:
    """The last figure's."""
    return directory.results / "figures" / figures[-1].file


# Estimates against true values: rows, spectra and samples as points, fields as maps of whole
# frames.


MOST_POINTS = 4000
"""Samples that are drawn at most, evenly over the file."""

MOST_CELLS = 300_000
"""Values of fields that are embedded for each folder at most; of more frames some are left out."""


@dataclass(frozen=True)
class Points:
    """Samples by true values and estimates, with an ensemble's spread and what identifies each."""

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
    names = outputs(directory, predictions)
    return [
        _points(predictions, output, directory.part, names)
        for output in names
        if predictions[output].ndim == 1
    ]


def _points(predictions: xarray.Dataset, output: str, part: str, names: list[str]) -> Points:
    count = predictions[output].size
    each = max(1, -(-count // MOST_POINTS))
    (dimension,) = predictions[output].dims
    chosen = predictions.isel({dimension: slice(None, None, each)})
    truth, estimate = truth_and_estimate(chosen, output)
    title = f"{in_words(output)}: {part} part"
    if each > 1:
        title += f", {len(truth):,} of {count:,} samples"
    spread = np.array([])
    if spread_of(output) in chosen:
        spread = chosen[spread_of(output)].values
    return Points(
        title=title,
        words=in_words(output),
        unit=unit(chosen, output),
        truth=truth.astype(float).tolist(),
        estimate=estimate.astype(float).tolist(),
        spread=spread.astype(float).tolist() if np.isfinite(spread).any() else [],
        samples=_names(chosen, output, names),
    )


def _names(predictions: xarray.Dataset, output: str, outputs: list[str]) -> list[str]:
    """What identifies samples: texts, their number, then what else varies, as depth in a core."""
    (dimension,) = map(str, predictions[output].dims)
    aside = {f"{name}{ending}" for name in outputs for ending in ("", "_estimate", "_spread")}
    texts = list[Any]()
    numbers = list[Any]()
    for name, variable in predictions.data_vars.items():
        values = variable.values
        if variable.dims != (dimension,) or name in aside:
            continue
        if values.dtype.kind in "UOST":
            texts.append(values.astype(str))
        elif values.dtype.kind == "f" and len(np.unique(values)) > 1:
            words = in_words(str(name))
            unit_of_column = unit(predictions, str(name))
            shown = [number_with_unit(printed(number(value)), unit_of_column) for value in values]
            numbers.append([f"{words} {text}" for text in shown])
    samples = [f"{dimension} {number}" for number in predictions[dimension].values]
    return [", ".join(words) for words in zip(*texts, samples, *numbers, strict=True)]


@dataclass(frozen=True)
class Axis:
    """The centres of cells, the bands held out, and whether ticks are parts of a turn."""

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
    """The test frames that a run keeps: maps of truth, estimate and error; one per folder."""
    for path in sorted((directory.results / FRAMES).glob("*.nc")):
        frames = table(path)
        names = outputs(directory, frames)
        most = max(1, MOST_CELLS // (3 * len(names) * frames.sizes["x"] * frames.sizes["y"]))
        if frames.sizes["frame"] > most:
            chosen = np.linspace(0, frames.sizes["frame"] - 1, most).round().astype(int)
            frames = frames.isel(frame=chosen)
        layers = [layer for output in names for layer in _layers_of_frames(frames, output)]
        yield Maps(path.stem, list(_axes_of_frames(frames)), layers)


def _axes_of_frames(frames: xarray.Dataset) -> Iterator[Axis]:
    left, right, bottom, top = map(float, frames.attrs["extent"])
    unit_of_extent = str(frames.attrs["extent_unit"])
    for name, low, high in (("x", left, right), ("y", bottom, top)):
        cells = frames.sizes[name]
        step = (high - low) / cells
        centres = low + (np.arange(cells) + 0.5) * step
        yield Axis(name, unit_of_extent, centres.tolist(), (low, high))
    when = "time" if "time" in frames.coords else "frame"
    moments = frames[when].values.astype(float).tolist()
    yield Axis(when, unit(frames, when), moments, (moments[0], moments[-1]))


def _layers_of_frames(frames: xarray.Dataset, output: str) -> Iterator[Layer]:
    """Single precision suffices: so are the fields kept."""
    truth, estimate = (values.astype(np.float64) for values in truth_and_estimate(frames, output))
    error = estimate - truth
    ends = _limits(np.concatenate([truth.ravel(), estimate.ravel()]), "sequential")
    of_error = _limits(error, "diverging")
    name = in_words(output)
    unit_of_output = unit(frames, output)
    for words, values in {"true": truth, "estimate": estimate, "error": error}.items():
        colours = "diverging" if words == "error" else "sequential"
        limits = of_error if words == "error" else ends
        packed = _packed(np.transpose(values, (2, 1, 0)), single=True)
        yield Layer(
            name,
            words,
            colours,
            unit_of_output,
            limits,
            single=True,
            values=packed,
        )


def _packed(values: Array, single: bool) -> str:
    content = np.ascontiguousarray(values, dtype="<f4" if single else "<f8").tobytes()
    return base64.b64encode(content).decode()


# The matrices of a run, as maps that a reader can explore: the numbers of `matrix.nc`, and how to
# read them.


MOST_MATRIX_CELLS = 1 << 18
"""Cells of a matrix of over two axes that are embedded whole; else the middle plane is."""

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
"""Matrices of a data set with numbers in a page of several runs; a server gives further ones."""


@dataclass(frozen=True)
class MatrixOfRun:
    """A matrix beside those of others; of too many, some have no plane: a server has it."""

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
        earlier, turns = Counter[int](), []  # how many of its group come before each
        for matrix in several:
            turns.append(earlier[matrix.group])
            earlier[matrix.group] += 1
        for index in sorted(range(len(several)), key=turns.__getitem__)[:MOST_MAPS]:
            matrix = several[index]
            plane = matrix_plane(directories[matrix.run], matrix.name)
            several[index] = replace(matrix, plane=plane)
    return dict(sorted(of_data.items()))


def matrix_plane(directory: RunDirectory, name: str) -> Maps:
    """A matrix over its first two axes, at the middle of the others, in single precision."""
    return _matrix(directory, name, plane=True)


def _matrix(directory: RunDirectory, name: str, plane: bool = False) -> Maps:
    quantities = of_dataset(directory.spec()["dataset"], QUANTITIES)
    record, cells = matrix_figures.numbers_of(directory.matrices / name)
    views = record.get("views", ())
    axes = list(record["axes"])
    names = outputs_among(cells.data_vars)
    if len(axes) > 2 and (plane or cells[estimate_of(names[0])].size > MOST_MATRIX_CELLS):
        cells = cells.isel({other: [cells.sizes[other] // 2] for other in axes[2:]})
    fixed = dict(record["fixed"])
    if plane:
        fixed |= {other: float(cells[other].values[0]) for other in axes[2:]}
        axes = axes[:2]
    ranges = record["axes"]
    shown = [(axis, cells[axis].values, (ranges[axis][0], ranges[axis][1])) for axis in axes]
    marks = matrix_figures.held_out_of(record, shown, fixed)
    axes_of_maps = []
    for (axis, centres, ends), bands in zip(shown, marks.bands, strict=True):
        words = f"true {in_words(axis, views)}"
        unit_of_axis = unit(cells, axis)
        axes_of_maps.append(
            Axis(
                words,
                unit_of_axis,
                centres.tolist(),
                ends,
                bands,
                turn=unit_of_axis == DEGREE,
            )
        )
    fixed_in_words = [
        value_in_words(in_words(key, views), value, quantity(key, quantities).unit)
        for key, value in fixed.items()
    ]
    return Maps(
        name=name,
        axes=axes_of_maps,
        layers=[layer for output in names for layer in _layers(cells, output, quantities, plane)],
        fixed=fixed_in_words,
        blank=record.get("why_left_out", ""),
        tested=marks.tested,
        outlined=replace(marks, bands=marks.bands[:2]).note if len(axes) > 1 else "",
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
    axis = None
    truth = None
    if single and output in errors.dims:
        axis = errors.dims.index(output)
        truth = (cells[output] + 0.0 * errors).transpose(*errors.dims).values
    for kind, (words, colours) in LAYERS.items():
        variable = f"{output}_{kind}"
        if variable not in cells:
            continue
        if f"{output}_bias" in cells and kind.endswith("error") and "absolute" not in kind:
            words = f"mean {words}"  # over noise realisations
        values = cells[variable].values.astype("<f8")
        follows = None if truth is None else {"estimate": truth + errors.values}.get(kind)
        unit_of_layer = unit(cells, variable)
        if kind == "relative_error":
            if PERIOD in cells[variable].attrs or not np.isfinite(values).any():
                continue
            if not quantity(output, quantities).natural_zero:
                continue
            values = 100 * values
            unit_of_layer = "%"
            with np.errstate(divide="ignore", invalid="ignore"):
                follows = None if truth is None else 100 * errors.values / np.abs(truth)
        unit_of_layer = "" if unit_of_layer == "1" else unit_of_layer
        # Values before and after refinement are compared on one scale.
        limits = layers[-1].limits if kind.startswith("refined") else _limits(values, colours)
        layer = partial(
            Layer,
            in_words(output),
            words,
            colours,
            unit_of_layer,
            limits,
            single,
        )
        close = partial(np.allclose, rtol=1e-6, atol=1e-9, equal_nan=True)
        if follows is not None and close(follows, values):
            layers.append(layer(follows=kind, axis=axis))
        else:
            layers.append(layer(values=_packed(values, single)))
    return layers


def _limits(values: Array, colours: str) -> list[float]:
    """The ends of a colour scale, as in the figures of matrices."""
    if colours == "diverging":
        half = matrix_figures.half_width(values)
        return [-half, half]
    if colours == "ratio":
        return list(matrix_figures.around_one(values))
    low, high = map(float, matrix_figures.span(values))
    return [low, high if high > low else low + 1e-12]
