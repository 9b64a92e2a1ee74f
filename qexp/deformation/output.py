"""The files of an inversion: numbers, maps, draws of a posterior, and what a GIS reads."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from qexp.base import formats
from qexp.base.arrays import Array, Pair
from qexp.base.files import safe
from qexp.base.folders import names_in, write_folder
from qexp.base.quantities import conversion, in_symbols, in_words, number_with_unit
from qexp.base.text import Table, latex
from qexp.deformation.epicentres import ellipse
from qexp.deformation.inversion import Estimate, Inversion, TrackResult
from qexp.deformation.maps import Maps, detectable_maps, inversion_maps, residual_maps
from qexp.deformation.options import InvertOptions
from qexp.deformation.posterior import COVERAGE, SourcePosterior
from qexp.deformation.stored import FORMAT, RESULT
from qexp.deformation.tables import chi2_words, table_of_parameters
from qexp.errors import QexpError, extra
from qexp.figures.canvas import draws_at_once
from qexp.figures.distributions import Drawn, corner
from qexp.figures.writing import encode
from qexp.metrics.meaning import measured, printed
from qexp.observations.observation import Observation, Track, as_table, encoded
from qexp.observations.projection import geographic
from qexp.rows.geotiff import encoded as encoded_raster

if TYPE_CHECKING:
    import pyproj
    from matplotlib.figure import Figure

MOST_CELLS = 100_000_000
FILLED = 0.05
"""Least share of the cells of a grid that points take, for the points to be those of a grid."""
TOLERANCE = 1e-3
"""Largest deviation of a point from a grid, in cells."""


def geotiff(
    track: Track, result: TrackResult, crs: str | None, spacing: float | None
) -> bytes | None:
    """A GeoTIFF of a radar track with the bands displacement, model and residual [m], NaN where
    there is no point.

    spacing  side of the cells of scattered points, which get the mean of their points [m]; None:
             only of points that are those of a grid. Returns None for others, and for GNSS
             stations.
    """
    if (steps := _sides_of_cells(track, spacing)) is None:
        return None
    located = np.isfinite(track.x) & np.isfinite(track.y)
    x = track.x[located]
    y = track.y[located]
    columns, left = _cells(x, steps[0])
    rows, bottom = _cells(y, steps[1])
    width = int(columns.max()) + 1
    height = int(rows.max()) + 1
    if width * height > MOST_CELLS:
        raise QexpError(
            f"`spacing={steps[0]:g}`: {width:,} × {height:,} cells are too many; choose a"
            " larger one"
        )
    flat = (height - 1 - rows) * width + columns
    displacement = np.where(track.observed, track.displacement, np.nan)
    values = {"displacement": displacement, "model": result.model, "residual": result.residual}
    bands = {name: _means(flat, band[located], height, width) for name, band in values.items()}
    return encoded_raster(bands, (left, bottom + height * steps[1]), steps, crs)


def _steps(x: Array, y: Array) -> Pair | None:
    """Width and height of the cells of the grid that points lie on; None for scattered ones."""
    steps = []
    for positions in (x, y):
        values = np.unique(positions)
        if len(values) < 2:
            return None
        gaps = np.diff(values)
        step = float(gaps[gaps > TOLERANCE * gaps.max()].min())
        number = (positions - values[0]) / step
        if np.abs(number - np.round(number)).max() > TOLERANCE * max(1.0, number.max()) ** 0.5:
            return None
        steps.append(step)
    cells = (np.ptp(x) / steps[0] + 1) * (np.ptp(y) / steps[1] + 1)
    return (steps[0], steps[1]) if len(x) >= FILLED * cells else None


def _cells(positions: Array, step: float) -> tuple[NDArray[np.int64], float]:
    """The number of each point's cell, and the edge of cell 0; the first point is the centre of its
    cell.
    """
    first = float(positions.min()) - step / 2
    return np.floor((positions - first) / step + 1e-6).astype(np.int64), first


def require_raster_library(observation: Observation, spacing: float | None) -> None:
    """Raises MissingExtraError if GeoTIFF will be written of a track and its library is missing."""
    if any(_sides_of_cells(track, spacing) for track in observation.tracks):
        with extra("geo"):
            import rasterio  # noqa: F401


def _sides_of_cells(track: Track, spacing: float | None) -> Pair | None:
    """Lengths of a raster's cells; None for a track that has none, see `geotiff`."""
    if not track.instrument.imaging:
        return None
    located = np.isfinite(track.x) & np.isfinite(track.y)
    of_cells = None if spacing is None else (spacing, spacing)
    return _steps(track.x[located], track.y[located]) or of_cells


