"""Equal descriptions of a source: other values of its parameters with the same displacements."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from qexp.base.arrays import Array
from qexp.inference.parameters import Parameter, Search, display_name
from qexp.physics.geometry import clockwise_rotation
from qexp.simulation.generators import Source

ROTATIONS = ("omega_x", "omega_y", "omega_z")
SAME_DISPLACEMENT = 1e-9
"""Largest difference of displacements that are the same, as a share of the largest of them."""


@dataclass(frozen=True)
class Descriptions:
    """What may be exchanged among the parameters of sources; numbers are those of columns.

    axes   (source, 6)            three rotations, and what belongs to each of the three axes, such
                                  as potencies
    alike  (group)(source, column)  sources of one type
    """

    parameters: Sequence[Parameter]
    axes: Sequence[Sequence[int]]
    alike: Sequence[Sequence[Sequence[int]]]

    def chosen(self, values: Array) -> Array:
        """Of equal descriptions the one that is shown: see `words`.

        values  (description, parameter) in SI units
        """
        chosen = values.copy()
        for six in self.axes:
            chosen[:, six] = _with_axes_in_order(values[:, six])
        for group in self.alike:
            strengths = np.stack([self._strength(chosen, columns) for columns in group], axis=1)
            order = np.argsort(-strengths, axis=1, kind="stable")[..., None]
            blocks = np.take_along_axis(chosen[:, np.array(group)], order, axis=1)
            chosen[:, np.array(group).ravel()] = blocks.reshape(len(chosen), -1)
        return chosen

    def _strength(self, values: Array, columns: Sequence[int]) -> Array:
        """The sum of a source's amplitudes without sign, each times its powers of the sizes."""
        number = {parameter.name: column for column, parameter in enumerate(self.parameters)}
        strength = np.zeros(len(values))
        for column in columns:
            if not self.parameters[column].linear:
                continue
            product = np.abs(values[:, column])
            for name, power in self.parameters[column].powers.items():
                product = product * values[:, number[name]] ** power
            strength += product
        return strength

    def words(self) -> list[str]:
        """What was chosen among which descriptions."""
        names = [display_name(parameter.name) for parameter in self.parameters]
        sentences = []
        for six in self.axes:
            sizes = " ≥ ".join(names[column] for column in six[3:])
            sentences.append(
                f"{sizes} by choice: exchanged together with their axes they give 6 equal"
                " descriptions of the source, of which this is the one with the smallest rotations;"
                " where two are equal within their errors, their axes are not determined"
            )
        for group in self.alike:
            strongest = names[group[0][0]].rpartition(".")[0]
            sentences.append(
                f"sources of one type can be numbered in any order; {strongest} is the strongest"
                " here"
            )
        return sentences


def descriptions_of(
    sources: Sequence[Source], searches: Sequence[Search], fixed: Collection[str]
) -> Descriptions:
    """The equal descriptions of sources whose parameters nobody fixed or bounded.

    searches  of each column of the sources
    fixed     columns that are not estimated
    """
    number = {search.parameter.name: column for column, search in enumerate(searches)}
    told = {*fixed, *(search.parameter.name for search in searches if search.bounded)}
    axes = list[list[int]]()
    alike = dict[object, list[list[int]]]()
    for source in sources:
        columns = dict(zip(source.variables, source.columns, strict=True))
        six = [columns[variable] for variable in _axes_of(source)]
        if six and not told & {*six}:
            axes.append([number[name] for name in six])
        if not told & {*source.columns}:
            alike.setdefault(source.type, []).append([number[name] for name in source.columns])
    groups = [group for group in alike.values() if len(group) > 1]
    return Descriptions([search.parameter for search in searches], axes, groups)


def _axes_of(source: Source) -> tuple[str, ...]:
    """The rotations of a source and the variables of its axes, by its kernel; or nothing."""
    along_x = [name for name in source.variables if name.endswith("_x") and name not in ROTATIONS]
    for name in along_x:
        stem = name.removesuffix("_x")
        six = (*ROTATIONS, f"{stem}_x", f"{stem}_y", f"{stem}_z")
        if not {*six} <= {*source.variables}:
            continue
        values = np.array([[1e3 if variable == "depth" else 1.0 for variable in source.variables]])
        columns = [source.variables.index(variable) for variable in six]
        values[:, columns] = [0.3, -0.2, 0.5, 1.0, 3.0, 2.0]
        other = values.copy()
        other[:, columns] = _with_axes_in_order(values[:, columns])
        stations = torch.tensor(
            [[[300.0, 500.0], [-800.0, 200.0], [100.0, -900.0]]], dtype=torch.float64
        )
        try:
            first = source.kernel(torch.from_numpy(values), stations)
            second = source.kernel(torch.from_numpy(other), stations)
        except ValueError:  # no such source is possible
            continue
        if bool((first - second).abs().max() <= SAME_DISPLACEMENT * first.abs().max()):
            return six
    return ()


def _with_axes_in_order(six: Array) -> Array:
    """Rotations and sizes of the same source, the largest size first, with the smallest rotations.

    six  (description, 6)  rotations about x, y and z [rad], sizes along the axes x, y and z
    """
    from scipy.spatial.transform import Rotation

    order = np.argsort(-six[:, 3:], axis=1, kind="stable")
    sizes = np.take_along_axis(six[:, 3:], order, axis=1)
    axes = clockwise_rotation(torch.from_numpy(six[:, :3])).numpy()
    axes = np.take_along_axis(axes, order[:, None, :], axis=2)
    candidates = []
    # which way an axis points does not matter
    for signs in itertools.product((1.0, -1.0), repeat=2):
        turned = axes * np.array([*signs, 1.0])
        turned[..., 2] *= np.linalg.det(turned)[:, None]
        # R = Rz Ry Rx, clockwise: about fixed axes, x first
        candidates.append(-Rotation.from_matrix(turned).as_euler("xyz"))
    rotations = np.stack(candidates)
    smallest = np.abs(rotations).sum(axis=2).argmin(axis=0)
    wrapped = np.remainder(rotations[smallest, np.arange(len(six))], 2 * np.pi)
    return np.concatenate([wrapped, sizes], axis=1)
