import math

import numpy as np
import pytest

from qexp.base.outputs import Number
from qexp.base.quantities import nearest
from qexp.errors import QexpError
from qexp.metrics.built_in import METRICS, asked_for
from qexp.metrics.meaning import UNKNOWN, Meaning
from qexp.metrics.metric import Additive, Metric, Sums, evaluate, with_period, with_training_mean
from qexp.store.record import meaning_of

NUMBERS = [name for name, entry in METRICS.items() if entry.build().outputs == "numbers"]
RANDOM = np.random.default_rng(1)
TRUTH = RANDOM.lognormal(size=(200, 1))
ESTIMATE = TRUTH * RANDOM.normal(1.05, 0.2, size=(200, 1)) + 0.1


MEAN = 1.5
"""Of the training targets."""


def metric(name, estimate=ESTIMATE, truth=TRUTH, mean=MEAN):
    return evaluate(with_training_mean({name: METRICS[name].build()}, mean), estimate, truth)[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mae", (1 + 2 + 0 + 4) / 4),
        ("mse", (1 + 4 + 0 + 16) / 4),
        ("rmse", math.sqrt(21 / 4)),
        ("bias", (1 - 2 + 0 + 4) / 4),
        ("r2", 1 - 21 / (49 + 25 + 1 + 121)),  # the truth's mean is 9
        # that of the training targets is 1.5
        ("r2_training_mean", 1 - 21 / (0.5**2 + 2.5**2 + 8.5**2 + 18.5**2)),
        ("mre", 100 * (1 / 2 + 2 / 4 + 0 / 10 + 4 / 20) / 4),
        ("median_relative_error", 100 * (0.2 + 0.5) / 2),
    ],
)
def test_metrics_of_four_samples_worked_out_by_hand(name, expected):
    assert metric(
        name, np.array([3.0, 2.0, 10.0, 24.0]), np.array([2.0, 4.0, 10.0, 20.0])
    ) == pytest.approx(expected)


def test_the_mean_of_the_training_targets_explains_nothing_against_itself_and_may_be_that_of_each_samples_network():
    assert metric("r2_training_mean", np.full_like(TRUTH, MEAN)) == 0
    far = TRUTH.mean() + 100
    explained = metric("r2_training_mean", ESTIMATE, TRUTH, far)
    assert metric("r2") < explained < 1
    between = np.sum(np.square(TRUTH - TRUTH.mean())) / np.sum(np.square(TRUTH - far))
    assert 1 - explained == pytest.approx((1 - metric("r2")) * between)
    means = np.where(np.arange(len(TRUTH)) < 50, 1.0, 2.0)[:, None]
    apart = [
        np.sum(np.square(TRUTH[part] - mean))
        for part, mean in ((slice(50), 1.0), (slice(50, None), 2.0))
    ]
    assert metric("r2_training_mean", mean=means) == pytest.approx(
        1 - np.sum((ESTIMATE - TRUTH) ** 2) / sum(apart)
    )


def test_what_cannot_be_explained_is_not_and_a_truth_of_zero_makes_a_relative_error_infinite_without_a_warning(
    recwarn,
):
    assert math.isnan(
        evaluate(
            {"r2_training_mean": METRICS["r2_training_mean"].build()}, ESTIMATE, TRUTH
        ).popitem()[1]
    )
    assert math.isnan(metric("r2", ESTIMATE, np.ones_like(TRUTH)))
    assert metric("mre", np.array([1.0, 1.0]), np.array([0.0, 1.0])) == math.inf
    assert not recwarn


def test_metrics_scale_with_the_unit_as_their_own_units_say():
    scaling = {"mae": 1000, "rmse": 1000, "bias": 1000, "mse": 1000**2}
    for name in NUMBERS:
        in_metres = metric(name, 1000 * ESTIMATE, 1000 * TRUTH, 1000 * MEAN)
        assert in_metres == pytest.approx(scaling.get(name, 1) * metric(name))
    assert {name: METRICS[name].build().meaning.in_unit("km") for name in NUMBERS} == {
        **dict.fromkeys(("mae", "rmse", "bias"), "km"),
        "mse": "(km)²",
        "r2": "",
        "r2_training_mean": "",
        **dict.fromkeys(("mre", "median_relative_error"), "%"),
    }
    assert (
        METRICS["mse"].build().meaning.in_unit("")
        == METRICS["mae"].build().meaning.in_unit("")
        == ""
    )
    assert METRICS["mre"].build().meaning.in_unit("") == "%"


