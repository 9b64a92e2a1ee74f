"""Conformal intervals against their definitions, and how often they hold for new data."""

import numpy as np
import pytest
from scipy.stats import norm

from qexp.kinds.networks import scale_of
from qexp.kinds.tables import BUILT_IN
from qexp.metrics import conformal
from qexp.metrics.conformal import Scale, class_sets, class_threshold


def rows(count):
    return np.arange(count)


@pytest.mark.parametrize(
    ("count", "coverage"), [(9, 0.9), (19, 0.9), (55, 0.9), (55, 0.68), (99, 0.95), (3, 0.5)]
)
def test_of_single_rows_the_quantile_is_the_score_of_the_rank_coverage_times_count_plus_one(
    count, coverage
):
    scores = np.random.default_rng(0).exponential(size=count)
    rank = int(np.ceil(coverage * (count + 1) - 1e-9))
    assert (
        conformal.quantile(scores, conformal.weights(rows(count)), coverage)
        == np.sort(scores)[rank - 1]
    )


def test_too_few_rows_for_a_coverage_have_an_infinite_quantile_and_promise_no_more_than_their_largest_score():
    scores = np.array([0.3, 0.1, 0.2])
    assert conformal.promised(3) == 0.75
    assert conformal.quantile(scores, conformal.weights(rows(3)), 0.75) == 0.3
    assert conformal.quantile(scores, conformal.weights(rows(3)), 0.76) == np.inf


def test_a_held_out_score_gets_the_quantile_of_the_others_as_if_it_were_new_and_covers_a_share_by_counting():
    # groups have equal weights whatever their sizes
    expected = np.array([1 / 12] * 3 + [1 / 8] * 2 + [1 / 4])
    assert conformal.weights(np.array([0, 0, 0, 2, 2, 5])) == pytest.approx(expected)
    random = np.random.default_rng(1)
    scores = random.exponential(size=30)
    for units in (rows(30), random.integers(6, size=30)):
        quantiles = conformal.of_others(scores, units, 0.7)
        for unit in np.unique(units):
            others = units != unit
            alone = conformal.quantile(scores[others], conformal.weights(units[others]), 0.7)
            assert (quantiles[units == unit] == alone).all()
    scores = np.random.default_rng(2).exponential(size=55)
    assert (scores <= conformal.of_others(scores, rows(55), 0.9)).sum() == 50  # ⌈0.9 · 55⌉
    assert np.isinf(conformal.of_others(scores, rows(55), 0.99)).all()


def test_intervals_around_one_common_estimate_are_its_quantile_and_wider_where_the_folds_disagree():
    random = np.random.default_rng(3)
    centres = np.broadcast_to(np.array([2.0, -1.0]), (4, 2))
    fold, weight = np.arange(40) % 4, conformal.weights(rows(40))
    for scores, upper in (
        (random.exponential(size=40), centres),
        (random.normal(0, 1, 40), centres + 3),
    ):
        low, high = conformal.cross_interval(centres, upper, scores, fold, weight, 0.8)
        radius = conformal.quantile(scores, weight, 0.8)
        assert low == pytest.approx(centres[0] - radius)
        assert high == pytest.approx(upper[0] + radius)
    scores, fold = np.full(20, 0.1), np.arange(20) % 4
    centres = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0], [1.0, 4.0]])
    low, high = conformal.cross_interval(
        centres, centres, scores, fold, conformal.weights(rows(20)), 0.9
    )
    assert low == pytest.approx([0.9, 0.9])
    assert high == pytest.approx([1.1, 4.1])


@pytest.mark.heavy
def test_jackknife_plus_covers_as_many_new_points_as_it_says():
    random, covered = np.random.default_rng(4), []
    for _ in range(300):
        x = random.normal(size=31)
        y = x + random.standard_t(3, size=31)
        lines_without = [
            np.polyfit(np.delete(x[:30], index), np.delete(y[:30], index), 1) for index in range(30)
        ]
        slope, intercept = np.array(lines_without).T
        scores = np.abs(y[:30] - slope * x[:30] - intercept)
        centres = (slope * x[30] + intercept)[:, None]
        low, high = conformal.cross_interval(
            centres, centres, scores, rows(30), conformal.weights(rows(30)), 0.8
        )
        covered.append(low[0] <= y[30] <= high[0])
    assert 0.73 < np.mean(covered) < 0.89  # 0.8 to 0.83, ± 3 standard errors


