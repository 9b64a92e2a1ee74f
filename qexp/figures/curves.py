"""Learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.figures.canvas import COLOURS, TITLE, legend, marked, panels, plain_numbers, sized, whole_numbers
from qexp.quantities import in_words, typeset

if TYPE_CHECKING:
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
            values = [_number(line["validation"].get(output, {}).get("mae")) for line in lines]
            axis.plot(epochs, values, "-", color=colour, linewidth=1.5, label=name, marker=marker)
            tested = [
                (line["epoch"], _number(line["test"][output]["mae"]))
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
