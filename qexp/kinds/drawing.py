"""The figures of a run, drawn from the files in its directory: no training, no network, no torch."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from qexp.base import files
from qexp.errors import QexpError
from qexp.figures.canvas import FORMATS, require_formats, save, styled
from qexp.jobs.states import Watch
from qexp.kinds.figures import FigureOfRun, MissingNumbersError
from qexp.kinds.images.figures import CALIBRATION_FIGURES
from qexp.kinds.images.matrix_figures import matrix_of
from qexp.spec.experiences import type_name
from qexp.spec.kinds import part_of
from qexp.store.directory import MATRIX, RunDirectory
from qexp.store.evaluations import EvaluationDirectory
from qexp.store.record import State


def draw_matrix(folder: Path) -> None:
    """Draw `matrix.png` of a matrix."""
    save(matrix_of(folder), (folder / MATRIX).with_suffix(".png"))


def draw(
    directory: RunDirectory,
    formats: Sequence[str] = ("png",),
    style: Path | None = None,
    only: Collection[str] = (),
    left_out: Callable[[str], None] = warnings.warn,
) -> list[Path]:
    """Draw the figures of an evaluated run from its files. Returns the paths of the pictures.

    formats   of `FORMATS`: each figure is written in all of them
    style     a matplotlib style file
    only      names of figures; all figures of the run if empty
    left_out  called with the reason for each figure whose numbers an older version of qexp did not write
    Raises QexpError if the run has no results yet, if an argument is wrong, or if a figure that `only` names, or all of
    them, cannot be drawn.
    """
    known = figures_of(directory)
    if not known:
        raise QexpError(f"{directory.name} is a run of a program, of which qexp draws no figures")
    _check(directory, known, formats, only)
    drawn: list[Path] = []
    missing: list[str] = []
    with styled(style):
        for name, figure in known.items():
            if only and name not in only:
                continue
            before = len(drawn)
            try:
                for place, made in figure(directory):
                    for path in _files(directory.path / place, formats):
                        files.make_folder(path.parent)
                        save(made, path)
                        drawn.append(path)
            except MissingNumbersError as lack:
                missing.append(f"{directory.name}: '{name}' is not drawn: {lack}")
            else:
                if name in only and len(drawn) == before:
                    missing.append(f"{directory.name}: '{name}' is not drawn: the run has no numbers for it")
    if missing and (only or not drawn):
        raise QexpError("\n".join(missing))
    for reason in missing:
        left_out(reason)
    return drawn


def figures_of(directory: RunDirectory) -> Mapping[str, FigureOfRun]:
    """The figures that a run of its type and its kind of dataset, or an evaluation of it, can have, by name."""
    spec = directory.spec()
    known = TYPES[type_name(spec)](spec)
    if isinstance(directory, EvaluationDirectory):
        return {name: figure for name, figure in known.items() if name not in OF_TRAINING}
    return known


def _check(directory: RunDirectory, known: Collection[str], formats: Sequence[str], only: Collection[str]) -> None:
    require_formats(formats)
    for name in only:
        if name not in known:
            raise QexpError(f"{directory.name} has no figure '{name}'; its figures are {', '.join(known)}")
    file = directory.evaluation_file()
    if file.is_file():
        return
    record, state = directory.record(), Watch().state(directory)
    if record.foreign_weights is not None:
        raise QexpError(
            f"{directory.name} has weights from elsewhere and was not evaluated; its matrices have figures of their own"
        )
    again = shlex.join(record.command)
    where = file.relative_to(directory.path)
    if state is State.DONE:
        raise QexpError(f"{directory.name} is done, but {where} is gone; run it again: {again} --name NEW_NAME")
    name = "" if record.name == f"{record.experience}_{record.seed}" else f" --name {record.name}"
    raise QexpError(
        f"{directory.name} is {state.words} and has no results to draw, no {where}; finish it: {again}{name} --resume"
    )


def _files(place: Path, formats: Sequence[str]) -> list[Path]:
    """One file per format, or a single one if the name of the figure already has an ending."""
    if place.suffix.removeprefix(".") in FORMATS:
        return [place]
    return [place.with_name(f"{place.name}.{ending}") for ending in formats]


# The figures of a run, by the kind of its dataset.


OF_TRAINING = frozenset(("learning_curve", "fold_curves", "matrix", *CALIBRATION_FIGURES))
"""Figures of a run's training and matrices, which evaluations on other data do not have."""

TYPES: Mapping[str, Callable[[dict[str, Any]], Mapping[str, FigureOfRun]]] = {
    "training": lambda spec: part_of(spec["dataset"], "figures"),
    "command": lambda spec: {},
}
"""The value of `type` in an experience → the figures of its runs, from the resolved spec."""
