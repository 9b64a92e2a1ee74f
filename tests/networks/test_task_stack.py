import json
import math
from functools import cache, partial

import pytest
import torch

from qexp.base.seeds import Seeds
from qexp.errors import DamagedError
from qexp.networks import checkpoint, training
from qexp.networks.callbacks import CALLBACKS
from qexp.networks.estimator import Estimator
from qexp.networks.heads import HEADS
from qexp.networks.losses import LOSSES, OF_POSTERIORS
from qexp.networks.modules import MODULES
from qexp.networks.network import Operation
from qexp.networks.optimizers import OPTIMIZERS, SCHEDULES
from qexp.networks.task_stack import Task, TaskStack, largest_stack, line_of
from qexp.networks.training import DrawnData, Recipe, Trainer
from qexp.networks.transforms import Log, Standardize
from tests.networks.parts import after, initialised, never

CPU = torch.device("cpu")
TRAIN, VALIDATION, BATCH = 22, 7, 8
OPTIMIZER = {
    "adam": OPTIMIZERS["adam"].build,
    "adamw": partial(OPTIMIZERS["adamw"].build, weight_decay=0.1),
    "sgd": partial(OPTIMIZERS["sgd"].build, momentum=0.9, nesterov=True, weight_decay=0.01),
}


class Journal:
    """Notes what a stack tells."""

    def __init__(self):
        self.lines, self.checkpoints = [], []

    def epoch_done(self, epoch, line, seconds):
        assert line is None or line["epoch"] == epoch
        self.lines.append(line)

    def checkpoint_written(self, epoch):
        self.checkpoints.append(epoch)


def samples(count, *purpose):
    random = Seeds(3).torch("cpu", *purpose)
    seen = torch.randn(count, 10, generator=random)
    noise = 0.1 * torch.randn(count, 1, generator=random)
    return {"seen": seen, "depth": torch.exp(0.5 * seen[:, :1] - seen[:, 1:2].abs() + noise)}


NETWORKS = {
    "one_d_cnn": ("one_d_cnn", {"filters": [8, 8, 16], "l2": 1e-3}),
    "conv1d": ("conv1d", {"filters": [6], "strides": 2, "activation": "tanh"}),
    "gelu": ("conv1d", {"filters": [6], "strides": 2, "activation": "gelu"}),
    "mlp": ("mlp", {"units": [12, 7], "activation": "tanh"}),
    "dropout": ("mlp", {"units": [12], "dropout": 0.3}),
}


def model(network, seed):
    module, parameters = NETWORKS[network]
    operations = {
        "norm": Operation(MODULES["batch_norm"].build),
        "body": Operation(
            partial(MODULES[module].build, **parameters), l2=parameters.get("l2", 0.0)
        ),
        "head": Operation(partial(MODULES["denses"].build, filters=[1], bias=True)),
    }
    network = initialised({"seen": (10,)}, ["depth"], operations, seed=seed)
    return Estimator(network, {"seen": Standardize(), "depth": Log()})


def order(number):
    return lambda epoch: torch.randperm(TRAIN, generator=Seeds(number).torch("cpu", "order", epoch))


def task(number, network="one_d_cnn", callbacks=(), validated=True, **changes):
    train = samples(TRAIN, "train", number)
    made = model(network, number)
    for name, transform in made.transforms.items():
        transform.fit(train[name])
    validation = samples(VALIDATION, "validation", number) if validated else None
    return Task(f"task {number}", made, train, validation, order(number), callbacks, **changes)


def recipe(**changes):
    return Recipe(
        **{
            "losses": {"depth": LOSSES["mse"].build()},
            "metrics": {},
            "optimizer": OPTIMIZER["adam"],
            "learning_rate": 0.01,
            "schedule": SCHEDULES["one_cycle"].build(),
            "epochs": 10,
            "batch_size": BATCH,
            **changes,
        }
    )


def trained(folder, tasks, journal=None, **changes):
    folder.mkdir(exist_ok=True)
    stack = TaskStack(tasks, recipe(**changes), CPU, folder)
    assert stack.run(journal or Journal(), never)
    return stack


def lines_of(stack, position):
    """A task's epochs so far, as in `metrics.jsonl`."""
    curve = enumerate(stack.curve(position).tolist(), start=1)
    return [line_of(numbers, epoch, list(stack.recipe.losses)) for epoch, numbers in curve]


