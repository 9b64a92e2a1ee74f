"""Files of spectra: one each in published folders, or a table with a row for each."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.errors import DatasetError, some, suggestion
from qexp.kinds.files import as_finding
from qexp.rows.array_cache import Array, content_hash
from qexp.rows.csv import read_records
from qexp.rows.formats import Chunk, Rows, open_table
from qexp.rows.table import TableError, number
from qexp.spec.reading import Where

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE = b"0123456789 \n\r\t"
"""Characters of files that hold whole numbers only."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

HASH_DIGITS = 24
"""The number of hexadecimal digits of SHA-256 that identify a spectrum."""


def counts_in(content: bytes, channels: int) -> Array:
    """The counts of a spectrum, (channels,), from its file. Raises ValueError if they are wrong."""
    if not content.strip():
        raise ValueError("it is empty")
    if not content.translate(None, WHOLE):
        # four times as fast as any other way
        integers = np.fromstring(content, dtype=np.int64, sep=" ")
        if integers.max() < np.iinfo(np.int64).max:  # fromstring clips larger numbers to this
            _require_length(len(integers), channels)
            return integers.astype(np.float32)
    words = content.removeprefix(BYTE_ORDER_MARK).replace(b",", b" ").split()
    _require_length(len(words), channels)
    numbers = np.empty(len(words))
    for channel, word in enumerate(words):
        try:
            # only Python reads 1_000 as a number
            numbers[channel] = float(word.replace(b"_", b"?"))
        except ValueError:
            text = word[:40].decode(errors="replace")
            raise ValueError(f"'{text}' in channel {channel} is not a number") from None
    with np.errstate(over="ignore"):  # infinity is found below
        counts: Array = (numbers + 0.0).astype(np.float32)  # adding zero removes the sign of -0.0
    trouble = trouble_with(counts)
    if trouble:
        raise ValueError(trouble)
    return counts


def trouble_with(counts: Array) -> str | None:
    """Why numbers, (channels,), cannot be counts; None if they can."""
    finite = np.isfinite(counts)
    if not finite.all():
        return f"channel {np.argmin(finite)} is not a finite number"
    if (counts < 0).any():
        channel = int(np.argmax(counts < 0))
        return f"{counts[channel]:g} in channel {channel} is negative"
    return None


def hash_of(counts: Array) -> str:
    """Identifies a spectrum: the first digits of SHA-256 of its counts, 32-bit and little-endian.

    Negative zeros, which a table may contain, are replaced by zeros.
    """
    content = (counts.astype("<f4") + np.float32(0)).tobytes()
    return hashlib.sha256(content).hexdigest()[:HASH_DIGITS]


def _require_length(length: int, channels: int) -> None:
    if length != channels:
        raise ValueError(f"it has {length} numbers, not {channels}")


# Names, parts, targets and metadata of spectra, and the problems found in them.


TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)

BLOCK = 512
"""Spectra read at a time."""

ERROR, DROP = "error", "drop"
"""What to do with spectra whose target is missing."""


@dataclass(frozen=True)
class SpectrumRows:
    """Names, parts and metadata of all spectra as texts, in the order of the rows."""

    names: list[str]
    parts: list[str]
    columns: dict[str, list[str]]
    targets: list[float] | None

    def __len__(self) -> int:
        return len(self.names)


class Findings:
    """Problems, grouped by kind; of each kind the first few are named."""

    def __init__(self) -> None:
        self._examples: dict[tuple[Where, str], list[str]] = {}

    def add(self, kind: str, example: str = "", where: Where = ("path",)) -> None:
        """Add a problem of a kind, with a spectrum or file, and the key of the dataset."""
        self._examples.setdefault((where, kind), []).append(example)

    def refuse(self) -> None:
        """Raises DatasetError if there are problems."""
        if self._examples:
            raise DatasetError(
                (where, f"{kind}: {some(examples)}" if examples[0] else kind)
                for (where, kind), examples in self._examples.items()
            )


