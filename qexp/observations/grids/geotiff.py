"""GeoTIFF and all else that GDAL knows, through rasterio."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from qexp.errors import QexpError
from qexp.observations.grids.raster import Array, Layout, Raster, Window


def open_geotiff(path: Path, band: int | None = None) -> Raster:
    """One band of a file.

    band  counted from 1; needed if the file has several

    Raises QexpError if the file cannot be read or places no pixels. Values of the types for whole numbers are
    multiplied by the band's scale, and its offset is added.
    """
    import rasterio

    with _reading(path) as opened:
        number = _band(opened, path, band)
        transform = tuple(float(one) for one in opened.transform)[:6]
        if opened.transform.is_identity:
            raise QexpError(f"{path} does not say where its pixels lie (no geotransform); georeference it first")
        crs = opened.crs.to_wkt() if opened.crs else None
        layout = Layout((opened.height, opened.width), transform, crs)  # type: ignore[arg-type]
        unit, named = opened.units[number - 1] or "", opened.count > 1
        gaps, kind = opened.nodatavals[number - 1] is not None, opened.dtypes[number - 1]
        scale = float(opened.scales[number - 1]), float(opened.offsets[number - 1])
        masked = rasterio.enums.MaskFlags.all_valid not in opened.mask_flag_enums[number - 1]

    def read(window: Window) -> Array:
        cut = rasterio.windows.Window.from_slices(window[:2], window[2:])
        with _reading(path) as opened:
            try:
                stored = opened.read(number, window=cut)
                seen = opened.read_masks(number, window=cut) if masked else True
            except rasterio.errors.RasterioError as error:
                raise QexpError(f"{path} cannot be read: {error}") from None
        values = stored.astype(np.float64)
        if scale != (1.0, 0.0):
            values = values * scale[0] + scale[1]
        return np.where(seen, values, np.nan) if masked else values

    return Raster(f"{path}, band {number}" if named else str(path), layout, unit, read, gaps, kind)


def _reading(path: Path) -> Any:
    import rasterio

    if not path.is_file():
        raise QexpError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings():  # that a file places no pixels is said as an error
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            return rasterio.open(path)
    except rasterio.errors.RasterioError as error:
        raise QexpError(f"{path} cannot be read as a raster: {error}") from None


def _band(opened: Any, path: Path, band: int | None) -> int:
    if band is None and opened.count > 1:
        names = ", ".join(f"{number} {text or ''}".strip() for number, text in enumerate(opened.descriptions, 1))
        raise QexpError(f"{path} has {opened.count} bands ({names}); name one with --band")
    number = 1 if band is None else band
    if not 1 <= number <= opened.count:
        raise QexpError(f"{path} has no band {number}; it has {opened.count}, counted from 1")
    return number
