"""Documents and lines of JSON, CSV and NetCDF files: errors name the file, writing is atomic."""

from __future__ import annotations

import csv
import io
import json
import lzma
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

from qexp.base.files import in_bytes, read_bytes, write_bytes
from qexp.base.text import number_in
from qexp.errors import DamagedError

if TYPE_CHECKING:
    import h5py
    import xarray


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Replace a CSV file in one step."""
    write_bytes(path, csv_text(columns, rows).encode())


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A header line, then a line for each row; None is an empty cell, and no cell is a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in (columns, *rows):
        writer.writerow(map(_no_formula, row))
    return text.getvalue()


def read_csv(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file, each with its cells by column."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _no_formula(cell: Any) -> Any:
    """A text that a spreadsheet would evaluate as a formula, escaped with an apostrophe."""
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    return cell if number_in(cell) is not None else f"'{cell}"


def write_json(path: Path, document: Any) -> None:
    """Replace a JSON file in one step. NaN and infinity become null, listed under `not_finite`."""
    write_bytes(path, json_bytes(document))


def json_bytes(document: Any) -> bytes:
    import orjson

    form = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
    return orjson.dumps(with_marks(document), option=form)


def with_marks(document: Any) -> Any:
    """The document with null for NaN and infinity, and a list of their places as `not_finite`."""
    with suppress(ValueError):
        # quicker than a look at each number from here
        json.dumps(document, allow_nan=False, default=str)
        return document
    marks: dict[str, str] = {}

    def cleaned(value: Any, path: str) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            marks[path] = str(value)
            return None
        if isinstance(value, dict):
            parent = f"{path}." if path else ""
            return {key: cleaned(item, f"{parent}{key}") for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [cleaned(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return value

    clean = cleaned(document, "")
    return {**clean, "not_finite": marks} if marks and isinstance(clean, dict) else clean


DEEPEST_JSON = 100
"""The largest depth of nested objects and lists in a JSON file that is read."""


def read_json(path: Path) -> Any:
    """Read a file of `write_json`. Raises FileNotFoundError, DamagedError if it is not JSON."""
    import orjson

    content = read_bytes(path)
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    if _too_deep(document):
        raise DamagedError(
            f"{path} cannot be read: it is nested more than {DEEPEST_JSON} levels deep"
        )
    return document


def object_in(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty without one, and if the file cannot be read."""
    with suppress(FileNotFoundError, DamagedError):
        document = read_json(path)
        return document if isinstance(document, dict) else {}
    return {}


def _too_deep(document: Any) -> bool:
    level = [document]
    for _ in range(DEEPEST_JSON):
        items: list[Any] = []
        for value in level:
            if isinstance(value, dict | list):
                items += value.values() if isinstance(value, dict) else value
        level = items
        if not level:
            return False
    return True


BROKEN_NETCDF = (
    OSError, ValueError, TypeError, LookupError, RuntimeError, AttributeError, ArithmeticError,
    AssertionError, MemoryError, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""Errors that h5py, h5netcdf, scipy, zarr and xarray raise for damaged files."""


BROKEN_NUMPY = (OSError, ValueError, EOFError, SyntaxError, TokenError)
"""Errors that numpy raises for damaged npy files."""


def require_own_numbers(file: h5py.File) -> None:
    """Raise OSError if an open file takes numbers from others, of which its hash knows nothing."""
    import h5py

    links: list[tuple[str, Any]] = []
    try:
        file.visititems_links(lambda *link: links.append(link))
    except (TypeError, SystemError):
        raise OSError("it has links of an unknown kind") from None
    for name, link in links:
        there: Any = file[name] if isinstance(link, h5py.HardLink) else None
        # groups have neither
        numbers = getattr(there, "is_virtual", False) or getattr(there, "external", None)
        if numbers or isinstance(link, h5py.ExternalLink):
            raise OSError(
                f"'{name}' is in another file, which is not followed; copy its numbers into"
                " this one"
            )
        chunk = getattr(there, "chunks", None)
        if chunk:
            size = math.prod(chunk) * there.dtype.itemsize
            require_bounded(name, size, there.id.get_storage_size)


LARGEST_CHUNK, MOST_INFLATED = 2**28, 200
"""Bytes of a chunk, and multiples of its array's bytes in the file, that are decoded."""


def require_bounded(name: str, size: int, stored: Callable[[], int]) -> None:
    """Raise OSError for an array whose chunks are far larger in memory than in the file.

    size    of a chunk by what the file declares [bytes]
    stored  returns that of the array in the file
    """
    if size > LARGEST_CHUNK and size > MOST_INFLATED * stored():
        there = f"{in_bytes(size)}, but there are {in_bytes(stored())} of it"
        raise OSError(f"each chunk of '{name}' has {there}; save it in smaller chunks")


def require_hdf5(path: Path) -> None:
    """Raise DamagedError if an existing HDF5 or NetCDF 4 file cannot be read, or is empty."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            require_own_numbers(file)
            count = len([dict(part.attrs) for part in file.values()])
    except BROKEN_NETCDF as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error
    if not count:
        raise DamagedError(f"{path} cannot be read: it is empty")


def read_netcdf(path: Path) -> xarray.Dataset:
    """A whole NetCDF 4 file that qexp wrote. Raises FileNotFoundError or DamagedError.

    Units such as "days" are left as they are: here they are units of an output, not of a date.
    """
    import xarray

    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}")
    require_hdf5(path)  # h5netcdf prints a traceback beside its error
    try:
        return xarray.load_dataset(
            path, engine="h5netcdf", decode_times=False, decode_timedelta=False
        )
    except BROKEN_NETCDF as error:
        raise DamagedError(f"{path} cannot be read: {error}") from error


def write_netcdf(
    path: Path, table: xarray.Dataset, encoding: Mapping[str, Any] | None = None
) -> None:
    """Replace a NetCDF file in one step.

    encoding  variable → how it is stored, as xarray takes it
    """
    write_bytes(path, bytes(table.to_netcdf(engine="h5netcdf", encoding=encoding)))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a file, none if it is missing; torn ones (interrupted) are left out."""
    with suppress(FileNotFoundError):
        for line in read_bytes(path).splitlines(keepends=True):
            document = whole_line(line)
            if document is not None:
                yield document


def whole_line(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line; None if the line is torn (without its end) or no JSON object."""
    import orjson

    if not line.endswith(b"\n"):
        return None
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) and not _too_deep(document) else None


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file of JSON lines."""
    write_bytes(path, b"".join(map(line_bytes, lines)))


def line_bytes(document: Mapping[str, Any]) -> bytes:
    """A JSON line; NaN and infinity become null, listed under `not_finite`."""
    try:
        text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(with_marks(document), separators=(",", ":"))
    return f"{text}\n".encode()
