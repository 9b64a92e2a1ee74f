"""From when on the source of a class is seen in images: by a network, and at best."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import ndtr, ndtri

from qexp.base.arrays import Array
from qexp.base.quantities import in_words, quantity, quantity_in_words
from qexp.base.seeds import Seeds
from qexp.errors import QexpError
from qexp.inference import refinement
from qexp.inference.classes import class_probabilities
from qexp.inference.refinement import Constants, Grid, Samples
from qexp.kinds.options import MatrixOptions
from qexp.networks.estimator import Estimator
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.mixture import Mixture

AT_ONCE = 2**14
"""Images made at a time."""

ALARMS = {"": 200, "exact_": 40}
"""False alarms expected in the images without a source that give a threshold."""


def member_of(dataset: GeneratedDataset, name: str | None) -> GeneratedDataset:
    """The dataset of the class that is true in all cells; a dataset without classes itself."""
    members = dataset.members if isinstance(dataset, Mixture) else {"": dataset}
    if (name or "") not in members:
        known = ", ".join(members) or "the dataset has no classes"
        given = "`true_class`" if name is None else f"`true_class={name}`"
        raise QexpError(f"{given}: name the class of the true values: {known}")
    return members[name or ""]


def class_variables(
    mixture: Mixture,
    grid: Grid,
    constants: Constants,
    model: Estimator,
    spec: Mapping[str, Any],
    options: MatrixOptions,
) -> tuple[Array, dict[str, Any]]:
    """The probabilities of the right class by a network, (repeat, cell); and variables of a table:
    mean probabilities, and shares of images that are detected, with a lower probability of no
    source than all but a share of images without one; of a known source it is Φ(d' − z) by its
    signal-to-noise ratio d' (Neyman and Pearson 1933).
    """
    name, rate, seeds = options.true_class or "", options.false_alarms, Seeds(options.seed)
    trained, inputs = spec["dataset"]["classes"][mixture.variable], spec["inputs"]
    if [*trained] != [*mixture.members]:
        raise QexpError(f"the run tells other classes apart: {', '.join(trained)}")
    device = next(model.parameters()).device

    def network(samples: Samples) -> Array:
        found = model.estimate({each: values.to(device) for each, values in samples.items()})
        return found[mixture.variable].double().cpu().numpy()

    estimates: dict[str, Callable[[Samples], Array]] = {"": network}
    if options.exact:
        if not mixture.fixed.items() <= constants.items():
            raise QexpError("`exact`: noise and geometry must be the declared ones in all cells")
        images = [each for each in mixture.images if each in inputs]
        # around modes, where few draws matter, there is no doubt that there is a source
        exact = partial(class_probabilities, mixture, known=inputs, around_modes=False)
        estimates["exact_"] = lambda samples: exact(samples, images).probabilities

    def probabilities(begin: str, member: str, repeats: int, purpose: str) -> Array:
        """(repeat, cell, class); NaN in impossible cells."""
        source = mixture.members[member].with_only_fixed(constants)
        every = [refinement.MatrixAxis("repeat", 0, repeats, repeats), *grid]
        found = np.full((refinement.cells_of(every), len(trained)), np.nan)
        random = seeds.torch("cpu", "matrix", purpose)
        for numbers, values, _ in refinement.possible_cells(source, every, AT_ONCE):
            found[numbers] = estimates[begin](source.observe(values, random))
        return found.reshape(repeats, -1, len(trained))

    found = {begin: probabilities(begin, name, options.repeats, "classes") for begin in estimates}
    kinds = {}
    for code, (each, member) in enumerate(mixture.members.items()):
        kinds[f"probability_{each}"] = found[""][..., code].mean(axis=0)
        if getattr(member.generator, "sources", True) or member.fixed.keys() - constants.keys():
            continue  # not of noise alone, or not alike in all cells
        for begin in estimates:
            repeats = math.ceil(ALARMS[begin] / rate / refinement.cells_of(grid))
            none = found[begin][..., code]
            noise = probabilities(begin, each, repeats, "noise")[..., code]
            seen = none < np.quantile(noise, rate, method="lower")
            kinds[f"{begin}detected"] = np.where(np.isnan(none), none, seen).mean(axis=0)
    if options.exact:
        moved = [axis.variable for axis in grid]
        likelihood = refinement.Refinement(mixture.members[name], grid, constants, moved, False)
        bounds = refinement.bounds_of_cells(likelihood, seeds.torch("cpu", "matrix", "known"))
        kinds["known_detected"] = ndtr(bounds.signal + ndtri(rate))
    right = found[""][..., [*trained].index(name)]
    return right, dict(_variables(mixture.members[name], mixture.variable, grid, kinds, rate))


def _variables(
    source: GeneratedDataset, output: str, grid: Grid, kinds: Mapping[str, Array], rate: float
) -> Iterator[tuple[str, Any]]:
    """Kinds of value, and the least value on the last axis from which on 90 % are detected, with a
    sentence on it in the middle of the others.
    """
    axes = [axis.variable for axis in grid]
    for kind, values in kinds.items():
        shares = values.reshape([axis.cells for axis in grid])
        words = kind.replace("_", " ")
        yield f"{output}_{kind}", (axes, shares, {"long_name": words, "units": "1"})
        if kind.endswith("detected"):
            least = np.apply_along_axis(_least, -1, shares, grid[-1].centres)
            places = [axis.centres[axis.cells // 2] for axis in grid]
            places[-1] = least[tuple(size // 2 for size in least.shape)]
            said = []
            for axis, place in zip(axes, places, strict=True):
                unit = quantity(axis, source.quantities).unit
                said.append(f"{in_words(axis)} {quantity_in_words(float(place), unit)}")
            error = rate * math.sqrt(
                (1 - rate) / ALARMS.get(kind.removesuffix("detected"), math.inf)
            )
            alarms = f"{100 * rate:g} ± {100 * error:.1g} % false alarms"
            seen = f"{', '.join(said)}: {words} in 90 of 100 images at {alarms}"
            about = {"units": unit, "seen": seen if np.isfinite(places[-1]) else ""}
            yield f"{output}_{kind}_from", (axes[:-1], least, about)


def _least(shares: Array, values: Array) -> float:
    """Where the rising shares that fit best (isotonic regression) reach 90 %; NaN if nowhere."""
    known = np.isfinite(shares)
    if not known.any():
        return np.nan
    rising = isotonic_regression(shares[known]).x
    return float(np.interp(0.9, rising, values[known], left=np.nan, right=np.nan))
