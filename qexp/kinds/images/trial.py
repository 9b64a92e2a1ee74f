"""A trial of the sources that a workspace adds: each is called once before anything is trained."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from qexp.base.quantities import DIMENSIONLESS, QUANTITIES, base_name, quantity
from qexp.base.tables import Tables, built
from qexp.base.workspace import Workspace
from qexp.errors import DatasetError, nearest
from qexp.kinds.images.spec import sources_of
from qexp.physics.geometry import grid
from qexp.simulation.dataset import GeneratedDataset, Values
from qexp.simulation.generators import GENERATORS, DeformationImages, Source
from qexp.simulation.views import DISPLACEMENT
from qexp.spec.reading import Document, Where

T = TypeVar("T")

QUARTILES = (0.25, 0.75)
HIDDEN_SIGNAL, HUGE_SIGNAL = 0.01, 100.0
"""Signals below this part of the noise, or above so many metres, are suspected to be in another
unit.
"""


def try_own_sources(
    document: Document, dataset: GeneratedDataset, tables: Tables, workspace: Workspace | None
) -> list[str]:
    """Simulate two samples, at the quartiles of the distributions, if a source is one of the
    workspace's own.

    Returns warnings. Raises DatasetError for a kernel or generator that raises, or returns another
    shape.
    """
    own = [
        (declared, where)
        for declared, where in sources_of(document)
        if tables["generators"][declared["type"]] is not GENERATORS.get(declared["type"])
    ]
    if not own or not dataset.distributions:
        return []
    trial = Trial(workspace, own[0][1], own[0][0]["type"])
    values = dataset.quantiles(*QUARTILES)
    if not trial.call(partial(dataset.possible, values, len(QUARTILES))).all():
        return []
    warnings: list[str] = []
    for declared, where in own:
        generator = built(tables["generators"], declared)
        for source in generator.sources if isinstance(generator, DeformationImages) else ():
            named = source.with_name(declared.get("name", ""))
            Trial(workspace, where, _name(source.kernel)).kernel(
                named, dataset.as_simulated(values)
            )
            warnings += _without_quantity(named, dataset, trial.file)
    return [*warnings, *_doubtful(dataset, values, trial.call(partial(dataset.signals, values)))]


def _name(kernel: Callable[..., Any]) -> str:
    return (
        _name(kernel.func)
        if isinstance(kernel, partial)
        else getattr(kernel, "__name__", repr(kernel))
    )


class Trial:
    """Calls what a workspace's extensions define; whatever is raised is a problem of the
    document.
    """

    def __init__(self, workspace: Workspace | None, where: Where, who: str) -> None:
        self._path = "" if workspace is None else str(workspace.extensions)
        self._where, self._who = where, who
        self.file = "extensions.py" if workspace is None else workspace.shown(workspace.extensions)

    def call(self, work: Callable[[], T]) -> T:
        here = Path.cwd()
        try:
            return work()
        except (DatasetError, KeyboardInterrupt):
            raise
        except BaseException as error:  # a user's code may raise any error, and call sys.exit
            lines = [
                frame
                for frame in traceback.extract_tb(error.__traceback__)
                if frame.filename == self._path
            ]
            line = f" (line {lines[-1].lineno}: {lines[-1].line})" if lines else ""
            raise self._problem(f"{type(error).__name__}: {error}{line}") from None
        finally:
            os.chdir(here)  # which the code may have left

    def kernel(self, source: Source, values: dict[str, Tensor]) -> None:
        """Call a kernel with as many stations as there are pixels."""
        count = len(QUARTILES)
        places = torch.linspace(-5e3, 5e3, 64).expand(count, -1)
        stations = grid(places, places)
        moved = self.call(lambda: source.kernel(source.argument(values, count), stations))
        wanted = (count, stations.shape[1], 3)
        shape = tuple(getattr(moved, "shape", ()))
        if shape != wanted:
            returned = str(shape) if isinstance(moved, Tensor) else type(moved).__name__
            raise self._problem(
                f"it returned {returned}; it must return (batch, station, 3) = {wanted}"
            )

    def _problem(self, words: str) -> DatasetError:
        return DatasetError([(self._where, f"{self.file}: {self._who}: {words}")])


def _without_quantity(source: Source, dataset: GeneratedDataset, file: str) -> Iterator[str]:
    for name in source.columns:
        if quantity(name, dataset.quantities) is DIMENSIONLESS:
            known_name = nearest(
                name, set(dataset.quantities) - set(QUANTITIES) - set(source.columns)
            )
            doubt = "" if known_name is None else f", where '{known_name}' is spelt differently"
            words = f"'{name}' has no quantity, so that its values count as SI units"
            yield f"{words}; declare it in QUANTITIES of {file}{doubt}"


def _doubtful(
    dataset: GeneratedDataset, values: dict[str, Values], signals: dict[str, Tensor]
) -> Iterator[str]:
    """Warnings about displacements that no radar would see, or that no ground has."""
    place = "at the quartiles of the distributions"
    units = "is all in SI units, and is each quantity's si_factor right?"
    copies = {name: signal.clone() for name, signal in signals.items()}
    observed = dataset.observe(values, torch.Generator().manual_seed(0), copies)
    for name, signal in signals.items():
        largest = float(signal.abs().max())
        noise = float((observed[name] - signal).std())
        if base_name(name) != DISPLACEMENT:
            continue
        if not largest <= HUGE_SIGNAL:
            yield f"'{name}' reaches {largest:.3g} m {place}: {units}"
            return  # other views say the same
        if largest < HIDDEN_SIGNAL * noise:
            yield (
                f"'{name}' reaches {largest:.2g} m {place}, far below the noise of {noise:.2g} m:"
                f" {units}"
            )