def without_target(
    targets: Mapping[str, float], missing: str, origin: str, findings: Findings
) -> list[str]:
    """The spectra that are left out because their target is NaN; unless `missing` is `drop`, these
    are findings.

    targets  name of a spectrum → its target
    origin   where the targets come from, for messages
    """
    left_out = [name for name, value in targets.items() if math.isnan(value)]
    if missing == DROP:
        return left_out
    for name in left_out:
        lack = f'{origin} lacks the numbers of spectra, which "missing": "drop" would leave out'
        findings.add(lack, name, ("target",))
    return []


def remarks_on(
    left_out: Sequence[str], count: int, target: str, path: Path, findings: Findings
) -> list[str]:
    """Remarks on the spectra that are left out of so many; a finding if none is left."""
    if left_out and len(left_out) == count:
        findings.add(f"{path}: no spectrum has a number for '{target}'", where=("target",))
    if not left_out:
        return []
    reason = f"they have no number for '{target}': {some(left_out)}"
    return [f"{len(left_out):,} of {count:,} spectra are left out, because {reason}"]


def depth_like(columns: Iterable[str]) -> str:
    """Columns whose names may mean a depth: `'mid_depth_mm' or 'section_depth_mm'`; or empty."""
    return " or ".join(f"'{name}'" for name in columns if "depth" in name.lower())


def unit_in(column: str) -> str:
    """The unit of length at the end of `mid_depth_mm` or `depth (cm)`; empty without one."""
    found = re.search(r"(?:_|\s*[(\[])(mm|cm|m|km)[)\]]?$", column)
    return found[1] if found else ""


def depths_of(
    texts: Sequence[str], names: Sequence[str], origin: str, findings: Findings
) -> NDArray[np.float64]:
    """Depths as numbers, NaN where none is known.

    names   of the spectra
    origin  where the texts come from, for messages
    """
    numbers = [number(text) for text in texts]
    for name, text, depth in zip(names, texts, numbers, strict=True):
        if depth is None:
            kind = f"{origin} has cells that are not numbers"
            findings.add(kind, f"'{text[:20]}' of {name}", ("depth",))
    return np.array(numbers, dtype=np.float64)


# Spectra in published folders: train/ and test/, each with spe/, info.csv and perhaps target/.


SPECTRA, TARGETS, INFO, VALIDATION_INFO = "spe", "target", "info.csv", "val.csv"


