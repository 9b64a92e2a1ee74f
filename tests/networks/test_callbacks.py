import json
import math

import numpy as np
import pytest
import torch

from qexp.base.tables import long_form
from qexp.networks.callbacks import CALLBACKS


class Run:
    """A run as callbacks see it: epochs whose losses are given, and a learning rate that can be scaled."""

    def __init__(self, learning_rate=1.0):
        self.learning_rate = learning_rate
        self.validation_loss = math.nan
        self.line = {}
        self.stopped = None

    def scale_learning_rate(self, factor):
        self.learning_rate *= factor

    def stop(self, reason):
        self.stopped = reason

    def evaluate_test(self):
        return {"depth": {"mae": 0.5}}

    def rates(self, callback, losses):
        """The learning rate of every epoch."""
        rates = []
        for self.validation_loss in losses:
            rates.append(self.learning_rate)
            callback.after_epoch(self)
        return rates


def reduce(**parameters):
    return CALLBACKS["reduce_on_plateau"].build(**{"factor": 0.1, "patience": 2, "min_delta": 0, **parameters})


def stopping(**parameters):
    return CALLBACKS["early_stopping"].build(**parameters)


def keras_rates(losses, rate, factor=0.1, patience=2, min_delta=0.0, cooldown=0, min_lr=0.0):
    """The learning rate of every epoch, by the rules that Keras documents for ReduceLROnPlateau.

    https://keras.io/api/callbacks/reduce_lr_on_plateau/, keras 3, `on_epoch_end`.
    """
    # Patience 0 acts after the first epoch without improvement, as 1 does.
    best, wait, cooling, rates = math.inf, 0, 0, []
    for loss in losses:
        rates.append(rate)
        if cooling > 0:
            cooling -= 1
            wait = 0
        if loss < best - min_delta:
            best, wait = loss, 0
        elif cooling <= 0:
            wait += 1
            if wait >= patience and rate > min_lr:
                rate, cooling, wait = max(rate * factor, min_lr), cooldown, 0
    return rates


def test_the_rate_falls_after_patience_epochs_without_improvement_and_again_after_as_many():
    rates = Run().rates(reduce(patience=3), [5, 4, 4, 4, 4, 4, 4, 4, 4])
    assert rates == pytest.approx([1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01])


def test_an_improvement_starts_the_wait_anew():
    rates = Run().rates(reduce(patience=2), [5, 6, 4, 6, 3, 6, 2, 6])
    assert rates == [1] * 8


def test_an_improvement_counts_against_the_best_loss_and_not_the_last():
    rates = Run().rates(reduce(patience=3), [1, 9, 8, 7, 6])
    assert rates == pytest.approx([1, 1, 1, 1, 0.1])


def test_an_improvement_of_no_more_than_min_delta_is_none():
    losses = [1.0, 0.95, 0.90, 0.85]
    assert Run().rates(reduce(min_delta=0.2), losses) == pytest.approx([1, 1, 1, 0.1])
    assert Run().rates(reduce(min_delta=0.04), losses) == [1, 1, 1, 1]


@pytest.mark.parametrize("patience", [0, 2, 5])
@pytest.mark.parametrize("threshold", [1e-4, 0.05, 0.5])
def test_a_relative_threshold_gives_the_rates_of_torchs_own_scheduler(threshold, patience):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, threshold=threshold, eps=0
    )
    falling = np.exp(-0.06 * np.minimum(np.arange(45), 25))
    losses = (falling * np.random.default_rng(0).uniform(0.9, 1.1, 45)).tolist()
    expected = []
    for loss in losses:
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(loss)
    ours = reduce(factor=0.5, patience=patience + 1, min_relative_delta=threshold)
    assert Run().rates(ours, losses) == expected
    assert expected[-1] < 1


def test_a_threshold_that_is_not_given_is_not_written_into_the_resolved_spec():
    short = long_form(["reduce_on_plateau", {"patience": 3}], CALLBACKS)
    assert "min_relative_delta" not in short["parameters"]
    given = long_form(["reduce_on_plateau", {"patience": 3, "min_relative_delta": 1e-4}], CALLBACKS)
    assert given["parameters"] == {**short["parameters"], "min_relative_delta": 1e-4}


def test_small_improvements_add_up_until_they_count():
    callback = reduce(patience=2, min_delta=0.1)
    assert Run().rates(callback, [1.0, 0.93, 0.86, 0.86]) == [1, 1, 1, 1]
    assert callback.state()["best"] == 0.86


def test_during_the_cooldown_no_epoch_counts():
    rates = Run().rates(reduce(patience=2, cooldown=3), [1] * 12)
    # Falls after epoch 3; epochs 4 and 5 cool, the count starts with the last epoch of the cooldown.
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001])


def test_the_rate_falls_to_min_lr_and_no_lower():
    run = Run()
    rates = run.rates(reduce(patience=1, factor=0.1, min_lr=0.03), [1] * 6)
    assert rates == pytest.approx([1, 1, 0.1, 0.03, 0.03, 0.03])


