"""Baselines: scikit-learn's estimators of one output from a few columns, and the hyper-parameters to try.

They get standardized inputs and a standardized target. The choices are the builders' defaults: round numbers around
scikit-learn's own defaults, few enough that dozens of folds take seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.tables import Entry

Array = NDArray[np.float64]
Choice = Mapping[str, float]
"""Hyper-parameter → its value."""


@dataclass(frozen=True)
class Baseline:
    """An estimator, with the choices of its hyper-parameters."""

    choices: Sequence[Choice]
    """At least one, simpler ones first: of two with equal errors the first is selected."""
    estimate: Callable[[Array, Array, Array, Sequence[Choice], int], Array]
    """inputs (row, column), target (row,), other inputs (other row, column), choices, seed → (choice, other row).
    All choices at once, since some estimators compute them together."""
    transformed: bool = True
    """Whether it learns the transformed target, if the experience transforms it."""


def mean() -> Baseline:
    """The mean of the training target."""

    def estimate(inputs: Array, target: Array, others: Array, choices: Sequence[Choice], seed: int) -> Array:
        return np.full((len(choices), len(others)), target.mean())

    # The mean of logarithms is not the mean of the values, and a worse constant.
    return Baseline([{}], estimate, transformed=False)


def ridge(
    penalties: Sequence[float] = (1000.0, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001),
) -> Baseline:
    """Ridge regression for several `penalties`."""

    def estimate(inputs: Array, target: Array, others: Array, choices: Sequence[Choice], seed: int) -> Array:
        from sklearn.linear_model import Ridge

        # One target per penalty: all are solved with a single decomposition of the inputs.
        targets = np.repeat(target[:, None], len(choices), axis=1)
        fitted = Ridge(alpha=[choice["penalty"] for choice in choices], solver="svd").fit(inputs, targets)
        return np.asarray(fitted.predict(others)).reshape(len(others), len(choices)).T

    return Baseline([{"penalty": penalty} for penalty in penalties], estimate)


def pls(components: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8)) -> Baseline:
    """Partial least squares for several numbers of `components`."""

    def estimate(inputs: Array, target: Array, others: Array, choices: Sequence[Choice], seed: int) -> Array:
        from sklearn.cross_decomposition import PLSRegression

        # At most as many components as the rank of the inputs; with that many it is least squares.
        most = int(np.linalg.matrix_rank(inputs))
        wanted = [min(int(choice["components"]), most) for choice in choices]
        if most == 0:
            return np.full((len(choices), len(others)), target.mean())
        with warnings.catch_warnings():
            # Components after those that explain the whole target are zero.
            warnings.filterwarnings("ignore", message="y residual is constant", category=UserWarning)
            fitted = PLSRegression(max(wanted), scale=False).fit(inputs, target)
        # The first components do not depend on the later ones: one fit gives the estimates for all choices.
        scores, loadings = fitted.transform(others), fitted.y_loadings_[0]
        return np.asarray(target.mean() + np.stack([scores[:, :number] @ loadings[:number] for number in wanted]))

    return Baseline([{"components": number} for number in components], estimate)


def svr(
    costs: Sequence[float] = (1.0, 10.0, 100.0, 1000.0),
    gammas: Sequence[float] = (0.001, 0.01, 0.1, 1.0),
    epsilons: Sequence[float] = (0.1,),
) -> Baseline:
    """Support vector regression for all pairs of cost and epsilon."""

    def estimate(inputs: Array, target: Array, others: Array, choices: Sequence[Choice], seed: int) -> Array:
        from sklearn.svm import SVR

        fitted = [
            SVR(C=choice["cost"], gamma=choice["gamma"], epsilon=choice["epsilon"]).fit(inputs, target)
            for choice in choices
        ]
        return np.stack([one.predict(others) for one in fitted])

    choices = [
        {"cost": cost, "gamma": gamma, "epsilon": epsilon} for cost, gamma, epsilon in product(costs, gammas, epsilons)
    ]
    return Baseline(choices, estimate)


MOST_ROWS = 5000
"""Limit for a Gaussian process, whose time grows with the cube of the rows, and its memory with their square."""


def gaussian_process(restarts: int = 1) -> Baseline:
    """Gaussian process regression. Its estimates raise ValueError for more than `MOST_ROWS` rows."""

    def estimate(inputs: Array, target: Array, others: Array, choices: Sequence[Choice], seed: int) -> Array:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        if len(target) > MOST_ROWS:
            raise ValueError(
                f"gaussian_process: {len(target)} training rows, but at most {MOST_ROWS} are "
                "possible, since its time grows with their cube; leave it out of the baselines"
            )
        kernel = ConstantKernel(1.0, (1e-3, 1e4)) * RBF(3.0, (1e-1, 1e3)) + WhiteKernel(0.1, (1e-6, 1e1))
        process = GaussianProcessRegressor(kernel, n_restarts_optimizer=restarts, random_state=seed)
        with warnings.catch_warnings():
            # A kernel's parameter at its bound is a valid result: no noise, for example, or no effect.
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimates = process.fit(inputs, target).predict(others)
        return np.tile(np.asarray(estimates), (len(choices), 1))

    # Its kernel is fitted by maximum likelihood on the training rows: there are no choices.
    return Baseline([{}], estimate)


def extra_trees(trees: int = 100) -> Baseline:
    """Extremely randomized trees."""

    def estimate(inputs: Array, target: Array, others: Array, choices: Sequence[Choice], seed: int) -> Array:
        from sklearn.ensemble import ExtraTreesRegressor

        fitted = [ExtraTreesRegressor(trees, random_state=seed).fit(inputs, target) for _ in choices]
        return np.stack([one.predict(others) for one in fitted])

    return Baseline([{}], estimate)


def _several(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": dict(item), "minItems": 1}


POSITIVE = {"type": "number", "exclusiveMinimum": 0}

BASELINES: dict[str, Entry] = {
    "mean": Entry(
        build=mean,
        parameters={},
        help="The mean of the training targets: the error of an estimator that ignores the inputs.",
        example={"type": "mean"},
    ),
    "ridge": Entry(
        build=ridge,
        parameters={"properties": {"penalties": _several(POSITIVE)}},
        help="Ridge regression: linear in the inputs, with a penalty on the squared coefficients.",
        example={"type": "ridge", "parameters": {"penalties": [10.0, 1.0, 0.1]}},
    ),
    "pls": Entry(
        build=pls,
        parameters={"properties": {"components": _several({"type": "integer", "minimum": 1})}},
        help="Partial least squares: linear in the few components of the inputs that covary most with the target.",
        example={"type": "pls", "parameters": {"components": [1, 2, 3, 4]}},
    ),
    "svr": Entry(
        build=svr,
        parameters={
            "properties": {"costs": _several(POSITIVE), "gammas": _several(POSITIVE), "epsilons": _several(POSITIVE)}
        },
        help="Support vector regression with a Gaussian kernel; cost and epsilon apply to standardized values.",
        example={"type": "svr", "parameters": {"costs": [1.0, 10.0], "gammas": [0.1], "epsilons": [0.1]}},
    ),
    "gaussian_process": Entry(
        build=gaussian_process,
        parameters={"properties": {"restarts": {"type": "integer", "minimum": 0}}},
        help="Gaussian process with a squared-exponential kernel and noise, fitted by maximum likelihood.",
        example={"type": "gaussian_process", "parameters": {"restarts": 0}},
    ),
    "extra_trees": Entry(
        build=extra_trees,
        parameters={"properties": {"trees": {"type": "integer", "minimum": 1}}},
        help="Extremely randomized trees: the mean of many.",
        example={"type": "extra_trees", "parameters": {"trees": 20}},
    ),
}