class Folders:
    """The spectra of a folder with train/ and, if there is one, test/.

    target   name of the number that target/, or a folder of this name in it, holds for every
             spectrum; None: none
    lists    part → the file that lists its spectra, if not info.csv, or val.csv for validation;
             None: no validation
    missing  see `SpectraDataset`
    alone    whether the folder is itself a part, for the test, with spe/ and a list in it
    """

    def __init__(
        self,
        path: Path,
        target: str | None,
        channels: int,
        lists: Mapping[str, str | None],
        missing: str,
        alone: bool,
    ) -> None:
        self.path = path
        self._target = target
        self._channels = channels
        self._missing = missing
        self._lists = dict(lists)
        self._alone = alone

    @property
    def list_names(self) -> str:
        """The lists of the parts, for messages: `info.csv`, or `info_500.csv or info.csv`."""
        return " or ".join(dict.fromkeys(self._info(part).name for part in self._parts()))

    def state(self) -> list[Any]:
        """Path, size and time of change of every file: what changes when any of them changes."""
        digest = hashlib.sha256()
        for part in self._parts():
            targets = [] if self._target is None else [self._targets(part)]
            for folder in (part / SPECTRA, *targets):
                lines = [str(folder.relative_to(self.path)), *_states(folder)]
                digest.update(os.fsencode("\n".join(lines)))
            for name in (self._info(part).name, self._validation_info.name):
                if (part / name).is_file():
                    digest.update(_state(name, (part / name).stat()).encode())
        alone = ["alone"] if self._alone else []
        keys = [self._target, self._channels, self._lists, self._missing, *alone]
        return [str(self.path.absolute()), *keys, digest.hexdigest()]

    def rows(self) -> tuple[SpectrumRows, list[str], int]:
        """The spectra that are used, remarks on others, and their number. Raises DatasetError."""
        findings = Findings()
        left_out = list[str]()
        rows = list[tuple[str, str, dict[str, str]]]()
        targets: list[float] = []
        for part in self._parts():
            tested = part.name == TEST or self._alone
            validation = {} if tested else self._validation(findings)
            cells_of = self._cells(part, validation, findings)
            if self._target is not None:
                folder = self._targets(part)
                values = _read_targets(folder, list(cells_of), findings)
                left_out += without_target(values, self._missing, str(folder), findings)
                cells_of = {n: cells for n, cells in cells_of.items() if not math.isnan(values[n])}
                targets += [values[name] for name in cells_of]
            for name, cells in cells_of.items():
                trained = VALIDATION if name in validation else TRAIN
                rows.append((name, TEST if tested else trained, cells))
        count = len(rows) + len(left_out)
        remarks = remarks_on(
            left_out,
            count,
            self._target or "",
            self.path,
            findings,
        )
        findings.refuse()
        columns = dict.fromkeys(chain.from_iterable(cells for *_, cells in rows))
        table = {column: [cells.get(column, "") for *_, cells in rows] for column in columns}
        names = [name for name, *_ in rows]
        parts = [part for _, part, _ in rows]
        known = None if self._target is None else targets
        return SpectrumRows(names, parts, table, known), remarks, len(left_out)

    def _cells(
        self, part: Path, validation: Mapping[str, dict[str, str]], findings: Findings
    ) -> dict[str, dict[str, str]]:
        """Spectrum of a part → its cells in the list of the part, or in that for validation.

        In published folders info.csv does not name what val.csv does. Where both do, info.csv
        counts.
        """
        info = self._info(part)
        folder = part / SPECTRA
        cells_of = dict(read_info(info, findings))
        there = files_in(folder)
        apart = {name: cells for name, cells in validation.items() if name not in cells_of}
        others = None if part.name in self._lists else apart
        compare(folder, there, info, cells_of, findings, others)
        for name in sorted(apart.keys() - set(there)):
            kind = f"{self._validation_info} names spectra that are not in {folder}"
            findings.add(kind, name)
        return cells_of | apart

    def counts(self, rows: SpectrumRows) -> Iterator[Array]:
        """Spectra in blocks, (row, channels). Raises DatasetError, after the last of them."""
        findings = Findings()
        train = self.path / TRAIN / SPECTRA
        test = (self.path if self._alone else self.path / TEST) / SPECTRA
        pairs = zip(rows.names, rows.parts, strict=True)
        paths = [(test if part == TEST else train) / name for name, part in pairs]
        for start in range(0, len(paths), BLOCK):
            yield counts_of(paths[start : start + BLOCK], self._channels, findings)
        findings.refuse()

    def _parts(self) -> list[Path]:
        """The folders of the parts. Raises DatasetError if one cannot be used."""
        findings = Findings()
        train = self.path / TRAIN
        test = self.path / TEST
        parts = [train, *([test] if test.is_dir() else [])]
        if self._alone:
            parts = [self.path]
        elif not train.is_dir():
            findings.add(f"{self.path} has no folder {TRAIN}/{self._where_train_is()}")
            findings.refuse()
        needed = {SPECTRA: ("path", "the spectra, a file for each")}
        if self._target is not None:
            needed[TARGETS] = "target", "the number of every spectrum"
        for part in parts:
            for name, (key, what) in needed.items():
                if not (part / name).is_dir():
                    findings.add(f"{part} has no folder {name}/, which holds {what}", where=(key,))
            info = self._info(part)
            if not info.is_file():
                what = "which lists the spectra and names their cores"
                findings.add(f"{part} has no {info.name}, {what}")
        info = self._validation_info
        if self._lists.get(VALIDATION) and not info.is_file():
            findings.add(f"{train} has no {info.name}", where=("lists", VALIDATION))
        findings.refuse()
        return parts

    def _info(self, part: Path) -> Path:
        return part / (self._lists.get(part.name) or INFO)

    def _targets(self, part: Path) -> Path:
        """The folder of a part's targets: target/TOC% if it is there, else target/."""
        folder = part / TARGETS / (self._target or "")
        return folder if folder.is_dir() else part / TARGETS

    @property
    def _validation_info(self) -> Path:
        """The list of the spectra for validation."""
        return self.path / TRAIN / (self._lists.get(VALIDATION) or VALIDATION_INFO)

    def _validation(self, findings: Findings) -> dict[str, dict[str, str]]:
        """Name and other columns of the spectra for validation, as their list has them."""
        if not self._validation_info.is_file() or self._lists.get(VALIDATION, "") is None:
            return {}
        lines = [cells for _, cells in _lines(self._validation_info, findings)]
        return {name: dict(zip(lines[0][1:], cells, strict=False)) for name, *cells in lines[1:]}

    def _where_train_is(self) -> str:
        if (self.path / SPECTRA).is_dir():
            folder = self.path.absolute().parent
            return f"; it seems to be a part itself; use the folder that contains it, {folder}"
        lower = []
        with suppress(OSError):
            lower = sorted(entry.name for entry in self.path.iterdir() if (entry / TRAIN).is_dir())
        have = f"; below it, these have one: {some(lower)}"
        return have if lower else ", nor has any folder below it"


