"""The physical models that can generate a dataset. A new source is a kernel in `forward` and an entry here."""

from __future__ import annotations

from qexp.datasets.generators.deformation import DeformationImages, Source
from qexp.forward.point import mogi, mogi_image
from qexp.tables import Entry

GENERATORS: dict[str, Entry] = {
    "mogi": Entry(
        build=lambda: DeformationImages(Source(("x", "y", "depth", "delta_volume"), mogi, mogi_image)),
        parameters={},
        help="Radar images of the deformation by a point source in an elastic half-space (Mogi 1958).",
        example={"type": "mogi"},
    ),
}
