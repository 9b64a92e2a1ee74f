"""The files of an inversion: numbers, maps, and rasters for geographic information systems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qexp import files
from qexp.analysis.comparison.rounding import measured
from qexp.analysis.inversion.posterior_files import posterior_files
from qexp.analysis.inversion.rasters import geotiff
from qexp.analysis.inversion.result import Inversion
from qexp.errors import QexpError
from qexp.figures.canvas import encoded as drawn
from qexp.figures.inversion import Maps, inversion_maps, residual_maps
from qexp.observations.file import as_table, encoded
from qexp.runs.figures import drawn_at_once
from qexp.runs.whole_folders import names_in, write_folder

RESULT, PARAMETERS, TABLE, MAPS, COMPARISON, RESIDUALS = (
    "result.json", "parameters.csv", "result.nc", "maps.png", "comparison.csv", "residuals.png",
)  # fmt: skip
STATIONS = "stations.csv"

FORMAT = "qexp inversion 1"

COLUMNS = (
    "parameter", "value", "unit", "standard_error", "scaled_error", "residual_error", "low95", "high95", "fixed",
)  # fmt: skip

OF_STATIONS = ("track", "station", "x", "y", "along_x", "along_y", "up", "displacement", "error", "model", "residual")
"""Lengths in m; the components' directions along the axes of x and y, and up."""


def require_room(target: Path, overwrite: bool) -> None:
    """Raises QexpError for a folder that has other content than that of an inversion, or that without `overwrite`."""
    names = names_in(target)
    if names and not overwrite:
        raise QexpError(f"--to {target}: the folder is not empty; choose another, or --overwrite an earlier inversion")
    if names:
        known = _files_of(target)
        if others := sorted(names - known):
            raise QexpError(f"--to {target}: --overwrite replaces earlier inversions only, and this has {others[0]}")


def _files_of(target: Path) -> set[str]:
    """The names in a folder that an inversion has written there."""
    try:
        document = files.read_json(target / RESULT)
    except (QexpError, OSError):
        return set()
    if not isinstance(document, dict) or document.get("qexp_format") != FORMAT:
        return set()
    return {str(name).partition("/")[0] for name in document["files"]}


def write(
    target: Path, best: Inversion, others: Sequence[Inversion], spacing: float | None, overwrite: bool, history: str
) -> list[Path]:
    """Write the folder of an inversion, whole or not at all; each of several candidates has a folder in it.

    spacing  of the rasters of scattered points [m]; None: GeoTIFF only of grids
    Returns the paths of the files.
    """
    require_room(target, overwrite)
    contents = _contents(best, spacing, history)
    if others:
        for one in (best, *others):
            contents |= {f"{one.source}/{name}": content for name, content in _contents(one, spacing, history).items()}
        rows = [list(rival.values()) for rival in best.rivals]
        contents[COMPARISON] = files.csv_text(best.rivals[0], rows).encode()
        if drawn_at_once():
            title = f"Residuals of {', '.join(one.source for one in (best, *others))}"
            maps = [(one.source, _maps(one)) for one in (best, *others)]
            contents[RESIDUALS] = drawn(residual_maps(maps, title), "png")
    document = {"qexp_format": FORMAT, **detailed(best), "history": history, "files": sorted([RESULT, *contents])}
    contents[RESULT] = files.json_bytes(document)
    write_folder(target, contents)
    return [target / name for name in sorted(contents)]


def _contents(one: Inversion, spacing: float | None, history: str) -> dict[str, bytes]:
    contents = {
        RESULT: files.json_bytes({"qexp_format": FORMAT, **detailed(one), "history": history}),
        PARAMETERS: files.csv_text(COLUMNS, _rows(one)).encode(),
        TABLE: _netcdf(one, history),
    }
    if drawn_at_once():
        contents[MAPS] = drawn(inversion_maps(_maps(one), _centres(one), _title(one)), "png")
    if one.posterior is not None:
        contents |= posterior_files(one.posterior, one.source, one.observation, history)
    if any(track.kind == "gnss" for track in one.observation.tracks):
        contents[STATIONS] = files.csv_text(OF_STATIONS, list(_of_stations(one))).encode()
    for track in one.observation.tracks:
        raster = geotiff(track, one.tracks[track.name], one.observation.crs, spacing)
        if raster is not None:
            contents[f"{safe(track.name)}.tif"] = raster
    return contents


