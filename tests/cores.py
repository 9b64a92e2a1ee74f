"""Small experiences on spectra of cores: two lines on a falling background, one of which tells the
target.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xarray
from numpy.typing import NDArray

from qexp.kinds.spectra.dataset import SpectraDataset
from qexp.spec.kinds import filled_in

CHANNELS, PATCH_SIZE, TARGET = 64, 8, "toc"

DATASET: dict[str, Any] = {
    "type": "spectra",
    "path": "cores",
    "target": TARGET,
    "channels": CHANNELS,
    "patch_size": PATCH_SIZE,
    "energy": [0.1, 0.2],
    "units": {TARGET: "wt%"},
}

CORES: Mapping[str, Sequence[str]] = {
    "train": ("A1", "A2", "B1"),
    "validation": ("C1",),
    "test": ("D1",),
}
"""Part → its cores."""

SPECTRA = 6
"""Of a core."""


def open_cores(path: Path, target: str | None = TARGET, **keys: Any) -> SpectraDataset:
    document = {
        "type": "spectra",
        "target": target,
        "channels": CHANNELS,
        "patch_size": PATCH_SIZE,
        **keys,
    }
    return SpectraDataset(path, filled_in(document))


def table_of(dataset: SpectraDataset) -> pa.Table:
    """Labelled spectra as rows of a table."""
    columns = {
        "filename": dataset.names,
        "core": dataset.cores,
        "depth": dataset.depths,
        "part": dataset.part,
    }
    columns |= {TARGET: dataset.measured[TARGET], "voltage": dataset.metadata["voltage"]}
    columns |= {
        f"channel_{index}": counts for index, counts in enumerate(dataset.read(dataset.rows).T)
    }
    return pa.table({name: pa.array(values.tolist()) for name, values in columns.items()})


def write_netcdf(table: pa.Table, path: Path) -> None:
    """Write a table of spectra with all counts in one variable, `channel_`."""
    counts = np.stack([table[f"channel_{index}"].to_numpy() for index in range(CHANNELS)], axis=1)
    names = [name for name in table.column_names if not name.startswith("channel_")]
    variables = {name: ("row", table[name].to_pylist()) for name in names}
    xarray.Dataset({**variables, "channel_": (("row", "energy"), counts)}).to_netcdf(
        path, engine="h5netcdf"
    )


MASK_RATIO = 0.5


def _operation(module: str) -> dict[str, Any]:
    size = {"size": "tiny", "width": 16, "depth": 2, "heads": 2}
    return {
        "module": module,
        "parameters": {**size, "patch_size": PATCH_SIZE, "mask_ratio": MASK_RATIO},
    }


MODELS: dict[str, dict[str, Any]] = {
    "masked": {
        "inputs": {"spectrum": {"size": [CHANNELS]}, "mask": {"size": [CHANNELS // PATCH_SIZE]}},
        "outputs": ["spectrum"],
        "operations": {
            "encoder": _operation("masked_encoder"),
            "decoder": _operation("masked_decoder"),
        },
        "branches": [
            {"x_name": ["spectrum", "mask"], "y_name": "tokens", "operations": ["encoder"]},
            {
                "x_name": ["tokens", "spectrum", "mask"],
                "y_name": "spectrum",
                "operations": ["decoder"],
            },
        ],
    },
    "regressor": {
        "inputs": {"spectrum": {"size": [CHANNELS]}},
        "outputs": [TARGET],
        "operations": {
            "encoder": _operation("masked_encoder"),
            "pool": {"module": "token_pooling"},
            "head": {"module": "denses", "parameters": {"filters": [1], "bias": True}},
        },
        "branches": [
            {"x_name": "spectrum", "y_name": TARGET, "operations": ["encoder", "pool", "head"]}
        ],
    },
}

SCALED: dict[str, Any] = {"type": "chain", "parameters": {"of": ["log1p", "per_sample"]}}

TRAINING = {
    "split": "parts",
    "epochs": 3,
    "batch_size": 8,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
}

EXPERIENCES: dict[str, dict[str, Any]] = {
    "masked": {
        "model": "masked",
        "dataset": "many",
        "inputs": ["spectrum", "mask"],
        "outputs": ["spectrum"],
        **TRAINING,
        "transforms": {"spectrum": SCALED},
        "losses": {"spectrum": "mse"},
    },
    "scratch": {
        "model": "regressor",
        "dataset": "few",
        "inputs": ["spectrum"],
        "outputs": [TARGET],
        **TRAINING,
        "transforms": {"spectrum": SCALED, TARGET: "standardize"},
        "losses": {TARGET: "mse"},
        "baselines": ["mean", "ridge"],
    },
}
EXPERIENCES["finetune"] = {
    **EXPERIENCES["scratch"],
    "pretrain": {"run": "masked_0", "operations": ["encoder"]},
}

UNLABELLED: dict[str, Any] = {
    key: value for key, value in DATASET.items() if key not in ("target", "units")
} | {"path": "many"}

OTHER_CORES: Mapping[str, Sequence[str]] = {
    "train": ("M1", "M2", "M3"),
    "validation": ("M4",),
    "test": ("M5",),
}
"""Of the spectra without targets."""


def write(workspace: Path) -> None:
    """Spectra of `CORES` with targets and of `OTHER_CORES` without, and the specs of the
    experiences on them.
    """
    write_folders(workspace / "data" / "few")
    write_folders(workspace / "data" / "many", OTHER_CORES, labelled=False)
    datasets = {"few": {**DATASET, "path": "few"}, "many": UNLABELLED}
    for folder, documents in (
        ("datasets", datasets),
        ("models", MODELS),
        ("experiences", EXPERIENCES),
    ):
        (workspace / "specs" / folder).mkdir(parents=True, exist_ok=True)
        for name, document in documents.items():
            (workspace / "specs" / folder / f"{name}.json").write_text(json.dumps(document))


def spectra(core: str, count: int = SPECTRA) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Counts, (depth, channel), and targets, (depth,), of a core; the same for the same name."""
    random = np.random.default_rng(list(core.encode()))
    target = np.round(random.uniform(0.2, 3.0, count), 3)
    channel = np.arange(CHANNELS)

    def line(centre: float) -> NDArray[np.float64]:
        return np.exp(-0.5 * ((channel - centre) / 2) ** 2)

    other = random.uniform(0.5, 2.0, (count, 1))
    rates = 20 * np.exp(-channel / 30) + 100 * target[:, None] * line(20) + 100 * other * line(40)
    return random.poisson(rates), target


