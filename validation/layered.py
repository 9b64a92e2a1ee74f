"""Sources in layered ground, inverted by an emulator of it and by the formula of homogeneous
ground.

Run, in the workspace of the tutorial on your own simulator: python -m validation.layered [--count
N]

Prints how many true depths and volume changes lie within 1.96 standard errors of the estimates, and
how well each fits.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import qexp
from docs.tutorials.layered import GROUND, displacement

LOOKS = {"ascending": (-0.62, -0.12, 0.775), "descending": (0.55, -0.11, 0.828)}
SILL, RANGE, NUGGET = 1e-5, 2000.0, 2e-6
SOURCES = ("run:emulator_0", "mogi")
COLUMNS = "x (m),y (m),displacement (m),los_east,los_north,los_up"


def write_tracks(
    folder: Path, source: NDArray[np.float64], random: np.random.Generator
) -> list[Path]:
    """Two tracks of 400 points, with correlated noise; source: east, north, depth [m], volume
    change [m³].
    """
    files = []
    for name, look in LOOKS.items():
        east, north = random.uniform(-8000, 8000, (2, 400))
        apart = np.hypot(east - east[:, None], north - north[:, None])
        covariance = SILL * np.exp(-apart / RANGE) + NUGGET * np.eye(400)
        signal = (
            displacement(GROUND, source[2], source[3], east - source[0], north - source[1]) @ look
        )
        noise = np.linalg.cholesky(covariance) @ random.standard_normal(400)
        table = np.column_stack([east, north, signal + noise, *np.tile(look, (400, 1)).T])
        files.append(folder / f"{name}.csv")
        np.savetxt(files[-1], table, "%.7g", ",", header=COLUMNS, comments="")
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=25, help="sources")
    count = parser.parse_args().count
    inside = {(of, name): 0 for of in SOURCES for name in ("depth", "delta_volume")}
    fits = dict.fromkeys(SOURCES, 0)
    for seed in range(count):
        random = np.random.default_rng([1, seed])
        source = random.uniform([-2000, -2000, 2600, 2e6], [2000, 2000, 6500, 15e6])
        with tempfile.TemporaryDirectory() as folder:
            files = write_tracks(Path(folder), source, random)
            observed = qexp.observe(files, noise=f"exponential:{SILL},{RANGE},{NUGGET}")
            for of in SOURCES:
                inverted = qexp.invert(observed, source=of)
                fits[of] += inverted.chi2_reduced <= 1.1
                for name, truth in {
                    "depth": source[2] / 1e3,
                    "delta_volume": source[3] / 1e6,
                }.items():
                    found = inverted.parameters[name]
                    inside[of, name] += abs(found.value - truth) < 1.96 * found.standard_error
    for of in SOURCES:
        held = ", ".join(
            f"{inside[of, name]} of {count} true values of {name}"
            for name in ("depth", "delta_volume")
        )
        print(f"{of}: {held} inside; reduced χ² at most 1.1 in {fits[of]}")


if __name__ == "__main__":
    main()
