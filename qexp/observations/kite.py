"""Scenes of Kite: maps in NAME.npz, and NAME.yml, which places them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from qexp.base import files, formats
from qexp.base.arrays import Array
from qexp.base.text import number_in
from qexp.errors import QexpError
from qexp.observations.rasters import Layout, Raster, Window
from qexp.observations.reading import Reading, ReadOptions
from qexp.observations.scenes import from_components, read_field

FILES = (".npz", ".yml")
MAPS = ("displacement", "theta", "phi")
"""In the order in which Kite saves them, without names."""
STEEPEST, FARTHEST = np.pi / 2 + 1e-3, 3 * np.pi
"""Largest theta, and phi as programs write it [rad]."""
FRAME_LINE = re.compile(r"^ +(llLon|llLat|dE|dN|spacing): *['\"]?([^\s'\"#]+)", re.MULTILINE)
CORRECTION = re.compile(r"^(aps|gacos|deramp):.*\n +applied: true", re.MULTILINE)
BROKEN = (*formats.BROKEN_NETCDF, *formats.BROKEN_NUMPY, BadZipFile, NotImplementedError)


def read_kite(path: Path, options: ReadOptions) -> Reading:
    """Read displacements toward the satellite [m] over a grid whose rows run northwards, with the
    satellite's elevation theta, and its azimuth phi, anticlockwise from east [rad].

    Raises QexpError if one of the two files is missing, or damaged.
    """
    data, config = (path.with_suffix(ending) for ending in FILES)
    for file in (data, config):
        if not file.is_file():
            raise QexpError(f"{path}: a scene of Kite is two files, but there is no {file}")
    displacement, theta, phi = _maps(data)
    text = files.read_bytes(config).decode(errors="replace")
    layout = _layout(config, text, displacement.shape)
    flat = np.cos(theta)
    vector = flat * np.cos(phi), flat * np.sin(phi), np.sin(theta)
    field, *components = (_raster(data, layout, values) for values in (displacement, *vector))
    sight = partial(from_components, components=components)
    reading = read_field(path.stem, field, options, sight)
    if applied := CORRECTION.findall(text):
        said = (
            f"Kite's corrections are not read: {', '.join(applied)}; `invert --ramps` fits planes"
        )
        return replace(reading, warnings=(*reading.warnings, said))
    return reading


def _raster(path: Path, layout: Layout, values: Array) -> Raster:
    """A map, (row, column), without numbers where it has gaps."""

    def read(window: Window) -> Array:
        rows = slice(window.top, window.bottom)
        columns = slice(window.left, window.right)
        return values[rows, columns]

    return Raster(str(path), layout, "m", read, gaps=True, type="float64")


def _maps(path: Path) -> list[Array]:
    """Displacement [m], theta and phi [rad], (row, column) each; angles may be one for all.

    Raises QexpError for what is no map of numbers, or too large.
    """
    try:
        with ZipFile(path) as archive:
            for part in archive.infolist():
                stored = part.compress_size
                formats.require_bounded(part.filename, part.file_size, partial(int, stored))
        with np.load(path, allow_pickle=False) as there:
            names = [name if name in there else f"arr_{index}" for index, name in enumerate(MAPS)]
            maps = [there[name].astype(np.float64, casting="same_kind") for name in names]
        shape = maps[0].shape
        if len(shape) != 2:
            raise ValueError(f"its displacement has the shape {shape}, which is no grid")
        maps = [np.broadcast_to(values.squeeze(), shape) for values in maps]
    except BROKEN as error:
        raise QexpError(f"{path} cannot be read as a scene of Kite: {error}") from None
    limits = zip(MAPS[1:], maps[1:], (STEEPEST, FARTHEST), strict=True)
    for name, values, most in limits:
        largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
        if largest > most:
            raise QexpError(f"{path}: {name} is up to {largest:.4g}, but Kite's is in radians")
    return maps


def _layout(path: Path, text: str, shape: Sequence[int]) -> Layout:
    """The grid from its outer corner in the south and west, with pixels of degrees, or of metres
    east and north of the corner. Raises QexpError.
    """
    # Kite writes a key a line; a library of YAML could make objects of what another has written
    keys = FRAME_LINE.findall(text)
    frame = dict(keys)
    spacing = frame.pop("spacing", "meter")
    numbers = [number_in(frame.get(name, "")) for name in ("llLon", "llLat", "dE", "dN")]
    x, y, width, height = (np.nan if number is None else number for number in numbers)
    placed = abs(x) <= 360 and abs(y) < 90 and 0 < width < np.inf and 0 < height < np.inf
    if not placed or spacing not in ("meter", "degree"):
        raise QexpError(
            f"{path} does not place the scene: its frame needs llLon, llLat, dE and dN, each in a"
            f" line, and the spacing meter or degree; it has {dict(keys) or 'none'}"
        )
    rows, columns = shape
    if spacing == "degree":
        return Layout((rows, columns), (width, 0, x, 0, height, y), "EPSG:4326")
    local = f"+proj=aeqd +lat_0={y} +lon_0={x} +datum=WGS84 +units=m"
    return Layout((rows, columns), (width, 0, 0, 0, height, 0), local)
