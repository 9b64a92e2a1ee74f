"""Recorded steps of training, by a recorder that does on a CPU what a CUDA graph does."""

import logging
import math
import shutil

import pytest
import torch

from benchmarks import gpu
from qexp.networks import steps
from qexp.networks.heads import CLASSES, HEADS
from qexp.networks.losses import LOSSES, OF_POSTERIORS
from qexp.networks.modules import EXAMPLE_SHAPE, EXAMPLE_SHAPES, MODULES
from qexp.networks.network import Operation
from qexp.networks.steps import Steps
from qexp.networks.training import DivergedError
from tests.networks.parts import Journal, after, initialised, never, operation, values
from tests.networks.recorded import recorded
from tests.networks.test_loop import (
    ADAM,
    BATCHES,
    EPOCHS,
    MOMENTUM,
    MUON,
    PLAIN,
    bytes_of,
    data,
    model,
    samples,
    trained,
    trainer,
)
from tests.networks.test_trainer_stack import SIZE, Stacked, of_seed


class Recorded(list):
    """Counts the steps that are recorded."""

    def __call__(self, warm_up, step):
        self.append(step)
        return recorded(warm_up, step)


@pytest.fixture
def on_device(monkeypatch):
    """This processor records steps, as a GPU does."""
    recorder = Recorded()
    monkeypatch.setitem(steps.RECORDERS, "cpu", recorder)
    return recorder


@pytest.fixture
def told():
    """What is logged."""
    lines, run = [], logging.getLogger("qexp.run")
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    level = run.level
    run.addHandler(handler)
    run.setLevel(logging.INFO)
    yield lines
    run.removeHandler(handler)
    run.setLevel(level)


# Without a bias before the norm, whose gradient is rounding alone, which Adam magnifies.
OPERATIONS = {
    "first": operation("denses", filters=[8], l2=1e-3),
    "norm": operation("batch_norm"),
    "silu": operation("activation", activation="silu"),
    "drop": operation("dropout", rate=0.4),
    "head": operation("denses", filters=[1], bias=True),
}


def losses(journal):
    return [[line[part]["loss"] for part in ("train", "validation")] for line in journal.documents]


@pytest.mark.parametrize("optimizer", [ADAM, MOMENTUM, PLAIN], ids=["adam", "momentum", "plain"])
@pytest.mark.parametrize(
    "changes", [{}, {"gradient_clip": 0.1}, {"precision": "bfloat16"}, {"layer_decay": 0.5}]
)
def test_recorded_steps_train_as_others_do_with_dropout_statistics_and_falling_rates(
    tmp_path, monkeypatch, optimizer, changes
):
    _, one_by_one = trained(
        tmp_path / "one by one", network=model(OPERATIONS), optimizer=optimizer, **changes
    )
    recorder = Recorded()
    monkeypatch.setitem(steps.RECORDERS, "cpu", recorder)
    _, journal = trained(
        tmp_path / "recorded", network=model(OPERATIONS), optimizer=optimizer, **changes
    )
    assert len(recorder) == 2, "the last batch is smaller"
    assert losses(journal) == [pytest.approx(pair, rel=1e-5) for pair in losses(one_by_one)]
    assert len(losses(journal)) == EPOCHS


@pytest.mark.parametrize("optimizer", [ADAM, MOMENTUM], ids=["adam", "momentum"])
def test_interrupted_after_any_batch_a_recorded_training_ends_with_the_same_bits(
    tmp_path, on_device, optimizer
):
    _, uninterrupted = trained(tmp_path / "whole", optimizer=optimizer)
    for batches in (1, BATCHES, BATCHES + 2):
        folder, lines = tmp_path / f"{batches}", []
        for interrupted in (after(batches), never):
            part, journal = trainer(folder, optimizer=optimizer), Journal()
            part.resume()
            part.run(journal, interrupted)
            lines += journal.lines
        assert lines == uninterrupted.lines
        assert bytes_of(folder) == bytes_of(tmp_path / "whole")


def test_operations_that_freeze_and_thaw_are_recorded_anew(tmp_path, on_device):
    changes = {"frozen": ["first"], "epochs_frozen": 1}
    _, journal = trained(tmp_path / "recorded", network=model(OPERATIONS), **changes)
    assert len(on_device) == 4
    on_device.clear()
    steps.RECORDERS.pop("cpu")
    _, one_by_one = trained(tmp_path / "one by one", network=model(OPERATIONS), **changes)
    assert losses(journal) == [pytest.approx(pair, rel=1e-5) for pair in losses(one_by_one)]


def test_a_recorded_loss_that_is_nan_names_its_batch(tmp_path, on_device):
    def train(epoch):
        values = samples(20, "train", epoch)
        if epoch == 2:
            values["seen"][8:16] = math.nan
        return values

    with pytest.raises(DivergedError, match="epoch 2, batch 2 of 3"):
        trained(tmp_path / "run", source=data(train))


class Counting(torch.nn.Module):
    """Has state that is no tensor."""

    calls = 0

    def forward(self, x):
        if not x.is_meta:
            self.calls += 1
        return x * (1 + 0.1 * self.calls)


class Reading(torch.nn.Module):
    def forward(self, x):
        return x if x.is_meta or x.sum().item() > 0 else -x


