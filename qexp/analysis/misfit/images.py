"""The misfit of images to a run's simulator: of the residuals that the best source leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.analysis.matrix.refinement import Refinement
from qexp.errors import QexpError
from qexp.inference.fit import best
from qexp.inference.least_squares import Problem
from qexp.inference.least_squares import starts as spread_starts
from qexp.metrics.calibration import blocks_of_tracks, misfit
from qexp.simulation.dataset import GeneratedDataset

Array = NDArray[np.float64]

STARTS, SEED = 16, 0
"""Number of starts over the whole range of sources, and the seed by which they are drawn, where a fit is doubtful."""

DOUBTFUL = 0.01
"""p-value below which the search of a source is repeated from more starts: the fit may have missed the best one."""


class ImageMisfit:
    """p-values of the hypothesis that images were made by a dataset.

    source   the dataset on which the network was trained
    outputs  of the network
    Raises QexpError for datasets whose noise, or whose sources, are not those of a known likelihood.
    """

    def __init__(self, source: GeneratedDataset, outputs: Sequence[str]) -> None:
        _require_known(source, outputs)
        self._refinement = Refinement(source, [], source.fixed, outputs)
        quiet = self._refinement.quiet
        if not self._refinement.noise_over_weights(source.fixed):
            quiet = source.generator.images(source.variables)
        if quiet:
            raise QexpError(
                f"--misfit: '{quiet[0]}' has no noise in the training data, so that no residual is possible"
            )

    def __call__(self, inputs: Mapping[str, NDArray[np.float32]], estimates: Mapping[str, Array]) -> Array:
        """The p-value of the residuals of the best source, (sample,); NaN where too few pixels are seen.

        The network's estimates are the starts of least squares, in the outputs' units, (sample,) each.
        """
        refinement = self._refinement
        samples = {name: torch.from_numpy(of) for name, of in inputs.items()}
        data = refinement.data(samples)
        found = np.full(len(data), np.nan)
        for alike, known, seen in refinement.alike(samples, {}):
            if not refinement.enough(seen):
                continue
            problem = refinement.problem(data[alike], known, seen)
            starts = refinement.starts(problem, {name: np.asarray(of)[alike] for name, of in estimates.items()})
            scale = refinement.noise_over_weights(known)
            found[alike] = _p_values(problem, problem.minimum(starts).coordinates, scale)
            for row in np.flatnonzero(found[alike] < DOUBTFUL):
                own = Problem(problem.model, problem.weighting, problem.data[[row]], problem.coordinates)
                others = spread_starts(own.to_search(SEED), refinement.searches(), STARTS, SEED)
                fit = best(own, torch.cat([starts[[row]], others]))
                found[alike[row]] = _p_values(own, torch.from_numpy(fit.at)[None], scale)[0]
        return found


def _p_values(problem: Problem, coordinates: torch.Tensor, scale: float) -> Array:
    """(problem,)"""
    residuals, _ = problem.linearised(coordinates, torch.arange(len(coordinates)))
    blocks = blocks_of_tracks(problem.model.positions.numpy(), problem.weighting.slices)
    unknowns = len(problem.coordinates.free) + problem.weighting.nuisances
    return misfit(residuals.numpy() / scale, blocks, unknowns).p_value


def _require_known(source: GeneratedDataset, outputs: Sequence[str]) -> None:
    if unknown := [name for name in source.test if name not in outputs]:
        raise QexpError(
            f"--misfit: '{unknown[0]}' varies in the training data, but is no output of the network; leave --misfit out"
        )
