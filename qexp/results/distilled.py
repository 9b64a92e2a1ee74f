"""The errors of a network that learned another run's estimates, beside that run's:
`results/distilled.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qexp.base.text import Table
from qexp.metrics.meaning import number
from qexp.results.capabilities import Parts, Results
from qexp.store.documents import Part

DISTILLED = "distilled.json"


@dataclass(frozen=True, kw_only=True)
class ErrorsOfBoth(Part):
    """Root mean square errors of one output over the measured rows of the ensemble's data, in its
    unit.
    """

    of_network: float
    """Of the network."""
    of_run: float
    """Of the ensemble, which has seen these rows."""
    held_out: float | None = None
    """Of the ensemble's networks that have not seen a row, as its own results say."""


@dataclass(frozen=True, kw_only=True)
class DistilledErrors(Part):
    """The errors of a network and of the ensemble whose estimates it learned."""

    measured_rows: int
    """Number of rows with true values."""
    errors: Mapping[str, ErrorsOfBoth]
    """Output → its errors."""


class Distilled(Results):
    @cached_property
    def kept(self) -> DistilledErrors | None:
        file = self.directory.results / DISTILLED
        return DistilledErrors.read(file) if file.is_file() else None

    def document(self) -> dict[str, Any]:
        return {"distilled": self.kept and self.kept.document()}

    def tables(self) -> Parts:
        if (kept := self.kept) is None:
            return
        taught = self.directory.spec()["dataset"]["estimates_of"]
        yield (
            f"learned: estimates of {taught['run']}, of {taught['rows']}; test errors: over a tenth"
            " of these rows"
        )
        columns = ["output", "RMSE", "ensemble's", "ensemble's, held out", "unit"]
        rows = [
            [
                output,
                *map(number, (both.of_network, both.of_run, both.held_out)),
                self.record.units[output],
            ]
            for output, both in kept.errors.items()
        ]
        yield Table(
            f"errors over {kept.measured_rows:,} measured rows",
            columns,
            rows,
            frozenset(columns[1:4]),
        )
        yield (
            "the ensemble, from which the network learned, has seen them; held out: by its networks"
            " that have not"
        )
