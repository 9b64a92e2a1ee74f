"""Training of the networks of a cross-validation, fold by fold, in several processes."""

from __future__ import annotations

import json
import logging
import math
import queue
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby, zip_longest
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import IO, Any

import numpy as np
import torch

from qexp.base import files, formats, machine
from qexp.base.seeds import Seeds
from qexp.errors import DamagedError, NotFoundError, QexpError, some
from qexp.jobs.states import require_done
from qexp.kinds.attempt import Attempt, Display, Results
from qexp.kinds.experiments import candidates
from qexp.kinds.kind import KindFolds
from qexp.kinds.networks import trained_model
from qexp.kinds.rows import evaluation
from qexp.kinds.rows.experiment import TabularData
from qexp.kinds.rows.folds import Candidate, Folds, in_stacks
from qexp.kinds.tables import tables_of
from qexp.metrics.splits import Fold
from qexp.networks import checkpoint
from qexp.networks.estimator import Ensemble, Estimator
from qexp.networks.network import operations_per_sample
from qexp.networks.task_stack import Line, Outcome, Task, TaskStack, largest_stack, mean_of_networks
from qexp.spec.reading import Document
from qexp.store.directory import FOLDS, PREDICTIONS, RunDirectory
from qexp.store.record import (
    Epochs,
    FoldCount,
    FoldRecord,
    NetworkRecord,
    Numbers,
    Record,
    State,
    now,
)

log = logging.getLogger("qexp.run")

UNVALIDATED: Line = {"validation": {"loss": None, "losses": {}}}
"""The validation part of a line of networks that have no validation rows."""


@dataclass
class TrainedNetwork:
    """One trained network of a fold."""

    task: Task
    outcome: Outcome
    curve: np.ndarray
    """(epoch, value), see `line_of`."""


@dataclass
class TrainedFold:
    """The trained networks of a fold, and the hyper-parameters chosen for it."""

    chosen: dict[str, Any] = field(default_factory=dict)
    networks: list[TrainedNetwork] = field(default_factory=list)
    inner_loss: float | None = None
    """Loss of the chosen candidate on the inner folds."""
    judged: list[float] = field(default_factory=list)
    """That of each candidate; infinite for one that failed."""

    @property
    def failed(self) -> str | None:
        reasons = (network.outcome.failed for network in self.networks)
        return next(filter(None, reasons), None)


def done(fold: RunDirectory) -> bool:
    """Whether a fold is trained and evaluated, and its results exist."""
    try:
        state = fold.record().state
    except (NotFoundError, DamagedError):
        return False
    return (
        state is State.DONE and fold.best_weights.is_file() and (fold.path / PREDICTIONS).is_file()
    )


