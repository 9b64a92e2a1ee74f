"""Posteriors of a user's images by the likelihood of the dataset that a network was trained on, from its estimates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.analysis.posteriors.likelihoods import Likelihoods
from qexp.analysis.posteriors.simulated import Posteriors, posteriors_by
from qexp.errors import QexpError
from qexp.inference.grid_posterior import circular_moments
from qexp.metrics.metric import nearest
from qexp.quantities import Quantities, quantity
from qexp.simulation.dataset import GeneratedDataset, mask_of

Array = NDArray[np.float64]

BY_LIKELIHOOD = "by the likelihood of the dataset's declared noise, with its distributions as prior"


class ImagePosteriors:
    """Posteriors of images that have the geometry and the noise that a dataset declares.

    dataset     on which the network was trained
    inputs      of the network
    quantities  of the dataset, with the periods of what the network learns as angles
    names       the unknown variables: all that vary but those that the network is given
    units       unknown variable → its unit
    Raises QexpError if the likelihood of the images is not known.
    """

    def __init__(self, dataset: GeneratedDataset, inputs: Collection[str], quantities: Quantities) -> None:
        images = [name for name in dataset.generator.images(dataset.variables) if name in inputs]
        for name in images:
            if mask_of(name) in dataset.shapes() and mask_of(name) not in inputs:
                raise QexpError(
                    f"--refined: the training data hide pixels of '{name}', but the network takes no mask of it, so "
                    f"that which pixels an image shows is unknown; train a network with the input '{mask_of(name)}'"
                )
        try:
            self._likelihoods = Likelihoods(dataset, images, [name for name in dataset.test if name in inputs])
        except QexpError as lack:
            raise QexpError(f"--refined: {lack}") from lack
        self.names = self._likelihoods.names
        self.units = {name: quantity(name, quantities).unit for name in self.names}
        self.periods = {
            name: period for name in self.names if (period := quantity(name, quantities).period) is not None
        }

    def __call__(
        self,
        inputs: Mapping[str, NDArray[np.float32]],
        estimates: Mapping[str, NDArray[np.floating]],
        count: int,
        seed: int,
        on_image: Callable[[int], None] = lambda done: None,
    ) -> Posteriors:
        """Draws for images of which some pixels are seen, `count` each.

        inputs     of the network, (sample, ...) in their units, 0 where a mask hides a pixel
        estimates  output → (sample,), in its unit, from which modes are searched
        """
        samples = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in inputs.items()}
        start = {name: np.asarray(of, np.float64) for name, of in estimates.items() if name in self.names}
        return posteriors_by(self._likelihoods, samples, start, count=count, seed=seed, on_observation=on_image)

    def around(self, made: Posteriors) -> Array:
        """The draws, (sample, draw, variable), those of directions moved by whole periods around their mean."""
        values = made.draws.copy()
        for column, name in enumerate(made.names):
            if (period := self.periods.get(name)) is not None:
                weights = np.ones(values.shape[1])
                means = [circular_moments(of, weights, period)[0] for of in values[:, :, column]]
                values[:, :, column] = nearest(values[:, :, column], np.array(means)[:, None], period)
        return values
