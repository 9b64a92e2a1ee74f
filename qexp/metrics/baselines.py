"""Baselines: simple estimators that a network must beat on exactly the same held-out rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qexp.base.arrays import Array
from qexp.base.seeds import Seeds
from qexp.base.tables import Entry, Table, array, integer, number
from qexp.metrics.built_in import METRICS
from qexp.metrics.conformal import unchanged
from qexp.metrics.intervals import difference, interval
from qexp.metrics.meaning import CLASSES, NETWORK, NUMBERS
from qexp.metrics.metric import Metrics, evaluate, with_period
from qexp.metrics.splits import Rows

SHOWN = ("rmse", "mae", "r2", "bias")
"""Metrics of an estimator of numbers on held-out rows, as they are listed."""

SHOWN_OF_CLASSES = (
    "log_score",
    "accuracy",
    "balanced_accuracy",
    "brier",
    "calibration_error",
    "auc",
)
"""Those of an estimator of classes; estimators are compared by the first of each."""

# Names of an experience's baselines in its tables.


Description = Mapping[str, Any]
"""`type`, and all `parameters` including defaults."""


def names(baselines: Sequence[Description], table: Table) -> list[str]:
    """The types; if one occurs several times, with the parameters that are not defaults: `ridge
    (penalties 1, 0.1)`.

    Two names are equal only if the baselines are; see `repeated`.
    """
    types = [baseline["type"] for baseline in baselines]
    names = []
    for kind, baseline in zip(types, baselines, strict=True):
        defaults = table[kind].defaults
        changes = []
        for name, value in baseline["parameters"].items():
            if name not in defaults or _in_words(value) != _in_words(defaults[name]):
                changes.append(f"{name} {_in_words(value)}")
        several = types.count(kind) > 1 and changes
        names.append(f"{kind} ({'; '.join(changes)})" if several else kind)
    return names


def repeated(baselines: Sequence[Description]) -> Iterator[tuple[int, int]]:
    """Duplicate baselines: the position of each, and that of its first occurrence."""
    for position, baseline in enumerate(baselines):
        first = list(baselines).index(baseline)
        if first < position:
            yield position, first


def _in_words(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


# Baselines: scikit-learn's estimators of one output from a few columns, and the hyper-parameters to
# try.
#
# They get standardized inputs and a standardized target. The choices are the builders' defaults:
# round numbers around scikit-learn's own defaults, few enough that dozens of folds take seconds.

Choice = Mapping[str, float]
"""Hyper-parameter → its value."""
Choices = Sequence[Choice]
Codes = NDArray[np.int64]


def no_numbers(*_: Any) -> Array:
    raise ValueError("this baseline estimates classes, not numbers")


def no_classes(*_: Any) -> Array:
    raise ValueError("this baseline estimates numbers, not classes")


@dataclass(frozen=True)
class Baseline:
    """An estimator, with the choices of its hyper-parameters."""

    choices: Choices
    """At least one, simpler ones first: of two with equal errors the first is selected."""
    estimate: Callable[[Array, Array, Array, Choices, int], Array] = no_numbers
    """inputs (row, column), target (row,), other inputs (other row, column), choices, seed →
    (choice, other row). All choices at once, since some estimators compute them together.
    """
    transformed: bool = True
    """Whether it learns the transformed target, if the experience transforms it."""
    takes_gaps: bool = False
    """Whether inputs may be NaN."""
    probabilities: Callable[[Array, Codes, Array, Choices, int], Array] = no_classes
    """inputs, codes 0, 1, … of at least two classes, (row,), other inputs, choices, seed →
    (choice, other row, class).
    """

    @property
    def outputs(self) -> tuple[str, ...]:
        """What it estimates: `NUMBERS`, `CLASSES`, or both."""
        numbers = () if self.estimate is no_numbers else (NUMBERS,)
        return numbers if self.probabilities is no_classes else (*numbers, CLASSES)


def trouble(kind: str, outputs: str, table: Table) -> str | None:
    """What is wrong with a baseline for outputs that are `NUMBERS` or `CLASSES`, if anything is."""
    fit = [name for name, entry in table.items() if outputs in entry.build().outputs]
    return None if kind in fit else f"'{kind}' is no baseline of {outputs}; use {', '.join(fit)}"


def mean() -> Baseline:
    """The mean of the training targets: the error of an estimator that ignores the inputs."""

    def estimate(inputs: Array, target: Array, others: Array, choices: Choices, seed: int) -> Array:
        return np.full((len(choices), len(others)), target.mean())

    # The mean of logarithms is not the mean of the values, and a worse constant.
    return Baseline([{}], estimate, transformed=False)


def majority() -> Baseline:
    """The shares of classes in the training rows: what is known without the inputs."""

    def shares(inputs: Array, codes: Codes, others: Array, choices: Choices, seed: int) -> Array:
        counts = np.bincount(codes)
        return np.broadcast_to(counts / len(codes), (len(choices), len(others), len(counts)))

    return Baseline([{}], takes_gaps=True, probabilities=shares)


def logistic_regression(
    penalties: Sequence[float] = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01),
) -> Baseline:
    """Logistic regression: logarithms of probabilities are linear in the inputs."""

    def fitted(inputs: Array, codes: Codes, others: Array, choices: Choices, seed: int) -> Array:
        from sklearn.linear_model import LogisticRegression

        # Each penalty starts from the coefficients of the one before.
        model = LogisticRegression(warm_start=True, max_iter=1000)
        probabilities = []
        for choice in choices:
            model.set_params(C=1 / choice["penalty"])
            probabilities.append(model.fit(inputs, codes).predict_proba(others))
        return np.stack(probabilities)

    return Baseline([{"penalty": penalty} for penalty in penalties], probabilities=fitted)


def ridge(
    penalties: Sequence[float] = (
        1000.0,
        300.0,
        100.0,
        30.0,
        10.0,
        3.0,
        1.0,
        0.3,
        0.1,
        0.03,
        0.01,
        0.003,
        0.001,
    ),
) -> Baseline:
    """Ridge regression: linear in the inputs, with a penalty on the squared coefficients."""

    def estimate(inputs: Array, target: Array, others: Array, choices: Choices, seed: int) -> Array:
        from sklearn.linear_model import Ridge

        # One target per penalty: all are solved with a single decomposition of the inputs.
        targets = np.repeat(target[:, None], len(choices), axis=1)
        fitted = Ridge(alpha=[choice["penalty"] for choice in choices], solver="svd").fit(
            inputs, targets
        )
        return np.asarray(fitted.predict(others)).reshape(len(others), len(choices)).T

    return Baseline([{"penalty": penalty} for penalty in penalties], estimate)


def pls(components: Sequence[int] = (1, 2, 3, 4, 5, 6, 7, 8)) -> Baseline:
    """Partial least squares: linear in the few components of the inputs that covary most with the
    target.
    """

    def estimate(inputs: Array, target: Array, others: Array, choices: Choices, seed: int) -> Array:
        from sklearn.cross_decomposition import PLSRegression

        # At most as many components as the rank of the inputs; with that many it is least squares.
        most = int(np.linalg.matrix_rank(inputs))
        wanted = [min(int(choice["components"]), most) for choice in choices]
        if most == 0:
            return np.full((len(choices), len(others)), target.mean())
        with warnings.catch_warnings():
            # Components after those that explain the whole target are zero.
            warnings.filterwarnings(
                "ignore", message="y residual is constant", category=UserWarning
            )
            fitted = PLSRegression(max(wanted), scale=False).fit(inputs, target)
        # The first components do not depend on the later ones: one fit gives the estimates for all
        # choices.
        scores = fitted.transform(others)
        loadings = fitted.y_loadings_[0]
        return np.asarray(
            target.mean() + np.stack([scores[:, :number] @ loadings[:number] for number in wanted])
        )

    return Baseline([{"components": number} for number in components], estimate)


def svr(
    costs: Sequence[float] = (1.0, 10.0, 100.0, 1000.0),
    gammas: Sequence[float] = (0.001, 0.01, 0.1, 1.0),
    epsilons: Sequence[float] = (0.1,),
) -> Baseline:
    """Support vector regression with a Gaussian kernel; cost and epsilon apply to standardized
    values.
    """

    def estimate(inputs: Array, target: Array, others: Array, choices: Choices, seed: int) -> Array:
        from sklearn.svm import SVR

        estimates = []
        for choice in choices:
            machine = SVR(C=choice["cost"], gamma=choice["gamma"], epsilon=choice["epsilon"])
            estimates.append(machine.fit(inputs, target).predict(others))
        return np.stack(estimates)

    names = "cost", "gamma", "epsilon"
    combinations = product(costs, gammas, epsilons)
    choices = [dict(zip(names, values, strict=True)) for values in combinations]
    return Baseline(choices, estimate)


def nmf_svr(components: Sequence[int] = (4, 8)) -> Baseline:
    """Support vector regression on the amounts of a few non-negative components (NMF).

    These are those of the inputs less their training minimum. Lee et al. (2022), Sci. Rep. 12,
    20860, take spectra as fractions of their counts.
    """
    machines = svr()

    def estimate(inputs: Array, target: Array, others: Array, choices: Choices, seed: int) -> Array:
        from scipy.optimize import nnls
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.preprocessing import StandardScaler

        rows = np.concatenate([inputs, others]) - inputs.min(axis=0)
        rows = np.maximum(rows, 1e-9)  # NMF takes no table of zeros
        estimates = []
        for wanted, alike in groupby(choices, lambda choice: int(choice["components"])):
            factors = NMF(min(wanted, *inputs.shape), max_iter=1000, random_state=seed)
            with warnings.catch_warnings():
                # Components that still change a little are as good.
                warnings.simplefilter("ignore", ConvergenceWarning)
                found = factors.fit(rows[: len(inputs)]).components_.T
            # Row by row: those of NMF itself depend on which rows are estimated together.
            amounts = np.stack([nnls(found, row, maxiter=1000)[0] for row in rows])
            amounts = StandardScaler().fit(amounts[: len(inputs)]).transform(amounts)
            known, new = np.split(amounts, [len(inputs)])
            estimates.append(machines.estimate(known, target, new, list(alike), seed))
        return np.concatenate(estimates)

    pairs = product(components, machines.choices)
    return Baseline([{"components": number, **choice} for number, choice in pairs], estimate)


MOST_ROWS = 5000
"""Limit for a Gaussian process: time grows with the cube of the rows, memory with the square."""


def gaussian_process(restarts: int = 1) -> Baseline:
    """Gaussian process with a squared-exponential kernel and noise, fitted by maximum likelihood.

    Raises ValueError for estimates from more than `MOST_ROWS` rows.
    """

    def estimate(inputs: Array, target: Array, others: Array, choices: Choices, seed: int) -> Array:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

        if len(target) > MOST_ROWS:
            raise ValueError(
                f"gaussian_process: {len(target)} training rows, but at most {MOST_ROWS} are "
                "possible, since its time grows with their cube; leave it out of the baselines"
            )
        kernel = ConstantKernel(1.0, (1e-3, 1e4)) * RBF(3.0, (1e-1, 1e3)) + WhiteKernel(
            0.1, (1e-6, 1e1)
        )
        process = GaussianProcessRegressor(kernel, n_restarts_optimizer=restarts, random_state=seed)
        with warnings.catch_warnings():
            # A kernel's parameter at its bound is a valid result: no noise, for example, or no
            # effect.
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimates = process.fit(inputs, target).predict(others)
        return np.asarray(estimates)[None]

    # Its kernel is fitted by maximum likelihood on the training rows: there are no choices.
    return Baseline([{}], estimate)


def extra_trees(trees: int = 100) -> Baseline:
    """Extremely randomized trees: the mean of many."""

    def estimate(inputs: Array, target: Array, others: Array, choices: Choices, seed: int) -> Array:
        from sklearn.ensemble import ExtraTreesRegressor

        return np.asarray(
            ExtraTreesRegressor(trees, random_state=seed).fit(inputs, target).predict(others)
        )[None]

    return Baseline([{}], estimate)


def random_forest(trees: int = 100) -> Baseline:
    """Random forest of classes: the mean of many trees, each of rows drawn at random."""

    def shares(inputs: Array, codes: Codes, others: Array, choices: Choices, seed: int) -> Array:
        from sklearn.ensemble import RandomForestClassifier

        forest = RandomForestClassifier(trees, random_state=seed)
        return np.asarray(forest.fit(inputs, codes).predict_proba(others))[None]

    return Baseline([{}], probabilities=shares)


LEAVES = {"max_leaf_nodes": 8, "min_samples_leaf": 5}
"""Those of the trees that are added; scikit-learn's own need thousands of rows."""


