"""Sources of spectra: published folders with a file for each, or a table with a row for each."""

from __future__ import annotations

import hashlib
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.base.arrays import Mask
from qexp.base.outputs import Classes
from qexp.errors import some, suggestion
from qexp.kinds.classes import are_names, undeclared, unknown_names
from qexp.kinds.files import as_finding
from qexp.kinds.spectra.files import (
    Findings,
    SpectrumReader,
    column_of,
    files_in,
    finite_number,
    lines_of,
    read_info,
    read_targets,
    state_of,
    states_of,
    texts_of,
    trouble_with,
)
from qexp.rows.array_cache import Array, content_hash
from qexp.rows.formats import Chunk, Rows, in_equal_chunks, open_table
from qexp.rows.table import Table, TableError, number
from qexp.spec.reading import Document

if TYPE_CHECKING:
    import pyarrow as pa

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)

BLOCK = 512
"""Spectra read at a time."""

ERROR, DROP = "error", "drop"
"""What to do with spectra whose target is missing."""


@dataclass(frozen=True)
class SpectrumLayout:
    """The form of folders and tables of spectra, and the `energy` of the dataset."""

    channels: int
    columns: str
    """Prefix of the columns of counts, or a variable of NetCDF."""
    core: str
    depth: str | None
    energy: Sequence[float] | None = None


def layout_of(dataset: Document) -> SpectrumLayout:
    names = ("columns", "core", "depth", "energy")
    return SpectrumLayout(int(dataset["channels"]), *(dataset[name] for name in names))


@dataclass(frozen=True)
class SpectrumRows:
    """Names, parts and metadata of all spectra as texts, in the order of the rows."""

    names: list[str]
    parts: list[str]
    columns: dict[str, list[str]]
    targets: list[float] | None

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class SpectrumPiece:
    """Consecutive spectra of a source."""

    names: list[str]
    parts: list[str]
    """Of each spectrum; empty where the source has none."""
    kept: pa.Table
    """Further columns, by the source's `schema`."""
    counts: Array
    """(spectrum, channel)"""
    done: float
    """The fraction of the source that has been read."""

    def texts(self, column: str | None) -> list[str]:
        """The cells of a column without outer spaces, empty where there is nothing."""
        there = column in self.kept.column_names
        return texts_of(self.kept[column]) if there else [""] * len(self.names)


