"""A small experience on gridded fields: domes of ice, and how fast they flow by the shallow-ice
law.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray
from numpy.typing import NDArray

from qexp.physics import ice

SPACING = 200.0
YEAR = 365.25 * 86400
ARRHENIUS = 78e-18 / YEAR

DATASET: dict[str, Any] = {
    "type": "gridded",
    "path": "domes",
    "mapping": "f2",
    "patch_size": 16,
    "threshold": 1.0,
}

FIELDS = ["thk", "slopsurfx", "slopsurfy"]

MODEL: dict[str, Any] = {
    "inputs": {name: {"size": [16, 16, 1]} for name in FIELDS},
    "outputs": ["ubar", "vbar"],
    "operations": {
        "join": {"module": "concatenate"},
        "network": {"module": "dle_cnn", "parameters": {"outputs": 2, "layers": 2, "filters": 6}},
    },
    "branches": [{"x_name": FIELDS, "y_name": ["ubar", "vbar"], "operations": ["join", "network"]}],
}

EXPERIENCE: dict[str, Any] = {
    "model": "domes",
    "dataset": "domes",
    "inputs": FIELDS,
    "outputs": ["ubar", "vbar"],
    "split": {"type": "random_groups", "parameters": {"by": "folder", "share": 0.3}},
    "patches": [24, 8],
    "epochs": 3,
    "batch_size": 8,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "losses": {"ubar": "mae", "vbar": "mae"},
}


def dome(height: int = 20, width: int = 24, frames: int = 3, seed: int = 0) -> xarray.Dataset:
    """A dome on a tilted bed that grows, with all fields that 2Dto2D-DLE's mappings f2 and f13
    name.
    """
    random = np.random.default_rng(seed)
    x, y = SPACING * np.arange(width), SPACING * np.arange(height)
    across, along = np.meshgrid(x - x[width // 2] - 300, y - y[height // 2] + 100)
    bed = 1000 + random.uniform(-0.05, 0.05) * across + random.uniform(-0.05, 0.05) * along
    reach = (across**2 + 1.3 * along**2) / (0.45 * SPACING * height) ** 2
    grown = np.linspace(0.6, 1, frames)[:, None, None]
    thickness = (random.uniform(150, 300) * grown * np.sqrt(np.clip(1 - reach, 0, None))).astype(
        np.float32
    )
    surface = (bed + thickness).astype(np.float32)
    slopes = np.stack(
        [np.gradient(surface.astype(float), SPACING, axis=axis) for axis in (2, 1)], axis=-1
    )
    one = torch.ones(thickness.shape, dtype=torch.float64)
    speeds = ice.velocity(
        torch.from_numpy(thickness).double(), torch.from_numpy(slopes), ARRHENIUS * one, 0 * one
    )
    fields: dict[str, NDArray[np.float32]] = {"thk": thickness, "usurf": surface}
    for name, of_kind in (
        ("bar", speeds.mean),
        ("velsurf", speeds.surface),
        ("velbase", speeds.basal),
    ):
        for component, axis in (("u", 0), ("v", 1)):
            fields[f"{component}{name}"] = (of_kind[..., axis].numpy() * YEAR).astype(np.float32)
    fields |= {"arrhenius": np.full_like(thickness, 78), "slidingco": np.zeros_like(thickness)}
    units = {"thk": "m", "usurf": "m", "arrhenius": "MPa-3 a-1", "slidingco": "km MPa-3 a-1"}
    return xarray.Dataset(
        {
            name: (("time", "y", "x"), values, {"units": units.get(name, "m a-1")})
            for name, values in fields.items()
        },
        {
            "time": ("time", np.arange(frames) * 10.0, {"units": "a"}),
            "y": ("y", y, {"units": "m"}),
            "x": ("x", x, {"units": "m"}),
        },
    )


def write_folders(path: Path, train: int = 3, test: int = 1, **changes: Any) -> Path:
    """The folders of a dataset: `train/d0`, …, each with an ex.nc."""
    for part, count, first in (("train", train, 0), ("test", test, 100)):
        for number in range(count):
            folder = path / part / f"d{number}"
            folder.mkdir(parents=True)
            (folder / "ex.nc").write_bytes(_file(seed=first + number, **changes))
    return path


def rewrite(path: Path, change: Callable[[xarray.Dataset], xarray.Dataset]) -> None:
    """Write a file, or all files below a folder, with other contents."""
    for file in path.rglob("ex.nc") if path.is_dir() else [path]:
        with xarray.open_dataset(file, decode_times=False) as data:
            changed = change(data.load())
        changed.to_netcdf(file, engine="h5netcdf")


@cache
def _file(**of_dome: Any) -> bytes:
    return bytes(dome(**of_dome).to_netcdf(engine="h5netcdf"))


def write(workspace: Path, **changes: Any) -> None:
    """Write the fields and the specs of an experience `domes`; a key that is changed to None is
    left out.
    """
    if not (workspace / "data/domes").exists():
        write_folders(workspace / "data/domes")
    documents = {"datasets": DATASET, "models": MODEL, "experiences": {**EXPERIENCE, **changes}}
    for folder, document in documents.items():
        kept = {key: value for key, value in document.items() if value is not None}
        (workspace / "specs" / folder / "domes.json").write_text(json.dumps(kept))
