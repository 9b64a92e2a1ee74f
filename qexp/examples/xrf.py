"""Synthetic spectra of sediment cores, as counted by an XRF core scanner, in folders.

A core lies in one of a few basins and resembles the other cores there. The dry sediment is
carbonate, clay, silica and organic matter, whose shares drift along the core, jump, and are cut by
layers of events; pore water with sea salt fills the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from qexp.base import files
from qexp.base.arrays import Array
from qexp.base.seeds import Seeds
from qexp.errors import QexpError, suggestion
from qexp.examples.folders import README, new_folder
from qexp.examples.options import XrfOptions, require
from qexp.physics import xrf

ELEMENTS = (
    "H", "C", "N", "O", "Na", "Mg", "Al", "Si", "P", "S", "Cl", "K", "Ca", "Ti", "Mn", "Fe", "Ni", "Cu", "Zn",
    "Br", "Rb", "Sr", "Zr", "Pb",
)  # fmt: skip

MATTER = "C106H175O42N16P"
"""Mean marine plankton after Anderson (1995), Deep-Sea Res. I 42, 1675-1680: 54 % carbon."""

PHASES: dict[str, dict[str, float]] = {
    # Foraminifera and nannofossils: 1,000 to 2,000 ppm of strontium (Turekian and Wedepohl 1961,
    # Geol. Soc. Am. Bull. 72, 175-192, on deep-sea carbonates; their manganese and magnesium are
    # partly those of clay).
    "carbonate": {"CaCO3": 1.0, "Mg": 3e-3, "Sr": 1.4e-3, "Mn": 4e-4},
    # Post-Archean average shale, which is rich in illite (Taylor and McLennan 1985, The Continental
    # Crust, table 2.9).
    "clay": {
        "SiO2": 0.628, "TiO2": 0.010, "Al2O3": 0.189, "FeO": 0.065, "MnO": 0.0011, "MgO": 0.022, "CaO": 0.013,
        "Na2O": 0.012, "K2O": 0.037, "P2O5": 0.0016, "H2O": 0.05,
        "Ni": 55e-6, "Cu": 50e-6, "Zn": 85e-6, "Rb": 160e-6, "Sr": 200e-6, "Zr": 210e-6, "Pb": 20e-6,
    },
    # Opal with 6 % of water, and silt of quartz with some feldspar and zircon.
    "silica": {"SiO2": 0.94, "H2O": 0.04, "Al2O3": 0.012, "K2O": 0.006, "FeO": 0.004, "TiO2": 0.001, "Zr": 150e-6},
    # Bromine: 3 to 10 mg per g of organic carbon (Mayer and others 2007, Mar. Chem. 107, 244-254;
    # Ziegler and others 2008, Geochem. Geophys. Geosyst. 9, Q05009). Sulphur, bound and as
    # sulphide: below the 0.36 per carbon of normal marine sediments (Berner and Raiswell 1983,
    # Geochim. Cosmochim. Acta 47, 855-862) in well-aired ones.
    "organic": {MATTER: 1.0, "Br": 3.2e-3, "S": 0.10},
}  # fmt: skip
"""Phase → compound or element → mass, per mass of the phase."""

SEA_SALT = {
    "Cl": 0.01935, "Na": 0.01078, "Mg": 0.00128, "S": 0.0009, "Ca": 0.00041, "K": 0.0004, "Br": 67e-6, "Sr": 8e-6,
}  # fmt: skip
"""Mass per mass of standard sea water (Millero and others 2008, Deep-Sea Res. I 55, 50-72)."""


VARIATIONS: dict[tuple[str, str], tuple[float, float]] = {
    ("carbonate", "Sr"): (0.25, 0.06),
    ("carbonate", "Mg"): (0.4, 0.1),
    ("carbonate", "Mn"): (0.6, 0.3),
    ("clay", "Fe"): (0.18, 0.06),
    ("clay", "K"): (0.15, 0.05),
    ("clay", "Al"): (0.10, 0.03),
    ("clay", "Ti"): (0.20, 0.06),
    ("clay", "Mn"): (0.5, 0.35),
    ("clay", "Rb"): (0.20, 0.06),
    ("clay", "Sr"): (0.25, 0.06),
    ("clay", "Zr"): (0.25, 0.10),
    ("clay", "Ni"): (0.3, 0.12),
    ("clay", "Cu"): (0.3, 0.15),
    ("clay", "Zn"): (0.25, 0.10),
    ("clay", "Pb"): (0.3, 0.2),
    ("silica", "Zr"): (0.4, 0.15),
    ("silica", "K"): (0.3, 0.1),
    ("silica", "Ti"): (0.3, 0.1),
    ("organic", "Br"): (0.3, 0.08),
    ("organic", "S"): (0.5, 0.2),
}
"""Phase and element whose content in it varies, by provenance, productivity or diagenesis →
standard deviations of its logarithm between cores and along a core. The other elements are fixed.
"""

RATIOS = ("carbonate", "silica", "organic")
"""Phases that are drawn by the logarithm of their ratio to clay; shares are normalised ratios."""


SPREADS = {
    # The range of surface sediments of the oceans: carbonate from nothing to 90 % (Archer 1996,
    # Global Biogeochem. Cycles 10, 159-174), organic carbon from 0.1 to some per cent (Seiter and
    # others 2004, Deep-Sea Res. I 51, 2001-2026).
    "carbonate": (-0.3, 1.1, 0.5, 0.6, 0.12),
    "silica": (-0.8, 0.6, 0.35, 0.3, 0.12),
    "organic": (-3.6, 0.7, 0.35, 0.3, 0.10),
}
"""Phase → mean of the logarithm of its ratio to clay, and its standard deviations: between basins,
between cores, and along a core over SLOW_LENGTH and over FAST_LENGTH.
"""

BASINS = 8

SLOW_LENGTH, FAST_LENGTH = 400.0, 30.0
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
"""Median water share of the half-dried surface; deviations of its logit between and along cores."""

SALINITY = 0.15
"""Deviation between cores of the logarithm of pore water's salt, since cores dry in storage."""

