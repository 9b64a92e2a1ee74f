"""Learning curves, of one run and of groups of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.quantities import in_words, typeset
from qexp.figures.canvas import (
    COLOURS,
    TITLE,
    figure,
    legend,
    marked,
    panels,
    plain_numbers,
    sized,
    whole_numbers,
    wrapped,
)
from qexp.metrics.meaning import MAIN_METRIC

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning_curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    units: Mapping[str, str],
    note: str = "",
) -> Figure:
    """Loss over epochs, and the validation error of each output, of one run or of several.

    runs   name → the lines of its `metrics.jsonl`
    units  output → its unit
    note   caution on the numbers of a single run, may be empty; several runs have it in their names
    """
    outputs = list(dict.fromkeys(name for lines in runs.values() for line in lines[:1] for name in outputs_of(line)))
    made, axes = panels(1 + len(outputs), 4.2, 3.4)
    marker = "." if max(map(len, runs.values()), default=0) == 1 else None
    for (name, lines), colour in zip(runs.items(), _cycled(len(runs)), strict=True):
        epochs = [line["epoch"] for line in lines]
        prefix = f"{name}, " if len(runs) > 1 else ""
        loss = axes[0]
        for part, style, width in (("train", "--", 1.0), ("validation", "-", 1.5)):
            values = [_number(line[part]["loss"]) for line in lines]
            part_name = "training" if part == "train" else part
            loss.plot(epochs, values, style, color=colour, linewidth=width, label=prefix + part_name, marker=marker)
        for axis, output in zip(axes[1:], outputs, strict=True):
            values = [_number(line["validation"].get(output, {}).get(MAIN_METRIC)) for line in lines]
            axis.plot(epochs, values, "-", color=colour, linewidth=1.5, label=name, marker=marker)
            tested = [
                (line["epoch"], _number(line["test"][output][MAIN_METRIC]))
                for line in lines
                if output in line.get("test", {})
            ]
            if tested:
                axis.plot(*zip(*tested, strict=True), "--", color=colour, linewidth=1.0, label=f"{name}, test")
    axes[0].set_ylabel("loss (transformed values)")
    for axis, output in zip(axes[1:], outputs, strict=True):
        unit = typeset(units.get(output, ""))
        axis.set_ylabel(f"mean absolute error ({unit})" if unit else "mean absolute error")
        axis.set_title(f"{in_words(output)}, validation", fontsize=sized(10), y=TITLE)
    for axis in axes:
        axis.set_xlabel("epoch")
        whole_numbers(axis.xaxis)
        drawn = np.concatenate([np.zeros(0), *(np.asarray(line.get_ydata(), np.float64) for line in axis.get_lines())])
        drawn = drawn[np.isfinite(drawn)]
        if len(drawn) and drawn.min() > 0:  # losses of posterior heads are negative
            axis.set_yscale("log")
            plain_numbers(axis.yaxis)
        axis.grid(alpha=0.25, which="both", linewidth=0.5)
    best = [line["epoch"] for lines in runs.values() for line in lines if line["best"]]
    if best and len(runs) == 1:
        axes[0].axvline(best[-1], color="0.6", linewidth=0.8, linestyle=":", label=f"best, epoch {best[-1]}")
    for axis in axes:
        if len(axis.get_legend_handles_labels()[1]) > 1:
            legend(axis)
    if note:
        marked(made, note)
    return made


def outputs_of(line: Mapping[str, Any]) -> list[str]:
    return [name for name in line["validation"] if name not in ("loss", "losses")]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _cycled(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


# Learning curves of groups of runs: median and spread.


STYLES = ("-", "--", "-.", ":")
"""Line styles, for groups that have the same colour."""

FEW = 10
"""Largest number of runs whose band shows the whole range; for more runs it shows the middle half."""

WRAPPED = 48
"""Largest number of characters in a line of the legend."""

LEGEND_COLUMNS = 3

Lines = Sequence[Mapping[str, Any]]
Array = NDArray[np.float64]


def learning_bands(groups: Mapping[str, Sequence[Lines]], loss: str, units: Mapping[str, str]) -> Figure:
    """Validation loss and the validation error of each output over epochs: the median of each group, in a band.

    groups  name → for each run, the lines of its `metrics.jsonl`
    loss    unit of the losses in the label of their axis
    units   output → its unit
    """
    runs = [lines for of_group in groups.values() for lines in of_group]
    outputs = list(dict.fromkeys(name for lines in runs for name in lines[0]["validation"] if _is_output(name)))
    lines_of_legend = sum(wrapped(name, WRAPPED).count("\n") + 1 for name in groups) / LEGEND_COLUMNS
    made, axes = figure(1, 1 + len(outputs), 4.2, 3.4 + 0.2 * lines_of_legend)
    for axis, output in zip(axes[0], [None, *outputs], strict=True):
        tables = {name: _over_epochs(of_group, output) for name, of_group in groups.items()}
        for index, (name, table) in enumerate(tables.items()):
            style = STYLES[index // len(COLOURS) % len(STYLES)]
            _draw(axis, name, table, COLOURS[index % len(COLOURS)], style, min(0.2, 0.8 / len(groups)))
        _describe(axis, list(tables.values()))
        axis.set_ylabel(f"loss ({loss})" if output is None else _error_of(typeset(units.get(output, ""))))
        axis.set_title(f"{in_words(output or 'loss')}, validation", fontsize=sized(10))
    handles, labels = axes[0][0].get_legend_handles_labels()
    made.legend(
        handles, [wrapped(label, WRAPPED) for label in labels],
        loc="outside lower center", ncols=min(len(labels), LEGEND_COLUMNS), fontsize=sized(8), frameon=False,
    )  # fmt: skip
    made.suptitle(_explanation(groups), fontsize=sized(9))
    return made


def middle_and_band(table: Array) -> tuple[Array, Array, Array]:
    """Median, lower and upper end of the band of each column.

    table  (run, epoch), NaN where a run has no value; every column has one
    """
    low, high = (0, 100) if len(table) <= FEW else (25, 75)
    middle, lower, upper = np.nanpercentile(table, (50, low, high), axis=0)
    return middle, lower, upper


def _over_epochs(runs: Sequence[Lines], output: str | None) -> Array:
    """A row per run and a column per epoch, NaN after a run's end and for values that are not finite."""
    table = np.full((len(runs), max(line["epoch"] for lines in runs for line in lines)), np.nan)
    for row, lines in zip(table, runs, strict=True):
        for line in lines:
            validation = line["validation"]
            value = validation["loss"] if output is None else validation.get(output, {}).get(MAIN_METRIC)
            row[line["epoch"] - 1] = np.nan if value is None else value
    return table


