"""Evaluation on rows of other tables, by the mean of all networks of a run's folds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qexp import assemble, files
from qexp.analysis.evaluation.asked import ALL, TEST, TRAIN, Asked, Independence, Judged
from qexp.analysis.intervals.evaluated import keep_intervals_of
from qexp.analysis.intervals.folds import OfFolds, means_of_folds, networks_of_folds
from qexp.datasets.copies import chance, copies
from qexp.datasets.splits import Fold, Rows, Split, SplitError
from qexp.datasets.tabular import FORMATS, TabularDataset
from qexp.errors import DatasetError, NotFoundError, QexpError, some
from qexp.estimates import HELD_OUT_QUANTILES, PERIOD, estimate_of, spread_of
from qexp.limits import NO_LIMITS, limits_of
from qexp.metrics.intervals import intervals as jackknife_intervals
from qexp.metrics.metric import Metrics, needs_training_mean, with_training_mean
from qexp.metrics.metric import evaluate as evaluate_metrics
from qexp.networks.estimator import Ensemble, Inversion, mean, spread
from qexp.rows.formats import open_table
from qexp.rows.table import TableError
from qexp.runs.attempt import Attempt
from qexp.runs.evaluation import group_errors
from qexp.runs.evaluation.group_errors import of_groups, recorded
from qexp.runs.evaluation.limited import described
from qexp.runs.evaluation.results import Results
from qexp.runs.record.directory import PREDICTIONS, RunDirectory
from qexp.runs.record.record import GroupErrors
from qexp.seeds import Seeds
from qexp.spec.kinds.kind import TEST_PREDICTIONS
from qexp.spec.kinds.tabular import grouped_by
from qexp.tables import built

Array = NDArray[np.float64]

SHOWN = 3
"""Names of groups in a message."""

FILE = "file"
"""Group of the rows of one file, where there are several."""


@dataclass(frozen=True)
class Table:
    """Some rows of one file."""

    dataset: TabularDataset
    rows: Rows

    def texts(self, name: str) -> NDArray[np.str_]:
        return self.dataset.column(name)[self.rows]

    def values(self, name: str) -> Array:
        """(row, column)"""
        return self.dataset.values[name][self.rows]


@dataclass(frozen=True)
class Tables:
    """The rows that are evaluated, of one file or of several.

    by  column or group by which errors are listed; None if there is none
    """

    parts: Sequence[Table]
    by: str | None

    def __len__(self) -> int:
        return sum(len(part.rows) for part in self.parts)

    def texts(self, name: str) -> NDArray[Any]:
        if name == FILE and len(self.parts) > 1:
            return np.concatenate([np.full(len(part.rows), part.dataset.path.name) for part in self.parts])
        return np.concatenate([part.texts(name) for part in self.parts])

    def values(self, name: str) -> Array:
        return np.concatenate([part.values(name) for part in self.parts])

    @property
    def numbers(self) -> list[int]:
        return [number for part in self.parts for number in part.dataset.row_numbers(part.rows.tolist())]


def judged(asked: Asked) -> Judged:
    """The rows of a dataset, a table, or all tables of a folder."""
    documents = list(_documents(asked))
    datasets: list[Any] = [assemble.dataset_of(document, asked.tables, asked.workspace) for document in documents]
    for dataset in datasets:
        _require_variables(asked, dataset)
    why = "rows have no fixed validation part, as it differs from fold to fold"
    part = asked.chosen_part(ALL, (TRAIN, TEST, ALL), why)
    tables = Tables([Table(dataset, _rows(asked, dataset, part)) for dataset in datasets], _by(asked, datasets))
    left_out = sum(dataset.left_out for dataset in datasets)
    prints = [dataset.fingerprint for dataset in datasets]
    document = {**documents[0], "fingerprint": prints[0] if len(prints) == 1 else prints}
    if asked.source is not None:
        document["path"] = str(asked.source)

    def evaluate(attempt: Attempt, models: Sequence[Inversion], metrics: Mapping[str, Metrics]) -> Results:
        return _evaluated(
            attempt, asked.directory, Ensemble(models), tables, metrics, _training_means(asked, metrics), document
        )

    return Judged(
        document, part, ALL, len(tables), lambda of: _independence(of, tables), evaluate, left_out,
        [text for dataset in datasets for text in dataset.warnings],
    )  # fmt: skip


def _documents(asked: Asked) -> Iterator[dict[str, Any]]:
    """A document for each file."""
    if asked.document is not None:
        yield asked.document
        return
    own = {key: value for key, value in asked.spec["dataset"].items() if key not in ("fingerprint", "found")}
    own |= {"stand_in": None, "stood_in": False, "missing": "drop"}
    for file in _files(asked.source or Path()):
        try:
            names = open_table(file, FORMATS).names
        except TableError as error:
            raise QexpError(str(error)) from None
        columns = [(output, column) for output in asked.outputs for column in _listed(own["outputs"][output])]
        if lacking := [column for _, column in columns if column not in names]:
            raise asked.without_truth(lacking)
        identifiers = [name for name in own["identifiers"] if name in names]
        groups = {name: group for name, group in own.get("groups", {}).items() if group["column"] in names}
        yield {**own, "path": str(file.absolute()), "identifiers": identifiers, "groups": groups}


def _listed(columns: Any) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns)


def _files(source: Path) -> list[Path]:
    if not source.exists():
        raise NotFoundError(f"{source}: there is no such file or folder")
    if not source.is_dir():
        return [source]
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in FORMATS and path.is_file())
    if not found:
        raise QexpError(f"{source} holds no tables ({', '.join(FORMATS)})")
    return found


def _require_variables(asked: Asked, dataset: TabularDataset) -> None:
    own = asked.spec["dataset"]
    for name in [*asked.spec["inputs"], *asked.outputs]:
        if name not in dataset.values:
            if name in asked.outputs:
                raise asked.without_truth([name])
            raise QexpError(f"{dataset.path}: the dataset has no variable '{name}', which {asked.directory.name} takes")
        wanted = len(_listed({**own["inputs"], **own["outputs"]}[name]))
        if (width := dataset.values[name].shape[1]) != wanted:
            raise QexpError(
                f"{dataset.path}: '{name}' has {width} columns, but {asked.directory.name} was trained on {wanted}"
            )


def _rows(asked: Asked, dataset: TabularDataset, part: str) -> Rows:
    """The rows of a part, as the run's split divides the rows of this table."""
    if part == ALL:
        return np.arange(len(dataset), dtype=np.int64)
    try:
        folds = _folds(asked, dataset)
    except (SplitError, TableError) as error:
        raise QexpError(f"--part {part}: {dataset.path} cannot be divided as the run's rows were: {error}") from None
    if len(folds) != 1:
        raise QexpError(f"--part {part}: the run holds every row out in one of {len(folds)} folds; use --part {ALL}")
    return folds[0].train if part == TRAIN else folds[0].test