def _means(flat: NDArray[np.int64], values: Array, height: int, width: int) -> Array:
    finite = np.isfinite(values)
    size = height * width
    counts = np.bincount(flat[finite], minlength=size)
    sums = np.bincount(flat[finite], weights=values[finite], minlength=size)
    with np.errstate(invalid="ignore"):
        return (sums / counts).reshape(height, width)


# Files of a posterior: draws as ArviZ reads them, a corner plot, and a table of intervals in LaTeX.

DRAWS, PICTURE, POSTERIOR_TABLE = "posterior.nc", "posterior", "posterior.tex"

POSTERIOR_FORMAT = "qexp posterior 1"


def fitted_of(inversion: Inversion) -> dict[str, tuple[float, str]]:
    """The value of the best fit of each parameter, and its unit."""
    parameters = inversion.parameters.items()
    return {name: (estimate.value, estimate.unit) for name, estimate in parameters}


def corner_of(
    posterior: SourcePosterior, title: str, fitted: Mapping[str, tuple[float, str]]
) -> Figure:
    """The draws of each parameter, and of each two of them; `fitted` is that of `fitted_of`."""
    drawn = list[Drawn]()
    for (name, parameter), values in zip(
        posterior.parameters.items(), posterior.all.T, strict=True
    ):
        mark = _mark(*fitted.get(name, (math.nan, "")), parameter.unit)
        drawn.append(Drawn(name, parameter.unit, {"": values}, mark))
    return corner(drawn, f"{title}: {len(posterior.all):,} draws")


def _mark(value: float, unit: str, target: str) -> float | None:
    """A value in another unit, for a figure; None if it is not finite, or if units are unlike."""
    factor = 1.0 if unit == target else conversion(unit, target)
    return None if factor is None or not math.isfinite(value) else factor * value


def _posterior_netcdf(inversion: Inversion, posterior: SourcePosterior, history: str) -> bytes:
    """NetCDF-4 with the groups of ArviZ' InferenceData: posterior, its statistics, and data,
    observed and predicted.
    """
    import xarray

    both = ("chain", "draw")
    chains, draws = posterior.draws.shape[:2]
    axes = {"chain": np.arange(chains), "draw": np.arange(draws)}
    draws_group = xarray.Dataset(
        {
            name: (both, posterior.draws[..., column], {
                "units": parameter.unit, "long_name": in_words(name), "prior": parameter.prior,
                "prior_least": parameter.least, "prior_largest": parameter.largest,
            })
            for column, (name, parameter) in enumerate(posterior.parameters.items())
        },
        axes,
    )  # fmt: skip
    for column, (name, parameter) in enumerate(posterior.noise.items()):
        words = {"units": parameter.unit, "long_name": f"{name} of the noise"}
        values = both, posterior.noise_draws[..., column], words
        draws_group[name.replace("/", "_")] = values
    if posterior.noise_factor is not None:
        words = {"units": "1", "long_name": "factor of the declared errors"}
        draws_group["noise_factor"] = (both, posterior.noise_factor, words)
    statistics = xarray.Dataset(
        {"lp": (both, posterior.log_density, {"long_name": "logarithm of the density"})}, axes
    )
    observed = [track.where_observed() for track in inversion.observation.tracks]
    sizes = [track.size for track in observed]
    names = [track.name for track in observed]
    tracks = {"track": ("point", np.repeat(names, sizes))}
    unit = {"units": " or ".join(dict.fromkeys(track.instrument.unit for track in observed))}
    measured = np.concatenate([track.displacement for track in observed])
    data = xarray.Dataset({"displacement": ("point", measured, unit)}, tracks)
    displacement = (*both, "point"), posterior.predicted.astype(np.float32), unit
    some = np.arange(posterior.predicted.shape[1])
    predicted_axes = {"chain": axes["chain"], "draw": some, **tracks}
    predicted = xarray.Dataset({"displacement": displacement}, predicted_axes)
    diagnostics = {name: getattr(posterior.found, name) for name in ("pareto_k", "ess", "r_hat")}
    about = {
        "qexp_format": POSTERIOR_FORMAT,
        "title": f"posterior of {inversion.source}",
        "history": history,
        "method": posterior.found.method,
        "remarks": "; ".join(posterior.remarks),
        **{name: value for name, value in diagnostics.items() if value is not None},
    }
    groups = {
        "/": xarray.Dataset(attrs=about),
        "posterior": draws_group,
        "sample_stats": statistics,
        "posterior_predictive": predicted,
        "observed_data": data,
    }
    for group in groups.values():
        group.attrs["inference_library"] = "qexp"
    content = io.BytesIO()
    xarray.DataTree.from_dict(groups).to_netcdf(content, engine="h5netcdf")
    return content.getvalue()


