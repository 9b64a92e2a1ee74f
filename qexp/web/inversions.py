"""Inversions in folders as they show themselves, alone and side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qexp.base.text import Table
from qexp.deformation.stored import Record, beside, estimates, observation_of
from qexp.deformation.tables import sentences, tables
from qexp.figures.seeds import OfSeeds, values_in_rows
from qexp.runs.columns import time
from qexp.web.html import Drawn, Titled, View, drawn, pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = {"depth (km)": ("depth",), "volume (10⁶ m³)": ("delta_volume", "opened_volume")}
"""What is drawn side by side → the parameters that are shown."""


@dataclass(frozen=True, repr=False)
class ShownInversions(Titled):
    """An inversion in a folder, with all that is known of it, or several side by side."""

    records: Sequence[Record]

    def view(self) -> View:
        if len(self.records) == 1:
            return _view_of_one(self.records[0])
        drawings = [drawn(name, draw) for name, draw in self.figures().items()]
        return View(f"{len(self.records)} inversions", parts=[*beside(self.records), *drawings])

    def document(self) -> Record | Sequence[Record]:
        return self.records[0] if len(self.records) == 1 else self.records

    def figures(self) -> dict[str, Callable[[], Figure]]:
        """The epicentres on one map, and depths and volumes with their intervals."""
        from qexp.deformation.epicentres import epicentres

        figures: dict[str, Callable[[], Figure]] = {"epicentres": partial(epicentres, self.records)}
        for words, names in DRAWN.items():
            values = {}
            for record in self.records:
                for name, part in estimates(record).items():
                    if name.rpartition(".")[2] in names:
                        label = f"{record['name']} {name.rpartition('.')[0]}".strip()
                        values[label] = OfSeeds((), part.value, part.interval95)
            if values:
                figures[words] = partial(values_in_rows, values, words)
        return figures


def _view_of_one(record: Record) -> View:
    """Its tables and pictures, then how it was made, and pictures of its observation.

    These are shown if the observation is the same as then: else they may be of another.
    """
    folder = Path(record["path"])
    names = ("maps", "residuals", "posterior")
    images = pictures(folder / f"{name}.png" for name in names)
    file, words = observation_of(record)
    facts = {
        "observation": words,
        "made": time(record["created"]),
        "qexp": record["version"] or "an earlier version",
        "command": record["history"],
    }
    for name, track in record["tracks"].items():
        noise = track.get("noise")
        facts[f"noise of {name}"] = str(noise or "not correlated, or not recorded")
    rows = [list(fact) for fact in facts.items()]
    more: dict[str, Sequence[Table | Drawn | str]] = {
        "How it was made": [Table("", ["what", "value"], rows)]
    }
    if file is not None:
        semivariograms = file.with_name(f"{file.stem}_noise.png")
        more["Observation"] = pictures([file.with_suffix(".png"), semivariograms])
    return View(
        record["name"],
        cautions=record["remarks"],
        parts=[*tables(record), *sentences(record), *images],
        more=more,
    )
