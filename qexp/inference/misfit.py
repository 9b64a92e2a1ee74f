"""Whether a simulator could have made images, by the residuals that the best source leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.base.arrays import Array
from qexp.errors import QexpError
from qexp.inference.fit import best
from qexp.inference.least_squares import Problem, starts as spread_starts
from qexp.inference.refinement import Refinement
from qexp.metrics.calibration import blocks_of_tracks, misfit
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.generators import DeformationImages, Values

STARTS, SEED = 16, 0
"""Starts over the whole range of sources, and the seed of their draws, where a fit is doubtful."""

DOUBTFUL_P = 0.01
"""p-value below which a fit may have missed the best source, and is repeated from more starts."""


class ImageMisfit:
    """p-values of the hypothesis that images were made by a dataset.

    source   the dataset on which the network was trained
    outputs  of the network
    Raises QexpError for datasets whose noise, or whose sources, are not those of a known
    likelihood.
    """

    def __init__(self, source: GeneratedDataset, outputs: Sequence[str]) -> None:
        if not isinstance(source.generator, DeformationImages):
            raise QexpError(
                "`misfit` fits sources of deformation that qexp simulates, and the run learned from"
                " other simulations; leave it out: the column 'outside' counts what no training"
                " sample is like"
            )
        if unknown := [name for name in source.test if name not in outputs]:
            raise QexpError(
                f"`misfit`: '{unknown[0]}' varies in the training data, but is no output of the"
                " network; leave `misfit` out"
            )
        self._refinement = Refinement(source, [], source.fixed, outputs)
        quiet = self._refinement.weights.quiet
        if not self._refinement.weights.scale(source.fixed):
            quiet = source.images
        if quiet:
            raise QexpError(
                f"`misfit`: '{quiet[0]}' has no noise in the training data, so that no residual is"
                " possible; train on a dataset with noise like that of the observed data, such as"
                " mogi_noisy, or leave `misfit` out"
            )

    def __call__(self, inputs: Mapping[str, NDArray[np.float32]], estimates: Values) -> Array:
        """The p-value of the residuals of the best source, (sample,); NaN where too few pixels are
        seen.

        The network's estimates are the starts of least squares, in the outputs' units, (sample,)
        each.
        """
        refinement = self._refinement
        samples = {name: torch.from_numpy(values) for name, values in inputs.items()}
        data = refinement.pixels.numbers_of(samples)
        p_values = np.full(len(data), np.nan)
        for group, shared, mask in refinement.alike(samples, {}):
            if not refinement.enough(mask):
                continue
            problem = refinement.problem(data[group], shared, mask)
            some = {name: np.asarray(values)[group] for name, values in estimates.items()}
            starts = refinement.starts(problem, some)
            scale = refinement.weights.scale(shared)
            p_values[group] = _p_values(problem, problem.minimum(starts).coordinates, scale)
            for row in np.flatnonzero(p_values[group] < DOUBTFUL_P):
                single = Problem(
                    problem.model, problem.weighting, problem.data[[row]], problem.coordinates
                )
                others = spread_starts(single.to_search(SEED), refinement.searches(), STARTS, SEED)
                fit = best(single, torch.cat([starts[[row]], others]))
                p_values[group[row]] = _p_values(single, fit.place, scale)[0]
        return p_values


def _p_values(problem: Problem, coordinates: torch.Tensor, scale: float) -> Array:
    """(problem,)"""
    residuals, _ = problem.linearised(coordinates, torch.arange(len(coordinates)))
    blocks = blocks_of_tracks(problem.model.positions.numpy(), problem.weighting.slices)
    unknowns = len(problem.coordinates.free) + problem.weighting.nuisances
    return misfit(residuals.numpy() / scale, blocks, unknowns).p_value
