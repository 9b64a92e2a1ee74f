"""The test samples of a run with the largest errors: `results/worst.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qexp.base import files
from qexp.base.options import InWorkspace, option
from qexp.base.outputs import estimate_of, outputs_among
from qexp.base.text import Table
from qexp.errors import QexpError
from qexp.metrics.meaning import number
from qexp.results.capabilities import Columns, Parts, Results
from qexp.spec.kinds import TEST_PREDICTIONS
from qexp.store.directory import RunDirectory
from qexp.store.documents import Part

WORST = "worst.json"
"""In a run's `results`."""


@dataclass(frozen=True, kw_only=True)
class WorstOptions(InWorkspace):
    """Options of `qexp worst`."""

    count: int = option(5, "Number of samples for each output.", metavar="N")

    def __post_init__(self) -> None:
        if self.count < 1:
            raise QexpError(f"`count={self.count}`: at least one")


@dataclass(frozen=True, kw_only=True)
class WorstSample(Part):
    """A sample with a large error."""

    sample: int
    """Its number in the test part."""
    truth: float
    """Its true value."""
    estimate: float
    """The network's estimate."""


@dataclass(frozen=True, kw_only=True)
class Worst(Part):
    """The samples with the largest errors."""

    outputs: Mapping[str, tuple[WorstSample, ...]]
    """Output → samples, the largest error first."""


def keep_worst(directory: RunDirectory, options: WorstOptions) -> Worst:
    """Find the samples, and keep them in the run. Raises QexpError for a run without a table of test samples."""
    path = directory.results / TEST_PREDICTIONS
    if not path.is_file():
        raise QexpError(f"{directory.name} has no table of test samples")
    table, outputs = files.read_netcdf(path), {}
    for name in outputs_among(table.data_vars):
        truth, estimate = table[name].values, table[estimate_of(name)].values
        order = abs(estimate - truth).argsort()[::-1][: options.count]
        outputs[name] = tuple(
            WorstSample(sample=int(sample), truth=float(truth[sample]), estimate=float(estimate[sample]))
            for sample in order
        )
    worst = Worst(outputs=outputs)
    files.write_json(directory.results / WORST, worst.document())
    return worst


def worst_tables(worst: Worst, units: Mapping[str, str]) -> Parts:
    for name, samples in worst.outputs.items():
        unit = f" ({units[name]})" if units.get(name) else ""
        columns = ["sample", f"true value{unit}", f"estimate{unit}"]
        rows = [[str(one.sample), number(one.truth), number(one.estimate)] for one in samples]
        yield Table(f"{name}: largest errors", columns, rows, frozenset(columns))


class WorstSamples(Results):
    @cached_property
    def worst(self) -> Worst | None:
        file = self.directory.results / WORST
        return Worst.read(file) if file.is_file() else None

    def document(self) -> dict[str, Any]:
        return {"worst": self.worst and self.worst.document()}

    def tables(self) -> Parts:
        return iter(()) if self.worst is None else worst_tables(self.worst, self.record.units)

    def columns(self) -> Columns:
        if self.worst is None:
            return {}
        return {
            name: {"error": abs(samples[0].estimate - samples[0].truth)} for name, samples in self.worst.outputs.items()
        }

    compared = columns

    @staticmethod
    def possible_columns(units: Mapping[str, str]) -> dict[str, str]:
        return {f"worst.{output}.error": unit for output, unit in units.items()}
