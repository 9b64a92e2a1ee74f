"""Inversion by an emulator of simulations whose kernel is known: whether its intervals hold the
truth, and how wide they are beside those by the kernel itself.

Run: python -m benchmarks.emulators [--observations 50] [--epochs 150]  (observations of each cell)
Makes 5,000 simulations of a point source in two views, trains an emulator on them in a temporary
workspace, and inverts observations of two tracks in correlated noise, with the same prior by both:
in each cell of depth and strength of the whole prior, how many intervals hold the truth, and how
many estimates carry a remark on the emulator's errors.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray

import qexp
from qexp.observations.observation import CorrelatedNoise, Observation, Track
from qexp.physics.geometry import line_of_sight
from qexp.physics.point import mogi, mogi_image

COUNT, SIDE, STEP = 5000, 64, 200.0
"""Simulations, pixels of a side of their images, and their size [m]."""

ANGLES = {"azimuth": 0.0, "incidence": 0.6, "azimuth_1": 3.3, "incidence_1": 0.6}
LOOKS = [
    line_of_sight(*(torch.tensor([angle], dtype=torch.float64) for angle in of))
    for of in ((0.0, 0.6), (3.3, 0.6))
]
PRIOR = {"x": (-2.0, 2.0), "y": (-2.0, 2.0), "depth": (1.0, 5.0), "delta_volume": (1.0, 20.0)}
"""In the units of specs; uniform for x and y, and in the logarithm for the others."""
IMAGES, POINTS = ["displacement", "displacement_1"], 300
CELLS = 3
"""Equal shares of the prior of depth and of strength, each with observations of its own."""

REMARKS = "times as wide as by the noise alone", "hardly known"
"""Of remarks on an emulator's errors."""

SILL, RANGE, ERROR = 0.008**2, 2000.0, 0.002
"""Of the noise [m², m, m]."""


def drawn(count: int, seed: int, **shares: tuple[float, float]) -> dict[str, np.ndarray]:
    """Parameters from the prior, or from shares of it, (count,) each, in the units of specs."""
    random, values = np.random.default_rng(seed), {}
    for name, (low, high) in PRIOR.items():
        share = random.uniform(*shares.get(name, (0.0, 1.0)), count)
        values[name] = low + share * (high - low) if low < 0 else low * (high / low) ** share
    return values


def in_si(values: dict[str, np.ndarray]) -> torch.Tensor:
    """(source, variable) as `mogi` takes them."""
    return torch.from_numpy(
        np.stack([values[name] * (1e6 if "volume" in name else 1e3) for name in PRIOR], axis=1)
    )


def simulations(path: Path) -> None:
    values, at = drawn(COUNT, 0), (np.arange(SIDE) - SIDE / 2) * STEP
    along, source = torch.from_numpy(at).expand(COUNT, -1), in_si(values)
    images = [
        mogi_image(source, along, along, look.expand(COUNT, -1)).float().numpy() for look in LOOKS
    ]
    views = {
        name: (("sample", "y", "x"), of, {"units": "m"})
        for name, of in zip(IMAGES, images, strict=True)
    }
    units = {"x": "km", "y": "km", "depth": "km", "delta_volume": "10^6 m3"}
    columns = {
        f"true_{name}": ("sample", of, {"units": units[name]}) for name, of in values.items()
    }
    sides = {axis: (axis, at, {"units": "m"}) for axis in ("x", "y")}
    xarray.Dataset({**views, **columns}, sides).to_netcdf(path, engine="h5netcdf")


def specs(epochs: int) -> dict[str, dict[str, Any]]:
    def prior(low: float, high: float) -> dict[str, Any]:
        name, ends = ("uniform", ("a", "b")) if low < 0 else ("log_uniform", ("low", "high"))
        return {"type": name, "parameters": dict(zip(ends, (low, high), strict=True))}

    def chain(*of: Any) -> dict[str, Any]:
        return {"type": "chain", "parameters": {"of": list(of)}}

    components = {"type": "principal_components", "parameters": {"count": 60}}
    image = chain({"type": "asinh", "parameters": {"scale": 0.1}}, components)
    hidden = {"units": [256, 256, 256], "outputs": 256, "activation": "silu"}
    return {
        "datasets/elements": {
            "type": "simulated",
            "path": "elements.nc",
            "observations": IMAGES,
            "distributions": {name: prior(*ends) for name, ends in PRIOR.items()},
            "varyings": {name: [] for name in PRIOR},
            "columns": {name: f"true_{name}" for name in PRIOR},
            "fixed": ANGLES,
        },
        "models/decoder": {
            "inputs": {name: {"size": [1]} for name in PRIOR},
            "outputs": IMAGES,
            "operations": {
                "join": {"module": "concatenate"},
                "hidden": {"module": "mlp", "parameters": hidden},
                "active": {"module": "activation", "parameters": {"activation": "silu"}},
                **{
                    name: {"module": "denses", "parameters": {"filters": [60], "bias": True}}
                    for name in IMAGES
                },
            },
            "branches": [
                {
                    "x_name": list(PRIOR),
                    "y_name": "features",
                    "operations": ["join", "hidden", "active"],
                },
                *({"x_name": "features", "y_name": name, "operations": [name]} for name in IMAGES),
            ],
        },
        "experiences/decode": {
            "model": "decoder",
            "dataset": "elements",
            "inputs": list(PRIOR),
            "outputs": IMAGES,
            "split": [0.8, 0.1],
            "epochs": epochs,
            "batch_size": 64,
            "optimizer": "adam",
            "learning_rate": 0.003,
            "schedule": {"type": "one_cycle", "parameters": {"warm_up": 0.1}},
            "transforms": {
                **{
                    name: "standardize" if low < 0 else chain("log", "standardize")
                    for name, (low, _) in PRIOR.items()
                },
                **dict.fromkeys(IMAGES, image),
            },
            "losses": dict.fromkeys(IMAGES, "mse"),
            "metrics": dict.fromkeys(IMAGES, "rmse"),
        },
    }


