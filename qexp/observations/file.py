"""The observation file: NetCDF by the CF conventions, all points of all tracks one after the other."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base import files
from qexp.errors import NotFoundError, QexpError
from qexp.observations.observation import CorrelatedNoise, Observation, Track, require_sound
from qexp.rows.arrays import DAMAGED

if TYPE_CHECKING:
    import xarray

FORMAT = "qexp observation 1"
"""Value of the attribute `qexp_format`, by which a file is known."""

KINDS = ("radar", "gnss")
COMPONENTS = ("east", "north", "up")

WORDS: Mapping[str, tuple[str, str]] = {
    "x": ("m", "easting"),
    "y": ("m", "northing"),
    "displacement": ("m", "displacement along the direction, positive toward it"),
    "error": ("m", "standard deviation of the noise that is independent from point to point"),
}
SOME: Mapping[str, tuple[str, str]] = {
    "elevation": ("m", "elevation above the level from which depths count"),
    "count": ("1", "number of pixels or points of which the point is the mean"),
    "spread": ("m", "standard deviation of their positions, east and north"),
}
"""What some tracks have and others do not."""
NOISE_UNITS = {"sill": "m2", "range": "m", "nugget": "m2"}


def write_observation(observation: Observation, path: Path, history: str = "") -> None:
    """Write an observation as NetCDF, whole or not at all.

    history  how it was made, for the attribute of that name
    """
    require_sound(observation, str(path))
    table = as_table(observation)
    if history:
        table.attrs["history"] = history
    files.write_bytes(path, encoded(table))


def encoded(table: xarray.Dataset) -> bytes:
    """The content of a NetCDF file with numbers along `point` compressed, by which damage is found, too."""
    content = io.BytesIO()
    numbers = [name for name, one in table.variables.items() if one.dims[:1] == ("point",) and one.dtype.kind != "O"]
    table.to_netcdf(content, engine="h5netcdf", encoding={str(name): {"zlib": True} for name in numbers})
    return content.getvalue()


def as_table(observation: Observation) -> xarray.Dataset:
    """The observation as xarray's dataset: variables along `point`, properties of tracks along `track`."""
    import xarray

    tracks = observation.tracks
    sizes = [len(track.x) for track in tracks]
    points: dict[str, Any] = {
        name: ("point", np.concatenate([getattr(track, name) for track in tracks]), {"units": unit, "long_name": words})
        for name, (unit, words) in WORDS.items()
    }
    for name, (unit, words) in SOME.items():
        known = [getattr(track, name) for track in tracks]
        shape, dimensions = ((2,), ("point", "horizontal")) if name == "spread" else ((), ("point",))
        if any(values is not None for values in known):
            lines = [
                np.full((size, *shape), np.nan) if values is None else values
                for size, values in zip(sizes, known, strict=True)
            ]
            points[name] = (dimensions, np.concatenate(lines), {"units": unit, "long_name": words})
    if any(track.station is not None for track in tracks):
        lines = [
            np.full(size, "") if track.station is None else track.station
            for size, track in zip(sizes, tracks, strict=True)
        ]
        about_names = {"long_name": "name of the GNSS station"}
        points["station"] = ("point", np.concatenate(lines).astype(object), about_names)
    points["direction"] = (
        ("point", "component"),
        np.concatenate([track.direction for track in tracks]),
        {
            "units": "1",
            "long_name": "unit vector along x, y and up: from the ground to the satellite, or a station's component",
        },
    )
    points["mask"] = (
        "point",
        np.concatenate([track.observed for track in tracks]).astype(np.int8),
        {"long_name": "whether the point counts", "flag_values": np.array([0, 1], np.int8),
         "flag_meanings": "masked observed"},
    )  # fmt: skip
    points["track"] = ("point", np.repeat(np.arange(len(tracks), dtype=np.int32), sizes), {"long_name": "track"})
    points["track_name"] = ("track", np.array([track.name for track in tracks], dtype=object))
    points["track_kind"] = ("track", np.array([track.kind for track in tracks], dtype=object))
    points |= _noise(tracks)
    if observation.crs is not None:
        points["crs"] = ((), np.int32(0), {"crs_wkt": observation.crs})
        for name in ("displacement", "error"):
            points[name][2]["grid_mapping"] = "crs"
    coordinates = {name: points.pop(name) for name in ("x", "y")}
    coordinates["component"] = ("component", np.array(COMPONENTS, dtype=object))
    about = {"Conventions": "CF-1.10", "title": "observed displacements", "qexp_format": FORMAT}
    return xarray.Dataset(points, coordinates, about)


