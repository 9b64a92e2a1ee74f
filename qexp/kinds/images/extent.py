"""Where the inputs of a network on images and vectors lie in its training data, and whether others
lie outside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qexp.base import formats
from qexp.base.seeds import Seeds
from qexp.errors import QexpError
from qexp.kinds.prediction import Array, Arrays
from qexp.metrics.outliers import FEWEST_VECTORS, MOST_REFERENCES, TrainingVectors
from qexp.networks.network import Network
from qexp.networks.shapes import Shape, is_vector, numbers_in
from qexp.simulation.dataset import GeneratedDataset, Part, mask_of
from qexp.store.directory import RunDirectory
from qexp.store.record import Record

ROUNDING = 1e-5
"""Relative difference by which a statistic may exceed a limit: the rounding of sums in single
precision.
"""


@dataclass(frozen=True)
class Statistic:
    """A number that describes an input.

    input  the image, or the single number
    kind   such as "least value"; empty for a single number
    """

    input: str
    kind: str = ""

    def __str__(self) -> str:
        if self.kind.startswith("["):
            return self.input + self.kind
        return f"{self.kind} of {self.input}" if self.kind else self.input


EXTREMES, SPREAD = ("least value", "greatest value"), "standard deviation"
OfStatistics = dict[Statistic, NDArray[np.float64]]

SEEN = "share of seen pixels"
"""The statistic of an image's mask, which has no unit."""


def statistics(inputs: Arrays) -> OfStatistics:
    """Numbers that describe the inputs of each sample, (sample,) each.

    Of an image the least value, greatest value and standard deviation over the pixels that are
    seen, in the input's unit; of a mask the share of such pixels; of a single number the number.
    NaN where no pixel is seen.

    inputs  name → (sample, channel, height, width), or (sample, 1); a mask is 1 where the pixels of
            its image are seen
    """
    images = [name for name, values in inputs.items() if values.ndim == 4]
    masks = {mask_of(name): name for name in images if mask_of(name) in inputs}
    found: OfStatistics = {}
    for name, values in inputs.items():
        flat = values.reshape(len(values), -1)
        if name not in images:
            found[Statistic(name)] = flat[:, 0].astype(np.float64)
        elif name in masks:
            found[Statistic(masks[name], SEEN)] = flat.mean(axis=1, dtype=np.float64)
        else:
            of_image = _of_pixels(flat)  # in single precision, which is some times as fast
            if mask_of(name) in masks:
                visible = np.broadcast_to(inputs[mask_of(name)] > 0, values.shape)
                of_image = _of_pixels(flat.astype(np.float64), visible.reshape(flat.shape))
            kinds = [Statistic(name, kind) for kind in (*EXTREMES, SPREAD)]
            found |= dict(zip(kinds, of_image, strict=True))
    return found


