"""Posteriors of observations: draws, what is printed and written, and what is refused."""

import json
import math
import re
from dataclasses import replace

import arviz
import matplotlib
import numpy as np
import pytest
import xarray

import qexp
from qexp.errors import QexpError
from qexp.extend import okada
from qexp.inference import fit
from qexp.inference.density import power
from qexp.observations.observation import Observation, Track, write_observation
from tests.conftest import call
from tests.deformation.observed import CRS, ORIGIN, SOURCE, TRUTH, observed
from tests.inference.tracks import (
    ASCENDING,
    DESCENDING,
    EXPONENTIAL,
    point_source,
    track,
    two_tracks,
)

NORMAL = 2 * 1.6448536
"""Width of the central 90 % of a normal distribution of standard deviation 1."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("observed")
    write_observation(observed(EXPONENTIAL), made / "obs.nc")
    return made


@pytest.fixture(scope="module")
def drawn(folder):
    """`qexp invert --posterior` with all its files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("QEXP_FIGURES", raising=False)
        options = ("--posterior", "--to", folder / "result", "--starts", "6", "--json")
        document = json.loads(call("invert", folder / "obs.nc", *options).done())
    return folder / "result", document


@pytest.mark.heavy
def test_the_document_has_intervals_around_the_true_source_and_how_they_were_found(drawn):
    _, document = drawn
    posterior = document["posterior"]
    assert posterior["method"] == "importance"
    assert posterior["draws"] == 2000
    assert posterior["pareto_k"] < 0.7
    assert posterior["ess"] > 1000
    assert posterior["r_hat"] is None
    assert posterior["remarks"] == []
    assert posterior["noise_factor"] == pytest.approx(math.sqrt(document["chi2_reduced"]), rel=0.05)
    for name, truth in TRUTH.items():
        of, errors = posterior["parameters"][name], document["parameters"][name]
        low, high = of["interval90"]
        assert low < of["median"] < high
        assert abs(of["median"] - truth) < high - low
        expected = NORMAL * errors["standard_error"] * math.sqrt(document["chi2_reduced"])
        assert high - low == pytest.approx(expected, rel=0.25)
        assert posterior["correlations"][name][name] == pytest.approx(1)
    assert posterior["parameters"]["delta_volume"]["prior"]["distribution"] == "uniform"
    assert posterior["correlations"]["depth"]["delta_volume"] > 0.7


@pytest.mark.heavy
def test_arviz_reads_summarises_and_plots_the_draws(drawn):
    folder, document = drawn
    data = arviz.from_netcdf(folder / "posterior.nc")
    assert {group.strip("/") for group in xarray.open_groups(folder / "posterior.nc")} - {""} == {
        "posterior",
        "sample_stats",
        "posterior_predictive",
        "observed_data",
    }
    assert dict(data.posterior.sizes) == {"chain": 1, "draw": 2000}
    summary = arviz.summary(data, kind="stats", round_to="none")
    for name, of in document["posterior"]["parameters"].items():
        assert summary.loc[name, "mean"] == pytest.approx(of["mean"], rel=1e-6)
    assert data.posterior["depth"].attrs["units"] == "km"
    assert data.observed_data.sizes["point"] == 2 * 14**2
    predicted, seen = data.posterior_predictive["displacement"], data.observed_data["displacement"]
    assert predicted.sizes == {"chain": 1, "draw": 200, "point": 2 * 14**2}
    low, high = predicted.quantile([0.05, 0.95], dim=("chain", "draw"))
    assert 0.8 < float(((low < seen) & (seen < high)).mean()) < 0.97
    with matplotlib.rc_context({"backend": "agg"}):
        # Version 1 of ArviZ calls it by another name.
        plot_predictions = getattr(arviz, "plot_ppc", None) or arviz.plot_ppc_dist
        assert plot_predictions(data) is not None
        assert arviz.plot_pair(data, var_names=["depth", "delta_volume"]) is not None


