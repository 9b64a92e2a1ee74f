"""The samples of a file as a network takes them: in its shapes and units, with unseen pixels masked
and counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import by_name
from qexp.base.quantities import alike, channels_of, conversion, nearest, periods_of, quantity
from qexp.errors import QexpError, some, suggestion
from qexp.kinds.images.extent import numbers_of
from qexp.kinds.images.files import (
    SINGLE,
    SUFFIXES,
    UNNAMED,
    ImageAxis,
    ImageVariable,
    Shape,
    Values,
    open_images,
)
from qexp.kinds.images.tables import NAME, TABLES, TableImages
from qexp.networks.network import Network
from qexp.networks.shapes import forms, is_vector, order_of
from qexp.observations.raster_files import EAST, NORTH
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.spec.reading import Document

Array = NDArray[np.float32]

CLOSE_SIZE = 0.01
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
    """Image → (height, width), which pixels no sample of the training data shows: they are hidden
    here, too.
    """
    exact: bool = False
    """Whether every pixel counts as what was measured, so that none may be filled."""
    directions: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Number whose values repeat, such as a heading → its median in the training data and its
    period, in its unit.
    """
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Vector → the names of its values in the training data, where these have some."""
    declared: Mapping[str, str] = field(default_factory=dict)
    """Variable → what files may call it, by the spec of the dataset."""
    axes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Image → the axes of its array in files, by that spec."""
    rows: str | None = None
    """Which way the rows of images run where files do not say it, by that spec."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Variable → its name in the files at hand."""
    given_units: Mapping[str, str] = field(default_factory=dict)
    """Variable → its unit in the files at hand, in place of the one that they give."""

    @property
    def masks(self) -> list[str]:
        of_all = {mask_of(name) for name in self.inputs}
        return [name for name in self.inputs if name in of_all]

    @property
    def images(self) -> list[str]:
        return [
            name
            for name, shape in self.inputs.items()
            if len(shape) == 3 and name not in self.masks
        ]

    @property
    def needed(self) -> list[str]:
        """Inputs that files must have: a mask follows from missing values, too."""
        return [name for name in self.inputs if name not in self.masks]

    @property
    def variables(self) -> list[str]:
        """All variables of files that are read, if they are there."""
        return [
            *self.inputs,
            *(mask_of(name) for name in self.images if mask_of(name) not in self.inputs),
        ]


def layout_of(source: GeneratedDataset, network: Network, document: Document) -> ImageLayout:
    """What the images of a run's dataset, with that document, are like, in which the network takes
    its inputs.
    """
    images = [name for name in network.inputs if name in source.images]
    masks = {name: source.view(name).mask(source.size) for name in images}
    return ImageLayout(
        inputs=dict(network.inputs),
        units={name: quantity(name, source.quantities).unit for name in network.inputs},
        pixels={name: known for name in images if (known := _pixels(source, name)) is not None},
        hidden={name: mask[0].numpy() == 0 for name, mask in masks.items() if mask is not None},
        directions=directions_of(source, network.inputs),
        values=source.origin.get("values", {}),
        declared=document.get("columns", {}),
        axes=document.get("axes", {}),
        rows=document.get("rows"),
    )


def directions_of(
    source: GeneratedDataset, inputs: Iterable[str]
) -> dict[str, tuple[float, float]]:
    """Input that varies and whose values repeat, such as a heading → its median in the training
    data and its period.
    """
    periods = periods_of((name for name in inputs if name in source.test), source.quantities)
    return {name: (median, periods[name]) for name, median in source.medians(periods).items()}


def _pixels(source: GeneratedDataset, image: str) -> tuple[Range, Range] | None:
    """Least and greatest width, and height, of an image's pixels in the training data [m]; None if
    it has none, or if they are not known.
    """
    if source.view(image).points is not None:
        return None
    ends: dict[str, NDArray[np.float64]] = {
        name: source.distributions[name].quantile(np.array([1e-6, 1 - 1e-6]))
        for name in source.test
    }
    widths, heights = source.pixel_sizes(image, ends)
    if not np.isfinite(widths.min() + heights.min()):
        return None
    return (float(widths.min()), float(widths.max())), (float(heights.min()), float(heights.max()))


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
    """How an array holds samples of a shape; `count` is None for a single sample without an axis of
    samples.
    """

    count: int | None
    channels_last: bool


