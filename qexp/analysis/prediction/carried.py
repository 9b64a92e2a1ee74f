"""Columns that describe spectra, which predictions repeat beside the estimates."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qexp.rows.table import MISSING, number

if TYPE_CHECKING:
    import pyarrow as pa

RENAMED = "_given"
"""End of the name of a column whose own name the predictions use for something else."""


@dataclass
class TypesOfTexts:
    """The types of columns that are read as texts, from all of their cells: whole numbers, numbers, or texts.

    A number that is written otherwise than a computer would write it, such as 007, makes its column one of texts.
    """

    _kinds: dict[str, set[str]] = field(default_factory=dict)
    """Column → kinds of its cells, in the order in which columns are first seen."""

    def add(self, cells: Mapping[str, str]) -> None:
        """Look at the cells of a line, by column."""
        for name, text in cells.items():
            kinds = self._kinds.setdefault(name, set())
            if text not in MISSING:
                kinds.add(_kind(text))

    def schema(self) -> pa.Schema:
        import pyarrow as pa

        return pa.schema([(name, getattr(pa, _widest(kinds))()) for name, kinds in self._kinds.items()])


def _kind(text: str) -> str:
    if number(text) is None:
        return "string"
    digits = text.removeprefix("-")
    if not digits.isdecimal():
        return "float64"
    return "int64" if str(int(text)) == text and abs(int(text)) < 2**63 else "string"


def _widest(kinds: Collection[str]) -> str:
    if not kinds or "string" in kinds:
        return "string"
    return "float64" if "float64" in kinds else "int64"


def column_of(texts: Sequence[str], kind: pa.DataType) -> pa.Array:
    """Texts of `TypesOfTexts` as a column of their type; missing numbers and empty texts are null."""
    import pyarrow as pa

    if pa.types.is_string(kind):
        return pa.array([text or None for text in texts], kind)
    numbers = [math.nan if text in MISSING else number(text) for text in texts]
    if pa.types.is_integer(kind):
        return pa.array([None if text in MISSING else int(text) for text in texts], kind)
    return pa.array(numbers, kind, from_pandas=True)


UNNAMED = "unnamed"
"""Name of a column that has none."""


def new_names(columns: Iterable[str], taken: Collection[str], netcdf: bool = False) -> dict[str, str]:
    """Column → its name in the predictions: its own, or with `_given` at its end if that is taken.

    netcdf  write `_` for `/`, which would make groups of variables in NetCDF
    """
    used, names = set(taken), {}
    for name in columns:
        made = (name.replace("/", "_") if netcdf else name) or UNNAMED
        while made in used:
            made += RENAMED
        used.add(made)
        names[name] = made
    return names
