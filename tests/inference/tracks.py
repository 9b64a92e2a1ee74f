"""Tracks of simulated deformation, those of point sources without qexp's kernels, and the problem
of their sources.
"""

import dataclasses

import numpy as np
import torch

from qexp.base.quantities import QUANTITIES
from qexp.inference.fit import prepare_problem
from qexp.inference.parameters import searches
from qexp.observations.observation import CorrelatedNoise, Track
from qexp.simulation.generators import GENERATORS

ASCENDING = np.array([-0.60, -0.11, 0.79])
DESCENDING = np.array([0.55, -0.10, 0.83])


def point_source(x, y, east, north, depth, volume_change, poisson_ratio=0.25):
    """Displacement (point, 3) by Mogi's solution: (1 - ν) ΔV / π times the vector from the source
    over R³.
    """
    offset = np.stack([x - east, y - north, np.full_like(x, depth)], axis=1)
    return (
        (1 - poisson_ratio)
        / np.pi
        * volume_change
        * offset
        / np.linalg.norm(offset, axis=1)[:, None] ** 3
    )


def track(
    name="ascending",
    look=ASCENDING,
    source=(0.0, 0.0, 1000.0, 1e6),
    noise=None,
    error=0.005,
    size=16,
    spacing=400.0,
    seed=0,
    added=0.0,
    origin=(0.0, 0.0),
):
    """A square grid of points around the origin with independent noise, and correlated noise if
    there is any.
    """
    axis = (np.arange(size) - size / 2) * spacing
    x, y = (one.ravel() + shift for one, shift in zip(np.meshgrid(axis, axis), origin, strict=True))
    direction = np.tile(look / np.linalg.norm(look), (len(x), 1))
    random = np.random.default_rng(seed)
    seen = (
        (point_source(x, y, *source) * direction).sum(axis=1)
        + added
        + error * random.normal(size=len(x))
    )
    if noise is not None:
        seen = seen + np.linalg.cholesky(
            covariance(x, y, noise) + 1e-12 * np.eye(len(x))
        ) @ random.normal(size=len(x))
    return Track(
        name,
        "radar",
        x,
        y,
        seen,
        np.full(len(x), error),
        direction,
        np.ones(len(x), bool),
        noise=noise,
    )


def covariance(x, y, noise):
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    return noise.sill * np.exp(
        -((distance / noise.range) ** (1 if noise.type == "exponential" else 2))
    )


EXPONENTIAL = CorrelatedNoise("exponential", 1e-4, 1500.0)


def two_tracks(kernel, source, strength=1.0, **changes):
    """What two tracks see of a source by its kernel, with noise, all of it multiplied by a
    factor.
    """
    tracks = []
    for seed, look in enumerate((ASCENDING, DESCENDING)):
        empty = track(f"track {seed}", look, (0.0, 0.0, 1e3, 0.0), seed=seed, **changes)
        stations = torch.from_numpy(np.stack([empty.x, empty.y], axis=1))
        moved = kernel(torch.tensor([source], dtype=torch.float64), stations)[0].numpy()
        seen = empty.displacement + (moved * empty.direction).sum(axis=1)
        tracks.append(dataclasses.replace(empty, displacement=strength * seen))
    return tracks


def problem_of(name, tracks, fixed=None, bounds=None, offsets=False, ramps=False):
    """The problem of a source of the table, and where starts for its parameters may lie."""
    sources = GENERATORS[name].build().sources
    stations = np.concatenate([np.stack([track.x, track.y], axis=1) for track in tracks])
    spans = searches(sources, stations, QUANTITIES, bounds or {})
    return prepare_problem(tracks, sources, spans, fixed or {}, offsets=offsets, ramps=ramps), spans
