"""Whether the inputs of a sample lie in the range of those that a network was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.simulation.dataset import mask_of

Array = NDArray[np.float32]

ROUNDING = 1e-5
"""Relative difference by which a statistic may exceed a limit: the rounding of sums in single precision."""


@dataclass(frozen=True)
class Statistic:
    """A number that describes an input.

    input  the image, or the single number
    kind   such as "least value"; empty for a single number
    """

    input: str
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.kind} of {self.input}" if self.kind else self.input


SEEN = "share of seen pixels"
"""The statistic of an image's mask, which has no unit."""


def statistics(inputs: Mapping[str, Array]) -> dict[Statistic, NDArray[np.float64]]:
    """Numbers that describe the inputs of each sample, (sample,) each.

    Of an image the least value, greatest value and standard deviation over the pixels that are seen, in the input's
    unit; of a mask the share of such pixels; of a single number the number. NaN where no pixel is seen.

    inputs  name → (sample, channel, height, width), or (sample, 1); a mask is 1 where the pixels of its image are seen
    """
    images = [name for name, values in inputs.items() if values.ndim == 4]
    masks = {mask_of(name): name for name in images if mask_of(name) in inputs}
    made: dict[Statistic, NDArray[np.float64]] = {}
    for name, values in inputs.items():
        flat = values.reshape(len(values), -1).astype(np.float64)
        if name not in images:
            made[Statistic(name)] = flat[:, 0]
        elif name in masks:
            made[Statistic(masks[name], SEEN)] = flat.mean(axis=1)
        else:
            seen = inputs[mask_of(name)] > 0 if mask_of(name) in masks else np.ones((1, 1, 1, 1), np.bool_)
            made |= _of_image(name, flat, np.broadcast_to(seen, values.shape).reshape(flat.shape))
    return made


def _of_image(name: str, values: NDArray[np.float64], seen: NDArray[np.bool_]) -> dict[Statistic, NDArray[np.float64]]:
    count = seen.sum(axis=1)
    any_seen = count > 0
    least = np.where(seen, values, np.inf).min(axis=1)
    greatest = np.where(seen, values, -np.inf).max(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(seen, values, 0).sum(axis=1) / count
        spread = np.sqrt((np.where(seen, values - mean[:, None], 0) ** 2).sum(axis=1) / count)
    return {
        Statistic(name, "least value"): np.where(any_seen, least, np.nan),
        Statistic(name, "greatest value"): np.where(any_seen, greatest, np.nan),
        Statistic(name, "standard deviation"): spread,
    }


@dataclass(frozen=True)
class InputRanges:
    """The least and the greatest value of each of the `statistics` over training samples."""

    of: Mapping[Statistic, tuple[float, float]]

    def outside(self, inputs: Mapping[str, Array]) -> dict[Statistic, NDArray[np.bool_]]:
        """Statistic → whether it lies outside the range, for each sample; NaN does not."""
        return {one: self._beyond(one, values) for one, values in statistics(inputs).items() if one in self.of}

    def _beyond(self, one: Statistic, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        low, high = self.of[one]
        beyond: NDArray[np.bool_] = (values < low - ROUNDING * abs(low)) | (values > high + ROUNDING * abs(high))
        return beyond


def ranges_over(blocks: Sequence[Mapping[Statistic, NDArray[np.float64]]]) -> InputRanges:
    """The ranges of statistics of blocks of samples; one that is NaN everywhere has no range."""
    made = {}
    for one in blocks[0]:
        values = np.concatenate([block[one] for block in blocks])
        if np.isfinite(values).any():
            made[one] = (float(np.nanmin(values)), float(np.nanmax(values)))
    return InputRanges(made)