def _latex(posterior: SourcePosterior, source: str) -> str:
    columns = ["parameter", "unit", "median", "95 % interval"]
    rows = []
    for name, parameter in posterior.parameters.items():
        ends = parameter.interval95
        width = (ends[1] - ends[0]) / 4 or abs(parameter.median) or 1.0
        decimals = max(0, 1 - math.floor(math.log10(width)))
        median, low, high = (f"{value:.{decimals}f}" for value in (parameter.median, *ends))
        rows.append([in_words(name), parameter.unit, median, f"{low} to {high}"])
    table = Table(f"Posterior of the source {source}.", columns, rows, frozenset(columns[2:]))
    return latex([table], list(posterior.remarks))


PARAMETERS = "parameters.csv"
TABLE = "result.nc"
PLACES, SHAPES = "result.kml", "result.geojson"
MAPS, DETECTABLE = "maps", "detectable"
RESIDUALS = "residuals"

COLUMNS = (
    "parameter",
    "value",
    "unit",
    "standard_error",
    "scaled_error",
    "residual_error",
    "low95",
    "high95",
    "fixed",
)

OF_STATIONS = (
    "track", "station", "x (m)", "y (m)", "along_x", "along_y", "up",
    "displacement (unit)", "error (unit)", "model (unit)", "residual (unit)",
)  # fmt: skip
"""Directions of the components are along the axes of x and y, and up."""

DIGITS = 10
"""Decimal places of these lengths and directions, so that 0.0131 is not 0.013100000000000002."""


def require_room(target: Path, overwrite: bool) -> None:
    """Raises QexpError for a folder that has other content than that of an inversion, or that
    without `overwrite`.
    """
    names = names_in(target)
    written = set[str]()
    if names and not overwrite:
        raise QexpError(
            f"`to={target}`: the folder is not empty; choose another; `overwrite=True` replaces an"
            " earlier inversion"
        )
    with suppress(QexpError, OSError):
        document = formats.read_json(target / RESULT)
        if isinstance(document, dict) and document.get("qexp_format") == FORMAT:
            written = {str(name).partition("/")[0] for name in document["files"]}
    if others := sorted(names - written):
        raise QexpError(
            f"`to={target}`: `overwrite=True` replaces earlier inversions only, and this has"
            f" {others[0]}"
        )