def assert_same(one, other):
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name


@pytest.mark.heavy
@pytest.mark.parametrize("network", ["one_d_cnn", "conv1d", "mlp"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": OPTIMIZER["sgd"], "gradient_clip": 0.5},
        {"optimizer": OPTIMIZER["adamw"], "batch_size": TRAIN},
    ],
    ids=["adam", "sgd", "adamw"],
)
def test_a_network_is_trained_to_the_same_bits_whoever_is_beside_it(tmp_path, network, changes):
    tasks = [task(number, network) for number in range(5)]
    together = trained(tmp_path / "together", tasks, **changes)
    for number in (0, 4):
        alone = task(number, network)
        stack = trained(tmp_path / f"alone_{number}", [alone], **changes)
        assert_same(tasks[number], alone)
        assert lines_of(stack, 0) == lines_of(together, number)
        assert stack.outcomes[0] == together.outcomes[number]
    pair = [task(number, network) for number in (3, 1)]
    trained(tmp_path / "pair", pair, **changes)
    assert_same(pair[0], tasks[3])
    assert_same(pair[1], tasks[1])


@pytest.mark.heavy
def test_where_torch_rounds_an_activation_by_its_place_in_memory_results_differ_by_less_than_1e_5(
    tmp_path,
):
    tasks = [task(number, "gelu") for number in range(5)]
    trained(tmp_path / "together", tasks)
    for number in range(5):
        alone = task(number, "gelu")
        trained(tmp_path / f"alone_{number}", [alone])
        for name, tensor in alone.model.state_dict().items():
            torch.testing.assert_close(
                tasks[number].model.state_dict()[name], tensor, rtol=1e-5, atol=1e-5
            )


@pytest.mark.heavy
@pytest.mark.parametrize("head", HEADS)
def test_a_posterior_head_learns_beside_others_what_it_learns_alone(tmp_path, head):
    def with_head(number):
        operations = {
            "body": Operation(
                partial(MODULES["mlp"].build, units=[12], outputs=8, activation="tanh")
            )
        }
        operations["posterior"] = Operation(HEADS[head].build, ends=True)
        made = Estimator(
            initialised({"seen": (10,)}, ["depth"], operations, seed=number), {"depth": Log()}
        )
        return Task(
            f"task {number}", made, samples(TRAIN, "train", number), None, order(number), ()
        )

    losses = {"posterior": LOSSES[OF_POSTERIORS].build()}
    tasks = [with_head(number) for number in range(3)]
    together = trained(tmp_path / "together", tasks, losses=losses, keep="last")
    alone = with_head(1)
    trained(tmp_path / "alone", [alone], losses=losses, keep="last")
    for name, tensor in alone.model.state_dict().items():
        torch.testing.assert_close(tasks[1].model.state_dict()[name], tensor, rtol=1e-4, atol=1e-4)
    first, *_, last = [line["train"]["losses"]["posterior"] for line in lines_of(together, 0)]
    assert last < first


@pytest.mark.heavy
def test_large_products_too_are_the_same_bits_whoever_is_beside(tmp_path):
    NETWORKS["dl_im"] = ("one_d_cnn", {})
    tasks = [task(number, "dl_im") for number in range(3)]
    trained(tmp_path / "together", tasks, epochs=4, batch_size=TRAIN)
    alone = task(1, "dl_im")
    trained(tmp_path / "alone", [alone], epochs=4, batch_size=TRAIN)
    assert_same(tasks[1], alone)


def one_by_one(number, folder, network="one_d_cnn", callbacks=(), **changes):
    """The same network in the loop for one: its trainer, and the lines of its epochs."""
    folder.mkdir(exist_ok=True)
    same = task(number, network)

    def train(epoch):
        return {name: values[order(number)(epoch)] for name, values in same.train.items()}

    lines = []

    class Listener:
        def batch_done(self, *_): ...
        def checkpoint_written(self, *_): ...
        def epoch_done(self, line, seconds):
            lines.append(line)

    data = DrawnData(train, same.validation, same.validation, TRAIN)
    trainer = Trainer(
        same.model, data, recipe(callbacks=list(callbacks), **changes), Seeds(0), CPU, folder
    )
    assert trainer.run(Listener(), never)
    return trainer, lines


