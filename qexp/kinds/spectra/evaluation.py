"""Evaluation on spectra: numbers by core, reconstructed channels, saliency; of test spectra and of
other cores.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from qexp.base import files, formats
from qexp.base.arrays import Array, Mask, Texts
from qexp.base.outputs import (
    HELD_OUT_QUANTILES,
    Column,
    Estimated,
    Words,
    joined,
    numbers_in,
    saliency_magnitude_of,
    saliency_of,
)
from qexp.base.seeds import Seeds
from qexp.errors import DamagedError, DatasetError, QexpError
from qexp.kinds.attempt import Attempt, Results
from qexp.kinds.classes import baselines_of
from qexp.kinds.evaluation import (
    ALL,
    PARTS,
    TEST,
    TRAIN,
    VALIDATION,
    EvaluationData,
    EvaluationRequest,
    Independence,
    one_of,
    trained_on,
)
from qexp.kinds.held_out import (
    ExchangeableUnits,
    flat,
    keep_intervals,
    keep_intervals_of,
    quantiles_among,
    read_test_predictions,
)
from qexp.kinds.leaks import Overlap, overlap_in_words, overlaps_with
from qexp.kinds.networks import on_arrays
from qexp.kinds.objects import dataset_of
from qexp.kinds.prediction import require_there
from qexp.kinds.scores import (
    Scores,
    attributes,
    errors_of_group,
    write_errors,
    write_table,
    write_test_predictions,
)
from qexp.kinds.spectra.dataset import SpectraDataset, SpectrumSamples
from qexp.kinds.spectra.experiment import divided, hidden_of, labelled
from qexp.kinds.spectra.figures import energies, spread_evenly
from qexp.kinds.spectra.sources import SPECTRA
from qexp.kinds.spectra.spec import SPECTRUM
from qexp.kinds.training import NetworkTraining
from qexp.metrics.baselines import (
    BaselineTransform,
    compared_classifiers,
    compared_estimators,
    cross_validated,
    cross_validated_classes,
)
from qexp.metrics.meaning import CLASSES, NETWORK, NUMBERS
from qexp.metrics.metric import Metrics, Sums, needs_training_mean, with_training_mean
from qexp.metrics.splits import GroupKFold, KFold, Rows, Split
from qexp.networks.estimator import Estimator, input_times_gradient
from qexp.networks.training import Data, Trainer, deterministic
from qexp.results.intervals import OVERALL
from qexp.spec.reading import Document
from qexp.store.directory import (
    BASELINES,
    ERRORS_BY_ENERGY,
    PREDICTIONS,
    RECONSTRUCTIONS,
    SALIENCY,
    RunDirectory,
)
from qexp.store.provenance import read_seen
from qexp.store.record import ComparisonRow, Feature, GroupErrors

if TYPE_CHECKING:
    import xarray

AT_ONCE = 512
"""Number of spectra that are estimated together."""

CORE = "core"
"""The column of the cores, and the kind of group by which errors are listed."""


@dataclass(frozen=True)
class Subject:
    """A trained network and what it is evaluated on.

    train, test  rows of the dataset: those that the network was trained on, and those of
                 `data.test` in their order
    metrics      output → name → metric
    mean         of the target that the network was trained on; NaN without one, or if it is unknown
    """

    dataset: SpectraDataset
    model: Estimator
    data: Data
    train: Rows
    test: Rows
    metrics: Mapping[str, Metrics]
    mean: float

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def transformed(subject: Subject, rows: Rows) -> Iterator[Tensor]:
    """Spectra as the network sees them, (row, channel), in blocks."""
    for start in range(0, len(rows), AT_ONCE):
        counts = torch.from_numpy(subject.dataset.read(rows[start : start + AT_ONCE])).to(
            subject.device
        )
        yield subject.model.transformed(SPECTRUM, counts)


def identifiers(dataset: SpectraDataset) -> dict[str, Texts]:
    """Columns that identify spectra, (row,) each."""
    return {"name": dataset.names, CORE: dataset.cores}


def cells(values: ArrayLike) -> list[float | None]:
    """Numbers for a table, (row,), with None for those that are not finite."""
    return [value if math.isfinite(value) else None for value in np.asarray(values).tolist()]


# Estimated numbers of the test spectra: intervals over cores, and the comparison with baselines.


INNER_FOLDS = 5
"""Largest number of inner folds of the training spectra, for baselines' parameters."""


