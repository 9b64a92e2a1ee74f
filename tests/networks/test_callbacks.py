import json
import math

import numpy as np
import pytest
import torch

from qexp.base.tables import long_form
from qexp.networks.callbacks import CALLBACKS


class Run:
    """A run as callbacks see it: epochs whose losses are given, and a learning rate that can be
    scaled.
    """

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
    return CALLBACKS["reduce_on_plateau"].build(
        **{"factor": 0.1, "patience": 2, "min_delta": 0, **parameters}
    )


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


@pytest.mark.parametrize(
    ("parameters", "losses", "expected"),
    [
        # and again after as many
        ({"patience": 3}, [5, 4, 4, 4, 4, 4, 4, 4, 4], [1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01]),
        ({"patience": 2}, [5, 6, 4, 6, 3, 6, 2, 6], [1] * 8),  # an improvement starts the wait anew
        # it counts against the best loss and not the last
        ({"patience": 3}, [1, 9, 8, 7, 6], [1, 1, 1, 1, 0.1]),
        # one of no more than min_delta is none
        ({"min_delta": 0.2}, [1.0, 0.95, 0.90, 0.85], [1, 1, 1, 0.1]),
        ({"min_delta": 0.04}, [1.0, 0.95, 0.90, 0.85], [1, 1, 1, 1]),
        # Falls after epoch 3; epochs 4 and 5 cool, the count starts with the last epoch of the
        # cooldown.
        ({"cooldown": 3}, [1] * 12, [1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.001]),
        ({"patience": 1, "min_lr": 0.03}, [1] * 6, [1, 1, 0.1, 0.03, 0.03, 0.03]),
        # Of a negative loss that rises, no share is an improvement.
        ({"min_relative_delta": 0.05}, [-2.0, -1.95, -1.9, -1.85], [1, 1, 1, 0.1]),
        ({"min_relative_delta": 0.05}, [-2.0, -2.2, -2.5, -2.8], [1] * 4),
    ],
)
def test_the_rate_falls_after_patience_epochs_without_improvement(parameters, losses, expected):
    assert Run().rates(reduce(**parameters), losses) == pytest.approx(expected)


@pytest.mark.parametrize("patience", [0, 2, 5])
@pytest.mark.parametrize("threshold", [1e-4, 0.05, 0.5])
def test_a_relative_threshold_gives_the_rates_of_torchs_own_scheduler(threshold, patience):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
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
    assert (
        Run().rates(reduce(factor=0.5, patience=patience + 1, min_relative_delta=threshold), losses)
        == expected
    )
    assert expected[-1] < 1


def test_a_threshold_that_is_not_given_is_not_written_into_the_resolved_spec():
    short = long_form(["reduce_on_plateau", {"patience": 3}], CALLBACKS)
    assert "min_relative_delta" not in short["parameters"]
    given = long_form(["reduce_on_plateau", {"patience": 3, "min_relative_delta": 1e-4}], CALLBACKS)
    assert given["parameters"] == {**short["parameters"], "min_relative_delta": 1e-4}


def test_small_improvements_add_up_until_they_count_and_a_rate_below_min_lr_is_not_raised_to_it():
    callback = reduce(patience=2, min_delta=0.1)
    assert Run().rates(callback, [1.0, 0.93, 0.86, 0.86]) == [1, 1, 1, 1]
    assert callback.state()["best"] == 0.86
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
    losses = [
        2 + math.sin(0.7 * epoch) + math.cos(2.3 * epoch) - 0.01 * epoch for epoch in range(60)
    ]
    expected = keras_rates(losses, 1.0, **parameters)
    assert len(set(expected)) > 2
    assert Run().rates(reduce(**parameters), losses) == pytest.approx(expected)


def stop_of(callback, losses):
    """The epoch at which a run stops, and what it says; None if it goes on."""
    run = Run()
    for epoch, run.validation_loss in enumerate(losses, 1):
        callback.after_epoch(run)
        if run.stopped:
            return epoch, run.stopped
    return None


@pytest.mark.parametrize(
    ("parameters", "losses", "expected"),
    [
        ({"patience": 3}, [3, 2, 2, 2], None),
        ({"patience": 3}, [3, 2, 2, 2, 2, 1], (5, "3 epochs")),
        ({"patience": 0}, [3, 2, 2, 1], (3, "1 epoch")),
        ({"patience": 2}, [5, 6, 4, 6, 3, 6, 2, 6], None),  # improves now and then
        ({"patience": 2, "min_delta": 0.5}, [1.0, 0.95, 0.90, 0.85, 0.80], (3, "2 epochs")),
        ({"patience": 2, "min_delta": 0.01}, [1.0, 0.95, 0.90, 0.85, 0.80], None),
    ],
)
def test_a_run_stops_after_patience_epochs_without_improvement_and_says_so(
    parameters, losses, expected
):
    stop = stop_of(stopping(**parameters), losses)
    assert stop == (
        expected and (expected[0], f"the validation loss has not improved for {expected[1]}")
    )


@pytest.mark.parametrize("name", ["reduce_on_plateau", "early_stopping"])
@pytest.mark.parametrize(("monitor", "acts"), [("loss", True), ("val_loss", False)])
def test_the_loss_that_keras_calls_so_is_monitored(name, monitor, acts):
    run, callback = Run(), CALLBACKS[name].build(patience=2, monitor=monitor, mode="min", verbose=1)
    for run.validation_loss in (4, 3, 2, 1):
        run.line = {"train": {"loss": 5.0}}
        callback.after_epoch(run)
    assert (run.stopped is not None or run.learning_rate < 1) == acts
    assert run.stopped in (None, "the training loss has not improved for 2 epochs")


def test_the_test_metrics_stand_in_the_epochs_line_and_change_nothing_else():
    run = Run()
    run.validation_loss = 1.0
    CALLBACKS["test_evaluate"].build().after_epoch(run)
    assert run.line == {"test": {"depth": {"mae": 0.5}}}
    assert (run.learning_rate, run.stopped) == (1.0, None)


@pytest.mark.parametrize("epochs", range(12))
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("reduce_on_plateau", {"patience": 2, "cooldown": 2, "min_delta": 0.1}),
        ("early_stopping", {"patience": 4}),
    ],
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
    assert stop_of(eager, [1, 1, 1, 1])[0] == 3
