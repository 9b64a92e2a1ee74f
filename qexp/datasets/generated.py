"""Datasets that are simulated: values drawn from distributions, images made of them in whole batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from qexp.datasets import intervals
from qexp.datasets.distributions import Distribution
from qexp.datasets.intervals import Interval
from qexp.datasets.noises import Noise
from qexp.quantities import quantity
from qexp.seeds import Seeds

BLOCK = 128
"""Images that noise is added to at a time: it then stays in the processor's cache."""

Part = Mapping[str, Sequence[Interval]]
"""The quantile intervals of each varying variable that belong to a part."""


class Generator(Protocol):
    """A simulator; see `generators/` for those there are."""

    def required(self, variables: Iterable[str]) -> list[str]: ...
    def images(self, variables: Iterable[str]) -> list[str]: ...
    def simulate(self, values: Mapping[str, Tensor], height: int, width: int) -> dict[str, Tensor]: ...


class GeneratedDataset:
    """Samples of simulated images and the values that made them.

    fixed          variable → value in the variable's unit; `noise` [m] may be among them
    test           varying variable → the quantile intervals of the test part, ordered and disjoint
    distributions  varying variable → its distribution
    """

    def __init__(
        self,
        generator: Generator,
        size: tuple[int, int],
        fixed: Mapping[str, float],
        test: Part,
        distributions: Mapping[str, Distribution],
        noise: Noise,
    ) -> None:
        self.generator = generator
        self.height, self.width = size
        self.fixed = dict(fixed)
        self.test = {name: [(low, high) for low, high in ranges] for name, ranges in test.items()}
        self.distributions = dict(distributions)
        self.noise = noise
        self.warnings: list[str] = []
        """What a user should know, and may have meant; of what is simulated as it is asked for, nothing."""

    @property
    def variables(self) -> list[str]:
        """All that has a value: fixed and varying."""
        return [*self.fixed, *(name for name in self.test if name not in self.fixed)]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every variable of a sample and its shape without the batch: (channel, height, width), or (1,)."""
        images = dict.fromkeys(self.generator.images(self.variables), (1, self.height, self.width))
        return {**images, **dict.fromkeys(self.variables, (1,))}

    def parts(self, shares: Sequence[float], seeds: Seeds) -> dict[str, Part]:
        """Divide the quantiles that are not test among training and validation."""
        divided = {name: intervals.divide(test, shares, seeds.numpy("split", name)) for name, test in self.test.items()}
        return {
            "train": {name: parts[0] for name, parts in divided.items()},
            "validation": {name: parts[1] for name, parts in divided.items()},
            "test": self.test,
        }

    def sample(
        self, part: Part, count: int, seeds: Seeds, purpose: Sequence[str | int], device: torch.device
    ) -> dict[str, Tensor]:
        """Draw `count` samples of a part: variable → (count, channel, height, width) or (count, 1)."""
        drawn = {}
        for name, ranges in part.items():
            # Not 0 nor 1: there the quantile functions of many distributions are infinite.
            uniform = seeds.numpy(*purpose, name).uniform(1e-12, 1 - 1e-12, count)
            drawn[name] = self.distributions[name].quantile(intervals.sample(ranges, uniform))
        return self.observe(drawn, seeds.torch(device, *purpose, "noise"))

    def observe(self, values: Mapping[str, np.ndarray], random: torch.Generator) -> dict[str, Tensor]:
        """Simulate what is seen for given values of the varying variables, (count,) each in the variable's unit.

        `random` draws the noise, and its device is where the samples are made.
        """
        device = random.device
        count = len(next(iter(values.values())))
        known = {name: torch.tensor([value], dtype=torch.float64) for name, value in self.fixed.items()}
        known |= {name: torch.from_numpy(np.asarray(value, dtype=np.float64)) for name, value in values.items()}
        si = {name: (value * quantity(name).si_factor).float().to(device) for name, value in known.items()}
        noise_level = si.pop("noise", torch.zeros(1, device=device))
        noisy = bool((noise_level != 0).any())

        made = self.generator.simulate(si, self.height, self.width)
        images = {
            name: (image if len(image) == count else image.expand(count, -1, -1).clone())[:, None]
            for name, image in made.items()
        }
        if noisy:
            self._add_noise(images, si, noise_level, random)
        scalars = {name: value.float().to(device).expand(count)[:, None] for name, value in known.items()}
        return {**images, **scalars}

    def templates(self, image: str, variable: str, values: np.ndarray) -> tuple[Tensor, Tensor]:
        """What `image` looks like without noise for values of one variable, and C⁻¹ times that.

        Other varying variables have their medians; C is the noise's covariance between pixels, for unit variance.
        returns  two of (value, 1, height, width)
        """
        medians = {name: float(one.quantile(np.array([0.5]))[0]) for name, one in self.distributions.items()}
        held = {**self.fixed, **medians, "noise": 0.0}
        del held[variable]
        quiet = GeneratedDataset(self.generator, (self.height, self.width), held, {}, {}, self.noise)
        made = quiet.observe({variable: values}, torch.Generator())[image]
        sizes = {name: torch.tensor([value * quantity(name).si_factor]) for name, value in held.items()}
        return made, self.noise.without_correlation(made[:, 0], *_pixel_sizes(image, sizes))[:, None]

    def _add_noise(
        self, images: dict[str, Tensor], si: Mapping[str, Tensor], level: Tensor, random: torch.Generator
    ) -> None:
        for name, image in images.items():
            sizes = _pixel_sizes(name, si)
            for start in range(0, len(image), BLOCK):
                block = slice(start, min(start + BLOCK, len(image)))
                pixel_width, pixel_height = (size[block] if len(size) > 1 else size for size in sizes)
                field = self.noise.draw(
                    block.stop - block.start, self.height, self.width, pixel_width, pixel_height, random
                )
                if len(level) == 1:
                    image[block, 0].add_(field, alpha=level.item())
                else:
                    image[block, 0].addcmul_(field, level[block, None, None])


def _pixel_sizes(image: str, si: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Width and height of the pixels of an image [m]."""
    view = image.removeprefix("displacement")
    return si["x_res" + view], si["y_res" + view]
