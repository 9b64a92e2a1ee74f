"""Random sediment cores: their composition with depth, each core from random streams of its own number.

A core lies in one of a few basins and resembles the other cores there. The dry sediment is carbonate, clay, silica and
organic matter, whose shares drift along the core, jump, and are cut by layers of events; pore water with sea salt fills
the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qexp.forward.xray_data import mass_fractions
from qexp.seeds import Seeds

Array = NDArray[np.float64]

ELEMENTS = (
    "H", "C", "N", "O", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "K", "Ca", "Ti", "Mn", "Fe", "Ni", "Cu", "Zn",
    "Br", "Rb", "Sr", "Zr", "Pb",
)  # fmt: skip

MATTER = "C106H175O42N16P"
"""Mean marine plankton after Anderson (1995), Deep-Sea Res. I 42, 1675-1680: 54 % carbon."""

PHASES: dict[str, dict[str, float]] = {
    # Foraminifera and nannofossils: 1,000 to 2,000 ppm of strontium (Turekian and Wedepohl 1961, Geol. Soc. Am. Bull.
    # 72, 175-192, on deep-sea carbonates; their manganese and magnesium are partly those of clay).
    "carbonate": {"CaCO3": 1.0, "Mg": 3e-3, "Sr": 1.4e-3, "Mn": 4e-4},
    # Post-Archean average shale, which is rich in illite (Taylor and McLennan 1985, The Continental Crust, table 2.9).
    "clay": {
        "SiO2": 0.628, "TiO2": 0.010, "Al2O3": 0.189, "FeO": 0.065, "MnO": 0.0011, "MgO": 0.022, "CaO": 0.013,
        "Na2O": 0.012, "K2O": 0.037, "P2O5": 0.0016, "H2O": 0.05,
        "Ni": 55e-6, "Cu": 50e-6, "Zn": 85e-6, "Rb": 160e-6, "Sr": 200e-6, "Zr": 210e-6, "Pb": 20e-6,
    },
    # Opal with 6 % of water, and silt of quartz with some feldspar and zircon.
    "silica": {"SiO2": 0.94, "H2O": 0.04, "Al2O3": 0.012, "K2O": 0.006, "FeO": 0.004, "TiO2": 0.001, "Zr": 150e-6},
    # Bromine: 3 to 10 mg per g of organic carbon (Mayer and others 2007, Mar. Chem. 107, 244-254; Ziegler and others
    # 2008, Geochem. Geophys. Geosyst. 9, Q05009). Sulphur, bound and as sulphide: below the 0.36 per carbon of
    # normal marine sediments (Berner and Raiswell 1983, Geochim. Cosmochim. Acta 47, 855-862) in well-aired ones.
    "organic": {MATTER: 1.0, "Br": 3.2e-3, "S": 0.10},
}  # fmt: skip
"""Phase → compound or element → mass, per mass of the phase."""

SEA_SALT = {
    "Cl": 0.01935,
    "Na": 0.01078,
    "Mg": 0.00128,
    "S": 0.0009,
    "Ca": 0.00041,
    "K": 0.0004,
    "Br": 67e-6,
    "Sr": 8e-6,
}
"""Mass per mass of standard sea water (Millero and others 2008, Deep-Sea Res. I 55, 50-72)."""


class Variation(NamedTuple):
    """Standard deviations of the logarithm of an element's content in a phase."""

    between: float
    """Cores."""
    along: float
    """A core."""


VARIATIONS: dict[tuple[str, str], Variation] = {
    ("carbonate", "Sr"): Variation(0.25, 0.06),
    ("carbonate", "Mg"): Variation(0.4, 0.1),
    ("carbonate", "Mn"): Variation(0.6, 0.3),
    ("clay", "Fe"): Variation(0.18, 0.06),
    ("clay", "K"): Variation(0.15, 0.05),
    ("clay", "Al"): Variation(0.10, 0.03),
    ("clay", "Ti"): Variation(0.20, 0.06),
    ("clay", "Mn"): Variation(0.5, 0.35),
    ("clay", "Rb"): Variation(0.20, 0.06),
    ("clay", "Sr"): Variation(0.25, 0.06),
    ("clay", "Zr"): Variation(0.25, 0.10),
    ("clay", "Ni"): Variation(0.3, 0.12),
    ("clay", "Cu"): Variation(0.3, 0.15),
    ("clay", "Zn"): Variation(0.25, 0.10),
    ("clay", "Pb"): Variation(0.3, 0.2),
    ("silica", "Zr"): Variation(0.4, 0.15),
    ("silica", "K"): Variation(0.3, 0.1),
    ("silica", "Ti"): Variation(0.3, 0.1),
    ("organic", "Br"): Variation(0.3, 0.08),
    ("organic", "S"): Variation(0.5, 0.2),
}
"""Elements whose content in a phase varies, by provenance, productivity or diagenesis. The others are fixed."""

