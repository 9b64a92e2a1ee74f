"""Two compared maps as they show themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qexp.comparison.maps import MapComparison
from qexp.web.html import Piece, Titled, View, drawn


@dataclass(frozen=True, repr=False, eq=False)
class ShownMaps(MapComparison, Titled):
    """Two maps over the same cells, with the files that hold them."""

    files: list[Path]

    def view(self) -> View:
        parts: list[Piece] = [self.table(), drawn("maps", self.figure)]
        return View(" against ".join(self.called), cautions=self.remarks, parts=parts)
