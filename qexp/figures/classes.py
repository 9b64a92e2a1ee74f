"""Figures of classes: confusion matrix, reliability of probabilities, detection by false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.text import in_one_line, without_middle
from qexp.figures import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
Styles = dict[int, canvas.Style]

FALSE_ALARMS, LOGARITHMIC_ZERO = 0.01, 1e-9
"""The rate of false alarms at which detection is told; where none is on a logarithmic axis."""

MOST_CURVES, MOST_SHARES, BINS, LEAST_IN_BIN = 6, 4, 10, 10
"""Classes with coloured curves; classes whose probabilities are shown one by one, rather than those
of the likeliest; bins of probabilities, which are joined where they have fewer samples."""

LINES, MARKERS = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3))), "osD^"
"""What tells classes apart without colours."""

OF_OTHERS: canvas.Style = {"color": "0.75", "linewidth": 0.7, "zorder": 1.5}
DIAGONAL: canvas.Style = {"color": "0.6", "linewidth": 1, "zorder": 1}
LINE_OF_RATE: canvas.Style = {"color": "0.4", "linewidth": 0.8, "linestyle": ":", "zorder": 1}
STEPS: canvas.Style = {"bins": 2 * BINS, "range": (0, 1), "histtype": "step", "log": True}
SHADES: canvas.Style = {"cmap": "Blues", "vmin": 0, "vmax": 1, "aspect": "auto"}
UNIT_SQUARE: canvas.Style = {"xlim": (-0.03, 1.03), "ylim": (-0.03, 1.03)}

EXPLAINED = (
    "shade: share of the row; vertical lines: 95 % intervals; last number of a class:"
    " share detected at that rate of false alarms"
)

LONGEST_NAME, HEIGHT_OF_ROW = 24, 0.15
"""Characters of a class on a page of two columns; least height of a row of the matrix [inch]."""


def class_panels(names: Sequence[str], codes: Array, probabilities: Array, title: str) -> Figure:
    """Confusion matrix, reliability of the probabilities with their histogram, and detection of
    each class against the rest by false alarms, on a linear and on a logarithmic axis.

    names          of the classes, in the order of their codes
    codes          (sample,) true classes 0, 1, …; NaN where unknown
    probabilities  (sample, class); those of one sample or more must be known, with its class
    Samples without a true class or without probabilities are left out, which the caption says.
    """
    known = np.isfinite(codes) & np.isfinite(probabilities).all(axis=1)
    true = codes[known].astype(int)
    stated = probabilities[known].astype(np.float64).clip(0, 1)
    longest = LONGEST_NAME // (1 + canvas.narrow())
    short = [without_middle(in_one_line(name), longest) for name in names]
    heights = [1.2 + max(HEIGHT_OF_ROW * len(names), 1.4)]
    heights += [2.8, 2.4] if canvas.narrow() else [3.0]
    figure = canvas.blank(canvas.page_width(), canvas.sized(sum(heights)))
    figure.set_layout_engine("constrained")
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    upper, *lower = parts
    shares, curves = lower if lower[1:] else lower[0].subfigures(1, 2, width_ratios=(1, 1.9))
    _draw_matrix(upper.subplots(), short, true, stated)
    styles = _draw_curves(curves.subplots(1, 2, sharey=True), short, true, stated)
    curves.supxlabel("false-alarm rate", fontsize=canvas.sized(10))
    ratios = {"height_ratios": (2.2, 1)}
    _draw_shares(shares.subplots(2, sharex=True, gridspec_kw=ratios), true, stated, styles)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=canvas.small())
    canvas.legend_below(figure, *figure.axes, shown=1)
    words = EXPLAINED
    if len(names) > MOST_CURVES:
        words += "; grey: classes of larger AUC"
    if not known.all():
        words += f"; left out: {(~known).sum():,} without a true class or an estimate"
    canvas.add_title(figure, title, caption=words)
    return figure


def reliability(stated: Array, right: Array) -> Array:
    """Mean probability, share that is right, and its 95 % Clopper–Pearson interval, (bin, 4).

    stated, right  (sample,)
    """
    from scipy.stats import binomtest

    order = np.argsort(stated, kind="stable")
    cuts = [0]
    edges = np.arange(1, BINS) / BINS
    for cut in np.searchsorted(stated[order], edges):
        if min(cut - cuts[-1], len(order) - cut) >= LEAST_IN_BIN:
            cuts.append(int(cut))
    bins = []
    for members in np.split(order, cuts[1:]):
        test = binomtest(int(right[members].sum()), len(members))
        interval = test.proportion_ci(0.95, "exact")
        bins.append([stated[members].mean(), test.statistic, *interval])
    return np.array(bins)


def _draw_matrix(axis: Axes, names: Sequence[str], true: Array, stated: Array) -> None:
    from sklearn.metrics import confusion_matrix

    places = range(len(names))
    columns = [name.replace("$", r"\$") for name in names]
    counts = confusion_matrix(true, stated.argmax(axis=1), labels=places)
    numbers = counts.sum(axis=1, keepdims=True)
    share = counts / np.where(numbers > 0, numbers, np.nan)
    axis.set_facecolor("0.85")  # of a class without samples
    axis.imshow(share, interpolation="nearest", **SHADES)
    pairs = zip(columns, numbers.flat, strict=True)
    rows = [f"{name}  ({number:,})" for name, number in pairs]
    character = canvas.sized(canvas.WIDTH_OF_CHARACTER)
    longest, widest = (max(map(len, texts)) for texts in (names, rows))
    room = (canvas.page_width() - character * widest - 1) / len(names)
    if character * longest > room:
        columns = [str(place + 1) for place in places]
        rows = [f"{row}  {number}" for row, number in zip(rows, columns, strict=True)]
    axis.set_yticks(places, rows)
    axis.set_xticks(places, columns)
    axis.set(xlabel="estimated", ylabel="true  (samples)")
    right = 100 * counts.trace() / len(true)
    words = f"{right:.1f} % of {len(true):,} right"
    axis.set_title(words, fontsize=canvas.small())
    axis.tick_params(length=0)
    if character * len(f"{counts.max():,}") > room:
        return
    text: canvas.Style = {"ha": "center", "va": "center", "fontsize": canvas.small()}
    for row, column in np.argwhere(counts):
        words = f"{counts[row, column]:,}"
        colour = "white" if share[row, column] > 0.5 else "black"
        axis.text(column, row, words, color=colour, in_layout=False, **text)


def _draw_curves(axes: Sequence[Axes], names: Sequence[str], true: Array, stated: Array) -> Styles:
    """Draw the curves of classes with samples. Returns code → style, of the least areas."""
    from sklearn.metrics import auc, roc_curve

    whole, low = axes
    curves = {}
    areas: dict[int, float] = {}
    for code in range(len(names)):
        belongs = true == code
        if 0 < belongs.sum() < len(true):
            curve = roc_curve(belongs, stated[:, code], drop_intermediate=False)
            curves[code] = curve[:2]
            areas[code] = auc(*curve[:2])
    coloured = sorted(areas, key=areas.__getitem__)[:MOST_CURVES]
    styles = Styles()
    for code, (false_alarms, detected) in curves.items():
        style = OF_OTHERS
        label = None
        if code in coloured:
            number = len(styles)
            style = {"color": canvas.COLOURS[number], "linestyle": LINES[number]}
            styles[code] = style
            others = int((true != code).sum())
            rate = "1 %" if others * FALSE_ALARMS >= 1 else f"0 of {others}"
            reached = detected[false_alarms <= FALSE_ALARMS]
            share = 100 * reached.max()
            label = f"{names[code]}: AUC {areas[code]:.3f}, {share:.0f} % at {rate}"
        whole.plot(false_alarms, detected, label=label, **style)
        # what a threshold can reach, also where no false alarm is left
        rates = np.maximum(false_alarms, LOGARITHMIC_ZERO)
        low.plot(rates, detected, drawstyle="steps-post", **style)
    whole.plot((0, 1), (0, 1), **DIAGONAL)
    whole.set(ylabel="share detected", **UNIT_SQUARE)
    low.set(xscale="log", xlim=(min(1 / len(true), FALSE_ALARMS / 2), 1))
    canvas.plain_numbers(low.xaxis)
    low.set_title("dotted: 1 %", fontsize=canvas.small())
    for axis in axes:
        axis.axvline(FALSE_ALARMS, **LINE_OF_RATE)
    return styles


def _draw_shares(axes: Sequence[Axes], true: Array, stated: Array, styles: Styles) -> None:
    """Of each of a few classes in its style; else of the likeliest class of each sample."""
    shares, histogram = axes
    drawn = []
    if 0 < len(styles) <= MOST_SHARES:
        words = "stated probability of a class", "share in the class"
        for code, style in styles.items():
            drawn.append((stated[:, code], true == code, style))
    else:
        words = "probability of the likeliest class", "share that is right"
        right = true == stated.argmax(axis=1)
        drawn.append((stated.max(axis=1), right, {"color": canvas.COLOURS[0]}))
    shares.plot((0, 1), (0, 1), **DIAGONAL)
    for marker, (probability, belongs, style) in zip(MARKERS, drawn, strict=False):
        middle, share, low, high = reliability(probability, belongs).T
        shares.vlines(middle, low, high, color=style["color"], alpha=0.5)
        size = canvas.sized(4)
        shares.plot(middle, share, marker=marker, markersize=size, linewidth=1, **style)
        histogram.hist(probability, **STEPS, **style)
    shares.set(ylabel=words[1], **UNIT_SQUARE)
    histogram.set(xlabel=words[0], ylabel="samples", ylim=(0.7, None))
    canvas.plain_numbers(histogram.yaxis)
