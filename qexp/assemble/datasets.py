"""Datasets of checked documents: one builder for each type."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qexp.datasets import table_files
from qexp.datasets.generated import GeneratedDataset
from qexp.datasets.tabular import Group, TabularDataset
from qexp.errors import DatasetError, QexpError
from qexp.quantities import quantity
from qexp.spec import resolve
from qexp.tables import Tables, built
from qexp.workspace import Workspace

Document = dict[str, Any]
Dataset = GeneratedDataset | TabularDataset

DATA = "QEXP_DATA"
"""Folders in which data files are looked for after the workspace's own."""

STAND_IN = "made with stand-in data"
"""What every output of a run says whose data were made up in place of measured ones."""


def dataset_of(document: Document, tables: Tables, workspace: Workspace | None = None) -> Dataset:
    """The dataset of a checked document; forms may be short or long.

    workspace  where its files are looked for, besides where they were when it was prepared and in `QEXP_DATA`
    Raises DatasetError.
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
    found = data_file(document, workspace)
    dataset = TabularDataset(
        found.path,
        _columns(document["inputs"]),
        _columns(document["outputs"]),
        document.get("identifiers", []),
        document.get("missing", "error"),
        document.get("units", {}),
        {name: Group(group["column"], group.get("pattern")) for name, group in document.get("groups", {}).items()},
        document.get("fingerprint"),
    )
    if found.stands_in:
        dataset.warnings.append(
            f"'{document['path']}' was not found, so that stand-in data are used, '{document['stand_in']}'; "
            f"put the file into data/, or add its folder to {DATA}"
        )
    return dataset


DATASETS: Mapping[str, Callable[[Document, Tables, Workspace | None], Dataset]] = {
    "generated": _generated,
    "tabular": _tabular,
}


def _columns(variables: Mapping[str, str | list[str]]) -> dict[str, list[str]]:
    return {name: [columns] if isinstance(columns, str) else columns for name, columns in variables.items()}


@dataclass(frozen=True)
class DataFile:
    path: Path
    stands_in: bool
    """Whether it is the stand-in for another, which was not found."""


def data_file(document: Document, workspace: Workspace | None) -> DataFile:
    """The file of a dataset: where it was when prepared, else in data/ or in a folder of QEXP_DATA.

    Its stand-in is looked for after it, but for a dataset that was prepared: that goes on with what it had.
    """
    stood_in = bool(document.get("stand_in") and document.get("stood_in"))
    found = Path(document.get("found", ""))
    if found.is_file():
        return DataFile(found, stood_in)
    own = [workspace.root / "data"] if workspace is not None else []
    others = [Path(folder) for folder in os.environ.get(DATA, "").split(os.pathsep) if folder]
    keys = ["stand_in"] if stood_in else ["path"] if "fingerprint" in document else ["path", "stand_in"]
    troubles = []
    for key in keys:
        if document.get(key) is None:
            continue
        try:
            return DataFile(table_files.find(document[key], [*own, *others]), key == "stand_in")
        except table_files.TableError as error:
            troubles.append(((key,), str(error)))
    raise DatasetError(troubles)


def with_data_pinned(document: Document, workspace: Workspace) -> Document:
    """The dataset of a whole document with the content of its file, so that another content is another digest."""
    if document["type"] != "tabular":
        return document
    file = data_file(document, workspace)
    pinned = {"fingerprint": table_files.fingerprint(file.path), "found": str(file.path.absolute())}
    return {**document, **pinned, **({"stood_in": True} if file.stands_in else {})}


def units_of(spec: Document) -> dict[str, str]:
    """Units of a resolved experience's inputs and outputs: the dataset's own where it names its variables itself."""
    names = [*spec["inputs"], *spec["outputs"]]
    if spec["dataset"]["type"] == "tabular":
        return {name: spec["dataset"]["units"].get(name, "") for name in names}
    return {name: quantity(name).unit for name in names}