@dataclass
class SpectrumSource(ABC):
    """Spectra in files, for training, which keeps them in the cache, and for prediction.

    target   name of the number that training estimates; None: none
    missing  what training does with spectra without it, `ERROR` or `DROP`
    minimum  less of it counts as missing
    classes  whose names it has; None for a number
    """

    path: Path
    layout: SpectrumLayout
    target: str | None = None
    missing: str = ERROR
    minimum: float = -math.inf
    classes: Classes | None = field(default=None, kw_only=True)

    @cached_property
    def reader(self) -> SpectrumReader:
        return SpectrumReader(self.layout.channels, self.layout.energy)

    @property
    def place(self) -> str:
        """Where columns are, for messages."""
        return str(self.path)

    @abstractmethod
    def state(self) -> list[Any]:
        """What changes when any of the files changes; found without reading all of them."""

    @abstractmethod
    def rows(self) -> tuple[SpectrumRows, list[str], int]:
        """The spectra for training, remarks on others, and their number. Raises DatasetError."""

    @abstractmethod
    def counts(self, rows: SpectrumRows) -> Iterator[Array]:
        """Spectra in blocks, (row, channels). Raises DatasetError, after the last of them."""

    @property
    def parts(self) -> Sequence[Part]:
        """The folders of a folder of spectra. Raises DatasetError."""
        return ()

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """All columns that describe the spectra but their names. Raises DatasetError."""

    @abstractmethod
    def pieces(self, size: int, findings: Findings) -> Iterator[SpectrumPiece]:
        """All spectra in order, `size` at a time, and problems with their counts."""

    def depths(
        self, texts: Sequence[str], names: Sequence[str], findings: Findings
    ) -> NDArray[np.float64]:
        """Depths of spectra as numbers, NaN where none is known."""
        numbers = [number(text) for text in texts]
        for name, text, depth in zip(names, texts, numbers, strict=True):
            if depth is None:
                findings.add(
                    f"{self.place}, column '{self.layout.depth}', has cells that are not numbers",
                    f"'{text[:20]}' of {name}",
                    ("depth",),
                )
        return np.array(numbers, dtype=np.float64)

    def _targets(
        self, texts: Sequence[str], labels: Sequence[str], kinds: Sequence[str], findings: Findings
    ) -> list[float]:
        """Numbers, or codes of classes, NaN where there is none; others are findings of these
        kinds.
        """
        names = np.array(texts, np.str_)
        if self.classes is not None:
            labelled = np.array(labels, dtype=object)
            found = unknown_names(self.classes, names, lambda rows: some(labelled[rows].tolist()))
            for where, words in found:
                findings.add(words, where=where)
            findings.refuse()  # they are not missing
            return list(self.classes.codes(names))
        if are_names(names):
            words = undeclared(str(self.target), names)
            findings.add(f"{self.path}: '{self.target}' is {words}", where=("target",))
            return [math.inf] * len(texts)
        every = zip(texts, kinds, labels, strict=True)
        return [finite_number(text, kind, label, findings) for text, kind, label in every]

    def _labelled(
        self,
        targets: Sequence[float],
        labels: Sequence[str],
        origins: Sequence[str],
        findings: Findings,
    ) -> tuple[list[int], list[str]]:
        """The rows with a target, and a remark on the others, which are findings if `missing` is
        `ERROR`.

        labels, origins  what spectra are called, and where their targets come from
        """
        used = [row for row, value in enumerate(targets) if value >= self.minimum]
        left_out = sorted({*range(len(targets))} - {*used})
        if not left_out:
            return used, []
        least = "" if self.minimum == -math.inf else f" of at least {self.minimum:g}"
        one, several = ("number", "numbers") if self.classes is None else ("class", "classes")
        if self.missing == ERROR:
            for row in left_out:
                lack = f"{origins[row]} lacks the {several}{least} of spectra"
                findings.add(
                    f'{lack}, which "missing": "drop" would leave out', labels[row], ("target",)
                )
        elif not used:
            findings.add(
                f"{self.path}: no spectrum has a {one}{least} for '{self.target}'",
                where=("target",),
            )
        names = some([labels[row] for row in left_out])
        return used, [
            (
                f"{len(left_out):,} of {len(targets):,} spectra are left out, because they have no"
                f" {one}{least} for '{self.target}': {names}"
            )
        ]


# Spectra in folders: a file for each, and lists that describe them.


SPECTRA, TARGETS, INFO, VALIDATION_INFO = "spe", "target", "info.csv", "val.csv"

BESIDE = (INFO, VALIDATION_INFO, "README.md")
"""Files in a folder of spectra that are not spectra."""

UNDIVIDED = ""
"""The only part of a folder that is not divided into train/ and test/."""


@dataclass(frozen=True)
class Part:
    """The spectra of train/, test/ or a folder that is not divided.

    name        `TRAIN`, `TEST` or `UNDIVIDED`
    folder      that holds their files
    lists       files that name them: info.csv, and val.csv if it names others; none without these
    cells       spectrum → column → text, in the order of the lists, or else by name
    validation  spectra that val.csv names
    """

    name: str
    folder: Path
    lists: Sequence[Path]
    cells: Mapping[str, Mapping[str, str]]
    validation: Collection[str] = ()

    @property
    def columns(self) -> Collection[str]:
        """Those of the list."""
        return next(iter(self.cells.values()), {})

    def part_of(self, name: str) -> str:
        """The part of the dataset that a spectrum belongs to."""
        if self.name != TRAIN:
            return TEST
        return VALIDATION if name in self.validation else TRAIN


