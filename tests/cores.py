"""Small folders of spectra of cores: two lines on a falling background, one of which tells the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

CORES: Mapping[str, Sequence[str]] = {"train": ("A1", "A2", "B1"), "validation": ("C1",), "test": ("D1",)}
"""Part → its cores."""

SPECTRA = 6
"""Of a core."""


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
