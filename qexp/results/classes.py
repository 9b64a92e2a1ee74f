"""Are the probabilities of classes right, and which are not: `results/classes.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qexp.base import formats
from qexp.base.outputs import Classes, classes_of
from qexp.base.text import Table
from qexp.metrics.classes import reliability
from qexp.metrics.meaning import number
from qexp.results.calibration import SIGNIFICANT_P
from qexp.results.capabilities import Columns, Parts, Results
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import RunDirectory
from qexp.store.documents import Part

if TYPE_CHECKING:
    import xarray

CLASSES = "classes.json"
"""In `results` of a run and of an evaluation."""


@dataclass(frozen=True, kw_only=True)
class ToldClass(Part):
    """How one class is told, and whether its probabilities are right."""

    samples: int
    """Whose true class it is."""
    recognised: float | None
    """Share of them for which it is the likeliest class; null without samples."""
    correct: float | None
    """Share of the samples for which it is the likeliest that belong to it; null without any."""
    stated: float
    """Mean probability of the class over all samples."""
    share: float
    """Share of the samples that belong to it."""
    amount_p: float | None = None
    """p-value of a difference between these two; null where too few samples could tell."""
    sureness: float | None = None
    """Standard normal number of Spiegelhalter's test: above 0 where probabilities are too close to
    0 and 1; null where too few samples could tell.
    """
    sureness_p: float | None = None
    """Its p-value."""

    def verdict(self, tests: int) -> str:
        """What is wrong with its probabilities, given that so many tests are made."""
        least = SIGNIFICANT_P / tests
        if self.amount_p is None or self.sureness_p is None or self.sureness is None:
            return "too few samples to tell"
        words = []
        if self.amount_p < least:
            words.append("too high" if self.stated > self.share else "too low")
        if self.sureness_p < least:
            words.append("too sure" if self.sureness > 0 else "not sure enough")
        return " and ".join(words) or "right, as far as can be seen"


@dataclass(frozen=True, kw_only=True)
class ToldClasses(Part):
    """How the classes of an output are told."""

    samples: int
    """With a true class and an estimate."""
    classes: Mapping[str, ToldClass]
    """Class → how it is told."""

    def table(self, output: str) -> Table:
        tests = 2 * len(self.classes)
        columns = ["class", "samples", "recognised", "correct", "stated", "share", "probabilities"]
        rows = []
        for name, told in self.classes.items():
            shares = told.recognised, told.correct, told.stated, told.share
            cells = [name, f"{told.samples:,}", *map(_percent, shares), told.verdict(tests)]
            rows.append(cells)
        return Table(f"classes of {output}", columns, rows, frozenset(columns[1:6]))


def _percent(share: float | None) -> str:
    return number(None) if share is None else f"{100 * share:.1f} %"


@dataclass(frozen=True, kw_only=True)
class KeptClasses(Part):
    """`classes.json`"""

    outputs: Mapping[str, ToldClasses]
    """Output that is a class → how its classes are told."""


def told(output: Classes, predictions: xarray.Dataset, groups: Any = None) -> ToldClasses:
    """How the classes of an output are told, by a file of test predictions.

    groups  samples of one value resemble each other, (sample,); None if none do
    """
    codes = output.codes(predictions[output.name].values)
    probabilities = np.asarray(output.read(predictions).middle, dtype=np.float64)
    known = np.isfinite(codes) & np.isfinite(probabilities).all(axis=1)
    likeliest = probabilities[known].argmax(axis=1)
    classes = {}
    for code, name in enumerate(output.names if known.any() else ()):
        is_true = codes[known] == code
        named = likeliest == code
        right = int((is_true & named).sum())
        stated = probabilities[known, code]
        tests = reliability(stated, is_true, None if groups is None else groups[known])
        classes[name] = ToldClass(
            samples=int(is_true.sum()),
            recognised=right / int(is_true.sum()) if is_true.any() else None,
            correct=right / int(named.sum()) if named.any() else None,
            stated=float(stated.mean()),
            share=float(is_true.mean()),
            amount_p=tests.get("amount_p"),
            sureness=tests.get("sureness"),
            sureness_p=tests.get("sureness_p"),
        )
    return ToldClasses(samples=int(known.sum()), classes=classes)


def keep_classes(directory: RunDirectory, spec: Mapping[str, Any]) -> None:
    """Write how the classes of test samples are told, if outputs are classes."""
    outputs = classes_of(spec)
    file = directory.results / TEST_PREDICTIONS
    if not outputs or not file.is_file():
        return
    predictions = formats.read_netcdf(file)
    grouping = spec["split"]["parameters"].get("by") if isinstance(spec["split"], dict) else None
    groups = predictions[grouping].values if grouping in predictions else None
    kept = {name: told(output, predictions, groups) for name, output in outputs.items()}
    formats.write_json(directory.results / CLASSES, KeptClasses(outputs=kept).document())


class ClassesTold(Results):
    """A table for each output that is a class."""

    section = "Classes"

    @cached_property
    def kept(self) -> Mapping[str, ToldClasses]:
        file = self.directory.results / CLASSES
        return KeptClasses.read(file).outputs if file.is_file() else {}

    def document(self) -> dict[str, Any]:
        return {"classes": {name: one.document() for name, one in self.kept.items()}}

    def tables(self) -> Parts:
        for output, one in self.kept.items():
            yield one.table(output)
        if self.kept:
            yield (
                "recognised: of the samples of the class; correct: of those that were called it;"
                " stated: its mean probability; share: of the samples that are of it"
            )

    def columns(self) -> Columns:
        columns: Columns = {}
        for output, one in self.kept.items():
            shares = {name: told.recognised for name, told in one.classes.items()}
            known = {name: share for name, share in shares.items() if share is not None}
            columns[output] = {f"{name}.recognised": share for name, share in known.items()}
        return columns

    compared = columns
