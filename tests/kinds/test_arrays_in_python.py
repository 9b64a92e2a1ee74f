"""Arrays and priors in Python become datasets; a simulator and a prior become a posterior."""

import json
from collections import namedtuple

import numpy as np
import pandas
import pytest
import scipy.stats
import torch
import xarray

import qexp as package
from qexp.base.tables import built
from qexp.base.workspace import Workspace
from qexp.errors import QexpError
from qexp.kinds.objects import data_kind
from qexp.kinds.simulations.arrays import distributions
from qexp.kinds.tables import BUILT_IN
from qexp.spec.kinds import filled_in
from tests.conftest import call


@pytest.fixture
def bare(tmp_path, monkeypatch):
    package.init(tmp_path / "bare", kind="bare")
    monkeypatch.chdir(tmp_path / "bare")
    return tmp_path / "bare"


def test_arrays_of_any_library_become_a_dataset_with_their_prior(bare):
    theta = np.random.default_rng(0).uniform(0, 2, (300, 2))
    x = np.concatenate([theta, theta**2], axis=1)
    prior = [scipy.stats.uniform(0, 2)] * 2
    known = {
        "prior": prior,
        "units": {"depth": "m", "modulus": "GPa"},
        "groups": np.arange(300) // 3,
    }
    assert (
        package.dataset(
            pandas.DataFrame(theta, columns=["depth", "modulus"]), x, name="frame", **known
        )
        == "frame"
    )
    spec = json.loads((bare / "specs/datasets/frame.json").read_text())
    assert spec["file_units"] == {"depth": "m"}
    assert spec["units"] == {"modulus": "GPa"}
    dataset = data_kind(spec).checked_dataset(filled_in(spec), BUILT_IN, Workspace(bare))
    assert dataset.simulations.parameters["depth"] == pytest.approx(theta[:, 0] / 1e3)
    assert len(np.unique(dataset.simulations.groups)) == 100
    rows = [
        line.split()[0]
        for line in call("data", "show", "frame").stdout.splitlines()
        if line.strip()
    ]
    assert rows[:4] == ["variable", "depth", "modulus", "observed"]
    tensors = torch.tensor(theta, requires_grad=True), torch.tensor(x)
    package.dataset(*tensors, ["depth", "modulus"], name="tensors", **known)
    with np.load(bare / "data/frame.npz") as frame, np.load(bare / "data/tensors.npz") as other:
        assert {name: values.tobytes() for name, values in frame.items()} == {
            name: values.tobytes() for name, values in other.items()
        }
    written = (bare / "data/tensors.npz").stat().st_mtime_ns
    package.dataset(*tensors, ["depth", "modulus"], name="tensors", **known)
    assert (bare / "data/tensors.npz").stat().st_mtime_ns == written
    for changes, text in (
        ({"x": 2 * x}, "tensors.npz exists already"),
        ({"prior": None}, "tensors.json exists already"),
        ({"names": ["depth", "depth"]}, "a name each"),
        ({"names": ["depth", "observed"]}, "none of observed"),
        ({"x": x[:7], "name": "few"}, "7 of 300 simulations"),
        ({"x": np.full((300, 2), "a"), "name": "text"}, "give numbers"),
        ({"prior": prior[:1], "name": "one"}, "the prior has 1 parameters"),
        ({"prior": [scipy.stats.uniform(0, 1)] * 2, "name": "narrow"}, "lie beyond its ends"),
        ({"groups": [1, 2], "name": "pair"}, "`groups` has 2 of 300|groups has 2 of 300"),
        ({"units": {"dpth": "m"}, "name": "typo"}, "no parameter 'dpth'; did you mean 'depth'"),
        ({"prior": ["uniform"], "name": "word"}, "is no frozen distribution"),
    ):
        with pytest.raises(QexpError, match=text):
            package.dataset(
                **{
                    "theta": theta,
                    "x": x,
                    "names": ["depth", "modulus"],
                    "name": "tensors",
                    **known,
                    **changes,
                }
            )
    assert {path.stem for path in (bare / "data").iterdir()} == {"frame", "tensors"}


Pair = namedtuple("Pair", "rate start")

