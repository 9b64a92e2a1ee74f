"""Evaluation on spectra: numbers of the test spectra by core, reconstructed channels, and errors by energy."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp import files
from qexp.baselines import comparison, cross_validation
from qexp.baselines.names import names
from qexp.datasets.spectra import SPECTRUM, SpectraDataset
from qexp.datasets.splits import GroupKFold, KFold, Rows
from qexp.figures.spectra import energies
from qexp.metrics import bootstrap
from qexp.metrics.metric import Metrics, Sums
from qexp.metrics.metric import evaluate as evaluate_metrics
from qexp.models.inversion import Inversion
from qexp.runs.attempt import Attempt
from qexp.runs.evaluation.results import Results
from qexp.runs.record.directory import ERRORS_BY_ENERGY, RECONSTRUCTIONS, TEST_PREDICTIONS, RunDirectory
from qexp.runs.record.record import ComparisonRow
from qexp.seeds import Seeds
from qexp.tables import built
from qexp.training.determinism import deterministic
from qexp.training.recipe import Data

log = logging.getLogger("qexp.run")

Array = NDArray[np.float64]

AT_ONCE = 512
"""Number of spectra that are estimated together."""

KEPT = 3
"""Number of test spectra that are kept for figures, with their reconstructions."""

INNER_FOLDS = 5
"""Largest number of inner folds of the training spectra, on which baselines choose their parameters."""


@dataclass(frozen=True)
class Subject:
    """A trained network and what it is evaluated on.

    train, test  rows of the dataset: those that the network was trained on, and those of `data.test` in their order
    metrics      output → name → metric
    """

    dataset: SpectraDataset
    model: Inversion
    data: Data
    train: Rows
    test: Rows
    metrics: Mapping[str, Metrics]

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def evaluate(attempt: Attempt, subject: Subject) -> Results | None:
    """Estimate the test spectra and write tables; None if interrupted.

    A number gets intervals over cores, and a comparison with the experience's baselines.
    """
    directory, dataset, test = attempt.directory, subject.dataset, subject.test
    reconstructed = _Reconstructed.begin(subject) if SPECTRUM in subject.model.network.outputs else None
    numbers: dict[str, list[Array]] = {name: [] for name in subject.model.network.outputs if name != SPECTRUM}
    with deterministic():
        for samples in _in_blocks(subject.data.test):
            if attempt.interrupted():
                return None
            made = subject.model.estimate(samples)
            for name, blocks in numbers.items():
                blocks.append(made[name][:, 0].double().cpu().numpy())
            if reconstructed is not None:
                reconstructed.add(made, samples, subject)
    log.info("evaluated %s spectra of %d cores", f"{len(test):,}", len(np.unique(dataset.cores[test])))
    files.make_folder(directory.results)
    results: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    compared: list[ComparisonRow] = []
    columns: dict[str, tuple[Any, str, str]] = {}
    """Variable of the file of predictions → values, unit and description."""
    if reconstructed is not None:
        results[SPECTRUM] = reconstructed.sums.values()
        columns["hidden_rmse"] = (reconstructed.of_spectra, "counts", "RMSE of the channels that were hidden")
        _write_errors(directory, subject, reconstructed, attempt.caution)
    for name, blocks in numbers.items():
        estimates, truth, unit = np.concatenate(blocks), _measured(dataset, test), dataset.units.get(name, "")
        results[name] = evaluate_metrics(subject.metrics[name], estimates, truth)
        intervals[name] = _intervals(subject, name, estimates, truth, attempt.seed)
        with_baselines = _compared(attempt, subject, name, estimates)
        if with_baselines is None:
            return None
        compared += with_baselines
        columns[name] = (truth, unit, f"{name}: measured")
        columns[f"{name}_estimate"] = (estimates, unit, f"{name}: estimated")
    _write_predictions(directory, subject, columns, attempt.caution)
    return Results({"test": results}, {"test": intervals}, tuple(compared))


def _in_blocks(samples: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    names = list(samples)
    for values in zip(*(samples[name].split(AT_ONCE) for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _measured(dataset: SpectraDataset, rows: Rows) -> Array:
    assert dataset.targets is not None, "a spec that has a number among its outputs has a target"
    return np.asarray(dataset.targets[rows], dtype=np.float64)


def _transformed(subject: Subject, rows: Rows) -> Iterator[tuple[Rows, Tensor]]:
    """Spectra as the network sees them, (row, channel), in blocks, each with the positions of its rows among `rows`."""
    for start in range(0, len(rows), AT_ONCE):
        some = rows[start : start + AT_ONCE]
        counts = torch.from_numpy(subject.dataset.read(some)).to(subject.device)
        yield np.arange(start, start + len(some)), subject.model.transformed(SPECTRUM, counts)


# Numbers


def _intervals(subject: Subject, name: str, estimates: Array, truth: Array, seed: int) -> dict[str, Any]:
    """Intervals over cores, since spectra of one core resemble each other."""
    if not np.isfinite(estimates).all():
        return {}
    return bootstrap.intervals(subject.metrics[name], estimates, truth, seed, subject.dataset.cores[subject.test])


def _compared(attempt: Attempt, subject: Subject, name: str, estimates: Array) -> list[ComparisonRow] | None:
    """The network compared with baselines trained on the same, equally transformed spectra; None if interrupted.

    The baselines of the experience have all their parameters filled in.
    """
    baselines, table = attempt.spec["baselines"], attempt.tables["baselines"]
    dataset, rows = subject.dataset, np.concatenate([subject.train, subject.test])
    split = np.arange(len(subject.train)), np.arange(len(subject.train), len(rows))
    targets = _measured(dataset, rows)[:, None]
    estimators: dict[str, Array] = {comparison.NETWORK: estimates[:, None]}
    if baselines:
        inputs = np.empty((len(rows), dataset.channels))
        for which, seen in _transformed(subject, rows):
            inputs[which] = seen.cpu().numpy()
    for called, description in zip(names(baselines, table), baselines, strict=True):
        if attempt.interrupted():
            return None
        made = cross_validation.estimates(
            built(table, description),
            inputs,
            targets,
            [split],
            lambda some: inner_folds(some, dataset.cores[rows], Seeds(attempt.seed)),
            attempt.seed,
            [_as_pair(subject, name)],
        )
        estimators[called] = made.values[split[1]]
    notes = dict.fromkeys(estimators, attempt.caution)
    units, cores = {name: dataset.units.get(name, "")}, dataset.cores[subject.test]
    compared = comparison.compared(estimators, targets[split[1]], units, attempt.seed, cores, notes)
    return list(map(ComparisonRow.from_document, compared))


def inner_folds(rows: Rows, cores: NDArray[np.str_], seeds: Seeds) -> list[tuple[Rows, Rows]]:
    """Training and validation rows of the inner folds on which baselines choose their parameters: of whole cores, or of
    spectra if they are of one core; none for fewer than two spectra.

    cores  (row,) of all rows of the dataset
    """
    if len(rows) < 2:
        return []
    count = len(np.unique(cores[rows]))
    by_core = GroupKFold("core", min(INNER_FOLDS, count)) if count > 1 else KFold(min(INNER_FOLDS, len(rows)))
    parts = by_core.folds(rows, lambda name: cores, seeds.numpy("inner", "baselines"))
    return [(part.train, part.test) for part in parts]


def _as_pair(subject: Subject, name: str) -> cross_validation.Transform:
    """The number's transform for baselines, as it was fitted for the network."""

    def forward(values: Array) -> Array:
        column = torch.from_numpy(values)[:, None].to(subject.device)
        transformed: Array = subject.model.transformed(name, column)[:, 0].cpu().numpy()
        return transformed

    def inverse(values: Array) -> Array:
        column = torch.from_numpy(np.ascontiguousarray(values)).reshape(-1, 1).to(subject.device)
        inverted: Array = subject.model.in_units({name: column}, {})[name].double().cpu().numpy()
        return inverted.reshape(np.shape(values))

    return forward, inverse


