"""Evaluation on images: estimates of the test samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from qexp import files
from qexp.estimates import PERIOD, QUANTILES, estimate_of, quantile_of
from qexp.limits import NO_LIMITS
from qexp.networks.estimator import Inversion
from qexp.networks.training import Trainer
from qexp.quantities import Quantities, quantity, with_periods
from qexp.runs.attempt import Attempt
from qexp.runs.evaluation.limited import described
from qexp.runs.evaluation.results import Results
from qexp.runs.record.directory import RunDirectory
from qexp.spec.kinds.kind import TEST_PREDICTIONS


def evaluate(attempt: Attempt, trainer: Trainer) -> Results:
    """Estimate the test samples, and write true values and estimates."""
    write(attempt.directory, trainer.model, trainer.data.test, attempt.dataset.quantities)
    return Results({"test": trainer.evaluate(trainer.data.test)})


def write(directory: RunDirectory, model: Inversion, test: Mapping[str, Tensor], quantities: Quantities) -> None:
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
