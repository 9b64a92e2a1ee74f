"""NetCDF: variables along one dimension, or over a grid of two, read and written in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from qexp.rows.table import Grid, Piece, Table, Types
from qexp.rows.values import TableError

if TYPE_CHECKING:
    import pyarrow as pa

ROW = "row"
"""The dimension of a plain list of rows."""
PIECE = 1 << 14
"""Rows of a piece of the file, where rows are a plain list."""
NETCDF_3 = b"CDF"
"""What files of the classic format begin with; others are HDF5."""


class NetcdfTable(Table):
    """Variables along one dimension, or over a grid of two, whose cells are the rows.

    The first column asked for tells which dimensions these are; others may lie along some of them.
    """

    def _open(self) -> None:
        import xarray

        with self.path.open("rb") as file:
            engine = "scipy" if file.read(len(NETCDF_3)) == NETCDF_3 else "h5netcdf"
        try:
            self._data = xarray.open_dataset(self.path, engine=engine, decode_times=False, cache=False)
        except (OSError, ValueError, TypeError) as error:
            raise TableError(f"{self.path} cannot be read as NetCDF: {error}") from None
        self._vectors: set[str] = set()
        self.names = [str(name) for name in self._data.variables]
        self.units = {
            str(name): str(variable.attrs["units"])
            for name, variable in self._data.variables.items()
            if "units" in variable.attrs
        }

    def no_numbers(self, names: Sequence[str]) -> str | None:
        for name in names:
            variable, first = self._data.variables[name], self._data.variables[names[0]].dims
            if not 1 <= variable.ndim <= 2 or set(variable.dims) != set(first):
                like = f", like '{names[0]}' along {_listed(first)}" if name != names[0] else ""
                return (
                    f"{self.path}: variable '{name}': it lies along {_listed(variable.dims)}; all features must lie "
                    f"along the same one or two dimensions{like}"
                )
            if not np.issubdtype(variable.dtype, np.number):
                return f"{self.path}: variable '{name}': its type is {variable.dtype}; save it as numbers"
        return None

    def vector(self, name: str) -> int | None:
        if name not in self.names or self._data.variables[name].ndim != 2:
            return None
        self._vectors.add(name)
        return int(self._data.variables[name].shape[1])

    def others(self, features: Sequence[str]) -> list[str]:
        """Dimensions of a grid without values of their own, which are numbered from 0, and what lies along some."""
        dimensions = self._dimensions(features[0])
        counted = [name for name in dimensions if len(dimensions) == 2 and name not in self.names]
        known = set(features)
        return counted + [
            str(name)
            for name, variable in self._data.variables.items()
            if name not in known and variable.dims and set(variable.dims) <= set(dimensions)
        ]

    def types(self, names: Sequence[str]) -> pa.Schema:
        import pyarrow as pa

        return pa.schema([(name, self._type(name)) for name in names])

    def grid(self, features: Sequence[str]) -> Grid | None:
        dimensions = self._dimensions(features[0])
        if len(dimensions) == 1:
            return None
        coordinates = {}
        for name in self.others(features):
            if name not in self.names:
                coordinates[name] = (name, np.arange(self._data.sizes[name]))
            elif (variable := self._data.variables[name]).ndim == 1:
                coordinates[name] = (str(variable.dims[0]), np.asarray(variable.values))
        return Grid({name: int(self._data.sizes[name]) for name in dimensions}, coordinates)

    def _dimensions(self, name: str) -> list[str]:
        """Those whose cells are the rows of a variable; its values along others are a vector."""
        return [str(one) for one in self._data.variables[name].dims][: 1 if name in self._vectors else None]

    def _type(self, name: str) -> pa.DataType:
        import pyarrow as pa

        kind = np.dtype(np.int64) if name not in self.names else self._data.variables[name].dtype
        return pa.from_numpy_dtype(kind) if kind.kind in "iufb" else pa.string()

    def _pieces(self, types: Types, size: int) -> Iterator[Piece]:
        import pyarrow as pa

        first = next(iter(types))
        dimensions = self._dimensions(first)
        along, per_line = dimensions[0], int(np.prod([self._data.sizes[name] for name in dimensions[1:]]))
        lines = self._whole_pieces(max(size // max(per_line, 1), 1), first)
        total = self._data.sizes[along]
        for start in range(0, total, lines):
            stop = min(start + lines, total)
            shape = [stop - start, *(self._data.sizes[name] for name in dimensions[1:])]
            columns = [self._column(name, kind, slice(start, stop), dimensions, shape) for name, kind in types.items()]
            yield pa.table(columns, names=list(types)), stop / total

    def _column(
        self, name: str, kind: pa.DataType, lines: slice, dimensions: Sequence[str], shape: Sequence[int]
    ) -> pa.Array:
        """The values of a column in some lines of the first dimension."""
        import pyarrow as pa

        if name not in self.names:
            counted = np.arange(lines.start, lines.stop) if name == dimensions[0] else np.arange(self._data.sizes[name])
            return _as(_spread(counted, [name], dimensions, shape), kind)
        variable = self._data.variables[name].isel({dimensions[0]: lines}, missing_dims="ignore")
        if name in self._vectors:
            values = np.asarray(variable.values, dtype=np.float32)
            return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        return _as(_spread(variable.values, variable.dims, dimensions, shape), kind)

    def _whole_pieces(self, lines: int, name: str) -> int:
        """As many lines as end where a compressed piece of the file does, so that none is unpacked twice."""
        pieces = self._data.variables[name].encoding.get("chunksizes")
        step = int(pieces[0]) if pieces else 1
        return max(lines // step, 1) * step if step <= 4 * lines else lines


def _spread(values: NDArray[Any], dims: Sequence[Any], dimensions: Sequence[str], shape: Sequence[int]) -> NDArray[Any]:
    """A value for every row, from values along some of the dimensions."""
    if len(dims) == 2 and list(dims) != list(dimensions):
        values = values.T
    if len(dims) == 1 and len(shape) == 2:
        values = values[:, None] if dims[0] == dimensions[0] else values[None, :]
    return np.broadcast_to(values, shape).ravel()


def _as(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_string(kind):
        texts = [one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in values.tolist()]
        return pa.array(texts, kind)
    return pa.array(values)


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
