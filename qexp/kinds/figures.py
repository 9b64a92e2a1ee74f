"""The figures of a run, drawn from the files in its directory, without torch."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base import files, formats
from qexp.base.outputs import (
    PERIOD,
    Classes,
    Number,
    classes_of,
    estimate_of,
    high_of,
    low_of,
    output_in,
    outputs_among,
)
from qexp.base.quantities import in_words, label, nearest, typeset
from qexp.errors import QexpError, hint
from qexp.figures.canvas import COLOURS, add_title, row_panels, sized, use_style, wrap
from qexp.figures.classes import class_panels
from qexp.figures.curves import fold_curves as curves_of_folds, learning_curves
from qexp.figures.distributions import MOST_GROUPS
from qexp.figures.writing import FORMATS, require_formats, save
from qexp.jobs.states import Watch
from qexp.results.intervals import (
    INTERVALS_OF_ROWS,
    USUAL_COVERAGE,
    Coverage,
    intervals_of,
    percent,
)
from qexp.spec.experiences import type_of
from qexp.spec.kinds import TEST_PREDICTIONS, load_stage
from qexp.store.directory import RunDirectory, with_caution
from qexp.store.evaluations import EvaluationDirectory
from qexp.store.record import State

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


def coverage_by_group(groups: Sequence[Coverage], unit: str, title: str, note: str) -> Figure:
    """A line per group: the share of its rows that lie in their intervals, with its range, and the
    mean width.

    groups  of one output and interval, all rows first
    """
    drawn = groups[:MOST_GROUPS]
    output = groups[0].output
    expected = groups[0].promised
    labels = [
        f"{wrap(group.name or 'all', 200)[:30]}  ({group.covered} of {group.n})" for group in drawn
    ]
    figure, (shares, widths) = row_panels(2, 3.4, labels, 0.22)
    shares.axvline(expected, color="0.6", linewidth=1, zorder=1)
    for line, group in enumerate(drawn):
        low, high = group.range
        # What an interval of the right coverage would hardly give stands out.
        colour = COLOURS[0] if low <= expected <= high else COLOURS[1]
        shares.plot(
            [low, high],
            [line] * 2,
            color=COLOURS[0],
            linewidth=1.3,
            alpha=0.45,
            solid_capstyle="butt",
            zorder=2,
        )
        shares.plot(
            group.covered / group.n, line, "o", color=colour, markersize=sized(4), mew=0, zorder=3
        )
    lowest = min(min(group.range[0], group.covered / group.n) for group in drawn)
    shares.set_xlim(max(np.floor(10 * lowest - 0.5) / 10, 0.0) - 0.02, 1.02)
    shares.set_xlabel(f"share in {percent(expected)} intervals")
    lengths = np.array(
        [np.nan if group.mean_width is None else group.mean_width for group in drawn]
    )
    widths.plot(
        lengths,
        np.arange(len(drawn)),
        "o",
        color=COLOURS[0],
        markersize=sized(4),
        mew=0,
    )
    finite = lengths[np.isfinite(lengths)]
    if len(finite) and finite.max() > 10 * finite.min() > 0:
        widths.set_xscale("log")
    elif len(finite):
        widths.set_xlim(0, 1.08 * finite.max() or 1.0)
    widths.set_xlabel(label(f"mean width, {output}", typeset(unit)))
    for axis in (shares, widths) if len(drawn) > 1 else ():
        axis.axhline(0.5, color="0.75", linewidth=0.8)
    left_out = (
        f"; the first {MOST_GROUPS} of {len(groups)} lines" if len(groups) > len(drawn) else ""
    )
    add_title(figure, title, note, f"lines: 95 % ranges{left_out}")
    return figure


# The files of a run from which its figures are drawn.


Array = NDArray[np.floating]

Pictures = Iterator[tuple[Path, "Figure"]]
"""The path of each picture in the run's directory, without ending, and its figure; empty if the run
has no such figure. A figure may be redrawn for the next picture: save each before taking the next.
"""

FigureOfRun = Callable[[RunDirectory], Pictures]
"""A function that draws a figure of a run. Raises MissingNumbersError and DamagedError."""

FIGURES_FOLDER = Path("results/figures")
"""Where the figures of a run are, in its directory."""


OF_TRAINING = ("learning_curve", "fold_curves", "matrix", "calibration_")
"""How figures of a run's training, matrices and calibrations begin, which evaluations on other data
do not have.
"""


class MissingNumbersError(QexpError):
    """A run was made by an older version of qexp, which did not write the numbers of a figure."""


def table(path: Path, needed: Iterable[str] = ()) -> xarray.Dataset:
    """A NetCDF file. Raises MissingNumbersError if it or a needed variable is missing."""
    try:
        variables = formats.read_netcdf(path)
    except FileNotFoundError as error:
        raise missing(str(error)) from None
    for name in needed:
        if name not in variables:
            raise missing(f"{path} has no variable '{name}'")
    return variables


def columns(path: Path) -> dict[str, list[str]]:
    """A CSV file: column → a text per line. Raises MissingNumbersError if the file is missing."""
    if not path.is_file():
        raise missing(f"there is no {path}")
    texts: dict[str, list[str]] = {}
    for line in formats.read_csv(path):
        for name, text in line.items():
            texts.setdefault(name, []).append(text or "")
    return texts


def numbers(texts: Iterable[str]) -> NDArray[np.float64]:
    """The numbers in a column of a CSV file; NaN for empty cells."""
    return np.array([float(text) if text else np.nan for text in texts])


def missing(
    what: str, remedy: str = "run the experience again under another `name`"
) -> MissingNumbersError:
    return MissingNumbersError(f"{what}; older versions of qexp did not write that: {remedy}")


def outputs(
    directory: RunDirectory, table: xarray.Dataset, figure: str = Number.figure
) -> list[str]:
    """The outputs of a run, shown in a figure, whose true values and estimates a table holds; the
    numbers among them if it is left out.
    """
    spec = directory.spec()
    names = [name for name in outputs_among(table.data_vars) if name in table]
    return [name for name in names if output_in(spec, name).figure == figure]


def unit(table: xarray.Dataset, name: str) -> str:
    return str(table[name].attrs.get("units", ""))


def truth_and_estimate(table: xarray.Dataset, output: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """True values and estimates of an output; those of angles in the turn of the true value."""
    truth = table[output].values
    estimate = table[estimate_of(output)]
    return truth, nearest(estimate.values, truth, estimate.attrs.get(PERIOD))


def ends_of_intervals(
    directory: RunDirectory, output: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Lower and upper end of each test row's interval, (row,); None if they are not kept."""
    path = directory.results / INTERVALS_OF_ROWS
    if not path.is_file():
        return None
    table = columns(path)
    return numbers(table[low_of(output)]), numbers(table[high_of(output)])


