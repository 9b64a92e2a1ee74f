"""Spectra in published folders: train/ and test/, each with spe/, info.csv and perhaps target/."""

from __future__ import annotations

import hashlib
import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qexp.datasets.array_cache import Array
from qexp.datasets.spectra.counts import BYTE_ORDER_MARK, counts_in
from qexp.datasets.spectra.rows import BLOCK, ERROR, TEST, TRAIN, VALIDATION, Findings, Labels, SpectrumRows
from qexp.errors import some
from qexp.rows.csv import read_records
from qexp.rows.table import TableError, number

SPECTRA, TARGETS, INFO, KEPT_FOR_VALIDATION = "spe", "target", "info.csv", "val.csv"


class Folders:
    """The spectra of a folder with train/ and, if there is one, test/.

    target   name of the number that target/, or a folder of this name in it, holds for every spectrum; None: none
    lists    part → the file that lists its spectra, if not info.csv, or val.csv for validation; None: no validation
    missing  see `SpectraDataset`
    alone    whether the folder is itself a part, for the test, with spe/ and a list in it
    """

    left_out = 0

    def __init__(
        self,
        path: Path,
        target: str | None,
        channels: int,
        lists: Mapping[str, str | None] | None = None,
        missing: str = ERROR,
        alone: bool = False,
    ) -> None:
        self._alone = alone
        self.path, self._target, self._channels, self._missing = path, target, channels, missing
        self._lists = dict(lists or {})

    @property
    def listed(self) -> str:
        """The lists of the parts, for messages: `info.csv`, or `info_500.csv or info.csv`."""
        return " or ".join(dict.fromkeys(self._info(part).name for part in self._parts()))

    def state(self) -> list[Any]:
        """Path, size and time of change of every file."""
        digest = hashlib.sha256()
        for part in self._parts():
            for folder in (part / SPECTRA, *([] if self._target is None else [self._targets(part)])):
                digest.update(os.fsencode("\n".join([str(folder.relative_to(self.path)), *_states(folder)])))
            for name in (self._info(part).name, self._kept().name):
                if (part / name).is_file():
                    status = (part / name).stat()
                    digest.update(f"{name}/{status.st_size}/{status.st_mtime_ns}/{status.st_ino}".encode())
        chosen = [self._lists, self._missing]
        chosen += ["alone"] if self._alone else []
        return [str(self.path.absolute()), self._target, self._channels, *chosen, digest.hexdigest()]

    def rows(self) -> tuple[SpectrumRows, list[str]]:
        findings, labels = Findings(), Labels(self._target or "", self._missing)
        names: list[str] = []
        parts: list[str] = []
        columns: dict[str, list[str]] = {}
        targets: list[float] = []
        for part in self._parts():
            info = self._info(part)
            listed = dict(described(info, findings))
            validation = self._validation(findings) if part.name == TRAIN and not self._alone else {}
            # In published folders info.csv does not name what val.csv does. Where both do, info.csv counts.
            apart = {name: cells for name, cells in validation.items() if name not in listed}
            there = files_in(part / SPECTRA)
            compare(part / SPECTRA, there, info, listed, findings, None if part.name in self._lists else apart)
            for name in sorted(apart.keys() - set(there)):
                findings.add(f"{self._kept()} names spectra that are not in {part / SPECTRA}", name)
            listed |= apart
            if self._target is not None:
                found = _numbers(folder := self._targets(part), list(listed), findings)
                kept = {name for name in listed if labels.keep(name, found[name], str(folder), findings)}
                listed = {name: cells for name, cells in listed.items() if name in kept}
                targets += [found[name] for name in listed]
            for name, cells in listed.items():
                for column, cell in cells.items():
                    columns.setdefault(column, [""] * len(names)).append(cell)
                names.append(name)
                parts.append(TEST if part.name == TEST or self._alone else VALIDATION if name in validation else TRAIN)
            for cells_of in columns.values():
                cells_of += [""] * (len(names) - len(cells_of))
        remarks, self.left_out = labels.end(self.path, findings), labels.left_out
        findings.refuse()
        return SpectrumRows(names, parts, columns, None if self._target is None else targets), remarks

    def counts(self, rows: SpectrumRows) -> Iterator[Array]:
        findings = Findings()
        folders = {TEST: (self.path if self._alone else self.path / TEST) / SPECTRA}
        for start in range(0, len(rows), BLOCK):
            stop = min(start + BLOCK, len(rows))
            paths = [
                folders.get(rows.parts[row], self.path / TRAIN / SPECTRA) / rows.names[row]
                for row in range(start, stop)
            ]
            yield counts_of(paths, self._channels, findings)
        findings.refuse()

    def _parts(self) -> list[Path]:
        """The folders of the parts. Raises DatasetError if one cannot be used."""
        findings, train = Findings(), self.path / TRAIN
        parts = [train, *([self.path / TEST] if (self.path / TEST).is_dir() else [])]
        if self._alone:
            parts = [self.path]
        elif not train.is_dir():
            findings.add(f"{self.path} has no folder {TRAIN}/{self._meant()}")
            findings.refuse()
        for part in parts:
            for name in (SPECTRA, *([] if self._target is None else [TARGETS])):
                if not (part / name).is_dir():
                    where = ("target",) if name == TARGETS else ("path",)
                    what = "the number of every spectrum" if name == TARGETS else "the spectra, a file for each"
                    findings.add(f"{part} has no folder {name}/, which holds {what}", where=where)
            if not self._info(part).is_file():
                findings.add(f"{part} has no {self._info(part).name}, which lists the spectra and names their cores")
        if self._lists.get(VALIDATION) and not self._kept().is_file():
            findings.add(f"{train} has no {self._kept().name}", where=("lists", VALIDATION))
        findings.refuse()
        return parts

    def _info(self, part: Path) -> Path:
        """The list of a part's spectra."""
        return part / (self._lists.get(part.name) or INFO)

    def _targets(self, part: Path) -> Path:
        """The folder of a part's targets: target/TOC% if it is there, else target/."""
        own = part / TARGETS / (self._target or "")
        return own if own.is_dir() else part / TARGETS

    def _kept(self) -> Path:
        """The list of the spectra for validation."""
        return self.path / TRAIN / (self._lists.get(VALIDATION) or KEPT_FOR_VALIDATION)

    def _validation(self, findings: Findings) -> dict[str, dict[str, str]]:
        """Name and other columns of the spectra for validation, as their list has them."""
        if not self._kept().is_file() or self._lists.get(VALIDATION, "") is None:
            return {}
        lines = [cells for _, cells in _lines(self._kept(), findings)]
        return {name: dict(zip(lines[0][1:], cells, strict=False)) for name, *cells in lines[1:]}

    def _meant(self) -> str:
        if (self.path / SPECTRA).is_dir():
            return f"; it seems to be a part itself; use the folder that contains it, {self.path.absolute().parent}"
        try:
            below = sorted(entry.name for entry in self.path.iterdir() if (entry / TRAIN).is_dir())
        except OSError:
            below = []
        return f"; below it, these have one: {some(below)}" if below else ", nor has any folder below it"


