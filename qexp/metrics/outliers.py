"""Whether numbers and vectors lie where those of training data do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array

# Vectors: each of their numbers by itself, and all of them together.

SHARE = 1 / 600
"""Share of fresh vectors that each of three rules finds outside: together some 0.5 %."""

MOST_REFERENCES, FEWEST_VECTORS = 1024, 4
"""Vectors that others are compared with, at most; and at least, to say anything."""

TOP_SHARE, MOST_TOP = 1 / 20, 20
"""Share of values, and their largest number, whose exponential tail is continued beyond the
greatest one.
"""

ROUNDING = 1e-5
"""Of values in single precision, in units of their spread."""

COMPARED_TOGETHER = 4096


class TrainingVectors:
    """Where training vectors, (vector, number), lie.

    Numbers are compared as arsinh((x − median) / spread), in which the tails of most distributions
    fall off exponentially or faster. One half of the vectors are references, by the other half the
    rules are made:

    - Each number has limits, that share beyond the tail of its own training values which all
      numbers together may exceed.
    - The distance to the nearest reference has one, once as numbers are, which finds gaps between
      them, such as between the modes of two clusters, and once in units of their covariance, shrunk
      (Ledoit and Wolf 2004, J. Multivar. Anal. 88, 365-411), which finds what lies off a curve or a
      plane on which all of them are.

    The limits of both kinds are those quantiles of the other half, so that fresh vectors are
    outside as seldom as these, whatever their distribution; a little more by their number, as few
    tell rare quantiles badly.
    """

    def __init__(self, vectors: Array) -> None:
        known = np.asarray(vectors, np.float64)[: 2 * MOST_REFERENCES]
        references, others = np.array_split(known, 2)
        # counts have not shown all that is possible
        self._step = float((known == np.round(known)).all())
        self._middle, self._spread = _scale(known, self._step)
        of_references = self._scaled(references)
        of_others = self._scaled(others)
        margin = 1 + 1 / np.sqrt(len(others))
        low, high = self._limits(references)
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = np.nan_to_num(
                np.where(of_others > 0, of_others / high, of_others / low), posinf=0.0
            )
        factor = margin * max(1.0, float(_exceeded_by(needed.max(axis=1), SHARE)))
        low_of_all, high_of_all = self._limits(known)
        # such as of an amount of rain that is mostly 0
        unknown = (low == high) & (low_of_all != high_of_all)
        self._low = np.where(unknown, -np.inf, factor * low_of_all)
        self._high = np.where(unknown, np.inf, factor * high_of_all)
        self._references = of_references
        self._centre = of_references.mean(axis=0)
        self._basis, self._weights, self._rest = _whitening(
            of_references - self._centre, self._step / self._spread
        )
        self._whitened = self._coordinates(of_references)
        self._farthest = margin * np.array(
            [_exceeded_by(far, SHARE) for far in self._distances(of_others)]
        )

    def limits(self) -> tuple[Array, Array]:
        """The least and the greatest value of each number that is not outside."""
        with np.errstate(over="ignore"):
            low = self._middle + self._spread * np.sinh(self._low)
            high = self._middle + self._spread * np.sinh(self._high)
        return low, high

    def outside(self, vectors: Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether numbers are, (vector, number), and all together, (vector,); NaN never is."""
        scaled = self._scaled(np.asarray(vectors, np.float64))
        each = (scaled < self._low - ROUNDING) | (scaled > self._high + ROUNDING)
        together = []
        for some in np.array_split(scaled, 1 + len(scaled) // COMPARED_TOGETHER):
            far = np.zeros(len(some), dtype=bool)
            for distances, end in zip(self._distances(some), self._farthest, strict=True):
                far |= distances > end * (1 + ROUNDING)
            together.append(far)
        return each, np.concatenate(together)

    def _scaled(self, vectors: Array) -> Array:
        return np.asarray(np.arcsinh((vectors - self._middle) / self._spread))

    def _limits(self, vectors: Array) -> tuple[Array, Array]:
        """Scaled, of each number."""
        scaled = self._scaled(vectors)
        share = SHARE / (2 * vectors.shape[1])
        least = vectors.min(axis=0) - self._step
        greatest = vectors.max(axis=0) + self._step
        low = -_exceeded_by(-scaled, share)
        high = _exceeded_by(scaled, share)
        return np.minimum(low, self._scaled(least)), np.maximum(high, self._scaled(greatest))

    def _coordinates(self, scaled: Array) -> Array:
        """Along directions in which references differ, in units of their standard deviation."""
        return np.asarray((scaled - self._centre) @ self._basis.T * self._weights)

    def _distances(self, scaled: Array) -> tuple[Array, Array]:
        """To the nearest reference, (vector,): of numbers, and in units of their covariance."""
        centred = scaled - self._centre
        with np.errstate(invalid="ignore", over="ignore"):
            rest = np.square(centred).sum(axis=1)
            rest = rest - np.square(centred @ self._basis.T).sum(axis=1)
            whitened = np.square(_nearest(self._coordinates(scaled), self._whitened))
            by_covariance = np.sqrt(whitened + rest.clip(min=0) / self._rest)
            return _nearest(scaled, self._references), by_covariance


def _scale(vectors: Array, step: float) -> tuple[Array, Array]:
    """Median and spread of each number, which is not 0."""
    low, middle, high = np.quantile(vectors, [0.25, 0.5, 0.75], axis=0)
    spread = (high - low) / 1.35
    deviation = vectors.std(axis=0)
    spread = np.maximum(np.where(spread > 1e-3 * deviation, spread, deviation), step)
    of_constants = np.where(middle == 0, np.finfo(np.float32).tiny, np.abs(middle))
    return middle, np.where(spread > 0, spread, of_constants)


def _exceeded_by(values: Array, share: float) -> Array:
    """What a share of further values, distributed as these along the first axis, exceeds."""
    count = len(values)
    most = max(1, min(max(int(TOP_SHARE * count), 2), MOST_TOP, count - 1))
    ordered = -np.sort(-values, axis=0)
    base = ordered[min(most, count - 1)]
    excess = (ordered[:most] - base).mean(axis=0)
    return np.asarray(base + excess * np.log(max(most / (count * share), 1.0)))


def _whitening(centred: Array, steps: Array) -> tuple[Array, Array, float]:
    """Directions in which vectors differ, (direction, number), one over their standard deviations,
    and the variance in all others, by a covariance that is shrunk and has the variance of counts
    between two steps.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage  # half a second to load

    mean = float(np.square(centred).mean())
    shrinkage = float(ledoit_wolf_shrinkage(centred, assume_centered=True)) if mean else 1.0
    floor = max(shrinkage * mean + float(np.square(steps).mean()) / 12, 1e-9 * mean, 1e-18)
    _, roots, basis = np.linalg.svd(centred, full_matrices=False)
    return basis, 1 / np.sqrt((1 - shrinkage) * np.square(roots) / len(centred) + floor), floor


def _nearest(points: Array, references: Array) -> Array:
    squares = (
        np.square(points).sum(axis=1)[:, None]
        + np.square(references).sum(axis=1)
        - 2 * points @ references.T
    )
    return np.asarray(np.sqrt(squares.min(axis=1).clip(min=0)))
