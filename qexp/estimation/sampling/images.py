"""Signals by simulation of whole images, of unknowns of any kind and any generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.datasets.generated import GeneratedDataset
from qexp.estimation.exact.whitening import Whitening
from qexp.estimation.sampling.signals import MOST_PLACES, NEGLIGIBLE

Array = NDArray[np.float64]

BLOCK = 1024
"""Images that are simulated at a time."""


class ImageSignals:
    """Whitened images of a dataset; implements `signals.Signals`, with values in the variables' own units.

    names   the unknowns, in the order of the columns of values; nothing else varies in the dataset
    number  images → (source, number), what is taken of them
    data    (observation, number)
    rest    (observation,)  χ² of what is left out of the data
    """

    def __init__(
        self,
        dataset: GeneratedDataset,
        names: Sequence[str],
        number: Callable[[Mapping[str, Tensor]], Tensor],
        data: Tensor,
        rest: Tensor,
    ) -> None:
        self.dataset, self.names, self.number, self.data, self.rest = dataset, tuple(names), number, data, rest

    def __call__(self, values: Tensor) -> Tensor:
        made = values.new_full((len(values), self.data.shape[1]), torch.nan)
        named = dict(zip(self.names, values.numpy().T, strict=True))
        for where in np.array_split(np.arange(len(values)), len(values) // BLOCK + 1):
            own = {name: of[where] for name, of in named.items()}
            possible = self.dataset.possible(own, len(where))
            if possible.any():
                images = self.dataset.signals({name: of[possible] for name, of in own.items()})
                made[torch.from_numpy(where[possible])] = self.number(images)
        return made

    def of(self, observation: int) -> ImageSignals:
        one, rows = copy(self), slice(observation, observation + 1)
        one.data, one.rest = self.data[rows], self.rest[rows]
        return one


def whole_images(
    dataset: GeneratedDataset, names: Sequence[str], whitening: Whitening, samples: Mapping[str, Tensor]
) -> ImageSignals:
    """The signals at all pixels that are seen, for samples as the dataset makes them."""

    def number(images: Mapping[str, Tensor]) -> Tensor:
        return torch.from_numpy(whitening(images))

    data = number(samples)
    return ImageSignals(dataset, names, number, data, data.new_zeros(len(data)))


def projected(
    whole: ImageSignals, whitening: Whitening, values: Tensor, checked: Tensor | None, tolerance: float
) -> ImageSignals | None:
    """The signals in a basis of those of some sources; None where that has no advantage or is not accurate.

    values     (source, parameter)  sources that span the basis
    checked    (source, parameter)  others, on which it is tested; None: it is not
    tolerance  largest error, relative to the signal
    """
    spanning = whole(values)
    lengths = spanning.norm(dim=1)
    spanning = spanning[lengths > 0] / lengths[lengths > 0, None]
    _, sizes, right = torch.linalg.svd(spanning, full_matrices=False)
    basis = right[sizes > NEGLIGIBLE * sizes[0]]
    if len(basis) > MOST_PLACES * whole.data.shape[1]:
        return None
    if checked is not None and not _accurate(basis, whole(checked), tolerance):
        return None
    turns = whitening.of_products(basis)

    def number(images: Mapping[str, Tensor]) -> Tensor:
        parts = [images[name].flatten(1)[:, whitening.seen[name]].double() @ turn for name, turn in turns.items()]
        return torch.stack(parts).sum(dim=0)

    data = whole.data @ basis.mT
    rest = (whole.data.square().sum(dim=1) - data.square().sum(dim=1)).clamp(min=0)
    return ImageSignals(whole.dataset, whole.names, number, data, rest)


def _accurate(basis: Tensor, signals: Tensor, tolerance: float) -> bool:
    possible = signals[signals.isfinite().all(dim=1)]
    error = (possible - possible @ basis.mT @ basis).norm(dim=1)
    return bool((error <= tolerance * possible.norm(dim=1)).all())
