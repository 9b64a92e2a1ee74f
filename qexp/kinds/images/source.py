"""The samples of a file as a network takes them, and whether its inputs lie in the range of the training data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qexp.base.quantities import alike, conversion, nearest
from qexp.errors import QexpError, some, suggestion
from qexp.kinds.images.files import Shape, Values, open_images
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
    of_images: dict[Statistic, NDArray[np.float64]] = {}
    for name, values in inputs.items():
        flat = values.reshape(len(values), -1).astype(np.float64)
        if name not in images:
            of_images[Statistic(name)] = flat[:, 0]
        elif name in masks:
            of_images[Statistic(masks[name], SEEN)] = flat.mean(axis=1)
        else:
            visible = inputs[mask_of(name)] > 0 if mask_of(name) in masks else np.ones((1, 1, 1, 1), np.bool_)
            of_images |= _of_image(name, flat, np.broadcast_to(visible, values.shape).reshape(flat.shape))
    return of_images


def _of_image(
    name: str, values: NDArray[np.float64], visible: NDArray[np.bool_]
) -> dict[Statistic, NDArray[np.float64]]:
    count = visible.sum(axis=1)
    any_seen = count > 0
    least = np.where(visible, values, np.inf).min(axis=1)
    greatest = np.where(visible, values, -np.inf).max(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(visible, values, 0).sum(axis=1) / count
        spread = np.sqrt((np.where(visible, values - mean[:, None], 0) ** 2).sum(axis=1) / count)
    return {
        Statistic(name, "least value"): np.where(any_seen, least, np.nan),
        Statistic(name, "greatest value"): np.where(any_seen, greatest, np.nan),
        Statistic(name, "standard deviation"): spread,
    }


@dataclass(frozen=True)
class InputRanges:
    """The least and the greatest value of each of the `statistics` over training samples."""

    ranges: Mapping[Statistic, tuple[float, float]]

    def outside(self, inputs: Mapping[str, Array]) -> dict[Statistic, NDArray[np.bool_]]:
        """Statistic → whether it lies outside the range, for each sample; NaN does not."""
        outside = {}
        for statistic, values in statistics(inputs).items():
            if statistic in self.ranges:
                low, high = self.ranges[statistic]
                outside[statistic] = (values < low - ROUNDING * abs(low)) | (values > high + ROUNDING * abs(high))
        return outside


def ranges_over(blocks: Sequence[Mapping[Statistic, NDArray[np.float64]]]) -> InputRanges:
    """The ranges of statistics of blocks of samples; one that is NaN everywhere has no range."""
    ranges = {}
    for statistic in blocks[0]:
        values = np.concatenate([block[statistic] for block in blocks])
        if np.isfinite(values).any():
            ranges[statistic] = (float(np.nanmin(values)), float(np.nanmax(values)))
    return InputRanges(ranges)


# The samples of a file as a network takes them: in its shapes and units, with unseen pixels masked and counted.


NAME = "name"

CLOSE = 0.01
"""Largest relative difference of a pixel's size from the sizes in the training data."""

Range = tuple[float, float]


@dataclass(frozen=True)
class ImageLayout:
    """The inputs of a network on images."""

    inputs: Mapping[str, Shape]
    """Input → (channel, height, width), or (1,) for a single number."""
    units: Mapping[str, str]
    """Input → its unit."""
    pixels: Mapping[str, tuple[Range, Range]] = field(default_factory=dict)
    """Image → least and greatest width, and height, of its pixels in the training data [m]."""
    hidden: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Image → (height, width), which pixels no sample of the training data shows: they are hidden here, too."""
    exact: bool = False
    """Whether every pixel counts as what was measured, so that none may be filled."""
    directions: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Number whose values repeat, such as a heading → its median in the training data and its period, in its unit."""

    @property
    def masks(self) -> list[str]:
        of_all = {mask_of(name) for name in self.inputs}
        return [name for name in self.inputs if name in of_all]

    @property
    def images(self) -> list[str]:
        return [name for name, shape in self.inputs.items() if len(shape) == 3 and name not in self.masks]

    @property
    def needed(self) -> list[str]:
        """Inputs that files must have: a mask follows from missing values, too."""
        return [name for name in self.inputs if name not in self.masks]

    @property
    def variables(self) -> list[str]:
        """All variables of files that are read, if they are there."""
        return [*self.inputs, *(mask_of(name) for name in self.images if mask_of(name) not in self.inputs)]


@dataclass(frozen=True)
class ImagePiece:
    """Consecutive samples of a file."""

    names: Sequence[str]
    kept: Mapping[str, Values]
    """Further columns of the file."""
    inputs: Mapping[str, Array]
    """Input → (sample, channel, height, width) or (sample, 1); images are 0 where unseen."""
    missing: NDArray[np.int64]
    """(sample,): number of unseen pixels, in all images together."""
    unmasked: NDArray[np.int64]
    """(sample,): those of them that no mask shows to the network."""
    empty: NDArray[np.bool_]
    """(sample,): whether an image has no pixel that is seen."""
    done: float
    """The fraction of the file that has been read."""


