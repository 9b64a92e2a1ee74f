"""Metrics of classes against scikit-learn's, and their intervals."""

import math

import numpy as np
import pytest
import sklearn.metrics

from qexp.errors import QexpError
from qexp.metrics.built_in import METRICS, metric_in_words
from qexp.metrics.classes import LEAST_PROBABILITY, area_to_first_order
from qexp.metrics.intervals import difference, interval, intervals
from qexp.metrics.metric import Sums, evaluate
from qexp.store.record import meaning_of

OF_CLASSES = {
    name: entry.build() for name, entry in METRICS.items() if entry.build().outputs == "classes"
}


def drawn(samples, seed, classes=4, sharpness=1.0):
    """Probabilities, right for a sharpness of 1 and overconfident above, and codes by them."""
    random = np.random.default_rng(seed)
    evidence = random.normal(0, 2, (samples, classes)) + np.linspace(0, 1.5, classes)
    right = np.exp(evidence) / np.exp(evidence).sum(axis=1, keepdims=True)
    codes = (right.cumsum(axis=1) < random.random((samples, 1))).sum(axis=1)
    stated = np.exp(sharpness * evidence)
    codes = codes.clip(max=classes - 1)
    return stated / stated.sum(axis=1, keepdims=True), codes.astype(np.float64)


@pytest.mark.parametrize(("classes", "decimals"), [(2, 12), (3, 2), (7, 12), (7, 1)])
def test_they_are_scikit_learns(classes, decimals):
    probabilities, codes = drawn(400, classes, classes)
    probabilities = probabilities.round(decimals) + 0.01
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    likeliest = probabilities.argmax(axis=1)
    of_one = probabilities if classes > 2 else probabilities[:, 1]
    exact = sklearn.metrics.brier_score_loss(codes, probabilities, scale_by_half=False)
    values = evaluate(OF_CLASSES, probabilities, codes[:, None])
    del values["calibration_error"]
    assert values == pytest.approx(
        {
            "accuracy": sklearn.metrics.accuracy_score(codes, likeliest),
            "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(codes, likeliest),
            "log_score": sklearn.metrics.log_loss(codes, probabilities),
            "brier": exact,
            "auc": sklearn.metrics.roc_auc_score(codes, of_one, multi_class="ovr"),
        }
    )


def test_confidence_that_is_right_has_a_calibration_error_near_zero_and_that_of_many_samples_is_plain():
    metric = OF_CLASSES["calibration_error"]

    def plain(probabilities, codes):
        confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == codes
        places = np.digitize(confidence, np.linspace(0, 1, 11)[1:-1])
        gaps = [abs((confidence - hits)[places == place].sum()) for place in range(10)]
        return sum(gaps) / len(codes)

    many = drawn(200_000, 1, sharpness=1.5)
    assert metric.compute(*many) == pytest.approx(plain(*many), abs=3e-4)
    few = [drawn(200, seed) for seed in range(100)]
    assert np.mean([metric.compute(*each) for each in few]) < 0.65 * np.mean(
        [plain(*each) for each in few]
    )
    wrong = [drawn(200, seed, sharpness=2.0) for seed in range(100)]
    exact = plain(*drawn(500_000, 5, sharpness=2.0))
    assert np.mean([metric.compute(*each) for each in wrong]) == pytest.approx(exact, abs=0.01)


def test_they_come_in_pieces_but_the_area_which_compares_all_samples():
    probabilities, codes = drawn(100, 0)
    sums = Sums(OF_CLASSES)
    for piece in np.array_split(np.arange(100), 6):
        sums += Sums(OF_CLASSES).with_piece(probabilities[piece], codes[piece])
    whole = evaluate(OF_CLASSES, probabilities, codes)
    del whole["auc"]
    assert sums.values() == pytest.approx(whole)