def compared_with_baselines(
    attempt: Attempt, subject: Subject, name: str, estimates: Array
) -> tuple[list[ComparisonRow], dict[str, Array]] | None:
    """The network compared with baselines trained on the same, equally transformed spectra, and
    what each estimates, (row, 1), or the probabilities of classes; None if interrupted.

    The baselines of the experience have all their parameters filled in.
    """
    baselines = attempt.spec["baselines"]
    dataset = subject.dataset
    rows = np.concatenate([subject.train, subject.test])
    split = np.arange(len(subject.train)), np.arange(len(subject.train), len(rows))
    targets = dataset.measured[name][rows, None]
    classes = dataset.classes.get(name)
    estimators = {NETWORK: estimates[:, None] if classes is None else estimates}
    if baselines:
        of_blocks = [spectra.cpu() for spectra in transformed(subject, rows)]
        inputs = torch.cat(of_blocks).double().numpy()

    def inner(training: Rows) -> list[tuple[Rows, Rows]]:
        return inner_folds(training, dataset.cores[rows], Seeds(attempt.seed))

    kind = NUMBERS if classes is None else CLASSES
    for called, baseline in baselines_of(attempt.spec, attempt.tables, kind).items():
        if attempt.interrupted():
            return None
        folds = [split], inner, attempt.seed
        if classes is None:
            transforms = [_as_pair(subject, name)]
            estimated = cross_validated(baseline, inputs, targets, *folds, transforms)
        else:
            count = len(classes.names)
            estimated = cross_validated_classes(baseline, inputs, targets[:, 0], count, *folds)
        estimators[called] = estimated[split[1]]
    notes = dict.fromkeys(estimators, attempt.caution)
    units = {name: dataset.units.get(name, "")}
    cores = dataset.cores[subject.test]
    truth = targets[split[1]]
    if classes is None:
        compared = compared_estimators(estimators, truth, units, cores, notes)
    else:
        compared = compared_classifiers(estimators, truth[:, 0], name, cores, notes)
    del estimators[NETWORK]
    return list(map(ComparisonRow.from_document, compared)), estimators


def inner_folds(rows: Rows, cores: Texts, seeds: Seeds) -> list[tuple[Rows, Rows]]:
    """Training and validation rows of the inner folds on which baselines choose their parameters:
    of whole cores, or of spectra if they are of one core; none for fewer than two spectra.

    cores  (row,) of all rows of the dataset
    """
    if len(rows) < 2:
        return []
    count = len(np.unique(cores[rows]))
    split: Split = KFold(min(INNER_FOLDS, len(rows)))
    if count > 1:
        split = GroupKFold("core", min(INNER_FOLDS, count))
    parts = split.folds(rows, lambda name: cores, seeds.numpy("inner", "baselines"))
    return [(part.train, part.test) for part in parts]


def _as_pair(subject: Subject, name: str) -> BaselineTransform:
    """The number's transform for baselines, as it was fitted for the network."""
    model = subject.model
    device = subject.device
    return (
        on_arrays(lambda column: model.transformed(name, column.to(device)).cpu()),
        on_arrays(
            lambda column: model.in_units({name: column.to(device)}, {})[name].double().cpu()
        ),
    )


# Reconstructed spectra: errors of the channels that were hidden from the network, and some spectra
# for figures.


KEPT_SPECTRA = 3
"""Number of test spectra that are kept for figures, with their reconstructions."""


