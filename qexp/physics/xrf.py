"""X-ray fluorescence and scattering of a thick, flat, homogeneous sample, from the tube to the
detector.

Fundamental parameters, after Sherman (1955), Spectrochim. Acta 7, 283-306, equation for primary
fluorescence. For an element of mass fraction c, and N(E) incident photons of energy E at an angle
a, the line i observed at an angle b is

    N_i = c / (4 pi) * sum over E of N(E) p_i v_i(E) / sin(a) / (mu(E) / sin(a) + mu(E_i) / sin(b))

photons per solid angle, with the vacancies v_i per mass, p_i photons of the line per vacancy, and
the attenuation mu of the whole sample. Scattering is single, by the same integral over the depth
with differential cross-sections.

Neglected: secondary fluorescence (some per cent of the lines of K with much Ca, of Ti and Mn with
much Fe), multiple scattering, roughness and grains, layers, the divergence of the beam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xraydb
from numpy.typing import NDArray
from scipy.special import ndtr

FINE_STRUCTURE = 1 / 137.036

MOMENTUM = 0.65
"""Standard deviation of an electron's momentum along the scattering vector, in atomic units, which
widens the Compton peaks of the light elements in sediments (about the width of oxygen's profile in
Biggs, Mendelsohn and Mann 1975, At. Data Nucl. Data Tables 16, 201-309).
"""


@dataclass(frozen=True)
class Interactions:
    """Cross-sections of some elements for one beam; computed once for any number of samples."""

    elements: tuple[str, ...]
    lines: tuple[Line, ...]
    owner: tuple[int, ...]
    """(line,) index of the element."""
    excited: Array
    """(line, energy) photons of a line per mass per area of its element [s-1 sr-1 A-1 m2 kg-1]"""
    inward: Array
    """(element, energy) attenuation of the beam along the depth [m2 kg-1]"""
    outward: Array
    """(element, line) attenuation of the lines along the depth"""
    elastic: Array
    """(element, energy) elastically scattered photons, per mass per area [s-1 sr-1 A-1 m2 kg-1]"""
    elastic_outward: Array
    inelastic: Array
    inelastic_outward: Array
    scattered_energies: Array
    """(2 energy,) energies of scattered photons: all elastic ones, then all inelastic ones [eV]"""
    widths: Array
    """(2 energy,) standard deviation of these energies [eV]"""


def interactions(
    elements: Sequence[str],
    beam: Beam,
    incidence: float,
    exit: float,
    lowest: float,
    highest: float,
) -> Interactions:
    """Cross-sections of elements for a beam, with angles from the surface of the sample [rad].

    Lines from the lowest to the highest energy [eV] are counted. Beam, normal and detector lie in a
    plane.
    """
    angle = np.pi - incidence - exit
    emitted = tuple(line for element in elements for line in lines(element, lowest, highest))
    vacancies_of = {element: vacancies(element, beam.energies) for element in elements}
    per_mass = beam.photons / np.sin(incidence)
    shifted = compton_energy(beam.energies, angle)
    spread = 2 * beam.energies * np.sin(angle / 2) * MOMENTUM * FINE_STRUCTURE
    return Interactions(
        elements=tuple(elements),
        lines=emitted,
        owner=tuple(elements.index(line.element) for line in emitted),
        excited=np.stack(
            [per_mass * vacancies_of[line.element][line.shell] * line.photons for line in emitted]
        )
        / (4 * np.pi),
        inward=attenuation(elements, beam.energies) / np.sin(incidence),
        outward=attenuation(elements, np.array([line.energy for line in emitted])) / np.sin(exit),
        elastic=per_mass * rayleigh(elements, beam.energies, angle),
        elastic_outward=attenuation(elements, beam.energies) / np.sin(exit),
        inelastic=per_mass * compton(elements, beam.energies, angle),
        inelastic_outward=attenuation(elements, shifted) / np.sin(exit),
        scattered_energies=np.concatenate([beam.energies, shifted]),
        widths=np.concatenate([np.zeros_like(spread), spread]),
    )


def fluorescence(mass_fractions: Array, cross_sections: Interactions) -> Array:
    """Primary fluorescence of samples.

    mass_fractions  (sample, element)  add up to one
    returns         (sample, line)     [photons s-1 sr-1 A-1] for a beam in photons s-1 sr-1 A-1 on
                                       all of the sample
    """
    inward = mass_fractions @ cross_sections.inward
    outward = mass_fractions @ cross_sections.outward
    photons = np.empty((len(mass_fractions), len(cross_sections.lines)))
    for index, (owner, excited) in enumerate(
        zip(cross_sections.owner, cross_sections.excited, strict=True)
    ):
        exciting = np.flatnonzero(excited)
        attenuated = inward[:, exciting] + outward[:, index, None]
        photons[:, index] = mass_fractions[:, owner] * (excited[exciting] / attenuated).sum(axis=1)
    return photons


def scattering(mass_fractions: Array, cross_sections: Interactions) -> Array:
    """Singly scattered light, (sample, 2 energy), at `scattered_energies`; arguments and units as
    in `fluorescence`.
    """
    inward = mass_fractions @ cross_sections.inward
    parts = [
        mass_fractions @ scattered / (inward + mass_fractions @ outward)
        for scattered, outward in (
            (cross_sections.elastic, cross_sections.elastic_outward),
            (cross_sections.inelastic, cross_sections.inelastic_outward),
        )
    ]
    return np.concatenate(parts, axis=1)


# The light of an X-ray tube: bremsstrahlung and the lines of its anode.
#
# Ebel (1999), X-Ray Spectrom. 28, 255-266, for the continuum and the K lines, and Ebel (2003),
# X-Ray Spectrom. 32, 46-51, for the L lines: Kramers' law with an exponent near one, electrons that
# are stopped and scattered back, and absorption on the way out of the anode. Their formulas are in
# keV, g cm-2 and mA; here all units are eV, kg m-2 and A.

CONTINUUM = 1.35e9 * 1e3 / 1e3
"""[photons s-1 sr-1 A-1 eV-1]"""

CHARACTERISTIC = {"K": 5e13 * 1e3, "L1": 0.71e13 * 1e3, "L2": 2.70e13 * 1e3, "L3": 4.94e13 * 1e3}
"""[photons s-1 sr-1 A-1]; L1 and L2 are for anodes from mercury on, and less for lighter ones."""

STOPPING = {"K": (2, 0.35), "L": (8, 0.25)}
"""Electrons of the shell, and the constant of its cross-section."""


class Beam(NamedTuple):
    """Photons of discrete energies; a continuum is represented by the centres of its bins."""

    energies: Array
    """(energy,) [eV]"""
    photons: Array
    """(energy,) [s-1 sr-1 A-1]"""


def beam(anode: str, voltage: float, take_off: float, lowest: float, step: float) -> Beam:
    """The continuum of a tube in bins from the lowest energy to the highest, and its lines.

    anode     an element
    voltage   [V]
    take_off  angle between the surface of the anode, which the electrons meet at a right angle, and
              the light
    step      width of the bins [eV]; the continuum ends in the last whole one below the voltage
    """
    edges = np.arange(lowest, voltage + step / 2, step)
    middles = (edges[:-1] + edges[1:]) / 2
    number = xraydb.atomic_number(anode)
    exponent = 1.109 - 0.00435 * number + 0.00175 * voltage / 1000
    continuum = CONTINUUM * number * (voltage / middles - 1) ** exponent * step
    continuum *= _escaping(anode, voltage, middles, middles, take_off)
    emitted = lines(anode, lowest, voltage)
    energies = np.array([line.energy for line in emitted])
    deepest = np.array([edge(anode, line.shell) for line in emitted])
    strengths = np.array([line.photons * _ionised(anode, line.shell, voltage) for line in emitted])
    characteristic = strengths * _escaping(anode, voltage, deepest, energies, take_off)
    return Beam(np.concatenate([middles, energies]), np.concatenate([continuum, characteristic]))


def _ionised(anode: str, shell: str, voltage: float) -> float:
    """Vacancies in a shell, per solid angle [s-1 sr-1 A-1]."""
    number = xraydb.atomic_number(anode)
    kind = shell[0]
    overvoltage = voltage / edge(anode, shell)
    electrons, constant = STOPPING[kind]
    logarithm = np.log(overvoltage)
    slowing = overvoltage * logarithm + 1 - overvoltage
    scattering = np.sqrt(overvoltage) * logarithm + 2 * (1 - np.sqrt(overvoltage))
    mean_ionisation = 13.5 * number
    stopped = electrons * constant / number * slowing
    stopped *= 1 + 16.05 * np.sqrt(mean_ionisation / edge(anode, shell)) * scattering / slowing
    unscattered = 1 - 0.0081517 * number + 3.613e-5 * number**2
    unscattered = unscattered + 0.009583 * number * np.exp(-overvoltage) + 0.001141 * voltage / 1000
    lighter = shell in ("L1", "L2") and number < 80
    correction = -0.4814 + 0.03781 * number - 2.413e-4 * number**2 if lighter else 1.0
    return float(CHARACTERISTIC[shell] * correction * stopped * unscattered)


def _escaping(anode: str, voltage: float, least: Array, energies: Array, take_off: float) -> Array:
    """Fraction of the light that leaves the anode; electrons emit it at energies of at least
    `least` [eV].
    """
    number = xraydb.atomic_number(anode)
    volts = voltage / 1000
    power = 0.1382 - 0.9211 / np.sqrt(number)
    logarithm = np.log(number)
    returned = volts**power * (
        0.1904 - 0.2236 * logarithm + 0.1292 * logarithm**2 - 0.0149 * logarithm**3
    )
    # In g cm-2, which is 10 kg m-2; mean ionisation energy in keV.
    deepest = (
        molar_mass(anode)
        * 1000
        / number
        * (0.787e-5 * np.sqrt(0.0135 * number) * volts**1.5 + 0.735e-6 * volts**2)
    )
    slowed = np.log(voltage / least)
    depth = deepest * 10 * slowed * (0.49269 - 1.0987 * returned + 0.78557 * returned**2)
    depth /= 0.70256 - 1.09865 * returned + 1.0046 * returned**2 + slowed
    thickness = 2 * attenuation([anode], energies)[0] * depth / np.sin(take_off)
    return np.asarray(-np.expm1(-thickness) / thickness)


# A silicon drift detector: transmission of its window, absorption in the silicon, and its energy
# response.
#
# Energies are in eV, areal densities in kg m-2, channels count from 0: channel k holds energies
# from offset + k gain to offset + (k + 1) gain.

FANO = 0.115
"""Fano factor of silicon (Lechner et al. 1996, NIM A 377, 206-208): variance of pairs by mean."""

PAIR = 3.65
"""Energy that a pair of charges takes in cold silicon [eV]."""

FULL_WIDTH = 2 * np.sqrt(2 * np.log(2))
"""Full width at half maximum of a Gaussian in standard deviations."""

REACH = 6.0
"""Standard deviations at which peaks end: less than one count in 10^8 lies beyond."""


class Layer(NamedTuple):
    formula: str
    areal_density: float
    """Areal density along the beam [kg m-2]."""


@dataclass(frozen=True)
class Detector:
    channels: int
    gain: float
    """[eV per channel]"""
    offset: float
    """[eV]"""
    noise: float
    """Electronic noise: full width at half maximum [eV]."""
    thickness: float
    """Areal density of the silicon [kg m-2]."""
    shelf: float
    """Fraction of counts whose charge is collected in part; that part is uniformly distributed."""


def transmission(layers: Sequence[Layer], energies: Array) -> Array:
    """Fraction of the light that passes through all layers."""
    depth = np.zeros_like(energies)
    for formula, areal_density in layers:
        for element, fraction in mass_fractions(formula).items():
            depth += areal_density * fraction * attenuation([element], energies)[0]
    return np.exp(-depth)


def efficiency(energies: Array, thickness: float) -> Array:
    """Fraction of the photons that the silicon absorbs."""
    return np.asarray(-np.expm1(-thickness * attenuation(["Si"], energies)[0]))


def full_width(energies: Array, noise: float) -> Array:
    """Full width of a line at half maximum, from electronic noise and that of the number of pairs,
    Fano (1947) [eV].
    """
    return np.asarray(np.sqrt(noise**2 + FULL_WIDTH**2 * FANO * PAIR * energies))


def escape_line() -> float:
    """Mean energy of silicon's K alpha lines, which is lost if such a photon escapes [eV]."""
    return float(xraydb.xray_line("Si", "Ka").energy)


