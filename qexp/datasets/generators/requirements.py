"""What sources must be, beyond the limits of their single variables: below the surface, and longer than wide."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.generators.deformation import Requirement
from qexp.forward.crack import LEAST_DEPTH
from qexp.forward.ellipsoid import LONGEST

Array = NDArray[np.float64]
Values = Mapping[str, Array]

MARGIN = 1e-5
"""The part of its depth by which the top of a source must be below the surface: samples are in single precision."""


def below_surface(words: str, half_height: Callable[[Values], Array]) -> Requirement:
    """The highest point of the source, so far above its centre [m], must be below the surface.

    words  the height as a formula of the variables
    """
    return Requirement(
        f"lie below the surface: depth > {words}",
        lambda values: values["depth"] * (1 - MARGIN) > half_height(values),
    )


def of_sphere(values: Values) -> Array:
    return values["radius"]


def of_rectangle(values: Values) -> Array:
    height: Array = values["width"] / 2 * np.abs(np.sin(values["dip"]))
    return height


def of_spheroid(values: Values) -> Array:
    along, across = values["semi_major"] * np.sin(values["plunge"]), values["semi_minor"] * np.cos(values["plunge"])
    return np.hypot(along, across)


def of_crossed_rectangles(values: Values) -> Array:
    """The highest corner of three rectangles, each of which spans two of the axes after the rotation Rz Ry Rx."""
    omega_x, omega_y = values["omega_x"], values["omega_y"]
    upwards = (np.sin(omega_y), np.cos(omega_y) * np.sin(omega_x), np.cos(omega_y) * np.cos(omega_x))
    semi_axes = (values["a_x"], values["a_y"], values["a_z"])
    reach = np.stack(np.broadcast_arrays(*(one * np.abs(up) for one, up in zip(semi_axes, upwards, strict=True))))
    height: Array = reach.sum(0) - reach.min(0)
    return height


PROLATE = Requirement("have semi_major ≥ semi_minor", lambda values: values["semi_major"] >= values["semi_minor"])

NOT_TOO_SLENDER = Requirement(
    f"have semi_major ≤ {LONGEST} semi_minor", lambda values: values["semi_major"] <= LONGEST * values["semi_minor"]
)

NOT_TOO_WIDE = Requirement(
    f"have a radius of at most {1 / LEAST_DEPTH:g} depths",
    lambda values: values["depth"] * (1 - MARGIN) > LEAST_DEPTH * values["radius"],
)
