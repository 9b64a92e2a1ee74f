"""Whether an observation is anything that the simulator of a run could have made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qexp.base.arrays import Array
from qexp.errors import QexpError
from qexp.inference.fit import best
from qexp.inference.least_squares import Problem, starts as spread_starts
from qexp.inference.refinement import Refinement
from qexp.metrics.calibration import blocks_of_tracks, misfit
from qexp.networks.estimator import Estimator
from qexp.networks.network import Network
from qexp.simulation.dataset import GeneratedDataset

UNUSUAL = 0.005
"""Share of training samples with features as far from their mean, below which an observation is said to be unlike them.
The least share that is found is 1 in 513 where there are 1,024 training samples."""


class FeatureDistance:
    """Mahalanobis distances of features from their mean over training samples, as p-values.

    model      the trained network
    reference  training samples: the covariance comes from one half of them, the usual distances from the other

    Features are what the last linear layer takes, or the posterior head. The distance is that of Lee et al. (2018,
    arXiv:1807.03888), with the covariance shrunk, as some features hardly vary (Ledoit and Wolf 2004, J. Multivar.
    Anal. 88, 365-411).
    """

    def __init__(self, model: Estimator, reference: Mapping[str, Tensor]) -> None:
        from sklearn.covariance import LedoitWolf  # half a second to load

        self._model, self._device = model, next(iter(reference.values())).device
        features = hidden_features(model, reference)
        deviation = features.std(axis=0)
        self._mean: Array = features.mean(axis=0)
        self._deviation: Array = np.where(deviation > 0, deviation, 1.0)
        scaled, half = self._scaled(features), len(features) // 2
        self._covariance = LedoitWolf().fit(scaled[:half])
        self._distances: Array = np.sort(self._covariance.mahalanobis(scaled[half:]))

    def p_values(self, inputs: Mapping[str, NDArray[np.float32]]) -> Array:
        """The share of training samples whose features lie as far from their mean, (sample,); never 0.

        inputs  of the network, (sample, ...) each
        """
        samples = {name: torch.from_numpy(values).to(self._device) for name, values in inputs.items()}
        distances: Array = self._covariance.mahalanobis(self._scaled(hidden_features(self._model, samples)))
        nearer: NDArray[np.intp] = np.searchsorted(self._distances, distances)
        of_all = 1 + len(self._distances)
        shares: Array = (of_all - nearer) / of_all
        return shares

    def _scaled(self, features: Array) -> Array:
        return (features - self._mean) / self._deviation


def hidden_features(model: Estimator, samples: Mapping[str, Tensor]) -> Array:
    """What the last layer of each output takes, (sample, feature): the posterior head, or else the last linear or
    convolutional layer on the way to it.
    """
    network, caught = model.network, []
    layers = [layer for name in network.outputs for layer in _layers_making(network, name, len(network.branches))]
    if not layers:
        raise QexpError("`misfit`: the network has no linear or convolutional layer whose features could be compared")
    hooks = [
        layer.register_forward_pre_hook(lambda _, layer_inputs: caught.append(layer_inputs[0].flatten(1)))
        for layer in dict.fromkeys(layers)
    ]
    try:
        model.estimate(samples, batch_size=len(samples[next(iter(network.inputs))]))
    finally:
        for hook in hooks:
            hook.remove()
    features: Array = torch.cat(caught, dim=1).double().cpu().numpy()
    return features


def _layers_making(network: Network, name: str, before: int) -> list[nn.Module]:
    """The last layer of the latest branch, of those `before` one, that makes a value; or of what it starts from."""
    for index in reversed(range(before)):
        branch = network.branches[index]
        if name in branch.targets:
            if branch.operations and branch.operations[-1] in network.heads:
                return [network.operations[branch.operations[-1]]]
            layers: list[nn.Module] = [
                layer
                for operation in branch.operations
                for layer in network.operations[operation].modules()
                if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv1d)
            ]
            return layers[-1:] or [
                layer for source in branch.sources for layer in _layers_making(network, source, index)
            ]
    return []


# The misfit of images to a run's simulator: of the residuals that the best source leaves.

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
        if unknown := [name for name in source.test if name not in outputs]:
            raise QexpError(
                f"`misfit`: '{unknown[0]}' varies in the training data, but is no output of the network; leave "
                "`misfit` out"
            )
        self._refinement = Refinement(source, [], source.fixed, outputs)
        quiet = self._refinement.weights.quiet
        if not self._refinement.weights.scale(source.fixed):
            quiet = source.images
        if quiet:
            raise QexpError(
                f"`misfit`: '{quiet[0]}' has no noise in the training data, so that no residual is possible; train on "
                "a dataset with noise like that of the observed data, such as mogi_noisy, or leave `misfit` out"
            )

    def __call__(self, inputs: Mapping[str, NDArray[np.float32]], estimates: Mapping[str, Array]) -> Array:
        """The p-value of the residuals of the best source, (sample,); NaN where too few pixels are seen.

        The network's estimates are the starts of least squares, in the outputs' units, (sample,) each.
        """
        refinement = self._refinement
        samples = {name: torch.from_numpy(values) for name, values in inputs.items()}
        data = refinement.pixels.numbers_of(samples)
        p_values = np.full(len(data), np.nan)
        for group, shared, mask in refinement.alike(samples, {}):
            if not refinement.enough(mask):
                continue
            problem = refinement.problem(data[group], shared, mask)
            starts = refinement.starts(problem, {name: np.asarray(values)[group] for name, values in estimates.items()})
            scale = refinement.weights.scale(shared)
            p_values[group] = _p_values(problem, problem.minimum(starts).coordinates, scale)
            for row in np.flatnonzero(p_values[group] < DOUBTFUL):
                single = Problem(problem.model, problem.weighting, problem.data[[row]], problem.coordinates)
                others = spread_starts(single.to_search(SEED), refinement.searches(), STARTS, SEED)
                fit = best(single, torch.cat([starts[[row]], others]))
                p_values[group[row]] = _p_values(single, torch.from_numpy(fit.at)[None], scale)[0]
        return p_values


def _p_values(problem: Problem, coordinates: torch.Tensor, scale: float) -> Array:
    """(problem,)"""
    residuals, _ = problem.linearised(coordinates, torch.arange(len(coordinates)))
    blocks = blocks_of_tracks(problem.model.positions.numpy(), problem.weighting.slices)
    unknowns = len(problem.coordinates.free) + problem.weighting.nuisances
    return misfit(residuals.numpy() / scale, blocks, unknowns).p_value