class Reconstructed:
    """Errors on hidden channels, accumulated block by block, and some spectra that are kept."""

    def __init__(self, subject: Subject) -> None:
        total = torch.zeros(1, subject.dataset.channels, dtype=torch.float64)
        for spectra in transformed(subject, subject.train):
            total += spectra.double().sum(dim=0, keepdim=True).cpu()
        self._guess = (total / len(subject.train)).float().to(subject.device)
        """The mean of the training spectra as the network sees them, (1, channel): a guess without
        any input.
        """
        self._keeps = frozenset(spread_evenly(len(subject.test), KEPT_SPECTRA).tolist())
        self.overall = Sums(subject.metrics[SPECTRUM])
        """Metrics of the hidden channels of all spectra."""
        self.times_hidden = np.zeros(subject.dataset.channels)
        """How often each channel was hidden, (channel,)."""
        self.of_cores: dict[str, Sums] = {}
        """Core → metrics of its spectra, in the order in which they come."""
        self.squares = defaultdict[str, Any](float)
        """Quantity → sum of squares over the times that each channel was hidden [counts²]."""
        self.of_spectra: list[float] = []  # RMSE of the hidden channels of each
        self.kept: list[tuple[int, Array, Array, Mask]] = []
        """Position among the test spectra, counts, reconstruction, hidden channels."""

    def add(
        self, estimates: Mapping[str, Tensor], samples: Mapping[str, Tensor], subject: Subject
    ) -> None:
        counted = subject.data.counted(SPECTRUM, samples)
        truth, estimate = (
            variables[SPECTRUM].double().cpu().numpy() for variables in (samples, estimates)
        )
        hidden = np.ones(truth.shape, dtype=bool) if counted is None else counted.cpu().numpy()
        repeated = {SPECTRUM: self._guess.expand(len(truth), -1)}
        guess = subject.model.in_units(repeated, samples)[SPECTRUM].cpu().numpy()
        squares = {"rmse": np.square(estimate - truth), "rmse_of_mean": np.square(guess - truth)}
        squares["counting_noise"] = truth  # the variance of a count is the count
        for name, values in squares.items():
            squares[name] = np.where(hidden, values, 0.0)
            self.squares[name] += squares[name].sum(axis=0)
        first = len(self.of_spectra)
        numbers = range(first, first + len(truth))
        self.overall = self.overall.with_piece(estimate[hidden], truth[hidden])
        cores = subject.dataset.cores[subject.test[numbers]]
        for core in np.unique(cores):
            rows = cores == core
            sums = self.of_cores.get(str(core), Sums(self.overall.metrics))
            piece = estimate[rows][hidden[rows]], truth[rows][hidden[rows]]
            self.of_cores[str(core)] = sums.with_piece(*piece)
        self.times_hidden += hidden.sum(axis=0)
        self.of_spectra += _root(squares["rmse"].sum(axis=1), hidden.sum(axis=1)).tolist()
        of_block = zip(numbers, truth, estimate, hidden, strict=True)
        self.kept += [spectrum for spectrum in of_block if spectrum[0] in self._keeps]

    def errors(self) -> list[GroupErrors]:
        """Of all test spectra, then of each core."""
        groups = [(OVERALL, "", self.overall)]
        groups += [(CORE, name, sums) for name, sums in sorted(self.of_cores.items())]
        return [
            errors_of_group(kind, name, sums.samples, SPECTRUM, sums.values())
            for kind, name, sums in groups
        ]


def _root(sums: Array, times: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(sums / times))


