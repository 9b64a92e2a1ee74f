"""Training the networks of a run's folds, and what each leaves in its own directory, `folds/<name>/`.

Folds are trained side by side, in batches of folds that depend on the spec alone: so a run that was interrupted comes
to the same bits, whichever folds were done by then.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from qexp import assemble, files
from qexp.assemble.folds import Candidate, Folds, in_stacks
from qexp.datasets.splits import Fold
from qexp.datasets.tabular import TabularDataset
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.models.ensemble import Ensemble
from qexp.models.inversion import Inversion
from qexp.models.network import operations_per_sample
from qexp.runs import held_out
from qexp.runs.directory import EMPTY_RECORD, RunDirectory
from qexp.runs.prepare import now
from qexp.runs.train_network import Display
from qexp.seeds import Seeds
from qexp.tables import Tables
from qexp.training import checkpoint
from qexp.training.recipe import Recipe
from qexp.training.stack import EpochLines, Outcome, Stack, Task, line_of, stack_size

log = logging.getLogger("qexp.run")

Line = dict[str, Any]

UNJUDGED: Line = {"validation": {"loss": None, "losses": {}}}
"""Of networks that are trained on all rows of a fold."""

OPERATIONS_PER_SECOND, SECONDS_PER_STEP = 5e10, 2e-5
"""What a core does, and what a network's step takes besides."""

WORTH_A_PROCESS = 12.0
"""Seconds on one core, of which others save more than their start takes."""

STACKS = ".stacks"
"""Where the stacks under way have their checkpoints, in the run's folder of folds."""


@dataclass
class Network:
    """One of a fold's networks, trained."""

    task: Task
    outcome: Outcome
    curve: np.ndarray
    """(epoch, ...), see `line_of`."""


@dataclass
class Trained:
    """What was trained for a fold."""

    chosen: dict[str, Any] = field(default_factory=dict)
    networks: list[Network] = field(default_factory=list)
    inner_loss: float | None = None
    """Of the chosen candidate, on the inner parts."""

    @property
    def failed(self) -> str | None:
        return next((network.outcome.failed for network in self.networks if network.outcome.failed), None)


def train_folds(
    directory: RunDirectory,
    record: dict[str, Any],
    spec: dict[str, Any],
    tables: Tables,
    device: torch.device,
    display: Display,
    interrupted: Callable[[], bool],
    processes: int,
) -> bool:
    """From the first fold that is not done to results; False if interrupted. Raises QexpError if folds failed.

    processes  at most so many, each on one core
    """
    plan = plan_of(spec, tables, record["seed"], device)
    for text in plan.dataset.warnings:
        log.warning("%s", text)
    open_folds(directory, record, plan)
    batches = batches_of(plan)
    todo = [number for number, batch in enumerate(batches) if not _all_done(directory, batch)]
    progress = Progress(display, epochs_of(plan) * len(batches))
    progress.skip(epochs_of(plan) * (len(batches) - len(todo)))
    started, seconds_before = time.perf_counter(), record["seconds"]
    display.start(record["name"], epochs_of(plan) * len(batches), 0)
    note_progress = partial(_note_progress, directory, record, plan)
    note_progress()
    try:
        if device.type == "cpu" and min(processes, len(todo)) > 1 and _seconds(plan, batches, todo) > WORTH_A_PROCESS:
            from qexp.runs.fold_workers import train_in_processes

            finished = train_in_processes(
                directory, todo, min(processes, len(todo)), progress, note_progress, interrupted
            )
        else:
            finished = all(_noted(train_batch(directory, plan, n, progress, interrupted), note_progress) for n in todo)
    finally:
        display.stop()
        record["seconds"] = round(seconds_before + time.perf_counter() - started, 3)
    if not finished:
        return False
    shutil.rmtree(directory.folds / STACKS, ignore_errors=True)
    if failed := record["folds"]["failed"]:
        why = directory.fold(failed[0]).record()["error"]
        raise QexpError(f"{len(failed)} of {len(plan.folds)} folds failed: {', '.join(failed[:8])}; the first: {why}")
    _write_metrics(directory, record, plan)
    held_out.write(directory, record, plan)
    return True