def gradient_boosting(trees: Sequence[int] = (10, 30, 100)) -> Baseline:
    """Gradient boosting: each tree learns what those before it left; values may be missing."""

    def staged(model: Any, stages: str, known: Array, target: Any, others: Array) -> list[Any]:
        """The estimates after each number of trees."""
        from threadpoolctl import threadpool_limits

        # The first trees do not depend on the later ones: one fit gives the estimates for all
        # numbers.
        with threadpool_limits(1, "openmp"):  # several are slower for tables, and round differently
            fitted = model.fit(known, target)
            return [*getattr(fitted, stages)(others)]

    def estimate(inputs: Array, target: Array, others: Array, choices: Choices, seed: int) -> Array:
        from sklearn.ensemble import HistGradientBoostingRegressor

        model = HistGradientBoostingRegressor(random_state=seed, **settings)
        stages = staged(model, "staged_predict", inputs, target, others)
        return np.stack([stages[int(choice["trees"]) - 1] for choice in choices])

    def shares(inputs: Array, codes: Codes, others: Array, choices: Choices, seed: int) -> Array:
        from sklearn.ensemble import HistGradientBoostingClassifier

        model = HistGradientBoostingClassifier(random_state=seed, **settings)
        stages = staged(model, "staged_predict_proba", inputs, codes, others)
        return np.stack([stages[int(choice["trees"]) - 1] for choice in choices])

    settings: Any = {"max_iter": max(trees), "early_stopping": False, **LEAVES}
    choices = [{"trees": number} for number in trees]
    return Baseline(choices, estimate, takes_gaps=True, probabilities=shares)


