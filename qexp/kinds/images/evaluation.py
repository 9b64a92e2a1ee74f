"""Evaluation on simulated images: those of the test part, of another dataset, or of other samples
of the run's own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qexp.base import formats
from qexp.base.arrays import Array
from qexp.base.outputs import QUANTILES, Column, Words, estimate_of, quantile_of
from qexp.base.quantities import quantity
from qexp.base.seeds import Seeds
from qexp.errors import QexpError
from qexp.kinds.attempt import Attempt, Results
from qexp.kinds.evaluation import (
    PARTS,
    TEST,
    VALIDATION,
    EvaluationData,
    EvaluationRequest,
    Independence,
    trained_on,
)
from qexp.kinds.held_out import flat
from qexp.kinds.images.experiment import generated_of, parts_of, require_variables_of, sizes_of
from qexp.kinds.images.extent import keep_vectors, ranges_of, training_vectors
from qexp.kinds.images.files import NORTHWARDS, PIXEL, ROWS
from qexp.kinds.images.prediction import extent
from qexp.kinds.scores import Scores, attributes, write_test_predictions
from qexp.kinds.training import NetworkTraining
from qexp.metrics.metric import Metrics, evaluate as evaluate_metrics
from qexp.networks.estimator import Estimator
from qexp.networks.network import Network
from qexp.networks.training import Samples, Trainer
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.stored import SIMULATION
from qexp.spec.kinds import TEST_IMAGES
from qexp.store.record import Feature

log = logging.getLogger("qexp.run")


def evaluate(attempt: Attempt, trainer: Trainer) -> Results:
    """Estimate the test samples, and write true values and estimates."""
    write(attempt, trainer.model, trainer.data.test, attempt.dataset)
    return Results(
        {"test": trainer.evaluate(trainer.data.test)},
        features=_features(attempt, trainer.model.network),
    )


def _features(attempt: Attempt, network: Network) -> tuple[Feature, ...]:
    """Keep where the inputs lie, if they cannot be simulated again wherever the run may be; returns
    their ranges.
    """
    if attempt.dataset.simulates:
        return ()
    seeds = Seeds(attempt.seed)
    train = attempt.dataset.parts(attempt.spec["split"], seeds)["train"]
    keep_vectors(attempt.directory, training_vectors(attempt.dataset, train, network, seeds))
    ranges = ranges_of(attempt.dataset, train, network, seeds)
    return tuple(
        Feature(column=str(statistic), least=low, greatest=high)
        for statistic, (low, high) in ranges.items()
    )


train = NetworkTraining(evaluate)


def write(
    attempt: Attempt, model: Estimator, test: Samples, dataset: GeneratedDataset
) -> dict[str, Array]:
    """Estimate samples, and write true values and estimates. Returns the estimates."""
    estimates = {}
    for name, made in model.estimated(test).items():
        estimates[name] = made.each(lambda values: values.cpu().numpy())
    quantiles: dict[str, Tensor] = {}
    if model.network.posteriors:
        quantiles = model.posterior(test).quantiles(QUANTILES)
    columns: dict[str, Column] = {}
    for name, values in test.items():
        if values.dim() != 2:
            continue
        truth = values[:, 0].cpu().numpy()
        meaning = quantity(name, dataset.quantities)
        if name not in estimates:
            columns[name] = truth, {"units": meaning.unit, "long_name": meaning.description}
            continue
        estimated = estimates[name].each(flat)
        if name in quantiles:
            of_name = quantiles[name].cpu().numpy()
            estimated = replace(estimated, quantiles=dict(zip(QUANTILES, of_name.T, strict=True)))
            if doubt := _too_narrow(name, truth, of_name, len(quantiles)):
                log.warning("%s", doubt)
        words = Words(
            truth=meaning.description,
            estimate=f"estimate of: {meaning.description}",
            quantiles=f"quantiles of the posterior of: {meaning.description}",
        )
        columns |= attempt.outputs[name].columns(truth, estimated, words)
    columns |= {name: columns.pop(name) for name in map(quantile_of, quantiles)}
    attempt.directory.results.mkdir(exist_ok=True)
    numbers = np.arange(len(next(iter(test.values()))))
    write_test_predictions(attempt.directory, "sample", numbers, {}, columns, attempt.caution)
    images = {name: made.middle for name, made in estimates.items() if made.middle.ndim == 4}
    if images:
        _write_images(attempt, images, test, dataset)
    return {name: made.middle.astype(np.float64) for name, made in estimates.items()}


UNLIKELY = 0.01
"""Probability that right intervals hold as few test samples, in any output, below which they are
called too narrow.
"""


def _too_narrow(name: str, truth: Array, quantiles: Array, outputs: int) -> str:
    """A doubt where a posterior's intervals hold far fewer test samples than they promise; empty
    without one.
    """
    from scipy.stats import binom

    promised = QUANTILES[-1] - QUANTILES[0]
    held = int(((quantiles[:, 0] <= truth) & (truth <= quantiles[:, -1])).sum())
    count = int((~np.isnan(truth)).sum())
    if binom.cdf(held, count, promised) > UNLIKELY / outputs:
        return ""
    return (
        f"the {100 * promised:.0f} % intervals of {name} hold {100 * held / count:.0f} % of"
        f" {count:,} test samples: posteriors are too narrow; more training data may help, or"
        " a recalibration by qexp calibrate"
    )


MOST_IMAGES = 500
"""Samples whose images are kept, of networks that estimate images."""


def _write_images(
    attempt: Attempt,
    estimates: Mapping[str, Array],
    test: Samples,
    dataset: GeneratedDataset,
) -> None:
    """True and estimated images of the first samples: errors of an emulator by place."""
    import xarray

    variables: dict[str, Any] = {}
    medians = dataset.quantiles(0.5)
    for name, estimate in estimates.items():
        dims = "sample", f"channel_{name}", f"y_{name}", f"x_{name}"
        pixel = [float(side[0]) for side in dataset.pixel_sizes(name, medians)]
        words = {"units": quantity(name, dataset.quantities).unit, ROWS: NORTHWARDS, PIXEL: pixel}
        variables[name] = dims, test[name][:MOST_IMAGES].cpu().numpy(), words
        variables[estimate_of(name)] = dims, estimate[:MOST_IMAGES], words
    table = xarray.Dataset(variables, attrs=attributes(attempt.directory, attempt.caution))
    formats.write_netcdf(
        attempt.directory.results / TEST_IMAGES, table, {name: {"zlib": True} for name in variables}
    )


def open_data(request: EvaluationRequest) -> EvaluationData:
    """Samples of a simulated dataset: as many as the run's part of that name has."""
    if request.document is None:
        raise QexpError(
            f"{request.directory.name} was trained on simulated images, which are not read from"
            " files; name a dataset with `dataset`, or use Run.predict with arrays in Python"
        )
    source = generated_of(request.document, request.tables, request.workspace)
    require_variables_of(request.spec, source, request.tables, request.directory.name)
    part = request.chosen_part(TEST, PARTS, "")
    trained = generated_of(request.spec["dataset"], request.tables, request.workspace)
    sizes = sizes_of(request.spec, trained, request.tables, request.run_seed)
    chosen = parts_of(source, request.spec["split"], request.run_seed)[part]
    count = sizes.get(part, sizes[TEST]) if source.simulates else len(chosen)

    @cache
    def samples() -> Samples:
        return source.sample(chosen, count, Seeds(request.seed), (part,), torch.device("cpu"))

    def evaluate(
        attempt: Attempt, models: Sequence[Estimator], metrics: Mapping[str, Metrics]
    ) -> Results:
        on_device = {name: values.to(request.device) for name, values in samples().items()}
        estimates = write(attempt, models[0], on_device, source)
        scores = Scores()
        for name, metrics_of_output in metrics.items():
            estimate = estimates[name]
            truth = on_device[name].double().cpu().numpy()
            if truth.shape[1:] == (1,):
                known = ~np.isnan(truth[:, 0])
                estimated = flat(estimate)[known]
                scores.add(name, metrics_of_output, estimated, truth[known, 0])
            else:
                scores.results[name] = evaluate_metrics(metrics_of_output, estimate, truth)
        inputs = {name: samples()[name].numpy() for name in models[0].network.inputs}
        remarks = extent(request.directory, models[0]).remarks(inputs, estimates)
        return scores.document(attempt.directory.part, remarks=tuple(remarks))

    document = {**request.document, **source.origin}

    def independence(run: EvaluationRequest) -> Independence:
        own = (document, run.run_seed) == (run.spec["dataset"], request.run_seed)
        if part == VALIDATION and own and request.spec["split"] == run.spec["split"]:
            if not source.simulates or (request.seed, count) == (run.run_seed, sizes[VALIDATION]):
                return Independence.of_validation(
                    run.spec, "these are the run's own validation samples"
                )
            own_ones = (
                "samples from the intervals of the run's validation samples, which have seed"
                f" {run.run_seed}"
            )
            return Independence.of_validation(run.spec, own_ones)
        return _independence(run, samples(), document.get("fingerprint"))

    return EvaluationData(document, part, TEST, count, independence, evaluate)


def _independence(
    request: EvaluationRequest, samples: Samples, fingerprint: str | None
) -> Independence:
    """Whether no sample is like those that the run draws for training or validation."""
    trained = generated_of(request.spec["dataset"], request.tables, request.workspace)
    if missing := [name for name in trained.compared if name not in samples]:
        return Independence(
            None,
            (f"the dataset has no {', '.join(missing)}, by which the run's parts are divided",),
        )
    others = fingerprint != request.spec["dataset"].get("fingerprint")
    if trained.compared == [SIMULATION] and others:
        return Independence(None, ("classes alone do not tell which samples were trained on",))
    compared = {name: samples[name][:, 0].double().numpy() for name in trained.compared}
    seen = trained.seen(compared, trained.parts(request.spec["split"], Seeds(request.run_seed)))
    of_one, of_several = trained.seen_in_words
    if not seen.any():
        return Independence(True, (f"no sample {of_one}",))
    reason = f"{seen.sum():,} of {len(seen):,} samples {of_several}"
    return Independence(False, (reason,), trained_on(int(seen.sum()), len(seen)))
