"""Evaluation on rows: those that folds held out, and those of other tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.base import files, formats
from qexp.base.arrays import Array, Mask, Texts
from qexp.base.outputs import (
    HELD_OUT_QUANTILES,
    NO_LIMITS,
    Column,
    Estimated,
    Number,
    Output,
    Words,
    classes_in,
    estimate_of,
    numbers_in,
    periods_in,
)
from qexp.base.quantities import nearest
from qexp.base.seeds import Seeds
from qexp.base.tables import built
from qexp.errors import DatasetError, QexpError, some
from qexp.kinds.attempt import Attempt, Results
from qexp.kinds.classes import baselines_of
from qexp.kinds.evaluation import (
    ALL,
    TEST,
    TRAIN,
    EvaluationData,
    EvaluationRequest,
    Independence,
    trained_on,
)
from qexp.kinds.held_out import (
    flat,
    keep_intervals,
    keep_intervals_of,
    networks_of_folds,
)
from qexp.kinds.networks import column_of, imputation_of, on_arrays
from qexp.kinds.objects import dataset_of
from qexp.kinds.prediction import TrainingExtent, of_run, require_there
from qexp.kinds.rows.dataset import TabularDataset
from qexp.kinds.rows.folds import Folds
from qexp.kinds.rows.spec import AS_PUBLISHED, grouped_by, imputation, measured
from qexp.kinds.scores import Scores, write_errors, write_table, write_test_predictions
from qexp.metrics.baselines import (
    BaselineTransform,
    compared_classifiers,
    compared_estimators,
    cross_validated,
    cross_validated_classes,
)
from qexp.metrics.meaning import CLASSES, NETWORK, NUMBERS
from qexp.metrics.metric import (
    Metrics,
    evaluate as evaluate_metrics,
    needs_training_mean,
    with_training_mean,
)
from qexp.metrics.splits import Fold, Rows, SplitError, chance, copies
from qexp.networks.estimator import Ensemble, Estimator
from qexp.rows.formats import files_of_rows, open_table
from qexp.rows.table import TableError, unlike
from qexp.spec.reading import Document
from qexp.store.directory import PREDICTIONS, RunDirectory
from qexp.store.record import ComparisonRow


def write_fold(folder: RunDirectory, ensemble: Ensemble, plan: Folds, fold: Fold) -> dict[str, Any]:
    """Estimate the held-out rows of a fold. Returns its results."""
    dataset = plan.dataset
    test = fold.test
    estimates = ensemble.estimated(dataset.samples(test, plan.device), HELD_OUT_QUANTILES)
    table = {"row": dataset.row_numbers(list(test))}
    table |= {name: values[test].tolist() for name, values in dataset.identifiers.items()}
    results = {}
    metrics = plan.recipe(plan.candidates[0]).metrics
    for name, output in plan.outputs.items():
        estimated = estimates[name].each(_column)
        truth = dataset.values[name][test, 0]
        table[name] = output.written(truth).tolist()
        for column, values in output.cells(estimate_of(name), estimated).items():
            table[column] = values.tolist()
        training_mean = dataset.values[name][fold.train, 0].mean()
        complete = with_training_mean(metrics[name], training_mean)
        results[name] = evaluate_metrics(complete, estimated.middle, truth)
    write_table(folder.path / PREDICTIONS, table, folder.record().caution)
    return {"test": results}


def _column(values: torch.Tensor) -> Array:
    """(sample, 1) as (sample,) in double precision; several numbers stay (sample, number)."""
    return flat(values.double())


def evaluate(attempt: Attempt, plan: Folds) -> Results:
    """Write a table of all held-out rows. Returns the results with intervals."""
    directory = attempt.directory
    dataset = plan.dataset
    outputs = plan.outputs
    of_folds = {fold.name: directory.fold(fold.name).path / PREDICTIONS for fold in plan.folds}
    lines = {name: formats.read_csv(path) for name, path in of_folds.items()}
    rows = np.unique(np.concatenate([fold.test for fold in plan.folds]))
    estimates = {name: _held_out(plan, lines, output) for name, output in outputs.items()}
    metrics = plan.recipe(plan.candidates[0]).metrics
    grouping = plan.spec["split"]["parameters"].get("by")
    groups, alike = (
        None if values is None else values[rows] for values in (plan.groups, plan.alike)
    )
    scores = Scores(grouping, groups, alike)
    columns = dict[str, Column]()
    for name, output in outputs.items():
        truth = dataset.values[name][rows, 0]
        tested = estimates[name].each(lambda values: values[rows])
        training_means = _training_means(plan, name)[rows]
        scores.add(name, metrics[name], tested.middle, truth, training_means)
        columns |= output.columns(truth, tested, _words_of_held_out(name))
    targets = tuple(
        replace(one, column=output)
        for output in numbers_in(outputs)
        for one in dataset.ranges([output])
    )
    comparison = _compared(attempt, plan, estimates)
    directory.results.mkdir(exist_ok=True)
    texts = {name: values[rows] for name, values in dataset.identifiers.items()}
    if (group := grouped_by(plan.spec)) is not None:
        texts.setdefault(group, dataset.column(group)[rows])
    numbers = dataset.row_numbers(list(rows))
    write_test_predictions(directory, "row", numbers, texts, columns, attempt.caution)
    _write_lines(directory, lines)
    if scores.errors:
        write_errors(directory, scores.errors, dataset.units, attempt.caution)
    if plan.spec["dataset"].get("estimates_of") is None:
        keep_intervals(directory)
    features = dataset.ranges(measured(plan.spec))
    return scores.document("test", comparison=comparison, features=features, targets=targets)


def _write_lines(directory: RunDirectory, lines: Lines) -> None:
    """Write the held-out rows of all folds."""
    columns: dict[str, None] = {}
    cells = []
    for fold, of_fold in lines.items():
        for line in of_fold:
            columns |= dict.fromkeys(line)
            cells.append([fold, *line.values()])
    # an identifier of the data may be called fold
    name = "fold" if "fold" not in columns else "fold_of_run"
    formats.write_csv(directory.results / PREDICTIONS, [name, *columns], cells)


def _words_of_held_out(output: str) -> Words:
    return Words(
        truth=f"{output}: measured",
        estimate=f"{output}: estimate of a row that was held out",
        spread=f"{output}: standard deviation over the networks of its fold",
        quantiles=f"{output}: quantiles of the posterior of a row that was held out",
    )


Lines = Mapping[str, Sequence[Mapping[str, str]]]
"""Fold → its held-out rows, each with its cells by column."""


def _held_out(plan: Folds, lines: Lines, output: Output) -> Estimated:
    """The means over the folds that hold out a row, (row,); NaN for rows that no fold holds out."""
    periods = output.averaged(lines[plan.folds[0].name][0])

    def numbers(fold: Fold) -> Array:
        return np.array([list(map(line.__getitem__, periods)) for line in lines[fold.name]], float)

    means = _means_over_folds(plan, list(periods.values()), numbers).T
    return output.read(dict(zip(periods, means, strict=True)))


def _training_means(plan: Folds, output: str) -> Array:
    """The mean of the training targets of the folds that hold out a row, (row,)."""
    values = plan.dataset.values[output][:, 0]
    means = _means_over_folds(plan, [None], lambda fold: values[fold.train].mean(keepdims=True))
    return means[:, 0]


def _means_over_folds(
    plan: Folds, periods: Sequence[float | None], values: Callable[[Fold], Array]
) -> Array:
    """Means over the folds that hold out a row, (row, column); NaN for rows that no fold holds out.

    periods  after which the values of each column repeat, if they do: its means are by the shorter
             way round
    values   those of a fold, (held-out row, column), or (column,) if they are the same for all of
             its rows
    """
    totals = np.zeros((len(plan.dataset), len(periods)))
    repeating = {column: period for column, period in enumerate(periods) if period is not None}
    times = np.zeros(len(plan.dataset), dtype=np.int64)
    with np.errstate(invalid="ignore"):
        for fold in plan.folds:
            added = values(fold)
            for column, period in repeating.items():
                mean_so_far = totals[fold.test, column] / times[fold.test]
                middle = np.where(times[fold.test] > 0, mean_so_far, added[:, column])
                added[:, column] = nearest(added[:, column], middle, period)
            totals[fold.test] += added
            times[fold.test] += 1
        means: Array = totals / times[:, None]
    for column, period in repeating.items():
        means[:, column] %= period
    return means


def _compared(
    attempt: Attempt, plan: Folds, estimates: Mapping[str, Estimated]
) -> tuple[ComparisonRow, ...]:
    """The network compared with the experience's baselines, on the same folds."""
    outputs = numbers_in(plan.outputs)
    inputs = np.concatenate([plan.dataset.values[name] for name in measured(plan.spec)], axis=1)
    folds = [(fold.train, fold.test) for fold in plan.folds], plan.inner_rows, attempt.seed
    of_data = "; ".join(words for words in attempt.caution.split("; ") if words != AS_PUBLISHED)
    rows = []
    for name, output in classes_in(plan.outputs).items():
        of_classes = {NETWORK: estimates[name].middle}
        codes = plan.dataset.values[name][:, 0]
        for called, baseline in baselines_of(plan.spec, plan.tables, CLASSES).items():
            of_classes[called] = cross_validated_classes(
                baseline, inputs, codes, len(output.names), *folds, _completed(plan)
            )
        notes = {**dict.fromkeys(of_classes, of_data), NETWORK: attempt.caution}
        rows += compared_classifiers(of_classes, codes, name, plan.alike, notes)
    if not outputs:
        return tuple(map(ComparisonRow.from_document, rows))
    truth = np.stack([plan.dataset.values[output][:, 0] for output in outputs], axis=1)
    estimators = {NETWORK: np.stack([estimates[name].middle for name in outputs], axis=1)}
    transforms = [_as_pair(plan, output) for output in outputs.values()]
    for name, baseline in baselines_of(plan.spec, plan.tables, NUMBERS).items():
        estimators[name] = cross_validated(
            baseline, inputs, truth, *folds, transforms, _completed(plan)
        )
    units = {output: plan.dataset.units[output] for output in outputs}
    notes = {**dict.fromkeys(estimators, of_data), NETWORK: attempt.caution}
    periods = periods_in(outputs)
    compared = compared_estimators(estimators, truth, units, plan.alike, notes, periods)
    return tuple(map(ComparisonRow.from_document, [*compared, *rows]))


