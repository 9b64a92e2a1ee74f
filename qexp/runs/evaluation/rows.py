"""Evaluation on held-out rows: those of each fold, and all of them together, which are the result of the run."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qexp import files
from qexp.assemble.folds import Folds
from qexp.baselines import comparison, cross_validation
from qexp.baselines.names import names
from qexp.datasets.splits import Fold, Rows
from qexp.datasets.transforms.transform import Transform
from qexp.estimates import HELD_OUT_QUANTILES, PERIOD, column_of_quantile, estimate_of, quantile_of, spread_of
from qexp.limits import NO_LIMITS, limits_of
from qexp.metrics.intervals import intervals as jackknife_intervals
from qexp.metrics.metric import evaluate as evaluate_metrics
from qexp.metrics.metric import nearest, with_training_mean
from qexp.networks.estimator import Ensemble, mean, spread
from qexp.runs.attempt import Attempt
from qexp.runs.evaluation import group_errors
from qexp.runs.evaluation.intervals import keep_intervals
from qexp.runs.evaluation.limited import described
from qexp.runs.evaluation.results import Results
from qexp.runs.record.directory import PREDICTIONS, RunDirectory
from qexp.runs.record.record import ComparisonRow, Feature, GroupErrors
from qexp.spec.kinds.kind import TEST_PREDICTIONS
from qexp.spec.kinds.tabular import AS_PUBLISHED, grouped_by
from qexp.tables import built

Array = NDArray[np.float64]


def write_fold(place: RunDirectory, ensemble: Ensemble, plan: Folds, fold: Fold) -> dict[str, Any]:
    """Estimate the held-out rows of a fold. Returns its results."""
    dataset = plan.dataset
    estimated = _estimated(ensemble, dataset.samples(fold.test, plan.device))
    table: dict[str, Sequence[Any]] = {"row": dataset.row_numbers(list(fold.test))}
    table |= {name: values[fold.test].tolist() for name, values in dataset.identifiers.items()}
    of_outputs = {}
    metrics = plan.recipe(plan.candidates[0]).metrics
    for output in plan.spec["outputs"]:
        middle, apart, *quantiles = (values.double().cpu().numpy()[:, 0] for values in estimated[output])
        truth = dataset.values[output][fold.test, 0]
        table |= {output: truth.tolist(), estimate_of(output): middle.tolist(), spread_of(output): apart.tolist()}
        for probability, values in zip(HELD_OUT_QUANTILES, quantiles, strict=False):
            table[column_of_quantile(output, probability)] = values.tolist()
        training_mean = dataset.values[output][fold.train, 0].mean()
        of_outputs[output] = evaluate_metrics(with_training_mean(metrics[output], training_mean), middle, truth)
    if caution := place.record().caution:
        table["caution"] = [caution] * len(fold.test)
    files.write_csv(place.path / PREDICTIONS, table, zip(*table.values(), strict=True))
    return {"test": of_outputs}


def _estimated(ensemble: Ensemble, samples: Mapping[str, torch.Tensor]) -> dict[str, list[torch.Tensor]]:
    """Output → mean and spread over the networks; of a posterior head's, then means of `HELD_OUT_QUANTILES`."""
    first = ensemble.models[0]

    def reduced(name: str, values: torch.Tensor) -> list[torch.Tensor]:
        estimate, *quantiles = values.split(1, dim=-1)
        return [
            mean(first, name, estimate),
            spread(first, name, estimate),
            *(mean(first, name, of) for of in quantiles),
        ]

    return ensemble.reduced(samples, reduced, HELD_OUT_QUANTILES)


