"""Grids of displacement or phase as tracks: GeoTIFF, NetCDF and GMT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from qexp.errors import QexpError
from qexp.observations.grids.geometry import Direction, direction_of
from qexp.observations.grids.open import GEOTIFF, NETCDF, open_coherence, open_elevation, open_raster
from qexp.observations.grids.raster import Raster
from qexp.observations.grids.scene import PIECE, Scene
from qexp.observations.grids.wavelengths import metres_per_radian, wavelength_of
from qexp.observations.observation import Track
from qexp.observations.pixels import joined
from qexp.observations.reading import METRES, Asked, Reading
from qexp.observations.reduction import reduced

UNITS = {
    "metre": "m", "metres": "m", "meter": "m", "meters": "m", "centimetre": "cm", "centimeters": "cm",
    "centimetres": "cm", "millimetre": "mm", "millimeters": "mm", "millimetres": "mm",
}  # fmt: skip
"""Units as files write them → as here; without those that are a rate."""
RATES = ("/year", "/yr")
RADIANS = ("rad", "radian", "radians")
LEAST_COHERENCE = 0.3
SAMPLED = 50_000
"""Pixels from which the noise of a grid is estimated that becomes means of cells."""


def is_grid(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (*GEOTIFF, *NETCDF)


def read_grid(path: Path, asked: Asked) -> Reading:
    """Read one field of displacement or phase over a grid. Raises QexpError."""
    field = in_crs(open_raster(path, asked.band, asked.variable), asked)
    return reading_of(scene_of(asked.name or path.stem, field, direction_of(field, asked), asked), asked)


def in_crs(field: Raster, asked: Asked) -> Raster:
    """The field in the coordinate reference system of the command line, if its file names none."""
    if field.layout.crs is not None:
        return field
    if asked.crs is None:
        raise QexpError(
            f"{field.source} does not say in which coordinate reference system it is; name it, such as --crs "
            f"EPSG:32633, or EPSG:4326 for longitude and latitude (it has {field.layout})"
        )
    return replace(field, layout=replace(field.layout, crs=asked.crs))


def scene_of(
    name: str,
    field: Raster,
    direction: Direction,
    asked: Asked,
    wavelength: float | None = None,
    error: float | Raster | None = None,
    coherence: Raster | None = None,
    elevation: Raster | None = None,
) -> Scene:
    """The scene of a field with what the command line adds to it, or has in place of what the file tells.

    wavelength, error, coherence, elevation   what the file tells
    """
    metres, phase = displacement_of(field, asked, wavelength)
    if asked.error is not None:
        error = asked.error * (1.0 if phase else asked.metres)
    if error is None:
        raise QexpError(
            f"{field.source} has no errors; give the standard deviation of its displacements, such as --error 0.005 "
            "(in metres, or in the unit of --unit)"
        )
    if isinstance(error, float) and not error > 0:
        raise QexpError(f"--error {error:g}: a standard deviation is positive")
    least = asked.least_coherence
    if least is not None and not 0 < least <= 1:
        raise QexpError(f"--least-coherence {least:g}: coherence lies between 0 and 1")
    if asked.coherence is not None:
        coherence = open_coherence(asked.coherence)
    if least is not None and coherence is None:
        raise QexpError("--least-coherence needs a raster of coherence: --coherence FILE")
    if asked.dem is not None:
        elevation = open_elevation(asked.dem, field.layout)
    layout = field.layout
    window = layout.whole if asked.bounds is None else layout.within(asked.bounds, field.source)
    masks = None if coherence is None else (coherence, LEAST_COHERENCE if least is None else least)
    return Scene(name, field, metres, phase, error, direction, masks, elevation, window)


def in_one_year(field: Raster) -> tuple[Raster, tuple[str, ...]]:
    """A velocity as the displacement of one year, and what to tell of it; other fields as they are."""
    unit = field.unit.lower()
    rate = next((ending for ending in RATES if unit.endswith(ending)), None)
    if rate is None:
        return field, ()
    return replace(field, unit=unit.removesuffix(rate)), ("velocities are read as the displacements of one year",)


def displacement_of(field: Raster, asked: Asked, wavelength: float | None) -> tuple[float, bool]:
    """The displacement toward the satellite of one unit of a field [m], and whether the field is phase."""
    said = field.unit.strip().lower()
    unit = UNITS.get(said, said)
    given = asked.wavelength is not None or asked.sensor is not None
    if asked.wavelength is not None and asked.sensor is not None:
        raise QexpError("--wavelength and --sensor both give the wavelength; leave one out")
    if asked.phase or given or unit in RADIANS:
        if asked.unit is not None:
            raise QexpError(f"{field.source}: phase is in radians; leave --unit {asked.unit} out")
        if unit in METRES:
            raise QexpError(
                f"{field.source} is in {unit}, so it is not phase; leave --phase, --wavelength and --sensor out"
            )
        length = asked.wavelength if asked.sensor is None else wavelength_of(asked.sensor)
        length = wavelength if length is None else length
        if length is None:
            raise QexpError(
                f"{field.source} is phase, which needs the radar's wavelength to become displacement; give it in m, "
                "such as --wavelength 0.0555, or name the satellite: --sensor sentinel-1"
            )
        return metres_per_radian(length), True
    if unit in METRES and asked.unit is not None and unit != asked.unit:
        raise QexpError(f"{field.source} gives its unit as {unit}, but --unit says {asked.unit}")
    return METRES.get(unit) or asked.metres, False


def reading_of(scene: Scene, asked: Asked) -> Reading:
    """The points of a scene, or the means of its cells where a reduction is asked for."""
    largest = scene.largest()
    if largest is None:
        raise QexpError(
            f"{scene.field.source}: none of its {scene.window.size:,} pixels is observed; all are missing, or 0"
        )
    plan = asked.reduction
    crs, warnings = scene.field.layout.crs, scene.warnings(largest)
    if plan is None:
        return Reading((scene.whole(),), crs, warnings)
    means, size = reduced(scene, plan.placed(crs)), scene.window.size
    return Reading((means,), crs, warnings, points=lambda: _some_points(scene), size=size)


def _some_points(scene: Scene) -> Track:
    """Observed pixels, drawn at random with a fixed seed: some SAMPLED where all are observed."""
    random, share = np.random.default_rng(0), min(SAMPLED / scene.window.size, 1.0)
    drawn = []
    for piece in scene.window.pieces(PIECE):
        track = scene.track(piece)
        drawn.append(track.kept(track.observed & (random.random(len(track.x)) < share)))
    return joined(drawn)