# Spectra


@dataclass
class _Reconstructed:
    """Errors on hidden channels, accumulated block by block: for each channel and each spectrum."""

    guess: Tensor
    """The mean of the training spectra as the network sees them, (1, channel): a guess without any input."""
    keeps: frozenset[int]
    """Positions of those that are kept, among the test spectra."""
    sums: Sums
    """Sums of the metrics over all hidden channels."""
    times: Array
    """How often each channel was hidden, (channel,); then sums over those times: of the network's squared errors, of
    the guess's, and of counts."""
    squared: Array
    squared_of_guess: Array
    counts: Array
    of_spectra: list[float] = field(default_factory=list)  # RMSE of the hidden channels of each
    kept: list[tuple[int, Array, Array, NDArray[np.bool_]]] = field(default_factory=list)
    """Position among the test spectra, counts, reconstruction, and whether each channel is hidden."""

    @classmethod
    def begin(cls, subject: Subject) -> _Reconstructed:
        total = torch.zeros(1, subject.dataset.channels, dtype=torch.float64)
        for _, seen in _transformed(subject, subject.train):
            total += seen.double().sum(dim=0, keepdim=True).cpu()
        guess = (total / len(subject.train)).float().to(subject.device)
        evenly = np.linspace(0, len(subject.test) - 1, KEPT).round().astype(int)
        sums = Sums(subject.metrics[SPECTRUM])
        return cls(guess, frozenset(evenly.tolist()), sums, *np.zeros((4, subject.dataset.channels)))

    def add(self, made: Mapping[str, Tensor], samples: Mapping[str, Tensor], subject: Subject) -> None:
        counted = subject.data.counted(SPECTRUM, samples)
        truth, estimate = (of[SPECTRUM].double().cpu().numpy() for of in (samples, made))
        hidden = np.ones(truth.shape, dtype=bool) if counted is None else counted.cpu().numpy()
        guess = subject.model.in_units({SPECTRUM: self.guess.expand(len(truth), -1)}, samples)[SPECTRUM]
        self.sums = self.sums.with_piece(estimate[hidden], truth[hidden])
        squared = np.where(hidden, np.square(estimate - truth), 0.0)
        self.times += hidden.sum(axis=0)
        self.squared += squared.sum(axis=0)
        self.squared_of_guess += np.where(hidden, np.square(guess.cpu().numpy() - truth), 0.0).sum(axis=0)
        self.counts += np.where(hidden, truth, 0.0).sum(axis=0)
        first = len(self.of_spectra)
        self.of_spectra += _root(squared.sum(axis=1), hidden.sum(axis=1)).tolist()
        for index in sorted(self.keeps & set(range(first, first + len(truth)))):
            own = index - first
            self.kept.append((index, truth[own], estimate[own], hidden[own]))

    def by_channel(self) -> dict[str, Array]:
        """Root mean squares over hidden channels, (channel,) [counts]: of the network's errors, of the guess's, and
        of the counting noise.
        """
        sums = {"rmse": self.squared, "rmse_of_mean": self.squared_of_guess, "counting_noise": self.counts}
        return {name: _root(total, self.times) for name, total in sums.items()}


