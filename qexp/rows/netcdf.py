"""NetCDF: variables along one dimension, or over a grid of two, read and written in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError
from qexp.rows.chunks import Chunk, Grid, require_columns

if TYPE_CHECKING:
    import pyarrow as pa
    import xarray

ROW = "row"
"""The dimension of a plain list of rows."""
PIECE = 1 << 14
"""Rows of a piece of the file, where rows are a plain list."""


class NetcdfRows:
    """Features along one dimension, or over a grid of two; what lies along these dimensions is kept, the rest left."""

    def __init__(self, path: Path, features: Sequence[str]) -> None:
        import pyarrow as pa
        import xarray

        self.path, self.features = path, list(features)
        if path.stat().st_size == 0:
            raise QexpError(f"{path}: the file is empty")
        try:
            self._data = xarray.open_dataset(path, engine="h5netcdf", decode_times=False, cache=False)
        except (OSError, ValueError) as error:
            raise QexpError(f"{path}: cannot be read as NetCDF 4: {error}") from error
        require_columns(path, [str(name) for name in self._data.variables], features)
        self.dimensions = self._dimensions()
        kept = {
            str(name): variable
            for name, variable in self._data.variables.items()
            if name not in features and variable.dims and set(variable.dims) <= set(self.dimensions)
        }
        self.sizes = {name: int(self._data.sizes[name]) for name in self.dimensions}
        on_grid = len(self.dimensions) == 2
        self._counted = [name for name in self.dimensions if on_grid and name not in self._data.variables]
        """Dimensions of a grid without values of their own are numbered from 0."""
        self._kept = list(kept)
        self.kept = pa.schema(
            [
                *(pa.field(name, pa.int64()) for name in self._counted),
                *(pa.field(name, _arrow_type(variable)) for name, variable in kept.items()),
            ]
        )
        self.units: Mapping[str, str] = {
            str(name): str(variable.attrs["units"])
            for name, variable in self._data.variables.items()
            if "units" in variable.attrs
        }
        along_one = {name: variable for name, variable in kept.items() if len(variable.dims) == 1}
        self.grid: Grid | None = None
        if on_grid:
            counted = {name: (name, np.arange(self.sizes[name])) for name in self._counted}
            told = {name: (str(one.dims[0]), np.asarray(one.values)) for name, one in along_one.items()}
            self.grid = Grid(self.sizes, {**counted, **told})

    def _dimensions(self) -> list[str]:
        first = self._data[self.features[0]]
        for name in self.features:
            variable = self._data[name]
            if not 1 <= variable.ndim <= 2 or set(variable.dims) != set(first.dims):
                raise QexpError(
                    f"{self.path}, variable '{name}': it lies along {_listed(variable.dims)}; all features must lie "
                    f"along the same one or two dimensions"
                    + (f", like '{self.features[0]}' along {_listed(first.dims)}" if name != self.features[0] else "")
                )
            if not np.issubdtype(variable.dtype, np.number):
                raise QexpError(f"{self.path}, variable '{name}': {variable.dtype}, but a feature must be a number")
        return [str(name) for name in first.dims]

    def chunks(self, size: int) -> Iterator[Chunk]:
        import pyarrow as pa

        along = self.dimensions[0]
        per_line = self.sizes[self.dimensions[1]] if self.grid else 1
        lines = self._whole_pieces(max(size // max(per_line, 1), 1), along)
        total = self.sizes[along]
        for start in range(0, total, lines):
            stop = min(start + lines, total)
            piece = self._data.isel({along: slice(start, stop)})
            count = (stop - start) * per_line
            features = np.empty((count, len(self.features)), dtype=np.float32, order="F")
            for index, name in enumerate(self.features):
                features[:, index] = piece[name].transpose(*self.dimensions).values.ravel()
            columns: list[Any] = []
            for name in self._counted:
                columns.append(self._spread((name,), np.arange(start, stop) if name == along else None, piece))
            for name in self._kept:
                variable = piece.variables[name]
                columns.append(self._spread(tuple(map(str, variable.dims)), variable.values, piece))
            arrays = [pa.array(column, kind) for column, kind in zip(columns, self.kept.types, strict=True)]
            yield Chunk(features, pa.table(arrays, schema=self.kept), stop / total)

    def _spread(self, dims: tuple[str, ...], values: NDArray[Any] | None, piece: xarray.Dataset) -> NDArray[Any]:
        """A value for every row, from values along some of the dimensions; None: their number."""
        shape = [int(piece.sizes[name]) for name in self.dimensions]
        if values is None:
            values = np.arange(int(piece.sizes[dims[0]]))
        if len(dims) == 2 and list(dims) != self.dimensions:
            values = values.T
        if len(dims) == 1 and len(shape) == 2:
            values = values[:, None] if dims[0] == self.dimensions[0] else values[None, :]
        return np.broadcast_to(values, shape).ravel()

    def _whole_pieces(self, lines: int, along: str) -> int:
        """As many lines as end where a compressed piece of the file does, so that none is unpacked twice."""
        variable = self._data.variables[self.features[0]]
        pieces = variable.encoding.get("chunksizes")
        step = int(pieces[variable.dims.index(along)]) if pieces else 1
        return max(lines // step, 1) * step if step <= 4 * lines else lines


class NetcdfSink:
    """Rows as NetCDF 4: over the grid that they came from, otherwise along `row`."""

    def __init__(self, path: Path, schema: pa.Schema, grid: Grid | None, origin: Mapping[str, str]) -> None:
        import h5netcdf.legacyapi

        self._file = h5netcdf.legacyapi.Dataset(path, "w")
        self._schema, self._written = schema, 0
        sizes: Mapping[str, int | None] = grid.sizes if grid else {ROW: None}
        self._per_line = list(grid.sizes.values())[1] if grid else 1
        self._skipped = set(grid.coordinates) if grid else set()
        for name, size in sizes.items():
            self._file.createDimension(name, size)
        for text, value in {**origin, "Conventions": "CF-1.11"}.items():
            self._file.setncattr(text, value)
        if grid:
            for name, (dimension, values) in grid.coordinates.items():
                words = values.dtype.kind in "OUS"
                variable = self._file.createVariable(name, str if words else values.dtype, (dimension,))
                variable[:] = values.astype(object) if words else values
                self._describe(variable, schema.field(name))
        shape = tuple(sizes)
        pieces = (PIECE,) if not grid else None
        for field in schema:
            if field.name not in self._skipped:
                kind = _numpy_type(field.type)
                fill = np.nan if kind is not str and np.dtype(kind).kind == "f" else None
                variable = self._file.createVariable(field.name, kind, shape, chunksizes=pieces, fill_value=fill)
                self._describe(variable, field)

    def _describe(self, variable: Any, field: pa.Field) -> None:
        for key, text in (field.metadata or {}).items():
            variable.setncattr({b"unit": "units", b"description": "long_name"}.get(key, key.decode()), text.decode())

    def write(self, rows: pa.Table) -> None:
        start, stop = self._written, self._written + rows.num_rows
        lines = slice(start // self._per_line, stop // self._per_line)
        if self._per_line == 1 and "row" in self._file.dimensions and self._file.dimensions[ROW].isunlimited():
            self._file.resize_dimension(ROW, stop)
        for field in self._schema:
            if field.name in self._skipped:
                continue
            values = _filled(rows[field.name], field.type)
            variable = self._file.variables[field.name]
            variable[lines] = values if len(variable.dimensions) == 1 else values.reshape(-1, self._per_line)
        self._written = stop

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()


def _listed(dims: Sequence[Any]) -> str:
    return " × ".join(map(str, dims)) if dims else "no dimension"


def _arrow_type(variable: xarray.Variable) -> pa.DataType:
    import pyarrow as pa

    return pa.from_numpy_dtype(variable.dtype) if variable.dtype.kind in "iufb" else pa.string()


def _numpy_type(kind: pa.DataType) -> Any:
    import pyarrow.types as types

    if types.is_boolean(kind):
        return np.int8
    return kind.to_pandas_dtype() if types.is_integer(kind) or types.is_floating(kind) else str


def _filled(column: pa.ChunkedArray, kind: pa.DataType) -> NDArray[Any]:
    """Plain values; what is missing becomes NaN, an empty text, or the least whole number."""
    import pyarrow as pa

    wanted = _numpy_type(kind)
    if wanted is str:
        return np.asarray(column.cast(pa.string()).fill_null("").to_pylist(), dtype=object)
    if column.null_count:
        least = float("nan") if pa.types.is_floating(kind) else int(np.iinfo(wanted).min)
        column = column.cast(pa.int8()) if pa.types.is_boolean(kind) else column
        column = column.fill_null(pa.scalar(least, column.type))
    values: NDArray[Any] = column.to_numpy().astype(wanted, copy=False)
    return values
