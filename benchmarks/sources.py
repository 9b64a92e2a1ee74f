"""Images by every source of the generators; those of okada and yang against numpy functions that
make one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.timing import Comparison, at_least, seconds
from qexp.simulation.generators import GENERATORS
from validation.plain_okada import plain_okada
from validation.plain_yang import plain_yang

IMAGES, PIXELS = 1000, 64
TIMES_AS_FAST = 20.0
DEMANDED: dict[str, Callable[..., tuple[NDArray[np.float64], ...]]] = {
    "okada": plain_okada,
    "yang": plain_yang,
}

LOOK = {"x_res": 100.0, "y_res": 100.0, "azimuth": 0.3, "incidence": 0.6}
RANGES = {
    "x": (-1.5e3, 1.5e3),
    "y": (-1.5e3, 1.5e3),
    "depth": (2e3, 5e3),
    "delta_volume": (1e6, 1e7),
    "radius": (300.0, 1200.0),
    "pressure_over_mu": (1e-3, 1e-2),
    "semi_major": (1000.0, 1500.0),
    "semi_minor": (300.0, 900.0),
    "plunge": (0.1, 1.4),
    "strike": (0.0, 6.2),
    "length": (500.0, 4000.0),
    "width": (500.0, 2500.0),
    "dip": (0.1, 1.5),
    "strike_slip": (-1.0, 1.0),
    "dip_slip": (-1.0, 1.0),
    "opening": (0.0, 2.0),
    **{f"omega_{axis}": (-1.0, 1.0) for axis in "xyz"},
    **{f"potency_{axis}": (1e5, 1e6) for axis in "xyz"},
    **{f"a_{axis}": (100.0, 900.0) for axis in "xyz"},
}
"""Of the variables of all sources, in SI units; every combination lies below the surface."""


@dataclass(frozen=True)
class Time:
    name: str
    seconds: float
    """For IMAGES images."""


def draw(variables: tuple[str, ...]) -> dict[str, torch.Tensor]:
    random = np.random.default_rng(0)
    drawn = {name: random.uniform(*RANGES[name], IMAGES) for name in variables}
    return {name: torch.from_numpy(values).float() for name, values in drawn.items()}


def measure() -> tuple[list[Comparison], list[Time]]:
    compared, times = [], []
    for name, entry in GENERATORS.items():
        images = entry.build()
        drawn = draw(images.sources[0].variables)
        values = {**drawn, **{key: torch.tensor([value]) for key, value in LOOK.items()}}

        def ours(images=images, values=values) -> NDArray[np.float32]:
            return images.simulate(values, PIXELS, PIXELS)["displacement"].numpy()

        if name in DEMANDED:
            compared.append(against_numpy(name, drawn, ours))
        ours()
        times.append(Time(name, min(seconds(ours) for _ in range(3))))
    return compared, times


def against_numpy(
    name: str, drawn: dict[str, torch.Tensor], ours: Callable[[], NDArray[np.float32]]
) -> Comparison:
    columns = {variable: values.double().numpy() for variable, values in drawn.items()}
    positions = (np.arange(PIXELS) - PIXELS / 2) * LOOK["x_res"]
    east, north = np.meshgrid(positions, positions)
    azimuth, incidence = LOOK["azimuth"], LOOK["incidence"]
    look = (
        -np.cos(azimuth) * np.sin(incidence),
        -np.sin(azimuth) * np.sin(incidence),
        np.cos(incidence),
    )

    def one_at_a_time() -> NDArray[np.float64]:
        images = np.empty((IMAGES, PIXELS, PIXELS))
        for index, (x, y, *others) in enumerate(zip(*columns.values(), strict=True)):
            moved = DEMANDED[name](east - x, north - y, *others)
            images[index] = sum(
                share * component for share, component in zip(look, moved, strict=True)
            )
        return images

    expected = one_at_a_time()
    scale = np.abs(expected).max(axis=(1, 2), keepdims=True)
    # plain formulas lose digits
    np.testing.assert_allclose(ours() / scale, expected / scale, atol=1e-3, rtol=0)
    title = f"{IMAGES:,} images by {name}, times faster than numpy one at a time"
    return at_least(title, ours, one_at_a_time, TIMES_AS_FAST, repeats=3)