def intervals_in_words(directory: RunDirectory) -> str:
    """`90 % intervals`, or what they promise where that is less."""
    intervals = intervals_of(directory)
    return f"{percent(USUAL_COVERAGE if intervals is None else intervals.promise)} intervals"


def coverage(directory: RunDirectory) -> Pictures:
    """How many test rows lie in their intervals, and how wide these are, by group; no figure if
    that is unknown.
    """
    if (intervals := intervals_of(directory)) is None:
        return
    record, others = directory.record(), "held-out data"
    if directory.held_out:
        others = "other rows" if intervals.unit == "row" else f"other groups ({intervals.unit})"
    usual = [coverage for coverage in intervals.coverages if coverage.interval == USUAL_COVERAGE]
    names = list(dict.fromkeys(coverage.output for coverage in usual))
    for output in names:
        groups = [group for group in usual if group.output == output]
        title = f"{in_words(output)}: intervals from the errors of {others}"
        unit = "classes" if output in intervals.sets else record.units.get(output, "")
        figure = coverage_by_group(groups, unit, title, record.caution)
        yield FIGURES_FOLDER / ("coverage" if len(names) == 1 else f"coverage_{output}"), figure


def classes(directory: RunDirectory) -> Pictures:
    """Confusion matrix, reliability and detection of each output that is a class."""
    predictions = table(directory.results / TEST_PREDICTIONS)
    part = "held-out samples" if directory.held_out else f"{directory.part} part"
    title = with_caution(directory.name, directory.record().caution)
    spec = directory.spec()
    for name in outputs(directory, predictions, Classes.figure):
        output = classes_of(spec)[name]
        codes = output.codes(predictions[name].values)
        probabilities = output.read(predictions).middle
        if np.isfinite(codes + probabilities.sum(axis=1)).any():
            words = f"{title}: {in_words(name)}, {part}"
            figure = class_panels(output.names, codes, probabilities, words)
            yield FIGURES_FOLDER / f"{name}_classes", figure


def texts(table: xarray.Dataset, name: str) -> list[str]:
    return [str(value) for value in table[name].values]


def learning_curve(directory: RunDirectory) -> Pictures:
    """Losses and validation errors over epochs."""
    yield FIGURES_FOLDER / "learning_curve", learning_curve_of(directory)


def learning_curve_of(directory: RunDirectory) -> Figure:
    record = directory.record()
    lines = directory.metrics()
    if record.kind == "program":  # it is not known what it keeps
        lines = [{**line, "best": False} for line in lines]
    return learning_curves({directory.name: lines}, record.units, record.caution)


def fold_curves(directory: RunDirectory) -> Pictures:
    """Losses over epochs, a thin line per fold."""
    yield FIGURES_FOLDER / "fold_curves", fold_curves_of(directory)


