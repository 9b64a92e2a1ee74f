import math

import numpy as np
import pytest

from qexp.training.schedules import SCHEDULES

PROGRESS = np.linspace(0, 1, 2001)


def factors(name, **parameters):
    schedule = SCHEDULES[name].build(**parameters)
    return np.array([schedule(float(progress)) for progress in PROGRESS])


def example(name):
    return factors(name, **SCHEDULES[name].example.get("parameters", {}))


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_largest_factor_of_every_schedule_is_one_and_none_is_negative(name):
    assert example(name).max() == pytest.approx(1, abs=1e-12)
    assert example(name).min() >= 0


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_continuous(name):
    # A half cosine over a quarter of the run is the steepest of the examples.
    steepest = math.pi / 2 / 0.25
    assert np.abs(np.diff(example(name))).max() <= steepest * (PROGRESS[1] - PROGRESS[0]) * 1.001


def test_a_constant_schedule_changes_nothing():
    assert (factors("constant") == 1).all()


def test_a_cosine_falls_from_one_through_the_middle_to_its_final_share():
    schedule = SCHEDULES["cosine"].build(final=0.2)
    assert [schedule(p) for p in (0, 1 / 3, 0.5, 2 / 3, 1)] == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])
    assert (np.diff(factors("cosine")) < 0).all()
    assert factors("cosine")[-1] == pytest.approx(0, abs=1e-15)


def test_one_cycle_starts_at_its_initial_share_peaks_after_the_warm_up_and_ends_at_its_final_share():
    schedule = SCHEDULES["one_cycle"].build(warm_up=0.4, initial=0.1, final=0.02)
    assert [schedule(p) for p in (0, 0.2, 0.4, 0.7, 1)] == pytest.approx([0.1, 0.55, 1, 0.51, 0.02])


def test_one_cycle_rises_up_to_its_peak_and_falls_after_it():
    values = factors("one_cycle", warm_up=0.25)
    peak = int(values.argmax())
    assert PROGRESS[peak] == pytest.approx(0.25)
    assert (np.diff(values[: peak + 1]) > 0).all()
    assert (np.diff(values[peak:]) < 0).all()


def test_one_cycle_without_warm_up_is_a_cosine():
    np.testing.assert_allclose(factors("one_cycle", warm_up=0.0, final=0.1), factors("cosine", final=0.1), rtol=1e-12)


def test_a_warm_up_rises_straight_to_the_learning_rate_and_a_cosine_follows_to_its_final_share():
    schedule = SCHEDULES["warm_up_cosine"].build(warm_up=0.4, initial=0.1, final=0.02)
    assert [schedule(p) for p in (0, 0.1, 0.2, 0.4, 0.7, 1)] == pytest.approx([0.1, 0.325, 0.55, 1, 0.51, 0.02])
    first, *_, last = factors("warm_up_cosine")
    assert (first, last) == pytest.approx((0, 0), abs=1e-15)


def test_after_its_warm_up_the_cosine_is_one_of_the_rest_of_the_run():
    values = factors("warm_up_cosine", warm_up=0.5, final=0.1)
    np.testing.assert_allclose(values[1000:], factors("cosine", final=0.1)[::2], rtol=1e-12)


def test_a_cosine_without_warm_up_starts_at_the_learning_rate():
    np.testing.assert_allclose(factors("warm_up_cosine", warm_up=0.0, initial=0.3), factors("cosine"), atol=1e-15)
