"""Learning curves of the folds of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import COLOURS, panels, plain_numbers, sized, titled, whole_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FoldCurve:
    """Losses after each epoch of one fold, NaN if missing; folds may end after different epochs."""

    training: Array
    """(epoch,)"""
    validation: Array
    """(epoch,)"""
    chosen: int | None
    """The epoch whose weights are kept, from 1."""


def fold_curves(folds: Sequence[FoldCurve], loss: str, note: str) -> Figure:
    """Training and validation loss over epochs: a thin line per fold, the median thick, chosen epochs as dots.

    loss  unit of the losses in the label of their axis
    note  caution on the numbers, may be empty
    """
    parts = {"training": [fold.training for fold in folds], "validation": [fold.validation for fold in folds]}
    if not any(np.isfinite(curve).any() for curve in parts["validation"]):
        del parts["validation"]  # networks trained on all training rows have no validation loss
    made, axes = panels(len(parts), 4.6, 3.7)
    values = np.concatenate([curve for curves in parts.values() for curve in curves] or [np.zeros(0)])
    values = values[np.isfinite(values)]
    for axis, (part, curves), colour in zip(axes, parts.items(), COLOURS, strict=False):
        _draw(axis, curves, colour)
        axis.set_ylabel(f"{part} loss ({loss})")
        axis.set_xlabel("epoch")
        whole_numbers(axis.xaxis)
        if len(values) and values.min() > 0:
            axis.set_yscale("log")
            axis.set_ylim(values.min() / 1.15, values.max() * 1.15)
            plain_numbers(axis.yaxis)
        axis.grid(alpha=0.25, which="both", linewidth=0.5)
    chosen = [(fold.chosen, fold.validation[fold.chosen - 1]) for fold in folds if fold.chosen is not None]
    if chosen:
        epochs, losses = zip(*chosen, strict=True)
        axes[1].plot(
            epochs, losses, "o", color=COLOURS[6], markersize=3.2, alpha=0.7, mew=0, zorder=4,
            label=f"chosen epoch, median {np.median(epochs):g}",
        )  # fmt: skip
    for axis in axes:
        legend = axis.legend(fontsize=sized(8), frameon=False)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set_alpha(1)
    titled(made, f"{len(folds)} fold{'s' if len(folds) != 1 else ''}", note)
    return made


def _draw(axis: Axes, curves: Sequence[Array], colour: str) -> None:
    from matplotlib.collections import LineCollection

    lines = [np.column_stack([np.arange(1, len(curve) + 1), curve]) for curve in curves]
    opacity = float(np.clip(6 / max(len(curves), 1), 0.15, 0.6))
    axis.add_collection(LineCollection(lines, colors=colour, linewidths=0.6, alpha=opacity, label="a fold"))
    table = np.full((len(curves), max(map(len, curves), default=0)), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve
    present = np.isfinite(table)
    epochs = np.flatnonzero(present.any(axis=0))
    if len(epochs):
        # After half of the folds have ended, the median of the others would be that of different folds.
        most = present.sum(axis=0)[epochs] >= len(curves) / 2
        middle = np.nanmedian(np.where(present, table, np.nan)[:, epochs], axis=0)
        marker = "." if len(epochs) == 1 else None
        axis.plot(
            epochs + 1, np.where(most, middle, np.nan), color=colour, linewidth=2.2, marker=marker, label="median"
        )
    axis.autoscale_view()
