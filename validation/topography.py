"""The varying-depth correction against a finite-element solution: a point source under a cone.

Run: python -m validation.topography [--figure FILE]

The reference is the sum of the exact solution in an infinite body, u = ΔV/(4π) r/R³, and of the
smooth field by which the free surface changes it. That field is computed with axisymmetric finite
elements of second order, loaded by the opposite of the exact solution's traction on the slopes; no
cavity needs a mesh. On the far boundaries it has the values of a flat half-space. Over flat ground
the same mesh gives the error of the reference itself. Layers that are stiffer or softer than the
source's are loaded by what that adds to the stress of the exact solution.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

from qexp.figures.canvas import COLOURS, add_title, folded, legend_below
from qexp.figures.writing import save
from qexp.physics.geometry import over_topography
from qexp.physics.point import mogi

Array = NDArray[np.float64]

POISSON_RATIO = 0.25
VOLUME_CHANGE = 1e6
"""[m3]"""

FAR = 240_000.0
"""Distance of the far boundaries [m]."""


@dataclass(frozen=True)
class Cone:
    """A cone on a plain; lengths in m."""

    radius: float
    height: float

    def elevation(self, distance: Array) -> Array:
        return np.maximum(0.0, self.height * (1 - distance / self.radius))

    def fall(self, distance: Array) -> Array:
        """Slope of the ground: minus the derivative of the elevation."""
        return np.where(distance < self.radius, self.height / self.radius, 0.0)

    @property
    def degrees(self) -> float:
        return float(np.degrees(np.arctan2(self.height, self.radius)))


Layers = Sequence[tuple[float, float]]
"""Depth [m] from which on the shear modulus has a value, and this value by that of the source, from
the top down.
"""


def reference(
    cone: Cone, depth: float, across: int = 80, down: int = 44, layers: Layers = ()
) -> tuple[Array, Array, Array]:
    """Distance from the axis [m], outward and upward displacement [m] of the surface, at the nodes
    of the mesh.

    depth         of the source below the plain [m]
    across, down  number of elements
    layers        below flat ground, all of one Poisson's ratio
    """
    distance, height = _mesh(cone, depth, across, down)
    for top, _ in layers[1:]:  # boundaries of layers are those of elements
        row = 2 * int(np.abs(height[0, ::2] + top).argmin())
        height[:, row] = -top
        height[:, row - 1], height[:, row + 1] = (
            (height[:, row + side] - top) / 2 for side in (-2, 2)
        )
    stiffness, load = _assembled(cone, depth, distance, height, layers)
    field = _solved(stiffness, load, depth, distance, height)
    at, level = distance[:, 0], height[:, 0]
    outward, up = _infinite_body(at, level + depth)
    return at, outward + field[:, 0, 0], up + field[:, 0, 1]


def corrected(cone: Cone, depth: float, distance: Array) -> tuple[Array, Array]:
    """Outward and upward displacement of the surface [m], by the varying-depth correction."""
    source = torch.tensor([[0.0, 0.0, depth, VOLUME_CHANGE]], dtype=torch.float64)
    stations = torch.from_numpy(np.stack([distance, np.zeros_like(distance)], -1))
    moved = over_topography(mogi, source, stations, torch.from_numpy(cone.elevation(distance)))[
        0
    ].numpy()
    return moved[:, 0], moved[:, 2]


def flat(depth: float, distance: Array) -> tuple[Array, Array]:
    """Outward and upward displacement of a flat surface [m], `depth` above the source."""
    return corrected(Cone(1.0, 0.0), depth, distance)


def _mesh(cone: Cone, depth: float, across: int, down: int) -> tuple[Array, Array]:
    """Distance from the axis and height of the nodes, (2 across + 1, 2 down + 1); columns begin at
    the ground.
    """
    scale = depth + cone.height
    inside = int(across * 0.5)
    near = np.linspace(0, cone.radius, inside + 1)
    step, count = cone.radius / inside, across - inside
    growth = _growth((FAR - cone.radius) / step, count)
    far = cone.radius + step * np.cumsum(growth ** np.arange(1, count + 1)) / growth
    edges = np.concatenate(
        [near, cone.radius + (far - cone.radius) * (FAR - cone.radius) / (far[-1] - cone.radius)]
    )
    step = scale / 25
    growth = _growth(FAR / step, down)
    layers = np.concatenate([[0.0], np.cumsum(growth ** np.arange(down))])
    layers *= FAR / layers[-1]
    radial, vertical = _with_middles(edges), _with_middles(layers)
    ground = cone.elevation(radial)
    # The columns follow the ground, less and less the deeper they are.
    return (
        np.repeat(radial[:, None], len(vertical), 1),
        ground[:, None] * (1 - vertical / FAR) - vertical,
    )


def _growth(total: float, count: int) -> float:
    """The ratio of a geometric series of `count` terms from 1 whose sum is `total`."""
    low, high = 1.0 + 1e-9, 3.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if (middle**count - 1) / (middle - 1) < total else (low, middle)
    return low


def _with_middles(edges: Array) -> Array:
    return np.sort(np.concatenate([edges, (edges[1:] + edges[:-1]) / 2]))


GAUSS = np.array([-np.sqrt(0.6), 0.0, np.sqrt(0.6)]), np.array([5.0, 8.0, 5.0]) / 9


def _shapes(at: float) -> tuple[Array, Array]:
    """The three quadratic shape functions on -1 … 1, and their derivatives."""
    return np.array([at * (at - 1) / 2, 1 - at**2, at * (at + 1) / 2]), np.array(
        [at - 0.5, -2 * at, at + 0.5]
    )


def _assembled(
    cone: Cone, depth: float, distance: Array, height: Array, layers: Layers
) -> tuple[coo_matrix, Array]:
    """Stiffness for a shear modulus of 1 at the source, and the load; unknowns (radial node,
    vertical node, 2).
    """
    columns, rows = distance.shape
    number = np.arange(columns * rows).reshape(columns, rows)
    lame = 2 * POISSON_RATIO / (1 - 2 * POISSON_RATIO)
    elements = _elements(number)
    nodes_r, nodes_z = distance.ravel()[elements], height.ravel()[elements]
    stiffness, added = np.zeros((len(elements), 18, 18)), np.zeros((len(elements), 18))
    modulus = np.ones(len(elements))
    for top, value in layers:
        modulus[nodes_z.mean(axis=1) < -top] = value
    for x, weight_x in zip(*GAUSS, strict=True):
        for y, weight_y in zip(*GAUSS, strict=True):
            (shape_x, slope_x), (shape_y, slope_y) = _shapes(x), _shapes(y)
            shape = np.outer(shape_x, shape_y).ravel()
            local = np.stack(
                [np.outer(slope_x, shape_y).ravel(), np.outer(shape_x, slope_y).ravel()]
            )
            jacobian = np.stack(
                [nodes_r @ local.T, nodes_z @ local.T], -1
            )  # (element, local, global)
            gradient = np.linalg.solve(
                jacobian, np.broadcast_to(local, (len(elements), *local.shape))
            )
            radius = nodes_r @ shape
            strain = np.zeros((len(elements), 4, 18))  # rr, zz, tt, and twice rz
            strain[:, 0, 0::2] = strain[:, 3, 1::2] = gradient[:, 0]
            strain[:, 1, 1::2] = strain[:, 3, 0::2] = gradient[:, 1]
            strain[:, 2, 0::2] = shape / radius[:, None]
            elastic = np.diag([2.0, 2.0, 2.0, 1.0])
            elastic[:3, :3] += lame
            volume = weight_x * weight_y * radius * np.abs(np.linalg.det(jacobian))
            stiffness += np.einsum(
                "e,eki,kl,elj->eij", volume * modulus, strain, elastic, strain, optimize=True
            )
            exact = _strain(radius, nodes_z @ shape + depth)
            added -= np.einsum(
                "e,eki,kl,el->ei", volume * (modulus - 1), strain, elastic, exact, optimize=True
            )
    unknowns = (2 * elements[:, :, None] + [0, 1]).reshape(len(elements), 18)
    size = 2 * number.size
    matrix = coo_matrix(
        (
            stiffness.ravel(),
            (np.repeat(unknowns, 18, 1).ravel(), np.tile(unknowns, (1, 18)).ravel()),
        ),
        (size, size),
    )
    load = _load(distance[:, 0], height[:, 0] + depth, number[:, 0], size)
    np.add.at(load, unknowns, added)
    return matrix, load


def _elements(number: Array) -> Array:
    """The nine nodes of every element, the vertical ones fastest."""
    parts = [
        number[i : i + number.shape[0] - 2 : 2, j : j + number.shape[1] - 2 : 2]
        for i in range(3)
        for j in range(3)
    ]
    return np.stack(parts, -1).reshape(-1, 9)


def _load(distance: Array, above: Array, number: Array, size: int) -> Array:
    """The opposite of the infinite body's traction on the ground, integrated with the shape
    functions.
    """
    load = np.zeros(size)
    for x, weight in zip(*GAUSS, strict=True):
        shape, slope = _shapes(x)
        for first in range(0, len(distance) - 2, 2):
            nodes = slice(first, first + 3)
            at, level = distance[nodes] @ shape, above[nodes] @ shape
            along = np.array(
                [distance[nodes] @ slope, above[nodes] @ slope]
            )  # tangent times length
            traction = _traction(at, level, np.array([-along[1], along[0]]))
            load[2 * number[nodes]] -= weight * at * shape * traction[0]
            load[2 * number[nodes] + 1] -= weight * at * shape * traction[1]
    return load


def _infinite_body(distance: Array, above: Array) -> tuple[Array, Array]:
    """Outward and upward displacement, `above` the source."""
    strength = VOLUME_CHANGE / (4 * np.pi) / np.hypot(distance, above) ** 3
    return strength * distance, strength * above


def _strain(distance: Array, above: Array) -> Array:
    """Of the infinite body, (place, 4): rr, zz, tt, and twice rz."""
    far = np.hypot(distance, above)
    strain = np.stack(
        [far**2 - 3 * distance**2, far**2 - 3 * above**2, far**2, -6 * distance * above], axis=-1
    )
    strain *= (VOLUME_CHANGE / (4 * np.pi) / far**5)[:, None]
    return strain


def _traction(distance: float, above: float, normal: Array) -> Array:
    """Of the infinite body on a surface with a normal, outward and upward, for a shear modulus of
    1.
    """
    position, far = np.array([distance, above]), np.hypot(distance, above)
    traction: Array = (
        VOLUME_CHANGE
        / (2 * np.pi)
        * (normal / far**3 - 3 * position * (position @ normal) / far**5)
    )
    return traction


def _solved(
    stiffness: coo_matrix, load: Array, depth: float, distance: Array, height: Array
) -> Array:
    """The field (radial node, vertical node, 2), with the values of a flat half-space on the far
    boundaries.
    """
    fixed_nodes = np.zeros((*distance.shape, 2), dtype=bool)
    fixed_nodes[0, :, 0] = True  # the axis
    fixed_nodes[-1] = fixed_nodes[:, -1] = True
    values = np.zeros((*distance.shape, 2))
    outward, up = _image_of_flat_ground(distance, -height, depth)
    values[-1], values[:, -1] = (np.stack([outward, up], -1)[edge] for edge in (-1, np.s_[:, -1]))
    values[0, :, 0] = 0.0
    free = ~fixed_nodes.ravel()
    matrix = stiffness.tocsc()
    fixed = values.ravel() * fixed_nodes.ravel()
    solution = fixed.copy()
    solution[free] = spsolve(matrix[free][:, free], (load - matrix @ fixed)[free])
    return solution.reshape(values.shape)


def _image_of_flat_ground(distance: Array, below: Array, depth: float) -> tuple[Array, Array]:
    """What flat ground adds to the infinite body's displacement, outward and upward, at a depth
    `below` it.

    Mindlin and Cheng (1950), J. Appl. Phys. 21, 931-933: a centre of dilatation in a half-space.
    """
    strength = VOLUME_CHANGE / (4 * np.pi)
    under = below + depth
    far = np.hypot(distance, under)
    outward = (3 - 4 * POISSON_RATIO) / far**3 - 6 * below * under / far**5
    upward = ((3 - 4 * POISSON_RATIO) * under + 2 * below - 6 * below * under**2 / far**2) / far**3
    return strength * distance * outward, strength * upward


CONES = (Cone(5000.0, 0.0), Cone(5000.0, 450.0), Cone(5000.0, 900.0), Cone(5000.0, 1800.0))
DEPTHS = (1000.0, 3000.0)
"""Below the plain around the cone [m]."""


@dataclass(frozen=True)
class Errors:
    """Largest errors within two radii of the axis, as shares of the largest displacement of the
    reference.
    """

    cone: Cone
    depth: float
    corrected: tuple[float, float]
    """Of the varying-depth correction, outward and upward."""
    ignored: tuple[float, float]
    """Of a flat surface at the height of the plain."""


def measure(across: int = 80, down: int = 44) -> list[Errors]:
    """The errors for all cones and depths."""
    errors = []
    for depth in DEPTHS:
        for cone in CONES:
            distance, *exact = reference(cone, depth, across, down)
            near = distance <= 2 * cone.radius
            largest = float(np.hypot(*exact).max())
            shares = [
                tuple(
                    float(np.abs(component - other)[near].max()) / largest
                    for component, other in zip(model, exact, strict=True)
                )
                for model in (corrected(cone, depth, distance), flat(depth, distance))
            ]
            errors.append(Errors(cone, depth, *shares))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--figure", type=Path, help="PNG of the displacements over the steepest cone"
    )
    figure = parser.parse_args().figure
    print("largest error within two radii of the axis, of the largest displacement")
    print("slope   depth    varying depth         flat at the plain")
    print("                 outward  upward       outward  upward")
    for errors in measure():
        shares = [f"{100 * share:5.1f} %" for share in (*errors.corrected, *errors.ignored)]
        slope, depth = f"{errors.cone.degrees:4.0f}°", f"{errors.depth / 1000:3.0f} km"
        print(f"{slope}  {depth}    {shares[0]} {shares[1]}      {shares[2]} {shares[3]}")
    if figure is not None:
        _draw(CONES[-1], DEPTHS[-1], figure)


def _draw(cone: Cone, depth: float, path: Path) -> None:
    distance, *exact = reference(cone, depth)
    near = distance <= 2 * cone.radius
    figure, axes = folded(2, 4.2, 3.4)
    for axis, name, true, model, level in zip(
        axes,
        ("outward", "upward"),
        exact,
        corrected(cone, depth, distance),
        flat(depth, distance),
        strict=True,
    ):
        for values, words, line, colour in (
            (true, "finite elements", "-", "black"),
            (model, "varying depth", "--", COLOURS[0]),
            (level, "flat", ":", COLOURS[1]),
        ):
            axis.plot(distance[near] / 1000, 1000 * values[near], line, color=colour, label=words)
        axis.set(xlabel="distance from the axis (km)", ylabel=f"{name} displacement (mm)")
    legend_below(figure, axes[0])
    add_title(
        figure,
        f"point source {depth / 1000:g} km below the plain, under a cone of {cone.degrees:.0f}°",
    )
    save(figure, path)


if __name__ == "__main__":
    main()
