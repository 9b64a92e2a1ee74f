import math

import numpy as np
import pytest
import torch

from qexp.networks.optimizers import SCHEDULES, over_run
from qexp.networks.training import Recipe, scheduled_rate

PROGRESS = np.linspace(0, 1, 2001)


def factors(name, **parameters):
    schedule = over_run(SCHEDULES[name].build(**parameters), 100)
    return np.array([schedule(float(progress)) for progress in PROGRESS])


def example(name):
    return factors(name, **SCHEDULES[name].example.get("parameters", {}))


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_largest_factor_of_every_schedule_is_one_and_none_is_negative(name):
    assert example(name).max() == pytest.approx(1, abs=1e-12)
    assert example(name).min() >= 0


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "warm_up_level_cosine"])
def test_schedules_are_continuous(name):
    # A half cosine over a quarter of the run is the steepest of the examples.
    steepest = math.pi / 2 / 0.25
    assert np.abs(np.diff(example(name))).max() <= steepest * (PROGRESS[1] - PROGRESS[0]) * 1.001


def test_a_constant_schedule_changes_nothing_and_a_cosine_falls_from_one_through_the_middle_to_its_final_share():
    assert (factors("constant") == 1).all()
    schedule = SCHEDULES["cosine"].build(final=0.2)
    assert [schedule(p) for p in (0, 1 / 3, 0.5, 2 / 3, 1)] == pytest.approx(
        [1, 0.8, 0.6, 0.4, 0.2]
    )
    assert (np.diff(factors("cosine")) < 0).all()
    assert factors("cosine")[-1] == pytest.approx(0, abs=1e-15)


def test_one_cycle_rises_from_its_initial_share_to_its_peak_after_the_warm_up_and_falls_to_its_final_share():
    schedule = SCHEDULES["one_cycle"].build(warm_up=0.4, initial=0.1, final=0.02)
    assert [schedule(p) for p in (0, 0.2, 0.4, 0.7, 1)] == pytest.approx([0.1, 0.55, 1, 0.51, 0.02])
    values = factors("one_cycle", warm_up=0.25)
    peak = int(values.argmax())
    assert PROGRESS[peak] == pytest.approx(0.25)
    assert (np.diff(values[: peak + 1]) > 0).all()
    assert (np.diff(values[peak:]) < 0).all()


def test_a_warm_up_rises_straight_to_the_learning_rate_and_a_cosine_follows_to_its_final_share():
    schedule = SCHEDULES["warm_up_cosine"].build(warm_up=0.4, initial=0.1, final=0.02)
    assert [schedule(p) for p in (0, 0.1, 0.2, 0.4, 0.7, 1)] == pytest.approx(
        [0.1, 0.325, 0.55, 1, 0.51, 0.02]
    )
    first, *_, last = factors("warm_up_cosine")
    assert (first, last) == pytest.approx((0, 0), abs=1e-15)


def test_after_a_warm_up_and_without_one_the_cosine_is_one_of_the_rest_of_the_run():
    values = factors("warm_up_cosine", warm_up=0.5, final=0.1)
    np.testing.assert_allclose(values[1000:], factors("cosine", final=0.1)[::2], rtol=1e-12)
    np.testing.assert_allclose(
        factors("one_cycle", warm_up=0.0, final=0.1), factors("cosine", final=0.1), rtol=1e-12
    )
    np.testing.assert_allclose(
        factors("warm_up_cosine", warm_up=0.0, initial=0.3), factors("cosine"), atol=1e-15
    )


# Counted in epochs


def rates(epochs, batches, **parameters):
    """The learning rate of every step, (epoch, batch), with a peak of 1."""
    schedule = over_run(SCHEDULES["warm_up_level_cosine"].build(**parameters), epochs)
    recipe = Recipe({}, {}, torch.optim.SGD, 1.0, schedule, epochs, batch_size=1)
    every = range(1, epochs + 1)
    return np.array(
        [
            [scheduled_rate(recipe, epoch, batch, batches) for batch in range(batches)]
            for epoch in every
        ]
    )


def rates_of_torch(epochs, rising, level):
    """The rates of torch's LinearLR over `rising` epochs from 0.5, `level` epochs on, and
    CosineAnnealingLR.
    """
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=rising)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs - rising - level)
    both = torch.optim.lr_scheduler.SequentialLR(
        optimizer, [rise, fall], milestones=[rising + level]
    )
    found = []
    for _ in range(epochs):
        found.append(both.get_last_lr()[0])
        optimizer.step()
        both.step()
    return found


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # torch's own, inside SequentialLR
@pytest.mark.parametrize(("epochs", "rising", "level"), [(100, 5, 5), (90, 5, 15), (12, 3, 1)])
def test_a_warm_up_in_epochs_equals_that_of_torch_for_every_step_of_an_epoch(epochs, rising, level):
    expected = rates_of_torch(epochs, rising, level)
    for batches in (1, 7):
        found = rates(epochs, batches, warm_up_epochs=rising, level_epochs=level)
        np.testing.assert_allclose(
            found, np.repeat(np.array(expected)[:, None], batches, axis=1), atol=1e-12
        )


@pytest.mark.parametrize("epochs", [1, 4, 5, 10])
def test_a_run_shorter_than_its_warm_up_and_level_stretch_begins_as_a_long_one(epochs):
    assert rates(epochs, 3).tolist() == rates(100, 3)[:epochs].tolist()
    assert rates(epochs, 3, warm_up_epochs=0, level_epochs=0)[0].tolist() == [1, 1, 1]


def test_the_cosine_falls_to_its_final_share_after_the_last_epoch():
    found = rates(30, 2, warm_up_epochs=0, level_epochs=10, final=0.2)[:, 0]
    assert (found[:11] == 1).all()
    assert (np.diff(found[10:]) < 0).all()
    assert found[20] == pytest.approx(0.6)
    assert 0.2 < found[-1] < 0.21