def write_folders(
    path: Path,
    cores: Mapping[str, Sequence[str]] = CORES,
    count: int = SPECTRA,
    labelled: bool = True,
    separator: str = "\n",
) -> Path:
    """The folders of a dataset; a spectrum is called after its core and number: `A1_0.csv`.

    cores      part → its cores; those for validation lie in train/ and are named by val.csv
    separator  between the counts of a file
    """
    lines: dict[Path, list[str]] = {}
    for part, of_part in cores.items():
        folder = path / ("test" if part == "test" else "train")
        lists = [folder / "info.csv", *([folder / "val.csv"] if part == "validation" else [])]
        for name in ("spe", *(["target"] if labelled else [])):
            (folder / name).mkdir(parents=True, exist_ok=True)
        for core in of_part:
            counts, targets = spectra(core, count)
            for number in range(count):
                name = f"{core}_{number}.csv"
                (folder / "spe" / name).write_text(separator.join(map(str, counts[number])) + "\n")
                if labelled:
                    (folder / "target" / name).write_text(f"{targets[number]}\n")
                for listing in lists:
                    header = ["filename,core,depth,voltage"]
                    lines.setdefault(listing, header).append(f"{name},{core},{10 * number + 5},30")
    for listing, of_listing in lines.items():
        listing.write_text("\n".join(of_listing) + "\n")
    return path