@dataclass
class FolderOfSpectra(SpectrumSource):
    """A folder with a file per spectrum: `spe/` in it, or in its `train/` and `test/`, or itself.

    target  see `SpectrumSource`: what target/, or a folder of this name in it, holds
    names   of its parts: `TRAIN`, and `TEST` if it is there; or `UNDIVIDED`
    lists   part → the file that lists its spectra, if not info.csv, or val.csv for validation;
            None: no validation
    """

    names: Sequence[str] = (UNDIVIDED,)
    lists: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """`cores: info.csv`, or `cores: info_500.csv or info.csv`."""
        names = dict.fromkeys(self._info(part).name for part in self.names)
        return f"{self.path}: {' or '.join(names)}"

    def state(self) -> list[Any]:
        """Path, size and time of change of every file: what changes when any of them changes."""
        digest = hashlib.sha256()
        for name in self.names:
            targets = [] if self.target is None else [self._folder_of_targets(name)]
            for folder in (self._folder(name), *targets):
                lines = [str(folder.relative_to(self.path)), *states_of(folder)]
                digest.update(os.fsencode("\n".join(lines)))
            for listing in (self._info(name), self._validation(name)):
                if listing.is_file():
                    digest.update(state_of(listing.name, listing.stat()).encode())
        alone = ["alone"] if UNDIVIDED in self.names else []
        keys = [self.target, self.layout.channels, self.lists, self.missing, *alone]
        return [str(self.path.absolute()), *keys, digest.hexdigest()]

    def require(self) -> None:
        """Raises DatasetError if a folder or list is missing that training needs."""
        findings = Findings()
        if UNDIVIDED not in self.names and not (self.path / TRAIN).is_dir():
            findings.add(f"{self.path} has no folder {TRAIN}/{self._where_train_is()}")
            findings.refuse()
        needed = {SPECTRA: ("path", "the spectra, a file for each")}
        if self.target is not None:
            needed[TARGETS] = "target", "the number of every spectrum"
        for name in self.names:
            part = self.path / name
            for folder, (key, what) in needed.items():
                if not (part / folder).is_dir():
                    findings.add(
                        f"{part} has no folder {folder}/, which holds {what}", where=(key,)
                    )
            info = self._info(name)
            if not info.is_file():
                findings.add(
                    f"{part} has no {info.name}, which lists the spectra and names their cores"
                )
        listing = self._validation(TRAIN)
        if self.lists.get(VALIDATION) and not listing.is_file():
            findings.add(f"{listing.parent} has no {listing.name}", where=("lists", VALIDATION))
        findings.refuse()

    def rows(self) -> tuple[SpectrumRows, list[str], int]:
        findings = Findings()
        spectra = list[tuple[Part, str]]()
        texts = list[str]()
        origins = list[str]()
        for part in [self._part(name, findings) for name in self.names]:
            spectra += [(part, name) for name in part.cells]
            if self.target is not None:
                folder = self._folder_of_targets(part.name)
                texts += read_targets(folder, part.cells)
                origins += [str(folder)] * len(part.cells)
        count, remarks = len(spectra), list[str]()
        if self.target is not None:
            labels = [name for _, name in spectra]
            kinds = [f"{origin} has files that are not one finite number" for origin in origins]
            targets = self._targets(texts, labels, kinds, findings)
            used, remarks = self._labelled(targets, labels, origins, findings)
            spectra, targets = picked(spectra, used), picked(targets, used)
        findings.refuse()
        columns = columns_of([part.cells[name] for part, name in spectra])
        names = [name for _, name in spectra]
        parts = [part.part_of(name) for part, name in spectra]
        known = None if self.target is None else targets
        return SpectrumRows(names, parts, columns, known), remarks, count - len(spectra)

    def counts(self, rows: SpectrumRows) -> Iterator[Array]:
        findings = Findings()
        trained, tested = self._folder(self.names[0]), self._folder(self.names[-1])
        pairs = zip(rows.names, rows.parts, strict=True)
        paths = [(tested if part == TEST else trained) / name for name, part in pairs]
        for start in range(0, len(paths), BLOCK):
            yield self.reader.counts_of(paths[start : start + BLOCK], findings)
        findings.refuse()

    @cached_property
    def parts(self) -> list[Part]:
        findings = Findings()
        parts = [self._part(name, findings) for name in self.names]
        core = self.layout.core
        for part in parts:
            if part.lists and core not in part.columns:
                findings.add(
                    f"{part.lists[0]} has no column '{core}'; {suggestion(core, part.columns)}",
                    where=("core",),
                )
        findings.refuse()
        return parts

    @cached_property
    def _kept(self) -> pa.Table:
        import pyarrow as pa

        columns = columns_of([cells for part in self.parts for cells in part.cells.values()])
        # Cores are read as they are written: "7.50" stays that.
        core = self.layout.core
        typed = {name: column_of(texts) for name, texts in columns.items() if name != core}
        return pa.table({name: typed.get(name, columns[name]) for name in columns})

    @property
    def schema(self) -> pa.Schema:
        return self._kept.schema

    def pieces(self, size: int, findings: Findings) -> Iterator[SpectrumPiece]:
        spectra = [(part, name) for part in self.parts for name in part.cells]
        for start in range(0, len(spectra), size):
            piece = spectra[start : start + size]
            paths = [part.folder / name for part, name in piece]
            yield SpectrumPiece(
                [name for _, name in piece],
                [part.name for part, _ in piece],
                self._kept.slice(start, size),
                self.reader.counts_of(paths, findings),
                (start + len(piece)) / len(spectra),
            )

    def _part(self, name: str, findings: Findings) -> Part:
        """A part, and the problems of its lists.

        In published folders info.csv does not name what val.csv does. Where both do, info.csv
        counts.
        """
        folder, info, validation = self._folder(name), self._info(name), self._validation(name)
        there = dict.fromkeys(file for file in files_in(folder) if file not in BESIDE)
        if not there:
            findings.add(f"{folder} holds no spectra")
        if not info.is_file():
            return Part(name, folder, [], {file: {} for file in there})
        cells_of = dict(read_info(info, findings))
        named, apart = self._apart(name, cells_of, findings)
        if there and cells_of:
            lack = f"names spectra that are not in {folder}"
            if not there.keys() & cells_of.keys():
                lack += f", whose files have names such as {next(iter(there))}"
            for path, listed in ((info, cells_of), (validation, apart)):
                for file in listed:
                    if file not in there:
                        findings.add(f"{path} {lack}", file)
            if name not in self.lists:
                for file in sorted(there.keys() - cells_of.keys() - apart.keys()):
                    findings.add(f"{folder} holds spectra that {info} does not name", file)
        lists = [info, validation] if apart else [info]
        return Part(name, folder, lists, cells_of | apart, named)

    def _apart(
        self, part: str, listed: Collection[str], findings: Findings
    ) -> tuple[Collection[str], dict[str, dict[str, str]]]:
        """The spectra for validation, and the columns of those that only val.csv has."""
        path = self._validation(part)
        is_left_out = self.lists.get(VALIDATION, "") is None
        if part == TEST or is_left_out or not path.is_file():
            return (), {}
        named = {cells[0] for _, cells in [*lines_of(path, findings)][1:]}
        if named <= set(listed):
            return named, {}
        cells_of = dict(read_info(path, findings))
        return named, {name: cells for name, cells in cells_of.items() if name not in listed}

    def _folder(self, part: str) -> Path:
        """The folder of the spectra: spe/ if it is there, else the part itself."""
        folder = self.path / part / SPECTRA
        return folder if folder.is_dir() else self.path / part

    def _info(self, part: str) -> Path:
        return self.path / part / (self.lists.get(part) or INFO)

    def _validation(self, part: str) -> Path:
        return self.path / part / (self.lists.get(VALIDATION) or VALIDATION_INFO)

    def _folder_of_targets(self, part: str) -> Path:
        """The folder of a part's targets: target/TOC% if it is there, else target/."""
        folder = self.path / part / TARGETS
        own = folder / (self.target or "")
        return own if own.is_dir() else folder

    def _where_train_is(self) -> str:
        if (self.path / SPECTRA).is_dir():
            folder = self.path.absolute().parent
            return f"; it seems to be a part itself; use the folder that contains it, {folder}"
        lower = []
        with suppress(OSError):
            lower = sorted(entry.name for entry in self.path.iterdir() if (entry / TRAIN).is_dir())
        return (
            f"; below it, these have one: {some(lower)}"
            if lower
            else ", nor has any folder below it"
        )


