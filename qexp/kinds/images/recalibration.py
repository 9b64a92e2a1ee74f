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
from qexp.kinds.images.experiment import trained_on
from qexp.networks.estimator import Ensemble, Posterior
from qexp.results.calibration import GIVEN, HEAD, INTERVAL, PARTS, WHOLE, Calibration, name_of_file
from qexp.simulation.dataset import GeneratedDataset
from qexp.store.directory import RunDirectory

ENDS = (1 - INTERVAL) / 2, 0.5, (1 + INTERVAL) / 2
"""Probabilities of the quantiles that tell the width of a posterior."""

OBSERVATIONS_OF_CELL = 100
"""So many observations whose estimates are alike say how wide intervals must be there."""

FARTHEST = 4.0
"""Normal score of a value in the training data beyond which values count as equal: ends of
distributions are far.
"""

HUGE = 1e6
"""In place of an infinite distance, of a truth beside a posterior without any width."""


class Recalibration:
    """Factors of the widths of posteriors, by where the medians lie.

    marginals  the distribution of each output in the training data, whose ends no interval crosses
    truth      (observation, output)  true values
    ends       (observation, output, 3)  quantiles of the probabilities `ENDS`
    beside     of each output the one by whose estimates cells are divided, too

    All is done in normal scores of the training data. The factor of a cell is a conformal quantile,
    over its observations, of how far the truth lies from the median, in distances of the 90 %
    interval's end on its side. So intervals hold the truth of a new observation with at least their
    probability, in each cell alone, if the observation is exchangeable with those. Scores:
    Kivaranovic, Johnson and Leeb (2020), AISTATS, arXiv:1905.10634; cells: Vovk, Gammerman and
    Shafer (2005), Algorithmic Learning in a Random World.
    """

    def __init__(
        self, marginals: Sequence[Marginal], truth: Array, ends: Array, beside: Sequence[int]
    ) -> None:
        self._marginals = marginals
        low, median, high = self.scores(np.moveaxis(ends, -1, 0))
        above = self.scores(truth) - median
        with np.errstate(divide="ignore", invalid="ignore"):
            distances = np.where(above > 0, above / (high - median), above / (low - median))
        distances = np.nan_to_num(distances, nan=0.0, posinf=HUGE)
        self._cells = [Cells(median, (output, other)) for output, other in enumerate(beside)]
        numbers = [cells.of(median) for cells in self._cells]
        self._distances = [
            [column[number == cell] for cell in range(cells.count)]
            for cells, number, column in zip(self._cells, numbers, distances.T, strict=True)
        ]
        self._factors = cache(self._factors_of)

    def scores(self, values: Array) -> Array:
        """Normal scores of values, (..., output)."""
        columns = [
            marginal.score(values[..., column]) for column, marginal in enumerate(self._marginals)
        ]
        return np.clip(np.stack(columns, axis=-1), -FARTHEST, FARTHEST)

    def values(self, scores: Array) -> Array:
        columns = [
            marginal.value(scores[..., column]) for column, marginal in enumerate(self._marginals)
        ]
        return np.stack(columns, axis=-1)

    def factors(self, medians: Array, probability: float) -> Array:
        """By which distances from the medians grow, (sample, output), for intervals of a
        probability.

        medians  scores, (sample, output). Raises QexpError if there are too few observations for
                 the probability
        """
        return np.stack(
            [
                self._factors(probability)[o][cells.of(medians)]
                for o, cells in enumerate(self._cells)
            ],
            1,
        )

    def _factors_of(self, probability: float) -> list[Array]:
        """Of each output, (cell,)."""
        with_all = ((cells, np.concatenate(cells)) for cells in self._distances)
        return [
            np.array([_conformal(cell, of_all, probability) for cell in cells])
            for cells, of_all in with_all
        ]


def _conformal(distances: Array, of_all: Array, probability: float) -> float:
    """The conformal quantile of a cell, or of all cells if it has too few observations. Raises
    QexpError.
    """
    for some in (distances, of_all):
        rank = math.ceil((len(some) + 1) * probability)
        if rank <= len(some):
            return float(np.partition(some, rank - 1)[rank - 1])
    raise QexpError(
        f"{len(of_all):,} observations cannot promise {100 * probability:g} % intervals; calibrate"
        " with more of them"
    )


