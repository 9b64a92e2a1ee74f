"""The errors of a network that learned another run's estimates, beside that run's: `results/distilled.json`."""

from __future__ import annotations

from typing import Any

from qexp.base import formats
from qexp.base.text import Table
from qexp.metrics.meaning import number
from qexp.results.capabilities import Parts, Results

DISTILLED = "distilled.json"


class Distilled(Results):
    def document(self) -> dict[str, Any]:
        file = self.directory.results / DISTILLED
        return {"distilled": formats.read_json(file) if file.is_file() else None}

    def tables(self) -> Parts:
        if (kept := self.document()["distilled"]) is None:
            return
        taught, keys = self.directory.spec()["dataset"]["estimates_of"], ("of_network", "of_run", "held_out")
        yield f"learned: estimates of {taught['run']}, of {taught['rows']}; test errors: over a tenth of these rows"
        columns, rows = ["output", "RMSE", "ensemble's", "ensemble's, held out", "unit"], []
        for output, errors in kept["errors"].items():
            rows.append([output, *(number(errors[key]) for key in keys), self.record.units[output]])
        yield Table(f"errors over {kept['measured_rows']:,} measured rows", columns, rows, frozenset(columns[1:4]))
        yield "the ensemble, from which the network learned, has seen them; held out: by its networks that have not"
