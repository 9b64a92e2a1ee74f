"""Tables in NetCDF and Parquet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base import files, formats
from qexp.rows.table import Grid, Piece, Table, TableError, Types

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet
    import xarray

ROW = "row"
"""The dimension of rows without a grid."""
PIECE = 1 << 14
"""Rows of one chunk of the file, for rows without a grid."""
NETCDF_3 = b"CDF"
"""First bytes of files of the classic format; others are HDF5."""
DAMAGED = formats.BROKEN_NETCDF


def open_dataset(path: Path, group: str | None = None) -> xarray.Dataset:
    """Open a file of the classic format or of NetCDF 4, or one of its groups. Raises NotFoundError,
    and TableError for any other.
    """
    import h5py
    import xarray

    files.require_file(path)
    with path.open("rb") as file:
        engine = "scipy" if file.read(len(NETCDF_3)) == NETCDF_3 else "h5netcdf"
    try:
        own: Any = {}
        if engine == "h5netcdf":
            # Plain HDF5, whose dimensions have no names, is read like NetCDF.
            own = {"phony_dims": "access", "group": group}
            # where this fails, h5netcdf prints a traceback beside its error
            with h5py.File(path) as hdf5:
                hdf5.attrs.get("_nc3_strict")
                formats.require_own_numbers(hdf5)
        return xarray.open_dataset(
            path, engine=engine, decode_times=False, decode_timedelta=False, cache=False, **own
        )
    except DAMAGED as error:
        raise TableError(f"{path} cannot be read as NetCDF: {error}") from None


class NetcdfTable(Table):
    """Variables along one dimension, or over a grid of two, whose cells are the rows.

    The dimensions are those of the first requested column; other columns may have fewer of them.
    """

    def _dataset(self) -> xarray.Dataset:
        return open_dataset(self.path)

    def _open(self) -> None:
        self._data = self._dataset()
        self._vectors: set[str] = set()
        self.names = [str(name) for name in self._data.variables]
        self.units = {
            str(name): str(variable.attrs["units"])
            for name, variable in self._data.variables.items()
            if "units" in variable.attrs
        }

    def no_numbers(self, names: Sequence[str]) -> str | None:
        for name in names:
            variable = self._data.variables[name]
            first = self._data.variables[names[0]].dims
            if not 1 <= variable.ndim <= 2 or set(variable.dims) != set(first):
                like = ""
                if name != names[0]:
                    like = f", like '{names[0]}' along {_write_dimensions(first)}"
                return (
                    f"{self.path}: variable '{name}': it lies along"
                    f" {_write_dimensions(variable.dims)}; all features must lie along the same one"
                    f" or two dimensions{like}"
                )
            if not np.issubdtype(variable.dtype, np.number):
                return (
                    f"{self.path}: variable '{name}': its type is {variable.dtype}; save it as"
                    " numbers"
                )
        return None

    def vector(self, name: str) -> int | None:
        if name not in self.names or self._data.variables[name].ndim != 2:
            return None
        self._vectors.add(name)
        return int(self._data.variables[name].shape[1])

    def others(self, features: Sequence[str]) -> list[str]:
        """Dimensions of a grid without coordinates (numbered from 0), and variables along them."""
        dimensions = self._dimensions(features[0])
        counted = [name for name in dimensions if len(dimensions) == 2 and name not in self.names]
        for name in super().others(features):
            dims = self._variable(name).dims
            if dims and {*dims} <= {*dimensions}:
                counted.append(name)
        return counted

    def types(self, names: Sequence[str]) -> pa.Schema:
        import pyarrow as pa

        kinds = [self._variable(name).dtype for name in names]
        types = [
            pa.from_numpy_dtype(kind) if kind.kind in "iufb" else pa.string() for kind in kinds
        ]
        return pa.schema(list(zip(names, types, strict=True)))

    def grid(self, features: Sequence[str]) -> Grid | None:
        dimensions = self._dimensions(features[0])
        if len(dimensions) == 1:
            return None
        coordinates = {}
        for name in self.others(features):
            line = self._variable(name)
            if line.ndim == 1:
                coordinates[name] = (str(line.dims[0]), np.asarray(line.values))
        return Grid({name: int(self._data.sizes[name]) for name in dimensions}, coordinates)

    def _dimensions(self, name: str) -> list[str]:
        """The dimensions whose cells are a variable's rows; a vector extends along one more."""
        dimensions = list(map(str, self._data.variables[name].dims))
        return dimensions[:1] if name in self._vectors else dimensions

    def _variable(self, name: str) -> Any:
        """A variable of the file, or the indices of a dimension without coordinates."""
        import xarray

        if name in self.names:
            return self._data.variables[name]
        return xarray.Variable((name,), np.arange(self._data.sizes[name]))

    def _pieces(self, types: Types, size: int) -> Iterator[Piece]:
        import pyarrow as pa

        first = next(iter(types))
        sizes = {name: int(self._data.sizes[name]) for name in self._dimensions(first)}
        dimension, total = next(iter(sizes.items()))
        rows_of_line = math.prod(list(sizes.values())[1:])
        lines = max(size // max(rows_of_line, 1), 1)
        chunk = (self._data.variables[first].encoding.get("chunksizes") or (1,))[0]
        # whole compressed chunks of the file, so that none is decompressed twice
        if chunk <= 4 * lines:
            lines = max(lines // chunk, 1) * chunk
        for start in range(0, total, lines):
            stop = min(start + lines, total)
            sizes[dimension] = stop - start
            try:
                columns = [
                    self._column(name, kind, slice(start, stop), sizes)
                    for name, kind in types.items()
                ]
            except DAMAGED as error:
                raise TableError(
                    f"{self.path} cannot be read further than row {start}: {error}"
                ) from None
            yield pa.table(columns, names=list(types)), stop / total

    def _column(
        self, name: str, kind: pa.DataType, lines: slice, sizes: Mapping[str, int]
    ) -> pa.Array:
        """The values of a column for some lines of the first dimension, (row,)."""
        import pyarrow as pa

        variable = self._variable(name).isel({next(iter(sizes)): lines}, missing_dims="ignore")
        if name in self._vectors:
            flat = pa.array(np.asarray(variable.values, dtype=np.float32).ravel())
            return pa.FixedSizeListArray.from_arrays(flat, variable.shape[1])
        if not {*variable.dims} <= {*sizes}:
            along, rows = map(_write_dimensions, (variable.dims, [*sizes]))
            raise TableError(f"{self.path}: '{name}' lies along {along}, and rows along {rows}")
        values = variable.set_dims(sizes).values.ravel()
        if not pa.types.is_string(kind):
            return pa.array(values)
        return pa.array(list(map(_text, values.tolist())), kind)


def _text(value: Any) -> str:
    """A text; empty for a missing number."""
    if isinstance(value, float) and math.isnan(value):
        return ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


class NetcdfSink:
    """Writes rows as NetCDF 4: over the grid that they were read from, otherwise along `row`."""

    def __init__(
        self, path: Path, schema: pa.Schema, grid: Grid | None, origin: Mapping[str, str]
    ) -> None:
        import h5netcdf.legacyapi

        self._file = h5netcdf.legacyapi.Dataset(path, "w")
        self._written = 0
        self._grid = grid
        sizes: Mapping[str, int | None] = grid.sizes if grid else {ROW: None}
        self._per_line = list(grid.sizes.values())[1] if grid else 1
        coordinates = grid.coordinates if grid else {}
        self._fields = [field for field in schema if field.name not in coordinates]
        for name, size in sizes.items():
            self._file.createDimension(name, size)
        for text, value in {**origin, "Conventions": "CF-1.11"}.items():
            self._file.setncattr(text, value)
        for name, (dimension, values) in coordinates.items():
            words = values.dtype.kind in "OUS"
            variable = self._file.createVariable(name, str if words else values.dtype, (dimension,))
            variable[:] = values.astype(object) if words else values
            self._describe(variable, schema.field(name))
        chunks = None if grid else (PIECE,)
        for field in self._fields:
            kind = _numpy_type(field.type)
            fill = np.nan if kind is not str and np.dtype(kind).kind == "f" else None
            variable = self._file.createVariable(
                field.name, kind, tuple(sizes), chunksizes=chunks, fill_value=fill
            )
            self._describe(variable, field)

    def _describe(self, variable: Any, field: pa.Field) -> None:
        names = {b"unit": "units", b"description": "long_name"}
        for key, text in (field.metadata or {}).items():
            variable.setncattr(names.get(key, key.decode()), text.decode())

    def write(self, rows: pa.Table) -> None:
        start = self._written
        stop = self._written + rows.num_rows
        lines = slice(start // self._per_line, stop // self._per_line)
        if self._grid is None:
            self._file.resize_dimension(ROW, stop)
        for field in self._fields:
            values = _filled(rows[field.name], field.type)
            variable = self._file.variables[field.name]
            if len(variable.dimensions) > 1:
                values = values.reshape(-1, self._per_line)
            variable[lines] = values
        self._written = stop

    def close(self) -> None:
        self._file.close()


def _write_dimensions(dims: Sequence[Any]) -> str:
    return " × ".join(map(str, dims)) if dims else "no dimension"


def _numpy_type(kind: pa.DataType) -> Any:
    import pyarrow.types as types

    if types.is_boolean(kind):
        return np.int8
    return kind.to_pandas_dtype() if types.is_integer(kind) or types.is_floating(kind) else str


def _filled(column: pa.ChunkedArray, kind: pa.DataType) -> NDArray[Any]:
    """Values as numpy types; gaps become NaN, empty texts, or the smallest whole number."""
    import pyarrow as pa

    wanted = _numpy_type(kind)
    if wanted is str:  # HDF5 texts end at a null character
        texts = column.cast(pa.string()).fill_null("").to_pylist()
        return np.array([text.replace("\0", "\ufffd") for text in texts], dtype=object)
    if column.null_count:
        least = float("nan") if pa.types.is_floating(kind) else int(np.iinfo(wanted).min)
        column = column.cast(pa.int8()) if pa.types.is_boolean(kind) else column
        column = column.fill_null(pa.scalar(least, column.type))
    return np.asarray(column.to_numpy().astype(wanted, copy=False))


# Parquet: read and written in batches of any size, independent of row groups.

BUFFER = 1 << 20
"""Bytes of a column read at a time; without this limit a whole row group is in memory."""


class ParquetTable(Table):
    """A Parquet file; its first row is row 1."""

    def _open(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        try:
            self._file = pyarrow.parquet.ParquetFile(
                self.path, buffer_size=BUFFER, pre_buffer=False
            )
        except pa.ArrowInvalid as error:
            raise TableError(f"{self.path} cannot be read as Parquet: {error}") from None
        self._schema = self._file.schema_arrow
        self.names = self._schema.names
        self.units = {
            field.name: field.metadata[b"unit"].decode()
            for field in self._schema
            if field.metadata and b"unit" in field.metadata
        }

    def no_numbers(self, names: Sequence[str]) -> str | None:
        import pyarrow.types as types

        for name in names:
            kind = self._schema.field(name).type
            if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
                return f"{self.path}: column '{name}': its type is {kind}; save it as numbers"
        return None

    def types(self, names: Sequence[str]) -> pa.Schema:
        """The types of the file; categories become their values, which every format can store."""
        import pyarrow as pa

        kinds = [self._schema.field(name).type for name in names]
        plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in kinds]
        return pa.schema(list(zip(names, plain, strict=True)))

    def _pieces(self, types: Types, size: int) -> Iterator[Piece]:
        import pyarrow as pa

        total = self._file.metadata.num_rows
        read = 0
        for batch in self._file.iter_batches(size, columns=list(types)):
            read += batch.num_rows
            columns = [_as(batch[name], kind) for name, kind in types.items()]
            yield pa.table(columns, names=list(types)), read / total


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow.types as types

    if types.is_floating(kind) and types.is_decimal(column.type):
        # Arrow would round it twice when converting to single precision
        return column.cast("float64")
    if types.is_floating(kind) and (
        types.is_integer(column.type) or types.is_floating(column.type)
    ):
        return column
    column = column.cast(kind, safe=False)
    if types.is_string(kind):
        column.validate(full=True)  # fails unless it is UTF-8
    return column


def parquet_sink(
    path: Path, schema: pa.Schema, grid: Grid | None, origin: Mapping[str, str]
) -> pyarrow.parquet.ParquetWriter:
    """Writes rows as Parquet, with units in the columns' metadata and the origin in the file's."""
    import pyarrow.parquet

    return pyarrow.parquet.ParquetWriter(str(path), schema.with_metadata(dict(origin)))
