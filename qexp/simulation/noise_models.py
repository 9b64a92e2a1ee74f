"""How the noise of a dataset is declared: one component, or several that add up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from qexp.base.seeds import Seeds
from qexp.base.tables import Entry, number
from qexp.simulation.noise import (
    MOST_TO_FACTOR,
    Blocks,
    Decorrelation,
    ExponentialNoise,
    GaussianNoise,
    Grid,
    Layout,
    Noise,
    OffsetNoise,
    PowerLawNoise,
    RampNoise,
    StratifiedNoise,
    WhiteNoise,
    solved,
)

LARGEST_AMPLITUDE = 1_000_000
"""In metres, their square, or per kilometre: beyond all deformation, and far from overflow."""
POSITIVE: dict[str, Any] = {"above": 0, "most": LARGEST_AMPLITUDE}


def _amplitude(description: str) -> dict[str, Any]:
    """Of an amplitude that may be left out."""
    words = f"{description}; without it, unit variance is scaled by the variable `noise`"
    return {**number(words, **POSITIVE, left_out="default"), "type": ["number", "null"]}


_CORRELATED = {
    "range": number("distance at which the covariance has fallen to 1/e [km]", above=0),
    "sill": _amplitude("partial sill, the variance of the correlated part [m²]"),
    "nugget": number(
        "nugget, the variance of the part that is independent from pixel to pixel; needs `sill`"
        " [m²]",
        least=0,
        most=LARGEST_AMPLITUDE,
        left_out="default",
    ),
}

NOISES: dict[str, Entry] = {
    "white": Entry.documented(
        WhiteNoise,
        {"type": "white", "parameters": {}},
        standard_deviation=_amplitude("standard deviation [m]"),
    ),
    "exponential": Entry.documented(
        ExponentialNoise,
        {"type": "exponential", "parameters": {"range": 2.0}},
        **_CORRELATED,
    ),
    "gaussian": Entry.documented(
        GaussianNoise,
        {"type": "gaussian", "parameters": {"range": 5.0, "sill": 2e-5, "nugget": 3e-6}},
        **_CORRELATED,
    ),
    "power_law": Entry.documented(
        PowerLawNoise,
        {"type": "power_law", "parameters": {"difference_at_1_km": 0.005}},
        difference_at_1_km=_amplitude(
            "standard deviation of the difference between two points 1 km apart [m]"
        ),
        outer_scale=number(
            "length beyond which the spectrum levels off, so that the variance is finite [km]",
            above=0,
            most=10_000,
        ),
        spectral_slope=number(
            "slope of the power spectrum along a line; the two-dimensional spectrum is steeper"
            " by 1",
            above=-3,
            below=-1,
        ),
    ),
    "stratified": Entry.documented(
        StratifiedNoise,
        {"type": "stratified", "parameters": {"slope": 0.02}},
        slope=number(
            "standard deviation of the slope, in metres per kilometre of elevation", **POSITIVE
        ),
    ),
    "ramp": Entry.documented(
        RampNoise,
        {"type": "ramp", "parameters": {"slope": 0.001}},
        slope=number(
            "standard deviation of the slope east and of the slope north [m/km]", **POSITIVE
        ),
        quadratic=number(
            "standard deviation of the coefficients of x², xy and y² [m/km²]",
            least=0,
            most=LARGEST_AMPLITUDE,
        ),
    ),
    "offset": Entry.documented(
        OffsetNoise,
        {"type": "offset", "parameters": {"standard_deviation": 0.02}},
        standard_deviation=_amplitude("standard deviation [m]"),
    ),
    "decorrelation": Entry.documented(
        Decorrelation,
        {"type": "decorrelation", "parameters": {"share": 0.2, "patch_size": 1.0}},
        share=number(
            "expected share of hidden pixels; it differs from image to image", above=0, below=1
        ),
        patch_size=number("mean width of a hidden patch along a line [km]", above=0),
    ),
}


# The noise of a dataset: one component, or several that add up.

BLOCK = 128
"""Images to which noise is added at a time, so that it stays in the processor's cache."""


