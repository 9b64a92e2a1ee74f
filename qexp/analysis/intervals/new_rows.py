"""Intervals of new rows and spectra, by the errors of those that a run held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.intervals.folds import OfFolds
from qexp.errors import QexpError
from qexp.metrics import conformal
from qexp.metrics.conformal import Scale
from qexp.metrics.metric import nearest
from qexp.runs.evaluation.held_out import HeldOut, held_out
from qexp.runs.evaluation.kinds import ROW
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.held_out_intervals import USUAL

Array = NDArray[np.float64]

MOST_SCORES = 200
"""More scores are replaced by quantiles of each fold, since they are sorted for every new row."""


@dataclass(frozen=True)
class Rule:
    """How the intervals of one output follow from the estimates of all folds.

    probabilities  of the quantiles of a posterior head that scores are laid around; none: around the estimate
    shares         (pattern, fold): the share of each fold in the estimates of the rows with that pattern of folds
    scores         (score,); likewise the pattern and the weight of each
    """

    scale: Scale
    probabilities: tuple[float, ...]
    shares: Array
    scores: Array
    pattern: NDArray[np.int64]
    weight: Array
    coverage: float

    def ends(self, found: OfFolds) -> tuple[Array, Array]:
        """Lower and upper end, (row,) each, in the output's unit; NaN without an estimate."""
        around = [found.quantiles[one] for one in self.probabilities] or [found.estimate]
        starts = [self.shares @ nearest(one, one[:1], self.scale.period).astype(np.float64) for one in around]
        lower, upper = self.scale.forwarded(starts[0], starts[-1])
        low, high = conformal.cross_interval(lower, upper, self.scores, self.pattern, self.weight, self.coverage)
        unknown = np.isnan(found.estimate).any(axis=0)
        low, high = self.scale.ends(low, high)
        return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


@dataclass(frozen=True)
class NewIntervals:
    """Rules for the intervals of all outputs of a run.

    coverage  what the intervals promise
    rows      what rows they are for: `new rows like those of the training data`
    rules     output → its rule
    """

    coverage: float
    rows: str
    rules: Mapping[str, Rule]

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Of all quantiles of posterior heads that the rules need."""
        return tuple(sorted({one for rule in self.rules.values() for one in rule.probabilities}))

    @property
    def words(self) -> str:
        """`90 % intervals for rows of a new mission`."""
        return f"{100 * self.coverage:.3g} % intervals for {self.rows}"


def new_intervals(directory: RunDirectory, coverage: float | None, folds: Sequence[str]) -> NewIntervals | None:
    """The rules for new rows of a finished run; None if none were asked for and the run has no held-out errors.

    coverage  what the intervals must promise; if left out, 90 % or as much as the number of rows or groups allows
    folds     the names of the run's folds, in the order of `Rule.ends`; one empty name for a run without folds
    Raises QexpError for a coverage that the run cannot promise.
    """
    if coverage is not None:
        return rules_of_run(directory, coverage, folds)
    try:
        return rules_of(held_out(directory), USUAL, folds)
    except QexpError:
        return None


def rules_of_run(directory: RunDirectory, coverage: float, folds: Sequence[str]) -> NewIntervals:
    """The rules for a coverage. Raises QexpError if the run cannot promise it, or has no held-out errors."""
    if not 0 < coverage < 1:
        raise QexpError(f"--interval {coverage:g}: a coverage lies between 0 and 1, such as 0.9")
    outputs = held_out(directory)
    most = conformal.promised(outputs[0].count)
    if coverage > most:
        raise QexpError(
            f"--interval {coverage:g}: {directory.name} held out {outputs[0].count} {_units(outputs[0])}, which "
            f"promise no more than {_rounded_down(most):g}; ask for that"
        )
    return rules_of(outputs, coverage, folds)


def rules_of(outputs: Sequence[HeldOut], coverage: float, folds: Sequence[str]) -> NewIntervals:
    """The rules for a coverage, or for the largest that the number of rows or groups allows.

    outputs  the held-out rows of a run; `folds` as for `new_intervals`
    """
    given = min(coverage, conformal.promised(outputs[0].count))
    return NewIntervals(given, _rows(outputs[0]), {one.output: _rule(one, given, folds) for one in outputs})


def _rule(rows: HeldOut, coverage: float, folds: Sequence[str]) -> Rule:
    patterns = [one or ("",) for one in rows.patterns]
    shares = np.array([[pattern.count(fold) / len(pattern) for fold in folds] for pattern in patterns])
    weight, scores = conformal.weights(rows.units), rows.scores(coverage)
    probabilities = rows.probabilities(coverage)
    if len(patterns) == 1:  # one network: the quantile alone says all
        radius = conformal.quantile(scores, weight, coverage)
        return Rule(rows.scale, probabilities, shares, radius[None], np.zeros(1, np.int64), np.ones(1), coverage)
    kept = conformal.thinned(scores, rows.pattern, weight, MOST_SCORES, coverage)
    return Rule(rows.scale, probabilities, shares, *kept, coverage)


def _units(rows: HeldOut) -> str:
    return "rows" if rows.unit == ROW else f"groups ({rows.unit})"


def _rows(rows: HeldOut) -> str:
    return "new rows like those of the training data" if rows.unit == ROW else f"rows of a new {rows.unit}"


def _rounded_down(share: float) -> float:
    """With three decimals, so that it can be asked for."""
    return float(np.floor(1000 * share) / 1000)
