"""Synthetic glaciers over time, and the shallow-ice velocities for their thickness and surface.

Units are those of glaciology; this file converts them to those of `forward.ice`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.errors import QexpError
from qexp.forward import ice
from qexp.synthetic.glaciers import Glacier, Range

YEAR = 365.242198781 * 86400
"""The year of UDUNITS [s], with which other software converts the units of the files."""

ARRHENIUS = 1e-18 / YEAR
"""MPa-3 a-1 in Pa-3 s-1."""

SLIDING = 1e3 * 1e-18 / YEAR
"""km MPa-3 a-1 in m Pa-3 s-1."""

LONGEST_STEP = 0.25
"""Largest time step of the integration [a], the only limit while ice is thin."""

SMALLEST_FRAME = 3000.0
"""[m]"""

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Options:
    """The options of a set of glaciers, named as those of `qexp data ice`."""

    frames: int = 15
    size: int = 80
    spacing: float = 150.0
    """[m]"""
    seed: int = 0
    arrhenius: Range = (78.0, 78.0)
    """[MPa-3 a-1]"""
    sliding: Range = (0.0, 0.0)
    """[km MPa-3 a-1]"""
    coupling: float | None = None
    """In ice thicknesses; None: velocities are local."""

    def __str__(self) -> str:
        words = [f"--frames {self.frames} --size {self.size} --spacing {self.spacing:g} --seed {self.seed}"]
        words += [
            f"--{name} {low:g}:{high:g}" for name in ("arrhenius", "sliding") for low, high in [getattr(self, name)]
        ]
        return " ".join([*words, *([] if self.coupling is None else [f"--coupling {self.coupling:g}"])])


def check(options: Options, glaciers: int, test: int) -> None:
    """Raises QexpError with all problems of the options."""
    (low, high), (least, most) = options.arrhenius, options.sliding
    coupling = options.coupling
    sound = [
        (1 <= glaciers <= 100_000, f"--glaciers {glaciers}: from 1 to 100000"),
        (0 <= test < max(glaciers, 1), f"--test {test}: from 0 to one less than there are glaciers, {glaciers - 1}"),
        (1 <= options.frames <= 10_000, f"--frames {options.frames}: from 1 to 10000"),
        (16 <= options.size <= 1024, f"--size {options.size}: from 16 to 1024 cells along each side"),
        (20 <= options.spacing <= 1000, f"--spacing {options.spacing:g}: from 20 to 1000 metres"),
        (
            options.size * options.spacing >= SMALLEST_FRAME,
            f"--size {options.size} --spacing {options.spacing:g}: a frame of {options.size * options.spacing:g} m; "
            f"glaciers need {SMALLEST_FRAME:g} m or more",
        ),
        (0 <= options.seed <= LARGEST_SEED, f"--seed {options.seed}: a whole number from 0 on, less than 2^63"),
        (0 < low <= high <= 1000, f"--arrhenius {low:g}:{high:g}: LOW:HIGH in MPa⁻³ a⁻¹, above 0, up to 1000"),
        (0 <= least <= most <= 1000, f"--sliding {least:g}:{most:g}: LOW:HIGH in km MPa⁻³ a⁻¹, from 0 to 1000"),
        (coupling is None or 0 < coupling <= 100, f"--coupling {coupling}: in ice thicknesses, above 0, up to 100"),
    ]
    if wrong := [message for right, message in sound if not right]:
        raise QexpError("\n".join(wrong))


def grow(
    glacier: Glacier, spacing: float, frames: int, watch: Callable[[float], None] = lambda year: None
) -> Iterator[Tensor]:
    """The thickness of a glacier at evenly spaced times up to its age: (row, column) [m].

    watch  is called with the year after each time step

    One glacier at a time: on a processor a batch of twelve is 1.6 times as fast per step, but its fastest ice sets the
    time step, so that it takes 2.7 times as many steps.
    """
    climate, bed = glacier.climate, torch.from_numpy(glacier.bed)[None]

    def balance(surface: Tensor, time: Tensor) -> Tensor:
        passed = time / (YEAR * glacier.duration)
        line = climate.equilibrium_line - climate.descent * 4 * passed * (1 - passed)
        rate = climate.gradient * (surface - line[:, None, None])
        return rate.clamp(max=climate.greatest) / YEAR

    thickness, start = torch.zeros_like(bed), bed.new_zeros(1)
    arrhenius = bed.new_tensor([glacier.arrhenius * ARRHENIUS])
    sliding = bed.new_tensor([glacier.sliding * SLIDING])
    with torch.inference_mode():
        for frame in range(1, frames + 1):
            end = bed.new_tensor([YEAR * glacier.duration * frame / frames])
            thickness = ice.evolve(
                thickness, bed, balance, spacing, arrhenius, sliding, start, end,
                longest=LONGEST_STEP * YEAR, watch=lambda time: watch(time.item() / YEAR),
            ).thickness  # fmt: skip
            start = end
            yield thickness[0]


def fields(
    glacier: Glacier, thickness: Tensor, spacing: float, coupling: float | None
) -> dict[str, NDArray[np.float32]]:
    """All variables of a frame, (row, column), in the units of the file.

    The velocities follow from the thickness, surface and coefficients as rounded for the file, with the slopes that
    `numpy.gradient` computes from that surface.
    """
    depth = thickness.numpy().astype(np.float32)
    bed = glacier.bed.astype(np.float32)
    surface = bed + depth
    arrhenius, sliding = np.full_like(bed, glacier.arrhenius), np.full_like(bed, glacier.sliding)
    rounded = torch.from_numpy(depth).double()
    moving = ice.velocity(
        rounded,
        ice.slope(torch.from_numpy(surface).double(), spacing),
        torch.from_numpy(arrhenius).double() * ARRHENIUS,
        torch.from_numpy(sliding).double() * SLIDING,
    )
    if coupling is not None:
        together = ice.coupled(torch.cat(moving, dim=-1), rounded, spacing, coupling)
        moving = ice.Velocity(*together.split(2, dim=-1))
    # Adding 0 turns -0, from slopes without ice, into 0.
    basal, mean, top = ((YEAR * one + 0.0).numpy().astype(np.float32) for one in moving)
    return {
        "thk": depth, "usurf": surface, "topg": bed,
        "ubar": mean[..., 0], "vbar": mean[..., 1],
        "uvelsurf": top[..., 0], "vvelsurf": top[..., 1],
        "uvelbase": basal[..., 0], "vvelbase": basal[..., 1],
        "arrhenius": arrhenius, "slidingco": sliding, "strflowctrl": arrhenius + sliding,
    }  # fmt: skip