@pytest.mark.parametrize("name", NUMBERS)
def test_a_better_estimate_is_less_bad_by_every_metric(name):
    measure = METRICS[name].build().meaning
    error = ESTIMATE - TRUTH
    assert measure.badness(metric(name, TRUTH + error / 2)) < measure.badness(metric(name))
    assert measure.badness(metric(name, TRUTH - error / 2)) < measure.badness(metric(name))


def test_the_usual_metrics_come_first_and_none_twice():
    assert asked_for({"metrics": {"depth": ["mse", "mae", "mse"]}}, "depth") == [
        *Number.always,
        "mse",
    ]
    assert set(Number.always) <= set(METRICS)


PLAIN = {
    "mae": lambda estimate, truth: np.mean(np.abs(estimate - truth)),
    "mse": lambda estimate, truth: np.mean(np.square(estimate - truth)),
    "rmse": lambda estimate, truth: np.sqrt(np.mean(np.square(estimate - truth))),
    "bias": lambda estimate, truth: np.mean(estimate - truth),
    "r2": lambda estimate, truth: (
        1 - np.sum(np.square(estimate - truth)) / np.sum(np.square(truth - truth.mean()))
    ),
    "r2_training_mean": lambda estimate, truth: (
        1 - np.sum(np.square(estimate - truth)) / np.sum(np.square(truth - MEAN))
    ),
    "mre": lambda estimate, truth: np.mean(100 * np.abs(estimate - truth) / np.abs(truth)),
    "median_relative_error": lambda estimate, truth: np.median(
        100 * np.abs(estimate - truth) / np.abs(truth)
    ),
}


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1,), (2, 1), (777,), (31, 1), (5, 1, 9, 7)])
def test_metrics_are_their_formulas_in_double_precision_to_the_last_bit(kind, shape):
    random = np.random.default_rng(len(shape))
    truth = random.lognormal(sigma=2, size=shape).astype(kind)
    estimate = (truth * random.normal(1, 0.3, size=shape)).astype(kind)
    built = with_training_mean({name: METRICS[name].build() for name in NUMBERS}, MEAN)
    in_double = estimate.astype(np.float64), truth.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = {name: float(formula(*in_double)) for name, formula in PLAIN.items()}
    values = evaluate(built, estimate, truth)
    if truth.size == 1:
        assert math.isnan(values.pop("r2"))
        del expected["r2"]
    assert values == expected


def test_what_comes_piece_by_piece_is_judged_like_all_at_once():
    built = with_training_mean({name: METRICS[name].build() for name in NUMBERS}, MEAN)
    sums = Sums(built)
    assert all(math.isnan(value) for value in sums.values().values())
    for piece in np.array_split(np.arange(len(TRUTH)), 7):
        sums += Sums(built).with_piece(ESTIMATE[piece], TRUTH[piece])
    assert sums.samples == len(TRUTH)
    additive = {name: metric for name, metric in built.items() if metric.additive}
    assert set(built) - set(additive) == {"median_relative_error"}
    assert sums.values() == pytest.approx(evaluate(additive, ESTIMATE, TRUTH))
    nothing = np.empty((0, 1))
    assert (sums + Sums(built) + Sums(built).with_piece(nothing, nothing)).values() == sums.values()


