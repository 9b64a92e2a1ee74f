"""Posteriors of the images in a file: intervals and correlations among its columns, and draws beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.posteriors.of_images import ImagePosteriors
from qexp.analysis.prediction.draws import Draws
from qexp.estimates import correlation_of, estimate_of, high_of, low_of
from qexp.seeds import Seeds

if TYPE_CHECKING:
    import pyarrow as pa

    from qexp.networks.estimator import Posterior

Array = NDArray[np.float32]

COVERAGE = 0.9

DOUBTED = "posterior_doubted"
"""Column that is 1 where the draws of a posterior by the likelihood are not to be trusted."""

LEAST_DRAWS, BEYOND_END = 1000, 20
"""Draws for intervals: at least, and on the average beyond both ends together."""


@dataclass(frozen=True)
class OfBatch:
    """What is known of the posteriors of some images.

    columns  name → (sample,)
    drawn    (draw, sample, output), if draws were asked for
    """

    columns: Mapping[str, Array]
    drawn: Array | None


class Posteriors(Protocol):
    """What is written of posteriors.

    units     variable → unit, in the order of draws
    coverage  of the intervals
    refined   whether they are those of the known likelihood, not of a network's posterior head
    """

    @property
    def units(self) -> Mapping[str, str]: ...
    @property
    def coverage(self) -> float: ...
    @property
    def refined(self) -> bool: ...

    def of_batch(
        self,
        inputs: Mapping[str, Array],
        estimates: Mapping[str, Array],
        empty: NDArray[np.bool_],
        first: int,
        draws: Draws | None,
    ) -> OfBatch:
        """Those of a batch of images.

        inputs     of the network, (sample, ...)
        estimates  output → (sample,)
        empty      (sample,), whether no pixel of an image is seen
        first      the number of the first image, by which draws are the same in whatever chunks images are read
        """


@dataclass(frozen=True)
class OfHeads:
    """Those of a network with posterior heads.

    of  from input → (sample, ...) to their posterior
    """

    of: Callable[[Mapping[str, Array]], Posterior]
    units: Mapping[str, str]
    coverage: float = COVERAGE
    refined: bool = False

    def of_batch(
        self,
        inputs: Mapping[str, Array],
        estimates: Mapping[str, Array],
        empty: NDArray[np.bool_],
        first: int,
        draws: Draws | None,
    ) -> OfBatch:
        posterior = self.of(inputs)
        columns = {}
        for name, ends in posterior.quantiles(ends_of(self.coverage)).items():
            columns[low_of(name)], columns[high_of(name)] = ends.cpu().numpy().T
        for pair, values in posterior.correlations().items():
            columns[correlation_of(*pair)] = values.cpu().numpy()
        return OfBatch(columns, None if draws is None else draws.of([posterior], first))


@dataclass(frozen=True)
class Refined:
    """Those of the known likelihood, whose medians are the estimates.

    of       the images
    outputs  of the network, whose intervals are among the columns if they are unknown variables
    """

    of: ImagePosteriors
    outputs: frozenset[str]
    coverage: float = COVERAGE
    refined: bool = True

    @property
    def units(self) -> Mapping[str, str]:
        return self.of.units

    def of_batch(
        self,
        inputs: Mapping[str, Array],
        estimates: Mapping[str, Array],
        empty: NDArray[np.bool_],
        first: int,
        draws: Draws | None,
    ) -> OfBatch:
        seen, names = np.flatnonzero(~empty), self.of.names
        wanted = 0 if draws is None else draws.count
        count = max(LEAST_DRAWS, math.ceil(BEYOND_END / (1 - self.coverage)), wanted)
        drawn = np.full((wanted, len(empty), len(names)), np.nan, np.float32)
        columns = {name: np.full(len(empty), np.nan, np.float32) for name in self._columns()}
        if len(seen):
            made = self.of(
                {name: of[seen] for name, of in inputs.items()},
                {name: of[seen] for name, of in estimates.items()},
                count,
                Seeds(0).number("refined", first),
            )
            low, high = ends_of(self.coverage)
            values = self.of.around(made)
            quantiles = np.quantile(values, [low, 0.5, high], axis=1)
            for place, name in enumerate(names):
                if name in self.outputs:
                    columns[low_of(name)][seen], columns[estimate_of(name)][seen], columns[high_of(name)][seen] = (
                        quantiles[:, :, place]
                    )
            for (one, of_one), (other, of_other) in combinations(enumerate(names), 2):
                columns[correlation_of(of_one, of_other)][seen] = _rank_correlations(
                    values[..., one], values[..., other]
                )
            columns[DOUBTED][seen] = [place in made.doubts for place in range(len(seen))]
            if wanted:
                chosen = np.linspace(0, count - 1, wanted).round().astype(int)
                drawn[:, seen] = np.moveaxis(made.draws[:, chosen], 0, 1)
        return OfBatch(columns, drawn if wanted else None)

    def _columns(self) -> list[str]:
        intervals = [
            of(name) for name in self.of.names if name in self.outputs for of in (low_of, estimate_of, high_of)
        ]
        return [*intervals, *(correlation_of(*pair) for pair in combinations(self.of.names, 2)), DOUBTED]


def _rank_correlations(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's, (sample,), of draws, (sample, draw)."""
    ranks = [of.argsort(axis=1).argsort(axis=1).astype(np.float64) for of in (one, other)]
    scores = [(of - of.mean(axis=1, keepdims=True)) / of.std(axis=1, keepdims=True) for of in ranks]
    correlations: NDArray[np.float64] = (scores[0] * scores[1]).mean(axis=1)
    return correlations


def ends_of(coverage: float) -> tuple[float, float]:
    """Probabilities of the ends of an interval."""
    tail = round((1 - coverage) / 2, 12)
    return tail, round(1 - tail, 12)


def fields_of(posteriors: Posteriors, output: str) -> list[pa.Field]:
    """The columns behind the estimate of an output."""
    import pyarrow as pa

    if output not in posteriors.units:
        return []
    unit, made = ({"unit": posteriors.units[output]} if posteriors.units[output] else {}), []
    for column, share in zip((low_of(output), high_of(output)), ends_of(posteriors.coverage), strict=True):
        words = {"description": f"{100 * share:g} % quantile of the posterior of: {output}"}
        made.append(pa.field(column, pa.float32(), metadata=words | unit))
    return made


def further_fields(posteriors: Posteriors) -> list[pa.Field]:
    """The columns behind those of all outputs."""
    import pyarrow as pa

    made = []
    for pair in combinations(posteriors.units, 2):
        words = {"description": f"rank correlation of {' and '.join(pair)} in the posterior"}
        made.append(pa.field(correlation_of(*pair), pa.float32(), metadata=words))
    if posteriors.refined:
        words = {"description": "1 where the draws of the posterior are not to be trusted"}
        made.append(pa.field(DOUBTED, pa.float32(), metadata=words))
    return made
