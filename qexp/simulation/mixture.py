"""Mixtures: samples of several classes, each simulated by a dataset of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qexp.base.seeds import Seeds
from qexp.errors import QexpError, some
from qexp.simulation.dataset import GeneratedDataset, Part, Values


@dataclass(eq=False, kw_only=True)
class Mixture(GeneratedDataset):
    """Samples of several classes. A variable that a class does not have is NaN in its samples.

    variable       which class a sample is of: its code, 0, 1, … in the order of the members
    members        class → its dataset; images, their noise and their views are those of all
    probabilities  of the classes, which add up to 1

    The other attributes are what all members share, as the values that are fixed in all of them. A
    part is the part of each member.
    """

    variable: str
    members: Mapping[str, GeneratedDataset]
    probabilities: Sequence[float]

    @classmethod
    def of_members(
        cls, variable: str, members: Mapping[str, GeneratedDataset], probabilities: Sequence[float]
    ) -> Mixture:
        first = next(iter(members.values()))
        fixed = {}
        for name, value in first.fixed.items():
            if all(member.fixed.get(name) == value for member in members.values()):
                fixed[name] = value
        shared: Any = first.generator, first.size, fixed, {}, {}, first.noise, first.quantities
        mixed = cls(*shared, variable=variable, members=members, probabilities=probabilities)
        for name, member in members.items():
            mixed.warnings += [f"{variable} '{name}': {warning}" for warning in member.warnings]
        return mixed

    @property
    def variables(self) -> list[str]:
        every = [name for member in self.members.values() for name in member.variables]
        return list(dict.fromkeys([self.variable, *self.fixed, *every]))

    @property
    def absent(self) -> frozenset[str]:
        own = [frozenset[str](member.variables) for member in self.members.values()]
        return frozenset[str]().union(*own) - own[0].intersection(*own[1:])

    def parts(self, shares: Sequence[float], seeds: Seeds) -> dict[str, Part]:
        divided = {name: member.parts(shares, seeds) for name, member in self.members.items()}
        names = next(iter(divided.values()))
        return {part: {name: each[part] for name, each in divided.items()} for part in names}

    @property
    def whole(self) -> Part:
        return {name: member.whole for name, member in self.members.items()}

    @property
    def test_part(self) -> Part:
        return {name: member.test_part for name, member in self.members.items()}

    @property
    def compared(self) -> list[str]:
        varying = [name for member in self.members.values() for name in member.test]
        return list(dict.fromkeys([self.variable, *varying]))

    @property
    def seen_in_words(self) -> tuple[str, str]:
        where = f"in the training intervals of all that varies in its {self.variable}"
        return f"lies {where}", f"lie {where}"

    def seen(self, samples: Mapping[str, Values], parts: Mapping[str, Part]) -> NDArray[np.bool_]:
        seen = np.zeros(len(samples[self.variable]), dtype=bool)
        for member, rows, own in self._by_member(samples):
            if member.test and len(rows):  # images of a class in which nothing varies are all noise
                seen[rows] = member.seen(own, {})
        return seen

    def values(
        self, part: Part, count: int, seeds: Seeds, purpose: Sequence[str | int]
    ) -> dict[str, Values]:
        """The classes of `sample` and the values of all that is not fixed in all of them, (count,)
        each; see `GeneratedDataset.values`.
        """
        uniform = seeds.numpy(*purpose, self.variable).uniform(size=count)
        codes = np.searchsorted(np.cumsum(self.probabilities)[:-1], uniform, side="right")
        drawn = {name: np.full(count, np.nan) for name in self.variables if name not in self.fixed}
        drawn[self.variable] = codes.astype(np.float64)
        for code, (name, member) in enumerate(self.members.items()):
            rows = codes == code
            former = member.redrawn
            own = member.values(part[name], int(rows.sum()), seeds, (*purpose, name))
            self.redrawn += member.redrawn - former
            for variable, values in {**member.fixed, **own}.items():
                if variable in drawn:
                    drawn[variable][rows] = values
        return drawn

    def medians(self, names: Iterable[str]) -> dict[str, float]:
        """Of nothing: raises QexpError if the medians of variables are asked for."""
        if wanted := list(names):
            several = f"samples are of several classes of '{self.variable}'"
            raise QexpError(f"{several}, so that {some(wanted)} have no medians; use one class")
        return {}

    def _by_member(
        self, values: Mapping[str, Values]
    ) -> Iterator[tuple[GeneratedDataset, NDArray[np.intp], dict[str, Values]]]:
        """Each member, its samples, and their values of its variables; (1,) where all share one."""
        for code, member in enumerate(self.members.values()):
            rows = np.flatnonzero(values[self.variable] == code)
            own = {}
            for name in member.variables:
                if name in values:
                    each = values[name]
                    own[name] = each if len(each) == 1 else each[rows]
            yield member, rows, own

    def _unmet(self, values: Mapping[str, Values]) -> dict[str, NDArray[np.bool_]]:
        unmet: dict[str, NDArray[np.bool_]] = {}
        for member, rows, own in self._by_member(values):
            for words, wrong in member._unmet(own).items():
                every = unmet.setdefault(words, np.zeros(len(values[self.variable]), dtype=bool))
                every[rows] = wrong
        return unmet

    def _simulated(self, si: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        codes = si[self.variable].expand(count)
        images: dict[str, Tensor] = {}
        for code, member in enumerate(self.members.values()):
            rows = (codes == code).nonzero()[:, 0]
            if not len(rows):
                continue
            own = member.as_simulated({}, codes.device)
            for name in own.keys() | set(member.variables):
                if name in si:
                    own[name] = si[name] if len(si[name]) == 1 else si[name][rows]
            for name, image in member._simulated(own, len(rows)).items():
                every = images.setdefault(name, image.new_zeros(count, *image.shape[1:]))
                every[rows] = image
        return images
