"""The deformation of layered ground by a small source, computed from the equations of elasticity.

Run: python layered.py, which prints its errors where the answer is known.

Ground of horizontal elastic layers over a half-space, z downwards. Displacement and traction of an axisymmetric source
are sums over wavenumbers k (Hankel transforms):

    u_r = ∫ U J₁(kr) k dk,   u_z = ∫ W J₀(kr) k dk,   σ_zz = ∫ S J₀(kr) k dk,   σ_rz = ∫ T J₁(kr) k dk

In each layer the equations of equilibrium leave four solutions for U, W, S and T. Two of them decay downwards, two
upwards, and each is scaled to 1 at the boundary from which it decays. So no exponential grows, however thick a layer is,
and one linear system for the conditions at all boundaries is stable where products of layer matrices lose all digits.

Thomson (1950), J. Appl. Phys. 21, 89-93, on layers; Wang, Lorenzo Martín and Roth (2003), Comput. Geosci. 29, 195-207,
on static deformation and its numerical stability.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import j0, j1

Array = NDArray[np.float64]

LARGEST = 35.0
"""Wavenumber times depth at which sums end: the surface hardly sees what is shorter, exp(-35) = 6e-16."""

NODES, PHASE = 16, 10.0
"""Gauss-Legendre nodes of a part of the sum, over which the phase of Bessel functions grows by so much [rad]."""


@dataclass(frozen=True)
class Layer:
    """An elastic layer; `thickness` of the last one, the half-space, is infinite.

    thickness      [m]
    shear_modulus  [Pa], Lamé's μ
    lame           [Pa], Lamé's λ
    """

    thickness: float
    shear_modulus: float
    lame: float

    @classmethod
    def of_velocities(cls, thickness: float, p_velocity: float, s_velocity: float, density: float) -> "Layer":
        """From the velocities of seismic waves [m/s] and the density [kg/m³]."""
        shear_modulus = density * s_velocity**2
        return cls(thickness, shear_modulus, density * p_velocity**2 - 2 * shear_modulus)


def displacement(
    layers: Sequence[Layer], depth: float, volume_change: float, distance: Array
) -> tuple[Array, Array]:
    """Outward and upward displacement of the surface by a small sphere whose volume changes [m].

    layers         from the surface down; at least the half-space
    depth          of the source [m]; its radius, and its distance from boundaries, should be as for `mogi`: r << depth
    volume_change  [m³]
    distance       (place,) from the axis [m]
    Raises ValueError for layers, or a depth, that cannot be.
    """
    if not (depth > 0 and np.isfinite(depth)):
        raise ValueError(f"depth must be positive, in metres downwards, but is {depth:g}")
    _require_possible(layers)
    lowest = sum(layer.thickness for layer in layers[:-1])
    parts = int(np.ceil(LARGEST / depth * (np.max(distance) + lowest + depth) / PHASE))
    node, weight = np.polynomial.legendre.leggauss(NODES)
    width = LARGEST / depth / parts
    wavenumber = (width * (np.arange(parts)[:, None] + (node + 1) / 2)).ravel()
    weight = np.tile(width * weight / 2, parts) * wavenumber * volume_change
    outward, downward = _surface(layers, depth, wavenumber)
    phase = np.multiply.outer(distance, wavenumber)
    return j1(phase) @ (weight * outward), -(j0(phase) @ (weight * downward))


def uplifted_volume(layers: Sequence[Layer], depth: float) -> float:
    """The volume between the surface before and after, by the volume change: 2π times the transform at k = 0."""
    return -2 * np.pi * float(_surface(layers, depth, np.array([1e-9 / depth]))[1][0])


def _require_possible(layers: Sequence[Layer]) -> None:
    if not layers or np.isfinite(layers[-1].thickness):
        raise ValueError("the last layer must be the half-space, of infinite thickness")
    for number, layer in enumerate(layers, 1):
        if not layer.thickness >= 0 or (np.isinf(layer.thickness) and number < len(layers)):
            raise ValueError(f"layer {number}: thickness must be a length, but is {layer.thickness:g}")
        if not (layer.shear_modulus > 0 and layer.lame > -2 / 3 * layer.shear_modulus):
            raise ValueError(f"layer {number}: neither shear nor bulk modulus may be zero or negative")


def _surface(layers: Sequence[Layer], depth: float, wavenumber: Array) -> tuple[Array, Array]:
    """U and W at the surface for a volume change of 1 m³, (wavenumber,) each.

    The source is a boundary, too, at which U and S are continuous, and W and T jump as in an infinite body, where
    u = ΔV/(4π) · position / distance³.
    """
    cut, source = _cut_at(layers, depth)
    unit = cut[source].shear_modulus
    unknowns = 4 * len(cut) - 2  # only the two that decay downwards in the half-space
    system = np.zeros((len(wavenumber), unknowns, unknowns))
    known = np.zeros((len(wavenumber), unknowns))
    system[:, :2, :4] = _solutions(cut[0], wavenumber, 0.0, unit)[:, 2:, : unknowns if len(cut) == 1 else 4]
    for number, (above, below) in enumerate(zip(cut, cut[1:], strict=False)):
        rows, first = slice(4 * number + 2, 4 * number + 6), 4 * number
        last = min(first + 8, unknowns)
        system[:, rows, first : first + 4] = -_solutions(above, wavenumber, above.thickness, unit)
        system[:, rows, first + 4 : last] = _solutions(below, wavenumber, 0.0, unit)[:, :, : last - first - 4]
        if number == source:
            known[:, rows] = np.array([0.0, 2.0, 0.0, -4.0]) / (4 * np.pi)
    found = np.linalg.solve(system, known[..., None])
    moved = _solutions(cut[0], wavenumber, 0.0, unit)[:, :2] @ found[:, :4]
    return moved[:, 0, 0], moved[:, 1, 0]


def _cut_at(layers: Sequence[Layer], depth: float) -> tuple[list[Layer], int]:
    """The layers with that of the source cut in two at its depth, and the number of its upper part."""
    bottoms = np.cumsum([layer.thickness for layer in layers])
    number = int(np.searchsorted(bottoms, depth))
    layer = layers[number]
    below = bottoms[number] - depth
    upper = Layer(depth - (bottoms[number - 1] if number else 0.0), layer.shear_modulus, layer.lame)
    lower = Layer(below, layer.shear_modulus, layer.lame)
    return [*layers[:number], upper, lower, *layers[number + 1 :]], number


def _solutions(layer: Layer, wavenumber: Array, below_top: float, unit: float) -> Array:
    """U, W, S/(unit · k) and T/(unit · k) of the four solutions, (wavenumber, 4, solution), so far below its top [m].

    With a = k times the distance from the top, those that decay downwards are exp(-a) times (1, 1) and (a, a + κ) for U
    and W, where κ = (λ + 3μ) / (λ + μ). Those that decay upwards are their mirror images: W and T change their sign.
    """
    ratio, stiffness = (layer.lame + 3 * layer.shear_modulus) / (layer.lame + layer.shear_modulus), layer.shear_modulus / unit
    pairs = []
    for distance, mirror in ((below_top, 1.0), (layer.thickness - below_top, -1.0)):
        a = wavenumber * distance
        one, decay = np.ones_like(a), np.exp(-a)[:, None]
        first = np.stack([one, mirror * one, -2 * stiffness * one, -2 * mirror * stiffness * one], axis=1)
        second = np.stack(
            [a, mirror * (a + ratio), -stiffness * (1 + ratio + 2 * a), -mirror * stiffness * (ratio - 1 + 2 * a)], axis=1
        )
        pairs += [first * decay, second * decay] if np.isfinite(distance) else [0 * first, 0 * first]
    return np.stack(pairs, axis=2)


def main() -> None:
    """Print errors where the answer is known."""
    import torch

    from qexp.extend import mogi

    rock, tuff = Layer(np.inf, 30e9, 30e9), Layer(1500.0, 4e9, 5e9)
    distance = np.linspace(0, 20e3, 101)
    print("largest error of the surface's displacement, as a part of the largest displacement")
    for depth in (500.0, 2000.0, 8000.0):
        places = torch.from_numpy(np.stack([distance, 0 * distance], axis=1))
        exact = mogi(torch.tensor([[0.0, 0.0, depth, 1e6]], dtype=torch.float64), places)[0].numpy()[:, [0, 2]].T
        found = displacement([rock], depth, 1e6, distance)
        cut = displacement([Layer(1000.0, 30e9, 30e9), Layer(2000.0, 30e9, 30e9), rock], depth, 1e6, distance)
        errors = (np.abs(np.array(each) - exact).max() / exact.max() for each in (found, cut))
        print("  source at {:g} km: {:.1e} in one half-space, {:.1e} in equal layers".format(depth / 1000, *errors))
    print("uplifted volume of layered ground, by that of Betti's theorem")
    for depth, layer in ((500.0, tuff), (3000.0, rock)):
        exact_volume = 1 + layer.shear_modulus / (rock.lame + rock.shear_modulus)
        print(f"  source at {depth / 1000:g} km: {uplifted_volume([tuff, rock], depth) / exact_volume - 1:.1e} too much")


if __name__ == "__main__":
    main()
