"""Runs on simulations that are vectors: what they are asked with, and what they say of it."""

import itertools
import re
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
import scipy.stats
import xarray

import qexp as package
from qexp.base import formats
from qexp.errors import QexpError
from qexp.kinds.images.extent import TRAINING_VECTORS
from qexp.kinds.images.source import ImageLayout, ImageSource
from qexp.networks.shapes import forms
from tests.conftest import copied, shared_folder

NOISE = 0.1
PRIOR = {"a": scipy.stats.uniform(0, 1), "b": scipy.stats.uniform(0, 1)}

# no other worker waits for what this one trains
pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("vectors")]


def measured(theta: np.ndarray, seed: int = 0) -> np.ndarray:
    return theta + NOISE * np.random.default_rng(seed).normal(size=theta.shape)


@shared_folder
def trained(root: Path) -> None:
    """Two seeds of a posterior of the middle of a square, from two measurements."""
    package.init(root, kind="bare")
    theta = np.random.default_rng(3).uniform(size=(1500, 2))
    package.dataset(theta, measured(theta), name="square", prior=PRIOR, workspace=root)
    for seed in (0, 1):
        package.posterior(
            "square", seed=seed, overrides={"epochs": 15}, display=False, workspace=root
        )


@pytest.fixture
def workspace(trained, tmp_path, monkeypatch):
    return copied(trained, tmp_path, monkeypatch)


@pytest.fixture
def run(workspace):
    first, *_ = sorted(workspace.glob("runs/square*_0"))
    return package.open_run(first.name)


def said(call, *arguments, **keywords) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*arguments, **keywords)
    return "\n".join(str(one.message) for one in caught)


OBSERVED = measured(np.random.default_rng(8).uniform(size=(6, 2)), 9)


def test_only_what_no_simulation_is_like_is_said_to_be_outside_also_by_runs_of_earlier(
    run, workspace
):
    theta = np.random.default_rng(5).uniform(size=(3000, 2))
    for state in ("kept", "an older run", "an older run without its data"):
        if state != "an older run without its data":
            assert said(run.posterior, observed=[0.5, 0.5]) == "", state
        assert "inputs outside the range of the training data" in said(
            run.predict, observed=[2.5, 0.5]
        )
        if state == "kept":
            assert "observed[0]: 1" in said(run.predict, observed=[2.5, 0.5])
            found = said(run.predict, observed=measured(theta, 6))
            assert int(found.partition(" of 3,000")[0] or 0) <= 45
            (run.path / "results" / TRAINING_VECTORS).unlink()
        elif state == "an older run":
            (workspace / "data/square.npz").unlink()
        run = package.open_run(run.name)


def written(folder: Path) -> list[Path]:
    """Files with the same vectors, in all layouts."""
    named = pandas.DataFrame(OBSERVED, columns=["observed[0]", "observed[1]"])
    np.savez(folder / "a.npz", theta=OBSERVED, observed=OBSERVED)
    np.savez(folder / "b.npz", observed=OBSERVED[:, None])
    np.save(folder / "c.npy", OBSERVED)
    named.rename(columns={"observed[0]": "first", "observed[1]": "second"}).to_csv(
        folder / "d.csv", index=False
    )
    named[["observed[1]", "observed[0]"]].assign(more=1.0, name=list("uvwxyz")).to_csv(
        folder / "e.csv"
    )
    np.savetxt(folder / "f.csv", OBSERVED, delimiter=",")
    named.to_parquet(folder / "g.parquet")
    xarray.Dataset({"observed": (("event", "value"), OBSERVED)}).to_netcdf(folder / "h.nc")
    return sorted(path for path in folder.iterdir())


