"""The limit of a dataset: the errors of exact posteriors of a run's test samples,
`results/limit.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from qexp.base.text import Table
from qexp.metrics.meaning import NONE, measured, number
from qexp.results.capabilities import Parts, Results
from qexp.store.directory import RunDirectory
from qexp.store.documents import Part

LIMIT = "limit.json"
"""In a run's `results`."""


@dataclass(frozen=True, kw_only=True)
class LeastErrors(Part):
    """The errors of the exact posteriors of one variable, in its unit."""

    unit: str
    """Unit of the errors."""
    mae: float
    """Mean absolute error of the exact posterior median."""
    mae_error: float
    """Standard error of `mae`, over samples."""
    rmse: float
    """Root mean square error of the exact posterior mean."""
    rmse_error: float
    """Standard error of `rmse`, over samples."""
    difference: float
    """Mean difference of the medians from those by grids half as fine, or by half of the draws,
    relative to `mae`.
    """


@dataclass(frozen=True, kw_only=True)
class ClassLimit(Part):
    """Exact probabilities of classes, and a network's, of the same samples, the first of its test
    part: metric → value.
    """

    exact: Mapping[str, float]
    """Of the exact probabilities."""
    network: Mapping[str, float]
    """Of the network's."""
    samples: int
    """Number of samples."""
    excess: float
    """Log score of the network less that of the exact probabilities."""
    excess_error: float
    """Its standard error, over samples."""
    probability_error: float
    """Mean standard error of the exact probability of the true class."""


@dataclass(frozen=True, kw_only=True)
class Limit(Part):
    """The limit of a dataset: the errors of the exact posteriors of its samples, with its whole
    distributions as prior.

    Over samples of that prior they are the least that any method can reach on average. Over the
    intervals that are held out for the test they are not: who knew these could do better.
    """

    dataset: str
    """Name of the dataset's spec."""
    seed: int
    """Of the samples: they are the test samples of runs with this seed, if these have as many."""
    samples: int
    """Number of samples."""
    whole: bool = False
    """Whether the samples are drawn from the whole prior; false: from its test part, where some of
    it is held out.
    """
    images: tuple[str, ...]
    """Images that the posteriors are based on."""
    given: tuple[str, ...] = ()
    """Varying variables that are known besides the images, as inputs of the network."""
    sampled: bool = False
    """Whether posteriors were sampled, rather than integrated."""
    doubted: int = 0
    """Number of samples whose draws are not to be trusted."""
    variables: Mapping[str, LeastErrors]
    """Variable → its errors."""
    classes: Mapping[str, ClassLimit] = field(default_factory=dict)
    """Output that is a class → the limit of its probabilities."""

    @property
    def meaning(self) -> str:
        """Whether errors are the least possible, in words, and what is known besides images."""
        if self.whole:
            least = (
                "on average over that prior, from which the samples are drawn, no method has"
                " smaller errors"
            )
        else:
            least = (
                "the samples are those of its held-out intervals: a method that knew these could"
                " have smaller errors"
            )
        return least + (f"; known of each sample: {', '.join(self.given)}" if self.given else "")

    def of_classes(self) -> Parts:
        """Scores of exact probabilities of classes beside the network's."""
        for name, limit in self.classes.items():
            rows = []
            for metric, exact in limit.exact.items():
                network = limit.network.get(metric)
                rows.append([metric, NONE if network is None else number(network), number(exact)])
            yield Table(name, ["metric", "network", "exact"], rows, frozenset(("network", "exact")))
            yield (
                f"{name}: probabilities by the evidence of each class in the first"
                f" {limit.samples:,} test samples, with a standard error of"
                f" {limit.probability_error:.2g}; the network's log score is larger by"
                f" {measured(limit.excess, limit.excess_error)}"
            )

    def parts(self) -> Parts:
        yield from self.of_classes()
        if not self.variables:
            return
        rows = []
        for name, errors in self.variables.items():
            mae = measured(errors.mae, errors.mae_error)
            rows.append([name, errors.unit, mae, measured(errors.rmse, errors.rmse_error)])
        yield Table("", ["variable", "unit", "mae", "rmse"], rows, frozenset(("mae", "rmse")))
        largest = max(errors.difference for errors in self.variables.values())
        prior = "the whole prior" if self.whole else "the test part"
        yield (
            "errors of the exact posterior median (mae) and mean (rmse) ± standard errors, over"
            f" {self.samples:,} samples of {prior} of {self.dataset} with seed {self.seed}; the"
            f" prior has the dataset's whole distributions; {self.meaning}"
        )
        coarser = (
            "half of the draws changes" if self.sampled else "grids that are half as fine change"
        )
        yield f"{coarser} the medians by {100 * largest:.2g} % of these errors at most, on average"

    @property
    def doubts(self) -> str:
        """That some posteriors are not to be trusted; empty if all are."""
        if not self.doubted:
            return ""
        return (
            f"the draws of {self.doubted:,} posteriors are not to be trusted: too few of them are"
            " effective"
        )


def limit_of(directory: RunDirectory) -> Limit | None:
    """The limit that was computed for a run's own test part, if it was. Raises DamagedError."""
    file = directory.results / LIMIT
    return Limit.read(file) if directory.held_out and file.is_file() else None


class LimitBeside(Results):
    """Test errors beside those of the exact posteriors of the same samples."""

    @cached_property
    def limit(self) -> Limit | None:
        return limit_of(self.directory)

    def document(self) -> dict[str, Any]:
        return {"limit": self.limit and self.limit.document()}

    def tables(self) -> Parts:
        """Without a limit, the command that computes it, where there is one."""
        from qexp.spec.experiences import type_of

        if self.limit is not None:
            yield from self.tables_of_page()
        elif self.directory.held_out and "test" in self.record.results:
            spec = self.directory.spec()
            if type_of(spec).has_limit(spec):
                command = f"qexp limit {self.record.name}"
                yield (
                    "errors of the exact posteriors of the same samples are not known yet:"
                    f" {command}"
                )

    def tables_of_page(self) -> Parts:
        if self.limit is None:
            return
        yield from self.limit.of_classes()
        if not self.limit.variables:
            return
        rows = []
        for output, metrics in self.record.results.get("test", {}).items():
            least = self.limit.variables.get(output)
            if least is None:
                continue
            for metric in ("mae", "rmse"):
                value = metrics.get(metric)
                limit = getattr(least, metric)
                ratio = NONE if value is None else f"{value / limit:.2f}"
                rows.append([output, metric, number(value), number(limit), ratio, least.unit])
        columns = ["output", "metric", "value", "limit", "ratio", "unit"]
        yield Table("errors beside the limit", columns, rows, frozenset(columns[2:5]))
        yield (
            "limit: errors of the exact posterior median (mae) and mean (rmse) of the same"
            f" samples; the prior has the dataset's whole distributions; {self.limit.meaning}"
        )
