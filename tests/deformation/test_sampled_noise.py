"""`qexp invert` with the noise of tracks sampled, or with outliers."""

import json
import re
from dataclasses import replace

import arviz
import numpy as np
import pytest

import qexp
from qexp.errors import QexpError
from qexp.observations.observation import Observation, write_observation
from tests.conftest import call
from tests.deformation.observed import CRS, TRUTH, observed
from tests.inference.tracks import EXPONENTIAL


def estimated(size=10, **changes):
    noise = replace(EXPONENTIAL, nugget=0.005**2, estimated=True)
    tracks = observed(EXPONENTIAL, size=size).tracks
    return Observation(tuple(replace(track, noise=noise, **changes) for track in tracks), CRS)


@pytest.mark.heavy
def test_an_estimated_noise_is_sampled_and_told_by_track_in_table_document_and_draws(tmp_path):
    write_observation(estimated(), tmp_path / "obs.nc")
    asked = ["--posterior", "--starts", "4", "--draws", "1000", "--to", tmp_path / "to"]
    said = call("invert", tmp_path / "obs.nc", *asked)
    document = json.loads((tmp_path / "to" / "result.json").read_text())["posterior"]
    names = [f"{track}.{name}" for track in ("ascending", "descending") for name in NOISE]
    assert list(document["noise"]) == names
    assert re.search(r"ascending\.range +km +\d", said.done())
    assert "95 % of log-normal" in said.stdout
    assert document["noise_factor"] is None
    truth = {"sill": 100.0, "range": 1.5, "nugget": 25.0}
    draws = arviz.from_netcdf(tmp_path / "to" / "posterior.nc").posterior
    for name in names:
        of = document["noise"][name]
        low, high = of["interval95"]
        assert low < truth[name.partition(".")[2]] < high
        least, largest = of["prior"]["between"]
        assert least < high < 2 * largest
        assert low < largest
        assert float(draws[name].median()) == pytest.approx(of["median"])
        assert draws[name].attrs["units"] == of["unit"]
    assert not any(remark.startswith("the posterior") for remark in document["remarks"])


NOISE = ("sill", "range", "nugget")


@pytest.mark.heavy
def test_noise_that_was_declared_is_sampled_when_asked_and_otherwise_all_is_as_it_was():
    asked = {"posterior": True, "starts": 3, "draws": 300}
    declared = observed(EXPONENTIAL, size=10)
    usual = qexp.invert(declared, **asked).posterior
    fixed = qexp.invert(estimated(), **asked, noise_model="fixed").posterior
    np.testing.assert_array_equal(usual.draws, fixed.draws)
    assert not usual.noise
    sampled = qexp.invert(declared, **asked, noise_model="sampled").posterior
    assert sampled.noise_factor is None
    assert sampled.noise_draws.shape == (1, 300, 6)
    for name, truth in TRUTH.items():
        of = sampled.parameters[name]
        assert abs(of.median - truth) < 4 * of.deviation
        assert of.deviation == pytest.approx(usual.parameters[name].deviation, rel=0.4)


@pytest.mark.heavy
def test_outliers_are_named_and_leave_the_posterior_as_it_was():
    asked = {"posterior": True, "starts": 4, "draws": 1000}
    clean = observed(EXPONENTIAL, size=12)
    tracks = [
        replace(one, displacement=one.displacement + 0.1 * (np.arange(144) % 29 == 7))
        for one in clean.tracks
    ]
    usual = qexp.invert(clean, **asked).posterior.parameters
    robust = qexp.invert(Observation(tuple(tracks), CRS), **asked, robust=True)
    assert sum("5 of the 144 points" in remark for remark in robust.remarks) == 2
    for name, of in robust.posterior.parameters.items():
        assert abs(of.median - usual[name].median) < 0.8 * usual[name].deviation
        assert of.deviation == pytest.approx(usual[name].deviation, rel=0.3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise_model": "sampled"}, "add posterior=True"),
        ({"posterior": True, "noise_model": "free"}, 'noise_model="free": choose from sampled'),
        (
            {"posterior": True, "noise_model": "sampled", "declared_noise": True},
            "exclude each other",
        ),
    ],
)
def test_what_contradicts_a_sampled_noise_is_refused(options, said):
    with pytest.raises(QexpError, match=said):
        qexp.invert(observed(), **options)
