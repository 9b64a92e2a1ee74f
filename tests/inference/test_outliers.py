"""Outliers that no noise has, and what they do to a source."""

import numpy as np
import pytest
import torch

from qexp.inference.fit import best, standard_errors
from qexp.inference.outliers import without_outliers
from tests.inference.tracks import EXPONENTIAL, problem_of, track

TRUTH = (100.0, -150.0, 1500.0, 3e6)


def fitted(outliers, seed=0):
    one = track(source=TRUTH, noise=EXPONENTIAL, seed=seed, added=0.02)
    random = np.random.default_rng(seed)
    where = random.choice(len(one.x), outliers, replace=False)
    one.displacement[where] += 0.1 * random.choice([-1, 1], outliers)
    problem, spans = problem_of("mogi", [one], offsets=True)
    names = [parameter.name for parameter in problem.coordinates.parameters]
    assert names == ["x", "y", "depth", "delta_volume"]
    fit = best(problem, torch.tensor([TRUTH], dtype=torch.float64))
    return where, fit, *without_outliers(problem, fit, spans, 0)


def test_without_outliers_hardly_any_point_counts_for_less():
    changes = []
    for seed in range(4):
        _, fit, _, robust, [weights] = fitted(0, seed)
        assert weights.mean() > 0.985
        changes.append(standard_errors(robust) / standard_errors(fit))
        assert np.abs((robust.values - fit.values) / standard_errors(robust)).max() < 0.6
    assert np.mean(changes) == pytest.approx(1.0, abs=0.03)


def test_outliers_are_found_and_the_source_is_where_it_was_without_them():
    for seed in range(4):
        where, fit, _, robust, [weights] = fitted(8, seed)
        _, clean, *_ = fitted(0, seed)
        errors = standard_errors(clean)
        assert set(np.flatnonzero(weights < 1 / 3)) == set(where)
        assert np.abs((robust.values - clean.values) / errors).max() < 1.0
        assert robust.chi2_reduced < 1.6 < fit.chi2_reduced