@pytest.mark.heavy
@pytest.mark.parametrize("optimizer", OPTIMIZER)
@pytest.mark.parametrize("network", ["one_d_cnn", "mlp"])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_stack_trains_as_the_loop_for_one_network_does(tmp_path, network, optimizer, keep):
    changes = {"epochs": 4, "optimizer": OPTIMIZER[optimizer], "keep": keep, "gradient_clip": 1.0}
    tasks = [task(number, network) for number in range(3)]
    stack = trained(tmp_path, tasks, **changes)
    for number in range(3):
        trainer, lines = one_by_one(number, tmp_path / str(number), network, **changes)
        assert stack.outcomes[number].best_epoch == trainer.progress.best_epoch
        assert stack.outcomes[number].best_loss == pytest.approx(
            trainer.progress.best_loss, rel=1e-5
        )
        for line, expected in zip(lines_of(stack, number), lines, strict=True):
            assert line["learning_rate"] == pytest.approx(expected["learning_rate"])
            assert line["train"]["loss"] == pytest.approx(expected["train"]["loss"], rel=1e-5)
            assert line["validation"]["losses"] == pytest.approx(
                expected["validation"]["losses"], rel=1e-5
            )
            assert line["best"] == expected["best"]
        for name, tensor in trainer.model.state_dict().items():
            torch.testing.assert_close(
                tasks[number].model.state_dict()[name], tensor, rtol=1e-4, atol=1e-5
            )


def plateau():
    # No loss of these improves on the best by 10: the rate falls after every epoch but the first.
    return [CALLBACKS["reduce_on_plateau"].build(factor=0.5, patience=1, min_delta=10)]


