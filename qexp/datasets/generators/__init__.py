"""The physical models that can generate a dataset. A new source is a kernel in `forward` and an entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from qexp.datasets.generators.deformation import DeformationImages, Requirement, Source
from qexp.forward.point import mogi, mogi_image
from qexp.tables import Entry

__all__ = ["GENERATORS", "DeformationImages", "Requirement", "Source", "half_space"]

POISSON_RATIO = {
    "properties": {
        "poisson_ratio": {
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 0.5,
            "description": "Poisson's ratio of the half-space",
        }
    }
}

PLACE = ("x", "y", "depth")
"""The first variables of every source: its centre."""


def half_space(source: Source) -> Callable[..., DeformationImages]:
    """The builder of a source whose kernels take `poisson_ratio`, of the elastic half-space around it."""

    def build(poisson_ratio: float = 0.25) -> DeformationImages:
        kernel, image_kernel = source.kernel, source.image_kernel
        return DeformationImages(
            replace(
                source,
                kernel=partial(kernel, poisson_ratio=poisson_ratio),
                image_kernel=image_kernel and partial(image_kernel, poisson_ratio=poisson_ratio),
            )
        )

    return build


GENERATORS: dict[str, Entry] = {
    "mogi": Entry(
        build=half_space(Source((*PLACE, "delta_volume"), mogi, mogi_image)),
        parameters=POISSON_RATIO,
        help="Radar images of the deformation by a point source in an elastic half-space (Mogi 1958).",
        example={"type": "mogi"},
    ),
}
