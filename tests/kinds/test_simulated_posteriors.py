"""Posteriors of simulated observations by importance sampling, against exact ones."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray
from scipy.stats import kstest

import qexp
from qexp.base.seeds import Seeds
from qexp.errors import QexpError
from qexp.inference.image_posteriors import SIGNAL_TOLERANCE, Likelihoods, approximated, posteriors
from qexp.inference.integration import grid_of
from qexp.inference.posterior import search_modes
from qexp.inference.sampling import METHODS
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.tables import BUILT_IN
from qexp.metrics.calibration import distinguished
from qexp.simulation.dataset import GeneratedDataset
from qexp.trust.limit import exact_likelihoods
from tests.conftest import SOUND, call, drawing, shared_folder, write_dense
from tests.inference.small_images import (
    EXPONENTIAL,
    HIDING,
    IMAGES,
    LOG_NORMAL,
    UNIFORM,
    document as small_images,
)

SOURCE = {"depth": LOG_NORMAL, "delta_volume": LOG_NORMAL}


def dataset(size: int, noise_model: Any, priors: dict[str, Any] | None = None) -> GeneratedDataset:
    return generated_of(document_of(size, noise_model, priors), BUILT_IN)


def document_of(
    size: int, noise_model: Any, priors: dict[str, Any] | None = None, **fixed: float
) -> dict[str, Any]:
    """A point source in 6.4 km × 6.4 km; depth and volume change vary if nothing else is asked
    for.
    """
    return small_images(priors or SOURCE, noise_model, size, 6.4 / size, **fixed)


def observed(of: GeneratedDataset, count: int) -> dict[str, torch.Tensor]:
    return of.sample(
        {name: [(0.0, 1.0)] for name in of.test}, count, Seeds(3), ("test",), torch.device("cpu")
    )


def exact(of: GeneratedDataset, samples: dict[str, torch.Tensor], count: int) -> np.ndarray:
    """Draws from exact posteriors, (observation, draw, variable)."""
    random, draws = np.random.default_rng(0), {}
    for posterior in approximated(exact_likelihoods(of, IMAGES, ()), samples, random):
        scores = grid_of(posterior.density, posterior.proposal).draws(count, random)
        draws[posterior.observation] = posterior.values(scores, list(of.test))
    return np.stack([draws[observation] for observation in range(len(draws))])


def widths(draws: np.ndarray) -> np.ndarray:
    """Of the central 90 %, (observation, variable)."""
    low, high = np.quantile(draws, [0.05, 0.95], axis=1)
    return high - low


@pytest.mark.heavy
@pytest.mark.parametrize("noise_model", ["white", EXPONENTIAL], ids=["white", "exponential"])
def test_draws_are_those_of_the_exact_posterior(noise_model):
    of = dataset(16, noise_model)
    samples = observed(of, 12)
    made = posteriors(Likelihoods(of, IMAGES), samples, count=2000)
    draws = exact(of, samples, 2000)
    np.testing.assert_allclose(
        np.median(widths(made.values) / widths(draws), axis=0), 1.0, atol=0.05
    )
    for observation in range(12):
        for column, name in enumerate(made.names):
            told = kstest(made.values[observation, :, column], draws[observation, :, column])
            assert told.statistic < 0.08, (observation, name)
    assert (made.ess > 1000).all()
    assert not made.doubts


@pytest.mark.heavy
def test_a_start_far_away_changes_nothing():
    of = dataset(16, "white")
    samples = observed(of, 3)
    start = {"depth": np.array([0.01, 30.0, np.nan]), "delta_volume": np.array([50.0, 0.01, 1.0])}
    without = posteriors(Likelihoods(of, IMAGES), samples, count=2000)
    with_one = posteriors(Likelihoods(of, IMAGES), samples, start, count=2000)
    np.testing.assert_allclose(widths(with_one.values), widths(without.values), rtol=0.2)


@pytest.mark.heavy
def test_where_a_source_beyond_the_prior_fits_far_better_its_draws_are_doubted_and_others_are_not():
    def between(low, high):
        return {"type": "uniform", "parameters": {"a": low, "b": high}}

    strong = between(4, 6)
    of = dataset(16, "white", {"depth": between(1, 3), "delta_volume": strong})
    assert not posteriors(Likelihoods(of, IMAGES), observed(of, 30), count=200).doubts
    deep = observed(dataset(16, "white", {"depth": between(4, 5), "delta_volume": strong}), 6)
    doubts = posteriors(Likelihoods(of, IMAGES), deep, count=200).doubts
    assert [doubt[-1].split(":")[0] for doubt in doubts.values()] == 6 * [
        "a source beyond the prior fits far better"
    ]


@pytest.mark.heavy
@pytest.mark.parametrize("unknown", ["y", "azimuth"])
def test_signals_around_a_posterior_are_enough_where_those_of_the_prior_are_too_different(unknown):
    """Of shallow sources anywhere; an azimuth is no parameter of a source, so that images are
    simulated.
    """
    priors = {"x": UNIFORM, unknown: UNIFORM, "depth": LOG_NORMAL, "delta_volume": LOG_NORMAL}
    of = dataset(32, "white", priors)
    samples = observed(of, 3)
    ((_, likelihood),) = Likelihoods(of, IMAGES)(samples)
    prior, random = likelihood.prior, np.random.default_rng(0)
    spanning, checked = (prior.values(random.standard_normal((count, 4))) for count in (400, 100))
    moved = likelihood.signals.lengthless(spanning)
    assert likelihood.signals.reduced(moved, checked, SIGNAL_TOLERANCE) is None
    made = posteriors(Likelihoods(of, IMAGES), samples, count=2000)
    assert not made.doubts
    for observation in range(3):
        signals = likelihood.signals.of_observation(observation)
        start = prior.values(np.zeros((1, 4)))
        for column, name in enumerate(prior.names):
            if name in priors:
                start[0, column] = float(samples[name][observation, 0]) * likelihood.factors[name]
        density, proposal = search_modes(signals, prior, prior.scores(start.numpy()), None)
        scores = METHODS["auto"](density, proposal, 4000, random).all
        columns = map(likelihood.names.index, made.names)
        expected = np.stack(
            [likelihood.value(column, scores[:, column], density.prior) for column in columns],
            axis=1,
        )
        spread = expected.std(axis=0)
        means = made.values[observation].mean(axis=0), expected.mean(axis=0)
        np.testing.assert_allclose((means[0] - means[1]) / spread, 0, atol=0.1)
        np.testing.assert_allclose(made.values[observation].std(axis=0) / spread, 1.0, atol=0.1)


@pytest.mark.heavy
def test_where_pixels_are_hidden_and_the_source_may_lie_anywhere_true_values_are_drawn_as_often_as_they_should():
    of = dataset(
        12, HIDING, {"x": UNIFORM, "y": UNIFORM, "depth": LOG_NORMAL, "delta_volume": LOG_NORMAL}
    )
    samples = observed(of, 24)
    made = posteriors(Likelihoods(of, IMAGES), samples, count=500)
    truth = np.stack([samples[name][:, 0].double().numpy() for name in made.names], axis=1)
    below = (made.values < truth[:, None]).mean(axis=1)
    for column, name in enumerate(made.names):
        assert kstest(below[:, column], "uniform").pvalue > 1e-3, name
    assert (np.abs(made.values[..., made.names.index("x")]) <= 2).all()


@pytest.mark.heavy
@pytest.mark.parametrize("noise_model", ["white", EXPONENTIAL], ids=["white", "exponential"])
def test_no_classifier_tells_draws_from_those_of_the_exact_posterior_whatever_the_signal(
    noise_model,
):
    of = dataset(64, noise_model)
    samples = observed(of, 200)
    signals = of.signals({name: samples[name][:, 0].double().numpy() for name in of.test})
    ((_, likelihood),) = Likelihoods(of, IMAGES)(samples)
    ratio = (
        likelihood.signals.whiten(signals["displacement"].flatten(1).double()).norm(dim=1).numpy()
    )
    wanted = np.geomspace(0.6, 700.0, 8)
    chosen = [int(np.abs(np.log(ratio / one)).argmin()) for one in wanted]
    few = {name: values[chosen] for name, values in samples.items()}
    made = posteriors(Likelihoods(of, IMAGES), few, count=1000)
    for draws, exact_draws in zip(made.values, exact(of, few, 1000), strict=True):
        assert distinguished(np.log(exact_draws), np.log(draws), seed=0) <= 0.55
    assert not made.doubts


# For the images of a user


HIDDEN_LEVEL = {
    "x": UNIFORM,
    "depth": LOG_NORMAL,
    "noise": {"type": "uniform", "parameters": {"a": 0.005, "b": 0.02}},
}
USERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "white": (document_of(16, "white"), ["depth", "delta_volume"]),
    "exponential": (document_of(16, EXPONENTIAL), ["depth", "delta_volume"]),
    "hidden": (document_of(12, [{"type": "white"}, HIDING[1]], HIDDEN_LEVEL), ["depth"]),
    "unmasked": (document_of(12, [{"type": "white"}, HIDING[1]]), ["depth"]),
    "quiet": (document_of(12, "white", noise=0.0), ["depth"]),
}
"""Run → its dataset, and the outputs of its network, which has no posterior head."""


@shared_folder
def users(root: Path) -> None:
    """Runs that have hardly learnt anything; for reading only."""
    for name, (document, outputs) in USERS.items():
        inputs = ["displacement", *["mask"] * (name == "hidden")]
        write_dense(
            root, name, document, outputs, inputs, transforms=SOUND["experience"]["transforms"]
        )
        said = call("run", name, "--seed", "0", "--workspace", root)
        assert said.code == 0, said.stderr


@pytest.mark.heavy
@pytest.mark.parametrize("noise", ["white", "exponential"])
def test_a_run_without_posterior_head_has_the_exact_posterior_of_a_user_s_image(
    users, tmp_path, noise
):
    of, run = generated_of(USERS[noise][0], BUILT_IN), qexp.open_run(f"{noise}_0", workspace=users)
    samples = observed(of, 6)
    images = samples["displacement"][:, 0].numpy()
    drawn = run.posterior(displacement=images, draws=2000, refined=True)
    assert dict(drawn.sizes) == {"chain": 1, "draw": 2000, "sample": 6}
    names, draws = list(of.test), exact(of, samples, 2000)
    for observation in range(6):
        for place, name in enumerate(names):
            found = kstest(drawn[name].values[0, :, observation], draws[observation, :, place])
            assert found.statistic < 0.08, (observation, name)
    assert drawn["depth"].attrs["units"] == "km"
    alone = run.posterior(displacement=images[0], draws=2000, refined=True, seed=3)
    assert dict(alone.sizes) == {"chain": 1, "draw": 2000}
    assert kstest(alone["depth"].values[0], drawn["depth"].values[0, :, 0]).statistic < 0.08
    assert run.posterior(displacement=images[0], draws=2000, refined=True, seed=3).identical(alone)
    for number in (0, 10**13):
        with pytest.raises(QexpError, match="at least one"):
            run.posterior(displacement=images, draws=number, refined=True)
    np.save(tmp_path / "gaps.npy", np.where(images > np.median(images), images, np.nan))
    with pytest.raises(
        QexpError,
        match="takes no mask of displacement; leave these samples out, or train a network",
    ):
        qexp.predict(run, tmp_path / "gaps.npy", tmp_path / "made.csv", refined=True)
    with pytest.raises(
        QexpError, match="without a posterior; end its branch with a posterior head"
    ):
        run.posterior(displacement=images)

    np.save(tmp_path / "images.npy", images)
    given = ("predict", "--run", run.name, "--workspace", users, "--input", tmp_path / "images.npy")
    with drawing():
        made = call(
            *given,
            "--output",
            tmp_path / "made.nc",
            "--refined",
            "--interval",
            "0.8",
            "--draws",
            "50",
        )
    assert made.code == 0, made.stderr
    files = ("made.nc", "made_posterior.nc", "made_posterior.png")
    assert made.stdout.split() == [str(tmp_path / one) for one in files]
    assert "posteriors presume that a source of the simulator and the declared noise" in made.stderr
    table = xarray.load_dataset(tmp_path / "made.nc", engine="h5netcdf")
    kept = xarray.load_dataset(tmp_path / "made_posterior.nc", engine="h5netcdf", group="posterior")
    for name in names:
        ends = [table[f"{name}_{end}"].values for end in ("low", "estimate", "high")]
        quantiles = np.quantile(drawn[name].values[0], [0.1, 0.5, 0.9], axis=0)
        spread = drawn[name].values[0].std(axis=0)
        np.testing.assert_allclose((ends - quantiles) / spread, 0, atol=0.25)
        assert kept[name].shape == (1, 50, 6)
        assert (
            np.abs(kept[name].values[0].mean(axis=0) - drawn[name].values[0].mean(axis=0)) < spread
        ).all()
    assert (table["posterior_doubted"] == 0).all()
    assert (np.abs(table["depth_delta_volume_correlation"]) <= 1).all()
    assert "likelihood" in table.attrs["posteriors"]


@pytest.mark.heavy
def test_a_file_of_refined_posteriors_does_not_depend_on_chunks_and_is_not_taken_for_another(
    users, tmp_path
):
    np.save(
        tmp_path / "images.npy", observed(dataset(16, "white"), 140)["displacement"][:, 0].numpy()
    )
    run, source = qexp.open_run("white_0", workspace=users), tmp_path / "images.npy"
    for name, chunk in (("one", None), ("other", 7)):
        (made,) = qexp.predict(
            run, source, tmp_path / f"{name}.csv", draws=20, refined=True, chunk=chunk
        )
        assert made.made
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "other.csv").read_bytes()
    drawn = [
        xarray.load_dataset(tmp_path / f"{name}_posterior.nc", group="posterior")
        for name in ("one", "other")
    ]
    assert drawn[0].identical(drawn[1])
    (again,) = qexp.predict(run, source, tmp_path / "one.csv", draws=20, refined=True)
    assert not again.made
    with pytest.raises(
        QexpError, match="made with posteriors of another kind, or without any; see refined"
    ):
        qexp.predict(run, source, tmp_path / "one.csv")
    qexp.predict(run, source, tmp_path / "plain.csv")
    with pytest.raises(QexpError, match="see refined"):
        qexp.predict(run, source, tmp_path / "plain.csv", refined=True)


@pytest.mark.heavy
def test_hidden_pixels_an_unknown_noise_level_and_unknowns_that_are_no_outputs_are_drawn_with(
    users, tmp_path
):
    of, run = generated_of(USERS["hidden"][0], BUILT_IN), qexp.open_run("hidden_0", workspace=users)
    samples = observed(of, 4)
    image, mask = (samples[name][:, 0].numpy().copy() for name in ("displacement", "mask"))
    drawn = run.posterior(displacement=image, mask=mask, draws=500, refined=True)
    assert set(drawn) == {"depth", "x", "noise"}
    for name, (low, high) in {"x": (-2.0, 2.0), "noise": (0.005, 0.02)}.items():
        assert low <= drawn[name].min() <= drawn[name].max() <= high
    gaps = np.where(mask > 0, image, np.nan)
    gaps[1] = np.nan
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in/displacement.npy", gaps)
    (made,) = qexp.predict(run, tmp_path / "in", tmp_path / "out.nc", draws=500, refined=True)
    assert made.missing_count == 1
    table = xarray.load_dataset(tmp_path / "out.nc", engine="h5netcdf")
    kept = xarray.load_dataset(tmp_path / "out_posterior.nc", engine="h5netcdf", group="posterior")
    assert np.isnan(table["depth_estimate"].values).tolist() == [False, True, False, False]
    assert np.isnan(kept["noise"].values[0, 0]).tolist() == [False, True, False, False]
    for place in (0, 2, 3):
        assert (
            kstest(kept["x"].values[0, :, place], drawn["x"].values[0, :, place]).statistic < 0.15
        )
    with pytest.raises(
        QexpError, match="missing values; set them to 0, and so the pixels of 'mask'"
    ):
        run.posterior(displacement=gaps, mask=mask, refined=True)


UNKNOWN = {
    "unmasked": (
        "the training data hide pixels of 'displacement', but the network takes no mask of it"
    ),
    "quiet": (
        "refined: 'displacement' has no noise, so that estimates could be exact; declare noise"
    ),
}


@pytest.mark.heavy
def test_where_the_likelihood_is_not_known_refined_posteriors_are_refused(users, tmp_path):
    image = np.zeros((12, 12), np.float32)
    np.save(tmp_path / "image.npy", image)
    for name, says in UNKNOWN.items():
        run = qexp.open_run(f"{name}_0", workspace=users)
        with pytest.raises(QexpError, match=says):
            run.posterior(displacement=image, refined=True)
        with pytest.raises(QexpError, match=says):
            qexp.predict(run, tmp_path / "image.npy", tmp_path / "made.csv", refined=True)
    assert [one.name for one in tmp_path.iterdir()] == ["image.npy"]


@pytest.mark.heavy
def test_images_that_no_source_could_have_made_have_draws_or_doubts_and_no_traceback(users):
    run = qexp.open_run("white_0", workspace=users)
    random = np.random.default_rng(0)
    images = np.stack([np.zeros((16, 16)), np.full((16, 16), 1e3), random.normal(0, 1.0, (16, 16))])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        drawn = run.posterior(displacement=images, draws=100, refined=True)
    assert np.isfinite(drawn["depth"].values).all()
    assert all("are not to be trusted: " in str(one.message) for one in said)
