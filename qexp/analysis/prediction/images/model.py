"""The model for predicting from images with a finished run: its network, inputs and the range of its training data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from qexp import assemble
from qexp.analysis.misfit.features import FeatureDistance
from qexp.analysis.misfit.images import ImageMisfit
from qexp.analysis.posteriors.of_images import ImagePosteriors
from qexp.analysis.prediction.draws import draws_of, require_heads, units_of_heads
from qexp.analysis.prediction.images.estimates import Array, ImageModel
from qexp.analysis.prediction.images.posteriors import COVERAGE, OfHeads, Posteriors, Refined
from qexp.analysis.prediction.images.ranges import InputRanges, ranges_over, statistics
from qexp.analysis.prediction.images.source import ImageLayout, Range
from qexp.analysis.prediction.trained import trained_ranges
from qexp.analysis.trained import load_model
from qexp.errors import QexpError
from qexp.limits import limits_of
from qexp.networks.estimator import Posterior
from qexp.networks.network import Network
from qexp.quantities import quantity, with_periods
from qexp.runs.record.directory import RunDirectory
from qexp.runs.record.record import Record
from qexp.runs.record.trust import tables_of
from qexp.seeds import Seeds
from qexp.simulation.dataset import GeneratedDataset, Part

SEEN = 1_024
"""Training samples whose inputs are the range to compare with."""
SIMULATED = 2**21
"""Pixels that are simulated at a time."""


def image_model(
    directory: RunDirectory,
    device: str = "auto",
    *,
    with_misfit: bool = False,
    interval: float | None = None,
    draws: int | None = None,
    refined: bool = False,
) -> ImageModel:
    """The model of a run for `predict_images`.

    with_misfit  whether it also tells how well images fit the simulator
    interval     coverage of the intervals of posteriors; 0.9 if left out
    draws        from the posterior of each sample, which are written to a file of their own
    refined      whether posteriors are those of the known likelihood, not those of the network's posterior heads
    Raises QexpError if the run is not done or estimates no numbers, if the misfit cannot be computed, if intervals
    or draws are asked for without a posterior head, or if a likelihood is asked for that is not known.
    """
    record, spec = directory.record(), directory.training_spec()
    on = assemble.device_of(device)
    model = load_model(directory, on)
    network, outputs = model.network, list(model.network.outputs)
    source = assemble.generated_of(spec["dataset"], tables_of(directory))
    shapes = source.shapes()
    if images := [name for name in outputs if len(shapes[name]) != 1]:
        raise QexpError(f"{directory.name} estimates images, {', '.join(images)}; use Run.predict in Python")
    part = source.parts(spec["split"], Seeds(record.seed))["train"]

    def estimate(inputs: Mapping[str, Array]) -> Array:
        samples = {name: torch.from_numpy(inputs[name]).to(on) for name in network.inputs}
        made = model.estimate(samples, batch_size=len(next(iter(samples.values()))))
        return torch.cat([made[name] for name in outputs], dim=1).cpu().numpy()

    def posterior(inputs: Mapping[str, Array]) -> Posterior:
        samples = {name: torch.from_numpy(inputs[name]).to(on) for name in network.inputs}
        return model.posterior(samples, batch_size=len(next(iter(samples.values()))))

    quantities = with_periods(source.quantities, model.periods)
    if refined:
        require_coverage(interval)
        by = Refined(
            ImagePosteriors(source, list(network.inputs), quantities), frozenset(outputs), interval or COVERAGE
        )
        posteriors: Posteriors | None = by
    else:
        posteriors = _posteriors(posterior, network, record, interval)
    return ImageModel(
        layout=replace(_layout(source, network), exact=refined),
        outputs={name: record.units.get(name, "") for name in outputs},
        estimate=estimate,
        posteriors=posteriors,
        draws=draws_of(network, record, draws, posteriors.units if refined and posteriors else None),
        ranges=cache(lambda: _ranges(source, part, network, Seeds(record.seed))),
        features=cache(lambda: FeatureDistance(model, _reference(source, part, network, Seeds(record.seed), on))),
        misfit=ImageMisfit(source, outputs) if with_misfit else None,
        limits=limits_of(spec),
        trained=trained_ranges(source, outputs, quantities),
        periods=model.periods,
        origin={"run": directory.name, "digest": record.digest, "caution": record.caution},
    )


def _posteriors(
    of: Callable[[Mapping[str, Array]], Posterior],
    network: Network,
    record: Record,
    interval: float | None,
) -> Posteriors | None:
    if interval is not None:
        require_heads(network, record, "--interval")
    if not network.heads:
        return None
    require_coverage(interval)
    return OfHeads(of, units_of_heads(network, record), COVERAGE if interval is None else interval)


def require_coverage(interval: float | None) -> None:
    """Raise QexpError for a coverage that cannot be; None stands for the usual one."""
    if interval is not None and not 0 < interval < 1:
        raise QexpError(f"--interval {interval:g}: a coverage lies between 0 and 1, such as 0.9")


def _reference(
    source: GeneratedDataset, part: Part, network: Network, seeds: Seeds, device: torch.device
) -> dict[str, torch.Tensor]:
    """The inputs of training samples, which are simulated again."""
    samples = source.sample(part, SEEN, seeds, ("features",), torch.device("cpu"))
    return {name: samples[name].to(device) for name in network.inputs}


def _layout(source: GeneratedDataset, network: Network) -> ImageLayout:
    units = {name: quantity(name, source.quantities).unit for name in network.inputs}
    images = [name for name in network.inputs if name in source.generator.images(source.variables)]
    on_grids = [name for name in images if source.view(name).points is None]
    masks = {name: source.view(name).mask((source.height, source.width)) for name in images}
    return ImageLayout(
        inputs=dict(network.inputs),
        units=units,
        pixels={name: _pixels(source, name) for name in on_grids},
        hidden={name: mask[0].numpy() == 0 for name, mask in masks.items() if mask is not None},
        directions=directions_of(source, network.inputs),
    )


def directions_of(source: GeneratedDataset, inputs: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Input that varies and whose values repeat, such as a heading → its median in the training data and its period."""
    return {
        name: (float(source.distributions[name].quantile(np.array(0.5))), period)
        for name in inputs
        if name in source.test and (period := quantity(name, source.quantities).period) is not None
    }


def _pixels(source: GeneratedDataset, image: str) -> tuple[Range, Range]:
    """Least and greatest width, and height, of an image's pixels in the training data [m]."""
    ends: dict[str, NDArray[np.float64]] = {
        name: source.distributions[name].quantile(np.array([1e-6, 1 - 1e-6])) for name in source.test
    }
    widths, heights = source.pixel_sizes(image, ends)
    return (float(widths.min()), float(widths.max())), (float(heights.min()), float(heights.max()))


def _ranges(source: GeneratedDataset, part: Part, network: Network, seeds: Seeds) -> InputRanges:
    """The range of the inputs over training samples, which are simulated again."""
    pixels = sum(int(np.prod(shape)) for shape in network.inputs.values())
    size = min(SEEN, max(1, SIMULATED // pixels))
    blocks = []
    for start in range(0, SEEN, size):
        count = min(size, SEEN - start)
        samples = source.sample(part, count, seeds, ("range", start), torch.device("cpu"))
        blocks.append(statistics({name: samples[name].numpy() for name in network.inputs}))
    return ranges_over(blocks)
