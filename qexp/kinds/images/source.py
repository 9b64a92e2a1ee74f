"""The samples of a file in the shapes and units of a network, unseen pixels masked and counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from qexp.base.quantities import alike, channels_of, conversion, nearest, periods_of, quantity
from qexp.errors import QexpError, some, suggestion
from qexp.kinds.images.arrays import (
    SOUTHWARDS,
    UNIT,
    Array,
    ImageArray,
    arranged,
    factor_of,
    is_doubtful,
    tells_north,
)
from qexp.kinds.images.experiment import trained_on
from qexp.kinds.images.extent import numbers_of
from qexp.kinds.images.files import (
    SINGLE,
    SUFFIXES,
    UNNAMED,
    ImageAxes,
    ImageAxis,
    ImageVariable,
    ImageVariables,
    NetcdfImages,
    Shape,
    Values,
    open_images,
)
from qexp.kinds.images.tables import NAME, TABLES, TableImages
from qexp.kinds.prediction import InputArrays
from qexp.networks.network import Network
from qexp.networks.shapes import forms, is_vector, order_of
from qexp.observations.raster_files import EAST, NORTH
from qexp.rows.formats import Columns, require_columns
from qexp.simulation.dataset import GeneratedDataset, mask_of
from qexp.spec.reading import Document

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
    """Image → (height, width), pixels that no training sample shows: they are hidden here, too."""
    exact: bool = False
    """Whether every pixel counts as what was measured, so that none may be filled."""
    directions: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Number whose values repeat, such as a heading → its median where trained, and its period."""
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
        return [name for name in self.needed if len(self.inputs[name]) == 3]

    @property
    def needed(self) -> list[str]:
        """Inputs that files must have: a mask follows from missing values, too."""
        masks = self.masks
        return [name for name in self.inputs if name not in masks]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Variables of files that are read, if they are there; masks have the shape of an image."""
        shapes = dict(self.inputs)
        for image in self.images:
            shapes.setdefault(mask_of(image), (1, *self.inputs[image][1:]))
        return shapes

    def in_files(
        self, columns: Columns | None, unit: str | Mapping[str, str] | None
    ) -> ImageLayout:
        """The layout of files with other names, or whose units are given. Raises QexpError."""
        if columns is not None and not isinstance(columns, Mapping):
            example = f"`columns={ {self.images[0]: 'NAME'} }`"
            raise QexpError(f"`columns`: variables of images have names, such as {example}")
        require_columns(columns or {}, list(self.shapes))
        units = dict.fromkeys(self.images, unit) if isinstance(unit, str) else dict(unit or {})
        for name, given in units.items():
            if name not in self.needed:
                similar = suggestion(name, self.needed)
                raise QexpError(f"`unit`: the run has no input '{name}'; {similar}")
            wanted = self.units.get(name, "")
            if conversion(given, wanted) is None:
                known = f"'{name}' is in {wanted or 'no unit'}; choose from {some(alike(wanted))}"
                raise QexpError(f"`unit={given}`: {known}")
        return replace(self, columns=columns or {}, given_units=units)


def layout_of(source: GeneratedDataset, network: Network, document: Document) -> ImageLayout:
    """What the images of a run's dataset, with that document, are like for its network."""
    images = [name for name in network.inputs if name in source.images]
    masks = {name: source.view(name).mask(source.size) for name in images}
    sizes = {name: _pixels(source, name) for name in images}
    return ImageLayout(
        inputs=dict(network.inputs),
        units={name: quantity(name, source.quantities).unit for name in network.inputs},
        pixels={name: ranges for name, ranges in sizes.items() if ranges is not None},
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
    """Input that varies and repeats, such as a heading → its median where trained, its period."""
    periods = periods_of((name for name in inputs if name in source.test), source.quantities)
    return {name: (median, periods[name]) for name, median in source.medians(periods).items()}


def _pixels(source: GeneratedDataset, image: str) -> tuple[Range, Range] | None:
    """Least and greatest width, and height, of an image's pixels where trained [m], if known."""
    if source.view(image).points is not None:
        return None
    ends: dict[str, NDArray[np.float64]] = {
        name: source.distributions[name].quantile(np.array([1e-6, 1 - 1e-6]))
        for name in source.test
    }
    sizes = source.pixel_sizes(image, ends)
    width, height = ((float(sides.min()), float(sides.max())) for sides in sizes)
    return (width, height) if math.isfinite(width[0] + height[0]) else None


class ImageArrays(InputArrays):
    """Arrays of xarray in their unit, rows northwards; directions with any number of turns."""

    @cached_property
    def _source(self) -> GeneratedDataset:
        return trained_on(self.directory)

    @cached_property
    def _directions(self) -> dict[str, tuple[float, float]]:
        numbers = [name for name, shape in self.network.inputs.items() if shape == (1,)]
        return directions_of(self._source, numbers) if numbers else {}

    def numbers(self, name: str, given: ArrayLike) -> NDArray[np.float32]:
        array: Any = given
        declared = self.directory.training_spec()["dataset"].get("axes", {}).get(name, [])
        axes = [declared] if declared[:1] == ["simulation"] else []
        if hasattr(array, "to_dataset"):  # of xarray
            file = NetcdfImages(Path(name), array.drop_encoding().to_dataset(name=name))
            unit = file.unit(name)
            wanted = quantity(name, self._source.quantities).unit
            factor = conversion(unit or wanted, wanted)
            if factor is None:
                must_be = f"must be in {wanted or 'no unit'}; convert it"
                raise QexpError(f"'{name}' has the unit '{unit}', but {must_be}")
            values = file.read(name, None) * factor
            array = array.copy(data=values) if name in self.columns else values
            axes = [file.dimensions(name), *axes]
        numbers = super().numbers(name, array)
        order = order_of(numbers.shape, self.network.inputs[name], *axes)
        return numbers.transpose(order or range(numbers.ndim))

    def within_turn(self, name: str, values: Tensor) -> Tensor:
        if name not in self._directions:
            return values
        turned = nearest(values.numpy(), *self._directions[name])  # 192° is −168°
        return torch.from_numpy(turned).float()


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


class ImageSource:
    """The samples of a file, or of a folder with a file per variable.

    Raises QexpError for missing variables, other shapes, units or pixel sizes, and no samples.
    """

    def __init__(self, path: Path, layout: ImageLayout) -> None:
        self.path, self._layout = path, layout
        found = self._found()
        self._arrays = {name: self._array(name, variable) for name, variable in found.items()}
        self.count = self._common_count()
        for name in layout.images:
            self._require_pixels(name)
        self._first = found[layout.needed[0]].file
        used = {*layout.shapes, *(variable.name for variable in found.values())}
        kept = self._first.kept
        self.kept = {name: values for name, values in kept.items() if name not in used}
        self.names = self._names(layout.images[0])

    # What is to be said of the file.

    @property
    def files(self) -> Sequence[Path]:
        """The files that are read."""
        files = dict.fromkeys(array.variable.file for array in self._arrays.values())
        of_each = (file.paths if file.path.is_dir() else [file.path] for file in files)
        return list(dict.fromkeys(chain.from_iterable(of_each)))

    @property
    def renamed(self) -> dict[str, str]:
        """Variable → its name in the file, where that is another one."""
        names = {name: array.variable.name for name, array in self._arrays.items()}
        return {name: other for name, other in names.items() if other not in (UNNAMED, name)}

    @property
    def converted(self) -> dict[str, str]:
        """Input → its unit in the file, where that is another one."""
        return {
            name: self._unit(name) for name in self._layout.needed if self._arrays[name].factor != 1
        }

    @property
    def without_unit(self) -> list[str]:
        """Images of which neither the file nor the user says the unit."""
        images = [name for name in self._layout.images if self._layout.units.get(name)]
        return [name for name in images if not self._unit(name)]

    @property
    def steps_without_unit(self) -> dict[str, float]:
        """Image → the step of its coordinates whose unit is not known; counted pixels have none."""
        steps = {}
        for name in self._on_grids:
            axes = self._axes(name)
            if axes and not axes[0].metres and axes[0].step != 1:
                steps[name] = axes[0].step
        return steps

    @property
    def without_north(self) -> list[str]:
        """Images on grids of which the file does not say which way their rows run."""
        on_grids = [] if self._layout.rows else self._on_grids
        files = {name: self._arrays[name].variable for name in on_grids}
        return [name for name, there in files.items() if not there.file.tells_north(there.name)]

    @property
    def presumed_axes(self) -> list[str]:
        """Images whose channels may be before or behind the other axes by the sizes of these."""
        return [name for name in self._layout.images if is_doubtful(self._arrays[name])]

    @property
    def axes(self) -> ImageAxes | None:
        """Where the pixels of the first image lie whose file says so in a known unit."""
        for axes in map(self._axes, self._layout.images):
            if axes and axes[0].metres and axes[1].metres:
                return axes
        return None

    @property
    def _on_grids(self) -> list[str]:
        return [name for name in self._layout.images if name in self._layout.pixels]

    def codes(self, name: str, values: Array) -> list[float]:
        """Numbers of the file among an input's values that seem to stand for no data."""
        return self._arrays[name].codes(values) if name in self._arrays else []

    def unit(self, column: str) -> str:
        """The unit of a further column; empty if the file gives none."""
        return self._first.unit(column)

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
        pixels = 0
        names = list[str]()
        inputs = self._layout.inputs
        for first in range(start, self.count, size):
            piece = self._piece(first, min(first + size, self.count))
            pixels += int(piece.unmasked.sum())
            names += [piece.names[row] for row in np.flatnonzero(piece.unmasked).tolist()]
        images = [name for name in self._layout.images if mask_of(name) not in inputs]
        total = self.count * sum(math.prod(inputs[name]) for name in images)
        what = "values" if all(is_vector(inputs[name]) for name in images) else "pixels"
        fill = "" if self._layout.exact else "fill the gaps, "
        raise QexpError(
            f"{self.path}: {pixels:,} of {total:,} {what} are missing, in {len(names):,} of"
            f" {self.count:,} samples ({some(names, 3)}), and the network takes no mask of"
            f" {some(images)}; {fill}leave these samples out, or train a network with the input"
            f" '{mask_of(images[0])}'"
        )

    # Which variable of the file is which of the run.

    def _found(self) -> ImageVariables:
        """Variable of the run → that of the file."""
        layout = self._layout
        path = self.path
        if path.suffix.lower() in TABLES and path.is_file():
            return self._in_table()
        names = {name: layout.columns.get(name, name) for name in layout.shapes}
        there = open_images(path, {*names, *names.values(), *layout.declared.values()})
        if UNNAMED in there:
            alone = self._told(layout.images[0], there[UNNAMED])
            return self._in_channels(layout.images[0], alone) or {self._only_input(): alone}
        for name, other in layout.columns.items():
            if other not in there:
                raise QexpError(
                    f"{path} has no variable '{other}' to be '{name}'; {suggestion(other, there)}"
                )
        for name in names.keys() & layout.declared.keys() - layout.columns.keys():
            names[name] = layout.declared[name] if layout.declared[name] in there else name
        lacking = [name for name in layout.needed if names[name] not in there]
        others = {name: there[name] for name in there if name not in names.values()}
        if len(layout.images) == 1 and lacking == layout.images:
            candidates = self._candidates(others)
            if len(candidates) == 1:
                names[lacking[0]], lacking = candidates[0], []
        read = {name: other for name, other in names.items() if other in there}
        found = {name: self._told(name, there[other]) for name, other in read.items()}
        for image in [image for image in layout.images if image in found]:
            if {*lacking} >= {*channels_of(image, layout.images)[1:]}:
                found |= self._in_channels(image, found[image])
        lacking = [name for name in lacking if name not in found]
        if lacking:
            raise QexpError(self._without(lacking, others))
        return found

    def _told(self, name: str, variable: ImageVariable) -> ImageVariable:
        """With its axes in the usual order, if the file or the dataset names them."""
        shape = self._layout.shapes[name]
        channels = len(channels_of(name, self._layout.images))
        axes = variable.file.dimensions(variable.name), self._layout.axes.get(name, ())
        for wanted in (shape, (channels, *shape[1:])):
            order = order_of(variable.shape, wanted, *axes)
            if order:
                return replace(variable, order=order)
        return variable

    def _in_table(self) -> ImageVariables:
        """Variable of the run → columns of a table."""
        layout = self._layout
        vectors, numbers, images = {}, {}, []
        for name in layout.needed:
            shape = layout.inputs[name]
            if is_vector(shape):
                columns = layout.values.get(name) or numbers_of(name, shape)
                vectors[name] = columns, name in layout.values
            elif len(shape) == 1:
                numbers[name] = layout.columns.get(name, name)
            else:
                images.append(name)
        if images:
            endings = ", ".join(SUFFIXES)
            raise QexpError(
                f"{self.path}: a table has vectors in its rows, and the run takes images,"
                f" {some(images)}; a file of images must end in {endings}"
            )
        for name in layout.columns:
            if name in vectors:
                way_out = f"in a table each value of '{name}' has its column; leave it out"
                raise QexpError(f"`columns`: {way_out}")
        file = TableImages(self.path, vectors, numbers)
        return {name: ImageVariable(file, name) for name in file.shapes}

    def _in_channels(self, image: str, variable: ImageVariable) -> ImageVariables:
        """The images that an array's channels are, from one on; empty if it has none, or others."""
        images = channels_of(image, self._layout.images)
        for axis in (-3, -1) if len(variable.shape) > 2 and len(images) > 1 else ():
            if variable.shape[axis] != len(images):
                continue
            channels = [replace(variable, channel=(axis, index)) for index in range(len(images))]
            found = dict(zip(images, channels, strict=True))
            if all(arranged(one, self._layout.shapes[name]) for name, one in found.items()):
                return found
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

    def _candidates(self, there: ImageVariables) -> list[str]:
        """Variables that may be an image of the run, by shape and unit; else all like images."""
        images = [(self._layout.inputs[name], self._wanted(name)) for name in self._layout.images]
        fitting = []
        for name, variable in there.items():
            shaped = any(arranged(variable, shape) for shape, _ in images)
            in_unit = any(conversion(variable.unit or unit, unit) for _, unit in images)
            if shaped and in_unit and name.lower() not in (*NORTH, *EAST):
                fitting.append(name)
        return fitting or [name for name, variable in there.items() if len(variable.shape) > 1]

    def _without(self, lacking: Sequence[str], there: ImageVariables) -> str:
        """What is lacking, what the file has, and what to write if that is what the run takes."""
        words = f"{self.path} has no variable {' and '.join(map(repr, lacking))}"
        declared = [
            self._layout.declared[name] for name in lacking if name in self._layout.declared
        ]
        if declared:
            words += f", nor {some(list(map(repr, declared)))}, as the dataset of the run says"
        for name in lacking:
            if name not in self._layout.images:
                own = f"if it has another name there: `columns={ {name: 'NAME'} }`"
                return f"{words}; {suggestion(name, there)}; {own}"
        if self.path.is_dir():
            files = sorted(path for path in self.path.iterdir() if path.suffix.lower() in SINGLE)
            candidates = [path.stem for path in files if path.stem not in self._layout.shapes]
            about = [f"'{stem}'" for stem in candidates]
        else:
            candidates = self._candidates(there)
            about = []
            for name in candidates:
                facts = filter(None, (_by(there[name].shape), there[name].unit))
                about.append(f"'{name}' ({', '.join(facts)})")
        if not candidates:
            return f"{words}; {suggestion(lacking[0], there)}"
        names = [*candidates, *["NAME"] * len(lacking)]
        example = dict(zip(lacking, names, strict=False))
        which = "it is" if len(lacking) == 1 else "is which"
        return f"{words}, but {some(about)}; say which {which}, for example `columns={example}`"

    # How the arrays hold samples.

    def _array(self, name: str, variable: ImageVariable) -> ImageArray:
        """Raises QexpError if the array holds no samples of the input's shape and unit."""
        layout = self._layout
        wanted = layout.shapes[name]
        array = arranged(variable, wanted)
        if array is None:
            raise QexpError(self._of_other_shape(name, variable))
        turned = layout.rows == SOUTHWARDS and not tells_north(variable, wanted)
        array = replace(array, turned=turned, labels=layout.values.get(name, ()))
        if name not in layout.needed:
            return array
        given = layout.given_units.get(name)
        unit, label = variable.unit, variable.label
        return replace(array, factor=factor_of(name, self._wanted(name), unit, given, label, UNIT))

    def _of_other_shape(self, name: str, variable: ImageVariable) -> str:
        """The shape that is wanted, and the ways to it."""
        shape = variable.shape
        wanted = self._layout.shapes[name]
        shortest = min(forms(wanted), key=len)
        words = (
            f"{variable.label}: its shape is {_by(shape)}, but the run takes {_words(wanted)}, that"
            f" is {_by(('samples', *shortest))}"
        )
        if shape[:-1] in forms(wanted):
            return f"{words}; move the samples to the front: numpy.moveaxis(array, -1, 0)"
        if len(wanted) != 3 or is_vector(wanted) or len(shape) < 2:
            return words
        masked = mask_of(name) in self._layout.inputs
        fill = ", or fill them up with missing values" if masked else ""
        size = f'"size": [{shape[-2]}, {shape[-1]}]'
        return (
            f"{words}; cut the images to that, with pixels of the same size{fill}, or train a"
            f" network on such images: {size} in the dataset"
        )

    def _wanted(self, name: str) -> str:
        return self._layout.units.get(name, "")

    def _unit(self, name: str) -> str:
        """The unit of a variable in the file; empty if it is not known."""
        return self._layout.given_units.get(name) or self._arrays[name].variable.unit

    def _common_count(self) -> int:
        arrays = self._arrays
        images = self._layout.images
        counts = {name: array.count for name, array in arrays.items() if not array.single}
        of_images = [counts[name] for name in images if name in counts]
        count = max(of_images, default=max(counts.values(), default=1))
        if count == 0:
            raise QexpError(f"{self.path} holds no samples")
        for name, array in arrays.items():
            # a mask or a number may be the same for all samples, an image hardly
            may_be_one = name not in images or count == 1
            if array.count != count and not (may_be_one and array.count == 1):
                words = ", ".join(f"{other}: {one.count}" for other, one in arrays.items())
                raise QexpError(
                    f"{self.path}: the variables have different numbers of samples, {words}"
                )
        return count

    def _names(self, image: str) -> Sequence[str]:
        """Names of the samples: by the file, by its column `name`, its own for one, or numbers."""
        array = self._arrays[image]
        names = None if array.single else array.variable.file.names(array.variable.name)
        if names is None and NAME in self.kept:
            return [str(name) for name in self.kept.pop(NAME)]
        if names is None:
            return [self.path.stem] if self.count == 1 else list(map(str, range(self.count)))
        return names

    def _axes(self, name: str) -> ImageAxes | None:
        """Where pixels lie; coordinates without a unit are in m or km if these then fit."""
        variable = self._arrays[name].variable
        trained = self._layout.pixels.get(name)
        axes = variable.file.axes(variable.name)
        if axes is None or axes[0].unit or axes[1].unit or trained is None:
            return axes
        for unit, metres in (("m", 1.0), ("km", 1000.0)):
            x, y = (replace(axis, unit=unit, metres=metres) for axis in axes)
            if not (_unlike(x, trained[0]) or _unlike(y, trained[1])):
                return x, y
        return axes

    def _require_pixels(self, name: str) -> None:
        """Raise QexpError if the pixels have another size than those of the training data."""
        axes = self._axes(name)
        trained_on = self._layout.pixels.get(name)
        if axes is None or trained_on is None:
            return
        for axis, what, (low, high) in zip(axes, ("wide", "high"), trained_on, strict=True):
            if axis.metres and _unlike(axis, (low, high)):
                trained = f"{low:g} m" if low == high else f"{low:g} to {high:g} m"
                raise QexpError(
                    f"{self._arrays[name].variable.label}: its pixels are"
                    f" {axis.step * axis.metres:g} m {what}, but the run was trained on pixels of"
                    f" {trained}; resample the images to that"
                )

    # What they hold.

    def _piece(self, start: int, stop: int) -> ImagePiece:
        layout = self._layout
        rows = slice(start, stop)
        inputs = dict[str, Array]()
        missing, unmasked = np.zeros((2, stop - start), np.int64)
        empty = np.zeros(stop - start, np.bool_)
        for image in layout.images:
            values = self._values(image, rows)
            mask = mask_of(image)
            gaps = ~np.isfinite(values)
            hidden = layout.hidden.get(image, np.zeros((1, 1), np.bool_))
            if mask in self._arrays:
                gaps |= self._unseen(mask, rows)
            if mask not in layout.inputs:
                unmasked += (gaps & ~hidden).sum(axis=(1, 2, 3))
            gaps |= hidden
            if gaps.any():
                missing += gaps.sum(axis=(1, 2, 3))
                empty |= gaps.all(axis=(1, 2, 3))
                values[gaps] = 0
            inputs[image] = values
            if mask in layout.inputs:
                inputs[mask] = np.asarray(~gaps.any(axis=1, keepdims=True), np.float32)
        names = self.names[start:stop]
        for name in layout.needed:
            if name not in inputs:
                inputs[name] = self._numbers(name, rows)
        columns = {name: values[rows] for name, values in self.kept.items()}
        return ImagePiece(names, columns, inputs, missing, unmasked, empty, stop / self.count)

    def _numbers(self, name: str, rows: slice) -> Array:
        """A number of each sample; of directions, by whole turns near to those trained on."""
        numbers = self._values(name, rows)
        gaps = np.flatnonzero(~np.isfinite(numbers[:, 0])).tolist()
        if gaps:
            lacking = [self.names[rows.start + row] for row in gaps]
            label = self._arrays[name].variable.label
            raise QexpError(f"{label}: '{name}' is missing for {some(lacking, 3)}")
        if name in self._layout.directions:  # 192° and −168° are the same, but not to a network
            numbers = nearest(numbers, *self._layout.directions[name]).astype(np.float32)
        return numbers

    def _values(self, name: str, rows: slice) -> Array:
        """Samples of a variable in its unit and shape; the only one may be that of all."""
        array = self._arrays[name]
        if array.count == self.count:
            return array.read(rows)
        return np.repeat(array.read(None), rows.stop - rows.start, axis=0)

    def _unseen(self, mask: str, rows: slice) -> NDArray[np.bool_]:
        values = self._values(mask, rows)
        unseen: NDArray[np.bool_] = np.nan_to_num(values, nan=0.0) == 0
        other = values[~unseen & (values != 1)]
        if len(other):
            raise QexpError(
                f"{self._arrays[mask].variable.label}: a mask is 1 where pixels are seen and 0"
                f" elsewhere, not {other[0]:g}"
            )
        return unseen


def _unlike(axis: ImageAxis, sizes: Range) -> bool:
    """Whether pixels are of another size than those from the least to the greatest [m]."""
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