def _state(name: str, status: os.stat_result) -> str:
    """Name, size, time of change and inode of a file."""
    return f"{name}/{status.st_size}/{status.st_mtime_ns}/{status.st_ino}"


def _states(folder: Path) -> list[str]:
    """Name, size, time of change and inode of every file, by name."""
    # relative to an open folder, so that its path is resolved once
    handle = os.open(folder, os.O_RDONLY)
    states = []
    try:
        with os.scandir(handle) as entries:
            for entry in entries:
                try:
                    states.append(_state(entry.name, entry.stat()))
                except FileNotFoundError:  # a link to nowhere
                    states.append(entry.name)
    finally:
        os.close(handle)
    return sorted(states)


def counts_of(paths: Sequence[Path], channels: int, findings: Findings) -> Array:
    """The spectra of some files, (row, channels)."""
    block = np.zeros((len(paths), channels), dtype=np.float32)
    for row, path in enumerate(paths):
        try:
            block[row] = counts_in(path.read_bytes(), channels)
        except OSError as error:
            kind = f"{path.parent} has files that cannot be read"
            findings.add(kind, f"{path.name} ({error.strerror})")
        except ValueError as error:
            kind = f"{path.parent} has files that are not spectra of {channels} counts"
            findings.add(kind, f"{path.name} ({error})")
    return block


def read_info(info: Path, findings: Findings) -> Iterator[tuple[str, dict[str, str]]]:
    """Name, by the first column, and other columns of every spectrum of info.csv, in its order."""
    lines = _lines(info, findings)
    header = next(lines, (0, []))[1]
    for name, count in Counter(header[1:]).items():
        if count > 1:
            findings.add(f"{info} has {count} columns called '{name}'; rename all but one")
    names = set[str]()
    for line, cells in lines:
        if len(cells) != len(header):
            kind = f"{info} has lines without {len(header)} columns"
            findings.add(kind, f"line {line} ({len(cells)})")
            continue
        if cells[0] in names:
            findings.add(f"{info} names spectra twice", f"{cells[0]} (line {line})")
        names.add(cells[0])
        yield cells[0], dict(zip(header[1:], cells[1:], strict=True))
    if header and not names:
        findings.add(f"{info} lists no spectra")


def _lines(path: Path, findings: Findings) -> Iterator[tuple[int, list[str]]]:
    """Row number and cells of all lines that are not blank, starting with the header."""
    try:
        line = 0
        for line, cells in read_records(path):
            yield line, [cell.strip() for cell in cells]
        if not line:
            must = "its first line must name the columns, starting with that of the file names"
            findings.add(f"{path} is empty; {must}")
    except TableError as error:
        findings.add(str(error))


def files_in(folder: Path) -> list[str]:
    """Sorted names of the files of a folder, without hidden ones."""
    with os.scandir(folder) as entries:
        files = [entry.name for entry in entries if entry.is_file()]
    return sorted(name for name in files if not name.startswith("."))


