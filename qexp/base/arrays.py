"""The type of most arrays, and columns of numbers by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError, some

Array = NDArray[np.float64]
"""Numbers in double precision, of any shape."""
Mask = NDArray[np.bool_]
Texts = NDArray[np.str_]

Pair = tuple[float, float]
"""Such as the ends of an interval, or a position east and north."""

NAMES_LISTED = 12


def columns_of(values: Any) -> dict[str, Any]:
    """Name → column of a data frame, a structured array, a data set of xarray, a dictionary or a
    named tuple, or of an array of xarray with labels along its last dimension; empty for what has
    no names but 0, 1, 2. Raises QexpError.
    """
    values = values._asdict() if hasattr(values, "_asdict") else values
    labels: Any = getattr(getattr(values, "dtype", None), "names", None)
    if labels is None and isinstance(values, Mapping):
        labels = list(values)
    elif labels is None and not hasattr(values, "dims"):
        labels = getattr(values, "column_names", getattr(values, "columns", ()))
    elif labels is None and 0 < values.ndim <= 2 and values.dims[-1] in values.coords:
        labels = values.coords[values.dims[-1]].values.tolist()
        values = dict(zip(labels, np.moveaxis(values.values, -1, 0), strict=False))
    labels = list(() if labels is None or callable(labels) else labels)
    names = [f"{label:.6g}" if isinstance(label, float) else str(label) for label in labels]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise QexpError(f"the column '{min(repeated)}' is there twice; give each another name")
    if labels == [*range(len(labels))]:
        return {}
    return {name: values[label] for name, label in zip(names, labels, strict=True)}


def by_name(values: Any, what: str, known: Sequence[str] = (), whose: str = "") -> Any:
    """The columns of these names, in their order, (..., column); what has no names stays as it is.

    known  all columns in their order, if left out
    whose  words for who has these names
    Raises QexpError if some of them are not there.
    """
    labelled = values
    if known and hasattr(values, "to_frame") and hasattr(values, "index"):  # a row of a data frame
        labelled = dict(zip(values.index, values, strict=True))
    columns = columns_of(labelled)
    if not columns:
        return values
    if not {*known} <= {*columns}:
        there = some(list(columns), NAMES_LISTED)
        wanted = some(list(known), NAMES_LISTED)
        raise QexpError(
            f"{what} has the columns {there}, but {whose} {wanted}; rename what is the same"
        )
    arrays = {}
    for name in known or columns:
        column = columns[name]
        arrays[name] = np.asarray(column.detach().cpu() if hasattr(column, "detach") else column)
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1 or len(min(shapes)) > 1:
        raise QexpError(
            f"{what}: each of {some(list(arrays))} has a number for each row, but there are"
            f" {shapes}"
        )
    for name, array in arrays.items():
        if array.dtype.kind in "USmM":
            raise QexpError(
                f"{what}: '{name}' holds texts or dates, but numbers are needed; leave it out, or"
                " convert it"
            )
    return np.stack([*arrays.values()], axis=-1)
