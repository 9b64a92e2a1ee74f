"""The figures of a run on images."""

from __future__ import annotations

import numpy as np

from qexp.kinds.figures import FIGURES_FOLDER, Pictures, columns, learning_curve
from qexp.kinds.images.figures import estimates_against_truth
from qexp.store.directory import RunDirectory


def estimates(directory: RunDirectory) -> Pictures:
    """Estimates against labels, a panel per label."""
    found = {name: np.array(texts, dtype=float) for name, texts in columns(directory.results / "estimates.csv").items()}
    names = [name for name in found if f"{name}_estimate" in found]
    pairs = {name: (found[name], found[f"{name}_estimate"]) for name in names}
    units = directory.spec()["dataset"]["units"]
    yield FIGURES_FOLDER / "estimates", estimates_against_truth(pairs, units, f"{directory.name}: test images")


FIGURES = {"learning_curve": learning_curve, "estimates": estimates}
