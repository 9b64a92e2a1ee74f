"""Sources of spectra for prediction, read piece by piece: a folder with a file per spectrum, or a table."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qexp.analysis.prediction import reuse
from qexp.analysis.prediction.carried import TypesOfTexts, column_of
from qexp.datasets.spectra.folders import INFO, KEPT_FOR_VALIDATION, SPECTRA, compare, counts_of, described, files_in
from qexp.datasets.spectra.rows import TEST, TRAIN, Findings, depth_like, depths_of
from qexp.datasets.spectra.tables import NAMES, CountTable, add_troubles
from qexp.did_you_mean import suggestion
from qexp.errors import NotFoundError, QexpError
from qexp.rows.formats import in_equal_chunks

if TYPE_CHECKING:
    import pyarrow as pa

PARTS = (TRAIN, TEST)
BESIDE = (INFO, KEPT_FOR_VALIDATION, "README.md")
"""Files in a folder of spectra that are not spectra."""


@dataclass(frozen=True)
class SpectrumLayout:
    """The form of folders and tables of spectra."""

    channels: int
    columns: str
    """Prefix of the columns of counts, or a variable of NetCDF."""
    core: str
    depth: str | None


@dataclass(frozen=True)
class SpectrumPiece:
    """Consecutive spectra of a source."""

    names: list[str]
    cores: list[str]
    """Empty where unknown."""
    depths: NDArray[np.float64]
    """NaN where unknown."""
    parts: list[str]
    """For each spectrum its folder if that is one of `PARTS`, else empty."""
    kept: pa.Table
    """Further columns, as in the source's `kept`."""
    counts: NDArray[np.float32]
    """(spectrum, channel)"""
    done: float
    """The fraction of the source that has been read."""


class PredictionSource(Protocol):
    """A source of spectra: a folder or a table."""

    identity: Any
    """Identifies the files and their state; changes whenever they change."""
    folders: Sequence[Path]
    """The folders of files with one spectrum each."""
    with_parts: bool
    """Whether the spectra are divided into `train/` and `test/`."""
    warnings: Sequence[str]
    """What a user may have meant otherwise: depths under another name."""
    kept: pa.Schema
    """All columns that describe the spectra except for their names, core and depth included, with units."""

    def pieces(self, size: int) -> Iterator[SpectrumPiece]:
        """All spectra in order, `size` at a time (fewer in the last piece). Raises QexpError for invalid spectra."""


def source_of(path: Path, layout: SpectrumLayout) -> PredictionSource:
    """The spectra of a folder or table. Raises QexpError if there are none."""
    if not path.exists():
        raise NotFoundError(f"{path}: there is no such file or folder")
    return FolderOfSpectra(path, layout) if path.is_dir() else TableOfSpectra(path, layout)


@dataclass(frozen=True)
class _Group:
    """The spectra of one folder."""

    part: str
    folder: Path
    lists: Sequence[Path]
    """info.csv if it is there, and val.csv if it names other spectra."""


class FolderOfSpectra:
    """A folder with a file per spectrum in `spe/`, in `train/spe/` and `test/spe/`, or in the folder itself."""

    def __init__(self, path: Path, layout: SpectrumLayout) -> None:
        self.path, self.layout = path, layout
        self._groups = list(self._found())
        self._count, identities, findings, types = 0, [], Findings(), TypesOfTexts()
        warnings: list[str] = []
        for group in self._groups:
            names = self._names(group)
            self._count += len(names)
            identities.append([group.part, *_listing(group.folder)])
            if group.lists:
                warnings += self._check_lists(group, names, findings, types)
                identities[-1] += map(reuse.identity, group.lists)
        if not self._count:
            shown = ", ".join(str(group.folder) for group in self._groups)
            raise QexpError(f"{path}: no spectra; looked in {shown}")
        findings.refuse()
        self.identity: Any = identities
        self.folders: Sequence[Path] = [group.folder for group in self._groups]
        self.with_parts = any(group.part for group in self._groups)
        self.warnings: Sequence[str] = warnings
        self.kept = types.schema()

    def _found(self) -> Iterator[_Group]:
        parts = [part for part in PARTS if (self.path / part / SPECTRA).is_dir()]
        for part in parts:
            yield self._group(part, self.path / part)
        if not parts:
            yield self._group("", self.path)

    def _group(self, part: str, folder: Path) -> _Group:
        info, kept, inside = folder / INFO, folder / KEPT_FOR_VALIDATION, folder / SPECTRA
        lists = [info] if info.is_file() else []
        if lists and kept.is_file():
            named, others = ({name for name, _ in described(path, Findings())} for path in (info, kept))
            lists += [] if others <= named else [kept]
        return _Group(part, inside if inside.is_dir() else folder, lists)

    def _names(self, group: _Group) -> list[str]:
        return [name for name in files_in(group.folder) if name not in BESIDE]

    def _check_lists(self, group: _Group, files: Sequence[str], findings: Findings, types: TypesOfTexts) -> list[str]:
        """Report rows without a file, files without a row, and a missing column of cores; note types of columns.

        Returns a warning if depths are lost.
        """
        info, names = group.lists[0], dict[str, None]()
        warnings: list[str] = []
        for name, columns in self._listed(group, findings):
            if not names:
                warnings = without_depths(self.layout, columns, info)
            if not names and self.layout.core not in columns:
                near = suggestion(self.layout.core, columns)
                findings.add(f"{info} has no column '{self.layout.core}'; {near}", where=("core",))
            names[name] = None
            types.add(columns)
        compare(group.folder, files, info, names, findings)
        return warnings

    def pieces(self, size: int) -> Iterator[SpectrumPiece]:
        read = 0
        spectra = self._described()
        while some := list(islice(spectra, size)):
            read += len(some)
            yield self._piece(some, read)

    def _described(self) -> Iterator[tuple[_Group, str, dict[str, str]]]:
        """Folder, name and columns of every spectrum."""
        findings = Findings()
        for group in self._groups:
            if not group.lists:
                yield from ((group, name, {}) for name in self._names(group))
            else:
                yield from ((group, name, columns) for name, columns in self._listed(group, findings))
        findings.refuse()

    def _listed(self, group: _Group, findings: Findings) -> Iterator[tuple[str, dict[str, str]]]:
        """Name and columns of the spectra of info.csv, then of those that val.csv alone names."""
        seen = set[str]()
        for path in group.lists:
            for name, columns in described(path, findings):
                if name not in seen:
                    yield name, columns
                seen.add(name)

    def _piece(self, spectra: Sequence[tuple[_Group, str, dict[str, str]]], read: int) -> SpectrumPiece:
        import pyarrow as pa

        findings, layout = Findings(), self.layout
        groups, names, columns = zip(*spectra, strict=True)
        depths = [row.get(layout.depth or "", "") for row in columns]
        place = f"{self.path}: column '{layout.depth}' of {INFO}"
        found = SpectrumPiece(
            list(names),
            [row.get(layout.core, "") for row in columns],
            depths_of(depths, names, place, findings),
            [group.part for group in groups],
            pa.table([column_of([row.get(one.name, "") for row in columns], one.type) for one in self.kept], self.kept),
            counts_of([group.folder / name for group, name, _ in spectra], layout.channels, findings),
            read / self._count,
        )
        findings.refuse()
        return found


