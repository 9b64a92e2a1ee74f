"""Nested cross-validation of baselines: each fold selects, scales and fits a baseline on its training rows alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.baselines.estimators import Baseline, Choice
from qexp.seeds import Seeds

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
Split = tuple[Rows, Rows]
"""Training and test rows, as row numbers of the table."""

InnerSplits = int | Callable[[Rows], Sequence[Split]]
"""The number of shuffled inner folds, or a function that splits row numbers into training and test rows."""

Transform = tuple[Callable[[Array], Array], Callable[[Array], Array]]
"""A transform of the target and its inverse. Linear ones have no effect, since targets are standardized."""


@dataclass(frozen=True)
class HeldOutEstimates:
    """Estimates of held-out rows, and the selected hyper-parameters."""

    values: Array
    """(row, output) in the outputs' own units: the mean over the folds that hold out a row; NaN if none does."""
    chosen: list[list[Choice]]
    """Hyper-parameters by fold and output."""


def estimates(
    baseline: Baseline,
    inputs: ArrayLike,
    targets: ArrayLike,
    folds: Sequence[Split],
    inner: InnerSplits,
    seed: int,
    transforms: Sequence[Transform | None] | None = None,
) -> HeldOutEstimates:
    """A baseline's estimates of all held-out rows.

    inputs      (row, column)
    targets     (row, output); each output is estimated separately
    transforms  one per output

    The hyper-parameters of a fold are those with the lowest squared error, in the target's own unit, over all estimates
    of its inner folds. The result of a fold does not depend on other folds.
    Raises ValueError for values that are not finite, and for inner folds outside the training rows.
    """
    known, true = np.asarray(inputs, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if known.ndim != 2 or true.ndim != 2 or len(known) != len(true):
        raise ValueError(f"inputs {known.shape} and targets {true.shape} must be (row, column) and (row, output)")
    each = [_Output(baseline, known, target, transform, seed) for target, transform in _columns(true, transforms)]
    total, times = np.zeros_like(true), np.zeros(len(true), dtype=np.int64)
    chosen: list[list[Choice]] = []
    for train, test in folds:
        choices = [one.choose(train, inner) for one in each]
        columns = [one.estimate(train, test, [choice])[0] for one, choice in zip(each, choices, strict=True)]
        total[test] += np.stack(columns, axis=1)
        times[test] += 1
        chosen.append(choices)
    values = np.full_like(true, np.nan)
    values[times > 0] = total[times > 0] / times[times > 0, None]
    return HeldOutEstimates(values, chosen)


def _columns(true: Array, transforms: Sequence[Transform | None] | None) -> list[tuple[Array, Transform | None]]:
    return list(zip(true.T, transforms or [None] * true.shape[1], strict=True))


@dataclass(frozen=True)
class _Output:
    """A baseline, and the output of the table that it estimates."""

    baseline: Baseline
    inputs: Array
    target: Array
    transform: Transform | None
    seed: int

    def choose(self, train: Rows, inner: InnerSplits) -> Choice:
        """The hyper-parameters with the lowest error on the inner folds of the training rows."""
        choices = self.baseline.choices
        if len(choices) == 1:
            return choices[0]
        squared = np.zeros(len(choices))
        for part, rest in _inner(train, inner, self.seed):
            squared += np.square(self.estimate(part, rest, choices) - self.target[rest]).sum(axis=1)
        # A transform's inverse can overflow for a very bad choice.
        return choices[int(np.argmin(np.where(np.isfinite(squared), squared, np.inf)))]

    def estimate(self, train: Rows, test: Rows, choices: Sequence[Choice]) -> Array:
        """Estimates of the test rows, (choice, test row), in the target's own unit, fitted to the training rows."""
        forward, inverse = self.transform if self.transform and self.baseline.transformed else (_same, _same)
        target = np.asarray(forward(self.target[train]))
        finite = np.isfinite(np.concatenate([self.inputs[train].sum(axis=1) + target, self.inputs[test].sum(axis=1)]))
        if not finite.all():
            row = np.concatenate([train, test])[~finite][0]
            raise ValueError(f"row {row} has an input or target that is not a finite number, or whose transform is not")
        center, spread = target.mean(), target.std()
        if np.ptp(target) == 0:  # the computed deviation of equal values may differ from 0
            scaled = np.zeros((len(choices), len(test)))
            center = target[0]
        else:
            known, others = _standardized(self.inputs, train, test)
            seed = Seeds(self.seed).number("baseline") % 2**32
            scaled = self.baseline.estimate(known, (target - center) / spread, others, choices, seed)
        with np.errstate(over="ignore"):
            return np.asarray(inverse(center + spread * scaled))


def _inner(train: Rows, inner: InnerSplits, seed: int) -> list[Split]:
    if callable(inner):
        splits = [(np.asarray(part), np.asarray(rest)) for part, rest in inner(train)]
        strangers = sorted(
            set(np.concatenate([rows for split in splits for rows in split]).tolist()) - set(train.tolist())
        )
        if strangers:
            raise ValueError(f"the inner folds use rows that are not training rows of their fold: {strangers[:5]}")
        return splits
    order = Seeds(seed).numpy("baseline", "inner").permutation(train)
    parts = [np.sort(part) for part in np.array_split(order, min(inner, len(train)))]
    return [(np.setdiff1d(train, part), part) for part in parts]


def _standardized(inputs: Array, train: Rows, test: Rows) -> tuple[Array, Array]:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(inputs[train])
    return scaler.transform(inputs[train]), scaler.transform(inputs[test])


def _same(values: Array) -> Array:
    return values
