"""Figures of a run on images, from the files that its evaluation wrote."""

from __future__ import annotations

from collections.abc import Mapping

from qexp.figures.scatter import estimates_against_truth
from qexp.runs.figures.sources import FIGURES_FOLDER, FigureOfRun, Pictures, columns, learning_curve, numbers
from qexp.runs.record.directory import RunDirectory


def estimates(directory: RunDirectory) -> Pictures:
    of_images, units = columns(directory.results / "estimates.csv"), directory.record().units
    pairs = {name: (numbers(of_images[name]), numbers(of_images[f"{name}_estimate"])) for name in units}
    yield FIGURES_FOLDER / "estimates", estimates_against_truth(pairs, units, directory.name)


OF_IMAGES: Mapping[str, FigureOfRun] = {"learning_curve": learning_curve, "estimates": estimates}
