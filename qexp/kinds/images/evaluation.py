"""Evaluation on simulated images: those of the test part, of another dataset, or of other samples of the run's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base import files
from qexp.base.outputs import NO_LIMITS, PERIOD, QUANTILES, estimate_of, quantile_of
from qexp.base.quantities import Quantities, quantity, with_periods
from qexp.base.seeds import Seeds
from qexp.errors import QexpError, suggestion
from qexp.kinds.attempt import Attempt, Results
from qexp.kinds.evaluation import ALL, PARTS, TEST, TRAIN, VALIDATION, Asked, Independence, Judged
from qexp.kinds.group_errors import described
from qexp.kinds.images.experiment import generated_of, require_units_of
from qexp.kinds.training import train_network
from qexp.metrics.intervals import intervals as jackknife_intervals
from qexp.metrics.metric import Metrics, evaluate as evaluate_metrics
from qexp.networks.estimator import Estimator
from qexp.networks.shapes import from_spec, written
from qexp.networks.training import Trainer
from qexp.simulation.dataset import GeneratedDataset, Intervals
from qexp.simulation.distributions import gaps
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import RunDirectory


def train(attempt: Attempt) -> Results | None:
    """Train a run's network, and evaluate it on the test samples; None if interrupted."""
    return train_network(attempt, evaluate)


def evaluate(attempt: Attempt, trainer: Trainer) -> Results:
    """Estimate the test samples, and write true values and estimates."""
    write(attempt.directory, trainer.model, trainer.data.test, attempt.dataset.quantities)
    return Results({"test": trainer.evaluate(trainer.data.test)})


def write(directory: RunDirectory, model: Estimator, test: Mapping[str, Tensor], quantities: Quantities) -> None:
    """Write the samples' true values and estimates."""
    import xarray

    quantities = with_periods(quantities, model.periods)
    estimates = {name: values.cpu().numpy() for name, values in model.estimate(test).items()}
    variables: dict[str, Any] = {}
    for name, values in test.items():
        if values.dim() == 2:
            of = quantity(name, quantities)
            attributes: dict[str, Any] = {"units": of.unit, "long_name": of.description}
            variables[name] = ("sample", values[:, 0].cpu().numpy(), attributes)
            if name in estimates:
                limits, made = model.limits.get(name, NO_LIMITS), estimates[name][:, 0]
                words = {"long_name": f"estimate of: {of.description}", **described(name, limits, of.unit, [made])}
                turn = {} if of.period is None else {PERIOD: of.period}
                variables[estimate_of(name)] = ("sample", made, {**attributes, **words, **turn})
    coordinates = {"sample": np.arange(len(next(iter(test.values()))))}
    if model.network.heads:
        coordinates["quantile"] = np.array(QUANTILES)
        for name, quantiles in model.posterior(test).quantiles(QUANTILES).items():
            of = quantity(name, quantities)
            words = {"units": of.unit, "long_name": f"quantiles of the posterior of: {of.description}"}
            variables[quantile_of(name)] = (("sample", "quantile"), quantiles.cpu().numpy(), words)
    table = xarray.Dataset(variables, coordinates, {"run": directory.name, "part": directory.part})
    directory.results.mkdir(exist_ok=True)
    files.write_bytes(directory.results / TEST_PREDICTIONS, bytes(table.to_netcdf(engine="h5netcdf")))


# Evaluation on simulated images of another dataset, or of other samples of the run's own.


def judged(asked: Asked) -> Judged:
    """Samples of a simulated dataset: as many as the run's part of that name has."""
    if asked.document is None:
        raise QexpError(
            f"{asked.directory.name} was trained on simulated images, which are not read from files; name a dataset "
            "with `dataset`, or use Run.predict with arrays in Python"
        )
    source = generated_of(asked.document, asked.tables, asked.workspace)
    _require_variables(asked, source)
    require_units_of(asked.spec, source, asked.tables)
    part = asked.chosen_part(TEST, PARTS, "")
    sizes = dict(zip((TRAIN, VALIDATION, TEST), asked.spec["sizes"], strict=True))
    count = int(sizes.get(part, sizes[TEST]))

    @cache
    def samples() -> dict[str, Tensor]:
        return source.sample(_quantiles(asked, source, part), count, Seeds(asked.seed), (part,), torch.device("cpu"))

    def evaluate(attempt: Attempt, models: Sequence[Estimator], metrics: Mapping[str, Metrics]) -> Results:
        on_device = {name: of.to(asked.device) for name, of in samples().items()}
        return _evaluated(attempt, models[0], on_device, metrics, source.quantities)

    return Judged(asked.document, part, TEST, count, lambda of: _independence(of, samples()), evaluate)