def load_networks(directory: RunDirectory) -> dict[str, list[Estimator]]:
    """Fold → its networks. Raises QexpError that names unfinished folds; DamagedError for
    incomplete weights.
    """
    if undone := [fold.name for fold in directory.all_folds() if not done(fold)]:
        raise QexpError(
            f"{directory.name}: {len(undone)} of {len(directory.all_folds())} folds are not"
            f" done: {some(undone, 8)}; continue with `resume=True`"
        )
    require_done(directory)
    spec = directory.spec()
    tables = tables_of(directory)
    documents = {json.dumps(chosen): document for chosen, document in candidates(spec, tables)}
    models: dict[str, list[Estimator]] = {}
    for fold in directory.all_folds():
        tensors, document = checkpoint.read(fold.best_weights)
        chosen = documents.get(json.dumps(document.get("chosen")))
        if chosen is None or not isinstance(document.get("networks"), list):
            raise DamagedError(
                f"{fold.best_weights} is damaged: it does not say which networks it holds"
            )
        of_fold = models[fold.name] = []
        for index in range(len(document["networks"])):
            prefix = f"{index}."
            weights = {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
            of_fold.append(trained_model(chosen, tables, weights, fold.best_weights))
    return models


def open_folds(directory: RunDirectory, run: Record, plan: Folds) -> set[str]:
    """Create the directories of folds, with their first records. Returns the names of folds that
    are done already.
    """
    finished = {fold.name for fold in plan.folds if done(directory.fold(fold.name))}
    shared = ("experience", "dataset", "model", "seed", "digest", "units", "metrics", "caution")
    for fold in plan.folds:
        if fold.name in finished:
            continue
        folder = directory.fold(fold.name)
        files.make_folder(folder.checkpoints)
        held_out = {}
        identifiers = plan.dataset.identifiers.values()
        numbers = plan.dataset.row_numbers(list(fold.test))
        for number, row in zip(numbers, fold.test, strict=True):
            held_out[str(number)] = ", ".join(str(values[row]) for values in identifiers)
        record = Record(
            name=f"{run.name}/{FOLDS}/{fold.name}",
            **{key: getattr(run, key) for key in shared},
            state=State.QUEUED,
            created=now(),
            epochs=Epochs(of=run.epochs.of),
            fold=FoldRecord(name=fold.name, training_rows=len(fold.train), held_out=held_out),
        )
        folder.write(record)
    return finished


def write_fold(folder: RunDirectory, trained: TrainedFold, plan: Folds, fold: Fold) -> None:
    """Write weights, curves and held-out predictions of a fold, and its record last."""
    networks = tuple(
        NetworkRecord(
            name=network.task.name,
            epoch=network.outcome.best_epoch,
            stopped=network.outcome.stopped,
            loss=network.outcome.best_loss if math.isfinite(network.outcome.best_loss) else None,
        )
        for network in trained.networks
    )
    lines = _mean_of_networks(trained.networks, list(plan.recipe(plan.candidates[0]).losses))
    formats.write_lines(folder.metrics_file, map(formats.with_marks, lines))
    results: Numbers = {}
    if trained.failed is None:
        tensors: dict[str, torch.Tensor] = {}
        for index, network in enumerate(trained.networks):
            weights = network.task.model.state_dict()
            tensors |= {f"{index}.{name}": tensor for name, tensor in weights.items()}
        documents = [network.document() for network in networks]
        document = {"networks": documents, "chosen": trained.chosen}
        checkpoint.write(folder.best_weights, tensors, document)
        ensemble = Ensemble([network.task.model for network in trained.networks])
        results = evaluation.write_fold(folder, ensemble, plan, fold)
        chosen = "".join(f", {key} {value}" for key, value in trained.chosen.items())
        log.info("fold %s: %d rows held out%s", fold.name, len(fold.test), chosen)
    else:
        log.error("fold %s failed: %s", fold.name, trained.failed)
    record = folder.record()
    assert record.fold is not None, "open_fold writes it"
    best = median_epoch(network.outcome.best_epoch for network in trained.networks)
    judged = tuple(loss if math.isfinite(loss) else None for loss in trained.judged)
    record = replace(
        record,
        fold=replace(
            record.fold,
            chosen=trained.chosen,
            networks=networks,
            inner_loss=trained.inner_loss,
            judged=judged if len(judged) > 1 else None,
        ),
        epochs=replace(record.epochs, done=len(lines), best=best),
        results=results,
        error=trained.failed,
        state=State.FAILED if trained.failed else State.DONE,
        ended=now(),
    )
    folder.write(record)


def median_epoch(epochs: Iterable[int | None]) -> int | None:
    """The median of the known epochs, which count from 1; None if none is known."""
    numbers = [epoch for epoch in epochs if epoch]
    return int(np.median(numbers)) if numbers else None


def _mean_of_networks(networks: Sequence[TrainedNetwork], losses: Sequence[str]) -> list[Line]:
    """One line per epoch: the mean over the networks that reached it.

    losses  the names of the losses: of outputs, and of posterior heads of several outputs
    """
    lines = []
    for epoch, values in enumerate(zip_longest(*(network.curve for network in networks)), start=1):
        reached = [of_network for of_network in values if of_network is not None]
        line = mean_of_networks(np.stack(reached), epoch, losses)
        lines.append({**UNVALIDATED, **line, "networks": len(reached)})
    return lines


def mean_line(lines: Sequence[Line]) -> Line:
    """Mean losses and rate of lines, `best` if all are, and the number of networks."""
    rate = _mean([line["learning_rate"] for line in lines])
    mean: Line = {"epoch": lines[0]["epoch"], "learning_rate": rate, **UNVALIDATED}
    for part in ("train", "validation"):
        if lines[0].get(part, {}).get("losses"):
            mean[part] = _mean([line[part] for line in lines])
    mean["best"] = all(line["best"] for line in lines)
    mean["networks"] = sum(line.get("networks", 1) for line in lines)
    return mean


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers; of dictionaries of numbers, and of such dictionaries, key by key."""
    if not isinstance(values[0], Mapping):
        return float(np.mean(values))
    means = {}
    for key in values[0]:
        means[key] = _mean([value[key] for value in values])
    return means


# Progress of a cross-validation, in epochs of its stacks of networks.


class Steps:
    """Counts epochs of consecutive stacks as steps of the whole run; subclasses display them."""

    def __init__(self) -> None:
        self.done = 0.0
        self._share = 1.0
        self._epochs = 1

    def enter(self, share: float, epochs: int) -> None:
        """Begin a stack that counts for `share` steps."""
        self._share = share
        self._epochs = epochs

    def leave(self) -> None:
        self.done += self._share

    def epoch_done(self, epoch: int, line: Line | None, seconds: float) -> None:
        if line is not None:
            steps = self.done + self._share * epoch / self._epochs
            self.show(steps, {**UNVALIDATED, **line}, seconds)

    def show(self, steps: float, line: Line, seconds: float) -> None:
        raise NotImplementedError

    def checkpoint_written(self, epoch: int) -> None:
        raise NotImplementedError


class DisplayedSteps(Steps):
    def __init__(self, display: Display) -> None:
        super().__init__()
        self._display = display
        self._shown = 0

    def show(self, steps: float, line: Line, seconds: float) -> None:
        if int(steps) > self._shown:
            self._shown = int(steps)
            self._display.epoch({**line, "epoch": self._shown}, seconds)
            self._display.batch(self._shown, 1, 1)

    def checkpoint_written(self, epoch: int) -> None:
        log.info("checkpoint after epoch %d of a stack", epoch)


# Choice of hyper-parameters and epochs in inner folds, fold by fold, and the networks of what was
# chosen.


@dataclass(frozen=True)
class Selection:
    """Hyper-parameters and networks of some folds, which are trained side by side."""

    plan: Folds
    folds: Sequence[Fold]
    folder: Path
    progress: Steps
    interrupted: Callable[[], bool]

    def train(self) -> dict[str, TrainedFold] | None:
        """Fold → its trained networks and chosen hyper-parameters; None if interrupted."""
        plan = self.plan
        trained = {fold.name: TrainedFold(dict(plan.candidates[0].chosen)) for fold in self.folds}
        chosen = dict.fromkeys(trained, plan.candidates[0])
        if plan.chooses:
            for index, candidate in enumerate(plan.candidates):
                tasks = {fold.name: plan.inner_tasks(fold, candidate) for fold in self.folds}
                purpose = f"judged-{index:03d}"
                steps = candidate.spec["epochs"]
                networks = self._train(tasks, candidate, purpose, steps)
                if networks is None:
                    return None
                for name, of_fold in networks.items():
                    loss = _pooled_loss(of_fold)
                    best = trained[name]
                    best.judged.append(loss)
                    if best.inner_loss is None or loss < best.inner_loss:
                        values = dict(candidate.chosen)
                        trained[name] = TrainedFold(values, of_fold, loss, best.judged)
                        chosen[name] = candidate
        if plan.refits:
            longest = max(candidate.spec["epochs"] for candidate in plan.candidates)
            for index, candidate in enumerate(plan.candidates):
                folds = [fold for fold in self.folds if chosen[fold.name] is candidate]
                if not folds:
                    continue
                tasks = {fold.name: plan.refitted(fold, candidate) for fold in folds}
                steps = longest * len(tasks) / len(self.folds)
                networks = self._train(tasks, candidate, f"refitted-{index:03d}", steps)
                if networks is None:
                    return None
                for name, of_fold in networks.items():
                    trained[name].networks = of_fold
        return trained

    def _train(
        self, tasks: Mapping[str, Sequence[Task]], candidate: Candidate, purpose: str, steps: float
    ) -> dict[str, list[TrainedNetwork]] | None:
        """Fold → its networks, in the order of its tasks; None if interrupted.

        steps  the share of the batch's epochs that this training counts for
        """
        recipe = self.plan.recipe(candidate)
        trained = {}
        everyone = [task for of_fold in tasks.values() for task in of_fold]
        batch_size = self.plan.spec["batch_size"]
        stacks = in_stacks(everyone, lambda task: largest_stack(task.model.network, batch_size))
        for number, members in enumerate(stacks):
            folder = self.folder / f"{purpose}-{number:03d}"
            files.make_folder(folder)
            stack = TaskStack(members, recipe, self.plan.device, folder)
            stack.resume()
            self.progress.enter(steps * len(members) / len(everyone), recipe.epochs)
            finished = stack.run(self.progress, self.interrupted)
            self.progress.leave()
            if not finished:
                return None
            pairs = zip(stack.tasks, stack.outcomes, strict=True)
            for position, (task, outcome) in enumerate(pairs):
                trained[id(task)] = TrainedNetwork(task, outcome, stack.curve(position).numpy())
        networks = {}
        for name, of_fold in tasks.items():
            networks[name] = [trained[id(task)] for task in of_fold]
        return networks


def _pooled_loss(networks: Sequence[TrainedNetwork]) -> float:
    """The loss of a candidate over all inner folds; infinite if a network failed."""
    if any(network.outcome.failed for network in networks):
        return math.inf
    rows = [len(next(iter((network.task.validation or {}).values()))) for network in networks]
    return float(np.average([network.outcome.best_loss for network in networks], weights=rows))


# Training of folds in batches. Which folds share a stack depends on the spec alone, so that bits
# are reproducible.


STACKS = ".stacks"
"""Folder, in the run's folder of folds, for checkpoints of unfinished stacks."""


def train_batch(
    directory: RunDirectory,
    plan: Folds,
    batches: Sequence[Sequence[Fold]],
    number: int,
    progress: Steps,
    interrupted: Callable[[], bool],
) -> list[str] | None:
    """Train the folds of one batch and write the results of those that are not done.

    Returns the names of failed folds; None if interrupted.
    """
    batch = batches[number]
    folder = directory.folds / STACKS / f"{number:03d}"
    trained = Selection(plan, batch, folder, progress, interrupted).train()
    if trained is None:
        return None
    for fold in batch:
        if not done(directory.fold(fold.name)):
            write_fold(directory.fold(fold.name), trained[fold.name], plan, fold)
    shutil.rmtree(folder, ignore_errors=True)
    return [fold.name for fold in batch if trained[fold.name].failed]


def batches_of(plan: Folds) -> list[list[Fold]]:
    """Batches of neighbouring folds whose networks fit into one stack, divided evenly.

    Folds of different sizes never share a batch, so that different processes can train them.
    """
    tasks = tasks_of_first(plan)
    at_once = max(1, largest_stack(tasks[0].model.network, plan.spec["batch_size"]) // len(tasks))
    batches = []
    for _, alike in groupby(plan.folds, key=lambda fold: len(fold.train)):
        folds = list(alike)
        for part in np.array_split(np.arange(len(folds)), math.ceil(len(folds) / at_once)):
            batches.append([folds[index] for index in part])
    return batches


def tasks_of_first(plan: Folds) -> list[Task]:
    """The largest set of networks that the first fold trains at a time."""
    first = plan.folds[0]
    on_inner_folds = plan.inner_tasks(first, plan.candidates[0]) if plan.chooses else []
    refitted = plan.refitted(first, plan.candidates[0]) if plan.refits else []
    return max(on_inner_folds, refitted, key=len)


def epochs_of(plan: Folds) -> int:
    """Largest number of epochs in a batch, if each candidate's networks form one stack."""
    epochs: list[int] = [candidate.spec["epochs"] for candidate in plan.candidates]
    return (sum(epochs) if plan.chooses else 0) + (max(epochs) if plan.refits else 0)


# Training of a run's batches of folds in several worker processes with one core each.
#
# A worker reads batch numbers from its standard input and writes progress and results to its
# standard output, one JSON document per line. The worker ends when its input ends: either no batch
# is left, or the run's process has died.


SECONDS_BETWEEN_LOOKS = 0.2


@dataclass
class _Worker:
    process: Popen[str]
    batch: int | None = None
    steps: float = 0.0
    """Steps done in the current batch."""
    output: list[str] = field(default_factory=list)
    """Printed lines that are not messages, such as a traceback."""


Messages = queue.SimpleQueue[tuple[_Worker, Document | None]]
"""Of all workers; None when one has ended."""


def train_in_processes(
    directory: RunDirectory,
    batches: Sequence[int],
    processes: int,
    progress: DisplayedSteps,
    batch_done: Callable[[int, Sequence[str]], None],
    interrupted: Callable[[], bool],
) -> bool:
    """Train batches of folds, each in the next free process; False if interrupted.

    batch_done  called with the number of each finished batch and the names of its failed folds
    Raises QexpError if a process ends before it has finished its batch, MemoryError if it ran out
    of memory.
    """
    waiting = list(batches)
    messages = Messages()
    workers = [_start_worker(directory, messages) for _ in range(processes)]
    steps_done = 0.0
    stopping = False

    def stop() -> bool:
        for worker in workers:
            worker.process.terminate()
        return True

    try:
        for worker in workers:
            _next_batch(worker, waiting)
        running = len(workers)
        while running:
            if not stopping and interrupted():
                stopping = stop()
            try:
                worker, message = messages.get(timeout=SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                continue
            if message is None:
                running -= 1
                if worker.batch is not None and not stopping:
                    if not machine.ended_with_all(worker.process.returncode, interrupted):
                        _explain(worker)
                    stopping = stop()
            elif "done" in message:
                steps_done += message["steps"]
                worker.steps = 0.0
                batch_done(message["done"], message["failed"])
                _next_batch(worker, [] if stopping else waiting)
            elif "log" in message:
                log.info("%s", message["log"])
            else:
                worker.steps = message["steps"]
                under_way = sum(busy.steps for busy in workers)
                progress.show(
                    progress.done + steps_done + under_way, message["line"], message["seconds"]
                )
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
    return not stopping


def _start_worker(directory: RunDirectory, messages: Messages) -> _Worker:
    lease = files.drafts_of(directory.path)
    drafts = ["--drafts", str(lease)] if lease is not None else []
    # In a new session, Ctrl-C on the terminal reaches only the run's process, which passes it on.
    command = [sys.executable, "-m", "qexp", "train-folds", str(directory.path), *drafts]
    process = Popen(
        command, stdin=PIPE, stdout=PIPE, stderr=STDOUT, text=True, start_new_session=True
    )
    worker = _Worker(process)

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                worker.output.append(line)
                continue
            messages.put((worker, message))
        process.wait()
        messages.put((worker, None))

    threading.Thread(target=listen, daemon=True).start()
    return worker


def _next_batch(worker: _Worker, waiting: list[int]) -> None:
    """Give a worker its next batch; if none is left, close its input so that it ends."""
    worker.batch = waiting.pop(0) if waiting else None
    assert worker.process.stdin is not None
    with suppress(BrokenPipeError):  # the worker has died; its listener reports that
        if worker.batch is None:
            worker.process.stdin.close()
        else:
            worker.process.stdin.write(f"{worker.batch}\n")
            worker.process.stdin.flush()


def _explain(worker: _Worker) -> None:
    code = worker.process.returncode
    how = (
        f"was ended by {machine.signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    )
    if code == -signal.SIGKILL:
        raise MemoryError(f"a process that trained folds {how}; perhaps it ran out of memory")
    kind = MemoryError if machine.says_no_memory("".join(worker.output[-1:])) else QexpError
    raise kind(f"a process that trained folds {how}:\n{''.join(worker.output[-20:]).strip()}")


# In the worker


def work(directory: RunDirectory, orders: IO[str], answers: IO[str]) -> bool:
    """Train the batches whose numbers are read from `orders`, until it ends; False if asked to
    stop.

    answers  receives progress and results
    """
    torch.set_num_threads(1)
    record = directory.record()
    spec = directory.spec()
    tables = tables_of(directory)
    dataset = TabularData().dataset(spec["dataset"], tables, None)
    plan = Folds(spec, dataset, tables, Seeds(record.seed), torch.device("cpu"))
    batches = batches_of(plan)
    stop = threading.Event()
    numbers = queue.SimpleQueue[int | None]()
    busy = threading.Event()

    def read() -> None:
        for line in orders:
            numbers.put(int(line))
        numbers.put(None)
        if busy.is_set():
            # the run's process has died: otherwise it closes the input only after this batch
            stop.set()

    threading.Thread(target=read, daemon=True).start()
    with machine.handled((signal.SIGTERM,), lambda number, frame: stop.set()):
        while (number := numbers.get()) is not None:
            busy.set()
            speaker = _Speaker(answers)
            failed = train_batch(directory, plan, batches, number, speaker, stop.is_set)
            if failed is None:
                return False
            busy.clear()
            speaker.say({"done": number, "steps": speaker.done, "failed": failed})
    return not stop.is_set()


class _Speaker(Steps):
    """Reports epochs to the run's process."""

    def __init__(self, answers: IO[str]) -> None:
        super().__init__()
        self._answers = answers

    def show(self, steps: float, line: Line, seconds: float) -> None:
        self.say({"steps": steps, "line": line, "seconds": seconds})

    def checkpoint_written(self, epoch: int) -> None:
        self.say({"log": f"checkpoint after epoch {epoch} of a stack"})

    def say(self, message: Document) -> None:
        with suppress(BrokenPipeError):  # the run's process has died; the input ends as well
            self._answers.write(json.dumps(message) + "\n")
            self._answers.flush()


# Training of the networks of a run's folds, and evaluation of all held-out rows together.
#
# Folds are trained side by side, in batches that depend on the spec alone. An interrupted run
# therefore ends with the same bits, no matter which folds were done before.


OPERATIONS_PER_SECOND, SECONDS_PER_STEP = 5e10, 2e-5
"""Speed of one core, and the overhead of one training step of a network."""

WORTH_A_PROCESS = 12.0
"""Training time on one core [s] above which several processes pay for their start."""


def train_folds(attempt: Attempt) -> Results | None:
    """Train all unfinished folds and evaluate the run; None if interrupted. Raises QexpError if
    folds failed.
    """
    directory = attempt.directory
    plan = Folds(attempt.spec, attempt.dataset, attempt.tables, Seeds(attempt.seed), attempt.device)
    if not _train_folds(attempt, plan):
        return None
    shutil.rmtree(directory.folds / STACKS, ignore_errors=True)
    if failed := attempt.record.folds.failed if attempt.record.folds else ():
        why = directory.fold(failed[0]).record().error
        raise QexpError(
            f"{len(failed)} of {len(plan.folds)} folds failed: {', '.join(failed[:8])}; the first:"
            f" {why}"
        )
    folds = [directory.fold(fold.name) for fold in plan.folds]
    curves = [fold.metrics() for fold in folds]
    lines = [mean_line(list(filter(None, of_epoch))) for of_epoch in zip_longest(*curves)]
    best = median_epoch(fold.record().epochs.best for fold in folds)
    attempt.own.keep(epochs=replace(attempt.record.epochs, done=len(lines), best=best))
    formats.write_lines(directory.metrics_file, map(formats.with_marks, lines))
    return evaluation.evaluate(attempt, plan)


def _train_folds(attempt: Attempt, plan: Folds) -> bool:
    """Train the unfinished folds; False if interrupted."""
    directory = attempt.directory
    batches = batches_of(plan)
    finished = open_folds(directory, attempt.record, plan)
    failed = set[str]()
    todo = []
    for number, batch in enumerate(batches):
        if not finished.issuperset(fold.name for fold in batch):
            todo.append(number)

    def count() -> None:
        """Note the number of finished folds in the run's record, without theirs."""
        of_failed = tuple(fold.name for batch in batches for fold in batch if fold.name in failed)
        attempt.own.note(folds=FoldCount(done=len(finished), of=len(plan.folds), failed=of_failed))

    def batch_done(number: int, failures: Sequence[str]) -> None:
        failed.update(failures)
        finished.update(fold.name for fold in batches[number])
        finished.difference_update(failures)
        count()

    count()
    progress = DisplayedSteps(attempt.display)
    # of batches that were trained earlier
    progress.done += epochs_of(plan) * (len(batches) - len(todo))
    started = time.perf_counter()
    seconds_before = attempt.record.seconds
    attempt.display.start(attempt.name, epochs_of(plan) * len(batches), 0, "of all folds")
    try:
        processes = min(attempt.processes, len(todo))
        several = attempt.device.type == "cpu" and processes > 1
        if several and _seconds(plan, batches, todo) > WORTH_A_PROCESS:
            ends = batch_done, attempt.interrupted
            return train_in_processes(directory, todo, processes, progress, *ends)
        for number in todo:
            failures = train_batch(directory, plan, batches, number, progress, attempt.interrupted)
            if failures is None:
                return False
            batch_done(number, failures)
        return True
    finally:
        attempt.display.stop()
        attempt.own.keep(seconds=round(seconds_before + time.perf_counter() - started, 3))


def _seconds(plan: Folds, batches: Sequence[Sequence[Fold]], todo: Sequence[int]) -> float:
    """Estimated time of some batches on one core [s], to decide on more processes."""
    tasks = tasks_of_first(plan)
    first = tasks[0]
    rows = len(next(iter(first.train.values())))
    folds = sum(len(batches[number]) for number in todo)
    epochs = len(tasks) * folds * epochs_of(plan)
    steps = epochs * math.ceil(rows / plan.spec["batch_size"])
    operations = 3 * operations_per_sample(first.model.network) * rows * epochs
    return float(operations / OPERATIONS_PER_SECOND + steps * SECONDS_PER_STEP)


WORK_ON_FOLDS = KindFolds(load_networks, work)
