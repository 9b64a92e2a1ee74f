"""Spectra to estimate, piece by piece: from a folder with a file for each, or from one table."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.prediction import reuse
from qexp.datasets.spectra.counts import SpectrumError, read_counts, trouble_with
from qexp.datasets.spectra.folders import INFO, KEPT_FOR_VALIDATION, SPECTRA
from qexp.datasets.spectra.rows import TEST, TRAIN
from qexp.datasets.spectra.tables import NAMES
from qexp.datasets.table_files import SHOWN
from qexp.errors import NotFoundError, QexpError
from qexp.rows.formats import open_rows
from qexp.tables import nearest

if TYPE_CHECKING:
    import pyarrow as pa

PARTS = (TRAIN, TEST)
BESIDE = (INFO, KEPT_FOR_VALIDATION, "README.md")
"""Files in a folder of spectra that are none."""

LONGEST = 300
"""Characters of a mistake that are shown."""


@dataclass(frozen=True)
class Layout:
    """How spectra lie in folders and tables."""

    channels: int
    columns: str
    """What the columns of counts are called before their number, or a variable of NetCDF."""
    core: str
    depth: str | None


@dataclass(frozen=True)
class Spectra:
    """Some spectra, in their order."""

    names: list[str]
    cores: list[str]
    """Empty where not known."""
    depths: NDArray[np.float64]
    """NaN where not known."""
    parts: list[str]
    """The folder that each lies in, of those in `PARTS`; empty for others."""
    counts: NDArray[np.float32]
    """(spectrum, channel)"""
    done: float
    """The share that has been read with them."""


class Source(Protocol):
    """Spectra that were found."""

    identity: Any
    """What tells them from others, and from what they were before they were changed."""
    folders: Sequence[Path]
    """Where each has a file of its own."""
    with_parts: bool
    """Whether they lie in `train/` and `test/`."""

    def pieces(self, size: int) -> Iterator[Spectra]:
        """All in order, so many at a time, the last ones fewer. Raises QexpError for what is no spectrum."""


def source_of(path: Path, layout: Layout) -> Source:
    """The spectra of a folder or table. Raises QexpError where there are none."""
    if not path.exists():
        raise NotFoundError(f"{path}: there is no such file or folder")
    return SpectrumFolder(path, layout) if path.is_dir() else SpectrumTable(path, layout)


@dataclass(frozen=True)
class _Group:
    """Spectra that lie in one folder."""

    part: str
    folder: Path
    info: Path | None


class SpectrumFolder:
    """A file for each spectrum: in `spe/`, in `train/spe/` and `test/spe/`, or in the folder itself."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self._groups = list(self._found())
        self._count = 0
        identities = []
        for group in self._groups:
            names = self._names(group)
            self._count += len(names)
            identities.append([group.part, *_listing(group.folder)])
            if group.info is not None:
                self._require_info(group, names)
                identities[-1].append(reuse.identity(group.info))
        if not self._count:
            shown = ", ".join(str(group.folder) for group in self._groups)
            raise QexpError(f"{path}: no spectra; looked in {shown}")
        self.identity: Any = identities
        self.folders: Sequence[Path] = [group.folder for group in self._groups]
        self.with_parts = any(group.part for group in self._groups)

    def _found(self) -> Iterator[_Group]:
        parts = [part for part in PARTS if (self.path / part / SPECTRA).is_dir()]
        for part in parts:
            yield self._group(part, self.path / part)
        if not parts:
            yield self._group("", self.path)

    def _group(self, part: str, folder: Path) -> _Group:
        info = folder / INFO
        inside = folder / SPECTRA
        return _Group(part, inside if inside.is_dir() else folder, info if info.is_file() else None)

    def _names(self, group: _Group) -> list[str]:
        with os.scandir(group.folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and entry.name not in BESIDE and entry.is_file()
            )

    def _require_info(self, group: _Group, names: Sequence[str]) -> None:
        """Every row has its file, every file its row."""
        assert group.info is not None
        there, told = set(names), set[str]()
        missing = []
        for line, (name, _) in enumerate(_rows_of(group.info, self.layout), 2):
            if name in told:
                raise QexpError(f"{group.info}: row {line}: '{name}' is there twice")
            told.add(name)
            if name not in there:
                missing.append(name)
        mistakes = [f"{group.folder / name}: there is no such file, but {group.info} names it" for name in missing]
        mistakes += [f"{group.folder / name}: {group.info} has no row for it" for name in names if name not in told]
        if mistakes:
            raise QexpError(_listed(mistakes))

    def pieces(self, size: int) -> Iterator[Spectra]:
        read = 0
        waiting: list[tuple[str, str, float, str, Path]] = []
        for group in self._groups:
            for name, core, depth in self._described(group):
                waiting.append((name, core, depth, group.part, group.folder / name))
                if len(waiting) == size:
                    read += size
                    yield self._piece(waiting, read)
                    waiting = []
        if waiting:
            yield self._piece(waiting, self._count)

    def _described(self, group: _Group) -> Iterator[tuple[str, str, float]]:
        if group.info is None:
            for name in self._names(group):
                yield name, "", np.nan
            return
        layout = self.layout
        for line, (name, row) in enumerate(_rows_of(group.info, layout), 2):
            told = (row.get(layout.depth) or "").strip() if layout.depth else ""
            try:
                depth = float(told) if told else np.nan
            except ValueError:
                raise QexpError(
                    f"{group.info}: row {line}, column '{layout.depth}': '{told}' is not a number"
                ) from None
            yield name, (row.get(layout.core) or "").strip(), depth

    def _piece(self, files: Sequence[tuple[str, str, float, str, Path]], read: int) -> Spectra:
        counts = np.empty((len(files), self.layout.channels), dtype=np.float32)
        mistakes = []
        for index, (*_, path) in enumerate(files):
            try:
                counts[index] = read_counts(path, self.layout.channels)
            except SpectrumError as mistake:
                mistakes.append(str(mistake))
        if mistakes:
            raise QexpError(_listed(mistakes))
        names, cores, depths, parts, _ = zip(*files, strict=True)
        return Spectra(list(names), list(cores), np.array(depths), list(parts), counts, read / self._count)


