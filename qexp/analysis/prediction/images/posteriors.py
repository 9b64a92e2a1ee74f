"""Posteriors of the images in a file: intervals and correlations among its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.estimates import correlation_of, high_of, low_of

if TYPE_CHECKING:
    import pyarrow as pa

    from qexp.models.posterior import Posterior

Array = NDArray[np.float32]

COVERAGE = 0.9


@dataclass(frozen=True)
class Posteriors:
    """What is written of the posteriors of a network with posterior heads.

    of        from input → (sample, ...) to their posterior
    units     output of a posterior head → unit, in the order of draws
    coverage  of the intervals
    """

    of: Callable[[Mapping[str, Array]], Posterior]
    units: Mapping[str, str]
    coverage: float = COVERAGE

    @property
    def ends(self) -> tuple[float, float]:
        """Probabilities of the ends of the intervals."""
        tail = round((1 - self.coverage) / 2, 12)
        return tail, round(1 - tail, 12)

    def columns(self, posterior: Posterior) -> dict[str, Array]:
        """Column → (sample,): the ends of intervals, and correlations."""
        columns = {}
        for name, ends in posterior.quantiles(self.ends).items():
            columns[low_of(name)], columns[high_of(name)] = ends.cpu().numpy().T
        for pair, values in posterior.correlations().items():
            columns[correlation_of(*pair)] = values.cpu().numpy()
        return columns

    def fields_of(self, output: str) -> list[pa.Field]:
        """The columns behind the estimate of an output."""
        import pyarrow as pa

        if output not in self.units:
            return []
        unit, made = ({"unit": self.units[output]} if self.units[output] else {}), []
        for column, share in zip((low_of(output), high_of(output)), self.ends, strict=True):
            words = {"description": f"{100 * share:g} % quantile of the posterior of: {output}"}
            made.append(pa.field(column, pa.float32(), metadata=words | unit))
        return made

    def fields_of_pairs(self) -> list[pa.Field]:
        import pyarrow as pa

        return [
            pa.field(
                correlation_of(*pair), pa.float32(),
                metadata={"description": f"rank correlation of {' and '.join(pair)} in the posterior"},
            )
            for pair in combinations(self.units, 2)
        ]  # fmt: skip
