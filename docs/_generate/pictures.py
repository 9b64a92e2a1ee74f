"""Put a figure into docs/ as a PNG of 256 colours, a third of its size.

In docs/: python -m _generate.pictures FIGURE.png NAME.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

COLOURS, ROUNDS = 256, 30


def put(figure: Path, target: Path) -> None:
    """Write a figure that qexp drew with fewer colours; its size in pixels stays."""
    pixels = np.asarray(Image.open(figure).convert("RGB"))
    colours, of_pixel, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    palette = palette_of(colours.astype(float), np.sqrt(counts))
    nearest = cKDTree(palette).query(colours)[1]
    made = Image.fromarray(nearest[of_pixel].reshape(pixels.shape[:2]).astype(np.uint8))
    made.putpalette(palette.astype(np.uint8).tobytes())
    made.save(target, optimize=True)


def palette_of(colours: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted k-means of colours: with roots of counts as weights, colour scales stay as smooth as backgrounds."""
    chosen, distance = [int(weights.argmax())], np.full(len(colours), np.inf)
    while len(chosen) < min(COLOURS, len(colours)):
        distance = np.minimum(distance, ((colours - colours[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int((distance * weights).argmax()))
    palette = colours[chosen]
    for _ in range(ROUNDS):
        nearest = cKDTree(palette).query(colours)[1]
        total = np.bincount(nearest, weights, len(palette))
        sums = [np.bincount(nearest, weights * channel, len(palette)) for channel in colours.T]
        palette = np.where(total[:, None] > 0, np.stack(sums, axis=1) / np.maximum(total, 1)[:, None], palette)
    return palette.round()


if __name__ == "__main__":
    put(Path(sys.argv[1]), Path(__file__).parents[1] / sys.argv[2])
