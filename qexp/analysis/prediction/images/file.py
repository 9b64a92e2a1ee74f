"""A file of images: arrays by the names of variables, read some samples at a time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qexp.errors import QexpError

Values = NDArray[Any]
Shape = tuple[int, ...]


DEGREE_OF_LATITUDE = 111_195.0
"""Length of a degree along a meridian of a sphere of the Earth's mean radius of 6371 km [m]."""


class ImageFile(ABC):
    """Arrays by the names of variables, whose first axis may be the samples."""

    paths: Sequence[Path]
    """The files that are read."""
    shapes: Mapping[str, Shape]
    """Variable → shape of its array; rows of images run northwards, columns eastwards."""
    kept: Mapping[str, Values] = {}
    """Further columns that describe the samples, one value each."""

    @abstractmethod
    def place(self, name: str) -> str:
        """The file of a variable, and its name there, for errors."""

    def unit(self, name: str) -> str:
        """The unit that the file gives a variable; empty if it gives none."""
        return ""

    def pixel(self, name: str) -> tuple[float, float] | None:
        """Width and height of the pixels of a variable [m]; None if the file does not say."""
        return None

    def names(self, name: str) -> Sequence[str] | None:
        """Names of the samples of a variable; None if the file has none."""
        return None

    @abstractmethod
    def read(self, name: str, samples: slice | None) -> Values:
        """Some samples of a variable, along its first axis; all of the array for None. Missing values are NaN."""


def degrees_in_metres(east: float, north: float, latitude: float) -> tuple[float, float]:
    """Width and height [m] of a pixel whose sides are degrees of longitude and latitude, at a latitude in degrees."""
    return east * DEGREE_OF_LATITUDE * math.cos(math.radians(latitude)), north * DEGREE_OF_LATITUDE


def require_numbers(dtype: np.dtype[Any], place: str) -> None:
    """Raise QexpError for types other than real numbers and booleans."""
    if dtype.kind not in "biuf":
        raise QexpError(f"{place} holds {dtype}, not real numbers; save the displacement, for example as float32")