def _states(folder: Path) -> list[str]:
    """Name, size, time of change and inode of every file, by name."""
    handle = os.open(folder, os.O_RDONLY)  # relative to an open folder, so that its path is resolved once
    try:
        with os.scandir(handle) as entries:
            found = []
            for entry in entries:
                try:
                    status = entry.stat()
                except FileNotFoundError:  # a link to nowhere
                    found.append(entry.name)
                else:
                    found.append(f"{entry.name}/{status.st_size}/{status.st_mtime_ns}/{status.st_ino}")
    finally:
        os.close(handle)
    return sorted(found)


def counts_of(paths: Sequence[Path], channels: int, findings: Findings) -> Array:
    """The spectra of some files, (row, channels)."""
    block = np.zeros((len(paths), channels), dtype=np.float32)
    for row, path in enumerate(paths):
        try:
            block[row] = counts_in(_content(path), channels)
        except OSError as error:
            findings.add(f"{path.parent} has files that cannot be read", f"{path.name} ({error.strerror})")
        except ValueError as error:
            kind = f"{path.parent} has files that are not spectra of {channels} counts"
            findings.add(kind, f"{path.name} ({error})")
    return block


def _content(path: Path) -> bytes:
    with path.open("rb", buffering=0) as file:
        return file.read()


def described(info: Path, findings: Findings) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and other columns of every spectrum of info.csv, in its order; the first column is the name of the file."""
    lines = _lines(info, findings)
    header = next(lines, (0, []))[1]
    for name, count in Counter(header[1:]).items():
        if count > 1:
            findings.add(f"{info} has {count} columns called '{name}'; rename all but one")
    seen = set[str]()
    for line, cells in lines:
        if len(cells) != len(header):
            findings.add(f"{info} has lines without {len(header)} columns", f"line {line} ({len(cells)})")
            continue
        if cells[0] in seen:
            findings.add(f"{info} names spectra twice", f"{cells[0]} (line {line})")
        seen.add(cells[0])
        yield cells[0], dict(zip(header[1:], cells[1:], strict=True))
    if header and not seen:
        findings.add(f"{info} lists no spectra")


def _lines(path: Path, findings: Findings) -> Iterator[tuple[int, list[str]]]:
    """Row number and cells of all lines that are not blank, starting with the header."""
    try:
        line = 0
        for line, cells in read_records(path):
            yield line, [cell.strip() for cell in cells]
        if not line:
            findings.add(f"{path} is empty; its first line must name the columns, starting with that of the file names")
    except TableError as error:
        findings.add(str(error))


def files_in(folder: Path) -> list[str]:
    """Sorted names of the files of a folder, without hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))


def compare(
    folder: Path,
    there: Sequence[str],
    info: Path,
    names: Collection[str],
    findings: Findings,
    besides: Collection[str] | None = (),
) -> None:
    """Find spectra that a list names and the folder lacks, and files that it does not name.

    besides  files that another list names; None if the folder may hold files that are not used
    """
    if not there:
        findings.add(f"{folder} holds no file")
    if not there or not names:
        return
    known = set(there)
    example = f", whose files have names such as {there[0]}" if known.isdisjoint(names) else ""
    for name in names:
        if name not in known:
            findings.add(f"{info} names spectra that are not in {folder}{example}", name)
    for name in there:
        if besides is not None and name not in names and name not in besides:
            findings.add(f"{folder} holds spectra that {info} does not name", name)


def _numbers(folder: Path, names: Sequence[str], findings: Findings) -> dict[str, float]:
    """Spectrum → its target; NaN if there is none."""
    there, found = set(files_in(folder)), dict.fromkeys(names, math.nan)
    for name in names:
        if name in there:
            try:
                text = _content(folder / name).removeprefix(BYTE_ORDER_MARK).decode(errors="replace").strip()
            except OSError as error:
                text = error.strerror or str(error)
            read = number(text)
            if read is None or math.isinf(read):
                kind = f"{folder} has files that are not one finite number"
                findings.add(kind, f"{name} ('{text[:20]}')", ("target",))
            found[name] = math.inf if read is None else read
    return found
