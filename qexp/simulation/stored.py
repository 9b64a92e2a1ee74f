"""Samples that are rows of simulations that exist, in place of images that a model makes anew."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.arrays import Array
from qexp.base.seeds import Seeds
from qexp.errors import DatasetError, QexpError
from qexp.rows.array_cache import CachedArray
from qexp.simulation.dataset import WHOLE, GeneratedDataset, Model, Part, Values
from qexp.simulation.views import View

SIMULATION = "simulation"
"""The variable that says which simulation a sample is of: its number in the file, from 0."""

MOST_SIMULATIONS = 2**24
"""Up to here the numbers of simulations are exact in single precision."""

QUANTILES_KEPT = 201
"""Of a parameter without a declared distribution."""

READ_TOGETHER = 128
"""Simulations that are read before what is mapped for them is counted."""

MAPPED_AROUND = 2 * 2**20
"""Bytes that the system may map around each: a large page of its file cache."""

SPREAD = 1e-6
"""Of equal values, relative to the range of all."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StoredObservation:
    """An observation in all simulations, (simulation, channel, height, width) in single precision,
    in its unit.

    channels  those of the array that are its own
    """

    array: CachedArray
    channels: slice

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channel, height, width)."""
        _, every, height, width = self.array.shape
        return len(range(every)[self.channels]), height, width

    def select(self, rows: Rows) -> NDArray[np.float32]:
        """The observation in some simulations; what is mapped of the file for it is released."""
        values = np.empty((len(rows), *self.shape), np.float32)
        for start in range(0, len(rows), READ_TOGETHER):
            some = rows[start : start + READ_TOGETHER]
            values[start : start + len(some)] = self.array.values[some, self.channels]
            self.array.note_read(min(len(some) * MAPPED_AROUND, 4 * math.prod(self.array.shape)))
        return values


@dataclass(frozen=True, eq=False)
class Simulations:
    """What was simulated.

    parameters    name → (simulation,), in the variable's unit
    observations  by their names
    usable        numbers of the simulations that did not fail, in increasing order
    groups        (simulation,), a number for each: simulations of one group stay in one part
    """

    parameters: Mapping[str, Values]
    observations: Mapping[str, StoredObservation]
    usable: Rows
    groups: Rows

    def quantiles(self, name: str) -> list[float]:
        """Quantiles of a parameter, evenly spaced from its least to its greatest value; equal
        values are spread a little, so that they increase.
        """
        shares = np.linspace(0, 1, QUANTILES_KEPT)
        ordered = np.quantile(self.parameters[name][self.usable], shares)
        spread = SPREAD * (np.ptp(ordered) or abs(ordered[0]) or 1.0)
        return [float(value) for value in ordered + spread * (shares - 0.5)]

    def select(self, rows: Rows) -> dict[str, Values]:
        """The parameters of some simulations, and their numbers."""
        selected = {name: values[rows] for name, values in self.parameters.items()}
        return {**selected, SIMULATION: rows.astype(np.float64)}


class StoredImages:
    """A generator that takes images from files: those of the simulation that a sample names.

    model        makes those of other parameters, if there is one
    simulations  those of the files, or why they cannot be read, which is raised when they are
                 needed; so is why a model cannot be had
    views        observation → its view
    pixels       observation → width and height of its pixels, and east and north of its middle [m]
    """

    def __init__(
        self,
        simulations: Simulations | DatasetError,
        views: Mapping[str, View],
        pixels: Mapping[str, Sequence[float]],
        model: Model | DatasetError | None = None,
    ) -> None:
        self._simulations = simulations
        self._views = views
        self.pixels = pixels
        self._model = model

    @property
    def simulations(self) -> Simulations:
        if isinstance(self._simulations, Simulations):
            return self._simulations
        raise self._simulations

    @property
    def model(self) -> Model | None:
        if isinstance(self._model, QexpError):
            raise self._model
        return self._model

    def required(self, variables: Iterable[str]) -> list[str]:
        return list(self.simulations.parameters)

    def images(self, variables: Iterable[str]) -> list[str]:
        return list(self._views)

    def view(self, image: str) -> View:
        return self._views[image]

    def unmet(self, values: Mapping[str, Array]) -> dict[str, NDArray[np.bool_]]:
        if SIMULATION in values or self.model is None:
            return {}
        unmet = {}
        for name, (low, high) in self.model.ranges.items():
            words = f"'{name}' must lie where the emulator was trained"
            unmet[words] = (values[name] < low) | (values[name] > high)
        return unmet

    def simulate(self, values: Mapping[str, Tensor], height: int, width: int) -> dict[str, Tensor]:
        """Image → (batch, channel, height, width). Raises QexpError for values that nothing
        simulates.
        """
        if SIMULATION not in values:
            if self.model is None:
                raise QexpError(
                    "only the parameters in the files were simulated; an 'emulator' of the dataset"
                    " would make others"
                )
            every = dict(zip(values, torch.broadcast_tensors(*values.values()), strict=True))
            return {name: image.float() for name, image in self.model(every).items()}
        numbers = values[SIMULATION]
        rows = numbers.long().cpu().numpy()
        images = {}
        for name, observation in self.simulations.observations.items():
            images[name] = torch.from_numpy(observation.select(rows)).to(numbers.device)
        return images

    def pixel_sizes(self, image: str, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        width, height = (torch.tensor([side]) for side in self.pixels[image][:2])
        return width, height


@dataclass(eq=False)
class StoredDataset(GeneratedDataset):
    """Samples whose images are simulations that exist; noise is added to them anew each time.

    A part is an array of numbers of simulations. Variables that are no parameter of these, such as
    `noise`, are drawn.

    classes  parameter → names of its classes, whose codes its values are; they have no distribution
    """

    simulates: ClassVar[bool] = False

    generator: StoredImages
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def variables(self) -> list[str]:
        return [*super().variables, *self.classes]

    @property
    def simulations(self) -> Simulations:
        return self.generator.simulations

    def parts(self, shares: Sequence[float], seeds: Seeds) -> dict[str, Part]:
        """Training and validation divide what is not for the test part at random, in whole groups.

        The test part has the simulations whose parameters lie in held-out intervals, all that have
        any; none of those with only some of them there is used. Where nothing is held out, the test
        part is what the shares leave, the same for all seeds.
        """
        usable = self.simulations.usable
        groups = self.simulations.groups[usable]
        held_out = self._held_out(usable)
        if held_out.shape[1]:
            test = held_out.all(axis=1)
            free = ~held_out.any(axis=1) & ~np.isin(groups, groups[test])
        else:
            order = self._mixed(Seeds(0).numpy("test").permutation(np.unique(groups)))
            total = sum(shares)
            test = np.isin(groups, order[: round((1 - total) * len(order))])
            free = ~test
            shares = [share / total for share in shares]
        order = self._mixed(seeds.numpy("split").permutation(np.unique(groups[free])))
        first, second = (round(share * len(order)) for share in np.cumsum(shares).tolist())
        return {
            "train": usable[free & np.isin(groups, order[:first])],
            "validation": usable[free & np.isin(groups, order[first:second])],
            "test": usable[test],
        }

    def _mixed(self, order: Rows) -> Rows:
        """Groups in another order: any stretch has the classes in about the shares that all have.

        Several classes of a simulation count as one; a group has those of its first simulation.
        """
        if not self.classes:
            return order
        usable = self.simulations.usable
        groups, first = np.unique(self.simulations.groups[usable], return_index=True)
        rows = usable[first[np.searchsorted(groups, order)]]
        codes = np.stack([self.simulations.parameters[name][rows] for name in self.classes])
        kinds = np.unique(codes, axis=1, return_inverse=True)[1].ravel()
        places = np.zeros(len(order))
        for kind in range(kinds.max(initial=-1) + 1):
            own = kinds == kind
            places[own] = (np.arange(own.sum()) + 0.5) / own.sum()
        return order[np.argsort(places, kind="stable")]

    def _held_out(self, rows: Rows) -> NDArray[np.bool_]:
        """Whether parameters lie in their held-out intervals, (simulation, variable with such
        intervals).
        """
        columns = [np.zeros((len(rows), 0), dtype=bool)]
        for name, ranges in self.held_out.items():
            if ranges:
                values = self.simulations.parameters[name][rows, None]
                low, high = self.distributions[name].quantile(np.array(ranges)).T
                columns.append(((values >= low) & (values <= high)).any(axis=1, keepdims=True))
        return np.concatenate(columns, axis=1)

    @property
    def model(self) -> Model | None:
        return self.generator.model

    @property
    def whole(self) -> Part:
        return self.simulations.usable

    @property
    def compared(self) -> list[str]:
        """Parameters, or where all are classes, which many share, the number of a simulation."""
        parameters = list(self.simulations.parameters)
        return [SIMULATION] if {*parameters} == {*self.classes} else parameters

    @property
    def seen_in_words(self) -> tuple[str, str]:
        words = "the parameters of simulations that were trained on"
        return f"has {words}", f"have {words}"

    def seen(self, samples: Mapping[str, Values], parts: Mapping[str, Part]) -> NDArray[np.bool_]:
        """Whether samples have the parameters of simulations that are trained or validated on."""

        def as_bytes(simulations: Mapping[str, Values]) -> list[bytes]:
            columns = [simulations[name] for name in self.compared]
            return [row.tobytes() for row in np.stack(columns, axis=1).astype(np.float32)]

        rows = np.concatenate([parts["train"], parts["validation"]])
        trained = {*as_bytes(self.simulations.select(rows))}
        return np.array([values in trained for values in as_bytes(samples)])

    def middle(self, image: str) -> tuple[float, float]:
        east, north = self.generator.pixels[image][2:4]
        return east, north

    def available(self, part: Part, count: int) -> int:
        return min(len(part), count)

    def values(
        self, part: Part, count: int, seeds: Seeds, purpose: Sequence[str | int]
    ) -> dict[str, Values]:
        """The parameters of `count` simulations of a part, each once. Raises DatasetError if it has
        fewer.
        """
        if count > len(part):
            raise DatasetError(
                [((), f"this part has {len(part):,} simulations, and {count:,} are asked for")]
            )
        rows = part[seeds.numpy(*purpose, SIMULATION).permutation(len(part))[:count]]
        known = self.simulations.select(rows)
        others = {name: [WHOLE] for name in self.test if name not in known}
        return {**known, **self._drawn(others, count, seeds, purpose)}
