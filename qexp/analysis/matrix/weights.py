"""Weights by the covariance of a dataset's noise, between the pixels that a sample shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.errors import QexpError
from qexp.inference.weighting import Block, Weighting
from qexp.quantities import NOISE, base_name
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.noise import Blocks, Grid, Noise, WhiteNoise
from qexp.simulation.views import GNSS, SIZED

QUIET = 1e-4
"""Standard deviation that is taken for the data of views without noise [m]; with any, all of them weigh the same."""
MOST_KEPT = 1_000_000_000
"""Bytes of covariances and their factors that are kept, because other cells may have the same."""

Seen = NDArray[np.bool_]


class Weights:
    """The weights of samples of a dataset; those that were used last are kept.

    shown  image → whether there are data, for each of its numbers; hidden pixels of single samples are among them
    blocks image → the blocks whose means its numbers are, where they are not its pixels
    Raises QexpError where the full covariance would be too large.
    """

    def __init__(self, source: GeneratedDataset, shown: Mapping[str, Seen], blocks: Mapping[str, Blocks]) -> None:
        self._source, self._shown, self._blocks = source, dict(shown), dict(blocks)
        self._sizes = [name for name in source.variables if base_name(name) in SIZED]
        added = {image: added_to(image, source) for image in shown}
        self._proportional = all(of and all(one.of_unit_variance for one in of) for of in added.values())
        correlated = [image for image, of in added.items() if not all(isinstance(one, WhiteNoise) for one in of)]
        size = sum(8 * len(shown[image]) ** 2 for image in correlated)
        kept = min(MOST_KEPT // max(3 * size, 1) or 1, 1024)  # a covariance, and what was taken from it, and its factor
        own = any(source.noise.hides(image) for image in shown)
        self._kept = lru_cache(1 if own else kept)(self._weighting)  # other cells hardly show the same pixels
        self._covariances = lru_cache(kept * max(len(correlated), 1))(self._covariance)

    def __call__(self, known: Mapping[str, float], seen: Seen) -> Weighting:
        """The weights of samples.

        known  variable → value in SI units
        seen   (number,), which of the numbers that are shown the samples have
        """
        level = known.get(NOISE, 0.0)
        if level and self._proportional:
            level = 1.0  # the minimum is the same for every level, and so the factors can be
        return self._kept(tuple(known[name] for name in self._sizes), level, seen.tobytes())

    def scale(self, known: Mapping[str, float]) -> float:
        """The standard deviation of the noise over that of the weights; 0 where there is no noise."""
        return known.get(NOISE, 0.0) if self._proportional else 1.0

    @property
    def quiet(self) -> list[str]:
        """Images that have no noise."""
        return [image for image in self._shown if not added_to(image, self._source) and not self._has_errors(image)]

    def _has_errors(self, image: str) -> bool:
        view = self._source.view(image)
        return view.measures == GNSS and view.errors is not None

    def _weighting(self, sizes: tuple[float, ...], level: float, seen: bytes) -> Weighting:
        blocks, start = [], 0
        for image, shown in self._shown.items():
            numbers = int(shown.sum())
            of_image = np.frombuffer(seen, dtype=np.bool_)[start : start + numbers]
            start += numbers
            if of_image.any():
                blocks.append(self._block(image, sizes, level, of_image))
        return Weighting(blocks)

    def _block(self, image: str, sizes: tuple[float, ...], level: float, seen: Seen) -> Block:
        numbers, view = int(seen.sum()), self._source.view(image)
        error, covariance = np.full(numbers, QUIET), None
        added = [one for one in added_to(image, self._source) if level or not one.of_unit_variance]
        white = [one for one in added if isinstance(one, WhiteNoise)]
        if view.measures == GNSS:
            if view.errors is not None:
                error = view.errors.T.flatten().double().numpy()[self._shown[image]][seen]
        elif added and len(white) == len(added):
            error = np.full(numbers, math.hypot(*(one.deviation_at(level) for one in white)))
        elif added:
            covariance = self._covariances(image, sizes, level).numpy()
            if not seen.all():
                where = np.flatnonzero(seen)
                covariance = covariance[np.ix_(where, where)]
        return Block(image, error, covariance, np.zeros((numbers, 0)))

    def _covariance(self, image: str, sizes: tuple[float, ...], level: float) -> Tensor:
        """Between all numbers of an image that are shown, (number, number) [m²]."""
        geometry = {
            name: torch.tensor([size], dtype=torch.float64) for name, size in zip(self._sizes, sizes, strict=True)
        }
        layout, noise = self._source.layout(image, geometry), self._source.noise
        if image in self._blocks:
            assert isinstance(layout, Grid)
            try:
                whole = noise.covariance_of_means(image, layout, level, self._blocks[image])
            except ValueError as error:  # of noise from a workspace, which knows no way for many pixels
                raise QexpError(f"--refine: {image}: {error}") from error
        else:
            whole = noise.covariance(image, layout, level)
        where = torch.from_numpy(np.flatnonzero(self._shown[image]))
        return whole if len(where) == len(whole) else whole[where][:, where]


def added_to(image: str, source: GeneratedDataset) -> list[Noise]:
    """What the noise adds to an image; nothing to stations, which have errors of their own."""
    if source.view(image).measures == GNSS:
        return []
    return source.noise.added(image)