BASIN_PART = 0.7
"""Share of the variation between cores that is between basins: correlation in a basin."""


class Core(NamedTuple):
    """A core from the top down."""

    basin: int
    shares: dict[str, Array]
    """Phase → (depth,) share of the mass of the dry sediment, as drawn; together one."""
    elements: Array
    """(depth, element) mass fractions of wet sediment in the order of ELEMENTS; they sum to one."""
    carbonate: Array
    """(depth,) CaCO3 in the dry sediment, without salt [wt%]"""
    carbon: Array
    """(depth,) organic carbon in the dry sediment, without salt [wt%]"""


def core(seeds: Seeds, number: int, depths: int, step: float) -> Core:
    """The core of a number, independent of all others; more depths continue it downwards.

    step  between depths [mm]
    """
    random = partial(seeds.numpy, "xrf", number)
    of_core = random("core")
    basin = int(of_core.integers(BASINS))
    of_basin = seeds.numpy("xrf", "basin", basin)
    shares = _shares(random, of_basin, of_core, depths, step)
    factors = _factors(random("elements"), of_basin, of_core, depths, step)
    dry, carbonate, carbon = _mixed(shares, factors)
    logit = np.log(WATER / (1 - WATER)) + WATER_CORES * of_core.standard_normal()
    logit = logit + WATER_ALONG * drift(random("water"), depths, 1, step / SLOW_LENGTH)
    wet = 1 / (1 + np.exp(-logit))
    salts = {
        name: mass * np.exp(SALINITY * of_core.standard_normal()) for name, mass in SEA_SALT.items()
    }
    water = _fractions({"H2O": 1.0, **salts})
    return Core(basin, shares, (1 - wet) * dry + wet * water, carbonate, carbon)


