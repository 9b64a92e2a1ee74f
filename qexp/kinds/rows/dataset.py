"""Measured datasets: rows of a table whose columns are variables."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.arrays import Array, Mask, Texts
from qexp.base.outputs import declared_classes
from qexp.base.seeds import Seeds
from qexp.base.tables import Tables, built
from qexp.errors import DatasetError, some, suggestion
from qexp.kinds import files
from qexp.kinds.classes import (
    few_samples,
    undeclared,
    unknown_names,
)
from qexp.kinds.rows.spec import imputation
from qexp.metrics.splits import Copies, Fold, Rows, SplitError, copies
from qexp.rows.formats import open_table
from qexp.rows.table import (
    LIKE_A_CODE,
    SHOWN,
    TableError,
    codes,
    is_number,
    unlike,
    write_list,
)
from qexp.rows.unmeasured import WAY_OUT, targets_among, unmeasured
from qexp.spec.reading import Document, Finding, Where, listed
from qexp.store.record import Feature

LARGEST_NUMBER = float(np.finfo(np.float32).max)
"""The largest number of the precision in which networks compute."""


class TabularDataset:
    """Rows of numbers from a file.

    document  of the dataset, with the defaults of its schema
    Raises DatasetError.
    """

    def __init__(self, path: Path, document: Document) -> None:
        self.path = path
        inputs, outputs = (
            {name: tuple(listed(columns)) for name, columns in document[key].items()}
            for key in ("inputs", "outputs")
        )
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.columns = inputs | outputs
        self.imputation = imputation(document)
        self.indicator: str | None = self.imputation.get("parameters", {}).get("indicator")
        self.classes = declared_classes(document, self.outputs)
        self.units = {name: document["units"].get(name, "") for name in self.columns}
        groups = document["groups"].items()
        self.groups: dict[str, tuple[str, str | None]] = {
            name: (group["column"], group.get("pattern")) for name, group in groups
        }
        """Grouping → the column by which rows are grouped, and a regular expression whose first
        group in it, or the whole match if it has none, is the name of a row's group.
        """
        taught = document.get("estimates_of") or {}
        self._known: Mapping[str, tuple[float, float]] = taught.get("ranges", {})
        """Column → range of the data behind estimates that are learned here, as far as known."""
        self._copies: dict[tuple[str, ...], Copies] = {}
        self.warnings: list[str] = []
        """Properties of the data that are allowed but may be mistakes."""
        with files.as_finding():
            self._file = open_table(path)
        if "fingerprint" in document and document["fingerprint"] != self.fingerprint:
            raise DatasetError(
                [(("fingerprint",), f"{path} has changed: its SHA-256 is now {self.fingerprint}")]
            )
        files.refuse(self._unusable_columns(document))
        self._read(document)
        self.identifiers = {name: self._texts[name] for name in document["identifiers"]}
        self._texts |= self._group_names()
        self.warnings += self._doubts()

    def _read(self, document: Document) -> None:
        """Read the rows that are used. Raises DatasetError."""
        of_numbers = [columns for name, columns in self.columns.items() if name not in self.classes]
        of_classes = {name: self.columns[name][0] for name in self.classes}
        sources = [column for column, _ in self.groups.values()]
        wanted = [*document["identifiers"], *sources, *of_classes.values()]
        try:
            with files.as_finding():
                numbers, texts = self._file.read(chain.from_iterable(of_numbers), wanted)
        except DatasetError:
            files.refuse(self._undeclared_classes())
            raise
        for name, column in of_classes.items():
            files.refuse(unknown_names(self.classes[name], texts[column], self._file.rows_shown))
            numbers[column] = self.classes[name].codes(texts[column])
        files.refuse(self._unusable_numbers(numbers))
        gaps = {name: np.isnan(column) for name, column in numbers.items()}
        for name in sources:  # which may be numbers as well
            gaps[name] = gaps.get(name, False) | (texts[name] == "")
        self._records = self._without_gaps(gaps, document["missing"])
        """The rows that are used, as record numbers of the file."""
        self.gaps: dict[str, int] = {}
        """Column → the number of rows of the file that are not used and have no value in it."""
        for name, absent in gaps.items():
            self.gaps[name] = int(absent.sum() - absent[self._records].sum())
        self.rows: Rows = np.arange(len(self), dtype=np.int64)
        """Numbers of all rows, (row,)."""
        in_file = next(iter(gaps.values()))
        self.left_out = len(in_file) - len(self)
        """Number of rows with missing values, which are not used."""
        self.values: dict[str, Array] = {}
        """Variable → (row, column). Inputs may be NaN if gaps are filled in for networks."""
        for name, columns in self.columns.items():
            of_variable = np.stack([numbers[column] for column in columns], axis=1)
            self.values[name] = of_variable[self._records]
        self._texts = {name: column[self._records] for name, column in texts.items()}

    def __len__(self) -> int:
        return len(self._records)

    def folds(self, split: Document, tables: Tables, seeds: Seeds) -> list[Fold]:
        """All rows, divided. Raises SplitError."""
        return self.divided(self.rows, split, tables, seeds.numpy("folds"))

    def divided(
        self, rows: Rows, split: Document, tables: Tables, random: np.random.Generator
    ) -> list[Fold]:
        """Some rows, divided. Raises SplitError, also for a column that is not there."""
        try:
            folds: list[Fold] = built(tables["splits"], split).folds(rows, self.column, random)
        except TableError as error:
            raise SplitError("by", str(error)) from error
        return folds

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every variable and its shape without the batch: (column,)."""
        widths = {name: len(columns) for name, columns in self.columns.items()}
        if self.indicator:
            widths[self.indicator] = sum(widths[name] for name in self.inputs)
        return {name: (width,) for name, width in widths.items()}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the file's content, in hexadecimal."""
        with files.as_finding():
            return files.fingerprint(self.path)

    def column(self, name: str) -> Texts:
        """A group, or any column of the file, as texts, (row,). Raises TableError."""
        if name not in self._texts:
            if name not in self._file.names:
                similar = suggestion(name, {*self.groups, *self._file.names})
                raise TableError(
                    f"{self.path} has no column '{name}', and the dataset has no such group;"
                    f" {similar}"
                )
            number = next(iter(self.columns.values()))[0]  # it says which values are rows
            self._texts[name] = self._file.read([number], [name])[1][name][self._records]
        return self._texts[name]

    def row_numbers(self, rows: Sequence[int]) -> list[int]:
        """The rows' numbers in the file; the header of a CSV file is row 1."""
        return [self._row_numbers[row] for row in rows]

    @cached_property
    def _row_numbers(self) -> list[int]:
        """Row numbers of all rows, kept because the file is read for them and every fold asks."""
        return self._file.row_numbers(self._records.tolist())

    def ranges(self, inputs: Sequence[str]) -> tuple[Feature, ...]:
        """All columns of some variables in their order."""
        ranges = []
        for name in inputs:
            for column, values in zip(self.columns[name], self.values[name].T, strict=True):
                ends = self._known.get(column, (np.nanmin(values), np.nanmax(values)))
                ranges.append(Feature(column=column, least=float(ends[0]), greatest=float(ends[1])))
        return tuple(ranges)

    def copies(self, inputs: Sequence[str]) -> Copies:
        """The rows with the same or nearly the same inputs."""
        names = tuple(inputs)
        if names not in self._copies:
            self._copies[names] = copies(self.compared(names))
        return self._copies[names]

    def compared(self, inputs: Sequence[str]) -> Array:
        """The columns by which rows are compared, (row, column): those of the inputs.

        Values of a single column, or in place of gaps, repeat for many reasons; the outputs are
        then compared, too.
        """
        filled = [self.filled(name) for name in inputs if name in self.columns]
        columns = np.concatenate(filled, axis=1)
        if columns.shape[1] > 1 and not self.imputation:
            return columns
        return np.concatenate([columns, *(self.values[name] for name in self.outputs)], axis=1)

    def filled(self, name: str) -> Array:
        """A variable with the mean of its column in each gap: for checks, not for networks."""
        values = self.values[name]
        return np.where(np.isnan(values), np.nanmean(values, axis=0), values)

    def samples(self, rows: Rows, device: torch.device) -> dict[str, Tensor]:
        """Variable → the values of some rows in single precision, (row, column)."""
        return {
            name: torch.from_numpy(values[rows]).float().to(device)
            for name, values in self.values.items()
        }

    def _undeclared_classes(self) -> Iterator[Finding]:
        """Outputs whose columns hold names that are not declared as classes."""
        for name in self.outputs:
            column = self.columns[name][0]
            if column in self._file.names and name not in self.classes:
                texts = self._file.read([], [column])[1][column]
                if not any(map(is_number, np.unique(texts).tolist())):
                    yield ("outputs", name), f"column '{column}' is {undeclared(name, texts)}"

    def _unusable_columns(self, document: Document) -> Iterator[Finding]:
        columns: list[tuple[Where, str]] = []
        for key, variables in (("inputs", self.inputs), ("outputs", self.outputs)):
            for name in variables:
                numbered = enumerate(self.columns[name])
                columns += [((key, name, position), column) for position, column in numbered]
        for position, column in enumerate(document["identifiers"]):
            columns.append((("identifiers", position), column))
        for name, (column, _) in self.groups.items():
            columns.append((("groups", name, "column"), column))
        for where, column in columns:
            trouble = self._file.trouble_with(column)
            if trouble:
                yield where, trouble
        for name, (column, pattern) in self.groups.items():
            if name in self._file.names and name != column and column in self._file.names:
                yield (
                    ("groups", name),
                    f"{self.path} has another column called '{name}'; rename the group",
                )
            try:
                re.compile(pattern or "")
            except re.error as error:
                yield ("groups", name, "pattern"), f"not a regular expression: {error}"

    def _unusable_numbers(self, numbers: Mapping[str, Array]) -> Iterator[Finding]:
        for name, column in numbers.items():
            records = np.flatnonzero(np.abs(column) > LARGEST_NUMBER)
            where = f"column '{name}'"
            if len(records):  # NaN is none
                yield (
                    ("path",),
                    (
                        f"{self.path}, {where}, {self._file.rows_shown(records)}: the number is"
                        " too large for single precision"
                    ),
                )
            if np.isnan(column).all():
                yield ("path",), f"{self.path}, {where}: no row has a value; leave the column out"

    def _without_gaps(self, gaps: Mapping[str, Mask], missing: Any) -> Rows:
        """The records without missing values, or without those that are not filled in."""
        inputs = [column for name in self.inputs for column in self.columns[name]]
        if self.imputation:
            no_input = np.logical_and.reduce([gaps[column] for column in inputs])
            gaps = {name: no_input if name in inputs else absent for name, absent in gaps.items()}
        incomplete = np.logical_or.reduce(list(gaps.values()))
        count = int(incomplete.sum())
        if not count:
            return np.arange(len(incomplete))
        where = self._in_words({name: np.flatnonzero(absent) for name, absent in gaps.items()})
        if missing == "error":
            raise DatasetError(
                [
                    (
                        ("missing",),
                        (
                            f'{self.path} has no value for {where}; add "missing": "drop" to leave'
                            ' these rows out, or "median" to fill in inputs'
                        ),
                    )
                ]
            )
        if incomplete.all():
            raise DatasetError(
                [(("missing",), f"every row of {self.path} has a missing value: {where}")]
            )
        is_left, has = ("is", "it has") if count == 1 else ("are", "they have")
        words = f"{count} of {len(incomplete)} rows {is_left} left out, because {has} no value for"
        fill = not self.imputation and any(gaps[column].any() for column in inputs)
        way_out = '; "missing": "median" would fill in gaps of inputs' if fill else ""
        self.warnings.append(f"{words} {where}{way_out}")
        return np.flatnonzero(~incomplete)

    def _in_words(self, records: Mapping[str, NDArray[np.integer]]) -> str:
        """The rows of each column that has some."""
        words = []
        for name, rows in records.items():
            if len(rows):
                words.append(f"column '{name}' in {self._file.rows_shown(rows)}")
        return "; ".join(words)

    def _group_names(self) -> dict[str, Texts]:
        """Grouping → the name of each row's group, (row,)."""
        names, findings = {}, []
        for grouping, (column, pattern) in self.groups.items():
            groups = texts = self._texts[column].tolist()
            if pattern:
                wanted = re.compile(pattern)
                matches = map(wanted.search, texts)
                groups = [(match and match[min(wanted.groups, 1)]) or "" for match in matches]
            pairs = zip(texts, groups, strict=True)
            unmatched = list(dict.fromkeys(f"'{text}'" for text, group in pairs if not group))
            if unmatched:
                values = write_list("value", unmatched[:SHOWN], len(unmatched))
                lack = f"'{pattern}' does not match the {values} of '{column}'"
                where = "groups", grouping, "pattern"
                findings.append((where, f"{lack}; add alternatives with |"))
            names[grouping] = np.array(groups, dtype=np.str_)
        files.refuse(findings)
        return names

    def _doubts(self) -> Iterator[str]:
        """Repeated identifiers, groups of nearly one name, columns of one value or with codes."""
        for name, values in self.identifiers.items():
            counts = Counter(values.tolist())
            repeated = [f"'{value}'" for value, count in counts.items() if count > 1]
            if repeated:
                split = {"type": "group_k_fold", "parameters": {"by": name}}
                yield (
                    f"identifiers in '{name}' are given to several rows: {some(repeated, SHOWN)};"
                    f" if these are measurements of one thing, hold them out together:"
                    f" {json.dumps(split, ensure_ascii=False)}"
                )
        for name in self.groups:
            yield from alike(name, self.column(name))
        units = {column: self.units[name] for name in self.columns for column in self.columns[name]}
        yield from unlike({column: self._file.unit(column) for column in units}, units)
        for variable in self.columns:
            yield from self._doubts_in_columns(variable)
        inputs = self._by_column(self.inputs)
        outputs = self._by_column(self.outputs)
        table = np.stack([*inputs.values()], axis=1)
        gaps = np.isnan(table)
        if gaps.any():
            share = f"{gaps.sum():,} gaps in {gaps.any(axis=1).sum():,} of {len(self):,} rows"
            pairs = zip(inputs, gaps.T, strict=True)
            where = self._in_words({name: self._records[absent] for name, absent in pairs})
            yield (
                f"{share} are filled in by the {self.imputation['type']} of the training rows:"
                f" {where}"
            )
        yield from targets_among(inputs, outputs)
        if len(inputs) > 2:
            same = unmeasured(lambda rows: table[rows], len(self))["constant"]
            if same:
                rows = self._file.rows_shown(self._records[same])
                yield f"all inputs are one number in {rows}: {WAY_OUT}"

    def _doubts_in_columns(self, variable: str) -> Iterator[str]:
        if variable in self.classes:
            yield from few_samples(self.classes[variable], self.values[variable][:, 0])
            return
        lack = "there is nothing to learn"
        if variable in self.inputs:
            lack = "it has no information for a network"
        for name, values in zip(self.columns[variable], self.values[variable].T, strict=True):
            what = f"column '{name}' of '{variable}'"
            if len(values) > 1 and np.nanmin(values) == np.nanmax(values):
                yield f"{what} is {np.nanmin(values):g} in all {len(values)} rows: {lack}"
            for code in codes(values[~np.isnan(values)]):
                rows = self._file.rows_shown(self._records[values == code])
                yield f"{what} is {code:g} in {rows}, {LIKE_A_CODE}"

    def _by_column(self, variables: Iterable[str]) -> dict[str, Array]:
        columns: dict[str, Array] = {}
        for name in variables:
            columns |= zip(self.columns[name], self.values[name].T, strict=True)
        return columns


def alike(grouping: str, groups: Texts) -> Iterator[str]:
    """What is said of groups whose names differ in upper and lower case, or in spaces, alone."""
    spellings: dict[str, list[str]] = {}
    for group in np.unique(groups).tolist():
        spellings.setdefault("".join(group.casefold().split()), []).append(group)
    for names in spellings.values():
        if len(names) > 1:
            both = " and ".join(f"'{name}'" for name in names)
            yield (
                f"groups {both} of '{grouping}' differ in upper and lower case or spaces"
                " alone: are they one?"
            )