def write(
    target: Path,
    inversions: Sequence[Inversion],
    options: InvertOptions,
    origin: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write the folder of an inversion, whole or not at all; each of several candidates has a
    folder in it.

    inversions  the best first
    origin      what `result.json` says besides of where it comes from
    """
    require_room(target, options.overwrite)
    best = inversions[0]
    about = {"history": options.history, **origin}
    contents = _contents(best, options, about)
    if len(inversions) > 1:
        for inversion in inversions:
            for name, content in _contents(inversion, options, about).items():
                contents[f"{inversion.source}/{name}"] = content
        for name, table in (("comparison", best.rivals), ("averaged", best.averaged)):
            rows = [{key: row[key] for key in row if key != "priors"} for row in table]
            if rows:
                text = formats.csv_text(rows[0], [row.values() for row in rows])
                contents[f"{name}.csv"] = text.encode()
        if draws_at_once():
            title = f"Residuals of {', '.join(inversion.source for inversion in inversions)}"
            maps = [(inversion.source, _maps(inversion)) for inversion in inversions]
            figure = residual_maps(maps, title, best.observation)
            contents |= _pictures(RESIDUALS, figure, options.formats)
    document = {"qexp_format": FORMAT, **best.document(), **about, "files": sorted(contents)}
    contents[RESULT] = formats.json_bytes(document)
    write_folder(target, contents)
    if SHAPES not in contents:
        options.warn(
            f"{target} has no KML and GeoJSON: nothing says where on the Earth the coordinates"
            " are; name their system when files are observed: `crs=EPSG:32633`"
        )


def _contents(
    inversion: Inversion, options: InvertOptions, about: Mapping[str, Any]
) -> dict[str, bytes]:
    history = options.history
    posterior = inversion.posterior
    rows = [
        [
            name, estimate.value, estimate.unit, estimate.standard_error, estimate.scaled_error,
            estimate.residual_error, *(estimate.interval95 or (None, None)), estimate.fixed,
        ]
        for name, estimate in inversion.parameters.items()
    ]  # fmt: skip
    contents = {
        RESULT: formats.json_bytes({"qexp_format": FORMAT, **inversion.document(), **about}),
        PARAMETERS: formats.csv_text(COLUMNS, rows).encode(),
        TABLE: _netcdf(inversion, history),
    }
    if (placed := geographic(inversion.observation.crs)) is not None:
        contents[PLACES] = kml(inversion, placed)
        contents[SHAPES] = geojson(inversion, placed)
    if draws_at_once():
        contents |= _pictures(MAPS, maps_of(inversion), options.formats)
    if (least := inversion.detectable) is not None:
        about = {"history": history, "crs": inversion.observation.crs or ""}
        contents[f"{DETECTABLE}.nc"] = encoded(least.assign_attrs(about))
        if draws_at_once():
            figure = detectable_maps(least, inversion.observation)
            contents |= _pictures(DETECTABLE, figure, options.formats)
    if posterior is not None:
        contents[DRAWS] = _posterior_netcdf(inversion, posterior, history)
        contents[POSTERIOR_TABLE] = _latex(posterior, inversion.source).encode()
        if draws_at_once():
            figure = corner_of(posterior, f"Posterior of {inversion.source}", fitted_of(inversion))
            contents |= _pictures(PICTURE, figure, options.formats)
    tables = dict[str, list[dict[str, Any]]]()
    for track in inversion.observation.tracks:
        crs = inversion.observation.crs
        result = inversion.tracks[track.name]
        if table := track.instrument.table:
            tables.setdefault(table, []).extend(_rows(track, result))
        name = safe(track.name) or "track"
        raster = geotiff(track, result, crs, options.spacing)
        if raster is not None:
            contents[f"{name}.tif"] = raster
        elif placed is not None and track.size <= MOST_FEATURES:
            contents[f"{name}.geojson"] = _geojson_of_track(track, result, placed)
    for table, data in tables.items():
        contents[table] = formats.csv_text(data[0], [row.values() for row in data]).encode()
    return contents


def _pictures(name: str, figure: Figure, endings: Sequence[str]) -> dict[str, bytes]:
    """Name of the file → the figure in that format."""
    return {f"{name}.{ending}": encode(figure, ending) for ending in endings}


def _rows(track: Track, result: TrackResult) -> Iterator[dict[str, Any]]:
    """Each datum that counts, and what is left of it."""
    points = track.where_observed()
    names = [""] * points.size if points.station is None else points.station.tolist()
    data = [
        points.x,
        points.y,
        *points.direction.T,
        points.displacement,
        points.error,
        result.model[track.observed],
        result.residual[track.observed],
    ]
    columns = [name.replace("(unit)", f"({track.instrument.unit})") for name in OF_STATIONS]
    for name, *row in zip(names, *data, strict=True):
        numbers = [round(float(value), DIGITS) for value in row]
        yield dict(zip(columns, [track.name, name, *numbers], strict=True))


def _netcdf(inversion: Inversion, history: str) -> bytes:
    """The observation with the model, offset and ramp, and the residual of each point."""
    table = as_table(inversion.observation)
    words = {
        "model": "displacement by the estimated sources, along the direction",
        "surface": "estimated offset and ramp of the track",
        "residual": "displacement less model, offset and ramp",
    }
    results = [inversion.tracks[track.name] for track in inversion.observation.tracks]
    for name, text in words.items():
        values = np.concatenate([getattr(result, name) for result in results])
        about = {"units": table["displacement"].attrs["units"], "long_name": text}
        table[name] = ("point", values, about)
        if inversion.observation.crs is not None:
            table[name].attrs["grid_mapping"] = "crs"
    for name, estimate in inversion.parameters.items():
        attributes = {"units": estimate.unit, "long_name": f"estimated {in_words(name)}"}
        errors = {"standard_error": estimate.standard_error, "scaled_error": estimate.scaled_error}
        stated = {key: error for key, error in errors.items() if error is not None}
        table[name] = ((), estimate.value, attributes | stated)
    table.attrs |= {
        "title": f"estimated sources: {inversion.source}",
        "source": "qexp invert",
        "chi2_reduced": inversion.chi2_reduced,
        **({"history": history} if history else {}),
        "qexp_format": FORMAT,
    }
    return encoded(table)


def maps_of(inversion: Inversion) -> Figure:
    """Maps of the data, the model and the residuals of each track."""
    tracks = inversion.tracks.values()
    less = ["offset"] * any(track.offset_error is not None for track in tracks)
    less += ["ramp"] * any(track.ramp is not None for track in tracks)
    words = " and ".join(less)
    maps = _maps(inversion)
    title = _title(inversion)
    sources = list[Array]()
    ellipses = list[Array]()
    for *_, shapes in _sources(inversion):
        sources.append(shapes["centre"] / 1e3)
        if ELLIPSE in shapes:
            ellipses.append(shapes[ELLIPSE] / 1e3)
    if ellipses:
        title += " · ellipse\u00a090\u00a0%"
    sources += ellipses
    return inversion_maps(maps, sources, title, words, inversion.observation)


def _maps(inversion: Inversion) -> list[Maps]:
    maps = []
    for track in inversion.observation.tracks:
        points = track.where_observed()
        result = inversion.tracks[track.name]
        where = track.observed
        maps.append(Maps(points, points.displacement - result.surface[where], result.model[where]))
    return maps


def _sources(
    inversion: Inversion,
) -> Iterator[tuple[str, dict[str, Estimate], dict[str, Array]]]:
    """Each source: its name, its parameters by their names in it, and its `_shapes`."""
    for east in inversion.parameters:
        prefix = east.removesuffix("east")
        if east.rpartition(".")[2] == "east":
            own = dict[str, Estimate]()
            for name, estimate in inversion.parameters.items():
                if name.startswith(prefix):
                    own[name.removeprefix(prefix)] = estimate
            yield prefix.removesuffix(".") or inversion.source, own, _shapes(inversion, own, prefix)


def kml(inversion: Inversion, placed: pyproj.Transformer) -> bytes:
    """The sources as places for Google Earth and geographic information systems, with their
    parameters and shapes.

    placed  to longitude and latitude
    """
    root = ElementTree.Element("kml", xmlns="http://www.opengis.net/kml/2.2")
    document = ElementTree.SubElement(root, "Document")
    ElementTree.SubElement(document, "name").text = inversion.source
    for source, parameters, of_source in _sources(inversion):
        place = ElementTree.SubElement(document, "Placemark")
        ElementTree.SubElement(place, "name").text = source
        lines = [chi2_words(inversion.chi2_reduced)]
        for name, unit, value, *_, interval in table_of_parameters(parameters).rows:
            words = f"{name} {number_with_unit(value, unit)}"
            lines.append(f"{words} (95 %: {interval})" if interval else words)
        if ELLIPSE in of_source:
            lines.append(f"line: {ELLIPSE}")
        ElementTree.SubElement(place, "description").text = "\n".join(lines)
        shapes = ElementTree.SubElement(place, "MultiGeometry")
        for points in of_source.values():
            kind = "Point" if len(points) == 1 else "LineString"
            shape = ElementTree.SubElement(shapes, kind)
            text = " ".join(f"{x:.8f},{y:.8f}" for x, y in _degrees(points, placed))
            ElementTree.SubElement(shape, "coordinates").text = text
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


# GeoJSON, by RFC 7946: longitude before latitude in WGS 84, rings counter-clockwise.

MOST_FEATURES = 100_000
"""Points of a track of which a file is written; of more, cells of a raster are of use."""


def geojson(inversion: Inversion, placed: pyproj.Transformer) -> bytes:
    """The shapes of the sources, each with the parameters of its source and their 95 % intervals,
    whose names end in their units.

    placed  to longitude and latitude
    """
    features = list[dict[str, Any]]()
    for source, parameters, shapes in _sources(inversion):
        known: dict[str, Any] = {"source": source}
        for name, estimate in parameters.items():
            low, high = estimate.interval95 or (None, None)
            numbers = {"": estimate.value, " low95": low, " high95": high}
            for what, number in numbers.items():
                known[f"{name}{what} ({estimate.unit})"] = number
        for shape, points in shapes.items():
            known["coverage"] = COVERAGE if shape == ELLIPSE else None
            features.append(_feature(_degrees(points, placed), {"shape": shape, **known}))
    return formats.json_bytes({"type": "FeatureCollection", "features": features})


def _geojson_of_track(track: Track, result: TrackResult, placed: pyproj.Transformer) -> bytes:
    """Data, model and residuals of points, or of cells: the rectangles that their points fill.

    placed  to longitude and latitude
    """
    points = track.where_observed()
    centres = points.places
    half = np.zeros((1, 2)) if points.spread is None else np.sqrt(3) * points.spread
    places = _degrees(centres[:, None] + half[:, None] * CORNERS, placed)
    features = list(map(_feature, places, _rows(track, result)))
    return formats.json_bytes({"type": "FeatureCollection", "features": features})


def _degrees(places: Array, placed: pyproj.Transformer) -> Array:
    """Longitude and latitude of places (…, point, 2) [m]; across 180° they go on."""
    longitude, latitude = placed.transform(places[..., 0], places[..., 1])
    return np.stack([np.unwrap(longitude, period=360.0), latitude], axis=-1).round(8)


def _feature(points: Array, properties: Mapping[str, Any]) -> dict[str, Any]:
    """A point, a ring whose first point comes again at the end, or a line for a ring without an
    area.
    """
    x, y = (points - points[0]).T
    opposite = points[len(points) // 2]
    if abs(x[:-1] @ y[1:] - y[:-1] @ x[1:]) > NO_AREA:
        kind, places = "Polygon", [points]
    elif (opposite != points[0]).any():
        kind, places = "LineString", [points[0], opposite]
    else:
        kind, places = "Point", points[0]
    geometry = {"type": kind, "coordinates": places}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


NO_AREA = 1e-16
"""[square degrees]: 1 mm²."""
CORNERS = np.array([[1.0, 1], [-1, 1], [-1, -1], [1, -1], [1, 1]])
"""Of a square around 0, east and north."""
SIDES = {"length": "m", "width": "m", "strike": "rad", "dip": "rad"}
"""Parameters of a rectangle, in the units in which its outline is drawn."""
ELLIPSE = "90 % ellipse of the centre"


def _shapes(
    inversion: Inversion, parameters: Mapping[str, Estimate], prefix: str
) -> dict[str, Array]:
    """A source as seen from above, (point, 2) each, east and north [m]: its centre; the ellipse in
    which it lies with a probability of 90 %, by the covariance of the draws of a posterior, or else
    by errors to first order, if there are any; and the outline of a rectangle.

    parameters  of the source
    prefix      with which their names in the inversion begin
    """
    names = [f"{prefix}east", f"{prefix}north"]
    position = [parameters["east"], parameters["north"]]
    centre = np.array([[estimate.value for estimate in position]])
    shapes = {"centre": centre}
    errors = [estimate.scaled_error or 0.0 for estimate in position if estimate.has_error]
    drawn = inversion.posterior
    if drawn is not None and {*names} <= drawn.parameters.keys():
        places = np.stack([drawn.draws_of(name).ravel() for name in names])
        spread = places.std(axis=1)
        together = np.cov(places, bias=True)[0, 1] / (spread.prod() or 1.0)
        shapes[ELLIPSE] = places.mean(axis=1) + ellipse(spread, float(together))
    elif {*names} <= {*inversion.estimated} and len(errors) == 2:
        east, north = map(inversion.estimated.index, names)
        correlation = float(inversion.correlations[east, north])
        if all(errors) and abs(correlation) < 1:  # neither along a line nor unknown
            shapes[ELLIPSE] = centre + ellipse(errors, correlation)
    if SIDES.keys() <= parameters.keys():
        known = [(parameters[name], unit) for name, unit in SIDES.items()]
        length, width, strike, dip = (
            _mark(one.value, one.unit, unit) or 0.0 for one, unit in known
        )
        lengthways = np.array([math.sin(strike), math.cos(strike)])
        sideways = np.array([math.cos(strike), -math.sin(strike)])
        half = length / 2 * lengthways
        side = width / 2 * math.cos(dip) * sideways
        shapes["outline"] = centre + CORNERS @ np.stack([side, half])
    return shapes


def _title(inversion: Inversion) -> str:
    """The source with its depth, and how well it explains the data."""
    depths = []
    for name, estimate in inversion.parameters.items():
        if name.rpartition(".")[2] in ("depth", "delta_volume"):
            error = estimate.scaled_error if estimate.has_error else None
            value = printed(measured(estimate.value, error))
            depths.append(f"{in_symbols(name)} {number_with_unit(value, estimate.unit)}")
    words = [inversion.source, *depths, chi2_words(inversion.chi2_reduced)]
    return " · ".join(word.replace(" ", "\u00a0") for word in words)