class ImageSource:
    """The samples of a file, or of a folder with a file per variable.

    Raises QexpError for missing variables, other shapes, units or pixel sizes, and no samples.
    """

    def __init__(self, path: Path, layout: ImageLayout) -> None:
        self.path, self._layout = path, layout
        self._files = self._found()
        self._read = {
            name: self._arranged(name, variable) for name, variable in self._files.items()
        }
        self.factors = {name: self._factor(name) for name in layout.needed}
        self.count = self._common_count()
        for name in layout.images:
            self._require_pixels(name)
        first = self._files[layout.needed[0]].file
        used = {variable.name for variable in self._files.values()}
        self.kept = {
            name: values
            for name, values in first.kept.items()
            if name not in {*layout.variables, *used}
        }
        self.names = self._names(layout.images[0])

    @property
    def renamed(self) -> dict[str, str]:
        """Variable → its name in the file, where that is another one."""
        return {
            name: file.name
            for name, file in self._files.items()
            if file.name not in (UNNAMED, name)
        }

    @property
    def converted(self) -> dict[str, str]:
        """Input → its unit in the file, where that is another one."""
        return {name: self._unit(name) for name, factor in self.factors.items() if factor != 1}

    @property
    def without_unit(self) -> list[str]:
        """Images of which neither the file nor the user says the unit."""
        return [
            name
            for name in self._layout.images
            if self._layout.units.get(name) and not self._unit(name)
        ]

    @property
    def steps_without_unit(self) -> dict[str, float]:
        """Image → the step of its coordinates whose unit is not known; counted pixels, 0, 1, 2,
        have none.
        """
        axes = {
            name: self._axes(name) for name in self._layout.images if name in self._layout.pixels
        }
        return {
            name: of[0].step
            for name, of in axes.items()
            if of and not of[0].metres and of[0].step != 1
        }

    @property
    def without_north(self) -> list[str]:
        """Images on grids of which the file does not say which way their rows run."""
        on_grids = () if self._layout.rows else self._layout.pixels
        return [
            name for name in self._layout.images if name in on_grids and not self._tells_north(name)
        ]

    def _tells_north(self, name: str) -> bool:
        return self._files[name].file.tells_north(self._files[name].name)

    @property
    def axes(self) -> tuple[ImageAxis, ImageAxis] | None:
        """Where the pixels of the first image lie whose file says so in a known unit."""
        of_images = (self._axes(name) for name in self._layout.images)
        return next(
            (axes for axes in of_images if axes and axes[0].metres and axes[1].metres), None
        )

    @property
    def files(self) -> Sequence[Path]:
        return list(dict.fromkeys(variable.file.path for variable in self._files.values()))

    def unit(self, column: str) -> str:
        """The unit of a further column; empty if the file gives none."""
        return self._files[self._layout.needed[0]].file.unit(column)

    def pieces(self, size: int) -> Iterator[ImagePiece]:
        """All samples in order, `size` at a time (fewer in the last piece).

        Raises QexpError for invalid masks and numbers that are missing, and for missing pixels,
        counted in the whole file, if the network does not know masks.
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
            names += [
                name for name, count in zip(piece.names, piece.unmasked, strict=True) if count
            ]
        without = [name for name in self._layout.images if mask_of(name) not in self._layout.inputs]
        total = self.count * sum(int(np.prod(self._layout.inputs[name])) for name in without)
        what = (
            "values" if all(is_vector(self._layout.inputs[name]) for name in without) else "pixels"
        )
        raise QexpError(
            f"{self.path}: {pixels:,} of {total:,} {what} are missing, in {len(names):,} of"
            f" {self.count:,} samples ({some(names, 3)}), and the network takes no mask of"
            f" {some(without)}; "
            + ("" if self._layout.exact else "fill the gaps, ")
            + f"leave these samples out, or train a network with the input '{mask_of(without[0])}'"
        )

    # Which variable of the file is which of the run.

    def _found(self) -> dict[str, ImageVariable]:
        """Variable of the run → that of the file."""
        layout, path = self._layout, self.path
        if path.suffix.lower() in TABLES and path.is_file():
            return self._in_table()
        there = open_images(
            path, {*layout.variables, *layout.columns.values(), *layout.declared.values()}
        )
        if UNNAMED in there:
            there = {UNNAMED: self._told(layout.images[0], there[UNNAMED])}
            return self._in_channels(layout.images[0], there[UNNAMED]) or {
                self._only_input(): there[UNNAMED]
            }
        names = {name: layout.columns.get(name, name) for name in layout.variables}
        for name in names.keys() & layout.declared.keys() - layout.columns.keys():
            names[name] = layout.declared[name] if layout.declared[name] in there else name
        for name, other in layout.columns.items():
            if other not in there:
                raise QexpError(
                    f"{path} has no variable '{other}' to be '{name}'; {suggestion(other, there)}"
                )
        lacking = [name for name in layout.needed if names[name] not in there]
        others = {name: there[name] for name in there if name not in names.values()}
        if (
            len(layout.images) == 1
            and lacking == layout.images
            and len(alone := self._candidates(others)) == 1
        ):
            names[lacking[0]], lacking = alone[0], []
        found = {
            name: self._told(name, there[other]) for name, other in names.items() if other in there
        }
        for image in [image for image in layout.images if image in found]:
            if {*lacking} >= {*channels_of(image, layout.images)[1:]}:
                found |= self._in_channels(image, found[image])
        if lacking := [name for name in lacking if name not in found]:
            raise QexpError(self._without(lacking, others))
        return found

    def _told(self, name: str, variable: ImageVariable) -> ImageVariable:
        """With its axes in the usual order, if the file or the dataset names them."""
        shape, channels = self._shape(name), len(channels_of(name, self._layout.images))
        axes = variable.file.dimensions(variable.name), self._layout.axes.get(name, ())
        orders = (
            order_of(variable.shape, wanted, *axes) for wanted in (shape, (channels, *shape[1:]))
        )
        return replace(variable, order=next(filter(None, orders), ()))

    def _in_table(self) -> dict[str, ImageVariable]:
        """Variable of the run → columns of a table."""
        layout = self._layout
        shapes = {name: self._layout.inputs[name] for name in self._layout.needed}
        vectors = {
            name: (layout.values.get(name) or numbers_of(name, shape), name in layout.values)
            for name, shape in shapes.items()
            if is_vector(shape)
        }
        numbers = {
            name: layout.columns.get(name, name)
            for name, shape in shapes.items()
            if len(shape) == 1
        }
        if images := [name for name in shapes if name not in {**vectors, **numbers}]:
            endings = ", ".join(SUFFIXES)
            raise QexpError(
                f"{self.path}: a table has vectors in its rows, and the run takes images,"
                f" {some(images)}; a file of images must end in {endings}"
            )
        if given := [name for name in layout.columns if name in vectors]:
            raise QexpError(
                f"`columns`: in a table each value of '{given[0]}' has its column; leave it out"
            )
        file = TableImages(self.path, vectors, numbers)
        return {name: ImageVariable(file, name) for name in file.shapes}

    def _in_channels(self, image: str, variable: ImageVariable) -> dict[str, ImageVariable]:
        """The images that the channels of an array are, from one on; empty if it has none, or
        others.
        """
        images = channels_of(image, self._layout.images)
        for axis in (-3, -1) if len(variable.shape) > 2 and len(images) > 1 else ():
            of_each = {
                name: replace(variable, channel=(axis, number))
                for number, name in enumerate(images)
            }
            if variable.shape[axis] == len(images) and all(
                _arrangement(one.shape, self._shape(name)) for name, one in of_each.items()
            ):
                return of_each
        return {}

    def _only_input(self) -> str:
        """The input that an array without a name holds."""
        needed = self._layout.needed
        if self._layout.columns:
            raise QexpError(f"{self.path} has one array, without a name; leave `columns` out")
        if len(needed) > 1:
            raise QexpError(
                f"{self.path} has one array, but the run takes {some(needed)}; give NetCDF or npz"
                " with these names, or a folder with a file for each, such as"
                f" {needed[0]}{self.path.suffix.lower()}, or with other names, given by `columns`"
            )
        return needed[0]

    def _candidates(self, there: Mapping[str, ImageVariable]) -> list[str]:
        """Variables that may be an image of the run, by shape and unit; if none is, those that are
        like images.
        """
        images = self._layout.images
        fitting = [
            name
            for name, variable in there.items()
            if name.lower() not in (*NORTH, *EAST)
            and any(_arrangement(variable.shape, self._shape(image)) for image in images)
            and any(conversion(variable.unit or unit, unit) for unit in map(self._wanted, images))
        ]
        return fitting or [name for name, variable in there.items() if len(variable.shape) > 1]

    def _without(self, lacking: Sequence[str], there: Mapping[str, ImageVariable]) -> str:
        """That inputs are lacking, what the file has, and what to write if that is what the run
        takes.
        """
        words = f"{self.path} has no variable {' and '.join(map(repr, lacking))}"
        if declared := [
            f"'{self._layout.declared[name]}'" for name in lacking if name in self._layout.declared
        ]:
            words += f", nor {some(declared)}, as the dataset of the run says"
        if set(lacking) - set(self._layout.images):
            name, *_ = (name for name in lacking if name not in self._layout.images)
            return (
                f"{words}; {suggestion(name, there)}; if it has another name there:"
                f" `columns={ {name: 'NAME'} }`"
            )
        candidates = self._candidates(there)
        shapes = {name: _by(there[name].shape) for name in candidates}
        about = [
            f"'{name}' ({', '.join(filter(None, (shapes[name], there[name].unit)))})"
            for name in candidates
        ]
        if self.path.is_dir():
            stems = sorted(
                path.stem for path in self.path.iterdir() if path.suffix.lower() in SINGLE
            )
            candidates = [stem for stem in stems if stem not in self._layout.variables]
            about = [f"'{stem}'" for stem in candidates]
        if not candidates:
            return f"{words}; {suggestion(lacking[0], there)}"
        pairs = zip(lacking, [*candidates, *["NAME"] * len(lacking)], strict=False)
        which = "it is" if len(lacking) == 1 else "is which"
        return f"{words}, but {some(about)}; say which {which}, for example `columns={dict(pairs)}`"

    def _arranged(self, name: str, variable: ImageVariable) -> _Arranged:
        """Raises QexpError if the array holds no samples of the input's shape."""
        shape, wanted = variable.shape, self._shape(name)
        if arrangement := _arrangement(shape, wanted):
            return arrangement
        shortest = min(forms(wanted), key=len)
        words = (
            f"{variable.label}: its shape is {_by(shape)}, but the run takes {_words(wanted)}, that"
            f" is {_by(('samples', *shortest))}"
        )
        if shape[:-1] in forms(wanted):
            raise QexpError(f"{words}; move the samples to the front: numpy.moveaxis(array, -1, 0)")
        if len(wanted) == 3 and not is_vector(wanted) and len(shape) > 1:
            words += "; cut the images to that, with pixels of the same size" + (
                ", or fill them up with missing values"
                if mask_of(name) in self._layout.inputs
                else ""
            )
            words += (
                f', or train a network on such images: "size": [{shape[-2]}, {shape[-1]}] in the'
                " dataset"
            )
        raise QexpError(words)

    def _shape(self, name: str) -> Shape:
        """Shape of an input; a mask that is none has that of its image."""
        if name in self._layout.inputs:
            return self._layout.inputs[name]
        return next(
            (1, *self._layout.inputs[image][1:])
            for image in self._layout.images
            if mask_of(image) == name
        )

    def _wanted(self, name: str) -> str:
        return self._layout.units.get(name, "")

    def _unit(self, name: str) -> str:
        """The unit of a variable in the file; empty if it is not known. Raises QexpError if two are
        given.
        """
        given, unit = self._layout.given_units.get(name), self._files[name].unit
        here, said = (conversion(text or "", self._wanted(name)) for text in (unit, given))
        if given and here not in (None, said):
            raise QexpError(
                f"{self._files[name].label} gives its unit as {unit}, but `unit` says {given}"
            )
        return given or unit

    def _factor(self, name: str) -> float:
        """By which values of the file are multiplied to be in the input's unit."""
        unit, wanted = self._unit(name), self._wanted(name)
        if (factor := conversion(unit or wanted, wanted)) is None:
            others = alike(wanted)
            raise QexpError(
                f"{self._files[name].label}: its unit is '{unit}', but '{name}' is in"
                f" {wanted or 'no unit'}; "
                + (
                    f"known units of it are {', '.join(others)}; if it is in one of these:"
                    f" `unit={ {name: others[0]} }`"
                    if others
                    else "convert it, or remove the unit"
                )
            )
        return factor

    def _common_count(self) -> int:
        counts = {
            name: layout.count for name, layout in self._read.items() if layout.count is not None
        }
        images = [counts[name] for name in self._layout.images if name in counts]
        count = max(images, default=max(counts.values(), default=1))
        if count == 0:
            raise QexpError(f"{self.path} holds no samples")
        for name, layout in self._read.items():
            # A mask or a number may be the same for all samples, an image hardly.
            if layout.count not in (
                count,
                *(() if name in self._layout.images and count > 1 else (None, 1)),
            ):
                counts_in_words = ", ".join(
                    f"{other}: {number.count or 1}" for other, number in self._read.items()
                )
                raise QexpError(
                    f"{self.path}: the variables have different numbers of samples,"
                    f" {counts_in_words}"
                )
        return count

    def _names(self, image: str) -> Sequence[str]:
        """Names of the samples: by the file, by its column `name`, by the file itself for a single
        one, or numbers.
        """
        variable = self._files[image]
        names = variable.file.names(variable.name) if self._read[image].count is not None else None
        if names is None and NAME in self.kept:
            names = [str(name) for name in self.kept.pop(NAME)]
        if names is None:
            return (
                [self.path.stem] if self.count == 1 else [str(index) for index in range(self.count)]
            )
        return names

    def _axes(self, name: str) -> tuple[ImageAxis, ImageAxis] | None:
        """Where the pixels of an image lie; coordinates without a unit are in m or km if the pixels
        then fit.
        """
        axes = self._files[name].file.axes(self._files[name].name)
        if axes is None or axes[0].unit or axes[1].unit or name not in self._layout.pixels:
            return axes
        for unit, metres in (("m", 1.0), ("km", 1000.0)):
            x, y = (replace(axis, unit=unit, metres=metres) for axis in axes)
            if not any(
                _unlike(axis, sizes)
                for axis, sizes in zip((x, y), self._layout.pixels[name], strict=True)
            ):
                return x, y
        return axes

    def _require_pixels(self, name: str) -> None:
        """Raise QexpError if the pixels are known to be of another size than those of the training
        data.
        """
        axes, trained_on = self._axes(name), self._layout.pixels.get(name)
        if axes is None or trained_on is None:
            return
        for axis, what, (low, high) in zip(axes, ("wide", "high"), trained_on, strict=True):
            if axis.metres and _unlike(axis, (low, high)):
                trained = f"{low:g} m" if low == high else f"{low:g} to {high:g} m"
                raise QexpError(
                    f"{self._files[name].label}: its pixels are {axis.step * axis.metres:g} m"
                    f" {what}, but the run was trained on pixels of {trained}; resample the images"
                    " to that"
                )

    def _piece(self, start: int, stop: int) -> ImagePiece:
        names, inputs = self.names[start:stop], dict[str, Array]()
        missing, unmasked = np.zeros((2, stop - start), np.int64)
        empty = np.zeros(stop - start, np.bool_)
        for image in self._layout.images:
            values = self._values(image, start, stop)
            gaps = ~np.isfinite(values)
            hidden = self._layout.hidden.get(image, np.zeros((1, 1), np.bool_))
            mask = mask_of(image)
            if mask in self._read:
                gaps |= self._unseen(mask, start, stop)
            if mask not in self._layout.inputs and gaps.any():
                unmasked += (gaps & ~hidden).sum(axis=(1, 2, 3))
            gaps |= hidden
            if gaps.any():
                missing += gaps.sum(axis=(1, 2, 3))
                empty |= gaps.all(axis=(1, 2, 3))
                values[gaps] = 0
            inputs[image] = values
            if mask in self._layout.inputs:
                inputs[mask] = np.asarray(~gaps.any(axis=1, keepdims=True), np.float32)
        for name in self._layout.needed:
            if name not in inputs:
                numbers = self._values(name, start, stop)
                if lacking := [
                    names[row] for row in np.flatnonzero(~np.isfinite(numbers[:, 0])).tolist()
                ]:
                    raise QexpError(
                        f"{self._files[name].label}: '{name}' is missing for {some(lacking, 3)}"
                    )
                # 192° and −168° are the same, but not to a network
                if name in self._layout.directions:
                    numbers = nearest(numbers, *self._layout.directions[name]).astype(np.float32)
                inputs[name] = numbers
        columns = {name: values[start:stop] for name, values in self.kept.items()}
        return ImagePiece(names, columns, inputs, missing, unmasked, empty, stop / self.count)

    def _values(self, name: str, start: int, stop: int) -> Array:
        """Samples of a variable in its unit and shape."""
        how, shape = self._read[name], self._shape(name)
        alone = how.count is None or (how.count == 1 and self.count > 1)
        raw = self._files[name].read(slice(start, stop) if not alone else None)
        if (known := self._layout.values.get(name)) and (labels := self._files[name].labels):
            named = dict(zip(labels, raw.reshape(-1, len(labels)).T, strict=True))
            raw = by_name(named, self._files[name].label, known, "the run was trained on")
        form = (*shape[1:], shape[0]) if how.channels_last else shape
        values = np.asarray(raw).reshape(-1, *form)
        if how.channels_last:
            values = np.moveaxis(values, -1, 1)
        if (
            self._layout.rows == "southwards"
            and min(shape[1:], default=1) > 1
            and not self._tells_north(name)
        ):
            values = values[..., ::-1, :]
        scaled: Array = np.empty((stop - start, *shape), np.float32)
        # what is too large for single precision becomes infinite, that is, missing
        with np.errstate(over="ignore"):
            np.multiply(values, self.factors.get(name, 1.0), out=scaled, casting="same_kind")
        return scaled

    def _unseen(self, mask: str, start: int, stop: int) -> NDArray[np.bool_]:
        values = self._values(mask, start, stop)
        unseen: NDArray[np.bool_] = np.nan_to_num(values, nan=0.0) == 0
        if not (unseen | (values == 1)).all():
            other = values[~unseen & (values != 1)][0]
            raise QexpError(
                f"{self._files[mask].label}: a mask is 1 where pixels are seen and 0 elsewhere, not"
                f" {other:g}"
            )
        return unseen


def _arrangement(shape: Shape, wanted: Shape) -> _Arranged | None:
    """How an array holds samples of a shape; None if it does not."""
    for form, channels_last in forms(wanted).items():
        if shape == form or (shape[1:] == form and len(shape) == len(form) + 1):
            return _Arranged(None if shape == form else shape[0], channels_last)
    return None


def _unlike(axis: ImageAxis, sizes: Range) -> bool:
    """Whether pixels are of another size than between two [m]."""
    side = axis.step * (axis.metres or 1.0)
    return not (1 - CLOSE_SIZE) * sizes[0] <= side <= (1 + CLOSE_SIZE) * sizes[1]


def _words(shape: Shape) -> str:
    if math.prod(shape) == 1:
        return "a number for each sample"
    channels, height, width = shape
    of_channels = f" with {channels} components" if channels > 1 else ""
    if is_vector(shape):
        return f"vectors of {height * width} values{of_channels}"
    return f"images of {height} x {width} pixels{of_channels}"


def _by(shape: Sequence[int | str]) -> str:
    return " x ".join(map(str, shape)) if shape else "that of a single number"