@pytest.mark.heavy
def test_one_networks_learning_rate_falls_as_in_the_loop_for_one_and_no_others_does(tmp_path):
    tasks = [task(0), task(1, callbacks=plateau()), task(2)]
    stack = trained(tmp_path, tasks, epochs=4)
    trainer, lines = one_by_one(1, tmp_path / "one", callbacks=plateau(), epochs=4)
    rates = [[line["learning_rate"] for line in lines_of(stack, number)] for number in range(3)]
    assert rates[1] == pytest.approx([line["learning_rate"] for line in lines])
    assert rates[1] == pytest.approx(
        [rate * factor for rate, factor in zip(rates[0], [1, 1, 0.5, 0.25], strict=True)]
    )
    for name, tensor in trainer.model.state_dict().items():
        torch.testing.assert_close(tasks[1].model.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    without = [task(0), task(2)]
    trained(tmp_path / "without", without, epochs=4)
    assert_same(without[0], tasks[0])
    assert_same(without[1], tasks[2])


def eager(patience):
    return [CALLBACKS["early_stopping"].build(patience=patience, min_delta=10)]


@pytest.mark.heavy
def test_networks_stop_each_at_its_time_and_the_others_go_on_with_the_same_bits(tmp_path):
    journal = Journal()
    tasks = [task(0), task(1, callbacks=eager(2)), task(2, callbacks=eager(5)), task(3)]
    stack = trained(tmp_path / "four", tasks, journal, epochs=9)
    assert [len(stack.curve(position)) for position in range(4)] == [9, 3, 6, 9]
    losses = [lines_of(stack, position)[-1]["validation"]["loss"] for position in (0, 3)]
    assert journal.lines[-1]["validation"]["loss"] == pytest.approx(sum(losses) / 2)
    assert [outcome.stopped is not None for outcome in stack.outcomes] == [False, True, True, False]
    assert "has not improved for 2 epochs" in stack.outcomes[1].stopped
    for number, one in enumerate(
        [task(0), task(1, callbacks=eager(2)), task(2, callbacks=eager(5))]
    ):
        trained(tmp_path / str(number), [one], epochs=9)
        assert_same(one, tasks[number])


@pytest.mark.heavy
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_network_that_diverges_is_named_and_disturbs_no_other(tmp_path, number):
    tasks = [task(position) for position in range(3)]
    tasks[number].train["seen"][5, 0] = math.nan
    failed = [outcome.failed for outcome in trained(tmp_path / "ill", tasks, epochs=5).outcomes]
    assert f"task {number}: the loss is NaN or infinite in epoch 1, batch" in failed[number]
    sound = [position for position in range(3) if position != number]
    assert [failed[position] for position in sound] == [None, None]
    alone = [task(position) for position in sound]
    trained(tmp_path / "sound", alone, epochs=5)
    for one, position in zip(alone, sound, strict=True):
        assert_same(one, tasks[position])


def test_a_truth_that_its_transform_cannot_take_fails_that_network_alone(tmp_path):
    tasks = [task(0), task(1)]
    tasks[1].train["depth"][3] = -1.0
    stack = trained(tmp_path, tasks, epochs=2)
    assert (
        "task 1: the transform of 'depth' is NaN or infinite for some training values"
        in stack.outcomes[1].failed
    )
    assert stack.outcomes[0].failed is None
    assert len(lines_of(stack, 0)) == 2


def with_callbacks():
    return [task(0, callbacks=plateau()), task(1, callbacks=eager(3)), task(2), task(3)]


def interruptible(keep, optimizer):
    return {"epochs": 8, "keep": keep, "optimizer": OPTIMIZER[optimizer], "gradient_clip": 1.0}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """`uninterrupted(keep, optimizer)`: tasks that were trained without a pause, their stack and
    its folder.
    """

    @cache
    def made(keep, optimizer):
        folder, tasks = tmp_path_factory.mktemp("whole"), with_callbacks()
        return tasks, trained(folder, tasks, **interruptible(keep, optimizer)), folder

    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "keep", "epochs"),
    [
        ("adam", "best", 1),
        ("adam", "best", 4),
        ("adam", "last", 8),
        ("sgd", "best", 6),
        ("sgd", "last", 3),
    ],
)
def test_interrupted_after_any_epoch_and_resumed_is_never_interrupted(
    uninterrupted, tmp_path, epochs, keep, optimizer
):
    changes = interruptible(keep, optimizer)
    whole, expected, place = uninterrupted(keep, optimizer)
    folder = tmp_path / "parts"
    folder.mkdir()
    assert TaskStack(with_callbacks(), recipe(**changes), CPU, folder).run(
        Journal(), after(epochs)
    ) == (epochs == 8)
    tasks = with_callbacks()
    second = TaskStack(tasks, recipe(**changes), CPU, folder)
    assert second.resume() == epochs
    assert second.run(Journal(), never)
    for one, other in zip(tasks, whole, strict=True):
        assert_same(one, other)
    curves = (
        [stack.curve(position).tolist() for position in range(4)] for stack in (second, expected)
    )
    assert json.dumps(next(curves)) == json.dumps(next(curves))
    assert (folder / "stack.safetensors").read_bytes() == (place / "stack.safetensors").read_bytes()


@pytest.mark.heavy
def test_a_stack_that_was_killed_goes_on_from_its_last_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)

    class KilledError(Exception):
        pass

    class Killing(Journal):
        def epoch_done(self, epoch, line, seconds):
            if epoch == 4:
                raise KilledError

    whole = [task(0), task(1)]
    trained(tmp_path / "whole", whole, epochs=6)
    folder = tmp_path / "killed"
    folder.mkdir()
    with pytest.raises(KilledError):
        TaskStack([task(0), task(1)], recipe(epochs=6), CPU, folder).run(Killing(), never)
    tasks = [task(0), task(1)]
    second = TaskStack(tasks, recipe(epochs=6), CPU, folder)
    assert second.resume() == 3
    assert second.run(Journal(), never)
    for one, other in zip(tasks, whole, strict=True):
        assert_same(one, other)


