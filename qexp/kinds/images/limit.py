"""The Bayesian limit: errors of exact posterior medians and means of samples of a dataset.

Posteriors are integrated over up to three variables, and sampled by the likelihood beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.options import Counted
from qexp.base.quantities import NOISE, nearest, quantity
from qexp.base.seeds import Seeds
from qexp.base.workspace import Workspace
from qexp.errors import QexpError, suggestion
from qexp.figures import canvas
from qexp.inference.grid_posterior import Estimates, Posterior, circular_moments, groups
from qexp.inference.simulated_images import MOST, Unknowns, periods_of, require_known, unknowns_of
from qexp.kinds import figures
from qexp.kinds.evaluation import ALL, TEST
from qexp.kinds.experiments import dataset_document
from qexp.kinds.images.experiment import generated_of
from qexp.kinds.images.figures import TEST_ESTIMATES
from qexp.kinds.images.posteriors import posteriors
from qexp.kinds.networks import periods_of_outputs
from qexp.kinds.options import USUAL_SAMPLES, LimitOptions
from qexp.kinds.tables import tables_of, tables_with
from qexp.results.limit import LeastErrors, Limit, keep_limit
from qexp.simulation.dataset import GeneratedDataset
from qexp.store.directory import RunDirectory

Array = NDArray[np.float64]


DRAWN_FROM = (TEST, ALL)
"""Parts of the distributions from which samples are drawn."""

DRAWS = 2000
"""From the posterior of each sample, where there are too many variables to integrate over."""

FEW = 100
"""Samples with the same hidden pixels below which a coarser first grid is faster."""


def of_dataset(workspace: Workspace, options: LimitOptions) -> Limit:
    """The limit of a dataset, by its name or path. Raises QexpError if it cannot be computed."""
    part = TEST if options.part is None else options.part
    if part not in DRAWN_FROM:
        raise QexpError(f"`part={part}`: {suggestion(part, DRAWN_FROM)}")
    count = USUAL_SAMPLES if options.samples is None else options.samples
    tables = tables_with(workspace.extensions)
    name, document = dataset_document(str(options.dataset), workspace, tables)
    dataset = generated_of(document, tables, workspace)
    images = dataset.generator.images(dataset.variables)
    return _limit(dataset, name, images, (), {}, count, options.seed or 0, options.on_sample, whole=part == ALL)


def of_run(directory: RunDirectory, workspace: Workspace, options: LimitOptions) -> Limit:
    """The limit of a run's own test samples, by the images that its network takes; kept in the run, and drawn there.

    Raises QexpError if the limit cannot be computed, or if the run has no test errors yet.
    """
    canvas.drawn_at_once()  # a wrong setting is refused before anything is computed
    spec, record = directory.training_spec(), directory.record()
    if "test" not in record.results:
        raise QexpError(
            f"{directory.name} has no test errors yet; name its dataset instead: qexp limit {record.dataset}"
        )
    tables = tables_of(directory)
    dataset, periods = generated_of(spec["dataset"], tables, workspace), periods_of_outputs(spec, tables)
    images = [name for name in dataset.generator.images(dataset.variables) if name in spec["inputs"]]
    samples = int(spec["sizes"][2])
    made = _limit(dataset, record.dataset, images, spec["inputs"], periods, samples, record.seed, options.on_sample)
    keep_limit(directory, made)
    if canvas.drawn_at_once():
        try:
            figures.draw(directory, only=[TEST_ESTIMATES])
        except QexpError as lack:
            options.warn(str(lack))
    return made


def _limit(
    dataset: GeneratedDataset,
    name: str,
    images: Sequence[str],
    known: Collection[str],
    periods: Mapping[str, float],
    count: int,
    seed: int,
    on_sample: Counted,
    whole: bool = False,
) -> Limit:
    names = require_known(dataset, images, known)
    given = [one for one in dataset.test if one in known]
    periods = {**periods_of(dataset, names), **periods}
    part = {name: [(0.0, 1.0)] for name in dataset.test} if whole else dataset.test
    samples = dataset.sample(part, count, Seeds(seed), ("test",), torch.device("cpu"))
    sampled, doubted = len(names) > MOST or NOISE in names, 0
    if sampled:
        names, fine, half, doubted = by_sampling(dataset, images, given, periods, samples, on_sample)
    else:
        unknowns = unknowns_of(dataset, images, known, periods)
        names = unknowns.names
        fine, half = estimates(unknowns, images, samples, on_sample, given)
    found = {}
    for index, variable in enumerate(names):
        truth, period = samples[variable][:, 0].double().numpy(), periods.get(variable)
        medians, means = (nearest(one[:, index], truth, period) - truth for one in (fine.median, fine.mean))
        coarser = nearest(half.median[:, index], fine.median[:, index], period)
        change = np.abs(fine.median[:, index] - coarser).mean()
        unit = quantity(variable, dataset.quantities).unit
        found[variable] = _least_errors(np.abs(medians), np.square(means), float(change), unit)
    return Limit(
        dataset=name,
        seed=seed,
        samples=count,
        whole=whole or not any(dataset.held_out.values()),
        images=tuple(images),
        given=tuple(given),
        sampled=sampled,
        doubted=doubted,
        variables={variable: found[variable] for variable in dataset.test if variable in found},
    )


def _least_errors(absolute: Array, squared: Array, change: float, unit: str) -> LeastErrors:
    mae, rmse = float(absolute.mean()), float(np.sqrt(squared.mean()))
    of_mean = np.sqrt(len(absolute))
    return LeastErrors(
        unit=unit,
        mae=mae,
        mae_error=float(absolute.std(ddof=1) / of_mean),
        rmse=rmse,
        rmse_error=float(squared.std(ddof=1) / of_mean / (2 * rmse)),
        difference=change / mae,
    )


def by_sampling(
    dataset: GeneratedDataset,
    images: Sequence[str],
    given: Sequence[str],
    periods: Mapping[str, float],
    samples: Mapping[str, Tensor],
    on_sample: Counted,
) -> tuple[list[str], Estimates, Estimates, int]:
    """The unknown variables, and their posterior means and medians, (sample, variable) each, by draws; those by half of
    the draws; and the number of samples whose draws are not to be trusted.
    """
    count = len(samples[images[0]])
    made = posteriors(
        dataset, images, samples, given=given, count=DRAWS, on_observation=lambda done: on_sample(done, count)
    )
    of_names = [periods.get(name) for name in made.names]
    whole, half = (_of_draws(draws, of_names) for draws in (made.draws, made.draws[:, ::2]))
    return list(made.names), whole, half, len(made.doubts)


def _of_draws(draws: Array, periods: Sequence[float | None]) -> Estimates:
    mean, median = draws.mean(axis=1), np.median(draws, axis=1)
    weights = np.ones(draws.shape[1])
    for column, period in enumerate(periods):
        if period is not None:
            pairs = [circular_moments(of, weights, period)[:2] for of in draws[:, :, column]]
            mean[:, column], median[:, column] = np.array(pairs).T
    return Estimates(mean, median)


def estimates(
    unknowns: Unknowns,
    images: Sequence[str],
    samples: Mapping[str, Tensor],
    on_sample: Counted,
    given: Sequence[str] = (),
) -> tuple[Estimates, Estimates]:
    """Posterior means and medians of samples, (sample, unknown) each; and those by grids that are half as fine.

    given  varying variables that are not unknown
    """
    count, done = len(samples[images[0]]), 0
    places: list[NDArray[Any]] = []
    made: list[tuple[Estimates, Estimates]] = []
    for group in groups(unknowns, images, given, samples):
        posterior = Posterior(group.unknowns, group.whitening, few=len(group.places) < FEW)
        made.append(posterior.estimates(group.whitening(group.samples), _counting_from(done, count, on_sample)))
        places.append(group.places)
        done += len(group.places)
    back = np.argsort(np.concatenate(places))
    fine, half = (_together([pair[index] for pair in made], back) for index in (0, 1))
    return fine, half


def _counting_from(done: int, count: int, on_sample: Counted) -> Callable[[int], None]:
    return lambda number: on_sample(done + number, count)


def _together(parts: Sequence[Estimates], order: NDArray[Any]) -> Estimates:
    mean, median = (np.concatenate(of)[order] for of in ([one.mean for one in parts], [one.median for one in parts]))
    return Estimates(mean, median)
