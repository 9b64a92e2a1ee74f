import warnings

import numpy as np
import pytest

from qexp.base.tables import built, long_form
from qexp.metrics import baselines
from qexp.metrics.baselines import (
    BASELINES,
    MOST_ROWS,
    gaussian_process,
    names,
    pls,
    repeated,
    ridge,
    trouble,
)

OF_NUMBERS = [name for name, entry in BASELINES.items() if "numbers" in entry.build().outputs]
OF_CLASSES = [name for name, entry in BASELINES.items() if "classes" in entry.build().outputs]
EVERY = pytest.mark.parametrize("name", OF_NUMBERS)


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def estimates(baseline, inputs, targets, folds, inner, *arguments):
    """Of an entry, by name or description; `inner`: a number of shuffled folds, or what splits
    rows.
    """
    description = {"type": baseline} if isinstance(baseline, str) else baseline

    def shuffled(rows):
        parts = np.array_split(np.random.default_rng(1).permutation(rows), inner)
        return [(np.setdiff1d(rows, part), np.sort(part)) for part in parts]

    of_rows = inner if callable(inner) else shuffled
    return baselines.cross_validated(
        built(BASELINES, description), inputs, targets, folds, of_rows, *arguments
    )


def linear(rows=40, columns=5, noise=0.1, seed=0):
    """Rows whose two positive outputs are linear, and log-linear, in the columns."""
    random = np.random.default_rng(seed)
    inputs = random.normal(3, 2, (rows, columns))
    signal = inputs @ np.linspace(-1, 1, columns) / columns
    return inputs, np.stack([20 + signal, np.exp(signal)], axis=1) + noise * random.uniform(
        0, 1, (rows, 2)
    )


def in_parts(rows, parts):
    order = np.arange(rows)
    return [(np.setdiff1d(order, test), test) for test in np.array_split(order, parts)]


def rmse(estimate, truth):
    return np.sqrt(np.mean(np.square(estimate - truth)))


@pytest.mark.heavy
@EVERY
def test_every_row_that_is_held_out_has_an_estimate_and_no_other(name):
    inputs, targets = linear()
    result = estimates(name, inputs, targets, in_parts(40, 4)[1:], 3, 0)
    assert result.shape == targets.shape
    assert np.isnan(result[:10]).all()
    assert np.isfinite(result[10:]).all()


@pytest.mark.heavy
@EVERY
def test_nothing_of_a_held_out_row_reaches_another_and_one_that_is_not_to_be_used_may_hold_anything(
    name,
):
    inputs, targets = linear(24)
    folds = in_parts(24, 4)
    result = estimates(name, inputs, targets, folds, 3, 0)
    for fold, (_, test) in enumerate(folds):
        poisoned, wrong = inputs.copy(), targets.copy()
        wrong[test] = 1e6
        poisoned[test[0]] = -1e6
        of_fold = estimates(name, poisoned, wrong, folds[fold : fold + 1], 3, 0)
        others = test[1:]
        assert np.array_equal(of_fold[others], result[others])
    inputs, targets = linear(21)
    folds = [(np.arange(15), np.arange(15, 20))]
    result = estimates(name, inputs, targets, folds, 3, 0)
    inputs[20], targets[20] = np.nan, np.nan
    assert np.array_equal(estimates(name, inputs, targets, folds, 3, 0), result, equal_nan=True)