NAMED = {
    "frame": pandas.DataFrame,
    "nullable": lambda columns: pandas.DataFrame(columns).convert_dtypes(),
    "dictionary": lambda columns: {name: torch.tensor(values) for name, values in columns.items()},
    "tuple": lambda columns: Pair(**columns),
    "records": lambda columns: pandas.DataFrame(columns).to_records(index=False),
    "set": lambda columns: xarray.Dataset(
        {name: ("run", values) for name, values in columns.items()}
    ),
    "array": lambda columns: xarray.DataArray(
        np.stack([*columns.values()], axis=1),
        dims=["run", "parameter"],
        coords={"parameter": [*columns]},
    ),
}


@pytest.mark.parametrize("form", NAMED)
def test_columns_that_have_names_are_taken_by_them_whatever_their_order(bare, form):
    columns = dict(
        zip(("rate", "start"), np.random.default_rng(0).uniform(0, 3, (2, 300)), strict=True)
    )
    prior = {"start": scipy.stats.uniform(0, 3), "rate": scipy.stats.uniform(0, 3)}
    x = np.stack([*columns.values()], axis=1)
    for name, known in (
        ("bare", {}),
        ("prior", {"prior": prior}),
        ("names", {"names": ["start", "rate"]}),
    ):
        package.dataset(NAMED[form](columns), x, name=name, **known)
        with np.load(bare / f"data/{name}.npz") as written:
            assert all(np.array_equal(written[of], columns[of]) for of in columns)
    package.dataset(
        x, x, ["rate", "start"], prior={**prior, "rate": scipy.stats.uniform(0, 4)}, name="position"
    )
    spec = json.loads((bare / "specs/datasets/position.json").read_text())
    assert spec["distributions"]["rate"]["parameters"]["b"] == 4
    with pytest.raises(QexpError, match="columns rate, start, but the prior has start, speed"):
        package.dataset(
            NAMED[form](columns),
            x,
            prior={"start": prior["start"], "speed": prior["rate"]},
            name="other",
        )


def test_names_that_contradict_each_other_and_rows_in_another_order_are_refused(bare):
    frame = pandas.DataFrame(
        np.random.default_rng(0).uniform(0, 3, (300, 2)), columns=["rate", "start"]
    )
    prior = {"start": scipy.stats.uniform(0, 3), "rate": scipy.stats.uniform(0, 3)}
    for theta, x, known, text in (
        (
            frame.assign(run=1.0),
            frame,
            {"prior": prior},
            "columns rate, start, run, but the prior has start, rate",
        ),
        (frame, frame, {"names": ["a", "b"]}, "but .?names.? are a, b"),
        (
            frame.to_numpy(),
            frame,
            {"names": ["a", "b"], "prior": prior},
            "the prior has the parameters start, rate",
        ),
        (frame.iloc[:, [0, 1, 1]], frame, {}, "'start' is there twice"),
        (
            frame.to_numpy(),
            frame,
            {"names": {"rate", "start"}},
            "write a list, in the order of the columns",
        ),
        (frame.to_numpy(), frame, {"names": "ab"}, "write a list, in the order of the columns"),
        (frame.assign(day=pandas.Timestamp("2020-01-31")), frame, {}, "'day' holds texts or dates"),
        (frame, {"a": frame["rate"], "b": frame}, {}, "a number for each row"),
        (frame, frame.sample(frac=1, random_state=0), {}, "x.loc"),
        (frame.drop(3), frame.drop(4), {}, "x.loc"),
    ):
        with pytest.raises(QexpError, match=text):
            package.dataset(theta, x, name="other", **known)
    with pytest.raises(QexpError, match=r"leave `?names`? out"):
        package.posterior(lambda theta: theta, prior, names=["rate", "start"], name="other")
    assert not (bare / "data").exists() or not list((bare / "data").iterdir())