@pytest.mark.parametrize(
    ("module", "why"), [(Counting, "counted its calls"), (Reading, "not permitted")]
)
def test_what_cannot_be_recorded_is_launched_one_by_one_to_the_bits_of_a_training_without_records(
    tmp_path, monkeypatch, told, module, why
):
    def network():
        return model(
            {"own": Operation(lambda shape: module()), "head": operation("denses", filters=[1])}
        )

    def of_calls(made):
        return [one.calls for one in made.model.modules() if isinstance(one, Counting)]

    plain, one_by_one = trained(tmp_path / "plain", network=network())
    monkeypatch.setitem(steps.RECORDERS, "cpu", recorded)
    other, journal = trained(tmp_path / "tried", network=network())
    assert why in told[0]
    assert len(told) == 1
    if module is Reading:
        assert journal.lines == one_by_one.lines
        assert bytes_of(tmp_path / "tried") == bytes_of(tmp_path / "plain")
    else:
        assert of_calls(other) > of_calls(plain)


def test_an_optimizer_that_reads_its_rate_and_a_setting_leave_steps_as_they_were(
    tmp_path, monkeypatch, on_device
):
    _, with_muon = trained(tmp_path / "tried", optimizer=MUON)
    monkeypatch.setenv(steps.VARIABLE, "0")
    on_device.clear()
    _, plain = trained(tmp_path / "plain", optimizer=MUON)
    assert on_device == []
    assert with_muon.lines == plain.lines


def test_runs_in_a_stack_are_recorded_and_resumed_to_the_same_bits(
    tmp_path, monkeypatch, on_device
):
    whole = Stacked(
        {place: of_seed(tmp_path / f"{place}", place, OPERATIONS) for place in range(SIZE)}
    )
    assert len(on_device) == 4, "with and without factors of learning rates"
    part = {place: of_seed(tmp_path / f"part {place}", place, OPERATIONS) for place in range(SIZE)}
    Stacked(part, interrupted=lambda place: after(1 if place else 2))
    for place in range(SIZE):
        part[place] = of_seed(tmp_path / f"part {place}", place, OPERATIONS)
        part[place].resume()
    again = Stacked(part)
    steps.RECORDERS.pop("cpu")
    plain = Stacked(
        {place: of_seed(tmp_path / f"plain {place}", place, OPERATIONS) for place in range(SIZE)}
    )
    for place in range(SIZE):
        assert bytes_of(again.trainers[place].folder) == bytes_of(whole.trainers[place].folder)
        assert losses(whole.journals[place]) == [
            pytest.approx(p, rel=1e-5) for p in losses(plain.journals[place])
        ]


def recorded_losses(network, loss, given, count=3):
    """The losses of recorded steps with a network."""
    optimizer = ADAM(list(network.parameters()), 0.01)

    def step(samples):
        value = loss(network.features({name: samples[name] for name in network.inputs}), samples)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.detach()[None]

    one = Steps(
        step, [optimizer], lambda: [*network.parameters(), *network.buffers()], torch.device("cpu")
    )
    return [one(given, [0.01]).item() for _ in range(count)]


@pytest.mark.parametrize("name", [name for name in MODULES if name not in HEADS])
def test_every_module_can_be_recorded(on_device, told, name):
    inputs = dict(zip("abc", EXAMPLE_SHAPES.get(name, [EXAMPLE_SHAPE]), strict=False))
    parameters = MODULES[name].example.get("parameters", {})
    network = initialised(
        inputs,
        ["y"],
        {"one": operation(name, **parameters), "last": operation("denses", filters=[1])},
    )
    given = {variable: values(3, *shape) for variable, shape in inputs.items()}
    made = recorded_losses(
        network.train(), lambda features, samples: features["y"].square().mean(), given
    )
    assert told == []
    assert len(on_device) == 1
    assert all(map(math.isfinite, made))


@pytest.mark.parametrize(
    "name", [name for name in [*LOSSES, *HEADS] if name not in (OF_POSTERIORS, CLASSES)]
)
def test_every_loss_and_posterior_head_can_be_recorded_and_falls(on_device, told, name):
    entry, of_head = LOSSES[OF_POSTERIORS if name in HEADS else name], name in HEADS
    last = Operation(HEADS[name].build, ends=True) if of_head else operation("denses", filters=[1])
    network = initialised({"seen": (6,)}, ["depth"], {"last": last})
    loss = entry.build(**entry.example.get("parameters", {}))

    def of_features(features, samples):
        return loss(
            network.density("last", features["last"]) if of_head else features["depth"],
            samples["depth"],
        )

    first, *_, end = recorded_losses(network, of_features, samples(8, "train"), count=20)
    assert told == []
    assert len(on_device) == 1
    assert end < first


@pytest.mark.heavy
def test_what_the_benchmark_of_gpus_checks_holds_for_this_recorder(on_device):
    held = list(gpu.checks(torch.device("cpu"), {"sizes": [36, 16, 16]}))
    assert held == [True] * 5
    assert on_device


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler for processors needs g++")
def test_a_large_network_is_compiled_to_the_same_losses_and_left_as_it_is_where_the_compiler_fails(
    tmp_path, monkeypatch, told
):
    _, plain = trained(tmp_path / "plain")
    monkeypatch.setattr("qexp.networks.compiled.COMPILED_ON", ["cpu"])
    _, small = trained(tmp_path / "small")
    assert small.lines == plain.lines
    monkeypatch.setattr("qexp.networks.compiled.LARGE", 1)
    monkeypatch.setenv("QEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    with monkeypatch.context() as without_compiler:
        without_compiler.setattr(
            torch, "compile", lambda function, **_: lambda inputs: function(inputs, "no compiler")
        )
        _, refused = trained(tmp_path / "refused")
    assert "not compiled" in told[0]
    assert refused.lines == plain.lines
    _, compiled = trained(tmp_path / "compiled")
    assert "compiled the network in" in told[1]
    # Compiled dropout draws other numbers: the losses are alike, and not the same.
    assert losses(compiled)[-1] == pytest.approx(losses(plain)[-1], rel=0.3)
    assert any((tmp_path / "cache" / "compiled").iterdir())
