"""Okada's (1985) formulas as one would write them with numpy, one source at a time.

The control that `okada` is timed against. As in the codes that are in use, a dip within 1e-6 of the
vertical takes the formulas for cos(dip) = 0, others divide by the cosine and lose digits near it;
nothing is done about singular points.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NO_COSINE = 1e-6


def plain_okada(
    east: Array,
    north: Array,
    depth: float,
    length: float,
    width: float,
    strike: float,
    dip: float,
    *slips: float,
    poisson_ratio: float = 0.25,
) -> tuple[Array, Array, Array]:
    """Displacement east, north, up [m] at points relative to the centre [m]; strike slip, dip slip,
    opening [m].
    """
    cosine, sine = np.cos(dip), np.sin(dip)
    # Okada's x is along strike, y to the left of it, and his origin is above the lower corner.
    x = north * np.cos(strike) + east * np.sin(strike) + length / 2
    y = north * np.sin(strike) - east * np.cos(strike) + cosine * width / 2
    d = depth + sine * width / 2
    p, q = y * cosine + d * sine, y * sine - d * cosine
    total = [np.zeros_like(x) for _ in range(3)]
    for function, slip, sign in zip((_strike, _dip, _tensile), slips, (-1, -1, 1), strict=True):
        parts = _chinnery(function, x, p, length, width, q, dip, 1 - 2 * poisson_ratio)
        for component, part in zip(total, parts, strict=True):
            component += sign * slip / (2 * np.pi) * part
    along, leftward, up = total
    return (
        along * np.sin(strike) - leftward * np.cos(strike),
        along * np.cos(strike) + leftward * np.sin(strike),
        up,
    )


def _chinnery(
    function: Callable[..., tuple[Array, Array, Array]],
    x: Array,
    p: Array,
    length: float,
    width: float,
    q: Array,
    dip: float,
    alpha: float,
) -> list[Array]:
    corners = [
        function(xi, eta, q, dip, alpha)
        for xi, eta in ((x, p), (x, p - width), (x - length, p), (x - length, p - width))
    ]
    return [a - b - c + d for a, b, c, d in zip(*corners, strict=True)]


def _strike(
    xi: Array, eta: Array, q: Array, dip: float, alpha: float
) -> tuple[Array, Array, Array]:
    cosine, sine = np.cos(dip), np.sin(dip)
    y, d, r = eta * cosine + q * sine, eta * sine - q * cosine, np.sqrt(xi**2 + eta**2 + q**2)
    i1, i2, _, i4, _ = _integrals(xi, eta, q, dip, alpha)
    return (
        xi * q / (r * (r + eta)) + np.arctan(xi * eta / (q * r)) + i1 * sine,
        y * q / (r * (r + eta)) + q * cosine / (r + eta) + i2 * sine,
        d * q / (r * (r + eta)) + q * sine / (r + eta) + i4 * sine,
    )


def _dip(xi: Array, eta: Array, q: Array, dip: float, alpha: float) -> tuple[Array, Array, Array]:
    cosine, sine = np.cos(dip), np.sin(dip)
    y, d, r = eta * cosine + q * sine, eta * sine - q * cosine, np.sqrt(xi**2 + eta**2 + q**2)
    i1, _, i3, _, i5 = _integrals(xi, eta, q, dip, alpha)
    angle = np.arctan(xi * eta / (q * r))
    return (
        q / r - i3 * sine * cosine,
        y * q / (r * (r + xi)) + cosine * angle - i1 * sine * cosine,
        d * q / (r * (r + xi)) + sine * angle - i5 * sine * cosine,
    )


def _tensile(
    xi: Array, eta: Array, q: Array, dip: float, alpha: float
) -> tuple[Array, Array, Array]:
    cosine, sine = np.cos(dip), np.sin(dip)
    y, d, r = eta * cosine + q * sine, eta * sine - q * cosine, np.sqrt(xi**2 + eta**2 + q**2)
    i1, _, i3, _, i5 = _integrals(xi, eta, q, dip, alpha)
    rest = xi * q / (r * (r + eta)) - np.arctan(xi * eta / (q * r))
    return (
        q**2 / (r * (r + eta)) - i3 * sine**2,
        -d * q / (r * (r + xi)) - sine * rest - i1 * sine**2,
        y * q / (r * (r + xi)) + cosine * rest - i5 * sine**2,
    )


def _integrals(
    xi: Array, eta: Array, q: Array, dip: float, alpha: float
) -> tuple[Array, Array, Array, Array, Array]:
    cosine, sine = np.cos(dip), np.sin(dip)
    y, d = eta * cosine + q * sine, eta * sine - q * cosine
    r, x = np.sqrt(xi**2 + eta**2 + q**2), np.sqrt(xi**2 + q**2)
    if abs(cosine) > NO_COSINE:
        i5 = (
            alpha
            * 2
            / cosine
            * np.arctan((eta * (x + q * cosine) + x * (r + x) * sine) / (xi * (r + x) * cosine))
        )
        i4 = alpha / cosine * (np.log(r + d) - sine * np.log(r + eta))
        i3 = alpha * (y / (cosine * (r + d)) - np.log(r + eta)) + sine / cosine * i4
        i1 = alpha * (-xi / (cosine * (r + d))) - sine / cosine * i5
    else:
        i5 = -alpha * xi * sine / (r + d)
        i4 = -alpha * q / (r + d)
        i3 = alpha / 2 * (eta / (r + d) + y * q / (r + d) ** 2 - np.log(r + eta))
        i1 = -alpha / 2 * xi * q / (r + d) ** 2
    i2 = alpha * -np.log(r + eta) - i3
    return i1, i2, i3, i4, i5
