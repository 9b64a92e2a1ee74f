"""Vectors in tables, a sample in each row: numbers by the names of columns, or in their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from qexp.errors import QexpError, some
from qexp.kinds.images.files import ImageFile, Shape, Values
from qexp.rows.csv import INDEX, CsvTable
from qexp.rows.formats import open_table
from qexp.rows.table import is_number, numbers_in

TABLES = (".csv", ".parquet")
"""Suffixes of tables."""

NAME = "name"
"""Column with the names of samples."""


class TableImages(ImageFile):
    """A table with a row for each sample.

    vectors  vector → the columns of its numbers, in their order, and whether data were known by
             these names
    numbers  single number → its column
    Raises QexpError if it cannot be read, or if it is not clear which columns they are.
    """

    def __init__(
        self,
        path: Path,
        vectors: Mapping[str, tuple[Sequence[str], bool]],
        numbers: Mapping[str, str],
    ) -> None:
        import pyarrow.types as types

        self.path = path
        self._table = open_table(path, TABLES)
        in_vectors = [column for columns, _ in vectors.values() for column in columns]
        wanted = [*in_vectors, *numbers.values()]
        if isinstance(self._table, CsvTable):
            alone = all(map(is_number, self._table.names)) and len(self._table.names) == len(wanted)
            self._table.assume_names(wanted, range(1, len(wanted) + 1) if alone else None)
        self._table.require(self._table.names)
        columns = self._table.types(self._table.names)
        of_numbers = numbers_in(columns)
        flat = [column.name for column in columns if not types.is_nested(column.type)]
        free = [name for name in of_numbers if name not in {NAME, INDEX, *numbers.values()}]
        only = len(vectors) == 1
        chosen = {name: self._chosen(name, *known, free, only) for name, known in vectors.items()}
        self._columns = {**chosen, **{name: [column] for name, column in numbers.items()}}
        used = {column for columns in self._columns.values() for column in columns}
        numeric = {*used, *of_numbers}
        texts = [name for name in flat if name not in numeric]
        read, words = self._table.read([*used, *of_numbers], texts)
        self._values = read
        both = {**read, **words}
        others = [name for name in self._table.names if name in both and name not in used]
        self.kept = {name: both[name] for name in others}
        rows = len(next(iter(read.values())))
        shapes: dict[str, Shape] = {name: (rows, len(each)) for name, each in chosen.items()}
        self.shapes = {**shapes, **dict.fromkeys(numbers, (rows,))}

    def _chosen(
        self, name: str, known: Sequence[str], by_name: bool, free: Sequence[str], only: bool
    ) -> Sequence[str]:
        """The columns of a vector: those of its names, or all, if as many have other names."""
        if {*known} <= {*self._table.names}:
            return known
        if only and not by_name and len(free) == len(known):
            return free
        there = f"{self.path} has {len(free)} columns of numbers ({some(free) or 'none'})"
        words = f"{there}, but '{name}' is {len(known)} values; name their columns {some(known)}"
        raise QexpError(words + ("" if by_name else ", or leave all others out"))

    def label(self, name: str) -> str:
        return f"{self.path}: {some(self._columns[name])}"

    def unit(self, name: str) -> str:
        columns = self._columns.get(name)
        if columns is None:  # it is kept, with its title
            return self._table.units.get(name, "")
        units = {*map(self._table.unit, columns)}
        return units.pop() if len(units) == 1 else ""

    def read(self, name: str, samples: slice | None) -> Values:
        columns = [self._values[column][samples or slice(None)] for column in self._columns[name]]
        return np.stack(columns, axis=-1) if len(self.shapes[name]) > 1 else columns[0]