def test_what_is_observed_is_taken_by_the_names_that_the_simulations_had(bare):
    theta = np.random.default_rng(0).normal(size=(300, 2))
    x = pandas.DataFrame(theta @ [[1, 2, 3], [0, 1, 5]], columns=["first", "second", "third"])
    run = package.posterior(
        package.dataset(theta, x, name="named"), overrides={"epochs": 1}, display=False
    )
    row, order = x.iloc[7], ["third", "first", "second"]
    expected = run.posterior(observed=row.to_numpy())
    array = xarray.DataArray(row[order].to_numpy(), dims="value", coords={"value": order})
    for seen in (row[order], row[order].to_dict(), array, xarray.Dataset(row[order].to_dict())):
        assert run.posterior(observed=seen).equals(expected)
    several = x.iloc[:4][order].assign(more=0.0)
    assert (
        run.predict(observed=several)["theta1"].tolist()
        == run.predict(observed=x[:4].to_numpy())["theta1"].tolist()
    )
    with pytest.raises(
        QexpError, match="columns third, fourth, second, but the run was trained on first, second"
    ):
        run.posterior(observed=row[order].rename({"first": "fourth"}))
    rows = ("run", "one", "value"), x[order].to_numpy()[:, None]
    xarray.Dataset({"observed": rows}, {"value": order}).to_netcdf("seen.nc")
    np.savez("positions.npz", observed=x.to_numpy()[:, None])
    for name in ("seen.nc", "positions.npz"):
        package.predict(run, name, f"{name}.csv")
    assert pandas.read_csv("seen.nc.csv").equals(pandas.read_csv("positions.npz.csv"))


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (scipy.stats.uniform(-1, 2), {"type": "uniform", "parameters": {"a": -1.0, "b": 1.0}}),
        (
            scipy.stats.loguniform(0.1, 10),
            {"type": "log_uniform", "parameters": {"low": 0.1, "high": 10.0}},
        ),
        (scipy.stats.lognorm(0.5), {"type": "log_normal", "parameters": {"mu": 0.0, "sigma": 0.5}}),
        (
            torch.distributions.Normal(0.3, 0.1),
            {"type": "normal", "parameters": {"mu": 0.3, "sigma": 0.1}},
        ),
        (torch.distributions.Exponential(3.0), {"type": "exponential", "parameters": {"l": 3.0}}),
        (scipy.stats.gamma(2.0), None),
        (torch.distributions.Gamma(2.0, 1.0), None),
    ],
)
def test_priors_are_named_as_in_specs(prior, expected):
    assert distributions([prior], ["a"]) == ({} if expected is None else {"a": expected})


def test_other_bounded_priors_are_given_by_their_quantiles_and_joint_ones_by_the_simulations():
    prior = distributions([scipy.stats.beta(2, 3)], ["a"])["a"]
    assert built(BUILT_IN["distributions"], prior).quantile(0.3) == pytest.approx(
        scipy.stats.beta(2, 3).ppf(0.3), rel=1e-3
    )
    box = torch.distributions.Independent(
        torch.distributions.Uniform(-torch.ones(2), torch.ones(2)), 1
    )
    assert distributions(box, ["a", "b"])["b"] == {
        "type": "uniform",
        "parameters": {"a": -1.0, "b": 1.0},
    }
    assert (
        distributions(
            torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)), ["a", "b"]
        )
        == {}
    )


def test_a_simulator_and_a_prior_become_a_posterior_within_the_prior_and_nothing_is_made_twice(
    bare,
):
    called = []

    def line(theta):
        called.append(len(theta))
        return theta + torch.randn(len(theta), 2) * 0.01

    prior = torch.distributions.Independent(
        torch.distributions.Uniform(torch.zeros(2), torch.tensor([1.0, 5.0])), 1
    )
    options = {
        "simulations": 400,
        "names": ["slope", "offset"],
        "overrides": {"epochs": 2},
        "display": False,
    }
    run = package.posterior(line, prior, **options)
    drawn = run.posterior(observed=[1.0, 0.0], draws=500)
    assert drawn["slope"].dims == ("chain", "draw")
    for name, high in (("slope", 1), ("offset", 5)):
        assert drawn[name].values.min() >= 0
        assert drawn[name].values.max() <= high
    assert run.posterior(observed=np.zeros((3, 2)))["slope"].sizes["sample"] == 3
    package.posterior(line, prior, **options)
    again = package.posterior(line, prior, **options | {"seed": 1})
    assert called == [3, 400]  # a few are tried first
    assert [one["state"] for one in package.runs()] == ["done"] * 2
    assert again.results != run.results

    def other(theta):
        return theta

    with pytest.raises(QexpError, match="made by another simulator"):
        package.posterior(other, prior, **options | {"name": "line"})
    with pytest.raises(QexpError, match="which has them"):
        package.posterior("line", prior)
    with pytest.raises(QexpError, match="exists already"):
        package.posterior(line, prior, **options | {"simulations": 300})
    with pytest.raises(QexpError, match="1 of 3"):
        package.posterior(lambda theta: theta[:1, :, None], prior, **options | {"name": "first"})


