"""A volcano that was observed: two satellite tracks and GNSS stations of a known source, in files
as people have them.

Lengths are in metres. Images are (row, column), the northernmost row first.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from qexp.base import files, formats
from qexp.base.arrays import Array, Mask
from qexp.base.machine import terminable
from qexp.base.quantities import in_degrees
from qexp.base.seeds import Seeds
from qexp.base.tables import Tables
from qexp.errors import QexpError, some
from qexp.examples.folders import README, new_folder
from qexp.examples.ice import roughness
from qexp.examples.options import ObservationOptions, require
from qexp.inference.parameters import (
    Units,
    display_name,
    fixed_in_si,
    in_columns,
    require_near,
    searches,
    sources_named,
)
from qexp.observations.noise import declared
from qexp.observations.observation import convergence, turned
from qexp.observations.projection import crs_of
from qexp.observations.reading import direction_toward, in_metres
from qexp.physics.instruments import GNSS
from qexp.rows.geotiff import encoded
from qexp.simulation.generators import DeformationImages
from qexp.simulation.noise import Decorrelation, Grid, Noise
from qexp.simulation.noise_models import NOISES
from qexp.simulation.views import DISPLACEMENT, View

# of the images: a zone of UTM, east and north of their middle
CRS, CENTRE = "EPSG:32633", (426_000.0, 4_519_000.0)
# incidence and heading [degrees], as of Sentinel-1
TRACKS = {"ascending": (39, -12), "descending": (34, -168)}
GNSS_ERRORS = (0.002, 0.002, 0.005)  # standard deviations east, north and up
# source → values of parameters that are not given
USUAL = {"mogi": {"depth": 3.0, "delta_volume": 6.0}}
LIMITS = {
    "size": (20, 2000), "spacing": (1, 1000), "stations": (1, 100), "summit": (0, 9000), "water": (0, 0.8),
    "gaps": (0, 0.8), "offset": (0, 100), "ramp": (0, 100),
}  # fmt: skip
Truth = dict[str, Any]
HEADING = "# Simulated observation"
ABOUT = """{}

    qexp data observation --out {} {}

truth.json says what was put in. To read it:

    {}
