"""The kinds of dataset, as objects: one line and one module each. See `qexp.spec.kinds` for their documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qexp.assemble.kinds.generated import GeneratedKind
from qexp.assemble.kinds.gridded import GriddedKind
from qexp.assemble.kinds.kind import Dataset, Doubts, Exposed, Kind
from qexp.assemble.kinds.spectra import SpectraKind
from qexp.assemble.kinds.tabular import TabularKind

__all__ = ["KINDS", "Dataset", "Doubts", "Exposed", "Kind", "kind_of"]

KINDS: Mapping[str, Kind[Any]] = {
    "generated": GeneratedKind(),
    "tabular": TabularKind(),
    "gridded": GriddedKind(),
    "spectra": SpectraKind(),
}
"""Type of the dataset → its kind."""


def kind_of(dataset: Mapping[str, Any]) -> Kind[Any]:
    """The kind of a dataset, by its document."""
    return KINDS[dataset["type"]]
