"""Estimates of held-out rows: in every fold a baseline is chosen, scaled and fitted on the training rows alone."""

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
"""Training and test rows, numbers of the rows of the table."""

InnerSplits = int | Callable[[Rows], Sequence[Split]]
"""How many shuffled parts, or what splits given rows: into numbers of the table's rows again."""

Transform = tuple[Callable[[Array], Array], Callable[[Array], Array]]
"""From the target's own unit and back. What is linear makes no difference, since targets are standardized."""


@dataclass(frozen=True)
class HeldOutEstimates:
    values: Array
    """(row, output) in the outputs' own units, the mean over the folds that hold a row out; NaN where none does."""
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
    """What a baseline says of every held-out row.

    inputs      (row, column)
    targets     (row, output), each output estimated by itself
    transforms  per output

    The hyper-parameters of a fold are those with the least squared error, in the target's own unit, over all estimates
    of its inner splits. What comes out for a fold depends on no other fold.
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
    """One output of the table, and the baseline that estimates it."""

    baseline: Baseline
    inputs: Array
    target: Array
    transform: Transform | None
    seed: int

    def choose(self, train: Rows, inner: InnerSplits) -> Choice:
        """The hyper-parameters that do best on inner splits of the training rows."""
        choices = self.baseline.choices
        if len(choices) == 1:
            return choices[0]
        squared = np.zeros(len(choices))
        for part, rest in _inner(train, inner, self.seed):
            squared += np.square(self.estimate(part, rest, choices) - self.target[rest]).sum(axis=1)
        # A transform's inverse can overflow where a choice fails altogether.
        return choices[int(np.argmin(np.where(np.isfinite(squared), squared, np.inf)))]

    def estimate(self, train: Rows, test: Rows, choices: Sequence[Choice]) -> Array:
        """(choice, test row), in the target's own unit, from the training rows."""
        forward, inverse = self.transform if self.transform and self.baseline.transformed else (_same, _same)
        target = np.asarray(forward(self.target[train]))
        finite = np.isfinite(np.concatenate([self.inputs[train].sum(axis=1) + target, self.inputs[test].sum(axis=1)]))
        if not finite.all():
            row = np.concatenate([train, test])[~finite][0]
            raise ValueError(f"row {row} has an input or target that is not a finite number, perhaps once transformed")
        center, spread = target.mean(), target.std()
        if np.ptp(target) == 0:  # the deviation of equal values may round to something else than 0
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
            raise ValueError(f"the inner splits of a fold use rows that are not its training rows: {strangers[:5]}")
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
