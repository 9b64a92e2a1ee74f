"""The Bayesian limit: errors of exact posterior medians and means of the test samples of a dataset.

Posteriors are integrated over up to three variables, and sampled by the likelihood beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp import assemble
from qexp.analysis.posteriors.simulated import posteriors
from qexp.datasets.generated import GeneratedDataset, mask_of
from qexp.errors import QexpError
from qexp.estimation.exact.posterior import Estimates, Posterior
from qexp.estimation.exact.unknowns import MOST, Unknowns, require_known, unknowns_of
from qexp.estimation.exact.whitening import Whitening
from qexp.quantities import quantity
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.limit import LeastErrors, Limit, keep_limit
from qexp.runs.record.trust import tables_of
from qexp.seeds import Seeds
from qexp.workspace import Workspace

Array = NDArray[np.float64]

OnSample = Callable[[int, int], None]
"""Takes the number of samples whose posteriors are integrated, and of all."""

USUAL_SAMPLES = 1000

DRAWS = 2000
"""From the posterior of each sample, where there are too many variables to integrate over."""

FEW = 100
"""Samples with the same hidden pixels below which a coarser first grid is faster."""


def of_dataset(reference: str, workspace: Workspace, seed: int, samples: int | None, on_sample: OnSample) -> Limit:
    """The limit of a dataset's test part, by its name or path. Raises QexpError if it cannot be computed."""
    count = USUAL_SAMPLES if samples is None else samples
    if count < 2:
        raise QexpError(f"--samples {count}: at least two, from whose errors standard errors can be computed")
    if seed < 0:
        raise QexpError(f"--seed {seed}: a seed is a whole number from 0 on")
    tables = assemble.tables_with(workspace.extensions)
    name, document = assemble.dataset_document(reference, workspace, tables)
    dataset = assemble.generated_of(document, tables, workspace)
    return _limit(dataset, name, dataset.generator.images(dataset.variables), (), count, seed, on_sample)


def of_run(directory: RunDirectory, workspace: Workspace, on_sample: OnSample) -> Limit:
    """The limit of a run's own test samples, by the images that its network takes; kept in the run.

    Raises QexpError if it cannot be computed, or if the run has no test errors yet.
    """
    spec, record = directory.training_spec(), directory.record()
    if "test" not in record.results:
        raise QexpError(
            f"{directory.name} has no test errors yet; name its dataset instead: qexp limit {record.dataset}"
        )
    dataset = assemble.generated_of(spec["dataset"], tables_of(directory), workspace)
    images = [name for name in dataset.generator.images(dataset.variables) if name in spec["inputs"]]
    made = _limit(dataset, record.dataset, images, spec["inputs"], int(spec["sizes"][2]), record.seed, on_sample)
    keep_limit(directory, made)
    return made


def _limit(
    dataset: GeneratedDataset,
    name: str,
    images: Sequence[str],
    known: Collection[str],
    count: int,
    seed: int,
    on_sample: OnSample,
) -> Limit:
    names = require_known(dataset, images, known)
    samples = dataset.sample(dataset.test, count, Seeds(seed), ("test",), torch.device("cpu"))
    sampled, doubted = len(names) > MOST, 0
    if sampled:
        fine, half, doubted = by_sampling(dataset, images, samples, on_sample)
    else:
        unknowns = unknowns_of(dataset, images, known)
        names = unknowns.names
        fine, half = estimates(unknowns, images, samples, on_sample)
    found = {}
    for index, variable in enumerate(names):
        truth = samples[variable][:, 0].double().numpy()
        medians, means = fine.median[:, index] - truth, fine.mean[:, index] - truth
        change = np.abs(fine.median[:, index] - half.median[:, index]).mean()
        unit = quantity(variable, dataset.quantities).unit
        found[variable] = _least_errors(np.abs(medians), np.square(means), float(change), unit)
    return Limit(
        dataset=name,
        seed=seed,
        samples=count,
        images=tuple(images),
        sampled=sampled,
        doubted=doubted,
        variables={variable: found[variable] for variable in dataset.test},
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
    dataset: GeneratedDataset, images: Sequence[str], samples: Mapping[str, Tensor], on_sample: OnSample
) -> tuple[Estimates, Estimates, int]:
    """Posterior means and medians of samples, (sample, variable) each, by draws; those by half of the draws; and the
    number of samples whose draws are not to be trusted.
    """
    count = len(samples[images[0]])
    found = posteriors(dataset, images, samples, count=DRAWS, on_observation=lambda done: on_sample(done, count))
    whole, half = (
        Estimates(draws.mean(axis=1), np.median(draws, axis=1)) for draws in (found.draws, found.draws[:, ::2])
    )
    return whole, half, len(found.doubts)


def estimates(
    unknowns: Unknowns, images: Sequence[str], samples: Mapping[str, Tensor], on_sample: OnSample
) -> tuple[Estimates, Estimates]:
    """Posterior means and medians of samples, (sample, unknown) each; and those by grids that are half as fine."""
    groups = alike(samples, images)
    count, done = sum(map(len, groups)), 0
    made: list[tuple[Estimates, Estimates]] = []
    for places in groups:
        one = {name: values[places] for name, values in samples.items()}
        seen = {name: one[mask_of(name)][0] > 0 for name in images if mask_of(name) in one}
        whitening = Whitening(unknowns.dataset, images, seen)
        posterior = Posterior(unknowns, whitening, few=len(places) < FEW)
        made.append(posterior.estimates(whitening(one), _counting_from(done, count, on_sample)))
        done += len(places)
    back = np.argsort(np.concatenate(groups))
    fine, half = (_together([pair[index] for pair in made], back) for index in (0, 1))
    return fine, half


def _counting_from(done: int, count: int, on_sample: OnSample) -> Callable[[int], None]:
    return lambda number: on_sample(done + number, count)


def alike(samples: Mapping[str, Tensor], images: Sequence[str]) -> list[NDArray[np.intp]]:
    """The places of the samples that see the same pixels: all, unless pixels are hidden."""
    masks = [samples[mask_of(name)] for name in images if mask_of(name) in samples]
    groups: dict[bytes, list[int]] = {}
    for place in range(len(samples[images[0]])):
        groups.setdefault(b"".join(mask[place].numpy().tobytes() for mask in masks), []).append(place)
    return [np.array(places) for places in groups.values()]


def _together(parts: Sequence[Estimates], order: NDArray[Any]) -> Estimates:
    mean, median = (np.concatenate(of)[order] for of in ([one.mean for one in parts], [one.median for one in parts]))
    return Estimates(mean, median)
