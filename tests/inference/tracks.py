"""Tracks of simulated deformation, computed without qexp's kernels."""

from __future__ import annotations

import numpy as np

from qexp.observations.observation import CorrelatedNoise, Track

ASCENDING = np.array([-0.60, -0.11, 0.79])
DESCENDING = np.array([0.55, -0.10, 0.83])


def point_source(x, y, east, north, depth, volume_change, poisson_ratio=0.25):
    """Displacement (point, 3) by Mogi's solution: (1 - ν) ΔV / π times the vector from the source over R³."""
    offset = np.stack([x - east, y - north, np.full_like(x, depth)], axis=1)
    return (1 - poisson_ratio) / np.pi * volume_change * offset / np.linalg.norm(offset, axis=1)[:, None] ** 3


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
    """A square grid of points around the origin with independent noise, and correlated noise if there is any."""
    axis = (np.arange(size) - size / 2) * spacing
    x, y = (one.ravel() + shift for one, shift in zip(np.meshgrid(axis, axis), origin, strict=True))
    direction = np.tile(look / np.linalg.norm(look), (len(x), 1))
    random = np.random.default_rng(seed)
    seen = (point_source(x, y, *source) * direction).sum(axis=1) + added + error * random.normal(size=len(x))
    if noise is not None:
        seen = seen + np.linalg.cholesky(covariance(x, y, noise) + 1e-12 * np.eye(len(x))) @ random.normal(size=len(x))
    return Track(name, "radar", x, y, seen, np.full(len(x), error), direction, np.ones(len(x), bool), noise=noise)


def covariance(x, y, noise):
    distance = np.hypot(x[:, None] - x, y[:, None] - y)
    return noise.sill * np.exp(-((distance / noise.range) ** (1 if noise.type == "exponential" else 2)))


EXPONENTIAL = CorrelatedNoise("exponential", 1e-4, 1500.0)
