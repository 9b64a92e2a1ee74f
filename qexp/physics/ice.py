"""Isothermal shallow ice on a plane grid: its velocities, and the evolution of its thickness.

Ice obeys Glen's law with exponent 3 and slides over its bed after Weertman, at the cube of the
basal shear stress. Maps are (batch, row, column), rows along y and columns along x, with square
cells; velocities and slopes have their components x, y along a last axis. All in SI units: with a
rate factor A [Pa-3 s-1] and a sliding coefficient c [m Pa-3 s-1], ice of thickness H and surface s
has, below a driving stress rho g H |grad s| [Pa],

    u_basal = -c (rho g H)^3 |grad s|^2 grad s
    u_mean = u_basal - 2 A / 5 (rho g)^3 H^4 |grad s|^2 grad s
    u_surface = u_basal - 2 A / 4 (rho g)^3 H^4 |grad s|^2 grad s

Hutter (1983), Theoretical Glaciology; Greve and Blatter (2009), Dynamics of Ice Sheets and
Glaciers, chapter 5 on the shallow ice approximation; Cuffey and Paterson (2010), The Physics of
Glaciers, chapter 8. It holds for ice that is much wider than thick: longitudinal stresses are
neglected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

DENSITY = 910.0
"""Density of ice [kg m-3]."""

GRAVITY = 9.81
"""[m s-2]"""

EXPONENT = 3
"""The exponent of Glen's flow law and of the sliding law."""

STEP_FRACTION = 0.16
"""A time step as a fraction of dx^2 / (D + dx u). Diffusion alone would be stable up to about 0.23:
the least stable wave on the grid has the shortest wavelength across the flow and one of three cells
along it, where the diffusivity, which depends on the square of the slope, adds its own response. On
Halfar's dome rounding errors grow from 0.2 on, but not at 0.17.
"""

EMPTY_THICKNESS = 1e-30
"""Thickness [m] below which a cell is empty; keeps 0 / 0 out of the limiter and its gradient."""


COUPLED_AT_A_TIME = 4096
"""Cells whose fluxes are distributed at a time, which limits the memory on large frames."""


class Velocity(NamedTuple):
    """Horizontal velocities (..., 2) with components x, y [m s-1]."""

    basal: Tensor
    mean: Tensor
    """Averaged over the depth; this velocity transports the ice."""
    surface: Tensor


class Step(NamedTuple):
    thickness: Tensor
    """(batch, row, column) [m]"""
    gained: Tensor
    """(batch, row, column) accumulation minus melt [m]; melt never exceeds the ice that is there"""
    duration: Tensor
    """(batch,) [s]"""


def slope(surface: Tensor, spacing: float) -> Tensor:
    """Central differences of a surface, one-sided along the edge: what `numpy.gradient` gives.

    surface  (..., row, column)     [m]
    returns  (..., row, column, 2)  along x and y
    """
    along_y, along_x = torch.gradient(surface, spacing=spacing, dim=(-2, -1))
    return torch.stack([along_x, along_y], dim=-1)


def velocity(thickness: Tensor, slope: Tensor, arrhenius: Tensor, sliding: Tensor) -> Velocity:
    """Velocities of ice that flows down the slope of its surface; zero where there is no ice.

    thickness  (...)     [m]
    slope      (..., 2)  of the surface, along x and y
    arrhenius  (...)     the rate factor of Glen's law [Pa-3 s-1]
    sliding    (...)     the coefficient of Weertman's law [m Pa-3 s-1]
    """
    stress = (DENSITY * GRAVITY * thickness)[..., None] * slope
    cubed = stress.square().sum(dim=-1, keepdim=True) * stress
    basal = -sliding[..., None] * cubed
    sheared = -2 * (arrhenius * thickness)[..., None] * cubed
    return Velocity(basal, basal + sheared / (EXPONENT + 2), basal + sheared / (EXPONENT + 1))


def step(
    thickness: Tensor,
    bed: Tensor,
    balance: Tensor,
    spacing: float,
    arrhenius: Tensor,
    sliding: Tensor,
    at_most: Tensor,
) -> Step:
    """The thickness a stable time step later: dH/dt = balance - div(H u_mean).

    thickness, bed, balance  (batch, row, column)  [m], [m], thickness of ice gained per time [m
                                                   s-1]
    spacing                                        of the cells [m]
    arrhenius, sliding       (batch,)              [Pa-3 s-1], [m Pa-3 s-1]
    at_most                  (batch,)              upper limit of the time step [s]

    Explicit, with a separate time step for each glacier. Diffusivities lie on the corners of the
    cells and fluxes on their sides (Mahaffy 1976, J. Geophys. Res. 81, 1059-1066). Ice is
    conserved: a cell that would lose more than it has loses what it has, through all its sides in
    proportion, and melt is limited to the ice present. Nothing flows through the edge of the grid.
    """
    surface = bed + thickness
    rise_east = surface.diff(dim=-1)
    rise_north = surface.diff(dim=-2)
    corner = _pairs(_pairs(thickness, -1), -2) / 4
    drop = (_pairs(rise_east, -2).square() + _pairs(rise_north, -1).square()) / 4
    weight = (DENSITY * GRAVITY) ** EXPONENT / spacing**2
    shearing = (weight * 2 / (EXPONENT + 2) * arrhenius)[:, None, None]
    slipping = (weight * sliding)[:, None, None]
    # The mean velocity is `mobility` times the slope; times the thickness, that is the diffusivity.
    mobility = corner * corner * corner * (shearing * corner + slipping) * drop
    diffusivity = mobility * corner
    with torch.no_grad():
        hardest = (diffusivity + mobility * drop.sqrt()).amax(dim=(-2, -1))
        duration = torch.minimum(STEP_FRACTION * spacing**2 / hardest, at_most)
    share = (duration / (2 * spacing**2))[:, None, None]
    in_rows = pad(diffusivity, (0, 0, 1, 1), "replicate")
    in_columns = pad(diffusivity, (1, 1), "replicate")
    # Thickness to move through a side, positive towards greater x and y.
    east = -share * _pairs(in_rows, -2) * rise_east
    north = -share * _pairs(in_columns, -1) * rise_north
    east, north = _affordable(east, north, thickness)
    inflow = (
        pad(east, (1, 0)) - pad(east, (0, 1)) + pad(north, (0, 0, 1, 0)) - pad(north, (0, 0, 0, 1))
    )
    flowed = thickness + inflow
    gained = torch.maximum(balance * duration[:, None, None], -flowed)
    return Step(flowed + gained, gained, duration)


