"""Interaction of X-rays with the elements: the tables of xraydb in SI units.

Energies are in eV, cross-sections per mass in m2 kg-1. Attenuation, fluorescence yields, jump ratios, transition
probabilities and Coster-Kronig transitions are those of Elam, Ravel and Sieber (2002), Radiat. Phys. Chem. 63,
121-128; form factors are those of Waasmaier and Kirfel (1995), Acta Cryst. A51, 416-431.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xraydb
from numpy.typing import NDArray

Array = NDArray[np.float64]

SHELLS = ("K", "L1", "L2", "L3")
"""Shells whose lines are included; lines of outer shells are soft, or weak and of rare elements."""

FAINT = 0.002
"""Smallest fraction of a shell's lines for which a line is included."""

SQUARE_METRES_PER_KILOGRAM = 0.1
"""cm2 g-1 in m2 kg-1."""

ELECTRON_REST_ENERGY = 510998.95
"""[eV]"""

ELECTRON_RADIUS = 2.8179403e-15
"""Classical [m]."""

AVOGADRO = 6.02214076e23
"""[mol-1]"""

WAVE = 12398.42
"""Energy times wavelength [eV Å]."""


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
    """The lines of an element that can be excited by photons or electrons of the highest energy, from the lowest on."""
    edges = xraydb.xray_edges(element)
    return [
        Line(element, name, shell, line.energy, edges[shell].fyield * line.intensity)
        for shell in SHELLS
        if shell in edges and edges[shell].energy < highest
        for name, line in xraydb.xray_lines(element, shell).items()
        if line.energy >= lowest and line.intensity >= FAINT
    ]


def edge(element: str, shell: str) -> float:
    """Binding energy [eV]."""
    energy: float = xraydb.xray_edge(element, shell).energy
    return energy


def attenuation(elements: Sequence[str], energies: Array) -> Array:
    """(element, energy) total cross-section per mass [m2 kg-1]."""
    return np.stack([_elam(element, energies, "total") for element in elements])


def vacancies(element: str, energies: Array) -> dict[str, Array]:
    """Shell → (energy,) cross-section per mass for a vacancy in it by a photon [m2 kg-1].

    A photon is absorbed by the innermost shells that it can ionise, in proportions given by the jump ratios; then
    Coster-Kronig transitions move vacancies outwards among the L shells.
    """
    photoelectric = _elam(element, energies, "photo")
    edges, remaining, made = xraydb.xray_edges(element), np.ones_like(energies), {}
    for shell in (shell for shell in SHELLS if shell in edges):
        reached, jump = energies >= edges[shell].energy, edges[shell].jump_ratio
        made[shell] = np.where(reached, photoelectric * remaining * (1 - 1 / jump), 0.0)
        remaining = np.where(reached, remaining / jump, remaining)
    moved = {shell: absorbed.copy() for shell, absorbed in made.items()}
    for outer in ("L2", "L3"):
        for inner in ("L1", "L2"):
            if outer in made and inner in made and inner < outer:
                # The probability from L1 to L3 includes the path through L2.
                moved[outer] += made[inner] * xraydb.ck_probability(element, inner, outer)
    return moved


def rayleigh(elements: Sequence[str], energies: Array, angle: float) -> Array:
    """(element, energy) elastic scattering of unpolarised light through an angle, per solid angle [m2 kg-1 sr-1]."""
    momentum = np.sin(angle / 2) * energies / WAVE
    thomson = ELECTRON_RADIUS**2 * (1 + np.cos(angle) ** 2) / 2
    return np.stack(
        [thomson * xraydb.f0(element, momentum) ** 2 * AVOGADRO / molar_mass(element) for element in elements]
    )


def compton(elements: Sequence[str], energies: Array, angle: float) -> Array:
    """(element, energy) inelastic scattering of unpolarised light through an angle, per solid angle [m2 kg-1 sr-1].

    The cross-section of the atom, with the angular distribution of a free electron (Klein and Nishina 1929).
    """
    whole = np.stack([_elam(element, energies, "incoh") for element in elements])
    angles = np.linspace(0, np.pi, 181)
    rings = 2 * np.pi * np.sin(angles) * klein_nishina(energies[:, None], angles)
    return whole * klein_nishina(energies, angle) / np.trapezoid(rings, angles, axis=-1)


def klein_nishina(energy: Array, angle: Array | float) -> Array:
    """Scattering by a free electron, unpolarised, per solid angle [m2 sr-1]."""
    ratio = compton_energy(energy, angle) / energy
    scattered: Array = ELECTRON_RADIUS**2 / 2 * ratio**2 * (ratio + 1 / ratio - np.sin(angle) ** 2)
    return scattered


def compton_energy(energy: Array, angle: Array | float) -> Array:
    """Energy of a photon after a free electron at rest has scattered it through an angle [eV]."""
    left: Array = energy / (1 + energy / ELECTRON_REST_ENERGY * (1 - np.cos(angle)))
    return left


def molar_mass(element: str) -> float:
    """[kg mol-1]"""
    grams: float = xraydb.atomic_mass(element)
    return grams / 1000


def mass_fractions(formula: str) -> dict[str, float]:
    """Element → mass fraction in a compound: `mass_fractions("CaCO3")["Ca"]` is 0.4."""
    masses = {element: count * molar_mass(element) for element, count in xraydb.chemparse(formula).items()}
    return {element: mass / sum(masses.values()) for element, mass in masses.items()}


def _elam(element: str, energies: Array, kind: str) -> Array:
    if not energies.size:  # which xraydb does not take
        return np.zeros(0)
    values: Array = xraydb.mu_elam(element, energies, kind=kind)
    return SQUARE_METRES_PER_KILOGRAM * values
