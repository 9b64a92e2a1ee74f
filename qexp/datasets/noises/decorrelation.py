"""Patches in which nothing is seen, where the radar's echoes have decorrelated."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import ClassVar

import torch
from torch import Tensor

from qexp.datasets.noises.correlated import GaussianNoise
from qexp.datasets.noises.layout import Layout
from qexp.datasets.noises.noise import Noise


class Decorrelation(Noise):
    """Random patches of hidden pixels: where a smooth random field is below a level.

    share       expected share of hidden pixels; it varies from image to image
    patch_size  mean width of a patch along any line [km]

    The field has the covariance exp(-(distance / r)²). By Rice's formula it falls below the level u = Φ⁻¹(share)
    exp(-u²/2) / (√2 π r) times in a unit of length, so that the mean width of what is below is share over that.
    Rice (1945), Bell Syst. Tech. J. 24, 46-156, eq. 3.3-11.
    """

    hides: ClassVar[bool] = True

    def __init__(self, share: float, patch_size: float) -> None:
        self.level = NormalDist().inv_cdf(share)
        falls_per_range = math.exp(-(self.level**2) / 2) / (math.sqrt(2) * math.pi)
        self.field = GaussianNoise(range=patch_size * falls_per_range / share)

    def draw(self, count: int, layout: Layout, generator: torch.Generator) -> Tensor:
        return (self.field.correlated(count, layout, generator) < self.level).float()

    def covariance(self, layout: Layout) -> None:
        return None