def _by(asked: Asked, datasets: Sequence[TabularDataset]) -> str | None:
    """The group by which errors are listed: that of the run if all tables have it, else the file if there are some."""
    by = grouped_by(asked.spec)
    if by is not None and all(_has(dataset, by) for dataset in datasets):
        return by
    return FILE if len(datasets) > 1 else None


def _has(dataset: TabularDataset, column: str) -> bool:
    try:
        dataset.column(column)
    except TableError:
        return False
    return True


def _evaluated(
    attempt: Attempt,
    run: RunDirectory,
    ensemble: Ensemble,
    tables: Tables,
    metrics: Mapping[str, Metrics],
    means: Mapping[str, float],
    document: Mapping[str, Any],
) -> Results:
    inputs = {name: torch.from_numpy(tables.values(name)).float().to(attempt.device) for name in attempt.spec["inputs"]}
    sizes, first = networks_of_folds(run), ensemble.models[0]

    def reduced(name: str, values: torch.Tensor) -> list[torch.Tensor]:
        of_folds = means_of_folds(first, name, values, list(sizes.values()), HELD_OUT_QUANTILES)
        estimates = values[..., :1]
        every = np.stack([of_folds.estimate, *of_folds.quantiles.values()], axis=-1)
        return [mean(first, name, estimates), spread(first, name, estimates), torch.from_numpy(every).transpose(0, 1)]

    made = ensemble.reduced(inputs, reduced, HELD_OUT_QUANTILES)
    groups = None if tables.by is None else tables.texts(tables.by)
    units = attempt.record.units
    alike = None if tables.by == FILE else groups
    columns: dict[str, tuple[Any, dict[str, str]]] = {}
    results: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    folds: dict[str, OfFolds] = {}
    errors: list[GroupErrors] = []
    for output in attempt.spec["outputs"]:
        estimate, apart, of_folds = (values.double().cpu().numpy() for values in made[output])
        estimate, apart = estimate[:, 0], apart[:, 0]
        by_folds, *quantiles = np.moveaxis(of_folds, -1, 0).swapaxes(1, 2)
        folds[output] = OfFolds(by_folds, dict(zip(HELD_OUT_QUANTILES, quantiles, strict=False)))
        truth = tables.values(output)[:, 0]
        of_output = with_training_mean(metrics[output], known := means[output])
        results[output] = evaluate_metrics(of_output, estimate, truth)
        intervals[output] = jackknife_intervals(of_output, estimate, truth, alike)
        if tables.by is not None and groups is not None:
            errors += of_groups(tables.by, groups, output, metrics[output], estimate, truth, known)
        unit = units.get(output, "")
        of_limits = described(output, limits_of(attempt.spec).get(output, NO_LIMITS), unit, [estimate])
        turn = {PERIOD: period} if (period := first.periods.get(output)) is not None else {}
        for name, values, words, more in (
            (output, truth, "measured", {}),
            (estimate_of(output), estimate, "estimate", {**of_limits, **turn}),
            (spread_of(output), apart, "standard deviation over the networks of the run", {}),
        ):
            columns[name] = (values, {"units": unit, "long_name": f"{output}: {words}", **more})
    files.make_folder(attempt.directory.results)
    _write(attempt, tables, columns, document)
    keep_intervals_of(attempt.directory, run, folds, list(sizes), tables.by)
    if errors:
        group_errors.write(attempt.directory.results / group_errors.TABLE, errors, units, attempt.caution)
    part = attempt.directory.part
    return Results({part: results}, {part: intervals}, groups=recorded(errors))


