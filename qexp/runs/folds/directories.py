"""Directories of folds: each fold has `folds/<name>/`, a run inside the run."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qexp import assemble, files
from qexp.assemble.folds import Folds
from qexp.datasets.splits import Fold
from qexp.datasets.tabular import TabularDataset
from qexp.errors import DamagedError, NotFoundError, QexpError
from qexp.files import write_lines
from qexp.networks import checkpoint
from qexp.networks.estimator import Ensemble, Inversion
from qexp.networks.stacked_training import Line, Outcome, Task, line_of
from qexp.runs.evaluation import rows
from qexp.runs.record.directory import FOLDS, PREDICTIONS, RunDirectory
from qexp.runs.record.names import now
from qexp.runs.record.record import Epochs, FoldRecord, NetworkRecord, Numbers, Record
from qexp.runs.record.state import State
from qexp.runs.record.trust import tables_of

log = logging.getLogger("qexp.run")

UNVALIDATED: Line = {"validation": {"loss": None, "losses": {}}}
"""The validation part of a line for networks that are trained on all rows of a fold, without validation."""


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

    @property
    def failed(self) -> str | None:
        return next((network.outcome.failed for network in self.networks if network.outcome.failed), None)


def done(fold: RunDirectory) -> bool:
    """Whether a fold is trained and evaluated, and its results exist."""
    try:
        state = fold.record().state
    except (NotFoundError, DamagedError):
        return False
    return state is State.DONE and fold.best_weights.is_file() and (fold.path / PREDICTIONS).is_file()


def require_folds_done(directory: RunDirectory) -> None:
    """Raise QexpError that names the unfinished folds of a run, if there are any."""
    undone = [fold.name for fold in directory.all_folds() if not done(fold)]
    if undone:
        named = ", ".join(undone[:8]) + (" …" if len(undone) > 8 else "")
        count = f"{len(undone)} of {len(directory.all_folds())} folds"
        raise QexpError(f"{directory.name}: {count} are not done: {named}; continue with --resume")


def load_networks(directory: RunDirectory) -> dict[str, list[Inversion]]:
    """Fold → its networks; the folds must be done. Raises DamagedError for incomplete weights."""
    spec, tables = directory.spec(), tables_of(directory)
    documents = {json.dumps(chosen): document for chosen, document in assemble.candidates(spec, tables)}
    models: dict[str, list[Inversion]] = {}
    for fold in directory.all_folds():
        tensors, document = checkpoint.read(fold.best_weights)
        chosen = documents.get(json.dumps(document.get("chosen")))
        if chosen is None or not isinstance(document.get("networks"), list):
            raise DamagedError(f"{fold.best_weights} is damaged: it does not say which networks it holds")
        of_fold = models[fold.name] = []
        for index in range(len(document["networks"])):
            prefix = f"{index}."
            own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            of_fold.append(assemble.trained_model(chosen, tables, own, fold.best_weights))
    return models


def open_fold(directory: RunDirectory, run: Record, fold: Fold, dataset: TabularDataset) -> None:
    """Create the directory of a fold with its first record."""
    place = directory.fold(fold.name)
    files.make_folder(place.checkpoints)
    held = dict(zip(_row_numbers(dataset, fold.test), _identified(dataset, fold.test), strict=True))
    place.write(
        Record(
            name=f"{run.name}/{FOLDS}/{fold.name}",
            experience=run.experience,
            dataset=run.dataset,
            model=run.model,
            seed=run.seed,
            digest=run.digest,
            units=run.units,
            metrics=run.metrics,
            caution=run.caution,
            state=State.QUEUED,
            created=now(),
            epochs=Epochs(of=run.epochs.of),
            fold=FoldRecord(name=fold.name, training_rows=len(fold.train), held_out=held),
        )
    )


def write_fold(place: RunDirectory, trained: TrainedFold, plan: Folds, fold: Fold) -> None:
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
    write_lines(place.metrics_file, map(files.with_marks, lines))
    results: Numbers = {}
    if trained.failed is None:
        tensors = {
            f"{index}.{name}": tensor
            for index, network in enumerate(trained.networks)
            for name, tensor in network.task.model.state_dict().items()
        }
        document = {"networks": [one.document() for one in networks], "chosen": trained.chosen}
        checkpoint.write(place.best_weights, tensors, document)
        ensemble = Ensemble([network.task.model for network in trained.networks])
        results = rows.write_fold(place, ensemble, plan, fold)
        log.info("fold %s: %d rows held out%s", fold.name, len(fold.test), _said(trained.chosen))
    else:
        log.error("fold %s failed: %s", fold.name, trained.failed)
    record = place.record()
    assert record.fold is not None, "open_fold writes it"
    best = median_epoch(network.outcome.best_epoch for network in trained.networks)
    of_fold = replace(record.fold, chosen=trained.chosen, networks=networks, inner_loss=trained.inner_loss)
    place.write(
        replace(
            record,
            fold=of_fold,
            epochs=replace(record.epochs, done=len(lines), best=best),
            results=results,
            error=trained.failed,
            state=State.FAILED if trained.failed else State.DONE,
            ended=now(),
        )
    )


def _said(chosen: Mapping[str, Any]) -> str:
    return "".join(f", {key} {value}" for key, value in chosen.items())


def median_epoch(epochs: Iterable[int | None]) -> int | None:
    """The median of the known epochs, which count from 1; None if none is known."""
    known = [epoch for epoch in epochs if epoch]
    return int(np.median(known)) if known else None


def _row_numbers(dataset: TabularDataset, rows: np.ndarray) -> list[str]:
    return [str(number) for number in dataset.row_numbers(list(rows))]


def _identified(dataset: TabularDataset, rows: np.ndarray) -> list[str]:
    return [", ".join(str(values[row]) for values in dataset.identifiers.values()) for row in rows]


def _mean_of_networks(networks: Sequence[TrainedNetwork], losses: Sequence[str]) -> list[Line]:
    """One line per epoch: the mean over the networks that reached it.

    losses  the names of the losses: of outputs, and of posterior heads of several outputs
    """
    lines = []
    for epoch in range(max((len(network.curve) for network in networks), default=0)):
        numbers = np.stack([network.curve[epoch] for network in networks if len(network.curve) > epoch])
        means = [*numbers[:, :-1].mean(axis=0).tolist(), float(numbers[:, -1].all())]
        lines.append({**UNVALIDATED, **line_of(means, epoch + 1, losses), "networks": len(numbers)})
    return lines


def mean_lines(curves: Sequence[Sequence[Line]]) -> list[Line]:
    """The mean of several curves' lines, epoch by epoch, over the curves that reached the epoch."""
    longest = max(map(len, curves), default=0)
    return [mean_line([lines[epoch] for lines in curves if len(lines) > epoch]) for epoch in range(longest)]


def mean_line(lines: Sequence[Line]) -> Line:
    """Mean losses and learning rate of lines, `best` if all are best, and the number of networks."""
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
        **UNVALIDATED,
        **{part: mean_of_part(part) for part in parts},
        "best": all(line["best"] for line in lines),
        "networks": sum(line.get("networks", 1) for line in lines),
    }
