"""Figures of runs on rows of a table: estimates of held-out rows, and learning curves of the folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from qexp.estimates import spread_of
from qexp.figures.fold_curves import FoldCurve
from qexp.figures.fold_curves import fold_curves as curves_of_folds
from qexp.figures.predicted_vs_measured import HeldOut, estimates_against_measured, residuals_by_group
from qexp.runs.figures.sources import (
    FIGURES_FOLDER,
    FigureOfRun,
    Pictures,
    coverage,
    ends_of_intervals,
    missing,
    outputs,
    table,
    texts,
    truth_and_estimate,
    unit,
)
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.held_out_intervals import USUAL
from qexp.spec.kinds.kind import TEST_PREDICTIONS
from qexp.spec.kinds.tabular import grouped_by

if TYPE_CHECKING:
    import xarray


def held_out(directory: RunDirectory) -> Pictures:
    """Estimates of held-out rows against measured values, a panel per output."""
    rows = table(directory.results / TEST_PREDICTIONS)
    named = directory.spec()["dataset"]["identifiers"]
    words = "standard deviation over the networks" + (" of a fold" if directory.held_out else "")
    note = directory.record().caution
    drawn = {
        name: replace(one, interval=ends_of_intervals(directory, name))
        for name, one in _of_outputs(rows, _names(rows, named)).items()
    }
    made = estimates_against_measured(drawn, words, note, _what(directory), f"{100 * USUAL:g} % intervals")
    yield FIGURES_FOLDER / "held_out", made


def residuals(directory: RunDirectory) -> Pictures:
    """Residuals of the estimates by group; no figure if the rows have no groups."""
    rows = table(directory.results / TEST_PREDICTIONS)
    by = rows.attrs.get("groups", grouped_by(directory.spec()))  # the rows of an evaluation name their own
    if not by:
        return
    if by not in rows:
        raise missing(f"{directory.results / TEST_PREDICTIONS} has no variable '{by}'")
    of_outputs = _of_outputs(rows, _names(rows, ()), texts(rows, by))
    yield FIGURES_FOLDER / "residuals", residuals_by_group(of_outputs, directory.record().caution, _what(directory))


def _what(directory: RunDirectory) -> str:
    return "held-out rows" if directory.held_out else directory.name


def _of_outputs(rows: xarray.Dataset, names: list[str], groups: list[str] | None = None) -> dict[str, HeldOut]:
    known = outputs(rows)
    several = all(np.isfinite(rows[spread_of(name)].values).all() for name in known)
    made = {}
    for name in known:
        (truth, estimate), spread = truth_and_estimate(rows, name), rows[spread_of(name)].values
        ends = (estimate - spread, estimate + spread) if several else None
        made[name] = HeldOut(truth, estimate, names, unit(rows, name), ends, groups)
    return made


def _names(rows: xarray.Dataset, columns: list[str] | tuple[str, ...]) -> list[str]:
    """A label for each row: its identifiers, or its number in the file."""
    if not columns:
        return [str(number) for number in rows["row"].values]
    return [", ".join(values) for values in zip(*(texts(rows, name) for name in columns), strict=True)]


def fold_curves(directory: RunDirectory) -> Pictures:
    """Losses over epochs, a thin line per fold."""
    curves = [_curve(fold) for fold in directory.all_folds()]
    made = curves_of_folds(curves, "transformed values", directory.record().caution)
    yield FIGURES_FOLDER / "fold_curves", made


def _curve(fold: RunDirectory) -> FoldCurve:
    lines = fold.metrics()
    training, validation = (
        np.array([line[part]["loss"] for line in lines], dtype=np.float64) for part in ("train", "validation")
    )
    validated = bool(lines) and bool(lines[0]["validation"]["losses"])
    return FoldCurve(training, validation, fold.record().epochs.best if validated else None)


FIGURES: Mapping[str, FigureOfRun] = {
    "held_out": held_out,
    "residuals": residuals,
    "coverage": coverage,
    "fold_curves": fold_curves,
}
