"""The evidence of models, against closed forms and integrals of own code."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, multivariate_t, norm

import qexp
from qexp.deformation.inversion import averages
from qexp.deformation.posterior import ParameterPosterior, SourcePosterior
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


def noise(folder: Path, seed: int):
    """An observation of two tracks without a source; and their numbers."""
    tracks = [track(folder, name, 0.0, seed + 100 * k) for k, name in enumerate(LOOKS)]
    return qexp.observe([folder / f"{name}.txt" for name in LOOKS]).observation, tracks


def log_mean_likelihood(tracks, depths, largest):
    """Of sources below the origin over that of none, with errors that share an unknown factor and
    offsets that are subtracted, over even volumes up to ± the largest.
    """
    volumes = np.linspace(-largest, largest, 20_001)
    data = [(moved - moved.mean()) / ERROR for *_, moved in tracks]
    none = sum(one @ one for one in data)
    degrees = sum(len(one) - 1 for one in data)
    logs = []
    for depth in depths:
        chi2 = np.zeros(len(volumes))
        for (x, y, look, _), one in zip(tracks, data, strict=True):
            signal = displacement(x, y, look, depth) / ERROR
            signal -= signal.mean()
            chi2 += one @ one - 2 * volumes * (signal @ one) + volumes**2 * (signal @ signal)
        logs.append(logsumexp(-degrees / 2 * np.log(chi2 / none)) - math.log(len(volumes)))
    return logsumexp(logs) - math.log(len(logs))


@pytest.mark.parametrize("seed", [2, 3])
def test_pure_noise_has_a_posterior_as_wide_as_its_prior_and_the_evidence_of_the_integral(
    tmp_path, seed
):
    observation, tracks = noise(tmp_path, seed)
    bounds = {"depth": (0.5, 20), "delta_volume": (-20, 20)}
    place = {"east": 0, "north": 0}
    found = qexp.invert(observation, posterior=True, starts=4, fixed=place, bounds=bounds).posterior
    exact = log_mean_likelihood(tracks, np.linspace(500, 20_000, 1951), 2e7)
    assert found.evidence.log == pytest.approx(exact, abs=3 * found.evidence.error + 0.02)
    assert found.parameters["depth"].high > 17
    volume = found.parameters["delta_volume"]
    assert abs(volume.median) < 2 * volume.deviation


@pytest.mark.heavy
def test_where_the_data_show_no_source_none_has_most_of_the_probability(tmp_path):
    observation, _ = noise(tmp_path, 5)
    asked = {"source": ["mogi", "mctigue"], "posterior": True, "starts": 4, "draws": 400}
    best = qexp.invert(observation, **asked, to=tmp_path / "kept")
    found = best.document()
    assert sum(row["probability"] for row in found["comparison"]) < 0.1
    assert any("follow the values between which sources" in text for text in found["remarks"])
    (priors,) = (row["priors"] for row in found["comparison"] if row["source"] == "mctigue")
    assert priors["radius"]["distribution"] == "∝ value³"
    free = [*priors]
    assert free == ["east", "north", "depth", "radius", "pressure_over_mu"]
    assert [row["parameter"] for row in found["averaged"]] == free[:3]
    assert "∝ value³" in str(best)
    with (tmp_path / "kept" / "averaged.csv").open(encoding="utf-8") as file:
        depth = list(csv.DictReader(file))[2]
    assert float(depth["low90"]) == pytest.approx(found["averaged"][2]["low90"])


def of_draws(**draws):
    """A posterior with these draws of parameters in km."""
    summary = ParameterPosterior("km", 0, 0, 1, 0, 0, (0, 0), "uniform", 0, 9, 0.0)
    posterior = object.__new__(SourcePosterior)
    values = np.stack(list(draws.values()), axis=-1)[None]
    vars(posterior).update(parameters=dict.fromkeys(draws, summary), draws=values)
    return posterior


def test_an_average_over_sources_is_the_mixture_in_proportion_to_evidence_whatever_their_draws():
    random = np.random.default_rng(0)
    few, many = random.normal(0, 1, 4000), random.normal(10, 1, 40_000)
    posteriors = {"one": of_draws(depth=few, radius=few), "other": of_draws(depth=many)}
    (depth,) = averages(posteriors, {"one": math.log(0.3) - 900, "other": math.log(0.7) - 900})
    assert depth["sources"] == "one, other"
    assert depth["low90"] == pytest.approx(norm.ppf(0.05 / 0.3), abs=0.1)
    assert depth["median"] == pytest.approx(10 + norm.ppf(0.2 / 0.7), abs=0.05)
    assert depth["high90"] == pytest.approx(10 + norm.ppf(0.65 / 0.7), abs=0.05)
