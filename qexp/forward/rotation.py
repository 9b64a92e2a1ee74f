"""Orientation of sources with three axes."""

from __future__ import annotations

import torch
from torch import Tensor


def clockwise_rotation(omega_x: Tensor, omega_y: Tensor, omega_z: Tensor) -> Tensor:
    """R = Rz Ry Rx, the rotation about east first, then about north, then about the vertical.

    omega_x, omega_y, omega_z  (batch,)       [rad], clockwise for one who looks along the axis's negative direction
    returns                    (batch, 3, 3)  axis i of the source is column i: east, north, up
    """
    one, zero = torch.ones_like(omega_x), torch.zeros_like(omega_x)
    (cx, sx), (cy, sy), (cz, sz) = ((omega.cos(), omega.sin()) for omega in (omega_x, omega_y, omega_z))
    about_x = torch.stack([one, zero, zero, zero, cx, sx, zero, -sx, cx], -1).unflatten(-1, (3, 3))
    about_y = torch.stack([cy, zero, -sy, zero, one, zero, sy, zero, cy], -1).unflatten(-1, (3, 3))
    about_z = torch.stack([cz, sz, zero, -sz, cz, zero, zero, zero, one], -1).unflatten(-1, (3, 3))
    rotation: Tensor = about_z @ about_y @ about_x
    return rotation