def escaping(energies: Array) -> Array:
    """Fraction of the absorbed photons whose silicon K photon escapes through the face of the
    detector.

    Reed and Ware (1972), J. Phys. E 5, 582-587, for light at a right angle: the escaping part of
    the K photons from the depths at which the light is absorbed.
    """
    absorbing = attenuation(["Si"], energies)[0]
    absorbed_again = attenuation(["Si"], np.array([escape_line()]))[0, 0]
    produced = xraydb.xray_edge("Si", "K").fyield * vacancies("Si", energies)["K"] / absorbing
    ratio = absorbed_again / absorbing
    return np.asarray(produced / 2 * (1 - ratio * np.log1p(1 / ratio)))


def response(energies: Array, widths: Array, detector: Detector) -> Array:
    """(energy, channel) probabilities that an absorbed photon is counted; their sums are 1, but
    less near the edges.

    widths  (energy,) standard deviation of the photons' energies before detection [eV]
    """
    variance = np.square(full_width(energies, detector.noise) / FULL_WIDTH) + np.square(widths)
    lost = escaping(energies)
    counted: Array = (1 - lost)[:, None] * _peaks(energies, np.sqrt(variance), detector)
    rest = energies - escape_line()
    escaped = np.flatnonzero(lost)
    spread = np.square(full_width(rest[escaped], detector.noise) / FULL_WIDTH) + np.square(
        widths[escaped]
    )
    counted[escaped] += lost[escaped, None] * _peaks(rest[escaped], np.sqrt(spread), detector)
    # Incomplete charge lowers an energy to any value between zero and itself.
    edges = np.clip(channel_edges(detector), 0, energies[:, None])
    lowered: Array = np.diff(edges, axis=1) / energies[:, None]
    counted *= 1 - detector.shelf
    counted += detector.shelf * lowered
    return counted


