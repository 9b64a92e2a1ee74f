"""The light of an X-ray tube: bremsstrahlung and the lines of its anode.

Ebel (1999), X-Ray Spectrom. 28, 255-266, for the continuum and the K lines, and Ebel (2003), X-Ray Spectrom. 32,
46-51, for the L lines: Kramers' law with an exponent near one, electrons that are stopped and scattered back, and
absorption on the way out of the anode. Their formulas are in keV, g cm-2 and mA; here all units are eV, kg m-2 and A.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xraydb

from qexp.forward.xray_data import Array, attenuation, edge, lines, molar_mass

CONTINUUM = 1.35e9 * 1e3 / 1e3
"""[photons s-1 sr-1 A-1 eV-1]"""

CHARACTERISTIC = {"K": 5e13 * 1e3, "L1": 0.71e13 * 1e3, "L2": 2.70e13 * 1e3, "L3": 4.94e13 * 1e3}
"""[photons s-1 sr-1 A-1]; those of L1 and L2 are for anodes from mercury on, and less for lighter ones."""

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
    take_off  angle between the surface of the anode, which the electrons meet at a right angle, and the light
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
    number, kind = xraydb.atomic_number(anode), shell[0]
    overvoltage = voltage / edge(anode, shell)
    electrons, constant = STOPPING[kind]
    logarithm = np.log(overvoltage)
    slowing = overvoltage * logarithm + 1 - overvoltage
    scattering = np.sqrt(overvoltage) * logarithm + 2 * (1 - np.sqrt(overvoltage))
    mean_ionisation = 13.5 * number
    stopped = electrons * constant / number * slowing
    stopped *= 1 + 16.05 * np.sqrt(mean_ionisation / edge(anode, shell)) * scattering / slowing
    kept = (
        1 - 0.0081517 * number + 3.613e-5 * number**2
        + 0.009583 * number * np.exp(-overvoltage) + 0.001141 * voltage / 1000
    )  # fmt: skip
    lighter = shell in ("L1", "L2") and number < 80
    correction = -0.4814 + 0.03781 * number - 2.413e-4 * number**2 if lighter else 1.0
    return float(CHARACTERISTIC[shell] * correction * stopped * kept)


def _escaping(anode: str, voltage: float, least: Array, energies: Array, take_off: float) -> Array:
    """Fraction of the light that leaves the anode; electrons emit it at energies of at least `least` [eV]."""
    number, volts = xraydb.atomic_number(anode), voltage / 1000
    power = 0.1382 - 0.9211 / np.sqrt(number)
    logarithm = np.log(number)
    returned = volts**power * (0.1904 - 0.2236 * logarithm + 0.1292 * logarithm**2 - 0.0149 * logarithm**3)
    # In g cm-2, which is 10 kg m-2; mean ionisation energy in keV.
    deepest = (
        molar_mass(anode) * 1000 / number * (0.787e-5 * np.sqrt(0.0135 * number) * volts**1.5 + 0.735e-6 * volts**2)
    )
    slowed = np.log(voltage / least)
    depth = deepest * 10 * slowed * (0.49269 - 1.0987 * returned + 0.78557 * returned**2)
    depth /= 0.70256 - 1.09865 * returned + 1.0046 * returned**2 + slowed
    thickness = 2 * attenuation([anode], energies)[0] * depth / np.sin(take_off)
    share: Array = -np.expm1(-thickness) / thickness
    return share
