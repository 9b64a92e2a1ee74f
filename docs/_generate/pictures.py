"""Put a figure into docs/ as a PNG of 256 colours, a third of its size.

In docs/: python -m _generate.pictures FIGURE.png NAME.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image


def put(figure: Path, target: Path) -> None:
    """Write a figure that qexp drew with fewer colours; its size in pixels stays."""
    picture = Image.open(figure).convert("RGB")
    fewer = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
    fewer.save(target, optimize=True)


if __name__ == "__main__":
    put(Path(sys.argv[1]), Path(__file__).parents[1] / sys.argv[2])
