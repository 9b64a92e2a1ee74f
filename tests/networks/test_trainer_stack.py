"""Trainers side by side in a stack, against each of them alone."""

import math
import shutil
from contextlib import nullcontext

import pytest
import torch

from qexp.base.seeds import Seeds
from qexp.networks import training
from qexp.networks.callbacks import CALLBACKS
from qexp.networks.network import Operation
from qexp.networks.network_stack import can_be_stacked
from qexp.networks.optimizers import OPTIMIZERS
from qexp.networks.trainer_stack import Member, TrainerStack
from qexp.networks.training import DivergedError, DrawnData
from tests.networks.parts import Journal, after, never, operation
from tests.networks.test_loop import (
    ADAM,
    EPOCHS,
    MOMENTUM,
    PLAIN,
    TRAIN_SIZE,
    bytes_of,
    model,
    recipe,
    samples,
    trainer,
)

SIZE = 3
WITHOUT_DROPOUT = {
    "first": operation("denses", filters=[8], l2=1e-3),
    "norm": operation("batch_norm"),
    "silu": operation("activation", activation="silu"),
    "head": operation("denses", filters=[1], bias=True),
}


def of_seed(folder, seed, operations=WITHOUT_DROPOUT, **changes):
    """A trainer with weights and samples of its own."""
    folder.parent.mkdir(exist_ok=True)
    source = DrawnData(
        lambda epoch: samples(TRAIN_SIZE, "train", seed, epoch),
        samples(13, "validation", seed),
        samples(9, "test", seed),
        TRAIN_SIZE,
    )
    return trainer(folder, model(operations, seed=seed), source, seed, **changes)


class Stacked:
    """Trainers by their places, trained in a stack that has been run; how they ended, and what they
    told.
    """

    def __init__(self, trainers, interrupted=lambda place: never, steps=lambda place: ""):
        self.trainers, self.ended = trainers, {}
        self.journals = {place: Journal() for place in trainers}
        members = [
            Member(place, one, steps(place), self.journals[place], interrupted(place), nullcontext)
            for place, one in trainers.items()
        ]
        stack = TrainerStack(
            members, SIZE, Seeds(7), lambda member, error: self.ended.update({member.place: error})
        )
        stack.run()
        for place, one in trainers.items():
            if place not in self.ended:
                one.load_best()

    def bytes_of(self, place):
        return bytes_of(self.trainers[place].folder), self.journals[place].lines


def resumed(one):
    one.resume()
    return one


@pytest.mark.parametrize("optimizer", [ADAM, MOMENTUM, PLAIN])
@pytest.mark.parametrize("changes", [{}, {"gradient_clip": 0.1}], ids=["", "clip"])
def test_runs_in_a_stack_are_trained_as_alone_but_for_rounding(tmp_path, optimizer, changes):
    stacked = Stacked(
        {
            place: of_seed(tmp_path / f"{place}", place, optimizer=optimizer, **changes)
            for place in range(SIZE)
        }
    )
    for place in range(SIZE):
        alone = of_seed(tmp_path / f"alone {place}", place, optimizer=optimizer, **changes)
        journal = Journal()
        alone.run(journal, never)
        assert len(journal.lines) == EPOCHS
        for one, other in zip(stacked.journals[place].documents, journal.documents, strict=True):
            assert one.keys() == other.keys()
            assert (one["epoch"], one["best"]) == (other["epoch"], other["best"])
            assert one["learning_rate"] == other["learning_rate"]
            for part in ("train", "validation"):
                assert one[part]["loss"] == pytest.approx(other[part]["loss"], rel=1e-5)
            for part in ("validation", "test"):
                assert one.get(part, {}).get("depth") == pytest.approx(
                    other.get(part, {}).get("depth"), rel=1e-4
                )
        for name, tensor in alone.model.state_dict().items():
            torch.testing.assert_close(
                stacked.trainers[place].model.state_dict()[name], tensor, rtol=1e-3, atol=1e-5
            )


def test_learning_rates_and_decays_may_differ(tmp_path):
    def of_place(folder, place):
        decay = [0.0, 0.3, 0.3][place]
        build = OPTIMIZERS["adamw"].build
        rates = [0.02, 0.005, 0.02]
        return of_seed(
            folder,
            1,
            learning_rate=rates[place],
            optimizer=lambda *given: build(*given, weight_decay=decay),
        )

    stacked = Stacked(
        {place: of_place(tmp_path / f"{place}", place) for place in range(SIZE)}, steps=str
    )
    losses = []
    for place in range(SIZE):
        alone, journal = of_place(tmp_path / f"alone {place}", place), Journal()
        alone.run(journal, never)
        losses.append(journal.documents[-1]["train"]["loss"])
        assert stacked.journals[place].documents[-1]["train"]["loss"] == pytest.approx(
            losses[-1], rel=1e-5
        )
    assert len(set(losses)) == SIZE


@pytest.mark.parametrize("operations", [WITHOUT_DROPOUT, None], ids=["", "dropout"])
def test_the_bits_of_a_run_depend_on_its_place_but_not_on_the_other_runs(tmp_path, operations):
    beside = Stacked(
        {place: of_seed(tmp_path / f"{place}", place, operations) for place in range(SIZE)}
    )
    others = Stacked(
        {
            place: of_seed(tmp_path / f"o{place}", place + 5 * (place != 1), operations)
            for place in range(SIZE)
        }
    )
    alone = Stacked({1: of_seed(tmp_path / "one", 1, operations)})
    elsewhere = Stacked({2: of_seed(tmp_path / "elsewhere", 1, operations)})
    assert beside.bytes_of(1) == others.bytes_of(1) == alone.bytes_of(1)
    assert beside.bytes_of(0) != others.bytes_of(0)
    if operations is None:
        assert elsewhere.bytes_of(2) != alone.bytes_of(1), "dropout differs from place to place"