def picked(values: Sequence[Any], rows: Sequence[int]) -> list[Any]:
    return [values[row] for row in rows]


def columns_of(cells_of: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """The columns that any spectrum has, as texts, empty for spectra that have none."""
    names = dict.fromkeys(chain.from_iterable(cells_of))
    return {name: [cells.get(name, "") for cells in cells_of] for name in names}


def folder_to_predict(path: Path, layout: SpectrumLayout) -> FolderOfSpectra:
    """A folder with `spe/`, or files of spectra, or with train/ and test/ that have `spe/`."""
    parts = [part for part in (TRAIN, TEST) if (path / part / SPECTRA).is_dir()]
    return FolderOfSpectra(path, layout, names=parts or [UNDIVIDED])


# Spectra in a table with a row for each: CSV, Parquet or NetCDF.


NAMES = ("filename", "name")
"""Columns that may hold the names of spectra; without one, spectra are numbered from 1."""

PART = "part"

CHUNK = 4 * BLOCK
"""Spectra of a table read at a time."""


class TableOfSpectra(SpectrumSource):
    """A table with a spectrum per row, whose target, if any, is a column."""

    _used: NDArray[np.int64] | None = None
    """Rows with a target, as `rows` finds them for `counts`; None: all are used."""

    def state(self) -> list[Any]:
        layout = self.layout
        keys = [self.target, layout.channels, layout.columns, self.missing]
        return [content_hash(self.path), *keys]

    def rows(self) -> tuple[SpectrumRows, list[str], int]:
        findings = Findings()
        self._require_channels(findings)
        others = self.others
        if self.target is not None and self.target not in others:
            findings.add(
                f"{self.path} has no column '{self.target}'; {suggestion(self.target, others)}",
                where=("target",),
            )
        findings.refuse()
        with as_finding(TableError):
            read = self._table.read([], others)[1] if others else {}
            first = next(iter(read.values()), None)
            size = (
                sum(len(chunk.features) for chunk in self._chunks())
                if first is None
                else len(first)
            )
        columns = {name: column.tolist() for name, column in read.items()}
        shown = [str(row + 1) for row in range(size)]
        names = columns.pop(self._name) if self._name else shown
        parts = columns.pop(PART, [TRAIN] * size)
        kind = f"{self.path}, column '{PART}', has values other than {', '.join(PARTS)}"
        for label, part in zip(shown, parts, strict=True):
            if part not in PARTS:
                findings.add(kind, f"'{part}' of spectrum {label}")
        if self.target is None:
            findings.refuse()
            return SpectrumRows(names, parts, columns, None), [], 0
        origin = f"{self.path}, column '{self.target}',"
        kind = f"{origin} has cells that are not finite numbers"
        labels = [f"spectrum {label}" for label in shown]
        targets = self._targets(columns.pop(self.target), labels, [kind] * size, findings)
        used, remarks = self._labelled(targets, labels, [origin] * size, findings)
        findings.refuse()
        self._used = np.array(used, dtype=np.int64)
        names, parts = picked(names, used), picked(parts, used)
        columns = {name: picked(cells, used) for name, cells in columns.items()}
        rows = SpectrumRows(names, parts, columns, picked(targets, used))
        return rows, remarks, size - len(used)

    def counts(self, rows: SpectrumRows) -> Iterator[Array]:
        findings, start = Findings(), 0
        for chunk in self._chunks():
            numbers = np.arange(start, start + len(chunk.features))
            used = (
                np.full(len(numbers), True) if self._used is None else np.isin(numbers, self._used)
            )
            self._add_troubles(chunk.features, start, used, findings)
            start += len(numbers)
            yield chunk.features[used]
        findings.refuse()

    @cached_property
    def schema(self) -> pa.Schema:
        """The other columns but the names, with the types and units that they have in the file."""
        import pyarrow as pa

        findings = Findings()
        self._require_channels(findings)
        findings.refuse()
        fields = []
        with as_finding(TableError):
            types = self._table.types([name for name in self.others if name != self._name])
        for column in types:
            unit = self._table.units.get(column.name)
            titled = column.with_metadata({"unit": unit} if unit else column.metadata)
            # Cores are read as they are written: "7.50" stays that.
            is_core = column.name == self.layout.core
            fields.append(titled.with_type(pa.string()) if is_core else titled)
        return pa.schema(fields)

    def pieces(self, size: int, findings: Findings) -> Iterator[SpectrumPiece]:
        import pyarrow as pa

        own = [(self._name, pa.string())] if self._name else []
        chunks = self._chunks(pa.schema([*own, *self.schema]), size)
        first = 0
        for chunk in in_equal_chunks(chunks, size):
            count = len(chunk.features)
            self._add_troubles(chunk.features, first, np.ones(count, bool), findings)
            names = [str(first + row + 1) for row in range(count)]
            if self._name:
                names = texts_of(chunk.kept[self._name])
            kept = chunk.kept.select(self.schema.names)
            yield SpectrumPiece(names, [""] * count, kept, chunk.features, chunk.done)
            first += count

    @cached_property
    def others(self) -> list[str]:
        """All columns except the counts."""
        table = self._table
        return table.others(self._counts) if self._counts else table.names

    @cached_property
    def _table(self) -> Table:
        """The open file; if it has no line of names, with those of an index and the counts."""
        layout = self.layout
        with as_finding(TableError):
            table = open_table(self.path)
            if table.vector(layout.columns) is None and not self._numbered(table):
                names = [f"{layout.columns}{channel}" for channel in range(layout.channels)]
                table = open_table(self.path, unnamed=names)
        return table

    @cached_property
    def _counts(self) -> list[str]:
        """The columns of counts by their number, or the NetCDF variable that holds them all."""
        if self._table.vector(self.layout.columns):
            return [self.layout.columns]
        return [name for _, name in sorted(self._numbered(self._table).items())]

    @property
    def _name(self) -> str | None:
        """The column with the names of spectra; None if they are numbered from 1."""
        return next((column for column in NAMES if column in self.others), None)

    def _numbered(self, table: Table) -> dict[int, str]:
        """Number of a channel → its column."""
        numbered = re.compile(re.escape(self.layout.columns) + r"(\d+)")
        matches = filter(None, map(numbered.fullmatch, table.names))
        return {int(match[1]): match[0] for match in matches}

    def _require_channels(self, findings: Findings) -> None:
        """Add a finding if the rows do not have the right number of counts."""
        prefix, channels = self.layout.columns, self.layout.channels
        numbers = sorted(self._numbered(self._table))
        width = self._table.vector(prefix)
        if width is not None:
            if width != channels:
                findings.add(
                    f"{self.path}: '{prefix}' has {width} counts in a row, not {channels}",
                    where=("channels",),
                )
        elif numbers != list(range(channels)):
            first = next((number for number in range(channels) if number not in numbers), None)
            lacking = "" if first is None else f"; the first that is missing is {prefix}{first}"
            what = f"{len(numbers)} columns {prefix}0, {prefix}1, … of counts"
            where = ("channels",) if numbers else ("columns",)
            findings.add(f"{self.path} has {what}, not {channels}{lacking}", where=where)

    def _chunks(self, columns: pa.Schema | None = None, size: int = CHUNK) -> Iterator[Chunk]:
        """The counts as features, and some other columns."""
        import pyarrow as pa

        others = pa.schema([]) if columns is None else columns
        with as_finding(TableError):
            yield from Rows(self._table, self._counts, others, pa.float32()).chunks(size)

    def _add_troubles(self, counts: Array, start: int, used: Mask, findings: Findings) -> None:
        """Find rows with invalid counts among those that are `used`, after `start` other rows."""
        invalid = ~(np.isfinite(counts) & (counts >= 0)).all(axis=1)
        for row in np.flatnonzero(invalid & used).tolist():
            findings.add(
                f"{self.path} has spectra with invalid counts",
                f"spectrum {start + row + 1} ({trouble_with(counts[row])})",
            )
