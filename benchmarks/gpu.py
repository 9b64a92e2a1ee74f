"""Training on a GPU against bare loops, seeds in a stack, and the checks of bits. Run: python -m
benchmarks.gpu

Takes four minutes at most; says why and ends where there is no GPU; ends with 1 if a check fails.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.bare_loop import SideBySide, trainer_of
from benchmarks.timing import seconds
from qexp.base.seeds import Seeds
from qexp.base.workspace import VARIABLE, find
from qexp.examples.ice import write as write_ice
from qexp.examples.options import IceOptions, XrfOptions
from qexp.examples.xrf import write as write_xrf
from qexp.kinds.experiments import experience
from qexp.networks import steps
from qexp.networks.trainer_stack import Member, TrainerStack
from qexp.networks.training import Trainer, TrainingListener

EPOCHS = (
    ("mogi_cnn", {}, 0.8),
    ("mogi_standard", {}, 0.8),
    ("ice_cnn", {"patches": [3200, 128]}, 0.8),
    ("mogi_cnn", {"batch_size": 256}, None),
)
"""Experience, overrides, and how fast its epoch has to be, relative to the bare loop as a graph."""

SEEDS = (1, 8, 32)

LARGE, SPECTRA = "max_pretrain", 1024
"""The experience of a large network, and the spectra of the epoch that is timed."""

REPEATS = 3


def main() -> int:
    if not torch.cuda.is_available():
        print("skipped: torch finds no GPU")
        return 0
    device = torch.device("cuda")
    print(
        f"{torch.cuda.get_device_name(device)}, {os.cpu_count()} cores, torch {torch.__version__}\n"
    )
    with tempfile.TemporaryDirectory() as workspace:
        (Path(workspace) / "specs").symlink_to(find().specs)
        os.environ[VARIABLE] = workspace
        held = [*epochs(device), *stacks(device), *large(device), *checks(device), *commands()]
    return 0 if all(held) else 1


def told(what: str, text: str, holds: bool | None) -> bool:
    """Print a line of the table; whether it may stay so."""
    print(f"{what:58s} {text:64s} {'' if holds is None else 'yes' if holds else 'NO'}", flush=True)
    return holds is not False


def timed(work: Callable[[], object], device: torch.device) -> float:
    """The median of some repetitions [s], after one that is not counted."""

    def finished() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    finished()
    return median(seconds(finished) for _ in range(REPEATS))


# One network.


def epochs(device: torch.device) -> Iterator[bool]:
    """Steps of an epoch: managed, with new samples; bare, with samples that are ready; and those as
    a graph.
    """
    write_ice(IceOptions(find().root / "data/ice", glaciers=4, test=1, frames=4))
    for name, overrides, limit in EPOCHS:
        pair = SideBySide(name, functional.l1_loss, overrides, device)
        ready = pair.ready()
        managed = timed(pair.managed_steps, device)
        bare = timed(lambda pair=pair, ready=ready: pair.bare_steps(ready), device)
        graphed = timed(as_graph(pair, ready), device) if device.type == "cuda" else bare
        text = (
            f"{managed:.4f} s, bare {bare:.4f} s, bare as a graph {graphed:.4f} s:"
            f" {graphed / managed:.2f}"
        )
        title = f"an epoch of {name}, {pair.trainer.batches} batches of {pair.spec['batch_size']}"
        yield told(title, text, None if limit is None else graphed / managed >= limit)


def as_graph(pair: SideBySide, ready: Mapping[str, Tensor]) -> Callable[[], None]:
    """An epoch of the bare loop as a CUDA graph of its step; a last smaller batch is left out."""
    size = int(pair.spec["batch_size"])
    own = {name: values[:size].clone() for name, values in ready.items()}
    for group in pair.optimizer.param_groups:
        group["capturable"] = True
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            pair.bare_step(own)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        pair.bare_step(own)

    def epoch() -> None:
        for some in pair.batches(ready):
            if len(next(iter(some.values()))) == size:
                for name, values in own.items():
                    values.copy_(some[name])
                graph.replay()

    return epoch


def large(device: torch.device, name: str = LARGE) -> Iterator[bool]:
    """Steps of a large network: managed, bare, and bare and compiled."""
    write_xrf(
        XrfOptions(
            find().root / "data/xrf", cores=6, test=1, validation=1, spectra=400, labelled=20
        )
    )
    pair = SideBySide(name, functional.mse_loss, {}, device)
    pair.data.train_size = min(pair.data.train_size, SPECTRA)
    pair.trainer.batches = -(-pair.data.train_size // int(pair.spec["batch_size"]))
    ready = pair.ready()
    managed = timed(pair.managed_steps, device)
    bare = timed(lambda: pair.bare_steps(ready), device)
    pair.bare.network.compile(dynamic=False)
    compiled = timed(lambda: pair.bare_steps(ready), device)
    weights = sum(weight.numel() for weight in pair.bare.parameters())
    each = [1e3 * time / pair.trainer.batches for time in (managed, bare, compiled)]
    text = (
        "{:.1f} ms, bare {:.1f} ms, bare and compiled {:.1f} ms".format(*each)
        + f": {compiled / managed:.2f}"
    )
    yield told(f"a step of {name}, {weights:,} weights", text, compiled / managed >= 0.95)


# Seeds in a stack.


@contextmanager
def launched_one_by_one() -> Iterator[None]:
    os.environ[steps.VARIABLE] = "0"
    try:
        yield
    finally:
        del os.environ[steps.VARIABLE]


def stack_of(
    trainers: Sequence[Trainer], listeners: Sequence[TrainingListener] | None = None
) -> TrainerStack:
    told = listeners or [TrainingListener()] * len(trainers)
    members = [
        Member(place, trainer, "", told[place], lambda: False, nullcontext)
        for place, trainer in enumerate(trainers)
    ]
    return TrainerStack(members, len(trainers), Seeds(0), lambda member, error: None)


def stacks(
    device: torch.device, name: str = "mogi_cnn", numbers: tuple[int, ...] = SEEDS
) -> Iterator[bool]:
    """An epoch of a stack: samples, steps and validation of all; from trainings of 2 and of 6
    epochs.
    """
    for number in numbers:
        times = {}
        for word, context in (("one by one", launched_one_by_one), ("recorded", nullcontext)):
            of_epochs = []
            for count in (2, 6):
                spec = experience(name, {"epochs": count}, find()).document
                with context():
                    stack = stack_of([trainer_of(spec, seed, device) for seed in range(number)])
                of_epochs.append(seconds(stack.run))
            times[word] = (of_epochs[1] - of_epochs[0]) / 4
        text = ", ".join(f"{word} {time:.4f} s" for word, time in times.items())
        yield told(f"an epoch of {number} seeds of {name} in a stack", text, None)


def commands() -> Iterator[bool]:
    """Whole commands: 32 seeds, and one."""
    one, all_of_them = (
        seconds(lambda seeds=seeds: qexp("run", "mogi_cnn", "--seeds", seeds, "--device", "cuda"))
        for seeds in ("100:101", "0:32")
    )
    text = f"{all_of_them:.1f} s, one seed {one:.1f} s: {all_of_them / one:.2f} times"
    yield told("qexp run mogi_cnn --seeds 0:32", text, all_of_them <= 2 * one)
    yield told("qexp verify of one of them", "", qexp("verify", "mogi_cnn_7") == 0)


def qexp(*arguments: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "qexp", *arguments], capture_output=True, check=False
    ).returncode


# Checks.


def checks(device: torch.device, overrides: Mapping[str, Any] | None = None) -> Iterator[bool]:
    """Bits of two trainings, of an interrupted one, and of stacks; and how far these are from runs
    alone.
    """
    spec = experience("mogi_quick", {"epochs": 4, **(overrides or {})}, find()).document

    def trained(after: int | None = None) -> tuple[Trainer, list[float]]:
        trainer = trainer_of(spec, 5, device)
        journal = Losses()
        if after is not None:
            asked = iter(range(after))
            trainer.run(journal, lambda: next(asked, None) is None)
            trainer = trainer_of(spec, 5, device, trainer.folder)
            trainer.resume()
        trainer.run(journal, lambda: False)
        return trainer, journal.losses

    def bits(trainer: Trainer) -> list[bytes]:
        return [
            (trainer.folder / file).read_bytes()
            for file in ("best.safetensors", "last.safetensors")
        ]

    first, losses = trained()
    yield told("the same bits twice", "", bits(first) == bits(trained()[0]))
    yield told(
        "the same bits after an interruption in an epoch",
        "",
        bits(first) == bits(trained(2 * first.batches + 3)[0]),
    )
    with launched_one_by_one():
        _, others = trained()
    yield told("recorded steps and others", *agreement(losses, others))
    of_stacks = []
    for seeds in ((4, 5, 6), (9, 5, 8)):
        trainers = [trainer_of(spec, seed, device) for seed in seeds]
        listeners = [Losses() for _ in seeds]
        stack_of(trainers, listeners).run()
        of_stacks.append((bits(trainers[1]), listeners[1].losses))
    yield told(
        "the same bits in a stack, whoever is beside", "", of_stacks[0][0] == of_stacks[1][0]
    )
    yield told("in a stack and alone", *agreement(of_stacks[0][1], losses))


class Losses(TrainingListener):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def epoch_done(self, line: dict[str, Any], seconds: float) -> None:
        self.losses.append(line["train"]["loss"])


def agreement(some: list[float], others: list[float]) -> tuple[str, bool]:
    """The largest relative difference of the losses of two epochs; whether that is rounding."""
    difference = max(abs(a / b - 1) for a, b in zip(some[:2], others[:2], strict=True))
    return f"losses of the first two epochs differ by {difference:.1e}", difference < 1e-5


if __name__ == "__main__":
    sys.exit(main())