def drift(random: Generator, depths: int, processes: int, step: float) -> Array:
    """(depth, process) independent Ornstein-Uhlenbeck processes of mean 0 and variance 1.

    step  between depths, in lengths over which the correlation falls to 1/e
    """
    values = random.standard_normal((depths, processes))
    correlation = np.exp(-step)
    for depth in range(1, depths):
        values[depth] = (
            correlation * values[depth - 1] + np.sqrt(1 - correlation**2) * values[depth]
        )
    return values


def _shares(
    random: Callable[[str], Generator],
    of_basin: Generator,
    of_core: Generator,
    depths: int,
    step: float,
) -> dict[str, Array]:
    """Phase → (depth,)"""
    mean, basins, cores, slow, fast = np.array([SPREADS[phase] for phase in RATIOS]).T
    level = (
        mean
        + basins * of_basin.standard_normal(len(RATIOS))
        + cores * of_core.standard_normal(len(RATIOS))
    )
    logarithms = (
        level
        + slow * _regimes(random("slow"), depths, step)
        + fast * drift(random("fast"), depths, len(RATIOS), step / FAST_LENGTH)
        + _layers(random("events"), depths, step)
    )
    ratios = dict(zip(RATIOS, np.exp(logarithms).T, strict=True))
    total = 1 + sum(ratios.values())
    return {phase: ratios.get(phase, 1.0) / total for phase in PHASES}


def _regimes(random: Generator, depths: int, step: float) -> Array:
    """(depth, ratio) a slow drift that restarts where the regime changes, as after a hiatus."""
    values = np.empty((depths, len(RATIOS)))
    correlation = np.exp(-step / SLOW_LENGTH)
    for depth in range(depths):
        fresh = random.standard_normal(len(RATIOS))
        anew = random.random() < step / SHIFT_EVERY or depth == 0
        values[depth] = fresh
        if not anew:
            slow = correlation * values[depth - 1]
            values[depth] = slow + np.sqrt(1 - correlation**2) * fresh
    return values


def _layers(random: Generator, depths: int, step: float) -> Array:
    """(depth, ratio) change of the logarithms of the ratios by event layers."""
    shifts = np.array([list(map(event.__getitem__, RATIOS)) for event in EVENTS.values()])
    added = np.zeros((depths, len(RATIOS)))
    for depth in range(depths):
        happens, kind, thickness, strength = random.random(4)
        if happens < step / EVENT_EVERY:
            layers = 1 + int(THICKNESS[0] * (THICKNESS[1] / THICKNESS[0]) ** thickness / step)
            added[depth : depth + layers] = shifts[int(kind * len(shifts))] * (0.5 + strength)
    return added


def _factors(
    random: Generator, of_basin: Generator, of_core: Generator, depths: int, step: float
) -> dict[tuple[str, str], Array]:
    """(phase, element) → (depth,) factor of an element's usual content in a phase; median 1."""
    of_cores, in_cores = np.array(list(VARIATIONS.values())).T
    count = len(VARIATIONS)
    constant = np.sqrt(BASIN_PART) * of_basin.standard_normal(count)
    constant += np.sqrt(1 - BASIN_PART) * of_core.standard_normal(count)
    varying = drift(random, depths, count, step / SLOW_LENGTH * 4)
    return dict(zip(VARIATIONS, np.exp(of_cores * constant + in_cores * varying).T, strict=True))


def _mixed(
    shares: dict[str, Array], factors: dict[tuple[str, str], Array]
) -> tuple[Array, Array, Array]:
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
    carbon = shares["organic"] / sum(PHASES["organic"].values()) * xrf.mass_fractions(MATTER)["C"]
    return masses / total[:, None], 100 * carbonate / total, 100 * carbon / total