def _write(
    attempt: Attempt,
    tables: Tables,
    columns: Mapping[str, tuple[Any, Mapping[str, str]]],
    document: Mapping[str, Any],
) -> None:
    """Write a line per row, as CSV and as NetCDF."""
    import xarray

    directory, caution = attempt.directory, attempt.caution
    names = [*([FILE] if len(tables.parts) > 1 else []), *document["identifiers"]]
    names += [tables.by] if tables.by is not None and tables.by not in names else []
    texts = {name: tables.texts(name) for name in names}
    table: dict[str, Sequence[Any]] = {"row": tables.numbers, **{name: texts[name].tolist() for name in texts}}
    table |= {
        name: [None if np.isnan(one) else one for one in values.tolist()] for name, (values, _) in columns.items()
    }
    if caution:
        table["caution"] = [caution] * len(tables)
    files.write_csv(directory.results / PREDICTIONS, table, zip(*table.values(), strict=True))
    variables: dict[str, Any] = {name: ("row", values.astype(object)) for name, values in texts.items()}
    variables |= {name: ("row", values, attributes) for name, (values, attributes) in columns.items()}
    about = {"run": directory.name, "part": directory.part, "groups": tables.by or ""}
    whole = xarray.Dataset(variables, {"row": tables.numbers}, {**about, **({"caution": caution} if caution else {})})
    files.write_bytes(directory.results / TEST_PREDICTIONS, bytes(whole.to_netcdf(engine="h5netcdf")))


