"""Wavelengths of radar satellites, and displacement from phase."""

from __future__ import annotations

import math
from collections.abc import Mapping

from qexp.did_you_mean import nearest
from qexp.errors import QexpError

SPEED_OF_LIGHT = 299_792_458.0
"""[m/s]"""

FREQUENCIES: Mapping[str, float] = {
    "alos": 1.270e9,
    "alos-2": 1.2575e9,
    "cosmo-skymed": 9.60e9,
    "envisat": 5.331e9,
    "ers": 5.300e9,
    "iceye": 9.65e9,
    "jers-1": 1.275e9,
    "paz": 9.65e9,
    "radarsat-1": 5.300e9,
    "radarsat-2": 5.405e9,
    "radarsat-constellation": 5.405e9,
    "saocom": 1.27414e9,
    "sentinel-1": 5.405e9,
    "tandem-x": 9.65e9,
    "terrasar-x": 9.65e9,
    "uavsar": 1.2575e9,
}
"""Satellite → carrier frequency [Hz], as its operator publishes it. ALOS-2 has three, by mode and swath: 1.2365, 1.2575
and 1.2785 GHz; here is the one of its finest images."""


def wavelength_of(sensor: str) -> float:
    """The wavelength of a satellite's radar [m]. Raises QexpError for one that is not known."""
    name = sensor.lower().replace("_", "-").replace(" ", "-")
    if name not in FREQUENCIES:
        guess = nearest(name, FREQUENCIES)
        known = f"did you mean '{guess}'?" if guess else f"known are {', '.join(FREQUENCIES)}"
        raise QexpError(f"no satellite '{sensor}'; {known} Or give --wavelength in m")
    return SPEED_OF_LIGHT / FREQUENCIES[name]


def metres_per_radian(wavelength: float) -> float:
    """The displacement toward the satellite of one radian of unwrapped phase: −λ/4π [m]; phase grows with range.

    Raises QexpError for a wavelength that no radar satellite has.
    """
    if not 0.01 <= wavelength <= 1.0:
        raise QexpError(
            f"a wavelength of {wavelength:g} m is not that of a radar; give it in m, such as 0.0555 for Sentinel-1"
        )
    return -wavelength / (4 * math.pi)