POSITIVE = number(above=0)

BASELINES: dict[str, Entry] = {
    "mean": Entry.documented(mean, {"type": "mean"}),
    "ridge": Entry.documented(
        ridge,
        {"type": "ridge", "parameters": {"penalties": [10.0, 1.0, 0.1]}},
        penalties=array(POSITIVE, "penalties to choose from by cross-validation"),
    ),
    "pls": Entry.documented(
        pls,
        {"type": "pls", "parameters": {"components": [1, 2, 3, 4]}},
        components=array(
            integer(least=1), "numbers of components to choose from by cross-validation"
        ),
    ),
    "svr": Entry.documented(
        svr,
        {
            "type": "svr",
            "parameters": {"costs": [1.0, 10.0], "gammas": [0.1], "epsilons": [0.1]},
        },
        costs=array(POSITIVE, "costs of errors to choose from by cross-validation"),
        gammas=array(POSITIVE, "kernels exp(−gamma · squared distance) to choose from"),
        epsilons=array(POSITIVE, "errors that cost nothing, to choose from"),
    ),
    "nmf_svr": Entry.documented(
        nmf_svr,
        {"type": "nmf_svr", "parameters": {"components": [4]}},
        components=array(integer(least=1), "numbers of components to choose from"),
    ),
    "gaussian_process": Entry.documented(
        gaussian_process,
        {"type": "gaussian_process", "parameters": {"restarts": 0}},
        restarts=integer("further random starts of the fit", least=0),
    ),
    "extra_trees": Entry.documented(
        extra_trees,
        {"type": "extra_trees", "parameters": {"trees": 20}},
        trees=integer("number of trees", least=1),
    ),
    "random_forest": Entry.documented(
        random_forest,
        {"type": "random_forest", "parameters": {"trees": 20}},
        trees=integer("number of trees", least=1),
    ),
    "gradient_boosting": Entry.documented(
        gradient_boosting,
        {"type": "gradient_boosting", "parameters": {"trees": [10, 100]}},
        trees=array(integer(least=1), "numbers of trees to choose from by cross-validation"),
    ),
    "majority": Entry.documented(majority, {"type": "majority"}),
    "logistic_regression": Entry.documented(
        logistic_regression,
        {"type": "logistic_regression", "parameters": {"penalties": [10.0, 1.0, 0.1]}},
        penalties=array(
            POSITIVE, "penalties on squared coefficients to choose from by cross-validation"
        ),
    ),
}

