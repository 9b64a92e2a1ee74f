"""The likelihood and the prior of simulated observations: of all that share what is given, and what is seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qexp.analysis.matrix.axes import MatrixAxis
from qexp.analysis.matrix.refinement import Refinement
from qexp.datasets.distributions import Distribution
from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.generators import DeformationImages
from qexp.datasets.views import GNSS, SIZED
from qexp.errors import QexpError
from qexp.estimation.sampling.level import Level
from qexp.estimation.sampling.prior import Marginal, Prior, uniform
from qexp.estimation.sampling.signals import WholeSignals
from qexp.quantities import NOISE, Quantities, base_name, quantity

Array = NDArray[np.float64]

FIX_IT = "put it into 'fixed' in a copy of the dataset"


@dataclass(frozen=True)
class Likelihood:
    """That of some observations.

    signals     of sources, and the observations
    prior       of the parameters of sources
    level       of the noise, if it is unknown
    quantities  the units of variables
    """

    signals: WholeSignals
    prior: Prior
    level: Level | None
    quantities: Quantities

    @property
    def names(self) -> list[str]:
        """The unknowns, in the order of `values`."""
        return [*self.prior.free, *([] if self.level is None else [NOISE])]

    def values(self, scores: Array, prior: Prior) -> Array:
        """Values of draws, (draw, unknown) in their units, of scores, by the prior with its angles turned."""
        free = len(prior.free)
        values = prior.free_values(scores[:, :free])
        for column, one in enumerate(self.prior.marginals):
            if one.period is not None:
                values[:, column] = one.low + (values[:, column] - one.low) % one.period
        if self.level is not None:
            values = np.column_stack([values, self.level.marginal.value(scores[:, free])])
        return values / [quantity(name, self.quantities).si_factor for name in self.names]

    def scores(self, estimates: Mapping[str, Array], otherwise: Array) -> Array:
        """Scores of estimates, (observation, free parameter), with those of `otherwise` where there is none."""
        scores = otherwise.copy()
        for column, one in enumerate(self.prior.marginals):
            if one.name in estimates:
                factor = quantity(one.name, self.quantities).si_factor
                values = np.asarray(estimates[one.name], dtype=np.float64) * factor
                scores[:, column] = np.where(np.isfinite(values), one.score(values), scores[:, column])
        return scores


class Likelihoods:
    """Those of all observations of a dataset.

    names  the unknown variables
    given  variable → values for each observation in its unit, of the other varying ones
    """

    def __init__(self, dataset: GeneratedDataset, names: Sequence[str], given: Mapping[str, Array]) -> None:
        self._dataset, self._given = dataset, given
        self._level = self._marginal(NOISE) if NOISE in names else None
        held = dict(dataset.fixed)
        if self._level is not None:
            held[NOISE] = float(dataset.distributions[NOISE].quantile(np.array(0.5)))
        axes = [MatrixAxis(name, float(of.min()), float(of.max()), 1) for name, of in given.items()]
        self._free = [name for name in names if name != NOISE]
        self._refinement = Refinement(dataset, axes, held, self._free)

    def of(self, samples: Mapping[str, Tensor]) -> Iterator[tuple[NDArray[np.intp], Likelihood]]:
        """Numbers of observations, and their likelihood."""
        refinement = self._refinement
        data = refinement.data(samples)
        for alike, known, seen in refinement.alike(samples, self._given):
            problem = refinement.problem(data[alike], known, seen)
            noise = refinement.noise_over_weights(known)
            columns = [one.name for one in problem.coordinates.parameters]
            marginals = [self._marginal(name) for name in columns if name in self._free]
            prior = Prior(columns, marginals, {name: known[name] for name in columns if name not in self._free})
            signals, level = WholeSignals(problem, noise), None
            if self._level is not None:
                level = Level(self._level, noise, signals.degrees)
            yield alike, Likelihood(signals, prior, level, self._dataset.quantities)

    def _marginal(self, name: str) -> Marginal:
        of, distribution = quantity(name, self._dataset.quantities), self._dataset.distributions[name]
        if of.period is not None and _goes_around(distribution, of.period):
            low = of.si_factor * distribution.support()[0]
            return uniform(name, low, low + of.si_factor * of.period, of.si_factor * of.period)
        return marginal(name, distribution, of.si_factor)


def marginal(name: str, distribution: Distribution, factor: float) -> Marginal:
    """The prior by a distribution of values in the unit that is `factor` SI units."""
    low, high = (factor * end for end in distribution.support())
    return Marginal(name, lambda share: factor * distribution.quantile(share), low, high, "of the training data")


def _goes_around(distribution: Distribution, period: float) -> bool:
    """Whether all directions are equally likely."""
    shares = np.linspace(0.0, 1.0, 9)
    return bool(np.allclose(distribution.quantile(shares), distribution.support()[0] + shares * period, rtol=1e-6))


def require_likelihood(dataset: GeneratedDataset, images: Sequence[str], names: Sequence[str]) -> None:
    """Raises QexpError unless the likelihood of the unknown variables is known."""
    generator = dataset.generator
    if not isinstance(generator, DeformationImages):
        raise QexpError("posteriors by the likelihood are for sources of deformation, and this dataset has none")
    if varying := [name for name in names if base_name(name) in SIZED]:
        raise QexpError(f"'{varying[0]}' varies and is not given, and with it the covariance of the noise; {FIX_IT}")
    if NOISE in names and (others := [image for image in images if not _scales(dataset, image)]):
        raise QexpError(
            f"'{NOISE}' varies and is not given, but '{others[0]}' has noise that it does not scale; {FIX_IT}, or "
            "declare the noise without amplitudes of its own"
        )
    columns = {name for source in generator.sources for name in source.columns}
    if others := [name for name in names if name not in columns and name != NOISE]:
        raise QexpError(f"'{others[0]}' varies, but is no parameter of a source; {FIX_IT}")
    if unseen := [name for name in generator.images(dataset.variables) if name not in images]:
        raise QexpError(f"'{unseen[0]}' is not seen; posteriors by the likelihood need all images of the dataset")
    if set(names) == {NOISE}:
        raise QexpError(f"only '{NOISE}' is unknown; posteriors by the likelihood need a parameter of a source, too")


def _scales(dataset: GeneratedDataset, image: str) -> bool:
    """Whether the noise level multiplies all noise of an image."""
    added = dataset.noise.added(image)
    return dataset.view(image).measures != GNSS and bool(added) and all(one.of_unit_variance for one in added)
