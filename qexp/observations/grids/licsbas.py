"""Velocities and displacements of LiCSBAS, with the line of sight and masks of its other files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from qexp.errors import QexpError
from qexp.observations.grids.geometry import Direction, direction_of, from_components, is_given
from qexp.observations.grids.licsbas_file import (
    RADAR,
    VELOCITY,
    beside,
    datasets_of,
    is_binary,
    is_series,
    number_of,
    open_binary,
    open_cumulative,
    open_dataset,
    unit_of,
    values_of,
)
from qexp.observations.grids.open import open_coherence
from qexp.observations.grids.raster import Array, Raster, Window
from qexp.observations.grids.reading import in_one_year, reading_of, scene_of
from qexp.observations.grids.wavelengths import SPEED_OF_LIGHT
from qexp.observations.reading import Asked, Reading
from qexp.observations.text_table import is_text

COMPONENTS = ("E.geo", "N.geo", "U.geo")
ERROR, MASK, COHERENCE = "vstd", "mask", "coh_avg"


def is_licsbas(path: Path) -> bool:
    """Whether a file is a time series of LiCSBAS, or a binary, by its size or its name."""
    named = path.is_file() and bool(unit_of(path)) and not is_text(path)
    return named or is_binary(path) or is_series(path)


def read_licsbas(path: Path, asked: Asked) -> Reading:
    """Read a velocity, which counts as the displacement of one year, a displacement, or the phase of an interferogram.

    Displacements are toward the satellite, in mm; pixels that are 0 have none. A velocity has its standard deviation as
    error, unless one is given. The unit vector to the satellite and masks are read from the file, or beside it.
    """
    return _series(path, asked) if is_series(path) else _binary(path, asked)


def _series(path: Path, asked: Asked) -> Reading:
    """`cum.h5` and `cum_filt.h5`."""
    known = datasets_of(path)
    if asked.geometry is not None:
        raise QexpError(f"--geometry has no effect on {path}, which holds its grid; leave it out")
    if (asked.epochs is None) == (asked.variable is None):
        raise QexpError(
            f"{path} is a time series; name either the days before and after, --epochs 20200131,20200212, or its "
            f"velocity, --variable {VELOCITY}"
        )
    error = None
    if asked.epochs is not None:
        field = open_cumulative(path, asked.epochs)
    else:
        field = open_dataset(path, asked.variable or VELOCITY)
        _require_displacement(field, asked)
        error = open_dataset(path, ERROR) if field.unit and ERROR in known else None
    masks = [open_dataset(path, MASK)] if MASK in known else []

    def components() -> list[Raster]:
        return [open_dataset(path, name) for name in COMPONENTS if name in known] or _components(path)

    def coherence() -> Raster | None:
        return open_dataset(path, COHERENCE) if COHERENCE in known else None

    return _reading(path, field, asked, components, error, masks, coherence)


def _binary(path: Path, asked: Asked) -> Reading:
    """`results/vel` and what belongs to it, `*.cum` of LiCSBAS_cum2flt.py, `*.unw`."""
    for name in ("epochs", "variable"):
        if getattr(asked, name) is not None:
            raise QexpError(f"--{name} has no effect on {path}, which holds one field; leave it out")
    field = open_binary(path, asked.geometry)
    _require_displacement(field, asked)
    deviation = path.with_name(ERROR)
    error = None
    if field.unit == "mm/yr" and deviation.is_file():
        error = open_binary(deviation, asked.geometry)

    def coherence() -> Raster | None:
        found = path.with_suffix(".cc") if path.suffix == ".unw" else path.with_name(COHERENCE)
        return open_coherence(found) if found.is_file() else None

    return _reading(path, field, asked, lambda: _components(path, asked.geometry), error, [], coherence)


def _require_displacement(field: Raster, asked: Asked) -> None:
    if not field.unit and asked.unit is None and not asked.phase:
        raise QexpError(
            f"{field.source} does not have the name that LiCSBAS gives to velocities ({VELOCITY}), displacements "
            "(*.cum) or phase (*.unw); if it holds displacements, give their unit: --unit mm"
        )


def _components(path: Path, parameters: Path | None = None) -> list[Raster]:
    """Rasters of the vector to the satellite, from beside a file; none if they are not there."""
    found = [beside(path, name) for name in COMPONENTS]
    return [open_binary(one, parameters) for one in found if one is not None]


def _reading(
    path: Path,
    field: Raster,
    asked: Asked,
    components: Callable[[], list[Raster]],
    error: Raster | None,
    masks: list[Raster],
    coherence: Callable[[], Raster | None],
) -> Reading:
    field, warnings = in_one_year(field)
    if asked.least_coherence is not None and asked.coherence is None and (found := coherence()) is not None:
        masks = [*masks, found]
    scene = scene_of(
        asked.name or path.name.split(".")[0],
        field,
        _direction(path, field, components, asked),
        asked,
        _wavelength(path) if field.unit == "rad" else None,
        error,
        coherence=_least_of(masks) if masks else None,
    )
    reading = reading_of(scene, asked)
    return replace(reading, warnings=(*reading.warnings, *warnings))


def _direction(path: Path, field: Raster, components: Callable[[], list[Raster]], asked: Asked) -> Direction:
    if is_given(asked):
        return direction_of(field, asked)
    known = components()
    if len(known) < len(COMPONENTS):
        raise QexpError(
            f"{path}: the line of sight is not known: there are no {', '.join(COMPONENTS)} in or beside it, or in its "
            "folder GEOCml*; give --direction E.geo,N.geo,U.geo, or --incidence and --heading in degrees"
        )
    return from_components(field, *known)


def _least_of(rasters: list[Raster]) -> Raster:
    """At each pixel the least of several values: a mask of 0 and 1, and coherence."""
    first, *rest = rasters
    for other in rest:
        first.require_same_grid(other)

    def read(window: Window) -> Array:
        return np.asarray(np.min([one.read(window) for one in rasters], axis=0), np.float64)

    return replace(first, read=read)


def _wavelength(path: Path) -> float | None:
    """Of the radar [m], from the parameters of its images; None if they are not there."""
    found = beside(path, RADAR)
    return None if found is None else SPEED_OF_LIGHT / number_of(found, values_of(found), "radar_frequency")