def test_of_a_class_that_does_not_occur_nothing_counts_and_one_class_alone_has_no_curve():
    probabilities, codes = drawn(200, 3)
    there = codes != 2
    values = evaluate(OF_CLASSES, probabilities[there], codes[there])
    likeliest = probabilities.argmax(axis=1)
    recalls = [np.mean(likeliest[codes == code] == code) for code in (0, 1, 3)]
    areas = [
        sklearn.metrics.roc_auc_score(codes[there] == code, probabilities[there, code])
        for code in (0, 1, 3)
    ]
    assert values["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert values["auc"] == pytest.approx(np.mean(areas))
    alone = evaluate(OF_CLASSES, probabilities[codes == 1], codes[codes == 1])
    assert math.isnan(alone["auc"])
    assert alone["balanced_accuracy"] == alone["accuracy"]


def test_a_class_that_was_impossible_costs_a_finite_score_and_a_gap_makes_every_metric_undefined():
    probabilities, codes = np.eye(2)[[0, 1, 1]], np.array([0.0, 1.0, 0.0])
    values = evaluate(OF_CLASSES, probabilities, codes)
    assert values["log_score"] == pytest.approx(-math.log(LEAST_PROBABILITY) / 3)
    assert values["brier"] == pytest.approx(2 / 3)
    probabilities[0] = np.nan
    assert all(math.isnan(value) for value in evaluate(OF_CLASSES, probabilities, codes).values())


@pytest.mark.parametrize(
    ("estimate", "truth", "message"),
    [
        (np.ones((3, 1)), np.zeros(3), "at least two classes"),
        (np.ones(3), np.zeros(3), "at least two classes"),
        (np.ones((3, 2)), np.zeros(4), "a code per sample"),
        (np.ones((3, 2)), np.array([0, 1, 2.0]), "2 is no code of a class; those of 2 classes"),
        (np.ones((3, 2)), np.array([0, 0.5, 1]), "0.5 is no code"),
        (np.ones((3, 2)), np.array([0, np.nan, 1]), "nan is no code"),
    ],
)
def test_what_are_no_probabilities_and_no_codes_is_said(estimate, truth, message):
    for name, metric in OF_CLASSES.items():
        with pytest.raises(QexpError, match=message):
            evaluate({name: metric}, estimate, truth)


def test_the_area_without_a_group_is_that_computed_anew_to_first_order():
    probabilities, codes = drawn(400, 8)
    groups = np.arange(400) % 20
    metric = OF_CLASSES["auc"]
    anew = [
        metric.compute(probabilities[groups != group], codes[groups != group])
        for group in range(20)
    ]
    low, high = interval(metric, probabilities, codes, groups)
    width = 2 * 2.093 * math.sqrt(19 / 20 * np.square(np.array(anew) - np.mean(anew)).sum())
    assert high - low == pytest.approx(width, rel=0.1)
    assert area_to_first_order(probabilities, codes) == metric.compute(probabilities, codes)


def test_intervals_of_shares_are_clopper_and_pearsons_also_where_all_are_right():
    right, codes = np.eye(2)[np.arange(30) % 2], np.arange(30) % 2.0
    assert interval(OF_CLASSES["accuracy"], right, codes) == pytest.approx(
        (0.025 ** (1 / (30 * (1.959964 / 2.04523) ** 2)), 1.0), rel=1e-4
    )
    low, high = interval(OF_CLASSES["accuracy"], right[::-1], codes)
    assert low == 0
    assert high < 0.15
    codes[0] = 1
    low, high = interval(OF_CLASSES["accuracy"], right, codes)
    assert 0.78 < low < 0.83
    assert 0.99 < high < 1
    assert interval(OF_CLASSES["accuracy"], right[:1], codes[:1]) is None


def test_no_interval_reaches_beyond_what_is_possible_and_records_say_so():
    for seed in range(20):
        ends = intervals(OF_CLASSES, *drawn(6, seed, 2))
        for name, pair in ends.items():
            assert pair is None or (0 <= pair[0] <= pair[1]), name
            if pair is not None and OF_CLASSES[name].best == "highest":
                assert pair[1] <= 1, name
    for name, metric in OF_CLASSES.items():
        document = metric.meaning.document()
        assert document["least"] == 0
        assert meaning_of(name, [{name: document}]) == metric.meaning
        assert meaning_of("own", [{"own": document}]).limits([0.3])[0] == 0
    assert METRICS["mae"].build().meaning.document() == {"best": "lowest", "unit": "{unit}"}
    assert [*map(metric_in_words, ("log_score", "auc"))] == ["log score", "AUC"]


def test_the_difference_of_two_estimators_has_an_interval():
    probabilities, codes = drawn(300, 4)
    blurred = 0.5 * probabilities + 0.125
    for name in ("log_score", "brier"):
        apart, (low, high) = difference(OF_CLASSES[name], blurred, probabilities, codes)
        assert 0 < low < apart < high


@pytest.mark.heavy
@pytest.mark.parametrize(("samples", "classes"), [(60, 3), (200, 4)])
def test_nineteen_of_twenty_intervals_hold_the_true_value(samples, classes):
    """300 cases each; less exact for the calibration error, whose value cannot be below zero."""
    true = evaluate(OF_CLASSES, *drawn(400_000, 99, classes, 1.3))
    inside = dict.fromkeys(OF_CLASSES, 0)
    for seed in range(300):
        found = intervals(OF_CLASSES, *drawn(samples, seed, classes, 1.3))
        for name, ends in found.items():
            inside[name] += ends[0] <= true[name] <= ends[1]
    shares = {name: count / 300 for name, count in inside.items()}
    assert all(share > 0.9 for share in shares.values()), shares