def _pairs(values: Tensor, axis: int) -> Tensor:
    """Sums of neighbours along an axis."""
    count = values.shape[axis] - 1
    return values.narrow(axis, 1, count) + values.narrow(axis, 0, count)


def _affordable(east: Tensor, north: Tensor, thickness: Tensor) -> tuple[Tensor, Tensor]:
    """The fluxes through the sides, reduced where the cell that they come from has too little
    ice.
    """
    to_east = east.clamp(min=0)
    to_west = east.clamp(max=0)
    to_north = north.clamp(min=0)
    to_south = north.clamp(max=0)
    leaving = (
        pad(to_east, (0, 1))
        - pad(to_west, (1, 0))
        + pad(to_north, (0, 0, 0, 1))
        - pad(to_south, (0, 0, 1, 0))
    )
    affordable = thickness / torch.maximum(leaving, thickness).clamp(min=EMPTY_THICKNESS)
    return (
        to_east * affordable[..., :-1] + to_west * affordable[..., 1:],
        to_north * affordable[..., :-1, :] + to_south * affordable[..., 1:, :],
    )


def evolve(
    thickness: Tensor,
    bed: Tensor,
    balance: Callable[[Tensor, Tensor], Tensor],
    spacing: float,
    arrhenius: Tensor,
    sliding: Tensor,
    start: Tensor,
    end: Tensor,
    longest: float,
    watch: Callable[[Tensor], None] = lambda time: None,
) -> Step:
    """The thickness at the end of a time, over as many steps as each glacier needs; its other
    arguments as in `step`.

    balance     of a surface (batch, row, column) [m] at times (batch,) [s]: thickness of ice gained
                [m s-1]
    start, end  (batch,)  [s]
    longest     upper limit of a step [s], since the balance is constant within a step
    watch       is called with the times, (batch,), after each step
    returns     the thickness at the end, the total gain, and the elapsed time
    """
    time = start
    gained = torch.zeros_like(thickness)
    while (time < end).any():
        rate = balance(bed + thickness, time)
        remaining = end - time
        last = step(
            thickness,
            bed,
            rate,
            spacing,
            arrhenius,
            sliding,
            remaining.clamp(max=longest),
        )
        thickness = last.thickness
        gained = gained + last.gained
        time = torch.where(last.duration >= remaining, end, time + last.duration)
        watch(time)
    return Step(thickness, gained, end - start)


def coupled(carried: Tensor, thickness: Tensor, spacing: float, length: float) -> Tensor:
    """Non-local velocities: the flux of each cell is distributed over the ice around it.

    carried    (row, column, component)  local velocities of each cell [m s-1]
    thickness  (row, column)             [m]
    length     of the coupling, in thicknesses
    returns    as `carried`

    The flux H u of a cell goes to the cells of the frame in proportion to their thickness times a
    Gaussian of the distance, with a standard deviation of half of `length` times the thickness of
    the cell that it comes from. The sum of H u over the frame is conserved, and velocities near a
    margin are finite: thickness cancels. Ice is coupled over some 4 to 10 thicknesses (Kamb and
    Echelmeyer 1986, J. Glaciol. 32, 267-284), but this does not solve a stress balance: it is a map
    that depends on neighbouring cells, to test whether networks use them.
    """
    rows, columns, components = carried.shape
    dealt = carried.new_zeros(components, rows, columns)
    for cells in thickness.nonzero().split(COUPLED_AT_A_TIME):
        row, column = cells.unbind(1)
        depth = thickness[row, column]
        # A Gaussian in the plane is separable in x and y, so that two matrix products give all
        # sums.
        step = 2 * spacing / (length * depth).clamp(min=EMPTY_THICKNESS)
        near_y = _gaussian(row, rows, step)
        near_x = _gaussian(column, columns, step)
        receiving = ((near_y @ thickness) * near_x).sum(dim=-1)
        shares = carried[row, column] * (depth / receiving.clamp(min=EMPTY_THICKNESS))[:, None]
        dealt = dealt + near_y.T @ (shares.T[..., None] * near_x)
    return (dealt * (thickness > 0)).movedim(0, -1)


def _gaussian(centre: Tensor, count: int, step: Tensor) -> Tensor:
    """(cell, count) Gaussians of positions 0, 1, ... about centres, of a standard deviation of 1 /
    step.
    """
    positions = torch.arange(count, device=centre.device)
    return torch.exp(-((positions - centre[:, None]) * step[:, None]).square() / 2)
