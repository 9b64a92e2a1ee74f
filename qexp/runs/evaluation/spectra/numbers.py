"""Estimated numbers of the test spectra: intervals over cores, and the comparison with baselines."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.baselines import comparison, cross_validation
from qexp.baselines.names import names
from qexp.datasets.spectra import SpectraDataset
from qexp.datasets.splits import GroupKFold, KFold, Rows
from qexp.metrics import intervals
from qexp.runs.attempt import Attempt
from qexp.runs.evaluation.spectra.subject import Array, Subject, transformed
from qexp.runs.record.record import ComparisonRow
from qexp.seeds import Seeds
from qexp.tables import built

INNER_FOLDS = 5
"""Largest number of inner folds of the training spectra, on which baselines choose their parameters."""


def measured(dataset: SpectraDataset, rows: Rows) -> Array:
    assert dataset.targets is not None, "a spec that has a number among its outputs has a target"
    return np.asarray(dataset.targets[rows], dtype=np.float64)


def intervals_over_cores(subject: Subject, name: str, estimates: Array, truth: Array) -> dict[str, Any]:
    """Intervals over cores, since spectra of one core resemble each other."""
    if not np.isfinite(estimates).all():
        return {}
    return intervals.intervals(subject.metrics[name], estimates, truth, subject.dataset.cores[subject.test])


def compared_with_baselines(
    attempt: Attempt, subject: Subject, name: str, estimates: Array
) -> list[ComparisonRow] | None:
    """The network compared with baselines trained on the same, equally transformed spectra; None if interrupted.

    The baselines of the experience have all their parameters filled in.
    """
    baselines, table = attempt.spec["baselines"], attempt.tables["baselines"]
    dataset, rows = subject.dataset, np.concatenate([subject.train, subject.test])
    split = np.arange(len(subject.train)), np.arange(len(subject.train), len(rows))
    targets = measured(dataset, rows)[:, None]
    estimators: dict[str, Array] = {comparison.NETWORK: estimates[:, None]}
    if baselines:
        inputs = np.empty((len(rows), dataset.channels))
        for which, seen in transformed(subject, rows):
            inputs[which] = seen.cpu().numpy()
    for called, description in zip(names(baselines, table), baselines, strict=True):
        if attempt.interrupted():
            return None
        made = cross_validation.estimates(
            built(table, description),
            inputs,
            targets,
            [split],
            lambda some: inner_folds(some, dataset.cores[rows], Seeds(attempt.seed)),
            attempt.seed,
            [_as_pair(subject, name)],
        )
        estimators[called] = made.values[split[1]]
    notes = dict.fromkeys(estimators, attempt.caution)
    units, cores = {name: dataset.units.get(name, "")}, dataset.cores[subject.test]
    compared = comparison.compared(estimators, targets[split[1]], units, cores, notes)
    return list(map(ComparisonRow.from_document, compared))


def inner_folds(rows: Rows, cores: NDArray[np.str_], seeds: Seeds) -> list[tuple[Rows, Rows]]:
    """Training and validation rows of the inner folds on which baselines choose their parameters: of whole cores, or of
    spectra if they are of one core; none for fewer than two spectra.

    cores  (row,) of all rows of the dataset
    """
    if len(rows) < 2:
        return []
    count = len(np.unique(cores[rows]))
    by_core = GroupKFold("core", min(INNER_FOLDS, count)) if count > 1 else KFold(min(INNER_FOLDS, len(rows)))
    parts = by_core.folds(rows, lambda name: cores, seeds.numpy("inner", "baselines"))
    return [(part.train, part.test) for part in parts]


def _as_pair(subject: Subject, name: str) -> cross_validation.Transform:
    """The number's transform for baselines, as it was fitted for the network."""

    def forward(values: Array) -> Array:
        column = torch.from_numpy(values)[:, None].to(subject.device)
        transformed: Array = subject.model.transformed(name, column)[:, 0].cpu().numpy()
        return transformed

    def inverse(values: Array) -> Array:
        column = torch.from_numpy(np.ascontiguousarray(values)).reshape(-1, 1).to(subject.device)
        inverted: Array = subject.model.in_units({name: column}, {})[name].double().cpu().numpy()
        return inverted.reshape(np.shape(values))

    return forward, inverse
