"""Columns that have other names in a file than in the training data: given by name, or by position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from qexp.did_you_mean import suggestion
from qexp.errors import QexpError
from qexp.rows.table import Table
from qexp.rows.values import TableError

Columns = Mapping[str, str] | Sequence[int]
"""Feature → its column in the file, for features whose column has another name; or the positions of the features'
columns in the file, counted from 1, in the order of the features."""


def require_columns(columns: Columns, features: Sequence[str]) -> None:
    """Raise QexpError for names that are not features, positions of another number, and columns given twice."""
    if not isinstance(columns, Mapping):
        if len(columns) != len(features):
            raise QexpError(
                f"--columns: {len(columns)} positions, but the run has {len(features)} columns of input: "
                f"{', '.join(features)}; give the position of each, in this order"
            )
        if least := [one for one in columns if one < 1]:
            raise QexpError(f"--columns: there is no column {least[0]}; the first one is 1")
        _refuse_repeated([str(one) for one in columns], features)
        return
    for name in columns:
        if name not in features:
            raise QexpError(f"--columns: the run has no column '{name}'; {suggestion(name, features)}")
    _refuse_repeated([f"'{columns.get(name, name)}'" for name in features], features)


def _refuse_repeated(sources: Sequence[str], features: Sequence[str]) -> None:
    for source, count in Counter(sources).items():
        if count > 1:
            both = [f"'{name}'" for name, own in zip(features, sources, strict=True) if own == source]
            raise QexpError(f"--columns: column {source} of the file is given to {' and '.join(both)}")


def columns_at(table: Table, positions: Sequence[int]) -> list[str]:
    """The names of the columns at some positions, counted from 1. Raises TableError."""
    if (greatest := max(positions)) > len(table.names):
        raise TableError(f"{table.path} has {len(table.names)} columns, and no column {greatest}")
    return [table.names[position - 1] for position in positions]
