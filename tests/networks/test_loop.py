import itertools
import math
import shutil
from functools import cache, partial

import pytest
import torch

from qexp.base.seeds import Seeds
from qexp.errors import DamagedError, QexpError
from qexp.metrics.built_in import METRICS
from qexp.networks import checkpoint, training
from qexp.networks.callbacks import CALLBACKS
from qexp.networks.estimator import Estimator
from qexp.networks.losses import LOSSES
from qexp.networks.masked_autoencoder import hidden_channels
from qexp.networks.optimizers import OPTIMIZERS, SCHEDULES
from qexp.networks.training import DivergedError, DrawnData, Recipe, Trainer
from qexp.networks.transforms import Log, PerSample, Standardize
from tests.networks.parts import Journal, after, initialised, never, operation

CPU = torch.device("cpu")
EPOCHS, BATCHES, BATCH_SIZE, TRAIN_SIZE = 3, 3, 8, 20

ADAM = partial(OPTIMIZERS["adam"].build)
MUON = partial(OPTIMIZERS["muon"].build, weight_decay=0.1)
MOMENTUM = partial(OPTIMIZERS["sgd"].build, momentum=0.9, nesterov=True)
PLAIN = partial(OPTIMIZERS["sgd"].build)


def samples(count, *purpose):
    random = Seeds(11).torch("cpu", *purpose)
    seen = torch.randn(count, 6, generator=random)
    depth = torch.exp(
        0.5 * seen[:, :1] - seen[:, 1:2].abs() + 0.1 * torch.randn(count, 1, generator=random)
    )
    return {"seen": seen, "depth": depth}


def data(train=None, train_size=TRAIN_SIZE):
    return DrawnData(
        train or (lambda epoch: samples(train_size, "train", epoch)),
        samples(13, "validation"),
        samples(9, "test"),
        train_size,
    )


def model(operations=None, transforms=None, seed=1):
    operations = operations or {
        "first": operation("denses", filters=[8], bias=True, l2=1e-3),
        "norm": operation("batch_norm"),
        "silu": operation("activation", activation="silu"),
        "drop": operation("dropout", rate=0.4),
        "head": operation("denses", filters=[1], bias=True),
    }
    network = initialised({"seen": (6,)}, ["depth"], operations, seed=seed)
    return Estimator(
        network, {"seen": Standardize(), "depth": Log()} if transforms is None else transforms
    )


def linear(l2=0.0):
    """One dense layer without bias: estimates are seen · weight."""
    return model({"head": operation("denses", l2, filters=[1])}, {})


def recipe(**changes):
    return Recipe(
        **{
            "losses": {"depth": LOSSES["mae"].build()},
            "metrics": {"depth": {name: METRICS[name].build() for name in ("mae", "bias", "mre")}},
            "optimizer": ADAM,
            "learning_rate": 0.02,
            "schedule": SCHEDULES["one_cycle"].build(),
            "epochs": EPOCHS,
            "batch_size": BATCH_SIZE,
            **changes,
        }
    )


def callbacks():
    # No loss of these improves on the best by 10: the rate falls after every epoch but the first.
    return [
        CALLBACKS["reduce_on_plateau"].build(factor=0.5, patience=1, min_delta=10),
        CALLBACKS["early_stopping"].build(patience=50),
        CALLBACKS["test_evaluate"].build(),
    ]


def trainer(folder, network=None, source=None, seed=5, **changes):
    folder.mkdir(exist_ok=True)
    network, source = network or model(), source or data()
    for name, transform in network.transforms.items():
        transform.fit(samples(TRAIN_SIZE, "train", 0)[name])
    changes.setdefault("callbacks", callbacks())
    return Trainer(network, source, recipe(**changes), Seeds(seed), CPU, folder)


def trained(folder, **changes):
    """A finished run: its trainer and its journal."""
    session = trainer(folder, **changes)
    journal = Journal(session)
    assert session.run(journal, never)
    return session, journal


def bytes_of(folder):
    return [(folder / name).read_bytes() for name in ("best.safetensors", "last.safetensors")]