class TableOfSpectra:
    """A table with a spectrum per row; see `CountTable`."""

    def __init__(self, path: Path, layout: SpectrumLayout) -> None:
        import pyarrow as pa

        self.path, self.layout = path, layout
        self.identity: Any = reuse.identity(path)
        self.folders: Sequence[Path] = []
        self.with_parts = False
        findings = Findings()
        self._table = CountTable(path, layout.channels, layout.columns)
        self._table.require_channels(findings)
        findings.refuse()
        self.warnings: Sequence[str] = without_depths(layout, self._table.others, path)
        self._named = next((column for column in NAMES if column in self._table.others), None)
        kept = self._table.types(column for column in self._table.others if column != self._named)
        # Cores are read as they are written: "7.50" stays that.
        cores = [one.with_type(pa.string()) if one.name == layout.core else one for one in kept]
        self.kept = pa.schema(cores)

    def pieces(self, size: int) -> Iterator[SpectrumPiece]:
        import pyarrow as pa

        named, core, depth = self._named, self.layout.core, self.layout.depth
        wanted = [column for column in (named, core, depth) if column is not None and column in self._table.others]
        kept = pa.schema([*([(named, pa.string())] if named else []), *self.kept])
        first = 0
        for chunk in in_equal_chunks(self._table.chunks(kept, size), size):
            findings, count = Findings(), len(chunk.features)
            add_troubles(chunk.features, self.path, first, findings)
            texts = {name: _as_texts(chunk.kept[name]) for name in wanted}
            names = texts[named] if named else [str(first + row + 1) for row in range(count)]
            depths = depths_of(texts.get(depth or "", [""] * count), names, f"{self.path}: column '{depth}'", findings)
            findings.refuse()
            beside = chunk.kept.select(self.kept.names)
            cores, no_parts = texts.get(core, [""] * count), [""] * count
            yield SpectrumPiece(names, cores, depths, no_parts, beside, chunk.features, chunk.done)
            first += count


def without_depths(layout: SpectrumLayout, columns: Collection[str], listed: Path) -> list[str]:
    """A warning if a list has no column of the run's name for depths, but others that look like one."""
    near = depth_like(columns)
    if layout.depth is None or layout.depth in columns or not near:
        return []
    return [
        f"{listed} has no column '{layout.depth}', which holds the depth in the run's dataset: depths are left empty; "
        f"rename {near} if it is that depth"
    ]


def _as_texts(column: pa.ChunkedArray) -> list[str]:
    """The values as texts without surrounding spaces; empty where they are missing."""
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]


def _listing(folder: Path) -> list[Any]:
    """The state of a folder: the number of files, and a sum of hashes of names, sizes and times."""
    count = total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file() and not entry.name.startswith("."):
                state = entry.stat()
                said = f"{entry.name}/{state.st_size}/{state.st_mtime_ns}"
                # A sum does not depend on the order, so that no list of all files is needed.
                total += int.from_bytes(hashlib.sha256(said.encode()).digest()[:16])
                count += 1
    return [count, f"{total % 2**128:032x}"]
