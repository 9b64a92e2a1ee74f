"""Differences between the outputs of two runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qexp.errors import DamagedError
from qexp.runs.record.record import Numbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Largest:
    """The place of the largest difference between two sets of numbers; null if they cannot be compared."""

    where: str
    difference: float | None


def same_bytes(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def first_difference(one: Path, other: Path) -> int | None:
    """The first epoch whose lines in two metrics files differ or that is missing from one of them."""
    contents = [path.read_bytes() if path.is_file() else b"" for path in (one, other)]
    lines = itertools.zip_longest(*(content.splitlines() for content in contents))
    return next((epoch for epoch, (a, b) in enumerate(lines, start=1) if a != b), None)


def largest_of_weights(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> Largest:
    """The largest difference between two files of weights; the optimizer's state counts only if weights are equal."""
    import numpy as np

    for name in sorted({*one, *other}):
        if name not in one or name not in other or one[name].shape != other[name].shape:
            return Largest(f"{name}, which has this shape in only one of them", None)

    def distance(name: str) -> float:
        a, b = one[name].astype(np.float64), other[name].astype(np.float64)
        difference = float(np.max(np.abs(a - b), initial=0.0))
        return difference if not math.isnan(difference) else math.inf

    differing = [name for name in one if one[name].tobytes() != other[name].tobytes()]
    weights = [name for name in differing if not name.startswith(("optimizer.", "progress."))]
    if not differing:
        return Largest("the metadata of the weights", None)
    name = max(weights or differing, key=distance)
    found = distance(name)
    return Largest(name, found if math.isfinite(found) else None)


def largest_of_results(one: Numbers, other: Numbers) -> Largest:
    """The result with the largest relative difference."""
    a, b = _flat(one), _flat(other)

    def relative(name: str) -> float:
        x, y = a.get(name), b.get(name)
        if x is None or y is None:
            return 0.0 if x is y else math.inf
        return abs(x - y) / (max(abs(x), abs(y)) or 1.0)

    name = max({**a, **b}, key=relative)
    x, y = a.get(name), b.get(name)
    return Largest(name, None if x is None or y is None else abs(x - y))


def _flat(results: Mapping[str, Any], path: str = "") -> dict[str, float | None]:
    """Dotted path → value, such as `{"test.depth.mae": 0.1}`."""
    found: dict[str, float | None] = {}
    for key, value in results.items():
        found |= _flat(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return found


def tensors(path: Path) -> dict[str, NDArray[np.generic]]:
    """Name → tensor in a file of weights. Raises DamagedError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise DamagedError(f"{path} is damaged: {error}") from None
