"""Learning curves: of runs, of the folds of one run, and of groups of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base.arrays import Array
from qexp.base.outputs import MAIN_METRICS, main_metric
from qexp.base.quantities import in_symbols, in_words, typeset, with_unit
from qexp.figures import canvas
from qexp.metrics.built_in import metric_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Units = Mapping[str, str]
"""Of outputs."""

Lines = Sequence[Mapping[str, Any]]
"""Of a run's `metrics.jsonl`, one per epoch."""

Folds = Mapping[str, Sequence[Lines]]
"""Name of a run, or of a group → the lines of each of its folds, or of its runs."""


def outputs_of(line: Mapping[str, Any]) -> dict[str, str]:
    """Output → its main metric, which is drawn, and which programs of others need not have."""
    mains = {}
    for name, metrics in line["validation"].items():
        main = None if name in ("loss", "losses") else main_metric(metrics)
        if main in MAIN_METRICS:
            mains[name] = main
    return mains


def positions(lines: Lines) -> list[float]:
    """The numbers of epochs, as a program of others counts them."""
    return [line.get("step", line["epoch"]) for line in lines]


def over_epochs(runs: Sequence[Lines], *keys: str) -> Array:
    """A row per run and a column per epoch: the numbers to which keys of the lines lead, such as
    `train`, `loss`.

    NaN after a run's end and for what is missing or not finite.
    """
    epochs = max((line["epoch"] for lines in runs for line in lines), default=0)
    table = np.full((len(runs), epochs), np.nan)
    for row, lines in zip(table, runs, strict=True):
        for line in lines:
            value: Any = line
            for key in keys:
                value = (value or {}).get(key)
            row[line["epoch"] - 1] = np.nan if value is None else value
    return table


def middle_half(table: Array) -> Array:
    """Lower quartile, median and upper quartile of each column, (3, column).

    NaN where more than half of the rows have no value: those of the others would be of different
    runs.
    """
    quartiles = np.full((3, table.shape[1]), np.nan)
    columns = np.isfinite(table).sum(axis=0) >= max(len(table) / 2, 1)
    if columns.any():
        quartiles[:, columns] = np.nanpercentile(table[:, columns], (25, 50, 75), axis=0)
    return quartiles


def learning_curves(runs: Mapping[str, Lines], units: Units, note: str = "") -> Figure:
    """Loss over epochs, and the validation error of each output, of one run or of several.

    units  output → its unit
    note   caution on the numbers of a single run, may be empty; several runs have it in their names
    """
    outputs: dict[str, str] = {}
    for lines in runs.values():
        outputs |= outputs_of(lines[0]) if lines else {}
    figure, (losses, *errors) = canvas.panels(
        1 + len(outputs), 4.2, 3.4, top=0.6 if note else 0.35, shared=True
    )
    for number, (name, lines) in enumerate(runs.items()):
        colour = canvas.COLOURS[number % len(canvas.COLOURS)]
        prefix = f"{name}, " * (len(runs) > 1)
        for part in ("train", "validation"):
            _draw_curve(losses, lines, (part, "loss"), colour, prefix)
        for axis, keys in zip(errors, outputs.items(), strict=True):
            for part in ("validation", "test"):
                _draw_curve(axis, lines, (part, *keys), colour, prefix)
    for axis in (losses, *errors):
        values = [np.asarray(line.get_ydata()) for line in axis.get_lines()]
        _finish(axis, np.concatenate([np.zeros(0), *values]))
    _describe((losses, *errors), outputs, units, OF_WHAT, (", validation", ""))
    best = [line for lines in runs.values() for line in lines if line["best"]]
    if best and len(runs) == 1:
        (epoch,) = positions(best[-1:])
        losses.axvline(
            epoch, color="0.6", linewidth=0.8, linestyle=":", label=f"kept: epoch {epoch}"
        )
    more_lines = max(axis.get_title().count("\n") for axis in (losses, *errors))
    canvas.make_room(figure, top=canvas.sized(canvas.LINE_HEIGHT) * more_lines)
    canvas.legend_below(figure, losses, *errors)
    if note:
        canvas.add_note(figure, note)
    return figure


LINES = {
    "train": ("training", "--", 1.0),
    "validation": ("validation", "-", 1.5),
    "test": ("test", "-.", 1.0),
}
"""Part → its name, and style and width of its curves."""