@dataclass(frozen=True)
class _Arranged:
    """How an array holds samples of a shape; `count` is None for a single sample without an axis of samples."""

    count: int | None
    channels_last: bool


class ImageSource:
    """The samples of a file, or of a folder with a file per variable.

    Raises QexpError for missing variables, other shapes, units or pixel sizes, and no samples.
    """

    def __init__(self, path: Path, layout: ImageLayout) -> None:
        self.path, self._layout = path, layout
        self._files = open_images(path, layout.variables, layout.needed)
        for name in layout.needed:
            if name not in self._files:
                raise QexpError(f"{path} has no variable '{name}'; {suggestion(name, self._files)}")
        self._read = {name: self._arranged(name) for name in layout.variables if name in self._files}
        self._factors = {name: self._factor(name) for name in layout.needed}
        self.count = self._common_count()
        for name in layout.images:
            self._require_pixels(name)
        further = self._files[layout.needed[0]].kept
        self.kept = {name: values for name, values in further.items() if name not in layout.variables}
        self.names = self._names(layout.images[0])

    @property
    def files(self) -> Sequence[Path]:
        """The files that are read."""
        return list(dict.fromkeys(file.path for file in self._files.values()))

    def unit(self, column: str) -> str:
        """The unit of a further column; empty if the file gives none."""
        return self._files[column].unit(column)

    def pieces(self, size: int) -> Iterator[ImagePiece]:
        """All samples in order, `size` at a time (fewer in the last piece).

        Raises QexpError for invalid masks and numbers that are missing, and for missing pixels, counted in the whole
        file, if the network does not know masks.
        """
        for start in range(0, self.count, size):
            piece = self._piece(start, min(start + size, self.count))
            if piece.unmasked.any():
                self._refuse_missing(start, size)
            yield piece

    def _refuse_missing(self, start: int, size: int) -> None:
        """Count the missing pixels from a sample on, and raise."""
        pixels, names = 0, list[str]()
        for first in range(start, self.count, size):
            piece = self._piece(first, min(first + size, self.count))
            pixels += int(piece.unmasked.sum())
            names += [name for name, count in zip(piece.names, piece.unmasked, strict=True) if count]
        without = [name for name in self._layout.images if mask_of(name) not in self._layout.inputs]
        total = self.count * sum(int(np.prod(self._layout.inputs[name])) for name in without)
        raise QexpError(
            f"{self.path}: {pixels:,} of {total:,} pixels are missing, in {len(names):,} of {self.count:,} samples "
            f"({some(names, 3)}), and the network takes no mask of {some(without)}; "
            + ("" if self._layout.exact else "fill the gaps, ")
            + f"leave these samples out, or train a network with the input '{mask_of(without[0])}'"
        )

    def _arranged(self, name: str) -> _Arranged:
        """Raises QexpError if the array holds no samples of the input's shape."""
        shape, wanted = tuple(self._files[name].shapes[name]), self._shape(name)
        last = (*wanted[1:], wanted[0])
        for form in (*_forms(wanted), last):
            if shape == form or (shape[1:] == form and len(shape) == len(form) + 1):
                return _Arranged(None if shape == form else shape[0], form == last != wanted)
        raise QexpError(
            f"{self._files[name].label(name)}: its shape is {_by(shape)}, but the run takes {_words(wanted)}, that is "
            f"{_by(('samples', *_forms(wanted)[-1]))}"
        )

    def _shape(self, name: str) -> Shape:
        """Shape of an input; a mask that is none has that of its image."""
        if name in self._layout.inputs:
            return self._layout.inputs[name]
        return next((1, *self._layout.inputs[image][1:]) for image in self._layout.images if mask_of(image) == name)

    def _factor(self, name: str) -> float:
        """By which values of the file are multiplied to be in the input's unit."""
        unit, wanted = self._files[name].unit(name), self._layout.units.get(name, "")
        factor = conversion(unit or wanted, wanted)
        if factor is None:
            others = alike(wanted)
            raise QexpError(
                f"{self._files[name].label(name)}: its unit is '{unit}', but '{name}' is in {wanted or 'no unit'}; "
                + (f"known units of it are {', '.join(others)}" if others else "convert it, or remove the unit")
            )
        return factor

    def _common_count(self) -> int:
        counts = {name: layout.count for name, layout in self._read.items() if layout.count is not None}
        images = [counts[name] for name in self._layout.images if name in counts]
        count = max(images, default=max(counts.values(), default=1))
        if count == 0:
            raise QexpError(f"{self.path} holds no samples")
        for name, layout in self._read.items():
            # A mask or a number may be the same for all samples, an image hardly.
            if layout.count not in (count, *(() if name in self._layout.images and count > 1 else (None, 1))):
                counts_in_words = ", ".join(f"{other}: {number.count or 1}" for other, number in self._read.items())
                raise QexpError(f"{self.path}: the variables have different numbers of samples, {counts_in_words}")
        return count

    def _names(self, image: str) -> Sequence[str]:
        """Names of the samples: by the file, by its column `name`, by the file itself for a single one, or numbers."""
        names = self._files[image].names(image) if self._read[image].count is not None else None
        if names is None and NAME in self.kept:
            names = [str(name) for name in self.kept.pop(NAME)]
        if names is None:
            return [self.path.stem] if self.count == 1 else [str(index) for index in range(self.count)]
        return names

    def _require_pixels(self, name: str) -> None:
        """Raise QexpError if the pixels are known to be of another size than those of the training data."""
        pixel, trained_on = self._files[name].pixel(name), self._layout.pixels.get(name)
        if pixel is None or trained_on is None:
            return
        for side, what, (low, high) in zip(pixel, ("wide", "high"), trained_on, strict=True):
            if not (1 - CLOSE) * low <= side <= (1 + CLOSE) * high:
                trained = f"{low:g} m" if low == high else f"{low:g} to {high:g} m"
                raise QexpError(
                    f"{self._files[name].label(name)}: its pixels are {side:g} m {what}, but the run was trained on "
                    f"pixels of {trained}; resample the images to that"
                )

    def _piece(self, start: int, stop: int) -> ImagePiece:
        names, inputs = self.names[start:stop], dict[str, Array]()
        missing, unmasked = np.zeros((2, stop - start), np.int64)
        empty = np.zeros(stop - start, np.bool_)
        for image in self._layout.images:
            values = self._values(image, start, stop)
            gaps, hidden = ~np.isfinite(values), self._layout.hidden.get(image, np.zeros((1, 1), np.bool_))
            mask = mask_of(image)
            if mask in self._read:
                gaps |= self._unseen(mask, start, stop)
            if mask not in self._layout.inputs:
                unmasked += (gaps & ~hidden).sum(axis=(1, 2, 3))
            gaps |= hidden
            missing += gaps.sum(axis=(1, 2, 3))
            empty |= gaps.all(axis=(1, 2, 3))
            values[gaps] = 0
            inputs[image] = values
            if mask in self._layout.inputs:
                inputs[mask] = np.asarray(~gaps.any(axis=1, keepdims=True), np.float32)
        for name in self._layout.needed:
            if name not in inputs:
                numbers = self._values(name, start, stop)
                if lacking := [names[row] for row in np.flatnonzero(~np.isfinite(numbers[:, 0])).tolist()]:
                    raise QexpError(f"{self._files[name].label(name)}: '{name}' is missing for {some(lacking, 3)}")
                if name in self._layout.directions:  # 192° and −168° are the same, but not to a network
                    numbers = nearest(numbers, *self._layout.directions[name]).astype(np.float32)
                inputs[name] = numbers
        columns = {name: values[start:stop] for name, values in self.kept.items()}
        return ImagePiece(names, columns, inputs, missing, unmasked, empty, stop / self.count)

    def _values(self, name: str, start: int, stop: int) -> Array:
        """Samples of a variable in its unit and shape."""
        how, shape = self._read[name], self._shape(name)
        alone = how.count is None or (how.count == 1 and self.count > 1)
        raw = self._files[name].read(name, slice(start, stop) if not alone else None)
        form = (*shape[1:], shape[0]) if how.channels_last else shape
        values = np.asarray(raw).reshape(-1, *form)
        if how.channels_last:
            values = np.moveaxis(values, -1, 1)
        scaled: Array = np.empty((stop - start, *shape), np.float32)
        with np.errstate(over="ignore"):  # what is too large for single precision becomes infinite, that is, missing
            np.multiply(values, self._factors.get(name, 1.0), out=scaled, casting="same_kind")
        return scaled

    def _unseen(self, mask: str, start: int, stop: int) -> NDArray[np.bool_]:
        values = self._values(mask, start, stop)
        unseen: NDArray[np.bool_] = np.nan_to_num(values, nan=0.0) == 0
        if not (unseen | (values == 1)).all():
            other = values[~unseen & (values != 1)][0]
            raise QexpError(
                f"{self._files[mask].label(mask)}: a mask is 1 where pixels are seen and 0 elsewhere, not {other:g}"
            )
        return unseen


def _forms(shape: Shape) -> list[Shape]:
    """A sample's shape, and the same without axes of length 1: that of channels, and the last one of points."""
    if len(shape) == 1:
        return [shape, ()]
    channels, _, width = shape
    ends = [(first, last) for first in (0, 1) for last in (3, 2) if first * channels < 2 and (last == 3 or width == 1)]
    return [shape[first:last] for first, last in ends]


def _words(shape: Shape) -> str:
    if len(shape) == 1:
        return "a number for each sample"
    channels, height, width = shape
    of_channels = f" with {channels} components" if channels > 1 else ""
    return f"images of {height} x {width} pixels{of_channels}"


def _by(shape: Sequence[int | str]) -> str:
    return " x ".join(map(str, shape)) if shape else "that of a single number"