def covered_of_new_groups(units_of_rule):
    random, covered = np.random.default_rng(5), []
    for _ in range(1500):
        sizes = random.choice([1, 40], size=10)
        groups = np.repeat(np.arange(10), sizes)
        scores = np.abs(np.where(sizes == 1, 5.0, 1.0)[groups] * random.normal(size=len(groups)))
        former = groups < 9
        radius = conformal.quantile(
            scores[former], conformal.weights(units_of_rule(groups[former])), 0.8
        )
        covered.append((scores[~former] <= radius).mean())
    return np.mean(covered)


@pytest.mark.heavy
def test_of_groups_the_rule_of_groups_covers_a_row_of_a_new_group_and_that_of_rows_does_not():
    assert covered_of_new_groups(lambda groups: groups) > 0.78
    assert covered_of_new_groups(lambda groups: rows(len(groups))) < 0.75


def test_thinned_scores_never_make_an_interval_narrower_and_hardly_wider():
    random = np.random.default_rng(6)
    scores = random.exponential(size=5000)
    units = random.integers(300, size=5000)
    fold = random.integers(5, size=5000)
    weight = conformal.weights(units)
    centres = random.normal(scale=0.3, size=(5, 20))
    agreeing = np.broadcast_to(centres[:1], centres.shape)
    for coverage in (0.5, 0.9, 0.99):
        fewer, folds, weights = conformal.thinned(scores, fold, weight, 200, coverage)
        assert len(fewer) <= 200
        assert weights.sum() == pytest.approx(weight.sum())
        for estimates, wider_by in ((centres, 1 / 39), (agreeing, 0.02)):
            low, high = conformal.cross_interval(
                estimates, estimates, scores, fold, weight, coverage
            )
            lower, higher = conformal.cross_interval(
                estimates, estimates, fewer, folds, weights, coverage
            )
            larger = min(coverage + wider_by, weight.sum())
            wider, _ = conformal.cross_interval(estimates, estimates, scores, fold, weight, larger)
            assert (lower <= low).all()
            assert (higher >= high).all()
            assert (lower >= wider - 1e-12).all()


@pytest.mark.parametrize("too_wide", [0.4, 1.0, 2.5])
def test_quantiles_of_any_width_become_intervals_that_hold(too_wide):
    """Where the noise differs from row to row; they are narrower than equal ones unless the
    quantiles were too wide.
    """
    random, share, inside, widths = np.random.default_rng(12), 0.9, [], []
    for _ in range(400):
        deviation = np.exp(random.normal(0, 1, 60))
        truth = deviation * random.normal(size=60)
        end = too_wide * norm.ppf((1 + share) / 2) * deviation
        scores = Scale().scores(-end[1:], end[1:], truth[1:])
        radius = conformal.quantile(scores, conformal.weights(rows(59)), share)
        low, high = Scale().around(-end[:1], end[:1], radius)
        inside.append(low[0] <= truth[0] <= high[0])
        widths.append(
            (high - low)[0]
            / (2 * conformal.quantile(np.abs(truth[1:]), conformal.weights(rows(59)), share))
        )
    assert abs(np.mean(inside) - 0.9) < 4 * np.sqrt(0.9 * 0.1 / 400)
    assert (np.mean(widths) < 1) == (too_wide <= 1)


def test_intervals_whose_ends_pass_each_other_are_the_point_in_between():
    low, high = Scale().around([0.0, 0.0], [1.0, 1.0], np.array([-2.0, -0.25]))
    assert (low.tolist(), high.tolist()) == ([0.5, 0.25], [0.5, 0.75])
    low, high = conformal.uncrossed(np.array([-np.inf, 3.0]), np.array([np.inf, 1.0]))
    assert (low.tolist(), high.tolist()) == ([-np.inf, 2.0], [np.inf, 2.0])


# The scale of an output's intervals


TRUTH = np.array([0.3, 1.0, 2.0, 9.0])


def scale_by(transform, **spec):
    described = {"type": transform, "parameters": {}} if isinstance(transform, str) else transform
    return scale_of({"transforms": {"x": described}, **spec}, BUILT_IN, "x", TRUTH)


def test_angles_are_compared_by_the_shorter_way_round_and_a_decreasing_scale_turns_the_ends_round():
    assert Scale(period=360.0).scores(
        *[[359.0, 10.0, 180.0]] * 2, [1.0, 350.0, 0.0]
    ) == pytest.approx([2, 20, 180])
    low, high = Scale(lambda values: -values, lambda values: -values).around(
        [2.0], [2.0], np.array([0.5])
    )
    assert (low[0], high[0]) == (1.5, 2.5)


def test_an_estimate_that_is_missing_is_infinitely_wrong_and_lies_nowhere():
    assert np.isinf(Scale().scores([np.nan], [np.nan], [1.0])).all()
    low, high = Scale().around([np.nan], [np.nan], np.array([1.0]))
    assert np.isnan([low, high]).all()