def _draw(axis: Axes, name: str, table: Array, colour: str, style: str, opacity: float) -> None:
    """The line is thin after some of the runs have ended."""
    present = np.isfinite(table)
    epochs = np.flatnonzero(present.any(axis=0))
    if not len(epochs):
        axis.plot([], [], style, color=colour, label=f"{name} (no finite value)")
        return
    middle, lower, upper = middle_and_band(np.where(present, table, np.nan)[:, epochs])
    whole = present[:, epochs].all(axis=0)
    marker = "." if len(epochs) == 1 else None
    axis.fill_between(epochs + 1, lower, upper, color=colour, alpha=opacity, linewidth=0)
    axis.plot(epochs + 1, middle, style, color=colour, linewidth=0.8, marker=marker)
    axis.plot(
        epochs + 1, np.where(whole, middle, np.nan), style, color=colour, linewidth=1.7, marker=marker,
        label=f"{name} ({len(table)} seed{'s' if len(table) > 1 else ''})",
    )  # fmt: skip


def _describe(axis: Axes, tables: Sequence[Array]) -> None:
    values = np.concatenate([table.ravel() for table in tables])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0:
        axis.set_yscale("log")
        plain_numbers(axis.yaxis)
    axis.set_xlabel("epoch")
    axis.grid(alpha=0.25, which="both", linewidth=0.5)


def _explanation(groups: Mapping[str, Sequence[Lines]]) -> str:
    most = max(len(runs) for runs in groups.values())
    fewest = min(len(runs) for runs in groups.values())
    reach = {
        (True, True): "least to greatest",
        (False, False): "the middle half of the seeds",
        (False, True): f"least to greatest, of more than {FEW} seeds the middle half",
    }[most <= FEW, fewest <= FEW]
    ended = any(len({lines[-1]["epoch"] for lines in runs}) > 1 for runs in groups.values())
    return f"line: median; band: {reach}" + ("; thin: only the seeds that continue" if ended else "")


def _is_output(name: str) -> bool:
    return name not in ("loss", "losses")


def _error_of(unit: str) -> str:
    return f"mean absolute error ({unit})" if unit else "mean absolute error"
