"""Synthetic glaciers over time, in folders of the format of 2Dto2D-DLE.

Altitudes and lengths are in metres, times in years. Maps are (row, column), rows along y.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from qexp.base import files
from qexp.base.machine import threads
from qexp.base.seeds import Seeds
from qexp.examples.folders import README, new_folder
from qexp.examples.options import IceOptions, Range, require
from qexp.physics import ice
from qexp.physics.ice import DENSITY, GRAVITY

Map = NDArray[np.float64]

LARGEST_MASSIF = 16e3
"""Largest width of the land with ice [m]; wider frames show more lowland around it."""

SHARE_OF_FRAME = 0.76
"""Largest width of the land with ice, as a share of the frame."""

REACH = 0.66
"""How far from its middle the land falls, in widths of the massif; a plain lies around it."""

ROUNDING = 0.0035
"""Height over which slopes that meet are rounded, in widths of the massif."""


@dataclass(frozen=True)
class Climate:
    """The mass balance grows with altitude up to a limit; the climate cools, then warms again."""

    equilibrium_line: float
    """Altitude of the equilibrium line at the beginning and at the end [m]."""
    descent: float
    """Descent of the equilibrium line in the first half of the time; it rises in the second [m]."""
    gradient: float
    """Gradient of the mass balance with altitude [m a-1 m-1]."""
    greatest: float
    """Largest mass balance [m a-1]."""


@dataclass(frozen=True)
class Glacier:
    name: str
    kind: str
    bed: Map
    climate: Climate
    arrhenius: float
    """[MPa-3 a-1]"""
    sliding: float
    """[km MPa-3 a-1]"""
    duration: float
    """From no ice to the last frame [a]."""


@dataclass(frozen=True)
class GlacierKind:
    bed: Callable[[np.random.Generator, Map, Map, float], Map]
    covered: Range
    """Share of the massif that lies above the equilibrium line."""
    gradient: Range
    greatest: Range
    duration: Range


def glacier(
    seeds: Seeds, number: int, size: int, spacing: float, arrhenius: Range, sliding: Range
) -> Glacier:
    """The glacier of a number, independent of all others; every second one is an ice cap.

    size                cells along x and y
    spacing             of the cells [m]
    arrhenius, sliding  least and greatest value [MPa-3 a-1], [km MPa-3 a-1]
    """
    kind_name = list(KINDS)[number % len(KINDS)]
    kind = KINDS[kind_name]
    bed = landscape(kind, seeds.numpy("ice", number, "bed"), size, spacing)
    climate, flow = (seeds.numpy("ice", number, purpose) for purpose in ("climate", "flow"))
    massif = massif_width(size, spacing)
    share = (massif / (size * spacing)) ** 2
    return Glacier(
        name=f"{kind_name}_{number:03d}",
        kind=kind_name,
        bed=bed,
        climate=Climate(
            equilibrium_line=float(np.quantile(bed, 1 - share * climate.uniform(*kind.covered))),
            descent=climate.uniform(0, 0.009) * massif,
            gradient=climate.uniform(*kind.gradient),
            greatest=climate.uniform(*kind.greatest),
        ),
        arrhenius=flow.uniform(*arrhenius),
        sliding=flow.uniform(*sliding),
        duration=climate.uniform(*kind.duration),
    )


def massif_width(size: int, spacing: float) -> float:
    return min(SHARE_OF_FRAME * size * spacing, LARGEST_MASSIF)


# Beds have axes of their own: u runs down the massif, v across it.


def landscape(kind: GlacierKind, random: np.random.Generator, size: int, spacing: float) -> Map:
    """A bed on square cells around the middle of the frame, in a random orientation."""
    centred = (np.arange(size) - (size - 1) / 2) * spacing
    x, y = np.meshgrid(centred, centred)
    turn = random.uniform(0, 2 * np.pi)
    u = np.cos(turn) * x + np.sin(turn) * y
    v = np.cos(turn) * y - np.sin(turn) * x
    massif = massif_width(size, spacing)
    bed = kind.bed(random, u, v, massif)
    # Towards the frame the land falls more and more, down to a plain, so that ice ends before the
    # frame.
    distance = np.hypot(x, y) / massif
    bed = bed - 0.6 * massif * np.clip(distance - 0.32, 0, None) ** 2
    plain = np.full_like(bed, -bed[distance < REACH].min())
    bed = -lowest([-bed, plain], rounding=ROUNDING * massif)
    hills = roughness(random, size, spacing, length=random.uniform(0.05, 0.1) * massif)
    return np.asarray(bed + random.uniform(0.0018, 0.004) * massif * hills)


def roughness(random: np.random.Generator, size: int, spacing: float, length: float) -> Map:
    """Hills and hollows of unit variance, smooth over a length [m]."""
    margin = int(np.ceil(4 * length / spacing))
    smooth = gaussian_filter(random.standard_normal((size + 2 * margin,) * 2), length / spacing)
    cut = smooth[margin : margin + size, margin : margin + size]
    # standard deviation of white noise after the filter
    deviation = spacing / (2 * np.sqrt(np.pi) * length)
    return np.asarray(cut / deviation)


def valley(random: np.random.Generator, u: Map, v: Map, massif: float) -> Map:
    """A trunk that winds down from a cirque, with tributaries that hang above it, all inside one
    crest.

    The cross section of each is a parabola up to its crest, behind which the land falls.
    """
    head = -random.uniform(0.18, 0.26) * massif
    summit = random.uniform(2600, 3600)
    steep = random.uniform(0.1, 0.22)
    flat = random.uniform(0.04, 0.1)
    fading = random.uniform(0.1, 0.2) * massif
    bend = random.uniform(0, 0.04) * massif
    wave = random.uniform(0.5, 0.9) * massif
    phase = random.uniform(0, 2 * np.pi)
    width = random.uniform(0.14, 0.18) * massif
    wall = random.uniform(0.02, 0.03) * massif
    fall = random.uniform(0.3, 0.4)

    def middle(position: Map | float) -> Map:
        return bend * np.sin(2 * np.pi * np.asarray(position) / wave + phase)

    def floor(position: Map | float) -> Map:
        distance_down = np.clip(position, head, None) - head
        return (
            summit
            - flat * distance_down
            - (steep - flat) * fading * (1 - np.exp(-distance_down / fading))
        )

    distance = np.hypot(np.clip(head - u, 0, None), v - middle(u))
    bowls = [floor(u) + wall * (distance / width) ** 2]
    flanks = [floor(u) + wall - fall * (distance - width)]
    for _ in range(random.integers(1, 4)):
        junction = random.uniform(0.6 * head, 0.15 * massif)
        side = random.choice([-1, 1])
        turn = random.uniform(0.2, 1.1)
        length = width * random.uniform(0.9, 1.3)
        narrow = width * random.uniform(0.5, 0.7)
        # From the junction up the tributary, which points up the trunk, too, and aside from it.
        east = u - junction
        north = side * (v - middle(junction))
        upwards = np.cos(turn) * north - np.sin(turn) * east
        aside = np.cos(turn) * east + np.sin(turn) * north
        position = np.clip(upwards, 0, length)
        distance = np.hypot(aside, upwards - position)
        hanging = floor(junction) + random.uniform(0.002, 0.007) * massif
        hanging = hanging + random.uniform(0.12, 0.2) * position
        bowls.append(hanging + wall * (distance / narrow) ** 2)
        flanks.append(hanging + 0.8 * wall - fall * (distance - narrow))
    crest = -lowest([-surface for surface in flanks], rounding=ROUNDING * massif)
    return lowest([*bowls, crest], rounding=ROUNDING * massif)


def cap(random: np.random.Generator, u: Map, v: Map, massif: float) -> Map:
    """An upland, flat in the middle, with land falling to all sides and troughs that lead out."""
    stretch = random.uniform(1.0, 1.3)
    radius = np.hypot(u / stretch, v * stretch)
    angle = np.arctan2(v * stretch, u / stretch)
    rim = random.uniform(0.16, 0.26) * massif
    summit = random.uniform(900, 1900)
    bed = summit - random.uniform(0.06, 0.16) * (np.hypot(radius, rim) - rim)
    reach = (radius / rim * np.exp(1 - radius / rim)) ** 2
    for _ in range(random.integers(2, 6)):
        from_middle = np.angle(np.exp(1j * (angle - random.uniform(-np.pi, np.pi))))
        depth = random.uniform(0.0035, 0.013) * massif
        width = random.uniform(0.3, 0.6)
        bed = bed - depth * reach * np.exp(-((from_middle / width) ** 2) / 2)
    return bed


def lowest(surfaces: list[Map], rounding: float) -> Map:
    """The minimum of several surfaces, rounded over a height [m] where two of them cross."""
    stacked = np.stack(surfaces)
    least = stacked.min(axis=0)
    return np.asarray(least - rounding * np.log(np.exp(-(stacked - least) / rounding).sum(axis=0)))


KINDS: dict[str, GlacierKind] = {
    "valley": GlacierKind(
        valley, (0.15, 0.25), gradient=(0.005, 0.009), greatest=(1.0, 2.2), duration=(200, 420)
    ),
    "cap": GlacierKind(
        cap, (0.1, 0.18), gradient=(0.004, 0.007), greatest=(0.6, 1.6), duration=(300, 600)
    ),
}


# Ice over time, and its velocities. Units are those of glaciology; this file converts them to those
# of `physics.ice`.

YEAR = 365.242198781 * 86400
"""The year of UDUNITS [s], with which other software converts the units of the files."""

ARRHENIUS = 1e-18 / YEAR
"""MPa-3 a-1 in Pa-3 s-1."""

SLIDING = 1e3 * 1e-18 / YEAR
"""km MPa-3 a-1 in m Pa-3 s-1."""

LONGEST_STEP = 0.25
"""Largest time step of the integration [a], the only limit while ice is thin."""


def check(options: IceOptions, test: int) -> None:
    """Raises QexpError with all problems of the options."""
    glaciers = options.glaciers
    low, high = options.arrhenius
    (least, most) = options.sliding
    coupling = options.coupling
    frame = options.size * options.spacing
    require(
        [
            (1 <= glaciers <= 100_000, f"`glaciers={glaciers}`: from 1 to 100000"),
            (
                0 <= test < max(glaciers, 1),
                f"`test={test}`: from 0 to one less than there are glaciers, {glaciers - 1}",
            ),
            (1 <= options.frames <= 10_000, f"`frames={options.frames}`: from 1 to 10000"),
            (
                16 <= options.size <= 1024,
                f"`size={options.size}`: from 16 to 1024 cells along each side",
            ),
            (
                20 <= options.spacing <= 1000,
                f"`spacing={options.spacing:g}`: from 20 to 1000 metres",
            ),
            (
                frame >= 3000,
                (
                    f"`size={options.size}` and `spacing={options.spacing:g}`: a frame of {frame:g} m;"
                    " glaciers need 3000 m or more"
                ),
            ),
            (
                0 < low <= high <= 1000,
                f"`arrhenius={low:g}:{high:g}`: LOW:HIGH in MPa⁻³ a⁻¹, above 0, up to 1000",
            ),
            (
                0 <= least <= most <= 1000,
                f"`sliding={least:g}:{most:g}`: LOW:HIGH in km MPa⁻³ a⁻¹, from 0 to 1000",
            ),
            (
                coupling is None or 0 < coupling <= 100,
                f"`coupling={coupling}`: in ice thicknesses, above 0, up to 100",
            ),
        ]
    )


def grow(
    glacier: Glacier,
    spacing: float,
    frames: int,
    watch: Callable[[float], None] = lambda year: None,
) -> Iterator[Tensor]:
    """The thickness of a glacier at evenly spaced times up to its age: (row, column) [m].

    watch  is called with the year after each time step

    One glacier at a time: on a processor a batch of twelve is 1.6 times as fast per step, but its
    fastest ice sets the time step, so that it takes 2.7 times as many steps.
    """
    climate = glacier.climate
    bed = torch.from_numpy(glacier.bed)[None]

    def balance(surface: Tensor, time: Tensor) -> Tensor:
        passed = time / (YEAR * glacier.duration)
        line = climate.equilibrium_line - climate.descent * 4 * passed * (1 - passed)
        gained = climate.gradient * (surface - line[:, None, None])
        return gained.clamp(max=climate.greatest) / YEAR

    thickness = torch.zeros_like(bed)
    start = bed.new_zeros(1)
    arrhenius = bed.new_tensor([glacier.arrhenius * ARRHENIUS])
    sliding = bed.new_tensor([glacier.sliding * SLIDING])
    steps: dict[str, Any] = {
        "longest": LONGEST_STEP * YEAR,
        "watch": lambda time: watch(time.item() / YEAR),
    }
    with torch.inference_mode():
        for frame in range(1, frames + 1):
            end = bed.new_tensor([YEAR * glacier.duration * frame / frames])
            grown = ice.evolve(
                thickness, bed, balance, spacing, arrhenius, sliding, start, end, **steps
            )
            thickness = grown.thickness
            start = end
            yield thickness[0]


def fields(
    glacier: Glacier, thickness: Tensor, spacing: float, coupling: float | None
) -> dict[str, NDArray[np.float32]]:
    """All variables of a frame, (row, column), in the units of the file.

    The velocities follow from the thickness, surface and coefficients as rounded for the file, with
    the slopes that `numpy.gradient` computes from that surface.
    """
    depth = thickness.numpy().astype(np.float32)
    bed = glacier.bed.astype(np.float32)
    surface = bed + depth
    arrhenius = np.full_like(bed, glacier.arrhenius)
    sliding = np.full_like(bed, glacier.sliding)
    rounded = torch.from_numpy(depth).double()
    moving = ice.velocity(
        rounded,
        ice.slope(torch.from_numpy(surface).double(), spacing),
        torch.from_numpy(arrhenius).double() * ARRHENIUS,
        torch.from_numpy(sliding).double() * SLIDING,
    )
    if coupling is not None:
        together = ice.coupled(torch.cat(moving, dim=-1), rounded, spacing, coupling)
        moving = ice.Velocity(*together.split(2, dim=-1))
    # Adding 0 turns -0, from slopes without ice, into 0.
    basal, mean, top = ((YEAR * velocity + 0.0).numpy().astype(np.float32) for velocity in moving)
    variables = {"thk": depth, "usurf": surface, "topg": bed}
    for name, velocity in {"bar": mean, "velsurf": top, "velbase": basal}.items():
        variables |= {f"u{name}": velocity[..., 0], f"v{name}": velocity[..., 1]}
    return {
        **variables,
        "arrhenius": arrhenius,
        "slidingco": sliding,
        "strflowctrl": arrhenius + sliding,
    }


# Folders of synthetic glaciers in the format of 2Dto2D-DLE: one `ex.nc` each, all variables (time,
# y, x).


class Variable(NamedTuple):
    units: str
    long_name: str
    standard_name: str | None = None


VARIABLES: dict[str, Variable] = {
    "thk": Variable("m", "ice thickness", "land_ice_thickness"),
    "usurf": Variable(
        "m", "altitude of the ice surface, of the bed where there is no ice", "surface_altitude"
    ),
    "topg": Variable("m", "altitude of the bed", "bedrock_altitude"),
    "ubar": Variable(
        "m year-1", "velocity along x, mean over the depth", "land_ice_vertical_mean_x_velocity"
    ),
    "vbar": Variable(
        "m year-1", "velocity along y, mean over the depth", "land_ice_vertical_mean_y_velocity"
    ),
    "uvelsurf": Variable(
        "m year-1", "velocity along x at the surface", "land_ice_surface_x_velocity"
    ),
    "vvelsurf": Variable(
        "m year-1", "velocity along y at the surface", "land_ice_surface_y_velocity"
    ),
    "uvelbase": Variable("m year-1", "velocity along x at the base", "land_ice_basal_x_velocity"),
    "vvelbase": Variable("m year-1", "velocity along y at the base", "land_ice_basal_y_velocity"),
    "arrhenius": Variable("MPa-3 year-1", "rate factor of Glen's flow law"),
    "slidingco": Variable("km MPa-3 year-1", "coefficient of Weertman's sliding law"),
    "strflowctrl": Variable(
        "1", "strength of the flow: numerical values of arrhenius and slidingco added"
    ),
}

COORDINATES: dict[str, Variable] = {
    "time": Variable("year", "time since there was no ice", "time"),
    "y": Variable("m", "northing of the centre of the cell", "projection_y_coordinate"),
    "x": Variable("m", "easting of the centre of the cell", "projection_x_coordinate"),
}
"""Coordinates, in the order of the dimensions."""


HEADING = "# Simulated glaciers"

PHYSICS = (
    "Isothermal shallow ice on a random bed: Glen's flow law with exponent 3, Weertman sliding"
    f" with the cube of the basal shear stress, density {DENSITY:g} kg m-3, gravity {GRAVITY:g} m"
    f" s-2, a year of {YEAR / 86400:.9f} days. Mass balance: the gradient times the height above"
    " the equilibrium line, up to the greatest balance; the line descends until half of the time"
    " has passed and then rises again. The simulation starts without ice. Velocities are those of"
    " the cells' thickness and of the central differences of their surface."
)

COUPLED = (
    "Then each cell's flux of ice was distributed over the ice around it, with Gaussian weights of"
    " a standard deviation of {:g} / 2 times its thickness: a test for networks, not glaciology."
)


class WrittenGlacier(NamedTuple):
    folder: Path
    frames: int
    steps: int
    """Number of time steps of the integration."""
    seconds: float
    """Time that the integration took [s]."""


def write(options: IceOptions) -> list[WrittenGlacier]:
    """Make glaciers, and write OUT/test/NAME/ex.nc of the first `test` of them and
    OUT/train/NAME/ex.nc of the others.

    OUT appears when all glaciers are finished. A glacier has the same bits however many others are
    made with it. Raises QexpError if an option is wrong, if something else is at OUT, or if it
    cannot be written.
    """
    out = Path(options.out)
    glaciers = options.glaciers
    test = min(max(glaciers // 4, 1), glaciers - 1) if options.test is None else options.test
    check(options, test)
    written = []
    seeds = Seeds(options.seed)
    # Frames are small: a second thread costs ten times what it saves.
    with new_folder(out, HEADING, options.overwrite) as folder, threads(1):
        for number in range(glaciers):
            part = "test" if number < test else "train"
            size = options.size, options.spacing
            random = glacier(seeds, number, *size, options.arrhenius, options.sliding)
            years: list[float] = []

            def count(
                year: float,
                grown: Glacier = random,
                number: int = number,
                years: list[float] = years,
            ) -> None:
                years.append(year)
                options.watch(grown.name, (number + year / grown.duration) / glaciers)

            started = time.perf_counter()
            states = list(grow(random, options.spacing, options.frames, count))
            seconds = time.perf_counter() - started
            own_folder = Path(part, random.name)
            files.make_folder(folder / own_folder)
            content = _netcdf(random, number, states, options)
            files.write_bytes(folder / own_folder / "ex.nc", content)
            steps = len(years)
            written.append(WrittenGlacier(out / own_folder, options.frames, steps, seconds))
        files.write_bytes(folder / README, _readme(options, test).encode())
    return written


def _netcdf(glacier: Glacier, number: int, states: list[Tensor], options: IceOptions) -> bytes:
    import h5netcdf

    centres = (np.arange(options.size) + 0.5) * options.spacing
    years = glacier.duration * np.arange(1, options.frames + 1) / options.frames
    frames = [fields(glacier, state, options.spacing, options.coupling) for state in states]
    content = io.BytesIO()
    with h5netcdf.File(content, "w") as file:
        file.attrs.update(_attributes(glacier, number, options))
        file.dimensions = {"time": options.frames, "y": options.size, "x": options.size}
        for name, values in {"time": years, "y": centres, "x": centres}.items():
            _describe(file.create_variable(name, (name,), data=values), COORDINATES[name])
        for name, described in VARIABLES.items():
            stacked = np.stack([frame[name] for frame in frames])
            packed = {
                "chunks": (1, *stacked.shape[1:]),
                "compression": "gzip",
                "compression_opts": 4,
                "shuffle": True,
            }
            dimensions = tuple(COORDINATES)
            _describe(file.create_variable(name, dimensions, data=stacked, **packed), described)
    return content.getvalue()


def _describe(variable: Any, described: Variable) -> None:
    texts = described._asdict().items()
    variable.attrs.update({name: text for name, text in texts if text is not None})


def _attributes(glacier: Glacier, number: int, options: IceOptions) -> dict[str, str | float | int]:
    climate = glacier.climate
    coupled = "" if options.coupling is None else " " + COUPLED.format(options.coupling)
    return {
        "Conventions": "CF-1.11",
        "title": f"{glacier.name}, a simulated glacier",
        "source": PHYSICS + coupled,
        "history": f"qexp data ice {options}",
        "number": number,
        "kind": glacier.kind,
        "equilibrium_line": climate.equilibrium_line,
        "descent_of_equilibrium_line": climate.descent,
        "balance_gradient": climate.gradient,
        "greatest_balance": climate.greatest,
        "arrhenius": glacier.arrhenius,
        "sliding": glacier.sliding,
    }


def _readme(options: IceOptions, test: int) -> str:
    glaciers = options.glaciers
    coupled = "" if options.coupling is None else "\n\n" + COUPLED.format(options.coupling)
    rows = "\n".join(
        f"| {name} | {variable.units} | {variable.long_name} |"
        for name, variable in {**COORDINATES, **VARIABLES}.items()
    )
    return f"""{HEADING}

    qexp data ice --glaciers {glaciers} --test {test} {options}

{glaciers - test} glaciers under `train/`, {test} under `test/`, each a folder with `ex.nc`: {options.frames} frames \
of {options.size} × {options.size} cells of {options.spacing:g} m.

{PHYSICS}{coupled}

The slopes of the surface are not in the files; `numpy.gradient(usurf, y, x, axis=(-2, -1))` gives those that the
velocities were computed from.

| variable | unit | |
| --- | --- | --- |
{rows}
"""
