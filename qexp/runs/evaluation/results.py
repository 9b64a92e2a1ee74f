"""Results: what the evaluation of a run on its test part puts into the record."""

from __future__ import annotations

from dataclasses import dataclass, field

from qexp.runs.record.record import ComparisonRow, Feature, FieldErrors, Intervals, Numbers


@dataclass(frozen=True)
class Results:
    """Numbers in the outputs' own units.

    results     part → output → metric → value
    intervals   part → output → metric → 95 % bootstrap interval, where there is one
    comparison  the network beside its baselines, estimator by estimator
    errors      of fields: cells, errors of vectors, seconds per frame
    features    of rows: the input columns in order, with the range of the training data
    """

    results: Numbers
    intervals: Intervals = field(default_factory=dict)
    comparison: tuple[ComparisonRow, ...] = ()
    errors: FieldErrors | None = None
    features: tuple[Feature, ...] = ()