def test_there_is_nothing_to_resume_in_an_empty_folder_and_a_checkpoint_of_other_networks_is_refused(
    tmp_path,
):
    assert TaskStack([task(0)], recipe(), CPU, tmp_path).resume() == 0
    trained(tmp_path, [task(0), task(1)], epochs=1)
    with pytest.raises(
        ValueError, match=r"holds other networks: task 0, task 1; not task 0, task 2"
    ):
        TaskStack([task(0), task(2)], recipe(epochs=1), CPU, tmp_path).resume()


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda document, tensors: document.pop("tasks"),
        lambda document, tensors: document.pop("epochs_done"),
        lambda document, tensors: document["outcomes"][0].update(unknown=1),
        lambda document, tensors: document["outcomes"].pop(),
        lambda document, tensors: tensors.pop("history"),
        lambda document, tensors: tensors.update(weights=torch.zeros(3)),
    ],
    ids=["no tasks", "no epoch", "an unknown key", "a task less", "no history", "other weights"],
)
def test_a_stack_that_is_not_the_state_of_this_training_is_damage(tmp_path, change):
    assert not TaskStack([task(0), task(1)], recipe(epochs=3), CPU, tmp_path).run(
        Journal(), after(2)
    )
    path = tmp_path / "stack.safetensors"
    tensors, document = checkpoint.read(path)
    change(document, tensors)
    checkpoint.write(path, tensors, document)
    with pytest.raises(
        DamagedError, match=r"stack\.safetensors is damaged: it is not the state of this training"
    ):
        TaskStack([task(0), task(1)], recipe(epochs=3), CPU, tmp_path).resume()


@pytest.mark.heavy
def test_without_validation_rows_the_last_weights_are_kept_and_no_line_has_a_validation_loss(
    tmp_path,
):
    tasks = [task(number, validated=False) for number in range(3)]
    stack = trained(tmp_path / "without", tasks, epochs=3, keep="last")
    assert [outcome.best_epoch for outcome in stack.outcomes] == [3, 3, 3]
    assert all("validation" not in line and line["best"] for line in lines_of(stack, 0))
    validated = [task(number) for number in range(3)]
    trained(tmp_path / "with", validated, epochs=3, keep="last")
    for one, other in zip(tasks, validated, strict=True):
        assert_same(one, other)


def test_the_weights_that_are_kept_are_those_of_the_epoch_with_the_least_validation_loss(tmp_path):
    # Two good epochs, and from the third on a rate that ruins everything.
    ruined = {
        "optimizer": OPTIMIZERS["sgd"].build,
        "schedule": lambda progress: 1.0 if progress < 0.4 else 30.0,
    }
    tasks = [task(number, "mlp") for number in range(3)]
    stack = trained(tmp_path, tasks, **ruined, epochs=5, learning_rate=0.05)
    for number, one in enumerate(tasks):
        losses = [line["validation"]["loss"] for line in lines_of(stack, number)]
        assert stack.outcomes[number].best_epoch == losses.index(min(losses)) + 1 < 5
        seen, truth = (
            one.model.transformed(name, one.validation[name]) for name in ("seen", "depth")
        )
        made = one.model.outputs({"seen": seen})["depth"]
        assert (made - truth).square().mean().item() == pytest.approx(min(losses), rel=1e-5)


def test_callbacks_without_validation_rows_are_refused_with_the_name_of_the_task(tmp_path):
    alone = task(0, validated=False, callbacks=plateau())
    with pytest.raises(ValueError, match="task 0 has no validation rows, which callbacks need"):
        TaskStack([alone], recipe(keep="last"), CPU, tmp_path)


def test_a_network_with_dropout_trains_alone_repeats_itself_and_leaves_the_callers_random_state(
    tmp_path,
):
    assert (
        largest_stack(model("mlp", 0).network, BATCH)
        > largest_stack(model("dropout", 0).network, BATCH)
        == 1
    )
    seeds = [lambda epoch, s=seed: 100 * s + epoch for seed in (1, 1, 2)]
    first, second, other = (task(0, "dropout", dropout_seed=seed) for seed in seeds)
    for name, one in (("first", first), ("second", second), ("other", other)):
        before = torch.get_rng_state()
        trained(tmp_path / name, [one], epochs=3)
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(5)  # whatever the caller draws in between
    assert not torch.are_deterministic_algorithms_enabled()
    assert_same(first, second)
    with pytest.raises(AssertionError):
        assert_same(first, other)


def test_the_larger_a_network_or_its_batch_the_fewer_are_stacked():
    sizes = [
        largest_stack(model(name, 0).network, batch)
        for name, batch in (("mlp", 8), ("one_d_cnn", 8))
    ]
    assert sizes[0] >= sizes[1] > 1
    NETWORKS["dl_im"] = ("one_d_cnn", {})
    assert sizes[1] > largest_stack(model("dl_im", 0).network, 54) > 1
    assert largest_stack(model("dl_im", 0).network, 100_000) == 1
