"""Files of simulations that exist: parameters and observations, checked, and mapped into memory."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Array, Texts
from qexp.base.outputs import Classes, declared_classes
from qexp.base.quantities import (
    DIMENSIONLESS,
    NOISE,
    Quantities,
    channels_of,
    conversion,
    of_dataset,
    quantity,
)
from qexp.errors import DatasetError, QexpError, some, suggestion
from qexp.kinds.classes import (
    are_names,
    few_samples,
    undeclared,
    unknown_names,
)
from qexp.kinds.files import as_finding, find_data_file, refuse
from qexp.kinds.images.arrays import (
    BLOCK,
    CODE,
    FILE_UNITS,
    SOUTHWARDS,
    ImageArray,
    axes_of,
    factor_of,
)
from qexp.kinds.images.files import (
    HDF5,
    UNNAMED,
    ImageAxes,
    ImageFile,
    ImageVariable,
    ImageVariables,
    open_images,
)
from qexp.kinds.images.tables import TABLES
from qexp.kinds.images.views import instrument_of
from qexp.networks.shapes import AXES
from qexp.rows import array_cache
from qexp.rows.array_cache import CachedArray
from qexp.rows.formats import open_table
from qexp.rows.geotiff import beside
from qexp.rows.table import HUGE_NUMBER, SHOWN, Table, codes, write_list
from qexp.rows.unmeasured import found_in, in_words
from qexp.simulation.stored import MOST_SIMULATIONS, Rows, Simulations, StoredObservation
from qexp.simulation.views import View
from qexp.spec.reading import Document, Findings, Where

VERSION = 2
"""Of the prepared observations in the cache."""

COARSE = (
    "varies by {:.3g}, and single precision rounds values of its size to {:.3g}: subtract a"
    " constant from it"
)

FEWEST_STEPS = 1000
"""Different values of a parameter that single precision can hold, at least, without a warning."""

FEW_SIMULATIONS = 100

INDEX = "", "Unnamed: 0", "__index_level_0__"
"""Columns of the labels that pandas gives rows."""

FAR = 100
"""Times as far from the median as the values of 99 % of simulations: what seems to have failed."""

GROUPED = (".nc", *HDF5)
"""Suffixes of files with groups of arrays."""

Shape = tuple[int, int, int]
Parameters = dict[str, Array]
"""Name → (simulation,), in its unit."""


@dataclass(frozen=True, kw_only=True)
class StoredArray(ImageArray):
    """An array of a file: an observation of all simulations, or one for each of its channels.

    where  the key of the dataset that names it
    names  of its observations
    """

    where: Where
    names: Sequence[str]

    @property
    def sides(self) -> Shape:
        """Shape of one of its observations in one simulation, (channel, height, width)."""
        channels, height, width = self.shape
        return channels // len(self.names), height, width


class FilePerSimulation(ImageFile):
    """Files with the arrays of one simulation each, read as arrays over all of them.

    Simulations whose file is not there have failed: their values are missing.

    paths  of all simulations
    names  of the arrays; an array without a name has that of the only one
    Raises QexpError if a file cannot be read, or has other shapes than the first.
    """

    def __init__(self, folder: Path, paths: Sequence[Path], names: Sequence[str]) -> None:
        self.path, self._paths, self._names = folder, paths, names
        found = next(filter(Path.is_file, paths), None)
        if found is None:
            raise QexpError(
                f"{folder} has none of the {len(paths):,} files, such as"
                f" {some([path.name for path in paths], 2)}"
            )
        self._found = found
        self._first = self._variables(found)
        self.shapes = {
            name: (len(paths), *variable.shape) for name, variable in self._first.items()
        }

    @property
    def paths(self) -> Sequence[Path]:
        return [file for path in self._paths for file in (path, *beside(path))]

    def label(self, name: str) -> str:
        return f"{self.path}: '{name}'"

    def unit(self, name: str) -> str:
        return self._first[name].unit

    def axes(self, name: str) -> ImageAxes | None:
        return self._first[name].file.axes(self._first[name].name)

    def dimensions(self, name: str) -> list[str]:
        named = self._first[name].file.dimensions(self._first[name].name)
        return ["simulation", *named] if named else []

    def read(self, name: str, samples: slice | None) -> NDArray[Any]:
        paths = self._paths[samples or slice(None)]
        values = np.full((len(paths), *self.shapes[name][1:]), np.nan)
        for index, path in enumerate(paths):
            if not path.is_file():
                continue
            variable = self._variables(path).get(name)
            if variable is None or variable.shape != values.shape[1:]:
                there = "is not there" if variable is None else f"has the shape {variable.shape}"
                raise QexpError(
                    f"{path}: '{name}' {there}, but in {self._found.name} it has {values.shape[1:]}"
                )
            values[index] = variable.read(None)
        return values

    def _variables(self, path: Path) -> ImageVariables:
        there = open_images(path, set(self._names))
        if UNNAMED in there and len(self._names) == 1:
            return {self._names[0]: there[UNNAMED]}
        return there


def files_in(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files of these names in a folder. Raises QexpError for one that is outside of it."""
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            way_out = f"name each file by its path within {folder}"
            raise QexpError(f"'{name}' lies elsewhere; {way_out}")
    return [folder / name for name in names]