def observation(source: torch.Tensor, random: np.random.Generator) -> Observation:
    tracks = []
    for name, look in zip(("ascending", "descending"), LOOKS, strict=True):
        x, y = random.uniform(-5500, 5500, (2, POINTS))
        displacement = (mogi(source, torch.from_numpy(np.stack([x, y], axis=1))) @ look[0])[
            0
        ].numpy()
        covariance = SILL * np.exp(
            -np.hypot(x[:, None] - x, y[:, None] - y) / RANGE
        ) + ERROR**2 * np.eye(POINTS)
        displacement += np.linalg.cholesky(covariance) @ random.standard_normal(POINTS)
        direction = np.tile(look.numpy(), (POINTS, 1))
        noise = CorrelatedNoise("exponential", SILL, RANGE)
        seen = np.ones(POINTS, dtype=bool)
        tracks.append(
            Track(
                name,
                "radar",
                x,
                y,
                displacement,
                np.full(POINTS, ERROR),
                direction,
                seen,
                noise=noise,
            )
        )
    return Observation(tuple(tracks))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--observations", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=150)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for place, spec in specs(arguments.epochs).items():
            (root / "specs" / place).parent.mkdir(parents=True, exist_ok=True)
            (root / f"specs/{place}.json").write_text(json.dumps(spec))
        (root / "data").mkdir()
        simulations(root / "data/elements.nc")
        run = qexp.run("decode", seed=0, device="cpu", workspace=root)
        errors = ", ".join(f"{1e3 * run.results['test'][name]['rmse']:.2g} mm" for name in IMAGES)
        print(
            f"{COUNT:,} simulations, {run.record['seconds']:.0f} s of training; RMS error of test"
            f" images {errors}"
        )
        compare(root, arguments.observations)


def compare(root: Path, count: int) -> None:
    """Print, of each cell, how many 90 % intervals of all parameters hold the truth, and the ratio
    of their widths.
    """
    names = {"east": "x", "north": "y", "depth": "depth", "delta_volume": "delta_volume"}
    bounds = {
        shown: tuple(1e3 * end if name in "xy" else end for end in PRIOR[name])
        for shown, name in names.items()
    }
    asked: dict[str, Any] = {
        "posterior": True,
        "offsets": "none",
        "declared_noise": True,
        "workspace": root,
    }
    sides = [(cell / CELLS, (cell + 1) / CELLS) for cell in range(CELLS)]
    for number, (depth, strength) in enumerate(product(sides, sides)):
        truths = drawn(count, 1 + number, depth=depth, delta_volume=strength)
        random = np.random.default_rng(number)
        held: dict[str, list[bool]] = {"kernel": [], "emulator": []}
        ratios, said = [], 0
        for row in range(count):
            data = observation(in_si({name: of[[row]] for name, of in truths.items()}), random)
            found = {
                "kernel": qexp.invert(data, source="mogi", bounds=bounds, **asked),
                "emulator": qexp.invert(data, source="run:decode_0", centre=(0.0, 0.0), **asked),
            }
            said += any(
                words in remark for remark in found["emulator"].remarks for words in REMARKS
            )
            for shown, name in names.items():
                truth = truths[name][row] * (1e3 if name in "xy" else 1.0)
                each = {source: of.posterior.parameters[shown] for source, of in found.items()}
                for source, of in each.items():
                    held[source].append(of.low <= truth <= of.high)
                widths = {source: of.high - of.low for source, of in each.items()}
                ratios.append(widths["emulator"] / widths["kernel"])
        where = ", ".join(
            f"{name} {truths[name].min():.2g} to {truths[name].max():.2g}"
            for name in ("depth", "delta_volume")
        )
        shares = ", ".join(
            f"{100 * np.mean(of):.0f} % by the {source}" for source, of in held.items()
        )
        middle, most = np.quantile(ratios, [0.5, 0.9])
        words = (
            f"{where}: of {count} observations 90 % intervals hold {shares}; {said} with a remark"
        )
        print(
            f"{words}; width ratio {middle:.2f} (median), {most:.2f} (90th percentile)", flush=True
        )


if __name__ == "__main__":
    main()
