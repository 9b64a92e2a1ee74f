"""Figures of classes: confusion matrix, reliability of probabilities, detection by false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.base.text import in_one_line, without_middle
from qexp.figures.canvas import (
    COLOURS,
    LINE_HEIGHT,
    WIDTH_OF_CHARACTER,
    Style,
    add_title,
    blank,
    legend_below,
    narrow,
    page_width,
    plain_numbers,
    sized,
    small,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.floating]
Codes = NDArray[np.integer]

FALSE_ALARMS = 0.01
"""The false-alarm rate at which detection is told."""

BESIDE_OTHERS, DISTINCT_CURVES, DISTINCT_SHARES = 9, 6, 4
"""Most classes whose matrix has a panel beside it, of which each has a curve that can be told from
the others, and whose probabilities are compared one by one rather than those of the likeliest."""

BINS, LEAST_IN_BIN = 10, 10
"""Bins of probabilities, of equal width; one with fewer samples is joined with the next."""

NO_FALSE_ALARMS = 1e-9
"""Where a rate of zero is on a logarithmic axis: to the left of what is drawn."""

LINES, MARKERS = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))), "osD^v<"
"""What tells the classes apart without colours."""

LONGEST_NAME, HEIGHT_OF_ROW = 24, 0.15
"""Characters of a class beside the matrix; height of a row of it [inch]."""


@dataclass(frozen=True)
class Curve:
    """The receiver operating characteristic of a class against the rest.

    false_alarms  share of the samples of other classes above each threshold, ascending
    detected      share of the class above it
    area          below the curve
    others        number of samples of other classes
    """

    name: str
    false_alarms: Array
    detected: Array
    area: float
    others: int

    def __str__(self) -> str:
        """`basalt: AUC 0.953, 71 % at 1 %`."""
        at_rate = self.detected[self.false_alarms <= FALSE_ALARMS].max()
        rates = f"{100 * at_rate:.0f} % at {100 * FALSE_ALARMS:g} %"
        return f"{without_middle(self.name, LONGEST_NAME)}: AUC {self.area:.3f}, {rates}"


def class_panels(names: Sequence[str], codes: Array, probabilities: Array, title: str) -> Figure:
    """Confusion matrix, reliability of the probabilities with their histogram, and detection of
    each class against the rest by false alarms, on a linear and on a logarithmic axis.

    names          of the classes, in the order of their codes
    codes          (sample,) true classes 0, 1, …; NaN where unknown
    probabilities  (sample, class)
    Samples without a true class or without probabilities are left out, which the caption says.
    """
    names = [in_one_line(name) for name in names]
    known = np.isfinite(codes) & np.isfinite(probabilities).all(axis=1)
    true = codes[known].astype(int)
    stated = probabilities[known].astype(np.float64).clip(0, 1)
    figure, axes = _panels(len(names))
    curves = curves_of(names, true, stated)
    styles = _draw_curves(axes["roc"], axes["low"], curves)
    _draw_reliability(axes["shares"], axes["histogram"], names, true, stated, styles)
    legend_below(figure, axes["roc"], shown=1)
    explained = ["vertical lines: 95 % intervals"]
    if len(names) > len(curves):
        absent = [name for name in names if name not in {curve.name for curve in curves}]
        explained.append(f"no curve, for lack of samples: {', '.join(absent)}")
    if lack := int((~known).sum()):
        explained.append(f"left out: {lack:,} without a true class or an estimate")
    add_title(figure, title, caption="; ".join(explained))
    _draw_matrix(figure, axes["matrix"], names, confusion(true, stated))
    return figure


def confusion(true: Codes, stated: Array) -> NDArray[np.int64]:
    """Numbers of samples by true class and likeliest class, (class, class)."""
    counts = np.zeros((stated.shape[1], stated.shape[1]), dtype=np.int64)
    np.add.at(counts, (true, stated.argmax(axis=1)), 1)
    return counts


def curves_of(names: Sequence[str], true: Codes, stated: Array) -> list[Curve]:
    """The curve of each class that some samples belong to and others do not."""
    from sklearn.metrics import auc, roc_curve

    curves = []
    for code, name in enumerate(names):
        belongs = true == code
        if belongs.any() and not belongs.all():
            rates = roc_curve(belongs, stated[:, code], drop_intermediate=False)[:2]
            curves.append(Curve(name, *rates, float(auc(*rates)), int((~belongs).sum())))
    return curves


def reliability(stated: Array, right: NDArray[np.bool_]) -> Array:
    """Mean probability, share that is right, and its 95 % Clopper–Pearson interval, (4, bin).

    stated, right  (sample,)
    """
    from scipy.stats import binomtest

    sizes = [0]
    for number in np.histogram(stated, BINS, (0, 1))[0]:
        sizes[-1] += int(number)
        if sizes[-1] >= LEAST_IN_BIN:
            sizes.append(0)
    last = sizes.pop()
    sizes = sizes or [0]
    sizes[-1] += last
    bins = []
    for members in np.split(np.argsort(stated, kind="stable"), np.cumsum(sizes)[:-1]):
        test = binomtest(int(right[members].sum()), len(members))
        interval = test.proportion_ci(confidence_level=0.95, method="exact")
        bins.append([stated[members].mean(), test.statistic, interval.low, interval.high])
    return np.array(bins).T


def _draw_curves(whole: Axes, low: Axes, curves: Sequence[Curve]) -> dict[str, Style]:
    """Draw the curves, of many those of least area in colours. Returns class → its style."""
    order = sorted(range(len(curves)), key=lambda number: curves[number].area)
    if len(curves) > DISTINCT_CURVES:
        others = [curves[number] for number in order[DISTINCT_CURVES - 1 :]]
        areas = f"AUC {others[0].area:.3f} to {others[-1].area:.3f}"
        order = order[: DISTINCT_CURVES - 1]
        faint: Style = {"color": "0.75", "linewidth": 0.7, "zorder": 1.5}
        for number, curve in enumerate(others):
            label = "" if number else f"{len(others)} others: {areas}"
            _draw_curve(whole, low, curve, label, faint)
    styles = {}
    for number, code in enumerate(sorted(order)):
        curve = curves[code]
        styles[curve.name] = {"color": COLOURS[number], "linestyle": LINES[number]}
        _draw_curve(whole, low, curve, str(curve), {"linewidth": 1.3, **styles[curve.name]})
    least = 1 / max((curve.others for curve in curves), default=1)
    for axis in (whole, low):
        axis.axvline(FALSE_ALARMS, color="0.4", linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        axis.set_ylim(-0.03, 1.03)
    whole.plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=1)
    whole.set(xlim=(-0.03, 1.03), ylabel="share detected")
    low.set(xscale="log", xlim=(min(least, FALSE_ALARMS) / 2, 1))
    plain_numbers(low.xaxis)
    rate: Style = {"va": "bottom", "fontsize": small(), "color": "0.4"}
    low.text(1.1 * FALSE_ALARMS, -0.02, f"{100 * FALSE_ALARMS:g} %", **rate)
    return styles


def _draw_curve(whole: Axes, low: Axes, curve: Curve, label: str, style: Style) -> None:
    whole.plot(curve.false_alarms, curve.detected, label=label, **style)
    # what a threshold can reach, from where there is no false alarm on
    from_left = np.maximum(curve.false_alarms, NO_FALSE_ALARMS)
    low.plot(from_left, curve.detected, drawstyle="steps-post", **style)


def _draw_reliability(
    shares: Axes,
    histogram: Axes,
    names: Sequence[str],
    true: Codes,
    stated: Array,
    styles: dict[str, Style],
) -> None:
    """Of each of a few classes in its style; else of the likeliest class of each sample."""
    right = true == stated.argmax(axis=1)
    drawn = [(stated.max(axis=1), right, {"color": COLOURS[0], "linestyle": "-"})]
    words = "probability of the likeliest class", "share that is right"
    if len(names) <= DISTINCT_SHARES:
        words = "stated probability of a class", "share that belongs to it"
        codes = [code for code, name in enumerate(names) if name in styles]
        drawn = [(stated[:, code], true == code, styles[names[code]]) for code in codes]
    shares.plot([0, 1], [0, 1], color="0.6", linewidth=1, zorder=1)
    for marker, (probability, belongs, style) in zip(MARKERS, drawn, strict=False):
        middle, share, low, high = reliability(probability, belongs)
        shares.vlines(middle, low, high, color=style["color"], alpha=0.5, linewidth=1.1)
        shares.plot(middle, share, marker=marker, markersize=sized(4), linewidth=1, **style)
        histogram.hist(probability, 2 * BINS, (0, 1), histtype="step", log=True, **style)
    shares.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), ylabel=words[1])
    histogram.set(xlabel=words[0], ylabel="samples", ylim=(0.7, None))
    plain_numbers(histogram.yaxis)


def _draw_matrix(
    figure: Figure, axis: Axes, names: Sequence[str], counts: NDArray[np.int64]
) -> None:
    """Counts in the cells if these have room for them; to be called after all else is drawn."""
    from matplotlib import colormaps

    numbers = counts.sum(axis=1)
    share = np.where(numbers > 0, counts.T / np.maximum(numbers, 1), np.nan).T
    colours = colormaps["Blues"].with_extremes(bad="0.9")
    image = axis.imshow(share, colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    longest = LONGEST_NAME // (1 + narrow())
    short = [without_middle(name, longest).replace("$", r"\$") for name in names]
    rows = [f"{name}  ({number:,})" for name, number in zip(short, numbers, strict=True)]
    places = range(len(names))
    axis.set_yticks(places, rows)
    axis.set(xlabel="estimated", ylabel="true  (samples)")
    right = f"{100 * counts.trace() / numbers.sum():.1f} % of {numbers.sum():,} right"
    axis.set_title(right, fontsize=small())
    axis.tick_params(length=0)
    axis.spines[:].set_visible(True)
    bar = figure.colorbar(image, ax=axis, pad=0.02, aspect=30)
    bar.set_label("share of the true class", fontsize=small())
    bar.ax.tick_params(labelsize=small())
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)
    box = axis.get_window_extent()
    wide, high = (length / len(names) / figure.dpi for length in (box.width, box.height))
    if wide < sized(LINE_HEIGHT):
        axis.xaxis.set_major_formatter(lambda place, _: f"{place + 1:g}")
        axis.set_xticks(places)
        axis.set_yticks(places, [f"{row}  {place + 1}" for place, row in enumerate(rows)])
    else:
        upright = sized(WIDTH_OF_CHARACTER) * max(map(len, short)) > wide
        axis.set_xticks(places, short, rotation=90 * upright)
    if sized(WIDTH_OF_CHARACTER) * len(f"{counts.max():,}") > wide or sized(HEIGHT_OF_ROW) > high:
        return
    text: Style = {"ha": "center", "va": "center", "fontsize": small(), "in_layout": False}
    for row, column in np.argwhere(counts > 0):
        colour = "white" if share[row, column] > 0.5 else "black"
        axis.text(column, row, f"{counts[row, column]:,}", color=colour, **text)


def _panels(count: int) -> tuple[Figure, dict[str, Axes]]:
    """Empty panels for so many classes, by name; each part of the figure has its own margins."""
    high = max(3.3, HEIGHT_OF_ROW * count + 1.0)
    beside = not narrow() and count <= BESIDE_OTHERS
    heights = [high, 2.8, 2.4] if narrow() else [high, 3.0]
    figure = blank(page_width(), sized(sum(heights)))
    figure.set_layout_engine("constrained")
    parts = list(figure.subfigures(len(heights), 1, height_ratios=heights))
    if beside:
        parts[:1] = parts[0].subfigures(1, 2, width_ratios=[1.1, 1.0])
    elif not narrow():
        parts[1:] = parts[1].subfigures(1, 2, width_ratios=[1.0, 1.9])
    matrix, shares, curves = parts
    axes = {"matrix": matrix.subplots()}
    ratios = {"height_ratios": [2.2, 1.0]}
    axes["shares"], axes["histogram"] = shares.subplots(2, sharex=True, gridspec_kw=ratios)
    axes["roc"], axes["low"] = curves.subplots(1, 2, sharey=True)
    curves.supxlabel("false-alarm rate", fontsize=sized(10))
    for axis in axes.values():
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=small())
    return figure, axes