# Nested cross-validation of baselines: each fold selects, scales and fits a baseline on its
# training rows alone.


Split = tuple[Rows, Rows]
"""Training and test rows, as row numbers of the table."""

InnerSplits = Callable[[Rows], Sequence[Split]]
"""A function that splits row numbers into training and test rows."""

BaselineTransform = tuple[Callable[[Array], Array], Callable[[Array], Array]]
"""A transform of the target and its inverse; linear ones do nothing to a standardized target."""


def cross_validated(
    baseline: Baseline,
    inputs: ArrayLike,
    targets: ArrayLike,
    folds: Sequence[Split],
    inner: InnerSplits,
    seed: int,
    transforms: Sequence[BaselineTransform | None] | None = None,
    completed: Callable[[Rows], ArrayLike] | None = None,
) -> Array:
    """A baseline's estimates of all held-out rows, (row, output), in the outputs' own units.

    Of a row that several folds hold out it is their mean, and NaN if none does.

    inputs      (row, column)
    targets     (row, output); each output is estimated separately
    transforms  one per output
    completed   training rows → the inputs of all rows without gaps, by what these rows tell, for
                baselines that take none; what it adds are further columns

    The hyper-parameters of a fold are those with the lowest squared error, in the target's own
    unit, over all estimates of its inner folds. The result of a fold does not depend on other
    folds.
    Raises ValueError for values that are not finite, and for inner folds outside the training rows.
    """
    true = np.asarray(targets, dtype=np.float64)
    columns = []
    for target, transform in zip(true.T, transforms or [None] * true.shape[1], strict=True):
        output = _Output(baseline, inputs, target, seed, completed, transform)
        columns.append(_means_over_folds(output, folds, inner))
    return np.concatenate(columns, axis=1)


