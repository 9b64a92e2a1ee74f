"""The likelihoods of all observations of a dataset, by the displacements of sources or by simulated images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qexp.analysis.matrix.axes import MatrixAxis
from qexp.analysis.matrix.refinement import Refinement
from qexp.analysis.posteriors.likelihood import TOLERANCE, Likelihood, prior_of, usual_level
from qexp.errors import QexpError
from qexp.inference.density import Level, Prior, WholeSignals, projected, reduced, whole_images
from qexp.inference.grid_posterior import groups
from qexp.inference.simulated_images import Factors, Unknowns, require_known
from qexp.quantities import NOISE, quantity
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.generators import DeformationImages

Places = NDArray[np.intp]


class Likelihoods:
    """The likelihoods of a dataset's observations: what they share, such as factors of covariances, is kept.

    images  the names of those that are seen
    given   varying variables that are not unknown
    names   the unknown variables
    Raises QexpError for a dataset whose likelihood is not known.
    """

    def __init__(self, dataset: GeneratedDataset, images: Sequence[str], given: Sequence[str] = ()) -> None:
        self.dataset, self.images, self.given = dataset, list(images), list(given)
        self.names = require_known(dataset, images, given)
        if self.names == [NOISE]:
            raise QexpError(f"only '{NOISE}' is unknown; posteriors by the likelihood need another unknown, too")
        self._level = usual_level(dataset, images) if NOISE in self.names else None
        self._free = [name for name in self.names if name != NOISE]
        self._make = self._of_sources if _are_of_sources(dataset, images, self.names) else self._of_images
        self._refinement = lru_cache(1)(self._refinement_of)
        self._factors = Factors()

    def __call__(self, samples: Mapping[str, Tensor]) -> Iterator[tuple[Places, Likelihood]]:
        """Numbers of observations, as the dataset makes them, and their likelihood."""
        return self._make(samples)

    def _refinement_of(self, axes: tuple[tuple[str, float, float], ...]) -> Refinement:
        """The least squares of the sources; axes: given variable, least and largest value."""
        held = self.dataset.fixed if self._level is None else {**self.dataset.fixed, NOISE: self._level}
        return Refinement(self.dataset, [MatrixAxis(*ends, 1) for ends in axes], held, self._free)

    def _of_sources(self, samples: Mapping[str, Tensor]) -> Iterator[tuple[Places, Likelihood]]:
        """By displacements of few points."""
        dataset, free = self.dataset, self._free
        known = {name: samples[name][:, 0].double().numpy() for name in self.given}
        refinement = self._refinement(tuple((name, float(of.min()), float(of.max())) for name, of in known.items()))
        data = refinement.data(samples)
        factors = {name: quantity(name, dataset.quantities).si_factor for name in dataset.test}
        for alike, values, seen in refinement.alike(samples, known):
            problem = refinement.problem(data[alike], values, seen)
            noise = refinement.noise_over_weights(values)
            columns = [one.name for one in problem.coordinates.parameters]
            marginals = [prior_of(dataset, name, factors[name]) for name in columns if name in free]
            prior = Prior(columns, marginals, {name: values[name] for name in columns if name not in free})
            whole, fewer = WholeSignals(problem, noise), partial(reduced, tolerance=TOLERANCE)
            unknown = None
            if self._level is not None:
                unknown = Level(prior_of(dataset, NOISE, factors[NOISE]), noise, whole.degrees)
            yield alike, Likelihood(whole, partial(fewer, whole), prior, unknown, factors)

    def _of_images(self, samples: Mapping[str, Tensor]) -> Iterator[tuple[Places, Likelihood]]:
        """By images of the generator, whatever the unknowns are."""
        dataset, free, level = self.dataset, self._free, self._level
        here = dataset if level is None else dataset.given({NOISE: level})
        prior = Prior(free, [prior_of(dataset, name, 1.0) for name in free], {})
        for one in groups(Unknowns(here, None, tuple(free)), self.images, self.given, samples, self._factors):
            whole = whole_images(one.unknowns.dataset, free, one.whitening, one.samples)
            fewer = partial(projected, whole, one.whitening, tolerance=TOLERANCE)
            unknown = None if level is None else Level(prior_of(dataset, NOISE, 1.0), level, whole.data.shape[1])
            yield one.places, Likelihood(whole, fewer, prior, unknown, dict.fromkeys(dataset.test, 1.0))


def _are_of_sources(dataset: GeneratedDataset, images: Sequence[str], names: Sequence[str]) -> bool:
    """Whether all unknowns are parameters of sources of deformation, whose displacements are all seen."""
    generator = dataset.generator
    if not isinstance(generator, DeformationImages) or set(generator.images(dataset.variables)) - set(images):
        return False
    return not set(names) - {NOISE} - {name for source in generator.sources for name in source.columns}
