"""Figures of a search: the errors of its trials in their order, and against each key that was varied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qexp.base.text import key_in_words
from qexp.figures.canvas import (
    COLOURS,
    add_title,
    folded,
    legend_below,
    plain_numbers,
    sized,
    whole_numbers,
    wrap,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRIED, BEST, PRUNED = COLOURS[0], COLOURS[1], "#777777"


@dataclass(frozen=True)
class Varied:
    """A key of a search, with its value in each trial."""

    name: str
    values: Sequence[float | str]
    """Numbers, or the texts of choices."""
    choices: Sequence[str]
    """The texts that were chosen from, in their order; empty for a range."""
    log: bool
    importance: float | None = None
    """Its share of what the values explain of the error; None if there are too few trials to say."""


def search_panels(
    measured: str,
    errors: Sequence[float],
    pruned: Sequence[bool],
    keys: Sequence[Varied],
    *,
    highest: bool = False,
    title: str,
) -> Figure:
    """A panel of the errors of all trials in their order with the best so far, and one against each key.

    measured  label of the errors
    errors    of each trial; NaN for one without; of one that was given up, that of its last epoch
    pruned    whether a trial was given up
    highest   whether the highest values are best
    title     what the errors are of
    """
    values, given_up = np.asarray(errors, dtype=float), np.asarray(pruned, dtype=bool)
    whole = np.where(given_up, np.nan, values)
    best = int((np.nanargmax if highest else np.nanargmin)(whole))
    running = (np.fmax if highest else np.fmin).accumulate(whole)
    positive = np.isfinite(values).any() and np.nanmin(values) > 0
    spread = positive and np.nanmax(values) > 10 * np.nanmin(values)
    figure, axes = folded(1 + len(keys), 4.2, 3.4, 3)
    numbers = np.arange(len(values))
    _scatter(axes[0], numbers, values, given_up, best)
    axes[0].step(numbers, running, where="post", color=BEST, linewidth=1.2, label="best so far")
    axes[0].set_xlabel("trial")
    whole_numbers(axes[0].xaxis)
    for panel, key in zip(axes[1:], keys, strict=True):
        if key.choices:
            where = np.array([key.choices.index(str(value)) for value in key.values], dtype=float)
            panel.set_xticks(range(len(key.choices)), [wrap(name, 14) for name in key.choices])
            panel.set_xlim(-0.5, len(key.choices) - 0.5)
            inside = np.random.default_rng(0).uniform(-0.15, 0.15, len(where))  # else equal values hide each other
            _scatter(panel, where + inside, values, given_up, best)
        else:
            _scatter(panel, np.asarray(key.values, dtype=float), values, given_up, best)
            if key.log:
                panel.set_xscale("log")
        panel.set_xlabel(wrap(", ".join(key_in_words(one).replace("_", " ") for one in key.name.split("+")), 30))
        if key.importance is not None:
            panel.set_title(f"importance {100 * key.importance:.0f} %", fontsize=sized(9))
    for panel in axes:
        panel.set_ylabel(measured)
        if spread:
            panel.set_yscale("log")
    for panel in axes:
        for axis in (panel.xaxis, panel.yaxis):
            if axis.get_scale() == "log":
                plain_numbers(axis)
    legend_below(figure, axes[0], shown=1)
    add_title(figure, title)
    return figure


def front(labels: tuple[str, str], errors: Sequence[Sequence[float]], best: Sequence[int], title: str) -> Figure:
    """Two errors of all trials against each other, and the trials of which none is better in both."""
    figure, (panel,) = folded(1, 5.0, 3.8)
    table = np.array([one if len(one) else (np.nan, np.nan) for one in errors], dtype=float)
    panel.plot(table[:, 0], table[:, 1], "o", color=TRIED, markersize=4, alpha=0.6, label="trial")
    chosen = table[sorted(best, key=lambda number: table[number, 0])]
    panel.plot(
        chosen[:, 0], chosen[:, 1], "-D", color=BEST, markersize=5, linewidth=0.8, label="none is better in both"
    )
    panel.set_xlabel(labels[0])
    panel.set_ylabel(labels[1])
    legend_below(figure, panel, shown=1)
    add_title(figure, title)
    return figure


def _scatter(panel: Axes, where: np.ndarray, values: np.ndarray, pruned: np.ndarray, best: int) -> None:
    panel.plot(where[~pruned], values[~pruned], "o", color=TRIED, markersize=4, alpha=0.6, label="trial")
    if pruned.any():
        panel.plot(where[pruned], values[pruned], "x", color=PRUNED, markersize=4, label="given up early")
    panel.plot(where[best], values[best], "D", color=BEST, markersize=6, label="best")