def plan_of(spec: dict[str, Any], tables: Tables, seed: int, device: torch.device) -> Folds:
    dataset = assemble.dataset_of(spec["dataset"], tables)
    assert isinstance(dataset, TabularDataset)
    return Folds(spec, dataset, tables, Seeds(seed), device)


def open_folds(directory: RunDirectory, record: dict[str, Any], plan: Folds) -> None:
    """Write down what folds there are, before any of them is trained."""
    for fold in plan.folds:
        if not done(directory.fold(fold.name)):
            _open(directory, record, fold, plan.dataset)


def train_batch(
    directory: RunDirectory, plan: Folds, number: int, progress: Hears, interrupted: Callable[[], bool]
) -> bool:
    """Train the folds of one batch, and write down those that are not done; False if interrupted."""
    batch, folder = batches_of(plan)[number], directory.folds / STACKS / f"{number:03d}"
    trained = _Batch(plan, batch, folder, progress, interrupted).train()
    if trained is None:
        return False
    for fold in batch:
        if not done(directory.fold(fold.name)):
            _write(directory.fold(fold.name), trained[fold.name], plan, fold)
    shutil.rmtree(folder, ignore_errors=True)
    return True


def _noted(finished: bool, note_progress: Callable[[], None]) -> bool:
    note_progress()
    return finished


def _all_done(directory: RunDirectory, batch: Sequence[Fold]) -> bool:
    return all(done(directory.fold(fold.name)) for fold in batch)


def done(fold: RunDirectory) -> bool:
    """Whether a fold is trained and judged, and all of that is there."""
    try:
        state = fold.record()["state"]
    except (NotFoundError, DamagedError):
        return False
    return state == "done" and fold.best_weights.is_file() and (fold.path / held_out.PREDICTIONS).is_file()


def require_done(directory: RunDirectory) -> None:
    """Raise QexpError, naming them, if folds of a run are not done."""
    undone = [fold.name for fold in directory.all_folds() if not done(fold)]
    if undone:
        named = ", ".join(undone[:8]) + (" …" if len(undone) > 8 else "")
        count = f"{len(undone)} of {len(directory.all_folds())} folds"
        raise QexpError(f"{directory.name}: {count} are not done: {named}; go on with --resume")


def load_networks(directory: RunDirectory) -> list[Inversion]:
    """All networks of a run's folds, which must be done."""
    require_done(directory)
    spec, tables = directory.spec(), assemble.tables_with(directory.extensions)
    documents = {json.dumps(chosen): document for chosen, document in assemble.candidates(spec, tables)}
    models = []
    for fold in directory.all_folds():
        tensors, document = checkpoint.read(fold.best_weights)
        for index in range(len(document["networks"])):
            prefix = f"{index}."
            own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            models.append(assemble.trained_model(documents[json.dumps(document["chosen"])], tables, own))
    return models


# Batches of folds


