"""The unrest of Campi Flegrei in 2011-2013, seen by two tracks, where its data are.

The same minimum is found from any start; the posterior is compared with chains on a density that is
written here. Of the 5,530 points every sixth counts for it, so that chains with a full covariance
end within seconds.
"""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats

import qexp
from qexp.base.quantities import QUANTITIES
from qexp.deformation.estimate import Candidate, centre_of, estimate_sources
from qexp.deformation.options import InvertOptions
from qexp.inference.parameters import Units, sources_named
from qexp.observations.observation import Observation
from qexp.physics.point import mctigue
from qexp.simulation.generators import GENERATORS

FOLDER = Path(os.environ.get("QEXP_DATA", "").split(os.pathsep)[0]) / "campi_flegrei"
FILES = [FOLDER / f"obs_sar{number}.txt" for number in (1, 2)]

pytestmark = pytest.mark.skipif(
    not all(path.is_file() for path in FILES),
    reason="QEXP_DATA names no folder with campi_flegrei/obs_sar1.txt",
)


def test_the_tracks_of_campi_flegrei_are_read_as_published():
    result = qexp.observe(FILES, crs="EPSG:32633")
    assert [(track.name, track.points) for track in result.tracks] == [
        ("obs_sar1", 2713),
        ("obs_sar2", 2817),
    ]
    assert result.tracks[0].heading == pytest.approx(-8.5, abs=0.1)  # ascending
    assert abs(result.tracks[1].heading) > 160  # descending


def test_the_noise_of_campi_flegrei_is_that_around_the_uplift_of_pozzuoli():
    result = qexp.observe(FILES, crs="EPSG:32633", noise="estimate")
    for track in result.observation.tracks:
        east, north = map(
            float, re.findall(r"(\d+) (?:east|north)", result.estimates[track.name].how)
        )
        assert np.hypot(east - 426.5e3, north - 4519e3) < 1.5e3  # the harbour of Pozzuoli
        # Millimetres over kilometres, as the atmosphere has; the uplift itself is a decimetre.
        assert 3e-3 < np.sqrt(track.noise.sill) < 2e-2
        assert 500 < track.noise.range < 10e3
        np.testing.assert_allclose(track.error, np.sqrt(track.noise.nugget))


@pytest.mark.parametrize("offsets", ["per-track", "none"])
def test_a_refinement_ends_where_the_search_from_32_starts_does(offsets):
    seen = qexp.observe(FILES, crs="EPSG:32633").observation
    searched = qexp.invert(seen, offsets=offsets)
    start = {"x": 1000.0, "y": -2000.0, "depth": 2000.0, "delta_volume": 2e6}
    candidate = Candidate(
        "mogi", sources_named("mogi", GENERATORS), Units(QUANTITIES, centre_of(seen)), start
    )
    refined = estimate_sources(seen, candidate, InvertOptions(offsets=offsets))
    for name, of in searched.parameters.items():
        assert refined.parameters[name].value == pytest.approx(of.value, rel=1e-4)
    assert refined.chi2 == pytest.approx(searched.chi2, rel=1e-9)
    assert 2.3 < refined.parameters["depth"].value < 3.2
    assert 2 <= searched.agreeing <= 32


BOUNDS = {
    "east": (420e3, 432e3), "north": (4513e3, 4525e3), "depth": (1.0, 8.0), "radius": (0.3, 4.0),
    "pressure_over_mu": (0.0, 1e-3),
}  # fmt: skip
CHAINS, BURN_IN, STEPS = 100, 900, 2000


@pytest.fixture(scope="module")
def seen():
    """Every sixth point of each track, with the noise that all of them show."""
    whole = qexp.observe(FILES, crs="EPSG:32633", noise="estimate").observation
    return replace(
        whole,
        tracks=tuple(track.select(np.arange(len(track.x)) % 6 == 0) for track in whole.tracks),
    )