class SpectrumTable:
    """A table with a spectrum per row: a column for each channel, or one variable of NetCDF along two dimensions."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path, self.layout = path, layout
        self.identity: Any = reuse.identity(path)
        self.folders: Sequence[Path] = []
        self.with_parts = False
        self._chunks: _Columns | _Image = _Image(path, layout) if _is_image(path, layout) else self._opened()

    def _opened(self) -> _Columns:
        try:
            return _Columns(self.path, self.layout)
        except QexpError as mistake:
            # What lacks a column for a channel lacks one for most of them.
            lines = [f"{line[:LONGEST]} …" if len(line) > LONGEST else line for line in str(mistake).splitlines()]
            raise QexpError(_listed(lines)) from None

    def pieces(self, size: int) -> Iterator[Spectra]:
        first = 0
        for kept, counts, done in _regrouped(self._chunks.chunks(size), size):
            self._require_counts(counts, first)
            yield self._piece(kept, counts, first, done)
            first += len(counts)

    def _require_counts(self, counts: NDArray[np.float32], first: int) -> None:
        if (np.isfinite(counts) & (counts >= 0)).all():
            return
        troubles = {first + row + 1: trouble_with(of_row) for row, of_row in enumerate(counts)}
        raise QexpError(_listed([f"{self.path}: row {row}: {said}" for row, said in troubles.items() if said]))

    def _piece(self, kept: pa.Table, counts: NDArray[np.float32], first: int, done: float) -> Spectra:
        import pyarrow as pa

        def texts(column: str) -> list[str]:
            return [text or "" for text in kept[column].cast(pa.string()).to_pylist()]

        named = next((column for column in NAMES if column in kept.column_names), None)
        names = texts(named) if named else [str(first + index + 1) for index in range(len(counts))]
        core, depth = self.layout.core, self.layout.depth
        cores = texts(core) if core in kept.column_names else [""] * len(counts)
        depths = np.full(len(counts), np.nan)
        if depth in kept.column_names:
            try:
                depths = np.array(kept[depth].cast(pa.float64()).to_numpy(), dtype=np.float64)
            except pa.ArrowInvalid as error:
                raise QexpError(f"{self.path}, column '{depth}': {error}") from error
        return Spectra(names, cores, depths, [""] * len(counts), counts, done)


class _Columns:
    """A table with a column for each channel."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._rows = open_rows(path, [f"{layout.columns}{channel}" for channel in range(layout.channels)])
        if f"{layout.columns}{layout.channels}" in self._rows.kept.names:
            raise QexpError(
                f"{path} has a column '{layout.columns}{layout.channels}', "
                f"but the run was trained on spectra of {layout.channels} channels"
            )

    def chunks(self, size: int) -> Iterator[tuple[pa.Table, NDArray[np.float32], float]]:
        for chunk in self._rows.chunks(size):
            yield chunk.kept, chunk.features, chunk.done


