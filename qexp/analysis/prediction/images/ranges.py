"""Whether the inputs of a sample lie in the range of those that a network was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.generated import mask_of

Array = NDArray[np.float32]

ROUNDING = 1e-5
"""Relative difference by which a statistic may exceed a limit: the rounding of sums in single precision."""


def statistics(inputs: Mapping[str, Array]) -> dict[str, NDArray[np.float64]]:
    """Numbers that describe the inputs of each sample: name → (sample,).

    Of an image the least value, greatest value and standard deviation over the pixels that are seen, in the input's
    unit; of a mask the share of such pixels; of a single number the number. NaN where no pixel is seen.

    inputs  name → (sample, channel, height, width), or (sample, 1); a mask is 1 where the pixels of its image are seen
    """
    images = [name for name, values in inputs.items() if values.ndim == 4]
    masks = {mask_of(name) for name in images} & inputs.keys()
    made: dict[str, NDArray[np.float64]] = {}
    for name, values in inputs.items():
        flat = values.reshape(len(values), -1).astype(np.float64)
        if name not in images:
            made[name] = flat[:, 0]
        elif name in masks:
            made[f"share of seen pixels in {name}"] = flat.mean(axis=1)
        else:
            seen = inputs[mask_of(name)] > 0 if mask_of(name) in masks else np.ones((1, 1, 1, 1), np.bool_)
            made |= _of_image(name, flat, np.broadcast_to(seen, values.shape).reshape(flat.shape))
    return made


def _of_image(name: str, values: NDArray[np.float64], seen: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    count = seen.sum(axis=1)
    any_seen = count > 0
    least = np.where(seen, values, np.inf).min(axis=1)
    greatest = np.where(seen, values, -np.inf).max(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(seen, values, 0).sum(axis=1) / count
        spread = np.sqrt((np.where(seen, values - mean[:, None], 0) ** 2).sum(axis=1) / count)
    return {
        f"least value of {name}": np.where(any_seen, least, np.nan),
        f"greatest value of {name}": np.where(any_seen, greatest, np.nan),
        f"standard deviation of {name}": spread,
    }


@dataclass(frozen=True)
class InputRanges:
    """The least and the greatest value of each of the `statistics` over training samples."""

    of: Mapping[str, tuple[float, float]]

    def outside(self, inputs: Mapping[str, Array]) -> dict[str, NDArray[np.bool_]]:
        """Statistic → whether it lies outside the range, for each sample; NaN does not."""
        return {name: self._beyond(name, values) for name, values in statistics(inputs).items() if name in self.of}

    def _beyond(self, name: str, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        low, high = self.of[name]
        beyond: NDArray[np.bool_] = (values < low - ROUNDING * abs(low)) | (values > high + ROUNDING * abs(high))
        return beyond


def ranges_over(blocks: Sequence[Mapping[str, NDArray[np.float64]]]) -> InputRanges:
    """The ranges of statistics of blocks of samples; one that is NaN everywhere has no range."""
    made = {}
    for name in blocks[0]:
        values = np.concatenate([block[name] for block in blocks])
        if np.isfinite(values).any():
            made[name] = (float(np.nanmin(values)), float(np.nanmax(values)))
    return InputRanges(made)
