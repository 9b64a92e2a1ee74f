"""Evaluation on spectra: numbers of the test spectra by core, reconstructed channels, and errors by energy."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from qexp import files
from qexp.datasets.spectra import SPECTRUM
from qexp.estimates import HELD_OUT_QUANTILES, estimate_of, quantile_of
from qexp.limits import NO_LIMITS
from qexp.metrics.metric import evaluate as evaluate_metrics
from qexp.networks.estimator import Inversion
from qexp.networks.training import deterministic
from qexp.runs.attempt import Attempt
from qexp.runs.evaluation import group_errors
from qexp.runs.evaluation.group_errors import of_groups, recorded
from qexp.runs.evaluation.limited import described
from qexp.runs.evaluation.results import Results
from qexp.runs.evaluation.spectra.numbers import compared_with_baselines, intervals_over_cores, measured
from qexp.runs.evaluation.spectra.reconstructed import Reconstructed, write_errors
from qexp.runs.evaluation.spectra.saliency import write_saliency
from qexp.runs.evaluation.spectra.subject import AT_ONCE, CORE, Array, Subject, attributes, identifiers, write_table
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import ComparisonRow, Feature, GroupErrors
from qexp.spec.kinds.kind import TEST_PREDICTIONS

log = logging.getLogger("qexp.run")


def evaluate(attempt: Attempt, subject: Subject) -> Results | None:
    """Estimate the test spectra and write tables; None if interrupted.

    A number gets intervals over cores, and a comparison with the experience's baselines.
    """
    directory, dataset, test = attempt.directory, subject.dataset, subject.test
    reconstructed = Reconstructed.begin(subject) if SPECTRUM in subject.model.network.outputs else None
    found = _estimated(attempt, subject, reconstructed)
    if found is None:
        return None
    numbers = {name: of[:, 0] for name, of in found.items()}
    log.info("evaluated %s spectra of %d cores", f"{len(test):,}", len(np.unique(dataset.cores[test])))
    files.make_folder(directory.results)
    results: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    compared: list[ComparisonRow] = []
    errors: list[GroupErrors] = []
    columns: dict[str, tuple[Any, str, str]] = {}
    """Variable of the file of predictions → values, unit and description; then its attributes on limits."""
    quantiles = {name: of[:, 1:] for name, of in found.items() if of.shape[1] > 1}
    of_limits: dict[str, dict[str, Any]] = {}
    if reconstructed is not None:
        results[SPECTRUM] = reconstructed.sums.values()
        columns["hidden_rmse"] = (reconstructed.of_spectra, "counts", "RMSE of the channels that were hidden")
        errors += reconstructed.errors_by_core()
        write_errors(directory, subject, reconstructed, attempt.caution)
    for name, estimates in numbers.items():
        truth, unit = measured(dataset, test), dataset.units.get(name, "")
        results[name] = evaluate_metrics(subject.metrics[name], estimates, truth)
        intervals[name] = intervals_over_cores(subject, name, estimates, truth)
        mean = subject.data.training_mean(name)
        errors += of_groups(CORE, dataset.cores[test], name, subject.metrics[name], estimates, truth, mean)
        with_baselines = compared_with_baselines(attempt, subject, name, estimates)
        if with_baselines is None:
            return None
        compared += with_baselines
        columns[name] = (truth, unit, f"{name}: measured")
        columns[estimate_of(name)] = (estimates, unit, f"{name}: estimated")
        limits = subject.model.limits.get(name, NO_LIMITS)
        of_limits[estimate_of(name)] = described(name, limits, unit, [estimates])
    if not write_saliency(attempt, subject, list(numbers)):
        return None
    group_errors.write(directory.results / group_errors.TABLE, errors, dataset.units, attempt.caution)
    _write_predictions(directory, subject, columns, quantiles, of_limits, attempt.caution)
    part = directory.part
    targets = [(name, measured(dataset, subject.train)) for name in numbers]
    ranges = tuple(
        Feature(column=name, least=float(of.min()), greatest=float(of.max())) for name, of in targets if len(of)
    )
    return Results({part: results}, {part: intervals}, tuple(compared), groups=recorded(errors), targets=ranges)


def _estimated(attempt: Attempt, subject: Subject, reconstructed: Reconstructed | None) -> dict[str, Array] | None:
    """Number → its estimates for the test spectra, (row, 1); reconstructed spectra are added up; None if interrupted.

    Estimates of a posterior head are followed by `HELD_OUT_QUANTILES`, (row, 1 + probability).
    """
    numbers: dict[str, list[Array]] = {name: [] for name in subject.model.network.outputs if name != SPECTRUM}
    with deterministic():
        for samples in _in_blocks(subject.data.test):
            if attempt.interrupted():
                return None
            made = subject.model.estimate(samples)
            ends = _quantiles(subject.model, samples)
            for name, blocks in numbers.items():
                columns = [made[name], *([ends[name]] if name in ends else [])]
                blocks.append(np.concatenate([one.double().cpu().numpy() for one in columns], axis=1))
            if reconstructed is not None:
                reconstructed.add(made, samples, subject)
    return {name: np.concatenate(blocks) for name, blocks in numbers.items()}


def _quantiles(model: Inversion, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Output of a posterior head → `HELD_OUT_QUANTILES` within its limits, (row, probability)."""
    if not model.network.heads:
        return {}
    return model.limited(model.posterior(samples).quantiles(HELD_OUT_QUANTILES))


def _in_blocks(samples: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    names = list(samples)
    for values in zip(*(samples[name].split(AT_ONCE) for name in names), strict=True):
        yield dict(zip(names, values, strict=True))


def _write_predictions(
    directory: RunDirectory,
    subject: Subject,
    columns: Mapping[str, tuple[Any, str, str]],
    quantiles: Mapping[str, Array],
    of_limits: Mapping[str, Mapping[str, Any]],
    note: str,
) -> None:
    """Write tables with a line per test spectrum; the one that marks the run as evaluated comes last."""
    import xarray

    dataset, test = subject.dataset, subject.test
    identified = {name: of[test] for name, of in identifiers(dataset).items()}
    table: dict[str, Sequence[Any]] = {name: values.tolist() for name, values in identified.items()}
    table["depth"] = dataset.depths[test].tolist()
    table |= {name: np.asarray(values).tolist() for name, (values, _, _) in columns.items()}
    write_table(directory.results / "predictions.csv", table, note)
    variables: dict[str, Any] = {name: ("spectrum", values.astype(object)) for name, values in identified.items()}
    depth = (dataset.depths[test], dataset.units.get("depth", ""), "depth in the core")
    for name, (values, unit, words) in {"depth": depth, **columns}.items():
        about = {"units": unit, "long_name": words, **of_limits.get(name, {})}
        variables[name] = ("spectrum", np.asarray(values), about)
    for name, values in quantiles.items():
        about = {"units": dataset.units.get(name, ""), "long_name": f"{name}: quantiles of the posterior"}
        variables[quantile_of(name)] = (("spectrum", "quantile"), values, about)
    coordinates = {"spectrum": test, **({"quantile": list(HELD_OUT_QUANTILES)} if quantiles else {})}
    whole = xarray.Dataset(variables, coordinates, attributes(directory, note))
    files.write_bytes(directory.results / TEST_PREDICTIONS, bytes(whole.to_netcdf(engine="h5netcdf")))
