"""The noise of a dataset: one component, or several that add up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qexp.datasets.noises.blocks import Blocks
from qexp.datasets.noises.layout import Grid, Layout
from qexp.datasets.noises.noise import MOST_TO_FACTOR, Noise, solved
from qexp.seeds import Seeds

BLOCK = 128
"""Images to which noise is added at a time, so that it stays in the processor's cache."""


@dataclass(frozen=True)
class Component:
    noise: Noise
    images: frozenset[str] | None = None
    """The images that it is on; None for all."""
    stream: tuple[str | int, ...] | None = None
    """The purpose of its random numbers, of which every image has a stream; None to take those of the samples."""


class NoiseModel:
    """Components that add up, each with realisations of its own in every view."""

    def __init__(self, components: Sequence[Component]) -> None:
        self.components = tuple(components)

    def on(self, image: str) -> list[Component]:
        """The components that an image has."""
        return [one for one in self.components if one.images is None or image in one.images]

    def added(self, image: str) -> list[Noise]:
        """The noise that is added to an image, rather than hiding its pixels."""
        return [one.noise for one in self.on(image) if not one.noise.hides]

    def hides(self, image: str) -> bool:
        """Whether pixels of an image may be hidden."""
        return any(one.noise.hides for one in self.on(image))

    def add(
        self, images: Mapping[str, Tensor], layout: Callable[[str], Layout], level: Tensor, random: torch.Generator
    ) -> dict[str, Tensor]:
        """Add noise to images, in place, and make hidden pixels zero.

        images   name → (batch, ...), of as many pixels as its layout
        level    (batch,) or (1,), the value of `noise` [m]
        returns  name → 1 where a pixel is seen and 0 where not, like the image, for images that can have hidden ones
        """
        nothing = not (level != 0).any()
        of_images = {
            name: [one for one in self.on(name) if not (nothing and one.noise.of_unit_variance)] for name in images
        }
        if not any(of_images.values()):
            return {}
        streams = self._streams(random)
        seen = {}
        for name, components in of_images.items():
            if not components:
                continue
            image, where = images[name], layout(name)
            if self.hides(name):
                seen[name] = torch.ones_like(image)
            generators = [streams(one, name) for one in components]
            for start in range(0, len(image), BLOCK):
                block = slice(start, min(start + BLOCK, len(image)))
                for one, generator in zip(components, generators, strict=True):
                    if one.noise.hides:
                        _hide(one.noise, seen[name][block], where.of_samples(block), generator)
                    else:
                        scale = level[block] if len(level) > 1 else level
                        _add(one.noise, image[block], where.of_samples(block), scale, generator)
            if name in seen:
                image.mul_(seen[name])
        return seen

    def covariance(self, image: str, layout: Layout, level: float) -> Tensor:
        """Covariance between the pixels of an image, for a value of `noise` [m]: (n, n) [m2], float64."""
        return self._total(image, torch.Size(layout.shape).numel(), level, lambda noise: noise.covariance(layout))

    def covariance_of_means(self, image: str, layout: Grid, level: float, blocks: Blocks) -> Tensor:
        """The same between the means of blocks of pixels, (block, block) [m2].

        Raises ValueError where there are too many pixels for it.
        """
        count = math.prod(blocks.shape)
        return self._total(image, count, level, lambda noise: noise.covariance_of_means(layout, blocks))

    def _total(self, image: str, count: int, level: float, of: Callable[[Noise], Tensor | None]) -> Tensor:
        total = torch.zeros(count, count, dtype=torch.float64)
        for one in self.on(image):
            if (part := of(one.noise)) is not None:
                total.add_(part, alpha=level**2 if one.noise.of_unit_variance else 1.0)
        return total

    def trouble_with_inverse(self, image: str, pixels: int) -> str | None:
        """Why `without_correlation` is impossible for an image of this number of pixels, in words."""
        added = self.added(image)
        if added and not any(one.invertible for one in added):
            return "no component is independent from pixel to pixel; add 'white', or a 'nugget'"
        formed = len(added) > 1 or any(one.inverted_as_a_matrix for one in added)
        if formed and pixels > MOST_TO_FACTOR:
            return f"inverting its covariance is possible for at most {MOST_TO_FACTOR:,} pixels, not {pixels:,}"
        return None

    def without_correlation(self, image: str, images: Tensor, layout: Layout, level: float) -> Tensor:
        """C⁻¹ times each image, C the covariance between the pixels of the image of this name, but for a factor.

        images   (count, *layout.shape)
        level    the value of `noise` [m]; 1 is taken for 0
        Raises ValueError where C has no inverse.
        """
        added = self.added(image)
        if len(added) == 1:
            return added[0].without_correlation(images, layout)
        return solved(self.covariance(image, layout, level or 1.0), images) if added else images

    def _streams(self, random: torch.Generator) -> Callable[[Component, str], torch.Generator]:
        """The random numbers of a component in an image."""
        if all(one.stream is None for one in self.components):
            return lambda one, image: random
        seed = torch.randint(2**62, (), generator=random, device=random.device)
        seeds = Seeds(int(seed))
        return lambda one, image: random if one.stream is None else seeds.torch(random.device, *one.stream, image)


def _add(noise: Noise, images: Tensor, layout: Layout, level: Tensor, generator: torch.Generator) -> None:
    field = noise.draw(len(images), layout, generator).reshape(images.shape)
    if not noise.of_unit_variance:
        images.add_(field)
    elif len(level) == 1:
        images.add_(field, alpha=level.item())
    else:
        images.addcmul_(field, level.view(-1, *[1] * (images.dim() - 1)))


def _hide(noise: Noise, seen: Tensor, layout: Layout, generator: torch.Generator) -> None:
    seen.mul_(1 - noise.draw(len(seen), layout, generator).reshape(seen.shape))
