"""Interferograms of LiCSAR, the input of LiCSBAS: GeoTIFFs of phase and of the components of the direction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qexp.errors import QexpError
from qexp.observations.grids.geometry import direction_of, from_components, is_given
from qexp.observations.grids.geotiff import open_geotiff
from qexp.observations.grids.open import open_coherence
from qexp.observations.grids.raster import Raster
from qexp.observations.grids.reading import in_crs, reading_of, scene_of
from qexp.observations.grids.wavelengths import wavelength_of
from qexp.observations.reading import Asked, Reading

PHASE, COHERENCE = ".geo.unw.tif", ".geo.cc.tif"
COMPONENTS = ("E", "N", "U")
BESIDE = (".", "..", "metadata", "../metadata", "../../metadata")
"""Where the components lie, from the folder of an interferogram."""


def is_licsar(path: Path) -> bool:
    return bool(_interferograms(path)) if path.is_dir() else path.is_file() and path.name.endswith(PHASE)


def _interferograms(folder: Path) -> list[Path]:
    return sorted(path for depth in ("", "*/", "interferograms/*/") for path in folder.glob(f"{depth}*{PHASE}"))


def read_licsar(path: Path, asked: Asked) -> Reading:
    """Read an interferogram of Sentinel-1, or the only one of a folder: phase [rad] that grows away from the satellite.

    The components east, north and up of the unit vector to the satellite are in files beside it, *.geo.E.tif and so on,
    and the coherence in *.geo.cc.tif, as bytes up to 255.
    """
    found = _interferograms(path) if path.is_dir() else [path]
    if len(found) > 1:
        named = ", ".join(one.name for one in found[:4]) + (", …" if len(found) > 4 else "")
        raise QexpError(f"{path} has {len(found)} interferograms: {named}; name the file of one")
    (file,) = found
    name = file.name.removesuffix(PHASE)
    field = in_crs(replace(open_geotiff(file, asked.band), unit="rad"), asked)
    direction = direction_of(field, asked) if is_given(asked) else from_components(field, *_components(file))
    beside = file.with_name(f"{name}{COHERENCE}")
    wanted = asked.least_coherence is not None and asked.coherence is None and beside.is_file()
    scene = scene_of(
        asked.name or name,
        field,
        direction,
        asked,
        wavelength_of("sentinel-1"),
        coherence=open_coherence(beside) if wanted else None,
    )
    return reading_of(scene, asked)


def _components(file: Path) -> list[Raster]:
    """Rasters of the components of the vector to the satellite."""
    for folder in BESIDE:
        sets = [sorted((file.parent / folder).glob(f"*.geo.{one}.tif")) for one in COMPONENTS]
        if all(len(one) == 1 for one in sets):
            return [open_geotiff(one) for (one,) in sets]
        if any(len(one) > 1 for one in sets):
            raise QexpError(
                f"{(file.parent / folder).resolve()} has the line of sight of several frames; name that of {file.name} "
                "with --direction EAST,NORTH,UP"
            )
    raise QexpError(
        f"{file}: there are no *.geo.E.tif, *.geo.N.tif and *.geo.U.tif beside it or in the folder 'metadata'; give "
        "--direction EAST,NORTH,UP, or --incidence and --heading in degrees"
    )
