"""Names, parts, targets and metadata of spectra, and the problems found in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qexp.datasets.array_cache import Array
from qexp.errors import DatasetError
from qexp.rows.values import SHOWN, number

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)

BLOCK = 512
"""Spectra read at a time."""

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

    path: Path
    listed: str
    """The file that lists the columns, for messages."""

    def state(self) -> list[Any]:
        """A value that changes when any file changes, found without reading the spectra."""
        ...

    def rows(self) -> SpectrumRows:
        """Raises DatasetError."""
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


def some(names: list[str]) -> str:
    """`a, b, c, d, e and 7 more`."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


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
