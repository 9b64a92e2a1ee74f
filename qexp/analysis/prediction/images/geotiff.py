"""Images in GeoTIFF: a band for each sample."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qexp.analysis.prediction.images.file import ImageFile, Values, degrees_in_metres, require_numbers
from qexp.errors import QexpError, some


class GeotiffImages(ImageFile):
    """Bands of a GeoTIFF, a sample each.

    name  the variable that they stand for
    Raises QexpError if it cannot be read.
    """

    def __init__(self, path: Path, name: str) -> None:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError

        self.paths, self._path = [path], path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                self._data = rasterio.open(path)
        except RasterioError as error:
            raise QexpError(f"{path} cannot be read as GeoTIFF: {error}") from None
        for kind in set(self._data.dtypes):
            require_numbers(np.dtype(kind), str(path))
        self.shapes = {name: (self._data.count, self._data.height, self._data.width)}
        turned = self._data.transform
        if turned.b or turned.d:
            raise QexpError(f"{path}: its rows do not run along a parallel of its grid; warp it to a north-up grid")

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
        from rasterio.errors import RasterioError

        bands = list(self._data.indexes[samples or slice(None)])
        try:
            values: Values = self._data.read(bands, masked=True).astype(np.float64).filled(np.nan)
        except RasterioError as error:
            raise QexpError(f"{self._path}, bands {bands[0]} to {bands[-1]} cannot be read: {error}") from None
        scaled = [(self._data.scales[band - 1], self._data.offsets[band - 1]) for band in bands]
        for index, (scale, offset) in enumerate(scaled):
            if (scale, offset) != (1, 0):
                values[index] = values[index] * scale + offset
        rows, columns = self._data.transform.e, self._data.transform.a
        return values[:, :: -1 if rows < 0 else 1, :: -1 if columns < 0 else 1]
