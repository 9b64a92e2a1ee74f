"""Results: the numbers that the evaluation of a run on its test part adds to the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qexp.runs.record.record import ComparisonRow, Feature, FieldErrors, GroupErrors, Intervals, Numbers


@dataclass(frozen=True)
class Results:
    """Numbers in the outputs' own units.

    results     part → output → metric → value
    intervals   part → output → metric → 95 % interval, if it has one
    comparison  the network and its baselines, by estimator
    errors      fields only: cells, errors of vectors, seconds per frame
    groups      errors by core, folder or group of rows, without those of all test samples
    features    rows only: the input columns in order, with the range of the training data
    targets     data from files: the outputs, with the range of their true values in the training data
    units       programs only: units of outputs that were unknown before
    """

    results: Numbers
    intervals: Intervals = field(default_factory=dict)
    comparison: tuple[ComparisonRow, ...] = ()
    errors: FieldErrors | None = None
    groups: tuple[GroupErrors, ...] = ()
    features: tuple[Feature, ...] = ()
    targets: tuple[Feature, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
