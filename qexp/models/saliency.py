"""Saliency: how much the values of an input contribute to an estimate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from qexp.models.inversion import Inversion


def input_times_gradient(model: Inversion, samples: Mapping[str, Tensor], output: str, of: str) -> Tensor:
    """An input, as the network sees it, times the gradient of an estimate with respect to it, in the output's unit.

    samples  input → (sample, ...) in its unit
    of       the input
    returns  in the shape of the input, (sample, ...)

    Positive where a value raises the estimate. For a linear network without transforms it is weight × input, and its
    sum is the estimate without the constant term; an affine transform of the output only scales it. Otherwise it is the
    first-order share of each value, which is small where the network is saturated. Estimates are taken before they are
    limited, since beyond a limit all gradients are zero.
    Gradient as saliency: Simonyan, Vedaldi and Zisserman (2014), ICLR workshop, arXiv:1312.6034, eq. 3 to 4; times the
    input: Shrikumar, Greenside, Shcherbina and Kundaje (2017), arXiv:1605.01713, section 2.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.enable_grad():
            inputs = {name: model.transformed(name, samples[name]) for name in model.network.inputs}
            seen = inputs[of].detach().requires_grad_()
            made = model.network({**inputs, of: seen})
            estimate = model.unlimited({output: made[output]}, samples)[output]
            (gradient,) = torch.autograd.grad(estimate.sum(), seen)
        return seen.detach() * gradient
    finally:
        model.train(was_training)
