"""Inversions in folders as they show themselves: listed, alone, and side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qexp.base.files import make_folder, safe
from qexp.base.options import Report
from qexp.base.text import Table
from qexp.base.workspace import Workspace
from qexp.comparison.figures import folder_name
from qexp.deformation.stored import (
    Record,
    beside,
    estimates,
    inversions_in,
    observation_of,
    read_record,
)
from qexp.deformation.tables import chi2_words, sentences, tables, values_in_words
from qexp.errors import DamagedError
from qexp.figures.seeds import OfSeeds, values_in_rows
from qexp.figures.writing import save
from qexp.runs.columns import Column, time
from qexp.web.html import Drawn, Titled, View, drawn, pictures
from qexp.web.listing import Listing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PARAMETERS = 4
"""Parameters that a listing shows."""

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

    def figures(self) -> dict[str, Callable[[], Figure]]:
        """The epicentres on one map, and depths and volumes with their intervals."""
        from qexp.deformation.maps import epicentres

        figures: dict[str, Callable[[], Figure]] = {"epicentres": partial(epicentres, self.records)}
        for words, names in DRAWN.items():
            values = {}
            for record in self.records:
                for name, part in estimates(record).items():
                    if name.rpartition(".")[2] in names:
                        label = f"{record['name']} {name.rpartition('.')[0]}".strip()
                        values[label] = OfSeeds((), part.value, part.interval95)
            if values:
                figures[words.partition(" ")[0]] = partial(values_in_rows, values, words)
        return figures

    def saved(self, workspace: Workspace) -> list[Path]:
        """The figures as files in `comparisons/` of the workspace."""
        names = [safe(record["name"]) for record in self.records]
        place = workspace.root / "comparisons" / folder_name(names)
        make_folder(place)
        for name, draw in self.figures().items():
            save(draw(), place / f"{name}.png")
        return sorted(place.glob("*.png"))


def _view_of_one(record: Record) -> View:
    folder = Path(record["path"])
    images = pictures(folder / f"{name}.png" for name in ("maps", "residuals", "posterior"))
    file, words = observation_of(record)
    facts = {"observation": words, "made": time(record["created"])}
    facts |= {"qexp": record["version"] or "an earlier version", "command": record["history"]}
    for name, track in record["tracks"].items():
        facts[f"noise of {name}"] = track.get("noise") or "not correlated, or not recorded"
    rows = [[key, str(text)] for key, text in facts.items()]
    more: dict[str, Sequence[Table | Drawn | str]] = {}
    more["How it was made"] = [Table("", ["what", "value"], rows)]
    if file is not None:  # else these may be pictures of another
        beside_it = file.with_suffix(".png"), file.with_name(f"{file.stem}_noise.png")
        more["Observation"] = pictures(beside_it)
    parts: list[Table | Drawn | str] = [*tables(record), *sentences(record), *images]
    return View(record["name"], cautions=record["remarks"], parts=parts, more=more)


def listed(root: Path, warn: Report) -> Listing:
    """The records of the inversions of a workspace, by name."""
    records = []
    for folder in inversions_in(root):
        try:
            records.append(read_record(folder, str(folder.relative_to(root))))
        except (DamagedError, FileNotFoundError) as error:
            warn(str(error))
    return Listing(records, "inversions", columns_of_inversions)


def columns_of_inversions(records: Sequence[Record]) -> list[Column]:
    """What a listing of inversions shows."""
    return [
        Column("inversion", "name", lambda row: row["name"]),
        Column("observation", "observation", _observed),
        Column("source", "source", lambda row: row["source"]),
        Column("parameters with 95 % intervals", "parameters", _parameters),
        Column("fit", "chi2_reduced", lambda row: chi2_words(row["chi2_reduced"])),
        Column("made", "created", lambda row: time(row["created"])),
    ]


def _observed(record: Record) -> str:
    return Path((record["observation"] or {}).get("path", "")).name


def _parameters(record: Record) -> str:
    """The first ones besides the position."""
    kept = {}
    for name, part in estimates(record).items():
        if not name.endswith(("east", "north")):
            kept[name] = part
    return ", ".join(values_in_words(dict(list(kept.items())[:MOST_PARAMETERS])))
