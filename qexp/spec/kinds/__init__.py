"""The kinds of dataset, as documents: one line, one module and one JSON file each. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qexp.quantities import Quantities
from qexp.spec.kinds.generated import GeneratedSpecs
from qexp.spec.kinds.gridded import GriddedSpecs
from qexp.spec.kinds.kind import SpecKind, entry_in_words
from qexp.spec.kinds.spectra import SpectraSpecs
from qexp.spec.kinds.tabular import TabularSpecs

__all__ = ["KINDS", "SpecKind", "caution", "caution_of_data", "entry_in_words", "kind_of", "units_of"]

KINDS: Mapping[str, SpecKind] = {
    "generated": GeneratedSpecs(),
    "tabular": TabularSpecs(),
    "gridded": GriddedSpecs(),
    "spectra": SpectraSpecs(),
}
"""Type of the dataset → its kind."""


def kind_of(dataset: Mapping[str, Any]) -> SpecKind:
    """The kind of a dataset, by its document."""
    return KINDS[dataset["type"]]


def caution(spec: dict[str, Any]) -> str:
    """The cautions that every table, figure and record of a run must show; empty if there are none."""
    return "; ".join(kind_of(spec["dataset"]).cautions(spec))


def caution_of_data(spec: dict[str, Any]) -> str:
    """The cautions that hold for all numbers from the data, baselines included; empty if there are none."""
    return "; ".join(kind_of(spec["dataset"]).cautions_of_data(spec))


def units_of(spec: dict[str, Any], quantities: Quantities) -> dict[str, str]:
    """Units of a resolved experience's inputs and outputs."""
    return kind_of(spec["dataset"]).units([*spec["inputs"], *spec["outputs"]], spec["dataset"], quantities)
