"""The evidence of `qexp invert --posterior` beside that of nested sampling, by a likelihood of its
own.

Two tracks of scattered points see a point source, a weaker one, or none, in white or correlated
noise, with an offset each and an unknown factor of all errors. Covariance, offsets, factor and
priors are coded here again, and so is the displacement of Mogi's source; that of McTigue's is
`qexp.physics.point.mctigue`, which other tests hold against published values.

Nested sampling is that of Lange (2023), Mon. Not. R. Astron. Soc. 525, 3181-3194.
Run: python -m validation.evidence [--first 0] [--seeds 2] [--live 1000]
Needs nautilus, which nothing else of qexp does: pip install nautilus-sampler
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.spatial.distance import cdist

import qexp
from qexp.physics.point import mctigue

Array = NDArray[np.float64]

LOOKS = {"ascending": (0.6, -0.1, 0.79), "descending": (-0.6, -0.1, 0.79)}
POINTS, HALF_WIDTH, DEPTH, NUGGET = 100, 8e3, 3e3, 9e-6
"""Points of a track, in a square of twice this width [m]; of the true source; and of the noise."""

RANGE = 3e3
"""Of correlated noise [m]."""

CASES = {
    "strong, correlated": (2e6, 9e-6),
    "weak, white": (1.5e5, 0.0),
    "none, correlated": (0.0, 9e-6),
}
"""Change of volume [m³], and sill of the noise [m²]."""

BOUNDS = {
    "east": (-4e3, 4e3),
    "north": (-4e3, 4e3),
    "depth": (0.5, 10.0),
    "delta_volume": (-5.0, 5.0),
    "radius": (0.2, 2.0),
    "pressure_over_mu": (-0.02, 0.02),
}
"""Between which priors are uniform, in users' units; some spheres would reach the surface."""

UNITS = {"depth": 1e3, "delta_volume": 1e6, "radius": 1e3}
"""Of bounds that are not in SI units."""

SAMPLES = 400_000
"""Of the prior, which tell the share of spheres that reach the surface."""

LARGEST_DIFFERENCE, ERRORS = 0.1, 2.0
"""Of ln evidence: this and as many standard errors of both are allowed."""


@dataclass(frozen=True)
class Track:
    """Points, their look, what was seen there, and a matrix that leaves of it what has unit
    variance, without what an offset explains.
    """

    places: Array
    look: Array
    seen: Array
    weighting: Array


def simulated(volume: float, sill: float, seed: int) -> list[Track]:
    random = np.random.default_rng(seed)
    tracks = []
    for direction in LOOKS.values():
        look = np.array(direction) / np.linalg.norm(direction)
        places = random.uniform(-HALF_WIDTH, HALF_WIDTH, (POINTS, 2))
        covariance = sill * np.exp(-cdist(places, places) / RANGE) + NUGGET * np.eye(POINTS)
        root = np.linalg.cholesky(covariance)
        seen = point_source(np.array([[300.0, -500.0, DEPTH, volume]]), places)[0] @ look
        seen += root @ random.normal(size=POINTS) + random.normal(0, 0.01)
        whiten = solve_triangular(root, np.eye(POINTS), lower=True)
        offset = whiten.sum(axis=1)
        projection = np.eye(POINTS) - np.outer(offset, offset) / (offset @ offset)
        tracks.append(Track(places, look, seen, projection @ whiten))
    return tracks


def point_source(sources: Array, places: Array) -> Array:
    """Displacement, (source, point, 3), by changes of volume (Mogi 1958), Poisson's ratio 0.25."""
    east, north, depth, volume = sources.T[..., None]
    level = np.zeros(len(places))
    offset = np.stack([places[:, 0] - east, places[:, 1] - north, depth + level], axis=-1)
    distance = np.linalg.norm(offset, axis=-1)
    return np.asarray(0.75 / np.pi * (volume / distance**3)[..., None] * offset)


def sphere(sources: Array, places: Array) -> Array:
    return mctigue(torch.from_numpy(sources), torch.from_numpy(places)).numpy()


SOURCES: dict[str, tuple[Callable[[Array, Array], Array], Sequence[str]]] = {
    "mogi": (point_source, ("east", "north", "depth", "delta_volume")),
    "mctigue": (sphere, ("east", "north", "depth", "radius", "pressure_over_mu")),
}