def test_files_hold_vectors_as_a_dataset_writes_them_in_rows_of_tables_and_by_names(run, tmp_path):
    (tmp_path / "files").mkdir()
    expected = run.predict(observed=OBSERVED)
    for path in written(tmp_path / "files"):
        (made,) = package.predict(run, path, tmp_path / "made.csv", overwrite=True)
        table = pandas.read_csv(made.target)
        for name in ("a", "b"):
            np.testing.assert_allclose(
                table[f"{name}_estimate"], expected[name], rtol=1e-6, err_msg=str(path)
            )
        assert made.images == len(OBSERVED)
    (table,) = package.predict(run, tmp_path / "files/e.csv", tmp_path / "e.csv")
    assert pandas.read_csv(table.target)["name"].tolist() == list("uvwxyz")
    assert pandas.read_csv(table.target)["more"].tolist() == [1.0] * 6
    np.save(tmp_path / "one.npy", OBSERVED[0])
    (single,) = package.predict(run, tmp_path / "one.npy", tmp_path / "one.csv")
    assert single.images == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            "a,b,c\n1,2,3\n",
            "has 3 columns of numbers (a, b, c), but 'observed' is 2 values; name their columns",
        ),
        ("a,b\n1,x\n", "has 1 columns of numbers (a), but"),
        ("a,b\n", "has column names and no rows"),
        ("", "is empty"),
        ("a,b\n1,\n1,1\n", "1 of 4 values are missing, in 1 of 2 samples"),
        ("a,a\n1,2\n", "has 2 columns called 'a'"),
    ],
)
def test_a_table_in_which_the_values_are_not_clear_is_refused(run, tmp_path, content, text):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(QexpError, match=re.escape(text)):
        package.predict(run, tmp_path / "x.csv", tmp_path / "made.csv")
    assert not (tmp_path / "made.csv").exists()


@pytest.mark.parametrize(
    "given", [0.5, OBSERVED[:, :1], [[np.nan, 1.0]], "a.npy", None, [[["a", "b"]]], 1j]
)
def test_what_is_no_vector_is_refused_with_what_is(run, given):
    for call in (run.predict, run.posterior) if np.shape(given) != (1, 2) else (run.posterior,):
        with pytest.raises(QexpError, match="observed"):
            call(observed=given)


def test_a_single_number_is_an_observation_of_one_number():
    assert list(forms((1, 1, 1)))[-1] == ()
    assert forms((1, 1, 20)).keys() >= {(20,), (1, 20), (1, 1, 20)}
    assert forms((1, 4, 6)) == {(1, 4, 6): False, (4, 6): False, (4, 6, 1): False}


@pytest.mark.parametrize(
    "axes", list(itertools.permutations(range(3)))[:2], ids=["components first", "last"]
)
def test_stations_come_with_their_components_first_or_last_in_files_and_arrays(axes, tmp_path):
    stations = np.random.default_rng(0).normal(size=(4, 3, 5)).astype(np.float32)
    np.savez(tmp_path / "a.npz", gnss=stations.transpose(axes))
    (piece,) = ImageSource(
        tmp_path / "a.npz", ImageLayout({"gnss": (3, 5, 1)}, {"gnss": "m"})
    ).pieces(10)
    np.testing.assert_array_equal(piece.inputs["gnss"][..., 0], stations)


