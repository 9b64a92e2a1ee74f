"""How many rows or spectra of other data lie in the intervals that a run's held-out errors promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp import files
from qexp.analysis.intervals.folds import OfFolds
from qexp.analysis.intervals.new_rows import rules_of
from qexp.errors import QexpError
from qexp.metrics import conformal
from qexp.runs.evaluation.held_out import held_out, opened
from qexp.runs.evaluation.intervals import COVERAGES, coverages_of, heads_among, write_intervals
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.held_out_intervals import INTERVALS, USUAL, Coverage, HeldOutIntervals

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """One output's evaluated rows with their groups, (row,)."""

    output: str
    truth: Array
    by: str | None
    groups: NDArray[np.str_]


def keep_intervals_of(
    evaluation: RunDirectory,
    run: RunDirectory,
    found: Mapping[str, OfFolds],
    folds: Sequence[str],
    by: str | None,
) -> None:
    """Write the intervals of evaluated rows and how many they cover; nothing if the run has no held-out errors.

    found  output → what each fold estimates of the rows; of posterior heads with all `HELD_OUT_QUANTILES`
    folds  their names; a run without folds has one with an empty name
    by     kind of the groups by which coverage is listed
    """
    try:
        outputs = held_out(run)
    except QexpError:
        return
    predictions = opened(evaluation)
    most = conformal.promised(outputs[0].count)
    coverages: list[Coverage] = []
    for coverage in COVERAGES:
        ends = {name: rule.ends(found[name]) for name, rule in rules_of(outputs, coverage, folds).rules.items()}
        for output, of_output in ends.items():
            truth = predictions[output].values.astype(np.float64)
            groups = np.zeros(len(truth), dtype=str) if by is None else predictions[by].values.astype(str)
            coverages += coverages_of(Rows(output, truth, by, groups), coverage, most, of_output)
        if coverage == USUAL:
            write_intervals(evaluation, ends)
    coverages.sort(key=lambda one: list(found).index(one.output))
    made = HeldOutIntervals(
        unit=outputs[0].unit, units=outputs[0].count, heads=heads_among(outputs), coverages=tuple(coverages)
    )
    files.write_json(evaluation.results / INTERVALS, made.document())
