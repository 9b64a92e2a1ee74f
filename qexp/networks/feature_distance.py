"""How unlike its training samples a network finds others, by features of its last layers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qexp.base.arrays import Array
from qexp.errors import QexpError
from qexp.networks.estimator import Estimator
from qexp.networks.network import Network

UNUSUAL_SHARE = 0.005
"""Share of training samples with features as far from their mean, below which an observation is
said to be unlike them. The least share that is found is 1 in 513 where there are 1,024 training
samples.
"""


class FeatureDistance:
    """Mahalanobis distances of features from their mean over training samples, as p-values.

    model      the trained network
    reference  training samples: the covariance comes from one half of them, the usual distances
               from the other

    Features are what the last linear layer takes, or the posterior head. The distance is that of
    Lee et al. (2018, arXiv:1807.03888), with the covariance shrunk, as some features hardly vary
    (Ledoit and Wolf 2004, J. Multivar. Anal. 88, 365-411).
    """

    def __init__(self, model: Estimator, reference: Mapping[str, Tensor]) -> None:
        from sklearn.covariance import LedoitWolf  # half a second to load

        self._model = model
        self._device = next(iter(reference.values())).device
        features = hidden_features(model, reference)
        deviation = features.std(axis=0)
        self._mean: Array = features.mean(axis=0)
        self._deviation: Array = np.where(deviation > 0, deviation, 1.0)
        scaled = self._scaled(features)
        half = len(features) // 2
        self._covariance = LedoitWolf().fit(scaled[:half])
        self._distances: Array = np.sort(self._covariance.mahalanobis(scaled[half:]))

    def p_values(self, inputs: Mapping[str, NDArray[np.float32]]) -> Array:
        """The share of training samples whose features lie as far from their mean, (sample,); never
        0.

        inputs  of the network, (sample, ...) each
        """
        samples = {
            name: torch.from_numpy(values).to(self._device) for name, values in inputs.items()
        }
        distances: Array = self._covariance.mahalanobis(
            self._scaled(hidden_features(self._model, samples))
        )
        nearer: NDArray[np.intp] = np.searchsorted(self._distances, distances)
        of_all = 1 + len(self._distances)
        return (of_all - nearer) / of_all

    def _scaled(self, features: Array) -> Array:
        return (features - self._mean) / self._deviation


def hidden_features(model: Estimator, samples: Mapping[str, Tensor]) -> Array:
    """What the last layer of each output takes, (sample, feature): the posterior head, or else the
    last linear or convolutional layer on the way to it.
    """
    network, caught = model.network, []
    layers = [
        layer
        for name in network.outputs
        for layer in _layers_making(network, name, len(network.branches))
    ]
    if not layers:
        raise QexpError(
            "`misfit`: the network has no linear or convolutional layer whose features could be"
            " compared"
        )
    with ExitStack() as hooks:
        for layer in dict.fromkeys(layers):
            hook = layer.register_forward_pre_hook(
                lambda _, inputs: caught.append(inputs[0].flatten(1))
            )
            hooks.enter_context(hook)
        model.estimate(samples, batch_size=len(samples[next(iter(network.inputs))]))
    return torch.cat(caught, dim=1).double().cpu().numpy()


def _layers_making(network: Network, name: str, latest: int) -> list[nn.Module]:
    """The last layer of the latest branch before `latest` that makes a value, or its source."""
    for index in reversed(range(latest)):
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
                layer
                for source in branch.sources
                for layer in _layers_making(network, source, index)
            ]
    return []
