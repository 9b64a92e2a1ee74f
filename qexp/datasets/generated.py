"""Simulated datasets: parameters drawn from distributions, and images of them, simulated in batches."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.datasets import intervals
from qexp.datasets.distributions import Distribution
from qexp.datasets.intervals import Interval
from qexp.datasets.noises.layout import Grid, Layout
from qexp.datasets.noises.model import NoiseModel
from qexp.quantities import QUANTITIES, Quantities, base_name, quantity
from qexp.seeds import Seeds

Values = NDArray[np.float64]
Number = TypeVar("Number", float, Tensor, Values)

Part = Mapping[str, Sequence[Interval]]
"""Varying variable → its quantile intervals in one part (training, validation or test)."""


class Generator(Protocol):
    """A simulator of images; those of qexp are in `generators/`.

    Values are variable → (batch,), or (1,) if all samples share the value; in SI units.
    """

    def required(self, variables: Iterable[str]) -> list[str]:
        """The variables that must have a value, given those that a dataset mentions."""
        ...

    def images(self, variables: Iterable[str]) -> list[str]:
        """The names of the images made."""
        ...

    def simulate(self, values: Mapping[str, Tensor], height: int, width: int) -> dict[str, Tensor]:
        """Image → (batch, height, width), without noise."""
        ...

    def pixel_sizes(self, image: str, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Width and height of the pixels of an image, (batch,) or (1,) each, in metres: correlated noise needs them."""
        ...


GENERATOR_METHODS = {
    "required": "required(variables): the variables that must have a value",
    "images": "images(variables): the names of the images that it makes",
    "simulate": "simulate(values, height, width): image → (batch, height, width)",
    "pixel_sizes": "pixel_sizes(image, values): width and height of the image's pixels in metres",
}