def batches_of(plan: Folds) -> list[list[Fold]]:
    """Folds whose networks fit into one stack, evenly; at least one fold in each."""
    tasks = _tasks_of_first(plan)
    at_once = max(1, _stack_size(plan, tasks[0]) // len(tasks))
    count = math.ceil(len(plan.folds) / at_once)
    return [[plan.folds[index] for index in part] for part in np.array_split(np.arange(len(plan.folds)), count)]


def _tasks_of_first(plan: Folds) -> list[Task]:
    """The networks that a fold needs most of at a time."""
    first = plan.folds[0]
    judged = plan.judged(first, plan.candidates[0]) if _chooses(plan) else []
    refitted = plan.refitted(first, plan.candidates[0]) if plan.refits else []
    return max(judged, refitted, key=len)


def _seconds(plan: Folds, batches: Sequence[Sequence[Fold]], todo: Sequence[int]) -> float:
    """About how long one core takes for some batches: a guess, to see whether processes are worth their start."""
    tasks = _tasks_of_first(plan)
    rows = len(next(iter(tasks[0].train.values())))
    networks = len(tasks) * sum(len(batches[number]) for number in todo)
    steps = networks * epochs_of(plan) * math.ceil(rows / plan.spec["batch_size"])
    operations = 3 * operations_per_sample(tasks[0].model.network) * rows * networks * epochs_of(plan)
    return float(operations / OPERATIONS_PER_SECOND + steps * SECONDS_PER_STEP)


def _stack_size(plan: Folds, task: Task) -> int:
    return stack_size(task.model.network, plan.spec["batch_size"])


def epochs_of(plan: Folds) -> int:
    """How often an epoch ends in a batch at most, as far as there is one stack for each candidate."""
    epochs: list[int] = [candidate.spec["epochs"] for candidate in plan.candidates]
    return (sum(epochs) if _chooses(plan) else 0) + (max(epochs) if plan.refits else 0)


def _chooses(plan: Folds) -> bool:
    """Whether networks are trained on the inner parts."""
    return not plan.refits or len(plan.candidates) > 1


class _Batch:
    """Some folds, trained side by side."""

    def __init__(
        self, plan: Folds, folds: Sequence[Fold], folder: Path, progress: Hears, interrupted: Callable[[], bool]
    ) -> None:
        self._plan, self._folds, self._folder = plan, folds, folder
        self._progress, self._interrupted = progress, interrupted

    def train(self) -> dict[str, Trained] | None:
        """Fold → what was trained; None if interrupted."""
        plan = self._plan
        trained = {fold.name: Trained(dict(plan.candidates[0].chosen)) for fold in self._folds}
        chosen = dict.fromkeys(trained, plan.candidates[0])
        if _chooses(plan):
            for index, candidate in enumerate(plan.candidates):
                tasks = {fold.name: plan.judged(fold, candidate) for fold in self._folds}
                networks = self._train(tasks, candidate, f"judged-{index:03d}", candidate.spec["epochs"])
                if networks is None:
                    return None
                for name, of_fold in networks.items():
                    loss = _pooled_loss(of_fold)
                    best = trained[name].inner_loss
                    if best is None or loss < best:
                        trained[name] = Trained(dict(candidate.chosen), of_fold, loss)
                        chosen[name] = candidate
        if plan.refits:
            longest = max(candidate.spec["epochs"] for candidate in plan.candidates)
            for index, candidate in enumerate(plan.candidates):
                tasks = {
                    fold.name: plan.refitted(fold, candidate) for fold in self._folds if chosen[fold.name] is candidate
                }
                steps = longest * len(tasks) / len(self._folds)
                networks = self._train(tasks, candidate, f"refitted-{index:03d}", steps) if tasks else {}
                if networks is None:
                    return None
                for name, of_fold in networks.items():
                    trained[name].networks = of_fold
        return trained

    def _train(
        self, tasks: Mapping[str, Sequence[Task]], candidate: Candidate, purpose: str, steps: float
    ) -> dict[str, list[Network]] | None:
        """Fold → its networks, in the order of its tasks; None if interrupted.

        steps  what all of it counts for, of the epochs of the batch
        """
        plan, recipe = self._plan, self._plan.recipe(candidate)
        owners = {id(task): name for name, of_fold in tasks.items() for task in of_fold}
        trained: dict[int, Network] = {}
        everyone = [task for of_fold in tasks.values() for task in of_fold]
        stacks = list(in_stacks(everyone, lambda task: _stack_size(plan, task)))
        for number, members in enumerate(stacks):
            share = steps * len(members) / len(everyone)
            networks = self._train_stack(members, recipe, f"{purpose}-{number:03d}", share)
            if networks is None:
                return None
            trained |= {id(network.task): network for network in networks}
        return {name: [trained[id(task)] for task in everyone if owners[id(task)] == name] for name in tasks}

    def _train_stack(self, members: Sequence[Task], recipe: Recipe, name: str, share: float) -> list[Network] | None:
        folder = self._folder / name
        files.make_folder(folder)
        stack = Stack(members, recipe, self._plan.device, folder)
        stack.resume()
        self._progress.enter(share, recipe.epochs)
        finished = stack.run(self._progress, self._interrupted)
        self._progress.leave()
        if not finished:
            return None
        return [
            Network(task, outcome, stack.curve(position).numpy())
            for position, (task, outcome) in enumerate(zip(stack.tasks, stack.outcomes, strict=True))
        ]


def _pooled_loss(networks: Sequence[Network]) -> float:
    """The loss of a candidate over all inner rows; infinite if one of its networks failed."""
    if any(network.outcome.failed for network in networks):
        return math.inf
    rows = [len(next(iter((network.task.validation or {}).values()))) for network in networks]
    return float(np.average([network.outcome.best_loss for network in networks], weights=rows))


class Hears(Protocol):
    """Hears of epochs of stacks, one stack after another."""

    def enter(self, share: float, epochs: int) -> None: ...
    def leave(self) -> None: ...
    def epoch_done(self, epoch: int, lines: EpochLines, seconds: float) -> None: ...
    def checkpoint_written(self, epoch: int) -> None: ...


class Progress:
    """Tells the display how much of all is done."""

    def __init__(self, display: Display, steps: int) -> None:
        self._display, self._steps = display, steps
        self._before, self._share, self._epochs, self._shown = 0.0, 1.0, 1, 0

    @property
    def before(self) -> float:
        """Steps of what was done before."""
        return self._before

    def skip(self, steps: float) -> None:
        self._before += steps

    def enter(self, share: float, epochs: int) -> None:
        """A stack begins that counts for so many of all steps."""
        self._share, self._epochs = share, epochs

    def leave(self) -> None:
        self._before += self._share

    def epoch_done(self, epoch: int, lines: EpochLines, seconds: float) -> None:
        if lines:
            self.show(self._before + self._share * epoch / self._epochs, {**UNJUDGED, **lines.mean()}, seconds)

    def show(self, steps: float, line: Line, seconds: float) -> None:
        if int(steps) > self._shown:
            self._shown = int(steps)
            self._display.epoch({**line, "epoch": self._shown}, seconds)
            self._display.batch(self._shown, 1, 1)

    def checkpoint_written(self, epoch: int) -> None:
        log.info("checkpoint after epoch %d of a stack", epoch)


# What is left of a fold


def _open(directory: RunDirectory, run: dict[str, Any], fold: Fold, dataset: TabularDataset) -> None:
    place = directory.fold(fold.name)
    files.make_folder(place.checkpoints)
    held = dict(zip(_row_numbers(dataset, fold.test), _identified(dataset, fold.test), strict=True))
    record = {
        **EMPTY_RECORD,
        **{key: run[key] for key in ("experience", "dataset", "model", "seed", "digest", "units", "caution")},
        "name": f"{run['name']}/folds/{fold.name}",
        "state": "queued",
        "created": now(),
        "epochs": {"done": 0, "of": run["epochs"]["of"], "best": None},
        "fold": {"name": fold.name, "training_rows": len(fold.train), "held_out": held},
    }
    files.write_json(place.record_file, record)


def _write(place: RunDirectory, trained: Trained, plan: Folds, fold: Fold) -> None:
    """Weights, curves and held-out estimates of a fold, and its record last."""
    record = place.record()
    networks = [
        {
            "name": network.task.name, "epoch": network.outcome.best_epoch, "stopped": network.outcome.stopped,
            "loss": network.outcome.best_loss if math.isfinite(network.outcome.best_loss) else None,
        }
        for network in trained.networks
    ]  # fmt: skip
    lines = _mean_of_networks(trained.networks, plan.spec["outputs"])
    content = "".join(json.dumps(files.with_marks(line), separators=(",", ":")) + "\n" for line in lines)
    files.write_bytes(place.metrics_file, content.encode())
    record["fold"] |= {"chosen": trained.chosen, "networks": networks, "inner_loss": trained.inner_loss}
    record["epochs"] |= {"done": len(lines), "best": _median_epoch(trained.networks)}
    record["error"] = trained.failed
    if trained.failed is None:
        tensors = {
            f"{index}.{name}": tensor
            for index, network in enumerate(trained.networks)
            for name, tensor in network.task.model.state_dict().items()
        }
        checkpoint.write(place.best_weights, tensors, {"networks": networks, "chosen": trained.chosen})
        ensemble = Ensemble([network.task.model for network in trained.networks])
        record["results"] = held_out.write_fold(place, ensemble, plan, fold)
        log.info("fold %s: %d rows held out%s", fold.name, len(fold.test), _said(trained.chosen))
    else:
        log.error("fold %s failed: %s", fold.name, trained.failed)
    record |= {"state": "failed" if trained.failed else "done", "ended": now()}
    files.write_json(place.record_file, record)


def _said(chosen: Mapping[str, Any]) -> str:
    return "".join(f", {key} {value}" for key, value in chosen.items())


def _median_epoch(networks: Sequence[Network]) -> int | None:
    epochs = [network.outcome.best_epoch for network in networks if network.outcome.best_epoch]
    return int(np.median(epochs)) if epochs else None


def _row_numbers(dataset: TabularDataset, rows: np.ndarray) -> list[str]:
    return [str(number) for number in dataset.row_numbers(list(rows))]


def _identified(dataset: TabularDataset, rows: np.ndarray) -> list[str]:
    return [", ".join(str(values[row]) for values in dataset.identifiers.values()) for row in rows]


def _note_progress(directory: RunDirectory, record: dict[str, Any], plan: Folds) -> None:
    states = {fold.name: _state(directory.fold(fold.name)) for fold in plan.folds}
    record["folds"] = {
        "done": list(states.values()).count("done"),
        "of": len(states),
        "failed": [name for name, state in states.items() if state == "failed"],
    }
    files.write_json(directory.record_file, record)


def _state(place: RunDirectory) -> str:
    try:
        return str(place.record()["state"])
    except (NotFoundError, DamagedError):
        return "created"


def _write_metrics(directory: RunDirectory, record: dict[str, Any], plan: Folds) -> None:
    """A line per epoch, the mean over the folds."""
    places = [directory.fold(fold.name) for fold in plan.folds]
    lines = mean_lines([place.metrics() for place in places])
    best = [epoch for place in places if (epoch := place.record()["epochs"]["best"])]
    record["epochs"] |= {"done": len(lines), "best": int(np.median(best)) if best else None}
    content = "".join(json.dumps(files.with_marks(line), separators=(",", ":")) + "\n" for line in lines)
    files.write_bytes(directory.metrics_file, content.encode())


def _mean_of_networks(networks: Sequence[Network], outputs: Sequence[str]) -> list[Line]:
    """A line per epoch, over the networks that came so far."""
    lines = []
    for epoch in range(max((len(network.curve) for network in networks), default=0)):
        numbers = np.stack([network.curve[epoch] for network in networks if len(network.curve) > epoch])
        means = [*numbers[:, :-1].mean(axis=0).tolist(), float(numbers[:, -1].all())]
        lines.append({**UNJUDGED, **line_of(means, epoch + 1, outputs), "networks": len(numbers)})
    return lines


def mean_lines(curves: Sequence[Sequence[Line]]) -> list[Line]:
    """The mean of several curves' lines, epoch by epoch, over those that came so far."""
    longest = max(map(len, curves), default=0)
    return [mean_line([lines[epoch] for lines in curves if len(lines) > epoch]) for epoch in range(longest)]


def mean_line(lines: Sequence[Line]) -> Line:
    """Losses and rate on average; how many were the best of their network by then."""
    parts = [part for part in ("train", "validation") if lines[0].get(part, {}).get("losses")]

    def mean(of: Callable[[Line], float]) -> float:
        return float(np.mean([of(line) for line in lines]))

    def mean_of_part(part: str) -> dict[str, Any]:
        outputs = lines[0][part]["losses"]
        losses = {name: mean(lambda line: line[part]["losses"][name]) for name in outputs}  # noqa: B023 - called at once
        return {"loss": mean(lambda line: line[part]["loss"]), "losses": losses}

    return {
        "epoch": lines[0]["epoch"],
        "learning_rate": mean(lambda line: line["learning_rate"]),
        **UNJUDGED,
        **{part: mean_of_part(part) for part in parts},
        "best": all(line["best"] for line in lines),
        "networks": sum(line.get("networks", 1) for line in lines),
    }