@pytest.mark.heavy
@EVERY
def test_the_same_seed_gives_the_same_bits_in_the_unit_of_the_target_and_whatever_the_unit_of_an_input(
    name,
):
    inputs, targets = linear(30, noise=2)
    first, again = (estimates(name, inputs, targets, in_parts(30, 3), 4, 7) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    inputs, targets = linear(30)
    result = estimates(name, inputs, targets, in_parts(30, 3), 3, 0)
    # Powers of two change no digit: even trees, which may split elsewhere after a rounding, split
    # in the same places.
    assert np.array_equal(
        estimates(name, 1024 * inputs, 4 * targets, in_parts(30, 3), 3, 0), 4 * result
    )


@pytest.mark.heavy
@pytest.mark.parametrize("name", [name for name in OF_NUMBERS if name != "mean"])
def test_what_can_be_learnt_from_the_inputs_is(name):
    inputs, targets = linear(60)
    folds = in_parts(60, 6)
    learnt, mean = (estimates(kind, inputs, targets, folds, 4, 0) for kind in (name, "mean"))
    assert (rmse(learnt, targets) < 0.6 * rmse(mean, targets)).all()


def test_the_mean_is_the_mean_of_the_training_rows_also_where_the_target_is_transformed():
    inputs, targets = linear(12)
    folds = in_parts(12, 3)
    result = estimates("mean", inputs, targets, folds, 3, 0, [None, (np.log, np.exp)])
    for train, test in folds:
        assert result[test] == pytest.approx(np.tile(targets[train].mean(axis=0), (len(test), 1)))


def test_a_target_that_is_linear_in_its_logarithm_is_found_through_it():
    inputs, targets = linear(40, noise=0)
    arguments = "ridge", inputs, targets[:, 1:], in_parts(40, 5), 4, 0
    plain, through_log = (
        estimates(*arguments, transforms) for transforms in (None, [(np.log, np.exp)])
    )
    assert rmse(through_log, targets[:, 1:]) < 0.01 * rmse(plain, targets[:, 1:])


def test_gaps_are_filled_in_by_training_rows_alone_unless_a_baseline_takes_them():
    inputs, targets = linear(30)
    inputs[::4, 0] = np.nan
    fitted = []

    def completed(rows):
        fitted.append(set(rows.tolist()))
        return np.where(np.isnan(inputs), np.nanmean(inputs[rows], axis=0), inputs)

    folds = in_parts(30, 3)
    result = estimates("ridge", inputs, targets, folds, 3, 0, None, completed)
    assert np.isfinite(result).all()
    assert all(any(rows <= set(train.tolist()) for train, _ in folds) for rows in fitted)
    assert len({frozenset(rows) for rows in fitted}) == 3 * (3 + 1)
    fitted.clear()
    assert np.isfinite(
        estimates("gradient_boosting", inputs, targets, folds, 3, 0, None, completed)
    ).all()
    assert not fitted
    inputs[3, 1] = np.inf
    with pytest.raises(
        ValueError, match="row 3 has an input or target that is not a finite number"
    ):
        estimates("gradient_boosting", inputs, targets, folds, 3, 0, None, completed)


@pytest.mark.heavy
def test_over_repeats_a_row_has_the_mean_of_its_estimates():
    inputs, targets = linear(20, noise=1)
    splits = in_parts(20, 2), in_parts(20, 5), in_parts(20, 2) + in_parts(20, 5)
    of_first, of_second, of_both = (
        estimates("ridge", inputs, targets, folds, 3, 0) for folds in splits
    )
    assert of_both == pytest.approx((of_first + of_second) / 2)


def test_hyper_parameters_are_chosen_by_the_inner_splits_that_are_handed_in():
    # Between the first and the last rows the relation turns round: what is learnt there fails here,
    # the more the less it is held back by a penalty.
    inputs = np.random.default_rng(0).normal(size=(40, 3))
    targets = (np.where(np.arange(40) < 20, 1, -1) * inputs.sum(axis=1))[:, None]

    def across(rows):
        return [(rows[rows < 20], rows[rows >= 20])]

    def within(rows):
        early = rows[rows < 20]
        return [(early[::2], early[1::2])]

    fold = [(np.arange(36), np.arange(36, 40))]
    for split, penalty in ((across, 1000.0), (within, 0.001)):
        alone = {"type": "ridge", "parameters": {"penalties": [penalty]}}
        of_both = [
            estimates(baseline, inputs, targets, fold, split, 0) for baseline in ("ridge", alone)
        ]
        assert of_both[0][36:] == pytest.approx(of_both[1][36:])


def test_inner_splits_that_leave_the_training_rows_and_training_rows_without_a_value_are_refused():
    inputs, targets = linear(12)
    folds = [(np.arange(9), np.arange(9, 12))]
    with pytest.raises(ValueError, match=r"not training rows of their fold: \[11\]"):
        estimates("ridge", inputs, targets, folds, lambda rows: [(rows, np.array([11]))], 0)
    inputs[5, 1] = np.nan
    with pytest.raises(
        ValueError, match="row 5 has an input or target that is not a finite number"
    ):
        estimates("ridge", inputs, targets, in_parts(12, 3), 3, 0)


def test_a_constant_target_is_estimated_by_that_constant():
    inputs, _ = linear(12)
    for name in OF_NUMBERS:
        assert (estimates(name, inputs, np.full((12, 1), 0.1), in_parts(12, 3), 3, 0) == 0.1).all()


@pytest.mark.heavy
@EVERY
def test_a_constant_column_and_a_repeated_one_do_no_harm_and_inputs_that_are_all_constant_tell_nothing(
    name,
):
    inputs, targets = linear(30)
    inputs = np.column_stack([inputs, np.full(30, 7.0), inputs[:, 0]])
    assert np.isfinite(estimates(name, inputs, targets, in_parts(30, 3), 3, 0)).all()
    _, targets = linear(12)
    result = estimates(name, np.ones((12, 2)), targets, in_parts(12, 3), 3, 0)
    for train, test in in_parts(12, 3):
        # Support vectors look for the middle of the targets rather than for their mean.
        assert (abs(result[test] - targets[train].mean(axis=0)) < targets[train].std(axis=0)).all()


def test_all_penalties_or_numbers_of_components_at_once_are_what_scikit_learn_gives_one_by_one():
    from sklearn.cross_decomposition import PLSRegression
    from sklearn.linear_model import Ridge

    inputs, targets = linear(20, noise=1)
    inputs = inputs - inputs.mean(axis=0)
    ridges = [Ridge(alpha=choice["penalty"]) for choice in ridge().choices]
    components = [PLSRegression(number, scale=False) for number in (1, 2, 3, 4, 5, 5)]
    for baseline, estimators in (
        (ridge(), ridges),
        (pls(components=[1, 2, 3, 4, 5, 9]), components),
    ):
        together = baseline.estimate(inputs, targets[:, 0], inputs + 1, baseline.choices, 0)
        for alone, values in zip(estimators, together, strict=True):
            assert values == pytest.approx(
                alone.fit(inputs, targets[:, 0]).predict(inputs + 1).ravel()
            )


def test_a_gaussian_process_refuses_tables_for_which_it_would_take_hours():
    rows = MOST_ROWS + 1
    with pytest.raises(ValueError, match="leave it out of the baselines"):
        gaussian_process().estimate(np.zeros((rows, 1)), np.zeros(rows), np.zeros((1, 1)), [{}], 0)


def test_the_choices_of_a_baseline_can_be_set():
    assert built(BASELINES, {"type": "pls", "parameters": {"components": [2]}}).choices == [
        {"components": 2}
    ]


# Baselines of classes


def probabilities(name, inputs, codes, folds, classes=3, parts=3, **more):
    def inner(rows):
        dealt = np.array_split(np.random.default_rng(1).permutation(rows), parts)
        return [(np.setdiff1d(rows, part), np.sort(part)) for part in dealt]

    baseline = built(BASELINES, {"type": name} if isinstance(name, str) else name)
    return baselines.cross_validated_classes(
        baseline, inputs, codes, classes, folds, inner, 0, **more
    )


def clouds(rows=60, classes=3, seed=0):
    random = np.random.default_rng(seed)
    codes = np.arange(rows) % classes
    middles = random.normal(0, 3, (classes, 4))
    return middles[codes] + random.normal(size=(rows, 4)), codes.astype(np.float64)


def log_score(estimate, codes):
    return -np.log(estimate[np.arange(len(codes)), codes.astype(int)]).mean()


@pytest.mark.heavy
@pytest.mark.parametrize("name", OF_CLASSES)
def test_every_held_out_row_has_probabilities_of_all_classes_that_no_held_out_row_reaches(name):
    inputs, codes = clouds()
    folds = in_parts(60, 4)
    result = probabilities(name, inputs, codes, folds[1:], classes=4)
    assert result.shape == (60, 4)
    assert np.isnan(result[:15]).all()
    assert (result[15:] > 0).all()
    assert result[15:].sum(axis=1) == pytest.approx(1)
    assert result[15:, 3] == pytest.approx(1 / 4 / 46)  # a class that no row has
    poisoned, wrong = inputs.copy(), codes.copy()
    poisoned[15], wrong[15:30] = 1e6, 2
    of_fold = probabilities(name, poisoned, wrong, folds[1:2], classes=4)
    assert np.array_equal(of_fold[16:30], result[16:30])
    if name != "majority":
        assert log_score(result[15:], codes[15:]) < 0.5
    else:
        shares = (np.bincount(codes[folds[1][0]].astype(int)) + 1 / 4) / 46
        assert result[15, :3] == pytest.approx(shares)


@pytest.mark.heavy
@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_fold_may_lack_a_class_or_all_but_one(name):
    inputs, codes = clouds(30)
    without = [(np.flatnonzero(codes != 1), np.flatnonzero(codes == 1))]
    result = probabilities(name, inputs, codes, without)[codes == 1]
    assert result[:, 1] == pytest.approx(1 / 3 / 21)
    alone = [(np.flatnonzero(codes == 2), np.flatnonzero(codes != 2))]
    result = probabilities(name, inputs, codes, alone)[codes != 2]
    assert result[:, 2] == pytest.approx((10 + 1 / 3) / 11)


@pytest.mark.heavy
@pytest.mark.parametrize("data", ["iris", "wine", "digits"])
def test_logistic_regression_is_scikit_learns_on_its_own_data(data):
    import sklearn.datasets
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs, codes = getattr(sklearn.datasets, f"load_{data}")(return_X_y=True)
    folds = list(StratifiedKFold(5, shuffle=True, random_state=3).split(inputs, codes))
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    theirs = cross_val_predict(pipeline, inputs, codes, cv=folds)
    alone = {"type": "logistic_regression", "parameters": {"penalties": [1.0]}}
    ours = probabilities(alone, inputs, codes, folds, classes=codes.max() + 1).argmax(axis=1)
    assert (ours == theirs).mean() > 0.995


def test_gaps_in_the_inputs_of_a_classifier_are_completed_or_taken():
    inputs, codes = clouds(45)
    inputs[::7, 1] = np.nan

    def completed(rows):
        return np.where(np.isnan(inputs), np.nanmean(inputs[rows], axis=0), inputs)

    folds = in_parts(45, 3)
    assert np.isfinite(
        probabilities("random_forest", inputs, codes, folds, completed=completed)
    ).all()
    with pytest.raises(ValueError, match=r"row \d+ has an input"):
        probabilities("random_forest", inputs, codes, folds)
    assert np.isfinite(probabilities("majority", inputs, codes, folds)).all()


def test_what_a_baseline_cannot_estimate_is_said_with_those_that_can():
    assert set(OF_CLASSES) == {
        *("majority", "logistic_regression", "random_forest", "gradient_boosting"),
    }
    words = f"'ridge' is no baseline of classes; use {', '.join(OF_CLASSES)}"
    assert trouble("ridge", "classes", BASELINES) == words
    assert "use mean, ridge" in trouble("majority", "numbers", BASELINES)
    assert trouble("gradient_boosting", "classes", BASELINES) is None
    assert trouble("gradient_boosting", "numbers", BASELINES) is None
    inputs, codes = clouds(9)
    with pytest.raises(ValueError, match="estimates numbers, not classes"):
        probabilities("mean", inputs, codes, in_parts(9, 3))
    with pytest.raises(ValueError, match="estimates classes, not numbers"):
        estimates("majority", inputs, codes[:, None], in_parts(9, 3), 3, 0)


# Names of baselines: short where they are clear, and never two alike for two that differ


def long_forms(*baselines):
    return [long_form(baseline, BASELINES) for baseline in baselines]


RIDGES = ("ridge", ["ridge", {"penalties": [1.0, 0.1]}], ["ridge", {"penalties": [0.1, 1.0]}])


def test_a_baseline_that_is_alone_of_its_type_is_called_by_it_whatever_its_parameters():
    assert names(long_forms("mean", RIDGES[1], "svr"), BASELINES) == ["mean", "ridge", "svr"]


def test_several_of_one_type_are_told_apart_by_what_is_not_as_it_is_by_default():
    assert names(long_forms(*RIDGES, "mean"), BASELINES) == [
        "ridge", "ridge (penalties 1, 0.1)", "ridge (penalties 0.1, 1)", "mean",
    ]  # fmt: skip
    assert names(
        long_forms(["svr", {"costs": [1.0], "gammas": [0.1]}], ["svr", {"costs": [1.0]}]), BASELINES
    ) == ["svr (costs 1; gammas 0.1)", "svr (costs 1)"]


@pytest.mark.parametrize(
    "twin", ["ridge", {"type": "ridge"}, ["ridge", {"penalties": [10**3, *[300, 100]]}]]
)
def test_only_what_is_the_same_in_all_parameters_is_there_twice(twin):
    baselines = long_forms(["ridge", {"penalties": [1000.0, 300.0, 100.0]}], "mean", "ridge", twin)
    ((position, first),) = repeated(baselines)
    assert (position, baselines[first]) == (3, baselines[3])
    assert not list(repeated(baselines[:3]))
