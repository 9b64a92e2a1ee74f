"""Simulators that are functions of Python, and priors, as people write them."""

import os
import random
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

import qexp as package
from qexp.base.options import uncounted
from qexp.base.workspace import VARIABLE, find
from qexp.errors import QexpError, SpecError
from qexp.kinds.options import NewOptions
from qexp.kinds.simulations.arrays import distributions, drawn, simulated
from qexp.kinds.simulations.new import NAMES_OBSERVED, OBSERVED
from qexp.runs.new import new_simulations, new_specs

TIMES = np.arange(4.0)
THETA = drawn([scipy.stats.uniform(1, 4), scipy.stats.uniform(0, 1)], 30)
EXPECTED = THETA[:, :1] * np.exp(-THETA[:, 1:] * TIMES)


def made(simulator, theta=THETA):
    unfinished = Path("unfinished.npy")
    values = simulated(simulator, theta, unfinished, uncounted, None)
    unfinished.unlink(missing_ok=True)
    return values[OBSERVED]


def together(theta):
    return theta[:, :1] * np.exp(-theta[:, 1:] * TIMES)


def one(theta):
    return theta[0] * np.exp(-theta[1] * TIMES)


def of_torch(theta):
    return torch.as_tensor(together(theta), dtype=torch.float64).requires_grad_()


def elsewhere(theta):
    os.chdir("/")
    print("solved")
    return one(theta)


def in_place(theta):
    theta[1] *= -1
    return theta[0] * np.exp(theta[1] * TIMES)


SAME = {
    "together": together,
    "one": one,
    "lists": lambda theta: [[float(a * np.exp(-b * time)) for time in TIMES] for a, b in theta],
    "list_of_one": lambda theta: list(one(theta)),
    "tuple_of_one": lambda theta: tuple(one(theta)),
    "gradients": of_torch,
    "gradients_in_a_list": lambda theta: list(of_torch(theta)),
    "elsewhere": elsewhere,
    "in_place": in_place,
    "masked": lambda theta: np.ma.masked_greater(together(theta), 1e9),
    "longdouble": lambda theta: one(theta).astype(np.longdouble),
}


