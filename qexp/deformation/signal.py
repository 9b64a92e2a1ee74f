"""The noise of tracks without their signal, which is that of the best-fitting point source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from qexp.base.arrays import Array
from qexp.base.quantities import QUANTITIES
from qexp.inference.displacements import Deformation, deformation_of
from qexp.inference.fit import best, prepare_problem
from qexp.inference.least_squares import starts
from qexp.inference.parameters import searches
from qexp.observations.noise import (
    LEAST_POINTS,
    NoiseEstimate,
    SignalFree,
    estimate_of,
    require_enough,
)
from qexp.observations.observation import Track
from qexp.simulation.generators import GENERATORS

MOST_POINTS = 1000
"""Points of a track that take part in the search, drawn at random."""

STARTS = 8

DEPTHS = (0.02, 0.5)
"""Depths that are searched, as shares of the diagonal of the extent."""

NEGLIGIBLE = 0.1
"""Points that the source moves by less than this share of the largest are left in the noise."""

LEAST_SHARE = 0.25
"""If it moves more of the points than the rest, all less its displacement are taken."""

LEAST_GAIN = 40.0
"""Least reduction of χ² that counts as a source; in noise alone the search gains 10, rarely 40."""


@dataclass(frozen=True)
class PointSource:
    """A Mogi source.

    model   its displacement, as seen by tracks
    values  its parameters in SI units, (1, parameter), positions from the origin
    origin  east, north [m]
    gain    the reduction of χ² by it
    """

    model: Deformation
    values: torch.Tensor
    origin: tuple[float, float]
    gain: float

    @property
    def words(self) -> str:
        values = dict(zip(self.model.names, self.values[0].tolist(), strict=True))
        east = values["x"] + self.origin[0]
        north = values["y"] + self.origin[1]
        return (
            f"a point source at {east:.0f} east, {north:.0f} north, {values['depth'] / 1000:.2g} km"
            " deep"
        )

    def displacement(self, track: Track) -> Array:
        """Along the directions of a track, (point,) [m]."""
        return np.asarray(
            deformation_of(self.model.sources, [_level(track)], self.origin)(self.values)[0].numpy()
        )


def _level(track: Track) -> Track:
    """The track as if on level ground at sea level, so that sources may lie anywhere below any
    ground.
    """
    return replace(track, elevation=None, spread=None)


def best_point_source(tracks: Sequence[Track]) -> PointSource:
    """The Mogi source that fits the points of all tracks best, weighted by their noise, each with
    an offset of its own.

    tracks  whose points all count
    """
    random = np.random.default_rng(0)
    thin = [_level(track.thinned(MOST_POINTS, random)) for track in tracks]
    positions = np.concatenate([track.places for track in thin])
    origin = float(positions[:, 0].mean()), float(positions[:, 1].mean())
    positions = positions - origin
    diagonal = float(np.hypot(*np.ptp(positions, axis=0)))
    (west, south), (east, north) = positions.min(axis=0), positions.max(axis=0) + 1e-6 * diagonal
    bounds = {
        "x": (west, east),
        "y": (south, north),
        "depth": (DEPTHS[0] * diagonal, DEPTHS[1] * diagonal),
    }
    sources = GENERATORS["mogi"].build().sources
    wanted = searches(sources, positions, QUANTITIES, bounds)
    problem = prepare_problem(thin, sources, wanted, {}, offsets=True, ramps=False, origin=origin)
    fit = best(problem, starts(problem, wanted, STARTS, seed=0))
    gain = problem.chi2_without_source - fit.chi2
    return PointSource(problem.model, fit.source, origin, gain)


def estimate_noise(
    tracks: Sequence[Track], signal_free: SignalFree | None = None, planes: bool = False
) -> list[NoiseEstimate]:
    """The noise of each radar track, from what is not signal.

    signal_free  where only noise is observed. Without it the best-fitting point source of all
                 tracks is subtracted, and the points that it moves most are left out; a source that
                 noise alone could imitate is none
    planes       subtract a plane from what is left of each track, such as that of orbits
    Raises QexpError if a track has too few points.
    """
    observed = [track.where_observed() for track in tracks]
    for track in observed:
        require_enough(track, track.observed)
    if signal_free is not None:
        how = "the given points without signal"
        return [
            estimate_of(track, signal_free(track), track.displacement, how, planes)
            for track in observed
        ]
    source = best_point_source([replace(track, noise=None) for track in observed])
    pairs = ((track, _without(source, track, planes).best) for track in observed)
    noisy = [
        replace(track, noise=noise, error=np.full(track.size, noise.nugget**0.5))
        for track, noise in pairs
    ]
    source = best_point_source(noisy)
    if source.gain >= LEAST_GAIN:
        return [_without(source, track, planes) for track in observed]
    how = "all points, as no source is significant"
    return [
        estimate_of(track, track.observed, track.displacement, how, planes) for track in observed
    ]


def _without(source: PointSource, track: Track, planes: bool) -> NoiseEstimate:
    """The noise from points that a source hardly moves, or from all if they are too few, less its
    displacement.
    """
    moved = source.displacement(track)
    remainder = track.displacement - moved
    far = np.abs(moved) < NEGLIGIBLE * np.abs(moved).max()
    how = f"points far from {source.words}, less its displacement"
    if far.sum() < max(LEAST_SHARE * track.size, LEAST_POINTS):
        far = track.observed
        how = f"all points less the displacement of {source.words}"
    return estimate_of(track, far, remainder, how, planes)
