"""X-ray fluorescence and scattering of a thick, flat, homogeneous sample, towards a detector.

Fundamental parameters, after Sherman (1955), Spectrochim. Acta 7, 283-306, equation for primary fluorescence. For an
element of mass fraction c, and N(E) incident photons of energy E at an angle a, the line i observed at an angle b is

    N_i = c / (4 pi) * sum over E of N(E) p_i v_i(E) / sin(a) / (mu(E) / sin(a) + mu(E_i) / sin(b))

photons per solid angle, with the vacancies v_i per mass, p_i photons of the line per vacancy, and the attenuation mu of
the whole sample. Scattering is single, by the same integral over the depth with differential cross-sections.

Neglected: secondary fluorescence (some per cent of the lines of K with much Ca, of Ti and Mn with much Fe), multiple
scattering, roughness and grains, layers, the divergence of the beam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qexp.forward.xray_data import (
    Array,
    Line,
    attenuation,
    compton,
    compton_energy,
    lines,
    rayleigh,
    vacancies,
)
from qexp.forward.xray_tube import Beam

FINE_STRUCTURE = 1 / 137.036

MOMENTUM = 0.65
"""Standard deviation of an electron's momentum along the scattering vector, in atomic units, which widens the Compton
peaks of the light elements in sediments (about the width of oxygen's profile in Biggs, Mendelsohn and
Mann 1975, At. Data Nucl. Data Tables 16, 201-309)."""


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
    elements: Sequence[str], beam: Beam, incidence: float, exit: float, lowest: float, highest: float
) -> Interactions:
    """Cross-sections of elements for a beam, with angles from the surface of the sample [rad].

    Lines from the lowest to the highest energy [eV] are counted. Beam, normal and detector lie in a plane.
    """
    angle = np.pi - incidence - exit
    emitted = tuple(line for element in elements for line in lines(element, lowest, highest))
    made = {element: vacancies(element, beam.energies) for element in elements}
    per_mass = beam.photons / np.sin(incidence)
    shifted = compton_energy(beam.energies, angle)
    spread = 2 * beam.energies * np.sin(angle / 2) * MOMENTUM * FINE_STRUCTURE
    return Interactions(
        elements=tuple(elements),
        lines=emitted,
        owner=tuple(elements.index(line.element) for line in emitted),
        excited=np.stack([per_mass * made[line.element][line.shell] * line.photons for line in emitted]) / (4 * np.pi),
        inward=attenuation(elements, beam.energies) / np.sin(incidence),
        outward=attenuation(elements, np.array([line.energy for line in emitted])) / np.sin(exit),
        elastic=per_mass * rayleigh(elements, beam.energies, angle),
        elastic_outward=attenuation(elements, beam.energies) / np.sin(exit),
        inelastic=per_mass * compton(elements, beam.energies, angle),
        inelastic_outward=attenuation(elements, shifted) / np.sin(exit),
        scattered_energies=np.concatenate([beam.energies, shifted]),
        widths=np.concatenate([np.zeros_like(spread), spread]),
    )


def fluorescence(mass_fractions: Array, of: Interactions) -> Array:
    """Primary fluorescence of samples.

    mass_fractions  (sample, element)  add up to one
    returns         (sample, line)     [photons s-1 sr-1 A-1] for a beam in photons s-1 sr-1 A-1 on all of the sample
    """
    inward, outward = mass_fractions @ of.inward, mass_fractions @ of.outward
    seen = np.empty((len(mass_fractions), len(of.lines)))
    for index, (owner, excited) in enumerate(zip(of.owner, of.excited, strict=True)):
        exciting = np.flatnonzero(excited)
        attenuated = inward[:, exciting] + outward[:, index, None]
        seen[:, index] = mass_fractions[:, owner] * (excited[exciting] / attenuated).sum(axis=1)
    return seen


def scattering(mass_fractions: Array, of: Interactions) -> Array:
    """Singly scattered light, (sample, 2 energy), at `scattered_energies`; arguments and units as in `fluorescence`."""
    inward = mass_fractions @ of.inward
    elastic = mass_fractions @ of.elastic / (inward + mass_fractions @ of.elastic_outward)
    inelastic = mass_fractions @ of.inelastic / (inward + mass_fractions @ of.inelastic_outward)
    return np.concatenate([elastic, inelastic], axis=1)


def line_energies(of: Interactions) -> Array:
    """(line,) [eV]"""
    return np.array([line.energy for line in of.lines])