def _draw_curve(axis: Axes, lines: Lines, keys: Sequence[str], colour: str, prefix: str) -> None:
    (values,) = over_epochs([lines], *keys)
    epochs = np.array(positions(lines))
    if not np.isfinite(values).any():  # and the legend names no line that is not there
        return
    if keys[0] == "test":  # which may not be computed after every epoch
        epochs = epochs[np.isfinite(values)]
        values = values[np.isfinite(values)]
    part, style, width = LINES[keys[0]]
    axis.plot(
        epochs,
        values,
        style,
        color=colour,
        linewidth=width,
        label=f"{prefix}{part}",
        marker=_marker(len(values)),
    )


def _finish(axis: Axes, values: Array) -> None:
    """Whole epochs, and a logarithmic scale if positive: losses of posterior heads are negative."""
    axis.set_xlabel("epoch")
    canvas.whole_numbers(axis.xaxis)
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0:
        axis.set_yscale("log")
        canvas.plain_numbers(axis.yaxis)
    axis.grid(alpha=0.25, which="both", linewidth=0.5)


OF_WHAT = "of transformed values"
"""What losses are of, in the label of their axis."""


def _describe(
    axes: Sequence[Axes],
    outputs: Mapping[str, str],
    units: Units,
    of_what: str,
    ends: Sequence[str],
) -> None:
    """Titles and labels of the panels of the loss and of outputs, whose titles have an end."""
    axes[0].set_ylabel(canvas.fitting(axes[0], f"loss ({of_what})", upright=True))
    axes[0].set_title("loss", fontsize=canvas.sized(10), y=canvas.TITLE)
    for axis, (output, metric) in zip(axes[1:], outputs.items(), strict=True):
        axis.set_ylabel(with_unit(metric_in_words(metric), typeset(units.get(output, ""))))
        names = in_words(output), in_symbols(output)
        words = [f"{name}{end}" for end in ends for name in names]
        axis.set_title(canvas.fitting(axis, *words), fontsize=canvas.sized(10), y=canvas.TITLE)
    for axis in axes if canvas.scales_differ(*(axis.yaxis for axis in axes)) else ():
        if axis.get_yscale() == "log":
            label = axis.get_ylabel().replace("\n", " ").removesuffix(")")
            label += f"{', ' if '(' in label else ' ('}{canvas.LOGARITHMIC})"
            axis.set_ylabel(canvas.fitting(axis, label, upright=True))
    canvas.share_below(axes)


def _marker(count: int) -> str | None:
    """A line of a single point cannot be seen."""
    return "." if count == 1 else None


def fold_curves(folds: Sequence[Lines], chosen: Sequence[int | None], note: str) -> Figure:
    """Training and validation loss over epochs: a thin line per fold, the median thick, chosen
    epochs as dots.

    chosen  the epoch whose weights each fold keeps; None for folds without validation
    note    caution on the numbers, may be empty
    """
    tables = {
        "training": over_epochs(folds, "train", "loss"),
        "validation": over_epochs(folds, "validation", "loss"),
    }
    if not np.isfinite(tables["validation"]).any():
        del tables["validation"]  # networks trained on all training rows have no validation loss
    figure, axes = canvas.panels(len(tables), 4.6, 3.7, shared=True)
    values = np.concatenate([table[np.isfinite(table)] for table in tables.values()])
    points = [
        (epoch, tables["validation"][row, epoch - 1])
        for row, epoch in enumerate(chosen)
        if epoch is not None
    ]
    if points:
        words = f"chosen epoch, median {np.median([epoch for epoch, _ in points]):g}"
        settings: canvas.Style = {
            "color": canvas.COLOURS[6],
            "markersize": 3.2,
            "alpha": 0.7,
            "mew": 0,
            "zorder": 4,
        }
        axes[1].plot(*zip(*points, strict=True), "o", label=words, **settings)
    for axis, (part, table), colour in zip(axes, tables.items(), canvas.COLOURS, strict=False):
        _draw_folds(axis, part, table, colour)
        if len(values) and values.min() > 0:
            axis.set_ylim(values.min() / 1.15, values.max() * 1.15)
        _finish(axis, values)
        axis.set_ylabel(canvas.fitting(axis, f"{part} loss ({OF_WHAT})", upright=True))
    canvas.legend_below(figure, *axes)
    for handle in figure.legends[0].legend_handles:
        if handle is not None:
            handle.set_alpha(1)
    canvas.share_below(axes)
    canvas.add_title(figure, f"{len(folds)} fold{'s' if len(folds) != 1 else ''}", note)
    return figure