def _fractions(compounds: dict[str, float]) -> Array:
    """(element,) mass fractions of a mixture, whose masses need not add up to one."""
    fractions = np.zeros(len(ELEMENTS))
    for formula, mass in compounds.items():
        for element, share in xrf.mass_fractions(formula).items():
            fractions[ELEMENTS.index(element)] += mass * share
    return fractions / sum(compounds.values())


# How folders of simulated XRF spectra are named, and what their lists say.

ALL, CACO3, TOC = "pretrain", "caco3", "toc"
"""Data sets: all spectra, without targets, and those with a target [wt%]."""


class Column(NamedTuple):
    """A column of info.csv and val.csv."""

    meaning: str
    cell: Callable[[Scan, int], str]
    """Core and number of the spectrum → the cell."""


def file_name(scanned: Scan, depth: int) -> str:
    """The name of the file of a spectrum, the same in every layout."""
    return f"{scanned.name}_{depth:04d}.csv"


def _depth(scanned: Scan, depth: int) -> str:
    return str(STEP * depth + STEP // 2)


COLUMNS: Mapping[str, Column] = {
    "filename": Column("of the spectrum under `spe/`, and of its target", file_name),
    "dirname": Column(
        "name of the file of the spectrum under `spe/`, and of its target", file_name
    ),
    "composite_id": Column(
        "of the spectrum", lambda scan, depth: f"{scan.name}_{_depth(scan, depth).zfill(5)}"
    ),
    "cps": Column(
        "counts per second",
        lambda scan, depth: f"{scan.counts[depth].sum() / scan.scanner.live_time:.0f}",
    ),
    "core": Column("", lambda scan, depth: scan.name),
    "depth": Column("of the middle of the spectrum below the top of the core [mm]", _depth),
    "composite_depth_mm": Column("of the middle of the spectrum below the top of the core", _depth),
    "mid_depth_mm": Column("of the middle of the spectrum below the top of the core", _depth),
    "voltage": Column("of the tube [kV]", lambda scan, depth: str(scan.scanner.voltage)),
    "current": Column("of the tube [mA]", lambda scan, depth: f"{scan.scanner.current:.3f}"),
    "live_time": Column("of the spectrum [s]", lambda scan, depth: f"{scan.scanner.live_time:g}"),
}


@dataclass(frozen=True)
class Layout:
    """The folders and lists of a set of cores."""

    folders: Mapping[str, str]
    """Data set → its folder."""
    columns: Mapping[str, Sequence[str]]
    """Data set → names of `COLUMNS`, the name of the file first."""
    apart: bool = False
    """Whether info.csv leaves out the spectra that val.csv names."""
    subsets: Sequence[int] = ()
    """Numbers of labelled training spectra that lists of their own name: info_10.csv and so on."""
    end: str = "\n"
    """Of the file of a target."""


LAYOUTS: Mapping[str, Layout] = {
    "plain": Layout(
        folders={ALL: "pretrain", CACO3: "caco3", TOC: "toc"},
        columns=dict.fromkeys(
            (ALL, CACO3, TOC), ("filename", "core", "depth", "voltage", "current", "live_time")
        ),
    ),
    # Lee et al. (2024), arXiv:2410.12330: the data published with the code.
    "max": Layout(
        folders={ALL: "pretrain", CACO3: "finetune/CaCO3%", TOC: "finetune/TOC%"},
        columns={
            ALL: ("dirname", "composite_id", "cps", "core", "composite_depth_mm"),
            **dict.fromkeys((CACO3, TOC), ("dirname", "core", "mid_depth_mm")),
        },
        apart=True,
        subsets=(10, 50, 100, 500, 1000, 1500),
        end="",
    ),
}


# The scanner. Energies are in eV, lengths along the core in mm; this file converts the units of the
# files to those of `physics`.

CHANNELS = 2048

GAIN = 20.0
"""Energy per channel [eV]: spectra reach 41 keV; with a tube at 10 kV those above are empty."""

ANODE = "Rh"

TAKE_OFF = np.radians(20.0)

ANGLE = np.radians(45.0)
"""Angles of the light from the tube, and to the detector, from the surface of the core."""

LOWEST_ENERGY = 900.0
"""Least energy that passes the windows [eV]."""

BIN = 40.0
"""Step of the tube's continuum [eV], finer than the detector resolves."""

COVER = (
    xrf.Layer("C3H6", 0.9e3 * 4e-6 / np.sin(ANGLE)),
    xrf.Layer("H2O", 998 * 10e-6 / np.sin(ANGLE)),
)
"""A foil of 4 µm that keeps the scanner clean, and 10 µm of water below it, which take much of the
light of aluminium and silicon (Tjallingii and others 2007, Geochem. Geophys. Geosyst. 8, Q02004).
Light passes them in and out.
"""

HELIUM = xrf.Layer("He", 0.1664 * 0.02)

TUBE_PATH = (xrf.Layer("Be", 1848 * 125e-6), HELIUM, *COVER)

DETECTOR_PATH = (*COVER, HELIUM, xrf.Layer("Be", 1848 * 12.5e-6))

SILICON = 2330 * 450e-6
"""Areal density of the detector [kg m-2]."""

SHELF = 0.002

RESOLVING_TIME = 2.5e-7
"""Time within which two photons are counted as one, for a fast shaper [s]."""

CURRENTS = {10: (0.8, 2.0), 30: (0.25, 0.8)}
"""Voltage [kV] → range of the tube's current [mA], for some ten thousand counts a second."""

LIVE_TIMES = (10.0, 15.0, 20.0, 30.0)
"""[s]"""

ACCEPTANCE = 3e-5
"""Solid angle of the beam on the core times that of the detector [sr2]; the distance that the
scanner keeps to a core changes it by ACCEPTANCE_DEVIATION, as a logarithm.
"""

ACCEPTANCE_DEVIATION = 0.1

GAIN_DEVIATION, OFFSET_DEVIATION = 5e-4, 5.0
"""Deviations of the calibration between cores: of the gain (a share) and of the offset [eV]."""

NOISE, NOISE_DEVIATION = 75.0, 5.0
"""Noise of the electronics, full width at half maximum [eV]; 140 eV in all at manganese K alpha."""

STEP = 10
"""Distance between spectra [mm]."""

AT_A_TIME = 500
"""Number of spectra that are computed together, which limits the memory for long cores."""


def check(options: XrfOptions, test: int, validation: int) -> None:
    """Raises QexpError with all problems of the options."""
    cores = options.cores
    rest = cores - test - 1
    spectra = options.spectra
    labelled = options.labelled
    others = "from 0 to one less than there are cores that are not for the test"
    voltage, possible = (",".join(map(str, values)) for values in (options.voltage, CURRENTS))
    require(
        [
            (1 <= cores <= 1000, f"`cores={cores}`: from 1 to 1000"),
            (
                0 <= test < max(cores, 1),
                f"`test={test}`: from 0 to one less than there are cores, {cores - 1}",
            ),
            (0 <= validation <= max(rest, 0), f"`validation={validation}`: {others}, {rest}"),
            (1 <= spectra <= 10_000, f"`spectra={spectra}`: from 1 to 10000"),
            (
                0 <= labelled <= spectra,
                f"`labelled={labelled}`: from 0 to the spectra of a core, {spectra}",
            ),
            (
                options.voltage and set(options.voltage) <= set(CURRENTS),
                f"`voltage={voltage}`: in kV, {' or '.join(map(str, CURRENTS))}, or both as {possible}",
            ),
        ]
    )


@dataclass(frozen=True)
class Scanner:
    """The settings with which a core was scanned."""

    voltage: int
    """[kV]"""
    current: float
    """[mA]"""
    live_time: float
    """Of a spectrum [s]."""
    acceptance: float
    """[sr2]"""
    detector: xrf.Detector


@dataclass(frozen=True)
class Scan:
    name: str
    core: Core
    scanner: Scanner
    counts: NDArray[np.int64]
    """(depth, channel)"""
    caco3: Array
    """(depth,) as a laboratory would measure it [wt%]"""
    toc: Array


def scan(seeds: Seeds, number: int, options: XrfOptions) -> Scan:
    """The core of a number and its spectra, independent of all others."""
    drawn = core(seeds, number, options.spectra, STEP)
    scanner = scanner_of(seeds, number, options.voltage[number % len(options.voltage)])
    counts = np.empty((options.spectra, CHANNELS), dtype=np.int64)
    for first in range(0, options.spectra, AT_A_TIME):
        elements = drawn.elements[first : first + AT_A_TIME]
        expectations = count_rates(elements, scanner) * scanner.live_time
        for depth, expected in enumerate(expectations, start=first):
            counts[depth] = seeds.numpy("xrf", number, "counts", depth).poisson(expected)
    return Scan(f"core_{number:03d}", drawn, scanner, counts, *measure(seeds, number, drawn))


def scanner_of(seeds: Seeds, number: int, voltage: int) -> Scanner:
    """The settings for a core, with the state of the instrument on that day."""
    random = seeds.numpy("xrf", number, "scanner")
    return Scanner(
        voltage=voltage,
        current=round(random.uniform(*CURRENTS[voltage]), 3),
        live_time=float(random.choice(LIVE_TIMES)),
        acceptance=ACCEPTANCE * float(np.exp(ACCEPTANCE_DEVIATION * random.standard_normal())),
        detector=xrf.Detector(
            channels=CHANNELS,
            gain=GAIN * (1 + GAIN_DEVIATION * random.standard_normal()),
            offset=OFFSET_DEVIATION * random.standard_normal(),
            noise=NOISE + NOISE_DEVIATION * random.standard_normal(),
            thickness=SILICON,
            shelf=SHELF,
        ),
    )


def count_rates(elements: Array, scanner: Scanner) -> Array:
    """The mean count rates of samples.

    elements  (sample, element)  mass fractions in the order of ELEMENTS
    returns   (sample, channel)  [s-1]
    """
    return xrf.piled_up(arrivals(elements, scanner), RESOLVING_TIME, scanner.detector)


def arrivals(elements: Array, scanner: Scanner) -> Array:
    """The mean count rates of a detector without pile-up."""
    tables, energies, detected = _optics(scanner.voltage)
    parts = [xrf.fluorescence(elements, tables), xrf.scattering(elements, tables)]
    light = np.concatenate(parts, axis=1)
    widths = np.concatenate([np.zeros(len(tables.lines)), tables.widths])
    per_ampere = (light * detected) @ xrf.response(energies, widths, scanner.detector)
    return scanner.acceptance * scanner.current / 1000 * per_ampere


@lru_cache
def _optics(voltage: int) -> tuple[xrf.Interactions, Array, Array]:
    """What a voltage does in each element, the energies that come back, the share stopped."""
    tube = xrf.beam(ANODE, 1000.0 * voltage, TAKE_OFF, LOWEST_ENERGY, BIN)
    passed = tube.photons * xrf.transmission(TUBE_PATH, tube.energies)
    filtered = xrf.Beam(tube.energies, passed)
    tables = xrf.interactions(ELEMENTS, filtered, ANGLE, ANGLE, LOWEST_ENERGY, 1000.0 * voltage)
    energies = np.concatenate([[line.energy for line in tables.lines], tables.scattered_energies])
    detected = xrf.transmission(DETECTOR_PATH, energies) * xrf.efficiency(energies, SILICON)
    return tables, energies, detected


def measure(seeds: Seeds, number: int, drawn: Core) -> tuple[Array, Array]:
    """CaCO3 and TOC of all depths with the errors of a good laboratory [wt%]; never negative.

    One standard deviation is 0.5 wt% and 1 % of the value for CaCO3, 0.02 wt% and 2 % for TOC.
    """
    errors = seeds.numpy("xrf", number, "laboratory").standard_normal((len(drawn.carbon), 2)).T
    caco3 = drawn.carbonate + np.hypot(0.5, 0.01 * drawn.carbonate) * errors[0]
    toc = drawn.carbon + np.hypot(0.02, 0.02 * drawn.carbon) * errors[1]
    return np.clip(caco3, 0, 100), np.clip(toc, 0, 100)


def labelled_depths(options: XrfOptions) -> list[int]:
    """The spectra of a core with targets, at the centres of equal parts of it."""
    parts = options.labelled
    return [(2 * part + 1) * options.spectra // (2 * parts) for part in range(parts)]


# Folders of synthetic XRF spectra, in the layout of published spectra of cores for masked
# modelling.

HEADING = "# Simulated XRF spectra of sediment cores"

TARGETS: dict[str, Callable[[Scan], Iterable[float]]] = {
    CACO3: lambda scan: scan.caco3,
    TOC: lambda scan: scan.toc,
}
"""Data set of labelled spectra → their targets [wt%]."""

PHYSICS = f"""\
A stand-in, not data: sediment mixed from carbonate, clay, silica, organic matter and salt water whose shares drift \
along a core and jump; its trace elements; primary fluorescence of a thick flat sample (Sherman 1955) under an \
unfiltered {ANODE} tube (Ebel 1999, 2003) at 45° to it; the tube's light scattered once, with or without loss; helium, \
foil, a film of water and windows; a silicon detector with its resolution, escape peaks and pile-up; Poisson counts. \
Cross-sections, lines and yields are those of xraydb. Left out: fluorescence that fluorescence excites, light that \
scatters twice, changes of the water film, roughness, grains, cracks, and drift of the calibration within a core."""


class WrittenCores(NamedTuple):
    folders: list[Path]
    """The folders with spectra: OUT/pretrain/test and so on."""
    spectra: int
    labelled: int


def write(options: XrfOptions) -> WrittenCores:
    """Make cores, and write OUT/{pretrain,caco3,toc}/{test,train}/ with info.csv, spe/ and, for
    labels, target/.

    The first ones are for the test, a quarter, but at least one, if left out; the next ones are
    listed in val.csv, a sixth of those that remain if left out.

    OUT appears when all cores are finished. A core has the same bytes however many others are made
    with it. Raises QexpError if an option is wrong, if something else is at OUT, or if it cannot be
    written.
    """
    out = Path(options.out)
    cores = options.cores
    test = min(max(cores // 4, 1), cores - 1) if options.test is None else options.test
    validation = (cores - test) // 6 if options.validation is None else options.validation
    check(options, test, validation)
    if options.layout not in LAYOUTS:
        raise QexpError(f"`layout={options.layout}`: {suggestion(options.layout, LAYOUTS)}")
    seeds = Seeds(options.seed)
    labelled = labelled_depths(options)
    form = LAYOUTS[options.layout]
    folders = {name: Path(form.folders[name]) for name in (ALL, *(TARGETS if labelled else []))}
    parts = ["test", "train"] if test else ["train"]
    with new_folder(out, HEADING, options.overwrite) as folder:
        lists = _Lists(form)
        for name, data_set in folders.items():
            for part in parts:
                files.make_folder(folder / data_set / part / "spe")
                if name in TARGETS:
                    files.make_folder(folder / data_set / part / "target")
        for number in range(cores):
            options.watch(f"core_{number:03d}", number / cores)
            scanned = scan(seeds, number, options)
            part = "test" if number < test else "train"
            for name, data_set in folders.items():
                depths = range(options.spectra) if name == ALL else labelled
                validated = test <= number < test + validation
                _write_files(folder / data_set / part, scanned, depths, name, form.end)
                lists.add(name, data_set / part, scanned, depths, validated)
        for path, lines in lists.with_subsets(seeds).items():
            _write(folder / path, lines)
        files.write_bytes(folder / README, _readme(options, test, validation).encode())
    written = [out / data_set / part for data_set in folders.values() for part in parts]
    return WrittenCores(written, cores * options.spectra, cores * len(labelled))


class _Lists:
    """The lines of info.csv, val.csv and of the lists of subsets, as the cores come."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lines: dict[Path, list[str]] = {}
        self._trained_on: dict[Path, list[str]] = {}

    def add(
        self, name: str, folder: Path, scanned: Scan, depths: Iterable[int], validated: bool
    ) -> None:
        """Add a core's spectra to the lists of a part of a data set."""
        columns = self._layout.columns[name]
        cells = [COLUMNS[column].cell for column in columns]
        lines = []
        for depth in depths:
            lines.append(",".join(cell(scanned, depth) for cell in cells))
        if not (validated and self._layout.apart):
            self._lines.setdefault(folder / "info.csv", [",".join(columns)]).extend(lines)
        if validated:
            self._lines.setdefault(folder / "val.csv", [",".join(columns)]).extend(lines)
        elif name in TARGETS and folder.name == "train":
            self._trained_on.setdefault(folder, []).extend(lines)

    def with_subsets(self, seeds: Seeds) -> dict[Path, list[str]]:
        """List → its lines; a smaller subset is part of a larger one."""
        lists = dict(self._lines)
        for folder, lines in self._trained_on.items():
            order = seeds.numpy("xrf", "subsets", folder.parent.name).permutation(len(lines))
            for count in self._layout.subsets:
                if count < len(lines):
                    head = self._lines[folder / "info.csv"][0]
                    some = [lines[row] for row in sorted(order[:count])]
                    lists[folder / f"info_{count}.csv"] = [head, *some]
        return lists


def _write_files(folder: Path, scanned: Scan, depths: Iterable[int], name: str, end: str) -> None:
    targets = list(TARGETS[name](scanned)) if name in TARGETS else None
    for depth in depths:
        file = file_name(scanned, depth)
        _write(folder / "spe" / file, map(str, scanned.counts[depth].tolist()))
        if targets is not None:
            _write(folder / "target" / file, [f"{targets[depth]:.4f}"], end)


def _write(path: Path, lines: Iterable[str], end: str = "\n") -> None:
    """Write a temporary file without waiting for the disk, since there are thousands."""
    with files.writing(path):
        path.write_bytes(("\n".join(lines) + end).encode())


def _readme(options: XrfOptions, test: int, validation: int) -> str:
    form = LAYOUTS[options.layout]
    cores = options.cores
    names = dict.fromkeys(name for columns in form.columns.values() for name in columns)
    columns = "\n".join(f"| {name} | {COLUMNS[name].meaning} |" for name in names)
    option = f" --layout {options.layout}" if options.layout != "plain" else ""
    info = "`info.csv` names all others" if form.apart else "`info.csv` names all"
    of_targets = " and ".join(f"`{form.folders[name]}/`" for name in TARGETS)
    labels = ""
    if options.labelled:
        labels = f"""
{of_targets} hold the {options.labelled} spectra of each core that have a target: under `target/` a file of the \
same name with one number, wt% of the dry sediment without salt. They have the errors of a laboratory: 0.5 wt% and 1 % \
of the value for CaCO3, 0.02 wt% and 2 % for TOC (one standard deviation, the two added in quadrature).
"""
    return f"""{HEADING}

    qexp data xrf --cores {cores} --test {test} --validation {validation} {options}{option}

`pretrain/` holds all {options.spectra} spectra of each of {cores} cores: {test} cores under `test/`, {cores - test} \
under `train/`, of which `val.csv` names {validation} for validation; {info}. A core is in one part \
only, the same in each folder. A file under `spe/` has {CHANNELS} lines, a whole number of counts each; channel k, \
from 0, is about {GAIN / 1000:g} (k + 0.5) keV.
{labels}
{PHYSICS}

| column of info.csv and val.csv | |
| --- | --- |
{columns}
"""
