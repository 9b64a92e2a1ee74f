"""The physical models that can generate a dataset. A new source is a kernel in `forward` and an entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from qexp.datasets.generators import requirements
from qexp.datasets.generators.deformation import DeformationImages, Requirement, Source
from qexp.datasets.generators.requirements import NOT_TOO_SLENDER, PROLATE, below_surface
from qexp.forward.crack import penny, penny_image
from qexp.forward.dislocation import cdm, cdm_image, okada, okada_image
from qexp.forward.ellipsoid import yang, yang_image
from qexp.forward.point import mctigue, mctigue_image, mogi, mogi_image, pcdm, pcdm_image
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
        help="Point source of a volume change (Mogi 1958): x, y, depth, delta_volume.",
        example={"type": "mogi"},
    ),
    "mctigue": Entry(
        build=half_space(
            Source(
                (*PLACE, "radius", "pressure_over_mu"),
                mctigue,
                mctigue_image,
                requirements=(below_surface("radius", requirements.of_sphere),),
            )
        ),
        parameters=POISSON_RATIO,
        help="Pressurised sphere, corrected for its finite size (McTigue 1987): x, y, depth, radius, pressure_over_mu.",
        example={"type": "mctigue", "parameters": {"poisson_ratio": 0.25}},
    ),
    "pcdm": Entry(
        build=half_space(
            Source(
                (*PLACE, "omega_x", "omega_y", "omega_z", "potency_x", "potency_y", "potency_z"),
                pcdm,
                pcdm_image,
            )
        ),
        parameters=POISSON_RATIO,
        help="Three mutually perpendicular point cracks, the far field of any opening source (Nikkhoo and others "
        "2017): x, y, depth, omega_x, omega_y, omega_z, potency_x, potency_y, potency_z.",
        example={"type": "pcdm", "parameters": {"poisson_ratio": 0.25}},
    ),
    "yang": Entry(
        build=half_space(
            Source(
                (*PLACE, "semi_major", "semi_minor", "strike", "plunge", "pressure_over_mu"),
                yang,
                yang_image,
                (
                    PROLATE,
                    NOT_TOO_SLENDER,
                    below_surface("the height of the spheroid above its centre", requirements.of_spheroid),
                ),
            )
        ),
        parameters=POISSON_RATIO,
        help="Pressurised prolate spheroid, such as a conduit (Yang and others 1988): x, y, depth, semi_major, "
        "semi_minor, strike, plunge, pressure_over_mu.",
        example={"type": "yang", "parameters": {"poisson_ratio": 0.25}},
    ),
    "penny": Entry(
        build=half_space(
            Source((*PLACE, "radius", "pressure_over_mu"), penny, penny_image, (requirements.NOT_TOO_WIDE,)),
        ),
        parameters=POISSON_RATIO,
        help="Pressurised horizontal circular crack, a sill (Fialko and others 2001): x, y, depth, radius, "
        "pressure_over_mu.",
        example={"type": "penny", "parameters": {"poisson_ratio": 0.25}},
    ),
    "okada": Entry(
        build=half_space(
            Source(
                (*PLACE, "length", "width", "strike", "dip", "strike_slip", "dip_slip", "opening"),
                okada,
                okada_image,
                requirements=(below_surface("width/2 · sin(dip)", requirements.of_rectangle),),
            )
        ),
        parameters=POISSON_RATIO,
        help="Rectangular dislocation that slips or opens, such as a fault, dike or sill (Okada 1985): x, y, depth, "
        "length, width, strike, dip, strike_slip, dip_slip, opening.",
        example={"type": "okada", "parameters": {"poisson_ratio": 0.25}},
    ),
    "cdm": Entry(
        build=half_space(
            Source(
                (*PLACE, "omega_x", "omega_y", "omega_z", "a_x", "a_y", "a_z", "opening"),
                cdm,
                cdm_image,
                requirements=(
                    below_surface("the height of its corners above its centre", requirements.of_crossed_rectangles),
                ),
            )
        ),
        parameters=POISSON_RATIO,
        help="Compound dislocation: three mutually perpendicular rectangles with one opening, for chambers of any "
        "shape (Nikkhoo and others 2017): x, y, depth, omega_x, omega_y, omega_z, a_x, a_y, a_z, opening.",
        example={"type": "cdm", "parameters": {"poisson_ratio": 0.25}},
    ),
}