RATIOS = ("carbonate", "silica", "organic")
"""Phases that are drawn by the logarithm of their ratio to clay; then dry shares are those ratios over their sum."""


class Spread(NamedTuple):
    """Distribution of the logarithm of a ratio to clay."""

    mean: float
    basins: float
    cores: float
    slow: float
    """Along a core, over SLOW."""
    fast: float
    """Along a core, over FAST."""


SPREADS = {
    # The range of surface sediments of the oceans: carbonate from nothing to 90 % (Archer 1996, Global Biogeochem.
    # Cycles 10, 159-174), organic carbon from 0.1 to some per cent (Seiter and others 2004, Deep-Sea Res. I 51,
    # 2001-2026).
    "carbonate": Spread(-0.3, 1.1, 0.5, 0.6, 0.12),
    "silica": Spread(-0.8, 0.6, 0.35, 0.3, 0.12),
    "organic": Spread(-3.6, 0.7, 0.35, 0.3, 0.10),
}

BASINS = 8

SLOW, FAST = 400.0, 30.0
"""Correlation lengths along a core [mm]."""

SHIFT_EVERY = 2500.0
"""Mean distance between changes of the regime, at each of which the slow drift restarts [mm]."""

EVENT_EVERY = 500.0
"""Mean distance between layers of events [mm]."""

EVENTS = {
    "turbidite": {"carbonate": -0.8, "silica": 0.9, "organic": -0.6},
    "ash": {"carbonate": -1.2, "silica": 0.5, "organic": -1.5},
    "bloom": {"carbonate": 0.2, "silica": 0.5, "organic": 0.9},
}
"""Layer → change of the logarithms of the ratios to clay in it."""

THICKNESS = (10.0, 120.0)
"""Least and largest thickness of such a layer, uniform in its logarithm [mm]."""

WATER, WATER_CORES, WATER_ALONG = 0.35, 0.25, 0.08
"""Median water share of the mass of the half-dried surface; deviations of its logit between and along cores."""

SALINITY = 0.15
"""Standard deviation between cores of the logarithm of the pore water's salt, since cores dry in storage."""

BASIN_PART = 0.7
"""Share of the variation between cores that is between basins: the correlation of cores of one basin."""


class Core(NamedTuple):
    """A core from the top down."""

    basin: int
    shares: dict[str, Array]
    """Phase → (depth,) share of the mass of the dry sediment, as drawn; together one."""
    elements: Array
    """(depth, element) mass fractions of the wet sediment in the order of ELEMENTS; together one."""
    carbonate: Array
    """(depth,) CaCO3 in the dry sediment, without salt [wt%]"""
    carbon: Array
    """(depth,) organic carbon in the dry sediment, without salt [wt%]"""


def core(seeds: Seeds, number: int, depths: int, step: float) -> Core:
    """The core of a number, independent of all others; more depths continue it downwards.

    step  between depths [mm]
    """
    whole = seeds.numpy("xrf", number, "core")
    basin = int(whole.integers(BASINS))
    regional = seeds.numpy("xrf", "basin", basin)
    shares = _shares(seeds, number, regional, whole, depths, step)
    dry, carbonate, carbon = _mixed(shares, _factors(seeds, number, regional, whole, depths, step))
    wet = _logistic(
        np.log(WATER / (1 - WATER))
        + WATER_CORES * whole.standard_normal()
        + WATER_ALONG * drift(seeds.numpy("xrf", number, "water"), depths, 1, step / SLOW)
    )
    water = _fractions(
        {"H2O": 1.0, **{name: mass * np.exp(SALINITY * whole.standard_normal()) for name, mass in SEA_SALT.items()}}
    )
    return Core(basin, shares, (1 - wet) * dry + wet * water, carbonate, carbon)


def drift(random: np.random.Generator, depths: int, processes: int, step: float) -> Array:
    """(depth, process) independent Ornstein-Uhlenbeck processes of mean 0 and variance 1.

    step  between depths, in lengths over which the correlation falls to 1/e
    """
    values = random.standard_normal((depths, processes))
    kept = np.exp(-step)
    for depth in range(1, depths):
        values[depth] = kept * values[depth - 1] + np.sqrt(1 - kept**2) * values[depth]
    return values


