"""The Bayesian limit: errors of exact posterior medians and means of samples of a dataset.

Posteriors are integrated over up to two variables, and sampled by the likelihood beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from qexp.base import files, formats
from qexp.base.arrays import Array
from qexp.base.options import Counted
from qexp.base.outputs import output_in
from qexp.base.quantities import nearest, periods_of, quantity
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, suggestion
from qexp.figures import canvas
from qexp.inference import integration
from qexp.inference.classes import class_probabilities
from qexp.inference.image_posteriors import Likelihoods, approximated, posteriors
from qexp.inference.integration import Unknown, circular_moments
from qexp.kinds import figures
from qexp.kinds.evaluation import ALL, TEST
from qexp.kinds.experiments import SpecCache, open_dataset
from qexp.kinds.images.experiment import generated_of, parts_of, sizes_of
from qexp.kinds.images.figures import TEST_ESTIMATES
from qexp.kinds.networks import metrics_of, periods_of_outputs
from qexp.kinds.options import USUAL_SAMPLES, LimitOptions
from qexp.kinds.tables import tables_of, tables_with
from qexp.metrics.metric import evaluate
from qexp.results.limit import LIMIT, ClassLimit, LeastErrors, Limit
from qexp.simulation.dataset import GeneratedDataset, Part
from qexp.simulation.mixture import Mixture
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import RunDirectory

DRAWN_FROM = (TEST, ALL)
"""Parts of the distributions from which samples are drawn."""

DRAWS = 2000
"""From the posterior of each sample, where there are too many variables to integrate over."""


def of_dataset(workspace: Workspace, options: LimitOptions) -> Limit:
    """The limit of a dataset, by its name or path. Raises QexpError if it cannot be computed."""
    part = TEST if options.part is None else options.part
    if part not in DRAWN_FROM:
        raise QexpError(f"`part={part}`: {suggestion(part, DRAWN_FROM)}")
    count = USUAL_SAMPLES if options.samples is None else options.samples
    tables = tables_with(workspace.extensions)
    name, document, _ = open_dataset(str(options.dataset), SpecCache(tables, workspace))
    dataset = generated_of(document, tables, workspace)
    if isinstance(dataset, Mixture):
        raise QexpError(
            f"{name} has classes, whose limit is computed beside a network's probabilities: name a"
            " run that estimates them"
        )
    # of simulations that exist, runs choose their test part
    every = part == ALL or not dataset.simulates
    chosen = dataset.whole if every else dataset.test
    count = dataset.available(chosen, count)
    likelihoods = exact_likelihoods(dataset, dataset.images, ())
    return _limit(likelihoods, chosen, name, {}, count, options.seed or 0, options.on_sample, every)


def of_run(directory: RunDirectory, workspace: Workspace, options: LimitOptions) -> Limit:
    """The limit of a run's own test samples, by the images that its network takes; kept in the run,
    and drawn there.

    Raises QexpError if the limit cannot be computed, or if the run has no test errors yet.
    """
    canvas.draws_at_once()  # a wrong setting is refused before anything is computed
    spec = directory.training_spec()
    record = directory.record()
    if "test" not in record.results:
        raise QexpError(
            f"{directory.name} has no test errors yet; name its dataset instead: qexp limit"
            f" {record.dataset}"
        )
    tables = tables_of(directory)
    dataset = generated_of(spec["dataset"], tables, workspace)
    periods = periods_of_outputs(spec, tables)
    images = [name for name in dataset.images if name in spec["inputs"]]
    samples = sizes_of(spec, dataset, tables, record.seed)[TEST]
    test = parts_of(dataset, spec["split"], record.seed)[TEST]
    if isinstance(dataset, Mixture):
        limit = _of_classes(directory, dataset, images, test, samples, options)
    else:
        likelihoods = exact_likelihoods(dataset, images, spec["inputs"])
        limit = _limit(
            likelihoods, test, record.dataset, periods, samples, record.seed, options.on_sample
        )
    files.make_folder(directory.results)
    formats.write_json(directory.results / LIMIT, limit.document())
    if canvas.draws_at_once():
        try:
            figures.draw(directory, only=[TEST_ESTIMATES])
        except QexpError as lack:
            options.warn(str(lack))
    return limit


MOST_CLASSIFIED = 200
"""Test samples of which classes have exact probabilities: each takes about a second."""


def _of_classes(
    directory: RunDirectory,
    dataset: Mixture,
    images: Sequence[str],
    test: Part,
    count: int,
    options: LimitOptions,
) -> Limit:
    """Exact probabilities beside those that a run estimated of the same test samples."""
    spec, record = directory.training_spec(), directory.record()
    name = dataset.variable
    if name not in spec["outputs"]:
        raise QexpError(
            f"{directory.name} does not estimate '{name}'; the limit of a dataset with classes is"
            " that of their probabilities"
        )
    drawn = dataset.sample(test, count, Seeds(record.seed), ("test",), torch.device("cpu"))
    some = {each: values[:MOST_CLASSIFIED] for each, values in drawn.items()}
    known = [each for each in spec["inputs"] if each not in images]
    found = class_probabilities(dataset, some, images, known, on_sample=options.on_sample)
    predictions = formats.read_netcdf(directory.results / TEST_PREDICTIONS)
    estimated = output_in(spec, name).read(predictions).middle[: len(found.probabilities)]
    truth = some[name][:, 0].double().numpy()
    metrics = metrics_of(spec, tables_of(directory))[name]
    rows = np.arange(len(truth)), truth.astype(int)
    excess = np.log(found.probabilities[rows]) - np.log(estimated[rows])
    limit = ClassLimit(
        exact=evaluate(metrics, found.probabilities, truth),
        network=evaluate(metrics, estimated, truth),
        samples=len(truth),
        excess=float(excess.mean()),
        excess_error=float(excess.std(ddof=1) / np.sqrt(len(truth))),
        probability_error=float(found.errors[rows].mean()),
    )
    return Limit(
        dataset=record.dataset,
        seed=record.seed,
        samples=count,
        whole=not any(any(one.held_out.values()) for one in dataset.members.values()),
        images=tuple(images),
        variables={},
        classes={name: limit},
    )


def _limit(
    likelihoods: Likelihoods,
    part: Part,
    name: str,
    periods: Mapping[str, float],
    count: int,
    seed: int,
    on_sample: Counted,
    every: bool = False,
) -> Limit:
    dataset = likelihoods.dataset
    periods = {**periods_of(likelihoods.names, dataset.quantities), **periods}
    samples = dataset.sample(part, count, Seeds(seed), ("test",), torch.device("cpu"))
    sampled = len(likelihoods.names) > integration.MOST_UNKNOWNS
    doubted = 0
    if sampled:  # those by half of the draws tell how exact they are
        draws = posteriors(
            likelihoods, samples, count=DRAWS, on_observation=lambda done: on_sample(done, count)
        )
        of_draws = [periods.get(name) for name in draws.names]
        doubted = len(draws.doubts)
        fine = _of_draws(draws.values, of_draws)
        half = _of_draws(draws.values[:, ::2], of_draws)
    else:
        fine, half = by_integration(
            likelihoods, periods, samples, lambda done: on_sample(done, count)
        )
    variables = {}
    for column, variable in enumerate(likelihoods.names):
        truth = samples[variable][:, 0].double().numpy()
        period = periods.get(variable)
        means, medians = (nearest(values, truth, period) - truth for values in fine[..., column])
        coarser = nearest(half[1, :, column], fine[1, :, column], period)
        absolute = np.abs(medians)
        squared = np.square(means)
        mae = float(absolute.mean())
        rmse = float(np.sqrt(squared.mean()))
        variables[variable] = LeastErrors(
            unit=quantity(variable, dataset.quantities).unit,
            mae=mae,
            mae_error=float(absolute.std(ddof=1) / np.sqrt(count)),
            rmse=rmse,
            rmse_error=float(squared.std(ddof=1) / np.sqrt(count) / (2 * rmse)),
            difference=float(np.abs(fine[1, :, column] - coarser).mean()) / mae,
        )
    return Limit(
        dataset=name,
        seed=seed,
        samples=count,
        whole=every or not any(dataset.held_out.values()),
        images=tuple(likelihoods.images),
        given=tuple(likelihoods.given),
        sampled=sampled,
        doubted=doubted,
        variables=variables,
    )


def exact_likelihoods(
    dataset: GeneratedDataset, images: Sequence[str], known: Collection[str]
) -> Likelihoods:
    """Likelihoods of all unknowns; those that are integrated are of pixels, not of their means."""
    unknown = [name for name in dataset.test if name not in known]
    return Likelihoods(dataset, images, known, averaging=len(unknown) > integration.MOST_UNKNOWNS)


def _of_draws(draws: Array, periods: Sequence[float | None]) -> Array:
    """Posterior means and medians, (2, sample, variable), of (sample, draw, variable)."""
    moments = np.stack([draws.mean(axis=1), np.median(draws, axis=1)])
    weights = np.ones(draws.shape[1])
    for column, period in enumerate(periods):
        if period is not None:
            for sample, angles in enumerate(draws[:, :, column]):
                moments[:, sample, column] = circular_moments(angles, weights, period)[:2]
    return moments


def by_integration(
    likelihoods: Likelihoods,
    periods: Mapping[str, float],
    samples: Mapping[str, Tensor],
    on_sample: Callable[[int], None] = lambda done: None,
) -> tuple[Array, Array]:
    """Posterior means and medians, (2, sample, variable); and those by grids half as fine."""
    names = likelihoods.names
    moments = np.zeros((2, 2, len(samples[likelihoods.images[0]]), len(names)))
    each = approximated(likelihoods, samples, np.random.default_rng(0), tabulating=True)
    for done, posterior in enumerate(each, 1):
        order = posterior.likelihood.names
        unknowns = [Unknown(partial(posterior.value, name), periods.get(name)) for name in order]
        found = np.array(integration.moments(posterior.density, posterior.proposal, unknowns))
        moments[:, :, posterior.observation] = found[..., [order.index(name) for name in names]]
        on_sample(done)
    return moments[0], moments[1]
