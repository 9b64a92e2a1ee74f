"""A folder of files with a row of a map each, as one table of the cells of a grid."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qexp.rows.cell_means import position_columns
from qexp.rows.csv import INDEX
from qexp.rows.table import Grid, Piece, Table, TableError, Types

if TYPE_CHECKING:
    import pyarrow as pa

LINE, SAMPLE = "line", "sample"
"""Positions of cells without others: the number in a file's name, and the order in the file."""


class ImageRows(Table):
    """Rows of the map lie where a column of their files says, from north to south, or by the
    numbers in the names of their files.

    files  a table of each, with the same columns and cells
    """

    def __init__(self, folder: Path, files: Sequence[Table]) -> None:
        self._files = files
        super().__init__(folder)

    def _open(self) -> None:
        first = self._files[0]
        given = position_columns(first.names)
        x_name, y_name = given or (SAMPLE, LINE)
        rows = {}
        cells = None
        for table in self._files:
            if table.names != first.names:
                raise TableError(f"{table.path}: its columns are not those of {first.path.name}")
            numbers, texts = table.read(given or (), first.names[:1])
            if given:
                x, y = (numbers[name] for name in given)
            else:
                x = np.arange(len(texts[first.names[0]]), dtype=np.float64)
                y = np.full_like(x, _number(table.path))
            if cells is not None and not np.array_equal(x, cells):
                raise TableError(
                    f"{table.path}: its {len(x)} cells have not the same '{x_name}' as the"
                    f" {len(cells)} of {first.path.name}; give every row a line for each cell,"
                    " without values where there are none"
                )
            if np.ptp(y) != 0 or y[0] in rows:
                raise TableError(f"{table.path}: '{y_name}' is not that of one row of its own")
            cells = x
            rows[y[0]] = table
        places = np.array(sorted(rows, reverse=bool(given)))
        if not given and np.ptp(places) >= len(places):
            whole = range(int(places[0]), int(places[-1]))
            lacking = next(row for row in whole if row not in rows)
            raise TableError(f"{self.path}: no file is row {lacking} of the map, by its name")
        self._rows = [rows[place] for place in places]
        kind = np.float64 if given else np.int64
        axes = {y_name: places.astype(kind), x_name: np.asarray(cells, kind)}
        self._grid = Grid(
            {name: len(values) for name, values in axes.items()},
            {name: (name, values) for name, values in axes.items()},
        )
        self.names = [*dict.fromkeys([*first.names, *axes])]
        self.units = first.units

    def others(self, features: Sequence[str]) -> list[str]:
        return [name for name in super().others(features) if name != INDEX]

    def types(self, names: Sequence[str]) -> pa.Schema:
        """As of the first file, but whole numbers may have fractions in others."""
        import pyarrow as pa

        own = self._rows[0].types([name for name in names if name in self._rows[0].names])
        texts = [field.name for field in own if pa.types.is_string(field.type)]
        kinds = {name: pa.string() if name in texts else pa.float64() for name in names}
        for name, (_, values) in self._grid.coordinates.items():
            kinds[name] = pa.from_numpy_dtype(values.dtype)
        return pa.schema([(name, kinds[name]) for name in names])

    def grid(self, features: Sequence[str]) -> Grid:
        return self._grid

    def _pieces(self, types: Types, size: int) -> Iterator[Piece]:
        """Whole rows of the map, two at least, which tell how far they are apart."""
        import pyarrow as pa

        (y_name, (_, places)), (x_name, (_, cells)) = self._grid.coordinates.items()
        own = {name: kind for name, kind in types.items() if name not in (y_name, x_name)}
        together = max(size // len(cells), 2)
        for start in range(0, len(places), together):
            part = slice(start, start + together)
            pieces = []
            for table in self._rows[part]:
                pieces += [piece for piece, _ in table.pieces(own, size)]
            rows = pa.concat_tables(pieces)
            columns = {name: rows[name] for name in own}
            columns[x_name] = pa.array(np.tile(cells, len(places[part])))
            columns[y_name] = pa.array(np.repeat(places[part], len(cells)))
            yield pa.table({name: columns[name] for name in types}), start / len(places)


def _number(path: Path) -> int:
    """The last number in the name of a file. Raises TableError if it has none."""
    numbers = re.findall(r"\d+", path.stem)
    if not numbers:
        raise TableError(
            f"{path}: which row of the map is it? Let the name end in a number, as row_1.csv, or"
            " give the files of the folder columns longitude and latitude"
        )
    return int(numbers[-1])