def compare(
    folder: Path,
    there: Sequence[str],
    info: Path,
    names: Collection[str],
    findings: Findings,
    others: Collection[str] | None = (),
) -> None:
    """Find spectra that a list names and the folder lacks, and files that it does not name.

    others  files that another list names; None if the folder may hold files that are not used
    """
    if not there:
        findings.add(f"{folder} holds no file")
    if not there or not names:
        return
    files = set(there)
    example = f", whose files have names such as {there[0]}" if files.isdisjoint(names) else ""
    for name in names:
        if name not in files:
            findings.add(f"{info} names spectra that are not in {folder}{example}", name)
    for name in there:
        if others is not None and name not in names and name not in others:
            findings.add(f"{folder} holds spectra that {info} does not name", name)


def _read_targets(folder: Path, names: Sequence[str], findings: Findings) -> dict[str, float]:
    """Spectrum → its target; NaN if there is none."""
    there = set(files_in(folder))
    targets = dict.fromkeys(names, math.nan)
    kind = f"{folder} has files that are not one finite number"
    for name in (name for name in names if name in there):
        try:
            content = (folder / name).read_bytes().removeprefix(BYTE_ORDER_MARK)
            text = content.decode(errors="replace").strip()
        except OSError as error:
            text = error.strerror or str(error)
        targets[name] = _finite_number(text, kind, name, findings)
    return targets


def _finite_number(text: str, kind: str, name: str, findings: Findings) -> float:
    """A target, NaN where there is none; else a finding of this kind, with name and text."""
    value = number(text)
    if value is None or math.isinf(value):
        findings.add(kind, f"{name} ('{text[:20]}')", ("target",))
        return math.inf
    return value


# Spectra in a table with a row for each: CSV, Parquet or NetCDF.


NAMES = ("filename", "name")
"""Columns that may hold the names of spectra; without one, spectra are numbered from 1."""

PART = "part"

CHUNK = 4 * BLOCK
"""Spectra of a table read at a time."""


class CountTable:
    """An open table of spectra.

    columns  prefix of the columns of counts, before their number from 0; or the NetCDF variable
             that holds them all
    Raises TableError.
    """

    def __init__(self, path: Path, channels: int, columns: str) -> None:
        self.path = path
        self._table = open_table(path)
        self._channels, self._columns = channels, columns
        self._width = self._table.vector(columns)
        self._numbered = self._columns_by_number()
        if self._width is None and not self._numbered:
            unnamed = [f"{columns}{channel}" for channel in range(channels)]
            self._table = open_table(path, unnamed=unnamed)
            self._numbered = self._columns_by_number()
        ordered = [self._numbered[number] for number in sorted(self._numbered)]
        self.counts = [columns] if self._width else ordered
        every = self._table.names
        self.others: list[str] = self._table.others(self.counts) if self.counts else every

    @property
    def name_column(self) -> str | None:
        """The column with the names of spectra; None if they are numbered from 1."""
        return next((column for column in NAMES if column in self.others), None)

    def require_channels(self, findings: Findings) -> None:
        """Add a finding if the rows do not have the right number of counts."""
        wanted = range(self._channels)
        prefix = self._columns
        if self._width is not None:
            if self._width != self._channels:
                what = f"'{prefix}' has {self._width} counts in a row, not {self._channels}"
                findings.add(f"{self.path}: {what}", where=("channels",))
        elif sorted(self._numbered) != list(wanted):
            first = next((number for number in wanted if number not in self._numbered), None)
            lacking = "" if first is None else f"; the first that is missing is {prefix}{first}"
            what = f"{len(self.counts)} columns {prefix}0, {prefix}1, … of counts"
            where = ("channels",) if self.counts else ("columns",)
            findings.add(f"{self.path} has {what}, not {self._channels}{lacking}", where=where)

    def texts(self) -> dict[str, list[str]]:
        """All columns except the counts."""
        columns = self._table.read([], self.others)[1]
        return {name: column.tolist() for name, column in columns.items()}

    def types(self, names: Iterable[str]) -> pa.Schema:
        """Some of the other columns, with the types and units that they have in the file."""
        import pyarrow as pa

        fields = []
        for field in self._table.types(list(names)):
            unit = self._table.units.get(field.name)
            fields.append(field.with_metadata({"unit": unit}) if unit else field)
        return pa.schema(fields)

    def chunks(self, columns: pa.Schema | None = None, size: int = CHUNK) -> Iterator[Chunk]:
        """The counts as features, and some other columns."""
        import pyarrow as pa

        others = pa.schema([]) if columns is None else columns
        return Rows(self._table, self.counts, others, pa.float32()).chunks(size)

    def _columns_by_number(self) -> dict[int, str]:
        numbered = re.compile(re.escape(self._columns) + r"(\d+)")
        matches = filter(None, map(numbered.fullmatch, self._table.names))
        return {int(match[1]): match[0] for match in matches}


