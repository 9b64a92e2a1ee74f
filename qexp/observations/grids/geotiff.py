"""GeoTIFF and all else that GDAL knows, through rasterio."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qexp.errors import QexpError
from qexp.observations.grids.raster import Array, Layout, Raster, Window
from qexp.rows.geotiff import is_placed, open_raster, read_bands


def open_geotiff(path: Path, band: int | None = None) -> Raster:
    """One band of a file.

    band  counted from 1; needed if the file has several

    Raises QexpError if the file cannot be read or places no pixels. Values of the types for whole numbers are
    multiplied by the band's scale, and its offset is added.
    """
    import rasterio

    with open_raster(path) as opened:
        number = _band(opened, path, band)
        if not is_placed(opened):
            raise QexpError(f"{path} does not say where its pixels lie (no geotransform); georeference it first")
        transform = tuple(float(one) for one in opened.transform)[:6]
        crs = opened.crs.to_wkt() if opened.crs else None
        layout = Layout((opened.height, opened.width), transform, crs)  # type: ignore[arg-type]
        unit, named = opened.units[number - 1] or "", opened.count > 1
        gaps, kind = opened.nodatavals[number - 1] is not None, opened.dtypes[number - 1]

    def read(window: Window) -> Array:
        part = rasterio.windows.Window.from_slices(window[:2], window[2:])
        with open_raster(path) as opened:
            values: Array = read_bands(opened, [number], part)[0]
        return values

    return Raster(f"{path}, band {number}" if named else str(path), layout, unit, read, gaps, kind)


def _band(opened: Any, path: Path, band: int | None) -> int:
    if band is None and opened.count > 1:
        names = ", ".join(f"{number} {text or ''}".strip() for number, text in enumerate(opened.descriptions, 1))
        raise QexpError(f"{path} has {opened.count} bands ({names}); name one with --band")
    number = 1 if band is None else band
    if not 1 <= number <= opened.count:
        raise QexpError(f"{path} has no band {number}; it has {opened.count}, counted from 1")
    return number