def cross_validated_classes(
    baseline: Baseline,
    inputs: ArrayLike,
    codes: ArrayLike,
    classes: int,
    folds: Sequence[Split],
    inner: InnerSplits,
    seed: int,
    completed: Callable[[Rows], ArrayLike] | None = None,
) -> Array:
    """A baseline's probabilities of classes for all held-out rows, (row, class); see
    `cross_validated`.

    codes    (row,) the true class, 0, 1, … below the number of classes
    classes  their number, also of those that no row or no training row of a fold has

    The hyper-parameters are those with the lowest log score. Each fold's probabilities are mixed
    with equal ones, as if a single further training row were shared by all classes (Perks 1947, J.
    Inst. Actuar. 73, 285-334), so that none is impossible: the likeliest class stays the same.
    """
    target = np.asarray(codes, dtype=np.float64)
    output = _Classes(baseline, inputs, target, seed, completed, classes=classes)
    return _means_over_folds(output, folds, inner)


def _means_over_folds(output: _Output, folds: Sequence[Split], inner: InnerSplits) -> Array:
    """Means over the folds that hold out a row, (row, column); NaN where none does."""
    rows = len(output.target)
    times = np.zeros((rows, 1), dtype=np.int64)
    total: Any = 0.0
    for train, test in folds:
        choice = output.choose(train, inner)
        estimates = output.estimate(train, test, [choice])[0]
        added = np.zeros((rows, estimates.shape[1]))
        added[test] = estimates
        total = total + added
        times[test] += 1
    return np.where(times > 0, total / np.maximum(times, 1), np.nan)