def test_one_that_diverges_ends_and_the_others_have_the_same_bits(tmp_path):
    def of_place(folder, place, bad):
        one = of_seed(folder, place)
        if bad and place == 1:
            draw = one.data.train

            def train(epoch):
                values = draw(epoch)
                return {**values, "seen": values["seen"] * math.nan} if epoch == 2 else values

            vars(one.data)["train"] = train
        return one

    good = Stacked(
        {place: of_place(tmp_path / f"{place}", place, bad=False) for place in range(SIZE)}
    )
    bad = Stacked(
        {place: of_place(tmp_path / f"bad {place}", place, bad=True) for place in range(SIZE)}
    )
    assert good.ended == {}
    assert list(bad.ended) == [1]
    assert isinstance(bad.ended[1], DivergedError)
    assert "epoch 2, batch 1 of 3" in str(bad.ended[1])
    assert len(bad.journals[1].lines) == 1
    for place in (0, 2):
        assert bad.bytes_of(place) == good.bytes_of(place)


def test_one_that_stops_early_keeps_its_best_epoch_and_the_others_go_on(tmp_path):
    def of_place(folder, place):
        patience = 1 if place == 1 else 50
        stops = CALLBACKS["early_stopping"].build(patience=patience, min_delta=10)
        return of_seed(folder, place, epochs=5, callbacks=[stops])

    stacked = Stacked({place: of_place(tmp_path / f"{place}", place) for place in range(SIZE)})
    assert [len(journal.lines) for journal in stacked.journals.values()] == [5, 2, 5]
    assert [one.progress.stopped is not None for one in stacked.trainers.values()] == [
        False,
        True,
        False,
    ]
    full = Stacked(
        {
            place: of_seed(tmp_path / f"full {place}", place, epochs=5, callbacks=[])
            for place in range(SIZE)
        }
    )
    for place in (0, 2):
        assert stacked.journals[place].lines == full.journals[place].lines


@pytest.mark.parametrize("operations", [WITHOUT_DROPOUT, None], ids=["", "dropout"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_interrupted_and_resumed_all_have_the_bits_of_an_uninterrupted_training(
    tmp_path, operations, epochs
):
    whole = Stacked(
        {place: of_seed(tmp_path / f"{place}", place, operations) for place in range(SIZE)}
    )
    first = {place: of_seed(tmp_path / f"part {place}", place, operations) for place in range(SIZE)}
    part = Stacked(first, interrupted=lambda place: after(epochs))
    assert part.ended == dict.fromkeys(range(SIZE))
    again = Stacked(
        {
            place: resumed(of_seed(tmp_path / f"part {place}", place, operations))
            for place in range(SIZE)
        }
    )
    for place in range(SIZE):
        assert [*part.journals[place].lines, *again.journals[place].lines] == whole.journals[
            place
        ].lines
        assert bytes_of(again.trainers[place].folder) == bytes_of(whole.trainers[place].folder)


def test_runs_whose_checkpoints_are_of_different_epochs_wait_for_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    whole = Stacked({place: of_seed(tmp_path / f"{place}", place) for place in range(SIZE)})
    # as after a process was killed: one at the start, one after an epoch, one at the end
    for place in range(SIZE):
        part = {place: of_seed(tmp_path / f"part {place}", place)}
        if place == 1:
            Stacked(part, interrupted=lambda place: after(1))
        if place == 2:
            shutil.copytree(tmp_path / "2", tmp_path / "part 2", dirs_exist_ok=True)
    again = Stacked(
        {place: resumed(of_seed(tmp_path / f"part {place}", place)) for place in range(SIZE)}
    )
    assert [len(again.journals[place].lines) for place in range(SIZE)] == [EPOCHS, EPOCHS - 1, 0]
    for place in range(SIZE):
        assert bytes_of(again.trainers[place].folder) == bytes_of(whole.trainers[place].folder)


def test_one_that_is_asked_to_end_writes_a_checkpoint_and_the_others_go_on(tmp_path):
    whole = Stacked({place: of_seed(tmp_path / f"{place}", place) for place in range(SIZE)})
    part = Stacked(
        {place: of_seed(tmp_path / f"part {place}", place) for place in range(SIZE)},
        interrupted=lambda place: after(1) if place == 0 else never,
    )
    assert part.ended == {0: None}
    assert part.bytes_of(1) == whole.bytes_of(1)
    again = Stacked({0: resumed(of_seed(tmp_path / "part 0", 0))})
    assert bytes_of(again.trainers[0].folder) == bytes_of(whole.trainers[0].folder)


def test_what_cannot_be_stacked_is_found_out_before():
    class Reader(torch.nn.Module):
        def forward(self, x):
            return x if x.is_meta or x.sum().item() > 0 else -x

    assert can_be_stacked(model().network, recipe())
    reads = {**WITHOUT_DROPOUT, "reader": Operation(lambda shape: Reader())}
    assert not can_be_stacked(model(reads).network, recipe())
    assert not can_be_stacked(
        model().network, recipe(losses={"depth": lambda estimate, truth: float(truth.mean())})
    )
