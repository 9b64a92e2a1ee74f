"""How often the intervals of `qexp invert` hold the truth, with a simulator that shares no code
with it.

Each case is a random source under two satellite tracks, with exponentially correlated noise, a
nugget, an offset and a ramp of each track, and stations of GNSS; the noise is declared as it is.
Sources: Mogi's (1958) and McTigue's (1987) equations, and Okada's (1985) of
`validation.plain_okada`, a dike. Its strike slip is estimated, and without bounds zero in truth;
with bounds, truths are drawn from the uniform prior that these declare, over which posteriors are
calibrated.

With `--reduce` tracks are images of PIXELS x PIXELS instead, and what is inverted are the means of
their cells.

Run: python -m benchmarks.intervals [SOURCE ...] [--cases 100] [--posterior] [--bounds] [--first 0]
                                    [--reduce uniform:4] [--range 3000]
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import qexp
from qexp.errors import QexpError
from qexp.observations.observation import CorrelatedNoise, Observation, Track
from qexp.observations.reduction import reduced_points, reduction
from validation.plain_okada import plain_okada

Array = NDArray[np.float64]
Truth = Mapping[str, float]

POINTS, REACH, STATIONS = 150, 9e3, 12
"""Points of a track, half the size of their area [m], and stations of GNSS."""
PIXELS = 60
"""Rows and columns of an image, of the same area."""
SILL = 1e-4
"""Variance of the exponentially correlated noise [m²]."""
NUGGET, OF_STATIONS = 3e-3, (2e-3, 2e-3, 5e-3)
"""Standard deviations [m]: of the independent noise of points; of GNSS east, north and up."""
TRACKS = {"ascending": (-12.0, 38.0), "descending": (192.0, 34.0)}
"""Heading and incidence, in degrees."""
CENTRE = (430e3, 4520e3)
POISSON_RATIO = 0.25


@dataclass(frozen=True)
class Model:
    """A source of `qexp invert`, another implementation of it, and random truths.

    displacement  truth, east and north of the points [m] → (point, 3) [m]
    truth         a random truth, in the units of `qexp invert`
    bounds        that a user may give; with them truths are drawn from the uniform prior that they
                  declare
    fixed         what is not estimated
    """

    source: str
    displacement: Callable[[Truth, Array, Array], Array]
    truth: Callable[[np.random.Generator], dict[str, float]]
    bounds: Mapping[str, tuple[float, float]]
    fixed: Mapping[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", nargs="*", default=list(MODELS), choices=[*MODELS, []])
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument(
        "--posterior", action="store_true", help="90 % intervals of the posterior, too"
    )
    parser.add_argument(
        "--bounds", action="store_true", help="with bounds, between which truths are uniform"
    )
    parser.add_argument("--reduce", help="images, reduced to cells: uniform:4, quadtree:0.01")
    parser.add_argument("--range", type=float, default=3e3, help="of the correlated noise [m]")
    arguments = parser.parse_args()
    noise = CorrelatedNoise("exponential", SILL, arguments.range)
    points = (
        points_anywhere(noise)
        if arguments.reduce is None
        else cells_of_images(noise, arguments.reduce)
    )
    cases = range(arguments.first, arguments.first + arguments.cases)
    for name in arguments.source or MODELS:
        measure(MODELS[name], points, cases, arguments.posterior, arguments.bounds)


def measure(model: Model, points: Points, cases: range, posterior: bool, bounded: bool) -> None:
    """Invert the cases and print how many intervals hold the truth, of those without and with a
    remark.
    """
    inside: dict[str, list[tuple[bool, ...]]] = {}
    remarked, chi2, sizes, seconds, failures, counts = [], [], [], 0.0, 0, Counter[str]()
    for case in cases:
        random = np.random.default_rng([7, case])
        truth = drawn_between(model, random) if bounded else model.truth(random)
        observation = observed(model, truth, points, random)
        sizes.append(observation.tracks[0].size)
        began = time.process_time()
        try:
            result = qexp.invert(
                observation,
                source=model.source,
                ramps=True,
                fixed=model.fixed,
                posterior=posterior,
                bounds=model.bounds if bounded else None,
            )
        except QexpError as error:
            failures += 1
            print(f"case {case}: {error}")
            continue
        seconds += time.process_time() - began
        remarked.append(bool(result.remarks))
        chi2.append(result.chi2_reduced)
        counts.update(remark.split(":")[0][:90] for remark in result.remarks)
        for name, value in truth.items():
            estimate = result.parameters[name]
            if estimate.fixed:
                continue
            period = 2 * np.pi if name == "strike" else None
            row = [holds(estimate.interval95, value, period)]
            if posterior:
                estimate = result.posterior.parameters[name]
                row.append(holds((estimate.low, estimate.high), value, period))
            inside.setdefault(name, []).append(tuple(row))
        if (case + 1) % 25 == 0:
            print(f"{model.source}: {case + 1} cases", flush=True)
    silent = ~np.array(remarked)
    bounds = "with bounds" if bounded else "without bounds"
    print(
        f"{model.source} {bounds}: {len(remarked)} cases, {failures} failed, {silent.sum()} without"
        f" a remark, {seconds / max(len(remarked), 1):.2f} s of processor time each; reduced χ²"
        f" {np.mean(chi2):.3f}, {np.mean(sizes):.0f} points of a track"
    )
    for remark, count in counts.most_common(5):
        print(f"  {count} × {remark}")
    for column, words in enumerate(
        ["95 % intervals of least squares", "90 % intervals of the posterior"][: 1 + posterior]
    ):
        for group, chosen in (("all", silent | True), ("no remark", silent)):
            shares = {
                name: np.mean([row[column] for row in np.array(rows)[chosen]])
                for name, rows in inside.items()
            }
            print(
                f"  {words}, {group}: "
                + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()),
                flush=True,
            )


def holds(interval: tuple[float, float] | None, value: float, period: float | None) -> bool:
    if interval is None:
        return False
    low, high = interval
    if period is not None:
        value = low + (value - low) % period
    return bool(low <= value <= high)


@dataclass(frozen=True)
class Points:
    """Where a track has points.

    places    random state → east and north of the points from the middle, and the root of their
              noise's covariance [m]
    averaged  what of them is inverted
    """

    noise: CorrelatedNoise
    places: Callable[[np.random.Generator], tuple[Array, Array, Array]]
    averaged: Callable[[Track], Track]


def points_anywhere(noise: CorrelatedNoise) -> Points:
    def places(random: np.random.Generator) -> tuple[Array, Array, Array]:
        x, y = random.uniform(-REACH, REACH, (2, POINTS))
        return x, y, root_of_noise(x, y, noise)

    return Points(noise, places, lambda track: track)


def cells_of_images(noise: CorrelatedNoise, reduce: str) -> Points:
    along = (np.arange(PIXELS) + 0.5) / PIXELS * 2 * REACH - REACH
    x, y = (line.ravel() for line in np.meshgrid(along, along))
    root, plan = root_of_noise(x, y, noise), reduction(reduce)
    return Points(noise, lambda _: (x, y, root), lambda track: reduced_points(track, plan))


def root_of_noise(x: Array, y: Array, noise: CorrelatedNoise) -> Array:
    apart = np.hypot(x[:, None] - x, y[:, None] - y)
    return np.linalg.cholesky(
        noise.sill * np.exp(-apart / noise.range) + NUGGET**2 * np.eye(len(x))
    )


def observed(
    model: Model, truth: Truth, points: Points, random: np.random.Generator
) -> Observation:
    tracks = []
    for name, (heading, incidence) in TRACKS.items():
        h, i = np.radians([heading, incidence])
        look = np.array([-np.cos(h) * np.sin(i), np.sin(h) * np.sin(i), np.cos(i)])
        x, y, root = points.places(random)
        offset, *ramp = random.normal(0, [0.02, 2e-6, 2e-6])
        along_sight = model.displacement(truth, x, y) @ look + root @ random.normal(size=len(x))
        along_sight += offset + ramp[0] * x + ramp[1] * y
        track = Track(
            name,
            "radar",
            x + CENTRE[0],
            y + CENTRE[1],
            along_sight,
            np.full(len(x), NUGGET),
            np.tile(look, (len(x), 1)),
            np.ones(len(x), bool),
            noise=points.noise,
        )
        tracks.append(points.averaged(track))
    x, y = random.uniform(-REACH, REACH, (2, STATIONS))
    errors = np.tile(OF_STATIONS, (STATIONS, 1))
    moved = model.displacement(truth, x, y) + errors * random.normal(size=errors.shape)
    names = np.repeat([f"G{station:02d}" for station in range(STATIONS)], 3)
    tracks.append(
        Track(
            "gnss",
            "gnss",
            np.repeat(x, 3) + CENTRE[0],
            np.repeat(y, 3) + CENTRE[1],
            moved.ravel(),
            errors.ravel(),
            np.tile(np.eye(3), (STATIONS, 1)),
            np.ones(3 * STATIONS, bool),
            station=names,
        )
    )
    return Observation(tuple(tracks))


def of_mogi(truth: Truth, x: Array, y: Array) -> Array:
    offset = np.stack(
        [
            x - truth["east"] + CENTRE[0],
            y - truth["north"] + CENTRE[1],
            np.full_like(x, 1e3 * truth["depth"]),
        ],
        1,
    )
    strength = (1 - POISSON_RATIO) / np.pi * 1e6 * truth["delta_volume"]
    return strength * offset / np.linalg.norm(offset, axis=1)[:, None] ** 3


def of_mctigue(truth: Truth, x: Array, y: Array) -> Array:
    """McTigue (1987), to the sixth order of radius over depth."""
    depth, radius, nu = 1e3 * truth["depth"], 1e3 * truth["radius"], POISSON_RATIO
    along = (x - truth["east"] + CENTRE[0]) / depth
    across = (y - truth["north"] + CENTRE[1]) / depth
    squared = 1 + along**2 + across**2
    ratio = radius / depth
    bracket = (1 + nu) / (2 * (7 - 5 * nu)) - 15 * (2 - nu) / (4 * (7 - 5 * nu)) / squared
    up = (
        truth["pressure_over_mu"]
        * depth
        * (1 - nu)
        * ratio**3
        / squared**1.5
        * (1 - ratio**3 * bracket)
    )
    return np.stack([up * along, up * across, up], 1)


def of_okada(truth: Truth, x: Array, y: Array) -> Array:
    moved = plain_okada(
        x - truth["east"] + CENTRE[0],
        y - truth["north"] + CENTRE[1],
        1e3 * truth["depth"],
        1e3 * truth["length"],
        1e3 * truth["width"],
        truth["strike"],
        truth["dip"],
        truth["strike_slip"],
        truth["dip_slip"],
        truth["opening"],
    )
    return np.stack(moved, 1)


def _place(random: np.random.Generator) -> dict[str, float]:
    east, north = random.uniform(-2e3, 2e3, 2)
    return {"east": CENTRE[0] + east, "north": CENTRE[1] + north}


def mogi_truth(random: np.random.Generator) -> dict[str, float]:
    depth = random.uniform(1.5, 5)
    return {
        **_place(random),
        "depth": depth,
        "delta_volume": random.choice([-1, 1]) * random.uniform(0.3, 1) * depth**2,
    }


def mctigue_truth(random: np.random.Generator) -> dict[str, float]:
    depth = random.uniform(2, 5)
    radius = random.uniform(0.2, 0.6) * depth
    # radius³ times pressure over μ [km³], for 8 to 45 cm of uplift
    strength = random.uniform(1e-4, 6e-4) * depth**2
    return {
        **_place(random),
        "depth": depth,
        "radius": radius,
        "pressure_over_mu": strength / radius**3,
    }


def okada_truth(random: np.random.Generator) -> dict[str, float]:
    length, width, dip = random.uniform(2, 6), random.uniform(1, 3), random.uniform(0.8, 1.5)
    top = random.uniform(0.5, 2)
    return {
        **_place(random), "depth": top + width / 2 * np.sin(dip), "length": length, "width": width,
        "strike": random.uniform(0, 2 * np.pi), "dip": dip, "strike_slip": 0.0, "dip_slip": 0.0,
        "opening": random.uniform(0.5, 2),
    }  # fmt: skip


def drawn_between(model: Model, random: np.random.Generator) -> dict[str, float]:
    """A truth from the uniform prior that the bounds declare, among possible sources."""
    while True:
        truth = {name: float(random.uniform(*ends)) for name, ends in model.bounds.items()}
        if "strike_slip" in truth:
            truth |= {"strike": random.uniform(0, 2 * np.pi), **model.fixed}
        height = (
            truth["width"] / 2 * np.sin(truth["dip"])
            if "dip" in truth
            else truth.get("radius", 0.0)
        )
        if height < truth["depth"]:
            return truth


PLACE = {"east": (CENTRE[0] - 5e3, CENTRE[0] + 5e3), "north": (CENTRE[1] - 5e3, CENTRE[1] + 5e3)}
MODELS = {
    "mogi": Model(
        "mogi", of_mogi, mogi_truth, {**PLACE, "depth": (1, 6), "delta_volume": (-20, 20)}, {}
    ),
    "mctigue": Model(
        "mctigue",
        of_mctigue,
        mctigue_truth,
        {**PLACE, "depth": (1, 6), "radius": (0.1, 2.5), "pressure_over_mu": (0.0, 0.02)},
        {},
    ),
    "okada": Model(
        "okada",
        of_okada,
        okada_truth,
        {
            **PLACE,
            "depth": (0.5, 5),
            # level and vertical rectangles have several strikes, which no single interval holds
            "dip": (0.2, 1.4),
            "length": (0.5, 8),
            "width": (0.3, 4),
            "strike_slip": (-3, 3),
            "opening": (0, 4),
        },
        {"dip_slip": 0.0},
    ),
}

if __name__ == "__main__":
    main()