def test_a_large_truth_that_hardly_varies_keeps_its_digits():
    truth = 1e9 + np.arange(8.0)
    assert metric("r2", truth + 1, truth) == 1 - 8 / 42


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"unit": ""},
            'does not say which values are better; write best="lowest", "highest" or "zero"',
        ),
        ({"best": "high", "unit": ""}, "says 'high', which is no word for which values are better"),
        ({"best": "highest"}, 'does not say the unit of its values; write unit="" for none'),
        ({"best": "highest", "unit": None}, "does not say the unit of its values"),
    ],
)
def test_a_metric_must_say_which_values_are_better_and_their_unit(words, message):
    with pytest.raises(ValueError) as refused:
        Metric(lambda estimate, truth: 0.0, **words)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (lambda estimate, truth: estimate, "the metric 'own' must give a number, not array"),
        (lambda estimate, truth: None, "the metric 'own' must give a number, not None"),
        (
            Additive(lambda e, t, c: [(e - t).sum()], lambda sums, count: sums[0]),
            "must have a value per sample",
        ),
        (
            Additive(lambda e, t, c: [e, t.mean(axis=0)], lambda sums, count: sums[0]),
            "must have a value per sample",
        ),
    ],
)
def test_what_a_metric_of_ones_own_gives_wrongly_is_an_error_that_says_so(compute, message):
    with pytest.raises(QexpError) as refused:
        evaluate({"own": Metric(compute, best="lowest", unit="")}, ESTIMATE, TRUTH)
    assert message in str(refused.value)
    with pytest.raises(ValueError, match="needs a function"):
        Metric(0.5, best="lowest", unit="")


HIGHER = {"r": {"best": "highest", "unit": ""}}


def test_records_tell_how_a_metric_is_read_and_older_ones_leave_it_to_qexps_own():
    assert meaning_of("r", [HIGHER]) == Meaning("highest", "")
    assert meaning_of("r", [{}, HIGHER, {}]) == Meaning("highest", "")
    assert meaning_of("r2", [{}]) == METRICS["r2"].build().meaning
    assert meaning_of("rmse", []) == Meaning("lowest", "{unit}")


LOWER = {"r": {"best": "lowest", "unit": "{unit}"}}


@pytest.mark.parametrize(
    "records",
    [[{}], [HIGHER, LOWER], [{"r": 3}], [{"r": {"best": "up", "unit": 7}}], [{"r": {}}]],
    ids=["no record", "read otherwise", "damaged", "wrong words", "no words"],
)
def test_a_metric_of_which_nothing_is_known_has_no_better_values_and_no_unit(records):
    assert meaning_of("r", records) == UNKNOWN
    assert UNKNOWN.badness(0.5) is None
    assert UNKNOWN.in_unit("km") == ""


def test_braces_of_a_foreign_record_are_plain_text():
    assert (
        Meaning("lowest", "{unit.__class__} {unit:>999999999}").in_unit("km")
        == "{unit.__class__} {unit:>999999999}"
    )
    assert Meaning("lowest", "1/{unit}").in_unit("km") == "1/km"
    assert Meaning("lowest", "1/{unit}").in_unit("") == ""


# Errors of quantities with a period


TURNS = np.random.default_rng(4)
DIRECTIONS = TURNS.uniform(0, 360, (50, 1))
DEVIATIONS = TURNS.normal(0, 20, (50, 1))


def test_an_estimate_is_moved_by_whole_turns_to_within_half_a_turn_of_the_truth():
    assert nearest([359.0, -179.0, 10.0, 725.0], [1.0, 179.0, 15.0, 3.0], 360.0).tolist() == [
        -1.0,
        181.0,
        10.0,
        5.0,
    ]
    assert nearest([359.0], [1.0], None).tolist() == [359.0]
    assert np.isnan(nearest([np.nan], [1.0], 360.0)).all()


@pytest.mark.parametrize("name", NUMBERS)
def test_metrics_do_not_depend_on_the_turn_of_an_estimate(name):
    metrics = with_training_mean({name: METRICS[name].build()}, 170.0)
    turns = 360.0 * TURNS.integers(-2, 3, DIRECTIONS.shape)
    periodic = with_training_mean(with_period({name: METRICS[name].build()}, 360.0), 170.0)
    expected = evaluate(metrics, DIRECTIONS + DEVIATIONS, DIRECTIONS)[name]
    assert evaluate(periodic, DIRECTIONS + DEVIATIONS + turns, DIRECTIONS)[name] == pytest.approx(
        expected, rel=1e-9
    )
    assert (
        evaluate(with_period(metrics, None), DIRECTIONS + DEVIATIONS, DIRECTIONS)[name] == expected
    )
    if METRICS[name].build().additive is not None:
        pieces = Sums(periodic)
        for start in (0, 20):
            part = slice(start, start + 20 if start == 0 else None)
            pieces = pieces.with_piece((DIRECTIONS + DEVIATIONS + turns)[part], DIRECTIONS[part])
        assert pieces.values()[name] == pytest.approx(expected, rel=1e-9)
