"""Synthetic spectra of sediment cores, as counted by an XRF core scanner with a rhodium tube.

Energies are in eV, lengths along the core in mm; this file converts the units of the files to those of `forward`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError
from qexp.forward.xray_detector import Detector, Layer, efficiency, piled_up, response, transmission
from qexp.forward.xray_tube import Beam, beam
from qexp.forward.xrf import Interactions, fluorescence, interactions, line_energies, scattering
from qexp.seeds import Seeds
from qexp.synthetic.sediments import ELEMENTS, Array, Core, core

CHANNELS = 2048

GAIN = 20.0
"""Energy per channel [eV]: spectra reach 41 keV; with a tube at 10 kV they are empty above 10 keV."""

ANODE = "Rh"

TAKE_OFF = np.radians(20.0)

ANGLE = np.radians(45.0)
"""Angles of the light from the tube, and to the detector, from the surface of the core."""

LOWEST = 900.0
"""Least energy that passes the windows [eV]."""

BIN = 40.0
"""Step of the tube's continuum [eV], finer than the detector resolves."""

COVER = (Layer("C3H6", 0.9e3 * 4e-6 / np.sin(ANGLE)), Layer("H2O", 998 * 10e-6 / np.sin(ANGLE)))
"""A foil of 4 µm that keeps the scanner clean, and 10 µm of water below it, which take much of the light of aluminium
and silicon (Tjallingii and others 2007, Geochem. Geophys. Geosyst. 8, Q02004). Light passes them in and out."""

HELIUM = Layer("He", 0.1664 * 0.02)

TUBE_PATH = (Layer("Be", 1848 * 125e-6), HELIUM, *COVER)

DETECTOR_PATH = (*COVER, HELIUM, Layer("Be", 1848 * 12.5e-6))

SILICON = 2330 * 450e-6
"""Areal density of the detector [kg m-2]."""

SHELF = 0.002

RESOLVING_TIME = 2.5e-7
"""Time within which two photons are counted as one, for a fast shaper [s]."""

CURRENTS = {10: (0.8, 2.0), 30: (0.25, 0.8)}
"""Voltage [kV] → range of the tube's current [mA], for some ten thousand counts a second at either."""

LIVE_TIMES = (10.0, 15.0, 20.0, 30.0)
"""[s]"""

ACCEPTANCE = 3e-5
"""Solid angle of the beam on the core times that of the detector [sr2]; the distance that the scanner keeps to a core
changes it by ACCEPTANCE_DEVIATION, as a logarithm."""

ACCEPTANCE_DEVIATION = 0.1

GAIN_DEVIATION, OFFSET_DEVIATION = 5e-4, 5.0
"""Standard deviations of the calibration between cores: of the gain, as a share, and of the offset [eV]."""

NOISE, NOISE_DEVIATION = 75.0, 5.0
"""Noise of the electronics, full width at half maximum [eV]; with that of the pairs 140 eV at manganese K alpha."""

STEP = 10
"""Distance between spectra [mm]."""

AT_A_TIME = 500
"""Number of spectra that are computed together, which limits the memory for long cores."""

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Options:
    """The options of a set of cores, named as those of `qexp data xrf`."""

    spectra: int = 200
    """Of each core."""
    labelled: int = 40
    """Of them, evenly spread."""
    voltage: tuple[int, ...] = (30,)
    """[kV] of several, one core has the first, the next the second and so on."""
    seed: int = 0

    def __str__(self) -> str:
        voltages = ",".join(map(str, self.voltage))
        return f"--spectra {self.spectra} --labelled {self.labelled} --voltage {voltages} --seed {self.seed}"


def check(options: Options, cores: int, test: int, validation: int) -> None:
    """Raises QexpError with all problems of the options."""
    rest = cores - test - 1
    sound = [
        (1 <= cores <= 1000, f"--cores {cores}: from 1 to 1000"),
        (0 <= test < max(cores, 1), f"--test {test}: from 0 to one less than there are cores, {cores - 1}"),
        (
            0 <= validation <= max(rest, 0),
            f"--validation {validation}: from 0 to one less than there are cores that are not for the test, {rest}",
        ),
        (1 <= options.spectra <= 10_000, f"--spectra {options.spectra}: from 1 to 10000"),
        (
            0 <= options.labelled <= options.spectra,
            f"--labelled {options.labelled}: from 0 to the spectra of a core, {options.spectra}",
        ),
        (
            len(options.voltage) > 0 and set(options.voltage) <= set(CURRENTS),
            f"--voltage {','.join(map(str, options.voltage))}: in kV, "
            f"{' or '.join(map(str, CURRENTS))}, or both as {','.join(map(str, CURRENTS))}",
        ),
        (0 <= options.seed <= LARGEST_SEED, f"--seed {options.seed}: a whole number from 0 on, less than 2^63"),
    ]
    if wrong := [message for right, message in sound if not right]:
        raise QexpError("\n".join(wrong))


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
    detector: Detector


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


