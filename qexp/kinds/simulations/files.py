"""The files of simulations that exist: parameters and observations, checked, and mapped into
memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.quantities import (
    DIMENSIONLESS,
    NOISE,
    UNITS,
    Quantities,
    alike,
    channels_of,
    conversion,
    of_dataset,
    quantity,
)
from qexp.errors import DatasetError, QexpError, some, suggestion
from qexp.kinds.files import as_finding, find_data_file, refuse
from qexp.kinds.images.files import (
    HDF5,
    UNNAMED,
    ImageAxis,
    ImageFile,
    ImageVariable,
    NetcdfImages,
    open_images,
)
from qexp.kinds.simulations.axes import axes_of
from qexp.networks.shapes import AXES
from qexp.observations.reading import codes_among
from qexp.physics.instruments import INSTRUMENTS, RADAR
from qexp.rows import array_cache
from qexp.rows.array_cache import CachedArray
from qexp.rows.arrays import open_dataset
from qexp.rows.formats import open_table
from qexp.rows.geotiff import beside
from qexp.rows.table import HUGE_NUMBER, Table, TableError, codes, unit_in_title
from qexp.rows.unmeasured import found_in, in_words
from qexp.rows.zarr_stores import open_store
from qexp.simulation.stored import MOST_SIMULATIONS, Rows, Simulations, StoredObservation
from qexp.simulation.views import View
from qexp.spec.reading import Document, Finding, Where

VERSION = 2
"""Of the prepared observations in the cache."""

CODE = "has {:g}, far from all other values: a code for no data? Write NaN in its place"

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
"""Times as far from the median as all other values, of 99 % of simulations at least, is what seems
to have failed.
"""

BLOCK = 2**22
"""Numbers of an observation that are read at a time."""

TABLES, GROUPED = (".csv", ".parquet"), (".nc", *HDF5)

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class StoredArray:
    """An array of a file: an observation of all simulations, or one for each of its channels.

    where     the key of the dataset that names it
    names     of its observations
    shape     of one simulation, (channel, height, width)
    turned    whether rows run southwards in the file, which does not say so
    """

    variable: ImageVariable
    where: Where
    names: Sequence[str]
    shape: Shape
    turned: bool = False

    @property
    def count(self) -> int:
        """Number of simulations."""
        return self.variable.shape[0]

    def blocks(self, factor: float) -> Iterator[NDArray[np.float32]]:
        """All simulations in order, some at a time, (simulation, channel, height, width),
        multiplied by a factor.
        """
        size = max(1, BLOCK // math.prod(self.shape))
        whole = self.variable.read(None) if self.variable.order[0] else None
        for start in range(0, self.count, size):
            some = slice(start, min(start + size, self.count))
            values = self.variable.read(some) if whole is None else whole[some]
            values = values.reshape(-1, *self.shape)[:, :, :: -1 if self.turned else 1]
            with np.errstate(over="ignore", invalid="ignore"):
                yield (values * factor).astype(np.float32)


class FilePerSimulation(ImageFile):
    """Files with the arrays of one simulation each, read as arrays over all of them.

    Simulations whose file is not there have failed: their values are missing.

    paths  of all simulations
    names  of the arrays; an array without a name has that of the only one
    Raises QexpError if a file cannot be read, or has other shapes than the first.
    """

    def __init__(self, folder: Path, paths: Sequence[Path], names: Sequence[str]) -> None:
        self.path, self._paths, self._names = folder, paths, names
        if (found := next(filter(Path.is_file, paths), None)) is None:
            raise QexpError(
                f"{folder} has none of the {len(paths):,} files, such as"
                f" {some([path.name for path in paths], 2)}"
            )
        self._found, self._first = found, self._variables(found)
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

    def axes(self, name: str) -> tuple[ImageAxis, ImageAxis] | None:
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
            if (
                variable := self._variables(path).get(name)
            ) is None or variable.shape != values.shape[1:]:
                there = "is not there" if variable is None else f"has the shape {variable.shape}"
                raise QexpError(
                    f"{path}: '{name}' {there}, but in {self._found.name} it has {values.shape[1:]}"
                )
            values[index] = variable.read(None)
        return values

    def _variables(self, path: Path) -> dict[str, ImageVariable]:
        there = open_images(path, set(self._names))
        return (
            {self._names[0]: there[UNNAMED]}
            if UNNAMED in there and len(self._names) == 1
            else there
        )


def files_in(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files of these names in a folder. Raises QexpError for one that is outside of it."""
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise QexpError(
                f"'{name}' is no file in {folder}; name each by its place below that folder"
            )
    return [folder / name for name in names]