def channel_edges(detector: Detector) -> Array:
    """(channel + 1,) [eV]"""
    return detector.offset + detector.gain * np.arange(detector.channels + 1, dtype=np.float64)


def _peaks(centres: Array, deviations: Array, detector: Detector) -> Array:
    """(peak, channel) Gaussians of area one; only their neighbourhoods are computed."""
    half = int(np.ceil(REACH * deviations.max(initial=0) / detector.gain))
    middles = np.floor((centres - detector.offset) / detector.gain).astype(int)
    first = middles[:, None] - half
    channels = first + np.arange(2 * half + 1)
    edges = detector.offset + detector.gain * (first + np.arange(2 * half + 2))
    scores = (edges - centres[:, None]) / deviations[:, None]
    areas = np.diff(ndtr(scores), axis=1)
    peaks = np.zeros((len(centres), detector.channels))
    seen = (channels >= 0) & (channels < detector.channels)
    peak, channel = np.nonzero(seen)
    peaks[peak, channels[peak, channel]] = areas[peak, channel]
    return peaks


def piled_up(rates: Array, resolving_time: float, detector: Detector) -> Array:
    """Count rates with pile-up: photons that arrive too close together are counted as one with
    their total energy.

    rates           (sample, channel)  photons that arrive per time, by their energy [s-1]
    resolving_time  time within which two photons are not resolved [s]
    returns         (sample, channel)  [s-1]

    A fraction 1 - exp(-rate time) of the counts are sums of two photons; sums of three are
    neglected. Photons are conserved, a sum counting once for two, and so is energy, except for sums
    beyond the last channel.
    """
    total = rates.sum(axis=1, keepdims=True)
    double = -np.expm1(-total * resolving_time)
    share = rates / np.maximum(total, np.finfo(float).tiny)
    size = 2 * detector.channels
    sums = np.fft.irfft(np.square(np.fft.rfft(share, size)), size)[:, : detector.channels + 1]
    # Channels k and l have the energy of channel k + l and this much more.
    excess = detector.offset / detector.gain + 0.5
    channels = int(np.floor(excess))
    part = excess - channels
    shifted = (1 - part) * _shifted(sums, channels) + part * _shifted(sums, channels + 1)
    counts = total / (1 + double)
    # Rounding in the transform makes some zeros slightly negative.
    return np.asarray(
        np.maximum(counts * ((1 - double) * share + double * shifted[:, : detector.channels]), 0)
    )


