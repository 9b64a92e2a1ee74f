"""Posteriors of up to three parameters on a grid that closes in on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError
from qexp.estimation.exact.draws import drawn
from qexp.estimation.exact.unknowns import SPAN
from qexp.estimation.sampling.density import Density
from qexp.estimation.sampling.mixture import Mixture

Array = NDArray[np.float64]

MOST_COORDINATES = 3

POINTS = {1: 2001, 2: 141, 3: 45}
"""Number of coordinates → points along each."""

NEGLIGIBLE = 14.0
"""Where the logarithm of a density is so far below the largest, it does not matter."""

CLOSER = 4
"""Grids, each around what matters in the one before."""

REACH = 8.0
"""Of the first grid beyond the modes, in standard deviations."""


def gridded(density: Density, proposal: Mixture, count: int, random: np.random.Generator) -> Array:
    """Draws, (draw, coordinate), from the density at the points of the last grid.

    Raises QexpError for more than three coordinates.
    """
    size = proposal.centres.shape[1]
    if size > MOST_COORDINATES:
        raise QexpError(
            f"--method grid: {size} parameters are free, but grids are for {MOST_COORDINATES} at most; fix some with "
            "--fix, or choose another method"
        )
    widths = np.sqrt(np.square(proposal.roots).sum(axis=2))
    low = np.maximum((proposal.centres - REACH * widths).min(axis=0), -SPAN)
    high = np.minimum((proposal.centres + REACH * widths).max(axis=0), SPAN)
    for again in range(CLOSER):
        axes = [np.linspace(*ends, POINTS[size]) for ends in zip(low, high, strict=True)]
        log = _on(density, axes)
        matters = np.nonzero(log > log.max() - NEGLIGIBLE)
        steps = (high - low) / (POINTS[size] - 1)
        first, last = (np.array([of(where) for where in matters]) for of in (np.min, np.max))
        if again and (last - first >= 0.6 * POINTS[size]).all():
            break
        cut = (first == 0) | (last == POINTS[size] - 1)
        margin = np.where(cut, 0.5 * (high - low), 2 * steps)
        low, high = np.maximum(low + first * steps - margin, -SPAN), np.minimum(low + last * steps + margin, SPAN)
    mass = np.exp(log - log.max())
    return drawn(axes, mass[..., None], np.zeros((*mass.shape, 1)), count, random)[:, :-1]


def _on(density: Density, axes: list[Array]) -> Array:
    meshes = np.meshgrid(*axes, indexing="ij")
    return density(np.stack([mesh.ravel() for mesh in meshes], axis=1)).reshape(meshes[0].shape)