def weight_of(trainer):
    (weight,) = trainer.model.parameters()
    return weight.detach().clone()


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [ADAM, MOMENTUM, PLAIN], ids=["adam", "momentum", "plain"])
def test_interrupted_after_every_single_batch_is_never_interrupted_byte_for_byte(
    tmp_path, optimizer
):
    finished, uninterrupted = trained(tmp_path / "whole", optimizer=optimizer)
    lines, runs = [], 0
    while True:
        part = trainer(tmp_path / "parts", optimizer=optimizer)
        part.resume()
        journal = Journal()
        done = part.run(journal, after(1))
        lines, runs = lines + journal.lines, runs + 1
        if done:
            break
    assert runs == EPOCHS * BATCHES
    assert lines == uninterrupted.lines
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")
    for name, tensor in finished.model.state_dict().items():
        assert torch.equal(part.model.state_dict()[name], tensor)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("batches", range(BATCHES, EPOCHS * BATCHES))
def test_killed_after_any_batch_and_resumed_from_the_last_checkpoint_is_never_killed(
    tmp_path, monkeypatch, batches
):
    _, uninterrupted = trained(tmp_path / "whole")
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)

    def kill(epoch, batch):
        if (epoch - 1) * BATCHES + batch == batches + 1:
            raise KilledError

    before = Journal(after_batch=kill)
    with pytest.raises(KilledError):
        trainer(tmp_path / "parts").run(before, never)
    second, rest = trainer(tmp_path / "parts"), Journal()
    assert second.resume() == batches // BATCHES
    second.run(rest, never)
    assert before.lines + rest.lines == uninterrupted.lines
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")


def test_killed_between_writing_the_best_and_the_last_weights_is_never_killed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)

    class Keeping(Journal):
        def checkpoint_written(self, progress):
            shutil.copytree(
                tmp_path / "whole", tmp_path / f"after_{progress.epoch - 1}", dirs_exist_ok=True
            )

    first, uninterrupted = trainer(tmp_path / "whole"), Keeping()
    first.run(uninterrupted, never)
    assert [line["best"] for line in uninterrupted.documents[:2]] == [True, True]
    shutil.copy(
        tmp_path / "after_2" / "best.safetensors", tmp_path / "after_1" / "best.safetensors"
    )
    second, rest = trainer(tmp_path / "after_1"), Journal()
    assert second.resume() == 1
    second.run(rest, never)
    assert rest.lines == uninterrupted.lines[1:]
    assert bytes_of(tmp_path / "after_1") == bytes_of(tmp_path / "whole")


def test_in_an_empty_folder_is_nothing_to_resume_and_a_finished_run_is_ready_and_stays_byte_for_byte(
    tmp_path,
):
    session = trainer(tmp_path / "new")
    assert session.resume() == 0
    assert session.progress == training.Progress()
    finished, _ = trained(tmp_path / "run")
    before = bytes_of(tmp_path / "run")
    again, journal = trainer(tmp_path / "run"), Journal()
    assert again.resume() == EPOCHS
    assert again.run(journal, never)
    assert (journal.batches, journal.lines) == ([], [])
    assert again.evaluate(data().test) == finished.evaluate(data().test)
    assert bytes_of(tmp_path / "run") == before


def test_the_same_seed_trains_to_the_same_bytes_and_another_drops_other_values(tmp_path):
    _, first = trained(tmp_path / "first")
    torch.rand(7)  # whatever the caller draws in between
    _, same = trained(tmp_path / "same")
    _, other = trained(tmp_path / "other", seed=6)
    assert first.lines == same.lines
    assert bytes_of(tmp_path / "first") == bytes_of(tmp_path / "same")
    assert first.lines != other.lines


def test_training_leaves_the_callers_random_state_and_determinism_as_they_were(tmp_path):
    def kill_at_once(epoch, batch):
        raise KilledError

    before = torch.get_rng_state()
    trained(tmp_path / "run")
    with pytest.raises(KilledError):
        trainer(tmp_path / "killed").run(Journal(after_batch=kill_at_once), never)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_looking_at_the_test_part_every_epoch_changes_no_weight(tmp_path):
    _, plain = trained(tmp_path / "plain", callbacks=[])
    _, looking = trained(tmp_path / "looking", callbacks=[CALLBACKS["test_evaluate"].build()])
    assert bytes_of(tmp_path / "plain")[0] == bytes_of(tmp_path / "looking")[0]
    for line, more in zip(plain.documents, looking.documents, strict=True):
        assert set(more.pop("test")["depth"]) == {"mae", "bias", "mre"}
        assert more == line


