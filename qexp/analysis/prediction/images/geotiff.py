"""Images in GeoTIFF: a band for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qexp.analysis.prediction.images.file import ImageFile, Values, degrees_in_metres
from qexp.errors import QexpError, some
from qexp.rows.rasters import northwards, open_raster, read_bands


class GeotiffImages(ImageFile):
    """Bands of a GeoTIFF, a sample each.

    name  the variable that they stand for
    Raises QexpError if it cannot be read.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.paths, self._path = [path], path
        self._data = open_raster(path)
        self._order = northwards(self._data)
        self.shapes = {name: (self._data.count, self._data.height, self._data.width)}

    def place(self, name: str) -> str:
        return str(self._path)

    def unit(self, name: str) -> str:
        units = sorted({unit or "" for unit in self._data.units})
        if len(units) > 1:
            raise QexpError(f"{self._path}: its bands have several units, {some([repr(unit) for unit in units])}")
        return units[0]

    def pixel(self, name: str) -> tuple[float, float] | None:
        width, height = self._data.res
        if self._data.crs is None:
            return None
        if self._data.crs.is_geographic:
            return degrees_in_metres(width, height, (self._data.bounds.top + self._data.bounds.bottom) / 2)
        _, factor = self._data.crs.linear_units_factor
        return width * factor, height * factor

    def names(self, name: str) -> Sequence[str] | None:
        return [words or str(band) for band, words in zip(self._data.indexes, self._data.descriptions, strict=True)]

    def read(self, name: str, samples: slice | None) -> Values:
        return read_bands(self._data, self._data.indexes[samples or slice(None)])[:, *self._order]