def write_reconstructed(
    directory: RunDirectory, subject: Subject, reconstructed: Reconstructed, note: str
) -> None:
    """Errors of hidden channels by energy; counts and reconstruction of some spectra."""
    import xarray

    dataset = subject.dataset
    where = energies(dataset.energy, dataset.channels)
    times = reconstructed.times_hidden
    table: dict[str, Sequence[Any]] = {"channel": range(dataset.channels)}
    if where is not None:
        table["energy"] = where.round(6).tolist()
    table["times_hidden"] = times.astype(int).tolist()
    table |= {name: cells(_root(total, times)) for name, total in reconstructed.squares.items()}
    write_table(directory.results / ERRORS_BY_ENERGY, table, note)
    kept = reconstructed.kept
    numbers, *of_kept = zip(*kept, strict=True) if kept else ((), (), (), ())
    rows = subject.test[list(numbers)]
    planes = [np.array(values).reshape(len(kept), dataset.channels) for values in of_kept]
    words = {
        "counts": "counts",
        "reconstruction": "counts, as reconstructed",
        "hidden": "hidden from the network",
    }
    variables: dict[str, Any] = {}
    for (name, text), plane in zip(words.items(), planes, strict=True):
        variables[name] = ("spectrum", "channel"), plane, {"long_name": text}
    for name, texts in identifiers(dataset).items():
        variables[name] = "spectrum", texts[rows].astype(object)
    about = {"units": dataset.units.get("depth", "")}
    variables["depth"] = "spectrum", dataset.depths[rows], about
    coordinates: dict[str, Any] = {"spectrum": rows}
    if where is not None:
        coordinates["energy"] = ("channel", where, {"units": "keV"})
    pictured = xarray.Dataset(variables, coordinates, attributes(directory, note))
    formats.write_netcdf(directory.results / RECONSTRUCTIONS, pictured)


# Saliency of channels: how much each contributes to the estimates of the test spectra, on average.


MOST_AVERAGED = 256
"""Largest number of test spectra that are averaged: gradients take twice as long."""

AT_ONCE_WITH_GRADIENTS = 32
"""Number of spectra whose gradients are computed together, for which all activations are kept."""


