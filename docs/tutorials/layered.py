"""Deformation of layered ground by a small source of volume change, from the equations of
elasticity.

Run: python layered.py, which prints its errors where the answer is known.

The ground is horizontal elastic layers over a half-space, z downwards. Displacement and traction
around the axis of the source are sums over wavenumbers k (Hankel transforms):

    u_r = ∫ U J₁(kr) k dk,   u_z = ∫ W J₀(kr) k dk,   σ_zz = ∫ S J₀(kr) k dk,   σ_rz = ∫ T J₁(kr) k
        dk

In each layer the equations of equilibrium leave four solutions for U, W, S and T: two decay
downwards and two upwards. Each is scaled at the boundary from which it decays, so that no
exponential grows, however thick a layer is. What must hold at all boundaries is one linear system.
A product of layer matrices would lose its digits in thick layers.

Thomson (1950), J. Appl. Phys. 21, 89-93, on layers; Wang, Lorenzo Martín and Roth (2003), Comput.
Geosci. 29, 195-207, on static deformation and its numerical stability.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import j0, j1

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """An elastic layer: thickness [m], infinite for the half-space, and Lamé's λ and μ (the shear
    modulus) [Pa].
    """

    thickness: float
    lame: float
    shear_modulus: float

    @classmethod
    def of_velocities(
        cls, thickness: float, p_velocity: float, s_velocity: float, density: float
    ) -> "Layer":
        """From the velocities of seismic waves [m/s] and the density [kg/m³]."""
        shear_modulus = density * s_velocity**2
        return cls(thickness, density * p_velocity**2 - 2 * shear_modulus, shear_modulus)


GROUND = (
    Layer.of_velocities(1000, 2200, 1100, 2100),
    Layer.of_velocities(1000, 3600, 2000, 2400),
    Layer.of_velocities(np.inf, 5800, 3350, 2700),
)
"""A volcano for examples: tuff over lava over basement."""


def displacement(
    layers: Sequence[Layer], depth: float, volume_change: float, east: Array, north: Array
) -> Array:
    """Displacement of the surface, east, north and up, (…, 3) [m].

    layers         from the surface down, the last one the half-space
    depth          of the source [m]; it is much smaller than its distances to the surface and to
                   boundaries of layers
    volume_change  of the source [m³]
    east, north    (…) from the source [m]
    Raises ValueError for layers, or a depth, that cannot be.
    """
    distance = np.hypot(east, north)
    radii = np.linspace(0, distance.max() + 1, int(30 * distance.max() / depth) + 50)
    outward, up = CubicSpline(radii, profile(layers, depth, volume_change, radii), axis=1)(distance)
    return np.stack(
        [
            outward * east / np.maximum(distance, 1e-9),
            outward * north / np.maximum(distance, 1e-9),
            up,
        ],
        -1,
    )


LARGEST = 35.0
"""Wavenumber times depth at which sums end: of shorter waves the surface sees less than exp(-35) =
6e-16.
"""

NODES, PHASE = 16, 10.0
"""Gauss-Legendre nodes of each part of a sum, in which phases of Bessel functions grow by so much
[rad].
"""


def profile(layers: Sequence[Layer], depth: float, volume_change: float, distance: Array) -> Array:
    """Outward and upward displacement, (2, place) [m], at distances from the axis, (place,) [m]."""
    if not 0 < depth < np.inf:
        raise ValueError(f"depth must be positive, in metres downwards, but is {depth:g}")
    if [np.isinf(layer.thickness) for layer in layers] != [False] * (len(layers) - 1) + [True]:
        raise ValueError(
            "the last layer must be the half-space, and the only one of infinite thickness"
        )
    if not all(
        min(of.thickness, of.shear_modulus, of.lame + 2 / 3 * of.shear_modulus) > 0 for of in layers
    ):
        raise ValueError(
            "thickness, shear modulus and bulk modulus of every layer must be positive"
        )
    lowest = sum(layer.thickness for layer in layers[:-1])
    parts = int(np.ceil(LARGEST / depth * (distance.max() + lowest + depth) / PHASE))
    node, weight = np.polynomial.legendre.leggauss(NODES)
    width = LARGEST / depth / parts
    wavenumber = (width * (np.arange(parts)[:, None] + (node + 1) / 2)).ravel()
    outward, down = (
        transforms(layers, depth, wavenumber) * np.tile(width * weight / 2, parts) * wavenumber
    )
    phase = np.multiply.outer(distance, wavenumber)
    return volume_change * np.stack([j1(phase) @ outward, -(j0(phase) @ down)])


def transforms(layers: Sequence[Layer], depth: float, wavenumber: Array) -> Array:
    """U and W of the surface for a volume change of 1 m³, (2, wavenumber).

    The source is a boundary, too, at which U and S are continuous, and W and T jump as they do in
    an infinite body, where u = position / (4π · distance³). A source at a boundary belongs to the
    layer above.
    """
    tops = np.cumsum([0.0, *(layer.thickness for layer in layers)])
    source = int(np.searchsorted(tops, depth)) - 1
    above, below = (
        replace(layers[source], thickness=of)
        for of in (depth - tops[source], tops[source + 1] - depth)
    )
    cut, unit = [*layers[:source], above, below, *layers[source + 1 :]], above.shear_modulus
    rows = 4 * len(cut)
    system, known = np.zeros((len(wavenumber), rows + 4, rows)), np.zeros(rows)
    for first, layer in zip(range(0, rows, 4), cut, strict=True):
        here, under = slice(first, first + 4), slice(first + 4, first + 8)
        bottom = layer.thickness if layer is not cut[-1] else 0.0
        system[:, here, here] = _solutions(layer, wavenumber, 0.0, bottom, unit)
        system[:, under, here] = -_solutions(layer, wavenumber, bottom, 0.0, unit)
    known[4 * source + 4 : 4 * source + 8] = np.array([0.0, 2.0, 0.0, -4.0]) / (4 * np.pi)
    # Rows 2 and 3: no traction at the surface. In the half-space nothing decays upwards, nor has it
    # a bottom.
    found = np.linalg.solve(system[:, 2:rows, :-2], known[2:, None])
    return (system[:, :2, :-2] @ found)[:, :, 0].T


def _solutions(
    layer: Layer, wavenumber: Array, from_top: float, from_bottom: float, unit: float
) -> Array:
    """U, W, S/(unit · k) and T/(unit · k) of the four solutions at distances [m], (wavenumber, 4,
    solution).

    Those that decay downwards have U and W of (1, 1) exp(-a) and (a, a + κ) exp(-a), a = k ·
    distance from the top and κ = (λ + 3μ) / (λ + μ). Those that decay upwards are their mirror
    images, in which W and T have the other sign.
    """
    ratio = (layer.lame + 3 * layer.shear_modulus) / (layer.lame + layer.shear_modulus)
    stiffness, solutions = layer.shear_modulus / unit, []
    for distance, sign in ((from_top, 1.0), (from_bottom, -1.0)):
        a, one = wavenumber * distance, np.ones_like(wavenumber)
        first = [one, sign * one, -2 * stiffness * one, -2 * sign * stiffness * one]
        second = [
            a,
            sign * (a + ratio),
            -stiffness * (2 * a + ratio + 1),
            -sign * stiffness * (2 * a + ratio - 1),
        ]
        solutions += [np.exp(-a) * first, np.exp(-a) * second]
    return np.array(solutions).transpose(2, 1, 0)


def uplifted_volume(layers: Sequence[Layer], depth: float) -> float:
    """Volume by which the surface rises, by that of the source: 2π times its transform at k = 0."""
    return -2 * np.pi * float(transforms(layers, depth, np.array([1e-9 / depth]))[1, 0])


def main() -> None:
    """Print errors where the answer is known."""
    import torch

    from qexp.extend import mogi

    rock, east = Layer(np.inf, 30e9, 30e9), np.linspace(-10e3, 10e3, 101)
    cut = [replace(rock, thickness=1000.0), replace(rock, thickness=2000.0), rock]
    print("largest error of the displacement, as a part of the largest displacement")
    for depth in (500.0, 2000.0, 8000.0):
        sources = torch.tensor([[0.0, 0.0, depth, 1e6]], dtype=torch.float64)
        exact = mogi(sources, torch.from_numpy(np.stack([east, east / 3], -1)))[0].numpy()
        found = (displacement(layers, depth, 1e6, east, east / 3) for layers in ([rock], cut))
        errors = (abs(each - exact).max() / abs(exact).max() for each in found)
        print(
            "source at {:g} km: {:.0e} in a half-space, {:.0e} in equal layers".format(
                depth / 1000, *errors
            )
        )
    print("error of the uplifted volume in layers, by Betti's theorem")
    for depth, layer in zip((500.0, 1500.0, 4000.0), GROUND, strict=True):
        volume = 1 + layer.shear_modulus / (GROUND[-1].lame + GROUND[-1].shear_modulus)
        print(
            f"source at {depth / 1000:g} km: {abs(uplifted_volume(GROUND, depth) / volume - 1):.0e}"
        )


if __name__ == "__main__":
    main()