class GeneratedDataset:
    """Samples of simulated images and the values that made them.

    fixed          variable → value in the variable's unit; may include `noise` [m]
    test           varying variable → the quantile intervals of the test part, ordered and disjoint
    distributions  varying variable → its distribution
    quantities     the units of variables
    """

    def __init__(
        self,
        generator: Generator,
        size: tuple[int, int],
        fixed: Mapping[str, float],
        test: Part,
        distributions: Mapping[str, Distribution],
        noise: NoiseModel,
        quantities: Quantities = QUANTITIES,
    ) -> None:
        self.generator = generator
        self.height, self.width = size
        self.fixed = dict(fixed)
        self.test = {name: [(low, high) for low, high in ranges] for name, ranges in test.items()}
        self.distributions = dict(distributions)
        self.noise = noise
        self.quantities = quantities
        self.warnings: list[str] = []
        """Warnings about the data; none for simulated data."""

    @property
    def variables(self) -> list[str]:
        """All variables that have a value, fixed and varying."""
        return [*self.fixed, *(name for name in self.test if name not in self.fixed)]

    def holding(self, fixed: Mapping[str, float]) -> GeneratedDataset:
        """The same dataset with only these values fixed; `observe` then takes the values of all other variables."""
        size = (self.height, self.width)
        return GeneratedDataset(self.generator, size, fixed, {}, self.distributions, self.noise, self.quantities)

    def without_noise(self) -> GeneratedDataset:
        """The same dataset with nothing added to its images and nothing hidden in them."""
        quiet = copy.copy(self)
        quiet.noise = NoiseModel([])
        return quiet

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every variable of a sample and its shape without the batch: (channel, height, width), or (1,)."""
        images = dict.fromkeys(self.generator.images(self.variables), (1, self.height, self.width))
        masks = {mask_of(image): shape for image, shape in images.items() if self.noise.hides(image)}
        return {**images, **masks, **dict.fromkeys(self.variables, (1,))}

    def parts(self, shares: Sequence[float], seeds: Seeds) -> dict[str, Part]:
        """Divide the quantiles outside the test intervals between training and validation."""
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
        drawn = self.values(part, count, seeds, purpose)
        return self.observe(drawn, seeds.torch(device, *purpose, "noise"))

    def values(self, part: Part, count: int, seeds: Seeds, purpose: Sequence[str | int]) -> dict[str, Values]:
        """The values of the varying variables of `sample`, (count,) each, in the variable's unit."""
        drawn = {}
        for name, ranges in part.items():
            # Neither 0 nor 1, where the quantile functions of many distributions are infinite.
            uniform = seeds.numpy(*purpose, name).uniform(1e-12, 1 - 1e-12, count)
            drawn[name] = self.distributions[name].quantile(intervals.sample(ranges, uniform))
        return drawn

    def pixel_sizes(self, image: str, values: Mapping[str, Values]) -> tuple[Values, Values]:
        """Width and height of the pixels of an image [m], (count,) or (1,), for values as `observe` takes them."""
        known = {**{name: np.array([value]) for name, value in self.fixed.items()}, **values}
        width, height = self.generator.pixel_sizes(
            image,
            {name: torch.from_numpy(self._in_si(name, np.asarray(value, np.float64))) for name, value in known.items()},
        )
        return width.numpy(), height.numpy()

    def observe(self, values: Mapping[str, np.ndarray], random: torch.Generator) -> dict[str, Tensor]:
        """Simulate observations for given values of the varying variables, (count,) each in the variable's unit.

        `random` draws the noise; the samples are made on its device.
        """
        device = random.device
        count = len(next(iter(values.values())))
        known = {name: torch.tensor([value], dtype=torch.float64) for name, value in self.fixed.items()}
        known |= {name: torch.from_numpy(np.asarray(value, dtype=np.float64)) for name, value in values.items()}
        si = {name: self._in_si(name, value).float().to(device) for name, value in known.items()}
        noise_level = si.pop("noise", torch.zeros(1, device=device))

        made = self.generator.simulate(si, self.height, self.width)
        images = {
            name: (image if len(image) == count else image.expand(count, -1, -1).clone())[:, None]
            for name, image in made.items()
        }
        seen = self.noise.add(images, lambda image: self.layout(image, si), noise_level, random)
        masks = {mask_of(image): mask for image, mask in seen.items()}
        scalars = {name: value.float().to(device).expand(count)[:, None] for name, value in known.items()}
        return {**images, **masks, **scalars}

    def layout(self, image: str, values: Mapping[str, Tensor]) -> Layout:
        """Where the pixels of an image lie, for variable → (batch,) or (1,), in SI units."""
        return Grid(self.height, self.width, *self.generator.pixel_sizes(image, values))

    def templates(self, image: str, variable: str, values: np.ndarray) -> tuple[Tensor, Tensor]:
        """Noise-free images for values of one variable, and C⁻¹ times these, (value, 1, height, width) each.

        The other varying variables have their medians, the noise too; C is the covariance of the noise between pixels,
        but for a factor.
        """
        held = {**self.fixed, **{name: float(value[0]) for name, value in self._quantiles(0.5).items()}}
        level = held.get("noise", 0.0)
        del held[variable]
        made = self.without_noise().holding(held).observe({variable: values}, torch.Generator())[image]
        si = {name: torch.tensor([self._in_si(name, value)]) for name, value in held.items()}
        filtered = self.noise.without_correlation(image, made[:, 0], self.layout(image, si), level)
        return made, filtered[:, None]

    def layouts(self) -> dict[str, Layout]:
        """The layout of every image in two samples, which differ in all that varies."""
        known = {**{name: np.array([value]) for name, value in self.fixed.items()}, **self._quantiles(0.25, 0.75)}
        si = {name: torch.from_numpy(self._in_si(name, value)).float() for name, value in known.items()}
        return {image: self.layout(image, si) for image in self.generator.images(self.variables)}

    def _quantiles(self, *probabilities: float) -> dict[str, Values]:
        """Values of the varying variables, (probability,) each."""
        return {name: one.quantile(np.array(probabilities)) for name, one in self.distributions.items()}

    def _in_si(self, variable: str, value: Number) -> Number:
        return value * quantity(variable, self.quantities).si_factor


def mask_of(image: str) -> str:
    """The variable that says which pixels of an image are seen: `mask_1` for `displacement_1`."""
    base = base_name(image)
    return f"mask{image.removeprefix(base)}" if base == "displacement" else f"mask_{image}"
