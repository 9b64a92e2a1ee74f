"""The evidence of models, against closed forms and integrals of own code."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, multivariate_t

import qexp
from qexp.inference.evidence import by_bridge
from qexp.inference.sampling import Draws, evidence_of

LOOKS = {"ascending": (0.6, -0.1, 0.79), "descending": (-0.6, -0.1, 0.79)}
ERROR = 0.003


@pytest.mark.parametrize("wide", [0.6, 1.5])
def test_a_bridge_finds_the_size_of_a_density_within_the_error_that_it_says(wide):
    random = np.random.default_rng(0)
    proposal = multivariate_t(np.zeros(4), wide**2 * np.eye(4), df=5, seed=random)
    normal = multivariate_normal(np.zeros(4))
    apart = []
    for _ in range(60):
        first, second = random.normal(size=(700, 4)), proposal.rvs(900)
        ratios = [3.7 + normal.logpdf(each) - proposal.logpdf(each) for each in (first, second)]
        found = by_bridge(*ratios, effective=700)
        apart.append((found.log - 3.7) / found.error)
    assert abs(np.mean(apart)) < 0.5
    assert 0.7 < np.std(apart) < 1.4


def test_the_evidence_of_two_modes_of_unequal_size_holds_both():
    random = np.random.default_rng(1)
    centres, shares = np.array([[-3.0, 0.0], [3.0, 1.0]]), np.array([0.8, 0.2])
    chosen = random.choice(2, 4000, p=shares)
    draws = centres[chosen] + 0.3 * random.normal(size=(4000, 2))

    def density(points):
        parts = [
            math.log(share) + multivariate_normal(centre, 0.09 * np.eye(2)).logpdf(points)
            for share, centre in zip(shares, centres, strict=True)
        ]
        return logsumexp(parts, axis=0) - 2.0

    found = evidence_of(density, Draws(draws[None], "importance", 0.1, 4000.0), random)
    assert found.log == pytest.approx(-2.0, abs=4 * found.error + 0.02)


def track(folder: Path, name: str, volume: float, seed: int) -> tuple[np.ndarray, ...]:
    """A file of a point source below the origin, depth 3 km; and its numbers."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(-8000, 8000, (2, 100))
    look = np.array(LOOKS[name]) / np.linalg.norm(LOOKS[name])
    moved = displacement(x, y, look, 3000.0) * volume + random.normal(0, ERROR, 100)
    table = np.column_stack([x, y, moved, np.full(100, ERROR), np.tile(look, (100, 1))])
    np.savetxt(folder / f"{name}.txt", table)
    return x, y, look, moved


def displacement(x, y, look, depth):
    """Along the line of sight, of a unit volume change (Mogi 1958), Poisson's ratio 0.25 [1/m²]."""
    distance = np.sqrt(x**2 + y**2 + depth**2)
    return 0.75 / np.pi * (x * look[0] + y * look[1] + depth * look[2]) / distance**3


@pytest.mark.parametrize(("volume", "seed"), [(2e6, 0), (6e4, 1)])
def test_that_of_a_source_is_the_integral_over_depth_and_volume(tmp_path, volume, seed):
    tracks = [track(tmp_path, name, volume, seed + 10 * k) for k, name in enumerate(LOOKS)]
    observation = qexp.observe([tmp_path / f"{name}.txt" for name in LOOKS]).observation
    found = qexp.invert(
        observation,
        posterior=True,
        declared_noise=True,
        offsets="none",
        fixed={"east": 0, "north": 0},
        bounds={"depth": (1, 10), "delta_volume": (-10, 10)},
    ).posterior.evidence
    volumes = np.linspace(-1e7, 1e7, 4001)
    over_depth = []
    for depth in np.linspace(1000, 10_000, 901):
        square = product = 0.0
        for x, y, look, moved in tracks:
            signal = displacement(x, y, look, depth) / ERROR
            square += signal @ signal
            product += signal @ moved / ERROR
        logs = volumes * product - 0.5 * square * volumes**2
        over_depth.append(logsumexp(logs) - math.log(len(volumes)))
    exact = logsumexp(over_depth) - math.log(len(over_depth))
    assert found.log == pytest.approx(exact, abs=3 * found.error + 0.02)
    assert found.error < 0.03


def test_sources_and_none_share_the_probability_and_the_simplest_that_fits_has_most(tmp_path):
    for number, name in enumerate(LOOKS):
        track(tmp_path, name, 2e6, number)
    observation = qexp.observe([tmp_path / f"{name}.txt" for name in LOOKS]).observation
    best = qexp.invert(observation, source=["mogi", "mctigue"], posterior=True, starts=4, draws=400)
    one, other = best.document()["comparison"]
    assert one["source"] == "mogi"
    assert one["probability"] + other["probability"] == pytest.approx(1, abs=1e-6)
    ratio = math.log(one["probability"] / other["probability"])
    assert ratio == pytest.approx(one["log_evidence"] - other["log_evidence"])
    assert one["probability"] > 0.9
    assert "no source" in str(best)