class Cells:
    """Cells of estimates, with as many observations in each: along one output, then in each part
    along another.

    medians  (observation, output)
    along    the two outputs; the same twice for one alone
    """

    def __init__(self, medians: Array, along: tuple[int, int]) -> None:
        self._first, self._second = along
        wanted, single = max(len(medians) // OBSERVATIONS_OF_CELL, 1), len({*along}) == 1
        parts = wanted if single else math.isqrt(wanted)
        shares = np.arange(1, parts) / parts
        self._edges = np.quantile(medians[:, self._first], shares)
        part = np.searchsorted(self._edges, medians[:, self._first])
        column = medians[:, self._second]
        within: Sequence[float] | Array = () if single else shares
        self._edges_within = np.stack(
            [np.quantile(column[part == number], within) for number in range(parts)]
        )
        self.count = parts * (1 + len(within))

    def of(self, medians: Array) -> NDArray[np.int64]:
        """The number of the cell of each sample, (sample,), of (sample, output)."""
        part = np.searchsorted(self._edges, medians[:, self._first])
        within = (medians[:, self._second, None] > self._edges_within[part]).sum(axis=1)
        number: NDArray[np.int64] = part * (1 + self._edges_within.shape[1]) + within
        return number


class RecalibratedPosterior(Posterior):
    """A posterior whose draws and quantiles lie further from its medians by these factors, or less
    far.

    Draws keep their ranks in each output, and so the correlations; they are as wide as 90 %
    intervals demand.
    """

    def __init__(self, posterior: Posterior, by: Recalibration) -> None:
        self._posterior, self._by = posterior, by
        self.names, self.device = posterior.names, posterior.device
        quantiles = posterior.quantiles(ENDS)
        ends = torch.stack([quantiles[name] for name in self.names], dim=1)  # (sample, output, 3)
        self._low, self._median, self._high = by.scores(
            np.moveaxis(ends.double().cpu().numpy(), -1, 0)
        )

    def draws(self, count: int, random: torch.Generator | None = None) -> Tensor:
        draws = self._posterior.draws(count, random)
        scores = self._by.scores(draws.double().cpu().numpy())
        factors = self._by.factors(self._median, INTERVAL)
        return torch.from_numpy(
            self._by.values(self._median + factors * (scores - self._median))
        ).to(draws)

    def quantiles(self, probabilities: Sequence[float]) -> dict[str, Tensor]:
        columns = []
        for share in probabilities:
            end = self._low if share < 0.5 else self._high
            factors = self._by.factors(self._median, abs(1 - 2 * share)) if share != 0.5 else 0.0
            columns.append(self._by.values(self._median + factors * (end - self._median)))
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

    def __init__(self, ensemble: Ensemble, by: Recalibration, kept: Calibration) -> None:
        super().__init__(ensemble.models)
        self._by, self.kept = by, kept
        observations = (
            f"{kept.observations:,} observations of the {kept.part_in_words} (made {kept.created})"
        )
        error = 100 * math.sqrt(INTERVAL * (1 - INTERVAL) / kept.observations)
        self.recalibrated = (
            f"posteriors are recalibrated by {observations}, and right for what is like these:"
            f" {100 * INTERVAL:g} % intervals hold the truth in {100 * INTERVAL:g} ± {error:.1f} %"
        )

    def posterior(self, samples: Mapping[str, Tensor]) -> Posterior:
        return RecalibratedPosterior(super().posterior(samples), self._by)


def recalibrated(
    ensemble: Ensemble, directory: RunDirectory, dataset: GeneratedDataset, part: str
) -> RecalibratedEnsemble:
    """Networks of a run whose posteriors are recalibrated by its kept calibration on a part. Raises
    QexpError.
    """
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
    names = [name for outputs in ensemble.network.heads.values() for name in outputs]
    truth = np.stack([numbers[name].values for name in names], axis=1)
    places = [QUANTILES.index(end) for end in np.round(ENDS, 6)]
    ends = np.stack([numbers[f"{name}_quantile"].values[:, places] for name in names], axis=1)
    axes = [np.atleast_1d(numbers[f"{name}_estimate_count"].attrs["axes"]) for name in names]
    others = (
        next((of for of in axis if of != name), name)
        for name, axis in zip(names, axes, strict=True)
    )
    marginals = [of_training(name, dataset.distributions[name], 1.0) for name in names]
    by = Recalibration(marginals, truth, ends, [names.index(other) for other in others])
    return RecalibratedEnsemble(ensemble, by, Calibration.read(path.with_suffix(".json")))


def recalibrated_run(
    directory: RunDirectory, ensemble: Ensemble, part: str
) -> RecalibratedEnsemble:
    """The same, of the dataset that a run was trained on."""
    dataset = trained_on(directory)
    return recalibrated(ensemble, directory, dataset, part)