def test_axes_and_rows_that_a_dataset_declares_are_those_of_what_is_predicted_too(workspace):
    random = np.random.default_rng(0)
    a, image = random.uniform(1, 5, 80), random.normal(size=(80, 6, 4))
    image += a[:, None, None] * np.arange(6)[:, None]  # more in the south, the last row
    # (simulation, station, component), of which only "up" moves
    moved = random.normal(size=(80, 3, 3))
    moved[..., 2] += a[:, None] * [1, 2, 3]
    matlab = image.transpose(2, 1, 0)
    gnss = {
        "views": [{"type": "gnss", "points": [[0, 0], [1, 0], [2, 0]], "errors": [0.001] * 3}],
        "fixed": {},
    }
    cases = {
        "stations": (moved, {"axes": {"u": ["simulation", "station", "component"]}, **gnss}),
        "north_first": (image, {"rows": "southwards"}),
        "matlab": (matlab, {"axes": {"u": ["x", "y", "simulation"]}, "rows": "southwards"}),
    }
    y = xarray.Dataset(
        {"u": (("sample", "y", "x"), image)}, {"y": -np.arange(6.0), "x": np.arange(4.0)}
    )
    xarray.Dataset({"u": (("sample", "station", "component"), moved)}).to_netcdf("stations.nc")
    y.to_netcdf("north_first.nc")
    y.to_netcdf("matlab.nc")
    for name, (values, keys) in cases.items():
        np.savez(f"data/{name}.npz", a=a, u=values)
        document = {
            "type": "simulated",
            "path": f"{name}.npz",
            "observations": ["u"],
            "varyings": {"a": []},
        }
        formats.write_json(
            Path(f"specs/datasets/{name}.json"), {**document, "fixed": {"noise": 0}, **keys}
        )
        run = package.posterior(name, overrides={"epochs": 8}, display=False)
        for file in (f"data/{name}.npz", f"{name}.nc"):
            package.predict(run, file, f"{file}.csv", display=False)
        given, named = (
            pandas.read_csv(f"{of}.csv")["a_estimate"] for of in (f"data/{name}.npz", f"{name}.nc")
        )
        np.testing.assert_allclose(given, named, rtol=1e-4)
        assert np.corrcoef(given, a)[0, 1] > 0.9, name
    stations = package.open_run(sorted(Path("runs").glob("stations*"))[0].name)
    for array in (moved, xarray.DataArray(moved, dims=("sample", "station", "component"))):
        estimates = stations.predict(u=array)["a"].ravel()
        assert np.corrcoef(estimates, a)[0, 1] > 0.9


# Densities.


def test_densities_integrate_to_one_and_are_those_of_the_draws_for_one_run_and_for_a_mixture(run):
    both = package.open_run("square*", ensemble=True)
    sides = (np.arange(320) + 0.5) / 200 - 0.3
    a, b = np.meshgrid(sides, sides, indexing="ij")
    inside = (a > 0) & (a < 1) & (b > 0) & (b < 1)
    each = {}
    for of in (run, both):
        density = np.exp(of.log_prob({"b": b, "a": a}, observed=OBSERVED[0]))
        assert density.sum() / 200**2 == pytest.approx(1, abs=0.01)
        assert (density[~inside] == 0).all()
        assert (density[inside] > 0).all()
        drawn = of.posterior(observed=OBSERVED[0], draws=20000)
        edges = np.linspace(-0.3, 1.3, 33)
        counts, *_ = np.histogram2d(drawn["a"].values[0], drawn["b"].values[0], bins=[edges, edges])
        in_cells = density.reshape(32, 10, 32, 10).sum(axis=(1, 3)) / 200**2
        np.testing.assert_allclose(counts / 20000, in_cells, atol=0.008)
        assert np.isfinite(of.log_prob(drawn, observed=OBSERVED[0])).all()
        each[of is both] = density
    other = package.open_run(next(one["name"] for one in package.runs() if one["name"] != run.name))
    mean = (each[False] + np.exp(other.log_prob({"a": a, "b": b}, observed=OBSERVED[0]))) / 2
    np.testing.assert_allclose(each[True], mean, rtol=1e-4, atol=1e-6)


def test_values_are_taken_by_their_names_for_each_sample_or_for_all(run):
    theta = np.random.default_rng(0).uniform(size=(6, 2))
    frame = pandas.DataFrame(theta[:, ::-1], columns=["b", "a"])
    by_sample = run.log_prob(frame, observed=OBSERVED)
    alone = [
        float(run.log_prob(values, observed=seen))
        for values, seen in zip(theta, OBSERVED, strict=True)
    ]
    np.testing.assert_allclose(by_sample, alone, rtol=1e-5)
    for_all = run.log_prob(theta[:, None], observed=OBSERVED)
    assert for_all.shape == (6, 6)
    np.testing.assert_allclose(np.diag(for_all), alone, rtol=1e-5)
    drawn = run.posterior(observed=OBSERVED, draws=7)
    assert run.log_prob(drawn, observed=OBSERVED).shape == (1, 7, 6)
    ends = run.log_prob({"a": [0.0, 1.0, -1e-5, 1 + 1e-5], "b": 0.5}, observed=[0.5, 0.5])
    assert np.isfinite(ends).tolist() == [True, True, False, False]
    for wrong, text in (
        ({"a": 0.5}, "posterior is of a, b"),
        ({"a": 0.5, "b": 0.5, "c": 1.0}, "has a, b, c, but"),
        (theta[:4], "whose last axis must be that of the 6 samples"),
        ([0.5, np.nan], "1 missing values"),
        ("x", "posterior is of a, b"),
    ):
        with pytest.raises(QexpError, match=text):
            run.log_prob(wrong, observed=OBSERVED)


