"""Random glaciers: bed, climate and ice properties, each glacier from random streams of its own number.

Altitudes and lengths are in metres, times in years. Maps are (row, column), rows along y.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from qexp.seeds import Seeds

Map = NDArray[np.float64]
Range = tuple[float, float]

LARGEST_MASSIF = 16e3
"""Largest width of the land with ice [m]; a much wider frame shows more of the lowland around it."""

SHARE_OF_FRAME = 0.76
"""Largest width of the land with ice, as a share of the frame."""

REACH = 0.66
"""How far from its middle the land falls, in widths of the massif; a plain lies around it."""

ROUNDING = 0.0035
"""Height over which slopes that meet are rounded, in widths of the massif."""


@dataclass(frozen=True)
class Climate:
    """The mass balance increases with altitude, up to a limit; the climate cools and then warms again."""

    equilibrium_line: float
    """Altitude of the equilibrium line at the beginning and at the end [m]."""
    descent: float
    """Descent of the equilibrium line during the first half of the time; it rises again in the second half [m]."""
    gradient: float
    """Gradient of the mass balance with altitude [m a-1 m-1]."""
    greatest: float
    """Largest mass balance [m a-1]."""


@dataclass(frozen=True)
class Glacier:
    name: str
    kind: str
    bed: Map
    climate: Climate
    arrhenius: float
    """[MPa-3 a-1]"""
    sliding: float
    """[km MPa-3 a-1]"""
    duration: float
    """From no ice to the last frame [a]."""


@dataclass(frozen=True)
class GlacierKind:
    bed: Callable[[np.random.Generator, Map, Map, float], Map]
    covered: Range
    """Share of the massif that lies above the equilibrium line."""
    gradient: Range
    greatest: Range
    duration: Range


def glacier(seeds: Seeds, number: int, size: int, spacing: float, arrhenius: Range, sliding: Range) -> Glacier:
    """The glacier of a number, independent of all others; every second one is an ice cap.

    size                cells along x and y
    spacing             of the cells [m]
    arrhenius, sliding  least and greatest value [MPa-3 a-1], [km MPa-3 a-1]
    """
    kind_name = list(KINDS)[number % len(KINDS)]
    kind = KINDS[kind_name]
    bed = landscape(kind, seeds.numpy("ice", number, "bed"), size, spacing)
    climate = seeds.numpy("ice", number, "climate")
    flow = seeds.numpy("ice", number, "flow")
    massif = massif_width(size, spacing)
    share = (massif / (size * spacing)) ** 2
    return Glacier(
        name=f"{kind_name}_{number:03d}",
        kind=kind_name,
        bed=bed,
        climate=Climate(
            equilibrium_line=float(np.quantile(bed, 1 - share * climate.uniform(*kind.covered))),
            descent=climate.uniform(0, 0.009) * massif,
            gradient=climate.uniform(*kind.gradient),
            greatest=climate.uniform(*kind.greatest),
        ),
        arrhenius=flow.uniform(*arrhenius),
        sliding=flow.uniform(*sliding),
        duration=climate.uniform(*kind.duration),
    )


def massif_width(size: int, spacing: float) -> float:
    return min(SHARE_OF_FRAME * size * spacing, LARGEST_MASSIF)


def landscape(kind: GlacierKind, random: np.random.Generator, size: int, spacing: float) -> Map:
    """A bed on square cells around the middle of the frame, in a random orientation."""
    centred = (np.arange(size) - (size - 1) / 2) * spacing
    x, y = np.meshgrid(centred, centred)
    turn = random.uniform(0, 2 * np.pi)
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    massif = massif_width(size, spacing)
    bed = kind.bed(random, along, across, massif)
    # Towards the frame the land falls more and more, down to a plain, so that ice ends before the frame.
    distance = np.hypot(x, y) / massif
    bed = bed - 0.6 * massif * np.clip(distance - 0.32, 0, None) ** 2
    bed = -lowest([-bed, np.full_like(bed, -bed[distance < REACH].min())], rounding=ROUNDING * massif)
    hills = roughness(random, size, spacing, length=random.uniform(0.05, 0.1) * massif)
    return np.asarray(bed + random.uniform(0.0018, 0.004) * massif * hills)


def roughness(random: np.random.Generator, size: int, spacing: float, length: float) -> Map:
    """Hills and hollows of unit variance, smooth over a length [m]."""
    margin = int(np.ceil(4 * length / spacing))
    smooth = gaussian_filter(random.standard_normal((size + 2 * margin,) * 2), length / spacing)
    inside = smooth[margin : margin + size, margin : margin + size]
    deviation = spacing / (2 * np.sqrt(np.pi) * length)  # standard deviation of white noise after the filter
    return np.asarray(inside / deviation)


def valley(random: np.random.Generator, along: Map, across: Map, massif: float) -> Map:
    """A trunk that winds down from a cirque, with tributaries that hang above it, all inside one crest.

    The cross section of each is a parabola up to its crest, behind which the land falls.
    """
    head, summit = -random.uniform(0.18, 0.26) * massif, random.uniform(2600, 3600)
    steep, flat, fading = random.uniform(0.1, 0.22), random.uniform(0.04, 0.1), random.uniform(0.1, 0.2) * massif
    bend, wave = random.uniform(0, 0.04) * massif, random.uniform(0.5, 0.9) * massif
    phase = random.uniform(0, 2 * np.pi)
    width, wall = random.uniform(0.14, 0.18) * massif, random.uniform(0.02, 0.03) * massif
    fall = random.uniform(0.3, 0.4)

    def middle(position: Map | float) -> Map:
        return bend * np.sin(2 * np.pi * np.asarray(position) / wave + phase)

    def floor(position: Map | float) -> Map:
        below = np.clip(position, head, None) - head
        return summit - flat * below - (steep - flat) * fading * (1 - np.exp(-below / fading))

    distance = np.hypot(np.clip(head - along, 0, None), across - middle(along))
    inside = [floor(along) + wall * (distance / width) ** 2]
    outside = [floor(along) + wall - fall * (distance - width)]
    for _ in range(random.integers(1, 4)):
        junction = random.uniform(0.6 * head, 0.15 * massif)
        side, turn = random.choice([-1, 1]), random.uniform(0.2, 1.1)
        length, narrow = width * random.uniform(0.9, 1.3), width * random.uniform(0.5, 0.7)
        # From the junction up the tributary, which points up the trunk, too, and aside from it.
        east, north = along - junction, side * (across - middle(junction))
        upwards, aside = np.cos(turn) * north - np.sin(turn) * east, np.cos(turn) * east + np.sin(turn) * north
        position = np.clip(upwards, 0, length)
        distance = np.hypot(aside, upwards - position)
        hanging = floor(junction) + random.uniform(0.002, 0.007) * massif + random.uniform(0.12, 0.2) * position
        inside.append(hanging + wall * (distance / narrow) ** 2)
        outside.append(hanging + 0.8 * wall - fall * (distance - narrow))
    crest = -lowest([-surface for surface in outside], rounding=ROUNDING * massif)
    return lowest([*inside, crest], rounding=ROUNDING * massif)


def cap(random: np.random.Generator, along: Map, across: Map, massif: float) -> Map:
    """An upland, flat in its middle, from which the land falls on all sides and troughs lead out."""
    stretch = random.uniform(1.0, 1.3)
    radius, angle = np.hypot(along / stretch, across * stretch), np.arctan2(across * stretch, along / stretch)
    rim = random.uniform(0.16, 0.26) * massif
    bed = random.uniform(900, 1900) - random.uniform(0.06, 0.16) * (np.hypot(radius, rim) - rim)
    reach = (radius / rim * np.exp(1 - radius / rim)) ** 2
    for _ in range(random.integers(2, 6)):
        off = np.angle(np.exp(1j * (angle - random.uniform(-np.pi, np.pi))))
        depth, width = random.uniform(0.0035, 0.013) * massif, random.uniform(0.3, 0.6)
        bed = bed - depth * reach * np.exp(-((off / width) ** 2) / 2)
    return bed


def lowest(surfaces: list[Map], rounding: float) -> Map:
    """The minimum of several surfaces, rounded over a height [m] where two of them cross."""
    stacked = np.stack(surfaces)
    least = stacked.min(axis=0)
    return np.asarray(least - rounding * np.log(np.exp(-(stacked - least) / rounding).sum(axis=0)))


KINDS: dict[str, GlacierKind] = {
    "valley": GlacierKind(
        valley, covered=(0.15, 0.25), gradient=(0.005, 0.009), greatest=(1.0, 2.2), duration=(200, 420)
    ),
    "cap": GlacierKind(cap, covered=(0.1, 0.18), gradient=(0.004, 0.007), greatest=(0.6, 1.6), duration=(300, 600)),
}
