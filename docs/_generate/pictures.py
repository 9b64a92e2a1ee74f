"""Pictures of the documents: small PNGs, and by how much two look different.

In docs/: python -m _generate.pictures FIGURE.png NAME.png
"""

from __future__ import annotations

import io
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

BLUR, MOVED = 0.7, 2
"""Standard deviation, and distance that letters may move: they do with another hinting [pixel]."""

DIFFERENT = 0.08
"""Difference of a blurred pixel that is seen."""


def small(content: bytes, width: int | None = None, colours: int = 256) -> bytes:
    """A PNG with fewer colours, which makes it a third of its size, and no wider than a width."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    if width is not None and picture.width > width:
        size = (width, round(picture.height * width / picture.width))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    fewer = picture.quantize(
        colours, method=Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE
    )
    target = io.BytesIO()
    fewer.save(target, "PNG", optimize=True)
    return target.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def pixels_that_differ(one: Image.Image, other: Image.Image) -> Any:
    """1 where a pixel of two pictures differs from all nearby, else 0; all 1 if their sizes
    differ.
    """
    if max(abs(a - b) for a, b in zip(one.size, other.size, strict=True)) > 2:
        return np.ones(one.size[::-1])
    first, second = (
        gaussian_filter(np.asarray(picture.resize(one.size), dtype=float) / 255, (BLUR, BLUR, 0))
        for picture in (one, other)
    )
    if np.abs(first - second).max() <= DIFFERENT:
        return np.zeros(one.size[::-1])
    shifts = itertools.product(range(-MOVED, MOVED + 1), repeat=2)
    least = np.min(
        [np.abs(first - np.roll(second, shift, (0, 1))).max(axis=2) for shift in shifts], axis=0
    )
    return (least > DIFFERENT).astype(float)


if __name__ == "__main__":
    put = Path(__file__).parents[1] / sys.argv[2]
    put.write_bytes(small(Path(sys.argv[1]).read_bytes()))