def scan(seeds: Seeds, number: int, options: Options) -> Scan:
    """The core of a number and its spectra, independent of all others."""
    drawn = core(seeds, number, options.spectra, STEP)
    scanner = scanner_of(seeds, number, options.voltage[number % len(options.voltage)])
    counts = np.empty((options.spectra, CHANNELS), dtype=np.int64)
    for first in range(0, options.spectra, AT_A_TIME):
        rates = count_rates(drawn.elements[first : first + AT_A_TIME], scanner)
        for depth, expected in enumerate(rates * scanner.live_time, start=first):
            counts[depth] = seeds.numpy("xrf", number, "counts", depth).poisson(expected)
    caco3, toc = measured(seeds, number, drawn)
    return Scan(f"core_{number:03d}", drawn, scanner, counts, caco3, toc)


def scanner_of(seeds: Seeds, number: int, voltage: int) -> Scanner:
    """The settings for a core, with the state of the instrument on that day."""
    random = seeds.numpy("xrf", number, "scanner")
    return Scanner(
        voltage=voltage,
        current=round(random.uniform(*CURRENTS[voltage]), 3),
        live_time=float(random.choice(LIVE_TIMES)),
        acceptance=ACCEPTANCE * float(np.exp(ACCEPTANCE_DEVIATION * random.standard_normal())),
        detector=Detector(
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

    elements  (sample, element)  mass fractions in the order of `sediments.ELEMENTS`
    returns   (sample, channel)  [s-1]
    """
    return piled_up(arrivals(elements, scanner), RESOLVING_TIME, scanner.detector)


def arrivals(elements: Array, scanner: Scanner) -> Array:
    """The mean count rates of a detector without pile-up."""
    tables, energies, seen = _optics(scanner.voltage)
    light = np.concatenate([fluorescence(elements, tables), scattering(elements, tables)], axis=1)
    widths = np.concatenate([np.zeros(len(tables.lines)), tables.widths])
    per_ampere = (light * seen) @ response(energies, widths, scanner.detector)
    return scanner.acceptance * scanner.current / 1000 * per_ampere


@lru_cache
def _optics(voltage: int) -> tuple[Interactions, Array, Array]:
    """What a voltage does in each element, the energies that come back, and the share of them that is stopped."""
    tube = beam(ANODE, 1000.0 * voltage, TAKE_OFF, LOWEST, BIN)
    filtered = Beam(tube.energies, tube.photons * transmission(TUBE_PATH, tube.energies))
    tables = interactions(ELEMENTS, filtered, ANGLE, ANGLE, LOWEST, 1000.0 * voltage)
    energies = np.concatenate([line_energies(tables), tables.scattered_energies])
    return tables, energies, transmission(DETECTOR_PATH, energies) * efficiency(energies, SILICON)


def measured(seeds: Seeds, number: int, drawn: Core) -> tuple[Array, Array]:
    """CaCO3 and TOC of all depths with the errors of a good laboratory [wt%]; never negative.

    One standard deviation is 0.5 wt% and 1 % of the value for CaCO3, 0.02 wt% and 2 % for TOC.
    """
    errors = seeds.numpy("xrf", number, "laboratory").standard_normal((len(drawn.carbon), 2)).T
    caco3 = drawn.carbonate + np.hypot(0.5, 0.01 * drawn.carbonate) * errors[0]
    toc = drawn.carbon + np.hypot(0.02, 0.02 * drawn.carbon) * errors[1]
    return np.clip(caco3, 0, 100), np.clip(toc, 0, 100)


def labelled(options: Options) -> list[int]:
    """The spectra of a core with targets, at the centres of equal parts of it."""
    return [(2 * part + 1) * options.spectra // (2 * options.labelled) for part in range(options.labelled)]
