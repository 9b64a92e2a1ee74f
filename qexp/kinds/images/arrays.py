"""Arrays of files as samples of images: which axis is which, in which unit, where north is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import by_name
from qexp.base.quantities import alike, conversion
from qexp.errors import QexpError
from qexp.kinds.images.files import ImageVariable, Shape
from qexp.networks.shapes import AXES, forms
from qexp.observations.reading import codes_among

Array = NDArray[np.float32]

SOUTHWARDS = "southwards"
"""What datasets say of files in whose images the first row is in the north."""

CODE = "far from all other values: a code for no data? Write NaN in their place"

BLOCK = 2**22
"""Numbers of an array that are read at a time."""


@dataclass(frozen=True, kw_only=True)
class ImageArray:
    """An array of a file as samples of one shape.

    variable       whose axes are in the order sample, channel, y, x
    shape          of a sample, (channel, height, width), or (1,) for a number
    single         whether it is one sample, without an axis of samples
    channels_last  whether the channels are behind y and x
    turned         whether rows run southwards in the file, which does not say so
    factor         by which values are multiplied
    labels         names of the values of a vector in their order, where the file may have another
    """

    variable: ImageVariable
    shape: Shape
    single: bool = False
    channels_last: bool = False
    turned: bool = False
    factor: float = 1.0
    labels: Sequence[str] = ()

    @property
    def count(self) -> int:
        """Number of samples."""
        return 1 if self.single else self.variable.shape[0]

    def read(self, samples: slice | None) -> Array:
        """Some samples, (sample, channel, height, width); all for None."""
        return self._ordered(self.variable.read(None if self.single else samples))

    def blocks(self) -> Iterator[Array]:
        """All samples in order, some at a time."""
        size = max(1, BLOCK // math.prod(self.shape))
        whole = self.variable.read(None) if self.variable.order[0] else None
        for start in range(0, self.count, size):
            block = slice(start, min(start + size, self.count))
            yield self.read(block) if whole is None else self._ordered(whole[block])

    def codes(self, values: Array) -> list[float]:
        """Numbers of the file among its values that seem to stand for no data."""
        return [code / self.factor for code in codes_among(values, self.factor)]

    def _ordered(self, values: NDArray[np.generic]) -> Array:
        there = self.variable.labels if self.labels else []
        if there:
            columns = dict(zip(there, values.reshape(-1, len(there)).T, strict=True))
            values = by_name(columns, self.variable.label, self.labels, "the run was trained on")
        if self.channels_last:
            values = np.moveaxis(values.reshape(-1, *self.shape[1:], self.shape[0]), -1, 1)
        values = values.reshape(-1, *self.shape)
        if self.turned:
            values = values[..., ::-1, :]
        scaled = np.empty(values.shape, np.float32)
        # what is too large for single precision becomes infinite, that is, missing
        with np.errstate(over="ignore", invalid="ignore"):
            np.multiply(values, self.factor, out=scaled, casting="same_kind")
        return scaled


def arranged(variable: ImageVariable, wanted: Shape) -> ImageArray | None:
    """The array as samples of a shape; None if it holds none."""
    shape = variable.shape
    for form, channels_last in forms(wanted).items():
        if form in (shape, shape[1:]):
            single = form == shape
            return ImageArray(
                variable=variable, shape=wanted, single=single, channels_last=channels_last
            )
    return None


def is_doubtful(array: ImageArray) -> bool:
    """Whether by its sizes the channels may as well be another axis, and nothing names the axes."""
    variable = array.variable
    form = variable.shape[0 if array.single else 1 :]
    if variable.order:
        return False
    if variable.channel is not None:  # of as many images as these have rows and columns
        return len({*variable.file.shapes[variable.name][-3:]}) == 1
    return forms(array.shape, last_first=True)[form] != array.channels_last


def tells_north(variable: ImageVariable, shape: Shape) -> bool:
    """Whether it is known which way the rows of an image run, or it has none."""
    return min(shape[1:], default=1) == 1 or variable.file.tells_north(variable.name)


UNIT, FILE_UNITS = "`unit={}`", '"file_units": {}'
"""How the unit of variables in files is given: by an option, and by a key of datasets."""


def factor_of(
    variable: str, wanted: str, unit: str, given: str | None, label: str, key: str
) -> float:
    """The number by which a variable's values in a file are multiplied to be in its unit.

    unit   in the file, empty if that does not say it
    given  in its place, as UNIT or FILE_UNITS say
    label  the file and the name in it
    Raises QexpError if these differ, and for another unit.
    """
    factor = conversion(given or unit or wanted, wanted)
    if given and unit and conversion(unit, wanted) not in (None, factor):
        said = key.format({variable: given})
        raise QexpError(f"{label} gives its unit as {unit}, unlike {said}; leave it out")
    if factor is None:
        known, others = "convert it, or remove the unit", alike(wanted)
        if others:
            known = f"known units of it are {', '.join(others)}; if it is in one of these:"
            known += f" {key.format({variable: others[0]})}"
        words = f"its unit is '{given or unit}', but '{variable}' is in {wanted or 'no unit'}"
        raise QexpError(f"{label}: {words}; {known}")
    return factor


# Axes of arrays whose samples may have any shape: as declared, or as files name them.

STATIONS = ("simulation", "component", "station"), ("simulation", "station", "component")

FORMS = (
    ("simulation", "value"), ("simulation", "y", "x"), ("simulation", "channel", "y", "x"),
    ("simulation", "y", "x", "channel"),
)  # fmt: skip
"""The axes that images and vectors may have, the usual ones first."""


def axes_of(
    variable: ImageVariable, name: str, declared: Sequence[str], stations: bool, channels: int
) -> tuple[Sequence[str], str]:
    """The names of an array's axes, and what is said if they are presumed.

    name      of the observation
    declared  the names, if the dataset has them
    stations  whether it is of stations, with three components
    channels  how many there are, as far as that is known; else 0
    Raises QexpError for another number of axes, and if they may be others.
    """
    shape = variable.shape
    possible = STATIONS if stations else FORMS
    sized: Sequence[Sequence[str]] = [form for form in possible if len(form) == len(shape)]
    if not math.prod(shape):
        raise QexpError(f"{variable.label} holds no values: its shape is {shape}")
    if not sized:
        words = " or ".join(f"({', '.join(form)})" for form in possible[:-1])
        raise QexpError(f"{variable.label} has the shape {shape}; it must be {words}")
    if declared:
        if sorted(map(AXES.__getitem__, declared)) != sorted(map(AXES.__getitem__, sized[0])):
            raise QexpError(
                f"{variable.label} has the shape {shape}; name each axis, such as"
                f" {json.dumps(sized[0])}"
            )
        return declared, ""
    there = variable.file.dimensions(variable.name)
    fitting = [form for form in sized if _may_be(there, form)] or sized
    number = 3 if stations else channels
    counted = [form for form in fitting if _sizes(form, shape).get(1) == number]
    fitting = counted or fitting
    if len(fitting) == 1:
        return fitting[0], ""
    square = [form for form in fitting if _is_square(_sizes(form, shape))]
    said = [f'"axes": {json.dumps({name: form})}' for form in square or fitting]
    if len(square) != 1:
        which = f"say which axis is which: {' or '.join(said)}"
        raise QexpError(f"{variable.label} has the shape {shape}; {which}")
    words = f"'{name}' of the shape {shape} is read with {said[0]}; declare others in the dataset"
    return square[0], words


def _may_be(there: Sequence[str], form: Sequence[str]) -> bool:
    """Whether axes of these names, of which some are not known, may be those of a form."""
    places = [AXES.get(axis) for axis in there]
    return all(place in (None, AXES[axis]) for place, axis in zip(places, form, strict=False))


def _sizes(form: Sequence[str], shape: Shape) -> Mapping[int, int]:
    """Place among simulation, channel, y and x → the length of that axis."""
    return {AXES[axis]: size for axis, size in zip(form, shape, strict=True)}


def _is_square(sizes: Mapping[int, int]) -> bool:
    return sizes.get(2) == sizes.get(3)