def _draw_folds(axis: Axes, part: str, table: Array, colour: str) -> None:
    from matplotlib.collections import LineCollection

    epochs = np.arange(1, table.shape[1] + 1)
    opacity = float(np.clip(6 / max(len(table), 1), 0.15, 0.6))
    lines = [np.column_stack([epochs, values]) for values in table]
    axis.add_collection(
        LineCollection(
            lines,
            colors=colour,
            linewidths=0.6,
            alpha=opacity,
            label=f"{part}: a fold",
        )
    )
    _, median, _ = middle_half(table)
    axis.plot(
        epochs,
        median,
        color=colour,
        linewidth=2.2,
        marker=_marker(len(epochs)),
        label=f"{part}: median",
    )
    axis.autoscale_view()


STYLES = ("-", "--", "-.", ":")
"""Line styles, for groups that have the same colour."""

FEW_RUNS = 10
"""Largest number of runs whose band shows the whole range; of more it is the middle half."""


def learning_bands(groups: Folds, loss: str, units: Units) -> Figure:
    """Validation loss and the validation error of each output over epochs: the median of each
    group, in a band.

    loss    what the losses are of, in the label of their axis
    units   output → its unit
    """
    outputs: dict[str, str] = {}
    for members in groups.values():
        for lines in members:
            outputs |= outputs_of(lines[0])
    figure, axes = canvas.folded(1 + len(outputs), 4.2, 3.2, shared=True)
    opacity = min(0.2, 0.8 / len(groups))
    for axis, keys in zip(axes, [("loss",), *outputs.items()], strict=True):
        tables = {}
        for name, members in groups.items():
            tables[name] = over_epochs(members, "validation", *keys)
        for index, (name, table) in enumerate(tables.items()):
            colour = canvas.COLOURS[index % len(canvas.COLOURS)]
            style = STYLES[index // len(canvas.COLOURS) % len(STYLES)]
            _draw_band(axis, name, table, colour, style, opacity)
        _finish(axis, np.concatenate([table.ravel() for table in tables.values()]))
    _describe(axes, outputs, units, loss, ("",))
    canvas.legend_below(figure, axes[0])
    canvas.add_title(figure, "validation", caption=_explanation(groups))
    return figure


def middle_and_band(table: Array) -> tuple[Array, Array, Array]:
    """Median, lower and upper end of the band of each column.

    table  (run, epoch), NaN where a run has no value; every column has one
    """
    low, high = (0, 100) if len(table) <= FEW_RUNS else (25, 75)
    middle, lower, upper = np.nanpercentile(table, (50, low, high), axis=0)
    return middle, lower, upper


def _draw_band(
    axis: Axes, name: str, table: Array, colour: str, style: str, opacity: float
) -> None:
    """The line is thin after some of the runs have ended."""
    present = np.isfinite(table)
    columns = np.flatnonzero(present.any(axis=0))
    if not len(columns):
        axis.plot(
            [],
            [],
            style,
            color=colour,
            label=f"{name} (no finite value)",
        )
        return
    middle, lower, upper = middle_and_band(np.where(present, table, np.nan)[:, columns])
    epochs = columns + 1
    marker = _marker(len(columns))
    axis.fill_between(
        epochs,
        lower,
        upper,
        color=colour,
        alpha=opacity,
        linewidth=0,
    )
    axis.plot(
        epochs,
        middle,
        style,
        color=colour,
        linewidth=0.8,
        marker=marker,
    )
    label = f"{name} ({len(table)} seed{'s' if len(table) > 1 else ''})"
    whole = np.where(present[:, columns].all(axis=0), middle, np.nan)
    axis.plot(
        epochs,
        whole,
        style,
        color=colour,
        linewidth=1.7,
        marker=marker,
        label=label,
    )


def _explanation(groups: Folds) -> str:
    sizes = [len(runs) for runs in groups.values()]
    words = "line: median; band: the middle half of the seeds"
    if min(sizes) <= FEW_RUNS:
        words = "line: median; band: range over seeds"
        if max(sizes) > FEW_RUNS:
            words += f", of more than {FEW_RUNS} seeds the middle half"
    for runs in groups.values():
        if len({lines[-1]["epoch"] for lines in runs}) > 1:
            return f"{words}; thin: only the seeds that continue"
    return words
