"""A source: a small horizontal crack that opens, such as a sill that is narrow beside its depth."""

import torch

from qexp.extend import DeformationImages, Entry, Source


def point_sill(source, stations):
    """Displacement of the flat surface of an elastic half-space by horizontal point cracks, of any
    Poisson's ratio.

    source    (batch, 4)                  east, north, depth [m], volume of the opening [m3]
    stations  (station, 2), or by source  east, north [m]
    returns   (batch, station, 3)         displacement east, north, up [m]

    Raises ValueError if a depth is not positive.
    Okada (1985), Bull. Seism. Soc. Am. 75, 1135-1154, equation 10 with a dip of 0.
    """
    east, north, depth, volume = source[:, None, :].unbind(-1)
    if not (depth > 0).all():
        raise ValueError(
            f"depth must be positive, in metres downwards; the least is {depth.min():g}"
        )
    along_east, along_north = stations[..., 0] - east, stations[..., 1] - north
    offset = torch.stack([along_east, along_north, depth.expand_as(along_east)], dim=-1)
    distance = offset.norm(dim=-1, keepdim=True)
    return (
        3
        / (2 * torch.pi)
        * volume[..., None]
        * (depth[..., None] / distance) ** 2
        * offset
        / distance**3
    )


POINT_SILL = Entry(
    build=lambda: DeformationImages(Source(("x", "y", "depth", "delta_volume"), point_sill)),
    parameters={},
    help="Horizontal point crack that opens (Okada 1985): x, y, depth, delta_volume.",
    example={"type": "point_sill"},
)