@dataclass(frozen=True)
class _Output:
    """A baseline, and the output of the table that it estimates: a number."""

    baseline: Baseline
    inputs: ArrayLike
    target: Array
    seed: int
    completed: Callable[[Rows], ArrayLike] | None
    transform: BaselineTransform | None = None

    def choose(self, train: Rows, inner: InnerSplits) -> Choice:
        """The hyper-parameters that cost least on the inner folds of the training rows."""
        choices = self.baseline.choices
        if len(choices) == 1:
            return choices[0]
        total = np.zeros(len(choices))
        for part, rest in _inner(train, inner):
            estimates = self.estimate(part, rest, choices)
            total += self.costs(estimates, self.target[rest]).sum(axis=1)
        # A transform's inverse can overflow for a very bad choice.
        return choices[int(np.argmin(np.where(np.isfinite(total), total, np.inf)))]

    def costs(self, estimates: Array, truth: Array) -> Array:
        """How wrong estimates of rows are, (choice, row)."""
        return np.asarray(np.square(estimates[..., 0] - truth))

    def estimate(self, train: Rows, test: Rows, choices: Choices) -> Array:
        """Estimates of test rows, (choice, test row, column), in the target's unit, fitted to
        training.
        """
        forward, inverse = (
            self.transform
            if self.transform and self.baseline.transformed
            else (unchanged, unchanged)
        )
        target = np.asarray(forward(self.target[train]))
        features, others, seed = self.standardized(train, test, target)
        center = target.mean()
        spread = target.std()
        if np.ptp(target) == 0:  # the computed deviation of equal values may differ from 0
            scaled = np.zeros((len(choices), len(test)))
            center = target[0]
        else:
            scaled = self.baseline.estimate(
                features, (target - center) / spread, others, choices, seed
            )
        with np.errstate(over="ignore"):
            return np.asarray(inverse(center + spread * scaled))[..., None]

    def standardized(self, train: Rows, test: Rows, target: Array) -> tuple[Array, Array, int]:
        """The inputs of training and test rows, and the seed.

        Raises ValueError for values that are not finite; `target` is that of the training rows.
        """
        from sklearn.preprocessing import StandardScaler

        gaps = self.baseline.takes_gaps
        inputs = np.asarray(self.inputs, dtype=np.float64)
        if self.completed is not None and not gaps:
            inputs = np.asarray(self.completed(train))
        checked = np.where(np.isnan(inputs), 0, inputs) if gaps else inputs
        finite = np.isfinite(
            np.concatenate([checked[train].sum(axis=1) + target, checked[test].sum(axis=1)])
        )
        if not finite.all():
            row = np.concatenate([train, test])[~finite][0]
            raise ValueError(
                f"row {row} has an input or target that is not a finite number, or whose transform"
                " is not"
            )
        scaler = StandardScaler().fit(inputs[train])
        features, others = (scaler.transform(inputs[rows]) for rows in (train, test))
        return features, others, Seeds(self.seed).number("baseline") % 2**32


@dataclass(frozen=True)
class _Classes(_Output):
    """A class, by the probabilities of all."""

    classes: int = 2

    def costs(self, estimates: Array, truth: Array) -> Array:
        true = truth.astype(np.int64)
        return np.asarray(-np.log(estimates[:, np.arange(len(true)), true]))

    def estimate(self, train: Rows, test: Rows, choices: Choices) -> Array:
        target = self.target[train]
        features, others, seed = self.standardized(train, test, target)
        present, codes = np.unique(target, return_inverse=True)
        found = np.ones((len(choices), len(test), 1))
        if len(present) > 1:
            found = self.baseline.probabilities(features, codes, others, choices, seed)
        every = np.zeros((len(choices), len(test), self.classes))
        every[..., present.astype(np.int64)] = found
        return np.asarray((len(train) * every + 1 / self.classes) / (len(train) + 1))


def _inner(train: Rows, inner: InnerSplits) -> Sequence[Split]:
    splits = inner(train)
    strangers = sorted(
        set(np.concatenate([rows for split in splits for rows in split]).tolist())
        - set(train.tolist())
    )
    if strangers:
        raise ValueError(
            f"the inner folds use rows that are not training rows of their fold: {strangers[:5]}"
        )
    return splits


# The network and its baselines compared on the same held-out rows: errors of each, and their
# differences.