class SimulationFiles:
    """A file, or a folder with a file for each variable, and a table of the parameters if they are
    not in it.

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
        columns: Document = document.get("columns", {})
        self._names = {
            name: columns.get(name, name) for name in [*document["observations"], *self.parameters]
        }
        self._column_of: dict[str, int] = {}
        """Parameter → its column, where the files have several parameters in an array, (simulation,
        parameter).
        """
        for name in self.parameters if document["parameters"] is None else ():
            if found := re.fullmatch(r"(.+)\[(\d+)\]", self._names[name]):
                self._names[name], self._column_of[name] = found[1], int(found[2])
        self._without_north: list[str] = []
        """Images of which neither the files nor the dataset say which way rows run."""
        self.table, self._table = self._open_table(folders)
        with as_finding():
            self._there = self._open()
        refuse(self._lacking(self._names))
        self.arrays = list(self._arrays())
        refuse(self._of_other_counts())
        self.units = {**self._own_units(of_dataset(document, quantities)), **document["units"]}
        """Variable that is no known quantity → its unit."""
        self.quantities = of_dataset({**document, "units": self.units}, quantities)

    def _open_table(self, folders: Sequence[Path]) -> tuple[Path | None, Table | None]:
        if (name := self._document["parameters"]) is None:
            return None, None
        try:
            path = find_data_file(name, folders, self._document.get("found_parameters", ""))
            return path, open_table(path, TABLES)
        except QexpError as error:
            raise DatasetError([(("parameters",), str(error))]) from error

    def _open(self) -> dict[str, ImageVariable]:
        """Name → variable of the files of simulations."""
        if (column := self._document["files"]) is None and self.path.suffix == ".zarr":
            store = NetcdfImages(self.path, open_store(self.path))
            return {name: ImageVariable(store, name) for name in store.shapes}
        if column is None:
            wanted = {*self._names.values(), *filter(None, [self._document["groups"]])}
            there = open_images(self.path, wanted)
            if UNNAMED in there:
                return {self._names[self._document["observations"][0]]: there[UNNAMED]}
            if self.path.suffix.lower() in GROUPED:
                there |= self._in_groups(
                    name for name in wanted if "/" in name and name not in there
                )
            return there
        assert self._table is not None
        paths = files_in(self.path, self._table.read([], [column])[1][column].tolist())
        file = FilePerSimulation(
            self.path, paths, [self._names[name] for name in self._document["observations"]]
        )
        return {name: ImageVariable(file, name) for name in file.shapes}

    def _in_groups(self, names: Iterable[str]) -> dict[str, ImageVariable]:
        """Those variables of groups of HDF5, `group/variable`, that are there."""
        there: dict[str, ImageVariable] = {}
        for name in names:
            group, _, variable = name.rpartition("/")
            with suppress(TableError):  # a group that is not there
                file = NetcdfImages(self.path, open_dataset(self.path, group))
                there |= {name: ImageVariable(file, variable)} if variable in file.shapes else {}
        return there

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the content of all files, in hexadecimal."""
        files = dict.fromkeys(variable.file for variable in self._there.values())
        paths = [
            *sorted({path for file in files for path in file.paths}),
            *filter(None, [self.table]),
        ]
        return _content(paths, self.path)

    def _own_units(self, quantities: Quantities) -> dict[str, str]:
        """Variable that is no known quantity → its unit by the files."""
        units = {array.names[0]: array.variable.unit for array in self.arrays}
        units |= {name: self._unit_of_parameter(name) for name in self.parameters}
        return {
            name: unit
            for name, unit in units.items()
            if unit and quantity(name, quantities) is DIMENSIONLESS
        }

    def _unit_of_parameter(self, name: str) -> str:
        """Its unit by the files; empty if they give none."""
        column = self._names[name]
        if self._table is None:
            return self._there[column].unit
        title = unit_in_title(column)
        return self._table.units.get(column, title if title in UNITS else "")

    @property
    def shapes(self) -> dict[str, Shape]:
        """Observation → (channel, height, width)."""
        of_arrays = ((name, array) for array in self.arrays for name in array.names)
        return {
            name: (array.shape[0] // len(array.names), *array.shape[1:])
            for name, array in of_arrays
        }

    @property
    def values(self) -> dict[str, list[str]]:
        """Observation that is a vector → the names of its values, where the files say them."""
        vectors = (array for array in self.arrays if len(array.variable.shape) == 2)
        labels = {array.names[0]: array.variable.labels for array in vectors}
        return {name: of for name, of in labels.items() if of}

    @property
    def places(self) -> dict[str, tuple[float, ...]]:
        """Observation → width and height of its pixels, and the place of its middle [m], where the
        files say so.
        """
        sizes: dict[str, tuple[float, ...]] = {}
        for array in (array for array in self.arrays if len(array.variable.shape) > 2):
            axes = array.variable.file.axes(array.variable.name)
            if axes is not None and axes[0].metres and axes[1].metres:
                east, north = axes[0].metres, axes[1].metres
                numbers = (
                    axes[0].step * east,
                    axes[1].step * north,
                    axes[0].origin * east,
                    axes[1].origin * north,
                )
                sizes |= dict.fromkeys(array.names, numbers)
        return sizes

    def read(self, views: Mapping[str, View]) -> Simulations:
        """All simulations, and which of them did not fail. Raises DatasetError.

        views  observation → its view, whose hidden pixels may be missing
        """
        parameters = self._parameters()
        failed = {name: ~np.isfinite(values) for name, values in parameters.items()}
        largest = {name: _largest(values, ~failed[name]) for name, values in parameters.items()}
        observations: dict[str, StoredObservation] = {}
        for array in self.arrays:
            cached, about = self._prepared(array, views[array.names[0]])
            failed[self._names[array.names[0]]] = np.isin(np.arange(array.count), about["failed"])
            largest[array.names[0]] = about["largest"]
            if about["codes"]:
                self.warnings.append(f"'{array.names[0]}' {CODE.format(about['codes'][0])}")
            each = array.shape[0] // len(array.names)
            for place, name in enumerate(array.names):
                observations[name] = StoredObservation(
                    cached, slice(place * each, (place + 1) * each)
                )
        any_failed = np.any(list(failed.values()), axis=0)
        if any_failed.any():
            where = [f"{int(of.sum()):,} in '{name}'" for name, of in failed.items() if of.any()]
            of_all = f"{int(any_failed.sum()):,} of {len(any_failed):,} simulations"
            words = f"{of_all} have missing or infinite values ({some(where)})"
            if any_failed.all():
                has_none = any(failed[name].all() for name in parameters)
                way_out = (
                    ""
                    if has_none
                    else "; pixels that no simulation has are declared by a view's mask"
                )
                raise DatasetError([(("path",), f"{self.path}: {words}{way_out}")])
            self.warnings.append(f"{words} and are left out")
        if self._assumed:
            units = some(
                [f"'{n}' in {unit} (up to {largest[n]:,.4g})" for n, unit in self._assumed.items()]
            )
            self.warnings.append(
                f"the files give no units; assumed are {units}; 'file_units' can say others"
            )
        if north := [
            f"'{of}'"
            for of in self._without_north
            if conversion(quantity(of, self.quantities).unit, "m")
        ]:
            way_out = '"rows": "southwards" says that the first is in the north'
            self.warnings.append(
                f"rows of {some(north)} count as running northwards, which no file says; {way_out}"
            )
        usable = np.flatnonzero(~any_failed)
        of_parameters = np.stack(list(parameters.values()), axis=1)
        for name, observed in observations.items():
            mask, channels = views[name].visible, observed.channels
            visible = None if mask is None else mask.numpy().reshape(observed.shape[1:])
            found = found_in(
                observed.array, [channels.start, channels.stop], observed.select, visible
            )
            said = in_words(found, f"'{name}'", "simulations", ~any_failed, of_parameters)
            self.warnings += [f"{words} NaN in their place leaves them out" for words in said]
            if 1 in observed.shape[1:]:
                some_rows = usable[:: 1 + len(usable) * math.prod(observed.shape) // BLOCK]
                self.warnings += _in_vectors(
                    observed.select(some_rows).reshape(len(some_rows), -1), name
                )
        if len(usable) < FEW_SIMULATIONS:
            self.warnings.append(
                f"{len(usable)} simulations are few: a posterior or an emulator takes hundreds"
            )
        return Simulations(parameters, observations, usable, self._groups(parameters, usable))

    # What the files have.

    def _lacking(self, names: Mapping[str, str]) -> Iterator[Finding]:
        of_table = [] if self._table is None else self._table.names
        for index, name in enumerate(self._document["observations"]):
            if names[name] not in self._there:
                arrays = [
                    other for other, variable in self._there.items() if len(variable.shape) > 1
                ]
                other = (
                    suggestion(names[name], arrays)
                    if arrays
                    else "it has no arrays over simulations"
                )
                yield (
                    ("observations", index),
                    f"{self.path} has no variable '{names[name]}'; {other}",
                )
        for name in self.parameters:
            there = of_table if self._table is not None else self._there
            if names[name] not in there:
                where = self.table or self.path
                remedy = (
                    ""
                    if self._table is not None
                    else "; or name a table that has it, as 'parameters'"
                )
                near = suggestion(
                    names[name], [one for one in there if one not in self._document["observations"]]
                )
                yield (
                    ("varyings", name),
                    f"{where} has no parameter '{names[name]}'; {near}{remedy}",
                )
        if (groups := self._document["groups"]) is not None and groups not in {
            *of_table,
            *self._there,
        }:
            yield (
                ("groups",),
                (
                    f"{self.table or self.path} has no '{groups}';"
                    f" {suggestion(groups, [*of_table, *self._there])}"
                ),
            )

    def _arrays(self) -> Iterator[StoredArray]:
        views, count = self._document.get("views", []), 0
        for index, name in enumerate(self._document["observations"]):
            variable, where = self._there[self._names[name]], ("observations", index)
            view = views[count] if count < len(views) else {}
            known = len(views) if len(self._document["observations"]) == 1 else 0
            if name in (shapes := self._document.get("shapes", {})):
                known = len(channels_of(name, shapes))
            array = self._array(variable, where, name, view, known)
            count += len(array.names)
            yield array

    def _array(
        self, variable: ImageVariable, where: Where, name: str, view: Document, channels: int
    ) -> StoredArray:
        """How an array holds observations. Raises DatasetError.

        channels  how many it has, as far as that is known; else 0
        """
        stations = not INSTRUMENTS[view.get("type", RADAR)].imaging
        try:
            axes, said = axes_of(
                variable, name, self._document.get("axes", {}).get(name, ()), stations, channels
            )
        except QexpError as error:
            raise DatasetError([(where, str(error))]) from None
        self.warnings += [said] if said else []
        order = sorted(range(len(axes)), key=lambda axis: AXES[axes[axis]])
        sizes = {AXES[axes[axis]]: variable.shape[axis] for axis in order}
        images = 1 if stations else sizes.get(1, 1)
        names = [name + (f"_{channel}" if channel else "") for channel in range(images)]
        shape = sizes.get(1, 1), sizes.get(2, 1), sizes.get(3, 1)
        if "points" in view and len(axes) == 2:
            shape = shape[0], shape[2], 1
        told = (
            stations
            or shape[1] == 1
            or "points" in view
            or variable.file.tells_north(variable.name)
        )
        if not told and not {"rows", "made_by"} & {key for key, of in self._document.items() if of}:
            self._without_north.append(name)
        turned = not told and self._document.get("rows") == "southwards"
        return StoredArray(replace(variable, order=order), where, names, shape, turned)

    def _of_other_counts(self) -> Iterator[Finding]:
        counts = {self._names[array.names[0]]: array.count for array in self.arrays}
        if len(set(counts.values())) > 1:
            words = ", ".join(f"{name}: {number:,}" for name, number in counts.items())
            yield (
                ("observations",),
                f"{self.path}: the arrays have different numbers of simulations, {words}",
            )
        if (most := max(counts.values())) > MOST_SIMULATIONS:
            yield (
                ("path",),
                f"{self.path} has {most:,} simulations; at most {MOST_SIMULATIONS:,} are possible",
            )

    def _parameters(self) -> dict[str, NDArray[np.float64]]:
        """Parameter → (simulation,), in its unit. Raises DatasetError."""
        count, columns = self.arrays[0].count, {name: self._names[name] for name in self.parameters}
        if self._table is not None:
            with as_finding():
                index = [
                    name
                    for name in INDEX
                    if name in self._table.names and self._document["files"] is None
                ]
                of_columns, labels = self._table.read(columns.values(), index)
            for name in index:
                rows = [str(label) for label in labels[name]]
                numbers = [str(number) for number in range(len(rows))]
                if rows != numbers and sorted(rows) == sorted(numbers):
                    why = (
                        f"{self.table}: its rows are in another order than their index;"
                        " sort_index() restores it"
                    )
                    raise DatasetError(
                        [(("parameters",), f"{why}; without meaning: reset_index(drop=True)")]
                    )
            read = {name: of_columns[column] for name, column in columns.items()}
        else:
            tables = {name: self._table_of(column, count) for name, column in columns.items()}
            for name, column in columns.items():
                if (
                    self._column_of.get(name, 0 if (size := tables[name].shape[1]) == 1 else size)
                    >= size
                ):
                    many = f"{self._there[column].label} has {size} values for each simulation"
                    way_out = f"name one of them in 'columns': \"{column}[0]\" is the first"
                    raise DatasetError(
                        [
                            (
                                ("varyings", name),
                                (
                                    f"{many};"
                                    f" {self._if_reversed(self._there[column].shape[-1]) or way_out}"
                                ),
                            )
                        ]
                    )
            read = {name: table[:, self._column_of.get(name, 0)] for name, table in tables.items()}
        factors = {
            name: self._factor(name, self._unit_of_parameter(name), ("varyings", name))
            for name in read
        }
        values = {name: of * factors[name] for name, of in read.items()}
        for name, of in values.items():
            if len(of) != count:
                there = f"{self.table or self.path} has {len(of):,} values of '{name}'"
                last = len(of) if self._table is not None else self._there[columns[name]].shape[-1]
                way_out = f"; {said}" if (said := self._if_reversed(last)) else ""
                raise DatasetError(
                    [(("varyings", name), f"{there}, but there are {count:,} simulations{way_out}")]
                )
            usable = of[np.isfinite(of)]
            if len(usable) > 1 and not np.ptp(usable):
                same = (
                    f"is {usable[0]:g} in all simulations, so that nothing can be learned about it;"
                    " leave it out"
                )
                raise DatasetError([(("varyings", name), same)])
            largest = float(np.abs(usable).max(initial=0))
            if found := codes(usable, factors[name]):
                self.warnings.append(f"'{name}' {CODE.format(found[0] / factors[name])}")
            elif largest >= HUGE_NUMBER:
                raise DatasetError(
                    [(("varyings", name), f"reaches {largest:g}; write it in a larger unit")]
                )
            elif len(usable) and np.ptp(usable) < FEWEST_STEPS * (
                step := np.spacing(np.float32(largest))
            ):
                self.warnings.append(f"'{name}' {COARSE.format(np.ptp(usable), step)}")
        return values

    def _table_of(self, column: str, count: int) -> NDArray[np.float64]:
        """Parameters of the files, (simulation, parameter); the last axis is that of simulations if
        it is theirs.
        """
        values = self._there[column].read(None).astype(np.float64)
        reversed_axes = any(of.variable.order[0] for of in self.arrays)
        if values.shape[-1:] == (count,) and (
            reversed_axes or (values.size == count and not self._if_reversed(count))
        ):
            values = values.T
        return values.reshape(len(values) if values.ndim else 1, -1)

    def _if_reversed(self, count: int) -> str:
        """What to write if the axes are reversed, as a number of values of a parameter tells; empty
        if it does not.
        """
        array, axes = self.arrays[0], {2: "value", 3: "x y", 4: "x y channel"}
        if array.variable.file.shapes[array.variable.name][-1] != count or "axes" in self._document:
            return ""
        names = [*axes.get(len(array.variable.shape), "").split(), "simulation"]
        declared = f'"axes": {json.dumps({array.names[0]: names})}'
        return f"if the axes are reversed, as those of Matlab are in HDF5, declare them: {declared}"

    def _factor(self, name: str, of_file: str, where: Where) -> float:
        """By which values in the files are multiplied to be in a variable's unit. Raises
        DatasetError.
        """
        wanted, said = quantity(name, self.quantities).unit, self._document["file_units"].get(name)
        unit = said or of_file
        if said and of_file and conversion(of_file, wanted) != conversion(said, wanted):
            raise DatasetError(
                [(("file_units", name), f"'{name}' is in '{of_file}' by the files; leave it out")]
            )
        if not unit and wanted:
            self._assumed[name] = wanted
        if (factor := conversion(unit or wanted, wanted)) is None:
            known = f"; known: {', '.join(alike(wanted))}" if alike(wanted) else ""
            problem = f"'{name}' is in '{unit}' there, but must be in {wanted or 'no unit'}{known}"
            raise DatasetError([(("file_units", name) if said else where, problem)])
        return factor

    def _groups(self, parameters: Mapping[str, NDArray[np.float64]], usable: Rows) -> Rows:
        """A number for each simulation, equal for those of one group, or with the same
        parameters.
        """
        _, same = np.unique(
            np.stack(list(parameters.values()), axis=1), axis=0, return_inverse=True
        )
        same = same.ravel()
        repeated = len(usable) - len(np.unique(same[usable]))
        if repeated:
            self.warnings.append(
                f"{repeated:,} of {len(usable):,} simulations repeat the parameters of others; they"
                " stay in one part"
            )
        if (name := self._document["groups"]) is None:
            return same
        if self._table is not None and name in self._table.names:
            values: NDArray[Any] = self._table.read([], [name])[1][name]
        else:
            values = self._there[name].read(None).ravel()
        _, groups = np.unique(values, return_inverse=True)
        return _joined(same, groups)

    def _prepared(self, array: StoredArray, view: View) -> tuple[CachedArray, dict[str, Any]]:
        """An array in the unit of its observations, in the cache; and what is known of it:
        `failed`, the numbers of simulations; `codes`, which seem to stand for no data; `largest`,
        the largest size.
        """
        factor = self._factor(array.names[0], array.variable.unit, array.where)
        visible = None if view.visible is None else view.visible.numpy().reshape(array.shape[1:])
        count = array.count
        content = _content(array.variable.file.paths, self.path)
        hidden = None if visible is None else hashlib.sha256(visible.tobytes()).hexdigest()
        column = self._names[array.names[0]]
        axes = [*array.variable.order, array.turned]
        key = ["simulations", VERSION, content, column, axes, list(array.shape), factor, hidden]
        shape, about = (count, *array.shape), dict[str, Any](failed=[], codes=[], largest=0.0)

        def prepared() -> Iterator[NDArray[np.float32]]:
            start = 0
            for block in array.blocks(factor):
                wrong = ~(np.abs(block) < HUGE_NUMBER)
                if visible is not None:
                    wrong &= visible
                    block[..., ~visible] = 0
                about["failed"] += (start + np.flatnonzero(wrong.any(axis=(1, 2, 3)))).tolist()
                about["codes"] = about["codes"] or [
                    code / factor for code in codes_among(block, factor)
                ]
                about["largest"] = max(about["largest"], _largest(block, ~wrong))
                start += len(block)
                yield block

        with as_finding():
            cached, kept = array_cache.find(key, shape), array_cache.note(key)
            if cached is None or kept is None:
                cached, kept = array_cache.cached_by_content(shape, prepared(), lambda: key), about
                array_cache.keep_note(key, kept)
        return cached, kept


def _in_vectors(values: NDArray[np.float32], name: str) -> Iterator[str]:
    """Warnings about values, (simulation, value), of which nothing can be learned, or some are far
    from all others.
    """
    if constant := np.flatnonzero(np.ptp(values, axis=0) == 0).tolist():
        which = f"{some(list(map(str, constant)))} of 0 to {values.shape[1] - 1}"
        yield (
            f"values of '{name}' are the same in all simulations ({which}): nothing can be learned"
            " from them"
        )
    ordered = np.sort(np.abs(values - np.median(values, axis=0)), axis=0)[-1 - len(values) // 100 :]
    far = ordered[1:][(ordered[:-1] > 0) & (ordered[1:] > FAR * ordered[:-1])]
    if len(far):
        yield (
            f"'{name}' has values {far.min():.3g} from its median, {FAR} times as far as all"
            " others: did those fail?"
        )


def _largest(values: NDArray[Any], usable: NDArray[np.bool_]) -> float:
    return float(np.abs(values).max(where=usable, initial=0))


def _content(paths: Sequence[Path], folder: Path) -> str:
    """SHA-256 over the places below a folder and the contents of files in their order, in
    hexadecimal; some may not be there.
    """
    places = [
        str(path.relative_to(folder)) if folder in path.parents else path.name for path in paths
    ]
    key = ["contents", places, *(array_cache.file_state(path) for path in paths if path.is_file())]
    if (known := array_cache.note(key)) is None:
        hashes = [array_cache.content_hash(path) if path.is_file() else None for path in paths]
        contents = list(map(list, zip(places, hashes, strict=True)))
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
