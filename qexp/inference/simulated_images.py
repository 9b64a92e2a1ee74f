"""Simulated images: whether their likelihood is known, samples that share it, weights by noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.quantities import NOISE, base_name
from qexp.errors import QexpError
from qexp.inference.weighting import Block, Weighting
from qexp.observations.noise import MOST_CORRELATED
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.simulation.mixture import Mixture
from qexp.simulation.noise import MOST_TO_FACTOR, Blocks, Grid, Noise, WhiteNoise
from qexp.simulation.views import SIZED

Mask = NDArray[np.bool_]


def troubles(
    dataset: GeneratedDataset, images: Sequence[str], names: Sequence[str]
) -> Iterator[str]:
    """Why the likelihood of images is not known, and what would work; names: of the unknowns."""
    if not dataset.simulates and dataset.model is None:
        yield (
            "its images are simulations in files; an 'emulator' of the dataset would make those of"
            " other values"
        )
    if isinstance(dataset, Mixture):
        yield (
            f"its images are of several classes of '{dataset.variable}', of each of which the"
            " unknowns are others; `qexp limit` of a run has the exact probabilities of classes"
        )
    if not dataset.test:
        yield (
            "no variable of the dataset varies, so that nothing is to be estimated; put one into"
            " 'varyings'"
        )
    if not images:
        yield "the network takes no image of the dataset, so that there is no likelihood"
    if not names:
        yield (
            f"all that varies is given ({', '.join(dataset.test)}), so that nothing is to be"
            " estimated"
        )
    sized = [name for name in names if base_name(name) in SIZED]
    if sized and not all(_all_white(dataset.noise.added(image)) for image in images):
        yield (
            f"'{sized[0]}' varies and is not given, and with it the covariance of correlated noise;"
            " put it into 'fixed' in a copy of the dataset"
        )
    silent = [name for name in images if not has_noise(dataset, name)]
    if silent:
        yield (
            f"'{silent[0]}' has no noise, so that estimates could be exact; declare noise in the"
            " dataset"
        )


def has_noise(dataset: GeneratedDataset, image: str) -> bool:
    """Whether all numbers of an image have noise."""
    view = dataset.view(image)
    if view.errors is not None:
        return bool((view.errors > 0).all())
    level = NOISE in dataset.test or dataset.fixed.get(NOISE, 0.0) > 0
    return any(level or not noise.of_unit_variance for noise in dataset.noise.added(image))


# The numbers of images, and samples of which the same ones are seen.

BLOCK = 256
"""Images that are simulated at a time."""


class Pixels:
    """The numbers of all images of a dataset for which there can be data, one image after the
    other.

    available  image → whether there can be, for each of its numbers
    numbers    the same for those of all images
    """

    def __init__(self, source: GeneratedDataset, images: Sequence[str]) -> None:
        size, self.available = source.size, {}
        for image in images:
            view = source.view(image)
            mask = view.mask(size)
            channels, height, width = view.shape(size)
            available = torch.ones(1, height, width) if mask is None else mask
            self.available[image] = available.expand(channels, -1, -1).flatten() > 0
        self.numbers = torch.cat(list(self.available.values()))

    def numbers_of(self, images: Mapping[str, Tensor]) -> Tensor:
        """(sample, number), of (sample, ...) of each image."""
        every = torch.cat([images[image].flatten(1) for image in self.available], dim=1)
        return every.cpu().double()[:, self.numbers]

    def masks(self, samples: Mapping[str, Tensor]) -> Mask:
        """Which of the numbers each sample shows, (sample, number)."""
        parts = []
        for name in self.available:
            shape = samples[name].shape
            mask = samples.get(mask_of(name))
            seen = torch.ones(shape, dtype=torch.bool)
            if mask is not None:
                seen = (mask.cpu() > 0).expand(shape)
            parts.append(seen.flatten(1))
        return torch.cat(parts, dim=1)[:, self.numbers].numpy()


def alike(
    masks: Mask, given: Mapping[str, Array]
) -> Iterator[tuple[NDArray[np.intp], dict[str, float], Mask]]:
    """Samples of which the same numbers are seen, and for which the same values are given.

    masks  (sample, number)
    given  variable → (sample,)
    Yields the samples' numbers, their values, and which numbers are seen of them, (number,).
    """
    rows = np.stack(list(given.values()), axis=1) if given else np.zeros((len(masks), 0))
    groups: dict[tuple[tuple[float, ...], bytes], list[int]] = {}
    packed = np.packbits(masks, axis=1)
    for sample, row in enumerate(rows.tolist()):
        groups.setdefault((tuple(row), packed[sample].tobytes()), []).append(sample)
    for (row, _), samples in sorted(groups.items()):
        yield np.array(samples), dict(zip(given, row, strict=True)), masks[samples[0]]


class SimulatedImages:
    """Numbers of the images of a dataset as a function of its unknowns; implements `density.Model`.

    names    the unknowns, in the order of the columns of values, in their own units; nothing else
             varies in the dataset
    numbers  of those of `pixels`
    """

    def __init__(
        self, dataset: GeneratedDataset, names: Sequence[str], pixels: Pixels, numbers: Tensor
    ) -> None:
        self.dataset = dataset
        self.names = tuple(names)
        self.pixels = pixels
        self.numbers = numbers
        self.points = len(numbers)

    def select(self, points: Tensor) -> SimulatedImages:
        return SimulatedImages(self.dataset, self.names, self.pixels, self.numbers[points])

    def possible(self, values: Tensor) -> Tensor:
        return torch.from_numpy(self.dataset.possible(self._named(values), len(values)))

    def __call__(self, values: Tensor) -> Tensor:
        """(source, number) of values, (source, unknown)."""
        images = (self.dataset.signals(self._named(part)) for part in values.split(BLOCK))
        return torch.cat([self.pixels.numbers_of(part)[:, self.numbers] for part in images])

    def _named(self, values: Tensor) -> dict[str, Array]:
        return dict(zip(self.names, values.numpy().T, strict=True))


# Weights by the covariance of a dataset's noise, between the pixels that a sample shows.

QUIET_DEVIATION = 1e-4
"""Deviation that is taken for data without noise [m]; with any, all of them weigh the same."""
MOST_KEPT = 1_000_000_000
"""Bytes of covariances and their factors that are kept, because other samples may have the same."""


class Weights:
    """The weights of samples of a dataset; those that were used last are kept.

    available  image → whether there are data, for each of its numbers; hidden pixels of single
               samples are among them
    blocks image → the blocks whose means its numbers are, where they are not its pixels
    Raises QexpError where the full covariance would be too large.
    """

    def __init__(
        self,
        source: GeneratedDataset,
        available: Mapping[str, Mask],
        blocks: Mapping[str, Blocks] | None = None,
    ) -> None:
        self._source = source
        self._available = dict(available)
        self._blocks = dict(blocks or {})
        self._sizes = [name for name in source.variables if base_name(name) in SIZED]
        added = {image: added_to(image, source) for image in available}
        every = [noise for noises in added.values() for noise in noises]
        scaled = all(noise.of_unit_variance for noise in every)
        self._proportional = scaled and all(added.values())
        correlated = [image for image, noises in added.items() if not _all_white(noises)]
        size = sum(8 * len(available[image]) ** 2 for image in correlated)
        # a covariance, and what was taken from it, and its factor
        most = min(MOST_KEPT // max(3 * size, 1) or 1, 1024)
        hiding = any(source.noise.hides(image) for image in available)
        # other samples hardly show the same pixels
        self._kept = lru_cache(1 if hiding else most)(self._weighting)
        self._covariances = lru_cache(most * max(len(correlated), 1))(self._covariance)

    def __call__(self, values: Mapping[str, float], mask: Mask) -> Weighting:
        """The weights of samples.

        values  variable → value in SI units; sizes of pixels with white noise may be left out
        mask   (number,), which of the numbers that are shown the samples have
        """
        level = values.get(NOISE, 0.0)
        if level and self._proportional:
            level = 1.0  # the minimum is the same for every level, and so the factors can be
        sizes = tuple(values.get(name, math.nan) for name in self._sizes)
        return self._kept(sizes, level, mask.tobytes())

    def scale(self, values: Mapping[str, float]) -> float:
        """The noise's standard deviation over that of the weights; 0 where there is no noise."""
        return values.get(NOISE, 0.0) if self._proportional else 1.0

    @property
    def quiet(self) -> list[str]:
        images = [image for image in self._available if not added_to(image, self._source)]
        return [image for image in images if self._source.view(image).errors is None]

    def _weighting(self, sizes: tuple[float, ...], level: float, mask: bytes) -> Weighting:
        blocks, start = [], 0
        for image, available in self._available.items():
            numbers = int(available.sum())
            of_image = np.frombuffer(mask, dtype=np.bool_)[start : start + numbers]
            start += numbers
            if of_image.any():
                blocks.append(self._block(image, sizes, level, of_image))
        return Weighting(blocks)

    def _block(self, image: str, sizes: tuple[float, ...], level: float, mask: Mask) -> Block:
        numbers = int(mask.sum())
        view = self._source.view(image)
        error = np.full(numbers, QUIET_DEVIATION)
        covariance = None
        added = [
            noise for noise in added_to(image, self._source) if level or not noise.of_unit_variance
        ]
        white = [noise for noise in added if isinstance(noise, WhiteNoise)]
        if not view.instrument.imaging:
            if view.errors is not None:
                error = view.errors.T.flatten().double().numpy()[self._available[image]][mask]
        elif added and len(white) == len(added):
            deviations = (level if noise.of_unit_variance else noise.deviation for noise in white)
            error = np.full(numbers, math.hypot(*deviations))
        elif added:
            covariance = self._covariances(image, sizes, level).numpy()
            if not mask.all():
                where = np.flatnonzero(mask)
                covariance = covariance[np.ix_(where, where)]
        return Block(image, error, covariance, np.zeros((numbers, 0)))

    def _covariance(self, image: str, sizes: tuple[float, ...], level: float) -> Tensor:
        """Between all numbers of an image that are shown, (number, number) [m²]."""
        columns = torch.tensor(sizes, dtype=torch.float64)[:, None]
        geometry = dict(zip(self._sizes, columns, strict=True))
        layout = self._source.layout(image, geometry)
        noise = self._source.noise
        available = self._available[image]
        if image in self._blocks:
            assert isinstance(layout, Grid)
            try:
                covariance = noise.covariance_of_means(image, layout, level, self._blocks[image])
            except ValueError as error:  # a workspace's noise may know no way for many pixels
                raise QexpError(f"`refine`: {image}: {error}") from error
        elif len(available) > MOST_TO_FACTOR:
            raise QexpError(
                f"'{image}' has {len(available):,} pixels with correlated noise, whose covariance"
                f" matrix can be factored for at most {MOST_TO_FACTOR:,}; make the dataset's images"
                " smaller, with larger pixels"
            )
        else:
            covariance = noise.covariance(image, layout, level)
        where = torch.from_numpy(np.flatnonzero(available))
        return covariance if len(where) == len(covariance) else covariance[where][:, where]