def _root(sums: Array, times: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(sums / times))


def _write_errors(directory: RunDirectory, subject: Subject, reconstructed: _Reconstructed, note: str) -> None:
    dataset = subject.dataset
    where, errors = energies(dataset.energy, dataset.channels), reconstructed.by_channel()
    table: dict[str, Sequence[Any]] = {"channel": range(dataset.channels)}
    if where is not None:
        table["energy"] = where.round(6).tolist()
    table["times_hidden"] = reconstructed.times.astype(int).tolist()
    table |= {name: values.tolist() for name, values in errors.items()}
    _write_table(directory.results / ERRORS_BY_ENERGY, table, note)
    _write_kept(directory, subject, reconstructed, where, note)


def _write_kept(
    directory: RunDirectory, subject: Subject, reconstructed: _Reconstructed, energy: NDArray[Any] | None, note: str
) -> None:
    """Counts, reconstruction and hidden channels of some test spectra, over channel and energy."""
    import xarray

    dataset, kept = subject.dataset, reconstructed.kept
    numbers, *of_kept = zip(*kept, strict=True) if kept else ((), (), (), ())
    rows = subject.test[list(numbers)]
    planes = [np.array(values).reshape(len(kept), dataset.channels) for values in of_kept]
    words = {"counts": "counts", "reconstruction": "counts, as reconstructed", "hidden": "hidden from the network"}
    variables: dict[str, Any] = {
        name: (("spectrum", "channel"), plane, {"long_name": text})
        for (name, text), plane in zip(words.items(), planes, strict=True)
    }
    variables |= {name: ("spectrum", of[rows].astype(object)) for name, of in _identified(dataset).items()}
    variables["depth"] = ("spectrum", dataset.depths[rows], {"units": dataset.units.get("depth", "")})
    coordinates: dict[str, Any] = {"spectrum": rows}
    if energy is not None:
        coordinates["energy"] = ("channel", energy, {"units": "keV"})
    whole = xarray.Dataset(variables, coordinates, _attributes(directory, note))
    files.write_bytes(directory.results / RECONSTRUCTIONS, bytes(whole.to_netcdf(engine="h5netcdf")))


# Files


def _write_predictions(
    directory: RunDirectory, subject: Subject, columns: Mapping[str, tuple[Any, str, str]], note: str
) -> None:
    """Write tables with a line per test spectrum; the one that marks the run as evaluated comes last."""
    import xarray

    dataset, test = subject.dataset, subject.test
    identified = {name: of[test] for name, of in _identified(dataset).items()}
    table: dict[str, Sequence[Any]] = {name: values.tolist() for name, values in identified.items()}
    table["depth"] = dataset.depths[test].tolist()
    table |= {name: np.asarray(values).tolist() for name, (values, _, _) in columns.items()}
    _write_table(directory.results / "predictions.csv", table, note)
    variables: dict[str, Any] = {name: ("spectrum", values.astype(object)) for name, values in identified.items()}
    depth = (dataset.depths[test], dataset.units.get("depth", ""), "depth in the core")
    for name, (values, unit, words) in {"depth": depth, **columns}.items():
        variables[name] = ("spectrum", np.asarray(values), {"units": unit, "long_name": words})
    whole = xarray.Dataset(variables, {"spectrum": test}, _attributes(directory, note))
    files.write_bytes(directory.results / TEST_PREDICTIONS, bytes(whole.to_netcdf(engine="h5netcdf")))


def _identified(dataset: SpectraDataset) -> dict[str, NDArray[np.str_]]:
    """Columns that identify spectra, (row,) each."""
    return {"name": dataset.names, "core": dataset.cores}


def _attributes(directory: RunDirectory, note: str) -> dict[str, str]:
    return {"run": directory.name, "part": "test", **({"caution": note} if note else {})}


def _write_table(path: Path, table: Mapping[str, Sequence[Any]], note: str) -> None:
    """Write columns of equal length as CSV; NaN becomes an empty cell, and a note is repeated in every line."""
    columns = {**table, "caution": [note] * len(next(iter(table.values())))} if note else table
    lines = zip(*columns.values(), strict=True)
    files.write_csv(path, columns, ([_finite(value) for value in line] for line in lines))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