def write_saliency(attempt: Attempt, subject: Subject, outputs: Sequence[str]) -> bool:
    """Write input times gradient of every channel, averaged over test spectra; False if
    interrupted.

    outputs  the numbers that the network estimates; without one nothing is written
    At most `MOST_AVERAGED` spectra are used, evenly spread over the test spectra in their order.
    """
    if not outputs:
        return True
    chosen = spread_evenly(len(subject.test), MOST_AVERAGED)
    tests = subject.data.test
    sums = {name: np.zeros((2, subject.dataset.channels)) for name in outputs}
    with deterministic():
        for block in np.array_split(chosen, -(-len(chosen) // AT_ONCE_WITH_GRADIENTS)):
            if attempt.interrupted():
                return False
            samples = {
                name: values[torch.from_numpy(block).to(values.device)]
                for name, values in tests.items()
            }
            for name, total in sums.items():
                made = input_times_gradient(subject.model, samples, name, SPECTRUM)
                values = made.double().cpu().numpy()
                total += values.sum(axis=0), np.abs(values).sum(axis=0)
    _write(attempt, subject, {name: total / len(chosen) for name, total in sums.items()}, chosen)
    return True


def _write(attempt: Attempt, subject: Subject, means: Mapping[str, Array], chosen: Rows) -> None:
    """Input times gradient and its absolute value, (channel,), with the mean spectrum."""
    import xarray

    dataset = subject.dataset
    variables: dict[str, Any] = {}
    for name, (mean, magnitude) in means.items():
        for variable, values, of_what in (
            (saliency_of(name), mean, ""),
            (saliency_magnitude_of(name), magnitude, "the absolute value of "),
        ):
            words = f"{name}: mean of {of_what}transformed input times gradient"
            texts = {"units": dataset.units.get(name, ""), "long_name": words}
            variables[variable] = "channel", values, texts
    counts = dataset.read(subject.test[chosen]).mean(axis=0, dtype=np.float64)
    variables["counts"] = ("channel", counts, {"long_name": "mean counts of these spectra"})
    energy = energies(dataset.energy, dataset.channels)
    coordinates = {} if energy is None else {"energy": ("channel", energy, {"units": "keV"})}
    sizes = {"spectra": len(chosen), "of": len(subject.test)}
    about = attributes(attempt.directory, attempt.caution, **sizes)
    table = xarray.Dataset(variables, coordinates, about)
    formats.write_netcdf(attempt.directory.results / SALIENCY, table)


# Evaluation on spectra: numbers of the test spectra by core, reconstructed channels, and errors by
# energy.


log = logging.getLogger("qexp.run")


def _evaluate_trained(attempt: Attempt, trainer: Trainer) -> Results | None:
    data = trainer.data
    assert isinstance(data, SpectrumSamples)
    mean = data.training_mean(attempt.dataset.target or "")
    rows = (data.train_rows, data.test_rows)
    metrics = trainer.recipe.metrics
    results = evaluate(attempt, Subject(attempt.dataset, trainer.model, data, *rows, metrics, mean))
    if results is not None and attempt.outputs.keys() - {SPECTRUM}:
        keep_intervals(attempt.directory)
    return results


train = NetworkTraining(_evaluate_trained)


def evaluate(attempt: Attempt, subject: Subject) -> Results | None:
    """Estimate the test spectra and write tables; None if interrupted.

    A number gets intervals over cores, and a comparison with the experience's baselines.
    """
    directory = attempt.directory
    dataset = subject.dataset
    test = subject.test
    reconstructed = Reconstructed(subject) if SPECTRUM in subject.model.network.outputs else None
    if (estimates := _estimated(attempt, subject, reconstructed)) is None:
        return None
    cores = dataset.cores[test]
    log.info("evaluated %s spectra of %d cores", f"{len(test):,}", len(np.unique(cores)))
    files.make_folder(directory.results)
    scores = Scores(CORE, cores, cores)
    comparison = list[ComparisonRow]()
    columns: dict[str, Column] = {}
    of_baselines = {}
    if reconstructed is not None:
        scores.results[SPECTRUM] = reconstructed.overall.values()
        about = {"units": "counts", "long_name": "RMSE of the channels that were hidden"}
        columns["hidden_rmse"] = reconstructed.of_spectra, about
        scores.errors += reconstructed.errors()
        write_reconstructed(directory, subject, reconstructed, attempt.caution)
    numbers = [name for name in numbers_in(attempt.outputs) if name in estimates]
    for name, estimated in estimates.items():
        truth = dataset.measured[name][test]
        scores.add(name, subject.metrics[name], estimated.middle, truth, subject.mean)
        with_baselines = compared_with_baselines(attempt, subject, name, estimated.middle)
        if with_baselines is None:
            return None
        rows, of_each = with_baselines
        comparison += rows
        # Kept for figures of numbers: estimates of others beside those of the network.
        for called, values in of_each.items() if name in numbers else ():
            of_baselines[f"{name}: {called}"] = cells(values[:, 0])
        words = Words(
            truth=f"{name}: measured",
            estimate=f"{name}: estimated",
            quantiles=f"{name}: quantiles of the posterior",
        )
        columns |= attempt.outputs[name].columns(truth, estimated, words)
    if not write_saliency(attempt, subject, numbers):
        return None
    write_errors(directory, scores.errors, dataset.units, attempt.caution)
    _write_predictions(directory, subject, columns, of_baselines, attempt.caution)
    ranges = []
    for name in numbers if len(subject.train) else ():
        values = dataset.measured[name][subject.train]
        least = float(values.min())
        greatest = float(values.max())
        ranges.append(Feature(column=name, least=least, greatest=greatest))
    return scores.document(directory.part, comparison=tuple(comparison), targets=tuple(ranges))


def _estimated(
    attempt: Attempt, subject: Subject, reconstructed: Reconstructed | None
) -> dict[str, Estimated] | None:
    """Number → its estimates for the test spectra, (row,); reconstructed spectra are added up; None
    if interrupted.
    """
    numbers = {name: list[Estimated]() for name in subject.model.network.outputs}
    numbers.pop(SPECTRUM, None)
    model = subject.model
    tests = subject.data.test
    with deterministic():
        for values in zip(*(values.split(AT_ONCE) for values in tests.values()), strict=True):
            if attempt.interrupted():
                return None
            samples = dict(zip(tests, values, strict=True))
            estimates = model.estimated(samples, HELD_OUT_QUANTILES)
            for name, blocks in numbers.items():
                blocks.append(estimates[name].each(lambda made: flat(made.double())))
            if reconstructed is not None:
                middles = {name: made.middle for name, made in estimates.items()}
                reconstructed.add(middles, samples, subject)
    return {name: joined(blocks, np.concatenate) for name, blocks in numbers.items()}


def _write_predictions(
    directory: RunDirectory,
    subject: Subject,
    columns: Mapping[str, Column],
    of_baselines: Mapping[str, Sequence[Any]],
    note: str,
) -> None:
    """Write tables with a line per test spectrum; the one that marks the run comes last.

    of_baselines  output and baseline → its estimates, (row,)
    """
    dataset = subject.dataset
    test = subject.test
    texts = {name: values[test] for name, values in identifiers(dataset).items()}
    about = {"units": dataset.units.get("depth", ""), "long_name": "depth in the core"}
    columns = {"depth": (dataset.depths[test], about), **columns}
    table = {name: values.tolist() for name, values in texts.items()}
    if of_baselines:
        write_table(directory.results / BASELINES, {**table, **of_baselines}, note)
    for name, (values, _) in columns.items():
        if not isinstance(values, Mapping):
            is_text = np.asarray(values).dtype == object
            table[name] = values.tolist() if is_text else cells(values)
    write_table(directory.results / PREDICTIONS, table, note)
    write_test_predictions(directory, "spectrum", test, texts, columns, note)


# Evaluation on spectra of other cores: numbers by core, or hidden channels.


NO_ROWS: Rows = np.array([], dtype=np.int64)


def open_data(request: EvaluationRequest) -> EvaluationData:
    """The spectra of a dataset, of a folder, with or without train/ and test/, or a table."""
    document = _document(request)
    try:
        dataset: Any = dataset_of(document, request.tables, request.workspace)
    except DatasetError as error:  # without targets another command is named
        if request.source is not None and all(
            where[:1] == ("target",) for where, _ in error.findings
        ):
            raise QexpError(f"{request.without_truth([document['target']])}\n{error}") from None
        raise
    _require_variables(request, dataset)
    usual = TEST if (dataset.part == TEST).any() else ALL
    part = request.chosen_part(usual, PARTS, "")
    if part == ALL:
        rows = dataset.rows
    elif dataset.fingerprint == request.spec["dataset"]["fingerprint"]:
        # the run's own, as it divides them
        parts = divided(request.spec, dataset, request.tables, Seeds(request.run_seed))
        rows = dict(zip(PARTS, parts, strict=False))[part]
    else:
        rows = np.flatnonzero(dataset.part == part)
    if not len(rows):
        known = [*np.unique(dataset.part).tolist(), ALL]
        raise QexpError(f"`part={part}`: {request.name} has no such spectra; use {one_of(known)}")
    document = {**document, "units": dataset.units, "fingerprint": dataset.fingerprint}
    independence = partial(_independence, dataset, rows, part)
    evaluate = partial(_evaluate_other, request, dataset, rows)
    return EvaluationData(
        document, part, usual, len(rows), independence, evaluate, dataset.left_out, dataset.warnings
    )


def _document(request: EvaluationRequest) -> Document:
    if request.document is not None:
        return request.document
    source = request.source or Path()
    require_there(source)
    own = {**request.spec["dataset"], "path": str(source.absolute())}
    for key in ("fingerprint", "found", "lists"):
        own.pop(key, None)
    if own["target"] is not None:
        own["missing"] = "drop"
    if (source / SPECTRA).is_dir() and not (source / TRAIN).is_dir():
        own["alone"] = True
    return own


def _require_variables(request: EvaluationRequest, dataset: SpectraDataset) -> None:
    own = request.spec["dataset"]
    shapes = dataset.shapes()
    for name in request.outputs:
        if name not in shapes:
            raise request.without_truth([name])
    if (dataset.channels, dataset.patch_size) != (own["channels"], own["patch_size"]):
        raise QexpError(
            f"{request.name} has {dataset.channels} channels in patches of {dataset.patch_size},"
            f" but {request.directory.name} was trained on {own['channels']} in patches of"
            f" {own['patch_size']}"
        )


def _evaluate_other(
    request: EvaluationRequest,
    dataset: SpectraDataset,
    rows: Rows,
    attempt: Attempt,
    models: Sequence[Estimator],
    metrics: Mapping[str, Metrics],
) -> Results | None:
    model = models[0]
    parts = NO_ROWS, NO_ROWS, rows, NO_ROWS
    hidden = hidden_of(model.network)
    data = SpectrumSamples(dataset, *parts, Seeds(attempt.seed), attempt.device, hidden)
    mean = _training_mean(request, metrics)
    complete = {name: with_training_mean(of_output, mean) for name, of_output in metrics.items()}
    results = evaluate(attempt, Subject(dataset, model, data, NO_ROWS, rows, complete, mean))
    outputs = {name: one for name, one in attempt.outputs.items() if name != SPECTRUM}
    if results is not None and outputs:
        predictions = read_test_predictions(attempt.directory)
        estimates = {}
        for name, output in outputs.items():
            middle = output.read(predictions).middle
            estimates[name] = [Estimated(middle, quantiles=quantiles_among(predictions, name))]
        keep_intervals_of(attempt.directory, request.directory, estimates, [""], CORE)
    return results


def _training_mean(request: EvaluationRequest, metrics: Mapping[str, Metrics]) -> float:
    """The mean of the run's training targets; NaN if it is unknown or not needed."""
    if any(map(needs_training_mean, metrics.values())):
        with suppress(DatasetError):
            trained = request.trained
            seeds = Seeds(request.run_seed)
            train, _, _ = divided(request.spec, trained, request.tables, seeds)
            rows = labelled(request.spec, train, seeds)
            for values in trained.measured.values():
                return float(values[rows].mean(dtype=np.float64))
    return math.nan


def _independence(
    dataset: SpectraDataset, rows: Rows, part: str, request: EvaluationRequest
) -> Independence:
    """Whether no spectrum, and no core by its name, is among those that the run or its ancestors
    were trained on.
    """
    if part == VALIDATION and dataset.fingerprint == request.spec["dataset"]["fingerprint"]:
        return Independence.of_validation(
            request.spec, "these are the run's own validation spectra"
        )
    try:
        trained = read_seen(request.directory)
    except DamagedError as error:
        return Independence(None, (f"the training spectra are unknown: {error}",))
    if not trained:
        return Independence(None, ("the run does not say on which spectra it was trained",))
    shared = []
    of_core: dict[str, list[Overlap]] = {}
    for run, spectra in trained.items():
        found = overlaps_with(dataset, rows, spectra)
        if found:
            shared.append(f"used for training by {run}: {overlap_in_words(found)}")
        for overlap in found:
            of_core.setdefault(overlap.core, []).append(overlap)
    count = leaked = 0
    for found in of_core.values():
        count += max(overlap.tested if overlap.others else overlap.leaked for overlap in found)
        leaked += max(overlap.leaked for overlap in found)
    ancestors = [name for name in request.directory.record().parents if name not in trained]
    unknown = [f"the training spectra of {', '.join(ancestors)} are unknown"] if ancestors else []
    nothing = "no spectrum, and no core of the same name, was used for training"
    if own := _own_held_out(dataset, rows, request):
        nothing += (
            f"; {own:,} of {len(rows):,} are held-out spectra of the run, from whose errors"
            " intervals are made"
        )
    return Independence.of(shared, unknown, nothing, trained_on(leaked, len(rows), count))


def _own_held_out(dataset: SpectraDataset, rows: Rows, request: EvaluationRequest) -> int:
    """How many spectra are among those that the run held out; 0 if its data are gone."""
    try:
        trained = request.trained
    except DatasetError:
        return 0
    test = divided(request.spec, trained, request.tables, Seeds(request.run_seed))[2]
    return int(np.isin(dataset.hashes[rows], trained.hashes[test]).sum())


def units_of_spectra(directory: RunDirectory, predictions: xarray.Dataset) -> ExchangeableUnits:
    return ExchangeableUnits(CORE, CORE, [()] * predictions.sizes["spectrum"])