def with_nan_at(epoch_of_nan, sample, value=math.nan, name="seen"):
    def train(epoch):
        drawn = samples(TRAIN_SIZE, "train", epoch)
        if epoch == epoch_of_nan:
            drawn[name][sample, 0] = value
        return drawn

    return data(train)


@pytest.mark.parametrize(("sample", "batch"), [(0, 1), (BATCH_SIZE, 2), (TRAIN_SIZE - 1, 3)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_an_error_that_names_epoch_and_batch(
    tmp_path, sample, batch, value
):
    session, journal = trainer(tmp_path / "run", source=with_nan_at(2, sample, value)), Journal()
    with pytest.raises(DivergedError, match=rf"epoch 2, batch {batch} of 3 \(depth: nan\)"):
        session.run(journal, never)
    assert len(journal.lines) == 1


def test_a_diverged_run_that_was_interrupted_after_the_bad_batch_still_names_it(tmp_path):
    source = with_nan_at(2, 0)
    assert not trainer(tmp_path / "run", source=source).run(Journal(), after(BATCHES + 2))
    second = trainer(tmp_path / "run", source=source)
    second.resume()
    with pytest.raises(DivergedError, match="epoch 2, batch 1 of 3"):
        second.run(Journal(), never)


OTHER = "it is not the state of this training"

DAMAGE = {
    "an unknown key": (lambda document, tensors: document["progress"].update(unknown=1), OTHER),
    "progress that is a list": (lambda document, tensors: document.update(progress=[]), OTHER),
    "another number of callbacks": (
        lambda document, tensors: document["progress"]["callbacks"].append({}),
        OTHER,
    ),
    "an optimizer of another shape": (
        lambda document, tensors: tensors.update({"optimizer.x.y.z": torch.zeros(1)}),
        OTHER,
    ),
    "weights of NaN": (
        lambda document, tensors: tensors["network.operations.first.1.weight"].fill_(math.nan),
        "'network.* contains NaN",
    ),
}


@pytest.mark.parametrize(("change", "problem"), DAMAGE.values(), ids=DAMAGE)
def test_a_checkpoint_that_is_not_the_state_of_this_training_is_damage(tmp_path, change, problem):
    assert not trainer(tmp_path / "run").run(Journal(), after(BATCHES + 2))
    last = tmp_path / "run" / "last.safetensors"
    tensors, document = checkpoint.read(last)
    change(document, tensors)
    checkpoint.write(last, tensors, document)
    with pytest.raises(DamagedError, match=rf"last\.safetensors is damaged: {problem}"):
        trainer(tmp_path / "run").resume()


def test_a_truth_that_its_transform_cannot_take_or_a_validation_loss_that_overflows_is_an_error_that_says_so(
    tmp_path,
):
    with pytest.raises(DivergedError, match="transform of 'depth'"):
        trainer(tmp_path / "first", source=with_nan_at(1, 3, -1.0, "depth")).run(Journal(), never)
    source = data()
    source.validation["seen"][0] = 1e30
    mse = {"depth": LOSSES["mse"].build()}
    with pytest.raises(DivergedError, match="validation loss of epoch 1 is inf"):
        trainer(tmp_path / "second", linear(), source, losses=mse, callbacks=[]).run(
            Journal(), never
        )


# With a plateau the first loss is always an improvement, the second never one of 10.
@pytest.mark.parametrize(
    ("name", "changes", "factors"),
    [
        ("cosine", {"callbacks": []}, [1, 1, 1]),
        ("one_cycle", {"callbacks": []}, [1, 1, 1]),
        ("cosine", {}, [1, 1, 0.5]),
    ],
)
def test_the_rate_follows_the_schedule_and_a_plateau_scales_it_from_the_next_epoch_on(
    tmp_path, name, changes, factors
):
    schedule = SCHEDULES[name].build()
    _, journal = trained(tmp_path / "run", schedule=schedule, learning_rate=0.03, **changes)
    steps = EPOCHS * BATCHES
    expected = [
        0.03 * factors[step // BATCHES] * schedule(step / (steps - 1)) for step in range(steps)
    ]
    assert journal.rates == pytest.approx(expected)
    assert [line["learning_rate"] for line in journal.documents] == pytest.approx(
        expected[BATCHES - 1 :: BATCHES]
    )
    _, journal = trained(
        tmp_path / "a single batch", schedule=schedule, epochs=1, batch_size=TRAIN_SIZE
    )
    assert journal.rates == [0.02 * schedule(0)]


def first_batch(train_size=TRAIN_SIZE):
    return samples(train_size, "train", 1)


ONE_STEP = {
    "optimizer": PLAIN,
    "learning_rate": 0.1,
    "schedule": SCHEDULES["constant"].build(),
    "epochs": 1,
    "batch_size": TRAIN_SIZE,
    "callbacks": [],
    "losses": {"depth": LOSSES["mse"].build()},
}


def gradient_of_mse(weight):
    drawn = first_batch()
    return 2 * ((drawn["seen"] @ weight.T - drawn["depth"]) * drawn["seen"]).mean(0, keepdim=True)


def run_of(folder, network, **changes):
    """A run of a linear network: its weights before, those after, and its journal."""
    session, journal = trainer(folder, network, **changes), Journal()
    before = weight_of(session)
    session.run(journal, never)
    return before, weight_of(session), journal


@pytest.mark.parametrize("clip", [None, 1e3])
def test_a_step_is_the_gradient_of_the_mean_loss_over_the_batch_times_the_rate_whatever_larger_clip(
    tmp_path, clip
):
    before, after, _ = run_of(tmp_path, linear(), gradient_clip=clip, **ONE_STEP)
    torch.testing.assert_close(after - before, -0.1 * gradient_of_mse(before))


def test_gradient_clip_shortens_a_step_to_learning_rate_times_clip_and_keeps_its_direction(
    tmp_path,
):
    before, after, _ = run_of(tmp_path, linear(), gradient_clip=0.01, **ONE_STEP)
    step, gradient = after - before, gradient_of_mse(before)
    assert gradient.norm() > 0.1
    assert step.norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)
    torch.testing.assert_close(
        step / step.norm(), -gradient / gradient.norm(), rtol=1e-3, atol=1e-4
    )


def test_l2_pulls_weights_toward_zero_and_is_no_part_of_the_reported_loss(tmp_path):
    before, after, journal = run_of(tmp_path, linear(l2=0.5), **ONE_STEP)
    torch.testing.assert_close(after - before, -0.1 * (gradient_of_mse(before) + 2 * 0.5 * before))
    drawn = first_batch()
    loss = (drawn["seen"] @ before.T - drawn["depth"]).square().mean().item()
    assert journal.documents[0]["train"]["loss"] == pytest.approx(loss, rel=1e-5)


# Too small a rate to change a weight: what is reported can be worked out from the first weights.
STANDING_STILL = {"optimizer": PLAIN, "learning_rate": 1e-30, "callbacks": []}


def test_the_training_loss_is_the_mean_over_samples_though_the_last_batch_is_smaller(tmp_path):
    weight, _, journal = run_of(tmp_path, linear(), **STANDING_STILL)
    for line in journal.documents:
        drawn = samples(TRAIN_SIZE, "train", line["epoch"])
        loss = (drawn["seen"] @ weight.T - drawn["depth"]).abs().mean().item()
        assert line["train"]["losses"]["depth"] == pytest.approx(loss, rel=1e-5)
        assert line["train"]["loss"] == line["train"]["losses"]["depth"]
        assert line["best"] == (line["epoch"] == 1), "of epochs equally good the first is the best"


def test_losses_are_on_transformed_values_and_metrics_in_the_outputs_unit(tmp_path):
    network = model({"head": operation("denses", filters=[1])}, {"depth": Log()})
    weight, _, journal = run_of(tmp_path, network, **STANDING_STILL)
    validation = data().validation
    estimate = validation["seen"] @ weight.T
    line = journal.documents[0]["validation"]
    assert line["loss"] == pytest.approx(
        (estimate - validation["depth"].log()).abs().mean().item(), rel=1e-5
    )
    error = estimate.exp() - validation["depth"]
    assert line["depth"]["mae"] == pytest.approx(error.abs().mean().item(), rel=1e-5)
    assert line["depth"]["bias"] == pytest.approx(error.mean().item(), rel=1e-5)


def test_every_sample_of_an_epoch_is_seen_once_and_training_samples_are_asked_for_by_epoch(
    tmp_path,
):
    asked = []

    def train(epoch):
        asked.append(epoch)
        return samples(TRAIN_SIZE, "train", epoch)

    _, journal = trained(tmp_path / "run", source=data(train))
    assert asked == [1, 2, 3]
    assert journal.batches == [(epoch, batch, 3) for epoch in (1, 2, 3) for batch in (1, 2, 3)]


def test_two_outputs_add_their_losses_and_are_judged_each_by_its_own_metrics(tmp_path):
    operations = {
        "depth": operation("denses", filters=[1]),
        "delta_volume": operation("denses", filters=[1]),
    }
    branches = [(("seen",), (name,), (name,)) for name in operations]
    network = initialised({"seen": (6,)}, list(operations), operations, branches)

    def both(count, *purpose):
        drawn = samples(count, *purpose)
        return {**drawn, "delta_volume": drawn["depth"] * 100}

    _, journal = trained(
        tmp_path,
        network=Estimator(network, {}),
        source=DrawnData(
            lambda epoch: both(TRAIN_SIZE, epoch),
            both(13, "validation"),
            both(9, "test"),
            TRAIN_SIZE,
        ),
        losses={"depth": LOSSES["mae"].build(), "delta_volume": LOSSES["mse"].build()},
        metrics={
            "depth": {"mae": METRICS["mae"].build()},
            "delta_volume": {"mse": METRICS["mse"].build()},
        },
        **STANDING_STILL,
    )
    for line in journal.documents:
        for part in (line["train"], line["validation"]):
            assert part["loss"] == pytest.approx(
                part["losses"]["depth"] + part["losses"]["delta_volume"]
            )
        assert line["validation"]["losses"]["depth"] == pytest.approx(
            line["validation"]["depth"]["mae"], rel=1e-5
        )
        expected = line["validation"]["delta_volume"]["mse"]
        assert line["validation"]["losses"]["delta_volume"] == pytest.approx(expected, rel=1e-5)


RUINED = {
    "optimizer": PLAIN,
    "schedule": lambda progress: 1.0 if progress < 0.4 else 30.0,
    "learning_rate": 0.05,
    "epochs": 5,
    "callbacks": [],
}
"""Two good epochs, and from the third on a rate that ruins everything."""


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_weights_that_are_kept_are_those_of_the_epoch_with_the_least_validation_loss_or_the_last(
    tmp_path, keep
):
    session, journal = trained(tmp_path / "run", **RUINED, keep=keep)
    losses = [line["validation"]["loss"] for line in journal.documents]
    assert 0 < losses.index(min(losses)) < 4
    kept = losses.index(min(losses)) if keep == "best" else 4
    assert session.progress.best_epoch == kept + 1
    assert session.evaluate(data().validation) == {
        "depth": journal.documents[kept]["validation"]["depth"]
    }
    so_far = [keep == "last" or losses[epoch] == min(losses[: epoch + 1]) for epoch in range(5)]
    assert [line["best"] for line in journal.documents] == so_far


def test_a_run_that_stopped_early_says_why_and_stays_stopped_when_resumed(tmp_path):
    def eager():
        return [CALLBACKS["early_stopping"].build(patience=1, min_delta=10)]

    session, journal = trained(tmp_path / "run", callbacks=eager())
    assert len(journal.lines) == 2
    assert "has not improved" in session.progress.stopped
    again, rest = trainer(tmp_path / "run", callbacks=eager()), Journal()
    assert again.resume() == 2
    assert again.run(rest, never)
    assert rest.lines == []


def test_a_run_asks_whether_it_is_interrupted_before_every_batch_and_not_after_the_last(tmp_path):
    asked = itertools.count()
    assert trainer(tmp_path / "run").run(Journal(), lambda: next(asked) < 0)
    assert next(asked) == EPOCHS * BATCHES


def test_bfloat16_computes_more_coarsely_and_keeps_weights_in_single_precision(tmp_path):
    _, fine = trained(tmp_path / "fine", callbacks=[])
    session, coarse = trained(tmp_path / "coarse", callbacks=[], precision="bfloat16")
    assert all(weight.dtype == torch.float32 for weight in session.model.parameters())
    fine_loss, coarse_loss = (
        journal.documents[-1]["validation"]["loss"] for journal in (fine, coarse)
    )
    assert fine_loss != coarse_loss
    assert fine_loss == pytest.approx(coarse_loss, rel=0.1)


@pytest.mark.heavy
def test_training_halves_the_loss_of_samples_never_seen(tmp_path):
    operations = {
        "first": operation("denses", filters=[32], bias=True),
        "silu": operation("activation", activation="silu"),
        "head": operation("denses", filters=[1], bias=True),
    }
    _, journal = trained(tmp_path / "run", network=model(operations), epochs=40, callbacks=[])
    losses = [line["validation"]["loss"] for line in journal.documents]
    assert losses[-1] < 0.5 * losses[0]


# Layers


def encoding(decay=1.0, seed=1):
    """A network whose encoder has layers, of which the head above it has none."""
    encoder = operation("masked_encoder", patch_size=2, width=8, depth=2, heads=2)
    operations = {
        "encoder": encoder,
        "pooled": operation("token_pooling"),
        "head": operation("denses", filters=[1]),
    }
    return model(operations, {}, seed)


def test_the_rate_of_a_weight_falls_by_the_decay_with_each_layer_above_it(tmp_path):
    constant = {"schedule": SCHEDULES["constant"].build(), "callbacks": []}
    session, _ = trained(tmp_path / "run", network=encoding(), layer_decay=0.5, **constant)
    names = {
        id(weight): name for name, weight in session.model.network.operations.named_parameters()
    }
    rates = {
        names[id(weight)]: group["lr"] / session.recipe.learning_rate
        for group in session.optimizer.param_groups
        for weight in group["params"]
    }
    assert len(rates) == len(list(session.model.parameters()))
    expected = {
        "encoder.class_token": 0.125,
        "encoder.embedding": 0.125,
        "encoder.blocks.0": 0.25,
        "encoder.blocks.1": 0.5,
        "encoder.norm": 1.0,
        "head": 1.0,
    }
    for start, factor in expected.items():
        assert {rate for name, rate in rates.items() if name.startswith(start)} == {factor}, start
    assert sum(name.startswith(tuple(expected)) for name in rates) == len(rates)
    plain = trainer(tmp_path / "without decay", encoding())
    (group,) = plain.optimizer.param_groups
    assert all(
        weight is other
        for weight, other in zip(group["params"], plain.model.parameters(), strict=True)
    )


def test_a_plain_step_of_a_lower_layer_is_shorter_by_its_factor(tmp_path):
    def step(decay):
        session = trainer(
            tmp_path / f"decay_{decay}", encoding(), **{**ONE_STEP, "layer_decay": decay}
        )
        weights = dict(session.model.network.operations.named_parameters())
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        session.train_epoch(Journal(), never)
        return {name: weights[name].detach() - start for name, start in before.items()}

    full, shortened = step(1.0), step(0.5)
    factors = {
        "head.1.weight": 1,
        "encoder.blocks.1.attended.weight": 0.5,
        "encoder.embedding.weight": 0.125,
    }
    for name, factor in factors.items():
        assert full[name].abs().max() > 0
        torch.testing.assert_close(shortened[name], factor * full[name], rtol=1e-3, atol=1e-7)


# Frozen operations

WITH_DECAY = partial(OPTIMIZERS["adamw"].build, weight_decay=0.1)
FROZEN = ("first", "norm", "drop")
"""Operations of `model` that have weights, running means, and something to drop."""


def state_of(session, *operations):
    return {
        name: tensor.clone()
        for name, tensor in session.model.network.operations.state_dict().items()
        if name.partition(".")[0] in operations
    }


def state_after_epochs(session):
    """The uninterrupted state before the first epoch, and after each."""

    class Keeping(Journal):
        def epoch_done(self, line, seconds):
            states.append(state_of(session, *session.model.network.operations))

    states = [state_of(session, *session.model.network.operations)]
    session.run(Keeping(), never)
    return states


def same(state, other, *operations):
    names = [name for name in state if name.partition(".")[0] in operations]
    assert names
    return [torch.equal(state[name], other[name]) for name in names]


@pytest.mark.parametrize(
    "optimizer", [ADAM, MOMENTUM, WITH_DECAY, MUON], ids=["adam", "momentum", "adamw", "muon"]
)
@pytest.mark.parametrize("clip", [None, 1e-3])
def test_what_is_frozen_does_not_change_by_a_bit_while_the_rest_learns(tmp_path, optimizer, clip):
    """Nor by its penalty."""
    session = trainer(
        tmp_path, frozen=FROZEN, optimizer=optimizer, callbacks=[], gradient_clip=clip
    )
    assert session.model.network.penalty() is not None
    states = state_after_epochs(session)
    assert len(states) == 1 + EPOCHS
    for state in states[1:]:
        assert all(same(states[0], state, *FROZEN))
    assert not any(same(states[0], states[1], "head"))


def test_after_the_epochs_in_which_it_is_frozen_an_operation_learns_without_any_as_if_it_never_were(
    tmp_path,
):
    states = state_after_epochs(
        trainer(tmp_path / "run", frozen=FROZEN, epochs_frozen=2, callbacks=[])
    )
    assert all(same(states[0], states[2], *FROZEN))
    assert not any(same(states[2], states[3], *FROZEN))
    _, plain = trained(tmp_path / "plain")
    _, thawed = trained(tmp_path / "thawed", frozen=FROZEN, epochs_frozen=0)
    assert plain.lines == thawed.lines
    assert bytes_of(tmp_path / "plain")[0] == bytes_of(tmp_path / "thawed")[0]


def test_what_is_frozen_drops_nothing(tmp_path):
    """The first batch's loss is the one of a network that predicts."""
    network, drawn = model(), first_batch()
    session = trainer(
        tmp_path / "run", network, frozen=FROZEN, epochs=1, batch_size=TRAIN_SIZE, callbacks=[]
    )
    with torch.no_grad():
        seen, truth = (network.transformed(name, drawn[name]) for name in ("seen", "depth"))
        expected = (network.eval().network({"seen": seen})["depth"] - truth).abs().mean().item()
    journal = Journal()
    session.run(journal, never)
    assert journal.documents[0]["train"]["loss"] == pytest.approx(expected, rel=1e-6)


THAWING = {"frozen": FROZEN, "epochs_frozen": 1}

RECIPES = {
    "adam": lambda: {"optimizer": ADAM},
    "momentum": lambda: {"optimizer": MOMENTUM},
    "layers with rates of their own": lambda: {"network": encoding(), "layer_decay": 0.7},
    "thawing, adam": lambda: {"optimizer": ADAM, **THAWING},
    "thawing, momentum": lambda: {"optimizer": MOMENTUM, **THAWING},
    "thawing, muon": lambda: {"optimizer": MUON, **THAWING},
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """`uninterrupted(recipe)`: the journal of a training without a pause, and its folder."""

    @cache
    def made(name):
        folder = tmp_path_factory.mktemp("whole") / "run"
        return trained(folder, **RECIPES[name]())[1], folder

    return made


@pytest.mark.parametrize("batches", [2, 3, 4, 8])
@pytest.mark.parametrize("name", RECIPES)
def test_interrupted_after_any_batch_and_resumed_is_never_interrupted_byte_for_byte(
    uninterrupted, tmp_path, name, batches
):
    (whole, folder), changes = uninterrupted(name), RECIPES[name]
    before, rest = Journal(), Journal()
    assert not trainer(tmp_path / "parts", **changes()).run(before, after(batches))
    assert len(before.batches) == batches
    second = trainer(tmp_path / "parts", **changes())
    assert second.resume() == len(before.lines) == batches // BATCHES
    assert second.run(rest, never)
    assert before.batches + rest.batches == whole.batches
    assert before.lines + rest.lines == whole.lines
    assert bytes_of(tmp_path / "parts") == bytes_of(folder)


@pytest.mark.parametrize("epochs_frozen", [None, 1])
def test_a_network_of_which_all_is_frozen_is_refused(tmp_path, epochs_frozen):
    with pytest.raises(
        QexpError, match="no weights are left to train: all belong to first, norm, head"
    ):
        trainer(tmp_path / "run", frozen=["first", "norm", "head"], epochs_frozen=epochs_frozen)


# Outputs that are inputs


def spectra(count, *purpose):
    """Lines of several heights, and numbers that say what of them is seen."""
    random = Seeds(3).torch("cpu", *purpose)
    channel = torch.arange(16)
    height, position = (torch.rand(count, 1, generator=random) for _ in range(2))
    counts = 50 * height * torch.exp(-0.5 * (channel - 4 - 8 * position).square() / 4) + 5
    return {"spectrum": counts, "mask": torch.rand(count, 4, generator=random)}


class Masked(DrawnData):
    """Counts hidden channels alone."""

    def counted(self, output, samples):
        return hidden_channels(samples["mask"], 0.5, 4)


def autoencoding(tmp_path, **changes):
    size = {"patch_size": 4, "mask_ratio": 0.5, "width": 8, "depth": 1, "heads": 2}
    operations = {name: operation(f"masked_{name}", **size) for name in ("encoder", "decoder")}
    branches = [
        (("spectrum", "mask"), ("tokens",), ("encoder",)),
        (("tokens", "spectrum", "mask"), ("spectrum",), ("decoder",)),
    ]
    network = initialised({"spectrum": (16,), "mask": (4,)}, ["spectrum"], operations, branches)
    source = Masked(
        lambda epoch: spectra(TRAIN_SIZE, "train", epoch),
        spectra(300, "validation"),
        spectra(9, "test"),
        TRAIN_SIZE,
    )
    told = {
        "losses": {"spectrum": LOSSES["mse"].build()},
        "metrics": {"spectrum": {"mae": METRICS["mae"].build()}},
        "callbacks": [],
        **changes,
    }
    return Trainer(
        Estimator(network, {"spectrum": PerSample()}),
        source,
        recipe(**told),
        Seeds(5),
        CPU,
        tmp_path,
    )


@pytest.mark.slow
def test_an_autoencoder_is_judged_by_hidden_channels_in_the_units_of_its_input(tmp_path):
    session, journal = autoencoding(tmp_path), Journal()
    session.run(journal, never)
    seen = session.data.validation
    estimate = session.model.estimate(seen)["spectrum"]
    hidden = hidden_channels(seen["mask"], 0.5, 4)
    assert hidden.float().mean() == 0.5
    torch.testing.assert_close(estimate[~hidden], seen["spectrum"][~hidden])
    error = (estimate - seen["spectrum"])[hidden].abs().mean().item()
    assert error > 0.1
    assert session.evaluate(seen)["spectrum"]["mae"] == pytest.approx(error, rel=1e-5)
    last = journal.documents[session.progress.best_epoch - 1]["validation"]
    assert last["spectrum"]["mae"] == pytest.approx(error, rel=1e-5)
    assert set(last["losses"]) == {"spectrum"}


@pytest.mark.heavy
def test_an_autoencoder_learns_what_it_does_not_see(tmp_path):
    journal = Journal()
    autoencoding(tmp_path, epochs=60, learning_rate=0.01).run(journal, never)
    losses = [line["validation"]["loss"] for line in journal.documents]
    assert min(losses) < 0.5 * losses[0]


@pytest.mark.heavy
def test_an_autoencoder_trains_in_bfloat16_nearly_as_it_does_in_single_precision(tmp_path):
    losses = []
    for precision in ("float32", "bfloat16"):
        journal = Journal()
        (tmp_path / precision).mkdir()
        autoencoding(tmp_path / precision, precision=precision).run(journal, never)
        losses.append([line["train"]["loss"] for line in journal.documents])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
