"""Zarr stores, opened only if their types and codecs are known to decode plain values."""

from __future__ import annotations

import json
import math
import re
import stat
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.base import files, formats
from qexp.errors import DamagedError, MissingExtraError, extra
from qexp.rows.arrays import DAMAGED
from qexp.rows.table import TableError

if TYPE_CHECKING:
    import xarray

LEAST_VERSIONS = {"zarr": "3.1.6", "numcodecs": "0.16.6"}

LARGEST_DESCRIPTION = 2**24
"""Bytes of a file that describes an array: `.zarray` of version 2, `zarr.json` of version 3."""

TYPES = re.compile(
    r"[<>|]?[biufSU]\d+|[<>]?[mM]8(\[\w+\])?|\|O"
    r"|bool|u?int\d+|float\d+|string|(numpy\.)?(fixed_length_utf32|null_terminated_bytes|(datetime|timedelta)64)"
)
"""Numbers, times and texts."""

TEXTS = "vlen-utf8"
"""The codec without which objects (`|O`) may be anything."""

CODECS = {
    "adler32", "astype", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta",
    "fixedscaleoffset", "fletcher32", "gzip", "lz4", "lzma", "packbits", "quantize",
    "sharding_indexed", "shuffle", "transpose", "zlib", "zstd", TEXTS,
}  # fmt: skip
"""Those that turn bytes into numbers and texts, and do nothing else."""


def open_store(path: Path) -> xarray.Dataset:
    """Open a store, version 2 or 3. Raises MissingExtraError, TableError if it cannot be read."""
    with extra("zarr"):
        import xarray
        import zarr  # noqa: F401 - xarray's own error names no extra
    for library, least in LEAST_VERSIONS.items():
        if _numbers(metadata.version(library)) < _numbers(least):
            raise MissingExtraError(
                f"{path}: this needs a newer {library}: pip install '{library}>={least}'"
            )
    try:
        for file in path.rglob("*"):
            mode = file.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise TableError(
                    f"{file} is a link or no plain file; copy what it stands for into the store"
                )
            if file.name in (".zarray", "zarr.json"):
                _require_known(file)
        # Consolidated copies of the descriptions are not read.
        data = xarray.open_dataset(
            path, engine="zarr", decode_cf=False, consolidated=False, cache=False
        )
        # the value of chunks without a file, which zarr itself sets to 0
        for variable in data.variables.values():
            if variable.attrs.get("_FillValue") == 0:
                del variable.attrs["_FillValue"]
        return xarray.decode_cf(data, decode_times=False, decode_timedelta=False)
    except (*DAMAGED, DamagedError) as error:
        raise TableError(f"{path} cannot be read as Zarr: {error}") from None


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _require_known(file: Path) -> None:
    """Raise TableError for an array whose type or codecs are not known here."""
    document = json.loads(files.read_bytes(file, LARGEST_DESCRIPTION))
    if not isinstance(document, dict) or document.get("node_type") == "group":
        return
    steps = ("filters", "compressor", "codecs", "storage_transformers")
    codecs = {*_codecs([document.get(key) for key in steps])}
    unknown = sorted(codecs - CODECS)
    if unknown:
        raise TableError(
            f"{file}: codec '{unknown[0]}' is not decoded here; known: {', '.join(sorted(CODECS))}"
        )
    declared = document.get("dtype", document.get("data_type"))
    kind = declared.get("name") if isinstance(declared, dict) else declared
    known = isinstance(kind, str) and TYPES.fullmatch(kind)
    if not known or (kind == "|O" and TEXTS not in codecs):
        raise TableError(
            f"{file}: values of the type {kind} are not decoded here; save numbers, or texts as"
            f" {TEXTS}"
        )
    grid = document.get("chunk_grid", {}).get("configuration", {})
    shape = grid.get("chunk_shape", document.get("chunks"))
    width = re.search(r"[SU](\d+)|length_bytes\D+(\d+)", json.dumps(declared))
    size = math.prod(shape) * (4 * int(width[1] or width[2]) if width else 8)
    folder = file.parent
    formats.require_bounded(
        str(folder), size, lambda: sum(path.stat().st_size for path in folder.rglob("*"))
    )


def _codecs(steps: Any) -> Iterator[str]:
    """The names of codecs, also of those inside others."""
    if isinstance(steps, str):
        yield steps.removeprefix("numcodecs.")
    elif isinstance(steps, list):
        for step in steps:
            yield from _codecs(step)
    elif isinstance(steps, dict):
        inner = steps.get("configuration")
        others = inner.values() if isinstance(inner, dict) else []
        nested = [value for value in others if not isinstance(value, str)]
        yield from _codecs([steps.get("id"), steps.get("name"), *nested])
