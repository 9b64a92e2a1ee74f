"""Posteriors of the images in a file: intervals and correlations among its columns, and draws beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array
from qexp.base.outputs import correlation_of, estimate_of, high_of, low_of
from qexp.base.seeds import Seeds
from qexp.inference.image_posteriors import ImagePosteriors
from qexp.kinds.prediction import SampleDraws, new_column

if TYPE_CHECKING:
    import pyarrow as pa

    from qexp.networks.estimator import Posterior as NetworkPosterior


Single = NDArray[np.float32]

DOUBTED = "posterior_doubted"
"""Column that is 1 where the draws of a posterior by the likelihood are not to be trusted."""

DOUBTS = "the draws' weights are too unequal, or a source beyond the prior fits far better"
"""Why they are not."""

LEAST_DRAWS, BEYOND_END = 1000, 20
"""Draws for intervals: at least, and on the average beyond both ends together."""


@dataclass(frozen=True)
class OfHeads:
    """Those of a network with posterior heads.

    posterior_of  from input → (sample, ...) to their posterior
    units         variable → unit, in the order of draws
    coverage      of the intervals
    """

    posterior_of: Callable[[Mapping[str, Single]], NetworkPosterior]
    units: Mapping[str, str]
    coverage: float

    def of_batch(
        self,
        inputs: Mapping[str, Single],
        estimates: Mapping[str, Single],
        empty: NDArray[np.bool_],
        first: int,
        draws: SampleDraws | None,
    ) -> tuple[dict[str, Single], Single | None]:
        """Column → (sample,) of a batch of images, and draws, (draw, sample, output), if they were asked for.

        inputs     of the network, (sample, ...)
        estimates  output → (sample,)
        empty      (sample,), whether no pixel of an image is seen
        first      the number of the first image, by which draws are the same in whatever chunks images are read
        """
        posterior = self.posterior_of(inputs)
        columns = {}
        for name, ends in posterior.quantiles(ends_of(self.coverage)).items():
            columns[low_of(name)], columns[high_of(name)] = ends.cpu().numpy().T
        for pair, values in posterior.correlations().items():
            columns[correlation_of(*pair)] = values.cpu().numpy()
        return columns, None if draws is None else draws.draw([posterior], first)


@dataclass(frozen=True)
class Refined:
    """Those of the known likelihood, whose medians are the estimates.

    images   whose posteriors they are
    outputs  of the network, whose intervals are among the columns if they are unknown variables
    """

    images: ImagePosteriors
    outputs: frozenset[str]
    coverage: float

    @property
    def units(self) -> Mapping[str, str]:
        return self.images.units

    def of_batch(
        self,
        inputs: Mapping[str, Single],
        estimates: Mapping[str, Single],
        empty: NDArray[np.bool_],
        first: int,
        draws: SampleDraws | None,
    ) -> tuple[dict[str, Single], Single | None]:
        """As of `OfHeads`."""
        rows, names = np.flatnonzero(~empty), self.images.names
        wanted = 0 if draws is None else draws.count
        count = max(LEAST_DRAWS, math.ceil(BEYOND_END / (1 - self.coverage)), wanted)
        drawn = np.full((wanted, len(empty), len(names)), np.nan, np.float32)
        written = [of(name) for name in names if name in self.outputs for of in (low_of, estimate_of, high_of)]
        written += [*(correlation_of(*pair) for pair in combinations(names, 2)), DOUBTED]
        columns = {name: np.full(len(empty), np.nan, np.float32) for name in written}
        if len(rows):
            sampled = self.images(
                {name: column[rows] for name, column in inputs.items()},
                {name: column[rows] for name, column in estimates.items()},
                count,
                Seeds(0).number("refined", first),
            )
            low, high = ends_of(self.coverage)
            values = self.images.around(sampled)
            quantiles = np.quantile(values, [low, 0.5, high], axis=1)
            for number, name in enumerate(names):
                if name in self.outputs:
                    for column, of_images in zip((low_of, estimate_of, high_of), quantiles[:, :, number], strict=True):
                        columns[column(name)][rows] = of_images
            for pair in combinations(names, 2):
                draws_of_pair = (values[..., names.index(name)] for name in pair)
                columns[correlation_of(*pair)][rows] = _rank_correlations(*draws_of_pair)
            columns[DOUBTED][rows] = [row in sampled.doubts for row in range(len(rows))]
            if wanted:
                chosen = np.linspace(0, count - 1, wanted).round().astype(int)
                drawn[:, rows] = np.moveaxis(sampled.values[:, chosen], 0, 1)
        return columns, drawn if wanted else None


WrittenPosteriors = OfHeads | Refined
"""What is written of posteriors."""


def _rank_correlations(first: Array, second: Array) -> Array:
    """Spearman's, (sample,), of draws, (sample, draw)."""
    ranks = [draws.argsort(axis=1).argsort(axis=1).astype(np.float64) for draws in (first, second)]
    scores = [(draws - draws.mean(axis=1, keepdims=True)) / draws.std(axis=1, keepdims=True) for draws in ranks]
    correlations: Array = (scores[0] * scores[1]).mean(axis=1)
    return correlations


def ends_of(coverage: float) -> tuple[float, float]:
    """Probabilities of the ends of an interval."""
    tail = round((1 - coverage) / 2, 12)
    return tail, round(1 - tail, 12)


def fields_of(posteriors: WrittenPosteriors, output: str) -> list[pa.Field]:
    """The columns behind the estimate of an output."""
    import pyarrow as pa

    if (unit := posteriors.units.get(output)) is None:
        return []
    return [
        new_column(column, pa.float32(), unit, f"{100 * share:g} % quantile of the posterior of: {output}")
        for column, share in zip((low_of(output), high_of(output)), ends_of(posteriors.coverage), strict=True)
    ]


def further_fields(posteriors: WrittenPosteriors) -> list[pa.Field]:
    """The columns behind those of all outputs."""
    import pyarrow as pa

    words = {
        correlation_of(*pair): f"rank correlation of {' and '.join(pair)} in the posterior"
        for pair in combinations(posteriors.units, 2)
    }
    if isinstance(posteriors, Refined):
        words[DOUBTED] = f"1 where the draws of the posterior are not to be trusted: {DOUBTS}"
    return [new_column(name, pa.float32(), description=description) for name, description in words.items()]
