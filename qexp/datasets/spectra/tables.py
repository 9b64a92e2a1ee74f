"""Spectra in a table with a row for each: CSV, Parquet or NetCDF."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.array_cache import Array, content_hash
from qexp.datasets.spectra.counts import trouble_with
from qexp.datasets.spectra.rows import BLOCK, DROP, ERROR, PARTS, TRAIN, Findings, Labels, SpectrumRows
from qexp.did_you_mean import suggestion
from qexp.errors import DatasetError
from qexp.rows.formats import Chunk, Rows, open_table
from qexp.rows.table import TableError, number

if TYPE_CHECKING:
    import pyarrow as pa

NAMES = ("filename", "name")
"""Columns that may hold the names of spectra; without one, spectra are numbered from 1."""

PART = "part"

CHUNK = 4 * BLOCK
"""Spectra of a table read at a time."""


class CountTable:
    """An open table of spectra.

    columns  prefix of the columns of counts, before their number from 0; or the NetCDF variable that holds them all
    Raises TableError.
    """

    def __init__(self, path: Path, channels: int, columns: str) -> None:
        self.path = path
        self._table = open_table(path)
        self._channels, self._columns = channels, columns
        self._width = self._table.vector(columns)
        self._numbered = self._columns_by_number()
        if self._width is None and not self._numbered:
            self._table = open_table(path, unnamed=[f"{columns}{channel}" for channel in range(channels)])
            self._numbered = self._columns_by_number()
        self.counts = [columns] if self._width else [self._numbered[number] for number in sorted(self._numbered)]
        self.others: list[str] = self._table.others(self.counts) if self.counts else self._table.names

    def require_channels(self, findings: Findings) -> None:
        """Add a finding if the rows do not have the right number of counts."""
        if self._width is not None:
            if self._width != self._channels:
                what = f"'{self._columns}' has {self._width} counts in a row, not {self._channels}"
                findings.add(f"{self.path}: {what}", where=("channels",))
        elif sorted(self._numbered) != list(range(self._channels)):
            first = next((number for number in range(self._channels) if number not in self._numbered), None)
            said = "" if first is None else f"; the first that is missing is {self._columns}{first}"
            what = f"{len(self.counts)} columns {self._columns}0, {self._columns}1, … of counts, not {self._channels}"
            findings.add(f"{self.path} has {what}{said}", where=("channels",) if self.counts else ("columns",))

    def texts(self) -> dict[str, list[str]]:
        """All columns except the counts."""
        return {name: column.tolist() for name, column in self._table.read([], self.others)[1].items()}

    def types(self, names: Iterable[str]) -> pa.Schema:
        """Some of the other columns, with the types in which they are kept, and units that the file has."""
        import pyarrow as pa

        units = self._table.units
        return pa.schema(
            [
                one.with_metadata({"unit": units[one.name]}) if units.get(one.name) else one
                for one in self._table.types(list(names))
            ]
        )

    def chunks(self, kept: pa.Schema | None = None, size: int = CHUNK) -> Iterator[Chunk]:
        """The counts as features, and some other columns."""
        import pyarrow as pa

        return Rows(self._table, self.counts, pa.schema([]) if kept is None else kept, pa.float32()).chunks(size)

    def _columns_by_number(self) -> dict[int, str]:
        numbered = re.compile(re.escape(self._columns) + r"(\d+)")
        return {int(match[1]): name for name in self._table.names if (match := numbered.fullmatch(name))}


class SpectrumTable:
    """The spectra of a table.

    target   column of the target, if any
    columns  see `CountTable`
    missing  see `SpectraDataset`
    """

    left_out = 0

    def __init__(self, path: Path, target: str | None, channels: int, columns: str, missing: str = ERROR) -> None:
        self.path, self.listed = path, path.name
        self._target, self._channels, self._columns, self._missing = target, channels, columns, missing

    def state(self) -> list[Any]:
        return [content_hash(self.path), self._target, self._channels, self._columns, self._missing]

    def rows(self) -> tuple[SpectrumRows, list[str]]:
        findings = Findings()
        try:
            table = CountTable(self.path, self._channels, self._columns)
            table.require_channels(findings)
            if self._target is not None and self._target not in table.others:
                near = suggestion(self._target, table.others)
                findings.add(f"{self.path} has no column '{self._target}'; {near}", where=("target",))
            findings.refuse()
            columns = table.texts()
            size = len(next(iter(columns.values()))) if columns else sum(len(one.features) for one in table.chunks())
        except TableError as error:
            raise DatasetError([(("path",), str(error))]) from error
        called = next((name for name in NAMES if name in columns), None)
        names = columns.pop(called) if called else [str(row + 1) for row in range(size)]
        parts = columns.pop(PART, [TRAIN] * size)
        for row, part in enumerate(parts):
            if part not in PARTS:
                kind = f"{self.path}, column '{PART}', has values other than {', '.join(PARTS)}"
                findings.add(kind, f"'{part}' of spectrum {row + 1}")
        if self._target is None:
            findings.refuse()
            return SpectrumRows(names, parts, columns, None), []
        targets, labels = self._numbers(columns.pop(self._target), findings), Labels(self._target, self._missing)
        place = f"{self.path}, column '{self._target}',"
        kept = [row for row, value in enumerate(targets) if labels.keep(f"spectrum {row + 1}", value, place, findings)]
        remarks, self.left_out = labels.end(self.path, findings), labels.left_out
        findings.refuse()
        names, parts = [names[row] for row in kept], [parts[row] for row in kept]
        columns = {name: [texts[row] for row in kept] for name, texts in columns.items()}
        return SpectrumRows(names, parts, columns, [targets[row] for row in kept]), remarks

    def counts(self, rows: SpectrumRows) -> Iterator[Array]:
        import pyarrow as pa

        findings, start = Findings(), 0
        labels = [self._target] if self._target is not None and self._missing == DROP else []
        kept = pa.schema([(name, pa.string()) for name in labels])
        try:
            for chunk in CountTable(self.path, self._channels, self._columns).chunks(kept):
                used = np.ones(len(chunk.features), dtype=bool)
                for name in labels:
                    used &= [not _is_missing(text) for text in chunk.kept[name].to_pylist()]
                add_troubles(chunk.features, self.path, start, findings, used)
                start += len(used)
                yield chunk.features[used]
        except TableError as error:
            raise DatasetError([(("path",), str(error))]) from error
        findings.refuse()

    def _numbers(self, texts: Sequence[str], findings: Findings) -> list[float]:
        found = []
        for row, text in enumerate(texts):
            value = number(text)
            if value is None or np.isinf(value):
                kind = f"{self.path}, column '{self._target}', has cells that are not finite numbers"
                findings.add(kind, f"'{text[:20]}' of spectrum {row + 1}", ("target",))
            found.append(math.inf if value is None else value)
        return found


def _is_missing(text: str | None) -> bool:
    """Whether a cell of the target holds no number."""
    value = number(text or "")
    return value is not None and math.isnan(value)


def add_troubles(
    counts: Array, path: Path, start: int, findings: Findings, used: NDArray[np.bool_] | None = None
) -> None:
    """Find rows with invalid counts, among those that are `used`; `start` is the number of rows before them."""
    invalid = ~(np.isfinite(counts) & (counts >= 0)).all(axis=1)
    wrong = np.flatnonzero(invalid if used is None else invalid & used)
    for row in wrong.tolist():
        shown = f"spectrum {start + row + 1} ({trouble_with(counts[row])})"
        findings.add(f"{path} has spectra with invalid counts", shown)