@pytest.mark.heavy
def test_the_folder_has_a_picture_of_all_pairs_and_a_table_for_latex(drawn):
    folder, _ = drawn
    listed = json.loads((folder / "result.json").read_text())["files"]
    assert {"posterior.nc", "posterior.png", "posterior.tex"} <= set(listed)
    assert (folder / "posterior.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "posterior.tex").read_text()
    assert r"\begin{tabular}" in text
    assert "volume change & 10\\ensuremath{^{6}} m\\ensuremath{^{3}} & 2.9" in text


@pytest.mark.heavy
def test_the_printed_table_says_the_prior_and_what_the_weights_are_worth(folder):
    said = call(
        "invert",
        folder / "obs.nc",
        "--posterior",
        "--draws",
        "500",
        "--starts",
        "6",
        "--bounds",
        "depth=1:2",
    )
    assert "uniform, 1.00 to 2.00\n" in said.done()
    assert re.search("posterior by importance: Pareto k̂ .* effective draws, 500 kept", said.stderr)


@pytest.mark.heavy
def test_chains_find_the_same_posterior():
    seen = observed(EXPONENTIAL)
    asked = {"posterior": True, "starts": 6, "fixed": {"east": SOURCE[0]}, "draws": 4000}
    usual = qexp.invert(seen, **asked, seed=1).posterior
    other = qexp.invert(seen, **asked, method="sampler").posterior
    assert other.found.method == "sampler"
    for name, of in usual.parameters.items():
        mine = other.parameters[name]
        assert abs(mine.median - of.median) < 0.15 * of.deviation
        assert mine.deviation == pytest.approx(of.deviation, rel=0.08)


@pytest.mark.heavy
def test_draws_are_counted_on_the_way_and_an_estimated_noise_is_said_to_narrow_intervals_once():
    data = observed(EXPONENTIAL)
    noisy = [replace(track, noise=replace(track.noise, estimated=True)) for track in data.tracks]
    told: list[tuple[int, int]] = []
    options = {
        "posterior": True,
        "draws": 100,
        "starts": 2,
        "on_drawn": lambda done, of: told.append((done, of)),
    }
    inversion = qexp.invert(replace(data, tracks=tuple(noisy)), **options)
    assert told[0][0] == 0
    assert all(done <= of for done, of in told)
    assert told[-1][0] > 0
    assert (
        sum("intervals of least squares are too narrow" in text for text in inversion.remarks) == 1
    )


@pytest.mark.heavy
def test_errors_that_were_declared_too_small_widen_the_posterior_unless_they_count_as_declared():
    small = Observation(
        tuple(replace(track, error=track.error / 3) for track in observed().tracks), CRS
    )
    asked = {"posterior": True, "starts": 6}
    scaled, declared = (
        qexp.invert(small, **asked, declared_noise=flag).posterior for flag in (False, True)
    )
    assert scaled.typical_noise_factor == pytest.approx(3, rel=0.1)
    assert declared.noise_factor is None
    for name, of in scaled.parameters.items():
        assert of.deviation / declared.parameters[name].deviation == pytest.approx(3, rel=0.15)


@pytest.mark.heavy
def test_stations_ramps_and_two_sources_have_posteriors_too():
    random = np.random.default_rng(5)
    x, y = (SOURCE[axis] + random.uniform(-4e3, 4e3, 12) for axis in (0, 1))
    places = np.repeat(np.stack([x, y]), 3, axis=1)
    direction = np.tile(np.eye(3), (12, 1))
    moved = (point_source(*places, *SOURCE) * direction).sum(axis=1) + random.normal(0, 0.002, 36)
    gnss = Track(
        "stations", "gnss", *places, moved, np.full(36, 0.002), direction, np.ones(36, bool)
    )
    seen = Observation((*observed().tracks, gnss), CRS)
    made = qexp.invert(seen, posterior=True, starts=6, ramps=True, draws=500)
    for name, truth in TRUTH.items():
        assert (
            abs(made.posterior.parameters[name].median - truth)
            < 4 * made.posterior.parameters[name].deviation
        )
        assert np.median(made.posterior.draws_of(name)) == made.posterior.parameters[name].median
    with pytest.raises(QexpError, match="no parameter 'depht'; did you mean 'depth'"):
        made.posterior.draws_of("depht")
    fixed = {
        f"mogi_2.{name}": value
        for name, value in {"east": 4.22e5, "north": 4.515e6, "depth": 2.0}.items()
    }
    two = qexp.invert(
        seen, source="mogi+mogi", posterior=True, starts=6, fixed=fixed, draws=500
    ).posterior
    assert list(two.parameters) == [*(f"mogi_1.{name}" for name in TRUTH), "mogi_2.delta_volume"]
    assert (
        abs(two.parameters["mogi_2.delta_volume"].median)
        < 4 * two.parameters["mogi_2.delta_volume"].deviation
    )


@pytest.mark.heavy
def test_where_the_data_say_little_the_posterior_is_the_prior_and_that_is_said():
    weak = Observation(
        tuple(replace(track, error=np.full_like(track.error, 10.0)) for track in observed().tracks),
        CRS,
    )
    asked = {"depth": (1.0, 2.0), "delta_volume": (1.0, 2.0)}
    fixed = {"east": SOURCE[0], "north": SOURCE[1]}
    made = qexp.invert(
        weak, posterior=True, starts=6, bounds=asked, declared_noise=True, fixed=fixed
    ).posterior
    for of in made.parameters.values():
        assert (of.low, of.median, of.high) == pytest.approx((1.05, 1.5, 1.95), abs=0.03)
        assert of.at_edge == pytest.approx(1 / 80, abs=0.01)
        assert not of.is_cut
    assert not made.remarks


@pytest.mark.heavy
def test_a_prior_that_cuts_the_posterior_off_is_told_and_one_that_nobody_gave_is_a_remark(folder):
    settings = {"source": (*SOURCE[:2], 20e3, 1e9), "origin": ORIGIN, "size": 14, "spacing": 500.0}
    deep = [
        track(name, look, **settings)
        for name, look in {"ascending": ASCENDING, "descending": DESCENDING}.items()
    ]
    made = qexp.invert(Observation(tuple(deep), CRS), posterior=True, starts=6, draws=500)
    assert [name for name, of in made.posterior.parameters.items() if of.is_cut] == ["depth"]
    assert any(
        re.match(r"\d+% of the posterior of depth lies at an edge of its prior", one)
        for one in made.remarks
    )

    asked = ["--posterior", "--starts", "6", "--draws", "500", "--bounds", "depth=1.49:5"]
    said = call("invert", folder / "obs.nc", *asked)
    assert re.search(r"uniform, 1.49\S* to 5\S*, \d+% at its edge", said.stdout)
    assert "edge" not in said.stderr


@pytest.mark.heavy
def test_a_dike_that_reaches_the_surface_has_a_posterior_and_the_edge_is_named():
    dip, length, width, opening = 1.3, 3000.0, 1800.0, 1.2
    depth = width / 2 * math.sin(dip) + 0.1
    source = [100.0, -200.0, depth, length, width, 0.8, dip, 0.0, 0.0, opening]
    tracks = two_tracks(okada, source, size=9, spacing=800.0)
    fixed = {"strike_slip": 0, "dip_slip": 0, "strike": 0.8}
    result = qexp.invert(
        Observation(tuple(tracks), CRS),
        source="okada",
        fixed=fixed,
        posterior=True,
        starts=2,
        draws=400,
    )
    [edge] = [remark for remark in result.remarks if "edge of the sources" in remark]
    assert "depth, width" in edge
    assert not any("weights" in remark for remark in result.remarks)
    for name, truth in {
        "opening": opening,
        "length": length / 1e3,
        "width": width / 1e3,
        "depth": depth / 1e3,
    }.items():
        made = result.posterior.parameters[name]
        assert 0.9 * made.low < truth < 1.1 * made.high
        assert made.high - made.low < 0.2 * truth


@pytest.mark.heavy
def test_where_a_posterior_fits_better_than_the_estimate_the_search_begins_there(monkeypatch):
    """Of two sources, one start finds the weaker."""
    tracks = []
    for name, look in (("ascending", ASCENDING), ("descending", DESCENDING)):
        weaker = track(name, look, source=(-2000.0, 0.0, 700.0, 1e6), size=12, spacing=600.0)
        other = point_source(weaker.x, weaker.y, 2000.0, 0.0, 700.0, -1.5e6) @ weaker.direction[0]
        tracks.append(replace(weaker, displacement=weaker.displacement + other))
    seen = Observation(tuple(tracks), CRS)
    monkeypatch.setattr(fit, "ROUNDS_AROUND", 0)
    assert qexp.invert(seen, starts=1).parameters["east"].value == pytest.approx(-2000.0, abs=100.0)
    made = qexp.invert(seen, posterior=True, starts=1, draws=200)
    assert made.parameters["east"].value == pytest.approx(2000.0, abs=100.0)
    assert made.posterior.parameters["east"].median == pytest.approx(2000.0, abs=100.0)
    assert not any("fit better than the estimate" in remark for remark in made.remarks)


@pytest.mark.heavy
def test_priors_are_the_same_whatever_the_noise_of_the_data():
    asked = {"posterior": True, "draws": 200, "starts": 4, "source": "mctigue"}
    priors = []
    for seed in (0, 1):
        random = np.random.default_rng(seed)
        tracks = [
            replace(
                one,
                displacement=one.displacement + random.normal(0, 0.02, len(one.x)),
                error=one.error + 0.02,
            )
            for one in observed().tracks
        ]
        made = qexp.invert(Observation(tuple(tracks), CRS), **asked).posterior
        priors.append(
            {name: (of.prior, of.least, of.largest) for name, of in made.parameters.items()}
        )
    assert priors[0] == priors[1]
    assert priors[0]["pressure_over_mu"] == ("uniform", -0.05, 0.05)
    assert priors[0]["radius"][0] == "∝ value³"


@pytest.mark.heavy
def test_the_prior_of_a_size_makes_each_strength_and_each_size_equally_likely():
    """Potencies are slips times length times width: with two slips, the density of a size is its
    square.
    """
    asked = {"posterior": True, "draws": 100, "starts": 1, "source": "okada"}
    fixed = {
        "east": SOURCE[0],
        "north": SOURCE[1],
        "depth": 2.0,
        "strike": 0.5,
        "dip": 1.0,
        "dip_slip": 0.0,
    }
    one = qexp.invert(observed(size=8), **asked, fixed=fixed | {"strike_slip": 0.0}).posterior
    assert [one.parameters[size].prior for size in ("length", "width")] == ["∝ value", "∝ value"]
    two = qexp.invert(observed(size=8), **asked, fixed=fixed, bounds={"width": (0.5, 2)}).posterior
    assert [two.parameters[size].prior for size in ("length", "width")] == ["∝ value²", "uniform"]


def test_a_power_law_is_drawn_as_it_says():
    prior = power("radius", 1.0, 10.0, 2)
    shares = np.linspace(0.0, 1.0, 101)
    values = prior.quantile(shares)
    np.testing.assert_allclose(prior.share(values), shares, atol=1e-12)
    np.testing.assert_allclose(values**3, 1 + shares * 999, rtol=1e-12)
    np.testing.assert_allclose(prior.between_bounds(prior.score(np.array([5.5]))), [0.0], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"draws": 100}, "add posterior=True"),
        ({"method": "sampler"}, "add posterior=True"),
        ({"posterior": True, "method": "magic"}, 'method="magic": choose from auto, sampler'),
        ({"posterior": True, "draws": 3}, "draws=3: choose from 100"),
        ({"posterior": True, "method": "grid"}, 'method="grid": choose from auto, sampler'),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, said):
    with pytest.raises(QexpError, match=said):
        qexp.invert(observed(), **options)


@pytest.mark.heavy
def test_amplitudes_may_be_bounded_far_below_one_of_their_units():
    """The search starts with amplitudes within their bounds, whatever their size."""
    made = qexp.invert(observed(), starts=4, bounds={"delta_volume": (0.001, 0.5)})
    assert made.parameters["delta_volume"].value == pytest.approx(0.5)


@pytest.mark.heavy
def test_the_strike_of_a_dike_that_runs_north_is_not_cut_in_two():
    fixed = {
        "strike_slip": 0.0,
        "dip_slip": 0.0,
        "east": SOURCE[0],
        "north": SOURCE[1],
        "length": 2.0,
    }
    asked = {
        "source": "okada",
        "degrees": True,
        "fixed": fixed,
        "bounds": {"depth": (0.5, 4.0), "width": (0.2, 1.0)},
    }
    made = qexp.invert(
        observed(EXPONENTIAL), posterior=True, starts=16, draws=500, **asked
    ).posterior
    strike, dip = (made.all[:, list(made.parameters).index(name)] for name in ("strike", "dip"))
    assert np.ptp(strike) <= 360
    assert 0 <= dip.min() <= dip.max() <= 90
    assert made.found.ess > 100