def _require_variables(asked: Asked, source: GeneratedDataset) -> None:
    """Raise QexpError unless the dataset makes the images that the network takes, and has its outputs."""
    shapes, name = source.shapes(), asked.directory.name
    for variable in asked.spec["inputs"]:
        if variable not in shapes:
            raise QexpError(f"the dataset has no '{variable}', an input of {name}; {suggestion(variable, shapes)}")
        shape = from_spec(asked.spec["model"]["inputs"][variable]["size"])
        if shapes[variable] != shape:
            raise QexpError(
                f"in the dataset '{variable}' is {written(shapes[variable])}, but {name} was trained on "
                f"{written(shape)}"
            )
    for variable in asked.outputs:
        if variable not in shapes:
            raise QexpError(f"the dataset has no '{variable}', which {name} estimates; {suggestion(variable, shapes)}")


def _quantiles(asked: Asked, source: GeneratedDataset, part: str) -> Intervals:
    """The quantile intervals of a part; training and validation are divided as the run divides them."""
    if part == ALL:
        return {name: [(0.0, 1.0)] for name in source.test}
    return source.parts(asked.spec["split"], Seeds(asked.run_seed))[part]


def _evaluated(
    attempt: Attempt,
    model: Estimator,
    samples: Mapping[str, Tensor],
    metrics: Mapping[str, Metrics],
    quantities: Quantities,
) -> Results:
    write(attempt.directory, model, samples, quantities)
    estimates = {name: values.double().cpu().numpy() for name, values in model.estimate(samples).items()}
    results: dict[str, Any] = {}
    intervals: dict[str, Any] = {}
    for name, of in metrics.items():
        estimate, truth = estimates[name], samples[name].double().cpu().numpy()
        results[name] = evaluate_metrics(of, estimate, truth)
        if truth.shape[1:] == (1,) and np.isfinite(estimate).all():
            intervals[name] = jackknife_intervals(of, estimate[:, 0], truth[:, 0])
    part = attempt.directory.part
    return Results({part: results}, {part: intervals})


def _independence(asked: Asked, samples: Mapping[str, Tensor]) -> Independence:
    """Whether no sample lies among those that the run draws for training or validation, in all varying variables."""
    trained = generated_of(asked.spec["dataset"], asked.tables, asked.workspace)
    missing = [name for name in trained.test if name not in samples]
    if missing:
        return Independence(None, (f"the dataset has no {', '.join(missing)}, by which the run's parts are divided",))
    inside = np.ones(len(next(iter(samples.values()))), dtype=bool)
    for name in trained.test:
        inside &= _within(_values(trained, name), samples[name][:, 0].double().numpy())
    names = " and ".join(trained.test)
    if not inside.any():
        return Independence(True, (f"no sample lies in the training intervals of {names}",))
    said = f"{inside.sum():,} of {len(inside):,} samples lie in the training intervals of {names}"
    return Independence(False, (said,))


def _values(trained: GeneratedDataset, name: str) -> list[NDArray[np.float64]]:
    """The intervals of a variable's values outside of the test part."""
    return [trained.distributions[name].quantile(np.asarray(gap)) for gap in gaps(trained.held_out[name])]


def _within(intervals: Sequence[NDArray[np.float64]], values: NDArray[np.float64]) -> NDArray[np.bool_]:
    inside = np.zeros(len(values), dtype=bool)
    for low, high in intervals:
        # Samples are in single precision: a value at an edge is rounded to either side of it.
        edge = np.finfo(np.float32).eps * np.abs(values)
        inside |= (values > low + edge) & (values < high - edge)
    return inside
