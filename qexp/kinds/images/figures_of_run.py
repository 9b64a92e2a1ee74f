"""The figures of a run on simulated images."""

from __future__ import annotations

from collections.abc import Mapping

from qexp.kinds.calibration_figures import CALIBRATION_FIGURES
from qexp.kinds.figures import FigureOfRun, learning_curve
from qexp.kinds.images.figures import TEST_ESTIMATES, estimates
from qexp.kinds.matrix_figures import matrix

FIGURES: Mapping[str, FigureOfRun] = {
    "learning_curve": learning_curve,
    TEST_ESTIMATES: estimates,
    **CALIBRATION_FIGURES,
    "matrix": matrix,
}
"""By name."""