def _completed(plan: Folds) -> Callable[[Rows], Array] | None:
    """A function of training rows: the inputs of all rows, filled in by what these have; None if
    there are no gaps.
    """
    if (filling := imputation_of(plan.spec)) is None:
        return None
    inputs = {name: torch.from_numpy(plan.dataset.values[name]) for name in measured(plan.spec)}

    def completed(rows: Rows) -> Array:
        filling.fit({name: values[rows] for name, values in inputs.items()})
        return torch.cat([*filling(inputs).values()], dim=1).numpy()

    return completed


def _as_pair(plan: Folds, output: Number) -> BaselineTransform | None:
    """The output's transform, fitted to the training rows of each fold, and limits."""
    limits = output.limits
    described = plan.spec["transforms"].get(output.name)
    if described is None:
        return None if limits == NO_LIMITS else (lambda values: values, on_arrays(limits))
    transform = built(plan.tables["transforms"], described)

    def forward(values: Array) -> Any:
        transform.fit(column_of(values))
        return on_arrays(transform)(values)

    return forward, on_arrays(lambda column: limits(transform.inverse(column)))


# Evaluation on rows of other tables, by the mean of all networks of a run's folds.


FILE = "file"
"""Group of the rows of one file, where there are several."""


@dataclass(frozen=True)
class Tables:
    """The rows that are evaluated, of one file or of several.

    parts     the data of each file, and which of its rows
    grouping  column or group by which errors are listed: the run's if all files have it, else the
              file; None: neither
    """

    parts: Sequence[tuple[TabularDataset, Rows]]
    grouping: str | None

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.parts)

    def texts(self, name: str) -> NDArray[Any]:
        of_files = name == FILE and len(self.parts) > 1
        texts = []
        for dataset, rows in self.parts:
            if of_files:
                texts.append(np.full(len(rows), dataset.path.name))
            else:
                texts.append(dataset.column(name)[rows])
        return np.concatenate(texts)

    def values(self, name: str) -> Array:
        """(row, column)"""
        return np.concatenate([dataset.values[name][rows] for dataset, rows in self.parts])

    @property
    def numbers(self) -> list[int]:
        numbers = (dataset.row_numbers(rows.tolist()) for dataset, rows in self.parts)
        return [*chain.from_iterable(numbers)]


