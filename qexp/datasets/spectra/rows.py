"""Names, parts, targets and metadata of spectra, and the problems found in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.array_cache import Array
from qexp.errors import DatasetError, some
from qexp.rows.table import number

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)

BLOCK = 512
"""Spectra read at a time."""

ERROR, DROP = "error", "drop"
"""What to do with spectra whose target is missing."""

Where = tuple[str | int, ...]


@dataclass(frozen=True)
class SpectrumRows:
    """Names, parts and metadata of all spectra as texts, in the order of the rows."""

    names: list[str]
    parts: list[str]
    columns: dict[str, list[str]]
    targets: list[float] | None

    def __len__(self) -> int:
        return len(self.names)


class SpectrumSource(Protocol):
    """A folder or file that spectra are read from."""

    left_out: int
    """The number of spectra that are not used, once `rows` has been called."""

    path: Path

    @property
    def listed(self) -> str:
        """The file that lists the columns, for messages."""
        ...

    def state(self) -> list[Any]:
        """A value that changes when any file changes, found without reading the spectra."""
        ...

    def rows(self) -> tuple[SpectrumRows, list[str]]:
        """The spectra that are used, and remarks on those that are left out. Raises DatasetError."""
        ...

    def counts(self, rows: SpectrumRows) -> Iterator[Array]:
        """The spectra of the rows in blocks, (row, channels). Raises DatasetError, after the last of them."""
        ...


class Findings:
    """Problems, grouped by kind; of each kind the first few are named."""

    def __init__(self) -> None:
        self._of: dict[tuple[Where, str], list[str]] = {}

    def add(self, kind: str, shown: str = "", where: Where = ("path",)) -> None:
        """Add a problem of a kind; `shown` is the spectrum or file, `where` the argument."""
        self._of.setdefault((where, kind), []).append(shown)

    def refuse(self) -> None:
        """Raises DatasetError if anything was found."""
        if self._of:
            raise DatasetError(
                [(where, f"{kind}: {some(names)}" if names[0] else kind) for (where, kind), names in self._of.items()]
            )


class Labels:
    """Which spectra have a target; those without are problems or are left out.

    target   its name, for messages
    missing  `error` or `drop`
    """

    def __init__(self, target: str, missing: str) -> None:
        self._target, self._missing = target, missing
        self._count = 0
        self._without: list[str] = []

    @property
    def left_out(self) -> int:
        """The number of spectra that are left out."""
        return len(self._without) if self._missing == DROP else 0

    def keep(self, name: str, value: float, place: str, findings: Findings) -> bool:
        """Whether a spectrum with this target, NaN if it is missing, is used.

        place  where the target comes from, for messages
        """
        self._count += 1
        if not math.isnan(value):
            return True
        self._without.append(name)
        if self._missing == DROP:
            return False
        findings.add(
            f'{place} lacks the numbers of spectra, which "missing": "drop" would leave out', name, ("target",)
        )
        return True

    def end(self, path: Path, findings: Findings) -> list[str]:
        """Remarks on the spectra that were left out; a finding if none is left."""
        if self._missing != DROP or not self._without:
            return []
        if len(self._without) == self._count:
            findings.add(f"{path}: no spectrum has a number for '{self._target}'", where=("target",))
        without = f"they have no number for '{self._target}': {some(self._without)}"
        return [f"{len(self._without):,} of {self._count:,} spectra are left out, because {without}"]


def depth_like(columns: Iterable[str]) -> str:
    """The columns that may hold a depth, by their names: `'mid_depth_mm' or 'section_depth_mm'`; empty if none."""
    return " or ".join(f"'{name}'" for name in columns if "depth" in name.lower())


def depths_of(texts: Sequence[str], names: Sequence[str], place: str, findings: Findings) -> NDArray[np.float64]:
    """Depths as numbers, NaN where none is known.

    names  of the spectra
    place  where the texts come from, for messages
    """
    numbers = [number(text) for text in texts]
    for name, text, found in zip(names, texts, numbers, strict=True) if None in numbers else ():
        if found is None:
            findings.add(f"{place} has cells that are not numbers", f"'{text[:20]}' of {name}", ("depth",))
    return np.array(numbers, dtype=np.float64)
