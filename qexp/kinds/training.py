"""Training the single network of a run, alone or beside others, and the files that it writes to the
run's directory.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from qexp.base import formats
from qexp.base.formats import read_lines, write_lines
from qexp.base.seeds import Seeds
from qexp.kinds.attempt import Attempt, Results
from qexp.kinds.objects import data_kind, fit_transforms, initial_model, recipe_of
from qexp.metrics.metric import with_training_mean
from qexp.networks import checkpoint
from qexp.networks.estimator import Estimator
from qexp.networks.network import operations_per_sample
from qexp.networks.trainer_stack import Member, TrainerStack
from qexp.networks.training import Data, EventWriter, Progress, Trainer, TrainingListener
from qexp.spec.reading import canonical
from qexp.store import provenance
from qexp.store.record import StackPlace

log = logging.getLogger("qexp.run")


Evaluate = Callable[[Attempt, Trainer], Results | None]
"""Evaluates a trained network on the test part; None if interrupted."""

Ended = Results | BaseException | None
"""How a run in a stack ends: with its results, its error, or with None if it was interrupted."""


class NetworkTraining:
    """The stage `train` of a kind whose runs have one network each, alone or in a stack."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate

    def __call__(self, attempt: Attempt) -> Results | None:
        """Train from the first epoch or the last checkpoint, and evaluate; None if interrupted.

        Of several processes that train the network together the others return None, too.
        """
        trainer = _prepare(attempt)
        if not trainer.processes.first:
            trainer.run(TrainingListener(), attempt.interrupted)
            return None
        with _followed(attempt, trainer) as listener:
            if not trainer.run(listener, attempt.interrupted):
                return None
        return self._results(attempt, trainer)

    def side_by_side(
        self,
        attempts: Mapping[int, Attempt],
        stack: StackPlace,
        ended: Callable[[Attempt, Ended], None],
    ) -> None:
        """Train and evaluate the runs of a stack, by their places; each is told how it ends."""
        open_files = {place: ExitStack() for place in attempts}
        members = list[Member]()

        def end(place: int, how: Ended) -> None:
            with attempts[place].alone():
                open_files[place].close()
                ended(attempts[place], how)

        for place, attempt in attempts.items():
            try:
                with attempt.alone():
                    trainer = _prepare(attempt)
                    listener = open_files[place].enter_context(_followed(attempt, trainer))
                    steps = steps_of(attempt.spec)
                    interrupted = attempt.interrupted
                    members.append(
                        Member(place, trainer, steps, listener, interrupted, attempt.alone)
                    )
            except Exception as error:
                end(place, error)
        left = {member.place: member for member in members}

        def left_early(member: Member, error: Exception | None) -> None:
            del left[member.place]
            end(member.place, error)

        try:
            if any(member.trainer.goes_on for member in members):
                TrainerStack(members, stack.size, Seeds(stack.seed), left_early).run()
        finally:
            for files in open_files.values():
                files.close()
        for place, member in left.items():
            how: Ended = None
            try:
                with attempts[place].alone():
                    member.trainer.load_best()
                    if not attempts[place].interrupted():
                        how = self._results(attempts[place], member.trainer)
            except Exception as error:
                how = error
            end(place, how)

    def _results(self, attempt: Attempt, trainer: Trainer) -> Results | None:
        """The results of a trained network."""
        if trainer.progress.stopped:
            log.info("stopped early: %s", trainer.progress.stopped)
        attempt.own.keep(stopped=trainer.progress.stopped)
        if not attempt.spec.get("test", True):
            return Results({"validation": trainer.evaluate(trainer.data.validation)})
        if (evaluated := self._evaluate(attempt, trainer)) is None:
            return None
        validation = trainer.evaluate(trainer.data.validation)
        return replace(evaluated, results={"validation": validation, **evaluated.results})


def steps_of(spec: Mapping[str, Any]) -> str:
    """What in an experience says how the weights are changed by their gradients."""
    keys = ("optimizer", "learning_rate", "schedule", "gradient_clip", "epochs")
    return canonical({key: spec[key] for key in keys})


