"""Posteriors of networks, made as wide as observations whose true values are known demand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.outputs import QUANTILES
from qexp.errors import QexpError, suggestion
from qexp.inference.density import Marginal, of_training
from qexp.kinds.evaluation import TEST
from qexp.kinds.figures import table
from qexp.networks.estimator import Ensemble, Posterior
from qexp.results.calibration import GIVEN, HEAD, INTERVAL, PARTS, WHOLE, Calibration, name_of_file
from qexp.simulation.dataset import GeneratedDataset
from qexp.store.directory import RunDirectory

ENDS = (1 - INTERVAL) / 2, 0.5, (1 + INTERVAL) / 2
"""Probabilities of the quantiles that tell the width of a posterior."""

OBSERVATIONS_OF_CELL = 100
"""So many observations whose estimates are alike say how wide intervals must be there."""

FARTHEST = 4.0
"""Normal score beyond which values of the training data count as equal, as ends are far."""

HUGE = 1e6
"""In place of an infinite distance, of a truth beside a posterior without any width."""


class Recalibration:
    """Factors of the widths of posteriors, by where the medians lie.

    marginals  the distribution of each output in the training data, whose ends no interval crosses
    truth      (observation, output)  true values
    ends       (observation, output, 3)  quantiles of the probabilities `ENDS`
    others     of each output the one by whose estimates cells are divided, too

    All is done in normal scores of the training data. The factor of a cell is a conformal quantile,
    over its observations, of how far the truth lies from the median, in distances of the 90 %
    interval's end on its side. So intervals hold the truth of a new observation with at least their
    probability, in each cell alone, if the observation is exchangeable with those. Scores:
    Kivaranovic, Johnson and Leeb (2020), AISTATS, arXiv:1905.10634; cells: Vovk, Gammerman and
    Shafer (2005), Algorithmic Learning in a Random World.
    """

    def __init__(
        self, marginals: Sequence[Marginal], truth: Array, ends: Array, others: Sequence[int]
    ) -> None:
        self._marginals = marginals
        low, median, high = self.scores(np.moveaxis(ends, -1, 0))
        error = self.scores(truth) - median
        with np.errstate(divide="ignore", invalid="ignore"):
            distances = np.where(error > 0, error / (high - median), error / (low - median))
        distances = np.nan_to_num(distances, nan=0.0, posinf=HUGE)
        self._cells = [Cells(median, (output, other)) for output, other in enumerate(others)]
        self._distances = []
        """Of each output, and of each of its cells, (observation,)."""
        for cells, column in zip(self._cells, distances.T, strict=True):
            number = cells.numbers(median)
            self._distances.append([column[number == cell] for cell in range(cells.count)])
        self._factors = cache(self._factors_of)

    def scores(self, values: Array) -> Array:
        """Normal scores of values, (..., output)."""
        columns = enumerate(self._marginals)
        scores = [marginal.score(values[..., column]) for column, marginal in columns]
        return np.clip(np.stack(scores, axis=-1), -FARTHEST, FARTHEST)

    def values(self, scores: Array) -> Array:
        columns = enumerate(self._marginals)
        values = [marginal.value(scores[..., column]) for column, marginal in columns]
        return np.stack(values, axis=-1)

    def factors(self, medians: Array, probability: float) -> Array:
        """By which distances from medians grow for intervals of a probability, (sample, output).

        medians  scores, (sample, output). Raises QexpError if there are too few observations for
                 the probability
        """
        factors = []
        for cells, of_cells in zip(self._cells, self._factors(probability), strict=True):
            factors.append(of_cells[cells.numbers(medians)])
        return np.stack(factors, axis=1)

    def _factors_of(self, probability: float) -> list[Array]:
        """Of each output, (cell,)."""
        factors = []
        for cells in self._distances:
            everywhere = np.concatenate(cells)
            factors.append(np.array([_conformal(cell, everywhere, probability) for cell in cells]))
        return factors


def _conformal(distances: Array, everywhere: Array, probability: float) -> float:
    """The conformal quantile of a cell, or of all if it has too few observations, or QexpError."""
    for some in (distances, everywhere):
        rank = math.ceil((len(some) + 1) * probability)
        if rank <= len(some):
            return float(np.partition(some, rank - 1)[rank - 1])
    raise QexpError(
        f"{len(everywhere):,} observations cannot promise {100 * probability:g} % intervals;"
        " calibrate with more of them"
    )


class Cells:
    """Cells of estimates, as many in each: along one output, then in each part along another.

    medians  (observation, output)
    axes     the two outputs; the same twice for one alone
    """

    def __init__(self, medians: Array, axes: tuple[int, int]) -> None:
        self._first, self._second = axes
        wanted = max(len(medians) // OBSERVATIONS_OF_CELL, 1)
        single = len({*axes}) == 1
        parts = wanted if single else math.isqrt(wanted)
        shares = np.arange(1, parts) / parts
        self._edges = np.quantile(medians[:, self._first], shares)
        part = np.searchsorted(self._edges, medians[:, self._first])
        column = medians[:, self._second]
        inner = shares[:0] if single else shares
        edges = [np.quantile(column[part == number], inner) for number in range(parts)]
        self._inner_edges = np.stack(edges)
        self.count = parts * (1 + len(inner))

    def numbers(self, medians: Array) -> NDArray[np.int64]:
        """The number of the cell of each sample, (sample,), of (sample, output)."""
        part = np.searchsorted(self._edges, medians[:, self._first])
        inner = (medians[:, self._second, None] > self._inner_edges[part]).sum(axis=1)
        numbers: NDArray[np.int64] = part * (1 + self._inner_edges.shape[1]) + inner
        return numbers


class RecalibratedPosterior(Posterior):
    """A posterior whose draws and quantiles lie further from its medians, or nearer, by factors.

    Draws keep their ranks in each output, and so the correlations; they are as wide as 90 %
    intervals demand.
    """

    def __init__(self, posterior: Posterior, recalibration: Recalibration) -> None:
        self._posterior, self._recalibration = posterior, recalibration
        self.names = posterior.names
        self.device = posterior.device
        quantiles = posterior.quantiles(ENDS)
        ends = torch.stack([quantiles[name] for name in self.names], dim=1)  # (sample, output, 3)
        scores = recalibration.scores(np.moveaxis(ends.double().cpu().numpy(), -1, 0))
        self._low, self._median, self._high = scores

    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        """(draw, sample, output), as wide as the calibration demands."""
        draws = self._posterior.draws(count, random)
        scores = self._recalibration.scores(draws.double().cpu().numpy())
        factors = self._recalibration.factors(self._median, INTERVAL)
        values = self._recalibration.values(self._median + factors * (scores - self._median))
        return torch.from_numpy(values).to(draws)

    def quantiles(self, probabilities: Sequence[float]) -> dict[str, Tensor]:
        columns, recalibration = [], self._recalibration
        for share in probabilities:
            scores = self._median
            if share != 0.5:
                end = self._low if share < 0.5 else self._high
                factors = recalibration.factors(self._median, abs(1 - 2 * share))
                scores = self._median + factors * (end - self._median)
            columns.append(recalibration.values(scores))
        quantiles = torch.from_numpy(np.stack(columns, axis=-1)).float()
        return {name: quantiles[:, output] for output, name in enumerate(self.names)}

    def correlations(self) -> dict[tuple[str, str], Tensor]:
        return self._posterior.correlations()

    def own_deviations(self) -> dict[str, Tensor]:
        return self._posterior.own_deviations()


class RecalibratedEnsemble(Ensemble):
    """Networks whose posterior is recalibrated.

    kept  the calibration whose observations tell the factors
    """

    def __init__(self, ensemble: Ensemble, recalibration: Recalibration, kept: Calibration) -> None:
        super().__init__(ensemble.models)
        self._recalibration, self.kept = recalibration, kept
        observations = (
            f"{kept.observations:,} observations of the {kept.part_in_words} (made {kept.created})"
        )
        error = 100 * math.sqrt(INTERVAL * (1 - INTERVAL) / kept.observations)
        self.recalibrated = (
            f"posteriors are recalibrated by {observations}, and right for what is like these:"
            f" {100 * INTERVAL:g} % intervals hold the truth in {100 * INTERVAL:g} ± {error:.1f} %"
        )

    def posterior(self, samples: Mapping[str, Tensor]) -> Posterior:
        return RecalibratedPosterior(super().posterior(samples), self._recalibration)


def recalibrated(
    ensemble: Ensemble, directory: RunDirectory, dataset: GeneratedDataset, part: str
) -> RecalibratedEnsemble:
    """Networks of a run, recalibrated by its kept calibration on a part. Raises QexpError."""
    if part not in PARTS:
        raise QexpError(f"`recalibrated={part}`: {suggestion(part, PARTS)}")
    if not dataset.simulates and part not in (TEST, GIVEN):
        raise QexpError(
            f"`recalibrated={part}`: the network was trained or validated on these simulations, on"
            " which it is surer than on others; take `test`"
        )
    path = directory.results / name_of_file(HEAD if part == WHOLE else f"{HEAD}_{part}", "nc")
    if not path.exists():
        how = "`theta` and `observed`, or `dataset`" if part == GIVEN else f"`part={part}`"
        raise QexpError(
            f"{directory.name}: no calibration on the {PARTS[part]} is kept; `qexp calibrate` makes"
            f" one with {how}"
        )
    numbers = table(path)
    names = [name for outputs in ensemble.network.posteriors.values() for name in outputs]
    truth = np.stack([numbers[name].values for name in names], axis=1)
    places = [QUANTILES.index(end) for end in np.round(ENDS, 6)]
    ends = np.stack([numbers[f"{name}_quantile"].values[:, places] for name in names], axis=1)
    others = []
    for output, name in enumerate(names):
        axes = np.atleast_1d(numbers[f"{name}_estimate_count"].attrs["axes"])
        indices = [names.index(axis) for axis in axes if axis != name]
        others.append(indices[0] if indices else output)
    marginals = [of_training(name, dataset.distributions[name], 1.0) for name in names]
    recalibration = Recalibration(marginals, truth, ends, others)
    kept = Calibration.read(path.with_suffix(".json"))
    return RecalibratedEnsemble(ensemble, recalibration, kept)
