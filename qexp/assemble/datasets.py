"""Datasets of checked documents: one builder for each type."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from qexp.datasets import table_files
from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.tabular import Group, TabularDataset, TabularError
from qexp.errors import QexpError
from qexp.quantities import quantity
from qexp.spec import resolve
from qexp.tables import Tables, built
from qexp.workspace import Workspace

Document = dict[str, Any]
Dataset = GeneratedDataset | TabularDataset

DATA = "QEXP_DATA"
"""Folders in which data files are looked for after the workspace's own."""


def dataset_of(document: Document, tables: Tables, workspace: Workspace | None = None) -> Dataset:
    """The dataset of a checked document; forms may be short or long.

    workspace  where its files are looked for, besides where they were when it was prepared and in `QEXP_DATA`
    Raises TabularError.
    """
    return DATASETS[document["type"]](document, tables, workspace)


def generated_of(document: Document, tables: Tables) -> GeneratedDataset:
    """The dataset of a document that must be a generated one's. Raises QexpError for others."""
    if document["type"] != "generated":
        raise QexpError(f"this needs a dataset that is simulated, but its type is '{document['type']}'")
    return _generated(document, tables, None)


def _generated(document: Document, tables: Tables, workspace: Workspace | None) -> GeneratedDataset:
    noise = resolve.long_form(document.get("noise_model", "white"), tables["noises"])
    height, width = document.get("size", [64, 64])
    return GeneratedDataset(
        tables["generators"][document["generation_type"]].build(),
        (int(height), int(width)),
        {name: float(value) for name, value in document.get("fixed", {}).items()},
        document["varyings"],
        {name: built(tables["distributions"], document["distributions"][name]) for name in document["varyings"]},
        built(tables["noises"], noise),
    )


def _tabular(document: Document, tables: Tables, workspace: Workspace | None) -> TabularDataset:
    return TabularDataset(
        data_file(document, workspace),
        _columns(document["inputs"]),
        _columns(document["outputs"]),
        document.get("identifiers", []),
        document.get("missing", "error"),
        document.get("units", {}),
        {name: Group(group["column"], group.get("pattern")) for name, group in document.get("groups", {}).items()},
        document.get("fingerprint"),
    )


DATASETS: Mapping[str, Callable[[Document, Tables, Workspace | None], Dataset]] = {
    "generated": _generated,
    "tabular": _tabular,
}


def _columns(variables: Mapping[str, str | list[str]]) -> dict[str, list[str]]:
    return {name: [columns] if isinstance(columns, str) else columns for name, columns in variables.items()}


def data_file(document: Document, workspace: Workspace | None) -> Path:
    """Where the file of a dataset is: where it was when prepared, else in data/ or in a folder of QEXP_DATA."""
    found = Path(document.get("found", ""))
    if found.is_file():
        return found
    own = [workspace.root / "data"] if workspace is not None else []
    others = [Path(folder) for folder in os.environ.get(DATA, "").split(os.pathsep) if folder]
    try:
        return table_files.find(document["path"], [*own, *others])
    except table_files.TableError as error:
        raise TabularError([(("path",), str(error))]) from None


def with_data_pinned(document: Document, workspace: Workspace) -> Document:
    """The dataset of a whole document with the content of its file, so that another content is another digest."""
    if document["type"] != "tabular":
        return document
    path = data_file(document, workspace)
    return {**document, "fingerprint": table_files.fingerprint(path), "found": str(path.absolute())}


def units_of(spec: Document) -> dict[str, str]:
    """Units of a resolved experience's inputs and outputs: the dataset's own where it names its variables itself."""
    names = [*spec["inputs"], *spec["outputs"]]
    if spec["dataset"]["type"] == "tabular":
        return {name: spec["dataset"]["units"].get(name, "") for name in names}
    return {name: quantity(name).unit for name in names}
