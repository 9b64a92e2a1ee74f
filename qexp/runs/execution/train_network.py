"""Training the one network of a run, and what it leaves in the run's directory."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from qexp import assemble, files
from qexp.datasets.gridded import GriddedDataset
from qexp.datasets.spectra import SpectraDataset, SpectrumSamples
from qexp.files import read_lines, write_lines
from qexp.models.inversion import Inversion
from qexp.runs.display import Display
from qexp.runs.evaluation import fields, spectra
from qexp.runs.evaluation.images import write_results
from qexp.runs.record import lineage
from qexp.runs.record.directory import RunDirectory
from qexp.seeds import Seeds
from qexp.tables import Tables
from qexp.training import checkpoint
from qexp.training.events import EventWriter
from qexp.training.loop import Progress, Trainer
from qexp.training.recipe import Data

log = logging.getLogger("qexp.run")


def train_network(
    directory: RunDirectory,
    record: dict[str, Any],
    spec: dict[str, Any],
    tables: Tables,
    device: torch.device,
    display: Display,
    interrupted: Callable[[], bool],
) -> bool:
    """From the first epoch, or the last checkpoint, to results; False if interrupted."""
    seeds = Seeds(record["seed"])
    dataset = assemble.dataset_of(spec["dataset"], tables)
    for text in dataset.warnings:
        log.warning("%s", text)
    data = assemble.data_of(spec, dataset, tables, seeds, device)
    model = assemble.initial_model(spec, tables, seeds).to(device)
    pretrained = directory.checkpoints / "pretrained.safetensors"
    if pretrained.exists():
        _start_from(checkpoint.read(pretrained)[0], model, data, spec, record)
    else:
        assemble.fit_transforms(model, data)
    trainer = Trainer(model, data, assemble.recipe_of(spec, tables), seeds, device, directory.checkpoints)
    done = trainer.resume()
    _cut_metrics(directory.metrics_file, done)
    log.info("%s weights", f"{sum(weight.numel() for weight in model.parameters()):,}")
    if done:
        log.info("goes on after epoch %d", done)

    started = time.perf_counter()
    seconds_before = record["seconds"]
    with EventWriter(directory.path / "tensorboard", done) as events, directory.metrics_file.open("a") as lines:
        listener = _Listener(lines, events, display, partial(_note_progress, directory, record))
        display.start(record["name"], spec["epochs"], done)
        try:
            finished = trainer.run(listener, interrupted)
        finally:
            display.stop()
            lines.flush()
            os.fsync(lines.fileno())
            record["seconds"] = round(seconds_before + time.perf_counter() - started, 3)
    if not finished:
        return False
    if trainer.progress.stopped:
        log.info("stopped early: %s", trainer.progress.stopped)
    record["stopped"] = trainer.progress.stopped
    judged: dict[str, Any] | None
    if isinstance(dataset, GriddedDataset):
        judged = fields.judge(directory, dataset, trainer.model, trainer.recipe.metrics, record, device, interrupted)
    elif isinstance(dataset, SpectraDataset) and isinstance(data, SpectrumSamples):
        of_spectra = spectra.Judged(
            dataset, trainer.model, data, data.train_rows, data.test_rows, trainer.recipe.metrics
        )
        judged = spectra.judge(directory, of_spectra, spec["baselines"], tables["baselines"], record, interrupted)
    else:
        judged = {"results": {"test": trainer.evaluate(data.test)}}
        write_results(directory, trainer.model, data.test, tables["quantities"])
    if judged is None:
        return False
    record |= judged
    record["results"] = {"validation": trainer.evaluate(data.validation), **judged["results"]}
    return True


def _start_from(
    tensors: Mapping[str, torch.Tensor], model: Inversion, data: Data, spec: dict[str, Any], record: dict[str, Any]
) -> None:
    """Give a model what another run learned, all or those operations that are asked for; the rest is fitted here."""
    operations = lineage.operations_taken(spec)
    if operations is None:
        model.load_state_dict(tensors)
        return
    # Runs from before transforms were taken over with operations have none, and fit all of them.
    transforms = record["lineage"][0].get("transforms", []) if record["lineage"] else []
    assemble.fit_transforms(model, data, known=transforms)
    taken = {**lineage.of_operations(tensors, operations), **lineage.of_transforms(tensors, transforms)}
    model.load_state_dict({**model.state_dict(), **taken})


class _Listener:
    """Writes an epoch's line to the metrics, the events, the log and the display."""

    def __init__(
        self, lines: Any, events: EventWriter, display: Display, note_progress: Callable[[Progress], None]
    ) -> None:
        self._lines, self._events, self._display, self._note_progress = lines, events, display, note_progress

    def batch_done(self, epoch: int, batch: int, batches: int) -> None:
        self._display.batch(epoch, batch, batches)

    def epoch_done(self, line: dict[str, Any], seconds: float) -> None:
        # No times in here: two runs of one seed write the same bytes.
        self._lines.write(json.dumps(files.with_marks(line), separators=(",", ":")) + "\n")
        self._lines.flush()
        self._events.epoch(line)
        self._display.epoch(line, seconds)
        log.info(
            "epoch %d: loss %.6g, validation %.6g%s, %.3f s",
            line["epoch"],
            line["train"]["loss"],
            line["validation"]["loss"],
            " (best)" if line["best"] else "",
            seconds,
        )

    def checkpoint_written(self, progress: Progress) -> None:
        self._events.flush()
        self._note_progress(progress)


def _note_progress(directory: RunDirectory, record: dict[str, Any], progress: Progress) -> None:
    record["epochs"] |= {"done": progress.epoch - 1, "best": progress.best_epoch or None}
    files.write_json(directory.record_file, record)


def _cut_metrics(path: Path, epochs: int) -> None:
    """Drop the lines of epochs that will be trained again."""
    if not path.exists():
        return
    write_lines(path, [line for line in read_lines(path) if line["epoch"] <= epochs])