def open_data(request: EvaluationRequest) -> EvaluationData:
    """The rows of a dataset, a table, or all tables of a folder."""
    documents = list(_documents(request))
    datasets: list[Any] = [
        dataset_of(document, request.tables, request.workspace) for document in documents
    ]
    for dataset in datasets:
        _require_variables(request, dataset)
    part = request.chosen_part(
        ALL,
        (TRAIN, TEST, ALL),
        "rows have no fixed validation part, as it differs from fold to fold",
    )
    grouping = grouped_by(request.spec)
    if grouping is None or not all(_has(dataset, grouping) for dataset in datasets):
        grouping = FILE if len(datasets) > 1 else None
    tables = Tables([(dataset, _rows(request, dataset, part)) for dataset in datasets], grouping)
    left_out = sum(dataset.left_out for dataset in datasets)
    prints = [dataset.fingerprint for dataset in datasets]
    document = {**documents[0], "fingerprint": prints[0] if len(prints) == 1 else prints}
    if request.source is not None:
        document["path"] = str(request.source)
    independence = partial(_independence, tables)
    evaluate = partial(_evaluate_rows, request, tables, document)
    warnings = [text for dataset in datasets for text in dataset.warnings]
    warnings += unlike(documents[0]["units"], request.spec["dataset"]["units"])
    return EvaluationData(
        document, part, ALL, len(tables), independence, evaluate, left_out, warnings
    )