def density_of(seen: Observation):
    """Logarithm of the posterior of (east, north, depth, radius, pressure · radius³) in m; uniform
    priors of all but the last, and of the pressure; offsets of both tracks are further unknowns of
    a normal prior that is very wide.
    """
    parts = []
    for track in seen.tracks:
        apart = np.hypot(track.x[:, None] - track.x, track.y[:, None] - track.y)
        noise = track.noise
        shape = {"exponential": apart / noise.range, "gaussian": (apart / noise.range) ** 2}[
            noise.type
        ]
        covariance = (
            noise.sill * np.exp(-shape) + np.diag(track.error**2) + 1e2 * np.ones_like(apart)
        )
        parts.append((track, np.linalg.inv(np.linalg.cholesky(covariance))))
    points = sum(len(track.x) for track in seen.tracks)
    low, high = np.array(list(BOUNDS.values())).T
    low, high = low * [1, 1, 1e3, 1e3, 1], high * [1, 1, 1e3, 1e3, 1]

    def log(at):
        values = at.copy()
        values[:, 4] /= at[:, 3] ** 3
        inside = ((values > low) & (values < high)).all(axis=1) & (
            values[:, 2] > 1.001 * values[:, 3]
        )
        found = np.full(len(at), -np.inf)
        chi2 = np.zeros(inside.sum())
        for track, whitening in parts:
            stations = torch.from_numpy(np.stack([track.x, track.y], axis=1))
            moved = (
                mctigue(torch.from_numpy(values[inside]), stations).numpy() * track.direction
            ).sum(axis=2)
            chi2 += np.square(whitening @ (track.displacement - moved).T).sum(axis=0)
        found[inside] = -0.5 * (points - len(parts)) * np.log(chi2) - 3 * np.log(at[inside, 3])
        return found

    return log


def chains_of(log, begin, random):
    """Values of chains, (chain, step, parameter), each half of which moves along differences within
    the other half.
    """
    at, height, kept = begin, log(begin), []
    half, size = CHAINS // 2, begin.shape[1]
    for step in range(BURN_IN + STEPS):
        for mine, others in ((slice(0, half), at[half:]), (slice(half, CHAINS), at[:half])):
            first, second = (others[random.integers(half, size=half)] for _ in range(2))
            stretch = 1.0 if step % 10 == 0 else 2.38 / np.sqrt(2 * size) * random.uniform(0.5, 1.0)
            trial = (
                at[mine]
                + stretch * (first - second)
                + 1e-5 * random.standard_normal((half, size)) * at.std(axis=0)
            )
            of_trial = log(trial)
            with np.errstate(invalid="ignore"):  # of chains that begin where the density is zero
                taken = np.log(random.random(half)) < of_trial - height[mine]
            at, height = at.copy(), height.copy()
            at[mine] = np.where(taken[:, None], trial, at[mine])
            height[mine] = np.where(taken, of_trial, height[mine])
        if step >= BURN_IN:
            kept.append(at)
    return np.stack(kept, axis=1)


def test_means_and_widths_are_those_of_long_chains_on_a_density_of_another_kind(seen):
    made = qexp.invert(
        seen, source="mctigue", posterior=True, draws=20_000, bounds=BOUNDS
    ).posterior
    assert made.found.method == "importance"
    assert not made.found.doubts
    random = np.random.default_rng(0)
    begin = np.stack(
        [
            random.uniform(425.8e3, 426.4e3, CHAINS), random.uniform(4518.7e3, 4519.5e3, CHAINS),
            random.uniform(2.6e3, 3.8e3, CHAINS), random.uniform(1e3, 2.5e3, CHAINS),
            random.uniform(1.2e6, 1.5e6, CHAINS),
        ],
        axis=1,
    )  # fmt: skip
    chains = chains_of(density_of(seen), begin, random)
    assert chains.shape[0] * chains.shape[1] >= 100_000
    groups = chains.reshape(4, CHAINS // 4, STEPS, 5).swapaxes(1, 2).reshape(4, -1, 5)
    assert max(float(array_stats.rhat(groups[..., column])) for column in range(5)) <= 1.01
    chains = chains.reshape(-1, 5)
    chains[:, 4] /= chains[:, 3] ** 3
    chains[:, 2:4] /= 1e3
    for column, name in enumerate(BOUNDS):
        own = made.all[:, list(made.parameters).index(name)]
        width, expected = (
            np.subtract(*np.quantile(values, [0.95, 0.05])) for values in (own, chains[:, column])
        )
        assert width == pytest.approx(expected, rel=0.05), name
        assert abs(own.mean() - chains[:, column].mean()) < 0.05 * expected, name
