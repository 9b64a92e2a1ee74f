"""The kinds of dataset: one line each. What they need is loaded when it is needed, see `qexp.spec.kind.Kind`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from qexp.base.tables import Tables
from qexp.errors import QexpError
from qexp.spec.defaults import defaults_in
from qexp.spec.kind import Kind, KindDocuments

KINDS: dict[str, Kind | str] = {
    "generated": "qexp.kinds.images",
    "tabular": "qexp.kinds.rows",
    "gridded": "qexp.kinds.fields",
    "spectra": "qexp.kinds.spectra",
}
"""Type of the dataset → its kind, or the package that has it as `KIND`."""


BUILT_IN = frozenset(KINDS)


def add_kinds(added: Any, origin: str) -> None:
    """Know the kinds of an extension, in place of those of their names that another one had.

    Raises QexpError for what is no kind, or has the name of a built-in one.
    """
    if not isinstance(added, dict):
        raise QexpError(f"{origin}: KINDS must be a dictionary")
    for name, kind in added.items():
        if not isinstance(name, str) or not isinstance(kind, Kind | str):
            raise QexpError(
                f"{origin}: KINDS[{name!r}] must be a qexp.extend.Kind, or the name of a package that has one"
            )
        if name in BUILT_IN:
            raise QexpError(f"{origin}: KINDS has '{name}', which qexp has already; rename it")
        try:
            _kind(kind)
        except (ImportError, AttributeError) as error:
            raise QexpError(f"{origin}: KINDS['{name}']: {error}") from error
    KINDS.update(added)


def kind_named(name: str) -> Kind:
    """The kind of a name in `KINDS`."""
    return _kind(KINDS[name])


def _kind(given: Kind | str) -> Kind:
    return import_module(given).KIND if isinstance(given, str) else given


def kind_of(dataset: Mapping[str, Any]) -> Kind:
    """The kind of a dataset, by its document."""
    return kind_named(dataset["type"])


WITHOUT = {
    "held_out": "make no intervals from the errors of held-out samples",
    "evaluate": "are evaluated on the test part of their run alone",
    "predict": "are not estimated from files",
    "look": "have no view",
    "figures": "have no figures",
}
"""Stage → what is said of datasets whose kind lacks it."""


def part_of(dataset: Mapping[str, Any], stage: str) -> Any:
    """What does the work of a stage on a dataset's kind. Raises QexpError if the kind has nothing for it."""
    part = kind_of(dataset).part(stage)
    if part is None:
        raise QexpError(f"datasets of the type '{dataset['type']}' {WITHOUT[stage]}")
    return part


def documents_of(dataset: Mapping[str, Any]) -> KindDocuments:
    """What reads and checks documents of a dataset's kind."""
    return documents_named(dataset["type"])


def documents_named(name: str) -> KindDocuments:
    documents: KindDocuments = kind_named(name).part("documents")
    return documents


def all_documents() -> dict[str, KindDocuments]:
    """Type of the dataset → what reads and checks its documents."""
    return {name: documents_named(name) for name in KINDS}


def caution_of_data(spec: dict[str, Any]) -> str:
    """The cautions that hold for all numbers from the data, baselines included; empty if there are none."""
    return "; ".join(documents_of(spec["dataset"]).cautions_of_data(spec))


def dataset_with_defaults(document: dict[str, Any], tables: Tables, schema: dict[str, Any]) -> dict[str, Any]:
    """A whole dataset with every default filled in."""
    of_type = schema["$defs"][document["type"]]
    whole = {**defaults_in(of_type), **copy.deepcopy(document)}
    whole.pop("$schema", None)
    return documents_named(document["type"]).with_defaults(whole, tables, of_type)