def _documents(request: EvaluationRequest) -> Iterator[Document]:
    """A document for each file."""
    if request.document is not None:
        yield request.document
        return
    own = request.spec["dataset"].items()
    dataset = {key: value for key, value in own if key not in ("fingerprint", "found")}
    dataset |= {"stand_in": None, "stood_in": False, "missing": imputation(dataset) or "drop"}
    source = request.source or Path()
    require_there(source)
    for file in files_of_rows(source):
        names = open_table(file).names
        columns = [column for output in request.outputs for column in dataset["outputs"][output]]
        if lacking := [column for column in columns if column not in names]:
            raise request.without_truth(lacking)
        identifiers = [name for name in dataset["identifiers"] if name in names]
        declared = dataset.get("groups", {}).items()
        groups = {name: group for name, group in declared if group["column"] in names}
        of_file = {"path": str(file.absolute()), "identifiers": identifiers, "groups": groups}
        yield {**dataset, **of_file}


def _require_variables(request: EvaluationRequest, dataset: TabularDataset) -> None:
    spec = request.spec["dataset"]
    run = request.directory.name
    if dataset.imputation and not imputation(spec):
        lack = f"{dataset.path} has gaps in its inputs, which {run} cannot fill in"
        raise QexpError(f'{lack}; use "missing": "drop"')
    for name in [*measured(request.spec), *request.outputs]:
        if name not in dataset.values:
            if name in request.outputs:
                raise request.without_truth([name])
            raise QexpError(
                f"{dataset.path}: the dataset has no variable '{name}', which {run} takes"
            )
        wanted = len({**spec["inputs"], **spec["outputs"]}[name])
        if (width := dataset.values[name].shape[1]) != wanted:
            raise QexpError(
                f"{dataset.path}: '{name}' has {width} columns, but {run} was trained on {wanted}"
            )


def _rows(request: EvaluationRequest, dataset: TabularDataset, part: str) -> Rows:
    """The rows of a part, as the run's split divides the rows of this table."""
    if part == ALL:
        return dataset.rows
    try:
        folds = dataset.folds(request.spec["split"], request.tables, Seeds(request.run_seed))
    except SplitError as error:
        raise QexpError(
            f"`part={part}`: {dataset.path} cannot be divided as the run's rows were: {error}"
        ) from None
    if len(folds) != 1:
        raise QexpError(
            f"`part={part}`: the run holds every row out in one of {len(folds)} folds; use"
            f" `part={ALL}`"
        )
    return folds[0].train if part == TRAIN else folds[0].test