def _independence(asked: Asked, tables: Tables) -> Independence:
    """Whether no row has the inputs of a training row, and none is of a group, or has an identifier, of one."""
    try:
        trained = asked.trained
    except DatasetError as error:
        return Independence(None, (f"the rows that the run was trained on cannot be read: {error}",))
    rows = _trained_on(asked, trained)
    shared, unknown = _copies(asked.spec["inputs"], trained, rows, tables)
    compared = []
    by = asked.spec["split"]["parameters"].get("by")
    for name in dict.fromkeys([*([by] if by else []), *trained.groups, *trained.identifiers]):
        if not all(_has(part.dataset, name) for part in tables.parts):
            continue
        known = trained.column(name)
        if name in trained.identifiers and _numbers_rows(known, len(trained) + trained.left_out):
            continue
        compared.append(name)
        both = sorted(set(known[rows].tolist()) & set(tables.texts(name).tolist()))
        if both:
            shared.append(f"of the same {name} as training rows: {some(both, SHOWN)}")
    nothing = "no row has the same or nearly the same inputs as a training row"
    if not (compared or unknown):
        unknown = [f"{nothing}, but the origin of the rows is unknown"]
    return Independence.of(shared, unknown, f"{nothing}, or is of the same {' or '.join(compared)}")


def _copies(inputs: Sequence[str], trained: TabularDataset, rows: Rows, tables: Tables) -> tuple[list[str], list[str]]:
    """What is said of rows with the inputs of training rows: that they are shared, and what is not known."""
    known = trained.compared(inputs)[rows]
    new = np.concatenate([part.dataset.compared(inputs)[part.rows] for part in tables.parts])
    old, own = np.arange(len(known)), np.arange(len(known), len(known) + len(new))
    exact, near = copies(np.concatenate([known, new])).among(own, old)
    some = f"of {len(tables):,} rows have"
    if len(exact) and len(exact) <= chance(new, known):
        return [], [f"{len(exact):,} {some} the same inputs as training rows, as many as chance explains"]
    shared = [f"{len(exact):,} {some} the same inputs as training rows"] if len(exact) else []
    return shared + ([f"{len(near):,} {some} nearly the same inputs as training rows"] if len(near) else []), []


def _numbers_rows(identifiers: NDArray[np.str_], rows: int) -> bool:
    """Whether an identifier only counts the rows of its file, as 0, 1, 2, …, so that equal ones mean nothing."""
    texts = identifiers.tolist()
    if len(set(texts)) < len(texts) or not all(text.isdecimal() for text in texts):
        return False
    numbers = [int(text) for text in texts]
    return min(numbers) in (0, 1) and max(numbers) <= rows


def _trained_on(asked: Asked, trained: TabularDataset) -> Rows:
    """The rows that some network of the run was trained on."""
    return np.unique(np.concatenate([fold.train for fold in _folds(asked, trained)]))


def _folds(asked: Asked, dataset: TabularDataset) -> list[Fold]:
    """The rows of a table as the run's split divides them. Raises SplitError or TableError."""
    split: Split = built(asked.tables["splits"], asked.spec["split"])
    return split.folds(np.arange(len(dataset), dtype=np.int64), dataset.column, Seeds(asked.run_seed).numpy("folds"))


def _training_means(asked: Asked, metrics: Mapping[str, Metrics]) -> dict[str, float]:
    """Output → the mean of its training targets; NaN if the training data are gone, or if no metric needs it."""
    means = dict.fromkeys(asked.outputs, math.nan)
    if not any(map(needs_training_mean, metrics.values())):
        return means
    try:
        trained = asked.trained
    except DatasetError:
        return means
    rows = _trained_on(asked, trained)
    return {output: float(trained.values[output][rows, 0].mean()) for output in asked.outputs}
