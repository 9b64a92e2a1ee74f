"""The likelihood of samples on grids of the variables that images are not proportional to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_interp_spline
from scipy.ndimage import distance_transform_edt

from qexp.estimation.exact.unknowns import Unknowns
from qexp.estimation.exact.whitening import Whitening

Array = NDArray[np.float64]

BLOCK = 256
"""Images that are simulated at a time."""

TINY = 1e-300


@dataclass(frozen=True)
class Nodes:
    """The likelihood of one sample at the nodes of a grid, as far as it does not depend on the amplitude a.

    axes      coordinates of the nodes along each axis, at least four of equal distances
    length    norm of the whitened image of amplitude 1
    score     product of the whitened data with the whitened image, divided by its length
    possible  whether the source is possible

    The logarithm of the likelihood is score · length · a - (length · a)² / 2, but for a constant. Score and the
    logarithm of length are smooth, and so are interpolated by cubic splines.
    """

    axes: tuple[Array, ...]
    length: Array
    score: Array
    possible: NDArray[np.bool_]

    def part(self, slices: Sequence[slice]) -> Nodes:
        """The nodes in a part of the grid, or every second one."""
        where = tuple(slices)
        axes = tuple(axis[one] for axis, one in zip(self.axes, slices, strict=True))
        return Nodes(axes, self.length[where], self.score[where], self.possible[where])

    def between(self, axes: Sequence[Array]) -> tuple[Array, Array]:
        """Length and score at the points of a finer grid."""
        log_length, score = np.log(np.maximum(self._filled(self.length), TINY)), self._filled(self.score)
        for index, (nodes, points) in enumerate(zip(self.axes, axes, strict=True)):
            degree = min(3, len(nodes) - 1)
            log_length = make_interp_spline(nodes, log_length, degree, axis=index)(points)
            score = make_interp_spline(nodes, score, degree, axis=index)(points)
        return np.exp(log_length), score

    def _filled(self, values: Array) -> Array:
        """Values with those of the nearest possible node where a node is impossible."""
        if self.possible.all() or not self.possible.any():
            return values
        nearest = distance_transform_edt(~self.possible, return_distances=False, return_indices=True)
        return np.asarray(values[tuple(nearest)])


class Signals:
    """Whitened images of amplitude 1."""

    def __init__(self, unknowns: Unknowns, whitening: Whitening) -> None:
        self.unknowns = unknowns
        self.whitening = whitening

    def nodes(self, axes: Sequence[Array], data: Array) -> list[Nodes]:
        """The likelihood of whitened samples, (sample, value), at the nodes of a grid."""
        shape = tuple(len(axis) for axis in axes)
        possible = self.possible(axes).ravel()
        length, score = np.zeros(len(possible)), np.zeros((len(data), len(possible)))
        for where, images in self._images(axes, possible):
            length[where] = np.sqrt(np.einsum("ij,ij->i", images, images))
            score[:, where] = data @ images.T / np.maximum(length[where], TINY)
        of_all = length.reshape(shape), possible.reshape(shape)
        return [Nodes(tuple(axes), of_all[0], one.reshape(shape), of_all[1]) for one in score]

    def possible(self, axes: Sequence[Array]) -> NDArray[np.bool_]:
        """Whether there can be such sources, at the points of a grid."""
        return self.possible_at(_points(axes)).reshape([len(axis) for axis in axes])

    def possible_at(self, points: Array) -> NDArray[np.bool_]:
        """Whether there can be such sources, at points, (point, coordinate)."""
        return self.unknowns.dataset.possible(self._values(points), len(points))

    def _images(self, axes: Sequence[Array], possible: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], Array]]:
        values, places = self._values(_points(axes)), np.flatnonzero(possible)
        for start in range(0, len(places), BLOCK):
            where = places[start : start + BLOCK]
            made = self.unknowns.dataset.signals({name: of[where] for name, of in values.items()})
            yield where, self.whitening(made)

    def _values(self, points: Array) -> dict[str, Array]:
        """Values of all unknowns at points, (point,) each; 1 for the amplitude."""
        pairs = zip(self.unknowns.shape, points.T, strict=True)
        values = {name: self.unknowns.value(name, of) for name, of in pairs}
        if self.unknowns.amplitude is not None:
            values[self.unknowns.amplitude] = np.ones(len(points))
        return values


def _points(axes: Sequence[Array]) -> Array:
    """The points of a grid, (point, coordinate)."""
    meshes = np.meshgrid(*axes, indexing="ij")
    return np.stack([mesh.ravel() for mesh in meshes], axis=1) if meshes else np.zeros((1, 0))