def test_linear_transforms_leave_intervals_as_they_are():
    for transform in ("standardize", "minmax", {"type": "scale", "parameters": {"typical": 7}}):
        scale = scale_by(transform)
        low, high = scale.around(TRUTH, TRUTH, scale.scores(TRUTH + 0.4, TRUTH + 0.4, TRUTH))
        assert low == pytest.approx(TRUTH - 0.4)
        assert high == pytest.approx(TRUTH + 0.4)


def test_errors_of_logarithms_are_factors_and_limits_hold():
    scale = scale_by(
        {"type": "chain", "parameters": {"of": ["log", "standardize"]}}, limits={"x": [None, 10]}
    )
    low, high = scale.around(TRUTH, TRUTH, scale.scores(2 * TRUTH, 2 * TRUTH, TRUTH))
    assert low == pytest.approx(TRUTH / 2)
    assert high == pytest.approx([0.6, 2, 4, 10])


def test_what_does_not_go_one_way_and_back_is_no_scale():
    for transform in ("per_sample", {"type": "angle", "parameters": {"period": 360}}):
        assert scale_by(transform).scores(TRUTH + 1, TRUTH + 1, TRUTH) == pytest.approx(1)


# Sets of classes


def classified(rows, seed, groups=None, sharpness=2.0):
    """Overconfident probabilities of four classes, codes, and evidence that groups share."""
    random = np.random.default_rng(seed)
    evidence = random.normal(0, 1.5, (rows, 4))
    if groups is not None:
        evidence += random.normal(0, 1.5, (groups.max() + 1, 4))[groups]
    right = np.exp(evidence) / np.exp(evidence).sum(axis=1, keepdims=True)
    codes = (right.cumsum(axis=1) < random.random((rows, 1))).sum(axis=1).clip(max=3)
    if groups is not None:  # of half of a group's rows another class is true
        codes = np.where(random.random(groups.max() + 1)[groups] < 0.3, (codes + 1) % 4, codes)
    stated = np.exp(sharpness * evidence)
    return stated / stated.sum(axis=1, keepdims=True), codes.astype(float)


@pytest.mark.heavy
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("known", [19, 100])
def test_sets_of_classes_hold_as_often_as_promised_however_wrong_the_probabilities(known, coverage):
    held = []
    for seed in range(600):
        probabilities, codes = classified(known + 20, seed)
        threshold = class_threshold(probabilities[:known], codes[:known], None, coverage)
        sets = class_sets(probabilities[known:], threshold)
        held.append(sets[np.arange(20), codes[known:].astype(int)].mean())
        assert sets.any(axis=1).all()
    error = np.std(held) / np.sqrt(len(held))
    assert np.mean(held) > coverage - 3 * error
    if coverage > 0.5:  # below, the likeliest class alone is true more often
        assert np.mean(held) < coverage + 1 / (known + 1) + 3 * error


@pytest.mark.heavy
def test_sets_of_classes_hold_for_new_groups():
    groups = np.repeat(np.arange(40), 10)
    held, by_rows = [], []
    for seed in range(600):
        probabilities, codes = classified(400, seed, groups)
        old, new = groups < 20, groups == 39
        for shares, units in ((held, groups[old]), (by_rows, None)):
            threshold = class_threshold(probabilities[old], codes[old], units, 0.9)
            sets = class_sets(probabilities[new], threshold)
            shares.append(sets[np.arange(10), codes[new].astype(int)].mean())
    assert np.mean(held) > 0.9 - 3 * np.std(held) / np.sqrt(600)
    assert np.mean(held) > np.mean(by_rows)


def test_too_few_rows_promise_all_classes_and_rows_without_a_truth_do_not_count():
    probabilities, codes = classified(12, 0)
    assert class_sets(probabilities, class_threshold(probabilities, codes, None, 0.95)).all()
    assert class_threshold(probabilities[:0], codes[:0], None, 0.5) == -np.inf
    some = np.append(codes, np.nan)
    more = np.vstack([probabilities, [[0.25] * 4]])
    assert class_threshold(more, some, None, 0.8) == class_threshold(
        probabilities, codes, None, 0.8
    )
    assert class_threshold(probabilities, codes, np.zeros(12), 0.4) > -np.inf
    assert class_threshold(probabilities, codes, np.zeros(12), 0.6) == -np.inf
    assert class_sets(np.full((2, 3), 1 / 3), 0.9).all()  # equally likely ones belong together
    sets = class_sets(np.array([[0.6, 0.3, 0.1]] * 2), np.array([[0.3], [0.9]]))
    assert sets.tolist() == [[True, True, False], [True, False, False]]
