"""The Cramér–Rao bound in the cells of a matrix: the least error of unbiased estimates there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qexp.base.arrays import Array
from qexp.errors import QexpError, some
from qexp.inference import least_squares
from qexp.inference.fit import would_show_source
from qexp.inference.refinement import CELLS_TOGETHER, Refinement, possible_cells


@dataclass(frozen=True)
class Bounds:
    """NaN in cells, or of samples, that are not possible, or that show too few pixels.

    deviations  output → the bound, (cell,), in the output's unit; infinite where the data do not
                determine it
    signal      signal-to-noise ratio, (cell,), see `least_squares.bounds`
    seen        (cell,): 1 where the data show the source, 0 where they do not and the bound means
                little, because no estimate is unbiased there
    """

    deviations: Mapping[str, Array]
    signal: Array
    seen: Array


def bounds_of_cells(likelihood: Refinement, random: torch.Generator) -> Bounds:
    """The bounds for the pixels that the first realisation of each cell shows.

    likelihood  of the observations in the cells of a matrix
    random      as it makes the first realisations of the matrix
    Raises QexpError where there is no noise.
    """
    grid = likelihood.grid
    constants = likelihood.constants
    outputs = likelihood.outputs
    if quiet := likelihood.weights.quiet:
        alone = "has no noise, which alone makes a bound; leave `bound` out"
        raise QexpError(f"`bound`: {some(quiet)} {alone}")
    cells = int(np.prod([axis.cells for axis in grid]))
    deviations = {name: np.full(cells, np.nan) for name in outputs}
    signal = np.full(cells, np.nan)
    seen = np.full(cells, np.nan)
    source = likelihood.source.with_only_fixed(constants)
    for numbers, values, _ in possible_cells(source, grid):
        truth = {}
        for name in outputs:
            constant = np.full(len(numbers), constants.get(name, np.nan))
            truth[name] = values.get(name, constant)
        bounds = bounds_of_samples(likelihood, source.observe(values, random), values, truth)
        for name, deviation in bounds.deviations.items():
            deviations[name][numbers] = deviation
        signal[numbers], seen[numbers] = bounds.signal, bounds.seen
    if np.isnan(signal).all():
        raise QexpError(
            "`bound`: no cell has noise, which alone makes a bound; give it a level, such as"
            " `fixed={'noise': 0.01}`"
        )
    return Bounds(deviations, signal, seen)


def bounds_of_samples(
    likelihood: Refinement,
    samples: Mapping[str, Tensor],
    given: Mapping[str, Array],
    truth: Mapping[str, Array],
) -> Bounds:
    """The bounds at the true values of samples, for the pixels that these show; NaN beyond the
    bounds of a search.

    given  variable → value for each sample in its unit, of those that vary and are no unknowns
    truth  unknown → its true values, (sample,), in its unit
    """
    data = likelihood.pixels.numbers_of(samples)
    deviations = {name: np.full(len(data), np.nan) for name in truth}
    signal = np.full(len(data), np.nan)
    seen = np.full(len(data), np.nan)
    for group, shared, mask in likelihood.alike(samples, given):
        scale = likelihood.weights.scale(shared)
        if not likelihood.enough(mask) or not scale:
            continue
        for part in np.split(group, range(CELLS_TOGETHER, len(group), CELLS_TOGETHER)):
            problem = likelihood.problem(data[part], shared, mask)
            true = {name: values[part] for name, values in truth.items()}
            starts = likelihood.starts(problem, true)
            least, ratio = least_squares.bounds(problem, starts)
            least = scale * least
            ratio = ratio / scale
            reached = np.ones(len(part), np.bool_)  # whether a search would begin at the truth
            names = [parameter.name for parameter in problem.coordinates.parameters]
            for name, start in zip(names, starts.numpy().T, strict=True):
                if name in true:
                    in_si = likelihood.source.si_factor(name) * true[name]
                    reached &= np.isclose(start, in_si, rtol=1e-6)
            for name, column in zip(problem.coordinates.names, least.unbind(dim=1), strict=True):
                bound = column.numpy() / likelihood.source.si_factor(name)
                deviations[name][part] = np.where(reached, bound, np.nan)
            signal[part] = np.where(reached, ratio.numpy(), np.nan)
            seen[part] = np.where(reached, would_show_source(problem, ratio).numpy(), np.nan)
    return Bounds(deviations, signal, seen)