def _noise(tracks: tuple[Track, ...]) -> dict[str, Any]:
    if all(track.noise is None for track in tracks):
        return {}
    known = [track.noise for track in tracks]
    made: dict[str, Any] = {
        "noise_type": ("track", np.array(["" if one is None else one.type for one in known], dtype=object))
    }
    for name, unit in NOISE_UNITS.items():
        values = np.array([np.nan if one is None else getattr(one, name) for one in known])
        made[f"noise_{name}"] = ("track", values, {"units": unit, "long_name": f"{name} of the correlated noise"})
    estimated = np.array([one is not None and one.estimated for one in known], dtype=np.int8)
    words = "1 where the noise was estimated from the track itself, 0 where it was declared"
    made["noise_estimated"] = ("track", estimated, {"long_name": words})
    return made


def is_observation(path: Path) -> bool:
    """Whether a file is an observation file, whatever its state."""
    import h5py

    if path.suffix.lower() not in (".nc", ".nc4") or not path.is_file() or not h5py.is_hdf5(path):
        return False
    try:
        with h5py.File(path) as opened:
            return bool(opened.attrs.get("qexp_format") == FORMAT)
    except DAMAGED:
        return False


def read_observation(path: Path) -> Observation:
    """Read an observation file. Raises NotFoundError, and QexpError for any other file or one that is not sound."""
    import xarray

    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    try:
        with xarray.open_dataset(path, engine="h5netcdf", decode_times=False) as opened:
            table = opened.load()
    except DAMAGED as error:
        raise QexpError(
            f"{path} is not an observation file, or is damaged: {error}; make one with: qexp observe FILE --to OBS.nc"
        ) from None
    if table.attrs.get("qexp_format") != FORMAT:
        raise QexpError(f"{path} is not an observation file; make one with: qexp observe {path} --to OBS.nc")
    try:
        observation = _observation(table)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise QexpError(f"{path} is a damaged observation file: {error}") from None
    return require_sound(observation, str(path))


def _observation(table: xarray.Dataset) -> Observation:
    owner = table["track"].values
    names, kinds = table["track_name"].values, table["track_kind"].values
    tracks = []
    for index, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        if kind not in KINDS:
            raise ValueError(f"the kind '{kind}' of the track '{name}' is unknown")
        own = owner == index
        arrays = {one: table[one].values[own].astype(np.float64) for one in (*WORDS, *SOME) if one in table}
        for one in SOME:
            if one in arrays and np.isnan(arrays[one]).all():
                del arrays[one]
        direction, observed = table["direction"].values[own].astype(np.float64), table["mask"].values[own] == 1
        station = table["station"].values[own].astype(np.str_) if "station" in table else np.zeros(0, np.str_)
        tracks.append(
            Track(
                str(name), kind, **arrays, direction=direction, observed=observed, noise=_of(table, index),
                station=station if (station != "").any() else None,
            )
        )  # fmt: skip
    crs = table["crs"].attrs["crs_wkt"] if "crs" in table else None
    return Observation(tuple(tracks), crs)


def _of(table: xarray.Dataset, index: int) -> CorrelatedNoise | None:
    if "noise_type" not in table or not table["noise_type"].values[index]:
        return None
    values = {name: float(table[f"noise_{name}"].values[index]) for name in NOISE_UNITS}
    estimated = "noise_estimated" in table and bool(table["noise_estimated"].values[index])
    return CorrelatedNoise(str(table["noise_type"].values[index]), **values, estimated=estimated)
