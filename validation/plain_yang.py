"""A spheroid after Yang and others (1988) as one would write it with numpy: one source, the closed
form on the surface.

The control that `yang` is timed against. As in the codes that are in use, the closed form divides
by the cosine of the plunge, by its sine, and by the third power of the distance between the foci:
it is neither for vertical nor for horizontal spheroids, nor for spheres, and it loses digits near
them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def moments(semi_major: float, semi_minor: float, poisson_ratio: float) -> tuple[float, float]:
    """Moment density of a cavity under pressure 1 (Eshelby 1957): what the axis has more, and what
    all have.
    """
    a, b, nu = semi_major, semi_minor, poisson_ratio
    c = np.sqrt(a**2 - b**2)
    logarithm = np.log((a - c) / (a + c))
    single = -2 * np.pi * a * b**2 * (2 / (a * c**2) + logarithm / c**3)
    double = -2 * np.pi * a * b**2 * (2 / (3 * a**3 * c**2) + 2 / (a * c**4) + logarithm / c**5)
    q, r = 3 / (8 * np.pi * (1 - nu)), (1 - 2 * nu) / (8 * np.pi * (1 - nu))
    system = [
        [2 * r * (4 * np.pi - single), 2 * r * (single + 4 * np.pi)],
        [1 - q * a**2 * double - r * single, q * a**2 * double + single * (2 * r - q)],
    ]
    lame = 2 * nu / (1 - 2 * nu)
    along, across = np.linalg.solve(system, [3 / (3 * lame + 2), 1 / (3 * lame + 2)])
    return 2 * (along - across), lame * along + 2 * (lame + 1) * across


def plain_yang(
    east: Array,
    north: Array,
    depth: float,
    semi_major: float,
    semi_minor: float,
    strike: float,
    plunge: float,
    pressure_over_mu: float,
    poisson_ratio: float = 0.25,
) -> tuple[Array, Array, Array]:
    """Displacement east, north, up [m] at points relative to the centre [m]; strike and plunge as
    for `yang`.
    """
    nu, b = poisson_ratio, semi_minor
    c = np.sqrt(semi_major**2 - b**2)
    directed, isotropic = moments(semi_major, b, nu)
    a1 = -2 * b**2 * directed
    b1 = 3 * b**2 / c**2 * directed + 2 * (1 - 2 * nu) * isotropic
    x = east * np.cos(strike) - north * np.sin(strike)
    y = east * np.sin(strike) + north * np.cos(strike)
    upper = _primitive(x, y, depth, c, plunge, nu, a1, b1, directed)
    lower = _primitive(x, y, depth, -c, plunge, nu, a1, b1, directed)
    factor = pressure_over_mu * semi_major * b**2 / c**3 / (16 * (1 - nu))
    across, along, down = (factor * (high - low) for low, high in zip(lower, upper, strict=True))
    return (
        across * np.cos(strike) + along * np.sin(strike),
        along * np.cos(strike) - across * np.sin(strike),
        -down,
    )


def _primitive(
    x: Array,
    y: Array,
    depth: float,
    xi: float,
    plunge: float,
    nu: float,
    a1: float,
    b1: float,
    directed: float,
) -> tuple[Array, Array, Array]:
    """The integral along the axis up to the point xi, on the surface."""
    sine, cosine = np.sin(plunge), np.cos(plunge)
    m = 3 - 4 * nu
    y2, z2 = y - xi * cosine, depth + xi * sine
    r = np.sqrt(x**2 + y2**2 + z2**2)
    r2, r3 = y * sine + depth * cosine, y * cosine - depth * sine
    near, image = r + r3 - xi, r - r3 + xi
    log_near, log_image, log_depth = np.log(near), np.log(image), np.log(r + z2)
    angle = np.arctan((cosine * r2 + (1 + sine) * image) / (cosine * x))
    star = a1 / (r * near) + b1 * (log_near + (r3 + xi) / near)
    star_image = -a1 / (r * image) - b1 * (log_image + (-r3 - xi) / image)
    first, first_image = xi / r + log_near, xi / r - log_image
    second, second_image = r - r3 * log_near, r + r3 * log_image
    third, third_image = xi * (r3 - xi) / r + r, xi * (xi - r3) / r - r
    both = a1 / r + 2 * b1 * second + m * (a1 / r + 2 * b1 * second_image)
    reach = depth / sine
    rising = xi * (xi + reach) / r - second_image - reach * log_image
    f1 = (
        xi * x / (r + z2)
        + 3 / cosine**2 * (x * log_depth * sine - x * log_image + 2 * r2 * angle)
        + 2 * x * log_image
        - 4 * depth * angle / cosine
    )
    f2 = (
        xi * y2 / (r + z2)
        + 3
        / cosine**2
        * (r2 * log_image * sine - r2 * log_depth + 2 * x * angle * sine + cosine * (r - z2))
        - 2 * cosine * second_image
        + 2 / cosine * (depth * log_depth + r3 * log_image)
    )
    f3 = (
        (r2 * log_image - r2 * log_depth * sine + 2 * x * angle) / cosine
        + 2 * sine * second_image
        - r3 * log_depth
        - xi
    )
    k = 4 * (1 - nu) * (1 - 2 * nu)
    across = (star + m * star_image) * x + 2 * directed * ((first + m * first_image) * x - k * f1)
    along = sine * (star + m * star_image) * r2 + cosine * both
    along += (
        2
        * directed
        * (
            sine * (first + m * first_image) * r2
            - k * f2
            + 4 * (1 - nu) * cosine * (second + second_image)
            + cosine * (third - m * third_image)
        )
    )
    down = -cosine * (star + m * star_image) * r2 + sine * both
    down += (
        2
        * directed
        * (
            cosine * (m * first_image - first) * r2
            + k * f3
            + 4 * (1 - nu) * sine * (second + second_image)
            + sine * (third + m * third_image - 2 * m * rising)
        )
    )
    return across, along, down