def _shifted(values: Array, channels: int) -> Array:
    """Values shifted by some channels, up or down; without wrapping around."""
    padding = max(channels, 0)
    first = max(-channels, 0)
    return np.pad(values, ((0, 0), (padding, first)))[:, first : first + values.shape[1]]


# Interaction of X-rays with the elements: the tables of xraydb in SI units.
#
# Energies are in eV, cross-sections per mass in m2 kg-1. Attenuation, fluorescence yields, jump
# ratios, transition probabilities and Coster-Kronig transitions are those of Elam, Ravel and Sieber
# (2002), Radiat. Phys. Chem. 63, 121-128; form factors are those of Waasmaier and Kirfel (1995),
# Acta Cryst. A51, 416-431.

Array = NDArray[np.float64]

SHELLS = ("K", "L1", "L2", "L3")
"""Shells whose lines are included; lines of outer shells are soft, or weak and of rare elements."""

ELECTRON_REST_ENERGY = 510998.95
"""[eV]"""

ELECTRON_RADIUS = 2.8179403e-15
"""Classical [m]."""

AVOGADRO = 6.02214076e23
"""[mol-1]"""


@dataclass(frozen=True)
class Line:
    element: str
    name: str
    """After Siegbahn: Ka1, Lb1."""
    shell: str
    """The shell of the initial vacancy."""
    energy: float
    """[eV]"""
    photons: float
    """Per vacancy in the shell: fluorescence yield times transition probability."""