@pytest.mark.heavy
def test_the_posterior_of_counts_over_decades_is_about_as_narrow_as_the_exact_one(bare):
    rates, random = np.array([1.0, 0.5, 2.0]), np.random.default_rng(0)
    theta = random.normal(0, 3, (2000, 1))
    counts = random.poisson(np.exp(theta) * rates)
    run = package.posterior(
        package.dataset(theta, counts, prior=scipy.stats.norm(0, 3), name="counts"), display=False
    )
    assert run.spec["transforms"]["observed"]["type"] == "adapted"
    grid = np.linspace(-10, 10, 4001)
    for seen in ([0, 0, 1], [2, 1, 5], [20, 9, 44]):
        density = np.exp(-(grid**2) / 18 + grid * sum(seen) - np.exp(grid) * rates.sum())
        mean = np.average(grid, weights=density)
        width = np.sqrt(np.average((grid - mean) ** 2, weights=density))
        drawn = run.posterior(observed=np.array([seen], dtype=float), draws=2000)["theta1"].values
        assert drawn.std() == pytest.approx(width, rel=0.3)
        assert drawn.mean() == pytest.approx(mean, abs=0.4 * width)


def test_a_linear_path_goes_around_the_hidden_layers_for_numbers_over_decades_and_for_as_many_as_parameters(
    bare,
):
    theta = np.random.default_rng(0).normal(size=(300, 2))
    images, more = np.exp(5 * theta[:, :1, None, None]) * np.ones((8, 8)), theta[:, [0, 1, 1]]
    for name, x in (
        ("decades", np.exp(5 * more)),
        ("as_many", theta),
        ("more", more),
        ("images", images),
    ):
        run = package.posterior(
            package.dataset(theta, x, name=name), overrides={"epochs": 1}, display=False
        )
        direct = ["learned", "seen"] in [
            branch["x_name"] for branch in run.spec["model"]["branches"]
        ]
        assert direct == (name in ("decades", "as_many"))
        mixture = run.spec["model"]["operations"]["posterior"]["parameters"]
        assert ("widest" in mixture) == (name != "images")
        assert mixture.get("temperature") == (0.25 if name == "decades" else None)
        assert np.isfinite(run.posterior(observed=x[:3], draws=10)["theta1"]).all()


def test_images_with_channels_and_vectors_with_a_constant_value_have_posteriors(bare):
    theta = np.random.default_rng(0).normal(size=(200, 2))
    images = theta[:, :1, None, None] * np.ones((200, 8, 8, 2))
    run = package.posterior(
        package.dataset(theta, images, name="views"), overrides={"epochs": 1}, display=False
    )
    apart = run.posterior(observed=images[:3, ..., 0], observed_1=images[:3, ..., 1])
    for together in (images[:3], np.moveaxis(images[:3], -1, 1)):
        assert run.posterior(observed=together).equals(apart)
    vectors = np.concatenate([1e6 * theta, np.ones((200, 1))], axis=1)
    package.dataset(theta, vectors, name="vectors")
    deep = np.random.default_rng(0).normal(size=(200, 2, 6, 4))
    axes = ["simulation", "channel", "y", "x"]
    for known in ({"x": deep, "axes": axes}, {"x": xarray.DataArray(deep, dims=axes)}):
        assert package.dataset(theta, name="deep", **known) == "deep"
    with pytest.raises(QexpError, match="which axis is which"):
        package.dataset(theta, deep, name="other")
    run = package.posterior("vectors", overrides={"epochs": 20}, display=False)
    assert run.results["test"]["theta1"]["r2"] > 0.8