def _has(dataset: TabularDataset, column: str) -> bool:
    try:
        dataset.column(column)
    except TableError:
        return False
    return True


def _evaluate_rows(
    request: EvaluationRequest,
    tables: Tables,
    document: Mapping[str, Any],
    attempt: Attempt,
    models: Sequence[Estimator],
    metrics: Mapping[str, Metrics],
) -> Results:
    inputs = {
        name: torch.from_numpy(tables.values(name)).float().to(attempt.device)
        for name in measured(attempt.spec)
    }
    sizes = networks_of_folds(request.directory)
    means = _means_of_training_targets(request, metrics)
    ensemble = Ensemble(models, list(sizes.values()))
    estimates = ensemble.estimated(inputs, HELD_OUT_QUANTILES)
    groups = None if tables.grouping is None else tables.texts(tables.grouping)
    scores = Scores(tables.grouping, groups, None if tables.grouping == FILE else groups)
    columns: dict[str, Column] = {}
    folds = {}
    for name, output in attempt.outputs.items():
        estimated = estimates[name].each(_column)
        truth = tables.values(name)[:, 0]
        folds[name] = estimated.folds
        scores.add(name, metrics[name], estimated.middle, truth, means[name])
        words = Words(
            f"{name}: estimate",
            f"{name}: measured",
            spread=f"{name}: standard deviation over the networks of the run",
        )
        columns |= output.columns(truth, replace(estimated, quantiles={}), words)
    directory = attempt.directory
    files.make_folder(directory.results)
    _write_evaluated(attempt, tables, columns, document)
    keep_intervals_of(directory, request.directory, folds, list(sizes), tables.grouping)
    if scores.errors:
        write_errors(directory, scores.errors, attempt.record.units, attempt.caution)
    arrays = {name: values.cpu().numpy() for name, values in inputs.items()}
    means_of_output = {name: made.each(_column).middle for name, made in estimates.items()}
    remarks = extent(request.directory, models[0]).remarks(arrays, means_of_output)
    return scores.document(directory.part, remarks=tuple(remarks))


def extent(directory: RunDirectory, model: Estimator) -> TrainingExtent:
    """What the training rows extend over, as the run recorded it."""
    features = directory.record().features
    ranges = np.array([[feature.least, feature.greatest] for feature in features])
    names = measured(directory.training_spec())

    def untrained(inputs: Mapping[str, NDArray[np.float32]]) -> dict[str, Mask]:
        columns = [inputs[name].reshape(len(inputs[name]), -1) for name in names]
        outside = beyond(np.concatenate(columns, axis=1), ranges)
        return dict(zip((feature.column for feature in features), outside.T, strict=True))

    return TrainingExtent(untrained, of_run(directory)["outputs"])


def beyond(rows: NDArray[np.float32], ranges: NDArray[np.floating]) -> Mask:
    """Which values are outside the ranges of the training data, (row, feature); no missing one.

    ranges  (feature, 2): least and greatest value
    """
    # rounded like the values, so that the limits count as inside
    least, greatest = ranges.astype(np.float32).T
    outside: Mask = (rows < least) | (rows > greatest)
    return outside


def _write_evaluated(
    attempt: Attempt, tables: Tables, columns: Mapping[str, Column], document: Mapping[str, Any]
) -> None:
    """Write a line per row, as CSV and as NetCDF."""
    names = [*([FILE] if len(tables.parts) > 1 else []), *document["identifiers"]]
    grouping = [] if tables.grouping is None else [tables.grouping]
    texts = {name: tables.texts(name) for name in dict.fromkeys([*names, *grouping])}
    table: dict[str, Sequence[Any]] = {"row": tables.numbers}
    table |= {name: values.tolist() for name, values in texts.items()}
    for name, (values, _) in columns.items():
        # NaN is unlike itself
        table[name] = [value if value == value else None for value in values.tolist()]
    directory = attempt.directory
    caution = attempt.caution
    write_table(directory.results / PREDICTIONS, table, caution)
    groups = tables.grouping or ""
    write_test_predictions(directory, "row", tables.numbers, texts, columns, caution, groups=groups)