def evaluate(attempt: Attempt, plan: Folds) -> Results:
    """Write a table of all held-out rows. Returns the results with intervals."""
    directory = attempt.directory
    lines = {fold.name: _lines(directory.fold(fold.name)) for fold in plan.folds}
    estimates, spreads, rows = _gathered(lines, plan)
    outputs = plan.spec["outputs"]
    truth = np.stack([plan.dataset.values[output][:, 0] for output in outputs], axis=1)
    metrics = plan.recipe(plan.candidates[0]).metrics
    groups, training_means = plan.groups, _training_means(plan)[rows]
    alike = None if plan.alike is None else plan.alike[rows]
    results, intervals, errors = {}, {}, list[GroupErrors]()
    for column, output in enumerate(outputs):
        estimate, true = estimates[rows, column], truth[rows, column]
        means = training_means[:, column]
        everything = with_training_mean(metrics[output], means)
        results[output] = evaluate_metrics(everything, estimate, true)
        intervals[output] = jackknife_intervals(everything, estimate, true, alike)
        if groups is not None:
            by = plan.spec["split"]["parameters"]["by"]
            errors += group_errors.of_groups(by, groups[rows], output, metrics[output], estimate, true, means)
    ranges = [plan.dataset.ranges(plan.spec["inputs"])]
    ranges.append([(output, *ends) for output in outputs for _, *ends in plan.dataset.ranges([output])])
    features, targets = (
        tuple(Feature(column=column, least=least, greatest=greatest) for column, least, greatest in of) for of in ranges
    )
    compared = _compared(attempt, plan, estimates, truth)
    directory.results.mkdir(exist_ok=True)
    _write_table(attempt, plan, estimates, spreads, truth, rows, _quantiles(lines, plan))
    _write_lines(directory, lines)
    if errors:
        units = plan.dataset.units
        group_errors.write(directory.results / group_errors.TABLE, errors, units, attempt.caution)
    keep_intervals(directory)
    return Results(
        {"test": results}, {"test": intervals}, compared, groups=group_errors.recorded(errors), features=features,
        targets=targets,
    )  # fmt: skip


def _lines(fold: RunDirectory) -> list[dict[str, str]]:
    with (fold.path / PREDICTIONS).open(newline="") as file:
        return list(csv.DictReader(file))


def _gathered(lines: Mapping[str, Sequence[Mapping[str, str]]], plan: Folds) -> tuple[Array, Array, Rows]:
    """Estimates and spreads, (row, output), NaN for rows that no fold holds out; and the rows that are held out.

    Of a row that several repeats hold out they are means over the repeats, of angles by the shorter way round.

    lines  fold → its held-out rows
    """
    shape = (len(plan.dataset), len(plan.spec["outputs"]))
    totals, times = np.zeros((2, *shape)), np.zeros(shape[0], dtype=np.int64)
    periods = plan.periods
    for fold in plan.folds:
        for column, output in enumerate(plan.spec["outputs"]):
            estimated, apart = (
                np.array([float(line[name]) for line in lines[fold.name]])
                for name in (estimate_of(output), spread_of(output))
            )
            with np.errstate(invalid="ignore"):
                so_far = np.where(times[fold.test] > 0, totals[0, fold.test, column] / times[fold.test], estimated)
            totals[0, fold.test, column] += nearest(estimated, so_far, periods.get(output))
            totals[1, fold.test, column] += apart
        times[fold.test] += 1
    with np.errstate(invalid="ignore"):
        estimates, spreads = totals / times[:, None]
    for column, output in enumerate(plan.spec["outputs"]):
        if output in periods:
            estimates[:, column] %= periods[output]
    return estimates, spreads, np.flatnonzero(times)


def _quantiles(lines: Mapping[str, Sequence[Mapping[str, str]]], plan: Folds) -> dict[str, Array]:
    """Output of a posterior head → quantiles, (row, probability), of rows as in `_gathered`: means over the repeats."""
    found: dict[str, Array] = {}
    times = np.zeros(len(plan.dataset), dtype=np.int64)
    for fold in plan.folds:
        times[fold.test] += 1
        for output in plan.spec["outputs"]:
            columns = [column_of_quantile(output, one) for one in HELD_OUT_QUANTILES]
            if columns[0] in lines[fold.name][0]:
                total = found.setdefault(output, np.zeros((len(plan.dataset), len(columns))))
                total[fold.test] += [[float(line[name]) for name in columns] for line in lines[fold.name]]
    with np.errstate(invalid="ignore"):
        return {output: total / times[:, None] for output, total in found.items()}


def _training_means(plan: Folds) -> Array:
    """The mean of the training targets of each held-out row's fold, (row, output); NaN for rows that no fold holds out.

    Of a row that several repeats hold out it is the mean over the repeats, as the estimates are.
    """
    outputs = plan.spec["outputs"]
    totals, times = np.zeros((len(plan.dataset), len(outputs))), np.zeros(len(plan.dataset), dtype=np.int64)
    for fold in plan.folds:
        totals[fold.test] += [plan.dataset.values[output][fold.train, 0].mean() for output in outputs]
        times[fold.test] += 1
    with np.errstate(invalid="ignore"):
        return np.asarray(totals / times[:, None])


def _write_lines(directory: RunDirectory, lines: Mapping[str, Sequence[Mapping[str, str]]]) -> None:
    """Write the lines of all folds to one file, each with the name of its fold."""
    columns = list(dict.fromkeys(column for of_fold in lines.values() for line in of_fold for column in line))
    name = "fold" if "fold" not in columns else "fold_of_run"  # an identifier of the data may be called fold
    rows = [[fold, *line.values()] for fold, of_fold in lines.items() for line in of_fold]
    files.write_csv(directory.results / PREDICTIONS, [name, *columns], rows)