"""


class WrittenObservation(NamedTuple):
    folder: Path
    command: str
    """That reads the files."""
    truth: Mapping[str, Any]
    """What was put in, as truth.json has it."""


def write(options: ObservationOptions, tables: Tables) -> WrittenObservation:
    """Write a GeoTIFF of each track, elevations, a table of stations, and truth.json with all that
    was put in.

    OUT appears when all is finished. Every use of random numbers has its own: more stations change
    no image. Raises QexpError if an option is wrong, if something else is at OUT, or if it cannot
    be written.
    """
    sound = []
    for name, (low, high) in LIMITS.items():
        value = getattr(options, name)
        sound.append((low <= value <= high, f"`{name}={value:g}`: from {low:g} to {high:g}"))
    require(sound)
    out = Path(options.out)
    seeds = Seeds(options.seed)
    unit = options.unit
    ground = ground_of(options, seeds)
    moved, parameters = displacement(options, tables, ground, seeds)
    tracks: Truth = {}
    truth = {
        "source": options.source,
        "parameters": parameters,
        "noise": options.noise,
        "tracks": tracks,
    }
    (west, north) = ground.places[0] + CENTRE
    pixel = (options.spacing, options.spacing)
    corner = west - options.spacing / 2, north + options.spacing / 2
    content = {"dem.tif": encoded({"elevation": ground.elevation}, corner, pixel, CRS)}
    for name in TRACKS:
        image, tracks[name] = seen(name, moved, ground, options, seeds)
        bands = {"displacement": image / in_metres(unit)}
        content[f"{name}.tif"] = encoded(bands, corner, pixel, CRS, unit)
    content["gnss.csv"] = stations(moved, ground, options, seeds).encode()
    images = " ".join(f"{out}/{name}.tif" for name in TRACKS)
    sight = "--incidence {},{} --heading {},{}".format(*np.transpose([*TRACKS.values()]).ravel())
    command = (
        f"qexp observe {images} {sight} --unit {unit} --dem {out}/dem.tif --gnss"
        f" {out}/gnss.csv --gnss-unit {unit} --reduce quadtree:0.008 --noise estimate --to"
        f" {out}.nc"
    )
    about = ABOUT.format(HEADING, out, options, command)
    content |= {"truth.json": formats.json_bytes(truth), README: about.encode()}
    with terminable(), new_folder(out, HEADING, options.overwrite) as folder:
        for name, written in content.items():
            files.write_bytes(folder / name, written)
    return WrittenObservation(out, command, truth)


class Ground(NamedTuple):
    """Where pixels lie, east and north, (pixel, 2); images of their elevation, and of water."""

    places: Array
    elevation: Array
    water: Mask


def ground_of(options: ObservationOptions, seeds: Seeds) -> Ground:
    """A volcano on a coast, with concave flanks and hills, whose summit is in the middle."""
    size = options.size
    random = seeds.numpy("observation", "ground")
    cells = np.arange(size) - (size - 1) / 2
    east, north = np.meshgrid(cells / size, -cells / size)
    radius = np.hypot(east, north)
    sea = random.uniform(0, 2 * np.pi)
    seaward = np.cos(sea) * east + np.sin(sea) * north
    shape = np.exp(-radius / 0.2) - 0.35 * seaward
    shape += 0.06 * radius * roughness(random, size, 1.0, 0.04 * size)
    shore = np.quantile(shape, options.water)
    elevation = options.summit * np.clip(shape - shore, 0, None) / (shape.max() - shore)
    places = options.spacing * size * np.stack([east.ravel(), north.ravel()], axis=1)
    return Ground(places, elevation, shape < shore)


def displacement(
    options: ObservationOptions, tables: Tables, ground: Ground, seeds: Seeds
) -> tuple[Array, Truth]:
    """Displacement of the pixels, (row, column, 3) east, north, up; parameters as results of `qexp
    invert` have them.

    Raises QexpError for sources that cannot be.
    """
    sources = sources_named(options.source, tables["generators"])
    quantities = tables["quantities"]
    units = Units(in_degrees(quantities) if options.degrees else quantities, CENTRE)
    random = seeds.numpy("observation", "source")
    reach = 0.1 * options.size * options.spacing
    values = dict(USUAL.get(options.source, {}))
    for source in sources:
        places = np.round(CENTRE + random.uniform(-reach, reach, 2)).tolist()
        values |= zip(source.columns, places, strict=False)  # the first two
    for column, name in in_columns(options.at, sources, "at", ()).items():
        values[column] = options.at[name]
    wanted = searches(sources, ground.places, units.quantities, {})
    columns = [each.parameter.name for each in wanted]
    missing = [display_name(column) for column in columns if column not in values]
    if missing:
        raise QexpError(
            f"`source={options.source}`: give the value of {some(missing, 12)} with `at`"
        )
    in_si = {}
    for name, value in values.items():
        in_si[name] = fixed_in_si(name, value, units, display_name(name), "at")
    for each in wanted:
        value = in_si[each.parameter.name]
        require_near(each, "at", value, value, units)
    heights = torch.from_numpy(ground.elevation.ravel()) if options.summit else None
    view = View(measures=GNSS, points=torch.from_numpy(ground.places), elevation=heights)
    generator = DeformationImages(*sources, views=[view])
    arrays = {name: np.array([value]) for name, value in in_si.items()}
    unmet = generator.unmet(arrays).items()
    require((not holds.any(), f"`at`: {words}") for words, holds in unmet)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    moved = generator.simulate(tensors, 0, 0)[DISPLACEMENT]
    parameters = {}
    for name, value in values.items():
        parameters[display_name(name)] = {"value": value, "unit": units.unit_of(name)}
    return moved[0, :, :, 0].T.numpy().reshape(*ground.elevation.shape, 3), parameters


def seen(
    track: str, moved: Array, ground: Ground, options: ObservationOptions, seeds: Seeds
) -> tuple[Array, Truth]:
    """The image of a track, NaN where unseen; direction, offset, slopes east and north [m/km]."""
    incidence, heading = TRACKS[track]
    deviations = [options.offset, options.ramp, options.ramp]
    offset, *slopes = seeds.numpy("observation", track).normal(0, deviations).tolist()
    image = moved @ direction_toward(np.array([incidence]), np.array([heading]))[0]
    image += offset + (ground.places / 1e3 @ slopes).reshape(image.shape)

    def drawn(noise: Noise, purpose: str) -> Array:
        pixel = torch.tensor([options.spacing])
        grid = Grid(image.shape[0], image.shape[1], pixel, pixel)
        field = noise.draw(1, grid, seeds.torch("cpu", "observation", track, purpose))
        return field[0].double().numpy()

    if options.noise != "none":
        noise = declared(options.noise)
        build = NOISES[noise.type].build
        model = build(range=noise.range / 1e3, sill=noise.sill, nugget=noise.nugget)
        image += drawn(model, "noise")
    lost = ground.water
    if options.gaps:
        lost = lost | (drawn(Decorrelation(options.gaps, patch_size=0.6), "gaps") > 0)
    about = {"incidence": incidence, "heading": heading, "offset": offset, "ramp": slopes}
    return np.where(lost, np.nan, image), about


def stations(moved: Array, ground: Ground, options: ObservationOptions, seeds: Seeds) -> str:
    """Stations on land, denser near the summit: displacements along true east, north and up."""
    import pyproj

    random = seeds.numpy("observation", "stations")
    metres = in_metres(options.unit)
    width = options.size * options.spacing
    likely = ~ground.water.ravel() * np.exp(-np.hypot(*ground.places.T) / (0.25 * width))
    chosen = random.choice(len(likely), options.stations, replace=False, p=likely / likely.sum())
    x, y = (ground.places[chosen] + CENTRE).T
    measured = turned(moved.reshape(-1, 3)[chosen], -convergence(crs_of(CRS), x, y))
    measured += random.normal(0, GNSS_ERRORS, measured.shape)
    longitude, latitude = pyproj.Transformer.from_crs(CRS, 4326, always_xy=True).transform(x, y)
    height = ground.elevation.ravel()[chosen]
    errors = np.outer(GNSS_ERRORS, np.ones(len(x))) / metres
    columns = [longitude, latitude, height, *measured.round(5).T / metres, *errors]
    lines = ["station,lon,lat,height,E,N,U,sE,sN,sU"]
    for number, row in enumerate(np.stack(columns, axis=1), 1):
        cells = ",".join(f"{value:.8g}" for value in row)
        lines.append(f"ST{number:02d},{cells}")
    return "\n".join([*lines, ""])
