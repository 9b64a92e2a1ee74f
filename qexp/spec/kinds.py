"""The kinds of dataset, as documents: one line, one module and one JSON file each. Nothing here loads torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from qexp.base.tables import Tables
from qexp.kinds.fields.spec import GriddedSpecs
from qexp.kinds.images.spec import GeneratedSpecs
from qexp.kinds.rows.spec import TabularSpecs
from qexp.kinds.spectra.spec import SpectraSpecs
from qexp.spec.defaults import defaults_in
from qexp.spec.kind import SpecKind, entry_in_words

__all__ = ["KINDS", "SpecKind", "caution_of_data", "dataset_with_defaults", "entry_in_words", "kind_of"]

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


def caution_of_data(spec: dict[str, Any]) -> str:
    """The cautions that hold for all numbers from the data, baselines included; empty if there are none."""
    return "; ".join(kind_of(spec["dataset"]).cautions_of_data(spec))


def dataset_with_defaults(document: dict[str, Any], tables: Tables, schema: dict[str, Any]) -> dict[str, Any]:
    """A whole dataset with every default filled in."""
    of_type = schema["$defs"][document["type"]]
    whole = {**defaults_in(of_type), **copy.deepcopy(document)}
    whole.pop("$schema", None)
    return KINDS[document["type"]].with_defaults(whole, tables, of_type)