def _of_pixels(
    values: NDArray[np.floating], visible: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Least, greatest and standard deviation of those that are visible of (sample, pixel); (3,
    sample).
    """
    seen: dict[str, Any] = {} if visible is None else {"where": visible}
    count = values.shape[1] if visible is None else visible.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        deviations = values - (values.sum(axis=1, **seen) / count)[:, None]
        if visible is not None:
            deviations[~visible] = 0
        spread = np.sqrt(np.einsum("ij,ij->i", deviations, deviations) / count)
    ends = values.min(axis=1, initial=np.inf, **seen), values.max(axis=1, initial=-np.inf, **seen)
    return np.where(np.greater(count, 0), (*ends, spread), np.nan).astype(np.float64)


InputRanges = Mapping[Statistic, tuple[float, float]]
"""The least and the greatest value of each of the `statistics` over training samples."""


def ranges_over(blocks: Sequence[OfStatistics]) -> InputRanges:
    """The ranges of statistics of blocks of samples; one that is NaN everywhere has no range."""
    ranges = {}
    for statistic in blocks[0]:
        column = np.concatenate([block[statistic] for block in blocks])
        if np.isfinite(column).any():
            ranges[statistic] = float(np.nanmin(column)), float(np.nanmax(column))
    return ranges


SEEN_SAMPLES = 1_024
"""Training samples whose inputs are the range to compare with."""
SIMULATED_PIXELS = 2**21
"""Pixels that are simulated at a time."""


def kept_ranges(record: Record, network: Network) -> InputRanges:
    """Those that a run keeps, as its samples may be elsewhere later; empty if it keeps none."""
    all_statistics = (
        Statistic(name, kind) for name in network.inputs for kind in (*EXTREMES, SPREAD, SEEN, "")
    )
    of_words = {str(statistic): statistic for statistic in all_statistics}
    return {
        of_words[one.column]: (one.least, one.greatest)
        for one in record.features
        if one.column in of_words and one.least is not None and one.greatest is not None
    }


def ranges_of(source: GeneratedDataset, part: Part, network: Network, seeds: Seeds) -> InputRanges:
    """The range of the inputs over training samples, which are simulated again."""
    most = source.available(part, SEEN_SAMPLES)
    size = max(1, SIMULATED_PIXELS // numbers_in(network.inputs))
    blocks = []
    for start in range(0, most, size):
        count = min(size, most - start)
        samples = source.sample(
            part,
            count,
            seeds,
            ("range", start),
            torch.device("cpu"),
        )
        blocks.append(statistics({name: samples[name].numpy() for name in network.inputs}))
    return ranges_over(blocks)


# Inputs that are vectors: what is said of the least and greatest of all pixels of an image, or of
# their standard deviation, would say nothing of numbers that are different quantities.

TRAINING_VECTORS = "training_vectors.nc"
"""File in `results` with the vectors of some training samples, for runs on simulations that may be
elsewhere later.
"""

JOINT = "joint values"
"""The statistic of all numbers of all vectors."""


def vectors_among(inputs: Mapping[str, Shape]) -> list[str]:
    """The inputs, of these shapes, that are values in a row, such as of stations, all of which are
    seen.
    """
    of_all = {mask_of(name): name for name in inputs if mask_of(name) in inputs}
    masked = {*of_all, *of_all.values()}
    return [name for name, shape in inputs.items() if name not in masked and is_vector(shape)]


def training_vectors(
    source: GeneratedDataset, part: Part, network: Network, seeds: Seeds
) -> dict[str, Array]:
    """Vector → (sample, channel, height, width) of training samples."""
    if not (names := vectors_among(network.inputs)):
        return {}
    pixels = numbers_in(network.inputs)
    count = source.available(
        part, min(2 * MOST_REFERENCES, max(SIMULATED_PIXELS // pixels, SEEN_SAMPLES // 16))
    )
    samples = source.sample(
        part,
        count,
        seeds,
        ("vectors",),
        torch.device("cpu"),
    )
    return {name: samples[name].numpy() for name in names}


def keep_vectors(directory: RunDirectory, vectors: Arrays) -> None:
    """Write the vectors of training samples into a run, if there are any."""
    if vectors:
        import xarray

        variables: dict[str, Any] = {}
        for name, values in vectors.items():
            variables[name] = ("sample", f"channel_{name}", f"y_{name}", f"x_{name}"), values
        packed = {name: {"zlib": True} for name in vectors}
        table = xarray.Dataset(variables)
        formats.write_netcdf(directory.results / TRAINING_VECTORS, table, packed)


@dataclass(frozen=True)
class TrainingInputs:
    """Where the inputs of a network lie in its training data.

    ranges   of the statistics
    vectors  input → the names of its numbers, in the order of those that `known` has of each sample
    known    None where nothing is known of single numbers, as of older runs whose data are gone
    """

    ranges: InputRanges
    vectors: Mapping[str, Sequence[str]]
    known: TrainingVectors | None

    @property
    def numbers(self) -> list[Statistic]:
        """Of all vectors, such as `[3]`, in the order of `known`."""
        return [
            Statistic(name, number.removeprefix(name))
            for name, numbers in self.vectors.items()
            for number in numbers
        ]

    def outside(self, inputs: Arrays) -> dict[Statistic, NDArray[np.bool_]]:
        """Statistic → whether it lies outside, for each sample, NaN does not; of the numbers of
        vectors those with any that does.
        """
        single = () if self.known is None else self.vectors
        others = {name: array for name, array in inputs.items() if name not in single}
        far = {}
        for statistic, values in statistics(others).items():
            if statistic in self.ranges:
                low, high = self.ranges[statistic]
                lower = values < low - ROUNDING * abs(low)
                far[statistic] = lower | (values > high + ROUNDING * abs(high))
        if self.known is None:
            return far
        each, together = self.known.outside(self._in_rows(inputs))
        numbers = self.numbers
        far |= {numbers[column]: each[:, column] for column in np.flatnonzero(each.any(axis=0))}
        return {**far, Statistic(" and ".join(self.vectors), JOINT): together}

    def described(self, statistic: Statistic, inputs: Arrays, units: Mapping[str, str]) -> str:
        """A statistic of the first sample beside its range in the training data: `[3] 0.2 m (in
        training …)`.
        """
        if statistic.kind == JOINT:
            return "no training sample has a like combination of values"
        if statistic in self.ranges:
            value, (low, high) = statistics(inputs)[statistic][0], self.ranges[statistic]
        else:
            assert self.known is not None
            column = self.numbers.index(statistic)
            value = self._in_rows(inputs)[0, column]
            low, high = (ends[column] for ends in self.known.limits())
        unit = "" if statistic.kind == SEEN else f" {units.get(statistic.input, '')}".rstrip()
        words = statistic.kind or statistic.input
        return f"{words} {value:.3g}{unit} (in training {low:.3g} to {high:.3g}{unit})"

    def _in_rows(self, inputs: Arrays) -> NDArray[np.float64]:
        return _in_rows([inputs[name] for name in self.vectors])


def training_inputs(
    directory: RunDirectory, source: GeneratedDataset, network: Network
) -> TrainingInputs:
    """What a run keeps of its training data, or what can be simulated or read again."""
    record = directory.record()
    split = directory.training_spec()["split"]
    seeds = Seeds(record.seed)
    part = cache(lambda: source.parts(split, seeds)["train"])
    ranges = kept_ranges(record, network) or ranges_of(source, part(), network, seeds)
    names = vectors_among(network.inputs)
    vectors = dict[str, Array]()
    with suppress(QexpError):  # of an older run whose data are gone: what it keeps must do
        path = directory.members[0].results / TRAINING_VECTORS
        if path.exists() and not source.simulates:
            kept = formats.read_netcdf(path)
            vectors = {name: kept[name].values for name in names}
        else:
            vectors = training_vectors(source, part(), network, seeds)
    rows = _in_rows(list(vectors.values()))
    named = source.origin.get("values", {})
    numbers = {name: numbers_of(name, network.inputs[name], named.get(name, ())) for name in names}
    return TrainingInputs(
        ranges, numbers, TrainingVectors(rows) if len(rows) >= FEWEST_VECTORS else None
    )


def _in_rows(vectors: Sequence[Array]) -> NDArray[np.float64]:
    """(sample, number), of all vectors."""
    rows = [values.reshape(len(values), -1) for values in vectors]
    return np.concatenate(rows, axis=1, dtype=np.float64) if rows else np.zeros((0, 0))


def numbers_of(name: str, shape: Shape, called: Sequence[str] = ()) -> list[str]:
    """Names of the numbers of a vector, in their order: `observed[0]`, of stations `gnss[2, 0]`."""
    sides = [side for side in shape if side > 1] or [1]
    if len(called) != math.prod(sides):
        called = [", ".join(map(str, place)) for place in np.ndindex(*sides)]
    return [f"{name}[{number}]" for number in called]
