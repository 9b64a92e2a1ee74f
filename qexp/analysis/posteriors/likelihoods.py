"""The likelihoods of all observations of a dataset, by the displacements of sources or by simulated images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qexp.analysis.matrix.axes import MatrixAxis
from qexp.analysis.matrix.refinement import Refinement
from qexp.analysis.posteriors.likelihood import TOLERANCE, Likelihood, prior_of, usual_level
from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.generators import DeformationImages
from qexp.errors import QexpError
from qexp.estimation.exact.alike import groups
from qexp.estimation.exact.unknowns import Unknowns, require_known
from qexp.estimation.sampling.images import projected, whole_images
from qexp.estimation.sampling.level import Level
from qexp.estimation.sampling.prior import Prior
from qexp.estimation.sampling.signals import WholeSignals, reduced
from qexp.quantities import NOISE, quantity

Places = NDArray[np.intp]


def likelihoods(
    dataset: GeneratedDataset, images: Sequence[str], samples: Mapping[str, Tensor], given: Sequence[str]
) -> Iterator[tuple[Places, Likelihood]]:
    """Numbers of observations, and their likelihood.

    images   the names of those that are seen
    samples  observations, as the dataset makes them
    given    varying variables that are not unknown
    Raises QexpError for a dataset whose likelihood is not known.
    """
    names = require_known(dataset, images, given)
    if names == [NOISE]:
        raise QexpError(f"only '{NOISE}' is unknown; posteriors by the likelihood need another unknown, too")
    level = usual_level(dataset, images) if NOISE in names else None
    make = _of_sources if _are_of_sources(dataset, images, names) else _of_images
    return make(dataset, images, samples, given, level)


def _are_of_sources(dataset: GeneratedDataset, images: Sequence[str], names: Sequence[str]) -> bool:
    """Whether all unknowns are parameters of sources of deformation, whose displacements are all seen."""
    generator = dataset.generator
    if not isinstance(generator, DeformationImages) or set(generator.images(dataset.variables)) - set(images):
        return False
    return not set(names) - {NOISE} - {name for source in generator.sources for name in source.columns}


def _of_sources(
    dataset: GeneratedDataset,
    images: Sequence[str],
    samples: Mapping[str, Tensor],
    given: Sequence[str],
    level: float | None,
) -> Iterator[tuple[Places, Likelihood]]:
    """By displacements of few points."""
    free = [name for name in dataset.test if name not in given and name != NOISE]
    held = dataset.fixed if level is None else {**dataset.fixed, NOISE: level}
    known = {name: samples[name][:, 0].double().numpy() for name in given}
    axes = [MatrixAxis(name, float(of.min()), float(of.max()), 1) for name, of in known.items()]
    refinement = Refinement(dataset, axes, held, free)
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
        if level is not None:
            unknown = Level(prior_of(dataset, NOISE, factors[NOISE]), noise, whole.degrees)
        yield alike, Likelihood(whole, partial(fewer, whole), prior, unknown, factors)


def _of_images(
    dataset: GeneratedDataset,
    images: Sequence[str],
    samples: Mapping[str, Tensor],
    given: Sequence[str],
    level: float | None,
) -> Iterator[tuple[Places, Likelihood]]:
    """By images of the generator, whatever the unknowns are."""
    free = [name for name in dataset.test if name not in given and name != NOISE]
    here = dataset if level is None else dataset.given({NOISE: level})
    prior = Prior(free, [prior_of(dataset, name, 1.0) for name in free], {})
    for one in groups(Unknowns(here, None, tuple(free)), images, given, samples):
        whole = whole_images(one.unknowns.dataset, free, one.whitening, one.samples)
        fewer = partial(projected, whole, one.whitening, tolerance=TOLERANCE)
        unknown = None if level is None else Level(prior_of(dataset, NOISE, 1.0), level, whole.data.shape[1])
        yield one.places, Likelihood(whole, fewer, prior, unknown, dict.fromkeys(dataset.test, 1.0))
