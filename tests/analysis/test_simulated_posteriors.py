"""Posteriors of simulated observations by importance sampling, against exact ones."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from qexp import assemble
from qexp.analysis.posteriors.likelihoods import likelihoods
from qexp.analysis.posteriors.simulated import Posteriors, posteriors
from qexp.calibration.c2st import distinguished
from qexp.datasets.generated import GeneratedDataset
from qexp.estimation.exact.posterior import Posterior
from qexp.estimation.exact.unknowns import unknowns_of
from qexp.estimation.exact.whitening import Whitening
from qexp.estimation.sampling.draws import METHODS
from qexp.estimation.sampling.turned import searched
from qexp.seeds import Seeds
from tests.conftest import SOUND

LOG_NORMAL = {"type": "log_normal", "parameters": {"mu": 0.0, "sigma": 1.0}}
UNIFORM = {"type": "uniform", "parameters": {"a": -2.0, "b": 2.0}}
EXPONENTIAL = {"type": "exponential", "parameters": {"range": 2.0}}
HIDING = [EXPONENTIAL, {"type": "decorrelation", "parameters": {"share": 0.4, "patch_size": 2.0}}]
WHOLE = [(0.0, 1.0)]


def dataset(size: int, noise_model: Any, priors: dict[str, Any] | None = None, **fixed: float) -> GeneratedDataset:
    """A point source in 6.4 km × 6.4 km; depth and volume change vary if nothing else is asked for."""
    priors = priors or {"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL}
    document = copy.deepcopy(SOUND["dataset"])
    known = {"azimuth": 0.0, "incidence": 0.33, "x_res": 6.4 / size, "y_res": 6.4 / size, "x": 0.0, "y": 0.0}
    known |= {"depth": 1.5, "delta_volume": 1.0, "noise": 0.01, **fixed}
    document |= {
        "size": [size, size],
        "fixed": {name: value for name, value in known.items() if name not in priors},
        "varyings": {name: [[0.2, 0.8]] for name in priors},
        "distributions": priors,
        "noise_model": noise_model,
    }
    del document["matrix"]
    return assemble.generated_of(document, assemble.BUILT_IN)


def observed(of: GeneratedDataset, count: int) -> dict[str, torch.Tensor]:
    return of.sample(dict.fromkeys(of.test, WHOLE), count, Seeds(3), ("test",), torch.device("cpu"))


def exact(of: GeneratedDataset, samples: dict[str, torch.Tensor], count: int) -> tuple[list[str], np.ndarray]:
    """Names, and draws from exact posteriors, (observation, draw, variable)."""
    whitening, unknowns = Whitening(of, ["displacement"], {}), unknowns_of(of, ["displacement"])
    draws = Posterior(unknowns, whitening).draws(whitening(samples), count, np.random.default_rng(0))
    return unknowns.names, draws


def widths(draws: np.ndarray) -> np.ndarray:
    """Of the central 90 %, (observation, variable)."""
    low, high = np.quantile(draws, [0.05, 0.95], axis=1)
    return high - low


@pytest.mark.parametrize("noise_model", ["white", EXPONENTIAL], ids=["white", "exponential"])
def test_draws_are_those_of_the_exact_posterior(noise_model):
    of = dataset(16, noise_model)
    samples = observed(of, 12)
    made = posteriors(of, ["displacement"], samples, count=2000)
    names, draws = exact(of, samples, 2000)
    order = [made.names.index(name) for name in names]
    np.testing.assert_allclose(np.median(widths(made.draws[..., order]) / widths(draws), axis=0), 1.0, atol=0.05)
    for observation in range(12):
        for place, column in enumerate(order):
            told = kstest(made.draws[observation, :, column], draws[observation, :, place])
            assert told.statistic < 0.08, (observation, names[place])
    assert (made.ess > 1000).all()
    assert not made.doubts


def test_a_start_far_away_changes_nothing():
    of = dataset(16, "white")
    samples = observed(of, 3)
    start = {"depth": np.array([0.01, 30.0, np.nan]), "delta_volume": np.array([50.0, 0.01, 1.0])}
    without = posteriors(of, ["displacement"], samples, count=2000)
    with_one = posteriors(of, ["displacement"], samples, start, count=2000)
    np.testing.assert_allclose(widths(with_one.draws), widths(without.draws), rtol=0.2)


@pytest.mark.parametrize("unknown", ["y", "azimuth"])
def test_signals_around_a_posterior_are_enough_where_those_of_the_prior_are_too_different(unknown):
    """Of shallow sources anywhere; an azimuth is no parameter of a source, so that images are simulated."""
    priors = {"x": UNIFORM, unknown: UNIFORM, "depth": LOG_NORMAL, "delta_volume": LOG_NORMAL}
    of = dataset(32, "white", priors)
    samples = observed(of, 3)
    ((_, likelihood),) = likelihoods(of, ["displacement"], samples, [])
    prior, random = likelihood.prior, np.random.default_rng(0)
    spanning, checked = (prior.values(random.standard_normal((count, 4))) for count in (400, 100))
    assert likelihood.reduced(spanning, checked) is None
    made = posteriors(of, ["displacement"], samples, count=2000)
    assert not made.doubts
    for observation in range(3):
        signals = likelihood.signals.of(observation)
        start = prior.values(np.zeros((1, 4)))
        for column, name in enumerate(prior.names):
            if name in priors:
                start[0, column] = float(samples[name][observation, 0]) * likelihood.factors[name]
        whole = searched(signals, prior, prior.scores(start.numpy()), None)
        draws = likelihood.values(METHODS["importance"](whole.density, whole.proposal, 4000, random).all, prior)
        expected = draws[:, [likelihood.names.index(name) for name in made.names]]
        spread = expected.std(axis=0)
        np.testing.assert_allclose((made.draws[observation].mean(axis=0) - expected.mean(axis=0)) / spread, 0, atol=0.1)
        np.testing.assert_allclose(made.draws[observation].std(axis=0) / spread, 1.0, atol=0.1)


@pytest.mark.slow
def test_where_pixels_are_hidden_and_the_source_may_lie_anywhere_true_values_are_drawn_as_often_as_they_should():
    of = dataset(12, HIDING, {"x": UNIFORM, "y": UNIFORM, "depth": LOG_NORMAL, "delta_volume": LOG_NORMAL})
    samples = observed(of, 24)
    made = posteriors(of, ["displacement"], samples, count=500)
    truth = np.stack([samples[name][:, 0].double().numpy() for name in made.names], axis=1)
    below = (made.draws < truth[:, None]).mean(axis=1)
    for column, name in enumerate(made.names):
        assert kstest(below[:, column], "uniform").pvalue > 1e-3, name
    assert (np.abs(made.draws[..., made.names.index("x")]) <= 2).all()


def told(made: Posteriors, names: list[str], draws: np.ndarray) -> np.ndarray:
    """Shares of draws that are told apart, in the logarithms of positive variables, (observation,)."""
    order = [made.names.index(name) for name in names]
    pairs = zip(np.log(draws), np.log(made.draws[..., order]), strict=True)
    return np.array([distinguished(one, other, seed=0).accuracy for one, other in pairs])


@pytest.mark.slow
@pytest.mark.parametrize("noise_model", ["white", EXPONENTIAL], ids=["white", "exponential"])
def test_no_classifier_tells_draws_from_those_of_the_exact_posterior_whatever_the_signal(noise_model):
    of = dataset(64, noise_model)
    samples = observed(of, 200)
    signals = of.signals({name: samples[name][:, 0].double().numpy() for name in of.test})
    ratio = np.linalg.norm(Whitening(of, ["displacement"], {})(signals), axis=1)
    wanted = np.geomspace(0.6, 700.0, 8)
    chosen = [int(np.abs(np.log(ratio / one)).argmin()) for one in wanted]
    few = {name: values[chosen] for name, values in samples.items()}
    made = posteriors(of, ["displacement"], few, count=1000)
    names, draws = exact(of, few, 1000)
    assert told(made, names, draws).max() <= 0.55
    assert not made.doubts