@pytest.mark.parametrize("simulator", SAME.values(), ids=SAME)
def test_a_simulator_may_take_all_parameters_or_those_of_one_simulation_and_return_what_is_an_array(
    simulator, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    np.testing.assert_allclose(made(simulator), EXPECTED, rtol=1e-6)
    assert Path.cwd() == tmp_path


@pytest.mark.parametrize(
    "simulator",
    [
        lambda theta: dict(zip("abcd", together(theta).T, strict=True)),
        lambda theta: dict(zip("abcd", one(theta), strict=True)),
    ],
)
def test_values_that_a_simulator_names_keep_their_names(simulator, tmp_path):
    found = simulated(simulator, THETA, tmp_path / "unfinished.npy", uncounted, None)
    assert found[NAMES_OBSERVED].tolist() == [*"abcd"]
    np.testing.assert_allclose(found[OBSERVED], EXPECTED)


@pytest.mark.parametrize("count", [2, 3, 30])
def test_as_many_values_as_parameters_or_simulations_are_no_simulations(
    count, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    values = made(lambda theta: theta[0] * np.ones(count), THETA[:, :1])
    np.testing.assert_allclose(values, THETA[:, :1] * np.ones(count))
    whole = made(lambda theta: theta[0] + 10 * theta[1])
    np.testing.assert_allclose(whole[:, 0], THETA[:, 0] + 10 * THETA[:, 1])


def test_random_numbers_are_the_same_at_each_call_and_the_callers_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def noisy(theta):
        return theta + np.random.normal(size=2) + torch.randn(2).numpy() + random.random()

    def streams():
        return random.random(), np.random.random(), torch.rand(1).item()

    def seeded():
        random.seed(1), np.random.seed(1), torch.manual_seed(1)

    seeded()
    expected = streams()
    for simulator in (noisy, lambda theta: noisy(theta[[0]])[0]):
        seeded()
        first = made(simulator)
        assert streams() == expected
        np.testing.assert_array_equal(made(simulator), first)
    noise = first - THETA
    assert len(np.unique(noise)) == noise.size


def test_simulations_that_fail_are_counted_and_the_first_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def fragile(theta):
        if np.any(theta[..., 1] > 0.7):
            raise ArithmeticError("no convergence")
        return together(theta)

    def ends(theta):
        return sys.exit("no solution") if theta[1] > 0.7 else one(theta)

    wrong = THETA[:, 1] > 0.7
    first = np.flatnonzero(wrong)[0]
    for simulator, words in (
        (fragile, "ArithmeticError: no convergence"),
        (ends, "SystemExit: no solution"),
    ):
        with pytest.warns(
            UserWarning,
            match=f"{wrong.sum()} of 30 simulations failed; the first: simulation {first}, {words}",
        ):
            values = made(simulator)
        assert np.isnan(values[wrong]).all()
        np.testing.assert_allclose(values[~wrong], EXPECTED[~wrong])


REFUSED = {
    "a pair": (lambda theta: (together(theta), theta), "returned 2 arrays; return one"),
    "a pair of vectors": (lambda theta: (theta[0] * TIMES, theta[1] * TIMES), "returned 2 arrays"),
    "a dictionary": (lambda theta: {"x": together(theta)}, "a number for each row"),
    "nothing": (lambda theta: None, "the shape .* of object; give numbers"),
    "words": (lambda theta: ["a"] * len(theta), "give numbers"),
    "no values": (lambda theta: theta[:, :0], r"the shape \(3, 0\)"),
    "complex": (lambda theta: together(theta) * 1j, "real and imaginary parts"),
    "of other lengths": (
        lambda theta: [[1.0] * (1 + row) for row in range(len(theta))],
        "the same shape",
    ),
    "now and then of other lengths": (
        lambda theta: np.ones(2 + int(theta[1] > 0.7)),
        "simulation .* has the shape",
    ),
    "of two arguments": (
        lambda a, b: a + b,
        r"numpy.ndarray of the shape \(3, 2\).*missing 1 required .*of one, \(2,\).*missing 1",
    ),
    "of names": (lambda theta: theta["rate"], "IndexError"),
    "that always fails": (lambda theta: sys.exit(3), "SystemExit: 3"),
}


@pytest.mark.parametrize(("simulator", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_simulator_is_refused_with_both_ways_to_call_it(
    simulator, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(QexpError, match=words):
        made(simulator)


SLOW = """
    import os, sys
    import numpy as np, scipy.stats
    from qexp.base.workspace import find
    from qexp.runs.new import new_simulations
    at_once = int(sys.argv[1])
    def slow(theta):
        if len(sys.argv) > 2 and SEEN[40] in theta:
            os.kill(os.getpid(), 9)
        size = (len(theta), 3) if at_once else 3
        return (theta if at_once else theta[0]) * np.ones(3) + np.random.normal(size=size)
    from qexp.kinds.simulations.arrays import drawn
    prior = {"a": scipy.stats.norm()}
    SEEN = drawn(prior, 60)[:, 0]
    print("---")
    new_simulations(find(create=True), "slow", 60, slow, (), prior, counted=print, at_once=at_once or None)
"""


def test_a_piece_with_an_error_is_simulated_one_by_one(tmp_path):
    def of_all(theta):
        if len(theta) > 1 and (theta[:, 0] < 0).any():
            raise ArithmeticError("it diverges")
        return theta * np.ones(3)

    theta, calls = np.linspace(-1.0, 10.0, 50)[::-1, None], []
    found = simulated(of_all, theta, tmp_path / "made.npy", lambda *done: calls.append(done), 20)[
        "observed"
    ]
    np.testing.assert_allclose(found, theta * np.ones(3), rtol=1e-6)
    assert [done for done, _ in calls] == [20, 40, 50, *range(41, 51)]


@pytest.mark.heavy
@pytest.mark.parametrize(("at_once", "pieces"), [(0, [20, 60]), (10, [2, 6])])
def test_simulations_made_in_pieces_outlive_the_process_and_a_workspace_is_made_where_there_is_none(
    tmp_path, at_once, pieces
):
    (tmp_path / "made.py").write_text(textwrap.dedent(SLOW))
    folders = [tmp_path / name for name in ("killed", "whole")]
    for folder in folders:
        folder.mkdir()

    def called(folder, *arguments):
        command = [sys.executable, tmp_path / "made.py", str(at_once), *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert called(folders[0], "kill").returncode == -signal.SIGKILL
    again, whole = called(folders[0]), called(folders[1])
    assert again.returncode == whole.returncode == 0, again.stderr
    assert [
        len(said.stdout.partition("---\n")[2].splitlines()) for said in (again, whole)
    ] == pieces
    data = [folder / "data/slow.npz" for folder in folders]
    assert [path.name for path in data[0].parent.iterdir()] == ["slow.npz"]
    assert data[0].read_bytes() == data[1].read_bytes()


NOT_CONTINUOUS = {
    "poisson": scipy.stats.poisson(3),
    "randint": scipy.stats.randint(0, 4),
    "categorical": torch.distributions.Categorical(torch.tensor([0.2, 0.5, 0.3])),
    "bernoulli": torch.distributions.Bernoulli(torch.tensor([0.3])),
    "binomial": scipy.stats.Binomial(n=3, p=0.2),
    "values": scipy.stats.rv_discrete(values=([0, 1], [0.5, 0.5]))(),
}


@pytest.mark.parametrize("prior", NOT_CONTINUOUS.values(), ids=NOT_CONTINUOUS)
def test_discrete_priors_are_refused_with_the_reason(prior):
    with pytest.raises(
        QexpError, match="'kind' is discrete, and posteriors are densities of continuous parameters"
    ):
        distributions({"rate": scipy.stats.norm(), "kind": prior}, ["rate", "kind"])


NARROW = [
    (
        scipy.stats.uniform(60000.1, 1e-3),
        {"type": "uniform", "parameters": {"a": 60000.1, "b": 60000.101}},
    ),
    (scipy.stats.uniform(1e9, 1), {"type": "uniform", "parameters": {"a": 1e9, "b": 1e9 + 1}}),
    (
        scipy.stats.uniform(4520000.4, 100),
        {"type": "uniform", "parameters": {"a": 4520000.4, "b": 4520100.4}},
    ),
    (scipy.stats.norm(-5e6, 0.2), {"type": "normal", "parameters": {"mu": -5e6, "sigma": 0.2}}),
    (
        scipy.stats.lognorm(1e-4, scale=1e6),
        {"type": "log_normal", "parameters": {"mu": 13.815510558, "sigma": 1e-4}},
    ),
    (
        scipy.stats.Normal(mu=1.0, sigma=2.0),
        {"type": "normal", "parameters": {"mu": 1.0, "sigma": 2.0}},
    ),
    (scipy.stats.t(2, loc=1e6), None),
    (torch.distributions.HalfCauchy(1.0), None),
    (torch.distributions.Cauchy(0.0, 1.0), None),
]


@pytest.mark.parametrize(("prior", "expected"), NARROW)
def test_priors_are_told_by_their_spread_however_far_from_zero_they_are(prior, expected):
    assert distributions([prior], ["a"]) == ({} if expected is None else {"a": expected})


def test_a_prior_that_is_bounded_far_from_zero_keeps_its_shape_and_one_without_parameters_is_refused():
    found = distributions([scipy.stats.beta(2, 2, loc=4520000, scale=100)], ["a"])["a"]
    assert found["type"] == "quantiles"
    assert found["parameters"]["values"][100] == pytest.approx(4520050, abs=1e-6)
    for wrong in (scipy.stats.norm, scipy.stats.Normal, torch.distributions.Normal):
        with pytest.raises(QexpError, match="is no frozen distribution of"):
            distributions([wrong], ["a"])


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    return find(create=True)


@pytest.mark.heavy
def test_what_nothing_can_be_learned_from_and_what_seems_to_have_failed_is_said(home):
    x = np.random.default_rng(0).normal(size=(300, 4))
    theta, x[:, 2], counts = x[:, :2].copy(), 1.0, np.random.default_rng(1).poisson(np.exp(3 * x))
    constant = (
        "values of 'observed' are the same in all simulations (2 of 0 to 3): nothing can be learned"
        " from them"
    )
    assert new_simulations(home, "constant", theta, x, (), None) == [constant]
    assert new_simulations(home, "tails", theta, np.c_[counts[:, :2], x[:, 3] ** 9], (), None) == []
    x[7, 1] = 3e8
    _, far = new_simulations(home, "far", theta, x, (), None)
    assert (
        far
        == "'observed' has values 3e+08 from its median, 100 times as far as all others: did those"
        " fail?"
    )
    (few,) = new_simulations(home, "few", theta[:20], x[:20, 3:], (), None)
    assert few.startswith("20 simulations are few")


@pytest.mark.heavy
def test_parameters_that_have_no_posterior_are_refused_and_those_of_a_grid_have_one(home):
    random = np.random.default_rng(0)
    theta = np.stack([random.integers(0, 4, 300), random.normal(size=300)], axis=1)
    new_simulations(home, "classes", theta, theta + 0.1, ("kind", "rate"), None)
    with pytest.raises(QexpError, match="parameter 'kind', with 4 whole numbers, is discrete"):
        new_specs(home, NewOptions("experience", "classes"))
    new_simulations(
        home, "shares", random.dirichlet([1, 1, 1], 300), theta, ("sand", "silt", "clay"), None
    )
    with pytest.raises(
        QexpError,
        match="each of the parameters sand, silt, clay follows from the others; leave one",
    ):
        new_specs(home, NewOptions("experience", "shares"))
    for name, kept in (("Mg/Si", "a group"), ("draw", "an axis")):
        new_simulations(home, name[:2], theta[:, 1:], theta, (name,), None)
        with pytest.raises(
            SpecError, match=f"'{name}' is {kept} in files of estimates; give it another name"
        ):
            new_specs(home, NewOptions("experience", name[:2]))
    new_simulations(home, "halves", theta[:, :1] / 2, theta, ("half",), None)
    with pytest.raises(
        QexpError, match=r"for the test part .*, in 4 groups or with as many different parameters"
    ):
        new_specs(home, NewOptions("experience", "halves"))
    new_simulations(home, "years", random.integers(1900, 2000, (300, 1)), theta, ("year",), None)
    assert new_specs(home, NewOptions("experience", "years"))


def test_without_a_workspace_one_is_made_but_none_where_another_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(QexpError, match="is not a workspace"):
        package.dataset(THETA, EXPECTED, name="made", workspace="elsewhere")
    assert not [*tmp_path.iterdir()]
    assert package.dataset(THETA, EXPECTED, name="made") == "made"
    assert (tmp_path / "specs/datasets/made.json").exists()