@dataclass(frozen=True)
class Component:
    noise: Noise
    images: frozenset[str] | None = None
    """The images that it is on; None for all."""
    stream: tuple[str | int, ...] | None = None
    """Purpose of its random numbers, a stream for each image; None: those of the samples."""


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Components that add up, each with realisations of its own in every view."""

    components: Sequence[Component]

    def components_of(self, image: str) -> list[Component]:
        """The components that an image has."""
        chosen = list[Component]()
        for component in self.components:
            if component.images is None or image in component.images:
                chosen.append(component)
        return chosen

    def added(self, image: str) -> list[Noise]:
        """The noise that is added to an image, rather than hiding its pixels."""
        noises = [component.noise for component in self.components_of(image)]
        return [noise for noise in noises if not noise.hides]

    def hides(self, image: str) -> bool:
        """Whether pixels of an image may be hidden."""
        return any(component.noise.hides for component in self.components_of(image))

    def depends_on_pixels(self, image: str) -> bool:
        """Whether the noise of an image depends on the size of its pixels."""
        noises = (component.noise for component in self.components_of(image))
        return not all(isinstance(noise, WhiteNoise | OffsetNoise) for noise in noises)

    def add(
        self,
        images: Mapping[str, Tensor],
        layout: Callable[[str], Layout],
        level: Tensor,
        random: torch.Generator,
    ) -> dict[str, Tensor]:
        """Add noise to images, in place, and make hidden pixels zero.

        images   name → (batch, ...), of as many pixels as its layout
        level    (batch,) or (1,), the value of `noise` [m]
        returns  name → 1 where a pixel is seen and 0 where not, like the image, for images that can
                 have hidden ones
        """
        of_images = {name: self.components_of(name) for name in images}
        if not (level != 0).any():
            for name, components in of_images.items():
                of_images[name] = [one for one in components if not one.noise.of_unit_variance]
        if not any(of_images.values()):
            return {}
        streams = self._streams(random)
        masks = {}
        for name, components in of_images.items():
            if not components:
                continue
            image = images[name]
            where = layout(name)
            if self.hides(name):
                masks[name] = torch.ones_like(image)
            generators = [streams(component, name) for component in components]
            for start in range(0, len(image), BLOCK):
                block = slice(start, min(start + BLOCK, len(image)))
                some, layout_of_some = image[block], where.of_samples(block)
                scale = level[block] if len(level) > 1 else level
                for component, generator in zip(components, generators, strict=True):
                    noise = component.noise
                    field = noise.draw(len(some), layout_of_some, generator).reshape(some.shape)
                    if noise.hides:
                        masks[name][block].mul_(1 - field)
                    elif not noise.of_unit_variance:
                        some.add_(field)
                    elif len(scale) == 1:
                        some.add_(field, alpha=scale.item())
                    else:
                        some.addcmul_(field, scale.view(-1, *[1] * (some.dim() - 1)))
            if name in masks:
                image.mul_(masks[name])
        return masks

    def covariance(self, image: str, layout: Layout, level: float) -> Tensor:
        """Covariance between the pixels of an image, for a value of `noise` [m]: (n, n) [m2],
        float64.
        """
        return self._total(
            image, torch.Size(layout.shape).numel(), level, lambda noise: noise.covariance(layout)
        )

    def covariance_of_means(self, image: str, layout: Grid, level: float, blocks: Blocks) -> Tensor:
        """Covariance between the means of blocks of pixels, (block, block) [m2].

        Raises ValueError where there are too many pixels for it.
        """
        count = math.prod(blocks.shape)
        return self._total(
            image, count, level, lambda noise: noise.covariance_of_means(layout, blocks)
        )

    def _total(
        self, image: str, count: int, level: float, covariance: Callable[[Noise], Tensor | None]
    ) -> Tensor:
        total = torch.zeros(count, count, dtype=torch.float64)
        for component in self.components_of(image):
            of_component = covariance(component.noise)
            if of_component is not None:
                variance = level**2 if component.noise.of_unit_variance else 1.0
                total.add_(of_component, alpha=variance)
        return total

    def trouble_with_inverse(self, image: str, pixels: int) -> str | None:
        """Why `without_correlation` is impossible for an image of this number of pixels, in
        words.
        """
        added = self.added(image)
        if added and not any(noise.invertible for noise in added):
            return "no component is independent from pixel to pixel; add 'white', or a 'nugget'"
        formed = len(added) > 1 or any(noise.inverted_as_a_matrix for noise in added)
        if formed and pixels > MOST_TO_FACTOR:
            return (
                f"inverting its covariance is possible for at most {MOST_TO_FACTOR:,} pixels, not"
                f" {pixels:,}"
            )
        return None

    def without_correlation(
        self, image: str, images: Tensor, layout: Layout, level: float
    ) -> Tensor:
        """C⁻¹ times each image, C the covariance between the pixels of the image of this name, but
        for a factor.

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
        if all(component.stream is None for component in self.components):
            return lambda component, image: random
        seeds = Seeds(number_from(random))
        return lambda component, image: (
            random
            if component.stream is None
            else seeds.torch(random.device, *component.stream, image)
        )


def number_from(random: torch.Generator) -> int:
    return int(torch.randint(2**62, (), generator=random, device=random.device))
