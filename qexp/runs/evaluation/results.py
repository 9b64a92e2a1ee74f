"""Results: what the evaluation of a run on its test part puts into the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Results:
    """Numbers in the outputs' own units.

    results     part → output → metric → value
    intervals   part → output → metric → 95 % bootstrap interval, where there is one
    comparison  the network beside its baselines, estimator by estimator
    errors      of fields: cells, errors of vectors, seconds per frame
    features    of rows: the input columns in order, with the range of the training data
    """

    results: Mapping[str, Any]
    intervals: Mapping[str, Any] = field(default_factory=dict)
    comparison: Sequence[Mapping[str, Any]] = ()
    errors: Mapping[str, Any] | None = None
    features: Sequence[Mapping[str, Any]] = ()

    def document(self) -> dict[str, Any]:
        """As the record holds them."""
        return {
            "results": self.results,
            "intervals": self.intervals,
            "comparison": list(self.comparison),
            "errors": self.errors,
            "features": list(self.features),
        }