def test_a_rate_below_min_lr_is_not_raised_to_it():
    assert Run(0.001).rates(reduce(patience=1, min_lr=0.01), [1] * 4) == [0.001] * 4


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"patience": 1, "factor": 0.5},
        {"patience": 0, "factor": 0.5},
        {"min_delta": 0.3},
        {"cooldown": 1},
        {"cooldown": 4, "patience": 3},
        {"patience": 1, "cooldown": 2, "min_lr": 0.02, "min_delta": 0.1, "factor": 0.3},
    ],
)
def test_reduce_on_plateau_follows_kerass_rules_on_wandering_losses(parameters):
    losses = [2 + math.sin(0.7 * epoch) + math.cos(2.3 * epoch) - 0.01 * epoch for epoch in range(60)]
    expected = keras_rates(losses, 1.0, **parameters)
    assert len(set(expected)) > 2
    assert Run().rates(reduce(**parameters), losses) == pytest.approx(expected)


def epochs_until_stop(callback, losses):
    run = Run()
    for epoch, run.validation_loss in enumerate(losses, 1):
        callback.after_epoch(run)
        if run.stopped:
            return epoch
    return None


def test_a_run_stops_after_patience_epochs_without_improvement_and_says_so():
    run = Run()
    run.rates(stopping(patience=3), [3, 2, 2, 2])
    assert run.stopped is None
    assert epochs_until_stop(stopping(patience=3), [3, 2, 2, 2, 2, 1]) == 5
    run.rates(stopping(patience=3), [2, 2, 2, 2])
    assert "3 epochs" in run.stopped


def test_patience_0_stops_at_the_first_epoch_without_improvement_and_says_so():
    assert epochs_until_stop(stopping(patience=0), [3, 2, 2, 1]) == 3
    run = Run()
    run.rates(stopping(patience=0), [3, 2, 2])
    assert run.stopped.endswith("for 1 epoch")


@pytest.mark.parametrize("name", ["reduce_on_plateau", "early_stopping"])
@pytest.mark.parametrize(("monitor", "acts"), [("loss", True), ("val_loss", False)])
def test_the_loss_that_keras_calls_so_is_monitored(name, monitor, acts):
    run, callback = Run(), CALLBACKS[name].build(patience=2, monitor=monitor, mode="min", verbose=1)
    for run.validation_loss in (4, 3, 2, 1):
        run.line = {"train": {"loss": 5.0}}
        callback.after_epoch(run)
    assert (run.stopped is not None or run.learning_rate < 1) == acts


def test_a_run_that_improves_now_and_then_goes_on():
    assert epochs_until_stop(stopping(patience=2), [5, 6, 4, 6, 3, 6, 2, 6]) is None


def test_an_improvement_of_no_more_than_min_delta_does_not_keep_a_run_going():
    losses = [1.0, 0.95, 0.90, 0.85, 0.80]
    assert epochs_until_stop(stopping(patience=2, min_delta=0.5), losses) == 3
    assert epochs_until_stop(stopping(patience=2, min_delta=0.01), losses) is None


def test_the_test_metrics_stand_in_the_epochs_line_and_change_nothing_else():
    run = Run()
    run.validation_loss = 1.0
    CALLBACKS["test_evaluate"].build().after_epoch(run)
    assert run.line == {"test": {"depth": {"mae": 0.5}}}
    assert (run.learning_rate, run.stopped) == (1.0, None)


@pytest.mark.parametrize("epochs", range(12))
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("reduce_on_plateau", {"patience": 2, "cooldown": 2, "min_delta": 0.1}), ("early_stopping", {"patience": 4})],
)
def test_a_callback_restored_from_json_goes_on_as_if_never_interrupted(name, parameters, epochs):
    losses = [3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1]
    whole, first, second = Run(), Run(), Run()
    rates = whole.rates(CALLBACKS[name].build(**parameters), losses)
    before, after = CALLBACKS[name].build(**parameters), CALLBACKS[name].build(**parameters)
    early = first.rates(before, losses[:epochs])
    after.restore(json.loads(json.dumps(before.state())))
    second.learning_rate, second.stopped = first.learning_rate, first.stopped
    assert early + second.rates(after, losses[epochs:]) == rates
    assert (second.learning_rate, second.stopped) == (whole.learning_rate, whole.stopped)


def test_the_state_holds_no_parameters_so_that_a_changed_patience_takes_effect():
    eager = stopping(patience=2)
    eager.restore(stopping(patience=50).state())
    assert epochs_until_stop(eager, [1, 1, 1, 1]) == 3


def test_a_negative_loss_that_rises_is_no_improvement_by_a_share_of_it():
    rates = Run().rates(reduce(patience=2, min_relative_delta=0.05), [-2.0, -1.95, -1.9, -1.85])
    assert rates == pytest.approx([1, 1, 1, 0.1])
    assert Run().rates(reduce(patience=2, min_relative_delta=0.05), [-2.0, -2.2, -2.5, -2.8]) == [1] * 4