class SpectrumTable:
    """The spectra of a table.

    target   column of the target, if any
    columns  see `CountTable`
    missing  see `SpectraDataset`
    """

    def __init__(
        self, path: Path, target: str | None, channels: int, columns: str, missing: str
    ) -> None:
        self.path = path
        self.list_names = path.name
        self._target = target
        self._channels, self._columns, self._missing = channels, columns, missing

    def state(self) -> list[Any]:
        return [content_hash(self.path), self._target, self._channels, self._columns, self._missing]

    def rows(self) -> tuple[SpectrumRows, list[str], int]:
        findings = Findings()
        with as_finding(TableError):
            table = CountTable(self.path, self._channels, self._columns)
            table.require_channels(findings)
            if self._target is not None and self._target not in table.others:
                lack = f"no column '{self._target}'; {suggestion(self._target, table.others)}"
                findings.add(f"{self.path} has {lack}", where=("target",))
            findings.refuse()
            columns = table.texts()
            size = sum(len(chunk.features) for chunk in table.chunks()) if not columns else 0
        size = len(next(iter(columns.values()))) if columns else size
        shown = [str(row + 1) for row in range(size)]
        names = columns.pop(table.name_column) if table.name_column else shown
        parts = columns.pop(PART, [TRAIN] * size)
        kind = f"{self.path}, column '{PART}', has values other than {', '.join(PARTS)}"
        for label, part in zip(shown, parts, strict=True):
            if part not in PARTS:
                findings.add(kind, f"'{part}' of spectrum {label}")
        if self._target is None:
            findings.refuse()
            return SpectrumRows(names, parts, columns, None), [], 0
        origin = f"{self.path}, column '{self._target}',"
        targets = dict[str, float]()
        kind = f"{origin} has cells that are not finite numbers"
        for label, text in zip(shown, columns.pop(self._target), strict=True):
            name = f"spectrum {label}"
            targets[name] = _finite_number(text, kind, name, findings)
        left_out = without_target(targets, self._missing, origin, findings)
        remarks = remarks_on(left_out, size, self._target, self.path, findings)
        findings.refuse()
        values = np.array(list(targets.values()))
        used = np.flatnonzero(~np.isnan(values)).tolist()
        names, parts = ([texts[row] for row in used] for texts in (names, parts))
        columns = {name: [cells[row] for row in used] for name, cells in columns.items()}
        return SpectrumRows(names, parts, columns, values[used].tolist()), remarks, len(left_out)

    def counts(self, rows: SpectrumRows) -> Iterator[Array]:
        import pyarrow as pa

        findings, start = Findings(), 0
        labels = [self._target] if self._target is not None and self._missing == DROP else []
        columns = pa.schema([(name, pa.string()) for name in labels])
        with as_finding(TableError):
            for chunk in CountTable(self.path, self._channels, self._columns).chunks(columns):
                used = np.ones(len(chunk.features), dtype=bool)
                for name in labels:
                    values = [number(text or "") for text in chunk.kept[name].to_pylist()]
                    used &= [value is None or not math.isnan(value) for value in values]
                add_troubles(chunk.features, self.path, start, findings, used)
                start += len(used)
                yield chunk.features[used]
        findings.refuse()


def add_troubles(
    counts: Array, path: Path, start: int, findings: Findings, used: NDArray[np.bool_] | None = None
) -> None:
    """Find rows with invalid counts, among those that are `used`; `start` is the number of rows
    before them.
    """
    invalid = ~(np.isfinite(counts) & (counts >= 0)).all(axis=1)
    wrong = np.flatnonzero(invalid if used is None else invalid & used)
    for row in wrong.tolist():
        example = f"spectrum {start + row + 1} ({trouble_with(counts[row])})"
        findings.add(f"{path} has spectra with invalid counts", example)