def added_to(image: str, source: GeneratedDataset) -> list[Noise]:
    """What the noise adds to an image; nothing to stations, which have errors of their own."""
    return source.noise.added(image) if source.view(image).instrument.imaging else []


def _all_white(noises: Sequence[Noise]) -> bool:
    return all(isinstance(noise, WhiteNoise) for noise in noises)


# Means of blocks of pixels, in place of pixels of images that have too many for a full covariance.


def blocks_of(image: str, source: GeneratedDataset) -> Blocks | None:
    """The smallest blocks of pixels of an image whose means have a covariance that is not too
    large.

    None if that of its pixels is not, or is diagonal. Raises QexpError for scattered points.
    """
    view = source.view(image)
    _, height, width = view.shape(source.size)
    if height * width <= MOST_CORRELATED or _all_white(added_to(image, source)):
        return None
    if view.points is not None:
        raise QexpError(
            f"`refine`, `bound`: {image} has {height:,} points with correlated noise, and their"
            f" full covariance is used up to {MOST_CORRELATED:,}: take fewer points, or white noise"
        )
    size = 2
    while math.prod(Blocks(height, width, size).shape) > MOST_CORRELATED:
        size += 1
    return Blocks(height, width, size)


class Averages:
    """The means that are fitted: of blocks of some images, and of single numbers of the others.

    available   image → whether there are data, for each of its numbers
    blocks  image → its blocks
    """

    def __init__(self, available: Mapping[str, Tensor], blocks: Mapping[str, Blocks]) -> None:
        groups: list[Tensor] = []
        counts: list[Tensor] = []
        for image, of_image in available.items():
            size = int(of_image.sum())
            numbers = torch.arange(size)
            pixels = torch.ones(size, dtype=torch.long)
            if image in blocks:
                numbers = blocks[image].numbers()[of_image]
                pixels = blocks[image].counts()
            groups.append(numbers + sum(len(means) for means in counts))
            counts.append(pixels)
        self._group = torch.cat(groups)
        self._counts = torch.cat(counts)

    def complete(self, mask: Mask) -> tuple[Mask, Mask]:
        """The numbers, (number,), and the means, (mean,), of blocks whose pixels are all seen."""
        pixels = torch.bincount(self._group[torch.from_numpy(mask)], minlength=len(self._counts))
        complete = pixels == self._counts
        return complete[self._group].numpy(), complete.numpy()

    def groups(self, used: Mask) -> Tensor:
        """The number of the mean of each of the numbers used, of the means that are used alone."""
        groups: Tensor = torch.unique(self._group[torch.from_numpy(used)], return_inverse=True)[1]
        return groups
