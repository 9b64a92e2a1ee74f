"""The figures of a run, by the kind of its dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qexp.runs.figures import calibration, generated, gridded, spectra, tabular
from qexp.runs.figures.sources import FigureOfRun

KINDS: Mapping[str, Mapping[str, FigureOfRun]] = {
    "generated": generated.FIGURES,
    "tabular": tabular.FIGURES,
    "gridded": gridded.FIGURES,
    "spectra": spectra.FIGURES,
}
"""Type of the dataset → name of a figure → the function that draws it."""

OF_TRAINING = frozenset(("learning_curve", "fold_curves", "matrix", *calibration.FIGURES))
"""Figures of a run's training and matrices, which evaluations on other data do not have."""

TYPES: Mapping[str, Callable[[dict[str, Any]], Mapping[str, FigureOfRun]]] = {
    "training": lambda spec: KINDS[spec["dataset"]["type"]],
    "command": lambda spec: {},
}
"""The value of `type` in an experience → the figures of its runs, from the resolved spec."""
