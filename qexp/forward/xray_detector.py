"""A silicon drift detector: transmission of its window, absorption in the silicon, and its energy response.

Energies are in eV, areal densities in kg m-2, channels count from 0: channel k holds energies from offset + k gain
to offset + (k + 1) gain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xraydb
from scipy.special import ndtr

from qexp.forward.xray_data import Array, attenuation, mass_fractions, vacancies

FANO = 0.115
"""Fano factor of silicon: variance of the number of pairs over its mean (Lechner et al. 1996, NIM A 377, 206-208)."""

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
    """Fraction of the counts whose charge is collected incompletely; the collected part is uniformly distributed."""


def transmission(layers: Sequence[Layer], energies: Array) -> Array:
    """Fraction of the light that passes through all layers."""
    depth = np.zeros_like(energies)
    for formula, areal_density in layers:
        for element, fraction in mass_fractions(formula).items():
            depth += areal_density * fraction * attenuation([element], energies)[0]
    return np.exp(-depth)


def efficiency(energies: Array, thickness: float) -> Array:
    """Fraction of the photons that the silicon absorbs."""
    stopped: Array = -np.expm1(-thickness * attenuation(["Si"], energies)[0])
    return stopped


def full_width(energies: Array, noise: float) -> Array:
    """Full width of a line at half maximum, from electronic noise and that of the number of pairs, Fano (1947) [eV]."""
    width: Array = np.sqrt(noise**2 + FULL_WIDTH**2 * FANO * PAIR * energies)
    return width


def escape_line() -> float:
    """Mean energy of silicon's K alpha lines, which is lost if such a photon escapes [eV]."""
    energy: float = xraydb.xray_line("Si", "Ka").energy
    return energy


def escaping(energies: Array) -> Array:
    """Fraction of the absorbed photons whose silicon K photon escapes through the face of the detector.

    Reed and Ware (1972), J. Phys. E 5, 582-587, for light at a right angle: the escaping part of the K photons from
    the depths at which the light is absorbed.
    """
    absorbing = attenuation(["Si"], energies)[0]
    own = attenuation(["Si"], np.array([escape_line()]))[0, 0]
    produced = xraydb.xray_edge("Si", "K").fyield * vacancies("Si", energies)["K"] / absorbing
    ratio = own / absorbing
    outwards: Array = produced / 2 * (1 - ratio * np.log1p(1 / ratio))
    return outwards


def response(energies: Array, widths: Array, detector: Detector) -> Array:
    """(energy, channel) probabilities that an absorbed photon is counted; their sums are 1, but less near the edges.

    widths  (energy,) standard deviation of the photons' energies before detection [eV]
    """
    variance = np.square(full_width(energies, detector.noise) / FULL_WIDTH) + np.square(widths)
    lost = escaping(energies)
    counted: Array = (1 - lost)[:, None] * _peaks(energies, np.sqrt(variance), detector)
    left = energies - escape_line()
    escaped = np.flatnonzero(lost)
    spread = np.square(full_width(left[escaped], detector.noise) / FULL_WIDTH) + np.square(widths[escaped])
    counted[escaped] += lost[escaped, None] * _peaks(left[escaped], np.sqrt(spread), detector)
    # Incomplete charge lowers an energy to any value between zero and itself.
    edges = np.clip(channel_edges(detector), 0, energies[:, None])
    lowered: Array = np.diff(edges, axis=1) / energies[:, None]
    counted *= 1 - detector.shelf
    counted += detector.shelf * lowered
    return counted


def channel_edges(detector: Detector) -> Array:
    """(channel + 1,) [eV]"""
    edges: Array = detector.offset + detector.gain * np.arange(detector.channels + 1, dtype=np.float64)
    return edges


def _peaks(centres: Array, deviations: Array, detector: Detector) -> Array:
    """(peak, channel) Gaussians of area one; only their neighbourhoods are computed."""
    half = int(np.ceil(REACH * deviations.max(initial=0) / detector.gain))
    first = np.floor((centres - detector.offset) / detector.gain).astype(int) - half
    channels = first[:, None] + np.arange(2 * half + 1)
    edges = detector.offset + detector.gain * (first[:, None] + np.arange(2 * half + 2))
    areas = np.diff(ndtr((edges - centres[:, None]) / deviations[:, None]), axis=1)
    peaks = np.zeros((len(centres), detector.channels))
    peak, place = np.nonzero((channels >= 0) & (channels < detector.channels))
    peaks[peak, channels[peak, place]] = areas[peak, place]
    return peaks


def piled_up(rates: Array, resolving_time: float, detector: Detector) -> Array:
    """Count rates with pile-up: photons that arrive too close together are counted as one with their total energy.

    rates           (sample, channel)  photons that arrive per time, by their energy [s-1]
    resolving_time  time within which two photons are not resolved [s]
    returns         (sample, channel)  [s-1]

    A fraction 1 - exp(-rate time) of the counts are sums of two photons; sums of three are neglected. Photons are
    conserved, a sum counting once for two, and so is energy, except for sums beyond the last channel.
    """
    total = rates.sum(axis=1, keepdims=True)
    double = -np.expm1(-total * resolving_time)
    share = rates / np.maximum(total, np.finfo(float).tiny)
    size = 2 * detector.channels
    sums = np.fft.irfft(np.square(np.fft.rfft(share, size)), size)[:, : detector.channels + 1]
    # Channels k and l have the energy of channel k + l and this much more.
    beyond = detector.offset / detector.gain + 0.5
    whole = int(np.floor(beyond))
    part = beyond - whole
    moved = (1 - part) * _shifted(sums, whole) + part * _shifted(sums, whole + 1)
    counts = total / (1 + double)
    # Rounding in the transform makes some zeros slightly negative.
    counted: Array = np.maximum(counts * ((1 - double) * share + double * moved[:, : detector.channels]), 0)
    return counted


def _shifted(values: Array, by: int) -> Array:
    """Values shifted by some channels, up or down; without wrapping around."""
    moved = np.zeros_like(values)
    if by >= 0:
        moved[:, by:] = values[:, : values.shape[1] - by]
    else:
        moved[:, :by] = values[:, -by:]
    return moved