def nested(tracks: Sequence[Track], source: str, live: int, seed: int) -> tuple[float, float, int]:
    """ln evidence over that of none, its error, and the number of likelihoods."""
    from nautilus import Sampler

    moved, names = SOURCES[source]
    ends = np.array([np.array(BOUNDS[name]) * UNITS.get(name, 1.0) for name in names])
    low, high = ends.T
    data = [track.weighting @ track.seen for track in tracks]
    degrees = sum(len(track.seen) - 1 for track in tracks)
    none = sum(one @ one for one in data)
    places = np.concatenate([track.places for track in tracks])

    def values(shares: Array) -> Array:
        return np.asarray(low + shares * (high - low))

    def possible(sources: Array) -> NDArray[np.bool_]:
        """Spheres do not reach the surface."""
        everywhere = np.ones(len(sources), dtype=bool)
        return sources[:, 3] < sources[:, 2] if "radius" in names else everywhere

    def log_likelihood(sources: Array) -> Array:
        logs = np.full(len(sources), -1e30)
        buried = possible(sources)
        each = np.split(moved(sources[buried], places), len(tracks), axis=1)
        chi2 = np.zeros(buried.sum())
        for track, one, of_track in zip(tracks, data, each, strict=True):
            left = one - of_track @ track.look @ track.weighting.T
            chi2 += np.square(left).sum(axis=1)
        logs[buried] = -degrees / 2 * np.log(chi2 / none)
        return logs

    sampler = Sampler(values, log_likelihood, len(names), n_live=live, vectorized=True, seed=seed)
    sampler.run(verbose=False)
    drawn = values(np.random.default_rng(seed).uniform(size=(SAMPLES, len(names))))
    log = float(sampler.log_z) - math.log(possible(drawn).mean())
    return log, 1 / math.sqrt(sampler.n_eff), int(sampler.n_like)


def ours(tracks: Sequence[Track], source: str, sill: float) -> tuple[float, float, str]:
    """ln evidence over that of none, its error, and how the posterior was drawn."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for name, track in zip(LOOKS, tracks, strict=True):
            look = np.tile(track.look, (POINTS, 1))
            errors = np.full(POINTS, math.sqrt(NUGGET))
            files.append(Path(folder) / f"{name}.txt")
            np.savetxt(files[-1], np.column_stack([track.places, track.seen, errors, look]))
        noise = f"exponential:{sill},{RANGE},{NUGGET}" if sill else "none"
        observation = qexp.observe(files, noise=noise).observation
    bounds = {name: BOUNDS[name] for name in SOURCES[source][1]}
    posterior = qexp.invert(observation, source=source, posterior=True, bounds=bounds).posterior
    assert posterior is not None
    return posterior.evidence.log, posterior.evidence.error, posterior.found.method


def compared(seeds: Sequence[int], live: int) -> Iterator[tuple[str, float, float]]:
    """Words, the difference, and what is allowed of it."""
    for seed in seeds:
        for case, (volume, sill) in CASES.items():
            tracks = simulated(volume, sill, seed)
            for source in SOURCES:
                began = time.perf_counter()
                log, error, method = ours(tracks, source, sill)
                middle = time.perf_counter()
                other, of_other, calls = nested(tracks, source, live, seed)
                ended = time.perf_counter()
                words = (
                    f"{source}, {case}, seed {seed}: {log:.3f} ± {error:.3f} by {method} in"
                    f" {middle - began:.0f} s; nested {other:.3f} ± {of_other:.3f} by"
                    f" {calls:,} likelihoods in {ended - middle:.0f} s"
                )
                allowed = LARGEST_DIFFERENCE + ERRORS * math.hypot(error, of_other)
                yield words, abs(log - other), allowed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--live", type=int, default=1000)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    torch.set_num_threads(1)
    within = []
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    for words, difference, allowed in compared(seeds, arguments.live):
        within.append(difference <= allowed)
        verdict = "within" if within[-1] else "BEYOND"
        print(f"{words}; {difference:.3f}, {verdict} {allowed:.3f}", flush=True)
    print(f"{sum(within)} of {len(within)} within {LARGEST_DIFFERENCE} and {ERRORS:g} errors")


if __name__ == "__main__":
    main()