def lines(element: str, lowest: float, highest: float = np.inf) -> list[Line]:
    """The lines of an element that can be excited by photons or electrons of the highest energy,
    from the lowest on.
    """
    edges = xraydb.xray_edges(element)
    return [
        Line(element, name, shell, line.energy, edges[shell].fyield * line.intensity)
        for shell in SHELLS
        if shell in edges and edges[shell].energy < highest
        for name, line in xraydb.xray_lines(element, shell).items()
        if line.energy >= lowest and line.intensity >= 0.002
    ]


def edge(element: str, shell: str) -> float:
    """Binding energy [eV]."""
    return float(xraydb.xray_edge(element, shell).energy)


def attenuation(elements: Sequence[str], energies: Array) -> Array:
    """(element, energy) total cross-section per mass [m2 kg-1]."""
    return np.stack([_elam(element, energies, "total") for element in elements])


def vacancies(element: str, energies: Array) -> dict[str, Array]:
    """Shell → (energy,) cross-section per mass for a vacancy in it by a photon [m2 kg-1].

    A photon is absorbed by the innermost shells that it can ionise, in proportions given by the
    jump ratios; then Coster-Kronig transitions move vacancies outwards among the L shells.
    """
    photoelectric = _elam(element, energies, "photo")
    edges = xraydb.xray_edges(element)
    remaining = np.ones_like(energies)
    direct = {}
    for shell in (shell for shell in SHELLS if shell in edges):
        reached = energies >= edges[shell].energy
        jump = edges[shell].jump_ratio
        direct[shell] = np.where(reached, photoelectric * remaining * (1 - 1 / jump), 0.0)
        remaining = np.where(reached, remaining / jump, remaining)
    total = {shell: absorbed.copy() for shell, absorbed in direct.items()}
    for outer in ("L2", "L3"):
        for inner in ("L1", "L2"):
            if outer in direct and inner in direct and inner < outer:
                # The probability from L1 to L3 includes the path through L2.
                total[outer] += direct[inner] * xraydb.ck_probability(element, inner, outer)
    return total


def rayleigh(elements: Sequence[str], energies: Array, angle: float) -> Array:
    """(element, energy) elastic scattering of unpolarised light through an angle, per solid angle
    [m2 kg-1 sr-1].
    """
    momentum = np.sin(angle / 2) * energies / 12398.42  # energy times wavelength [eV Å]
    thomson = ELECTRON_RADIUS**2 * (1 + np.cos(angle) ** 2) / 2
    return np.stack(
        [
            thomson * xraydb.f0(element, momentum) ** 2 * AVOGADRO / molar_mass(element)
            for element in elements
        ]
    )


def compton(elements: Sequence[str], energies: Array, angle: float) -> Array:
    """(element, energy) inelastic scattering of unpolarised light through an angle, per solid angle
    [m2 kg-1 sr-1].

    The cross-section of the atom, with the angular distribution of a free electron (Klein and
    Nishina 1929).
    """
    integral = np.stack([_elam(element, energies, "incoh") for element in elements])
    angles = np.linspace(0, np.pi, 181)
    rings = 2 * np.pi * np.sin(angles) * klein_nishina(energies[:, None], angles)
    return integral * klein_nishina(energies, angle) / np.trapezoid(rings, angles, axis=-1)


def klein_nishina(energy: Array, angle: Array | float) -> Array:
    """Scattering by a free electron, unpolarised, per solid angle [m2 sr-1]."""
    ratio = compton_energy(energy, angle) / energy
    return np.asarray(ELECTRON_RADIUS**2 / 2 * ratio**2 * (ratio + 1 / ratio - np.sin(angle) ** 2))


def compton_energy(energy: Array, angle: Array | float) -> Array:
    """Energy of a photon after a free electron at rest has scattered it through an angle [eV]."""
    return np.asarray(energy / (1 + energy / ELECTRON_REST_ENERGY * (1 - np.cos(angle))))


def molar_mass(element: str) -> float:
    """[kg mol-1]"""
    return float(xraydb.atomic_mass(element)) / 1000


def mass_fractions(formula: str) -> dict[str, float]:
    """Element → mass fraction in a compound: `mass_fractions("CaCO3")["Ca"]` is 0.4."""
    masses = {
        element: count * molar_mass(element) for element, count in xraydb.chemparse(formula).items()
    }
    return {element: mass / sum(masses.values()) for element, mass in masses.items()}


def _elam(element: str, energies: Array, kind: str) -> Array:
    if not energies.size:  # which xraydb does not take
        return np.zeros(0)
    values: Array = xraydb.mu_elam(element, energies, kind=kind)
    return 0.1 * values  # of cm2 g-1
