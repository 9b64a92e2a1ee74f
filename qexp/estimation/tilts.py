"""Dips and plunges that go past 0 and 90° while a minimum is sought.

A dike that dips by 89° to the right of its strike hardly differs from one that dips by 89° to the left. With dips
between 0 and 90°, the strike of one is opposite to that of the other, and iterations that had to stop at 90° would not
get from one to the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qexp.quantities import base_name

RIGHT_ANGLE = math.pi / 2
LEVEL = math.radians(20)
"""Dip below which a dislocation may as well dip to one of its other sides."""


@dataclass(frozen=True)
class Tilt:
    """The angle of a source with the horizontal, and what is written differently past its limits.

    angle, strike  numbers of their coordinates, which are in radians
    strike_slip, dip_slip, length, width  those of the coordinates of a dislocation, where they are free
    """

    angle: int
    strike: int
    strike_slip: int | None = None
    dip_slip: int | None = None
    length: int | None = None
    width: int | None = None


def free_tilts(names: Sequence[str], low: Tensor, high: Tensor, fixed: Mapping[str, float]) -> list[Tilt]:
    """The tilts among coordinates that may go past 0 and 90°.

    names      of the coordinates
    low, high  (coordinate,)  their bounds: those that were asked for hold, of a tilt and of what changes with it
    fixed      name → value of parameters that have no coordinate
    """
    numbers = {name: index for index, name in enumerate(names)}
    found = []
    for name, angle in numbers.items():
        if base_name(name) not in ("dip", "plunge") or not _natural(float(low[angle]), float(high[angle])):
            continue
        source = name.removesuffix(base_name(name))
        turning = [source + of for of in ("strike", "strike_slip", "dip_slip")]
        within = [numbers[one] for one in turning if one in numbers and torch.isfinite(low + high)[numbers[one]]]
        if turning[0] in numbers and not within and not any(fixed.get(one) for one in turning):
            others = ("strike", "strike_slip", "dip_slip", "length", "width")
            found.append(Tilt(angle, **{of: numbers[source + of] for of in others if source + of in numbers}))
    return found


def _natural(low: float, high: float) -> bool:
    return low == 0 and math.isclose(high, RIGHT_ANGLE)


def within_limits(coordinates: Tensor, tilts: Sequence[Tilt]) -> tuple[Tensor, Tensor]:
    """The same sources with all tilts between 0 and 90°.

    coordinates  (problem, coordinate)
    returns      coordinates, and the factors, 1 or −1, by which derivatives by them change
    """
    at, signs = coordinates.clone(), torch.ones_like(coordinates)
    for tilt in tilts:
        at[:, tilt.angle] = at[:, tilt.angle].remainder(2 * math.pi)
        strike_slip, dip_slip = ([] if one is None else [one] for one in (tilt.strike_slip, tilt.dip_slip))
        for limit, changing in ((math.pi, strike_slip + dip_slip), (RIGHT_ANGLE, dip_slip)):
            past = at[:, tilt.angle] > limit
            at[:, tilt.angle] = torch.where(past, 2 * limit - at[:, tilt.angle], at[:, tilt.angle])
            at[:, tilt.strike] = torch.where(past, at[:, tilt.strike] + math.pi, at[:, tilt.strike])
            opposite = torch.where(past, -1.0, 1.0)[:, None]
            at[:, changing] *= opposite
            signs[:, [tilt.angle, *changing]] *= opposite
    return at, signs


def along_the_other_side(coordinates: Tensor, tilts: Sequence[Tilt]) -> Tensor:
    """Sources of which one dislocation is nearly level, with it level and striking along its other side.

    coordinates  (problem, coordinate)  with tilts within their limits
    returns      (other problem, coordinate)

    From there it can dip to the two sides to which it cannot dip otherwise. With one slip alone there is none: its
    direction is that of one side.
    """
    made = [coordinates[:0]]
    for tilt in tilts:
        slips = [one for one in (tilt.strike_slip, tilt.dip_slip) if one is not None]
        if tilt.length is None or tilt.width is None or len(slips) == 1:
            continue
        other = coordinates[coordinates[:, tilt.angle] < LEVEL].clone()
        other[:, tilt.angle] = 0.0
        other[:, tilt.strike] += RIGHT_ANGLE
        other[:, [tilt.length, tilt.width]] = other[:, [tilt.width, tilt.length]]
        if slips:
            other[:, slips] = other[:, slips[::-1]] * torch.tensor([-1.0, 1.0], dtype=other.dtype, device=other.device)
        made.append(other)
    return torch.cat(made)