def fold_curves_of(directory: RunDirectory) -> Figure:
    folds = directory.all_folds()
    curves = [fold.metrics() for fold in folds]
    chosen = [
        fold.record().epochs.best if lines and lines[0]["validation"]["losses"] else None
        for fold, lines in zip(folds, curves, strict=True)
    ]
    return curves_of_folds(curves, chosen, directory.record().caution)


OF_OUTPUTS: Mapping[str, FigureOfRun] = {"confusion": classes}
"""`Output.figure` → what draws it for every kind of dataset; a kind itself draws others."""


def draw(
    directory: RunDirectory,
    formats: Sequence[str] = ("png",),
    style: tuple[Path | None, str | None] = (None, None),
    only: Collection[str] = (),
    left_out: Callable[[str], None] = warnings.warn,
    to: Path | None = None,
) -> list[Path]:
    """Draw the figures of an evaluated run from its files. Returns the paths of the pictures.

    formats   of `FORMATS`: each figure is written in all of them
    style     a matplotlib style file, and the width for print, see `use_style`
    only      names of figures; all figures of the run if empty
    left_out  called with the reason for each figure whose numbers an older version of qexp did not
              write
    to        folder for the pictures; None: in the run, where they replace earlier ones
    Raises QexpError if the run has no results yet, if an argument is wrong, or if a figure that
    `only` names, or all of them, cannot be drawn.
    """
    if not (figures := figures_of(directory)):
        raise QexpError(f"{directory.name} is a run of a program, of which qexp draws no figures")
    _check(directory, figures, formats, only)
    drawn: list[Path] = []
    missing: list[str] = []
    with use_style(*style):
        for name, pictures in figures.items():
            if only and name not in only:
                continue
            count = len(drawn)
            try:
                for picture, figure in pictures(directory):
                    # One file per format, or a single one if the name of the figure already has an
                    # ending.
                    single = picture.suffix.removeprefix(".") in FORMATS
                    names = [str(picture)] if single else [f"{picture}.{one}" for one in formats]
                    for name_of_file in names:
                        path = directory.path / name_of_file
                        if to is not None:
                            parts = Path(name_of_file).parts
                            own = [part for part in parts if part not in ("results", "figures")]
                            path = to.joinpath(*own)
                        files.make_folder(path.parent)
                        save(figure, path)
                        drawn.append(path)
            except MissingNumbersError as lack:
                missing.append(f"{directory.name}: '{name}' is not drawn: {lack}")
            else:
                if name in only and len(drawn) == count:
                    why = "the run has no numbers for it"
                    missing.append(f"{directory.name}: '{name}' is not drawn: {why}")
    if missing and (only or not drawn):
        raise QexpError("\n".join(missing))
    for reason in missing:
        left_out(reason)
    return drawn


def figures_of(directory: RunDirectory) -> Mapping[str, FigureOfRun]:
    """The figures that a run, or an evaluation of it, can have, by name."""
    spec = directory.spec()
    if not type_of(spec).trains:
        return {}
    shown = {output_in(spec, name).figure for name in spec["outputs"]}
    figures: Mapping[str, FigureOfRun] = {
        **load_stage(spec["dataset"], "figures"),
        **{drawn.__name__: drawn for figure, drawn in OF_OUTPUTS.items() if figure in shown},
    }
    if isinstance(directory, EvaluationDirectory):
        return {
            name: figure for name, figure in figures.items() if not name.startswith(OF_TRAINING)
        }
    return figures


def _check(
    directory: RunDirectory, figures: Collection[str], formats: Sequence[str], only: Collection[str]
) -> None:
    require_formats(formats)
    for name in only:
        if name not in figures:
            meant = (
                hint(name.replace(" ", "_"), figures) or f"; its figures are {', '.join(figures)}"
            )
            raise QexpError(f"{directory.name} has no figure '{name}'{meant}")
    file = directory.evaluation_file()
    if file.is_file():
        return
    record = directory.record()
    state = Watch().state(directory)
    if record.foreign_weights is not None:
        raise QexpError(
            f"{directory.name} has weights from elsewhere and was not evaluated; its matrices have"
            " figures of their own"
        )
    where = file.relative_to(directory.path)
    if state is State.DONE:
        again = shlex.join([*record.command, "--name", "NEW_NAME"])
        raise QexpError(f"{directory.name} is done, but {where} is gone; run it again: {again}")
    named = [] if record.name == f"{record.experience}_{record.seed}" else ["--name", record.name]
    finish = shlex.join([*record.command, *named, "--resume"])
    raise QexpError(
        f"{directory.name} is {state.words} and has no results to draw, no {where}; finish it:"
        f" {finish}"
    )