def _shares(
    seeds: Seeds, number: int, regional: np.random.Generator, whole: np.random.Generator, depths: int, step: float
) -> dict[str, Array]:
    """Phase → (depth,)"""
    mean, basins, cores, slow, fast = np.array([SPREADS[phase] for phase in RATIOS]).T
    level = mean + basins * regional.standard_normal(len(RATIOS)) + cores * whole.standard_normal(len(RATIOS))
    logarithms = (
        level
        + slow * _regimes(seeds.numpy("xrf", number, "slow"), depths, step)
        + fast * drift(seeds.numpy("xrf", number, "fast"), depths, len(RATIOS), step / FAST)
        + _layers(seeds.numpy("xrf", number, "events"), depths, step)
    )
    ratios = dict(zip(RATIOS, np.exp(logarithms).T, strict=True))
    total = 1 + sum(ratios.values())
    return {phase: ratios.get(phase, 1.0) / total for phase in PHASES}


def _regimes(random: np.random.Generator, depths: int, step: float) -> Array:
    """(depth, ratio) a slow drift that restarts where the regime changes: a hiatus, a change of the climate."""
    values, kept = np.empty((depths, len(RATIOS))), np.exp(-step / SLOW)
    for depth in range(depths):
        fresh, changes = random.standard_normal(len(RATIOS)), random.random() < step / SHIFT_EVERY
        anew = depth == 0 or changes
        values[depth] = fresh if anew else kept * values[depth - 1] + np.sqrt(1 - kept**2) * fresh
    return values


def _layers(random: np.random.Generator, depths: int, step: float) -> Array:
    """(depth, ratio) change of the logarithms of the ratios by event layers."""
    shifts = np.array([[event[phase] for phase in RATIOS] for event in EVENTS.values()])
    added = np.zeros((depths, len(RATIOS)))
    for depth in range(depths):
        happens, kind, thickness, strength = random.random(4)
        if happens < step / EVENT_EVERY:
            layers = 1 + int(THICKNESS[0] * (THICKNESS[1] / THICKNESS[0]) ** thickness / step)
            added[depth : depth + layers] = shifts[int(kind * len(shifts))] * (0.5 + strength)
    return added


def _factors(
    seeds: Seeds, number: int, regional: np.random.Generator, whole: np.random.Generator, depths: int, step: float
) -> dict[tuple[str, str], Array]:
    """(phase, element) → (depth,) factor of an element's usual content in a phase; its median is 1."""
    between, along = np.array(list(VARIATIONS.values())).T
    count = len(VARIATIONS)
    constant = np.sqrt(BASIN_PART) * regional.standard_normal(count)
    constant += np.sqrt(1 - BASIN_PART) * whole.standard_normal(count)
    varying = drift(seeds.numpy("xrf", number, "elements"), depths, count, step / SLOW * 4)
    return dict(zip(VARIATIONS, np.exp(between * constant + along * varying).T, strict=True))


def _mixed(shares: dict[str, Array], factors: dict[tuple[str, str], Array]) -> tuple[Array, Array, Array]:
    """Dry sediment: (depth, element) mass fractions, CaCO3 and organic carbon [wt%]."""
    masses = np.zeros((len(shares["clay"]), len(ELEMENTS)))
    for phase, share in shares.items():
        part = share[:, None] * _fractions(PHASES[phase])
        for (owner, element), factor in factors.items():
            if owner == phase:
                part[:, ELEMENTS.index(element)] *= factor
        masses += part
    total = masses.sum(axis=1)
    carbonate = shares["carbonate"] / sum(PHASES["carbonate"].values())
    carbon = shares["organic"] / sum(PHASES["organic"].values()) * mass_fractions(MATTER)["C"]
    return masses / total[:, None], 100 * carbonate / total, 100 * carbon / total


def _fractions(compounds: dict[str, float]) -> Array:
    """(element,) mass fractions of a mixture of compounds and elements, whose masses need not add up to one."""
    fractions = np.zeros(len(ELEMENTS))
    for formula, mass in compounds.items():
        for element, share in mass_fractions(formula).items():
            fractions[ELEMENTS.index(element)] += mass * share
    return fractions / sum(compounds.values())


def _logistic(value: Array) -> Array:
    return 1 / (1 + np.exp(-value))
