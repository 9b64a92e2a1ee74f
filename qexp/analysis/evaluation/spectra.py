"""Evaluation on spectra of other cores: numbers by core, or hidden channels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qexp import assemble
from qexp.analysis.evaluation.asked import ALL, PARTS, TEST, TRAIN, Asked, Independence, Judged, one_of
from qexp.analysis.intervals.evaluated import keep_intervals_of
from qexp.analysis.intervals.folds import OfFolds
from qexp.assemble import overlap
from qexp.assemble.kinds.spectra import divided, hidden_of, labelled
from qexp.datasets.spectra import SPECTRUM, SpectraDataset, SpectrumSamples
from qexp.datasets.spectra.folders import SPECTRA
from qexp.datasets.splits import Rows
from qexp.errors import DamagedError, DatasetError, NotFoundError, QexpError
from qexp.estimates import estimate_of
from qexp.metrics.metric import Metrics, needs_training_mean, with_training_mean
from qexp.networks.estimator import Inversion
from qexp.runs.attempt import Attempt
from qexp.runs.evaluation import spectra
from qexp.runs.evaluation.held_out import opened, quantiles_among
from qexp.runs.evaluation.results import Results
from qexp.runs.evaluation.spectra.subject import CORE, Subject
from qexp.runs.leakage import hashes
from qexp.seeds import Seeds

NOTHING: Rows = np.array([], dtype=np.int64)


def judged(asked: Asked) -> Judged:
    """The spectra of a dataset, of a folder with train/ and test/ or one such as these, or of a table."""
    document = _document(asked)
    dataset = _opened(asked, document)
    _require_variables(asked, dataset)
    usual = TEST if (dataset.part == TEST).any() else ALL
    part = asked.chosen_part(usual, PARTS, "")
    rows = _rows(asked, dataset, part)
    if not len(rows):
        raise QexpError(f"--part {part}: {asked.name} has no such spectra; use {one_of(_parts(dataset))}")
    document = {**document, "units": dataset.units, "fingerprint": dataset.fingerprint}

    def evaluate(attempt: Attempt, models: Sequence[Inversion], metrics: Mapping[str, Metrics]) -> Results | None:
        found = _evaluated(attempt, dataset, models[0], rows, metrics, _training_mean(asked, metrics))
        if found is not None and (numbers := [name for name in asked.outputs if name != SPECTRUM]):
            estimates = opened(attempt.directory)
            of_network = {
                name: OfFolds(
                    estimates[estimate_of(name)].values[None],
                    {one: values[None] for one, values in quantiles_among(estimates, name).items()},
                )
                for name in numbers
            }
            keep_intervals_of(attempt.directory, asked.directory, of_network, [""], CORE)
        return found

    return Judged(
        document, part, usual, len(rows), lambda of: _independence(of, dataset, rows), evaluate,
        dataset.left_out, dataset.warnings,
    )  # fmt: skip


def _document(asked: Asked) -> dict[str, Any]:
    if asked.document is not None:
        return asked.document
    source = asked.source or Path()
    if not source.exists():
        raise NotFoundError(f"{source}: there is no such file or folder")
    own = {key: value for key, value in asked.spec["dataset"].items() if key not in ("fingerprint", "found", "lists")}
    own |= {"missing": "drop"} if own["target"] is not None else {}
    alone = (source / SPECTRA).is_dir() and not (source / TRAIN).is_dir()
    return {**own, "path": str(source.absolute()), **({"alone": True} if alone else {})}


def _opened(asked: Asked, document: dict[str, Any]) -> Any:
    """The dataset. Raises QexpError, which names another command, if the spectra have no targets."""
    try:
        return assemble.dataset_of(document, asked.tables, asked.workspace)
    except DatasetError as error:
        if asked.source is not None and all(where[:1] == ("target",) for where, _ in error.findings):
            raise QexpError(f"{asked.without_truth([document['target']])}\n{error}") from None
        raise


def _require_variables(asked: Asked, dataset: SpectraDataset) -> None:
    own, shapes = asked.spec["dataset"], dataset.shapes()
    for name in asked.outputs:
        if name not in shapes:
            raise asked.without_truth([name])
    if (dataset.channels, dataset.patch_size) != (own["channels"], own["patch_size"]):
        raise QexpError(
            f"{asked.name} has {dataset.channels} channels in patches of {dataset.patch_size}, but "
            f"{asked.directory.name} was trained on {own['channels']} in patches of {own['patch_size']}"
        )


def _rows(asked: Asked, dataset: SpectraDataset, part: str) -> Rows:
    """The spectra of a part: as the run divides them if they are its own, else as the data themselves do."""
    if part == ALL:
        return dataset.rows
    if dataset.fingerprint == asked.spec["dataset"]["fingerprint"]:
        parts = divided(asked.spec, dataset, asked.tables, Seeds(asked.run_seed))
        return dict(zip(PARTS, parts, strict=False))[part]
    return np.flatnonzero(dataset.part == part)


def _parts(dataset: SpectraDataset) -> list[str]:
    return [*np.unique(dataset.part).tolist(), ALL]


def _evaluated(
    attempt: Attempt,
    dataset: SpectraDataset,
    model: Inversion,
    rows: Rows,
    metrics: Mapping[str, Metrics],
    mean: float,
) -> Results | None:
    data = _EvaluatedSpectra(
        dataset, NOTHING, NOTHING, rows, NOTHING, Seeds(attempt.seed), attempt.device, hidden_of(model.network)
    )
    data.mean = mean
    against = {name: with_training_mean(of, mean) for name, of in metrics.items()}
    return spectra.evaluate(attempt, Subject(dataset, model, data, NOTHING, rows, against))


class _EvaluatedSpectra(SpectrumSamples):
    """Spectra without a training part of their own: the mean of the training targets is that of the run."""

    mean = math.nan

    def training_mean(self, output: str) -> float:
        return self.mean


def _training_mean(asked: Asked, metrics: Mapping[str, Metrics]) -> float:
    """The mean of the run's training targets; NaN if its data are gone, or if no metric needs it."""
    if not any(map(needs_training_mean, metrics.values())):
        return math.nan
    try:
        trained, seeds = asked.trained, Seeds(asked.run_seed)
    except DatasetError:
        return math.nan
    rows = labelled(asked.spec, divided(asked.spec, trained, asked.tables, seeds)[0], seeds)
    return math.nan if trained.targets is None else float(trained.targets[rows].mean(dtype=np.float64))


def _independence(asked: Asked, dataset: SpectraDataset, rows: Rows) -> Independence:
    """Whether no spectrum, and no core by its name, is among those that the run or its ancestors were trained on."""
    try:
        seen = hashes.read(asked.directory)
    except DamagedError as error:
        return Independence(None, (f"the training spectra are unknown: {error}",))
    if not seen:
        return Independence(None, ("the run does not say on which spectra it was trained",))
    shared = [
        f"used for training by {run}: {overlap.in_words(found)}"
        for run, of_run in seen.items()
        if (found := overlap.overlaps(dataset, rows, of_run))
    ]
    ancestors = [name for name in asked.directory.record().parents if name not in seen]
    unknown = [f"the training spectra of {', '.join(ancestors)} are unknown"] if ancestors else []
    return Independence.of(shared, unknown, "no spectrum, and no core of the same name, was used for training")