class _Image:
    """NetCDF with all spectra in one variable."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self._data = _netcdf(path)
        self._name = layout.columns
        self._along, across = map(str, self._data[self._name].dims)
        if self._data.sizes[across] != layout.channels:
            raise QexpError(
                f"{path}, variable '{self._name}': {self._data.sizes[across]} channels along '{across}', "
                f"but the run was trained on spectra of {layout.channels}"
            )
        self._kept = [str(name) for name, one in self._data.variables.items() if one.dims == (self._along,)]

    def chunks(self, size: int) -> Iterator[tuple[pa.Table, NDArray[np.float32], float]]:
        import pyarrow as pa

        total = int(self._data.sizes[self._along])
        for start in range(0, total, size):
            piece = self._data.isel({self._along: slice(start, start + size)})
            kept = {name: pa.array(np.asarray(piece[name].values)) for name in self._kept}
            counts = piece[self._name].values.astype(np.float32)
            yield pa.table(kept), counts, min((start + size) / total, 1.0)


def _is_image(path: Path, layout: Layout) -> bool:
    if path.suffix.lower() != ".nc" or not path.stat().st_size:
        return False
    data = _netcdf(path)
    return layout.columns in data.variables and data[layout.columns].ndim == 2


def _netcdf(path: Path) -> Any:
    import xarray

    try:
        return xarray.open_dataset(path, engine="h5netcdf", decode_times=False, cache=False)
    except (OSError, ValueError) as error:
        raise QexpError(f"{path}: cannot be read as NetCDF 4: {error}") from error


def _regrouped(
    chunks: Iterator[tuple[pa.Table, NDArray[np.float32], float]], size: int
) -> Iterator[tuple[pa.Table, NDArray[np.float32], float]]:
    """The same rows, exactly so many at a time: estimates are rounded by what they are computed together with."""
    import pyarrow as pa

    tables: list[pa.Table] = []
    counts: list[NDArray[np.float32]] = []
    waiting, done = 0, 0.0
    for kept, features, done in chunks:
        tables.append(kept)
        counts.append(np.ascontiguousarray(features))
        waiting += len(features)
        while waiting >= size:
            table, matrix = pa.concat_tables(tables), np.concatenate(counts)
            yield table.slice(0, size), matrix[:size], done
            tables, counts, waiting = [table.slice(size)], [matrix[size:]], waiting - size
    if waiting:
        yield pa.concat_tables(tables), np.concatenate(counts), done


def _rows_of(info: Path, layout: Layout) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Name and columns of every row; the first column is the name."""
    try:
        with info.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            if not columns:
                raise QexpError(f"{info}: the file is empty")
            if layout.core not in columns:
                guess = nearest(layout.core, columns)
                raise QexpError(f"{info}: no column '{layout.core}'" + (f"; is it '{guess}'?" if guess else ""))
            for row in reader:
                yield row[columns[0]].strip(), row
    except (UnicodeDecodeError, csv.Error) as error:
        raise QexpError(f"{info} cannot be read as CSV in UTF-8: {error}") from error


def _listing(folder: Path) -> list[Any]:
    """What tells the files of a folder from changed ones: their number, and a sum of hashes of names, sizes, times."""
    count = total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file() and not entry.name.startswith("."):
                state = entry.stat()
                said = f"{entry.name}/{state.st_size}/{state.st_mtime_ns}"
                # A sum needs no order, and so no list of all that there is.
                total += int.from_bytes(hashlib.sha256(said.encode()).digest()[:16])
                count += 1
    return [count, f"{total % 2**128:032x}"]


def _listed(mistakes: Sequence[str]) -> str:
    more = len(mistakes) - SHOWN
    return "\n".join([*mistakes[:SHOWN], *([f"and {more:,} more"] if more > 0 else [])])