def safe(name: str) -> str:
    """A track's name as that of a file."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name).lstrip(".") or "track"


def detailed(one: Inversion) -> dict[str, Any]:
    """All numbers of a result: what `--json` prints, and more."""
    made = one.document()
    for name, estimate in one.parameters.items():
        more = {"residual_error": estimate.residual_error, "fixed": estimate.fixed, "at_bound": estimate.at_bound}
        made["parameters"][name] |= more
    for name, track in one.tracks.items():
        made["tracks"][name] |= {"offset_error": track.offset_error, "ramp": track.ramp, "ramp_error": track.ramp_error}
    correlations = {
        name: dict(zip(one.estimated, row, strict=True))
        for name, row in zip(one.estimated, one.correlations.tolist(), strict=True)
    }
    return {
        "source": one.source,
        **made,
        "correlations": correlations,
        "chi2": one.chi2,
        "degrees_of_freedom": one.degrees,
        "unknowns": one.unknowns,
        "converged": one.converged,
        "starts": one.starts,
        "starts_in_this_minimum": one.agreeing,
        "crs": one.observation.crs,
        "remarks": list(one.remarks),
    }


def _rows(one: Inversion) -> list[list[Any]]:
    return [
        [
            name, of.value, of.unit, of.standard_error, of.scaled_error, of.residual_error,
            *(of.interval95 or (None, None)), of.fixed,
        ]
        for name, of in one.parameters.items()
    ]  # fmt: skip


def _of_stations(one: Inversion) -> Iterator[list[Any]]:
    """The components of all stations that are observed."""
    for track in one.observation.tracks:
        if track.kind == "gnss":
            own, of, where = track.seen(), one.tracks[track.name], track.observed
            names = [""] * own.size if own.station is None else own.station.tolist()
            modelled = of.model[where], of.residual[where]
            numbers = (own.x, own.y, *own.direction.T, own.displacement, own.error, *modelled)
            for name, *row in zip(names, *(values.tolist() for values in numbers), strict=True):
                yield [track.name, name, *row]


def _netcdf(one: Inversion, history: str) -> bytes:
    """The observation with the model, offset and ramp, and the residual of each point."""
    table = as_table(one.observation)
    words = {
        "model": "displacement by the estimated sources, along the direction",
        "surface": "estimated offset and ramp of the track",
        "residual": "displacement less model, offset and ramp",
    }
    for name, text in words.items():
        values = np.concatenate([getattr(one.tracks[track.name], name) for track in one.observation.tracks])
        table[name] = ("point", values, {"units": "m", "long_name": text})
        if one.observation.crs is not None:
            table[name].attrs["grid_mapping"] = "crs"
    for name, estimate in one.parameters.items():
        attributes = {"units": estimate.unit, "long_name": f"estimated {name.replace('_', ' ')}"}
        errors = {"standard_error": estimate.standard_error, "scaled_error": estimate.scaled_error}
        table[name] = ((), estimate.value, attributes | {key: one for key, one in errors.items() if one is not None})
    about = {"title": f"estimated sources: {one.source}", "source": "qexp invert", "chi2_reduced": one.chi2_reduced}
    table.attrs |= about | ({"history": history} if history else {})
    table.attrs["qexp_format"] = FORMAT
    return encoded(table)


def _maps(one: Inversion) -> list[Maps]:
    made = []
    for track in one.observation.tracks:
        own, of, where = track.seen(), one.tracks[track.name], track.observed
        data, model = own.displacement - of.surface[where], of.model[where]
        made.append(
            Maps(track.name, own.x / 1e3, own.y / 1e3, data, model, own.direction, track.kind == "gnss", own.station)
        )
    return made


def _centres(one: Inversion) -> list[tuple[float, float]]:
    """Positions of the sources [km]."""
    prefixes = [name.removesuffix("east") for name in one.parameters if name.rpartition(".")[2] == "east"]
    return [(one.parameters[f"{p}east"].value / 1e3, one.parameters[f"{p}north"].value / 1e3) for p in prefixes]


def _title(one: Inversion) -> str:
    """The source with its depth, and how well it explains the data."""
    depths = [
        f"{name.replace('_', ' ')} {measured(of.value, of.scaled_error)} {of.unit}"
        for name, of in one.parameters.items()
        if name.rpartition(".")[2] in ("depth", "delta_volume")
    ]
    return " · ".join([one.source, *depths, f"reduced χ² {one.chi2_reduced:.3g}"])
