"""Whether a source is seen, and the least one that would be, against own covariances, Mogi sources
and detectors.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray
from scipy.stats import norm

import qexp
from qexp.base.quantities import QUANTITIES
from qexp.deformation.detectable import detectable
from qexp.errors import QexpError
from qexp.inference.detection import SCANNED, Detection, detection, largest_explained
from qexp.inference.least_squares import possible_draws
from qexp.inference.parameters import Units
from qexp.observations.observation import CorrelatedNoise, write_observation
from tests.conftest import call
from tests.deformation.observed import observed
from tests.inference.tracks import (
    ASCENDING,
    DESCENDING,
    EXPONENTIAL,
    covariance,
    point_source,
    problem_of,
    track,
)

NO_SOURCE = (0.0, 0.0, 1e3, 0.0)


def noises(noise, seed, size=12, said=None):
    """Two tracks of noise alone; `said` is the noise that they say to have."""
    looks = (ASCENDING, DESCENDING)
    tracks = [
        track(f"track {number}", look, NO_SOURCE, noise, size=size, seed=10 * seed + number)
        for number, look in enumerate(looks)
    ]
    return [replace(one, noise=said or noise) for one in tracks]


@pytest.mark.parametrize("ramps", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_the_least_volume_change_has_the_projection_that_neyman_and_pearson_ask_for(count, ramps):
    tracks = noises(EXPONENTIAL, 0)[:count]
    problem, wanted = problem_of("mogi", tracks, offsets=True, ramps=ramps)
    beside = Detection(0.0, np.linspace(5, 20, 2000), problem.model.points)
    least = detectable(problem, beside, wanted, Units(QUANTITIES, (1e5, 2e5)), 0.01)
    row, column = 20, 33
    for depth, amount in zip(least.depth, least.least[:, row, column], strict=True):
        place = float(least.east[column]) - 1e5, float(least.north[row]) - 2e5
        squares = 0.0
        for one in tracks:
            total = covariance(one.x, one.y, one.noise) + np.diag(one.error**2)
            moved = point_source(one.x, one.y, *place, 1e3 * float(depth), 1e6 * float(amount))
            columns = [np.ones(one.size), one.x / 1e3, one.y / 1e3][: 3 if ramps else 1]
            inverse = np.linalg.cholesky(np.linalg.inv(total)).T
            signal = inverse @ (moved * one.direction).sum(axis=1)
            nuisances = inverse @ np.stack(columns, axis=1)
            left = signal - nuisances @ np.linalg.lstsq(nuisances, signal, rcond=None)[0]
            squares += left @ left
        known = least.known_over_searched * np.sqrt(squares)
        assert known == pytest.approx(norm.ppf(0.995) + norm.ppf(0.9), rel=1e-6)
    assert float(least.least_below.max()) > float(least.least_below.min()) > 0


def test_noise_alone_shows_a_source_as_often_as_it_may():
    tracks = noises(EXPONENTIAL, 0)
    problem, wanted = problem_of("mogi", tracks, offsets=True)
    found = detection(problem, wanted, tracks, 0)
    random = np.random.default_rng(5)
    drawn = []
    for one in tracks:
        total = covariance(one.x, one.y, one.noise) + np.diag(one.error**2)
        drawn.append(random.normal(size=(1000, one.size)) @ np.linalg.cholesky(total).T + 0.1)
    rows = problem.weighting(torch.from_numpy(np.concatenate(drawn, axis=1)))
    sources = problem.coordinates.values(possible_draws(problem, wanted, SCANNED, 0))
    explained = largest_explained(problem, sources, rows)
    signal = np.sqrt((found.degrees - 1) / ((rows.square().sum(dim=1) / explained).numpy() - 1))
    shares = [(signal > found.threshold(rate)).mean() for rate in (0.01, 0.1, 0.5)]
    # four standard errors of 1,000 of these, and of the noises by which thresholds are known
    np.testing.assert_allclose(shares, [0.01, 0.1, 0.5], atol=0.08)
    assert shares[0] < 0.026
    assert 0.05 < shares[1] < 0.15


@pytest.mark.heavy
def test_noise_whose_type_was_estimated_wrongly_is_no_source_and_a_strong_source_is_one():
    true = CorrelatedNoise("exponential", 4e-4, 6000.0)
    wrong = CorrelatedNoise("gaussian", 3e-4, 3000.0)

    def p_value(tracks):
        problem, wanted = problem_of("mogi", tracks, offsets=True)
        return detection(problem, wanted, tracks, 0).p_value

    for seed in (2, 4):
        assert p_value(noises(true, seed, said=wrong)) < 0.03
        tracks = noises(true, seed, said=replace(wrong, estimated=True))
        assert p_value(tracks) > 0.3
    for one in tracks:
        moved = point_source(one.x, one.y, 500.0, 200.0, 1500.0, 3e6)
        one.displacement[:] += (moved * one.direction).sum(axis=1)
    assert p_value(tracks) < 0.01


@pytest.mark.heavy
def test_invert_says_whether_a_source_is_seen_and_maps_the_least_one(tmp_path, monkeypatch):
    monkeypatch.delenv("QEXP_FIGURES", raising=False)
    seen = observed(EXPONENTIAL, size=10)
    file = tmp_path / "obs.nc"
    write_observation(seen, file)
    asked = ("invert", file, "--starts", "4", "--detectable", "--fix", "depth=2")
    made = call(*asked, "--to", tmp_path / "made", "--format", "svg")
    assert "a source is seen at 1 % false alarms" in made.stderr
    assert "would be seen with a probability of 90 %" in made.stderr
    document = json.loads((tmp_path / "made" / "result.json").read_text())
    assert document["detection"]["seen"]
    assert document["detectable"]["depth"] == [2.0]
    assert "2 km deep" in (tmp_path / "made" / "detectable.svg").read_text()
    with xarray.open_dataset(tmp_path / "made" / "detectable.nc") as least:
        assert least.least.dims == ("depth", "north", "east")
        assert least.least.attrs["units"] == "10⁶ m³"
        places = [one.places for one in seen.tracks]
        assert places[0][:, 0].min() < float(least.east.min()) < float(least.east.max())
        (at_place,) = document["detectable"]["least_at_place"]
        near = least.least.sel(east=least.place[0], north=least.place[1], method="nearest")
        assert float(near[0]) == pytest.approx(at_place, rel=0.1)


@pytest.mark.heavy
def test_what_has_no_map_of_least_amplitudes_is_refused():
    seen = observed(size=8)
    for wrong, said in (
        ({"source": "mctigue"}, "fix radius"),
        ({"source": "mogi+mogi"}, "a single source with a depth"),
        ({"fixed": {"east": 426_000.0}}, "do not fix these"),
        ({"source": "mogi", "fixed": {"delta_volume": 1}}, "leave one free"),
        ({"source": "okada", "fixed": {"length": 1, "width": 1}}, "fix strike, dip"),
        ({"false_alarms": 0.0}, "choose from 0.001"),
    ):
        with pytest.raises(QexpError, match=said):
            qexp.invert(seen, detectable=True, starts=2, **wrong)


def test_places_below_no_ground_have_no_least_amplitude():
    (one, _) = noises(EXPONENTIAL, 0, 8)
    hilly = [replace(one, elevation=np.linspace(-900.0, 2000.0, one.size))]
    problem, wanted = problem_of("mogi", hilly, fixed={"depth": 800.0}, offsets=True)
    beside = Detection(0.0, np.linspace(5, 20, 2000), problem.model.points)
    least = detectable(problem, beside, wanted, Units(QUANTITIES, (0.0, 0.0)), 0.01)
    assert least.least.isnull().all()
    assert least.least_below.notnull().any()