def _compared(attempt: Attempt, plan: Folds, estimates: Array, truth: Array) -> tuple[ComparisonRow, ...]:
    """The network compared with the experience's baselines, on the same folds."""
    inputs = np.concatenate([plan.dataset.values[name] for name in plan.spec["inputs"]], axis=1)
    estimators = {comparison.NETWORK: estimates}
    transforms = [_as_pair(plan, output) for output in plan.spec["outputs"]]
    folds = [(fold.train, fold.test) for fold in plan.folds]
    baselines, table = plan.spec["baselines"], plan.tables["baselines"]
    for name, description in zip(names(baselines, table), baselines, strict=True):
        baseline = built(table, description)
        made = cross_validation.estimates(baseline, inputs, truth, folds, plan.inner_rows, attempt.seed, transforms)
        estimators[name] = made.values
    units = {output: plan.dataset.units[output] for output in plan.spec["outputs"]}
    of_data = "; ".join(words for words in attempt.caution.split("; ") if words != AS_PUBLISHED)
    notes = {**dict.fromkeys(estimators, of_data), comparison.NETWORK: attempt.caution}
    compared = comparison.compared(estimators, truth, units, plan.alike, notes, plan.periods)
    return tuple(map(ComparisonRow.from_document, compared))


def _as_pair(plan: Folds, output: str) -> cross_validation.Transform | None:
    """The output's transform and limits for baselines, the first fitted to the training rows of each fold."""
    limits = limits_of(plan.spec).get(output, NO_LIMITS)

    def limited(values: Array) -> Array:
        within: Array = limits(torch.from_numpy(np.ascontiguousarray(values))).numpy()
        return within

    if output not in plan.spec["transforms"]:
        return None if limits == NO_LIMITS else (_unchanged, limited)
    transform = built(plan.tables["transforms"], plan.spec["transforms"][output])
    assert isinstance(transform, Transform)

    def forward(values: Array) -> Array:
        column = torch.from_numpy(values)[:, None]
        transform.fit(column)
        transformed: Array = transform(column)[:, 0].numpy()
        return transformed

    def inverse(values: Array) -> Array:
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        inverted: Array = transform.inverse(tensor.reshape(-1, 1)).numpy().reshape(np.shape(values))
        return limited(inverted)

    return forward, inverse


def _unchanged(values: Array) -> Array:
    return values


def _write_table(
    attempt: Attempt,
    plan: Folds,
    estimates: Array,
    spreads: Array,
    truth: Array,
    rows: Rows,
    quantiles: Mapping[str, Array],
) -> None:
    import xarray

    directory, dataset = attempt.directory, plan.dataset
    texts = dict(dataset.identifiers)
    if (by := grouped_by(plan.spec)) is not None:
        texts.setdefault(by, dataset.column(by))
    variables: dict[str, Any] = {name: ("row", values[rows].astype(object)) for name, values in texts.items()}
    for column, output in enumerate(plan.spec["outputs"]):
        unit = dataset.units[output]
        limits = limits_of(plan.spec).get(output, NO_LIMITS)
        of_limits = described(output, limits, unit, [estimates[rows, column]])
        turn = {PERIOD: plan.periods[output]} if output in plan.periods else {}
        for name, values, words, more in (
            (output, truth, "measured", {}),
            (estimate_of(output), estimates, "estimate of a row that was held out", {**of_limits, **turn}),
            (spread_of(output), spreads, "standard deviation over the networks of its fold", {}),
        ):
            attributes = {"units": unit, "long_name": f"{output}: {words}", **more}
            variables[name] = ("row", values[rows, column], attributes)
        if output in quantiles:
            words = f"{output}: quantiles of the posterior of a row that was held out"
            about_them = {"units": unit, "long_name": words}
            variables[quantile_of(output)] = (("row", "quantile"), quantiles[output][rows], about_them)
    about = {"run": directory.name, "part": "test", **({"caution": attempt.caution} if attempt.caution else {})}
    coordinates = {
        "row": dataset.row_numbers(list(rows)),
        **({"quantile": list(HELD_OUT_QUANTILES)} if quantiles else {}),
    }
    table = xarray.Dataset(variables, coordinates, about)
    files.write_bytes(directory.results / TEST_PREDICTIONS, bytes(table.to_netcdf(engine="h5netcdf")))
