"""Folders of synthetic glaciers in the format of 2Dto2D-DLE: one `ex.nc` each, all variables (time, y, x)."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from qexp import files
from qexp.forward.ice import DENSITY, GRAVITY
from qexp.seeds import Seeds
from qexp.synthetic.folders import README, whole_folder
from qexp.synthetic.glaciers import Glacier, glacier
from qexp.synthetic.ice import YEAR, Options, check, fields, grow


class Variable(NamedTuple):
    units: str
    long_name: str
    standard_name: str | None = None


VARIABLES: dict[str, Variable] = {
    "thk": Variable("m", "ice thickness", "land_ice_thickness"),
    "usurf": Variable("m", "altitude of the ice surface, of the bed where there is no ice", "surface_altitude"),
    "topg": Variable("m", "altitude of the bed", "bedrock_altitude"),
    "ubar": Variable("m year-1", "velocity along x, mean over the depth", "land_ice_vertical_mean_x_velocity"),
    "vbar": Variable("m year-1", "velocity along y, mean over the depth", "land_ice_vertical_mean_y_velocity"),
    "uvelsurf": Variable("m year-1", "velocity along x at the surface", "land_ice_surface_x_velocity"),
    "vvelsurf": Variable("m year-1", "velocity along y at the surface", "land_ice_surface_y_velocity"),
    "uvelbase": Variable("m year-1", "velocity along x at the base", "land_ice_basal_x_velocity"),
    "vvelbase": Variable("m year-1", "velocity along y at the base", "land_ice_basal_y_velocity"),
    "arrhenius": Variable("MPa-3 year-1", "rate factor of Glen's flow law"),
    "slidingco": Variable("km MPa-3 year-1", "coefficient of Weertman's sliding law"),
    "strflowctrl": Variable("1", "strength of the flow: numerical values of arrhenius and slidingco added"),
}

COORDINATES: dict[str, Variable] = {
    "time": Variable("year", "time since there was no ice", "time"),
    "y": Variable("m", "northing of the centre of the cell", "projection_y_coordinate"),
    "x": Variable("m", "easting of the centre of the cell", "projection_x_coordinate"),
}
"""Coordinates, in the order of the dimensions."""


HEADING = "# Simulated glaciers"

PHYSICS = (
    "Isothermal shallow ice on a random bed: Glen's flow law with exponent 3, Weertman sliding with the cube of the "
    f"basal shear stress, density {DENSITY:g} kg m-3, gravity {GRAVITY:g} m s-2, a year of "
    f"{YEAR / 86400:.9f} days. Mass balance: the gradient times the height above the equilibrium line, up to the "
    "greatest balance; the line descends until half of the time has passed and then rises again. The simulation "
    "starts without ice. Velocities are those of the cells' thickness and of the central differences of their surface."
)

COUPLED = (
    "Then each cell's flux of ice was distributed over the ice around it, with Gaussian weights of a standard "
    "deviation of {:g} / 2 times its thickness: a test for networks, not glaciology."
)


class Made(NamedTuple):
    """A written glacier."""

    folder: Path
    frames: int
    steps: int
    """Number of time steps of the integration."""
    seconds: float
    """Time that the integration took [s]."""


def write(
    out: Path,
    options: Options,
    glaciers: int = 12,
    test: int | None = None,
    overwrite: bool = False,
    watch: Callable[[str, float], None] = lambda name, share: None,
) -> list[Made]:
    """Make glaciers, and write OUT/test/NAME/ex.nc of the first `test` of them and OUT/train/NAME/ex.nc of the others.

    test     a quarter of them, at least one, if left out
    watch    called with the name of a glacier and the finished share of the whole

    OUT appears when all glaciers are finished. A glacier has the same bits however many others are made with it.
    Raises QexpError if an option is wrong, if something else is at OUT, or if it cannot be written.
    """
    test = min(max(glaciers // 4, 1), glaciers - 1) if test is None else test
    check(options, glaciers, test)
    made, seeds = [], Seeds(options.seed)
    with whole_folder(out, HEADING, overwrite) as folder, _one_thread():
        for number in range(glaciers):
            part = "test" if number < test else "train"
            random = glacier(seeds, number, options.size, options.spacing, options.arrhenius, options.sliding)

            def report(share: float, name: str = random.name, number: int = number) -> None:
                watch(name, (number + share) / glaciers)

            states, steps, seconds = _grown(random, options, report)
            place = Path(part) / random.name
            files.make_folder(folder / place)
            files.write_bytes(folder / place / "ex.nc", _netcdf(random, number, states, options))
            made.append(Made(out / place, options.frames, steps, seconds))
        files.write_bytes(folder / README, _readme(options, glaciers, test).encode())
    return made


@contextmanager
def _one_thread() -> Iterator[None]:
    """Frames are small: a second thread costs ten times what it saves."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _grown(glacier: Glacier, options: Options, watch: Callable[[float], None]) -> tuple[list[Tensor], int, float]:
    """Thickness of all frames, the number of time steps, and their computing time [s]."""
    steps = 0

    def count(year: float) -> None:
        nonlocal steps
        steps += 1
        watch(year / glacier.duration)

    started = time.perf_counter()
    states = list(grow(glacier, options.spacing, options.frames, count))
    return states, steps, time.perf_counter() - started


def _netcdf(glacier: Glacier, number: int, states: list[Tensor], options: Options) -> bytes:
    import h5netcdf

    centres = (np.arange(options.size) + 0.5) * options.spacing
    years = glacier.duration * np.arange(1, options.frames + 1) / options.frames
    frames = [fields(glacier, state, options.spacing, options.coupling) for state in states]
    content = io.BytesIO()
    with h5netcdf.File(content, "w") as file:
        file.attrs.update(_attributes(glacier, number, options))
        file.dimensions = {"time": options.frames, "y": options.size, "x": options.size}
        for (name, described), values in zip(COORDINATES.items(), (years, centres, centres), strict=True):
            _describe(file.create_variable(name, (name,), data=values), described)
        for name, described in VARIABLES.items():
            stacked = np.stack([frame[name] for frame in frames])
            _describe(
                file.create_variable(
                    name, tuple(COORDINATES), data=stacked, chunks=(1, *stacked.shape[1:]),
                    compression="gzip", compression_opts=4, shuffle=True,
                ),
                described,
            )  # fmt: skip
    return content.getvalue()


def _describe(variable: Any, described: Variable) -> None:
    attributes = {name: text for name, text in described._asdict().items() if text is not None}
    variable.attrs.update(attributes)


def _attributes(glacier: Glacier, number: int, options: Options) -> dict[str, str | float | int]:
    climate = glacier.climate
    return {
        "Conventions": "CF-1.11",
        "title": f"{glacier.name}, a simulated glacier",
        "source": PHYSICS + ("" if options.coupling is None else " " + COUPLED.format(options.coupling)),
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


def _readme(options: Options, glaciers: int, test: int) -> str:
    coupled = "" if options.coupling is None else "\n\n" + COUPLED.format(options.coupling)
    rows = "\n".join(
        f"| {name} | {one.units} | {one.long_name} |" for name, one in {**COORDINATES, **VARIABLES}.items()
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