class SimulationFiles:
    """A file, or a folder with one for each variable, and a table of parameters if they lie there.

    document    of the dataset, with the defaults of its schema
    quantities  those that are known
    folders     where the table is searched
    Raises DatasetError.
    """

    def __init__(
        self, document: Document, quantities: Quantities, path: Path, folders: Sequence[Path]
    ) -> None:
        self.path, self._document = path, document
        self.warnings: list[str] = []
        """What was assumed, and what is left out."""
        self._assumed: dict[str, str] = {}
        """Variable → its unit, which the files do not give."""
        self.parameters = [name for name in document["varyings"] if name != NOISE]
        self.classes = declared_classes(document, self.parameters)
        self._numbers = [name for name in self.parameters if name not in self.classes]
        columns: Document = document.get("columns", {})
        variables = [*document["observations"], *self.parameters]
        self._names = {name: columns.get(name, name) for name in variables}
        self._column_of: dict[str, int] = {}
        """Parameter → its column in an array of several parameters, (simulation, parameter)."""
        for name in self.parameters if document["parameters"] is None else ():
            found = re.fullmatch(r"(.+)\[(\d+)\]", self._names[name])
            if found:
                self._names[name], self._column_of[name] = found[1], int(found[2])
        self._without_north: list[str] = []
        """Images of which neither the files nor the dataset say which way rows run."""
        self.table, self._table = self._open_table(folders)
        with as_finding():
            self._there = self._open()
        refuse(self._lacking())
        self.arrays = list(self._arrays())
        refuse(self._of_other_counts())
        self.units = {**self._own_units(of_dataset(document, quantities)), **document["units"]}
        """Variable that is no known quantity → its unit."""
        self.quantities = of_dataset({**document, "units": self.units}, quantities)

    def _open_table(self, folders: Sequence[Path]) -> tuple[Path | None, Table | None]:
        name = self._document["parameters"]
        if name is None:
            return None, None
        try:
            path = find_data_file(name, folders, self._document.get("found_parameters", ""))
            return path, open_table(path, TABLES)
        except QexpError as error:
            raise DatasetError([(("parameters",), str(error))]) from error

    def _open(self) -> ImageVariables:
        """Name → variable of the files of simulations."""
        observations = [self._names[name] for name in self._document["observations"]]
        if self._document["files"] is not None:
            assert self._table is not None
            paths = files_in(self.path, self._texts(self._document["files"]).tolist())
            file = FilePerSimulation(self.path, paths, observations)
            return {name: ImageVariable(file, name) for name in file.shapes}
        groups = filter(None, [self._document["groups"]])
        there = open_images(self.path, {*self._names.values(), *groups})
        return {observations[0]: there[UNNAMED]} if UNNAMED in there else there

    def _texts(self, column: str) -> NDArray[Any]:
        """A column of the table."""
        assert self._table is not None
        return self._table.read([], [column])[1][column]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content of all files, in hexadecimal."""
        files = dict.fromkeys(variable.file for variable in self._there.values())
        paths = sorted({path for file in files for path in file.paths})
        return _content([*paths, *filter(None, [self.table])], self.path)

    def _own_units(self, quantities: Quantities) -> dict[str, str]:
        """Variable that is no known quantity → its unit by the files."""
        units = {array.names[0]: array.variable.unit for array in self.arrays}
        units |= {name: self._unit_of_parameter(name) for name in self._numbers}
        own = [name for name in units if quantity(name, quantities) is DIMENSIONLESS]
        return {name: units[name] for name in own if units[name]}

    def _unit_of_parameter(self, name: str) -> str:
        """Its unit by the files; empty if they give none."""
        column = self._names[name]
        if self._table is None:
            return self._there[column].unit
        return self._table.unit(column)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Observation → (channel, height, width)."""
        return {name: array.sides for array in self.arrays for name in array.names}

    @property
    def values(self) -> dict[str, list[str]]:
        """Observation that is a vector → the names of its values, where the files say them."""
        vectors = [array for array in self.arrays if len(array.variable.shape) == 2]
        labels = {array.names[0]: array.variable.labels for array in vectors}
        return {name: names for name, names in labels.items() if names}

    @property
    def places(self) -> dict[str, tuple[float, ...]]:
        """Observation → width and height of its pixels, and its middle [m], where files say so."""
        places: dict[str, tuple[float, ...]] = {}
        for array in self.arrays:
            there = array.variable
            axes = there.file.axes(there.name) if len(there.shape) > 2 else None
            if axes is not None and axes[0].metres and axes[1].metres:
                east = axes[0].metres
                north = axes[1].metres
                sizes = axes[0].step * east, axes[1].step * north
                middle = axes[0].origin * east, axes[1].origin * north
                places |= dict.fromkeys(array.names, (*sizes, *middle))
        return places

    @property
    def origin(self) -> Document:
        """What a run records of the files besides their fingerprint."""
        origin: Document = {"found": str(self.path.absolute()), "units": self.units}
        if self.table is not None:
            origin["found_parameters"] = str(self.table.absolute())
        if self.values:
            origin["values"] = self.values
        origin["shapes"] = {name: list(shape) for name, shape in self.shapes.items()}
        origin["pixels"] = {name: list(place[:2]) for name, place in self.places.items()}
        origin["middles"] = {name: list(place[2:]) for name, place in self.places.items()}
        return origin

    def read(self, views: Mapping[str, View]) -> Simulations:
        """All simulations, and which of them did not fail. Raises DatasetError.

        views  observation → its view, whose hidden pixels may be missing
        """
        parameters = self._parameters()
        failed = {name: ~np.isfinite(values) for name, values in parameters.items()}
        largest = {name: _largest(values, ~failed[name]) for name, values in parameters.items()}
        observations: dict[str, StoredObservation] = {}
        for array in self.arrays:
            name, (channels, *_) = array.names[0], array.sides
            cached, about = self._prepared(array, views[name])
            failed[self._names[name]] = np.isin(np.arange(array.count), about["failed"])
            largest[name] = about["largest"]
            if about["codes"]:
                self.warnings.append(f"'{name}' has {about['codes'][0]:g}, {CODE}")
            for index, each in enumerate(array.names):
                own = slice(index * channels, (index + 1) * channels)
                observations[each] = StoredObservation(cached, own)
        any_failed = np.any(list(failed.values()), axis=0)
        self._say_what_failed(failed, any_failed)
        self._say_what_is_assumed(largest)
        self._say_what_is_unlikely(parameters, observations, views, ~any_failed)
        usable = np.flatnonzero(~any_failed)
        if len(usable) < FEW_SIMULATIONS:
            few = f"{len(usable)} simulations are few: a posterior or an emulator takes hundreds"
            self.warnings.append(few)
        return Simulations(parameters, observations, usable, self._groups(parameters, usable))

    def _say_what_failed(
        self, failed: Mapping[str, NDArray[np.bool_]], any_failed: NDArray[np.bool_]
    ) -> None:
        """Raises DatasetError if all simulations failed."""
        if not any_failed.any():
            return
        counts = {name: int(missing.sum()) for name, missing in failed.items()}
        where = [f"{count:,} in '{name}'" for name, count in counts.items() if count]
        share = f"{int(any_failed.sum()):,} of {len(any_failed):,} simulations"
        words = f"{share} have missing or infinite values ({some(where)})"
        if any_failed.all():
            if not any(failed[name].all() for name in self.parameters):
                words += "; pixels that no simulation has are declared by a view's mask"
            raise DatasetError([(("path",), f"{self.path}: {words}")])
        self.warnings.append(f"{words} and are left out")

    def _say_what_is_assumed(self, largest: Mapping[str, float]) -> None:
        """largest  variable → its largest size, in the unit that is assumed"""
        if self._assumed:
            assumed = self._assumed.items()
            units = [f"'{name}' in {unit} (up to {largest[name]:,.4g})" for name, unit in assumed]
            words = f"the files give no units; assumed are {some(units)}"
            self.warnings.append(f"{words}; 'file_units' can say others")
        units_of = {name: quantity(name, self.quantities).unit for name in self._without_north}
        north = [f"'{name}'" for name, unit in units_of.items() if conversion(unit, "m")]
        if north:
            words = f"rows of {some(north)} count as running northwards, which no file says"
            way_out = f'"rows": "{SOUTHWARDS}" says that the first is in the north'
            self.warnings.append(f"{words}; {way_out}")

    def _say_what_is_unlikely(
        self,
        parameters: Parameters,
        observations: Mapping[str, StoredObservation],
        views: Mapping[str, View],
        usable: NDArray[np.bool_],
    ) -> None:
        """Warnings about simulations that were never made, and values that nothing depends on."""
        table = self._compared(parameters)
        rows = np.flatnonzero(usable)
        for name, observed in observations.items():
            mask = views[name].visible
            channels = observed.channels
            visible = None if mask is None else mask.numpy().reshape(observed.shape[1:])
            found = found_in(
                observed.array, [channels.start, channels.stop], observed.select, visible
            )
            for words in in_words(found, f"'{name}'", "simulations", usable, table):
                self.warnings.append(f"{words} NaN in their place leaves them out")
            if 1 in observed.shape[1:]:
                read = rows[:: 1 + len(rows) * math.prod(observed.shape) // BLOCK]
                self.warnings += _in_vectors(observed.select(read).reshape(len(read), -1), name)

    # What the files have.

    def _lacking(self) -> Findings:
        document = self._document
        names = self._names
        there = self._there
        columns = [] if self._table is None else self._table.names
        for index, name in enumerate(document["observations"]):
            if names[name] not in there:
                arrays = [other for other, variable in there.items() if len(variable.shape) > 1]
                none = "it has no arrays over simulations"
                similar = suggestion(names[name], arrays) if arrays else none
                lack = f"{self.path} has no variable '{names[name]}'; {similar}"
                yield ("observations", index), lack
        known: Iterable[str] = columns if self._table is not None else there
        others = [name for name in known if name not in document["observations"]]
        remedy = "" if self._table is not None else "; or name a table that has it, as 'parameters'"
        place = self.table or self.path
        for name in self.parameters:
            if names[name] not in known:
                similar = f"{suggestion(names[name], others)}{remedy}"
                yield ("varyings", name), f"{place} has no parameter '{names[name]}'; {similar}"
        groups = document["groups"]
        if groups is not None and groups not in {*columns, *there}:
            similar = suggestion(groups, [*columns, *there])
            yield ("groups",), f"{place} has no '{groups}'; {similar}"

    def _arrays(self) -> Iterator[StoredArray]:
        views = self._document.get("views", [])
        count = 0
        shapes = self._document.get("shapes", {})
        for index, name in enumerate(self._document["observations"]):
            view = views[count] if count < len(views) else {}
            channels = len(views) if len(self._document["observations"]) == 1 else 0
            if name in shapes:
                channels = len(channels_of(name, shapes))
            array = self._array(("observations", index), name, view, channels)
            count += len(array.names)
            yield array

    def _array(self, where: Where, name: str, view: Document, channels: int) -> StoredArray:
        """How an array holds observations. Raises DatasetError.

        channels  how many it has, as far as that is known; else 0
        """
        stations = not instrument_of(view).imaging
        variable = self._there[self._names[name]]
        declared = self._document.get("axes", {}).get(name, ())
        try:
            axes, said = axes_of(variable, name, declared, stations, channels)
        except QexpError as error:
            raise DatasetError([(where, str(error))]) from None
        self.warnings += [said] if said else []
        order = sorted(range(len(axes)), key=lambda axis: AXES[axes[axis]])
        sizes = {AXES[axes[axis]]: variable.shape[axis] for axis in order}
        shape = sizes.get(1, 1), sizes.get(2, 1), sizes.get(3, 1)
        if "points" in view and len(axes) == 2:
            shape = shape[0], shape[2], 1
        images = 1 if stations else shape[0]
        names = [name + (f"_{channel}" if channel else "") for channel in range(images)]
        told = stations or "points" in view or shape[1] == 1
        told = told or variable.file.tells_north(variable.name)
        if not told and not (self._document.get("rows") or self._document.get("made_by")):
            self._without_north.append(name)
        return StoredArray(
            variable=replace(variable, order=order),
            where=where,
            names=names,
            shape=shape,
            turned=not told and self._document.get("rows") == SOUTHWARDS,
        )

    def _of_other_counts(self) -> Findings:
        counts = {self._names[array.names[0]]: array.count for array in self.arrays}
        most = max(counts.values())
        if len(set(counts.values())) > 1:
            words = ", ".join(f"{name}: {number:,}" for name, number in counts.items())
            lack = f"the arrays have different numbers of simulations, {words}"
            yield ("observations",), f"{self.path}: {lack}"
        if most > MOST_SIMULATIONS:
            limit = f"at most {MOST_SIMULATIONS:,} are possible"
            yield ("path",), f"{self.path} has {most:,} simulations; {limit}"

    # Their parameters.

    def _parameters(self) -> Parameters:
        """Parameter → (simulation,), in its unit. Raises DatasetError."""
        try:
            read = self._in_table() if self._table is not None else self._in_arrays()
        except QexpError:
            refuse(self._undeclared_classes())
            raise
        values = {}
        for name, there in read.items():
            factor = 1.0
            if name in self.classes:
                there = self._codes(self.classes[name], there)
            else:
                unit = self._unit_of_parameter(name)
                label = f"{self.table or self.path}: '{self._names[name]}'"
                factor = self._factor(name, unit, label, ("varyings", name))
            values[name] = there * factor
            try:
                self._check(name, values[name], factor)
            except QexpError as error:
                raise DatasetError([(("varyings", name), str(error))]) from None
        return values

    def _codes(self, classes: Classes, texts: Texts) -> Array:
        """Raises DatasetError for names that are none of the classes."""

        def shown(simulations: NDArray[np.integer]) -> str:
            return write_list("simulation", simulations[:SHOWN].tolist(), len(simulations))

        refuse(unknown_names(classes, texts, shown))
        codes_of_names = classes.codes(texts)
        self.warnings += few_samples(classes, codes_of_names)
        return codes_of_names

    def _undeclared_classes(self) -> Findings:
        """Parameters that are names, but not declared as classes."""
        for name in self._numbers:
            column = self._names[name]
            texts = self._texts(column) if self._table is not None else self._there[column].texts()
            if are_names(texts):
                words = f"'{column}' of {self.table or self.path} is {undeclared(name, texts)}"
                yield ("varyings", name), words

    def _in_table(self) -> dict[str, NDArray[Any]]:
        """Parameter → its values, or the names of its classes."""
        assert self._table is not None
        names = self._table.names if self._document["files"] is None else ()
        index = [name for name in INDEX if name in names]
        with as_finding():
            wanted = [self._names[name] for name in self._numbers]
            of_classes = [self._names[name] for name in self.classes]
            columns, texts = self._table.read(wanted, [*index, *of_classes])
        for name in index:
            rows = [str(label) for label in texts[name]]
            numbers = [str(number) for number in range(len(rows))]
            if rows != numbers and sorted(rows) == sorted(numbers):
                why = "its rows are in another order than their index; sort_index() restores it"
                way_out = f"{self.table}: {why}; without meaning: reset_index(drop=True)"
                raise DatasetError([(("parameters",), way_out)])
        return {
            name: (texts if name in self.classes else columns)[self._names[name]]
            for name in self.parameters
        }

    def _in_arrays(self) -> dict[str, NDArray[Any]]:
        """Parameter → its values in the files, where simulations are first, or last if declared;
        or the names of its classes.
        """
        read = {}
        count = self.arrays[0].count
        reversed_axes = any(array.variable.order[0] for array in self.arrays)
        for name in self.parameters:
            variable = self._there[self._names[name]]
            is_class = name in self.classes
            with as_finding():
                values = variable.texts() if is_class else variable.read(None).astype(np.float64)
            alone = values.size == count and not self._if_reversed(count)
            if values.shape[-1:] == (count,) and (reversed_axes or alone):
                values = values.T
            table = values.reshape(len(values) if values.ndim else 1, -1)
            size = table.shape[1]
            if self._column_of.get(name, 0 if size == 1 else size) >= size:
                many = f"{variable.label} has {size} values for each simulation"
                way_out = f"name one of them in 'columns': \"{self._names[name]}[0]\" is the first"
                way_out = self._if_reversed(variable.shape[-1]) or way_out
                raise DatasetError([(("varyings", name), f"{many}; {way_out}")])
            read[name] = table[:, self._column_of.get(name, 0)]
        return read

    def _check(self, name: str, values: Array, factor: float) -> None:
        """Raise QexpError for values of which nothing can be learned."""
        count = self.arrays[0].count
        place = self.table or self.path
        if len(values) != count:
            there = f"{place} has {len(values):,} values of '{name}'"
            last = len(values)
            if self._table is None:
                last = self._there[self._names[name]].shape[-1]
            way_out = "; ".join(filter(None, ["", self._if_reversed(last)]))
            raise QexpError(f"{there}, but there are {count:,} simulations{way_out}")
        usable = values[np.isfinite(values)]
        if not len(usable) or name in self.classes:
            return
        spread = np.ptp(usable)
        largest = float(np.abs(usable).max())
        if len(usable) > 1 and not spread:
            lack = "so that nothing can be learned about it; leave it out"
            raise QexpError(f"is {usable[0]:g} in all simulations, {lack}")
        found = codes(usable, factor)
        step = np.spacing(np.float32(largest))
        if found:
            self.warnings.append(f"'{name}' has {found[0] / factor:g}, {CODE}")
        elif largest >= HUGE_NUMBER:
            raise QexpError(f"reaches {largest:g}; write it in a larger unit")
        elif spread < FEWEST_STEPS * step:
            self.warnings.append(f"'{name}' {COARSE.format(spread, step)}")

    def _if_reversed(self, count: int) -> str:
        """What to write if axes are reversed, as a number of values tells; empty if it does not."""
        array = self.arrays[0]
        axes = {2: "value", 3: "x y", 4: "x y channel"}
        if array.variable.file.shapes[array.variable.name][-1] != count or "axes" in self._document:
            return ""
        names = [*axes.get(len(array.variable.shape), "").split(), "simulation"]
        declared = f'"axes": {json.dumps({array.names[0]: names})}'
        return f"if the axes are reversed, as those of Matlab are in HDF5, declare them: {declared}"

    def _factor(self, name: str, unit: str, label: str, where: Where) -> float:
        """The number by which values in the files are multiplied. Raises DatasetError."""
        wanted = quantity(name, self.quantities).unit
        given = self._document["file_units"].get(name)
        if wanted and not (unit or given):
            self._assumed[name] = wanted
        try:
            return factor_of(name, wanted, unit, given, label, FILE_UNITS)
        except QexpError as error:
            where = ("file_units", name) if given else where
            raise DatasetError([(where, str(error))]) from None

    def _compared(self, parameters: Parameters) -> Array:
        """(simulation, parameter), by which simulations are told apart; classes alone cannot."""
        columns = list(parameters.values()) if self._numbers else []
        return np.array(columns).reshape(len(columns), self.arrays[0].count).T

    def _groups(self, parameters: Parameters, usable: Rows) -> Rows:
        """A number for each simulation, equal for those of one group or with equal parameters."""
        table = self._compared(parameters)
        same = np.unique(table, axis=0, return_inverse=True)[1].ravel()
        same = same if self._numbers else np.arange(len(table))
        repeated = len(usable) - len(np.unique(same[usable]))
        if repeated:
            words = f"{repeated:,} of {len(usable):,} simulations repeat the parameters of others"
            self.warnings.append(f"{words}; they stay in one part")
        name = self._document["groups"]
        if name is None:
            return same
        in_table = self._table is not None and name in self._table.names
        values = self._texts(name) if in_table else self._there[name].read(None).ravel()
        return _joined(same, np.unique(values, return_inverse=True)[1])

    def _prepared(self, array: StoredArray, view: View) -> tuple[CachedArray, Document]:
        """An array in the unit of its observations, in the cache; and what is known of it.

        `failed` are numbers of simulations, `codes` seem to stand for no data, `largest` is the
        largest size.
        """
        variable = array.variable
        name = array.names[0]
        factor = self._factor(name, variable.unit, variable.label, array.where)
        array = replace(array, factor=factor)
        visible = None if view.visible is None else view.visible.numpy().reshape(array.shape[1:])
        content = _content(variable.file.paths, self.path)
        hidden = None if visible is None else hashlib.sha256(visible.tobytes()).hexdigest()
        axes = [*variable.order, array.turned]
        column = self._names[name]
        key = ["simulations", VERSION, content, column, axes, list(array.shape), factor, hidden]
        shape = (array.count, *array.shape)
        about: Document = {"failed": [], "codes": [], "largest": 0.0}

        def prepared() -> Iterator[NDArray[np.float32]]:
            start = 0
            for block in array.blocks():
                wrong = ~(np.abs(block) < HUGE_NUMBER)
                if visible is not None:
                    wrong &= visible
                    block[..., ~visible] = 0
                about["failed"] += (start + np.flatnonzero(wrong.any(axis=(1, 2, 3)))).tolist()
                if not about["codes"]:
                    about["codes"] = array.codes(block)
                about["largest"] = max(about["largest"], _largest(block, ~wrong))
                start += len(block)
                yield block

        with as_finding():
            cached = array_cache.find(key, shape)
            kept = array_cache.note(key)
            if cached is None or kept is None:
                cached = array_cache.cached_by_content(shape, prepared(), lambda: key)
                kept = about
                array_cache.keep_note(key, kept)
        return cached, kept


def _in_vectors(values: NDArray[np.float32], name: str) -> Iterator[str]:
    """Warnings about values, (simulation, value), that are all the same, or far from all others."""
    constant = np.flatnonzero(np.ptp(values, axis=0) == 0)
    if len(constant):
        which = f"{some([str(value) for value in constant])} of 0 to {values.shape[1] - 1}"
        lack = f"are the same in all simulations ({which}): nothing can be learned from them"
        yield f"values of '{name}' {lack}"
    distances = np.sort(np.abs(values - np.median(values, axis=0)), axis=0)
    ordered = distances[-1 - len(values) // 100 :]
    far = ordered[1:][(ordered[:-1] > 0) & (ordered[1:] > FAR * ordered[:-1])]
    if len(far):
        all_others = f"{FAR} times as far as all others: did those fail?"
        yield f"'{name}' has values {far.min():.3g} from its median, {all_others}"


def _largest(values: NDArray[Any], usable: NDArray[np.bool_]) -> float:
    return float(np.abs(values).max(where=usable, initial=0))


def _content(paths: Sequence[Path], folder: Path) -> str:
    """SHA-256 over places below a folder and contents of files in their order; some may lack."""
    places = [
        str(path.relative_to(folder)) if folder in path.parents else path.name for path in paths
    ]
    key = ["contents", places, *(array_cache.file_state(path) for path in paths if path.is_file())]
    known = array_cache.note(key)
    if known is None:
        hashes = [array_cache.content_hash(path) if path.is_file() else None for path in paths]
        contents = [list(pair) for pair in zip(places, hashes, strict=True)]
        known = {"sha256": hashlib.sha256(repr(contents).encode()).hexdigest()}
        array_cache.keep_note(key, known)
    return str(known["sha256"])


def _joined(some_groups: Rows, others: Rows) -> Rows:
    """Groups such that two simulations that are together in either grouping are together."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = some_groups.max() + 1
    edges = coo_array(
        (np.ones(len(others)), (some_groups, count + others)), shape=[count + others.max() + 1] * 2
    )
    return np.asarray(connected_components(edges, directed=False)[1][some_groups], dtype=np.int64)
