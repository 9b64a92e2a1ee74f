"""Figures of a search: errors of trials in order, against each key, and with all keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qexp.base.text import key_in_words, number_in
from qexp.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRIED, BEST, PRUNED = canvas.COLOURS[0], canvas.COLOURS[1], "#777777"

BOX = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
"""Behind the numbers on parallel axes."""


@dataclass(frozen=True)
class Varied:
    """A key of a search, with its value in each trial."""

    name: str
    values: Sequence[float | str] | np.ndarray
    """Numbers, or the texts of choices."""
    choices: Sequence[str]
    """The texts that were chosen from, in their order; empty for a range."""
    log: bool
    importance: float | None = None
    """The share of the error that the values explain; None if there are too few trials to say."""


def search_panels(
    measured: str,
    errors: Sequence[float],
    pruned: Sequence[bool],
    keys: Sequence[Varied],
    *,
    highest: bool = False,
    title: str,
) -> Figure:
    """Panels of the errors of all trials in their order with the best so far, and against each key;
    with several keys, a line through the values of each trial.

    measured  label of the errors
    errors    of each trial; NaN for one without; of one that was given up, that of its last epoch
    pruned    whether a trial was given up
    highest   whether the highest values are best
    title     what the errors are of
    """
    values = np.asarray(errors, dtype=float)
    given_up = np.asarray(pruned, dtype=bool)
    whole = np.where(given_up, np.nan, values)
    best = int((np.nanargmax if highest else np.nanargmin)(whole))
    running = (np.fmax if highest else np.fmin).accumulate(whole)
    positive = np.isfinite(values).any() and np.nanmin(values) > 0
    spread = positive and np.nanmax(values) > 10 * np.nanmin(values)
    figure, axes, wide_panels = _folded(1 + len(keys), 4.2, 3.4, row_below=len(keys) > 1)
    numbers = np.arange(len(values))
    _scatter(axes[0], numbers, values, given_up, best)
    axes[0].step(
        numbers,
        running,
        where="post",
        color=BEST,
        linewidth=1.2,
        label="best so far",
    )
    axes[0].set_xlabel("trial")
    canvas.whole_numbers(axes[0].xaxis)
    for panel, key in zip(axes[1:], keys, strict=True):
        _against_key(panel, key, values, given_up, best)
    for panel in axes:
        panel.set_ylabel(measured)
        if spread:
            panel.set_yscale("log")
        for axis in (panel.xaxis, panel.yaxis):
            if axis.get_scale() == "log":
                canvas.plain_numbers(axis)
    for wide in wide_panels:
        order = np.argsort(np.where(np.isnan(whole), np.inf, -whole if highest else whole))
        tenth = int(np.isfinite(whole).sum() // 10)
        strong = np.isin(numbers, order[: max(tenth, 1)])
        label = "best tenth" if tenth > 1 else ""
        _coordinates(wide, [*keys, Varied(measured, whole, [], bool(spread))], strong, label)
    canvas.legend_below(figure, axes[0], *wide_panels, shown=1)
    canvas.add_title(figure, title)
    return figure


def front(
    labels: Sequence[str],
    errors: Sequence[Sequence[float]],
    keys: Sequence[Varied],
    best: Sequence[bool],
    title: str,
) -> Figure:
    """The first two errors of all trials against each other, those of which none is better in all,
    and a line through the values and errors of each trial.
    """
    figure, (panel,), (wide,) = _folded(1, 7.0, 3.8, row_below=True)
    table = np.array(errors, dtype=float)
    strong = np.array(best)
    panel.plot(
        table[:, 0],
        table[:, 1],
        "o",
        color=TRIED,
        markersize=4,
        alpha=0.6,
        label="trial",
    )
    chosen = table[strong][np.argsort(table[strong, 0])]
    steps = "-D" if len(labels) == 2 else "D"
    panel.plot(
        chosen[:, 0],
        chosen[:, 1],
        steps,
        color=BEST,
        markersize=5,
        linewidth=0.8,
        label="none is better in all",
    )
    panel.set_xlabel(labels[0])
    panel.set_ylabel(labels[1])
    measured = [
        Varied(label.split(": ")[-1], table[:, number], [], log=False)
        for number, label in enumerate(labels)
    ]
    _coordinates(wide, [*keys, *measured], strong, "")
    canvas.legend_below(figure, panel, shown=1)
    canvas.add_title(figure, title)
    return figure


def _folded(
    count: int, width: float, height: float, *, row_below: bool
) -> tuple[Figure, list[Axes], list[Axes]]:
    """Panels, and one below them that is as wide as the figure, if there shall be one."""
    columns = canvas.columns_of(count, width, 3)
    figure, grid = canvas.subplots(
        -(-count // columns) + row_below,
        columns,
        width,
        height,
        count,
    )
    wide_panels = []
    place = grid[-1][0].get_subplotspec()
    if row_below and place is not None:
        for panel in grid[-1]:
            panel.remove()
        wide_panels = [figure.add_subplot(place.get_gridspec()[-1, :])]
    return figure, [panel for row in grid for panel in row][:count], wide_panels


def _coordinates(panel: Axes, axes: Sequence[Varied], strong: np.ndarray, label: str) -> None:
    """A line through the values of each trial on parallel axes; bold for strong ones."""
    lines = np.empty((len(strong), len(axes)))
    room = canvas.characters(inches=canvas.page_width() / (len(axes) + 1))
    for number, axis in enumerate(axes):
        lines[:, number], ticks = _on_axis(axis)
        panel.axvline(number, color="black", linewidth=0.8)
        lower = 34 if number % 2 and len(axes) > 4 else 6  # names have room for two then
        name = canvas.wrap(_words(axis.name), room * (1 + (len(axes) > 4)) - 1)
        style: canvas.Style = {"textcoords": "offset points", "fontsize": canvas.small()}
        panel.annotate(
            name,
            (number, 0),
            (0, -canvas.sized(lower)),
            ("data", "axes fraction"),
            va="top",
            ha="center",
            **style,
        )
        aside, side = (-4, "right") if number == 0 else (4, "left")
        for place, text in ticks:
            panel.annotate(
                canvas.wrap(text, room),
                (number, place),
                (aside, 0),
                va="center",
                ha=side,
                bbox=BOX,
                **style,
            )
    whole = np.isfinite(lines).all(axis=1)
    panel.plot(lines[whole & ~strong].T, color=TRIED, alpha=0.3, linewidth=0.8)
    panel.plot(lines[whole & strong].T, color=BEST, linewidth=1.5, label=label)
    panel.set_xlim(-0.05, len(axes) - 0.95)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)


def _on_axis(axis: Varied) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """The places of values on an axis from 0 to 1, and those of the texts beside it."""
    if axis.choices:
        places = np.linspace(0, 1, len(axis.choices)) if len(axis.choices) > 1 else np.array([0.5])
        where = [places[axis.choices.index(str(value))] for value in axis.values]
        return np.array(where), list(zip(places.tolist(), axis.choices, strict=True))
    numbers = np.array(axis.values, dtype=float)
    low = np.nanmin(numbers)
    high = np.nanmax(numbers)
    if low == high:
        return np.where(np.isfinite(numbers), 0.5, np.nan), [(0.5, f"{low:.3g}")]
    texts = [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")]
    if axis.log:
        numbers = np.log(numbers)
        low, high = np.log([low, high])
    return (numbers - low) / (high - low), texts


def _words(name: str) -> str:
    """Keys with + between them, or the name of an error, in words."""
    return ", ".join(key_in_words(one).replace("_", " ") for one in name.split("+"))


def _against_key(
    panel: Axes, key: Varied, values: np.ndarray, pruned: np.ndarray, best: int
) -> None:
    """The errors of all trials against the values of a key, with its importance."""
    if key.choices:
        where = np.array([key.choices.index(str(value)) for value in key.values], dtype=float)
        room = max(42 // len(key.choices), 5)
        names = [canvas.wrap(name, room) for name in key.choices]
        panel.set_xticks(range(len(names)), names)
        panel.set_xlim(-0.5, len(key.choices) - 0.5)
        if None in map(number_in, key.choices):  # numbers beside their tick would be read as others
            # else equal values hide each other
            where += np.random.default_rng(0).uniform(-0.15, 0.15, len(where))
        _scatter(panel, where, values, pruned, best)
    else:
        _scatter(
            panel,
            np.asarray(key.values, dtype=float),
            values,
            pruned,
            best,
        )
        if key.log:
            panel.set_xscale("log")
    panel.set_xlabel(canvas.wrap(_words(key.name), 30))
    if key.importance is not None:
        panel.set_title(f"importance {100 * key.importance:.0f} %", fontsize=canvas.sized(9))


def _scatter(
    panel: Axes, where: np.ndarray, values: np.ndarray, pruned: np.ndarray, best: int
) -> None:
    tried: canvas.Style = {"color": TRIED, "markersize": 4, "alpha": 0.6, "label": "trial"}
    panel.plot(where[~pruned], values[~pruned], "o", **tried)
    if pruned.any():
        given_up: canvas.Style = {"color": PRUNED, "markersize": 4, "label": "given up early"}
        panel.plot(where[pruned], values[pruned], "x", **given_up)
    panel.plot(
        where[best],
        values[best],
        "D",
        color=BEST,
        markersize=6,
        label="best",
    )