def _independence(tables: Tables, request: EvaluationRequest) -> Independence:
    """Whether no row has inputs of a training row, or shares a group or identifier."""
    try:
        trained = request.trained
    except DatasetError as error:
        return Independence(
            None, (f"the rows that the run was trained on cannot be read: {error}",)
        )
    rows = _trained_on(request, trained)
    shared, unknown, copied = _copies(request.spec["inputs"], trained, rows, tables)
    compared: dict[str, Any] = {}
    affected = copied.copy()
    group = request.spec["split"]["parameters"].get("by")
    for name in dict.fromkeys([*([group] if group else []), *trained.groups, *trained.identifiers]):
        if not all(_has(dataset, name) for dataset, _ in tables.parts):
            continue
        column = trained.column(name)
        if name in trained.identifiers and _numbers_rows(column, len(trained) + trained.left_out):
            continue
        texts = tables.texts(name)
        both_columns = (column.tolist(), texts.tolist())
        if both_columns in compared.values():  # a group that is a column, as it is
            continue
        compared[name] = both_columns
        if both := sorted(set(column[rows].tolist()) & set(texts.tolist())):
            affected |= np.isin(texts, both)
            shared.append(f"of the same {name} as training rows: {some(both, 3)}")
    nothing = "no row has the same or nearly the same inputs as a training row"
    if not (compared or unknown):
        unknown = [f"{nothing}, but the origin of the rows is unknown"]
    nothing = f"{nothing}, or is of the same {' or '.join(compared)}"
    caution = trained_on(int(copied.sum()), len(tables), int(affected.sum()))
    return Independence.of(shared, unknown, nothing, caution)


def _copies(
    inputs: Sequence[str], trained: TabularDataset, rows: Rows, tables: Tables
) -> tuple[list[str], list[str], Mask]:
    """What is said of rows with the inputs of training rows: that they are shared, and what is not
    known; and which rows are copies.
    """
    old = trained.compared(inputs)[rows]
    new = np.concatenate([dataset.compared(inputs)[rows] for dataset, rows in tables.parts])
    numbers = np.arange(len(old) + len(new))
    found = copies(np.concatenate([old, new])).among(numbers[len(old) :], numbers[: len(old)])
    exact, close = found
    total = f"of {len(tables):,} rows have"
    same = f"{len(exact):,} {total} the same inputs as training rows"
    copied = np.zeros(len(tables), dtype=bool)
    if len(exact) and len(exact) <= chance(new, old):
        return [], [f"{same}, as many as chance explains"], copied
    copied[np.concatenate([exact, close]) - len(old)] = True
    shared = [same] if len(exact) else []
    if len(close):
        shared.append(f"{len(close):,} {total} nearly the same inputs as training rows")
    return shared, [], copied


def _numbers_rows(identifiers: Texts, rows: int) -> bool:
    """Whether an identifier only counts the rows of its file, as 0, 1, 2, …, so that equal ones
    mean nothing.
    """
    texts = identifiers.tolist()
    if len(set(texts)) < len(texts) or not all(text.isdecimal() for text in texts):
        return False
    numbers = [int(text) for text in texts]
    return min(numbers) in (0, 1) and max(numbers) <= rows


def _trained_on(request: EvaluationRequest, trained: TabularDataset) -> Rows:
    """The rows that some network of the run was trained on."""
    folds = trained.folds(request.spec["split"], request.tables, Seeds(request.run_seed))
    return np.unique(np.concatenate([fold.train for fold in folds]))


def _means_of_training_targets(
    request: EvaluationRequest, metrics: Mapping[str, Metrics]
) -> dict[str, float]:
    """Output → the mean of its training targets; NaN if the training data are gone, or if no metric
    needs it.
    """
    means = dict.fromkeys(request.outputs, math.nan)
    if any(map(needs_training_mean, metrics.values())):
        with suppress(DatasetError):
            rows = _trained_on(request, request.trained)
            means = {
                output: float(request.trained.values[output][rows, 0].mean()) for output in means
            }
    return means
