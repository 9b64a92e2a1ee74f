"""Estimates against true values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.figures.canvas import COLOURS, TITLE, panels, plain_numbers, sized
from qexp.quantities import label

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def estimates_against_truth(
    outputs: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]],
    units: Mapping[str, str],
    title: str,
    limits: Mapping[str, float] | None = None,
    intervals: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]] | None = None,
) -> Figure:
    """A panel per output with the identity line.

    outputs    name → true values and estimates, (sample,) each, in the output's unit
    limits     name → the mean absolute error of exact posterior medians, where it is known
    intervals  name → lower and upper ends of the posteriors' 90 % intervals, (sample,) each
    """
    made, axes = panels(len(outputs), 3.9, 4.0)
    for axis, (name, (truth, estimate)) in zip(axes, outputs.items(), strict=True):
        unit = units.get(name, "")
        both = np.concatenate([truth, estimate])
        finite = both[np.isfinite(both)]
        positive = len(finite) > 0 and finite.min() > 0 and finite.max() > 10 * finite.min()
        low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
        axis.plot([low, high], [low, high], color="0.6", linewidth=1, zorder=1)
        ends = (intervals or {}).get(name)
        if ends is not None:
            axis.vlines(truth, *ends, color=COLOURS[0], alpha=0.25, linewidth=0.8, zorder=1.5)
        axis.scatter(truth, estimate, s=7, color=COLOURS[0], alpha=0.5, linewidths=0, zorder=2)
        if positive:
            axis.set_xscale("log")
            axis.set_yscale("log")
            plain_numbers(axis.xaxis)
            plain_numbers(axis.yaxis)
        axis.set_aspect("equal", adjustable="box")
        axis.set_xlabel(f"true {label(name, unit)}")
        axis.set_ylabel(f"estimated {label(name, unit)}")
        error = np.mean(np.abs(estimate.astype(np.float64) - truth))
        known = f" (limit {limits[name]:.3g})" if limits and name in limits else ""
        held = "" if ends is None else f"; {100 * np.mean((ends[0] <= truth) & (truth <= ends[1])):.0f} % inside"
        short = known or held
        words = f"{'mean |error|' if short else 'mean absolute error'} {error:.3g} {unit}".rstrip() + known + held
        axis.set_title(words, fontsize=sized(9), y=TITLE)
    lines = "; lines: 90 % intervals" if intervals else ""
    made.suptitle(f"{title}{lines}", fontsize=sized(10), y=0.99)
    return made