def _prepare(attempt: Attempt) -> Trainer:
    """The trainer with model and data, at the last checkpoint if there is one."""
    spec = attempt.spec
    seeds = Seeds(attempt.seed)
    data = data_kind(spec["dataset"]).data(
        spec, attempt.dataset, attempt.tables, seeds, attempt.device
    )
    model = initial_model(spec, attempt.tables, seeds).to(attempt.device)
    pretrained = attempt.directory.checkpoints / "pretrained.safetensors"
    if pretrained.exists():
        _start_from(pretrained, model, data, attempt)
    else:
        fit_transforms(model, data.to_fit)
    recipe = recipe_of(spec, attempt.tables)
    metrics = {
        name: with_training_mean(own, data.training_mean(name))
        for name, own in recipe.metrics.items()
    }
    recipe = replace(recipe, metrics=metrics)
    trainer = Trainer(
        model,
        data,
        recipe,
        seeds,
        attempt.device,
        attempt.directory.checkpoints,
    )
    trainer.resume()
    weights = sum(weight.numel() for weight in model.parameters())
    log.info("%s weights", f"{weights:,}")
    attempt.own.keep(weights=weights, operations=operations_per_sample(model.network))
    return trainer


@contextmanager
def _followed(attempt: Attempt, trainer: Trainer) -> Iterator[TrainingListener]:
    """A listener that shows the training of a run and writes it to its directory."""
    directory = attempt.directory
    done = trainer.progress.epoch - 1
    # Drop the lines of epochs that will be trained again. It is always a new file, so that an
    # earlier attempt that still has the old one open does not append to it.
    lines = [line for line in read_lines(directory.metrics_file) if line["epoch"] <= done]
    write_lines(directory.metrics_file, lines)
    if done:
        log.info("continues after epoch %d", done)
    started = time.perf_counter()
    seconds_before = attempt.record.seconds
    events = EventWriter(directory.path / "tensorboard", done)
    with closing(events), directory.metrics_file.open("a") as metrics:
        attempt.display.start(attempt.name, attempt.spec["epochs"], done)
        try:
            yield _Listener(metrics, events, attempt)
        finally:
            attempt.display.stop()
            metrics.flush()
            os.fsync(metrics.fileno())
            attempt.own.keep(seconds=round(seconds_before + time.perf_counter() - started, 3))


def _start_from(file: Path, model: Estimator, data: Data, attempt: Attempt) -> None:
    """Load weights of another run into a model: all of them, or those of the listed operations.
    Transforms that are not loaded are fitted here.
    """
    tensors = checkpoint.read(file)[0]
    operations = provenance.operations_taken(attempt.spec)
    if operations is None:
        checkpoint.load(model, tensors, file)
        return
    transforms = attempt.record.lineage[0].transforms
    fit_transforms(model, data.to_fit, transforms)
    of_operations = provenance.tensors_of_operations(tensors, operations)
    of_transforms = provenance.tensors_of_transforms(tensors, transforms)
    checkpoint.load(model, {**model.state_dict(), **of_operations, **of_transforms}, file)


class _Listener(TrainingListener):
    """Writes the numbers of an epoch to the metrics, the events, the log and the display."""

    def __init__(self, lines: IO[str], events: EventWriter, attempt: Attempt) -> None:
        self._lines, self._events, self._display, self._own = (
            lines,
            events,
            attempt.display,
            attempt.own,
        )

    def batch_done(self, epoch: int, batch: int, batches: int) -> None:
        self._display.batch(epoch, batch, batches)

    def epoch_done(self, line: dict[str, Any], seconds: float) -> None:
        # No times: two runs with the same seed write the same bytes.
        self._lines.write(formats.line_bytes(line).decode())
        self._lines.flush()
        self._events.epoch(line)
        self._display.epoch(line, seconds)
        losses = (line["train"]["loss"], line["validation"]["loss"])
        best = " (best)" if line["best"] else ""
        log.info(
            "epoch %d: loss %.6g, validation %.6g%s, %.3f s", line["epoch"], *losses, best, seconds
        )

    def checkpoint_written(self, progress: Progress) -> None:
        self._events.flush()
        epochs = replace(
            self._own.record.epochs, done=progress.epoch - 1, best=progress.best_epoch or None
        )
        self._own.note(epochs=epochs)