def compared_estimators(
    estimators: Mapping[str, ArrayLike],
    truth: ArrayLike,
    units: Mapping[str, str],
    groups: ArrayLike | None = None,
    notes: Mapping[str, str] | None = None,
    periods: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """A row per output and estimator, of plain values that go into a JSON file.

    estimators  name → (row, output) in the outputs' own units, NaN for rows that no fold held out;
                `NETWORK` among them
    truth       (row, output)
    units       output → unit, in the order of the columns
    groups      (row,) the group of each row, such as a sample that was measured several times
    notes       name → a remark that is shown with the estimator's numbers: "selected on the test
                data"
    periods     output → the period after which its values repeat, for those whose values do

    Keys: `output`, `unit`, `estimator`, `note`, `n` (rows), `groups` (their number, None where rows
    are drawn); `rmse`, `mae`, `r2`, `bias`, each with `…_interval`; `difference`, the RMSE less
    that of the network, and `difference_interval`. Numbers are None for an estimator without a
    finite estimate of some row that another one has an estimate of; differences are None for the
    network itself.
    """
    true = np.asarray(truth, dtype=np.float64)
    estimated, held_out = _held_out(estimators)
    group = None if groups is None else np.asarray(groups)[held_out]
    rows = list[dict[str, Any]]()
    for column, (output, unit) in enumerate(units.items()):
        metrics = with_period(
            {metric: METRICS[metric].build() for metric in SHOWN}, (periods or {}).get(output)
        )
        of_output = {name: values[:, column] for name, values in estimated.items()}
        measured = true[held_out, column]
        for row, values, ends in _compared(metrics, of_output, measured, group, notes or {}):
            intervals = {f"{metric}_interval": pair for metric, pair in ends.items()}
            rows.append({"output": output, "unit": unit, **row, **values, **intervals})
    return rows


def compared_classifiers(
    estimators: Mapping[str, ArrayLike],
    truth: ArrayLike,
    output: str,
    groups: ArrayLike | None = None,
    notes: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """A row per estimator of an output of classes, as `compared_estimators` gives of numbers.

    estimators  name → probabilities, (row, class)
    truth       codes, (row,)

    The numbers are in `metrics` and `intervals`, by the names of `SHOWN_OF_CLASSES`; `difference`
    is that of log scores, positive if the network is better. The keys of numbers are None.
    """
    metrics = {metric: METRICS[metric].build() for metric in SHOWN_OF_CLASSES}
    estimated, held_out = _held_out(estimators)
    codes = np.asarray(truth, dtype=np.float64)[held_out]
    group = None if groups is None else np.asarray(groups)[held_out]
    of_numbers = dict.fromkeys([*SHOWN, *(f"{metric}_interval" for metric in SHOWN)])
    rows = []
    for row, values, ends in _compared(metrics, estimated, codes, group, notes or {}):
        head = {"output": output, "unit": "", **row, **of_numbers}
        rows.append(head | {"metrics": values, "intervals": ends})
    return rows


def _held_out(estimators: Mapping[str, ArrayLike]) -> tuple[dict[str, Array], NDArray[np.bool_]]:
    """The estimates of rows that some fold held out, and which rows these are."""
    estimated = {name: np.asarray(values, dtype=np.float64) for name, values in estimators.items()}
    held_out = ~np.all([np.isnan(values).all(axis=1) for values in estimated.values()], axis=0)
    return {name: values[held_out] for name, values in estimated.items()}, held_out


def _compared(
    metrics: Metrics,
    estimated: Mapping[str, Array],
    truth: Array,
    group: NDArray[Any] | None,
    notes: Mapping[str, str],
) -> Iterator[tuple[dict[str, Any], dict[str, float | None], dict[str, list[float] | None]]]:
    """Of each estimator what its row says, its metrics, and their intervals, None if unknown.

    Differences to the network are of the first metric.
    """
    main = next(iter(metrics.values()))
    counts = {"n": len(truth), "groups": None if group is None else len(np.unique(group))}
    for name, estimate in estimated.items():
        apart = ends = None
        numbers = dict[str, float | None].fromkeys(metrics)
        intervals = dict[str, list[float] | None].fromkeys(metrics)
        if _usable(estimate, truth):
            for metric, value in evaluate(metrics, estimate, truth).items():
                pair = interval(metrics[metric], estimate, truth, group)
                numbers[metric] = value if np.isfinite(value) else None
                intervals[metric] = list(pair) if pair else None
            network = estimated[NETWORK]
            if name != NETWORK and _usable(network, truth):
                apart, ends = difference(main, estimate, network, truth, group)
        compared = {"difference": apart, "difference_interval": ends and list(ends)}
        yield (
            {"estimator": name, "note": notes.get(name, ""), **counts, **compared},
            numbers,
            intervals,
        )


def _usable(estimate: Array, truth: Array) -> bool:
    return len(truth) > 0 and bool(np.isfinite(estimate).all() and np.isfinite(truth).all())
