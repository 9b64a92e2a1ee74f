"""From when on the source of a class is seen in images: by a network, and at best."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from scipy.special import ndtr, ndtri

from qexp.base.arrays import Array
from qexp.base.quantities import in_words, quantity, quantity_in_words
from qexp.base.seeds import Seeds
from qexp.errors import QexpError, suggestion
from qexp.inference.classes import class_probabilities
from qexp.inference.parameters import amplitudes
from qexp.inference.refinement import (
    Constants,
    Grid,
    MatrixAxis,
    Refinement,
    Samples,
    bounds_of_cells,
    cells_of,
    values_at,
)
from qexp.kinds.options import MatrixOptions
from qexp.networks.estimator import Estimator
from qexp.simulation.dataset import GeneratedDataset
from qexp.simulation.mixture import Mixture

NOISE_IMAGES, NOISE_IMAGES_OF_EXACT = 20_000, 4_000
"""Without a source, whose probabilities give a threshold, unless false alarms are rarer."""

MOST_EXACT_CELLS = 16
"""Of an axis."""

AT_ONCE, SEEN_SHARE = 2**14, 0.9
"""Images that are made at a time; and the share of those of a source that counts as seen."""

SEEN_BY = {
    "": "by the network",
    "exact_": "by exact probabilities",
    "known_": "if all else is known",
}
"""Begin of a kind of value → how a source is seen."""


def member_of(dataset: GeneratedDataset, name: str | None) -> GeneratedDataset:
    """The dataset of the class that is true in all cells; a dataset without classes itself."""
    members = dataset.members if isinstance(dataset, Mixture) else {}
    if name is None and not members:
        return dataset
    if name is None or name not in members:
        known = suggestion(name or "", members) if members else "the dataset has no classes"
        raise QexpError(f"`true_class={name}`: name the class that all cells are of; {known}")
    return members[name]


@dataclass(frozen=True)
class Detection:
    """The probabilities of classes in images of one of them, and the share that is detected: whose
    odds of any source exceed those of all but a share `rate` of images without one.

    source     the dataset of the true class
    constants  variable → value of those that are no axes
    """

    mixture: Mixture
    source: GeneratedDataset
    constants: Constants
    rate: float
    seeds: Seeds

    def probabilities(
        self, estimate: Callable[[Samples], Array], grid: Grid, repeats: int
    ) -> Array:
        """(repeat, cell, class) by an estimate, (image, class); NaN in impossible cells."""
        source = self.source.with_only_fixed(self.constants)
        random = self.seeds.torch("cpu", "matrix", "classes")
        cells = np.tile(np.arange(cells_of(grid)), repeats)
        found = np.full((len(cells), len(self.mixture.members)), np.nan)
        for start in range(0, len(cells), AT_ONCE):
            block = slice(start, start + AT_ONCE)
            values = values_at(grid, cells[block])
            possible = source.possible(values, len(cells[block]))
            if possible.any():
                shown = {name: column[possible] for name, column in values.items()}
                found[block][possible] = estimate(source.observe(shown, random))
        return found.reshape(repeats, -1, found.shape[1])

    def kinds(
        self, estimate: Callable[[Samples], Array], grid: Grid, found: Array, images: int
    ) -> dict[str, Array]:
        """Kind of value → its mean over repeats, (cell,).

        found   probabilities, (repeat, cell, class)
        images  without a source, for the threshold; if there are such, alike in all cells
        """
        means = found.mean(axis=0).T
        kinds = {}
        for name, values in zip(self.mixture.members, means, strict=True):
            kinds[f"probability_{name}"] = values
        axes = {axis.variable for axis in grid}
        for code, member in enumerate(self.mixture.members.values()):
            if getattr(member.generator, "sources", True) or axes & {*member.variables}:
                continue
            shares = np.eye(len(means))[code].tolist()
            shared = self.constants.keys() & {*member.variables}
            alone = replace(self.mixture, probabilities=shares).with_fixed(
                {name: self.constants[name] for name in shared}
            )
            purpose = ("matrix", "noise")
            noise = alone.sample(alone.whole, images, self.seeds, purpose, torch.device("cpu"))
            threshold = np.quantile(_odds(estimate(noise), code), 1 - self.rate, method="higher")
            odds = _odds(found, code)
            kinds["detected"] = np.where(np.isnan(odds), np.nan, odds > threshold).mean(axis=0)
        return kinds


def _odds(probabilities: Array, code: int) -> Array:
    """The logarithm of the odds against a class, by probabilities (..., class)."""
    with np.errstate(divide="ignore"):
        others = np.log(np.delete(probabilities, code, axis=-1).sum(axis=-1))
        return np.asarray(others - np.log(probabilities[..., code]))


def described(
    detection: Detection,
    model: Estimator,
    output: str,
    inputs: Collection[str],
    grid: Grid,
    options: MatrixOptions,
) -> tuple[Array, dict[str, Any], dict[str, Any]]:
    """The probabilities of the right class, (repeat, cell); the variables of a table, and what its
    record says: with `exact` on a coarser grid detection by exact probabilities, and of a known
    source with the probability Φ(d' − z) by its signal-to-noise ratio d' (Neyman and Pearson 1933).
    """
    mixture = detection.mixture
    right = [*mixture.members.values()].index(detection.source)
    device = next(model.parameters()).device

    def by_network(samples: Samples) -> Array:
        found = model.estimate({name: values.to(device) for name, values in samples.items()})
        return found[output].double().cpu().numpy()

    found = detection.probabilities(by_network, grid, options.repeats)
    count = max(NOISE_IMAGES, round(200 / options.false_alarms))
    kinds = detection.kinds(by_network, grid, found, count)
    error = (options.false_alarms * (1 - options.false_alarms) / count) ** 0.5
    about: dict[str, Any] = {"noise_images": count, "false_alarms_error": error, "seen": []}
    variables = dict(_variables(output, detection, grid, kinds, about["seen"]))
    if options.exact:
        declared = mixture.fixed.items()
        if (
            "detected" not in kinds
            or not declared <= {**mixture.fixed, **detection.constants}.items()
        ):
            raise QexpError(
                "`exact`: it needs a class without sources, and the noise and the geometry that the"
                " dataset declares in all cells"
            )
        images = [name for name in mixture.images if name in inputs]

        def exactly(samples: Samples) -> Array:
            # around modes, where few draws matter, there is no doubt that there is a source
            known = {*inputs} - {*images}
            return class_probabilities(
                mixture, samples, images, known, around_modes=False
            ).probabilities

        coarse = [replace(axis, cells=min(axis.cells, MOST_EXACT_CELLS)) for axis in grid]
        detected = []
        for estimate in (exactly, by_network):  # of the same images
            found = detection.probabilities(estimate, coarse, options.exact)
            of_cells = detection.kinds(estimate, coarse, found, NOISE_IMAGES_OF_EXACT)
            detected.append(of_cells["detected"])
        difference = detected[1] - detected[0]
        about["excess"] = float(np.nanmean(difference))
        about["largest_excess"] = float(np.nanmax(np.abs(difference)))
        columns = {name for kernel in detection.source.generator.sources for name in kernel.columns}
        moved = [axis.variable for axis in coarse if axis.variable in columns]
        likelihood = Refinement(detection.source, coarse, detection.constants, moved, False)
        signal = bounds_of_cells(likelihood, detection.seeds.torch("cpu", "matrix", "known")).signal
        of_known = ndtr(signal + ndtri(options.false_alarms))
        kinds = {"exact_detected": detected[0], "known_detected": of_known}
        variables |= _variables(output, detection, coarse, kinds, about["seen"], "exact_")
    return found[..., right], variables, about


def _variables(
    output: str,
    detection: Detection,
    grid: Grid,
    kinds: Mapping[str, Array],
    seen: list[str],
    begin: str = "",
) -> Iterator[tuple[str, Any]]:
    """Variables of a table: kinds of value, and the least amplitude on an axis that is seen, where
    the rising shares that fit best (isotonic regression) reach 90 %.

    seen  to which sentences on this amplitude are added, in the middle of the other axes
    """
    source = detection.source
    sources = getattr(source.generator, "sources", ())
    linear = {name for each in sources for name in amplitudes(each, source.quantities)}

    def said(axis: MatrixAxis, value: float) -> str:
        words = quantity_in_words(value, quantity(axis.variable, source.quantities).unit)
        return f"{in_words(axis.variable)} {words}"

    names = [f"{begin}{axis.variable}" for axis in grid]
    for name, axis in zip(names, grid, strict=True):
        unit = quantity(axis.variable, source.quantities).unit
        yield name, (name, axis.centres, {"units": unit})
    for kind, values in kinds.items():
        shares = values.reshape([axis.cells for axis in grid])
        words = f"{kind.replace('_', ' ')}, a share of images"
        yield f"{output}_{kind}", (names, shares, {"long_name": words, "units": "1"})
        for number, axis in enumerate(grid if kind.endswith("detected") else ()):
            if axis.variable not in linear:
                continue
            least = np.apply_along_axis(_least, number, shares, axis.centres)
            others = [*grid[:number], *grid[number + 1 :]]
            name = f"{output}_{kind.replace('detected', 'least')}_{axis.variable}"
            yield name, ([*names[:number], *names[number + 1 :]], least)
            middle = float(least[tuple(size // 2 for size in least.shape)])
            if np.isfinite(middle):
                places = [said(other, other.centres[other.cells // 2]) for other in others]
                seen.append(
                    f"at {', '.join(places)}, {said(axis, middle)} is seen in 90 of 100 images at"
                    f" {100 * detection.rate:g} % false alarms, {SEEN_BY[kind.removesuffix('detected')]}"
                )


def _least(shares: Array, values: Array) -> float:
    """Where rising shares reach `SEEN_SHARE`; NaN if nowhere between the values."""
    values, shares = values[np.isfinite(shares)], shares[np.isfinite(shares)]
    rising = isotonic_regression(shares).x if len(shares) else shares
    after = int(np.searchsorted(rising, SEEN_SHARE))
    if after in (0, len(rising)):
        return np.nan
    around = slice(after - 1, after + 1)
    return float(np.interp(SEEN_SHARE, rising[around], values[around]))