def test_a_posterior_is_as_exact_as_its_noise_lets_it_be_and_passes_observations_through_the_network_once(
    run,
):
    calls = []
    predictor = run._predictor
    for model in predictor.ensemble.models:
        model.network.operations["hidden"].register_forward_hook(lambda *_: calls.append(1))
    run.posterior(observed=OBSERVED, draws=10)
    assert len(calls) == 1
    exact = scipy.stats.norm(OBSERVED[:, 0], NOISE)
    expected = exact.logpdf(OBSERVED[:, 0]).mean()
    values = np.stack([OBSERVED.clip(0.01, 0.99)[:, 0], OBSERVED.clip(0.01, 0.99)[:, 1]], axis=-1)
    assert run.log_prob(values, observed=OBSERVED).mean() > 2 * expected - 1.5


def test_fresh_simulations_test_a_posterior_as_arrays_and_as_a_dataset_and_recalibrate_it(
    run, qexp
):
    theta = np.random.default_rng(21).uniform(size=(400, 2))
    x, options = measured(theta, 22), {"draws": 100, "seed": 1}
    frame = pandas.DataFrame(theta[:, ::-1], columns=["b", "a"])
    found = package.calibrate(run, theta=frame, observed=x, **options)
    assert (found.observations, found.part, found.caution) == (400, "given", "")
    shares = {name: output.coverage_of_interval.share for name, output in found.outputs.items()}
    assert all(0.85 < share < 0.97 for share in shares.values())
    wrong = package.calibrate(run, theta=frame, observed=x + 0.1, **options)
    assert "a: too narrow and medians too high" in wrong.verdict
    package.dataset(theta, x, ["a", "b"], name="fresh")
    said_of_it = qexp(
        "calibrate", run.name, "--dataset", "fresh", "--draws", "100", "--seed", "1"
    ).done()
    assert "calibration: 400 observations of fresh, given (seed 1)" in said_of_it
    assert "400 observations that were given" in said_of_it
    again = run.calibrations["head_given"].outputs
    assert {
        name: output.coverage_of_interval.share for name, output in again.items()
    } == pytest.approx(shares, abs=0.03)
    assert run.posterior(observed=x[0], recalibrated="given", draws=3).sizes["draw"] == 3
    own = qexp(
        "calibrate", run.name, "--dataset", "square", "--observations", "200", "--draws", "50"
    ).done()
    assert "was trained or validated on" in own
    tested = qexp("calibrate", run.name, "--draws", "50").done()
    assert "75 observations of square, drawn from the test part" in tested
    assert "new observations" not in tested


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"theta": OBSERVED}, "belong together"),
        ({"theta": OBSERVED, "observed": OBSERVED, "part": "test"}, "both say which observations"),
        ({"theta": OBSERVED[:3], "observed": OBSERVED}, "but there are 6 observations"),
        ({"theta": {"a": OBSERVED[:, 0]}, "observed": OBSERVED}, "the posterior is of a, b"),
        ({"theta": OBSERVED, "observed": OBSERVED[:, :1]}, "must have samples of shape"),
        ({"theta": OBSERVED, "observed": OBSERVED * np.nan}, "missing or infinite"),
        ({"dataset": "nothing"}, "no dataset 'nothing'"),
    ],
)
def test_given_simulations_that_do_not_fit_are_refused(run, given, text):
    with pytest.raises(QexpError, match=text):
        package.calibrate(run, **given)


def test_misfit_is_refused_with_the_reason(run, tmp_path):
    np.save(tmp_path / "x.npy", OBSERVED)
    with pytest.raises(
        QexpError, match="the column 'outside' counts what no training sample is like"
    ):
        package.predict(run, tmp_path / "x.npy", tmp_path / "made.csv", misfit=True)
