"""The classifier two-sample test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from qexp.metrics.calibration import distinguished


@pytest.mark.heavy
@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
def test_draws_are_distinguished_as_well_as_the_best_classifier_of_normal_distributions_does(distance):
    random = np.random.default_rng(1)
    first, second = random.normal(size=(2, 1000, 2)) * [1.0, 50.0]
    second[:, 0] += distance
    result = distinguished(first, second, seed=0)
    assert abs(result.accuracy - norm.cdf(distance / 2)) < 4 * result.standard_error + 0.01
